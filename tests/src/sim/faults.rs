//! Which faults a world has.

use fastrand::Rng;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The daemon is killed and comes back.
    Crash,
    /// Replies take long.
    LateReply,
    /// Replies never come; the shell's own time-out answers.
    LostReply,
    /// Replies overtake each other or come twice.
    ReorderedReply,
    /// A write that seemed to fail lands later, even after a revert.
    LateWrite,
    /// The balancer refuses writes for a while.
    RefusedWrite,
    /// Reads show what was there when they were begun, long ago.
    StaleRead,
    /// Some proxies do not have the share.
    Disagreement,
    /// The wall clock steps.
    ClockStep,
    /// Hardly any traffic.
    ThinTraffic,
    /// No counts for a while.
    DataGap,
    /// The target answers with errors.
    TargetErrors,
    /// The target is slow.
    TargetSlow,
    /// The target fails everything.
    TargetOutage,
    /// The target gets nothing although it has weight.
    TargetSilent,
    /// The source fails.
    SourceOutage,
    /// Both fail at once.
    BothOutage,
    /// Someone else changes the weights.
    Drift,
    /// Someone orders this and that.
    Operator,
    /// The journal cannot be written for a while.
    JournalFull,
    /// The policy file changes.
    PolicyChange,
    /// Checks fail or cannot be made for a while.
    ChecksFail,
    /// Gates say later, no or nothing.
    Gates,
    /// Change windows are shut most of the time.
    Windows,
    /// The target has weight before the start.
    WeightedStart,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 25] = [
        Self::Crash,
        Self::LateReply,
        Self::LostReply,
        Self::ReorderedReply,
        Self::LateWrite,
        Self::RefusedWrite,
        Self::StaleRead,
        Self::Disagreement,
        Self::ClockStep,
        Self::ThinTraffic,
        Self::DataGap,
        Self::TargetErrors,
        Self::TargetSlow,
        Self::TargetOutage,
        Self::TargetSilent,
        Self::SourceOutage,
        Self::BothOutage,
        Self::Drift,
        Self::Operator,
        Self::JournalFull,
        Self::PolicyChange,
        Self::ChecksFail,
        Self::Gates,
        Self::Windows,
        Self::WeightedStart,
    ];
}

impl Fault {
    /// Whether it needs something to happen to: a write, a gate, a check.
    const fn may_be_missed(self) -> bool {
        matches!(self, Self::LateWrite | Self::RefusedWrite | Self::ChecksFail | Self::Gates | Self::Disagreement)
    }
}

/// The faults of one world.
#[derive(Clone, Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Draws each kind with a chance of one in nine, and of one in six where a world may draw it and never meet it; one
    /// world in twelve has none at all.
    pub fn draw(rng: &mut Rng) -> Self {
        if rng.u32(0..12) == 0 {
            return Self::default();
        }
        Self(
            Fault::ALL.into_iter().filter(|fault| rng.u32(0..if fault.may_be_missed() { 6 } else { 9 }) == 0).collect(),
        )
    }

    /// Whether this world has `fault`.
    pub fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }

    /// Those that are there from the beginning and need not happen.
    pub fn from_the_start(&self) -> Self {
        Self(
            self.iter()
                .filter(|fault| matches!(fault, Fault::ThinTraffic | Fault::Windows | Fault::WeightedStart))
                .collect(),
        )
    }

    /// Remembers that `fault` happened.
    pub fn add(&mut self, fault: Fault) {
        if !self.has(fault) {
            self.0.push(fault);
        }
    }

    /// Every fault of this world.
    pub fn iter(&self) -> impl Iterator<Item = Fault> + '_ {
        self.0.iter().copied()
    }
}
