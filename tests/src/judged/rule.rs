//! What a judge is to the simulation: blocks in, "revert" out.

use judge::{Baseline, Block, Context, Guard, GuardKind, Guards, Judge, Verdict};

use super::peers::argo::Argo;
use super::peers::flagger::Flagger;
use super::peers::kayenta::Kayenta;

/// Somebody who watches a cutover and may revert it.
pub trait Rule {
    /// Takes the next block and says whether the cutover is reverted after it. Once it is, nothing more is asked.
    fn reverts(&mut self, block: &Block, context: &Context) -> bool;
}

/// Which judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JudgeKind {
    /// Tidegate's.
    Ours,
    /// The same with the guard on steady slowness, which a policy may ask for.
    OursSteady,
    /// Flagger's threshold count.
    Flagger,
    /// Argo Rollouts' failure limit.
    Argo,
    /// Kayenta's Mann-Whitney classifier.
    Kayenta,
    /// The same with an allowed increase of 10 %.
    KayentaAllowed,
}

impl JudgeKind {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 6] =
        [Self::Ours, Self::OursSteady, Self::Kayenta, Self::KayentaAllowed, Self::Flagger, Self::Argo];

    /// How it is named on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::OursSteady => "ours-steady",
            Self::Flagger => "flagger",
            Self::Argo => "argo",
            Self::Kayenta => "kayenta",
            Self::KayentaAllowed => "kayenta-1.1",
        }
    }

    /// The judge of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it needs a baseline.
    pub fn needs_baseline(self) -> bool {
        matches!(self, Self::Ours | Self::OursSteady)
    }

    /// A judge that has seen nothing; `baseline`, `alpha` and `steps` are for ours alone.
    pub fn begin(self, baseline: &Baseline, alpha: f64, steps: u32) -> Box<dyn Rule> {
        match self {
            Self::Ours => Box::new(Ours::new(baseline.clone(), alpha, steps)),
            Self::OursSteady => Box::new(Ours::steady(baseline.clone(), alpha, steps)),
            Self::Flagger => Box::new(Minutes::new(Flagger::default())),
            Self::Argo => Box::new(Minutes::new(Argo::default())),
            Self::Kayenta => Box::new(Minutes::new(Kayenta::new(1.0))),
            Self::KayentaAllowed => Box::new(Minutes::new(Kayenta::new(1.1))),
        }
    }
}

/// Tidegate's judge with its default guards, exactly as a cutover asks it.
#[derive(Clone, Debug)]
pub struct Ours {
    judge: Judge,
}

impl Ours {
    /// A judge that has seen nothing but the baseline. `alpha` is the greatest chance of a false revert.
    pub fn new(baseline: Baseline, alpha: f64, steps: u32) -> Self {
        let guards = Guards { false_revert_max: alpha, ..Guards::default() };
        Self { judge: Judge::new(guards, baseline, steps) }
    }

    /// The same with `latency_steady` on, as the policy's comment on it says: it takes its part of the risk from `latency`.
    pub fn steady(baseline: Baseline, alpha: f64, steps: u32) -> Self {
        let mut guards = Guards { false_revert_max: alpha, ..Guards::default() };
        for guard in guards.guards.iter_mut().filter(|guard| guard.kind == GuardKind::Latency) {
            guard.weight = 0.35;
        }
        guards.guards.push(Guard::usual(GuardKind::LatencySteady));
        Self { judge: Judge::new(guards, baseline, steps) }
    }

    /// The judge itself.
    pub fn judge(&self) -> &Judge {
        &self.judge
    }
}

impl Rule for Ours {
    fn reverts(&mut self, block: &Block, context: &Context) -> bool {
        self.judge.observe(block, context);
        self.judge.proven() == Verdict::Fail
    }
}

/// A peer that reads its metrics once a minute, as its documented configuration says, however short the blocks are.
#[derive(Clone, Debug)]
pub struct Minutes<P> {
    peer: P,
    open: Block,
}

/// A rule over whole minutes.
pub trait Peer {
    /// Takes a minute and says whether the cutover is reverted after it.
    fn minute(&mut self, minute: &Block) -> bool;
}

impl<P: Peer> Minutes<P> {
    /// A peer that has seen nothing.
    pub fn new(peer: P) -> Self {
        Self { peer, open: Block::default() }
    }
}

impl<P: Peer> Rule for Minutes<P> {
    fn reverts(&mut self, block: &Block, _: &Context) -> bool {
        if self.open.millis == 0 && block.millis >= 60_000 {
            return self.peer.minute(block);
        }
        self.open.millis += block.millis;
        self.open.source.merge(&block.source);
        self.open.target.merge(&block.target);
        self.open.millis >= 60_000 && self.peer.minute(&std::mem::take(&mut self.open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Seen(Vec<(u64, u64)>);

    impl Peer for Seen {
        fn minute(&mut self, minute: &Block) -> bool {
            self.0.push((minute.millis, minute.target.requests));
            false
        }
    }

    #[test]
    fn a_peer_sees_whole_minutes_whatever_the_blocks() {
        let context = Context { new_step: true, weight: 50, next_weight: None, source_live: true };
        let mut minutes = Minutes::new(Seen::default());
        let mut block = Block { millis: 10_000, ..Block::default() };
        block.target.requests = 7;
        for _ in 0..13 {
            minutes.reverts(&block, &context);
        }
        assert_eq!(minutes.peer.0, [(60_000, 42), (60_000, 42)]);
    }

    #[test]
    fn every_judge_is_found_by_its_name() {
        for kind in JudgeKind::ALL {
            assert_eq!(JudgeKind::named(kind.name()), Some(kind));
        }
        assert_eq!(JudgeKind::named("fate"), None);
    }
}
