//! Numbers from our own proxies: their counters, read every so often and kept for a while, answer any window by
//! difference.
//!
//! A window counts from the first reading at or after its beginning to the first reading at or after its end, so
//! windows that touch share no request and lose none, and nothing from before the window is in it. A proxy that came up
//! again counts from zero; what it counted up to its last reading is added, what came after that is lost with it.
//! Where readings are missing the answer is an error, never a zero.
//!
//! Proxies behind a name in DNS come and go. One that came is counted from its start on, where it
//! started after it was known not to be there; one that went, up to its last
//! reading, and where that was long before it was known to be gone, the time between is missing. While nobody knows who is
//! there the answer waits: who is known then is counted on, and stands for nobody else.

mod book;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cutover::event::Observation;
use cutover::{Timestamp, Window};
use judge::{Block, Counts};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::book::{Book, Edge, Kept, Taken, Told};
use super::MetricSource;
use crate::clock::Clock;
use crate::port::{Answer, PortError};
use crate::proxies::{Known, Proxies, each};

/// How often counters are read. Four times a second serves tripwires; an answer is a few tens of KiB.
const READ_EVERY: Duration = Duration::from_millis(250);

/// The shortest real pause between two readings, where the clock runs fast.
const READ_EVERY_MIN: Duration = Duration::from_millis(20);

/// How old the newest reading of a glance may be, in pauses between two readings.
const GLANCE_PAUSES_MAX: u32 = 6;

/// Our own proxies as a source of numbers. Reads their counters in a task of its own until it is dropped.
pub struct ProxyCounters {
    book: Arc<Mutex<Book>>,
    rounds: watch::Receiver<u64>,
    glance_age_max: Duration,
    /// Ends the task with this value.
    _task: JoinSet<()>,
}

impl ProxyCounters {
    /// Begins to read the counters of `proxies`. Must be called within a runtime.
    pub fn new(proxies: impl Into<Proxies>, clock: Clock) -> Self {
        let book = Arc::new(Mutex::new(Book::default()));
        let (round, rounds) = watch::channel(0);
        let glance_age_max = clock.shown(read_every(&clock)) * GLANCE_PAUSES_MAX;
        let mut task = JoinSet::new();
        task.spawn(read_on(proxies.into(), clock, Arc::clone(&book), round));
        Self { book, rounds, glance_age_max, _task: task }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nobody panics while holding it")
    }
}

/// What really lies between two readings.
fn read_every(clock: &Clock) -> Duration {
    clock.real(READ_EVERY).max(READ_EVERY_MIN)
}

async fn read_on(proxies: Proxies, clock: Clock, book: Arc<Mutex<Book>>, round: watch::Sender<u64>) {
    let mut every = tokio::time::interval(read_every(&clock));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let Known { remotes, failed } = proxies.lately().await;
        // The time at which the reading is begun: everything up to then is in it.
        let at = clock.now();
        let answers = each(&remotes, |proxy| async move { proxy.counters().await }).await;
        let answers = answers.into_iter().map(|(proxy, answer)| {
            let told = match answer {
                Ok(counters) => Told::Counters(Arc::new(counters)),
                Err(_) if proxy.is_starting() => Told::Starting,
                Err(error) => Told::Failed(error.why),
            };
            (proxy.name().to_owned(), told)
        });
        book.lock().expect("nobody panics while holding it").round(at, answers.collect(), failed);
        round.send_modify(|round| *round += 1);
    }
}

/// Both sides of every proxy together; the length is that of the longest: the windows of all lie within one reading, but for
/// those that came later or went before.
fn together(parts: Vec<[Block; 2]>, window: Window) -> Observation {
    let [mut reads, mut writes] = [Block::default(), Block::default()];
    let millis = parts.iter().map(|[reads, _]| reads.millis).max().unwrap_or_default();
    for [part_reads, part_writes] in parts {
        for (whole, part) in [(&mut reads, part_reads), (&mut writes, part_writes)] {
            whole.source.merge(&part.source);
            whole.target.merge(&part.target);
        }
    }
    (reads.millis, writes.millis) = (millis, millis);
    Observation { window, reads, writes }
}

/// The shortest window that has both in it.
fn around(one: Window, other: Window) -> Window {
    Window { from: one.from.min(other.from), to: one.to.max(other.to) }
}

fn later(why: impl Into<String>) -> PortError {
    PortError::later("metrics", why.into())
}

fn backwards(name: &str) -> PortError {
    later(format!("the counters of the proxy at {name} ran backwards within one start of it"))
}

impl ProxyCounters {
    /// The answer for a window, or `None` while readings that will come are awaited.
    fn answer(&self, window: Window) -> Result<Option<Observation>, PortError> {
        let mut book = self.book();
        if book.kept.iter().all(|kept| kept.gone.is_some()) {
            return book.none();
        }
        if book.whole.is_none_or(|whole| whole < window.to) {
            return Ok(None);
        }
        if let Some(missing) = book.missing(window) {
            return Err(missing);
        }
        let kept = &mut book.kept;
        let mut parts = Vec::with_capacity(kept.len());
        let mut ends = Vec::with_capacity(kept.len());
        for proxy in kept.iter() {
            let edge = |at| match proxy.edge(at) {
                Ok(taken) => Ok(Some(taken.clone())),
                Err(Edge::NotYet) => Ok(None),
                Err(Edge::Missing { next }) => Err(PortError::never(
                    "metrics",
                    format!(
                        "the counters of the proxy at {} were not read from {} ms to {} ms",
                        proxy.name, at.0, next.0
                    ),
                )),
            };
            let (Some(from), Some(to)) = (edge(window.from)?, edge(window.to)?) else { return Ok(None) };
            parts.push(proxy.between(&from, &to).ok_or_else(|| backwards(&proxy.name))?);
            ends.push(to);
        }
        for (proxy, end) in kept.iter_mut().zip(ends) {
            proxy.marks.insert(window.to, end);
        }
        Ok(Some(together(parts, window)))
    }
}

impl MetricSource for ProxyCounters {
    fn observe(&self, window: Window) -> Answer<'_, Observation> {
        let mut rounds = self.rounds.clone();
        Box::pin(async move {
            loop {
                rounds.mark_unchanged();
                if let Some(observation) = self.answer(window)? {
                    return Ok(observation);
                }
                let errors = self.book().errors();
                if !errors.is_empty() {
                    return Err(later(errors.join("; ")));
                }
                if rounds.changed().await.is_err() {
                    return Err(later("nobody reads the counters any more"));
                }
            }
        })
    }

    fn glance(&self, now: Timestamp, length: Duration) -> Answer<'_, Observation> {
        let answer = self.look(now, length);
        Box::pin(async move { answer })
    }

    fn history(&self, window: Window, every: Duration) -> Answer<'_, Vec<Observation>> {
        let answer = self.past(window, every);
        Box::pin(async move { answer })
    }
}

impl ProxyCounters {
    /// Stretches of `every` up to the newest reading, as far back as readings lie near enough to their edges.
    fn past(&self, window: Window, every: Duration) -> Result<Vec<Observation>, PortError> {
        let book = self.book();
        let kept = &book.kept;
        let there = || kept.iter().filter(|proxy| proxy.is_read());
        let newest = there().map(|proxy| proxy.readings.back().map(|taken| taken.at)).min().flatten();
        let since_ever = there().filter(|proxy| proxy.born.is_none());
        let oldest = since_ever.map(|proxy| proxy.readings.front().map(|taken| taken.at)).max().flatten();
        let (Some(newest), Some(oldest)) = (newest, oldest) else { return Ok(Vec::new()) };
        let (from, to) = (window.from.max(oldest), window.to.min(newest));
        let rows = to.since(from).as_millis() / every.as_millis().max(1);
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        let edges: Vec<Timestamp> = (0..=rows).rev().map(|back| to.minus(every.saturating_mul(back))).collect();
        let mut found: Vec<Observation> = Vec::new();
        for pair in edges.windows(2) {
            let ends =
                |at: Timestamp| kept.iter().map(|proxy| proxy.edge(at).ok().cloned()).collect::<Option<Vec<_>>>();
            let lost = book.missing(Window { from: pair[0], to: pair[1] }).is_some();
            let (Some(froms), Some(tos), false) = (ends(pair[0]), ends(pair[1]), lost) else {
                found.clear();
                continue;
            };
            let mut parts = Vec::with_capacity(kept.len());
            for ((proxy, from), to) in kept.iter().zip(&froms).zip(&tos) {
                if from.at > to.at {
                    continue;
                }
                parts.push(proxy.between(from, to).ok_or_else(|| backwards(&proxy.name))?);
            }
            // All proxies are read at once, so the edges of one stand for those of all; neighbours share theirs. Those that
            // came later or went before have others.
            let edge = |taken: &[Taken], at| taken.iter().map(|taken| taken.at).filter(|found| *found >= at).min();
            let (Some(from), Some(to)) = (edge(&froms, pair[0]), edge(&tos, pair[1])) else { continue };
            if to > from {
                found.push(together(parts, Window { from, to }));
            }
        }
        Ok(found)
    }

    /// What one proxy counted in about the last `length`.
    fn last(&self, proxy: &Kept, now: Timestamp, length: Duration) -> Result<([Block; 2], Window), PortError> {
        let Some(newest) = proxy.readings.back().filter(|newest| now.since(newest.at) <= self.glance_age_max) else {
            let why = proxy.error.clone().unwrap_or_else(|| "its counters were not read lately".to_owned());
            return Err(later(format!("cannot look at the proxy at {}: {why}", proxy.name)));
        };
        let from = newest.at.minus(length);
        let born = proxy.born.as_ref().filter(|born| born.at >= from);
        let first = proxy.readings.iter().find(|taken| taken.at >= from).expect("the newest one is such");
        let oldest = born.unwrap_or(first);
        // Less than three quarters of the asked length would make a tripwire fire on less than it says.
        if born.is_none() && newest.at.since(oldest.at) * 4 < length * 3 {
            return Err(later(format!("the proxy at {} is not read for {length:?} yet", proxy.name)));
        }
        let counted = proxy.between(oldest, newest).ok_or_else(|| backwards(&proxy.name))?;
        Ok((counted, Window { from: oldest.at, to: newest.at }))
    }

    fn look(&self, now: Timestamp, length: Duration) -> Result<Observation, PortError> {
        let book = self.book();
        if let Some(why) = &book.failed {
            return Err(later(why.clone()));
        }
        if let Some(missing) = book.missing(Window { from: now.minus(length), to: now }) {
            return Err(later(missing.source.to_string()));
        }
        let mut parts = Vec::with_capacity(book.kept.len());
        let mut window: Option<Window> = None;
        for proxy in book.kept.iter().filter(|proxy| proxy.is_read()) {
            let (counted, looked) = self.last(proxy, now, length)?;
            parts.push(counted);
            window = Some(window.map_or(looked, |window| around(window, looked)));
        }
        let window = window.ok_or_else(|| PortError::never("metrics", "there is no proxy to count anything"))?;
        Ok(together(parts, window))
    }

    /// The same of those proxies that are read, in sum, whatever class a request was of and whichever of its own sides a
    /// proxy gave it to; and when. The others are left out.
    ///
    /// # Errors
    /// When none is.
    pub fn known(&self, now: Timestamp, length: Duration) -> Result<(Counts, Window), PortError> {
        let book = self.book();
        let mut sum = Counts::default();
        let mut window: Option<Window> = None;
        let mut silent: Vec<String> = book.failed.iter().cloned().collect();
        for proxy in book.kept.iter().filter(|proxy| proxy.is_read()) {
            match self.last(proxy, now, length) {
                Ok((blocks, looked)) => {
                    for block in &blocks {
                        sum.merge(&block.source);
                        sum.merge(&block.target);
                    }
                    window = Some(window.map_or(looked, |window| around(window, looked)));
                }
                Err(error) => silent.push(error.source.to_string()),
            }
        }
        let window = window.ok_or_else(|| later(silent.join("; ")))?;
        Ok((sum, window))
    }
}

#[cfg(test)]
mod tests;
