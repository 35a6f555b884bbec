//! The built binary among servers and clients that no one here wrote: nginx, OpenSearch, wrk, curl, the Python client.
//!
//! `tests/run` installs them and builds the binary. What only needs our own code is tested nearer to it.

mod clients;
mod faults;
mod load;
mod schema;
mod share;
mod support;
