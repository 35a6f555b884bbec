//! The dossier of a made-up journal: everything that was decided is in it, and nothing from outside gets out of its
//! place in the page.

use std::sync::Arc;

use cutover::event::{Check, CheckOutcome, Reading};
use cutover::{Observation, Order, Reason, Share, Verb, Weight, Window};
use judge::{Block, Counts, GuardKind, Judgement, Reference, Verdict};

use super::*;
use crate::testing::{START, cutover};

/// What a hostile target, operator or policy could put anywhere.
const HOSTILE: &str = r#"</pre><script>alert("x")</script><img src=x onerror='y'>&{{ service }}"#;

fn after(seconds: i64) -> Timestamp {
    Timestamp(START.0 + seconds * 1000)
}

fn counts(requests: u64, errors: u64, millis: u64) -> Counts {
    let mut counts = Counts { requests, status_2xx: requests - errors, status_5xx: errors, ..Counts::default() };
    counts.latency.record(millis * 1000, requests);
    counts.exchange.record(millis * 1200, requests);
    counts
}

fn judgement(target_errors: f64, evidence: f64) -> Judgement {
    Judgement {
        verdict: Verdict::Unknown,
        guards: vec![GuardVerdict {
            guard: GuardKind::Errors,
            verdict: Verdict::Unknown,
            on: true,
            reference: Reference::Source,
            reference_value: Some(0.0012),
            target_value: Some(target_errors),
            bound: Some(0.0213),
            reference_requests: 23_456,
            target_requests: 3_457,
            evidence,
            evidence_max: 20.0,
            requests_missing: None,
            sentence: format!("errors on the target: {HOSTILE}"),
        }],
        evidence,
        evidence_max: 20.0,
        p_value: 0.5,
        judged_millis: 1000,
        alarms: Vec::new(),
        world: judge::World::default(),
    }
}

/// A journal of a cutover that shifts, drains and is done, with a sample for each of its 60 seconds.
fn journal(hostile: &str) -> (Vec<Entry>, Vec<Sample>) {
    let mut cutover = cutover("search");
    cutover.checks = vec![Check::new("target healthy", CheckOutcome::Pass, format!("it said {hostile}"), "")];
    let mut entries: Vec<Entry> = Vec::new();
    let mut samples = Vec::new();
    let mut enter = |cutover: &Cutover, second: i64, event: Event, reason: Reason, commands: Vec<Command>| {
        let id = entries.len() as u64 + 1;
        let mut next = cutover.clone();
        next.reason = reason.clone();
        entries.push(Entry {
            id,
            service: "search".to_owned(),
            cutover: cutover.id.clone(),
            at: after(second),
            event,
            next,
            commands,
            reason,
            version: "0.1.0".to_owned(),
            hash: format!("{id:064}"),
        });
    };
    let start = Order { verb: Verb::Start, actor: "a.lee".to_owned(), reason: hostile.to_owned() };
    cutover.phase = Phase::Preflight;
    enter(&cutover, 0, Event::Ordered(start), Reason::new("start", "a.lee ordered the start"), vec![Command::Check]);
    let ladder = [(5, 0), (10, 50), (25, 250), (40, 500), (50, 1000)];
    for (second, weight) in ladder {
        let share = Share::both(Weight::new(weight).unwrap());
        cutover.desired = share;
        cutover.phase =
            if weight == 1000 { Phase::Draining } else { Phase::Shifting { step: 0, attempts: 1, reads: 0 } };
        let raised = Reason::new("raise", format!("the share rises to {share} because every guard passes"));
        let write = Command::Write { share, generation: cutover.generation };
        enter(&cutover, second, Event::Tick, raised, vec![write, Command::Read]);
    }
    for second in 1..=60 {
        let weight = ladder.iter().rev().find(|(from, _)| *from < second).map_or(0, |&(_, weight)| weight);
        let share = Share::both(Weight::new(weight).unwrap());
        let target = 900 * u64::from(weight) / 1000;
        let wobble = second.unsigned_abs() % 7;
        let window = Window { from: after(second - 1), to: after(second) };
        let reads = Block {
            millis: 1000,
            source: counts(900 - target, wobble.min(900 - target), 8 + wobble),
            target: counts(target, (wobble / 2).min(target), 9 + wobble),
        };
        cutover.desired = share;
        cutover.configured = Some(Arc::new(Reading {
            share,
            action: serde_json::json!({ "weight": weight }),
            begun: after(second),
            disagreeing: Vec::new(),
        }));
        cutover.evidence.judgement = Some(Arc::new(judgement(0.0017, 1.0 + wobble as f64)));
        samples.push(Sample::new(Observation { window, reads, writes: Block::default() }, &cutover));
    }
    cutover.phase = Phase::Done;
    cutover.evidence.source_silent = Duration::from_secs(9);
    enter(&cutover, 61, Event::Tick, Reason::new("drained", "the source had no request for 9 s"), Vec::new());
    (entries, samples)
}

/// Proves that each decision is in the dossier with its number, time, reason, order and write, and each judged number
/// with its bound.
#[test]
fn every_decision_and_every_number_is_in_it() {
    let (entries, samples) = journal("planned");
    let page = html(&entries, &samples).unwrap();
    for entry in &entries {
        assert!(page.contains(&format!("id=\"d{}\"", entry.id)), "decision {} is missing", entry.id);
        assert!(page.contains(&entry.reason.text), "`{}` is missing", entry.reason.text);
    }
    for number in ["a.lee ordered", "target 25 %", "0.12 %", "0.17 %", "2.13 %", "3,457", "23,456", "5.00 of 20"] {
        assert!(page.contains(number), "`{number}` is missing");
    }
    assert!(page.contains(&entries.last().unwrap().hash), "the end of the chain is missing");
    let requests: u64 = samples.iter().map(|sample| sample.side(Side::Target).requests).sum();
    assert!(page.contains(&format::count(requests)), "the target's {requests} requests are missing");
}

/// Proves that the five charts are drawn, with both sides, the bound and the marked decisions in them.
#[test]
fn the_charts_show_both_sides_and_the_bound() {
    let (entries, samples) = journal("planned");
    let page = html(&entries, &samples).unwrap();
    assert_eq!(page.matches("<svg ").count(), 5);
    for name in ["desired", "configured", "observed", "source p99", "target p99", "bound"] {
        assert!(page.contains(&format!("</i>{name}</span>")), "the legend `{name}` is missing");
    }
    for color in ["var(--source)", "var(--target)", "var(--limit)", "var(--mark)"] {
        assert!(page.split("<svg ").skip(1).any(|chart| chart.contains(color)), "`{color}` is missing");
    }
    assert!(!page.contains("#010101"), "a stand-in colour is left");
}

/// Proves that the page ends with the answer, and that the answer follows from the journal: yes when drained, no when
/// the journal stops before.
#[test]
fn it_ends_with_the_answer() {
    let (entries, samples) = journal("planned");
    let page = html(&entries, &samples).unwrap();
    assert!(page.contains("Can the source be taken offline? YES"));
    let end = page.split("id=\"offline\"").last().unwrap();
    assert!(end.contains("tidegate close search"), "{end}");
    let page = html(&entries[..entries.len() - 1], &samples).unwrap();
    assert!(page.contains("Can the source be taken offline? NO"));
}

/// Proves that what comes from outside is text in the page, never markup, and that the page asks nobody for anything.
#[test]
fn hostile_text_stays_text() {
    let (mut entries, samples) = journal(HOSTILE);
    let last = entries.last_mut().unwrap();
    last.reason.text = HOSTILE.to_owned();
    last.next.reason = last.reason.clone();
    last.next.id = HOSTILE.to_owned();
    let policy = Arc::make_mut(&mut last.next.policy);
    policy.service = HOSTILE.to_owned();
    policy.source.endpoints = vec![HOSTILE.to_owned()];
    let page = html(&entries, &samples).unwrap();
    for markup in ["<script", "<img", "onerror='"] {
        assert!(!page.contains(markup), "`{markup}` came through");
    }
    assert!(page.contains("&lt;script&gt;"), "the hostile text is shown as text");
    assert!(page.contains("{{ service }}"), "text is not taken for a template");
    let addresses: Vec<&str> = page.match_indices("http").map(|(at, _)| &page[at..(at + 40).min(page.len())]).collect();
    for address in addresses {
        let local = address.starts_with("http-equiv") || address.starts_with("http://www.w3.org/2000/svg");
        assert!(local || address.starts_with("http:&#x2f;&#x2f;127.0.0.1"), "the page names `{address}`");
    }
}

/// Proves that an empty journal gives an error and no page, and that one without counted intervals still gives one.
#[test]
fn nothing_counted_is_said() {
    assert!(matches!(html(&[], &[]), Err(ReportError::Empty)));
    let (entries, _) = journal("planned");
    assert!(html(&entries, &[]).unwrap().contains("nothing to draw"));
}

/// Proves that a revert is explained at the top: why, what the evidence said, and how long it took until confirmed.
#[test]
fn a_revert_is_explained_first() {
    let (mut entries, samples) = journal("planned");
    let last = entries.pop().unwrap();
    let mut add = |phase, second, text: &str| {
        let mut entry = last.clone();
        entry.id = entries.len() as u64 + 1;
        entry.at = after(second);
        entry.next.phase = phase;
        entry.next.desired = Share::NONE;
        entry.reason.text = text.to_owned();
        entry.next.reason = entry.reason.clone();
        if let Some(judgement) = &mut entry.next.evidence.judgement {
            Arc::make_mut(judgement).guards[0].verdict = Verdict::Fail;
        }
        entries.push(entry);
    };
    add(Phase::Reverting { attempts: 1, reads: 0 }, 61, "the judge has proof: errors");
    add(Phase::Reverting { attempts: 1, reads: 1 }, 62, "written");
    add(Phase::Reverted, 64, "the original is back");
    let page = html(&entries, &samples).unwrap();
    let top = page.split("How it went").next().unwrap();
    for words in ["Why it was reverted", "the judge has proof: errors", "errors on the target", "from a share of 100 %"]
    {
        assert!(top.contains(words), "`{words}` is missing in {top}");
    }
    assert!(top.contains("confirmed 3 s later"), "{top}");
}

/// Proves that a cutover of ten thousand decisions gives a page that a browser opens, with its beginning, its end, and
/// word of what is left out.
#[test]
fn a_long_journal_gives_a_usable_page() {
    let (mut entries, samples) = journal("planned");
    let (first, middle, last) = (entries[0].clone(), entries[3].clone(), entries.pop().unwrap());
    entries = vec![first];
    entries.extend((2..10_000).map(|id| Entry { id, at: after(i64::try_from(id).unwrap()), ..middle.clone() }));
    entries.push(Entry { id: 10_000, at: after(10_000), ..last });
    let samples: Vec<Sample> = samples.iter().cycle().take(100_000).cloned().collect();
    let page = html(&entries, &samples).unwrap();
    assert!(page.len() < 8 << 20, "{} bytes", page.len());
    for id in [1, 500, 9_001, 10_000] {
        assert!(page.contains(&format!("id=\"d{id}\"")), "decision {id} is missing");
    }
    assert!(!page.contains("id=\"d501\""));
    assert!(page.contains("8500 decisions between are not listed"));
}
