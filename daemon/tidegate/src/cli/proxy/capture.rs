//! The flags that say into which log traffic is captured, and the logs that they make.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _, ValueEnum};
use proxy::capture::{
    BUDGET_BYTES, Breaker, Capture, Reopen, Sink,
    chunks::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN},
    file::{self, Files, Retention},
    loss::LossLog,
    side::{Captured, OnFailure, Suppress},
};

use super::{duration, header};
use crate::cli::Wrong;
#[cfg(feature = "kafka")]
use crate::cli::kafka::TOPIC;

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

    /// What becomes of a write that could not be recorded: it is forwarded and listed as lost, as by default, or refused
    /// with 503.
    #[arg(long, value_name = "HOW")]
    on_capture_failure: Option<Failure>,

    /// Where lost writes are listed; beside the captured files, or in the state directory, by default.
    #[arg(long, value_name = "FILE")]
    loss_log: Option<PathBuf>,

    /// The largest record, in bytes; a full Kafka record of 1 MiB by default.
    #[arg(long, value_name = "BYTES")]
    capture_record_max: Option<usize>,

    /// Bytes that may wait for the log together; 64 MiB by default.
    #[arg(long, value_name = "BYTES")]
    capture_budget: Option<usize>,

    /// Record no request whose first header field of that name has a value that the pattern matches whole; repeatable.
    #[arg(long, value_name = "NAME: REGEX", value_parser = field_and_pattern)]
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
    #[arg(long, value_name = "NAME", value_parser = field)]
    redact_header: Vec<String>,

    /// When captured files reach the disk: each batch before it counts as safe, as by default, each so often, or when the
    /// system sees fit.
    #[arg(long, value_name = "batch|never|D", value_parser = sync)]
    capture_sync: Option<file::Sync>,

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

/// Whether these flags can be read, and be together.
///
/// # Errors
/// What is wrong with them, in one line.
pub(crate) fn check(flags: &[String]) -> Result<(), String> {
    read(flags)?.sound().map(drop)
}

fn read(flags: &[String]) -> Result<CaptureArgs, String> {
    let alone = Alone::try_parse_from(flags).map_err(|error| {
        let text = error.to_string();
        text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })?;
    Ok(alone.capture)
}

/// Opens the logs of a proxy that has its flags from a file and keeps what it must in `state`: unless they say otherwise,
/// captured files and the list of losses. The target's traffic is recorded where they name a folder or a topic for it.
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
        let suppress = self.sound().map_err(Wrong::because)?;
        let sinks: [Option<Log>; 2] = match self.capture {
            Where::None => return Ok([None, None]),
            Where::File => {
                let missing = || Wrong::because("--capture file needs a folder: name --capture-dir");
                let dir = self.capture_dir.as_deref().ok_or_else(missing)?;
                [Some(self.files(dir)?), self.target_capture_dir.as_deref().map(|dir| self.files(dir)).transpose()?]
            }
            #[cfg(feature = "kafka")]
            Where::Kafka => {
                let (source, target) = self.kafka.start(TOPIC)?;
                [Some(source), target]
            }
            #[cfg(not(feature = "kafka"))]
            Where::Kafka => {
                anyhow::bail!("this build has no Kafka: build it with the feature `kafka`, or say --capture file")
            }
        };
        let [source, target] = sinks;
        let losses = Arc::new(self.losses(listen)?);
        let on_failure = match self.on_capture_failure {
            None | Some(Failure::Forward) => OnFailure::Forward,
            Some(Failure::Refuse) => OnFailure::Refuse,
        };
        let captured = |log: Log| {
            let log = Capture::new(log.sink, log.breaker, self.capture_budget.unwrap_or(BUDGET_BYTES));
            Captured {
                log,
                on_failure,
                losses: Arc::clone(&losses),
                suppress: suppress.clone(),
                redact: self.redact_header.clone(),
                record_bytes_max: self.capture_record_max,
            }
        };
        Ok([source.map(&captured), target.map(&captured)])
    }

    /// The name of the flag that has the target's traffic recorded.
    pub(super) fn of_target(&self) -> Option<&'static str> {
        #[cfg(feature = "kafka")]
        if let Some(flag) = self.kafka.of_target() {
            return Some(flag);
        }
        self.target_capture_dir.is_some().then_some("--target-capture-dir")
    }

    /// What is left out, where these flags can be together.
    fn sound(&self) -> Result<Suppress, String> {
        let misplaced = match self.capture {
            Where::None => (self.of_files().map(|flag| (flag, "nothing is captured: say --capture file")))
                .or_else(|| Some((self.of_kafka()?, "nothing is captured: say --capture kafka")))
                .or_else(|| Some((self.of_either()?, "nothing is captured: say --capture file or --capture kafka"))),
            Where::File => self.of_kafka().map(|flag| (flag, "capture goes to files: say --capture kafka")),
            Where::Kafka => self.of_files().map(|flag| (flag, "capture goes to Kafka: say --capture file")),
        };
        if let Some((flag, why)) = misplaced {
            return Err(format!("{flag} is given, but {why}, or leave it out"));
        }
        if let Some(bytes) = self.capture_record_max
            && !(CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&bytes)
        {
            return Err(format!("--capture-record-max {bytes} cannot be: say {CHUNK_BYTES_MIN} to {CHUNK_BYTES_MAX}"));
        }
        if let (Some(dir), Some(target)) = (&self.capture_dir, &self.target_capture_dir)
            && dir == target
        {
            return Err(format!(
                "source and target cannot be captured into the same folder {}: name another one with \
                 --target-capture-dir",
                dir.display()
            ));
        }
        #[cfg(feature = "kafka")]
        self.kafka.sound(TOPIC)?;
        self.suppress()
    }

    /// The name of a flag that is given and means something for files alone.
    fn of_files(&self) -> Option<&'static str> {
        [
            (self.capture_dir.is_some(), "--capture-dir"),
            (self.target_capture_dir.is_some(), "--target-capture-dir"),
            (self.capture_sync.is_some(), "--capture-sync"),
            (self.capture_keep_bytes.is_some(), "--capture-keep-bytes"),
            (self.capture_keep.is_some(), "--capture-keep"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    /// The name of a flag that is given and means something for Kafka alone.
    #[cfg(feature = "kafka")]
    fn of_kafka(&self) -> Option<&'static str> {
        self.kafka.given()
    }

    #[cfg(not(feature = "kafka"))]
    #[expect(clippy::unused_self, reason = "the shape that it has with Kafka")]
    fn of_kafka(&self) -> Option<&'static str> {
        None
    }

    /// The name of a flag that is given and means something wherever traffic is recorded.
    fn of_either(&self) -> Option<&'static str> {
        [
            (self.on_capture_failure.is_some(), "--on-capture-failure"),
            (self.loss_log.is_some(), "--loss-log"),
            (self.capture_record_max.is_some(), "--capture-record-max"),
            (self.capture_budget.is_some(), "--capture-budget"),
            (!self.suppress_header.is_empty(), "--suppress-header"),
            (!self.suppress_method.is_empty(), "--suppress-method"),
            (!self.suppress_path.is_empty(), "--suppress-path"),
            (!self.suppress_method_and_path.is_empty(), "--suppress-method-and-path"),
            (!self.redact_header.is_empty(), "--redact-header"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    fn suppress(&self) -> Result<Suppress, String> {
        let mut suppress = Suppress::default();
        for (name, pattern) in &self.suppress_header {
            suppress.header(name, pattern).map_err(|why| format!("--suppress-header {name}: {why}"))?;
        }
        for pattern in &self.suppress_method {
            suppress.method(pattern).map_err(|why| format!("--suppress-method: {why}"))?;
        }
        for pattern in &self.suppress_path {
            suppress.target(pattern).map_err(|why| format!("--suppress-path: {why}"))?;
        }
        for pattern in &self.suppress_method_and_path {
            suppress.method_and_target(pattern).map_err(|why| format!("--suppress-method-and-path: {why}"))?;
        }
        Ok(suppress)
    }

    fn files(&self, dir: &Path) -> anyhow::Result<Log> {
        let retention = Retention { bytes_max: self.capture_keep_bytes, age_max: self.capture_keep };
        let sync = self.capture_sync.unwrap_or(file::Sync::Batch);
        let options = file::Options { sync, retention, ..file::Options::new(dir) };
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

/// The largest record where the Java proxy had a buffer of so many bytes: of the buffer it keeps some for what Kafka puts
/// around a record, so that its own default is more than a record can be.
pub(super) fn record_bytes_max(buffer_bytes: u64) -> usize {
    usize::try_from(buffer_bytes).unwrap_or(usize::MAX).min(CHUNK_BYTES_MAX)
}

/// The name of a header field.
fn field(text: &str) -> Result<String, String> {
    let name = http::HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| "no header field has such a name: write the name alone, as Authorization")?;
    Ok(name.as_str().to_owned())
}

fn field_and_pattern(text: &str) -> Result<(String, String), String> {
    let (name, pattern) = header(text)?;
    Ok((field(&name)?, pattern))
}

fn sync(text: &str) -> Result<file::Sync, String> {
    match text {
        "batch" => Ok(file::Sync::Batch),
        "never" => Ok(file::Sync::Never),
        _ => duration(text).map(file::Sync::Every).map_err(|why| format!("say batch, never, or how often: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &str) -> Result<(), String> {
        check(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    /// Proves that no flag on capture is passed over where nothing is captured: each alone is refused by its name, and none of
    /// them is refused where traffic is recorded as it asks.
    #[test]
    fn no_flag_means_nothing() {
        let either = [
            "--on-capture-failure forward",
            "--loss-log f",
            "--capture-record-max 1000",
            "--capture-budget 67108864",
            "--suppress-header a:b",
            "--suppress-method HEAD",
            "--suppress-path /a",
            "--suppress-method-and-path x",
            "--redact-header Cookie",
        ];
        let files = [
            "--capture-dir d",
            "--target-capture-dir e",
            "--capture-sync batch",
            "--capture-keep-bytes 1",
            "--capture-keep 1h",
        ];
        let all = [&either[..], &files].concat().join(" ");
        for flag in known().iter().map(|flag| format!("--{}", flag.replace('_', "-"))) {
            let ours = !(flag.contains("kafka") || flag.contains("topic") || flag.ends_with("-capture"));
            assert_eq!(ours && flag != "--capture", all.contains(&format!("{flag} ")), "{flag}");
        }
        for (words, place) in either
            .iter()
            .map(|words| (words, "file or --capture kafka"))
            .chain(files.iter().map(|words| (words, "file")))
        {
            let flag = words.split(' ').next().unwrap();
            let wanted = format!("{flag} is given, but nothing is captured: say --capture {place}, or leave it out");
            for nothing in ["", "--no-capture", "--capture none"] {
                assert_eq!(said(&format!("{nothing} {words}")), Err(wanted.clone()));
            }
            assert_eq!(said(&format!("--capture file {words}")), Ok(()));
        }
        assert_eq!(said("--no-capture"), Ok(()));
    }

    /// Proves that flags which cannot be together, or cannot be, are told by their names and what to say.
    #[test]
    fn what_cannot_be_is_told() {
        for (words, wanted) in [
            ("--capture file --capture-dir d --target-capture-dir d", "cannot be captured into the same folder d"),
            ("--capture file --capture-record-max 5", "--capture-record-max 5 cannot be: say 200 to 1048076"),
            ("--capture file --suppress-path (", "--suppress-path: `(` is no regular expression"),
            ("--capture file --suppress-header a:(", "--suppress-header a: `(` is no regular expression"),
            ("--capture file --suppress-header a(b:c", "no header field has such a name"),
            ("--capture file --redact-header Authorization:", "write the name alone, as Authorization"),
        ] {
            let why = said(words).unwrap_err();
            assert!(why.contains(wanted), "{words}: {why}");
        }
        let spaced = check(&["--capture=file".to_owned(), "--redact-header=bad name".to_owned()]).unwrap_err();
        assert!(spaced.contains("'bad name' for '--redact-header <NAME>'"), "{spaced}");
        #[cfg(feature = "kafka")]
        for (words, wanted) in [
            ("--topic t", "--topic is given, but nothing is captured: say --capture kafka"),
            ("--kafka b:1", "--kafka is given, but nothing is captured: say --capture kafka"),
            ("--capture file --topic t", "--topic is given, but capture goes to files: say --capture kafka"),
            (
                "--capture kafka --capture-dir d",
                "--capture-dir is given, but capture goes to Kafka: say --capture file",
            ),
            ("--capture kafka --capture-keep 1h", "--capture-keep is given, but capture goes to Kafka"),
            ("--capture kafka --topic t --target-topic t", "into the same topic `t`"),
            ("--capture kafka --target-topic logging-traffic-topic", "into the same topic `logging-traffic-topic`"),
        ] {
            let why = said(words).unwrap_err();
            assert!(why.contains(wanted), "{words}: {why}");
        }
    }

    /// Proves that the Java proxy's buffer becomes a record that can be.
    #[test]
    fn a_buffer_becomes_a_record() {
        assert_eq!([1000, 1_048_576, u64::MAX].map(record_bytes_max), [1000, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX]);
    }
}
