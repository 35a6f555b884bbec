//! The flags that say into which log traffic is captured, and the logs that they make.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use clap::{CommandFactory as _, Parser as _, ValueEnum};
use proxy::capture::{
    BUDGET_BYTES, Breaker, Capture, Reopen, Sink,
    file::{self, Files, Retention},
    loss::LossLog,
    side::{Captured, OnFailure, Suppress},
};

use super::{duration, header};

/// The topic of Migration Assistant's capture proxy.
#[cfg(feature = "kafka")]
const TOPIC: &str = "logging-traffic-topic";

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Capture")]
pub(crate) struct CaptureArgs {
    /// Where traffic is recorded: in Kafka, as the Traffic Replayer reads it, or in files.
    #[arg(long, value_name = "WHERE", default_value = "none")]
    capture: Where,

    /// Record no traffic; the same as --capture none.
    #[arg(long, conflicts_with = "capture")]
    no_capture: bool,

    /// The folder for the source's traffic, with --capture file.
    #[arg(long, value_name = "DIR")]
    capture_dir: Option<PathBuf>,

    /// The folder for the target's traffic; without it that is not recorded.
    #[arg(long, value_name = "DIR")]
    target_capture_dir: Option<PathBuf>,

    /// What becomes of a write that could not be recorded: it is forwarded and listed as lost, or refused with 503.
    #[arg(long, value_name = "HOW", default_value = "forward")]
    on_capture_failure: Failure,

    /// Where lost writes are listed; beside the captured files, or in the state directory, by default.
    #[arg(long, value_name = "FILE")]
    loss_log: Option<PathBuf>,

    /// The largest record, in bytes; a full Kafka record of 1 MiB by default.
    #[arg(long, value_name = "BYTES")]
    capture_record_max: Option<usize>,

    /// Bytes that may wait for the log together.
    #[arg(long, value_name = "BYTES", default_value_t = BUDGET_BYTES)]
    capture_budget: usize,

    /// Record no request whose first header field of that name has a value that the pattern matches whole; repeatable.
    #[arg(long, value_name = "NAME: REGEX", value_parser = header)]
    suppress_header: Vec<(String, String)>,

    /// Record no request whose method the pattern matches whole; repeatable.
    #[arg(long, value_name = "REGEX")]
    suppress_method: Vec<String>,

    /// Record no request whose target, query included, the pattern matches whole; repeatable.
    #[arg(long, value_name = "REGEX")]
    suppress_path: Vec<String>,

    /// Record no request of which the pattern matches `METHOD target` whole; repeatable.
    #[arg(long, value_name = "REGEX")]
    suppress_method_and_path: Vec<String>,

    /// Record the values of this header field as asterisks, in heads and trailers of requests and responses; repeatable.
    #[arg(long, value_name = "NAME")]
    redact_header: Vec<String>,

    /// When captured files reach the disk: each batch before it counts as safe, each so often, or when the system sees fit.
    #[arg(long, value_name = "batch|never|D", default_value = "batch", value_parser = sync)]
    capture_sync: file::Sync,

    /// Delete the oldest sealed files beyond so many bytes; without it nothing is deleted.
    #[arg(long, value_name = "BYTES")]
    capture_keep_bytes: Option<u64>,

    /// Delete sealed files that are older; without it nothing is deleted.
    #[arg(long, value_name = "D", value_parser = duration)]
    capture_keep: Option<Duration>,

    #[cfg(feature = "kafka")]
    #[command(flatten)]
    kafka: super::kafka::KafkaArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Where {
    Kafka,
    File,
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Failure {
    Forward,
    Refuse,
}

/// The logs of both sides, source first.
pub(crate) type Logs = [Option<Captured>; 2];

/// These flags alone, for whoever has them from a file.
#[derive(Debug, clap::Parser)]
#[command(name = "capture", no_binary_name = true, disable_help_flag = true)]
struct Alone {
    #[command(flatten)]
    capture: CaptureArgs,
}

/// The names of all flags on capture, with `_` for `-`.
pub(crate) fn known() -> Vec<String> {
    Alone::command().get_arguments().filter_map(|flag| Some(flag.get_long()?.replace('-', "_"))).collect()
}

/// Whether these flags can be read.
///
/// # Errors
/// What is wrong with them, in one line.
pub(crate) fn check(flags: &[String]) -> Result<(), String> {
    read(flags).map(drop)
}

fn read(flags: &[String]) -> Result<CaptureArgs, String> {
    let alone = Alone::try_parse_from(flags).map_err(|error| {
        let text = error.to_string();
        text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })?;
    Ok(alone.capture)
}

/// Opens the logs of a proxy that has its flags from a file and keeps what it must in `state`: unless they say otherwise,
/// captured files and the list of losses. The target's traffic goes to a folder of its own where there is a target.
///
/// # Errors
/// As for [`CaptureArgs::open`].
pub(crate) fn open_in(state: &Path, flags: &[String], listen: &str) -> anyhow::Result<Logs> {
    let mut args = read(flags).map_err(anyhow::Error::msg)?;
    if args.capture == Where::File && args.capture_dir.is_none() {
        args.capture_dir = Some(state.join("capture"));
    }
    if args.capture == Where::Kafka && args.loss_log.is_none() {
        args.loss_log = Some(state.join("capture").join("losses.jsonl"));
    }
    args.open(listen)
}

impl CaptureArgs {
    /// Opens the logs; `listen` names the list of losses where nothing else does.
    ///
    /// # Errors
    /// Flags that contradict each other, a log that cannot be had.
    pub(crate) fn open(self, listen: &str) -> anyhow::Result<Logs> {
        let suppress = self.suppress()?;
        if let Some(bytes) = self.capture_record_max {
            let range = proxy::capture::chunks::CHUNK_BYTES_MIN..=proxy::capture::chunks::CHUNK_BYTES_MAX;
            ensure!(
                range.contains(&bytes),
                "--capture-record-max {bytes} cannot be: say {} to {}",
                range.start(),
                range.end()
            );
        }
        let redact: Vec<String> = self.redact_header.iter().map(|name| name.to_ascii_lowercase()).collect();
        let sinks: [Option<Log>; 2] = match self.capture {
            Where::None => {
                for (given, flag) in [
                    (self.capture_dir.is_some(), "--capture-dir"),
                    (self.target_capture_dir.is_some(), "--target-capture-dir"),
                ] {
                    ensure!(!given, "{flag} is given, but nothing is captured: say --capture file");
                }
                #[cfg(feature = "kafka")]
                if let Some(flag) = self.kafka.given() {
                    bail!("{flag} is given, but nothing is captured: say --capture kafka");
                }
                return Ok([None, None]);
            }
            Where::File => {
                #[cfg(feature = "kafka")]
                if let Some(flag) = self.kafka.given() {
                    bail!("{flag} is given, but capture goes to files: say --capture kafka");
                }
                let dir = self.capture_dir.as_deref().context("--capture file needs a folder: name --capture-dir")?;
                ensure!(
                    self.target_capture_dir.as_deref() != Some(dir),
                    "source and target cannot be captured into the same folder {}",
                    dir.display()
                );
                [Some(self.files(dir)?), self.target_capture_dir.as_deref().map(|dir| self.files(dir)).transpose()?]
            }
            #[cfg(feature = "kafka")]
            Where::Kafka => {
                ensure!(
                    self.capture_dir.is_none() && self.target_capture_dir.is_none(),
                    "a folder is given, but capture goes to Kafka: say --capture file"
                );
                let (source, target) = self.kafka.start(TOPIC)?;
                [Some(source), target]
            }
            #[cfg(not(feature = "kafka"))]
            Where::Kafka => bail!("this build has no Kafka: build it with the feature `kafka`, or say --capture file"),
        };
        let [source, target] = sinks;
        let losses = Arc::new(self.losses(listen)?);
        let on_failure = match self.on_capture_failure {
            Failure::Forward => OnFailure::Forward,
            Failure::Refuse => OnFailure::Refuse,
        };
        let captured = |log: Log| {
            let log = Capture::new(log.sink, log.breaker, self.capture_budget);
            Captured {
                log,
                on_failure,
                losses: Arc::clone(&losses),
                suppress: suppress.clone(),
                redact: redact.clone(),
                record_bytes_max: self.capture_record_max,
            }
        };
        Ok([source.map(&captured), target.map(&captured)])
    }

    fn suppress(&self) -> anyhow::Result<Suppress> {
        let mut suppress = Suppress::default();
        for (name, pattern) in &self.suppress_header {
            suppress.header(name, pattern).with_context(|| format!("--suppress-header {name}"))?;
        }
        for pattern in &self.suppress_method {
            suppress.method(pattern).context("--suppress-method")?;
        }
        for pattern in &self.suppress_path {
            suppress.target(pattern).context("--suppress-path")?;
        }
        for pattern in &self.suppress_method_and_path {
            suppress.method_and_target(pattern).context("--suppress-method-and-path")?;
        }
        Ok(suppress)
    }

    fn files(&self, dir: &Path) -> anyhow::Result<Log> {
        let retention = Retention { bytes_max: self.capture_keep_bytes, age_max: self.capture_keep };
        let options = file::Options { sync: self.capture_sync, retention, ..file::Options::new(dir) };
        let sink = Arc::new(Files::start(&options)?);
        Ok(Log { sink, breaker: Arc::new(Breaker::new(Reopen::AfterPause)) })
    }

    /// The list of lost writes. Its count goes on over restarts, so it has the same name again.
    fn losses(&self, listen: &str) -> anyhow::Result<LossLog> {
        let path = match (&self.loss_log, &self.capture_dir) {
            (Some(path), _) => path.clone(),
            (None, Some(dir)) => dir.join("losses.jsonl"),
            (None, None) => {
                let directory = super::state_directory()
                    .context("cannot tell where to list lost writes: name --loss-log")?
                    .join("capture");
                let name: String =
                    listen.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
                // Whoever lets the system choose the port is not found again under it.
                let once = if listen.ends_with(":0") { format!("-{}", std::process::id()) } else { String::new() };
                directory.join(format!("losses-{name}{once}.jsonl"))
            }
        };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("cannot make the folder {} for lost writes", directory.display()))?;
        }
        LossLog::open(&path).with_context(|| format!("cannot list lost writes in {}", path.display()))
    }
}

/// A log that is open, and what knows whether it works.
pub(super) struct Log {
    pub(super) sink: Arc<dyn Sink>,
    pub(super) breaker: Arc<Breaker>,
}

fn sync(text: &str) -> Result<file::Sync, String> {
    match text {
        "batch" => Ok(file::Sync::Batch),
        "never" => Ok(file::Sync::Never),
        _ => duration(text).map(file::Sync::Every).map_err(|why| format!("say batch, never, or how often: {why}")),
    }
}
