//! `tidegate demo`: a whole cutover on this machine, live.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cutover::{Order, Verb, price};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::watch::dumb;
use super::{Context, Exit};
use crate::clock;
use crate::controller::View;
use crate::demo::fault::Fault;
use crate::demo::stage::{self, DemoError, Outcome, Scenario, Scene, Stage, Summary};
use crate::screen::keys::{Action, Keys};
use crate::screen::terminal::Terminal;
use crate::screen::{self, Happened, Look, Trend, format};

/// Threads that carry a load balancer in AWS with everything around it.
const THREADS: usize = 2;
/// How often the screen is drawn.
const FRAME: Duration = Duration::from_millis(200);
/// How many of the last decisions the screen can show.
const RECENT_MAX: usize = 30;
/// How often a line about the clients is printed where there is no screen.
const PROGRESS: Duration = Duration::from_secs(10);

/// The arguments of `tidegate demo`.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Break the target midway, and watch the traffic being taken back.
    #[arg(long, value_enum)]
    fault: Option<Fault>,
    /// Decides what the clients ask and how long the servers take.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Move the weights of a load balancer in an AWS on this machine, with CloudWatch's late minutes as the numbers.
    #[arg(long, hide = cfg!(not(feature = "lab")))]
    aws: bool,
}

impl Demo {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        if self.aws && cfg!(not(feature = "lab")) {
            return Err(DemoError::NoLab.into());
        }
        if self.aws && self.fault == Some(Fault::Drip) {
            context.say(
                "tidegate: CloudWatch times the first byte of an answer, and a body that drips does not show there",
            )?;
            return Ok(Exit::Usage);
        }
        let state_dir = stage::state_dir(clock::now()).context("cannot make a directory for the demo's journal")?;
        let program = std::env::current_exe().context("cannot find this program, to start the demo's servers")?;
        let scenario = Scenario { fault: self.fault, seed: self.seed, program, state_dir, aws: self.aws };
        // A lab, its load balancers and their servers are more than one thread should carry beside the clients.
        let mut runtime = if self.aws {
            tokio::runtime::Builder::new_multi_thread()
        } else {
            tokio::runtime::Builder::new_current_thread()
        };
        let summary = runtime.worker_threads(THREADS).enable_all().build()?.block_on(async {
            let live = !context.json && std::io::stdout().is_terminal() && std::io::stdin().is_terminal() && !dumb();
            let mut stage = Box::pin(Stage::open(scenario)).await?;
            let shown = if live { show(&mut stage).await } else { tell(&mut stage).await };
            if !shown? {
                let reason = "interrupted".to_owned();
                let abort = Order { verb: Verb::Abort, actor: "operator".to_owned(), reason };
                stage.running().order(abort).await?;
            }
            anyhow::Ok(stage.close().await?)
        })?;
        if context.json {
            context.print_json(&summary)?;
        } else {
            context.print(&sentence(&summary, self.fault))?;
        }
        Ok(match summary.outcome {
            _ if summary.as_it_should(self.fault) => Exit::Done,
            Outcome::Done => Exit::Error,
            Outcome::Reverted => Exit::Reverted,
            Outcome::Stuck => Exit::Stuck,
            Outcome::Aborted => Exit::Aborted,
        })
    }
}

/// Shows the live screen until the end. The answer is whether it came to its end; `false` when it was interrupted.
async fn show(stage: &mut Stage) -> anyhow::Result<bool> {
    let mut terminal = Terminal::open().context("cannot take over the terminal")?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut frames = tokio::time::interval(FRAME);
    let mut story = stage.story();
    let mut recent = VecDeque::new();
    let mut keys = Keys::default();
    let mut trend = Trend::default();
    loop {
        let action = tokio::select! {
            played = stage.play() => {
                played?;
                draw(&mut terminal, &stage.scene(), recent.make_contiguous(), &keys, &mut trend)?;
                return Ok(true);
            }
            happened = next(&mut story) => {
                recent.push_front(happened);
                recent.truncate(RECENT_MAX);
                None
            }
            key = terminal.key() => keys.press(key),
            _ = interrupt.recv() => Some(Action::Quit),
            _ = terminate.recv() => Some(Action::Quit),
            _ = frames.tick() => {
                draw(&mut terminal, &stage.scene(), recent.make_contiguous(), &keys, &mut trend)?;
                None
            }
        };
        match action {
            None => {}
            Some(Action::Quit) => return Ok(false),
            Some(Action::Order { verb, reason }) => {
                let order = Order { verb, actor: "operator".to_owned(), reason };
                stage.running().order(order).await?;
            }
        }
    }
}

fn draw(
    terminal: &mut Terminal,
    scene: &Scene,
    recent: &[Happened],
    keys: &Keys,
    trend: &mut Trend,
) -> std::io::Result<()> {
    let now = scene.now;
    let cutover = &scene.view.cutover;
    trend.push(scene.view.lately.as_ref());
    let notes = notes(scene);
    let keys = keys.line(&price(cutover, now).text);
    let look = Look::of_process();
    terminal.draw(&screen::View { cutover, recent, now, notes: &notes, keys: &keys, trend, look })
}

/// What the clients see, and what broke: the demo's own lines on the screen.
fn notes(scene: &Scene) -> Vec<(&'static str, String)> {
    let tally = &scene.tally;
    let clients = format!(
        "{} requests, {} failed as they saw it; answered by the source {}, by the target {}",
        format::count(tally.requests),
        format::count(tally.failed),
        format::count(tally.by_source),
        format::count(tally.by_target),
    );
    let fault = scene.broken.map(|(fault, ago)| {
        let spoiled = format::count(tally.spoiled);
        let text = format!("{} ({} ago); {spoiled} answers spoiled", fault.sentence(), format::duration(whole(ago)));
        ("FAULT", text)
    });
    std::iter::once(("CLIENTS", clients)).chain(fault).collect()
}

/// Tells the story line by line on stderr, where there is no terminal to draw on.
async fn tell(stage: &mut Stage) -> anyhow::Result<bool> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut story = stage.story();
    let mut progress = tokio::time::interval(PROGRESS);
    let mut broken = false;
    loop {
        let line = tokio::select! {
            played = stage.play() => {
                played?;
                return Ok(true);
            }
            happened = next(&mut story) => {
                let scene = stage.scene();
                let (phase, share) = (scene.view.cutover.phase.name(), scene.view.cutover.desired.reads.to_string());
                format!("{phase:<9} {share:>5}  {}", happened.text)
            }
            _ = interrupt.recv() => return Ok(false),
            _ = terminate.recv() => return Ok(false),
            _ = progress.tick() => format!("clients          {}", notes(&stage.scene()).remove(0).1),
        };
        let scene = stage.scene();
        let mut stderr = std::io::stderr().lock();
        if let (Some((fault, _)), false) = (scene.broken, broken) {
            broken = true;
            writeln!(stderr, "{:>6.1} s  fault            {}", scene.since.as_secs_f64(), fault.sentence())?;
        }
        writeln!(stderr, "{:>6.1} s  {line}", scene.since.as_secs_f64())?;
    }
}

/// The next decision that was worth a journal entry.
async fn next(story: &mut Receiver<Arc<View>>) -> Happened {
    loop {
        match story.recv().await {
            Ok(view) if view.entry.is_some() => {
                let kind = view.reason.kind.clone();
                return Happened { at: view.at, kind, text: view.reason.text.clone(), actor: None };
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            // The loop has ended; who waits here waits for something else as well.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// How it ended, for people: what happened, whom it hurt and for how long, and where to read more.
fn sentence(summary: &Summary, fault: Option<Fault>) -> String {
    let tale = &summary.tale;
    let how = match (summary.outcome, fault) {
        (Outcome::Done, None) => "DONE: the target carries all traffic, and the source is drained.",
        (Outcome::Done, Some(_)) => "DONE, though the target was broken: that should have been seen.",
        (Outcome::Reverted, Some(_)) => "REVERTED: the target broke, and the source carries all traffic again.",
        (Outcome::Reverted, None) => "REVERTED, though nothing was broken: the source carries all traffic again.",
        (Outcome::Stuck, _) => "STUCK: a revert could not be confirmed.",
        (Outcome::Aborted, _) => "ABORTED: it was ended before its time, and the weight stayed where it was.",
    };
    let mut lines = vec![how.to_owned(), String::new()];
    let mut told: Vec<(Duration, String)> =
        tale.steps.iter().map(|(at, share)| (*at, format!("the target has {share}, confirmed"))).collect();
    told.extend(tale.broken.zip(fault).map(|(at, fault)| (at, fault.past().to_owned())));
    if let Some(back) = &tale.reverted {
        told.push((back.decided, format!("reverted from {}: {}", back.from, back.why)));
        let confirmed = |at: Duration| {
            let took = format::duration(at.saturating_sub(back.decided));
            (at, format!("the original is back, confirmed {took} after the decision"))
        };
        told.extend(back.confirmed.map(confirmed));
    } else {
        told.push((Duration::from_secs_f64(summary.seconds), tale.reason.clone()));
    }
    told.sort_by_key(|(at, _)| *at);
    lines.extend(told.into_iter().map(|(at, text)| format!("  {:>6.1} s  {text}", at.as_secs_f64())));
    lines.push(String::new());
    if let (Some(first), Some(last)) = (summary.first_bad_ms, summary.last_bad_ms) {
        let span = format::duration(Duration::from_millis(last.saturating_sub(first)));
        let spoiled = format::count(tale.tally.spoiled);
        lines.push(format!("From the first bad answer to the last: {span}; {spoiled} answers were failed or slow."));
    }
    let tally = &tale.tally;
    let mut causes = Vec::new();
    for (count, what) in [
        (tally.failed_status, "were answered with an error"),
        (tally.failed_timeout, "were not answered in time"),
        (tally.failed_connection, "lost their connection"),
    ] {
        if count > 0 {
            causes.push(format!("{} {what}", format::count(count)));
        }
    }
    let causes = if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(", ")) };
    lines.push(format!(
        "Clients sent {} requests in {:.0} s; {} of them failed{causes}.",
        format::count(summary.requests),
        summary.seconds,
        format::count(summary.failed_requests),
    ));
    lines.push(format!(
        "Weights at the end: source {} of 1000, target {} of 1000.",
        summary.source_weight, summary.target_weight
    ));
    lines.push(format!("Every decision, with its evidence: {}", summary.dossier.display()));
    lines.join("\n") + "\n"
}

fn whole(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}
