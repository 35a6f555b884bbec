//! The lists of losses that a cutover which relies on capture has heard of, and what they come to.
//!
//! A list lies on the disk of its proxy, and goes with it where that is a pod's own. What was lost is lost all the same: so the
//! highest count of each list stays in the cutover, and counts until somebody has accepted it.
//!
//! Phantoms, which were refused and may be in the log all the same, are the opposite of losses: they are remembered the same
//! way, told of, and stop nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Check, CheckOutcome};
use crate::policy::{CaptureNeed, CapturePolicy};
use crate::units::Timestamp;

/// The name of the check.
pub const CHECK: &str = "capture losses";

/// The name of the check on phantoms.
pub const PHANTOMS: &str = "capture phantoms";

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
    /// What was lost, by earlier processes too: requests, and times that the log lost what it had.
    pub losses: u64,
    /// How many of them this process could not list.
    pub unlisted: u64,
    /// How many of them earlier processes could not list, as far as the list knows.
    #[serde(default)]
    pub unlisted_before: u64,
    /// Requests that were refused and that the log may have, by earlier processes too; none of them is a loss.
    #[serde(default)]
    pub phantoms: u64,
}

impl LossList {
    /// Losses that are in it.
    fn listed(&self) -> u64 {
        self.losses.saturating_sub(self.unlisted).saturating_sub(self.unlisted_before)
    }

    fn is_empty(&self) -> bool {
        self.losses == 0 && self.unlisted == 0 && self.phantoms == 0
    }
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
    /// The most phantoms that it told of.
    #[serde(default)]
    pub phantoms: u64,
}

/// What is remembered of all lists that ever had a loss.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// By the id of the list.
    lists: BTreeMap<String, Remembered>,
    /// What lists beyond [`LISTS_MAX`] come to.
    #[serde(default)]
    others: u64,
    /// The phantoms of those.
    #[serde(default)]
    others_phantoms: u64,
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
        self.lists.is_empty() && self.others == 0 && self.others_phantoms == 0
    }

    /// All that was lost.
    pub fn lost(&self) -> u64 {
        self.lists.values().map(Remembered::lost).fold(self.others, u64::saturating_add)
    }

    /// All that was refused and that a log may have.
    pub fn phantoms(&self) -> u64 {
        self.lists.values().map(|known| known.phantoms).fold(self.others_phantoms, u64::saturating_add)
    }

    /// Takes what proxies told at `now`. A count never falls: a list that was cut or made anew brings nothing back.
    pub fn remember(&mut self, lists: &[LossList], now: Timestamp) {
        for list in lists {
            let listed = list.listed();
            match self.lists.get_mut(&list.id) {
                Some(known) => {
                    let before = std::mem::replace(&mut known.last, list.clone());
                    if before.instance == list.instance {
                        known.last.unlisted = list.unlisted.max(before.unlisted);
                    } else {
                        known.unlisted_before = known.unlisted_before.saturating_add(before.unlisted);
                    }
                    // The list may have them by now, and those that nobody had asked for: they are not counted twice.
                    known.unlisted_before = known.unlisted_before.max(list.unlisted_before);
                    known.listed = known.listed.max(listed);
                    known.phantoms = known.phantoms.max(list.phantoms);
                    known.seen = now;
                }
                None if list.is_empty() => {}
                None => {
                    let (unlisted_before, phantoms) = (list.unlisted_before, list.phantoms);
                    let fresh = Remembered { last: list.clone(), seen: now, listed, unlisted_before, phantoms };
                    self.lists.insert(list.id.clone(), fresh);
                }
            }
        }
        while self.lists.len() > LISTS_MAX {
            let Some((id, _)) = self.lists.iter().min_by_key(|(_, known)| known.seen) else { return };
            let id = id.clone();
            let Some(known) = self.lists.remove(&id) else { return };
            self.others = self.others.saturating_add(known.lost());
            self.others_phantoms = self.others_phantoms.saturating_add(known.phantoms);
        }
    }

    /// Those that one of the lists told of now is.
    fn here<'s>(&'s self, lists: &'s [LossList]) -> impl Iterator<Item = &'s Remembered> {
        self.lists.values().filter(|known| lists.iter().any(|list| list.id == known.last.id))
    }

    /// Those that none of them is.
    fn gone<'s>(&'s self, lists: &'s [LossList]) -> impl Iterator<Item = &'s Remembered> {
        self.lists.values().filter(|known| lists.iter().all(|list| list.id != known.last.id))
    }
}

/// The check on what was lost: on all that is remembered, where `lists` is what proxies tell of now. Whether others might tell
/// more is not asked here.
pub fn check(policy: &CapturePolicy, losses: &Losses, lists: &[LossList]) -> Check {
    let (lost, accepted) = (losses.lost(), policy.losses_accepted);
    let mut wrong = Vec::new();
    let gone_with_losses = || losses.gone(lists).filter(|known| known.lost() > 0);
    let mut gone: Vec<String> =
        gone_with_losses().map(|known| told_gone(&counted(known.lost(), LOSS), known)).collect();
    if losses.others > 0 {
        gone.push(format!("{} of proxies of before", counted(losses.others, LOSS)));
    }
    if lost > accepted {
        wrong.extend(losses.here(lists).filter(|known| known.lost() > 0).map(|known| {
            format!("{} has {} (listed in {})", known.last.proxy, counted(known.lost(), LOSS), known.last.path)
        }));
        wrong.append(&mut gone);
    }
    // What is counted and not listed cannot be taken care of, so it is not accepted with the rest while its process runs.
    wrong.extend(
        lists
            .iter()
            .filter(|list| list.unlisted > 0)
            .map(|list| format!("{} has {} that it could not even list", list.proxy, counted(list.unlisted, LOSS))),
    );
    if !wrong.is_empty() {
        let fix = if lists.iter().any(|list| list.unlisted > 0) {
            "no replay brings them, nobody can tell what they were, and no number accepts them while that process runs: begin capture \
             anew, with a topic and a state directory of its own, then take a new snapshot and backfill"
                .to_owned()
        } else {
            let gone = if gone_with_losses().next().is_some() || losses.others > 0 {
                ". A list that is gone named them: its proxy's alerts, and those of this cutover, say when they were lost; where \
                 it cannot be had any more, a new snapshot is what is left"
            } else {
                ""
            };
            format!(
                "no replay brings them, so the target lacks what they wrote: send each request on the list again that was \
                 forwarded (`\"forwarded\":true`); where a line has `records`, a topic went with so many of them and only a new \
                 snapshot and backfill helps, as it does for all. Then accept them: write `losses_accepted = {lost}` under `[capture]` in the policy, which says \
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
    Check::of_capture(CHECK, CheckOutcome::Pass, format!("{}{since}{accepted}{gone}", counted(lost, LOSS)), "")
}

/// What is told of phantoms, where there are any. It stops nothing: the source and what its clients were told are as they
/// must be, and only a replay would make the target differ.
pub fn phantoms(losses: &Losses, lists: &[LossList]) -> Option<Check> {
    if losses.phantoms() == 0 {
        return None;
    }
    let mut told: Vec<String> = Vec::new();
    for known in losses.here(lists).filter(|known| known.phantoms > 0) {
        let LossList { proxy, path, .. } = &known.last;
        told.push(format!(
            "{proxy} refused {} that the log may have (listed in {path})",
            counted(known.phantoms, REQUEST)
        ));
    }
    let gone = losses.gone(lists).filter(|known| known.phantoms > 0);
    told.extend(gone.map(|known| {
        told_gone(&format!("{} that were refused and that the log may have,", counted(known.phantoms, REQUEST)), known)
    }));
    if losses.others_phantoms > 0 {
        told.push(format!(
            "proxies of before refused {} that the log may have",
            counted(losses.others_phantoms, REQUEST)
        ));
    }
    let fix = "these are no losses: their clients were told 503 or 502, or got no answer, and the source does not have them \
               whole; but a replay brings to the target what the log has of them. Once it is over, look at the source for each on \
               the list that was not forwarded (`\"forwarded\":false`): what the source lacks and the target has, delete at the \
               target, or write it to the source again if it is wanted";
    Some(Check::of_capture(PHANTOMS, CheckOutcome::Warn, told.join("; "), fix))
}

/// What a list that nobody tells of any more had.
fn told_gone(what: &str, known: &Remembered) -> String {
    let LossList { proxy, path, began, .. } = &known.last;
    let began = began.map_or_else(String::new, |began| format!(" since {began}"));
    format!("{what} of {proxy}{began}, which is gone with its list {path} and was seen last at {}", known.seen)
}

/// One and many of what is counted.
type Noun = [&'static str; 2];

const LOSS: Noun = ["loss", "losses"];
const REQUEST: Noun = ["request", "requests"];

fn counted(count: u64, [one, many]: Noun) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
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
    checks.retain(|check| check.name != PHANTOMS);
    checks.extend(phantoms(losses, &lists));
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
            unlisted_before: 0,
            phantoms: 0,
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
            "3 losses of pod a since 2027-01-15T07:00:00Z, which is gone with its list /state/losses.jsonl and was seen last \
             at 2027-01-15T08:00:00Z"
        );
        assert!(held.fix.contains("`losses_accepted = 3`"), "{}", held.fix);
        let accepted = check(&accepting(3), &losses, &left);
        assert_eq!(accepted.outcome, CheckOutcome::Pass);
        assert!(accepted.evidence.contains("of them 3 losses of pod a"), "{}", accepted.evidence);
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
        assert_eq!(unlisted.evidence, "pod a has 2 losses that it could not even list");
        let again = [LossList { proxy: "pod z".to_owned(), ..list("a", "2", 3, 0) }];
        losses.remember(&again, NOW);
        assert_eq!(losses.lost(), 5);
        assert_eq!(check(&accepting(5), &losses, &again).outcome, CheckOutcome::Pass);
        assert_eq!(
            check(&accepting(4), &losses, &again).evidence,
            "pod z has 5 losses (listed in /state/losses.jsonl)"
        );
        losses.remember(&[list("a", "2", 1, 0)], NOW);
        assert_eq!(losses.lost(), 5);
    }

    /// Proves that losses which a process could not list are counted once, whether the cutover alone, the list alone or both
    /// remember them after it, in whatever order they are heard of.
    #[test]
    fn what_was_not_listed_is_counted_once() {
        let unlisted = list("a", "1", 5, 2);
        let known_to_list = LossList { unlisted_before: 2, ..list("a", "2", 6, 1) };
        let more_than_seen = LossList { unlisted_before: 6, ..list("a", "2", 10, 0) };
        let unknown_to_list = list("a", "2", 3, 0);
        for (told, lost) in [
            (vec![&unlisted, &known_to_list], 6),
            (vec![&known_to_list], 6),
            (vec![&known_to_list, &known_to_list], 6),
            (vec![&unlisted, &more_than_seen], 10),
            (vec![&unlisted, &unknown_to_list], 5),
        ] {
            let mut losses = Losses::default();
            for list in &told {
                losses.remember(&[(*list).clone()], NOW);
            }
            assert_eq!(losses.lost(), lost, "{told:?}");
        }
        let earlier = LossList { unlisted: 0, ..known_to_list };
        assert_eq!(
            check(&accepting(6), &Losses::of(std::slice::from_ref(&earlier), NOW), &[earlier]).outcome,
            CheckOutcome::Pass
        );
    }

    /// Proves that phantoms are no losses and stop nothing, that they are told of with what to do, by the name of their proxy
    /// also when it is gone, and that a journal which knows nothing of them is read.
    #[test]
    fn phantoms_are_told_and_stop_nothing() {
        let haunted = [LossList { phantoms: 2, ..list("a", "1", 0, 0) }, list("b", "1", 0, 0)];
        let mut losses = Losses::of(&haunted, NOW);
        assert_eq!(check(&accepting(0), &losses, &haunted).outcome, CheckOutcome::Pass);
        let told = phantoms(&losses, &haunted).unwrap();
        assert_eq!(told.outcome, CheckOutcome::Warn);
        assert_eq!(told.evidence, "pod a refused 2 requests that the log may have (listed in /state/losses.jsonl)");
        assert!(told.fix.contains("delete at the target"), "{}", told.fix);
        let left = [list("b", "1", 1, 0)];
        losses.remember(&left, NOW);
        assert_eq!(
            phantoms(&losses, &left).unwrap().evidence,
            "2 requests that were refused and that the log may have, of pod a since 2027-01-15T07:00:00Z, which is gone with its \
             list /state/losses.jsonl and was seen last at 2027-01-15T08:00:00Z"
        );
        let held = check(&accepting(0), &losses, &left);
        assert_eq!(held.evidence, "pod b has 1 loss (listed in /state/losses.jsonl)");
        assert!(!held.fix.contains("A list that is gone"), "{}", held.fix);

        let mut journal = serde_json::to_value(&losses).unwrap();
        assert_eq!(serde_json::from_value::<Losses>(journal.clone()).unwrap(), losses);
        journal.as_object_mut().unwrap().remove("others_phantoms").unwrap();
        for known in journal["lists"].as_object_mut().unwrap().values_mut() {
            known.as_object_mut().unwrap().remove("phantoms").unwrap();
            known["last"].as_object_mut().unwrap().retain(|key, _| key != "phantoms" && key != "unlisted_before");
        }
        let before = serde_json::from_value::<Losses>(journal).unwrap();
        assert_eq!((before.lost(), before.phantoms()), (1, 0));
        assert_eq!(phantoms(&before, &left), None);
    }

    /// Proves that what is told of phantoms is in the checks of every look, those that the look did not see included.
    #[test]
    fn phantoms_stand_among_the_checks() {
        let lists = vec![LossList { phantoms: 1, ..list("a", "1", 0, 0) }];
        let policy = CapturePolicy { need: CaptureNeed::Required, ..accepting(0) };
        let seen = Check { lists, ..Check::of_capture(CHECK, CheckOutcome::Pass, "no loss", "") };
        let mut losses = Losses::default();
        for (checks, names) in [
            (vec![seen.clone()], vec![CHECK, PHANTOMS]),
            (vec![seen, Check::of_capture(PHANTOMS, CheckOutcome::Warn, "told", "")], vec![CHECK, PHANTOMS]),
            (Vec::new(), vec![PHANTOMS]),
        ] {
            let checks = taken(&policy, &mut losses, &checks, NOW);
            assert_eq!(checks.iter().map(|check| check.name.as_str()).collect::<Vec<_>>(), names);
            assert!(checks.iter().all(|check| !check.outcome.stops()), "{checks:?}");
            assert!(checks.last().unwrap().evidence.contains("1 request"), "{checks:?}");
        }
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
        assert!(check(&accepting(0), &losses, &left).evidence.contains("80 losses of proxies of before"));
    }
}
