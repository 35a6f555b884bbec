//! `tidegate policy show`: the values that result from all layers, and where each came from.

use std::path::PathBuf;

use super::check;
use crate::cli::{Context, Exit};
use crate::policy_files::{self, Effective};

/// Values longer than this push the origins out of sight, so the origin goes on a line of its own.
const COLUMN_MAX: usize = 60;

/// The arguments of `tidegate policy show`.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The service's policy file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Show {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let loaded = policy_files::load(&self.file, &policy_files::environment())?;
        if context.json {
            context.print_json(&serde_json::json!({
                "file": loaded.file,
                "sound": loaded.is_sound(),
                "values": loaded.values,
                "policy": loaded.policy,
                "problems": loaded.problems,
            }))?;
        } else {
            context.print(&table(&loaded.values))?;
            if !loaded.problems.is_empty() {
                context.print(&format!("\n{}", check::report(&loaded)))?;
            }
        }
        Ok(if loaded.is_sound() { Exit::Done } else { Exit::Error })
    }
}

/// One line for each value: `key = value`, and its origin as a comment.
fn table(values: &[Effective]) -> String {
    let lines: Vec<(String, String)> = values
        .iter()
        .map(|value| {
            let origin = match value.line.filter(|_| value.origin.contains('.')) {
                Some(line) => format!("{}:{line}", value.origin),
                None => value.origin.clone(),
            };
            (format!("{} = {}", value.key, toml_like(&value.value)), origin)
        })
        .collect();
    let width =
        lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= COLUMN_MAX).max().unwrap_or(0);
    let lines: Vec<_> = lines.iter().map(|(line, origin)| format!("{line:<width$}  # {origin}")).collect();
    lines.join("\n") + "\n"
}

/// A value as a policy file would say it.
fn toml_like(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Array(items) => {
            format!("[{}]", items.iter().map(toml_like).collect::<Vec<_>>().join(", "))
        }
        serde_json::Value::Object(map) => {
            let inner: Vec<_> = map.iter().map(|(key, value)| format!("{key} = {}", toml_like(value))).collect();
            format!("{{ {} }}", inner.join(", "))
        }
        other => other.to_string(),
    }
}
