//! A real OpenSearch node, and the official Python client that talks to it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{Process, state_folder};

/// A node starts in about six seconds on an idle core; builds may run beside it.
const START_MAX: Duration = Duration::from_mins(2);

/// A running node.
#[derive(Debug)]
pub struct Node {
    /// The Java program.
    pub process: Process,
    /// Where it answers HTTP on 127.0.0.1.
    pub port: u16,
}

fn servers_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers")
}

/// Starts a node with its data in `folder/NAME`, with settings such as `thread_pool.write.queue_size=1`.
///
/// # Panics
/// If it does not get ready; the message has its log.
pub fn node(folder: &Path, name: &str, settings: &[&str]) -> Node {
    let mut command = Command::new(servers_folder().join("search.sh"));
    command.arg("run").arg(folder.join(name)).args(settings).env("SEARCH_DIR", state_folder().join("search"));
    let mut process = Process::start(name, folder, command);
    let ready = process.wait_for_line("NODE READY port=", START_MAX);
    let port = ready.rsplit('=').next().and_then(|port| port.trim().parse().ok());
    Node { process, port: port.unwrap_or_else(|| panic!("no port in `{ready}`")) }
}

/// The program `tests/servers/schema.py` with its interpreter: a validator of JSON Schema; arguments are the caller's.
pub fn schema_validator() -> Command {
    let mut command = Command::new(state_folder().join("venv/bin/python"));
    command.arg(servers_folder().join("schema.py"));
    command
}

/// The program `tests/servers/manifests.py` with its interpreter and the schemas of Strimzi: a validator of Kubernetes'
/// manifests; arguments are the caller's.
pub fn manifest_validator() -> Command {
    let mut command = Command::new(state_folder().join("venv/bin/python"));
    command.arg(servers_folder().join("manifests.py")).arg(state_folder().join("schemas"));
    command
}

/// The Python client's program `tests/servers/client.py` with its interpreter; arguments are the caller's.
pub fn python_client() -> Command {
    let mut command = Command::new(state_folder().join("venv/bin/python"));
    command.arg(servers_folder().join("client.py"));
    command
}
