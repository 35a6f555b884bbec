//! A guard's verdict in one sentence for the person on call: what was compared, and what it means. No statistics.

use crate::judge::Seen;
use crate::words::{count, excess, millis, share};
use crate::{Guard, GuardKind, Verdict};

/// What a sentence is made of.
pub(crate) struct Said<'a> {
    pub(crate) guard: &'a Guard,
    pub(crate) verdict: Verdict,
    /// Why the guard does not judge here.
    pub(crate) off: Option<&'static str>,
    pub(crate) seen: &'a Seen,
    /// Requests of the target that are missing, if anyone can say.
    pub(crate) missing: Option<u64>,
    /// Whether the policy's conditions for the end of a step can be met at all.
    pub(crate) passable: bool,
    /// Whether the gate to the next step is open.
    pub(crate) shown: bool,
    /// The shares of redirects at the target and at the source, where only the mix of answers is still to be shown.
    pub(crate) mix: Option<(f64, f64)>,
    /// Milliseconds until the step has been judged for long enough.
    pub(crate) bake_left: u64,
    /// The chance (0 to 1) that a target within tolerance ever looks as bad as this one has.
    pub(crate) chance: f64,
    /// The greatest chance of letting a target pass that does more harm than the policy's budgets.
    pub(crate) wrong_pass_max: f64,
    /// The evidence against the target as a part of what reverts, where it is too high for a step to end.
    pub(crate) suspicion: Option<f64>,
}

/// The sentence, without a full stop.
pub(crate) fn sentence(said: &Said<'_>) -> String {
    if let Some(why) = said.off {
        return format!("off: {why}");
    }
    let Some(compared) = compared(said) else {
        return nothing(said);
    };
    let judged = match said.verdict {
        Verdict::Fail => {
            format!("worse than {} by more than {}{}", reference(said.guard.kind), tolerated(said.guard), odds(said))
        }
        Verdict::Pass => {
            let sure = one_in(said.wrong_pass_max).map_or_else(String::new, |n| {
                format!("; one that does more harm than the budget gets so far on at most one step in {}", count(n))
            });
            format!("good enough for the next step{sure}")
        }
        Verdict::Unknown => unknown(said),
    };
    format!("{compared}{}: {judged}", bound(said))
}

/// Above what the target is worse, if that is proven. Left out where it passes: what opens the next step is another, wider
/// bound, and a figure between the two would read as a mistake.
fn bound(said: &Said<'_>) -> String {
    match (said.guard.kind, said.seen.bound) {
        (_, None) => String::new(),
        _ if said.verdict == Verdict::Pass => String::new(),
        (GuardKind::LatencySlow, Some(bound)) => format!(", {} allowed", share(bound)),
        (kind, Some(bound)) if kind.is_timed() => format!(", {} allowed", millis(bound)),
        (_, Some(bound)) => format!(", {} allowed", share(bound)),
    }
}

/// How sure a failure is. A target that fails outright is not a matter of chance.
fn odds(said: &Said<'_>) -> String {
    match one_in(said.chance) {
        Some(n) if n >= SURE_MIN => {
            format!("; a target within tolerance looks so bad in at most one cutover in {}", count(n))
        }
        _ => String::new(),
    }
}

/// Odds below this are not worth saying.
const SURE_MIN: u64 = 10;
/// Odds above this are said to be this: nobody believes more.
const SURE_MAX: f64 = 1_000_000.0;

/// A chance as one in so many, rounded down; `None` where it is no chance.
fn one_in(chance: f64) -> Option<u64> {
    (chance > 0.0 && chance <= 1.0).then(|| (1.0 / chance + 1e-9).min(SURE_MAX) as u64)
}

/// Both sides' figures.
fn compared(said: &Said<'_>) -> Option<String> {
    let Said { guard, seen, .. } = said;
    let (target, with) = (seen.target?, seen.reference?);
    Some(match (guard.kind, seen.quantile) {
        (GuardKind::LatencySlow, _) => format!(
            "{} of answers take longer than {} at the target ({} of {}) and {} at the source ({} of {})",
            share(target),
            millis(seen.slower_than?),
            count(seen.target_hits),
            count(seen.target_requests),
            share(with),
            count(seen.reference_hits),
            count(seen.reference_requests),
        ),
        (kind, quantile) if kind.is_timed() => {
            let which = match quantile {
                Some(q) if q > 0.95 => "99 % of answers",
                Some(q) if q > 0.6 => "90 % of answers",
                _ => "half of the answers",
            };
            let what = if kind == GuardKind::Exchange { "end" } else { "begin" };
            format!(
                "{which} {what} within {} at the target ({} requests) and within {} at the source ({} requests)",
                millis(target),
                count(seen.target_requests),
                millis(with),
                count(seen.reference_requests),
            )
        }
        (kind, _) => {
            let what = match kind {
                GuardKind::Success => "are not answered with 2XX or 3XX",
                GuardKind::ClientErrors => "end in a client error (4XX)",
                GuardKind::Redirects => "are answered with a redirect (3XX)",
                _ => "end in a server error",
            };
            let of = match kind {
                GuardKind::Baseline => "in the baseline",
                _ => "at the source in the same time",
            };
            format!(
                "{} of requests {what} at the target ({} of {}) and {} {of} ({} of {})",
                share(target),
                count(seen.target_hits),
                count(seen.target_requests),
                share(with),
                count(seen.reference_hits),
                count(seen.reference_requests),
            )
        }
    })
}

/// What is said when there is nothing to compare.
fn nothing(said: &Said<'_>) -> String {
    let Seen { target, reference, .. } = said.seen;
    if said.guard.kind.is_timed() {
        let whose = match (target, reference) {
            (None, None) => "either side",
            (None, Some(_)) => "the target",
            _ => "the source",
        };
        return format!("nothing to compare yet: no answer of {whose} has been timed on this step");
    }
    match (target, reference) {
        (None, None) => "nothing to compare yet: neither side has had a request on this step".to_owned(),
        (None, Some(_)) => "nothing to compare yet: the target has had no request on this step".to_owned(),
        _ => "nothing to compare with: the source has had no request on this step".to_owned(),
    }
}

fn unknown(said: &Said<'_>) -> String {
    if !said.passable {
        return "no step can end, because the risk, a ratio or a budget that the policy asks for it cannot be meant"
            .to_owned();
    }
    if said.shown {
        if said.bake_left > 0 {
            return format!("good so far, the step is judged for another {} s", said.bake_left.div_ceil(1000));
        }
        if let Some(part) = said.suspicion {
            let percent = (part * 100.0).clamp(1.0, 99.0);
            return format!(
                "good enough in itself, but the target is under suspicion ({percent:.0} % of what reverts)"
            );
        }
    }
    if let Some((target, source)) = said.mix {
        return format!(
            "good enough in itself, but it is not shown yet that the target answers as the source does: {} of its requests get a redirect (3XX), {} at the source",
            share(target),
            share(source)
        );
    }
    match said.missing {
        Some(missing) if missing > 0 => {
            format!("neither good nor bad is proven; about {} more requests at the target are needed", count(missing))
        }
        _ => "neither good nor bad is proven yet".to_owned(),
    }
}

fn reference(kind: GuardKind) -> &'static str {
    match kind {
        GuardKind::Baseline => "the baseline",
        _ => "the source",
    }
}

/// What the target is allowed.
fn tolerated(guard: &Guard) -> String {
    let relative = excess(guard.ratio);
    match guard.kind {
        kind if kind.is_timed() => relative,
        _ if guard.margin > 0.0 => format!("{relative} plus {} of requests", share(guard.margin)),
        _ => relative,
    }
}
