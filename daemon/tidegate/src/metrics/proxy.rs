//! Numbers from our own proxies: their counters, read every so often and kept for a while, answer any window by
//! difference.
//!
//! A window counts from the first reading at or after its beginning to the first reading at or after its end, so
//! windows that touch share no request and lose none, and nothing from before the window is in it. A proxy that came up
//! again counts from zero; what it counted up to its last reading is added, what came after that is lost with it.
//! Where readings are missing the answer is an error, never a zero.
//!
//! Proxies behind a name in DNS come and go. One that came is counted from its start on; one that went, up to its last
//! reading, and where that was long before it was known to be gone, the time between is missing. While nobody knows who is
//! there the answer waits: who is known then is counted on, and stands for nobody else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
use crate::proxies::{Known, Proxies, each};

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

/// How many proxies are kept that are gone.
const GONE_MAX: usize = 128;

/// How many answered windows' ends are kept as they were, so that the next window begins exactly there.
const MARKS_MAX: usize = 64;

/// Our own proxies as a source of numbers. Reads their counters in a task of its own until it is dropped.
pub struct ProxyCounters {
    book: Arc<Mutex<Book>>,
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

/// What is kept of all proxies.
#[derive(Default)]
struct Book {
    /// Those that are there, and those that were.
    kept: Vec<Kept>,
    /// When the last round was begun of which it is known who was there.
    whole: Option<Timestamp>,
    /// Why that is not known of the last round, if so.
    failed: Option<String>,
    /// Up to when somebody may have counted of whom nothing is kept.
    forgotten: Option<Timestamp>,
}

/// What is kept of one proxy.
struct Kept {
    name: String,
    /// For one that came while others were read already: the last moment at which it was not there, and that it had counted
    /// nothing by then.
    born: Option<Taken>,
    /// When it was found to be gone, if it is.
    gone: Option<Timestamp>,
    /// When it was there and not read, up to its end.
    lost: Option<Window>,
    readings: VecDeque<Taken>,
    /// Readings at the ends of answered windows.
    marks: BTreeMap<Timestamp, Taken>,
    /// Why the last reading failed, if it did.
    error: Option<String>,
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
            let answer = answer.map(Arc::new).map_err(|error| error.why);
            (proxy.name().to_owned(), answer)
        });
        book.lock().expect("nobody panics while holding it").round(at, answers.collect(), failed);
        round.send_modify(|round| *round += 1);
    }
}

/// What the proxies of one round said, by name.
type Answers = Vec<(String, Result<Arc<Counters>, String>)>;

impl Book {
    /// Takes the answers of all that were known when a round was begun; `failed` says why these may not have been all.
    fn round(&mut self, at: Timestamp, answers: Answers, failed: Option<String>) {
        if failed.is_none() {
            for kept in self.kept.iter_mut().filter(|kept| !answers.iter().any(|(name, _)| *name == kept.name)) {
                kept.end(at);
            }
            self.forget(at);
        }
        let mut instances = BTreeSet::new();
        for (name, answer) in answers {
            if answer.as_ref().is_ok_and(|counters| !instances.insert(counters.instance.clone())) {
                // One proxy at two addresses counts once.
                continue;
            }
            let kept = self.of(&name, answer.as_ref().ok().map(|counters| counters.instance.as_str()), at);
            match answer {
                Ok(counters) => kept.take(Taken { at, counters }),
                Err(why) => kept.error = Some(why),
            }
        }
        if failed.is_none() {
            self.whole = Some(at);
        }
        self.failed = failed;
    }

    /// What is kept of the proxy at an address. One that was gone is the same only where it never ended; another process at
    /// the address of one that is gone is another proxy.
    fn of(&mut self, name: &str, instance: Option<&str>, at: Timestamp) -> &mut Kept {
        let last = |kept: &Kept| kept.readings.back().map(|taken| taken.counters.instance.clone());
        let back = self.kept.iter().position(|kept| {
            kept.name == name && kept.gone.is_some() && instance.is_some() && last(kept).as_deref() == instance
        });
        if let Some(mut back) = back.map(|place| self.kept.remove(place)) {
            self.kept.retain(|kept| kept.name != name || kept.gone.is_some());
            back.gone = None;
            self.kept.push(back);
        }
        let place = self.kept.iter().position(|kept| kept.name == name && kept.gone.is_none());
        let place = place.unwrap_or_else(|| {
            let nothing = |before| Taken { at: before, counters: Arc::default() };
            let born = self.whole.filter(|before| *before < at).map(nothing);
            self.kept.push(Kept { born, ..Kept::new(name) });
            self.kept.len() - 1
        });
        &mut self.kept[place]
    }

    /// Forgets those that have been gone for long, or are too many.
    fn forget(&mut self, now: Timestamp) {
        self.kept.retain(|kept| kept.gone.is_none_or(|gone| now.since(gone) <= KEPT));
        while self.kept.iter().filter(|kept| kept.gone.is_some()).count() > GONE_MAX {
            let earliest = |kept: &Kept| kept.gone.unwrap_or(now);
            let Some(place) = (0..self.kept.len()).min_by_key(|place| earliest(&self.kept[*place])) else { return };
            self.forgotten = self.forgotten.max(self.kept.remove(place).gone);
        }
    }

    /// Why the last round does not tell everything.
    fn errors(&self) -> Vec<String> {
        let of_proxies = self.kept.iter().filter_map(|proxy| proxy.error.as_ref());
        self.failed.iter().chain(of_proxies).cloned().collect()
    }

    /// What is answered when nobody was read yet: nothing before the first round, and then that there is nobody.
    fn none(&self) -> Result<Option<Observation>, PortError> {
        match &self.failed {
            Some(why) => Err(later(why.clone())),
            None if self.whole.is_none() => Ok(None),
            None => Err(PortError::never("metrics", "there is no proxy to count anything")),
        }
    }

    /// Why a window cannot be answered, whoever was read.
    fn missing(&self, window: Window) -> Option<PortError> {
        let never = |name: &str, from: Timestamp, to: Timestamp| {
            let text = format!("the counters of the proxy at {name} were not read from {} ms to {} ms", from.0, to.0);
            Some(PortError::never("metrics", text))
        };
        if let Some(forgotten) = self.forgotten.filter(|forgotten| *forgotten > window.from) {
            return never("an address that is gone", window.from, forgotten);
        }
        let overlaps = |lost: &Window| lost.from < window.to && lost.to > window.from;
        let lost = self.kept.iter().find_map(|kept| Some((kept, kept.lost.filter(overlaps)?)));
        lost.and_then(|(kept, lost)| never(&kept.name, lost.from, lost.to))
    }
}

impl Kept {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            born: None,
            gone: None,
            lost: None,
            readings: VecDeque::new(),
            marks: BTreeMap::new(),
            error: None,
        }
    }

    /// It is not there any more. What it did after its last reading is missing, unless that was a moment ago.
    fn end(&mut self, at: Timestamp) {
        if self.gone.is_some() {
            return;
        }
        (self.gone, self.error) = (Some(at), None);
        let last = self.readings.back().or(self.born.as_ref()).map(|taken| taken.at);
        if let Some(last) = last.filter(|last| at.since(*last) > LATE_MAX) {
            // Of two such times the first and the last moment are kept: what lies between is doubted too.
            let from = self.lost.map_or(last, |lost| lost.from);
            self.lost = Some(Window { from, to: at });
        }
    }

    fn take(&mut self, taken: Taken) {
        self.error = None;
        if self.readings.back().is_some_and(|last| last.at > taken.at) {
            // The wall clock was set back: what was read before cannot be placed any more, so it is unknown.
            self.readings.clear();
            self.marks.clear();
            self.born = None;
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
        self.born.take_if(|born| now.since(born.at) > KEPT);
        self.lost.take_if(|lost| now.since(lost.to) > KEPT);
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
        if let Some(born) = self.born.as_ref().filter(|born| at <= born.at) {
            return Ok(born);
        }
        let Some(found) = self.readings.iter().find(|taken| taken.at >= at) else {
            // One that is gone counts nothing any more.
            let last = self.readings.back().or(self.born.as_ref()).filter(|_| self.gone.is_some());
            return last.ok_or(Edge::NotYet);
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
            // Nothing counted by nobody is what one that came begins with.
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
        let there = || kept.iter().filter(|proxy| proxy.gone.is_none());
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
        for proxy in book.kept.iter().filter(|proxy| proxy.gone.is_none()) {
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
        for proxy in book.kept.iter().filter(|proxy| proxy.gone.is_none()) {
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
