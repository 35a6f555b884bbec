//! TLS on both sides: certificates made, given, reloaded, demanded, and refused.

use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    thread,
};

use proxy::{
    Handle, Proxy, StartError,
    config::{Certificate, ClientTls, ServerTls, Upstream},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use crate::support::{PATIENCE, Peer, client, counted, echo, get, ok, proxy_with, side};

type TlsPeer = Peer<StreamOwned<ClientConnection, TcpStream>>;

/// An authority for one test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Authorities are told apart by their names.
        params.distinguished_name.push(DnType::CommonName, format!("authority {:x}", fastrand::u64(..)));
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `name` and its key, in PEM form.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes a certificate for `name` to `cert.pem` and `key.pem`.
    fn write(&self, directory: &Path, name: &str) {
        let (certificate, key) = self.issue(name);
        std::fs::write(directory.join("cert.pem"), certificate).unwrap();
        std::fs::write(directory.join("key.pem"), key).unwrap();
    }
}

fn files(directory: &Path) -> Certificate {
    Certificate::Files { chain: directory.join("cert.pem"), key: directory.join("key.pem") }
}

fn trusting(pem: &str, own: Option<(&str, &str)>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    })
}

fn connect(handle: &Handle, config: &Arc<ClientConfig>) -> TlsPeer {
    let tcp = TcpStream::connect(handle.local_addr()).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    Peer::over(StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), tcp))
}

/// Whether a handshake and a request get through.
fn gets_through(handle: &Handle, config: &Arc<ClientConfig>) -> bool {
    let mut peer = connect(handle, config);
    std::io::Write::write_all(&mut peer.stream, get("/").as_bytes()).is_ok() && peer.try_response(false).is_ok()
}

/// Proves that a self-signed certificate is made at the first start, kept for its owner alone, and the same at the next.
#[test]
fn a_self_signed_certificate_is_made_once() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let start = || {
        proxy_with(echo("source"), None, |config| {
            let certificate = Certificate::SelfSigned { directory: state.clone() };
            config.tls = Some(ServerTls { certificate, client_ca: None });
        })
    };
    let handle = start();
    let pem = std::fs::read_to_string(state.join("cert.pem")).unwrap();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(state.join("key.pem")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let config = trusting(&pem, None);
    let mut peer = connect(&handle, &config);
    for n in 0..3 {
        assert_eq!(peer.ask(get(&format!("/{n}"))).text(), format!("source GET /{n} HTTP/1.1"));
    }
    // Plain HTTP on a TLS port is turned away.
    assert!(client(&handle).rest_of(get("/")).is_none_or(|said| !said.contains("200 OK")));
    drop(start());
    assert_eq!(std::fs::read_to_string(state.join("cert.pem")).unwrap(), pem);
}

/// Proves that a reload gives new connections the new certificate, leaves open ones alone, and keeps the old one when
/// the new cannot be used.
#[test]
fn a_reload_keeps_open_connections() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(), Authority::new());
    old.write(directory.path(), "localhost");
    let handle = proxy_with(echo("source"), None, |config| {
        config.tls = Some(ServerTls { certificate: files(directory.path()), client_ca: None });
    });
    let (trusts_old, trusts_new) = (trusting(&old.pem(), None), trusting(&new.pem(), None));
    let mut open = connect(&handle, &trusts_old);
    open.ask(get("/"));

    new.write(directory.path(), "localhost");
    handle.reload().unwrap();
    assert_eq!(open.ask(get("/")).status(), 200, "the open connection goes on");
    assert!(gets_through(&handle, &trusts_new));
    assert!(!gets_through(&handle, &trusts_old));
    counted(&handle, |counters| counters.clients.tls_failed == 1);

    std::fs::write(directory.path().join("key.pem"), "no key").unwrap();
    let error = handle.reload().unwrap_err().to_string();
    assert!(error.contains("key.pem"), "{error}");
    assert!(gets_through(&handle, &trusts_new));
}

/// Proves that with a client authority only clients with its certificate get through.
#[test]
fn clients_must_show_a_certificate_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    let (servers, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    servers.write(directory.path(), "localhost");
    let client_ca = directory.path().join("clients.pem");
    std::fs::write(&client_ca, clients.pem()).unwrap();
    let handle = proxy_with(echo("source"), None, |config| {
        config.tls = Some(ServerTls { certificate: files(directory.path()), client_ca: Some(client_ca.clone()) });
    });
    let with = |authority: &Authority| {
        let (certificate, key) = authority.issue("client");
        trusting(&servers.pem(), Some((&certificate, &key)))
    };
    assert!(gets_through(&handle, &with(&clients)));
    assert!(!gets_through(&handle, &with(&others)));
    assert!(!gets_through(&handle, &trusting(&servers.pem(), None)));
}

/// Proves that certificates and keys that are missing or do not fit are said by name before anything starts.
#[test]
fn unusable_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let start = |certificate| {
        let mut config = proxy::Config::new("127.0.0.1:0".parse().unwrap(), side(&[echo("source")]));
        config.tls = Some(ServerTls { certificate, client_ca: None });
        Proxy::start(config).err().expect("it cannot start")
    };
    assert!(start(files(path)).to_string().contains("cert.pem"));
    Authority::new().write(path, "localhost");
    std::fs::write(path.join("key.pem"), Authority::new().issue("x").1).unwrap();
    let error = start(files(path));
    assert!(matches!(&error, StartError::Tls { .. }) && error.to_string().contains("key"), "{error}");
}

/// An upstream that speaks TLS with this certificate.
fn tls_upstream(certificate: &str, key: &str) -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for tcp in listener.incoming() {
            let (Ok(tcp), config) = (tcp, Arc::clone(&config)) else { return };
            thread::spawn(move || {
                let mut peer = Peer::over(StreamOwned::new(ServerConnection::new(config).unwrap(), tcp));
                while let Some(request) = peer.request() {
                    peer.send(ok(&format!("{} {}", request.line(), request.body.len())));
                }
            });
        }
    });
    address
}

fn proxy_to(address: SocketAddr, tls: ClientTls) -> Handle {
    proxy_with(address, None, |config| {
        config.source.endpoints = vec![Upstream { tls: true, host: "localhost".to_owned(), port: address.port() }];
        config.source.tls = tls;
    })
}

/// Proves that upstreams are reached over TLS with a CA of one's own, that connections are reused, and that bodies of
/// some size pass.
#[test]
fn upstreams_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let (certificate, key) = authority.issue("localhost");
    let handle = proxy_to(tls_upstream(&certificate, &key), ClientTls { ca: Some(ca), ..ClientTls::default() });
    let mut client = client(&handle);
    for n in [0, 10, 1_000_000, 3] {
        let body = "x".repeat(n);
        let answer = client.ask(crate::support::post("/", &body));
        assert_eq!(answer.text(), format!("POST / HTTP/1.1 {n}"));
    }
    assert_eq!(handle.counters().source.connections_new, 1);
}

/// Proves that a certificate that is not trusted, for another name, or an authority's own, is a 502 for the client and a
/// plain sentence in the status; and that the opt-out accepts it.
#[test]
fn untrusted_upstreams_are_refused_in_plain_words() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let trusted = ClientTls { ca: Some(ca.clone()), ..ClientTls::default() };
    let (unknown, unknown_key) = Authority::new().issue("localhost");
    let (other, other_key) = authority.issue("elsewhere");
    // An authority's own certificate, given to a server as self-signed setups often do.
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own_key = KeyPair::generate().unwrap();
    let own = params.self_signed(&own_key).unwrap().pem();
    let own_ca = directory.path().join("own.pem");
    std::fs::write(&own_ca, &own).unwrap();

    for (certificate, key, ca, words) in [
        (&unknown, &unknown_key, &ca, "issued by nobody we trust"),
        (&other, &other_key, &ca, "not valid for name"),
        (&own, &own_key.serialize_pem(), &own_ca, "CaUsedAsEndEntity"),
    ] {
        let address = tls_upstream(certificate, key);
        let handle = proxy_to(address, ClientTls { ca: Some(ca.clone()), ..ClientTls::default() });
        assert_eq!(client(&handle).ask(get("/")).status(), 502);
        let note = handle.status().source[0].note.clone();
        assert!(note.contains(words), "{note}");
        let handle = proxy_to(address, ClientTls { insecure: true, ..trusted.clone() });
        assert_eq!(client(&handle).ask(get("/")).status(), 200);
    }
    let handle =
        proxy_to(tls_upstream(&other, &other_key), ClientTls { server_name: Some("elsewhere".to_owned()), ..trusted });
    assert_eq!(client(&handle).ask(get("/")).status(), 200);
}
