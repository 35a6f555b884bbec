//! Numbered rules: what a request must look like to be taken past the default rule.

use serde::Serialize;
use serde_json::{Value, json};

use super::Action;

/// A rule with a number. The default rule is not one of these: it is the listener's own action list.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Rule {
    /// Ends with the listener's and its own id.
    pub arn: String,
    /// 1 to 50000; the lowest that fits wins.
    pub priority: u32,
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// What to do then.
    pub actions: Vec<Action>,
    /// Rewrites of host and path, as given: the lab keeps and returns them.
    pub transforms: Vec<Value>,
}

/// What a request is asked for. Patterns know `*` and `?`; host names and header values are compared without case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The `Host` field.
    Host(Vec<String>),
    /// The path, with case.
    Path(Vec<String>),
    /// A header field by name.
    Header(String, Vec<String>),
    /// The method, compared as it is.
    Method(Vec<String>),
    /// Key (any, if `None`) and value of one pair of the query.
    Query(Vec<(Option<String>, String)>),
    /// The client's address, in CIDR form.
    SourceIp(Vec<String>),
}

impl Condition {
    /// The values, and with how many it counts towards the five that a rule may have.
    pub fn values(&self) -> usize {
        match self {
            Self::Host(values) | Self::Path(values) | Self::Header(_, values) => values.len(),
            Self::Method(values) | Self::SourceIp(values) => values.len(),
            Self::Query(pairs) => pairs.len(),
        }
    }

    /// As `DescribeRules` spells it; the two old kinds have their values twice, as AWS has it.
    pub fn spelled(&self) -> Value {
        match self {
            Self::Host(values) => {
                json!({"Field": "host-header", "Values": values, "HostHeaderConfig": {"Values": values}})
            }
            Self::Path(values) => {
                json!({"Field": "path-pattern", "Values": values, "PathPatternConfig": {"Values": values}})
            }
            Self::Header(name, values) => {
                json!({"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": name, "Values": values}})
            }
            Self::Method(values) => {
                json!({"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": values}})
            }
            Self::Query(pairs) => {
                let pairs: Vec<Value> = pairs
                    .iter()
                    .map(|(key, value)| match key {
                        Some(key) => json!({"Key": key, "Value": value}),
                        None => json!({"Value": value}),
                    })
                    .collect();
                json!({"Field": "query-string", "QueryStringConfig": {"Values": pairs}})
            }
            Self::SourceIp(values) => json!({"Field": "source-ip", "SourceIpConfig": {"Values": values}}),
        }
    }
}

impl Serialize for Condition {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.spelled().serialize(serializer)
    }
}
