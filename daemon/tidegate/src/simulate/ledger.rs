//! What was drawn, piece by piece, as running totals: what a window had is the difference of its two ends.
//!
//! A tripwire looks twice a second at the ten seconds or the minute before, so adding up the pieces of each window would
//! cost more than drawing them. Totals only ever grow, and the target once it is faulty stays so, which leaves one moment
//! at which the healthy part of a window ends.

use std::collections::VecDeque;

use cutover::Window;

use super::chance::{Stream, binomial};
use super::shape::Cells;

/// How the requests of one side ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Ended {
    pub(super) requests: u64,
    pub(super) redirects: u64,
    pub(super) client_errors: u64,
    pub(super) server_errors: u64,
    pub(super) failed: u64,
    pub(super) abandoned: u64,
    pub(super) latency: Cells,
    pub(super) exchange: Cells,
}

impl Ended {
    /// Each of its numbers, and the same one of `other`, made into one.
    fn with(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> Self {
        let cells = |ours: &Cells, theirs: &Cells| -> Cells { std::array::from_fn(|at| of(ours[at], theirs[at])) };
        Self {
            requests: of(self.requests, other.requests),
            redirects: of(self.redirects, other.redirects),
            client_errors: of(self.client_errors, other.client_errors),
            server_errors: of(self.server_errors, other.server_errors),
            failed: of(self.failed, other.failed),
            abandoned: of(self.abandoned, other.abandoned),
            latency: cells(&self.latency, &other.latency),
            exchange: cells(&self.exchange, &other.exchange),
        }
    }

    fn plus(&self, other: &Self) -> Self {
        self.with(other, |ours, theirs| ours + theirs)
    }

    /// What was added since the totals were `earlier`.
    fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, |ours, theirs| ours - theirs)
    }

    /// Answers that are neither errors nor redirects.
    pub(super) fn sound(&self) -> u64 {
        self.requests - self.client_errors - self.server_errors - self.failed - self.abandoned - self.redirects
    }

    pub(super) fn failing(&self) -> u64 {
        self.server_errors + self.failed
    }

    /// How many of them fall into the first `share` of their time.
    fn first(&self, share: f64, rng: &mut Stream) -> Self {
        let sound = binomial(rng, self.sound(), share);
        let mut part = |count: u64| binomial(rng, count, share);
        let mut first = Self {
            requests: sound,
            redirects: part(self.redirects),
            client_errors: part(self.client_errors),
            server_errors: part(self.server_errors),
            failed: part(self.failed),
            abandoned: part(self.abandoned),
            latency: self.latency.map(&mut part),
            exchange: self.exchange.map(&mut part),
        };
        first.requests += first.redirects + first.client_errors + first.failing() + first.abandoned;
        first
    }
}

/// One side's requests in a window, before its fault and since.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Parts {
    pub(super) healthy: Ended,
    pub(super) faulty: Ended,
}

impl Parts {
    /// All of them.
    pub(super) fn both(&self) -> Ended {
        self.healthy.plus(&self.faulty)
    }
}

/// Totals of the source and of the target.
type Totals = [Ended; 2];

/// The end of a stretch of time in which nothing changed.
#[derive(Clone, Debug)]
struct Piece {
    to: i64,
    /// All that was drawn up to then.
    totals: Totals,
}

/// What was drawn so far and is not forgotten.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    /// Where the first piece begins, and what was drawn before it.
    start: Piece,
    pieces: VecDeque<Piece>,
    /// Since when the target is faulty.
    faulty: Option<i64>,
}

impl Ledger {
    /// Nothing, from `start` (milliseconds since 1970) on.
    pub(super) fn new(start: i64) -> Self {
        let start = Piece { to: start, totals: [Ended::default(); 2] };
        Self { start, pieces: VecDeque::new(), faulty: None }
    }

    /// Up to when it reaches.
    pub(super) fn to(&self) -> i64 {
        self.last().to
    }

    fn last(&self) -> &Piece {
        self.pieces.back().unwrap_or(&self.start)
    }

    /// Adds what came up to `to`, from a target that is faulty or not.
    pub(super) fn push(&mut self, to: i64, faulty: bool, source: &Ended, target: &Ended) {
        let last = self.last();
        let totals = [last.totals[0].plus(source), last.totals[1].plus(target)];
        let from = last.to;
        if faulty {
            self.faulty.get_or_insert(from);
        }
        self.pieces.push_back(Piece { to, totals });
    }

    /// What source and target had in a window, as far as it is known; pieces that reach over its ends are cut there, by the
    /// stream that `chance` names after the moment.
    pub(super) fn sums(&mut self, window: Window, chance: &mut dyn FnMut(i64) -> Stream) -> [Parts; 2] {
        self.cut(window.from.0, chance);
        self.cut(window.to.0, chance);
        let (from, to) = (self.totals(window.from.0), self.totals(window.to.0));
        // Pieces end where the fault begins, so nothing is to be cut there.
        let between = match self.faulty {
            Some(faulty) if faulty <= window.from.0 => from,
            Some(faulty) if faulty < window.to.0 => self.totals(faulty),
            Some(_) | None => to,
        };
        [
            // The source has no fault, whatever the target has.
            Parts { healthy: to[0].since(&from[0]), faulty: Ended::default() },
            Parts { healthy: between[1].since(&from[1]), faulty: to[1].since(&between[1]) },
        ]
    }

    /// What was drawn in the pieces that end by `at`.
    fn totals(&self, at: i64) -> &Totals {
        let index = self.pieces.partition_point(|piece| piece.to <= at);
        let last = index.checked_sub(1).map_or(&self.start, |index| &self.pieces[index]);
        &last.totals
    }

    /// Cuts the piece that goes on over `at` in two.
    fn cut(&mut self, at: i64, chance: &mut dyn FnMut(i64) -> Stream) {
        let index = self.pieces.partition_point(|piece| piece.to <= at);
        let before = index.checked_sub(1).map_or(&self.start, |index| &self.pieces[index]);
        let Some(piece) = self.pieces.get(index).filter(|_| before.to < at) else { return };
        let share = (at - before.to) as f64 / (piece.to - before.to) as f64;
        let mut rng = chance(at);
        let totals = [0, 1].map(|side: usize| {
            let own = piece.totals[side].since(&before.totals[side]);
            before.totals[side].plus(&own.first(share, &mut rng))
        });
        self.pieces.insert(index, Piece { to: at, totals });
    }

    /// Forgets what ended before `moment`.
    pub(super) fn forget(&mut self, moment: i64) {
        while self.pieces.front().is_some_and(|piece| piece.to <= moment) {
            if let Some(piece) = self.pieces.pop_front() {
                self.start = piece;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cutover::Timestamp;

    use super::super::chance::{Purpose, stream};
    use super::super::shape::CELLS;
    use super::*;

    fn ended(sound: u64, failed: u64) -> Ended {
        let mut latency = [0; CELLS];
        latency[3] = sound;
        Ended { requests: sound + failed, failed, latency, ..Ended::default() }
    }

    fn window(from: i64, to: i64) -> Window {
        Window { from: Timestamp(from), to: Timestamp(to) }
    }

    fn chance(at: i64) -> Stream {
        stream(1, Purpose::Cut, at)
    }

    /// Proves that windows that lie side by side add up to what was drawn, wherever pieces are cut and whatever is forgotten.
    #[test]
    fn windows_side_by_side_add_up() {
        let mut ledger = Ledger::new(0);
        ledger.push(1_000, false, &ended(900, 1), &ended(100, 2));
        ledger.push(1_700, true, &ended(700, 0), &ended(60, 40));
        ledger.push(3_000, true, &ended(1_300, 0), &ended(130, 50));
        let mut sum = [Parts::default(); 2];
        for (from, to) in [(0, 300), (300, 1_000), (1_000, 1_001), (1_001, 2_500), (2_500, 3_000)] {
            for (sum, part) in sum.iter_mut().zip(ledger.sums(window(from, to), &mut chance)) {
                *sum = Parts { healthy: sum.healthy.plus(&part.healthy), faulty: sum.faulty.plus(&part.faulty) };
            }
            ledger.forget(from);
        }
        assert_eq!(sum[0], Parts { healthy: ended(2_900, 1), faulty: Ended::default() });
        assert_eq!(sum[1], Parts { healthy: ended(100, 2), faulty: ended(190, 90) });
        assert_eq!(ledger.to(), 3_000);
    }

    /// Proves that a window over the beginning of a fault tells the two parts apart, and that a cut is made once: who looks
    /// again sees the same.
    #[test]
    fn a_window_is_the_same_each_time() {
        let mut ledger = Ledger::new(0);
        ledger.push(1_000, false, &ended(500, 0), &ended(500, 0));
        ledger.push(2_000, true, &ended(500, 0), &ended(0, 500));
        let first = ledger.sums(window(400, 1_600), &mut chance);
        assert_eq!(ledger.sums(window(400, 1_600), &mut chance), first);
        let target = first[1];
        assert_eq!((target.healthy.failing(), target.faulty.sound()), (0, 0));
        assert!(
            (250..350).contains(&target.healthy.sound()) && (250..350).contains(&target.faulty.failing()),
            "{target:?}"
        );
        // What was not drawn yet is in no window.
        assert_eq!(ledger.sums(window(2_000, 9_000), &mut chance), [Parts::default(); 2]);
    }
}
