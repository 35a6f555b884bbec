//! Our judge on simulated services, small enough for every run of the tests; `tests/bench/judge` prints the whole tables.
//!
//! Seeds are fixed, so that a failure is a change of the judge or of the worlds and never bad luck.

use tidegate_tests::judged::run::Plan;
use tidegate_tests::judged::world::{EXTREME, healthy};
use tidegate_tests::judged::{JudgeKind, Tally, cell, limit, names};

/// The chance of a false revert that the judge is given.
const ALPHA: f64 = 0.05;
/// How sure the tests want to be.
const CONFIDENCE: f64 = 0.95;

/// What `cutovers` cutovers of a row come to for our judge, in blocks of a minute.
fn tally(row: &str, rate: f64, cutovers: u64) -> Tally {
    tallies(row, rate, cutovers, &[JudgeKind::Ours]).remove(0)
}

/// The same for several judges, which watch the same cutovers.
fn tallies(row: &str, rate: f64, cutovers: u64, judges: &[JudgeKind]) -> Vec<Tally> {
    tallies_in_blocks(row, rate, 60_000, cutovers, judges)
}

/// The same in blocks of so many milliseconds.
fn tallies_in_blocks(row: &str, rate: f64, millis: u64, cutovers: u64, judges: &[JudgeKind]) -> Vec<Tally> {
    let rows = names::rows(row).expect("the test names a row of the tables");
    let plan = Plan { row: &rows[0], rate, millis, alpha: ALPHA, seed: 20_260 };
    cell::cells(&plan, judges, cutovers).into_iter().map(|cell| cell.tally).collect()
}

/// Proves that in every healthy world the chance of a false revert is at most what was allowed: the upper end of its exact
/// interval is. The world that is past every tolerance is only asked for less than twice as much.
#[test]
fn no_healthy_world_is_reverted_more_often_than_allowed() {
    let mut told = Vec::new();
    for (at, row) in healthy().into_iter().enumerate() {
        // Each world at another of the rates: all of them at each would take minutes.
        let rate = [5.0, 50.0, 500.0][at % 3];
        let tally = tally(row.row, rate, 150);
        // One-sided: the upper end of the two-sided interval at twice the risk.
        let (_, most) = limit::clopper_pearson(tally.reverted, tally.cutovers, 2.0 * CONFIDENCE - 1.0);
        told.push(format!("{}: {} of {}, at most {most:.3}", row.row, tally.reverted, tally.cutovers));
        let allowed = if row.row == EXTREME { 2.0 * ALPHA } else { ALPHA };
        assert!(most <= allowed, "{}", told.join("\n"));
    }
    assert_eq!(told.len(), 14);
}

/// Proves the same of the cell that is worst of all by the tables: pauses of one side's garbage collector, at a rate at which
/// a minute has enough requests to show them and too few to know them.
#[test]
fn the_worst_cell_of_the_tables_is_within_what_is_allowed() {
    let tally = tally("heavy-gc-8-x5", 50.0, 400);
    let (_, most) = limit::clopper_pearson(tally.reverted, tally.cutovers, 2.0 * CONFIDENCE - 1.0);
    assert!(most <= ALPHA, "{} of {}, at most {most:.3}", tally.reverted, tally.cutovers);
}

/// Proves the same where pauses are so long that every answer that waits for one is slower than all others: three such minutes
/// in a row on the target are no rarity and no regression.
#[test]
fn a_service_that_pauses_as_a_habit_is_not_reverted_for_it() {
    let tally = tally("heavy-gc-long-pauses", 50.0, 200);
    let (_, most) = limit::clopper_pearson(tally.reverted, tally.cutovers, 2.0 * CONFIDENCE - 1.0);
    assert!(most <= ALPHA, "{} of {}, at most {most:.3}", tally.reverted, tally.cutovers);
}

/// Proves that one bad minute counts once, however short the blocks are: the worlds whose sides have bad minutes of their own
/// are reverted no more often in blocks of ten seconds than is allowed.
#[test]
fn a_bad_minute_counts_once_however_it_is_cut() {
    for row in ["heavy-gc-8-x5", "own-error-bursts"] {
        let tally = tallies_in_blocks(row, 500.0, 10_000, 200, &[JudgeKind::Ours]).remove(0);
        let (_, most) = limit::clopper_pearson(tally.reverted, tally.cutovers, 2.0 * CONFIDENCE - 1.0);
        assert!(most <= ALPHA, "{row}: {} of {}, at most {most:.3}", tally.reverted, tally.cutovers);
    }
}

/// Proves that what every operator would call a regression is found, and about when.
#[test]
fn plain_regressions_are_found_in_time() {
    // Row, requests a second, minutes within which half of the cutovers are reverted: from the prototype's table.
    for (row, rate, minutes) in [
        ("total-outage", 5.0, 3.0),
        ("total-outage-from-min-33", 50.0, 2.0),
        ("5xx-.1-1", 50.0, 8.0),
        ("5xx-.1-1", 500.0, 3.0),
        ("5xx-1-2", 500.0, 5.0),
        ("p99-x2", 50.0, 5.0),
        ("mean-10", 500.0, 15.0),
    ] {
        let tally = tally(row, rate, 20);
        assert_eq!((tally.reverted, tally.early), (20, 0), "{row} at {rate} requests a second: {tally:?}");
        let median = tally.median_seconds.unwrap_or(f64::MAX) / 60.0;
        assert!(median <= minutes, "{row} at {rate} requests a second: {median} min");
    }
}

/// Proves that the guard on steady slowness is worth its part of the risk: it finds a small shift of all answers minutes sooner,
/// and does not revert a target that is just within tolerance and wanders.
#[test]
fn steady_slowness_is_found_sooner_by_the_guard_on_it() {
    let both = tallies("mean-10", 50.0, 60, &[JudgeKind::Ours, JudgeKind::OursSteady]);
    let [ours, steady] = [0, 1].map(|at: usize| both[at].median_seconds.unwrap_or(f64::MAX) / 60.0);
    assert!(steady <= ours - 2.0, "{steady} min with it, {ours} without");
    let benign = tallies("benign", 500.0, 200, &[JudgeKind::OursSteady]).remove(0);
    let (_, most) = limit::clopper_pearson(benign.reverted, benign.cutovers, 2.0 * CONFIDENCE - 1.0);
    assert!(most <= ALPHA, "{} of {}, at most {most:.3}", benign.reverted, benign.cutovers);
}

/// Proves that the comparison can tell judges apart: the peers' rules do what their tables say of them.
#[test]
fn the_peers_rules_are_no_strawmen_and_no_miracles() {
    let share = |row: &str, judge, cutovers| {
        let rows = names::rows(row).expect("the test names a row of the tables");
        let plan = Plan { row: &rows[0], rate: 500.0, millis: 60_000, alpha: ALPHA, seed: 7 };
        cell::cells(&plan, &[judge], cutovers).remove(0).tally.share()
    };
    // Kayenta finds small shifts at once, and reverts what is only 3 % slower; thresholds revert a service that always
    // failed 1 %, and outages that both sides share; Argo reverts hardly anything, and misses what is under 5 %.
    assert!(share("mean-10", JudgeKind::Kayenta, 40) > 0.9);
    assert!(share("iid-binomial", JudgeKind::Kayenta, 200) < 0.1);
    assert!(share("benign", JudgeKind::Kayenta, 40) > 0.5);
    assert!(share("benign", JudgeKind::KayentaAllowed, 40) < 0.4);
    assert!(share("iid-binomial", JudgeKind::Flagger, 40) < 0.1);
    assert!(share("base-err-1-jitter", JudgeKind::Flagger, 40) > 0.9);
    assert!(share("shared-outages", JudgeKind::Flagger, 200) > 0.2);
    assert!(share("shared-outages", JudgeKind::Argo, 200) < 0.15);
    assert!(share("5xx-1-2", JudgeKind::Argo, 40) < 0.1);
}
