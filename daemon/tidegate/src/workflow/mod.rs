//! Workflow files of Migration Assistant: the part of them that speaks of capture proxies, as plain values.
//!
//! The layout is that of release 3.3.6 (`orchestrationSpecs/packages/schemas/src/userSchemas.ts` there): `traffic.proxies`,
//! with the `sourceClusters`, `targetClusters` and `kafkaClusterConfiguration` that it names. Everything else in a file is
//! somebody else's and is not looked at; inside of a proxy's own section an unknown key is refused, and one that means
//! something to the Java proxy alone is named in a warning.

mod fields;
mod proxies;
mod tls;
pub mod yaml;

use std::collections::BTreeMap;
use std::path::Path;

use cutover::policy::{Problem, Severity};

pub use proxies::{Auth, Capture, Cluster, Kafka, Proxy, Resources, ServiceType, Suppress, Topic};
pub use tls::{Authority, ClientAuth, Tls};

use yaml::Place;

/// What a file says of proxies.
#[derive(Clone, Debug, PartialEq)]
pub struct Workflow {
    /// The proxies of `traffic.proxies`, in the order of the file.
    pub proxies: Vec<Proxy>,
    /// The clusters of `targetClusters`, by their label.
    pub targets: BTreeMap<String, Cluster>,
    /// What is worth a second thought.
    pub warnings: Vec<Problem>,
}

/// Why a file cannot be used: everything that is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowError {
    /// It cannot be read.
    #[error("cannot read the workflow file `{path}`: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        why: std::io::Error,
    },
    /// It says what makes no sense.
    #[error("{}", told(.0))]
    Wrong(Vec<Problem>),
    /// There is none of this name.
    #[error("there is no {what} `{name}` in the workflow file; there are: {known}")]
    Unknown {
        /// What was asked for.
        what: &'static str,
        /// Its name.
        name: String,
        /// Those that are there.
        known: String,
    },
}

/// Problems as lines.
fn told(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What is wrong with a file, as it is found.
pub(crate) struct Problems<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<Problem>,
}

impl Problems<'_> {
    fn add(&mut self, severity: Severity, place: Place, what: String, hint: &str) {
        let line: usize = self.text.split_inclusive('\n').take(place.line.saturating_sub(1)).map(str::len).sum();
        let rest = self.text.get(line..).unwrap_or_default();
        let column: usize = rest.chars().take(place.column.saturating_sub(1)).map(char::len_utf8).sum();
        let at = (line + column).min(self.text.len());
        self.found.push(Problem {
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
            span: at..at,
            severity,
            what,
            hint: hint.to_owned(),
        });
    }

    fn wrong(&mut self, place: Place, what: impl Into<String>, hint: &str) {
        self.add(Severity::Error, place, what.into(), hint);
    }

    fn odd(&mut self, place: Place, what: impl Into<String>, hint: &str) {
        self.add(Severity::Warning, place, what.into(), hint);
    }
}

/// Reads the text of a workflow file; `file` is what it is called in problems.
///
/// # Errors
/// With every problem at once, each with its line and column; text that is no YAML at its first mistake.
pub fn read(text: &str, file: &str) -> Result<Workflow, WorkflowError> {
    let mut problems = Problems { file, text, found: Vec::new() };
    let root = match yaml::read(text) {
        Ok(root) => root,
        Err(mistake) => {
            problems.wrong(mistake.place, mistake.what, "");
            return Err(WorkflowError::Wrong(problems.found));
        }
    };
    let (proxies, targets) = proxies::all(&root, &mut problems);
    let mut found = problems.found;
    found.sort_by_key(|problem| (problem.line, problem.column));
    if found.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(WorkflowError::Wrong(found));
    }
    Ok(Workflow { proxies, targets, warnings: found })
}

/// Reads a workflow file.
///
/// # Errors
/// As [`read`], and when there is no such file.
pub fn open(path: &Path) -> Result<Workflow, WorkflowError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|why| WorkflowError::Unreadable { path: shown.clone(), why })?;
    read(&text, &shown)
}

impl Workflow {
    /// The proxy of that name, or the only one.
    ///
    /// # Errors
    /// When there is none of that name, or several and none is named.
    pub fn proxy(&self, name: Option<&str>) -> Result<&Proxy, WorkflowError> {
        let found = match (name, self.proxies.as_slice()) {
            (Some(name), proxies) => proxies.iter().find(|proxy| proxy.name == name),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        found.ok_or_else(|| WorkflowError::Unknown {
            what: "proxy",
            name: name.unwrap_or("(none is named)").to_owned(),
            known: self.proxies.iter().map(|proxy| proxy.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The target cluster with that label.
    ///
    /// # Errors
    /// When there is none.
    pub fn target(&self, label: &str) -> Result<&Cluster, WorkflowError> {
        self.targets.get(label).ok_or_else(|| WorkflowError::Unknown {
            what: "target cluster",
            name: label.to_owned(),
            known: self.targets.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }
}

#[cfg(test)]
mod tests;
