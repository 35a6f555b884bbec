//! Weeks with a shape, outages and gaps.

use super::*;

/// Monday, 2026-01-05T00:00:00Z.
const MONDAY: i64 = 1_767_571_200_000;

fn row(at: i64, requests: u64, errors: u64) -> Row {
    let mut counts = Counts { requests, status_2xx: requests - errors, status_5xx: errors, ..Counts::default() };
    counts.latency.add(200, requests / 2);
    counts.latency.add(240, requests - requests / 2);
    Row { from: MONDAY + at * 60_000, millis: 60_000, counts }
}

fn week(of: impl Fn(i64) -> (u64, u64)) -> Record {
    let rows: Vec<Row> = (0..7 * 1_440).map(|at| row(at, of(at).0, of(at).1)).collect();
    Record::of(&rows).expect("the rows are sound")
}

fn hour(hour: u8) -> HourOfWeek {
    HourOfWeek::try_from(hour).expect("it is one")
}

#[test]
fn each_hour_of_a_week_has_a_normal_of_its_own() {
    // Ten times the errors between 3 and 4 on Tuesday: that hour's normal says so, its neighbours' do not.
    let record = week(|at| (1_000, if at / 60 == 27 { 10 } else { 1 }));
    assert_eq!((record.depth(), record.hours.len()), (Depth::Week, 168));
    let (week, whole) = (record.week(), record.baseline(30));
    let at = |index| week.normal(hour(index), &whole).unwrap();
    assert!((at(27).errors - 0.0097).abs() < 3e-4, "{}", at(27).errors);
    assert!((at(26).errors - 0.001).abs() < 1e-4 && (at(28).errors - 0.001).abs() < 1e-4);
    assert!(at(27).errors_high > at(27).errors && at(26).errors_high < 0.0014);
    assert!((at(5).requests_a_minute - 1_000.0).abs() < 1e-9);
    assert_eq!(at(5).latency_micros, Some([200, 240, 240].map(Histogram::upper_micros)));
    assert_eq!(at(27).hour.to_string(), "Tue 03");
}

#[test]
fn less_than_a_week_is_thin_and_has_one_normal() {
    let rows: Vec<Row> = (0..7 * 1_440 - 1).map(|at| row(at, 100, 0)).collect();
    let record = Record::of(&rows).unwrap();
    assert_eq!(record.depth(), Depth::Thin);
    assert!(!record.baseline(30).is_thin() && record.baseline(20_000).is_thin());
}

#[test]
fn outages_are_left_out_and_listed() {
    // Ninety minutes down and half an hour of silence in a week: neither is normal, both are told.
    let record = week(|at| match at {
        2_000..2_090 => (1_000, 900),
        4_000..4_030 => (3, 0),
        _ => (1_000, 1),
    });
    assert_eq!((record.outage_millis, record.troubled_millis), (120 * 60_000, 0));
    let told: Vec<_> =
        record.outages.iter().map(|o| (o.kind, (o.to - o.from) / 60_000, o.requests, o.errors)).collect();
    assert_eq!(told, [(OutageKind::Failing, 90, 90_000, 81_000), (OutageKind::Silent, 30, 90, 0)]);
    assert!((record.baseline.normal().errors - 0.001).abs() < 1e-9);
    let slow: u64 = record.hours.iter().map(|hour| hour.outage_millis).sum();
    assert_eq!(slow, record.outage_millis);
    // The counts and the latency of the hours are without them, too.
    let errors: u64 = record.hours.iter().map(|hour| hour.counts.errors()).sum();
    assert_eq!(errors, 7 * 1_440 - 120);
}

#[test]
fn what_happens_all_the_time_is_no_outage() {
    // A source that fails half of its requests every fifth minute is such a source.
    let record = week(|at| (1_000, if at % 5 == 0 { 500 } else { 1 }));
    assert_eq!((record.outages.len(), record.outage_millis), (0, 0));
    assert_eq!(record.troubled_millis, 7 * 1_440 / 5 * 60_000);
    assert!(record.baseline.normal().errors > 0.1);
}

#[test]
fn a_quiet_night_is_no_outage() {
    // Few requests where there are always few: nothing is missing. One failed request of two neither.
    let record = week(|at| if at % 1_440 < 480 { (2, u64::from(at % 100 == 0)) } else { (1_000, 1) });
    assert_eq!(record.outage_millis, 0, "{:?}", record.outages);
}

#[test]
fn rows_with_gaps_or_contradictions_are_refused() {
    let said = |rows: &[Row]| Record::of(rows).map(|_| ()).map_err(|refusal| (refusal.row, refusal.what));
    let (a, b, c) = (row(0, 10, 0), row(1, 10, 0), row(3, 10, 0));
    assert_eq!(said(&[a.clone(), b.clone()]), Ok(()));
    assert_eq!(said(&[a.clone(), b.clone(), c]), Err((2, "60 s are missing before it".to_owned())));
    let twice = said(&[a.clone(), a.clone()]);
    assert_eq!(twice, Err((1, "it begins 60 s before the row above it ended".to_owned())));
    let mut wrong = b.clone();
    wrong.counts.status_5xx = 100;
    assert_eq!(said(&[a.clone(), wrong]), Err((1, "110 requests ended where only 10 were counted".to_owned())));
    let mut long = a.clone();
    long.millis = ROW_MILLIS_MAX + 1;
    assert!(said(&[long]).is_err());
    assert_eq!(said(&[]), Err((0, "there is nothing in it".to_owned())));
    assert_eq!(said(&[row(0, 0, 0)]), Err((0, "the source had no requests in it".to_owned())));
}

#[test]
fn seconds_are_added_up_to_minutes() {
    let seconds: Vec<Row> = (0..7_200)
        .map(|at| Row { from: MONDAY + at * 1_000, millis: 1_000, counts: Counts { requests: 3, ..Counts::default() } })
        .collect();
    let record = Record::of(&seconds).unwrap();
    assert_eq!((record.baseline.intervals(), record.row_millis), (120, 60_000));
    assert!((record.arrivals_phi - 1.0).abs() < 1e-12);
}

#[test]
fn scattered_arrivals_show() {
    // Between 900 and 1100 each minute: a variance of 40,000 / 2 around a mean of 1,000.
    let record = week(|at| (1_000 + 100 * (2 * u64::from(at % 2 == 0)) - 100, 0));
    assert!((record.arrivals_phi - 20.0 / WINSOR_MEAN).abs() < 1e-9, "{}", record.arrivals_phi);
}

#[test]
fn a_record_comes_back_from_its_text() {
    let record = week(|at| (100 + at.unsigned_abs() % 7, at.unsigned_abs() % 3));
    let text = serde_json::to_string(&(&record, record.week())).unwrap();
    assert_eq!(serde_json::from_str::<(Record, Week)>(&text).unwrap(), (record.clone(), record.week()));
}

#[test]
fn counts_of_any_size_make_a_record() {
    // Found by the fuzzer: two counts whose sum is more than a number can hold.
    let rows = [row(0, u64::MAX, 1), row(1, u64::MAX, 0), row(2, 100, 0)];
    let record = Record::of(&rows).expect("the rows are sound");
    assert!(record.arrivals_phi.is_finite() && record.arrivals_phi >= 1.0, "{}", record.arrivals_phi);
}
