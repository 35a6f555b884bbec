//! The control plane of a lab from outside: by plain HTTP, by boto3 and by the official command line.
//!
//! These labs carry no traffic; what nodes and upstreams do has tests of its own.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on has failed the test")]

mod binary;
mod elb;
mod faults;
mod fleet;
mod network;
mod official;
mod support;
