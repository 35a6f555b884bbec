//! `tidegate run`: the daemon.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use proxy::config::ControlAddress;
use tracing_subscriber::EnvFilter;

use super::{Context, Exit};
use crate::clock::Clock;
use crate::config::{self, Config, DEFAULT_FILE, Log, LogFormat};
use crate::serve;

/// Threads of the control plane: the loops are light, and the journal has a thread of its own.
const THREADS: usize = 2;

/// The arguments of `tidegate run`. What they say goes over what the file says.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The daemon's own settings; /etc/tidegate/tidegate.toml is read when it is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory with the policies.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// The directory with the journal.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Where the control API listens, as `unix:PATH`; TCP is set up in the file, since it needs a token.
    #[arg(long, value_name = "unix:PATH")]
    control: Option<ControlAddress>,
    /// The form of the log.
    #[arg(long, value_name = "human|json", value_parser = ["human", "json"])]
    log: Option<String>,
    /// How many times as fast as real time the daemon's clock runs: for cutovers in a world that keeps the same time, as
    /// the lab of our tests does. Time-outs of the network stay real.
    #[arg(long, hide = true, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3600))]
    clock_speed: u32,
}

impl Run {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let clock = Clock::fast(self.clock_speed);
        let Some(config) = self.settings(context)? else { return Ok(Exit::Usage) };
        log(&config.log)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
        let result = runtime.block_on(serve::serve(config, clock));
        // A call that hangs in the system does not keep the process.
        runtime.shutdown_background();
        result?;
        Ok(Exit::Done)
    }

    /// The settings; `None` when the file has problems, which are printed.
    fn settings(self, context: &Context) -> anyhow::Result<Option<Config>> {
        let default = Path::new(DEFAULT_FILE);
        let file = self.config.or_else(|| default.is_file().then(|| default.to_owned()));
        let mut config = match file.as_deref().map(config::load) {
            None => Config::default(),
            Some(Ok(config)) => config,
            Some(Err(problems)) => {
                for problem in problems {
                    context.say(&problem.to_string())?;
                }
                return Ok(None);
            }
        };
        if let Some(policies) = self.policies {
            config.policies_dir = policies;
        }
        if let Some(state) = self.state {
            config.state_dir = state;
        }
        match self.control {
            Some(ControlAddress::Unix(path)) => config.http.socket = path,
            Some(ControlAddress::Tcp(address)) => {
                context
                    .say(&format!("`--control {address}`: TCP needs a token; set `listen` and `token` in `[http]`"))?;
                return Ok(None);
            }
            None => {}
        }
        match self.log.as_deref() {
            Some("json") => config.log.format = LogFormat::Json,
            Some(_) => config.log.format = LogFormat::Human,
            None => {}
        }
        Ok(Some(config))
    }
}

/// Sets up the log, to stderr: stdout is for data. `RUST_LOG` goes over the settings.
pub(super) fn log(settings: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().or_else(|_| settings.level.parse::<EnvFilter>())?;
    // A log that cannot be written (a full disk, a reader that has gone) would be complained of on stderr, which is the
    // same file, and that complaint panics: the daemon would be gone when a revert is needed most.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match settings.format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
    }
    Ok(())
}
