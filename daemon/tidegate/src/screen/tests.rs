//! The screen as golden text: what an operator reads, without colour.

use std::sync::Arc;

use cutover::cutover::{Armed, Halt, HaltKind, Standing, StandingKind};
use cutover::event::Reading;
use cutover::{Blocker, BlockerKind, Cutover, Phase, Reason, Share, Timestamp, Weight, Window};
use expect_test::{Expect, expect};
use judge::{GuardKind, GuardVerdict, Judgement, Reference, Verdict};

use super::{Happened, Look, Trend, View, draw, keys::Keys, look::Signs};
use crate::controller::Lately;
use crate::controller::lately::Figures;
use crate::testing::{START, cutover};

fn after(seconds: i64) -> Timestamp {
    Timestamp(START.0 + seconds * 1000)
}

fn guard(guard: GuardKind, verdict: Verdict, [reference, target, bound]: [f64; 3], sentence: &str) -> GuardVerdict {
    GuardVerdict {
        guard,
        verdict,
        on: guard != GuardKind::Baseline,
        reference: if guard == GuardKind::Baseline { Reference::Baseline } else { Reference::Source },
        reference_value: Some(reference),
        target_value: Some(target),
        bound: Some(bound),
        reference_requests: 12_345,
        target_requests: 1_372,
        evidence: 1.3,
        evidence_max: 20.0,
        requests_missing: (verdict == Verdict::Unknown).then_some(640),
        sentence: sentence.to_owned(),
    }
}

/// A cutover that bakes on its first step, with everything a screen can show.
fn baking() -> Cutover {
    let mut cutover = cutover("search");
    let share = Share::both(Weight::new(100).unwrap());
    let reading =
        |share, begun| Arc::new(Reading { share, action: serde_json::Value::Null, begun, disagreeing: Vec::new() });
    cutover.phase = Phase::Baking { step: 0 };
    cutover.since = after(12);
    cutover.desired = share;
    cutover.configured = Some(reading(share, after(39)));
    cutover.original = Some(reading(Share::NONE, after(1)));
    cutover.armed = Armed::Yes;
    cutover.writes_since = Some(after(12));
    cutover.writes_on_target = 412;
    cutover.evidence.observed.reads.target = 1_372;
    cutover.evidence.observed.reads.both = 13_717;
    cutover.evidence.counted_to = after(42);
    cutover.evidence.judged = Some(Window { from: after(41), to: after(42) });
    cutover.evidence.judgement = Some(Arc::new(Judgement {
        verdict: Verdict::Unknown,
        guards: vec![
            guard(GuardKind::Errors, Verdict::Pass, [0.0002, 0.0004, 0.013], "errors are fine"),
            guard(
                GuardKind::Latency,
                Verdict::Unknown,
                [18.2, 21.9, 20.7],
                "the 99th percentile lies above its bound, and 1,372 requests are too few to say more",
            ),
            guard(GuardKind::Baseline, Verdict::Unknown, [0.0001, 0.0004, 0.01], "the baseline is thin"),
        ],
        evidence: 2.71,
        evidence_max: 20.0,
        p_value: 0.37,
        judged_millis: 30_000,
        alarms: Vec::new(),
        world: judge::World::default(),
    }));
    cutover.blockers =
        vec![Blocker { kind: BlockerKind::Guard, text: "latency needs about 640 more requests".to_owned() }];
    cutover.outlook = "raises the share to 100 % when latency passes".to_owned();
    cutover.reason = Reason::new("confirmed", "10 % is configured and was read back 1.2 s after the write");
    cutover
}

/// Forty seconds in which the target's errors rise.
fn trend() -> Trend {
    let mut trend = Trend::default();
    for second in 3..=42 {
        let side = |rate: f64, errors, p99_millis| Figures {
            requests: rate as u64,
            rate,
            errors: Some(errors),
            p50_millis: Some(8.1),
            p99_millis: Some(p99_millis),
        };
        let worse = (f64::from(second) - 36.0).max(0.0);
        let window = Window { from: after(i64::from(second) - 1), to: after(i64::from(second)) };
        let source = side(371.0, 0.0002, 18.2 + f64::from(second % 3));
        trend.push(Some(&Lately { window, source, target: side(41.0, worse / 200.0, 19.0 + worse * 3.0) }));
    }
    trend
}

fn check(cutover: &Cutover, (width, height): (u16, u16), look: Look, expected: &Expect) {
    let recent = [
        Happened { at: after(12), kind: "confirmed".into(), text: "10 % was read back".into(), actor: None },
        Happened { at: after(0), kind: "start".into(), text: "ordered to start".into(), actor: Some("a.lee".into()) },
    ];
    let keys = Keys::default().line("");
    let view = View { cutover, recent: &recent, now: after(43), notes: &[], keys: &keys, trend: &trend(), look };
    // The first line keeps the left margin of the others from being taken for indentation.
    expected.assert_eq(&format!("{width} x {height}\n{}", draw::text(&view, width, height)));
}

/// Proves what the usual screen shows, on the usual terminal.
#[test]
fn the_screen_of_a_baking_step() {
    check(
        &baking(),
        (100, 30),
        Look::PLAIN,
        &expect![[r#"
            100 x 30
             SEARCH  BAKING (evidence gathers)                                                        08:00:43Z
             why       10 % is configured and was read back 1.2 s after the write
             next      raises the share to 100 % when latency passes
            ────────────────────────────────────────────────────────────────────────────────────────────────────
             TRAFFIC   ██░░░░░░░░░░░░░░░░░░░░░░  step 1 of 2: [10] 100 %
                       desired 10 %   configured 10 % (read 4 s ago)
                       observed 10.0 % of 13,717 requests (to 1 s ago)
                       baking for 31 s, 43 s in all
             NOW       source    371/s  errors 0.020 % ▂▂▂▂▂▂▂▂▂▂▂  p50   8.1 ms  p99  18.2 ms ▅▄▅▅▄▅▅▄▅▅▄
             1 s ago   target     41/s  errors  3.00 % ▁▁▁▁▁▂▃▅▆▇█  p50   8.1 ms  p99  37.0 ms ▅▅▅▅▅▅▆▆▇▇█
             REVERT    back to 0 %, armed in the proxies; a revert is lossy: 412 writes went to the target
                       alone since 2027-01-15T08:00:12Z, counted for 30 s
             BUDGETS   hold 0 s of 1 m 00 s   blind 0 s of 20 s   bake 0 s of 1 m 00 s
            ────────────────────────────────────────────────────────────────────────────────────────────────────
             TARGET    fails requests that the source does not   evidence against it 2.71, reverts at 20
                       judged to 1 s ago
             guard       verdict                   target           reference      bound  requests
             errors      pass                     0.040 %    source   0.020 %  <= 1.30 %     1,372
             latency     unknown, ~640 more       21.9 ms    source   18.2 ms <= 20.7 ms     1,372
             vs baseline off: thin                0.040 %  baseline   0.010 %  <= 1.00 %     1,372
            ────────────────────────────────────────────────────────────────────────────────────────────────────
             awaited   latency needs about 640 more requests
             08:00:12  10 % was read back
             08:00:00  ordered to start  by a.lee
             [R]evert  [H]old  [P]ause  res[U]me  [A]dvance  [Q]uit
        "#]],
    );
}

/// Proves that a terminal without UTF-8 gets the same picture in ASCII, and that a narrow one loses whole columns and
/// never half a number.
#[test]
fn the_screen_in_ascii_on_eighty_columns() {
    let look = Look { signs: Signs::Ascii, colour: false };
    check(
        &baking(),
        (80, 24),
        look,
        &expect![[r#"
            80 x 24
             SEARCH  BAKING (evidence gathers)                                    08:00:43Z
             why       10 % is configured and was read back 1.2 s after the write
             next      raises the share to 100 % when latency passes
            --------------------------------------------------------------------------------
             TRAFFIC   ##......................  step 1 of 2: [10] 100 %
                       desired 10 %   configured 10 % (read 4 s ago)
                       observed 10.0 % of 13,717 requests (to 1 s ago)
                       baking for 31 s, 43 s in all
             NOW       source    371/s  errors 0.020 % .........  p99  18.2 ms ==-==-==-
             1 s ago   target     41/s  errors  3.00 % ___.:=+*#  p99  37.0 ms ====++**#
             REVERT    back to 0 %, armed in the proxies; a revert is lossy: 412 writes
                       went to the target alone since 2027-01-15T08:00:12Z, counted for
                       30 s
             BUDGETS   hold 0 s of 1 m 00 s   blind 0 s of 20 s   bake 0 s of 1 m 00 s
            --------------------------------------------------------------------------------
             TARGET    fails requests that the source does not
                       evidence against it 2.71, reverts at 20   judged to 1 s ago
             guard       verdict                   target           reference      bound
             errors      pass                     0.040 %    source   0.020 %  <= 1.30 %
             latency     unknown, ~640 more       21.9 ms    source   18.2 ms <= 20.7 ms
             vs baseline off: thin                0.040 %  baseline   0.010 %  <= 1.00 %
            --------------------------------------------------------------------------------
             awaited   latency needs about 640 more requests
             [R]evert  [H]old  [P]ause  res[U]me  [A]dvance  [Q]uit
        "#]],
    );
}

/// Proves that colour is there only where it is wanted.
#[test]
fn colours_can_be_left_out() {
    let coloured = |look| {
        let (cutover, trend, area) = (&baking(), &trend(), ratatui::layout::Rect::new(0, 0, 100, 30));
        let mut buffer = ratatui::buffer::Buffer::empty(area);
        let view = View { cutover, recent: &[], now: after(43), notes: &[], keys: "", trend, look };
        draw::draw(&view, area, &mut buffer);
        buffer.content().iter().any(|cell| cell.fg != ratatui::style::Color::Reset)
    };
    assert!(coloured(Look { colour: true, ..Look::PLAIN }));
    assert!(!coloured(Look::PLAIN));
}

/// Proves that a small terminal keeps what matters most: what is going on, why, the shares, the keys.
#[test]
fn a_small_terminal_keeps_what_matters() {
    check(
        &baking(),
        (60, 8),
        Look::PLAIN,
        &expect![[r#"
            60 x 8
             SEARCH  BAKING (evidence gathers)                08:00:43Z
             why       10 % is configured and was read back 1.2 s after
                       the write
             TRAFFIC   ██░░░░░░░░░░░░░░░░░░░░░░  step 1 of 2: [10] 100 %
                       desired 10 %   configured 10 % (read 4 s ago)
                       observed 10.0 % of 13,717 requests (to 1 s ago)
             TARGET    fails requests that the source does not
             [R]evert  [H]old  [P]ause  res[U]me  [A]dvance  [Q]uit
        "#]],
    );
}

/// Proves that a tiny terminal is drawn without a panic.
#[test]
fn no_terminal_is_too_small() {
    for size in [(1, 1), (0, 0), (3, 40), (200, 2)] {
        let (cutover, look) = (&baking(), Look::PLAIN);
        let trend = &trend();
        let view = View { cutover, recent: &[], now: after(43), notes: &[], keys: "", trend, look };
        let text = draw::text(&view, size.0, size.1);
        assert!(text.lines().count() <= usize::from(size.1).max(1), "{size:?}: {text}");
    }
}

/// Proves that each state is said in words at the top, so that colour is never needed.
#[test]
fn every_state_is_a_word() {
    let word = |change: &dyn Fn(&mut Cutover)| {
        let mut cutover = baking();
        change(&mut cutover);
        let (cutover, look) = (&cutover, Look::PLAIN);
        let trend = &Trend::default();
        let view = View { cutover, recent: &[], now: after(43), notes: &[], keys: "", trend, look };
        draw::text(&view, 100, 30).lines().next().unwrap().trim().to_owned()
    };
    let standing =
        |kind| Some(Standing { kind, actor: "a.lee".to_owned(), reason: "night".to_owned(), since: after(40) });
    let words = [
        word(&|cutover| cutover.phase = Phase::Stuck { attempts: 3, reads: 9 }),
        word(&|cutover| cutover.phase = Phase::Reverting { attempts: 1, reads: 0 }),
        word(&|cutover| cutover.phase = Phase::Reverted),
        word(&|cutover| cutover.phase = Phase::Done),
        word(&|cutover| cutover.phase = Phase::Aborted),
        word(&|cutover| cutover.standing = standing(StandingKind::Pause)),
        word(&|cutover| cutover.standing = standing(StandingKind::Hold)),
        word(&|cutover| {
            cutover.halt = Some(Halt { kind: HaltKind::Drift, text: "someone else".to_owned(), since: after(13) });
        }),
        word(&|cutover| cutover.blockers[0].kind = BlockerKind::Data),
        word(&|cutover| cutover.phase = Phase::Draining),
    ];
    expect![[r"
        SEARCH  STUCK - a human must act                                                         08:00:43Z
        SEARCH  REVERTING                                                                        08:00:43Z
        SEARCH  REVERTED - the original is back                                                  08:00:43Z
        SEARCH  DONE - the source is drained                                                     08:00:43Z
        SEARCH  ABORTED - the weight stays where it is                                           08:00:43Z
        SEARCH  PAUSED by a.lee: night                                                           08:00:43Z
        SEARCH  HELD by a.lee: night                                                             08:00:43Z
        SEARCH  HALTED 30 s ago                                                                  08:00:43Z
        SEARCH  HOLDING (unknown, not failing)                                                   08:00:43Z
        SEARCH  DRAINING the source                                                              08:00:43Z"]]
    .assert_eq(&words.join("\n"));
}
