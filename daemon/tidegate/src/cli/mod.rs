//! The command line: one file per verb, each with its arguments and what it does.
//!
//! A verb is a struct that derives [`clap::Args`] and has `run(self, &Context) -> anyhow::Result<Exit>`. `run` is not
//! async, because the proxy brings runtimes of its own; verbs that talk to the daemon use [`Context::block_on`].
//! Data goes to stdout and words go to stderr; with `--json`, stdout is JSON and nothing else. This is the only place,
//! with `main`, that prints and that uses `anyhow`: everything below it has errors of its own.

mod abort;
mod advance;
pub mod api;
mod aws;
mod baseline;
#[cfg(feature = "kafka")]
mod brokers;
mod capture;
mod close;
mod clusters;
mod completions;
mod demo;
mod demo_upstream;
mod explain;
mod history;
mod hold;
mod journal;
#[cfg(feature = "kafka")]
mod kafka;
mod kubernetes;
mod man;
mod order;
mod pause;
mod policy;
mod preflight;
mod proxy;
mod report;
#[cfg(feature = "aws")]
mod reroute;
mod resume;
mod revert;
mod run;
mod start;
mod status;
mod watch;

pub(crate) use self::proxy::capture as capture_flags;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};

/// How a verb ended; the numbers are documented and scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: it did what was asked; a cutover that was followed is done.
    Done,
    /// 1: it could not.
    Error,
    /// 2: the command line or a file makes no sense.
    Usage,
    /// 3: the cutover was reverted.
    Reverted,
    /// 4: a revert could not be confirmed; a human is needed.
    Stuck,
    /// 5: an operator ended the cutover.
    Aborted,
    /// 75 (`EX_TEMPFAIL` of sysexits.h): not yet; a gate asks again. Only where a verb was told to say so.
    Later,
}

impl Exit {
    /// The number the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Reverted => 3,
            Self::Stuck => 4,
            Self::Aborted => 5,
            Self::Later => 75,
        }
    }
}

/// Moves live traffic from one cluster to another, step by step, and takes it back when it must.
///
/// Exit codes: 0 done, 1 error, 2 usage, 3 reverted, 4 stuck (a human is needed), 5 aborted.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What every verb can be told.
    #[command(flatten)]
    pub context: Context,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What every verb can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Context {
    /// Print JSON to stdout, and nothing else there.
    #[arg(long, global = true)]
    pub json: bool,
    /// Where the daemon's control API is: `unix:PATH` or `HOST:PORT` (which needs `TIDEGATE_TOKEN`).
    #[arg(
        long,
        global = true,
        env = "TIDEGATE_API",
        default_value = "unix:/run/tidegate/control.sock",
        value_name = "ADDR"
    )]
    pub api: String,
}

impl Context {
    /// Runs a future to its end on a runtime of this thread.
    ///
    /// # Errors
    /// When the runtime cannot be made, or the future's own error.
    pub fn block_on<T>(&self, future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
    }

    /// Prints one JSON value on a line of its own.
    ///
    /// # Errors
    /// When stdout cannot be written, as after `| head`.
    pub fn print_json(&self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        printed(std::io::stdout().lock().write_all(&line))
    }

    /// Prints text as it is.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn print(&self, text: &str) -> anyhow::Result<()> {
        printed(std::io::stdout().lock().write_all(text.as_bytes()))
    }

    /// Says a line to a person, on stderr.
    ///
    /// # Errors
    /// When stderr cannot be written.
    pub fn say(&self, text: &str) -> anyhow::Result<()> {
        writeln!(std::io::stderr().lock(), "{text}")?;
        Ok(())
    }

    /// Asks on the terminal and takes only `yes` or `y` for one. Without a terminal the answer is no: a script says
    /// `--yes`.
    ///
    /// # Errors
    /// When the terminal cannot be read.
    pub fn confirm(&self, question: &str) -> anyhow::Result<bool> {
        if !std::io::stdin().is_terminal() {
            anyhow::bail!("cannot ask `{question}` without a terminal; say --yes if it shall be done");
        }
        let mut stderr = std::io::stderr().lock();
        write!(stderr, "{question} [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }
}

/// What can be done. The first sentence of each is what `--help` and the man page say.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show a whole cutover on this machine, with servers and load of its own.
    Demo(demo::Demo),
    /// One cluster of the demo.
    #[command(hide = true)]
    DemoUpstream(demo_upstream::DemoUpstream),
    /// Run the data plane: relay requests and split them by weight.
    Proxy(Box<proxy::Proxy>),
    /// Check, show, plan and sample policy files.
    Policy(policy::Policy),
    /// Look whether everything is ready for a cutover by this policy, and say what to do where it is not.
    Preflight(preflight::Preflight),
    /// Record, import and show baselines: what is normal for a source.
    Baseline(baseline::Baseline),
    /// Look at captured traffic.
    Capture(capture::Capture),
    /// Look at the capture topics.
    #[cfg(feature = "kafka")]
    Kafka(kafka::Kafka),
    /// Run the daemon: the control plane.
    Run(run::Run),
    /// Begin a service's cutover.
    Start(start::Start),
    /// Say where every cutover is, or one of them.
    Status(status::Status),
    /// Say why a cutover is where it is, in sentences.
    Explain(explain::Explain),
    /// Print the journal of a service.
    History(history::History),
    /// Hold, and stop the budgets' clocks.
    Pause(pause::Pause),
    /// End a hold or a pause.
    Resume(resume::Resume),
    /// Open the gates that wait for a person, or try again what halted.
    Advance(advance::Advance),
    /// Stay on the step; judging goes on.
    Hold(hold::Hold),
    /// Put back the recorded original.
    Revert(revert::Revert),
    /// End a cutover and leave the weight where it is.
    Abort(abort::Abort),
    /// Make a cutover history: nothing of it can be reverted any more.
    Close(close::Close),
    /// Check the journal's file.
    Journal(journal::Journal),
    /// Watch a cutover live.
    Watch(watch::Watch),
    /// Write the dossier of a cutover.
    Report(report::Report),
    /// Look at the source's and the target's clusters: their indices, who they are, and whether their documents agree.
    Clusters(clusters::Clusters),
    /// Manifests for the capture proxies of a workflow file of Migration Assistant.
    Kubernetes(kubernetes::Kubernetes),
    /// What Tidegate needs and finds in AWS.
    Aws(aws::Aws),
    /// Bring clients to the capture proxy, before any weight is shifted.
    #[cfg(feature = "aws")]
    Reroute(Box<reroute::Reroute>),
    /// Print the completions for a shell.
    Completions(completions::Completions),
    /// Print or write the man pages.
    Man(man::Man),
}

impl Verb {
    fn run(self, context: &Context) -> anyhow::Result<Exit> {
        match self {
            Self::Demo(verb) => verb.run(context),
            Self::DemoUpstream(verb) => verb.run(context),
            Self::Proxy(verb) => verb.run(context),
            Self::Policy(verb) => verb.run(context),
            Self::Preflight(verb) => verb.run(context),
            Self::Baseline(verb) => verb.run(context),
            Self::Capture(verb) => verb.run(context),
            #[cfg(feature = "kafka")]
            Self::Kafka(verb) => verb.run(context),
            Self::Run(verb) => verb.run(context),
            Self::Start(verb) => verb.run(context),
            Self::Status(verb) => verb.run(context),
            Self::Explain(verb) => verb.run(context),
            Self::History(verb) => verb.run(context),
            Self::Pause(verb) => verb.run(context),
            Self::Resume(verb) => verb.run(context),
            Self::Advance(verb) => verb.run(context),
            Self::Hold(verb) => verb.run(context),
            Self::Revert(verb) => verb.run(context),
            Self::Abort(verb) => verb.run(context),
            Self::Close(verb) => verb.run(context),
            Self::Journal(verb) => verb.run(context),
            Self::Watch(verb) => verb.run(context),
            Self::Report(verb) => verb.run(context),
            Self::Clusters(verb) => verb.run(context),
            Self::Kubernetes(verb) => verb.run(context),
            Self::Aws(verb) => verb.run(context),
            #[cfg(feature = "aws")]
            Self::Reroute(verb) => verb.run(context),
            Self::Completions(verb) => verb.run(context),
            Self::Man(verb) => verb.run(context),
        }
    }
}

/// The whole command line, for completions and man pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses `args`, runs the verb and says how it ended. Errors are printed to stderr, each cause after its effect.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match translated(args.into_iter().collect()) {
        Ok(args) => args,
        Err(why) => {
            drop(writeln!(std::io::stderr().lock(), "tidegate proxy: {why}"));
            return ExitCode::from(Exit::Usage.code());
        }
    };
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors: clap prints them to stdout and says so in its exit code.
            let usage = error.exit_code() != 0;
            drop(error.print());
            return ExitCode::from(if usage { Exit::Usage.code() } else { Exit::Done.code() });
        }
    };
    match cli.verb.run(&cli.context) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            // A reader that has gone (`tidegate history | head`) is no failure of ours.
            if error.chain().any(<dyn std::error::Error>::is::<ReaderGone>) {
                return ExitCode::from(Exit::Done.code());
            }
            let wrong = error.chain().any(<dyn std::error::Error>::is::<Wrong>);
            let exit = if wrong { Exit::Usage } else { Exit::Error };
            drop(writeln!(std::io::stderr().lock(), "tidegate: {}", crate::port::in_one_line(error.as_ref())));
            ExitCode::from(exit.code())
        }
    }
}

/// Turns the words of the Java capture proxy and of a workflow file, where `tidegate proxy` was given them, into ours.
fn translated(mut args: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let Some(verb) = args.iter().position(|arg| arg == "proxy") else { return Ok(args) };
    // Not a value of another verb's flag: only our own few flags may stand before a verb.
    if args[1..verb].iter().any(|arg| !arg.to_string_lossy().starts_with('-')) {
        return Ok(args);
    }
    let env =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let take = |args: &mut Vec<OsString>, translated: Option<proxy::java::Translated>| {
        let Some(translated) = translated else { return };
        args.truncate(verb + 1);
        args.extend(translated.args);
        for note in translated.notes {
            drop(writeln!(std::io::stderr().lock(), "tidegate proxy: {note}"));
        }
    };
    let java = proxy::java::translate(&args[verb + 1..], env)?;
    take(&mut args, java);
    // Behind the other: what is said, in whatever words, wins over the file.
    let workflow = proxy::from_workflow::translate(&args[verb + 1..])?;
    take(&mut args, workflow);
    Ok(args)
}

/// Nobody reads stdout any more. An error of its own: a pipe to the daemon breaks with the same word from the system, and
/// that is a failure.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads what is printed")]
struct ReaderGone;

/// Flags that make no sense as they stand, where clap cannot see it: the verb ends with [`Exit::Usage`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Wrong(String);

impl Wrong {
    fn because(why: impl Into<String>) -> anyhow::Error {
        Self(why.into()).into()
    }
}

/// The token of control APIs over TCP: what the file holds, or the environment where none is named.
fn token(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let token = match file {
        Some(path) => {
            let read = std::fs::read_to_string(path);
            Some(read.with_context(|| format!("cannot read the token from {}", path.display()))?)
        }
        None => std::env::var(crate::run::TOKEN).ok(),
    };
    Ok(token.map(|token| token.trim().to_owned()))
}

fn printed(written: std::io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        written => Ok(written?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that no verb's arguments contradict each other (clap checks that only when asked).
    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
