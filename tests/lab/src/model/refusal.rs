//! How AWS says no: a code that programs read, a sentence that people read, and an HTTP status.

use std::fmt;

use serde_json::{Map, Value};

/// An answer that is an error. The codes are those of the service models (botocore) and of AWS's replies as quoted in
/// public issues; the sentences follow AWS's as far as they are known, since tools print them and some search them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `ListenerNotFound`, as in the service model.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// 400 unless the server is at fault or the caller may not.
    pub status: u16,
    /// What else the answer has; nothing but for DynamoDB, which shows the item that stood in the way.
    pub more: Map<String, Value>,
}

impl Refusal {
    /// The caller's mistake.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), status: 400, more: Map::new() }
    }

    /// A value that no request may hold.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("ValidationError", message)
    }

    /// A parameter that must be there.
    pub fn missing(name: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {name}"))
    }

    /// `One or more load balancers not found`, as ELBv2 says it; it names no ARN, which would not help a script that
    /// sent twenty, so the lab adds it.
    pub fn not_found(code: &'static str, things: &str, arn: &str) -> Self {
        Self::new(code, format!("One or more {things} not found: '{arn}'"))
    }

    /// The same with one thing more in the answer.
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// The same with another HTTP status.
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}
