//! The gate to the next step: which claims must be refuted before more traffic goes to the target, and for which guard.
//!
//! A claim is "the target would do more harm than this at the next weight", one for each outcome; how one is refuted is
//! [`Leg`]'s business. Two claims belong to no guard of the default set and are asked for all the same, because no
//! error tells of a target that sends everyone to a login page: that redirects rise beyond their budget, and that fewer
//! than half of the requests that should be answered with 2XX are. They are carried by one of the guards on statuses.

use serde::{Deserialize, Serialize};

use crate::evidence::{Pair, Tolerance};
use crate::guard::TRIVIAL;
use crate::pass::{Asked, Leg};
use crate::table::{Normal, Table};
use crate::{GuardKind, Guards};

/// "The target leaves more than half of those requests without 2XX that the source answers so": `p_T >= 0.5 p_S + 0.5`
/// for the share that gets another answer. Half is so coarse on purpose: "not modified" is a redirect too, and whether
/// a conditional request gets it or the whole body is no one's fault. It does not depend on the weight.
const OTHERWISE: Tolerance = Tolerance { ratio: 0.5, margin: 0.5 };

/// What is claimed of the target until the opposite is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Errors,
    Bad,
    ClientErrors,
    Redirects,
    /// That too few requests are answered with 2XX.
    Otherwise,
    /// That too many answers come later than one of the source's three quantiles.
    Latency(usize),
    Exchange(usize),
}

const CLAIMS: [Claim; 11] = [
    Claim::Errors,
    Claim::Bad,
    Claim::ClientErrors,
    Claim::Redirects,
    Claim::Otherwise,
    Claim::Latency(0),
    Claim::Latency(1),
    Claim::Latency(2),
    Claim::Exchange(0),
    Claim::Exchange(1),
    Claim::Exchange(2),
];

/// The claims about the mix of answers.
const MIX: [Claim; 2] = [Claim::Redirects, Claim::Otherwise];

/// What is known before a block for one kind of outcome: a guess of the source's share, and the dispersion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) share: f64,
    pub(crate) phi: f64,
}

/// The same for every kind of outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AllKnown {
    pub(crate) errors: Known,
    pub(crate) bad: Known,
    pub(crate) client_errors: Known,
    pub(crate) redirects: Known,
    pub(crate) latency: [Known; 3],
    pub(crate) exchange: [Known; 3],
}

/// What a claim is judged by besides the counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) guards: &'a Guards,
    pub(crate) normal: &'a Normal,
    pub(crate) known: AllKnown,
}

/// All claims of a step, and how far each is refuted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gate {
    /// In the order of [`CLAIMS`].
    legs: [Leg; CLAIMS.len()],
    /// The counts of the last block, from which is foretold how long it will take.
    last: [Option<Pair>; CLAIMS.len()],
    next_weight: f64,
    /// The guard that passes only when the mix of answers is shown to be right too.
    carrier: Option<GuardKind>,
}

impl Gate {
    /// Nothing shown, for the guards that judge.
    pub(crate) fn new(judging: impl Fn(GuardKind) -> bool) -> Self {
        let carriers = [GuardKind::Redirects, GuardKind::Success, GuardKind::ClientErrors, GuardKind::Errors];
        Self {
            legs: Default::default(),
            last: [None; CLAIMS.len()],
            next_weight: 0.0,
            carrier: carriers.into_iter().find(|&kind| judging(kind)),
        }
    }

    /// Takes one block.
    pub(crate) fn observe(&mut self, table: &Table<'_>, ground: &Ground<'_>, bursts: f64) {
        self.next_weight = table.next_weight;
        if table.new_step {
            self.legs = Default::default();
        }
        for (at, claim) in CLAIMS.into_iter().enumerate() {
            self.last[at] = pair(claim, table, ground.guards);
            if let Some(pair) = &self.last[at] {
                let asked = self.asked(claim, ground);
                self.legs[at].observe(pair, &Asked { bursts, ..asked });
            }
        }
    }

    /// What is asked, never more than the guard of that kind tolerates: or a target in between would hold for ever.
    fn asked(&self, claim: Claim, ground: &Ground<'_>) -> Asked {
        let Ground { guards, normal, known } = ground;
        let pass = &guards.pass;
        let next = self.next_weight.clamp(0.001, 1.0);
        let within = |kind: GuardKind, ratio: f64, budget: f64| {
            let guard = guards.guards.iter().find(|guard| guard.kind == kind);
            let (tolerated, margin) = guard.map_or((0.0, 0.0), |guard| (guard.ratio, guard.margin));
            Tolerance { ratio: ratio.max(tolerated), margin: (budget / next).max(margin) }
        };
        // A latency's ratio is one of durations and lies in the counts already: a share is compared with a share.
        let slow = |at: usize| Tolerance { ratio: 1.0, margin: pass.latency_budgets[at] / next };
        let (tolerance, asked, baseline) = match claim {
            Claim::Errors => {
                let tolerance = within(GuardKind::Errors, pass.errors_ratio, pass.errors_budget);
                // A source that fails nearly everything must not make "no worse than the source" trivial.
                let most = 0.9 * (TRIVIAL - tolerance.margin).max(0.0) / tolerance.ratio;
                let share = known.errors.share.min(most);
                (tolerance, Known { share, ..known.errors }, Some(normal.errors))
            }
            Claim::Bad => {
                (within(GuardKind::Success, pass.success_ratio, pass.success_budget), known.bad, Some(normal.bad))
            }
            Claim::ClientErrors => {
                let tolerance = within(GuardKind::ClientErrors, pass.success_ratio, pass.success_budget);
                (tolerance, known.client_errors, Some(normal.client_errors))
            }
            Claim::Redirects => {
                let tolerance = within(GuardKind::Redirects, pass.redirects_ratio, pass.redirects_budget);
                (tolerance, known.redirects, Some(normal.redirects))
            }
            Claim::Otherwise => {
                let (bad, redirects) = (known.bad, known.redirects);
                let (share, normal) = if pass.asks_for_redirects() {
                    (bad.share + redirects.share, normal.bad + normal.redirects)
                } else {
                    (bad.share, normal.bad)
                };
                (OTHERWISE, Known { share: share.min(1.0), phi: bad.phi.max(redirects.phi) }, Some(normal))
            }
            Claim::Latency(at) => (slow(at), known.latency[at], Some(normal.latency_slow[at])),
            Claim::Exchange(at) => (slow(at), known.exchange[at], Some(normal.exchange_slow[at])),
        };
        Asked {
            tolerance,
            share: asked.share,
            phi: asked.phi,
            baseline: baseline.filter(|_| normal.trusted),
            wrong_pass_max: pass.wrong_pass_max,
            bursts: 0.0,
        }
    }

    /// Whether all claims that a guard stands against are refuted.
    pub(crate) fn passes(&self, kind: GuardKind) -> bool {
        let own = claims(kind).all(|at| self.legs[at].cleared());
        own && (self.carrier != Some(kind) || self.mix_passes())
    }

    /// Whether a guard's own claims are refuted and only the mix of answers is not shown to be right yet.
    pub(crate) fn waits_for_mix(&self, kind: GuardKind) -> bool {
        self.carrier == Some(kind) && !self.mix_passes() && claims(kind).all(|at| self.legs[at].cleared())
    }

    fn mix_passes(&self) -> bool {
        MIX.into_iter().all(|claim| self.legs[index(claim)].cleared())
    }

    /// About how many more requests of the target a guard's claims need; `None` when nobody can say.
    pub(crate) fn requests_missing(&self, kind: GuardKind, ground: &Ground<'_>) -> Option<u64> {
        let mix = MIX.into_iter().map(index).filter(|_| self.carrier == Some(kind));
        let mut most = 0;
        for at in claims(kind).chain(mix) {
            let pair = self.last[at].as_ref()?;
            most = most.max(self.legs[at].requests_missing(pair, &self.asked(CLAIMS[at], ground))?);
        }
        Some(most)
    }
}

/// The counts that a claim is about; `None` when the block has none.
fn pair(claim: Claim, table: &Table<'_>, guards: &Guards) -> Option<Pair> {
    match claim {
        Claim::Errors => Some(table.errors),
        Claim::Bad => Some(table.bad),
        Claim::ClientErrors => Some(table.client_errors),
        Claim::Redirects => Some(table.redirects),
        Claim::Otherwise if guards.pass.asks_for_redirects() => Some(Pair {
            target_hits: table.bad.target_hits + table.redirects.target_hits,
            source_hits: table.bad.source_hits + table.redirects.source_hits,
            ..table.bad
        }),
        Claim::Otherwise => Some(table.bad),
        Claim::Latency(at) => table.latency.as_ref().map(|latencies| latencies.over[at]),
        Claim::Exchange(at) => table.exchange.as_ref().map(|latencies| latencies.over[at]),
    }
}

/// Which claims, as places in [`CLAIMS`], a guard stands against.
fn claims(kind: GuardKind) -> impl Iterator<Item = usize> {
    CLAIMS.into_iter().enumerate().filter(move |(_, claim)| stands_against(kind, *claim)).map(|(at, _)| at)
}

fn stands_against(kind: GuardKind, claim: Claim) -> bool {
    match kind {
        GuardKind::Errors | GuardKind::Baseline => claim == Claim::Errors,
        GuardKind::Success => claim == Claim::Bad,
        GuardKind::ClientErrors => claim == Claim::ClientErrors,
        GuardKind::Redirects => claim == Claim::Redirects,
        GuardKind::Latency | GuardKind::LatencySteady => matches!(claim, Claim::Latency(_)),
        GuardKind::LatencyBody => claim == Claim::Latency(0),
        GuardKind::LatencyTail => matches!(claim, Claim::Latency(1 | 2)),
        GuardKind::LatencySlow => claim == Claim::Latency(2),
        GuardKind::Exchange => matches!(claim, Claim::Exchange(_)),
    }
}

fn index(claim: Claim) -> usize {
    CLAIMS.into_iter().position(|one| one == claim).expect("every claim is in the list")
}
