# The image of Tidegate: its one program on a base with glibc, OpenSSL and the public authorities, and nothing else. There is
# no shell and no package manager in it, so nothing can be installed into a running one; `kubectl debug` brings tools of its own.
#
#   docker build -t REGISTRY/tidegate:VERSION .
#
# Pin both bases by digest where you build for production. Features: --build-arg FEATURES=--no-default-features leaves out AWS.
ARG RUST=1.95
FROM docker.io/library/rust:${RUST}-bookworm AS build
ARG FEATURES=
# What librdkafka and SQLite are compiled with; the slim part of the image below has only what they are run with.
RUN apt-get update && apt-get install -y --no-install-recommends build-essential cmake libssl-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    cargo build --locked --profile dist -p tidegate --bin tidegate ${FEATURES} \
    && install -D target/dist/tidegate /out/tidegate

# The same Debian as above, so that the program finds the glibc and the OpenSSL that it was linked with.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/tidegate /usr/bin/tidegate
USER 65532:65532
# What systemd would say: where the program keeps what it must not lose. Mount a volume there.
ENV STATE_DIRECTORY=/var/lib/tidegate
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tidegate"]
CMD ["--help"]
