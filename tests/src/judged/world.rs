//! The simulated services, each a row of the tables of false reverts, and the regressions of the tables of detection.
//!
//! # What all of them share
//! Minutes are `t`, sides `i` (source, target); `z` are independent draws of the standard normal distribution, and
//! `AR(sd, rho)` is `sd` times the stationary process `a(t) = rho a(t-1) + sqrt(1 - rho²) z(t)`.
//!
//! **Traffic.** Requests of a block of `s` seconds are Poisson with mean `rate s (1 + 0.6 sin(2π (t / 1440 + phase)))`,
//! `phase` uniform; a request is the target's with the chance of the step's weight. Steps are 5, 10, 20, 35, 50, 75 and
//! 95 %, ten minutes each. Before the cutover come 24 hours of the source alone, in minutes: the baseline.
//!
//! **Server errors.** Each request fails with the chance
//! `p_i(t) = p0 exp(S(t) - Var S / 2) exp(O_i(t) - Var O / 2) + outage(t) + burst_i(t)`, `p0` 0.1 % if nothing else is
//! said, `S` and `O` the logs of what both sides share and of what each has of its own, AR processes; with beta-binomial
//! errors `p0` is itself drawn each minute and side from a beta distribution of mean `p0` and the stated coefficient of
//! variation. Clustered errors come `c` at once: `c` times a Poisson count of mean `n p / c`.
//!
//! **4XX** have the chance `2 % exp(0.2 z - 0.02) exp(0.1 z_i - 0.005)`, drawn anew each minute.
//!
//! **Latency** in milliseconds is log-normal: `60 exp(0.7 z + J(t) + J_i(t))`, `J` an AR(0.05, 0.9) that both sides share,
//! `J_i` an AR(0.01, 0.9) of each. In a *GC minute* (each minute and side with a chance of 2 %) a share of the answers, drawn
//! uniformly between a half and three halves of 2 %, take `500 exp(0.3 z)` instead.
//!
//! Where the prototype's report gives a number, it is that; the rest (the autocorrelations, the noise of the 4XX, the GC
//! minutes' pauses) was read off its recorded stream, or chosen so that the peers' rules revert about as often as there.
//!
//! # What the target may be like
//! A world without a fault may still have a target that is a little worse, within tolerance; see the rows.

use super::fault::{Fault, Kind, Size};

/// A stationary first-order autoregressive process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ar {
    /// Its standard deviation; 0 is none.
    pub sd: f64,
    /// Its correlation from minute to minute.
    pub rho: f64,
}

/// No process.
const NONE: Ar = Ar { sd: 0.0, rho: 0.0 };

/// Something that comes and goes: it starts in a minute with a chance, lasts, and adds to the share of errors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spells {
    /// The chance that one starts, each minute without one.
    pub start: f64,
    /// How many minutes it lasts on average (geometrically distributed); 1 is always one minute.
    pub minutes: f64,
    /// Between what and what share of requests fails on top, uniformly drawn for each spell.
    pub errors: (f64, f64),
}

/// No spells.
const NEVER: Spells = Spells { start: 0.0, minutes: 1.0, errors: (0.0, 0.0) };

/// Minutes in which one side pauses: a garbage collector, a flush, a noisy neighbour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pauses {
    /// The chance that a minute of a side is one.
    pub minutes: f64,
    /// The share of its answers that wait for a pause, on average over such minutes.
    pub share: f64,
    /// The median of those answers, in milliseconds.
    pub millis: f64,
}

/// One simulated service.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// The row of the table, as it is written there.
    pub row: &'static str,
    /// Share of requests that are server errors.
    pub errors: f64,
    /// Coefficient of variation of that share from minute to minute, drawn for each side (beta); 0 is none.
    pub errors_variation: f64,
    /// The log of a factor on the errors of both sides.
    pub errors_shared: Ar,
    /// The log of a factor on the errors of each side.
    pub errors_own: Ar,
    /// How many errors come at once.
    pub errors_cluster: u64,
    /// Standard deviation of the log of a factor on the 4XX of both sides, drawn each minute.
    pub bad_shared: f64,
    /// The same of each side.
    pub bad_own: f64,
    /// The log of a factor on the latency of both sides.
    pub jitter_shared: Ar,
    /// The log of a factor on the latency of each side.
    pub jitter_own: Ar,
    /// When and how one side pauses by itself.
    pub pauses: Pauses,
    /// Outages that both sides share.
    pub outages: Spells,
    /// Bursts of errors of one side.
    pub bursts: Spells,
    /// How many times as many errors the target has, within tolerance.
    pub target_errors: f64,
    /// How many times as slow the target is, within tolerance.
    pub target_latency: f64,
}

/// The median of an answer that waits for a pause, in milliseconds.
pub const PAUSE_MILLIS: f64 = 500.0;

/// Share of requests answered with 4XX.
pub const BAD: f64 = 0.02;

/// *iid binomial*: every request for itself; no jitter, no GC minutes, no noise on 4XX.
const IID: World = World {
    row: "iid binomial",
    errors: 0.001,
    errors_variation: 0.0,
    errors_shared: NONE,
    errors_own: NONE,
    errors_cluster: 1,
    bad_shared: 0.0,
    bad_own: 0.0,
    jitter_shared: NONE,
    jitter_own: NONE,
    pauses: Pauses { minutes: 0.0, share: 0.0, millis: PAUSE_MILLIS },
    outages: NEVER,
    bursts: NEVER,
    target_errors: 1.0,
    target_latency: 1.0,
};

/// *latency jitter + GC*: what every world but the first starts from.
const JITTER: World = World {
    row: "latency jitter + GC",
    bad_shared: 0.2,
    bad_own: 0.1,
    jitter_shared: Ar { sd: 0.05, rho: 0.9 },
    jitter_own: Ar { sd: 0.01, rho: 0.9 },
    pauses: Pauses { minutes: 0.02, share: 0.02, millis: PAUSE_MILLIS },
    ..IID
};

/// *beta-binomial CV .5*: each side's share of errors is drawn anew each minute, with half its mean as deviation.
const BETA_HALF: World = World { row: "beta-binomial CV .5", errors_variation: 0.5, ..JITTER };

/// *base err 1%, jitter*: ten times the errors.
const ERRORS_ONE: World = World { row: "base err 1%, jitter", errors: 0.01, ..JITTER };

/// *heavy GC 8%x5%*: four times as many GC minutes, each two and a half times as bad.
const HEAVY: World =
    World { row: "heavy GC 8%x5%", pauses: Pauses { minutes: 0.08, share: 0.05, millis: PAUSE_MILLIS }, ..JITTER };

/// *heavy GC, long pauses*: the same with answers that wait so long that all of them are slower than any of the others.
/// Beyond the tables: which side such a minute belongs to is a coin's toss, and three on the target in a row once reverted
/// 7 % of healthy cutovers at 50 requests a second. A service that pauses as a habit is known by its baseline, and one
/// burst then adds less (`Phi::comes_in_bursts`).
const LONG: World =
    World { row: "heavy GC, long pauses", pauses: Pauses { minutes: 0.08, share: 0.05, millis: 800.0 }, ..JITTER };

/// The services of the tables of false reverts, in their order.
pub const WORLDS: [World; 14] = [
    IID,
    JITTER,
    BETA_HALF,
    // The same with its whole mean as deviation.
    World { row: "beta-binomial CV 1", errors_variation: 1.0, ..JITTER },
    // What both sides share wanders by a factor of exp(0.6), and stays for some ten minutes.
    World { row: "AR(1) shared .6", errors_shared: Ar { sd: 0.6, rho: 0.9 }, ..JITTER },
    // The same, and each side wanders by itself by a factor of exp(0.3) for some minutes.
    World {
        row: "AR(1) shared .5 + own .3",
        errors_shared: Ar { sd: 0.5, rho: 0.9 },
        errors_own: Ar { sd: 0.3, rho: 0.8 },
        ..JITTER
    },
    // Both sides fail 5 to 30 % more of their requests, for six minutes on average, once in a hundred minutes.
    World { row: "shared outages", outages: Spells { start: 0.01, minutes: 6.0, errors: (0.05, 0.30) }, ..JITTER },
    // One side fails 1 to 3 % more of its requests for a minute, once in 80 minutes.
    World { row: "own error bursts", bursts: Spells { start: 0.0125, minutes: 1.0, errors: (0.01, 0.03) }, ..JITTER },
    // A client that fails tries five times.
    World { row: "clustered errors x5", errors_cluster: 5, ..JITTER },
    // 8 % of the minutes of each side are GC minutes, with 5 % of the answers slow.
    HEAVY,
    ERRORS_ONE,
    // A target that is as good as the source for whoever runs it.
    World { row: "benign: lat +3%, err x1.05", target_errors: 1.05, target_latency: 1.03, ..JITTER },
    // Exactly at the edge of what the guard of errors tolerates: 1.1 x 0.1 % + 0.01 % = 1.2 x 0.1 %.
    World { row: "at tolerance: err x1.2", target_errors: 1.2, ..JITTER },
    // For ten minutes at a time one side really has half as many errors again: past what any tolerance says.
    World { row: "EXTREME own AR sd.4 rho.9", errors_own: Ar { sd: 0.4, rho: 0.9 }, ..JITTER },
];

/// The row that is shown but is no healthy cutover: its target is really worse for minutes at a time.
pub const EXTREME: &str = "EXTREME own AR sd.4 rho.9";

/// A row of either table: a world, and what is wrong with its target.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// As it is written in the table.
    pub row: &'static str,
    /// The service.
    pub world: &'static World,
    /// What is wrong with the target, in a table of detection.
    pub fault: Option<Fault>,
}

const fn regression(row: &'static str, world: &'static World, kind: Kind, size: Size, from_minute: u32) -> Row {
    Row { row, world, fault: Some(Fault { kind, size, from_minute }) }
}

static JITTER_WORLD: World = JITTER;
static BETA_WORLD: World = BETA_HALF;
static ONE_WORLD: World = ERRORS_ONE;
static LONG_WORLD: World = LONG;
static HEALTHY: [World; 14] = WORLDS;

/// The regressions of the tables of detection, in their order. The world is *latency jitter + GC* if nothing is said.
pub fn regressions() -> Vec<Row> {
    use Kind::{Errors, LatencyMean, LatencyTail, Outage};
    use Size::{Share, Times};
    vec![
        regression("5xx .1->.2%", &JITTER_WORLD, Errors, Share(0.002), 0),
        regression("5xx .1->1%", &JITTER_WORLD, Errors, Share(0.01), 0),
        regression("5xx 1->2%", &ONE_WORLD, Errors, Share(0.02), 0),
        regression("5xx .1->1% (CV .5)", &BETA_WORLD, Errors, Share(0.01), 0),
        regression("p99 x1.2", &JITTER_WORLD, LatencyTail, Times(1.2), 0),
        regression("p99 x1.5", &JITTER_WORLD, LatencyTail, Times(1.5), 0),
        regression("p99 x2", &JITTER_WORLD, LatencyTail, Times(2.0), 0),
        regression("mean +10%", &JITTER_WORLD, LatencyMean, Times(1.1), 0),
        regression("total outage", &JITTER_WORLD, Outage, Share(1.0), 0),
        regression("5xx .1->1% from min 33", &JITTER_WORLD, Errors, Share(0.01), 33),
        regression("total outage from min 33", &JITTER_WORLD, Outage, Share(1.0), 33),
    ]
}

/// Services that are in no table and asked for by name.
pub fn beyond() -> Vec<Row> {
    vec![Row { row: LONG_WORLD.row, world: &LONG_WORLD, fault: None }]
}

/// The healthy services, in the table's order.
pub fn healthy() -> Vec<Row> {
    HEALTHY.iter().map(|world| Row { row: world.row, world, fault: None }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_of_the_tolerance_is_the_edge_of_the_guard() {
        let world = WORLDS.iter().find(|world| world.row.starts_with("at tolerance")).unwrap();
        let guard = judge::Guard::usual(judge::GuardKind::Errors);
        assert!((world.target_errors * world.errors - (guard.ratio * world.errors + guard.margin)).abs() < 1e-12);
        assert_eq!(WORLDS.last().unwrap().row, EXTREME);
    }
}
