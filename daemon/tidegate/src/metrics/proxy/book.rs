//! What is kept of each proxy's counters: which proxies there were and when, their readings, thinned as they age, and what was
//! counted between two of them.
//!
//! It takes one round of answers after another and reads nothing itself; windows over all proxies are put together elsewhere.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cutover::event::Observation;
use cutover::{Timestamp, Window};
use judge::{Block, Counts};
use proxy::api::Counters;

use super::later;
use crate::port::PortError;

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

/// How many proxies are kept that are gone.
const GONE_MAX: usize = 128;

/// How many answered windows' ends are kept as they were, so that the next window begins exactly there.
const MARKS_MAX: usize = 64;

/// One reading of one proxy.
#[derive(Clone)]
pub(super) struct Taken {
    pub(super) at: Timestamp,
    pub(super) counters: Arc<Counters>,
}

/// What is kept of all proxies.
#[derive(Default)]
pub(super) struct Book {
    /// Those that are there, and those that were.
    pub(super) kept: Vec<Kept>,
    /// When the last round was begun of which it is known who was there.
    pub(super) whole: Option<Timestamp>,
    /// Why that is not known of the last round, if so.
    pub(super) failed: Option<String>,
    /// Up to when somebody may have counted of whom nothing is kept.
    pub(super) forgotten: Option<Timestamp>,
}

/// What is kept of one proxy.
pub(super) struct Kept {
    pub(super) name: String,
    /// For one that came while others were read already: the last moment at which it was not there, and that it had counted
    /// nothing by then. None, once its first reading tells that it may have: a process that was there before, at another address.
    pub(super) born: Option<Taken>,
    /// When it came, if that is known: from when on a process must have started to be new.
    pub(super) came: Option<Timestamp>,
    /// Whether it has not answered since then, a moment ago.
    pub(super) starting: bool,
    /// When it was found to be gone, if it is.
    pub(super) gone: Option<Timestamp>,
    /// When it was there and not read, up to its end.
    pub(super) lost: Option<Window>,
    pub(super) readings: VecDeque<Taken>,
    /// Readings at the ends of answered windows.
    pub(super) marks: BTreeMap<Timestamp, Taken>,
    /// Why the last reading failed, if it did.
    pub(super) error: Option<String>,
}

/// What the proxies of one round said, by name.
pub(super) type Answers = Vec<(String, Told)>;

/// What one proxy said.
pub(super) enum Told {
    Counters(Arc<Counters>),
    /// Nothing yet, and it came only now: it has counted nothing that a window of before could miss.
    Starting,
    /// Nothing, and why.
    Failed(String),
}

impl Book {
    /// Takes the answers of all that were known when a round was begun; `failed` says why these may not have been all.
    pub(super) fn round(&mut self, at: Timestamp, answers: Answers, failed: Option<String>) {
        if failed.is_none() {
            for kept in self.kept.iter_mut().filter(|kept| !answers.iter().any(|(name, _)| *name == kept.name)) {
                kept.end(at);
            }
            self.forget(at);
        }
        let mut instances = BTreeSet::new();
        for (name, told) in answers {
            let instance = match &told {
                Told::Counters(counters) => Some(counters.instance.clone()),
                Told::Starting | Told::Failed(_) => None,
            };
            if instance.as_ref().is_some_and(|instance| !instances.insert(instance.clone())) {
                // One proxy at two addresses counts once: what is kept under this one would be waited for.
                self.leave(&name, at);
                continue;
            }
            let kept = self.of(&name, instance.as_deref(), at);
            kept.starting = false;
            match told {
                Told::Counters(counters) => kept.take(Taken { at, counters }),
                Told::Starting => kept.wait(at),
                Told::Failed(why) => kept.error = Some(why),
            }
        }
        if failed.is_none() {
            self.whole = Some(at);
        }
        self.failed = failed;
    }

    /// What is kept of the proxy at an address. A process is the same at whatever address it answers, and though it was gone;
    /// another one at the address of one that is gone is another proxy.
    fn of(&mut self, name: &str, instance: Option<&str>, at: Timestamp) -> &mut Kept {
        let elsewhere = self.kept.iter().position(|kept| {
            instance.is_some() && kept.instance() == instance && (kept.name != name || kept.gone.is_some())
        });
        if let Some(mut same) = elsewhere.map(|place| self.kept.remove(place)) {
            self.leave(name, at);
            (same.name, same.gone) = (name.to_owned(), None);
            self.kept.push(same);
        }
        let place = self.kept.iter().position(|kept| kept.name == name && kept.gone.is_none());
        let place = place.unwrap_or_else(|| {
            let came = self.whole.filter(|before| *before < at);
            self.kept.push(Kept { born: came.map(nothing), came, ..Kept::new(name) });
            self.kept.len() - 1
        });
        &mut self.kept[place]
    }

    /// Nobody else answers at an address any more: a process that did has ended, and of one that never did there is nothing.
    fn leave(&mut self, name: &str, at: Timestamp) {
        self.kept.retain(|kept| kept.name != name || kept.gone.is_some() || !kept.readings.is_empty());
        self.kept.iter_mut().filter(|kept| kept.name == name).for_each(|kept| kept.end(at));
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
    pub(super) fn errors(&self) -> Vec<String> {
        let of_proxies = self.kept.iter().filter_map(|proxy| proxy.error.as_ref());
        self.failed.iter().chain(of_proxies).cloned().collect()
    }

    /// What is answered when nobody was read yet: nothing before the first round, and then that there is nobody.
    pub(super) fn none(&self) -> Result<Option<Observation>, PortError> {
        match &self.failed {
            Some(why) => Err(later(why.clone())),
            None if self.whole.is_none() => Ok(None),
            None => Err(PortError::never("metrics", "there is no proxy to count anything")),
        }
    }

    /// Why a window cannot be answered, whoever was read.
    pub(super) fn missing(&self, window: Window) -> Option<PortError> {
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
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            born: None,
            came: None,
            starting: false,
            gone: None,
            lost: None,
            readings: VecDeque::new(),
            marks: BTreeMap::new(),
            error: None,
        }
    }

    /// The process that was read last.
    fn instance(&self) -> Option<&str> {
        self.readings.back().map(|taken| taken.counters.instance.as_str())
    }

    /// Whether a first reading has nothing in it from before it was known that it was not there: the process started later, or
    /// has counted nothing yet.
    fn is_fresh(came: Option<Timestamp>, first: &Taken) -> bool {
        let counters = &first.counters;
        let began = |millis| first.at.minus(Duration::from_millis(millis));
        let later = |millis| came.is_some_and(|came| began(millis) >= came);
        let idle = [&counters.source, &counters.target]
            .iter()
            .all(|side| side.reads == Counts::default() && side.writes == Counts::default());
        idle || counters.uptime_millis.is_some_and(later)
    }

    /// Whether it is there and has counters to be read.
    pub(super) fn is_read(&self) -> bool {
        self.gone.is_none() && !self.starting
    }

    /// It is starting: up to now it has counted nothing.
    fn wait(&mut self, at: Timestamp) {
        self.error = None;
        self.starting = self.readings.is_empty();
        if self.born.is_some() {
            self.born = Some(nothing(at));
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

    pub(super) fn take(&mut self, taken: Taken) {
        self.error = None;
        if self.readings.back().is_some_and(|last| last.at > taken.at) {
            // The wall clock was set back: what was read before cannot be placed any more, so it is unknown.
            self.readings.clear();
            self.marks.clear();
            self.born = None;
        }
        if self.readings.is_empty() {
            let came = self.came;
            self.born.take_if(|_| !Self::is_fresh(came, &taken));
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
    pub(super) fn edge(&self, at: Timestamp) -> Result<&Taken, Edge> {
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
    pub(super) fn between(&self, from: &Taken, to: &Taken) -> Option<[Block; 2]> {
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

pub(super) enum Edge {
    /// The reading will come.
    NotYet,
    /// There is none near enough, and there will be none.
    Missing { next: Timestamp },
}

/// Nothing counted, at some moment.
fn nothing(at: Timestamp) -> Taken {
    Taken { at, counters: Arc::default() }
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
