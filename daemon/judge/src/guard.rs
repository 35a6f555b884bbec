//! What is asked of the target: one guard per outcome, each with its own tolerance, and what lets a step end.

use serde::{Deserialize, Serialize};

/// A budget that allows this share of all requests to be hit asks for no proof.
pub(crate) const TRIVIAL: f64 = 0.97;

/// The outcome a guard looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardKind {
    /// Server errors (5XX and what the side failed to answer) against the source in the same block.
    Errors,
    /// Everything that is not 2XX or 3XX, against the source: the success ratio, seen from its other end.
    Success,
    /// Client errors (4XX) by themselves, against the source.
    ClientErrors,
    /// Redirects (3XX), against the source: a target that sends everyone to a login page has no errors at all.
    Redirects,
    /// Time to the first response byte, body and tail of its distribution, against the source.
    Latency,
    /// The same, looking only for a whole distribution that moved.
    LatencyBody,
    /// The same, looking only for a slowest tenth that moved.
    LatencyTail,
    /// The same, looking only for a share of answers that became very slow.
    LatencySlow,
    /// The same, burst by burst ([`steady`](crate::steady)): a target that is a little slower all the time.
    LatencySteady,
    /// Time to the last response byte, against the source.
    Exchange,
    /// Server errors against the recorded baseline, counted only while the source is itself normal.
    Baseline,
}

impl GuardKind {
    /// Whether it looks at how long answers take, and so has a ratio of durations and no margin.
    pub fn is_timed(self) -> bool {
        match self {
            Self::Latency
            | Self::LatencyBody
            | Self::LatencyTail
            | Self::LatencySlow
            | Self::LatencySteady
            | Self::Exchange => true,
            Self::Errors | Self::Success | Self::ClientErrors | Self::Redirects | Self::Baseline => false,
        }
    }
}

/// One guard: what is looked at, and how much worse than its reference the target may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// What is looked at.
    pub kind: GuardKind,
    /// How many times the reference's share (or latency) is still as good as the reference: 1.10 is 10 % worse.
    /// Latencies are counted in buckets that grow by 4.4 %, so the judge rounds this up to whole buckets.
    pub ratio: f64,
    /// What may come on top of that, as a share of requests (0 to 1); 0 for latency.
    pub margin: f64,
    /// The guard's part of the risk of a false revert; the parts of all guards are brought to a sum of 1.
    pub weight: f64,
}

impl Guard {
    /// The guard as the measured method has it: the tolerance and weight its error rates were measured with.
    ///
    /// `ClientErrors`, `Redirects`, `Exchange`, `LatencySteady` and the three parts of `Latency` are not in the default set. The first
    /// two have a wide tolerance, since a misbehaving client on one side or another answer to a conditional request
    /// moves them without anyone's fault; `Exchange` has latency's tolerance and half of its weight, and the parts have
    /// the part of latency's weight that their alternatives have in it.
    pub fn usual(kind: GuardKind) -> Self {
        let tau = 2f64.powf(1.0 / 16.0);
        let (ratio, margin, weight) = match kind {
            GuardKind::Errors => (1.10, 0.0001, 0.42),
            GuardKind::Success => (1.10, 0.005, 0.05),
            GuardKind::ClientErrors => (1.10, 0.005, 0.05),
            GuardKind::Redirects => (1.25, 0.02, 0.05),
            GuardKind::Latency => (tau, 0.0, 0.45),
            GuardKind::LatencyBody => (tau, 0.0, 0.225),
            GuardKind::LatencyTail => (tau, 0.0, 0.135),
            GuardKind::LatencySlow => (tau, 0.0, 0.09),
            GuardKind::LatencySteady => (tau, 0.0, 0.20),
            GuardKind::Exchange => (tau, 0.0, 0.225),
            GuardKind::Baseline => (1.5, 0.0002, 0.08),
        };
        Self { kind, ratio, margin, weight }
    }

    /// Whether its numbers can be meant: a ratio above 0, a margin from 0 to below 1, a weight of at least 0. A guard
    /// that is not sound is off: it says nothing about the target, and its sentence says why.
    pub fn is_sound(&self) -> bool {
        self.ratio.is_finite()
            && self.ratio > 0.0
            && (0.0..1.0).contains(&self.margin)
            && self.weight.is_finite()
            && self.weight >= 0.0
    }
}

/// All guards of a policy, and what they have in common.
///
/// Start from `Guards::default()` (the measured method: errors, success, latency, baseline; 5 %) and change what the
/// policy names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Guards {
    /// The guards, in the order of the policy file; of each kind only the first counts.
    pub guards: Vec<Guard>,
    /// The greatest chance, over a whole cutover, of reverting a target that is within tolerance (0.05).
    pub false_revert_max: f64,
    /// The fewest requests of the target on a step before any guard may pass.
    pub requests_min: u64,
    /// What lets a step end.
    pub pass: Pass,
    /// How long one burst of trouble may last and still count as one accident, in milliseconds (60 000).
    ///
    /// Two things hang on it: dispersion is measured over stretches of this length, and one stretch can add only so
    /// much evidence, so that two or three of them must agree before a cutover reverts. Shorter means quicker reverts
    /// on statistical evidence and less robustness against bursts on the target alone. The error rates on record were
    /// measured at 60 000; a demonstration that must show a verdict in a minute uses 10 000 to 20 000.
    pub burst_millis: u64,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            guards: [GuardKind::Errors, GuardKind::Success, GuardKind::Latency, GuardKind::Baseline]
                .map(Guard::usual)
                .to_vec(),
            false_revert_max: 0.05,
            requests_min: 0,
            pass: Pass::default(),
            burst_millis: 60_000,
        }
    }
}

impl Guards {
    /// Whether `false_revert_max` can be kept (above 0, at most 0.5). If not, all guards are off.
    pub fn is_sound(&self) -> bool {
        self.false_revert_max > 0.0 && self.false_revert_max <= 0.5
    }
}

/// What lets a step end: proof that the *next* weight would do no more than a stated harm.
///
/// Each budget is a share of *all* requests of the service (0 to 1): at the next weight `w`, the target may be worse
/// than `ratio` times the source by `budget / w`. So the small first steps need little proof and the last one the
/// most. How many requests a step needs is about `dispersion * 4.6 / (ratio * share_of_source + budget / w)` of the
/// target for a service that hardly fails: 460 at 1 %, 46 at 10 %.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pass {
    /// The greatest chance, for each step, of passing a target that does more harm than the budgets (0.05).
    pub wrong_pass_max: f64,
    /// Server errors: how many times the source's share (1.25).
    pub errors_ratio: f64,
    /// Server errors: what may come on top, as a share of all requests (0.001).
    pub errors_budget: f64,
    /// Answers that are not 2XX or 3XX, and 4XX by themselves: how many times the source's share (1.25).
    pub success_ratio: f64,
    /// Answers that are not 2XX or 3XX: what may come on top, as a share of all requests (0.02).
    pub success_budget: f64,
    /// Redirects (3XX): how many times the source's share (2).
    pub redirects_ratio: f64,
    /// Redirects (3XX): what may come on top, as a share of all requests (0.02). From 0.97 on redirects are no matter:
    /// neither must anything be shown about them, nor does a target revert that redirects everything.
    pub redirects_budget: f64,
    /// Latency and exchange: how many times the source's quantiles (2^(3/16), 14 %); rounded up to whole buckets.
    pub latency_ratio: f64,
    /// Latency and exchange: the share of all requests that may come to lie above the source's median, 90 % and 99 %
    /// quantile times `latency_ratio` (0.05, 0.02, 0.005).
    pub latency_budgets: [f64; 3],
    /// How long a step must have been judged, in milliseconds (180 000).
    pub bake_min_millis: u64,
    /// The same for the last judged step, whose `next_weight` is `None` (600 000).
    pub bake_last_min_millis: u64,
    /// No step ends while the evidence against the target, over all guards, is this high (3).
    pub suspicion_max: f64,
}

impl Pass {
    /// Whether its numbers can be meant: risks from 0 to a half, ratios above 0, budgets of at least 0. If not, no step
    /// ends by them.
    pub fn is_sound(&self) -> bool {
        let ratios = [self.errors_ratio, self.success_ratio, self.redirects_ratio, self.latency_ratio];
        let [a, b, c] = self.latency_budgets;
        let budgets = [self.errors_budget, self.success_budget, self.redirects_budget, a, b, c];
        self.wrong_pass_max > 0.0
            && self.wrong_pass_max <= 0.5
            && ratios.iter().all(|ratio| ratio.is_finite() && *ratio > 0.0)
            && budgets.iter().all(|budget| budget.is_finite() && *budget >= 0.0)
            && self.suspicion_max.is_finite()
    }

    /// Whether a rise of redirects is anything to this policy.
    pub fn asks_for_redirects(&self) -> bool {
        self.redirects_budget < TRIVIAL
    }
}

impl Default for Pass {
    fn default() -> Self {
        Self {
            wrong_pass_max: 0.05,
            errors_ratio: 1.25,
            errors_budget: 0.001,
            success_ratio: 1.25,
            success_budget: 0.02,
            redirects_ratio: 2.0,
            redirects_budget: 0.02,
            latency_ratio: 2f64.powf(3.0 / 16.0),
            latency_budgets: [0.05, 0.02, 0.005],
            bake_min_millis: 180_000,
            bake_last_min_millis: 600_000,
            suspicion_max: 3.0,
        }
    }
}
