//! Whether what clients write is captured without loss, as every proxy of a cutover that relies on it tells.
//!
//! One proxy that captures nothing, or does not answer, is a hole in the whole: its share of the writes is in no log. So each
//! is named that is not as it must be, and nothing is averaged. Where records go is the proxies' to know; no broker is asked
//! from here.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use cutover::Timestamp;
use cutover::event::{Check, CheckOutcome};
use cutover::losses::{self, LossList, Losses};
use cutover::policy::{CaptureNeed, CapturePolicy};
use proxy::api::{CaptureStatus, Status};
use proxy::config::WEIGHT_MAX;

use super::Fleet;
use crate::clock::Clock;
use crate::port::Answer;
use crate::proxies::{Known, Proxies, each};

/// What a proxy that does not answer is called for.
const REACH: &str = "start the proxy, let this machine reach it, or take it out of the policy if it has no clients";

/// Whether a cutover relies on the capture of some proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relies {
    /// What the source is given goes through them.
    Yes,
    /// They stand behind the target's group alone: what they capture only a way back would need, so they may do without.
    No,
}

/// What one proxy told.
struct Told {
    name: String,
    relies: Relies,
    answer: Result<Status, String>,
}

/// Another fleet, and the capture of the proxies that clients' writes may go through.
pub struct WithCapture {
    fleet: Arc<dyn Fleet>,
    proxies: Vec<(Proxies, Relies)>,
    clock: Clock,
}

impl WithCapture {
    /// Looks after `fleet`, and after the capture of all `proxies`.
    pub fn new(fleet: Arc<dyn Fleet>, proxies: Vec<(Proxies, Relies)>, clock: Clock) -> Self {
        Self { fleet, proxies, clock }
    }
}

impl Fleet for WithCapture {
    fn check(&self) -> Answer<'_, Vec<Check>> {
        self.fleet.check()
    }

    fn captured<'a>(&'a self, policy: &'a CapturePolicy) -> Answer<'a, Vec<Check>> {
        Box::pin(async move {
            if policy.need == CaptureNeed::NotNeeded {
                return Ok(Vec::new());
            }
            let mut told: Vec<Told> = Vec::new();
            for (proxies, relies) in &self.proxies {
                let of = |name: &str, answer| Told { name: name.to_owned(), relies: *relies, answer };
                let Known { remotes, failed } = proxies.lately().await;
                let answers = each(&remotes, |proxy| async move { proxy.status().await }).await;
                let answers = answers.into_iter();
                told.extend(answers.map(|(proxy, answer)| of(proxy.name(), answer.map_err(|error| error.why))));
                // Those that a name may stand for besides are as unknown as one that is silent.
                told.extend(failed.map(|why| of("a name", Err(why))));
            }
            Ok(judge(policy, &told, self.clock.now()))
        })
    }

    fn beneath(&self) -> Option<&dyn Fleet> {
        Some(&*self.fleet)
    }
}

/// What the proxies told, as checks.
fn judge(policy: &CapturePolicy, told: &[Told], now: Timestamp) -> Vec<Check> {
    let answered = || told.iter().filter_map(|told| Some((told.name.as_str(), told.answer.as_ref().ok()?)));
    let silent: Vec<&str> = told.iter().filter_map(|told| told.answer.as_ref().err().map(String::as_str)).collect();
    let captures: Vec<(&str, &CaptureStatus)> =
        answered().flat_map(|(name, status)| status.capture.iter().map(move |capture| (name, capture))).collect();
    let mut checks = vec![live(told, &silent)];
    // What nobody is there to tell stays one line.
    if !captures.is_empty() {
        checks.extend(losses(policy, &answered().collect::<Vec<_>>(), &silent, now));
        checks.push(lag(policy, &captures, &silent));
        checks.push(kept(policy, &captures, &silent, now));
    }
    checks
}

/// A check on what some proxies told: it fails where they say so, and is unknown where the others are silent.
fn verdict(name: &str, wrong: &[String], fix: &str, silent: &[&str], well: String) -> Check {
    if !wrong.is_empty() {
        Check::of_capture(name, CheckOutcome::Fail, wrong.join("; "), fix)
    } else if silent.is_empty() {
        Check::of_capture(name, CheckOutcome::Pass, well, "")
    } else {
        Check::of_capture(name, CheckOutcome::Unknown, format!("silent: {}", silent.join("; ")), REACH)
    }
}

/// Whether every proxy that the cutover relies on captures what it sends to the side that it serves, and the log of each that
/// captures takes records.
fn live(told: &[Told], silent: &[&str]) -> Check {
    let name = "capture live";
    let mut wrong = Vec::new();
    if told.iter().all(|told| told.relies == Relies::No) {
        wrong.push("no proxy is named that could tell".to_owned());
    }
    let mut places: Vec<String> = Vec::new();
    let mut spared: Vec<&str> = Vec::new();
    for Told { name: proxy, relies, answer } in told {
        let Ok(status) = answer else { continue };
        if *relies == Relies::No && status.capture.is_empty() {
            spared.push(proxy);
            continue;
        }
        let captured = |side: &str| status.capture.iter().any(|capture| capture.side == side);
        // A proxy behind a target group has one side alone, by its weight; where it splits, the source's writes matter.
        let served = if status.reads == WEIGHT_MAX && status.writes == WEIGHT_MAX && !captured("source") {
            "target"
        } else {
            "source"
        };
        if *relies == Relies::Yes && !captured(served) {
            wrong.push(format!("{proxy} captures nothing of the {served}"));
        }
        for capture in &status.capture {
            let place = format!("{} to {}", capture.side, where_to(capture));
            if !capture.works {
                let why = capture.failed_why.as_deref().unwrap_or("it failed");
                wrong.push(format!("{proxy} cannot record the {place}: {why}"));
            } else if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    let fix = "start the proxy with `--capture`, or see that its log takes records; what it forwards meanwhile is lost to the \
               replay";
    let (all, records) = (told.len(), told.len() - spared.len());
    let mut well = format!("{records} of {all} proxies record the {}", places.join(" and the "));
    if !spared.is_empty() {
        let spared = spared.join(", ");
        write!(well, "; what the target is given by {spared} is in no capture, and no way back would bring it")
            .expect("a text takes what is written to it");
    }
    verdict(name, &wrong, fix, silent, well)
}

/// Where records go, for people.
fn where_to(capture: &CaptureStatus) -> String {
    if capture.place.is_empty() { capture.sink.clone() } else { format!("{} ({})", capture.sink, capture.place) }
}

/// How many losses the lists have, and what they have besides. Both sides of a proxy have one list, and so has a proxy at two
/// addresses.
fn losses(policy: &CapturePolicy, answered: &[(&str, &Status)], silent: &[&str], now: Timestamp) -> Vec<Check> {
    let mut lists: Vec<LossList> = Vec::new();
    let captures =
        answered.iter().flat_map(|(proxy, status)| status.capture.iter().map(move |capture| (proxy, status, capture)));
    for (proxy, status, capture) in captures {
        let CaptureStatus { began_millis, loss_log, loss_log_id, .. } = capture;
        // A proxy of a version that gives its list no id has one for as long as it is there.
        let id = if loss_log_id.is_empty() { format!("{proxy} {began_millis}") } else { loss_log_id.clone() };
        if lists.iter().any(|known| known.id == id) {
            continue;
        }
        lists.push(LossList {
            id,
            proxy: (*proxy).to_owned(),
            path: loss_log.clone(),
            began: Some(Timestamp(*began_millis)).filter(|began| began.0 > 0),
            instance: status.instance.clone(),
            losses: capture.losses,
            unlisted: capture.losses_unlisted,
            unlisted_before: capture.losses_unlisted_before,
            phantoms: capture.phantoms,
        });
    }
    let all = Losses::of(&lists, now);
    let known = losses::check(policy, &all, &lists);
    let check = if known.outcome.stops() { known } else { verdict(losses::CHECK, &[], "", silent, known.evidence) };
    let phantoms = losses::phantoms(&all, &lists);
    std::iter::once(Check { lists, ..check }).chain(phantoms).collect()
}

/// How long the oldest record waits for the log.
fn lag(policy: &CapturePolicy, captures: &[(&str, &CaptureStatus)], silent: &[&str]) -> Check {
    let oldest = |capture: &CaptureStatus| Duration::from_millis(capture.oldest_millis);
    let wrong: Vec<String> = captures
        .iter()
        .filter(|(_, capture)| oldest(capture) > policy.lag_max)
        .map(|(proxy, capture)| {
            let (seconds, most) = (oldest(capture).as_secs_f64(), policy.lag_max.as_secs_f64());
            let bytes = capture.under_way_bytes;
            format!(
                "at {proxy} a record of the {} has waited for {seconds:.1} s ({bytes} bytes wait), above {most} s",
                capture.side
            )
        })
        .collect();
    let most = captures.iter().map(|(_, capture)| oldest(capture)).max().unwrap_or_default();
    let well = format!("the oldest record has waited for {:.1} s", most.as_secs_f64());
    verdict("capture lag", &wrong, "see why the log is slow: its brokers, its disk", silent, well)
}

/// Whether the log keeps what was captured from the start of capture until the replay is over.
fn kept(policy: &CapturePolicy, captures: &[(&str, &CaptureStatus)], silent: &[&str], now: Timestamp) -> Check {
    let name = "capture kept";
    if policy.replay_max.is_zero() {
        return Check::of_capture(name, CheckOutcome::Pass, "not asked, by `replay_max = \"0s\"`", "");
    }
    let mut wrong = Vec::new();
    let mut unsaid = Vec::new();
    let mut by_size = Vec::new();
    let mut shortest: Option<Duration> = None;
    for (proxy, capture) in captures {
        let place = where_to(capture);
        // A proxy of a version that does not say when capture began cannot be judged by it.
        let Some(keeps) = capture.keeps.filter(|_| capture.began_millis > 0) else {
            unsaid.push(format!("{proxy} cannot tell how long {place} keeps records"));
            continue;
        };
        if let Some(bytes) = keeps.bytes {
            by_size.push(format!("{place} also deletes beyond {bytes} bytes"));
        }
        let Some(time) = keeps.millis.map(Duration::from_millis) else { continue };
        let age = now.since(Timestamp(capture.began_millis));
        if time < age.saturating_add(policy.replay_max) {
            wrong.push(format!(
                "{place} keeps records for {}; capture began {} ago at {proxy}, and the replay may take {} more",
                hours(time),
                hours(age),
                hours(policy.replay_max)
            ));
        }
        shortest = Some(shortest.map_or(time, |shortest| shortest.min(time)));
    }
    wrong.dedup();
    let fix = "let the log keep them for longer (`retention.ms` of the topic, `--capture-keep`), or say under `[capture]` how \
               long the replay may take: `replay_max`; \"0s\" where it runs along and nobody need ask";
    if wrong.is_empty() && !unsaid.is_empty() {
        return Check::of_capture(name, CheckOutcome::Unknown, unsaid.join("; "), fix);
    }
    let well = shortest
        .map_or_else(|| "records are kept for ever".to_owned(), |time| format!("records are kept for {}", hours(time)));
    if wrong.is_empty() && silent.is_empty() && !by_size.is_empty() {
        by_size.dedup();
        let fix = "see that so much is not reached before the replay is over";
        return Check::of_capture(name, CheckOutcome::Warn, format!("{well}; {}", by_size.join("; ")), fix);
    }
    verdict(name, &wrong, fix, silent, well)
}

/// A long time, for people.
fn hours(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    if minutes < 180 { format!("{minutes} min") } else { format!("{} h", minutes / 60) }
}

#[cfg(test)]
mod tests {
    use cutover::captured;
    use cutover::event::About;
    use proxy::api::Keeping;

    use super::*;
    use crate::testing;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn policy() -> CapturePolicy {
        CapturePolicy {
            need: CaptureNeed::Required,
            losses_accepted: 0,
            lag_max: Duration::from_secs(10),
            replay_max: Duration::from_hours(24),
        }
    }

    fn captures(side: &str) -> CaptureStatus {
        CaptureStatus {
            side: side.to_owned(),
            sink: "kafka".to_owned(),
            on_failure: "forward".to_owned(),
            works: true,
            failed_why: None,
            failed_times: 0,
            safe: 7,
            lost: 0,
            perhaps_there: 0,
            not_given: 0,
            under_way_bytes: 0,
            life: 0,
            losses: 0,
            losses_unlisted: 0,
            losses_unlisted_before: 0,
            phantoms: 0,
            place: format!("topic {side}s"),
            began_millis: NOW.0 - 3_600_000,
            loss_log: "/var/lib/losses.jsonl".to_owned(),
            loss_log_id: String::new(),
            oldest_millis: 40,
            keeps: Some(Keeping { millis: Some(7 * 24 * 3_600_000), bytes: None }),
        }
    }

    fn proxy(name: &str, capture: Vec<CaptureStatus>) -> Told {
        let status = Status { capture, ..testing::status(0) };
        Told { name: name.to_owned(), relies: Relies::Yes, answer: Ok(status) }
    }

    /// What is not as it must be.
    fn wrong(policy: &CapturePolicy, told: &[Told]) -> Vec<String> {
        let checks = judge(policy, told, NOW);
        assert!(checks.iter().all(|check| check.about == About::Capture));
        let bad = checks.iter().filter(|check| check.outcome != CheckOutcome::Pass);
        bad.map(|check| format!("{:?} {}: {}", check.outcome, check.name, check.evidence)).collect()
    }

    fn changed(change: impl Fn(&mut CaptureStatus)) -> Vec<Told> {
        let mut other = captures("source");
        change(&mut other);
        vec![proxy("a", vec![captures("source"), captures("target")]), proxy("b", vec![other])]
    }

    /// Proves that a fleet whose proxies all capture without loss passes, and what one line says of it.
    #[test]
    fn a_whole_capture_passes() {
        let told = changed(|_| {});
        assert_eq!(wrong(&policy(), &told), Vec::<String>::new());
        let mut cutover = testing::cutover("search");
        cutover.checks = judge(&policy(), &told, NOW);
        assert_eq!(captured::told(&cutover), None, "it does not rely on capture");
        Arc::make_mut(&mut cutover.policy).capture = policy();
        assert_eq!(
            captured::told(&cutover).unwrap(),
            "2 of 2 proxies record the source to kafka (topic sources) and the target to kafka (topic targets); 0 losses \
             since 2027-01-15T07:00:00Z; the oldest record has waited for 0.0 s; records are kept for 168 h"
        );
        cutover.checks = judge(&policy(), &changed(|capture| capture.losses = 1), NOW);
        assert_eq!(captured::told(&cutover).unwrap(), "NOT WHOLE: b has 1 loss (listed in /var/lib/losses.jsonl)");
        cutover.checks.clear();
        assert_eq!(captured::told(&cutover).unwrap(), "not looked at yet");
    }

    /// Proves that one proxy of several that captures nothing, cannot, or is silent is named, and that what the silent one may
    /// have lost is unknown and not nothing.
    #[test]
    fn every_proxy_must_capture() {
        let mut told = vec![proxy("a", vec![captures("source")]), proxy("b", Vec::new())];
        assert_eq!(wrong(&policy(), &told), ["Fail capture live: b captures nothing of the source"]);
        let dead = changed(|capture| {
            capture.works = false;
            capture.failed_why = Some("no broker".to_owned());
        });
        assert_eq!(
            wrong(&policy(), &dead),
            ["Fail capture live: b cannot record the source to kafka (topic sources): no broker"]
        );
        told[1].answer = Err("b: connection refused".to_owned());
        let silent = wrong(&policy(), &told);
        assert_eq!(silent.len(), 4, "{silent:?}");
        assert!(silent.iter().all(|check| check.ends_with("silent: b: connection refused")), "{silent:?}");
        assert!(silent.iter().all(|check| check.starts_with("Unknown")), "{silent:?}");
        // A proxy behind the target's group serves the target alone.
        let mut behind = proxy("c", vec![captures("target")]);
        if let Ok(status) = &mut behind.answer {
            (status.reads, status.writes) = (WEIGHT_MAX, WEIGHT_MAX);
        }
        assert_eq!(wrong(&policy(), &[behind]), Vec::<String>::new());
        assert_eq!(wrong(&policy(), &[]), ["Fail capture live: no proxy is named that could tell"]);
    }

    /// Proves that proxies behind the target's group may do without capture, which is told; that those which capture must do it
    /// well, and be heard; and that they stand in for none of the source's.
    #[test]
    fn the_targets_proxies_may_do_without_capture() {
        let target = |capture| Told { relies: Relies::No, ..proxy("t", capture) };
        let told = [proxy("s", vec![captures("source")]), target(Vec::new())];
        assert_eq!(wrong(&policy(), &told), Vec::<String>::new());
        assert_eq!(
            judge(&policy(), &told, NOW)[0].evidence,
            "1 of 2 proxies record the source to kafka (topic sources); what the target is given by t is in no capture, and \
             no way back would bring it"
        );
        let dead = CaptureStatus { works: false, failed_why: Some("no broker".to_owned()), ..captures("target") };
        let told = [proxy("s", vec![captures("source")]), target(vec![dead])];
        assert_eq!(
            wrong(&policy(), &told),
            ["Fail capture live: t cannot record the target to kafka (topic targets): no broker"]
        );
        let told = [proxy("s", Vec::new()), target(vec![captures("target")])];
        assert_eq!(wrong(&policy(), &told), ["Fail capture live: s captures nothing of the source"]);
        assert_eq!(wrong(&policy(), &[target(Vec::new())]), ["Fail capture live: no proxy is named that could tell"]);
    }

    /// Proves that any loss closes, that so many as were accepted do not, that one more does, and that losses which nobody
    /// can look up are never accepted.
    #[test]
    fn losses_close_until_they_are_accepted() {
        let told = changed(|capture| capture.losses = 3);
        let mut policy = policy();
        assert_eq!(wrong(&policy, &told), ["Fail capture losses: b has 3 losses (listed in /var/lib/losses.jsonl)"]);
        let fix = |policy: &CapturePolicy, told: &[Told]| {
            let checks = judge(policy, told, NOW);
            checks.into_iter().find(|check| check.name == "capture losses").unwrap().fix
        };
        let said = fix(&policy, &told);
        assert!(said.contains("`losses_accepted = 3` under `[capture]`"), "{said}");
        assert!(said.contains("`tidegate resume SERVICE --adopt-policy`"), "{said}");
        policy.losses_accepted = 3;
        assert_eq!(wrong(&policy, &told), Vec::<String>::new());
        policy.losses_accepted = 2;
        assert_eq!(wrong(&policy, &told).len(), 1);
        policy.losses_accepted = 9;
        let unlisted = changed(|capture| (capture.losses, capture.losses_unlisted) = (3, 1));
        assert_eq!(wrong(&policy, &unlisted), ["Fail capture losses: b has 1 loss that it could not even list"]);
        let said = fix(&policy, &unlisted);
        assert!(said.contains("begin capture anew") && !said.contains("losses_accepted"), "{said}");
        // Both sides of a proxy write one list.
        policy.losses_accepted = 4;
        let mut sides = [captures("source"), captures("target")];
        for capture in &mut sides {
            capture.losses = 4;
        }
        assert_eq!(wrong(&policy, &[proxy("a", sides.to_vec())]), Vec::<String>::new());
    }

    /// Proves that refused requests which the log may have are told of with their list and what to do, by one line of both
    /// sides, in the picture of the cutover too, and that they neither close nor count as losses.
    #[test]
    fn phantoms_are_told_and_close_nothing() {
        let mut sides = [captures("source"), captures("target")];
        for capture in &mut sides {
            capture.phantoms = 2;
        }
        let told = [proxy("a", sides.to_vec())];
        assert_eq!(
            wrong(&policy(), &told),
            ["Warn capture phantoms: a refused 2 requests that the log may have (listed in /var/lib/losses.jsonl)"]
        );
        let mut cutover = testing::cutover("search");
        Arc::make_mut(&mut cutover.policy).capture = policy();
        cutover.checks = judge(&policy(), &told, NOW);
        assert_eq!(captured::whole(&cutover), Some(true));
        let picture = captured::told(&cutover).unwrap();
        assert!(picture.contains("0 losses since"), "{picture}");
        assert!(picture.contains("a refused 2 requests that the log may have"), "{picture}");
        sides[0].losses = 1;
        let both = wrong(&policy(), &[proxy("a", sides.to_vec())]);
        assert_eq!(both[0], "Fail capture losses: a has 1 loss (listed in /var/lib/losses.jsonl)");
        assert_eq!(both.len(), 2, "{both:?}");
    }

    /// Proves that a record that waits for too long, and a log that forgets too soon or cannot say, stand in the way, and that
    /// a policy need not ask how long records are kept.
    #[test]
    fn lag_and_retention_have_limits() {
        let mut policy = policy();
        let slow = changed(|capture| capture.oldest_millis = 10_001);
        assert_eq!(
            wrong(&policy, &slow),
            ["Fail capture lag: at b a record of the source has waited for 10.0 s (0 bytes wait), above 10 s"]
        );
        let keeps =
            |millis: Option<u64>, bytes| changed(move |capture| capture.keeps = Some(Keeping { millis, bytes }));
        let day = 24 * 3_600_000;
        assert_eq!(wrong(&policy, &keeps(Some(day + 3_600_000), None)), Vec::<String>::new());
        let short = wrong(&policy, &keeps(Some(day), None));
        assert_eq!(
            short,
            [
                "Fail capture kept: kafka (topic sources) keeps records for 24 h; capture began 60 min ago at b, and the replay \
              may take 24 h more"
            ]
        );
        assert_eq!(wrong(&policy, &keeps(None, Some(1 << 30)))[0].split(':').next().unwrap(), "Warn capture kept");
        let unsaid = changed(|capture| capture.keeps = None);
        assert!(wrong(&policy, &unsaid)[0].starts_with("Unknown capture kept: b cannot tell how long"));
        policy.replay_max = Duration::ZERO;
        assert_eq!(wrong(&policy, &unsaid), Vec::<String>::new());
    }
}
