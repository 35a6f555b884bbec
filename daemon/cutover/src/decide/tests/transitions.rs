//! The state machine on one page: every phase with every kind of event.
//!
//! The table is golden text. A change of behaviour is a diff in it that a person reads; `UPDATE_EXPECT=1` writes it.

use std::fmt::Write as _;
use std::time::Duration;

use super::stage::{Stage, action, asked_gate, both, kind, order, policy};
use crate::cutover::Cutover;
use crate::decide::decide;
use crate::event::{CommandKind, Event, GateAnswer, Reading, Retry, Verb};
use crate::lever::Lever;
use crate::units::{Generation, Share, Timestamp, Window};

/// A cutover in each phase, reached on its own way.
fn phases() -> Vec<(&'static str, Stage)> {
    let mut with_gate = policy();
    with_gate.gates = vec![asked_gate()];
    let stage = |phase: &str| {
        let mut stage = Stage::started(policy());
        stage.reach(phase);
        stage
    };
    let mut preflight = Stage::new(policy());
    preflight.mute.extend(["check", "read"]);
    preflight.send(&order(Verb::Start));
    let mut shifting = Stage::started(policy());
    shifting.mute.extend(["write"]);
    shifting.reach("shifting");
    shifting.pass(Duration::from_secs(1));
    let mut gated = Stage::started(with_gate);
    gated.bake(0);
    gated.mute.insert("ask_gate");
    gated.reach("gated");
    let mut reverting = stage("baking");
    reverting.mute.extend(["restore"]);
    reverting.send(&order(Verb::Revert));
    let mut stuck = stage("baking");
    stuck.refuse = Some(Retry::Never);
    stuck.send(&order(Verb::Revert));
    stuck.reach("stuck");
    let mut reverted = stage("baking");
    reverted.send(&order(Verb::Revert));
    reverted.reach("reverted");
    let mut aborted = stage("baking");
    aborted.send(&order(Verb::Abort));
    let mut closed = stage("done");
    closed.send(&order(Verb::Close));
    vec![
        ("pending", Stage::new(policy())),
        ("preflight", preflight),
        ("baseline", stage("baseline")),
        ("gated", gated),
        ("shifting", shifting),
        ("baking", stage("baking")),
        ("draining", stage("draining")),
        ("done", stage("done")),
        ("reverting", reverting),
        ("stuck", stuck),
        ("reverted", reverted),
        ("aborted", aborted),
        ("closed", closed),
    ]
}

/// Every kind of event, as it would come now.
fn events(stage: &Stage, now: Timestamp) -> Vec<(&'static str, Event)> {
    let cutover = &stage.cutover;
    let reading = |share: Share| {
        let note = if share == Share::NONE { "as it was" } else { "ours" };
        Event::Read(Reading { share, action: action(share, note), begun: now, disagreeing: Vec::new() })
    };
    let mut disagreeing = stage.reading();
    disagreeing.begun = now;
    disagreeing.disagreeing = vec!["proxy-2".to_owned()];
    let generation = cutover.write.as_ref().map_or(cutover.generation, |write| write.generation);
    let failed = |what, retry| Event::Failed {
        what,
        generation: Some(generation),
        retry,
        error: "it failed".to_owned(),
        begun: now,
    };
    let window = cutover
        .evidence
        .asked
        .map_or(Window { from: now.minus(Duration::from_secs(10)), to: now }, |asked| asked.window);
    let mut sick = stage.clone();
    sick.now = now;
    sick.target_errors = 0.9;
    let mut unhealthy = stage.clone();
    unhealthy.unhealthy = true;
    let gate = |answer| Event::GateAnswered {
        gate: "cache-warm".to_owned(),
        step: cutover.step().unwrap_or(0),
        answer,
        begun: now,
    };
    let mut events = vec![
        ("tick", Event::Tick),
        ("restarted", Event::Restarted),
        ("checked: pass", Event::Checked { checks: stage.checks(), begun: now }),
        ("checked: fail", Event::Checked { checks: unhealthy.checks(), begun: now }),
        ("read: as desired", reading(cutover.desired)),
        ("read: someone else's", reading(both(333))),
        ("read: disagreeing", Event::Read(disagreeing)),
        ("written", Event::Written { generation, begun: now }),
        ("written: an older one", Event::Written { generation: Generation(0), begun: now }),
        ("failed: write, later", failed(CommandKind::Write, Retry::Later)),
        ("failed: write, never", failed(CommandKind::Write, Retry::Never)),
        ("failed: restore, later", failed(CommandKind::Restore, Retry::Later)),
        ("failed: restore, never", failed(CommandKind::Restore, Retry::Never)),
        ("failed: read", failed(CommandKind::Read, Retry::Later)),
        ("failed: observe", failed(CommandKind::Observe, Retry::Later)),
        ("failed: check", failed(CommandKind::Check, Retry::Later)),
        ("failed: arm", failed(CommandKind::Arm, Retry::Later)),
        ("failed: gate", failed(CommandKind::Gate, Retry::Later)),
        ("observed", Event::Observed(stage.count(window))),
        ("glanced: well", {
            sick.target_errors = 0.0;
            sick.glance()
        }),
        ("glanced: failing", {
            sick.target_errors = 0.9;
            sick.glance()
        }),
        ("health: well", stage.health(2)),
        ("health: none healthy", stage.health(0)),
        ("armed", Event::Armed),
        ("fired", Event::Fired { why: "90 % of 200 failed".to_owned(), share: Share::NONE, at: now }),
        ("gate: yes", gate(GateAnswer::Yes)),
        ("gate: no", gate(GateAnswer::No { why: "cold".to_owned() })),
        ("levers read", Event::LeversRead { stands: stage.stands, begun: now }),
        ("lever moved", Event::LeverMoved { lever: Lever::Count, value: 2, begun: now }),
        ("failed: lever", failed(CommandKind::Lever, Retry::Later)),
        ("policy changed", Event::PolicyChanged { change: Some("steps".to_owned()) }),
        ("journal: unwritable", Event::Journal { writable: false }),
        ("journal: writable", Event::Journal { writable: true }),
    ];
    let verbs = [
        ("order: start", Verb::Start),
        ("order: advance", Verb::Advance),
        ("order: hold", Verb::Hold),
        ("order: pause", Verb::Pause),
        ("order: resume", Verb::Resume { adopt_policy: None }),
        ("order: resume, adopt", Verb::Resume { adopt_policy: Some(Box::new(policy())) }),
        ("order: revert", Verb::Revert),
        ("order: abort", Verb::Abort),
        ("order: close", Verb::Close),
    ];
    events.extend(verbs.map(|(name, verb)| (name, order(verb))));
    events
}

fn row(name: &str, before: &Cutover, event: &Event, now: Timestamp) -> String {
    let decision = decide(before, event, now);
    let commands: Vec<_> = decision.commands.iter().map(kind).filter(|kind| *kind != "wake_at").collect();
    let refused = if decision.accepted { "" } else { " (refused)" };
    let journal = if decision.journal { "*" } else { " " };
    let phase = decision.next.phase.name();
    format!("  {name:<24}{journal} {phase:<10} {}{refused} [{}]", decision.reason.kind, commands.join(" "))
}

#[test]
fn every_phase_answers_every_event() {
    // Proves the whole transition function, as a table that a person reads: `*` is an entry of the journal.
    let mut table = String::from("event -> phase, reason, [commands]; * is journalled\n");
    for (phase, mut stage) in phases() {
        stage.now = stage.now.plus(Duration::from_millis(100));
        writeln!(table, "\n{phase}").unwrap();
        for (name, event) in events(&stage, stage.now) {
            writeln!(table, "{}", row(name, &stage.cutover, &event, stage.now)).unwrap();
        }
    }
    expect_test::expect_file!["../../../tests/transitions.txt"].assert_eq(&table);
}
