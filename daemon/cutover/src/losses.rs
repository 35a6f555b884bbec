//! The lists of losses that a cutover which relies on capture has heard of, and what they come to.
//!
//! A list lies on the disk of its proxy, and goes with it where that is a pod's own. What was lost is lost all the same: so the
//! highest count of each list stays in the cutover, and counts until somebody has accepted it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Check, CheckOutcome};
use crate::policy::{CaptureNeed, CapturePolicy};
use crate::units::Timestamp;

/// The name of the check.
pub const CHECK: &str = "capture losses";

/// How many lists with losses are remembered one by one; of more, those that were seen last longest ago are kept as a sum.
const LISTS_MAX: usize = 500;

/// One list, as its proxy told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossList {
    /// What stays the same for as long as the list does, at whatever address its proxy is.
    pub id: String,
    /// The proxy that has it.
    pub proxy: String,
    /// Where it is there.
    pub path: String,
    /// When capture began with it; `None` from a proxy that does not say.
    pub began: Option<Timestamp>,
    /// The process that told of it.
    pub instance: String,
    /// Requests that were lost, those of earlier processes included.
    pub losses: u64,
    /// How many of them this process could not list.
    pub unlisted: u64,
}

/// What is remembered of one list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// As it was told of last.
    pub last: LossList,
    /// When that was.
    pub seen: Timestamp,
    /// The most that was listed in it.
    pub listed: u64,
    /// What processes that ended had lost and not listed.
    pub unlisted_before: u64,
}

/// What is remembered of all lists that ever had a loss.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// By the id of the list.
    lists: BTreeMap<String, Remembered>,
    /// What lists beyond [`LISTS_MAX`] come to.
    #[serde(default)]
    others: u64,
}

impl Remembered {
    /// All that was lost by it.
    fn lost(&self) -> u64 {
        self.listed.saturating_add(self.unlisted_before).saturating_add(self.last.unlisted)
    }
}

impl Losses {
    /// What these lists tell, and no others.
    pub fn of(lists: &[LossList], now: Timestamp) -> Self {
        let mut losses = Self::default();
        losses.remember(lists, now);
        losses
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty() && self.others == 0
    }

    /// All that was lost.
    pub fn lost(&self) -> u64 {
        self.lists.values().map(Remembered::lost).fold(self.others, u64::saturating_add)
    }

    /// Takes what proxies told at `now`. A count never falls: a list that was cut or made anew brings nothing back.
    pub fn remember(&mut self, lists: &[LossList], now: Timestamp) {
        for list in lists {
            let listed = list.losses.saturating_sub(list.unlisted);
            match self.lists.get_mut(&list.id) {
                Some(known) => {
                    let before = std::mem::replace(&mut known.last, list.clone());
                    if before.instance == list.instance {
                        known.last.unlisted = list.unlisted.max(before.unlisted);
                    } else {
                        known.unlisted_before = known.unlisted_before.saturating_add(before.unlisted);
                    }
                    known.listed = known.listed.max(listed);
                    known.seen = now;
                }
                None if list.losses > 0 || list.unlisted > 0 => {
                    let fresh = Remembered { last: list.clone(), seen: now, listed, unlisted_before: 0 };
                    self.lists.insert(list.id.clone(), fresh);
                }
                None => {}
            }
        }
        while self.lists.len() > LISTS_MAX {
            let Some((id, _)) = self.lists.iter().min_by_key(|(_, known)| known.seen) else { return };
            let id = id.clone();
            self.others = self.others.saturating_add(self.lists.remove(&id).map_or(0, |known| known.lost()));
        }
    }

    /// Those that none of the lists told of now is.
    fn gone<'s>(&'s self, lists: &'s [LossList]) -> impl Iterator<Item = &'s Remembered> {
        self.lists.values().filter(|known| lists.iter().all(|list| list.id != known.last.id))
    }
}

/// The check on what was lost: on all that is remembered, where `lists` is what proxies tell of now. Whether others might tell
/// more is not asked here.
pub fn check(policy: &CapturePolicy, losses: &Losses, lists: &[LossList]) -> Check {
    let (lost, accepted) = (losses.lost(), policy.losses_accepted);
    let mut wrong = Vec::new();
    let mut gone: Vec<String> = losses.gone(lists).map(told_gone).collect();
    if losses.others > 0 {
        gone.push(format!("{} by proxies of before", requests(losses.others)));
    }
    if lost > accepted {
        let here = losses.lists.values().filter(|known| lists.iter().any(|list| list.id == known.last.id));
        wrong.extend(here.filter(|known| known.lost() > 0).map(|known| {
            format!("{} lost {} (listed in {})", known.last.proxy, requests(known.lost()), known.last.path)
        }));
        wrong.append(&mut gone);
    }
    // What is counted and not listed cannot be taken care of, so it is not accepted with the rest while its process runs.
    wrong.extend(
        lists
            .iter()
            .filter(|list| list.unlisted > 0)
            .map(|list| format!("{} lost {} that it could not even list", list.proxy, requests(list.unlisted))),
    );
    if !wrong.is_empty() {
        let fix = if lists.iter().any(|list| list.unlisted > 0) {
            "no replay brings them, nobody can tell what they were, and no number accepts them while that process runs: begin capture \
             anew, with a topic and a state directory of its own, then take a new snapshot and backfill"
                .to_owned()
        } else {
            let gone = if losses.gone(lists).next().is_some() || losses.others > 0 {
                ". A list that is gone named them: its proxy's alerts, and those of this cutover, say when they were lost; where \
                 it cannot be had any more, a new snapshot is what is left"
            } else {
                ""
            };
            format!(
                "no replay brings them, so the target lacks what they wrote: send each on the list again, or take a new snapshot \
                 and backfill. Then accept them: write `losses_accepted = {lost}` under `[capture]` in the policy, which says \
                 that these {lost} are taken care of and that one more stops it again, and say `tidegate resume SERVICE \
                 --adopt-policy` while the cutover waits, or `tidegate start` before{gone}"
            )
        };
        return Check::of_capture(CHECK, CheckOutcome::Fail, wrong.join("; "), &fix);
    }
    let since = lists.iter().filter_map(|list| list.began).min();
    let since = since.map_or_else(String::new, |began| format!(" since {began}"));
    let accepted = if lost > 0 { format!(", all of the {accepted} that are accepted at most") } else { String::new() };
    let gone = gone.iter().fold(String::new(), |all, gone| format!("{all}; of them {gone}"));
    Check::of_capture(CHECK, CheckOutcome::Pass, format!("{} lost{since}{accepted}{gone}", requests(lost)), "")
}

/// A list that nobody tells of any more.
fn told_gone(known: &Remembered) -> String {
    let LossList { proxy, path, began, .. } = &known.last;
    let began = began.map_or_else(String::new, |began| format!(" since {began}"));
    format!(
        "{} by {proxy}{began}, which is gone with its list {path} and was seen last at {}",
        requests(known.lost()),
        known.seen
    )
}

fn requests(count: u64) -> String {
    if count == 1 { "1 request".to_owned() } else { format!("{count} requests") }
}

/// The checks of one look, with what they told of lists taken into `losses`, and judged together with what was remembered.
pub(crate) fn taken(policy: &CapturePolicy, losses: &mut Losses, checks: &[Check], now: Timestamp) -> Vec<Check> {
    let mut checks = checks.to_vec();
    let lists: Vec<LossList> = checks.iter_mut().flat_map(|check| std::mem::take(&mut check.lists)).collect();
    losses.remember(&lists, now);
    if policy.need == CaptureNeed::NotNeeded || losses.is_empty() {
        return checks;
    }
    let judged = check(policy, losses, &lists);
    match checks.iter_mut().find(|check| check.name == CHECK) {
        // Where some are silent they may have lost more, which is unknown and never a pass.
        Some(seen) if judged.outcome.stops() || seen.outcome != CheckOutcome::Unknown => *seen = judged,
        Some(_) => {}
        None if judged.outcome.stops() => checks.push(judged),
        None => {}
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn list(id: &str, instance: &str, losses: u64, unlisted: u64) -> LossList {
        LossList {
            id: id.to_owned(),
            proxy: format!("pod {id}"),
            path: "/state/losses.jsonl".to_owned(),
            began: Some(NOW.minus(std::time::Duration::from_hours(1))),
            instance: instance.to_owned(),
            losses,
            unlisted,
        }
    }

    fn accepting(losses_accepted: u64) -> CapturePolicy {
        CapturePolicy { losses_accepted, ..CapturePolicy::default() }
    }

    /// Proves that what a list had counts on when nobody tells of the list any more, by the name of its proxy, and that it is
    /// accepted like any other, and one more is not.
    #[test]
    fn a_list_that_is_gone_counts_on() {
        let mut losses = Losses::of(&[list("a", "1", 3, 0), list("b", "1", 0, 0)], NOW);
        let left = [list("b", "1", 0, 0)];
        losses.remember(&left, NOW.plus(std::time::Duration::from_mins(1)));
        let held = check(&accepting(2), &losses, &left);
        assert_eq!(held.outcome, CheckOutcome::Fail);
        assert_eq!(
            held.evidence,
            "3 requests by pod a since 2027-01-15T07:00:00Z, which is gone with its list /state/losses.jsonl and was seen last \
             at 2027-01-15T08:00:00Z"
        );
        assert!(held.fix.contains("`losses_accepted = 3`"), "{}", held.fix);
        let accepted = check(&accepting(3), &losses, &left);
        assert_eq!(accepted.outcome, CheckOutcome::Pass);
        assert!(accepted.evidence.contains("of them 3 requests by pod a"), "{}", accepted.evidence);
        let more = [list("b", "1", 1, 0)];
        losses.remember(&more, NOW);
        assert_eq!(check(&accepting(3), &losses, &more).outcome, CheckOutcome::Fail);
        assert_eq!(losses.lost(), 4);
    }

    /// Proves that a list which is told of by another process is counted once, wherever that is, that it never falls, and that
    /// what the process before could not list counts on and can be accepted.
    #[test]
    fn a_process_that_ended_takes_nothing_away() {
        let mut losses = Losses::of(&[list("a", "1", 5, 2)], NOW);
        let unlisted = check(&accepting(9), &losses, &[list("a", "1", 5, 2)]);
        assert_eq!(unlisted.evidence, "pod a lost 2 requests that it could not even list");
        let again = [LossList { proxy: "pod z".to_owned(), ..list("a", "2", 3, 0) }];
        losses.remember(&again, NOW);
        assert_eq!(losses.lost(), 5);
        assert_eq!(check(&accepting(5), &losses, &again).outcome, CheckOutcome::Pass);
        assert_eq!(
            check(&accepting(4), &losses, &again).evidence,
            "pod z lost 5 requests (listed in /state/losses.jsonl)"
        );
        losses.remember(&[list("a", "2", 1, 0)], NOW);
        assert_eq!(losses.lost(), 5);
    }

    /// Proves that what is remembered stays bounded, and that what is not kept by name still counts.
    #[test]
    fn many_lists_are_kept_as_a_sum() {
        let mut losses = Losses::default();
        for pod in 0..LISTS_MAX as u64 + 40 {
            losses.remember(&[list(&pod.to_string(), "1", 2, 0)], Timestamp(NOW.0 + i64::try_from(pod).unwrap()));
        }
        assert_eq!((losses.lists.len(), losses.others, losses.lost()), (LISTS_MAX, 80, LISTS_MAX as u64 * 2 + 80));
        let left = [list("539", "1", 2, 0)];
        assert!(check(&accepting(0), &losses, &left).evidence.contains("80 requests by proxies of before"));
    }
}
