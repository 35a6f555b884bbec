//! What every port to the outside world answers with: a future, and an error that says whether to try again.
//!
//! A port is a trait; `run.rs` alone knows which adapters stand behind it. They are chosen when the program starts and
//! called a few times a second, so they are `dyn` and their futures are boxed.

use std::fmt;
use std::pin::Pin;

pub use cutover::event::Retry;

/// What an adapter's method returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, PortError>> + Send + 'a>>;

/// Any error of an adapter.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A call to the outside world that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{port}: {source}")]
pub struct PortError {
    /// Which port: `balancer`, `metrics`, `fleet`, `store`, `alert` or `gate`.
    pub port: &'static str,
    /// Whether the same call may succeed when it is made again.
    pub retry: Retry,
    /// What went wrong: what was being done, with what value.
    pub source: BoxError,
}

impl PortError {
    /// An error after which the same call may succeed.
    pub fn later(port: &'static str, source: impl Into<BoxError>) -> Self {
        Self { port, retry: Retry::Later, source: source.into() }
    }

    /// An error after which the same call fails again: it was refused.
    pub fn never(port: &'static str, source: impl Into<BoxError>) -> Self {
        Self { port, retry: Retry::Never, source: source.into() }
    }
}

/// An error and all its causes on one line, for events and logs.
pub fn in_one_line(error: &dyn std::error::Error) -> String {
    struct Chain<'a>(&'a dyn std::error::Error);
    impl fmt::Display for Chain<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut said = self.0.to_string();
            write!(f, "{said}")?;
            let mut cause = self.0.source();
            while let Some(error) = cause {
                let text = error.to_string();
                // Many errors print their cause as part of themselves; saying it twice helps nobody.
                if !said.contains(&text) {
                    write!(f, ": {text}")?;
                    said = text;
                }
                cause = error.source();
            }
            Ok(())
        }
    }
    Chain(error).to_string()
}
