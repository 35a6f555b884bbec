//! The listener over real sockets: scripted upstreams behind it, raw clients before it.
//!
//! What is asked of it is in the names of the tests; how a request is framed is tested without sockets, beside `wire`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall fail where it stands")]

mod bytes;
#[path = "../../../../tests/src/hostile/mod.rs"]
#[expect(unreachable_pub, reason = "shared with the package of the end-to-end tests, where it is reachable")]
mod cases;
mod clock;
mod control;
mod counting;
mod ending;
mod every_case;
mod failures;
mod hostile;
mod memory;
mod support;
mod tls;
mod weights;
