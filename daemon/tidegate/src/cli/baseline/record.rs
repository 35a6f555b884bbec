//! `tidegate baseline record`: a source's counts as they come, minute by minute, or what the daemon still knows of them.
//!
//! Counters are cumulative, so a proxy that does not answer for a while costs no count: the row it fell into only gets
//! longer. What was recorded is written every few minutes, and when the recording is interrupted.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cutover::baseline::{Class, Document, Origin};
use cutover::policy::BalancerPolicy;
use cutover::{Observation, Timestamp, Window};
use judge::Counts;
use judge::record::{Record as Recorded, Row};
use tokio::signal::unix::{SignalKind, signal};

use super::{Output, period, tool};
use crate::baselines;
use crate::cli::api::Api;
use crate::cli::{Context, Exit};
use crate::clock::{self, Clock};
use crate::daemon::Detail;
use crate::metrics::MetricSource;
use crate::proxies::{Known, Place, Proxies, Remote, each};
use crate::run::{TOKEN, counters_of};
use crate::screen::format;

/// How long one row is.
const ROW: Duration = Duration::from_mins(1);
/// How long the counts of a row may be waited for beyond its end.
const ROW_PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing may be heard of a proxy before the recording ends: the counters of longer ago are not kept.
const SILENCE_MAX: Duration = Duration::from_mins(30);
/// After how many rows what was recorded is written.
const WRITE_EVERY: usize = 10;
/// The longest recording: more than a record holds is not kept.
const RECORDING_MAX: Duration = Duration::from_hours(8 * 7 * 24);
/// From this share of requests on the target, the source's rate is not that of the service.
const TARGET_SHARE_MAX: f64 = 0.01;

/// An interrupted row of less than this is left out.
const OPEN_MIN: Duration = Duration::from_secs(1);

/// Somebody ended the recording.
#[derive(Debug, thiserror::Error)]
#[error("the recording was interrupted")]
struct Interrupted;

/// The arguments of `tidegate baseline record`.
#[derive(Debug, clap::Args)]
pub(super) struct Record {
    /// The service whose source is recorded.
    service: String,
    /// Control API of a proxy, `unix:PATH` or `HOST:PORT` (which needs `TIDEGATE_TOKEN`), or `dns://NAME:PORT` for all behind
    /// a name; once for each. Without it, the daemon is asked which proxies the service has.
    #[arg(long, value_name = "ADDR")]
    control: Vec<Place>,
    /// For how long: a week (`7d`) gives a normal for each hour of the week. Ctrl-C ends it earlier and writes what there
    /// is.
    #[arg(long = "for", value_name = "D", value_parser = period, required_unless_present = "last")]
    length: Option<Duration>,
    /// Instead: what the daemon still knows of the last so long, at once.
    #[arg(long, value_name = "D", value_parser = period, conflicts_with_all = ["length", "control"])]
    last: Option<Duration>,
    #[command(flatten)]
    output: Output,
}

impl Record {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        self.output.check()?;
        context.block_on(async {
            if let Some(last) = self.last {
                return self.past(last, context).await;
            }
            self.live(self.length.unwrap_or(ROW), context).await
        })
    }

    /// What the daemon still knows.
    async fn past(&self, last: Duration, context: &Context) -> anyhow::Result<Exit> {
        let path = format!("/v1/cutovers/{}/past?seconds={}", self.service, last.as_secs().max(1));
        let rows: Vec<Observation> = Api::new(context)?.get(&path).await?;
        if rows.is_empty() {
            bail!(
                "the daemon knows nothing of the last {} of {}: its source of numbers keeps no history, and no cutover \
                 recorded it; record it as it comes, with --for",
                format::duration(last),
                self.service
            );
        }
        let document = self.document(&rows, format!("the daemon at {}", context.api), Origin::Daemon)?;
        self.output.write(&document, context)?;
        Ok(Exit::Done)
    }

    /// The proxies' counters as they come.
    async fn live(&self, length: Duration, context: &Context) -> anyhow::Result<Exit> {
        if length > RECORDING_MAX {
            bail!("{} is longer than a record can be; eight weeks are enough", format::duration(length));
        }
        let addresses = self.addresses(context).await?;
        let token = std::env::var(TOKEN).ok();
        let source = counted(&addresses, token.as_deref()).await?;
        let clock = Clock::system();
        let metrics = counters_of(addresses, token.as_deref(), clock.clone());
        context.say(&format!(
            "recording {} from {source} for {}; Ctrl-C ends it and writes what there is",
            self.service,
            format::duration(length)
        ))?;
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut rows: Vec<Observation> = Vec::new();
        let mut lost = None;
        let from = clock.now();
        let until = from.plus(length);
        let mut following = Window { from, to: from.plus(ROW.min(length)) };
        while following.from < until {
            let told = tokio::select! {
                told = next(metrics.as_ref(), following, &clock) => told,
                _ = interrupt.recv() => Err(Interrupted.into()),
                _ = terminate.recv() => Err(Interrupted.into()),
            };
            match told {
                Ok(observation) => {
                    following = Window { from: following.to, to: following.to.plus(ROW).min(until) };
                    rows.push(observation);
                    self.tell(&rows, from, length, context)?;
                    if rows.len().is_multiple_of(WRITE_EVERY)
                        && let Ok(document) = self.document(&rows, source.clone(), Origin::Proxies)
                    {
                        baselines::save(&self.output.out, &document)?;
                    }
                }
                Err(why) if why.is::<Interrupted>() => {
                    // What the open row has so far is a row as well, if it is there to be had.
                    let open = Window { from: following.from, to: clock.now() };
                    if open.length() >= OPEN_MIN
                        && let Ok(observation) = next(metrics.as_ref(), open, &clock).await
                    {
                        rows.push(observation);
                    }
                    break;
                }
                // The counters go on: the next edge that is seen ends a longer row.
                Err(why) if following.length() < SILENCE_MAX && following.to < until => {
                    context.say(&format!("no counts now, going on: {why:#}"))?;
                    following.to = following.to.plus(ROW).min(until);
                }
                Err(why) => {
                    lost = Some(why);
                    break;
                }
            }
        }
        if rows.is_empty() {
            let why = lost.map_or_else(|| "it was ended before the first row".to_owned(), |why| format!("{why:#}"));
            bail!("nothing of {} was recorded: {why}", self.service);
        }
        let document = self.document(&rows, source, Origin::Proxies)?;
        self.output.write(&document, context)?;
        if let Some(why) = lost {
            bail!("the recording ended early, and what came before is written: {why:#}");
        }
        Ok(Exit::Done)
    }

    /// The proxies that were named, or those that the service's policy names, or the daemon's own.
    async fn addresses(&self, context: &Context) -> anyhow::Result<Vec<Place>> {
        if !self.control.is_empty() {
            return Ok(self.control.clone());
        }
        let detail: Detail = Api::new(context)?
            .get(&format!("/v1/cutovers/{}", self.service))
            .await
            .context("cannot find out which proxies to record (name them with --control)")?;
        let Some(policy) = detail.policy else {
            bail!("{} has no sound policy that names its proxies; name them with --control", self.service);
        };
        let BalancerPolicy::Listener { proxies, .. } = policy.balancer else {
            bail!(
                "{} is behind an ALB; its history is in CloudWatch, where a cutover finds it by itself",
                self.service
            );
        };
        if proxies.is_empty() {
            // The daemon's own proxy counts where the daemon answers.
            return Ok(vec![context.api.parse()?]);
        }
        proxies.iter().map(|address| Ok(address.parse()?)).collect()
    }

    /// A line of progress, on a terminal.
    fn tell(&self, rows: &[Observation], from: Timestamp, length: Duration, context: &Context) -> anyhow::Result<()> {
        let Some(last) = rows.last().filter(|_| std::io::stderr().is_terminal()) else { return Ok(()) };
        let counts = source(last);
        let minutes = last.window.length().as_secs_f64() / 60.0;
        let share = counts.errors() as f64 / counts.requests.max(1) as f64;
        context.say(&format!(
            "{}: {} of {}, {:.0} requests a minute, {} errors",
            self.service,
            format::duration(last.window.to.since(from)),
            format::duration(length),
            counts.requests as f64 / minutes,
            format::share(share)
        ))
    }

    fn document(&self, rows: &[Observation], source_text: String, origin: Origin) -> anyhow::Result<Document> {
        let of = |counts: &dyn Fn(&Observation) -> Counts| -> Vec<Row> {
            rows.iter()
                .map(|row| Row {
                    from: row.window.from.0,
                    millis: u64::try_from(row.window.length().as_millis()).unwrap_or(u64::MAX),
                    counts: counts(row),
                })
                .collect()
        };
        let refused = |why: judge::record::Refusal| anyhow::anyhow!("this is no record: {} ({})", why.what, why.hint);
        let record = Recorded::of(&of(&source)).map_err(refused)?;
        let reads = Recorded::of(&of(&|row: &Observation| row.reads.source.clone())).ok();
        let target: u64 = rows.iter().map(|row| row.reads.target.requests + row.writes.target.requests).sum();
        let both = target + rows.iter().map(|row| source(row).requests).sum::<u64>();
        let share = target as f64 / both.max(1) as f64;
        if share > TARGET_SHARE_MAX {
            bail!(
                "the target had {} of the requests, so the rate of the source is not that of {}: record it while the \
                 source has everything",
                format::share(share),
                self.service
            );
        }
        Ok(Document {
            service: self.service.clone(),
            source: source_text,
            origin,
            tool: tool(),
            written: clock::now(),
            class: Class::All,
            record,
            reads,
        })
    }
}

/// Reads and writes of the source together.
fn source(row: &Observation) -> Counts {
    let mut counts = row.reads.source.clone();
    counts.merge(&row.writes.source);
    counts
}

/// The counts of a row, once it is over.
async fn next(metrics: &dyn MetricSource, window: Window, clock: &Clock) -> anyhow::Result<Observation> {
    let limit = window.to.since(clock.now()) + ROW_PATIENCE;
    // A source that says at once that it cannot answer is asked again when the row is over.
    tokio::time::sleep(window.to.since(clock.now())).await;
    match tokio::time::timeout(limit, metrics.observe(window)).await {
        Ok(answer) => Ok(answer?),
        Err(_) => bail!("no counts within {} s", ROW_PATIENCE.as_secs()),
    }
}

/// Which proxies are counted, in words; asks each once, so that a wrong address is told before an hour is over.
async fn counted(places: &[Place], token: Option<&str>) -> anyhow::Result<String> {
    let Known { remotes, failed } = Proxies::at(places.iter().cloned(), token).now().await;
    if let Some(why) = failed {
        bail!(why);
    }
    for (remote, answer) in each(&remotes, |proxy| async move { proxy.counters().await }).await {
        answer.with_context(|| format!("cannot read the counters at {}", remote.name()))?;
    }
    let names: Vec<&str> = remotes.iter().map(Remote::name).collect();
    Ok(format!("{} at {}", if names.len() == 1 { "the proxy" } else { "the proxies" }, names.join(", ")))
}
