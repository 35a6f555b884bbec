//! One fact at a time, concern by concern.

use std::time::Duration;

use judge::Verdict;

use super::stage::{Stage, asked_gate, baking, both, manual_gate, order, policy, weight};
use crate::command::{Command, Episode, Severity};
use crate::cutover::{BlockerKind, GateState, HaltKind, Phase};
use crate::decide::decide;
use crate::event::{CommandKind, Event, GateAnswer, Retry, Verb};
use crate::policy::{DrainTimeout, DriftPolicy, GateTimeout, OnTimeout, TripwireKind};
use crate::units::{Share, Timestamp, Weight};

const MINUTE: Duration = Duration::from_mins(1);

// preflight

#[test]
fn a_failing_check_keeps_preflight_and_tells_people() {
    // Proves that nothing starts on a check that fails, that people are told, and that it goes on once it passes.
    let mut stage = Stage::new(policy());
    stage.unhealthy = true;
    stage.send(&order(Verb::Start));
    stage.pass(5 * MINUTE);
    assert_eq!(stage.cutover.phase, Phase::Preflight);
    assert!(stage.writes.is_empty());
    assert_eq!(stage.alerts.len(), 1);
    stage.unhealthy = false;
    stage.reach("baseline");
    assert_eq!(stage.alerts.last().unwrap().change, Episode::Closed);
}

// belief

#[test]
fn a_read_begun_before_the_settle_time_confirms_nothing() {
    // Proves invariant 3 at its edge: one millisecond too early is too early, however late the reply comes.
    let mut stage = Stage::started(policy());
    stage.mute.insert("read");
    let reached =
        stage.run(10 * MINUTE, |cutover| cutover.write.as_ref().is_some_and(|write| write.answered.is_some()));
    assert!(!reached, "without a read nothing is written");
    stage.mute.clear();
    stage.run(10 * MINUTE, |cutover| cutover.write.as_ref().is_some_and(|write| write.answered.is_some()));
    let answered = stage.cutover.write.as_ref().unwrap().answered.unwrap();
    let settled = answered.plus(stage.cutover.policy.shift.settle);
    let mut early = stage.reading();
    early.begun = Timestamp(settled.0 - 1);
    stage.now = settled.plus(MINUTE);
    assert_eq!(decide(&stage.cutover, &Event::Read(early.clone()), stage.now).reason.kind, "early_read");
    early.begun = settled;
    let decision = decide(&stage.cutover, &Event::Read(early), stage.now);
    assert_eq!(decision.next.phase, Phase::Baking { step: 0 });
}

#[test]
fn a_write_that_is_not_shown_is_written_again_and_then_halts() {
    // Proves the bound on writes: three reads each, `attempts_max` writes, then a human; an advance tries again.
    let mut stage = Stage::started(policy());
    stage.refuse = Some(Retry::Later);
    let halted = stage.run(30 * MINUTE, |cutover| cutover.halt.is_some());
    assert!(halted);
    assert_eq!(stage.writes.len(), 3);
    assert_eq!(stage.alerts.last().map(|alert| alert.severity), Some(Severity::Critical));
    stage.refuse = None;
    assert!(stage.send(&order(Verb::Advance)).accepted);
    stage.bake(0);
}

#[test]
fn a_restart_asks_for_the_write_again_with_a_higher_generation() {
    // Proves that a restart in the middle of a write resumes at the same step, by a new write.
    let mut stage = Stage::started(policy());
    stage.mute.insert("write");
    stage.reach("shifting");
    stage.pass(Duration::from_secs(1));
    let before = stage.cutover.generation;
    stage.mute.clear();
    stage.restart();
    stage.share = Share::NONE;
    stage.bake(0);
    assert!(stage.cutover.generation > before);
    assert_eq!(stage.writes, [Ok(both(100)), Ok(both(100))]);
}

// the judge

#[test]
fn thin_traffic_never_promotes() {
    // Proves invariant 4: without requests a step never ends; its time-out holds and calls a human.
    let mut stage = Stage::started(policy());
    stage.rate = 0;
    stage.pass(90 * MINUTE);
    assert_eq!(stage.writes, [Ok(both(100))]);
    assert_eq!(stage.cutover.halt.as_ref().map(|halt| halt.kind), Some(HaltKind::Timeout));
}

#[test]
fn errors_below_the_tripwire_revert_by_the_judge() {
    // Proves that evidence alone reverts: 5 % errors never reach the tripwire's 25 %.
    let mut stage = baking();
    stage.target_errors = 0.05;
    stage.reach("reverted");
    assert!(stage.journal.contains(&"verdict_fail".to_owned()), "{:?}", stage.journal);
    assert_eq!(stage.cutover.evidence.judgement.as_ref().map(|judgement| judgement.verdict), Some(Verdict::Fail));
}

#[test]
fn a_late_failure_stops_a_step_that_would_have_passed() {
    // Proves that the last interval is looked at by itself: growing evidence alone would dilute it.
    let mut stage = baking();
    stage.run(MINUTE / 2, |_| false);
    stage.target_errors = 0.02;
    stage.run(MINUTE, |cutover| cutover.evidence.last_interval.is_some());
    let kinds: Vec<_> = stage.cutover.blockers.iter().map(|blocker| blocker.kind).collect();
    assert!(kinds.contains(&BlockerKind::Guard), "{:?}", stage.cutover.blockers);
}

#[test]
fn judging_goes_on_in_a_hold_and_in_a_pause() {
    // Proves that neither a hold nor a pause takes the judge's authority to revert.
    for verb in [Verb::Hold, Verb::Pause] {
        let mut stage = baking();
        assert!(stage.send(&order(verb)).accepted);
        stage.pass(5 * MINUTE);
        assert_eq!(stage.cutover.phase, Phase::Baking { step: 0 });
        stage.target_errors = 0.05;
        stage.reach("reverted");
    }
}

#[test]
fn a_share_that_the_requests_do_not_show_ends_no_step() {
    // Proves that desired and configured are not enough: here the requests go elsewhere.
    let mut stage = baking();
    // The balancer says 10 %, and the requests are split by half.
    stage.mute.insert("observe");
    for _ in 0..60 {
        stage.pass(Duration::from_secs(10));
        if let Some(asked) = stage.cutover.evidence.asked {
            let mut crooked = stage.clone();
            crooked.share = both(500);
            let event = Event::Observed(crooked.count(asked.window));
            stage.send(&event);
        }
    }
    assert!(matches!(stage.cutover.phase, Phase::Baking { step: 0 }), "{}", stage.cutover.outlook);
    assert!(stage.cutover.blockers.iter().any(|blocker| blocker.kind == BlockerKind::Observed));
}

// tripwires

#[test]
fn a_tripwire_reverts_at_once_and_restores_the_whole_action() {
    // Proves one event from a failing glance to the restore, which goes first and holds everything recorded.
    let mut stage = baking();
    stage.note = "ours".to_owned();
    stage.target_errors = 0.9;
    let glance = stage.glance();
    let decision = stage.send(&glance);
    assert_eq!(decision.reason.kind, "tripwire");
    assert!(matches!(decision.commands.first(), Some(Command::Restore { .. })), "{:?}", decision.commands);
    stage.reach("reverted");
    assert_eq!(stage.action(), super::stage::action(Share::NONE, "as it was"));
}

#[test]
fn requests_that_time_out_are_unanswered_and_the_reason_names_the_tripwire() {
    // Proves that a target that accepts and never answers fires `unanswered`, though no client has left by itself.
    let mut policy = policy();
    policy.tripwires[0].kind = TripwireKind::Unanswered;
    policy.tripwires[0].name = "silent-target".to_owned();
    let mut stage = Stage::started(policy);
    stage.bake(0);
    let Event::Glanced(mut glance) = stage.glance() else { panic!("a glance") };
    let target = &mut glance.reads.target;
    (target.failed, target.status_2xx) = (target.requests, 0);
    let decision = stage.send(&Event::Glanced(glance));
    assert_eq!(decision.next.phase.name(), "reverting");
    assert!(decision.reason.text.starts_with("tripwire `silent-target`: "), "{}", decision.reason.text);
}

#[test]
fn nothing_begins_while_the_source_is_broken_and_its_record_leaves_that_out() {
    // Proves that an outage of the source before the first step is neither recorded as how the source is nor begun in: a
    // baseline of errors would let a target pass that fails every tenth request.
    let mut stage = Stage::new(policy());
    stage.source_errors = 0.9;
    stage.send(&order(Verb::Start));
    stage.pass(20 * MINUTE);
    assert_eq!(stage.cutover.phase, Phase::Baseline);
    assert!(stage.cutover.blockers.iter().any(|blocker| blocker.text.contains("the world is broken")));
    stage.source_errors = 0.0;
    stage.reach("gated");
    let baseline = stage.cutover.evidence.baseline.clone().unwrap();
    assert!(!baseline.is_thin());
    // Whoever waits at the first gate waits for the source, too.
    let mut gated = policy();
    gated.gates = vec![asked_gate()];
    let mut stage = Stage::started(gated);
    stage.gate = GateAnswer::Later { why: String::new() };
    stage.reach("gated");
    stage.source_errors = 0.9;
    stage.pass(MINUTE / 2);
    stage.gate = GateAnswer::Yes;
    stage.pass(5 * MINUTE);
    assert_eq!(stage.cutover.phase, Phase::Gated { step: 0 });
    stage.source_errors = 0.0;
    stage.bake(0);
}

#[test]
fn a_tripwire_sleeps_while_the_source_fails_as_well() {
    // Proves the source condition, and that nothing rises in a broken world either.
    let mut stage = baking();
    stage.target_errors = 0.9;
    stage.source_errors = 0.9;
    let glance = stage.glance();
    assert_eq!(stage.send(&glance).next.phase, Phase::Baking { step: 0 });
    stage.pass(5 * MINUTE);
    assert_eq!(stage.cutover.phase, Phase::Baking { step: 0 });
}

#[test]
fn a_shot_of_the_proxies_is_made_whole_with_a_generation_of_its_own() {
    // Proves that our restore is newer than the proxy's own change, which took the number after ours.
    let mut stage = baking();
    let generation = stage.cutover.generation;
    let fired = Event::Fired { why: "90 % failed".to_owned(), share: Share::NONE, at: stage.now };
    let decision = stage.send(&fired);
    assert!(decision.next.generation.0 >= generation.0 + 2);
    stage.reach("reverted");
}

// unknown

#[test]
fn missing_data_holds_and_the_blind_budget_reverts() {
    // Proves that no data is first a hold with an alert, and a revert only when the budget is spent.
    let mut stage = baking();
    stage.mute.extend(["observe", "glance"]);
    stage.pass(2 * MINUTE);
    assert_eq!(stage.cutover.phase, Phase::Baking { step: 0 });
    assert!(stage.alerts.iter().any(|alert| alert.title.contains("unknown")));
    stage.reach("reverted");
    assert!(stage.journal.contains(&"blind".to_owned()));
}

#[test]
fn a_budget_spent_before_the_first_write_calls_a_human_and_reverts_nothing() {
    // Proves that a cutover that never moved anything does not end as reverted because something was unknown.
    let mut policy = policy();
    policy.unknown.on_timeout = OnTimeout::Revert;
    policy.windows.freeze = true;
    let mut stage = Stage::started(policy);
    stage.reach("gated");
    stage.unhealthy = true;
    assert!(stage.run(60 * MINUTE, |cutover| cutover.halt.is_some()));
    assert_eq!(stage.cutover.phase, Phase::Gated { step: 0 });
}

#[test]
fn a_pause_stops_the_clocks_of_the_budgets() {
    // Proves that an hour of pause without data spends no budget, and that resuming starts the clocks again.
    let mut stage = baking();
    stage.send(&order(Verb::Pause));
    stage.mute.extend(["observe", "glance"]);
    stage.pass(60 * MINUTE);
    assert_eq!(stage.cutover.phase, Phase::Baking { step: 0 });
    stage.send(&order(Verb::Resume { adopt_policy: None }));
    stage.reach("reverted");
}

#[test]
fn a_stepped_clock_passes_no_bake_and_spends_no_budget() {
    // Proves that an hour that the clock jumps is neither bake nor budget, forwards or backwards, with a restart in it.
    for step in [3_600_000, -3_600_000] {
        let mut stage = baking();
        stage.pass(MINUTE / 2);
        let baked = stage.cutover.evidence.baked;
        stage.now = Timestamp(stage.now.0 + step);
        stage.restart();
        assert_eq!(stage.cutover.phase, Phase::Baking { step: 0 });
        assert_eq!(stage.cutover.evidence.baked, baked);
        stage.send(&Event::Tick);
        assert!(stage.cutover.budgets.bake <= 2 * MINUTE, "{:?}", stage.cutover.budgets);
        stage.bake(1);
    }
}

#[test]
fn a_step_back_waits_for_the_write_under_way() {
    // Proves that a spent budget does not send a second write after one that is not answered.
    let mut policy = policy();
    policy.unknown.on_timeout = OnTimeout::StepBack;
    let mut stage = Stage::started(policy);
    stage.bake(0);
    stage.mute.insert("write");
    stage.reach("shifting");
    stage.cutover.budgets.hold = stage.cutover.policy.unknown.hold_budget;
    let generation = stage.cutover.generation;
    assert_eq!(stage.send(&Event::Tick).next.generation, generation);
    stage.mute.clear();
    let answer = Event::Written { generation, begun: stage.now };
    assert!(stage.send(&answer).next.generation > generation);
}

#[test]
fn one_decision_holds_one_write() {
    // Proves that drift that is answered in the moment the step's time is over asks for one write and not for two.
    let mut policy = policy();
    policy.drift = DriftPolicy::Enforce;
    policy.unknown.on_timeout = OnTimeout::StepBack;
    let mut stage = Stage::started(policy);
    stage.bake(1);
    stage.share = both(300);
    stage.cutover.budgets.hold = stage.cutover.policy.unknown.hold_budget;
    let reading = Event::Read(stage.reading());
    let decision = stage.send(&reading);
    let writes: Vec<_> = decision.commands.iter().filter(|command| matches!(command, Command::Write { .. })).collect();
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert!(stage.run(MINUTE, |cutover| cutover.desired == both(100)), "the step goes back once that is answered");
}

#[test]
fn a_timed_out_step_goes_back_once_and_then_holds() {
    // Proves `step-back`: the last good share is written, no outcome is told, and the second time it holds.
    let mut policy = policy();
    policy.unknown.on_timeout = OnTimeout::StepBack;
    let mut stage = Stage::started(policy);
    stage.bake(1);
    let rate = std::mem::replace(&mut stage.rate, 0);
    assert!(stage.run(60 * MINUTE, |cutover| cutover.phase == Phase::Baking { step: 0 }));
    assert_eq!(stage.share, both(100));
    stage.rate = rate;
    stage.bake(1);
    stage.rate = 0;
    assert!(stage.run(90 * MINUTE, |cutover| cutover.halt.is_some()));
    assert_eq!(stage.cutover.phase, Phase::Baking { step: 1 });
    assert!(stage.alerts.iter().all(|alert| !alert.episode.contains("outcome")));
}

// revert

#[test]
fn a_refused_revert_is_stuck_calls_a_human_and_is_tried_on() {
    // Proves invariant 5: never `reverted` on hope; critical alert; confirmed in the end.
    let mut stage = baking();
    stage.refuse = Some(Retry::Never);
    stage.send(&order(Verb::Revert));
    stage.reach("stuck");
    assert_eq!(stage.alerts.last().map(|alert| alert.severity), Some(Severity::Critical));
    let tries = stage.writes.len();
    stage.pass(MINUTE);
    assert!(stage.writes.len() > tries, "it is tried on");
    assert!(stage.writes.len() < tries + 10, "slowly");
    stage.refuse = None;
    stage.reach("reverted");
    assert_eq!(stage.share, Share::NONE);
}

#[test]
fn an_unconfirmed_revert_is_stuck_at_its_deadline_and_not_before_it_was_looked_at() {
    // Proves that patience is counted in time that passed and in tries: a clock that jumps ends no patience.
    let mut stage = baking();
    stage.mute.insert("read");
    stage.send(&order(Verb::Revert));
    stage.now = stage.now.plus(Duration::from_hours(5));
    stage.send(&Event::Tick);
    assert_eq!(stage.cutover.phase.name(), "reverting");
    stage.pass(10 * MINUTE);
    // Without any read there is nothing to count, so each unanswered one must count as a try, too.
    assert_eq!(stage.cutover.phase.name(), "stuck", "{:?}", stage.cutover.phase);
}

#[test]
fn a_write_that_lands_after_the_revert_is_undone() {
    // Proves re-assertion: the original is read on and written again.
    let mut stage = baking();
    stage.send(&order(Verb::Revert));
    stage.reach("reverted");
    stage.share = both(100);
    assert!(stage.run(MINUTE, |cutover| cutover.phase.name() == "reverting"));
    stage.reach("reverted");
    assert_eq!(stage.share, Share::NONE);
}

#[test]
fn a_revert_before_the_first_write_writes_nothing() {
    // Proves that what was never changed is not put back.
    let mut stage = Stage::started(policy());
    stage.reach("baseline");
    assert!(stage.send(&order(Verb::Revert)).accepted);
    assert_eq!(stage.cutover.phase, Phase::Reverted);
    assert!(stage.writes.is_empty());
}

#[test]
fn an_abort_is_latched_and_leaves_the_weight() {
    // Proves that nothing moves an aborted cutover: no order, no tripwire, no read.
    let mut stage = baking();
    assert!(stage.send(&order(Verb::Abort)).accepted);
    stage.target_errors = 1.0;
    let glance = stage.glance();
    stage.send(&glance);
    for verb in [Verb::Revert, Verb::Advance, Verb::Start, Verb::Hold, Verb::Resume { adopt_policy: None }] {
        assert!(!stage.send(&order(verb)).accepted);
    }
    stage.pass(10 * MINUTE);
    assert_eq!(stage.cutover.phase, Phase::Aborted);
    assert_eq!(stage.writes, [Ok(both(100))]);
}

// the journal and the calendar

#[test]
fn with_the_journal_unwritable_nothing_rises_and_the_revert_still_fires() {
    // Proves invariant 2.
    let mut stage = baking();
    stage.send(&Event::Journal { writable: false });
    stage.pass(20 * MINUTE);
    assert_eq!(stage.writes.len(), 1, "{}", stage.cutover.outlook);
    assert!(stage.cutover.blockers.iter().any(|blocker| blocker.kind == BlockerKind::Journal));
    stage.target_errors = 0.9;
    stage.reach("reverted");
}

#[test]
fn outside_of_the_windows_nothing_rises_and_a_revert_does_not_ask() {
    // Proves that the freeze switch and the windows bind rises only.
    let mut stage = baking();
    std::sync::Arc::make_mut(&mut stage.cutover.policy).windows.freeze = true;
    stage.pass(20 * MINUTE);
    assert_eq!(stage.cutover.phase, Phase::Gated { step: 1 });
    stage.send(&order(Verb::Revert));
    stage.reach("reverted");
}

// gates

#[test]
fn a_manual_gate_waits_for_advance_and_says_so() {
    // Proves that a person is called and opens it.
    let mut policy = policy();
    policy.gates = vec![manual_gate()];
    let mut stage = Stage::started(policy);
    stage.bake(0);
    stage.reach("gated");
    stage.pass(5 * MINUTE);
    assert_eq!(stage.cutover.phase, Phase::Gated { step: 1 });
    assert!(stage.alerts.last().unwrap().title.contains("waits for a person"));
    assert!(stage.send(&order(Verb::Advance)).accepted);
    stage.bake(1);
}

#[test]
fn a_gate_that_says_no_stays_shut_until_a_person_goes_on() {
    // Proves that "no" is not asked again, and that later is.
    let mut policy = policy();
    policy.gates = vec![asked_gate()];
    let mut stage = Stage::started(policy);
    stage.gate = GateAnswer::Later { why: String::new() };
    stage.reach("gated");
    stage.pass(MINUTE);
    stage.gate = GateAnswer::No { why: "cold".to_owned() };
    stage.pass(MINUTE);
    assert!(matches!(stage.cutover.gates.get("cache-warm"), Some(GateState::Shut { .. })));
    stage.gate = GateAnswer::Yes;
    stage.pass(5 * MINUTE);
    assert_eq!(stage.cutover.phase, Phase::Gated { step: 0 });
    assert!(stage.send(&order(Verb::Advance)).accepted);
    stage.bake(0);
}

#[test]
fn a_silent_gate_does_what_its_time_out_says() {
    // Proves the three ways out of a gate that never answers.
    for (on_timeout, phase) in
        [(GateTimeout::Hold, "gated"), (GateTimeout::Continue, "baking"), (GateTimeout::Revert, "reverted")]
    {
        let mut policy = policy();
        policy.gates = vec![crate::policy::Gate { on_timeout, ..asked_gate() }];
        let mut stage = Stage::started(policy);
        stage.mute.insert("ask_gate");
        stage.run(10 * MINUTE, |cutover| cutover.phase.name() == phase && phase != "gated");
        assert_eq!(stage.cutover.phase.name(), phase);
    }
}

// drain

#[test]
fn a_source_that_does_not_fall_silent_ends_as_the_policy_says() {
    // Proves that done needs proven silence, and the three ways out.
    for (on_timeout, phase) in
        [(DrainTimeout::Hold, "draining"), (DrainTimeout::Accept, "done"), (DrainTimeout::Revert, "reverted")]
    {
        let mut policy = policy();
        policy.drain.on_timeout = on_timeout;
        policy.drain.timeout = 5 * MINUTE;
        let mut stage = Stage::started(policy);
        stage.reach("draining");
        stage.mute.insert("observe");
        for _ in 0..200 {
            stage.pass(Duration::from_secs(5));
            let asked = stage.cutover.evidence.asked;
            if let Some(asked) = asked {
                let mut leaky = stage.count(asked.window);
                leaky.reads.source.requests = 3;
                leaky.reads.source.status_2xx = 3;
                stage.send(&Event::Observed(leaky));
            }
        }
        assert_eq!(stage.cutover.phase.name(), phase, "{}", stage.cutover.outlook);
    }
}

// orders and policy

#[test]
fn a_refused_order_changes_nothing_and_says_why() {
    // Proves that the state is the same, but for the time that passed.
    let stage = baking();
    for verb in [Verb::Start, Verb::Advance, Verb::Close, Verb::Resume { adopt_policy: None }] {
        let decision = decide(&stage.cutover, &order(verb), stage.now);
        assert!(!decision.accepted && !decision.reason.text.is_empty());
        assert_eq!(decision.reason.kind, "refused");
        let plain = |cutover: &crate::Cutover| serde_json::to_value(cutover).unwrap();
        let mut before = plain(&stage.cutover);
        let mut after = plain(&decision.next);
        for ages in [&mut before, &mut after] {
            for key in ["budgets", "seen", "blockers", "outlook"] {
                ages[key] = serde_json::Value::Null;
            }
        }
        assert_eq!(before, after);
    }
}

#[test]
fn a_changed_policy_is_reported_and_taken_only_when_adopted() {
    // Proves that the running policy stays until `resume --adopt-policy`.
    let mut stage = baking();
    stage.send(&Event::PolicyChanged { change: Some("`shift.steps` changed".to_owned()) });
    assert!(stage.alerts.last().unwrap().title.contains("policy file was changed"));
    let mut changed = policy();
    changed.shift.steps = vec![both(100), both(200), both(950), Share::ALL];
    assert_eq!(*stage.cutover.policy, policy());
    let adopt = Verb::Resume { adopt_policy: Some(Box::new(changed)) };
    assert!(stage.send(&order(adopt)).accepted);
    stage.bake(1);
    assert_eq!(stage.share, both(200));
    let mut other = policy();
    other.source.endpoints = vec!["http://127.0.0.1:3".to_owned()];
    let adopt = Verb::Resume { adopt_policy: Some(Box::new(other)) };
    assert!(!stage.send(&order(adopt)).accepted);
}

#[test]
fn an_alert_episode_keeps_its_id_from_opened_to_closed() {
    // Proves opened, updated, closed by one id, and that nothing is sent twice.
    let mut stage = baking();
    stage.refuse = Some(Retry::Never);
    stage.send(&order(Verb::Revert));
    stage.reach("stuck");
    stage.pass(5 * MINUTE);
    stage.refuse = None;
    stage.reach("reverted");
    stage.send(&order(Verb::Close));
    let told: Vec<_> = stage.alerts.iter().map(|alert| (&*alert.episode, alert.change)).collect();
    assert_eq!(
        told,
        [
            ("search-1/revert/1", Episode::Opened),
            ("search-1/revert/1", Episode::Updated),
            ("search-1/revert/1", Episode::Closed),
            ("search-1/outcome/2", Episode::Opened),
            ("search-1/outcome/2", Episode::Closed),
        ]
    );
}

#[test]
fn what_is_read_back_from_the_journal_decides_the_same() {
    // Proves that JSON loses nothing: each state of a whole cutover, read back, answers the next event alike.
    let mut stage = Stage::started(policy());
    let mut phases = std::collections::BTreeSet::new();
    for _ in 0..400 {
        stage.pass(Duration::from_secs(3));
        phases.insert(stage.cutover.phase.name());
        let text = serde_json::to_string(&stage.cutover).unwrap();
        let back: crate::Cutover = serde_json::from_str(&text).unwrap();
        assert_eq!(text, serde_json::to_string(&back).unwrap());
        let event = Event::Tick;
        let (ours, theirs) = (decide(&stage.cutover, &event, stage.now), decide(&back, &event, stage.now));
        assert_eq!(ours.commands, theirs.commands);
        assert_eq!(serde_json::to_string(&ours.next).unwrap(), serde_json::to_string(&theirs.next).unwrap());
    }
    assert!(phases.len() >= 4, "{phases:?}");
}

#[test]
fn a_failed_arming_lets_nothing_rise() {
    // Proves that the first rise waits for the armed revert.
    let mut stage = Stage::started(policy());
    stage.mute.insert("arm");
    stage.arm();
    let error = "connection refused".to_owned();
    let failed =
        Event::Failed { what: CommandKind::Arm, generation: None, retry: Retry::Later, error, begun: stage.now };
    for _ in 0..10 {
        stage.send(&failed);
        stage.pass(Duration::from_secs(5));
    }
    assert!(stage.writes.is_empty());
    assert_eq!(stage.share.reads, Weight::NONE);
    stage.mute.clear();
    stage.send(&failed);
    stage.bake(0);
    assert_eq!(stage.share.reads, weight(100));
}
