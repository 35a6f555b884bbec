//! The data plane met by real clients: what they are answered, and what is noted of it.
//!
//! Labs here run at sixty times the speed, so that a minute of the load balancer's is a second. Metrics are read as they
//! would be read at some moment, past or to come: nothing waits for a minute to be published.

mod failing;
mod metrics;
mod sharing;
mod staying;
mod support;
