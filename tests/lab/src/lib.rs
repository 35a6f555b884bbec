//! An AWS to point Tidegate at: the parts of it that a cutover touches, on loopback, without an account.
//!
//! The control plane answers in AWS's own protocols with AWS's checks and error codes, so that the unmodified daemon, the
//! official command line and boto3 can be pointed at it (`AWS_ENDPOINT_URL`). Behind the weights is a data plane that
//! carries real requests, and metrics come from those requests alone. What cannot be known without an account is a switch;
//! what is known and inconvenient (late metrics, old answers, calls that fail and are done all the same) is there on
//! purpose. It is not an emulator of AWS: what a cutover does not touch is refused, not guessed.
//!
//! ```text
//! $ lab --speed 60
//! {"endpoint":"http://127.0.0.1:36485","listener_arn":"arn:aws:…","alb_url":"http://127.0.0.1:44249",…}
//! $ export AWS_ENDPOINT_URL=http://127.0.0.1:36485 AWS_DEFAULT_REGION=us-east-1
//! $ export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any
//! $ aws elbv2 describe-listeners --listener-arns arn:aws:…
//! $ curl -X PUT $AWS_ENDPOINT_URL/_lab/faults -d '{"name": "apply-then-drop", "op": "ModifyListener", "times": 1}'
//! $ curl -X POST $AWS_ENDPOINT_URL/_lab/actions -d '{"action": "cdk-reset", "in_seconds": 90}'
//! $ curl $AWS_ENDPOINT_URL/_lab/history
//! ```
//!
//! Faults are [`faults::FaultName`], actions [`lab_api::Action`]. A call is answered by [`wire`] (which service, which
//! protocol), a service's functions of the [`model`], and [`wire`] again. Known to differ from AWS: tasks share one
//! address and are told apart by their ports; nobody resolves a load balancer's name (`_lab/state` has the addresses);
//! HTTPS listeners and targets speak plain HTTP; signatures are not checked; for violations of a range of which no reply
//! of AWS is on record, the code is `ValidationError`.

pub mod autoscaling;
pub mod clock;
pub mod cloudwatch;
pub mod dynamodb;
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
