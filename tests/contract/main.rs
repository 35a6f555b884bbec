//! What each port promises, over its adapters and what stands in for the world: here AWS's adapters against the lab
//! and against moto, and Prometheus' against a real server.
//!
//! An adapter sees nothing but the wire. Each case says what the port promises; that the stand-in answers as AWS does is
//! the lab's own business and its tests'.

mod account;
mod alb;
mod bad;
mod behind;
#[path = "../cloud/world.rs"]
mod cloud;
mod cloudwatch;
mod demo;
mod drain;
mod fast;
#[path = "../cloud/faults.rs"]
mod faults;
mod fleet;
mod lag;
mod lease;
mod levers;
mod pods;
mod program;
mod prometheus;
mod reroute;
mod rights;
mod second;
mod standing;
mod support;
mod terraform;
mod whole;
