//! The listener over real sockets: scripted upstreams behind it, raw clients before it.
//!
//! What is asked of it is in the names of the tests; how a request is framed is tested without sockets, beside `wire`.

mod bytes;
mod control;
mod counting;
mod ending;
mod failures;
mod hostile;
mod support;
mod tls;
mod weights;
