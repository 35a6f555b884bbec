//! Numbers from our own proxies: their counters, read every so often and kept for a while, answer any window by
//! difference.
//!
//! A window counts from the first reading at or after its beginning to the first reading at or after its end, so
//! windows that touch share no request and lose none, and nothing from before the window is in it. A proxy that came up
//! again counts from zero; what it counted up to its last reading is added, what came after that is lost with it.
//! Where readings are missing the answer is an error, never a zero.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cutover::event::Observation;
use cutover::{Timestamp, Window};
use judge::{Block, Counts};
use proxy::api::Counters;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::MetricSource;
use crate::clock::Clock;
use crate::port::{Answer, PortError};
use crate::proxies::{Remote, each};

/// How often counters are read. Four times a second serves tripwires; an answer is a few tens of KiB.
const READ_EVERY: Duration = Duration::from_millis(250);

/// The shortest real pause between two readings, where the clock runs fast.
const READ_EVERY_MIN: Duration = Duration::from_millis(20);

/// Readings younger than this are all kept.
const FINE: Duration = Duration::from_secs(30);

/// Older ones are thinned to one a second up to this age.
const COARSE: Duration = Duration::from_mins(5);

/// Still older ones are thinned to one each 15 s, and forgotten at this age: no judged interval is longer.
const KEPT: Duration = Duration::from_mins(40);

const COARSE_EVERY: Duration = Duration::from_secs(1);
const OLD_EVERY: Duration = Duration::from_secs(15);

/// How far the first reading after an edge of a window may lie from it, beyond what thinning explains.
const LATE_MAX: Duration = Duration::from_secs(3);

/// How old the newest reading of a glance may be, in pauses between two readings.
const GLANCE_PAUSES_MAX: u32 = 6;

/// How many answered windows' ends are kept as they were, so that the next window begins exactly there.
const MARKS_MAX: usize = 64;

/// Our own proxies as a source of numbers. Reads their counters in a task of its own until it is dropped.
pub struct ProxyCounters {
    kept: Arc<Mutex<Vec<Kept>>>,
    rounds: watch::Receiver<u64>,
    glance_age_max: Duration,
    /// Ends the task with this value.
    _task: JoinSet<()>,
}

/// One reading of one proxy.
#[derive(Clone)]
struct Taken {
    at: Timestamp,
    counters: Arc<Counters>,
}

/// What is kept of one proxy.
struct Kept {
    name: String,
    readings: VecDeque<Taken>,
    /// Readings at the ends of answered windows.
    marks: BTreeMap<Timestamp, Taken>,
    /// Why the last reading failed, if it did.
    error: Option<String>,
}

impl ProxyCounters {
    /// Begins to read the counters of `proxies`. Must be called within a runtime.
    pub fn new(proxies: Vec<Remote>, clock: Clock) -> Self {
        let kept = proxies.iter().map(|proxy| Kept::new(proxy.name())).collect();
        let kept = Arc::new(Mutex::new(kept));
        let (round, rounds) = watch::channel(0);
        let glance_age_max = clock.shown(read_every(&clock)) * GLANCE_PAUSES_MAX;
        let mut task = JoinSet::new();
        task.spawn(read_on(proxies, clock, Arc::clone(&kept), round));
        Self { kept, rounds, glance_age_max, _task: task }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().expect("nobody panics while holding it")
    }
}

/// What really lies between two readings.
fn read_every(clock: &Clock) -> Duration {
    clock.real(READ_EVERY).max(READ_EVERY_MIN)
}

async fn read_on(proxies: Vec<Remote>, clock: Clock, kept: Arc<Mutex<Vec<Kept>>>, round: watch::Sender<u64>) {
    let mut every = tokio::time::interval(read_every(&clock));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        // The time at which the reading is begun: everything up to then is in it.
        let at = clock.now();
        let answers = each(&proxies, |proxy| async move { proxy.counters().await }).await;
        {
            let mut kept = kept.lock().expect("nobody panics while holding it");
            for (kept, (_, answer)) in kept.iter_mut().zip(answers) {
                match answer {
                    Ok(counters) => kept.take(Taken { at, counters: Arc::new(counters) }),
                    Err(error) => kept.error = Some(error.why),
                }
            }
        }
        round.send_modify(|round| *round += 1);
    }
}

impl Kept {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), readings: VecDeque::new(), marks: BTreeMap::new(), error: None }
    }

    fn take(&mut self, taken: Taken) {
        self.error = None;
        if self.readings.back().is_some_and(|last| last.at > taken.at) {
            // The wall clock was set back: what was read before cannot be placed any more, so it is unknown.
            self.readings.clear();
            self.marks.clear();
        }
        let now = taken.at;
        self.readings.push_back(taken);
        self.thin(now);
    }

    fn thin(&mut self, now: Timestamp) {
        let mut last: Option<Timestamp> = None;
        self.readings.retain(|taken| {
            let age = now.since(taken.at);
            let every = spacing(age);
            let keep = age <= KEPT && last.is_none_or(|last| taken.at.since(last) >= every);
            if keep {
                last = Some(taken.at);
            }
            keep
        });
        self.marks.retain(|at, _| now.since(*at) <= KEPT);
        while self.marks.len() > MARKS_MAX {
            self.marks.pop_first();
        }
    }

    /// The reading that stands for the edge `at`: the one that stood for it before, or the first one after it.
    fn edge(&self, at: Timestamp) -> Result<&Taken, Edge> {
        if let Some(mark) = self.marks.get(&at) {
            return Ok(mark);
        }
        let Some(found) = self.readings.iter().find(|taken| taken.at >= at) else {
            return Err(Edge::NotYet);
        };
        let newest = self.readings.back().expect("one was found");
        let late = found.at.since(at);
        if late > LATE_MAX + spacing(newest.at.since(at)) {
            return Err(Edge::Missing { next: found.at });
        }
        Ok(found)
    }

    /// What was counted between two readings, reads and writes.
    fn between(&self, from: &Taken, to: &Taken) -> Option<[Block; 2]> {
        let mut sum: [Block; 2] = [Block::default(), Block::default()];
        let mut base = Arc::clone(&from.counters);
        let mut last = Arc::clone(&from.counters);
        let inner = self.readings.iter().filter(|taken| taken.at > from.at && taken.at < to.at);
        for taken in inner.chain(std::iter::once(to)) {
            if taken.counters.instance != last.instance {
                // Another start of the proxy: the old one counted up to its last reading, the new one from zero.
                add(&mut sum, &base, &last)?;
                base = Arc::new(Counters { instance: taken.counters.instance.clone(), ..Counters::default() });
            }
            last = Arc::clone(&taken.counters);
        }
        add(&mut sum, &base, &last)?;
        let millis = u64::try_from(to.at.since(from.at).as_millis()).unwrap_or(u64::MAX);
        for block in &mut sum {
            block.millis = millis;
        }
        Some(sum)
    }
}

enum Edge {
    /// The reading will come.
    NotYet,
    /// There is none near enough, and there will be none.
    Missing { next: Timestamp },
}

/// How far apart readings of this age are kept.
fn spacing(age: Duration) -> Duration {
    if age <= FINE {
        Duration::ZERO
    } else if age <= COARSE {
        COARSE_EVERY
    } else {
        OLD_EVERY
    }
}

/// Adds what was counted from `base` to `last`; `None` when a counter ran backwards.
fn add(sum: &mut [Block; 2], base: &Counters, last: &Counters) -> Option<()> {
    let since = |last: &Counts, base: &Counts| last.since(base);
    sum[0].source.merge(&since(&last.source.reads, &base.source.reads)?);
    sum[0].target.merge(&since(&last.target.reads, &base.target.reads)?);
    sum[1].source.merge(&since(&last.source.writes, &base.source.writes)?);
    sum[1].target.merge(&since(&last.target.writes, &base.target.writes)?);
    Some(())
}

/// Both sides of every proxy together; the length is that of the shortest, the windows of all lie within one reading.
fn together(parts: Vec<[Block; 2]>, window: Window) -> Observation {
    let [mut reads, mut writes] = [Block::default(), Block::default()];
    let millis = parts.iter().map(|[reads, _]| reads.millis).min().unwrap_or_default();
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
        let mut kept = self.kept();
        if kept.is_empty() {
            return Err(PortError::never("metrics", "there is no proxy to count anything"));
        }
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
                let errors: Vec<String> = self.kept().iter().filter_map(|proxy| proxy.error.clone()).collect();
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
        let kept = self.kept();
        let newest = kept.iter().map(|proxy| proxy.readings.back().map(|taken| taken.at)).min().flatten();
        let oldest = kept.iter().map(|proxy| proxy.readings.front().map(|taken| taken.at)).max().flatten();
        let (Some(newest), Some(oldest)) = (newest, oldest) else { return Ok(Vec::new()) };
        let (from, to) = (window.from.max(oldest), window.to.min(newest));
        let rows = to.since(from).as_millis() / every.as_millis().max(1);
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        let edges: Vec<Timestamp> = (0..=rows).rev().map(|back| to.minus(every.saturating_mul(back))).collect();
        let mut found: Vec<Observation> = Vec::new();
        for pair in edges.windows(2) {
            let ends =
                |at: Timestamp| kept.iter().map(|proxy| proxy.edge(at).ok().cloned()).collect::<Option<Vec<_>>>();
            let (Some(froms), Some(tos)) = (ends(pair[0]), ends(pair[1])) else {
                found.clear();
                continue;
            };
            let mut parts = Vec::with_capacity(kept.len());
            for ((proxy, from), to) in kept.iter().zip(&froms).zip(&tos) {
                parts.push(proxy.between(from, to).ok_or_else(|| backwards(&proxy.name))?);
            }
            // All proxies are read at once, so the edges of one stand for those of all; neighbours share theirs.
            let (Some(from), Some(to)) = (froms.first(), tos.first()) else { continue };
            if to.at > from.at {
                found.push(together(parts, Window { from: from.at, to: to.at }));
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
        let oldest = proxy.readings.iter().find(|taken| taken.at >= from).expect("the newest one is such");
        // Less than three quarters of the asked length would make a tripwire fire on less than it says.
        if newest.at.since(oldest.at) * 4 < length * 3 {
            return Err(later(format!("the proxy at {} is not read for {length:?} yet", proxy.name)));
        }
        let counted = proxy.between(oldest, newest).ok_or_else(|| backwards(&proxy.name))?;
        Ok((counted, Window { from: oldest.at, to: newest.at }))
    }

    fn look(&self, now: Timestamp, length: Duration) -> Result<Observation, PortError> {
        let kept = self.kept();
        let mut parts = Vec::with_capacity(kept.len());
        let mut window: Option<Window> = None;
        for proxy in kept.iter() {
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
        let kept = self.kept();
        let mut sum = Counts::default();
        let mut window: Option<Window> = None;
        let mut silent = Vec::new();
        for proxy in kept.iter() {
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
