//! Which minutes count, and when.

use super::*;

const START: Timestamp = Timestamp(1_800_000_000_000);

fn after(seconds: i64) -> Timestamp {
    Timestamp(START.0 + seconds * 1000)
}

#[test]
fn each_minute_belongs_to_exactly_one_interval() {
    // Proves that intervals which touch, wherever they begin, share no minute, lose none, and hold nothing that began before
    // them.
    for begins in [0, 1, 17, 59] {
        for length in [60, 120, 300] {
            let mut seen = Vec::new();
            for nth in 0..10 {
                let window = Window { from: after(begins + nth * length), to: after(begins + (nth + 1) * length) };
                let minutes = beginning_in(window);
                assert_eq!(i64::try_from(minutes.len()), Ok(length / 60));
                assert!(minutes.iter().all(|at| (window.from..window.to).contains(at)));
                seen.extend(minutes);
            }
            assert!(seen.windows(2).all(|pair| pair[1] == pair[0].plus(MINUTE)), "{begins} {length}");
        }
    }
    assert_eq!(beginning_in(Window { from: after(1), to: after(59) }), []);
    assert_eq!(floor(Timestamp(-1)), Timestamp(-60_000));
}

fn read(requests: f64) -> Minute {
    Minute::from([((None, minute::What::Requests), requests)])
}

/// Whether a minute that ended at [`START`] counts after these readings: seconds after its end, and requests.
fn counts_after(readings: &[(i64, f64)]) -> bool {
    let (first, rest) = readings.split_first().unwrap();
    let at = after(first.0);
    let mut kept = Kept { read: read(first.1), since: at, last: at, settled: false };
    for (seconds, requests) in rest {
        kept.take(read(*requests), after(*seconds), START, Duration::from_mins(2));
    }
    kept.settled
}

#[test]
fn a_minute_counts_once_it_is_old_and_read_twice_alike() {
    // Proves the rule: old enough, two equal readings, a pause between them; and that growth begins it anew.
    assert!(counts_after(&[(60, 10.0), (120, 10.0)]), "the first reading may be early");
    assert!(!counts_after(&[(120, 10.0)]), "one reading is not two");
    assert!(!counts_after(&[(60, 10.0), (119, 10.0)]), "not old enough");
    assert!(!counts_after(&[(121, 10.0), (125, 10.0)]), "too near each other");
    assert!(!counts_after(&[(60, 5.0), (120, 10.0)]), "it grew");
    assert!(counts_after(&[(60, 5.0), (120, 10.0), (131, 10.0)]));
    assert!(!counts_after(&[(120, 10.0), (130, 10.0), (140, 11.0)]), "what changes after all counts no more");
}

#[test]
fn nothing_that_was_not_published_counts() {
    // Proves that two equal readings of nothing are still nothing.
    let mut kept = Kept { read: Minute::new(), since: after(120), last: after(120), settled: false };
    kept.take(Minute::new(), after(200), START, Duration::from_mins(2));
    assert!(!kept.settled);
}
