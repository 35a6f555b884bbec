//! A real Kafka broker.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{Process, free_port, state_folder};

/// A broker starts in about five seconds on an idle core; builds may run beside it.
const START_MAX: Duration = Duration::from_mins(2);

/// A running broker on 127.0.0.1, as `tests/servers/kafka.sh` sets it up.
#[derive(Debug)]
pub struct Broker {
    /// The Java program.
    pub process: Process,
    folder: PathBuf,
    /// PLAINTEXT, its own controller, SSL, `SASL_PLAINTEXT`, `SASL_SSL`.
    ports: [u16; 5],
    settings: Vec<String>,
    starts: usize,
}

fn script() -> PathBuf {
    // The packages that use this file lie at different depths below the root.
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("tests/servers/kafka.sh"));
    found.into_iter().find(|script| script.exists()).expect("the repository has tests/servers")
}

fn launch(folder: &Path, ports: [u16; 5], settings: &[String], start: usize) -> Process {
    let mut command = Command::new(script());
    command.arg("run").arg(folder.join("broker")).args(ports.map(|port| port.to_string())).args(settings);
    command.env("KAFKA_DIR", state_folder().join("kafka"));
    let mut process = Process::start(&format!("kafka-{start}"), folder, command);
    process.wait_for_line("Kafka Server started", START_MAX);
    process
}

/// Starts a broker with its records in `folder/broker`, with settings such as `auto.create.topics.enable=false`.
///
/// # Panics
/// If it does not get ready; the message has its log.
pub fn broker(folder: &Path, settings: &[&str]) -> Broker {
    broker_at(folder, std::array::from_fn(|_| free_port()), settings)
}

/// The same at ports that the caller chose: PLAINTEXT, its own controller, SSL, `SASL_PLAINTEXT`, `SASL_SSL`.
///
/// # Panics
/// As [`broker`].
pub fn broker_at(folder: &Path, ports: [u16; 5], settings: &[&str]) -> Broker {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    let process = launch(folder, ports, &settings, 1);
    Broker { process, folder: folder.to_owned(), ports, settings, starts: 1 }
}

impl Broker {
    /// Where it is spoken to in plaintext.
    pub fn plaintext(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// Over TLS.
    pub fn ssl(&self) -> String {
        format!("127.0.0.1:{}", self.ports[2])
    }

    /// With a login in plaintext.
    pub fn sasl_plaintext(&self) -> String {
        format!("127.0.0.1:{}", self.ports[3])
    }

    /// With a login over TLS.
    pub fn sasl_ssl(&self) -> String {
        format!("127.0.0.1:{}", self.ports[4])
    }

    /// The certificate that its TLS is held against.
    pub fn authorities(&self) -> PathBuf {
        self.folder.join("broker/ca.pem")
    }

    /// Kills it, as by `kill -9`, and returns once it is gone.
    pub fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.wait(START_MAX);
    }

    /// Starts it again where it was, and returns once it is ready.
    pub fn start_again(&mut self) {
        self.starts += 1;
        self.process = launch(&self.folder, self.ports, &self.settings, self.starts);
    }
}
