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

use super::{Context, Exit};
use crate::clock;
use crate::controller::View;
use crate::demo::fault::Fault;
use crate::demo::stage::{self, Outcome, Scenario, Scene, Stage, Summary};
use crate::screen::keys::{Action, Keys};
use crate::screen::terminal::Terminal;
use crate::screen::{self, Happened, format};

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
}

impl Demo {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let state_dir = stage::state_dir(clock::now()).context("cannot make a directory for the demo's journal")?;
        let program = std::env::current_exe().context("cannot find this program, to start the demo's servers")?;
        let scenario = Scenario { fault: self.fault, seed: self.seed, program, state_dir };
        let summary = context.block_on(async {
            let live = !context.json && std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
            let mut stage = Box::pin(Stage::open(scenario)).await?;
            let shown = if live { show(&mut stage).await } else { tell(&mut stage).await };
            if !shown? {
                let reason = "interrupted".to_owned();
                let abort = Order { verb: Verb::Abort, actor: "operator".to_owned(), reason };
                stage.running().order(abort).await?;
            }
            Ok(stage.close().await?)
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
    loop {
        let action = tokio::select! {
            played = stage.play() => {
                played?;
                draw(&mut terminal, &stage.scene(), recent.make_contiguous(), &keys)?;
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
                draw(&mut terminal, &stage.scene(), recent.make_contiguous(), &keys)?;
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

fn draw(terminal: &mut Terminal, scene: &Scene, recent: &[Happened], keys: &Keys) -> std::io::Result<()> {
    let now = clock::now();
    let cutover = &scene.view.cutover;
    let notes = notes(scene);
    let keys = keys.line(&price(cutover, now).text);
    terminal.draw(&screen::View { cutover, recent, now, notes: &notes, keys: &keys })
}

/// What the clients see, and what broke: the demo's own lines on the screen.
fn notes(scene: &Scene) -> Vec<String> {
    let tally = &scene.tally;
    let clients = format!(
        "CLIENTS   {} requests, {} failed as they saw it; answers: source {}, target {}",
        format::count(tally.requests),
        format::count(tally.failed),
        format::count(tally.by_source),
        format::count(tally.by_target),
    );
    let fault = scene.broken.map(|(fault, ago)| {
        let spoiled = format::count(tally.spoiled);
        format!("FAULT     {}: {} ago; {spoiled} answers spoiled", fault.sentence(), format::duration(whole(ago)))
    });
    std::iter::once(clients).chain(fault).collect()
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
                format!("{:<9} {:>5}  {}", scene.view.cutover.phase.name(), scene.view.cutover.desired.reads, happened.text)
            }
            _ = interrupt.recv() => return Ok(false),
            _ = terminate.recv() => return Ok(false),
            _ = progress.tick() => notes(&stage.scene()).remove(0),
        };
        let scene = stage.scene();
        let mut stderr = std::io::stderr().lock();
        if let (Some((fault, _)), false) = (scene.broken, broken) {
            broken = true;
            writeln!(stderr, "{:>6.1} s  FAULT     {}", scene.since.as_secs_f64(), fault.sentence())?;
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

/// How it ended, for people.
fn sentence(summary: &Summary, fault: Option<Fault>) -> String {
    let how = match (summary.outcome, fault) {
        (Outcome::Done, None) => "DONE: the target carries all traffic and the source is drained".to_owned(),
        (Outcome::Done, Some(fault)) => format!("DONE, though {}", fault.sentence()),
        (Outcome::Reverted, None) => "REVERTED: the source carries all traffic again".to_owned(),
        (Outcome::Reverted, Some(fault)) => {
            format!("REVERTED: {}, and the source carries all traffic again", fault.sentence())
        }
        (Outcome::Stuck, _) => "STUCK: a revert could not be confirmed".to_owned(),
        (Outcome::Aborted, _) => "ABORTED: the weight stayed where it was".to_owned(),
    };
    let spoiled = match (summary.first_bad_ms, summary.last_bad_ms) {
        (Some(first), Some(last)) => format!(
            "From the first spoiled answer to the last: {}.\n",
            format::duration(Duration::from_millis(last.saturating_sub(first)))
        ),
        _ => String::new(),
    };
    format!(
        "{how}.\nClients sent {} requests in {:.0} s; {} failed. Weights: source {} ‰, target {} ‰.\n{spoiled}Dossier: {}\n",
        format::count(summary.requests),
        summary.seconds,
        format::count(summary.failed_requests),
        summary.source_weight,
        summary.target_weight,
        summary.dossier.display()
    )
}

fn whole(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}
