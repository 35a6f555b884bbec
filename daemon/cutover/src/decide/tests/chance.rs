//! Any event in any order: `decide` never panics, and a few things hold whatever comes.

use std::time::Duration;

use proptest::prelude::*;

use super::stage::{Stage, asked_gate, both, manual_gate, order, policy};
use crate::command::Command;
use crate::cutover::LATE_WRITES_MAX;
use crate::decide::decide;
use crate::event::{CommandKind, Event, GateAnswer, Reading, Retry, Verb};
use crate::units::{Generation, Share, Timestamp, Window};

/// The most commands that one decision may hold.
const COMMANDS_MAX: usize = 16;

/// What happens next, as small numbers that shrink well.
#[derive(Clone, Debug)]
struct Happening {
    event: u8,
    detail: u16,
    millis: i64,
}

fn happening() -> impl Strategy<Value = Happening> {
    let millis = prop_oneof![8 => 0_i64..15_000, 1 => Just(i64::MAX / 2), 1 => -4_000_000_i64..4_000_000];
    (0_u8..40, any::<u16>(), millis).prop_map(|(event, detail, millis)| Happening { event, detail, millis })
}

/// The event that a happening stands for, where the cutover is.
fn event(stage: &Stage, happening: &Happening) -> Event {
    let cutover = &stage.cutover;
    let detail = happening.detail;
    let share = both(detail % 1001);
    let begun = Timestamp(stage.now.0.saturating_sub(i64::from(detail) * 10));
    let retry = if detail.is_multiple_of(3) { Retry::Never } else { Retry::Later };
    let generation = Generation(cutover.generation.0.saturating_sub(u64::from(detail % 3)));
    let asked = cutover.evidence.asked.map(|asked| asked.window);
    let window = asked.filter(|_| !detail.is_multiple_of(4)).unwrap_or(Window { from: begun, to: stage.now });
    let failed = |what| Event::Failed { what, generation: Some(generation), retry, error: "x".to_owned(), begun };
    let read = |share| {
        let disagreeing = if detail.is_multiple_of(5) { vec!["proxy-2".to_owned()] } else { Vec::new() };
        Event::Read(Reading { share, action: super::stage::action(share, "as it was"), begun: stage.now, disagreeing })
    };
    let gate =
        |answer| Event::GateAnswered { gate: "cache-warm".to_owned(), step: usize::from(detail % 4), answer, begun };
    match happening.event {
        0..=5 => Event::Tick,
        6 => Event::Restarted,
        7..=8 => Event::Checked { checks: stage.checks(), begun: stage.now },
        9..=13 => read(cutover.desired),
        14 => read(share),
        15..=18 => Event::Written { generation, begun },
        19..=23 => Event::Observed(stage.count(window)),
        24 => stage.glance(),
        25 => {
            let mut sick = stage.clone();
            sick.target_errors = 0.9;
            sick.glance()
        }
        26..=27 => Event::Armed,
        28 => Event::Fired { why: "x".to_owned(), share, at: begun },
        29 => gate(GateAnswer::Yes),
        30 => gate(GateAnswer::No { why: "x".to_owned() }),
        31 => Event::Journal { writable: detail.is_multiple_of(2) },
        32 => Event::PolicyChanged { change: Some("x".to_owned()) },
        33 => failed(CommandKind::Write),
        34 => failed(CommandKind::Restore),
        35 => failed(
            [CommandKind::Read, CommandKind::Observe, CommandKind::Arm, CommandKind::Gate][usize::from(detail % 4)],
        ),
        36 => order(Verb::Start),
        37 => order([Verb::Hold, Verb::Pause, Verb::Advance][usize::from(detail % 3)].clone()),
        38 => order(Verb::Resume { adopt_policy: (detail.is_multiple_of(2)).then(|| Box::new(policy())) }),
        _ if detail.is_multiple_of(8) => {
            order([Verb::Revert, Verb::Abort, Verb::Close][usize::from(detail % 3)].clone())
        }
        _ => order(Verb::Advance),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_event_in_any_order_is_answered(happenings in proptest::collection::vec(happening(), 1..120), ahead in 0_u64..600) {
        // Proves totality, purity, bounded commands and lists, rising generations, and that no write gives the target
        // more than evidence has earned.
        let mut policy = policy();
        policy.gates = vec![asked_gate(), manual_gate()];
        let mut stage = Stage::started(policy);
        stage.pass(Duration::from_secs(ahead));
        for happening in happenings {
            stage.now = Timestamp(stage.now.0.saturating_add(happening.millis));
            let event = event(&stage, &happening);
            let decision = decide(&stage.cutover, &event, stage.now);
            let again = decide(&stage.cutover, &event, stage.now);
            prop_assert_eq!(&decision.commands, &again.commands);
            prop_assert_eq!(serde_json::to_string(&decision.next).unwrap(), serde_json::to_string(&again.next).unwrap());
            prop_assert!(decision.commands.len() <= COMMANDS_MAX, "{:?}", decision.commands);
            prop_assert!(decision.next.late.len() <= LATE_WRITES_MAX);
            for command in &decision.commands {
                match command {
                    Command::Write { share, generation } => {
                        prop_assert!(*generation > stage.cutover.generation);
                        prop_assert!(!share.raises(decision.next.earned), "{} of {}", share, decision.next.earned);
                        prop_assert!(decision.journal);
                    }
                    Command::Restore { generation, .. } => prop_assert!(*generation > stage.cutover.generation),
                    _ => {}
                }
            }
            let rises = decision.commands.iter().any(|command| matches!(command, Command::Write { share, .. } if *share != Share::NONE));
            prop_assert!(!rises || decision.next.original.is_some(), "a write before the original was recorded");
            stage.cutover = decision.next;
        }
    }
}
