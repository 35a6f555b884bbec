//! When a world's faults happen: at moments, or in the first seconds of a phase.
//!
//! Moments alone would leave the short phases untouched, and it is there, between an entry of the journal and the reply
//! to its command, that a core breaks. So half of the faults lie in wait for a phase.

use cutover::event::Verb;
use cutover::{Share, Weight};

use super::{FAULTS_END, GLANCE, Item, MINUTE, SECOND, World};
use crate::sim::coverage::PHASES;
use crate::sim::faults::Fault;
use crate::sim::policy;
use crate::sim::service::Health;

/// A fault that waits for a phase.
#[derive(Debug)]
pub(super) struct Ambush {
    /// The phase that springs it.
    phase: &'static str,
    /// How long after that it happens.
    delay: i64,
    item: Item,
}

/// Replies that may come again in any phase.
const REPLIES: [&str; 8] = ["checked", "read", "written", "observed", "glanced", "armed", "gate_answered", "failed"];

/// When the cutover is ordered to start; some order earlier.
const START: i64 = 5 * SECOND;

impl World<'_> {
    /// A moment of the time in which faults happen.
    fn moment(&mut self) -> i64 {
        self.rng.i64(2 * MINUTE..FAULTS_END)
    }

    /// Plans every fault of this world, its end, the start and the first glance.
    pub(super) fn schedule_faults(&mut self) {
        self.plan(START, Item::Start);
        self.plan(GLANCE, Item::Glance);
        self.plan(FAULTS_END, Item::Heal);
        for fault in self.faults.clone().iter() {
            for round in 0..self.rng.u32(1..4) {
                for (offset, item) in self.fault(fault) {
                    let at = self.moment();
                    self.plan_fault(round, at, offset, item);
                }
            }
        }
        self.spring("pending");
    }

    /// Plans one fault for a moment, or lets it wait for a phase. The first of its kind has its moment, so that most
    /// worlds that draw a fault meet it.
    fn plan_fault(&mut self, round: u32, at: i64, delay: i64, item: Item) {
        if matches!(item, Item::Again(_)) || (round > 0 && self.rng.bool()) {
            let phase = PHASES[self.rng.usize(0..PHASES.len())];
            let delay = delay + self.rng.i64(0..4 * SECOND);
            self.ambushes.push(Ambush { phase, delay, item });
        } else {
            self.plan((at + delay).max(START), item);
        }
    }

    /// A phase was entered: what waits for it happens soon.
    pub(super) fn spring(&mut self, phase: &'static str) {
        let mut index = 0;
        while index < self.ambushes.len() {
            // Some let the phase pass once: the first time is not the only one.
            if self.ambushes[index].phase == phase && self.rng.u32(0..3) > 0 {
                let ambush = self.ambushes.swap_remove(index);
                self.plan(self.now + ambush.delay.max(0), ambush.item);
            } else {
                index += 1;
            }
        }
    }

    /// One occurrence of `fault`: what happens, each with how long after its moment.
    fn fault(&mut self, fault: Fault) -> Vec<(i64, Item)> {
        let length = self.rng.i64(MINUTE..25 * MINUTE);
        let health = |source, target| Item::Health { fault, source, target, length: None };
        match fault {
            Fault::Crash => vec![(0, Item::Crash { down: self.rng.i64(SECOND..5 * MINUTE) })],
            Fault::ClockStep => vec![(0, Item::StepClock(self.rng.i64(-3 * 60 * MINUTE..3 * 60 * MINUTE)))],
            Fault::TargetErrors => {
                let share = [0.05, 0.1, 0.3, 0.6][self.rng.usize(0..4)];
                vec![(0, health(None, Some(Health::Failing(share))))]
            }
            Fault::TargetSlow => vec![(0, health(None, Some(Health::Slow(3.0))))],
            Fault::TargetOutage => vec![(0, health(None, Some(Health::Failing(1.0))))],
            Fault::TargetSilent => vec![(0, health(None, Some(Health::Silent)))],
            Fault::SourceOutage => {
                let (source, length) = (Some(Health::Failing(0.9)), Some(length));
                vec![(0, Item::Health { fault, source, target: None, length })]
            }
            Fault::BothOutage => {
                let (both, length) = (Some(Health::Failing(0.9)), Some(length));
                vec![(0, Item::Health { fault, source: both, target: both, length })]
            }
            Fault::Drift => {
                let share = Share::both(Weight::new(self.rng.u16(0..=1000)).expect("up to 1000"));
                // One in four is another controller, which will not be told.
                let again = if self.rng.u32(0..4) == 0 { length / MINUTE } else { 0 };
                vec![(0, Item::Foreign { share, again })]
            }
            Fault::Operator => {
                if self.rng.u32(0..3) == 0 {
                    // An order that crosses the replies to the first commands of a move.
                    let verb = if self.rng.bool() { Verb::Abort } else { self.verb() };
                    let delay = self.rng.i64(10..2 * SECOND);
                    self.ambushes.push(Ambush { phase: "shifting", delay, item: Item::Order(verb) });
                }
                (0..self.rng.u32(1..5)).map(|_| (0, Item::Order(self.verb()))).collect()
            }
            Fault::JournalFull => vec![(0, Item::JournalFails { length })],
            Fault::PolicyChange => vec![(0, Item::PolicyChanged)],
            Fault::RefusedWrite => {
                let mut items = vec![(0, Item::Switch { fault, length })];
                // A balancer that takes nothing is worst when the original must go back.
                if self.rng.bool() {
                    items = vec![(0, Item::RefusedRevert { length })];
                }
                items
            }
            // Gates are asked for a moment only: theirs is a long mood.
            Fault::Gates => {
                if self.rng.u32(0..6) == 0 {
                    // Someone changes the weights while a program thinks.
                    let share = Share::both(Weight::new(self.rng.u16(0..=200)).expect("below 1000"));
                    let delay = self.rng.i64(100..2 * SECOND);
                    self.ambushes.push(Ambush { phase: "gated", delay, item: Item::Foreign { share, again: 0 } });
                }
                vec![(-self.rng.i64(0..20 * MINUTE), Item::Switch { fault, length: 2 * length })]
            }
            Fault::Disagreement | Fault::DataGap | Fault::ChecksFail => {
                vec![(0, Item::Switch { fault, length })]
            }
            Fault::ReorderedReply => {
                (0..6).map(|_| (0, Item::Again(REPLIES[self.rng.usize(0..REPLIES.len())]))).collect()
            }
            // These are drawn for each reply, or belong to the world from its beginning.
            Fault::LateReply
            | Fault::LostReply
            | Fault::LateWrite
            | Fault::StaleRead
            | Fault::ThinTraffic
            | Fault::Windows
            | Fault::WeightedStart => Vec::new(),
        }
    }

    /// Any order.
    fn verb(&mut self) -> Verb {
        match self.rng.u32(0..9) {
            0 => Verb::Start,
            1 => Verb::Advance,
            2 => Verb::Hold,
            3 => Verb::Pause,
            4 => Verb::Resume { adopt_policy: None },
            5 => Verb::Revert,
            6 => Verb::Abort,
            7 => Verb::Close,
            _ => Verb::Resume { adopt_policy: Some(Box::new(policy::changed(&self.cutover.policy))) },
        }
    }
}
