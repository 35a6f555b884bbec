//! `tidegate watch`: a cutover, live: the screen of [`crate::screen`], fed by the daemon's event stream.
//!
//! The screen outlives its daemon: while that one is away, what was seen last stays, with ages that grow and a line that
//! says so, and the screen goes on when the daemon does. Without a terminal it is a log, a line for each decision; with
//! `--json`, an object for each.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use cutover::{Timestamp, Verb};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::api::{Api, refusal};
use super::order::{actor, follow, outcome};
use super::{Context, Exit};
use crate::clock;
use crate::daemon::{Detail, Summary};
use crate::http::stream::Update;
use crate::screen::keys::{self, Action, Keys};
use crate::screen::terminal::Terminal;
use crate::screen::{self, Happened, Look, Trend, draw};
use crate::store::Entry;

/// How often the screen is drawn.
const FRAME: Duration = Duration::from_millis(250);
/// How many of the last decisions the screen can show.
const RECENT_MAX: usize = 30;
/// How long after a lost connection the next one is tried.
const RECONNECT: Duration = Duration::from_secs(1);
/// The picture of `--once`.
const PICTURE: (u16, u16) = (100, 30);
/// How long the answer to an order stays on the screen.
const ANSWER_SHOWN: Duration = Duration::from_secs(15);

/// The arguments of `tidegate watch`.
#[derive(Debug, clap::Args)]
pub struct Watch {
    /// The service; can be left out when the daemon has one only, or one only with a cutover.
    service: Option<String>,
    /// Print one picture as plain text, and end.
    #[arg(long)]
    once: bool,
}

impl Watch {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        context.block_on(async {
            let api = Api::new(context)?;
            let service = match self.service {
                Some(service) => service,
                None => only(&api.get::<Vec<Summary>>("/v1/cutovers").await?)?,
            };
            let live = std::io::stdout().is_terminal() && std::io::stdin().is_terminal() && !dumb();
            match (self.once, context.json, live) {
                (true, ..) => once(context, &api, &service).await,
                (false, true, _) => stream(context, &api, &service).await,
                (false, false, false) => follow(context, &service).await,
                (false, false, true) => Box::pin(show(Arc::new(api), service)).await,
            }
        })
    }
}

/// Whether the terminal cannot be drawn on.
pub(super) fn dumb() -> bool {
    std::env::var("TERM").is_ok_and(|term| term == "dumb")
}

/// The service that must be meant when none is named.
fn only(list: &[Summary]) -> anyhow::Result<String> {
    let with_cutover: Vec<&Summary> = list.iter().filter(|summary| summary.cutover.is_some()).collect();
    match (with_cutover.as_slice(), list) {
        ([one], _) => Ok(one.service.clone()),
        ([], [one]) => Ok(one.service.clone()),
        (_, []) => bail!("the daemon knows no service; put a policy file into its policy directory"),
        _ => {
            let names: Vec<&str> = list.iter().map(|summary| summary.service.as_str()).collect();
            bail!("which service? `tidegate watch SERVICE`, one of: {}", names.join(", "))
        }
    }
}

/// One picture.
async fn once(context: &Context, api: &Api, service: &str) -> anyhow::Result<Exit> {
    let detail: Detail = api.get(&format!("/v1/cutovers/{service}")).await?;
    if context.json {
        context.print_json(&detail)?;
        return Ok(Exit::Done);
    }
    let Some(view) = &detail.view else { bail!("{service} has no cutover; `tidegate start {service}` begins one") };
    let mut trend = Trend::default();
    trend.push(view.lately.as_ref());
    let recent: Vec<Happened> = recent(api, service, &view.cutover.id).await?.into();
    let look = Look { colour: false, ..Look::of_process() };
    let (cutover, now) = (&view.cutover, detail.now);
    let shown = screen::View { cutover, recent: &recent, now, notes: &[], keys: "", trend: &trend, look };
    context.print(&draw::text(&shown, PICTURE.0, PICTURE.1))?;
    Ok(Exit::Done)
}

/// Every answer of the daemon as a line of JSON, to the end of the cutover.
async fn stream(context: &Context, api: &Api, service: &str) -> anyhow::Result<Exit> {
    let each = |update: Update| {
        context.print_json(&update)?;
        Ok(outcome(&update.view))
    };
    match api.follow(service, each).await? {
        Some(exit) => Ok(exit),
        None => bail!("the daemon stopped before the cutover of {service} ended; it goes on when the daemon does"),
    }
}

/// The last decisions of a cutover, newest first.
async fn recent(api: &Api, service: &str, cutover: &str) -> anyhow::Result<VecDeque<Happened>> {
    let path = format!("/v1/cutovers/{service}/journal?cutover={cutover}&last={RECENT_MAX}");
    let entries: Vec<Entry> = api.get(&path).await?;
    Ok(entries.into_iter().rev().map(|entry| Happened::of(&entry)).collect())
}

/// What is known, as the listener leaves it for the screen.
#[derive(Default)]
struct Known {
    update: Option<(Update, Instant)>,
    recent: VecDeque<Happened>,
    trend: Trend,
    /// Why nothing comes any more, and since when.
    lost: Option<(String, Instant)>,
}

impl Known {
    fn take(&mut self, update: Update, now: Instant) {
        let view = &update.view;
        if self.update.as_ref().is_some_and(|(known, _)| known.view.cutover.id != view.cutover.id) {
            (self.recent, self.trend) = Default::default();
        }
        self.trend.push(view.lately.as_ref());
        if view.entry.is_some() {
            self.recent.push_front(Happened {
                at: view.at,
                kind: view.reason.kind.clone(),
                text: view.reason.text.clone(),
                actor: None,
            });
            self.recent.truncate(RECENT_MAX);
        }
        self.lost = None;
        self.update = Some((update, now));
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    // Plain values: a panic elsewhere leaves them usable.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows the cutover for ever, connecting again when the daemon was away.
async fn listen(api: Arc<Api>, service: String, known: Arc<Mutex<Known>>) {
    loop {
        // What was decided while nobody listened is fetched with the first update after it.
        let detail: anyhow::Result<Detail> = api.get(&format!("/v1/cutovers/{service}")).await;
        if let Ok(Some(view)) = detail.map(|detail| detail.view)
            && let Ok(recent) = recent(&api, &service, &view.cutover.id).await
        {
            lock(&known).recent = recent;
        }
        let followed = api.follow(&service, |update| {
            lock(&known).take(update, clock::instant());
            Ok(None::<()>)
        });
        let why = match followed.await {
            Ok(_) => "the daemon has no more to tell".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        lock(&known).lost.get_or_insert_with(|| (why, clock::instant()));
        tokio::time::sleep(RECONNECT).await;
    }
}

/// The live screen, until someone leaves it.
async fn show(api: Arc<Api>, service: String) -> anyhow::Result<Exit> {
    // A service that cannot be watched is said before the terminal is taken.
    let detail: Detail = api.get(&format!("/v1/cutovers/{service}")).await?;
    let Some(view) = detail.view else { bail!("{service} has no cutover; `tidegate start {service}` begins one") };
    let price = cutover::price(&view.cutover, detail.now);
    let known = Arc::new(Mutex::new(Known::default()));
    lock(&known).take(Update { view: crate::controller::View { entry: None, ..view }, price }, clock::instant());
    let mut listening = JoinSet::new();
    listening.spawn(listen(Arc::clone(&api), service.clone(), Arc::clone(&known)));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut terminal = Terminal::open().context("cannot take over the terminal")?;
    let mut frames = tokio::time::interval(FRAME);
    let mut keys = Keys::default();
    let mut orders: JoinSet<String> = JoinSet::new();
    let mut answer: Option<(String, Instant)> = None;
    loop {
        let action = tokio::select! {
            key = terminal.key() => keys.press(key),
            _ = interrupt.recv() => Some(Action::Quit),
            _ = terminate.recv() => Some(Action::Quit),
            _ = hang_up.recv() => Some(Action::Quit),
            Some(said) = orders.join_next() => {
                answer = Some((said.unwrap_or_else(|error| error.to_string()), clock::instant()));
                None
            }
            _ = frames.tick() => None,
        };
        match action {
            None => {}
            Some(Action::Quit) => {
                let known = lock(&known);
                return Ok(known.update.as_ref().and_then(|(update, _)| outcome(&update.view)).unwrap_or(Exit::Done));
            }
            Some(Action::Order { verb, reason }) => {
                answer = Some((format!("{} ordered, not answered yet", keys::word(&verb)), clock::instant()));
                orders.spawn(order(Arc::clone(&api), service.clone(), verb, reason));
            }
        }
        let now = clock::instant();
        answer = answer.filter(|(_, since)| now.saturating_duration_since(*since) < ANSWER_SHOWN);
        let mut known = lock(&known);
        frame(&mut terminal, &mut known, &keys, answer.as_ref().map(|(text, _)| text.as_str()), now)?;
    }
}

/// Gives an order; the answer is a line for the screen.
async fn order(api: Arc<Api>, service: String, verb: Verb, reason: String) -> String {
    let word = keys::word(&verb);
    let body = json!({ "verb": word, "actor": actor(None), "reason": reason });
    match api.call("POST", &format!("/v1/cutovers/{service}/orders"), Some(&body)).await {
        Ok((200, answer)) => format!("{word}: {}", answer["text"].as_str().unwrap_or("taken")),
        Ok((status, answer)) => format!("{word} was refused: {}", refusal(status, &answer)),
        Err(error) => format!("{word} did not reach the daemon: {error:#}"),
    }
}

fn frame(
    terminal: &mut Terminal,
    known: &mut Known,
    keys: &Keys,
    answer: Option<&str>,
    now: Instant,
) -> anyhow::Result<()> {
    let Known { update, recent, trend, lost } = known;
    let Some((update, seen)) = update else { return Ok(()) };
    let cutover = &update.view.cutover;
    let mut notes: Vec<(&str, String)> = answer.map(|answer| ("ORDER", answer.to_owned())).into_iter().collect();
    match lost {
        Some(_) if cutover.closed.is_some() => {
            notes.push(("CLOSED", "nothing of it can be reverted any more".to_owned()));
        }
        Some((why, since)) => {
            let away = screen::format::duration(Duration::from_secs(now.saturating_duration_since(*since).as_secs()));
            let text = format!("for {away}: shown is what was seen last, and the proxies go on as they are ({why})");
            notes.push(("NO DAEMON", text));
        }
        None => {}
    }
    // The daemon's clock, carried on by ours: the ages are right on a laptop whose time is wrong.
    let elapsed = i64::try_from(now.saturating_duration_since(*seen).as_millis()).unwrap_or(i64::MAX);
    let at = Timestamp(update.view.at.0.saturating_add(elapsed));
    let line = keys.line(&update.price.text);
    let recent = recent.make_contiguous();
    let look = Look::of_process();
    terminal.draw(&screen::View { cutover, recent, now: at, notes: &notes, keys: &line, trend, look })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::View;
    use crate::testing::cutover;

    fn summary(service: &str, cutover: bool) -> Summary {
        Summary {
            service: service.to_owned(),
            cutover: cutover.then(|| format!("{service}-1")),
            phase: "idle".to_owned(),
            desired: None,
            outlook: String::new(),
            problems: Vec::new(),
        }
    }

    /// Proves that a service need not be named when only one can be meant, and that otherwise all are named.
    #[test]
    fn a_service_that_must_be_meant_need_not_be_named() {
        assert_eq!(only(&[summary("a", false)]).unwrap(), "a");
        assert_eq!(only(&[summary("a", false), summary("b", true)]).unwrap(), "b");
        let error = only(&[summary("a", true), summary("b", true)]).unwrap_err().to_string();
        assert!(error.ends_with("one of: a, b"), "{error}");
        assert!(only(&[]).is_err());
    }

    /// Proves that another cutover of the service does not show the decisions of the one before it.
    #[test]
    fn a_new_cutover_begins_with_an_empty_story() {
        let update = |id: &str, entry| {
            let mut cutover = cutover("search");
            cutover.id = id.to_owned();
            let (reason, at) = (cutover.reason.clone(), cutover.since);
            let price = cutover::price(&cutover, at);
            Update { view: View { cutover, reason, entry, accepted: true, at, lately: None }, price }
        };
        let mut known = Known::default();
        known.take(update("search-1", Some(1)), clock::instant());
        known.take(update("search-1", None), clock::instant());
        known.take(update("search-1", Some(2)), clock::instant());
        assert_eq!(known.recent.len(), 2);
        known.take(update("search-2", Some(3)), clock::instant());
        assert_eq!(known.recent.len(), 1);
    }
}
