//! The table of guards: what was measured, against which bound, on how much, and what that proves.

use cutover::BlockerKind;
use judge::{GuardVerdict, Judgement, Reference, Verdict};
use ratatui::style::Color;
use ratatui::text::{Line, Span};

use super::draw::{ERRORS_LOUD, MARGIN, Rank, bold, dim, flow, unknown, wrap};
use super::{View, format};

/// From this evidence on (a factor; 1 is none) the target is said to look worse.
const SUSPICION: f64 = 2.0;

/// A column: its head, its width, and whether it goes before the others where the terminal is narrow.
struct Column {
    head: &'static str,
    width: usize,
    cell: fn(&GuardVerdict) -> String,
}

/// After guard and verdict, the columns from the most to the least telling. What does not fit is left out whole: half a
/// number is worse than none.
const COLUMNS: [Column; 5] = [
    Column { head: "target", width: 11, cell: |guard| format::figure(guard.guard, guard.target_value) },
    Column { head: "reference", width: 20, cell: reference },
    Column { head: "bound", width: 11, cell: bound },
    Column { head: "requests", width: 10, cell: |guard| format::count(guard.target_requests) },
    Column { head: "evidence", width: 15, cell: evidence },
];

/// The cells of a row, each as wide as its column.
fn cells(columns: &[&Column], cell: impl Fn(&Column) -> String) -> String {
    columns.iter().fold(String::new(), |mut row, column| {
        let text = cell(column);
        let room = column.width.saturating_sub(text.chars().count());
        row.extend(std::iter::repeat_n(' ', room));
        row.push_str(&text);
        row
    })
}

/// The table with what it comes to, in at most `width` columns.
pub(super) fn verdicts(view: &View<'_>, width: usize) -> Vec<(Rank, Line<'static>)> {
    let Some(judgement) = &view.cutover.evidence.judgement else {
        let unknown = vec![Span::styled(" TARGET    ", bold()), dim("unknown: nothing is judged yet")];
        return vec![(Rank::Want, Line::from(unknown))];
    };
    let mut lines = summary(view, judgement, width);
    let mut room = width.saturating_sub(35);
    let columns: Vec<&Column> = COLUMNS
        .iter()
        .take_while(|column| {
            let fits = column.width <= room;
            room = room.saturating_sub(column.width);
            fits
        })
        .collect();
    let heads = cells(&columns, |column| column.head.to_owned());
    lines.push((Rank::Want, Line::from(dim(&format!(" {:<12}{:<21}{heads}", "guard", "verdict")))));
    lines.extend(judgement.guards.iter().map(|guard| (Rank::Want, row(guard, &columns))));
    // What stands in the way of the next step is told below, guard by guard.
    let told = view.cutover.blockers.iter().any(|blocker| blocker.kind == BlockerKind::Guard);
    let telling = judgement.guards.iter().filter(|guard| guard.on && !told).max_by_key(|guard| match guard.verdict {
        Verdict::Fail => 2,
        Verdict::Unknown => 1,
        Verdict::Pass => 0,
    });
    let alarms = judgement.alarms.iter().map(|alarm| &alarm.sentence);
    for sentence in alarms.chain(telling.map(|guard| &guard.sentence)).take(2) {
        for part in wrap(sentence, width.saturating_sub(4)).into_iter().take(2) {
            lines.push((Rank::Like, Line::from(dim(&format!("   {part}")))));
        }
    }
    lines
}

/// Is it the target's fault? In words, with the number behind them.
fn summary(view: &View<'_>, judgement: &Judgement, width: usize) -> Vec<(Rank, Line<'static>)> {
    let evidence = &view.cutover.evidence;
    let failing = view.trend.last().is_some_and(|lately| {
        let (source, target) = (lately.source.errors.unwrap_or_default(), lately.target.errors.unwrap_or_default());
        target >= ERRORS_LOUD && target > 2.0 * source
    });
    let (words, color) = match judgement.verdict {
        Verdict::Fail => ("worse than its tolerance", Color::Red),
        Verdict::Pass | Verdict::Unknown if failing => ("fails requests that the source does not", Color::Red),
        Verdict::Pass if evidence.step_begins => ("was as good as asked for on the step before", Color::Reset),
        Verdict::Pass => ("as good as asked for", Color::Green),
        Verdict::Unknown if judgement.evidence >= SUSPICION => ("looks worse, not proven", Color::Yellow),
        Verdict::Unknown => ("nothing against it so far", Color::Reset),
    };
    let judged = match evidence.judged {
        Some(window) => format!("judged to {}", format::age(view.now, window.to)),
        None => "no interval of this step judged yet".to_owned(),
    };
    let gaps = match evidence.gaps {
        0 => String::new(),
        1 => ", one interval missing".to_owned(),
        gaps => format!(", {gaps} intervals missing"),
    };
    let (against, reverts) = (format::evidence(judgement.evidence), format::evidence(judgement.evidence_max));
    let parts = [words.to_owned(), format!("evidence against it {against}, reverts at {reverts}"), judged + &gaps];
    let mut lines = flow("TARGET", &parts, width);
    let first = lines[0].to_string();
    let rest = first.get(MARGIN.len() + words.len()..).unwrap_or_default().to_owned();
    // The words alone carry the colour.
    let words = Span::styled(words, bold().fg(color));
    lines[0] = Line::from(vec![Span::styled(" TARGET    ", bold()), words, Span::raw(rest)]);
    lines.into_iter().enumerate().map(|(at, line)| (if at == 0 { Rank::Keep } else { Rank::Want }, line)).collect()
}

fn row(guard: &GuardVerdict, columns: &[&Column]) -> Line<'static> {
    let (word, style) = match guard.verdict {
        _ if !guard.on => ("off: thin".to_owned(), unknown()),
        Verdict::Pass => ("pass".to_owned(), bold().fg(Color::Green)),
        Verdict::Fail => ("FAIL".to_owned(), bold().fg(Color::Red)),
        Verdict::Unknown => {
            let missing = guard
                .requests_missing
                .filter(|missing| *missing > 0)
                .map(|missing| format!(", ~{} more", format::count(missing)));
            (format!("unknown{}", missing.unwrap_or_default()), unknown())
        }
    };
    let cells = cells(columns, |column| (column.cell)(guard));
    Line::from(vec![
        Span::raw(format!(" {:<12}", format::guard(guard.guard))),
        Span::styled(format!("{word:<21}"), style),
        Span::raw(cells),
    ])
}

fn reference(guard: &GuardVerdict) -> String {
    let against = match guard.reference {
        Reference::Source => "source",
        Reference::Baseline => "baseline",
    };
    format!("{against} {:>9}", format::figure(guard.guard, guard.reference_value))
}

fn bound(guard: &GuardVerdict) -> String {
    guard.bound.map_or_else(|| "-".to_owned(), |_| format!("<= {}", format::figure(guard.guard, guard.bound)))
}

fn evidence(guard: &GuardVerdict) -> String {
    format!("{} of {}", format::evidence(guard.evidence), format::evidence(guard.evidence_max))
}
