//! What a revert costs: the writes that only the target has.
//!
//! A split of writes sends each of them to one cluster alone. What the target took since the first share of writes is
//! not on the source, so a revert loses sight of it until it is replayed. The figure counts requests, as far as the
//! intervals counted so far reach; bulk requests hold many documents each.

use serde::{Deserialize, Serialize};

use crate::cutover::{Cutover, Phase};
use crate::units::Timestamp;

/// What a revert costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Since when writes may have gone to the target alone; `None` when none ever did, and a revert loses nothing.
    pub since: Option<Timestamp>,
    /// Requests that the target took as writes since then, as far as they were counted.
    pub writes: u64,
    /// The end of what was counted; what came after it is not in `writes`.
    pub counted_to: Timestamp,
    /// How many stretches of time could not be counted since preflight: there are more writes than `writes` then.
    #[serde(default)]
    pub gaps: u32,
    /// Whether `writes` may hold reads as well, because the counts cannot tell them apart.
    pub reads_among_them: bool,
    /// All of it in one sentence for a person.
    pub text: String,
}

/// The price of reverting `cutover` at `now`.
pub fn price(cutover: &Cutover, now: Timestamp) -> Price {
    let counted_to = cutover.evidence.counted_to.min(now);
    // Our own proxies count reads and writes apart; who else counts them may not.
    let tells = cutover.policy.balancer.tells_writes() && cutover.policy.metrics.tells_writes();
    let reads_among_them = !tells;
    let reverted = matches!(cutover.phase, Phase::Reverting { .. } | Phase::Stuck { .. } | Phase::Reverted);
    let (loses, is) = if reverted { ("the revert loses", "the revert is") } else { ("a revert loses", "a revert is") };
    let text = match cutover.writes_since {
        None => format!("{loses} nothing: no write went to the target alone"),
        Some(since) => {
            let seconds = counted_to.since(since).as_secs();
            let what = if reads_among_them { "requests (reads among them)" } else { "writes" };
            let gaps = cutover.evidence.gaps;
            let writes = cutover.writes_on_target;
            let (least, missing) = match gaps {
                0 => ("", String::new()),
                1 => ("at least ", "; one stretch of time could not be counted".to_owned()),
                _ => ("at least ", format!("; {gaps} stretches of time could not be counted")),
            };
            if writes == 0 && gaps == 0 {
                format!(
                    "{loses} nothing so far: no {what} went to the target alone since {since}, counted for {seconds} s"
                )
            } else {
                format!(
                    "{is} lossy: {least}{writes} {what} went to the target alone since {since}, counted for {seconds} s{missing}"
                )
            }
        }
    };
    let (since, writes, gaps) = (cutover.writes_since, cutover.writes_on_target, cutover.evidence.gaps);
    Price { since, writes, counted_to, gaps, reads_among_them, text }
}
