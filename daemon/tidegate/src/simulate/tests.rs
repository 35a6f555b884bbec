//! Facts about simulated cutovers: what is known exactly is met, and what is decided is decided by the real core.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use cutover::baseline::{self, Class, Document, Given, Origin};
use cutover::policy::{Policy, Tripwire, TripwireKind};
use cutover::{Command, Cutover, Decision, Event, Timestamp, decide};
use judge::record::{Record, Row};
use judge::{Counts, Guard, GuardKind, Histogram};

use super::chance::seed_of;
use super::service::{Level, Wanders};
use super::shape::TIERS;
use super::study::{portion, tales};
use super::traffic::{GLANCE, Setting, Traffic};
use super::wander::Wander;
use super::world::{By, Case, End, Tale, live};
use super::*;

/// Monday, 2026-01-05T00:00:00Z.
const MONDAY: i64 = 1_767_571_200_000;

/// A service without any scatter of its own: every hour alike, `errors` of its requests fail.
fn service(per_second: f64, errors: f64) -> Service {
    let mut latency = Histogram::default();
    for step in -30..=30i32 {
        let z = f64::from(step) / 10.0;
        latency.record((60_000.0 * (0.7 * z).exp()) as u64, (10_000.0 * (-z * z / 2.0).exp()) as u64);
    }
    let alike = [1.0; TIERS - 1];
    let level = Level { per_second, errors, client_errors: 0.0, latency: alike, exchange: alike };
    Service {
        hours: vec![level; 168],
        failed: 0.25,
        redirects: 0.01,
        abandoned: 0.001,
        wanders: Wanders::default(),
        latency: (latency.clone(), 1.0),
        exchange: (latency, 1.0),
        exchange_recorded: true,
    }
}

/// A short ladder with whole minutes for intervals.
const POLICY: &str = r#"
service = "search"
[source]
endpoints = ["http://10.0.0.1:9200"]
[target]
endpoints = ["http://10.0.1.1:9200"]
[baseline]
record = "10m"
intervals_min = 5
[shift]
steps = [10, 50, 100]
writes = "split"
interval = "60s"
bake_min = "5m"
bake_max = "60m"
warm_up = "30s"
[drain]
quiet = "10m"
"#;

fn policy(text: &str) -> Arc<Policy> {
    Arc::new(cutover::policy::read(text, "test.toml").expect("the policy is sound"))
}

fn case<'a>(policy: &Arc<Policy>, service: &'a Service, fault: Option<&str>) -> Case<'a> {
    let fault: Option<Fault> = fault.map(|text| text.parse().expect("the fault is sound"));
    let setting = Setting::new(service, &policy.tripwires, &policy.guards, fault);
    Case { policy: Arc::clone(policy), given: None, setting, fault, core: decide }
}

fn lives(case: &Case<'_>, cutovers: u64) -> Vec<Tale> {
    (0..cutovers).map(|number| live(case, seed_of(7, number))).collect()
}

fn reverted(tale: &Tale) -> Option<&world::Reverted> {
    match &tale.end {
        End::Reverted(back) => Some(back),
        _ => None,
    }
}

/// Proves that with evidence in plenty a cutover takes what its waits come to, to the interval.
#[test]
fn fixed_bakes_take_exactly_their_time() {
    let policy = policy(POLICY);
    let service = service(3_000.0, 0.000_1);
    let case = case(&policy, &service, None);
    // Recorded for ten minutes; on each step it settles and warms up for 32 s, within the first of six whole minutes; the
    // drain is ten minutes of silence, counted in whole minutes.
    for tale in lives(&case, 3) {
        assert_eq!(tale.end, End::Done);
        let minutes = tale.took.as_secs_f64() / 60.0;
        assert!((minutes - (10.0 + 2.0 * 6.0 + 11.0)).abs() < 0.1, "{minutes}");
        let minutes = |step: &Option<Duration>| step.expect("it passed").as_secs_f64() / 60.0;
        assert!(tale.steps[..2].iter().all(|step| (minutes(step) - 6.0).abs() < 0.1), "{:?}", tale.steps);
    }
    let plan = cutover::plan::plan(&policy, cutover::plan::Assumed::usual(3_000.0));
    let took = live(&case, 1).took.as_secs_f64();
    assert!(took >= plan.least_seconds && took < plan.least_seconds + 3.0 * 60.0, "{took}, {}", plan.least_seconds);
}

/// A policy in which nothing but one tripwire can revert, and nothing but the clock decides how long a step lasts.
fn tripwire_only() -> Policy {
    let mut policy = Policy::clone(&policy(POLICY));
    policy.shift.steps.remove(0);
    policy.tripwires = vec![Tripwire {
        name: "errors".to_owned(),
        kind: TripwireKind::Errors,
        limit: 0.5,
        requests_min: 5,
        // As long as the pause between two glances, so that each look is at requests of its own.
        window: Duration::from_millis(GLANCE.unsigned_abs()),
        source_limit: 1.0,
    }];
    policy.guards.retain(|guard| guard.guard.kind == GuardKind::Errors);
    policy.guards[0].guard = Guard { ratio: 50.0, ..Guard::usual(GuardKind::Errors) };
    policy.false_revert_max = 1e-9;
    policy.pass.errors_budget = 0.9;
    policy
}

/// The chance that one look of the tripwire above fires: a Poisson number of requests with mean `mean`, of which each
/// fails with chance `share`.
fn fires_in_one_look(mean: f64, share: f64) -> f64 {
    let mut poisson = (-mean).exp();
    let mut chance = 0.0;
    for n in 1..200u32 {
        poisson *= mean / f64::from(n);
        if n < 5 {
            continue;
        }
        let mut binomial = (1.0 - share).powf(f64::from(n));
        let mut below = 0.0;
        for k in 0..n.div_ceil(2) {
            below += binomial;
            binomial *= f64::from(n - k) / f64::from(k + 1) * share / (1.0 - share);
        }
        chance += poisson * (1.0 - below);
    }
    chance
}

/// Proves that the chance of a false revert is met where it is known exactly: independent looks at binomial counts.
#[test]
fn a_false_revert_is_as_likely_as_calculated() {
    const CUTOVERS: u64 = 300;
    let policy = Arc::new(tripwire_only());
    let service = service(30.0, 0.05);
    let tales = lives(&case(&policy, &service, None), CUTOVERS);
    let done = tales.iter().find(|tale| tale.end == End::Done).expect("some go through");
    let seconds = |step: usize| done.steps[step].expect("it passed").as_secs_f64();
    // Between two writes the target has half of the traffic, and then all of it until the end.
    let looks = [seconds(0) * 2.0, (seconds(1) - 0.25) * 2.0];
    let spared: f64 = [0.5, 1.0]
        .iter()
        .zip(looks)
        .map(|(share, looks)| (1.0 - fires_in_one_look(30.0 * 0.5 * share, 0.05)).powf(looks))
        .product();
    let by_tripwire = tales.iter().filter_map(reverted).filter(|back| back.by == By::Tripwire).count();
    assert_eq!(tales.iter().filter(|tale| tale.end != End::Done).count(), by_tripwire, "only the tripwire reverts");
    let seen = portion(by_tripwire, tales.len());
    // A chance near the middle, where an error of the simulation would show best.
    assert!((0.2..0.8).contains(&(1.0 - spared)), "{}", 1.0 - spared);
    assert!(seen.low < 1.0 - spared && 1.0 - spared < seen.high, "{seen:?}, and {} is right", 1.0 - spared);
}

/// Proves that the time to detection is met where it is known exactly: it is that of the first look that fires.
#[test]
fn detection_takes_as_long_as_calculated() {
    const CUTOVERS: u64 = 200;
    let policy = Arc::new(tripwire_only());
    let service = service(30.0, 0.001);
    let tales = lives(&case(&policy, &service, Some("errors:18%")), CUTOVERS);
    let delays: Vec<f64> = tales.iter().filter_map(|tale| Some(reverted(tale)?.delay?.as_secs_f64())).collect();
    assert_eq!(delays.len() as u64, CUTOVERS, "nothing else ends a cutover so soon");
    let mean = delays.iter().sum::<f64>() / delays.len() as f64;
    let looks = 1.0 / fires_in_one_look(30.0 * 0.5 * 0.5, 0.18);
    // A geometric waiting time scatters by as much as it lasts; a look more or less is where in a pause it began.
    let error = 4.0 * looks / (CUTOVERS as f64).sqrt() + 1.0;
    assert!((mean * 2.0 - looks).abs() < error, "{} looks where {looks} are right, give or take {error}", mean * 2.0);
    // Each look costs as many bad answers as fail in it.
    let spoiled: u64 = tales.iter().map(|tale| tale.spoiled).sum();
    let expected = delays.iter().map(|delay| (delay + 0.25) * 15.0 * 0.18).sum::<f64>();
    assert!((spoiled as f64 / expected - 1.0).abs() < 0.15, "{spoiled} bad answers, and {expected} are expected");
}

/// One decision of a recorded core: what it was asked, and what it answered.
type Taken = (Cutover, Event, Timestamp, Cutover, Vec<Command>);

thread_local! {
    static TAKEN: RefCell<Vec<Taken>> = const { RefCell::new(Vec::new()) };
}

/// The real core, listened to.
fn recorded(cutover: &Cutover, event: &Event, now: Timestamp) -> Decision {
    let decision = decide(cutover, event, now);
    let taken = (cutover.clone(), event.clone(), now, decision.next.clone(), decision.commands.clone());
    TAKEN.with_borrow_mut(|all| all.push(taken));
    decision
}

/// Proves that what is simulated is decided by `decide`: each decision taken again from its inputs is the same, each goes
/// on from the one before, and a core that answers otherwise would change what comes out.
#[test]
fn every_decision_is_that_of_the_core() {
    let policy = policy(POLICY);
    let service = service(200.0, 0.001);
    let mut case = case(&policy, &service, Some("errors:5%@50%"));
    let usual = live(&case, 3);
    case.core = recorded;
    let tale = live(&case, 3);
    assert_eq!(tale, usual);
    assert!(reverted(&tale).is_some(), "{:?}", tale.end);
    let taken = TAKEN.take();
    assert!(taken.len() > 100, "{} decisions", taken.len());
    let text = |cutover: &Cutover| serde_json::to_string(cutover).expect("a cutover can be written");
    for (index, (before, event, now, after, commands)) in taken.iter().enumerate() {
        let again = decide(before, event, *now);
        assert_eq!(text(&again.next), text(after), "decision {index}");
        assert_eq!(again.commands, *commands, "decision {index}");
        if let Some((next, ..)) = taken.get(index + 1) {
            assert_eq!(text(next), text(after), "decision {index} is what the next one goes on from");
        }
    }
}

/// The core, blind on the target's eye: it is told that the target never fails.
fn blind(cutover: &Cutover, event: &Event, now: Timestamp) -> Decision {
    let mut event = event.clone();
    if let Event::Observed(seen) | Event::Glanced(seen) = &mut event {
        let target = &mut seen.reads.target;
        target.status_2xx += target.status_5xx + target.failed;
        (target.status_5xx, target.failed) = (0, 0);
    }
    decide(cutover, &event, now)
}

/// Proves that faults are detected by what the core sees: the real one takes every such target back, a blind one none.
#[test]
fn a_fault_is_seen_by_the_core_and_by_nobody_else() {
    let policy = policy(POLICY);
    let service = service(200.0, 0.001);
    let mut case = case(&policy, &service, Some("errors:10%"));
    for tale in lives(&case, 4) {
        let back = reverted(&tale).expect("10 % of errors are seen");
        assert!(back.delay.expect("the fault was there") < Duration::from_mins(5), "{back:?}");
        assert!(tale.spoiled > 0 && back.share.reads.per_mille() == 100, "{back:?}");
    }
    case.core = blind;
    for tale in lives(&case, 4) {
        assert_eq!((reverted(&tale), tale.met), (None, true));
    }
}

/// Proves that each kind of fault is what it says, and is seen; the slow ones by latency, the dead ones by a tripwire.
#[test]
fn each_kind_of_fault_is_seen() {
    let policy = policy(POLICY);
    let service = service(200.0, 0.001);
    for (fault, by) in [
        ("errors:x20", By::Guard(GuardKind::Errors)),
        ("4xx:10%", By::Guard(GuardKind::Success)),
        ("latency:x2", By::Guard(GuardKind::Latency)),
        ("latency-p99:x3", By::Guard(GuardKind::Latency)),
        ("outage:100%", By::Tripwire),
    ] {
        let tale = live(&case(&policy, &service, Some(fault)), 5);
        assert_eq!(reverted(&tale).map(|back| back.by), Some(by), "{fault}: {:?}", tale.end);
    }
}

/// Proves that a late fault comes when it is said to, and that its delay counts from then.
#[test]
fn a_late_fault_comes_late() {
    let policy = policy(POLICY);
    let service = service(200.0, 0.001);
    let at_half = live(&case(&policy, &service, Some("outage:100%@50%")), 5);
    let back = reverted(&at_half).expect("an outage is seen");
    assert_eq!(back.share.reads.per_mille(), 500);
    assert!(back.delay.expect("it was there") < Duration::from_secs(5) && back.after > Duration::from_mins(15));
    let after = live(&case(&policy, &service, Some("outage:100%@3m")), 5);
    let back = reverted(&after).expect("an outage is seen");
    assert_eq!(back.share.reads.per_mille(), 100);
    assert!(back.after > Duration::from_mins(13) && back.after < Duration::from_mins(14), "{back:?}");
    // A fault that would come after the end is met by nobody.
    let never = live(&case(&policy, &service, Some("outage:100%@20h")), 5);
    assert_eq!((never.end, never.met, never.spoiled), (End::Done, false, 0));
}

/// Proves that a seed gives the same figures on any number of threads, and that another seed gives others.
#[test]
fn the_same_seed_gives_the_same_figures() {
    let service = service(150.0, 0.001);
    let subject = Subject { policy: policy(POLICY), given: None, service: Arc::new(service) };
    let faults: Vec<Fault> = vec!["errors:2%".parse().unwrap()];
    let run = |seed, threads| {
        let extent = Extent { healthy: 4, faulty: 3, seed, threads };
        study(std::slice::from_ref(&subject), &faults, extent, &mut |_, _| {})
    };
    let first = run(1, 1);
    assert_eq!(first, run(1, 3));
    assert_ne!(first, run(2, 1));
    // Two policies that are the same meet the same luck.
    let extent = Extent { healthy: 3, faulty: 2, seed: 1, threads: 2 };
    let both = study(&[subject.clone(), subject.clone()], &faults, extent, &mut |_, _| {});
    assert_eq!(both[0], both[1]);
}

/// Proves that whoever waits hears of every cutover, and that each is counted once.
#[test]
fn progress_reaches_its_end() {
    let policy = policy(POLICY);
    let service = service(50.0, 0.001);
    let cases = [case(&policy, &service, None), case(&policy, &service, Some("outage:100%"))];
    let mut heard = Vec::new();
    let extent = Extent { healthy: 2, faulty: 3, seed: 1, threads: 2 };
    let told = tales(&cases, extent, &mut |done, of| heard.push((done, of)));
    assert_eq!(told.iter().map(Vec::len).collect::<Vec<_>>(), [2, 3]);
    assert_eq!((heard.first(), heard.last()), (Some(&(0, 5)), Some(&(5, 5))));
    assert!(heard.is_sorted());
}

/// Proves that thin traffic, which proves nothing in time, ends in a hold with its reason, and never in a false success.
#[test]
fn thin_traffic_stops_for_a_person() {
    let policy = policy(POLICY);
    let service = service(0.5, 0.001);
    let tale = live(&case(&policy, &service, None), 5);
    let End::Held { step, why } = &tale.end else { panic!("{:?}", tale.end) };
    assert!(*step == 0 && why.contains("its evidence does not suffice"), "{step}: {why}");
}

/// Proves that a cutover waits for its change windows, and that the wait is told apart.
#[test]
fn change_windows_are_kept() {
    let policy = policy(&format!("{POLICY}\n[windows]\nzone = \"UTC\"\nallow = [\"Mon-Fri 09:00-09:20\"]\n"));
    let service = service(1_000.0, 0.000_1);
    let tale = live(&case(&policy, &service, None), 5);
    assert_eq!(tale.end, End::Done);
    // The first step begins in the first window; the next ones wait for that of another day.
    assert!(tale.waited > Duration::from_hours(20) && tale.took > tale.waited, "{tale:?}");
}

/// A day of the service's source alone, as a record.
fn recorded_day(service: &Service) -> Record {
    let policy = policy(POLICY);
    let setting = Setting::new(service, &policy.tripwires, &policy.guards, None);
    let mut traffic = Traffic::new(&setting, 5, Timestamp(MONDAY));
    let rows: Vec<Row> = (0..24 * 60)
        .map(|minute| {
            let from = Timestamp(MONDAY + minute * 60_000);
            let to = from.plus(Duration::from_mins(1));
            traffic.make(to, cutover::Share::NONE, false);
            let counts = traffic.count(cutover::Window { from, to }).reads.source;
            traffic.forget(to);
            Row { from: from.0, millis: 60_000, counts }
        })
        .collect();
    Record::of(&rows).expect("the rows are sound")
}

/// Proves that a cutover with a recorded baseline is simulated with it: no time goes into recording one.
#[test]
fn a_given_baseline_is_taken_along() {
    let policy = policy(POLICY);
    let service = service(300.0, 0.001);
    let document = Document {
        service: "search".to_owned(),
        source: "a test".to_owned(),
        origin: Origin::File,
        tool: "0.1.0".to_owned(),
        written: Timestamp(MONDAY),
        class: Class::All,
        record: recorded_day(&service),
        reads: None,
    };
    let read = baseline::read(&baseline::write(&document), "search.json").expect("it was just written");
    let mut case = case(&policy, &service, None);
    let recording = live(&case, 5);
    case.given = Some(Arc::new(Given::of(&read, "search.json", &policy).expect("it is of this service")));
    let given = live(&case, 5);
    assert_eq!((&recording.end, &given.end), (&End::Done, &End::Done));
    let spared = recording.took.as_secs_f64() - given.took.as_secs_f64();
    assert!((540.0..=660.0).contains(&spared), "{spared} s spared, and ten minutes are recorded");
}

/// Proves that a service drawn from a record shows that record again: its errors, its scatter, its latency.
#[test]
fn a_drawn_service_shows_what_was_recorded() {
    let mut original = service(50.0, 0.01);
    original.wanders.errors = Wander { variance: 0.1, keep: 0.5 };
    let first = recorded_day(&original);
    let second = recorded_day(&Service::of(&first));
    let near = |a: f64, b: f64, by: f64, what: &str| assert!((a / b - 1.0).abs() < by, "{what}: {a}, and {b} again");
    let (a, b) = (first.baseline.normal(), second.baseline.normal());
    near(a.requests, b.requests, 0.02, "requests");
    near(a.errors, b.errors, 0.1, "errors");
    assert!(a.errors_phi.minute > 1.5, "{:?}", a.errors_phi);
    near(a.errors_phi.minute, b.errors_phi.minute, 0.35, "dispersion in a minute");
    near(a.errors_phi.longest, b.errors_phi.longest, 0.35, "dispersion over more");
    let quantile = |record: &Record, q| record.baseline.counts().latency.quantile_micros(q).expect("there are some");
    for q in [0.1, 0.5, 0.9, 0.99] {
        near(quantile(&first, q), quantile(&second, q), 0.05, "latency");
    }
}

/// Proves that a policy that judges whole exchanges can be tried out on a baseline that has no times of them, which is said,
/// and that a baseline without any times is said to be no use to it.
#[test]
fn a_baseline_without_exchanges_is_simulated_and_says_so() {
    let recorded_service = service(100.0, 0.001);
    let policy = policy(&format!("{POLICY}\n[guards.exchange]\nenabled = true\n"));
    let imported = |timed: u64| {
        let row = |minute: i64| {
            let mut counts = Counts { requests: 12_000, status_2xx: 11_988, status_5xx: 12, ..Counts::default() };
            for (micros, part) in [(8_000, 2), (20_000, 5), (60_000, 4), (200_000, 1)] {
                counts.latency.record(micros, timed * part);
            }
            Row { from: MONDAY + minute * 60_000, millis: 60_000, counts }
        };
        Service::of(&Record::of(&(0..120).map(row).collect::<Vec<_>>()).expect("the rows are sound"))
    };
    let service = imported(1_000);
    let lacks = service.lacks(&policy.guards).expect("it is said");
    assert!(lacks.contains("judges whole exchanges and the baseline has no times of them"), "{lacks}");
    assert_eq!(live(&case(&policy, &service, None), 5).end, End::Done);
    let untimed = imported(0);
    let lacks = untimed.lacks(&policy.guards).expect("it is said");
    assert!(lacks.contains("judges latency and the baseline has none"), "{lacks}");
    assert_eq!(recorded_service.lacks(&policy.guards), None);
}
