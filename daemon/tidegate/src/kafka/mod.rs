//! What is asked of the brokers beside capture itself: how far the replay of a capture topic is, and whose requests a topic
//! has. Behind the feature `kafka`.
//!
//! Nothing here writes to a topic, joins a group or commits an offset; how brokers are spoken to is the data plane's
//! (`proxy::capture::kafka`).

pub mod lag;
pub mod probes;

use std::path::Path;

use proxy::capture::kafka::{Options, Properties, Security, Tls};

/// What a properties file says.
///
/// # Errors
/// When it cannot be read, or not be used; in words, with every line that is wrong.
pub fn properties(path: &Path) -> Result<Properties, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Properties::parse(&text).map_err(|error| format!("cannot use {}: {error}", path.display()))
}

/// How brokers are reached by a properties file alone: who we are, and by which authorities theirs are held.
///
/// # Errors
/// As [`properties`], and [`iam`] where the file asks for MSK's IAM.
pub fn options(brokers: &str, topic: &str, file: Option<&Path>) -> Result<Options, String> {
    let properties = file.map(properties).transpose()?.unwrap_or_default();
    let security = if properties.wants_iam() { iam(brokers, Tls::default())? } else { Security::AsFile };
    Ok(Options { security, properties, ..Options::new(brokers, topic) })
}

/// MSK's IAM, with whatever credentials the process has.
///
/// # Errors
/// When no region is known, or this program cannot sign.
#[cfg(feature = "aws")]
pub fn iam(brokers: &str, tls: Tls) -> Result<Security, String> {
    let provider = crate::aws::msk::Msk::new(brokers)?;
    Ok(Security::Token { provider: std::sync::Arc::new(provider), tls: Some(tls) })
}

/// MSK's IAM, which this program cannot sign for.
///
/// # Errors
/// Always.
#[cfg(not(feature = "aws"))]
pub fn iam(_brokers: &str, _tls: Tls) -> Result<Security, String> {
    Err("MSK's IAM needs a build with the feature `aws`; this one can use SCRAM or TLS".to_owned())
}
