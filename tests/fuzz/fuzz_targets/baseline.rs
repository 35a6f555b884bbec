//! Baselines, as documents and as somebody's counts: no text makes a reader panic, a refusal says where and what to do, and
//! what is accepted is written as what reads the same, with shares that are shares.
#![no_main]

use cutover::baseline::file::{Totals, record};
use cutover::baseline::{Class, Document, Origin, Refusal, read, write};
use judge::record::{HOURS, HourOfWeek, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match read(text, "fuzz.json") {
        Ok(given) => round(&given.document),
        Err(refusal) => said(&refusal),
    }
    // As a document whose checksum is right: nothing that lies behind it would be reached otherwise.
    if let Ok(record) = serde_json::from_str::<Record>(text) {
        shares(&record);
        round(&document(record));
    }
    for totals in [Totals::Each, Totals::Running] {
        match record(text, "fuzz.csv", "search", totals) {
            Ok(record) => {
                assert!(record.from < record.to, "a record of no time");
                let shares = shares(&record);
                assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
                round(&document(record));
            }
            Err(refusals) => {
                assert!(!refusals.is_empty(), "refused without a reason");
                refusals.iter().for_each(said);
            }
        }
    }
});

fn said(refusal: &Refusal) {
    assert!(refusal.place.starts_with("fuzz."), "{refusal}");
    assert!(!refusal.what.is_empty() && !refusal.hint.is_empty(), "{refusal}");
}

fn document(record: Record) -> Document {
    Document {
        service: "search".to_owned(),
        source: "a fuzzer".to_owned(),
        origin: Origin::File,
        tool: "0.0.0".to_owned(),
        written: cutover::Timestamp(0),
        class: Class::All,
        record,
        reads: None,
    }
}

/// Compared as text: a number may be no number that equals itself.
fn round(document: &Document) {
    let once = write(document);
    let again = read(&once, "fuzz.json").expect("what was written can be read");
    assert_eq!(once, write(&again.document));
}

/// The shares that are normal, of the whole record and in each hour.
fn shares(record: &Record) -> Vec<f64> {
    let whole = record.baseline(1);
    let normal = whole.normal();
    let mut shares = vec![normal.errors, normal.client_errors, normal.redirects];
    let week = record.week();
    for own in (0..HOURS).filter_map(|hour| week.normal(HourOfWeek::try_from(hour).ok()?, &whole)) {
        shares.extend([own.errors, own.errors_high, own.bad]);
        shares.extend(own.latency_slow);
        shares.extend(own.exchange_slow);
    }
    shares
}
