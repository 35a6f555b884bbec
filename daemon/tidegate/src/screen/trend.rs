//! Is it getting worse? The last intervals of both sides, as small charts of one line.

use std::collections::VecDeque;

use crate::controller::Lately;
use crate::controller::lately::Figures;

/// How many intervals are remembered; no chart is wider.
const INTERVALS_MAX: usize = 60;
/// The rising blocks of a chart, from little to all.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The last intervals, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Trend(VecDeque<Lately>);

impl Trend {
    /// Takes the interval counted last; one that is known already changes nothing.
    pub fn push(&mut self, lately: Option<&Lately>) {
        let Some(lately) = lately else { return };
        if self.0.back().is_some_and(|last| last.window.to >= lately.window.to) {
            return;
        }
        if self.0.len() == INTERVALS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(lately.clone());
    }

    /// The interval counted last.
    pub fn last(&self) -> Option<&Lately> {
        self.0.back()
    }

    /// A chart of each side, `width` signs wide, the newest interval at the right. Both have one scale, from zero to
    /// the larger of `full` and the greatest value shown, so that they can be compared.
    pub(super) fn charts(&self, width: usize, full: f64, value: impl Fn(&Figures) -> Option<f64>) -> [String; 2] {
        let shown = || self.0.iter().skip(self.0.len().saturating_sub(width));
        let both = shown().flat_map(|lately| [value(&lately.source), value(&lately.target)]);
        let top = both.flatten().fold(full, f64::max);
        [|lately: &Lately| lately.source, |lately: &Lately| lately.target].map(|side| {
            let chart: String =
                shown().map(|lately| value(&side(lately)).map_or(' ', |value| block(value / top))).collect();
            format!("{chart:>width$}")
        })
    }
}

/// The block for a share of the scale.
pub(crate) fn block(share: f64) -> char {
    let at = (share * (BLOCKS.len() - 1) as f64).round();
    // What is not zero shall be seen to be not zero.
    let at = if share > 0.0 { at.max(1.0) } else { 0.0 };
    BLOCKS[(at as usize).min(BLOCKS.len() - 1)]
}

#[cfg(test)]
mod tests {
    use cutover::{Timestamp, Window};

    use super::*;

    fn lately(second: i64, source: f64, target: Option<f64>) -> Lately {
        let side = |errors| Figures { requests: 10, rate: 10.0, errors, p50_millis: None, p99_millis: None };
        let window = Window { from: Timestamp(second * 1000 - 1000), to: Timestamp(second * 1000) };
        Lately { window, source: side(Some(source)), target: side(target) }
    }

    /// Proves that both charts have one scale, that what is unknown is a gap and not a zero, that a little is more than
    /// nothing, and that an interval seen twice is drawn once.
    #[test]
    fn both_sides_are_drawn_to_one_scale() {
        let mut trend = Trend::default();
        for (second, source, target) in
            [(1, 0.0, None), (2, 0.001, Some(0.1)), (3, 0.1, Some(0.2)), (3, 0.9, Some(0.9))]
        {
            trend.push(Some(&lately(second, source, target)));
        }
        assert_eq!(trend.charts(5, 0.01, |side| side.errors), ["  ▁▂▅", "   ▅█"]);
        assert_eq!(trend.charts(2, 0.4, |side| side.errors), ["▂▃", "▃▅"]);
    }

    /// Proves that what is remembered is bounded.
    #[test]
    fn old_intervals_are_forgotten() {
        let mut trend = Trend::default();
        for second in 1..=200 {
            trend.push(Some(&lately(second, 0.0, Some(0.0))));
        }
        assert_eq!(trend.0.len(), INTERVALS_MAX);
        assert_eq!(trend.last().unwrap().window.to, Timestamp(200_000));
    }
}
