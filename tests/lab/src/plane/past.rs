//! A past for an account that has none: minutes of requests that nobody sent, for what compares a day with earlier ones.
//!
//! Off unless it is asked for, since all else in the metric store was served. Each minute is drawn for itself around a rate
//! that has a day and a week in it; response times are those of the lab's own servers when nothing is wrong with them, and
//! no request failed.

use std::f64::consts::TAU;
use std::time::Duration;

use super::Behaviour;
use super::meter::{self, Note};
use super::world::World;
use crate::clock::Time;
use crate::cloudwatch::distribution::three_digits;

/// The longest past, in days: as long as CloudWatch keeps minutes.
pub const DAYS_MAX: u32 = 15;

/// In how many equal parts the distribution of response times is noted.
const PARTS: u32 = 20;

/// What the past was like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Past {
    /// How many days of it there are; brought down to [`DAYS_MAX`].
    pub days: u32,
    /// Requests a second, in the mean over a week.
    pub rate: f64,
}

impl Past {
    /// Requests a second at a moment: half as many again by day and half by night, and a fifth less at the weekend.
    fn rate_at(self, at: Time) -> f64 {
        const DAY: i64 = 24 * 3600 * 1000;
        let of_day = at.0.rem_euclid(DAY) as f64 / DAY as f64;
        // The first of January 1970 was a Thursday.
        let is_weekend = matches!((at.0.div_euclid(DAY) + 4).rem_euclid(7), 0 | 6);
        self.rate * (1.0 + 0.5 * (TAU * (of_day - 0.25)).sin()) * if is_weekend { 0.8 } else { 1.08 }
    }
}

/// A number of the normal distribution, by Box and Muller.
fn normal(rng: &mut fastrand::Rng) -> f64 {
    (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (TAU * rng.f64()).cos()
}

/// Where the normal distribution has its parts: the middle of each, from a fine sum of its bell.
fn middles() -> Vec<f64> {
    const STEP: f64 = 0.001;
    let (mut below, mut next, mut found) = (0.0, 0.5 / f64::from(PARTS), Vec::new());
    let mut at = -5.0;
    while found.len() < PARTS as usize && at < 5.0 {
        below += STEP * (-at * at / 2.0f64).exp() / TAU.sqrt();
        if below >= next {
            found.push(at);
            next += 1.0 / f64::from(PARTS);
        }
        at += STEP;
    }
    found
}

/// Notes the past of a target group at every node that may send to it, up to the minute before `now`.
pub(super) fn fill(world: &World, group: &str, past: Past, now: Time) {
    let live = world.live();
    let Some(live) = live.groups.get(group) else { return };
    let users = world.shared.read(|model| model.users_of(group));
    let nodes: Vec<_> = world.nodes().into_iter().filter(|(balancer, _)| users.contains(balancer)).collect();
    let nodes: Vec<_> = nodes.into_iter().flat_map(|(_, nodes)| nodes).collect();
    let (behaviour, middles) = (Behaviour::default(), middles());
    let mut rng = fastrand::Rng::with_seed(world.seed());
    let minutes = u64::from(past.days.min(DAYS_MAX)) * 24 * 60;
    for back in (1..=minutes).rev() {
        let at = now.minute() - Duration::from_mins(back);
        for node in &nodes {
            let mean = past.rate_at(at) * 60.0 / nodes.len() as f64;
            let count = (mean + mean.sqrt() * normal(&mut rng)).round().max(0.0) as u64;
            if count == 0 {
                continue;
            }
            let per_target = 1.0 / live.targets.len().max(1) as f64;
            let mut measured: Vec<Note> = vec![
                (meter::REQUESTS, 1.0, count),
                (meter::REQUESTS_PER_TARGET, per_target, count),
                (meter::target_code(200), 1.0, count),
            ];
            let tail = (count as f64 * behaviour.tail_share) as u64;
            let body = count - tail;
            for (part, middle) in (0..).zip(&middles) {
                let time = behaviour.median_ms * (behaviour.spread * middle).exp() / 1000.0;
                let share = |all: u64| all * (part + 1) / u64::from(PARTS) - all * part / u64::from(PARTS);
                measured.push((meter::RESPONSE_TIME, three_digits(time), share(body)));
                measured.push((meter::RESPONSE_TIME, three_digits(time * behaviour.tail_factor), share(tail)));
            }
            node.meter.note(at, &live.dimension, &measured);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that a week of the past has the mean that was asked for, and that its days and nights differ.
    #[test]
    fn a_week_has_the_mean_that_was_asked_for() {
        let past = Past { days: 7, rate: 100.0 };
        let rates: Vec<f64> = (0..7 * 24 * 60).map(|minute| past.rate_at(Time(minute * 60_000))).collect();
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        assert!((mean - 100.0).abs() < 1.0, "{mean}");
        let (least, most) =
            rates.iter().fold((f64::MAX, 0.0f64), |(least, most), rate| (least.min(*rate), most.max(*rate)));
        assert!(least < 50.0 && most > 150.0, "{least} to {most}");
    }

    /// Proves that the parts of the distribution lie evenly around its middle.
    #[test]
    fn the_parts_of_the_distribution_are_even() {
        let middles = middles();
        assert_eq!(middles.len(), PARTS as usize);
        let sum: f64 = middles.iter().sum();
        assert!(sum.abs() < 0.1 && (middles[19] - 1.96).abs() < 0.01, "{middles:?}");
    }
}
