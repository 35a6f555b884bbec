//! An AWS to point Tidegate at: the parts of it that a cutover touches, on loopback, without an account.
//!
//! The control plane answers in AWS's own protocols with AWS's checks and error codes, so that the unmodified daemon, the
//! official command line and boto3 can be pointed at it (`AWS_ENDPOINT_URL`). Behind the weights is a data plane that
//! carries real requests, and metrics come from those requests alone. What cannot be known without an account is a switch;
//! what is known and inconvenient (late metrics, old answers, calls that fail and are done all the same) is there on
//! purpose. It is not an emulator of AWS: what a cutover does not touch is refused, not guessed.

pub mod autoscaling;
pub mod clock;
pub mod cloudwatch;
pub mod ec2;
pub mod ecs;
pub mod elbv2;
pub mod faults;
pub mod history;
mod lab;
pub mod lab_api;
pub mod later;
pub mod limits;
pub mod messages;
pub mod model;
mod operate;
mod paper;
pub mod plane;
pub mod scenario;
pub mod server;
mod shared;
pub mod wire;

pub use lab::{Lab, LabConfig, Traffic};
pub use shared::Shared;
