//! The daemon, its adapters and its command line, as a library: the binary is one call into [`cli`], and `tidegate demo`
//! and the tests run the same control loop in their own process.
//!
//! Reading order: [`port`] and the ports ([`balancer`], [`metrics`], [`fleet`], [`gate`], [`store`], [`alert`]), each
//! with its adapters in files of their own, then [`cli`] (what a person can say), [`screen`] (what `watch` shows) and
//! [`demo`] (a whole cutover on one machine).

pub mod alert;
#[cfg(feature = "aws")]
pub mod aws;
pub mod balancer;
pub mod baselines;
pub mod capture_alerts;
pub mod cli;
pub mod client;
pub mod clock;
pub mod clusters;
pub mod config;
pub mod controller;
pub mod daemon;
pub mod demo;
pub mod dns;
pub mod events;
pub mod fleet;
pub mod gate;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod kubernetes;
pub mod listeners;
pub mod metrics;
pub mod outbound;
pub mod permanent;
pub mod policy_files;
pub mod port;
pub mod program;
pub mod proxies;
pub mod report;
#[cfg(feature = "aws")]
pub mod reroute;
pub mod rights;
pub mod run;
pub mod screen;
pub mod secret;
pub mod serve;
pub mod simulate;
pub mod store;
pub mod systemd;
#[cfg(test)]
mod testing;
pub mod trust;
pub mod undo;
pub mod workflow;
