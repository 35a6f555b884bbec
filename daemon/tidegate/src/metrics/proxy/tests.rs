//! Windows by difference, over readings as they come in.

use proxy::api::Counters;

use super::*;
use crate::testing::START;

fn at(millis: i64) -> Timestamp {
    Timestamp(START.0 + millis)
}

fn window(from: i64, to: i64) -> Window {
    Window { from: at(from), to: at(to) }
}

fn taken(millis: i64, instance: &str, requests: u64) -> Taken {
    let mut counters = Counters { instance: instance.to_owned(), uptime_millis: Some(0), ..Counters::default() };
    counters.source.reads.requests = requests;
    counters.source.reads.status_2xx = requests;
    Taken { at: at(millis), counters: Arc::new(counters) }
}

fn keeping(book: Book) -> ProxyCounters {
    let (_, rounds) = watch::channel(0);
    let glance_age_max = READ_EVERY * GLANCE_PAUSES_MAX;
    ProxyCounters { book: Arc::new(Mutex::new(book)), rounds, glance_age_max, _task: JoinSet::new() }
}

/// A source with the readings of one proxy and nobody who reads on.
fn source(readings: impl IntoIterator<Item = Taken>) -> ProxyCounters {
    let mut kept = Kept::new("proxy");
    readings.into_iter().for_each(|taken| kept.take(taken));
    let whole = kept.readings.back().map(|taken| taken.at);
    keeping(Book { kept: vec![kept], whole, ..Book::default() })
}

fn take(source: &ProxyCounters, taken: Taken) {
    let mut book = source.book();
    book.whole = Some(taken.at);
    book.kept[0].take(taken);
}

fn requests(source: &ProxyCounters, window: Window) -> u64 {
    source.answer(window).unwrap().expect("the readings are there").reads.source.requests
}

/// Proves that windows that touch share no request and lose none, wherever the readings lie.
#[test]
fn windows_that_touch_add_up() {
    let source = source((0..41).map(|n| taken(n * 250 + 90, "a", u64::try_from(n * n).unwrap())));
    let parts: u64 = (0..9).map(|n| requests(&source, window(n * 1000, n * 1000 + 1000))).sum();
    assert_eq!(parts, requests(&source, window(0, 9000)));
}

/// Proves that a window begins where the one before it ended, even after the readings in between were thinned.
#[test]
fn a_window_begins_where_the_last_one_ended() {
    let source = source((0..401).map(|n| taken(n * 250, "a", u64::try_from(n).unwrap())));
    let first = requests(&source, window(60_000, 60_400));
    for n in 401..1000 {
        take(&source, taken(n * 250, "a", u64::try_from(n).unwrap()));
    }
    let second = requests(&source, window(60_400, 240_000));
    assert_eq!(first + second, requests(&source, window(60_000, 240_000)));
}

/// Proves that a proxy that came up again counts from zero: nothing is counted twice and nothing is negative.
#[test]
fn a_restarted_proxy_counts_from_zero() {
    let source = source([taken(0, "a", 100), taken(1000, "a", 150), taken(2000, "b", 7), taken(3000, "b", 20)]);
    assert_eq!(requests(&source, window(0, 3000)), 50 + 20);
    assert_eq!(requests(&source, window(2000, 3000)), 13);
}

/// Proves that missing readings are an error and never a zero.
#[test]
fn missing_readings_are_unknown() {
    let source = source([taken(0, "a", 1), taken(250, "a", 2), taken(9000, "a", 9)]);
    let error = source.answer(window(1000, 9000)).unwrap_err();
    assert_eq!(error.retry, cutover::event::Retry::Never);
    assert!(error.to_string().contains("were not read"), "{error}");
    // The end of this one was not reached yet: that is waited for.
    assert_eq!(source.answer(window(0, 10_000)).unwrap(), None);
}

/// Proves that a counter which runs backwards within one start of a proxy is an error.
#[test]
fn backwards_is_unknown() {
    let source = source([taken(0, "a", 10), taken(1000, "a", 5)]);
    assert!(source.answer(window(0, 1000)).unwrap_err().to_string().contains("backwards"));
}

/// Proves that a wall clock that was set back makes what came before unknown.
#[test]
fn a_clock_set_back_forgets() {
    let source = source([taken(5000, "a", 10), taken(6000, "a", 20), taken(0, "a", 30), taken(1000, "a", 40)]);
    assert_eq!(requests(&source, window(0, 1000)), 10);
    assert_eq!(source.book().kept[0].readings.len(), 2);
}

/// Proves that a glance is refused when the readings are old or too short, and counts about the asked length.
#[test]
fn a_glance_is_recent_or_refused() {
    let source = source((0..17).map(|n| taken(n * 250, "a", u64::try_from(n).unwrap())));
    let glance = source.look(at(4100), Duration::from_secs(2)).unwrap();
    assert_eq!((glance.window, glance.reads.source.requests), (window(2000, 4000), 8));
    assert!(source.look(at(9000), Duration::from_secs(2)).is_err());
    assert!(source.look(at(4100), Duration::from_secs(20)).is_err());
}

/// Proves that what is kept stays bounded however long it runs.
#[test]
fn readings_are_thinned() {
    let source = source((0..20_000).map(|n| taken(n * 250, "a", 0)));
    let kept = source.book().kept[0].readings.len();
    assert!(kept < 600, "{kept} readings");
}

/// Proves that a history is a chain of stretches without gaps that ends at the newest reading, loses no request, and
/// begins after a time that nobody read.
#[test]
fn a_history_has_no_gaps() {
    let number = |n: i64| u64::try_from(n).unwrap();
    let whole = source((0..1_321).map(|n| taken(n * 250, "a", number(n))));
    let minute = Duration::from_mins(1);
    let found = whole.past(window(0, 600_000), minute).unwrap();
    assert_eq!(found.len(), 5);
    assert!(found.windows(2).all(|pair| pair[0].window.to == pair[1].window.from));
    let requests: u64 = found.iter().map(|row| row.reads.source.requests).sum();
    let (first, last) = (found.first().unwrap().window.from, found.last().unwrap().window.to);
    assert_eq!((last, requests), (at(330_000), number((last.0 - first.0) / 250)));
    assert_eq!(whole.past(window(200_000, 600_000), minute).unwrap().len(), 2);
    let gap = source((0..1_321).filter(|n| !(320..460).contains(n)).map(|n| taken(n * 250, "a", number(n))));
    assert_eq!(gap.past(window(0, 600_000), minute).unwrap().len(), 3);
    assert_eq!(source([]).past(window(0, 600_000), minute).unwrap(), []);
}

/// Proves that of a fleet the proxies that are read stand for the rest, on whichever of its own sides each counted, and that
/// nothing is known where all are silent.
#[test]
fn what_is_known_of_a_fleet_is_used() {
    let source = source((0..9).map(|n| taken(n * 250, "a", u64::try_from(n).unwrap())));
    let mut silent = Kept::new("unix:/run/gone.sock");
    silent.error = Some("cannot reach the proxy".to_owned());
    source.book().kept.push(silent);
    let (now, length) = (Timestamp(2_100), Duration::from_secs(1));
    assert!(source.look(now, length).is_err(), "where all must answer, one that does not is an error");
    let (counts, window) = source.known(now, length).expect("one of them is read");
    assert_eq!((counts.requests, window.length()), (4, length));
    source.book().kept.remove(0);
    let why = source.known(now, length).expect_err("nobody is read").source.to_string();
    assert!(why.contains("cannot reach the proxy"), "{why}");
}

/// A round every quarter of a second: who is there at that time, with which start and how many requests.
fn rounds(book: &mut Book, times: std::ops::Range<i64>, there: impl Fn(i64) -> Vec<(&'static str, &'static str, i64)>) {
    for round in times {
        let millis = round * 250;
        let answers = there(millis).into_iter().map(|(name, instance, requests)| {
            let counted = taken(millis, instance, u64::try_from(requests).unwrap());
            (name.to_owned(), Told::Counters(counted.counters))
        });
        book.round(at(millis), answers.collect(), None);
    }
}

/// Proves that windows add up to what was counted while proxies come and go: one that came counts from its start on, one that
/// went up to its last reading, and another one at the address of one that is gone is another.
#[test]
fn proxies_that_come_and_go_are_counted_once() {
    let mut book = Book::default();
    rounds(&mut book, 0..240, |millis| {
        let mut all = vec![("stays", "a", millis)];
        if millis < 20_000 {
            all.push(("moves", "b", 5_000 + millis));
        } else if millis >= 30_000 {
            all.push(("moves", "c", 40 + (millis - 30_000)));
        }
        all
    });
    let source = keeping(book);
    let parts: u64 = (0..11).map(|n| requests(&source, window(n * 5_000, n * 5_000 + 5_000))).sum();
    let counted = 55_000 + 19_750 + (40 + 25_000);
    assert_eq!(parts, counted, "a request of which proxy is lost or counted twice");
    assert_eq!(requests(&source, window(22_000, 28_000)), 6_000);
    assert_eq!(source.answer(window(20_000, 25_000)).unwrap().unwrap().reads.millis, 5_000);
    let history = source.past(window(0, 60_000), Duration::from_secs(10)).unwrap();
    assert!(history.windows(2).all(|pair| pair[0].window.to == pair[1].window.from), "{history:?}");
    assert!(source.look(at(59_800), Duration::from_secs(2)).is_ok());
}

/// Proves that a glance reaches over the start of a proxy that has just come.
#[test]
fn a_newcomer_does_not_blind_a_glance() {
    let mut book = Book::default();
    let there = |millis: i64| {
        let newcomer = (millis >= 9_500).then_some(("new", "b", 7));
        [("old", "a", millis)].into_iter().chain(newcomer).collect()
    };
    rounds(&mut book, 0..41, there);
    let glance = keeping(book).look(at(10_100), Duration::from_secs(2)).unwrap();
    assert_eq!(glance.reads.source.requests, 2_000 + 7);
}

/// Proves that the time in which a proxy that ended was there and not read is missing, and that nothing is answered while nobody
/// knows who is there.
#[test]
fn what_a_vanished_proxy_did_unread_is_missing() {
    let mut book = Book::default();
    rounds(&mut book, 0..40, |millis| vec![("stays", "a", millis), ("dies", "b", millis)]);
    for round in 40..80 {
        let stays = taken(round * 250, "a", 0).counters;
        let answers = vec![
            ("stays".to_owned(), Told::Counters(stays)),
            ("dies".to_owned(), Told::Failed("no answer".to_owned())),
        ];
        book.round(at(round * 250), answers, None);
    }
    rounds(&mut book, 80..120, |millis| vec![("stays", "a", millis)]);
    let before = book.whole;
    book.round(
        at(30_000),
        vec![("stays".to_owned(), Told::Counters(taken(30_000, "a", 30_000).counters))],
        Some("no answer".to_owned()),
    );
    let source = keeping(book);
    let error = source.answer(window(5_000, 12_000)).unwrap_err();
    assert!(error.to_string().contains("the proxy at dies were not read"), "{error}");
    assert_eq!(requests(&source, window(21_000, 26_000)), 5_000);
    assert_eq!((before, source.answer(window(29_000, 30_000)).unwrap()), (Some(at(29_750)), None));
    assert!(source.look(at(30_100), Duration::from_secs(2)).is_err());
}

/// Proves that a proxy which is reached at two addresses is counted once, whichever of them answers, and that no window stays
/// unknown for it; and that what a process had counted before it came is not counted as if it were new.
#[test]
fn one_proxy_at_two_addresses_is_counted_once() {
    let mut book = Book::default();
    rounds(&mut book, 0..160, |millis| match millis {
        ..10_000 => vec![("second", "a", 5_000 + millis)],
        10_000..20_000 => vec![("first", "a", 5_000 + millis), ("second", "a", 5_000 + millis)],
        20_000..30_000 => vec![("second", "a", 5_000 + millis)],
        _ => vec![("first", "a", 5_000 + millis)],
    });
    let source = keeping(book);
    for from in [5_000, 15_000, 25_000] {
        assert_eq!(requests(&source, window(from, from + 10_000)), 10_000, "from {from} ms");
    }
    assert!(source.look(at(39_800), Duration::from_secs(2)).is_ok());

    // At the second address it never answered until it did by the first.
    let mut book = Book::default();
    let counted = |millis: i64| Told::Counters(taken(millis, "a", u64::try_from(millis).unwrap()).counters);
    for round in 0..80 {
        let millis = round * 250;
        let second = if millis < 10_000 { Told::Failed("no answer".to_owned()) } else { counted(millis) };
        book.round(at(millis), vec![("first".to_owned(), counted(millis)), ("second".to_owned(), second)], None);
    }
    assert_eq!(requests(&keeping(book), window(12_000, 18_000)), 6_000);

    let mut book = Book::default();
    rounds(&mut book, 0..40, |millis| vec![("stays", "a", millis)]);
    for round in 40..120 {
        let old = Counters { uptime_millis: Some(600_000), ..(*taken(0, "b", 70_000).counters).clone() };
        let stays = taken(round * 250, "a", u64::try_from(round * 250).unwrap()).counters;
        let answers =
            vec![("stays".to_owned(), Told::Counters(stays)), ("found".to_owned(), Told::Counters(Arc::new(old)))];
        book.round(at(round * 250), answers, None);
    }
    let source = keeping(book);
    assert_eq!(requests(&source, window(20_000, 25_000)), 5_000);
    assert!(source.answer(window(5_000, 15_000)).is_err(), "what it counted of its 70,000 is not known");
}

/// Proves that a proxy which came and does not answer yet leaves no window and no glance unknown, that what it counted by its first
/// answer is counted then, and that one which has not come only now does.
#[test]
fn a_starting_proxy_leaves_nothing_unknown() {
    let stays = |millis: i64| {
        let counted = taken(millis, "a", u64::try_from(millis).unwrap()).counters;
        ("stays".to_owned(), Told::Counters(counted))
    };
    for fails in [false, true] {
        let mut book = Book::default();
        rounds(&mut book, 0..40, |millis| vec![("stays", "a", millis)]);
        for round in 40..140 {
            let millis = round * 250;
            let comes = match millis {
                ..30_000 if fails => Told::Failed("no answer".to_owned()),
                ..30_000 => Told::Starting,
                _ => Told::Counters(Arc::new(Counters {
                    uptime_millis: Some(u64::try_from(millis - 12_000).unwrap()),
                    ..(*taken(millis, "b", 7).counters).clone()
                })),
            };
            book.round(at(millis), vec![stays(millis), ("comes".to_owned(), comes)], None);
            let (source, before) = (keeping(std::mem::take(&mut book)), window(millis - 6_000, millis - 1_000));
            let silent = millis < 30_000;
            if silent || !fails {
                assert_eq!(source.look(at(millis), Duration::from_secs(2)).is_ok(), !fails, "at {millis}");
            }
            if silent && millis > 20_000 {
                let counted = source.answer(before).unwrap().map(|found| found.reads.source.requests);
                assert_eq!(counted, (!fails).then_some(5_000), "at {millis}");
            }
            book = std::mem::take(&mut *source.book());
        }
        if !fails {
            assert_eq!(requests(&keeping(book), window(26_000, 32_000)), 6_000 + 7);
        }
    }
}
