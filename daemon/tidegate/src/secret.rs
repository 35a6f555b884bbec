//! Secrets by reference: `env:NAME` or `file:PATH`, read when they are needed and never logged.

use std::fmt;

/// Why a secret could not be read. The secret is not in it.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the secret `{reference}`: {why}")]
pub struct SecretError {
    reference: String,
    why: String,
}

/// A secret's value; prints as dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret that is known already.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Reads what `env:NAME` or `file:PATH` refers to; space and line ends around it are not part of it.
///
/// # Errors
/// When the reference has another form, the variable or file is not there, or it is empty.
pub fn read(reference: &str) -> Result<Secret, SecretError> {
    let refused = |why: String| SecretError { reference: reference.to_owned(), why };
    let value = match reference.split_once(':') {
        Some(("env", name)) => std::env::var(name).map_err(|error| refused(error.to_string()))?,
        Some(("file", path)) => std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?,
        _ => return Err(refused("it must be `env:NAME` or `file:PATH`, never the secret itself".to_owned())),
    };
    let value = value.trim();
    if value.is_empty() {
        return Err(refused("it is empty".to_owned()));
    }
    Ok(Secret::new(value))
}
