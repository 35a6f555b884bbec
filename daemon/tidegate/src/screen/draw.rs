//! From a [`View`] to a terminal buffer: a pure function.
//!
//! The screen is a list of lines, each with a rank. Where the terminal is too low for all of them, those of the lowest
//! rank go first; what is going on, the shares and the keys stay to the last. Sentences are wrapped, tables are cut at
//! the right edge.

use cutover::cutover::StandingKind;
use cutover::{Blocker, Phase, Weight, captured, price};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::table::verdicts;
use super::{Happened, View, format};
use crate::controller::lately::Figures;

/// How many blockers are listed; the first ones matter most.
const BLOCKERS_MAX: usize = 3;
/// How many of the last decisions are shown before other details are.
const DECISIONS_MIN: usize = 3;
/// The widest the screen is drawn: longer lines are hard to read.
const WIDTH_MAX: u16 = 132;

/// How many signs the bar of the target's share has.
const BAR: usize = 24;
/// The widest of the small charts.
const CHART_MAX: usize = 20;
/// The share of errors (0 to 1) that fills its small chart, and that is shown in red.
pub(super) const ERRORS_LOUD: f64 = 0.01;
/// Words that are not parted from the number before them.
const UNITS: [&str; 8] = ["s", "ms", "m", "h", "d", "%", "ago", "requests"];
/// As wide as a label.
pub(super) const MARGIN: &str = "           ";

/// How badly a line is needed: `Keep` to the last, `Spare` goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Keep,
    Want,
    Like,
    Spare,
}

/// Draws a frame into `area`.
pub fn draw(view: &View<'_>, area: Rect, buffer: &mut Buffer) {
    let area = Rect { width: area.width.min(WIDTH_MAX), ..area };
    let width = usize::from(area.width);
    let mut lines = lines(view, width);
    // The last decisions stand above the keys. A few of them are wanted as much as any number; more fill what is left.
    let keys = keys(view.keys, width).len();
    let at = lines.len().saturating_sub(keys);
    let decisions = usize::from(area.height).saturating_sub(lines.len()).max(DECISIONS_MIN);
    let recent = view.recent.iter().take(decisions).enumerate().map(|(nth, happened)| {
        let rank = if nth < DECISIONS_MIN { Rank::Like } else { Rank::Spare };
        (rank, decision(happened, width))
    });
    lines.splice(at..at, recent);
    while lines.len() > usize::from(area.height) {
        let Some(worst) = (0..lines.len()).max_by_key(|&at| lines[at].0) else { break };
        lines.remove(worst);
    }
    for (row, (_, line)) in (area.y..area.bottom()).zip(&lines) {
        buffer.set_line(area.x, row, line, area.width);
    }
    view.look.apply(area, buffer);
}

/// The frame as plain text, for `watch --once` and for whoever reads it without a terminal.
pub fn text(view: &View<'_>, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw(view, area, &mut buffer);
    let mut text = String::new();
    for row in 0..height {
        let line: String = (0..width).map(|column| buffer[(column, row)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn lines(view: &View<'_>, width: usize) -> Vec<(Rank, Line<'static>)> {
    let cutover = view.cutover;
    let mut lines = vec![(Rank::Keep, head(view, width))];
    for (rank, label, sentence) in
        [(Rank::Keep, "why       ", &cutover.reason.text), (Rank::Want, "next      ", &cutover.outlook)]
    {
        // The core's sentence may say "next" itself.
        let wrapped = wrap(sentence.trim_start_matches("next: "), width.saturating_sub(12));
        for (at, part) in wrapped.into_iter().take(2).enumerate() {
            let label = if at == 0 { label } else { "          " };
            lines.push((rank, Line::from(vec![Span::raw(" "), dim(label), Span::raw(part)])));
        }
    }
    for (label, note) in view.notes {
        for (at, part) in wrap(note, width.saturating_sub(12)).into_iter().take(2).enumerate() {
            let label = if at == 0 { format!(" {label:<10}") } else { MARGIN.to_owned() };
            lines.push((Rank::Want, Line::from(vec![Span::styled(label, bold()), Span::raw(part)])));
        }
    }
    lines.push((Rank::Like, rule(width)));
    lines.extend(traffic(view, width));
    lines.extend(now(view, width));
    lines.extend(safety(view, width));
    lines.push((Rank::Like, rule(width)));
    lines.extend(verdicts(view, width));
    lines.push((Rank::Like, rule(width)));
    for Blocker { kind, text } in cutover.blockers.iter().take(BLOCKERS_MAX) {
        let word = if kind.unknown() { "unknown" } else { "awaited" };
        let style = if kind.unknown() { unknown() } else { Style::new() };
        for (at, part) in wrap(text, width.saturating_sub(12)).into_iter().take(2).enumerate() {
            let (rank, label) = if at == 0 { (Rank::Want, word) } else { (Rank::Spare, "") };
            lines.push((rank, Line::from(vec![dim(&format!(" {label:<10}")), Span::styled(part, style)])));
        }
    }
    if let Some(change) = &cutover.policy_change {
        let text = format!(" the policy file changed and is not followed: {change}");
        lines.push((Rank::Want, Line::from(Span::styled(cut(&text, width), Style::new().fg(Color::Yellow)))));
    }
    lines.extend(
        keys(view.keys, width)
            .into_iter()
            .map(|part| (Rank::Keep, Line::from(Span::styled(format!(" {part}"), bold())))),
    );
    lines
}

/// What the keys do, on as many lines as it needs: a question must be read to its end.
fn keys(line: &str, width: usize) -> Vec<String> {
    let room = width.saturating_sub(2);
    if line.chars().count() <= room { vec![line.to_owned()] } else { wrap(line, room) }
}

/// The service, what is going on in one word, and the time.
fn head(view: &View<'_>, width: usize) -> Line<'static> {
    let cutover = view.cutover;
    let (word, color) = mood(view);
    let left = format!(" {}  ", cutover.policy.service.to_uppercase());
    let right = format!("{}Z ", format::clock(view.now));
    let used = left.chars().count() + word.chars().count() + right.chars().count();
    let gap = " ".repeat(width.saturating_sub(used).max(1));
    Line::from(vec![Span::styled(left, bold()), Span::styled(word, bold().fg(color)), Span::raw(gap), Span::raw(right)])
}

/// What is going on, in capitals, and the colour that goes with it.
fn mood(view: &View<'_>) -> (String, Color) {
    let cutover = view.cutover;
    let (red, yellow, green) = (Color::Red, Color::Yellow, Color::Green);
    let settled = |word: &str, color| (word.to_owned(), color);
    match &cutover.phase {
        Phase::Stuck { .. } => return settled("STUCK - a human must act", red),
        Phase::Reverting { .. } => return settled("REVERTING", red),
        Phase::Reverted => return settled("REVERTED - the original is back", yellow),
        Phase::Aborted => return settled("ABORTED - the weight stays where it is", yellow),
        Phase::Done => return settled("DONE - the source is drained", green),
        Phase::Pending
        | Phase::Preflight
        | Phase::Baseline
        | Phase::Gated { .. }
        | Phase::Shifting { .. }
        | Phase::Baking { .. }
        | Phase::Draining => {}
    }
    if let Some(halt) = &cutover.halt {
        return (format!("HALTED {}", format::age(view.now, halt.since)), red);
    }
    if let Some(standing) = &cutover.standing {
        let word = match standing.kind {
            StandingKind::Hold => "HELD",
            StandingKind::Pause => "PAUSED",
        };
        return (format!("{word} by {}: {}", standing.actor, standing.reason), yellow);
    }
    if cutover.blockers.iter().any(|blocker| blocker.kind.unknown()) {
        return settled("HOLDING (unknown, not failing)", Color::Reset);
    }
    match &cutover.phase {
        Phase::Pending => settled("WAITING for a start", Color::Reset),
        Phase::Preflight => settled("CHECKING before anything moves", Color::Reset),
        Phase::Baseline => settled("RECORDING the source", Color::Reset),
        Phase::Gated { .. } => settled("WAITING before the next step", Color::Reset),
        Phase::Shifting { .. } => settled("SHIFTING", Color::Cyan),
        Phase::Baking { .. } => settled("BAKING (evidence gathers)", Color::Cyan),
        Phase::Draining => settled("DRAINING the source", Color::Cyan),
        Phase::Reverting { .. } | Phase::Reverted | Phase::Done | Phase::Aborted | Phase::Stuck { .. } => {
            settled(cutover.phase.name(), Color::Reset)
        }
    }
}

/// Desired, configured and observed share, and where on the ladder that is.
fn traffic(view: &View<'_>, width: usize) -> Vec<(Rank, Line<'static>)> {
    let cutover = view.cutover;
    let configured = match &cutover.configured {
        Some(reading) => format!("configured {} (read {})", reading.share, format::age(view.now, reading.begun)),
        None => "configured unknown (not read yet)".to_owned(),
    };
    let observed = &cutover.evidence.observed;
    let both = observed.reads.both + observed.writes.both;
    let target = observed.reads.target + observed.writes.target;
    let observed = if both == 0 {
        "observed unknown (nothing counted yet)".to_owned()
    } else {
        let seen = format::share(target as f64 / both as f64);
        let age = format::age(view.now, cutover.evidence.counted_to);
        format!("observed {seen} of {} requests (to {age})", format::count(both))
    };
    let weight = cutover.configured.as_ref().map_or(cutover.desired, |reading| reading.share).reads;
    let filled = usize::from(weight.per_mille()) * BAR / 1000;
    // The smallest share is not nothing.
    let filled = if weight == Weight::NONE { 0 } else { filled.max(1) };
    let step = cutover.step();
    let steps = &cutover.policy.shift.steps;
    let ladder: Vec<String> = steps
        .iter()
        .enumerate()
        .map(|(at, share)| {
            let share = share.to_string().replace(" %", "");
            if Some(at) == step { format!("[{share}]") } else { share }
        })
        .collect();
    let place = match step {
        Some(step) => format!("step {} of {}: {} %", step + 1, steps.len(), ladder.join(" ")),
        None => format!("{} steps: {} %", steps.len(), ladder.join(" ")),
    };
    let times = format!(
        "{} for {}, {} in all",
        cutover.phase.name(),
        format::duration(whole_seconds(view.now.since(cutover.since))),
        format::duration(whole_seconds(view.now.since(cutover.started)))
    );
    let bar = vec![
        Span::styled(" TRAFFIC   ", bold()),
        Span::styled("█".repeat(filled), Style::new().fg(Color::Cyan)),
        dim(&"░".repeat(BAR.saturating_sub(filled))),
        Span::raw(format!("  {place}")),
    ];
    let mut lines = vec![(Rank::Keep, Line::from(bar))];
    let shares = [format!("desired {}", cutover.desired), configured, observed];
    lines.extend(flow("", &shares, width).into_iter().map(|line| (Rank::Keep, line)));
    lines.push((Rank::Like, Line::from(format!("{MARGIN}{times}"))));
    lines
}

/// What both sides did in the last interval, and in those before it: is it getting worse?
fn now(view: &View<'_>, width: usize) -> Vec<(Rank, Line<'static>)> {
    let Some(lately) = view.trend.last() else {
        return vec![(
            Rank::Like,
            Line::from(vec![Span::styled(" NOW       ", bold()), dim("no interval counted yet")]),
        )];
    };
    // A narrow terminal has no room for the median.
    let (medians, chart) = if width >= 96 { (true, (width - 77) / 2) } else { (false, width.saturating_sub(62) / 2) };
    let chart = chart.min(CHART_MAX);
    let errors = view.trend.charts(chart, ERRORS_LOUD, |side| side.errors);
    let latency = view.trend.charts(chart, 1.0, |side| side.p99_millis);
    let sides = [("source", &lately.source, Color::Reset), ("target", &lately.target, Color::Cyan)];
    let labels = ["NOW".to_owned(), cut(&format::age(view.now, lately.window.to), 10)];
    let mut lines = Vec::new();
    for (((side, figures, color), (errors, latency)), label) in
        sides.into_iter().zip(errors.iter().zip(&latency)).zip(labels)
    {
        let Figures { rate, errors: failed, p50_millis, p99_millis, .. } = *figures;
        let millis = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), format::millis);
        let share = failed.map_or_else(|| "-".to_owned(), format::share);
        let bad = failed.is_some_and(|failed| failed >= ERRORS_LOUD);
        let loud = if bad { bold().fg(Color::Red) } else { Style::new() };
        let label = if label == "NOW" { Span::styled(" NOW       ", bold()) } else { dim(&format!(" {label:<10}")) };
        let median = if medians { format!("  p50 {:>8}", millis(p50_millis)) } else { String::new() };
        lines.push((
            Rank::Want,
            Line::from(vec![
                label,
                Span::raw(format!("{side:<7}{rate:>6.0}/s  ")),
                Span::styled(format!("errors {share:>7} {errors}"), loud),
                Span::raw(format!("{median}  p99 {:>8} ", millis(p99_millis))),
                Span::styled(latency.clone(), Style::new().fg(color)),
            ]),
        ));
    }
    lines
}

/// Whether there is a way back, and what it costs.
fn safety(view: &View<'_>, width: usize) -> Vec<(Rank, Line<'static>)> {
    let cutover = view.cutover;
    let armed = match cutover.armed {
        cutover::cutover::Armed::Yes => "armed in the proxies".to_owned(),
        cutover::cutover::Armed::Asked { at } => format!("being armed (asked {})", format::age(view.now, at)),
        cutover::cutover::Armed::No => "not armed in the proxies".to_owned(),
    };
    let back = match &cutover.original {
        Some(original) => format!("back to {}", original.share),
        None => "no original recorded yet".to_owned(),
    };
    let cost = price(cutover, view.now).text;
    let sentence = match cutover.phase {
        Phase::Reverted => format!("done, {armed}; {}", cost.trim_start_matches("the revert is lossy: ")),
        _ => format!("{back}, {armed}; {cost}"),
    };
    let mut lines = Vec::new();
    let capture = captured::told(cutover).map(|capture| (" CAPTURE   ", capture));
    for (name, sentence) in [(" REVERT    ", sentence)].into_iter().chain(capture) {
        for (at, part) in wrap(&sentence, width.saturating_sub(12)).into_iter().enumerate() {
            let label = if at == 0 { Span::styled(name, bold()) } else { Span::raw(MARGIN) };
            lines.push((Rank::Want, Line::from(vec![label, Span::raw(part)])));
        }
    }
    let budgets = &cutover.budgets;
    let policy = &cutover.policy;
    let spent = |name: &str, spent, of| {
        format!("{name} {} of {}", format::duration(whole_seconds(spent)), format::duration(of))
    };
    let budgets = [
        spent("hold", budgets.hold, policy.unknown.hold_budget),
        spent("blind", budgets.blind, policy.unknown.blind_budget),
        spent("bake", budgets.bake, policy.shift.bake_max),
    ];
    lines.extend(flow("BUDGETS", &budgets, width).into_iter().map(|line| (Rank::Like, line)));
    lines
}

/// Parts beside one another under a label, three spaces apart, on as many lines as they need. No part is broken.
pub(super) fn flow(label: &str, parts: &[String], width: usize) -> Vec<Line<'static>> {
    let mut rows: Vec<String> = Vec::new();
    for part in parts {
        match rows.last_mut() {
            Some(row) if MARGIN.len() + row.chars().count() + 3 + part.chars().count() <= width => {
                row.push_str("   ");
                row.push_str(part);
            }
            _ => rows.push(part.clone()),
        }
    }
    let label = |at| if at == 0 { format!(" {label:<10}") } else { MARGIN.to_owned() };
    rows.into_iter()
        .enumerate()
        .map(|(at, row)| Line::from(vec![Span::styled(label(at), bold()), Span::raw(row)]))
        .collect()
}

/// A sentence cut at the right edge, and seen to be cut.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

fn decision(happened: &Happened, width: usize) -> Line<'static> {
    // Most reasons name the actor themselves.
    let actor = happened.actor.as_ref().filter(|actor| !happened.text.contains(actor.as_str()));
    let by = actor.map(|actor| format!("  by {actor}")).unwrap_or_default();
    let text = format!("{}{by}", happened.text);
    Line::from(vec![
        dim(&format!(" {}  ", format::clock(happened.at))),
        Span::raw(cut(&text, width.saturating_sub(11))),
    ])
}

/// Breaks a sentence at spaces so that no part is longer than `width`, unless one word is.
pub(super) fn wrap(sentence: &str, width: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut words = sentence.split_whitespace().peekable();
    while let Some(word) = words.next() {
        // A number and its unit stay together.
        let mut word = word.to_owned();
        while let Some(unit) = words.next_if(|next| UNITS.contains(&next.trim_end_matches([',', ';', ':', '.']))) {
            word.push(' ');
            word.push_str(unit);
        }
        if !part.is_empty() && part.chars().count() + 1 + word.chars().count() > width {
            parts.push(std::mem::take(&mut part));
        }
        if !part.is_empty() {
            part.push(' ');
        }
        part.push_str(&word);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

fn whole_seconds(duration: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_secs(duration.as_secs())
}

fn rule(width: usize) -> Line<'static> {
    Line::from(dim(&"─".repeat(width)))
}

pub(super) fn dim(text: &str) -> Span<'static> {
    Span::styled(text.to_owned(), unknown())
}

/// What is not known, and what is not news: never a colour that could be taken for good or bad. Faint rather than grey,
/// which is the background of some terminals.
pub(super) fn unknown() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

pub(super) fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}
