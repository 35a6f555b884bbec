//! The built binary among servers and clients that no one here wrote: nginx, OpenSearch, wrk, curl, the Python client.
//!
//! `tests/run` installs them and builds the binary. What only needs our own code is tested nearer to it.

mod baseline;
mod capture;
mod clients;
mod clusters;
mod crash;
mod cutover;
mod daemon;
mod demo;
mod faults;
mod fleet;
mod gates;
mod guarantee;
mod image;
mod journal;
mod kubernetes;
mod load;
mod orders;
mod pods;
mod preflight;
mod processes;
mod prometheus;
mod readme;
mod receiver;
mod refusals;
mod replay;
mod reverts;
mod schema;
mod share;
mod simulate;
mod support;
mod topics;
mod verify;
