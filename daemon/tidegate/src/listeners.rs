//! Listeners that weigh target groups, as plain values: what `aws` finds, and what is told and written of it in a
//! program that was built without AWS, too.

use serde::Serialize;

/// A target group in a listener's default action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its ARN.
    pub arn: String,
    /// Its weight, 0 to 999.
    pub weight: i32,
}

/// A listener whose default action weighs two target groups or more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Weighted {
    /// The load balancer's name.
    pub balancer: String,
    /// Where clients reach it.
    pub address: String,
    /// The listener's ARN.
    pub listener: String,
    /// Its protocol and port, as `HTTPS:443`.
    pub port: String,
    /// The target groups in the order of the action.
    pub groups: Vec<Group>,
}

/// The name in an ARN of a target group, as `ALBSourceProxy-prod-TG`.
pub fn name(arn: &str) -> &str {
    arn.rsplit('/').nth(1).unwrap_or(arn)
}
