//! Does the target give the kinds of answers that the source gives?
//!
//! A target that sends everyone to a login page has no errors, one that does not know the clients' keys has none of its
//! own, and both may be quick. No statistics are needed to see that: where the source answers with 2XX and the target
//! with 3XX or 4XX, twice in a row, the cutover reverts.
//!
//! What is nobody's fault must not revert. *Not modified* is a redirect too, and which conditional requests get it may
//! differ between two healthy clusters; so at least half of what should be a 2XX must be something else. And one client
//! that asks for nonsense, or a scanner, may be stuck to the target; it adds bad answers but takes no good ones away,
//! so good answers must also be missing, against what the source gives and what the weight says the target should get.

use serde::{Deserialize, Serialize};

use crate::evidence::{Pair, Tolerance};
use crate::words::share;
use crate::{Act, Alarm, AlarmKind, Counts, GuardKind, Guards};

/// A look is at least this long, in milliseconds, ...
const LOOK_MILLIS: u64 = 10_000;
/// ... and at least long enough for so many answers with 2XX to be expected of the target.
const LOOK_ANSWERS: f64 = 30.0;
/// The target may leave this part of them without 2XX.
const OTHERWISE: f64 = 0.5;

/// One block as this watch sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MixGlance<'a> {
    pub(crate) millis: u64,
    pub(crate) weight: u16,
    pub(crate) source: &'a Counts,
    pub(crate) target: &'a Counts,
}

/// What the target does otherwise than the source.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Otherwise {
    /// Whether by redirects more than by client errors.
    pub(crate) redirects: bool,
    /// The shares of answers of that kind.
    pub(crate) target: f64,
    pub(crate) source: f64,
}

impl Otherwise {
    /// What is wrong, for a person.
    pub(crate) fn alarm(&self) -> Alarm {
        let what = if self.redirects { "a redirect (3XX)" } else { "a client error (4XX)" };
        Alarm {
            kind: AlarmKind::OtherAnswers,
            act: Act::Revert,
            sentence: format!(
                "the target answers {} of its requests with {what} while the source does so with {}, and too few get 2XX",
                share(self.target),
                share(self.source)
            ),
        }
    }
}

/// Which answers the policy says something about, with what it tolerates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct AskedMix {
    redirects: Option<Tolerance>,
    client_errors: Option<Tolerance>,
}

impl AskedMix {
    /// Nothing where no guard looks at statuses; what a guard tolerates is never held against the target.
    pub(crate) fn of(guards: &Guards) -> Self {
        let sound = |kind| guards.guards.iter().find(|guard| guard.kind == kind && guard.is_sound());
        let statuses = [GuardKind::Errors, GuardKind::Success, GuardKind::ClientErrors, GuardKind::Redirects];
        if !guards.is_sound() || statuses.into_iter().all(|kind| sound(kind).is_none()) {
            return Self::default();
        }
        let tolerance = |kinds: &[GuardKind]| {
            kinds.iter().find_map(|&kind| sound(kind)).map_or(Tolerance { ratio: 1.0, margin: 0.0 }, |guard| {
                Tolerance { ratio: guard.ratio, margin: guard.margin }
            })
        };
        Self {
            redirects: guards.pass.asks_for_redirects().then(|| tolerance(&[GuardKind::Redirects])),
            client_errors: Some(tolerance(&[GuardKind::ClientErrors, GuardKind::Success])),
        }
    }
}

/// Watches the mix of answers through a cutover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct MixWatch {
    millis: u64,
    answered: Pair,
    redirects: Pair,
    client_errors: Pair,
    /// Requests that the weight lets expect at the target.
    expected: f64,
    /// Whether the look before this one saw it too.
    once: bool,
    /// What was seen twice in a row; stays.
    seen: Option<Otherwise>,
}

impl MixWatch {
    /// Takes one block in which the source served.
    pub(crate) fn observe(&mut self, glance: &MixGlance<'_>, asked: &AskedMix) {
        let MixGlance { millis, weight, source, target } = *glance;
        let add = |pair: &mut Pair, hits: fn(&Counts) -> u64| {
            pair.target_hits += hits(target) as f64;
            pair.target += target.requests as f64;
            pair.source_hits += hits(source) as f64;
            pair.source += source.requests as f64;
        };
        add(&mut self.answered, Counts::answered);
        add(&mut self.redirects, Counts::redirects);
        add(&mut self.client_errors, Counts::client_errors);
        let w = f64::from(weight.min(999)) / 1000.0;
        self.expected += source.requests as f64 * w / (1.0 - w);
        self.millis = self.millis.saturating_add(millis);
        // A look that has not seen enough goes on: a quiet service is looked at over minutes.
        let answers = if self.answered.is_one_sided() {
            0.0
        } else {
            self.answered.target.min(self.expected) * self.answered.source_hits / self.answered.source
        };
        if self.millis < LOOK_MILLIS || answers < LOOK_ANSWERS {
            return;
        }
        let now = self.otherwise(answers, asked);
        *self = Self { once: now.is_some(), seen: self.seen.or(now.filter(|_| self.once)), ..Self::default() };
    }

    /// What a complete look shows.
    fn otherwise(&self, answers: f64, asked: &AskedMix) -> Option<Otherwise> {
        let beyond = |pair: &Pair, tolerance: Option<Tolerance>| {
            let (target, source) = (pair.target_hits / pair.target, pair.source_hits / pair.source);
            match tolerance {
                Some(tolerance) if target > tolerance.ratio * source + tolerance.margin => (target, source),
                _ => (0.0, 0.0),
            }
        };
        let redirects = beyond(&self.redirects, asked.redirects);
        let client_errors = beyond(&self.client_errors, asked.client_errors);
        let (target, source) = (redirects.0 + client_errors.0, redirects.1 + client_errors.1);
        let many = target >= OTHERWISE + (1.0 - OTHERWISE) * source;
        let missing = self.answered.target_hits < (1.0 - OTHERWISE) * answers;
        (many && missing).then(|| {
            let by_redirects = redirects.0 >= client_errors.0;
            let (target, source) = if by_redirects { redirects } else { client_errors };
            Otherwise { redirects: by_redirects, target, source }
        })
    }

    /// What the target does otherwise than the source, if it does.
    pub(crate) const fn seen(&self) -> Option<Otherwise> {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Guard, Pass};

    /// Requests answered with 2XX, 3XX and 4XX.
    fn counts([ok, redirects, client_errors]: [u64; 3]) -> Counts {
        Counts {
            requests: ok + redirects + client_errors,
            status_2xx: ok,
            status_3xx: redirects,
            status_4xx: client_errors,
            ..Counts::default()
        }
    }

    /// How many blocks of ten seconds at 10 % it takes until the target is seen to answer otherwise.
    fn looks(guards: &Guards, source: [u64; 3], target: [u64; 3]) -> Option<usize> {
        let (source, target) = (counts(source), counts(target));
        let mut watch = MixWatch::default();
        (1..=20).find(|_| {
            let glance = MixGlance { millis: 10_000, weight: 100, source: &source, target: &target };
            watch.observe(&glance, &AskedMix::of(guards));
            watch.seen().is_some()
        })
    }

    #[test]
    fn a_target_that_redirects_or_refuses_everything_is_seen_in_two_looks() {
        let usual = Guards::default();
        assert_eq!(looks(&usual, [450, 0, 5], [0, 50, 0]), Some(2));
        assert_eq!(looks(&usual, [450, 0, 5], [0, 0, 50]), Some(2));
        assert_eq!(looks(&usual, [450, 0, 5], [0, 25, 25]), Some(2));
        assert_eq!(looks(&usual, [270, 180, 5], [0, 50, 0]), Some(4), "a source that redirects often has fewer 2XX");
        assert_eq!(looks(&usual, [63, 0, 0], [0, 7, 0]), Some(10), "a quiet service takes longer");
    }

    #[test]
    fn what_is_nobodys_fault_is_not_held_against_the_target() {
        // More answers "not modified", and fewer; a scanner that sticks to the target, and one that sticks to the
        // source; an outage of logins that both sides share.
        let usual = Guards::default();
        assert_eq!(looks(&usual, [300, 150, 5], [20, 30, 0]), None);
        assert_eq!(looks(&usual, [100, 350, 5], [50, 0, 0]), None);
        assert_eq!(looks(&usual, [450, 0, 5], [50, 0, 950]), None);
        assert_eq!(looks(&usual, [450, 0, 9_000], [50, 0, 0]), None);
        assert_eq!(looks(&usual, [5, 450, 5], [0, 50, 0]), None);
    }

    #[test]
    fn what_the_policy_allows_or_does_not_ask_is_not_held_against_the_target() {
        let redirects = Guards { pass: Pass { redirects_budget: 1.0, ..Pass::default() }, ..Guards::default() };
        assert_eq!(looks(&redirects, [450, 0, 5], [0, 50, 0]), None);
        assert_eq!(looks(&redirects, [450, 0, 5], [0, 0, 50]), Some(2));
        let only = |guard| Guards { guards: vec![guard], ..Guards::default() };
        let wide = |kind| only(Guard { margin: 0.999, ratio: 2.0, ..Guard::usual(kind) });
        assert_eq!(looks(&wide(GuardKind::Success), [450, 0, 5], [0, 0, 50]), None);
        assert_eq!(looks(&wide(GuardKind::Redirects), [450, 5, 5], [0, 50, 0]), None);
        assert_eq!(looks(&only(Guard::usual(GuardKind::Latency)), [450, 0, 5], [0, 50, 0]), None);
    }

    #[test]
    fn chance_alone_never_looks_like_another_answer() {
        // A service that answers half of its requests with "not modified", at the fewest requests a look can have.
        let mut rng = fastrand::Rng::with_seed(7);
        let mut watch = MixWatch::default();
        let guards = Guards::default();
        for _ in 0..200_000 {
            let mut side = |requests: u64| {
                let redirects = (0..requests).filter(|_| rng.bool()).count() as u64;
                counts([requests - redirects, redirects, 0])
            };
            let (source, target) = (side(60), side(6));
            let glance = MixGlance { millis: 1_000, weight: 100, source: &source, target: &target };
            watch.observe(&glance, &AskedMix::of(&guards));
            assert_eq!(watch.seen(), None);
        }
    }
}
