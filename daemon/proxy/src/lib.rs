//! The data plane: an HTTP/1.1 reverse proxy that relays the client's own bytes and splits requests by weight.
//!
//! It knows weights, sides and counters, and nothing of cutovers: whoever drives it does so over [`api`].
//!
//! From the pure to the wet: `wire` (framing without I/O), `relay` (spans between two sockets), `sides` (which
//! upstream), `count` (what happened), `listen` (sockets and TLS), `control` (the HTTP API).

pub mod api;
