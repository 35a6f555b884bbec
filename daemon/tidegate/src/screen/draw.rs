//! From a [`View`] to a terminal buffer: a pure function.
//!
//! The screen is a list of lines, each with a rank. Where the terminal is too low for all of them, those of the lowest
//! rank go first; what is going on, the shares and the keys stay to the last. Sentences are wrapped, tables are cut at
//! the right edge.

use cutover::cutover::StandingKind;
use cutover::{Blocker, Phase, price};
use judge::{GuardVerdict, Verdict};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::{Happened, View, format};

/// How many blockers are listed; the first ones matter most.
const BLOCKERS_MAX: usize = 3;
/// The widest the screen is drawn: longer lines are hard to read.
const WIDTH_MAX: u16 = 132;

/// How badly a line is needed: `Keep` to the last, `Spare` goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
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
    let decisions = usize::from(area.height).saturating_sub(lines.len() + 1);
    let at = lines.len().saturating_sub(1);
    let recent = view.recent.iter().take(decisions).map(|happened| (Rank::Spare, decision(happened, width)));
    lines.splice(at..at, recent);
    while lines.len() > usize::from(area.height) {
        let Some(worst) = (0..lines.len()).max_by_key(|&at| lines[at].0) else { break };
        lines.remove(worst);
    }
    for (row, (_, line)) in (area.y..area.bottom()).zip(&lines) {
        buffer.set_line(area.x, row, line, area.width);
    }
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
        [(Rank::Keep, "why:  ", &cutover.reason.text), (Rank::Want, "next: ", &cutover.outlook)]
    {
        // The core's sentence may say "next" itself.
        let wrapped = wrap(sentence.trim_start_matches("next: "), width.saturating_sub(8));
        for (at, part) in wrapped.into_iter().take(2).enumerate() {
            let label = if at == 0 { label } else { "      " };
            lines.push((rank, Line::from(vec![Span::raw(" "), dim(label), Span::raw(part)])));
        }
    }
    lines.extend(view.notes.iter().map(|note| (Rank::Want, Line::from(format!(" {note}")))));
    lines.push((Rank::Like, rule(width)));
    lines.extend(traffic(view));
    lines.extend(safety(view, width));
    lines.push((Rank::Like, rule(width)));
    lines.extend(verdicts(view, width));
    lines.push((Rank::Like, rule(width)));
    for Blocker { kind, text } in cutover.blockers.iter().take(BLOCKERS_MAX) {
        let word = if kind.unknown() { "unknown" } else { "awaited" };
        let style = if kind.unknown() { Style::new().fg(Color::DarkGray) } else { Style::new() };
        lines.push((Rank::Want, Line::from(Span::styled(format!(" {word}: {text}"), style))));
    }
    lines.push((Rank::Keep, Line::from(Span::styled(format!(" {}", view.keys), bold()))));
    lines
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
        return settled("HOLDING (unknown, not failing)", Color::DarkGray);
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
fn traffic(view: &View<'_>) -> Vec<(Rank, Line<'static>)> {
    let cutover = view.cutover;
    let configured = match &cutover.configured {
        Some(reading) => format!("{} (read {})", reading.share, format::age(view.now, reading.begun)),
        None => "unknown (not read yet)".to_owned(),
    };
    let observed = &cutover.evidence.observed;
    let both = observed.reads.both + observed.writes.both;
    let target = observed.reads.target + observed.writes.target;
    let observed = if both == 0 {
        "unknown (nothing counted yet)".to_owned()
    } else {
        let seen = format::share(target as f64 / both as f64);
        format!("{seen} of {} (to {})", format::count(both), format::age(view.now, cutover.evidence.counted_to))
    };
    let shares = format!(" TRAFFIC   desired {}   configured {configured}   observed {observed}", cutover.desired);
    let weight = cutover.configured.as_ref().map_or(cutover.desired, |reading| reading.share).reads;
    let filled = usize::from(weight.per_mille()) / 50;
    let step = cutover.step();
    let ladder: Vec<String> = cutover
        .policy
        .shift
        .steps
        .iter()
        .enumerate()
        .map(|(at, share)| {
            let share = share.to_string().replace(" %", "");
            if Some(at) == step { format!("[{share}]") } else { share }
        })
        .collect();
    let place = match step {
        Some(step) => format!("step {}/{}", step + 1, cutover.policy.shift.steps.len()),
        None => format!("{} steps", cutover.policy.shift.steps.len()),
    };
    let times = format!(
        "{} for {}, {} in all",
        cutover.phase.name(),
        format::duration(whole_seconds(view.now.since(cutover.since))),
        format::duration(whole_seconds(view.now.since(cutover.started)))
    );
    vec![
        (Rank::Keep, Line::from(shares)),
        (
            Rank::Want,
            Line::from(vec![
                Span::raw("           ["),
                Span::styled("#".repeat(filled), Style::new().fg(Color::Cyan)),
                dim(&".".repeat(20_usize.saturating_sub(filled))),
                Span::raw(format!("]  {place}  {} %   {times}", ladder.join(" "))),
            ]),
        ),
    ]
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
    let mut lines = Vec::new();
    for (at, part) in wrap(&format!("{back}, {armed}; {cost}"), width.saturating_sub(12)).into_iter().enumerate() {
        let label = if at == 0 { " REVERT    " } else { "           " };
        lines.push((Rank::Want, Line::from(format!("{label}{part}"))));
    }
    let budgets = &cutover.budgets;
    let policy = &cutover.policy;
    lines.push((
        Rank::Like,
        Line::from(format!(
            " BUDGETS   hold {} of {}   blind {} of {}   bake {} of {} (at least {}, baked {})",
            format::duration(whole_seconds(budgets.hold)),
            format::duration(policy.unknown.hold_budget),
            format::duration(whole_seconds(budgets.blind)),
            format::duration(policy.unknown.blind_budget),
            format::duration(whole_seconds(budgets.bake)),
            format::duration(policy.shift.bake_max),
            format::duration(policy.shift.bake_min),
            format::duration(whole_seconds(cutover.evidence.baked)),
        )),
    ));
    lines
}

/// The table of guards: what was measured, against which bound, on how much, and what that proves.
fn verdicts(view: &View<'_>, width: usize) -> Vec<(Rank, Line<'static>)> {
    let evidence = &view.cutover.evidence;
    let header = format!(
        " {:<12}{:<9}{:>10}{:>10}{:>12}{:>10}{:>14}  {}",
        "GUARD", "against", "reference", "target", "bound", "n(target)", "evidence", "VERDICT"
    );
    let mut lines = vec![(Rank::Want, Line::from(Span::styled(header, bold())))];
    let Some(judgement) = &evidence.judgement else {
        lines.push((Rank::Want, Line::from(dim(" nothing judged yet: unknown"))));
        return lines;
    };
    lines.extend(judgement.guards.iter().map(|guard| (Rank::Want, verdict(guard))));
    let judged = match evidence.judged {
        Some(window) => format!("judged to {}", format::age(view.now, window.to)),
        None => "no interval judged on this step yet".to_owned(),
    };
    let together = format!(
        " all together: evidence {} of {} reverts   {judged}   counted to {}   gaps {}",
        format::evidence(judgement.evidence),
        format::evidence(judgement.evidence_max),
        format::age(view.now, evidence.counted_to),
        evidence.gaps,
    );
    lines.push((Rank::Want, Line::from(together)));
    let telling = judgement
        .guards
        .iter()
        .filter(|guard| guard.on)
        .max_by_key(|guard| match guard.verdict {
            Verdict::Fail => 2,
            Verdict::Unknown => 1,
            Verdict::Pass => 0,
        })
        .map(|guard| guard.sentence.clone());
    let alarms = judgement.alarms.iter().map(|alarm| alarm.sentence.clone());
    for sentence in alarms.chain(telling).take(2) {
        for part in wrap(&sentence, width.saturating_sub(4)).into_iter().take(2) {
            lines.push((Rank::Like, Line::from(dim(&format!("   {part}")))));
        }
    }
    lines
}

fn verdict(guard: &GuardVerdict) -> Line<'static> {
    let against = match guard.reference {
        judge::Reference::Source => "source",
        judge::Reference::Baseline => "baseline",
    };
    let (word, color) = match guard.verdict {
        _ if !guard.on => ("off (thin)", Color::DarkGray),
        Verdict::Pass => ("pass", Color::Green),
        Verdict::Fail => ("FAIL", Color::Red),
        Verdict::Unknown => ("unknown", Color::DarkGray),
    };
    let missing = match guard.requests_missing {
        Some(missing) if guard.on && guard.verdict == Verdict::Unknown => {
            format!(" (~{} more)", format::count(missing))
        }
        _ => String::new(),
    };
    let bound =
        guard.bound.map_or_else(|| "-".to_owned(), |_| format!("<= {}", format::figure(guard.guard, guard.bound)));
    let evidence = format!("{} of {}", format::evidence(guard.evidence), format::evidence(guard.evidence_max));
    let row = format!(
        " {:<12}{against:<9}{:>10}{:>10}{bound:>12}{:>10}{evidence:>14}  ",
        format::guard(guard.guard),
        format::figure(guard.guard, guard.reference_value),
        format::figure(guard.guard, guard.target_value),
        format::count(guard.target_requests),
    );
    Line::from(vec![Span::raw(row), Span::styled(word, bold().fg(color)), Span::raw(missing)])
}

fn decision(happened: &Happened, width: usize) -> Line<'static> {
    let by = happened.actor.as_ref().map(|actor| format!("  by {actor}")).unwrap_or_default();
    let text = format!(" {}  {}{by}", format::clock(happened.at), happened.text);
    if text.chars().count() <= width {
        return Line::from(text);
    }
    let cut: String = text.chars().take(width.saturating_sub(3)).collect();
    Line::from(format!("{cut}..."))
}

/// Breaks a sentence at spaces so that no part is longer than `width`, unless one word is.
fn wrap(sentence: &str, width: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    for word in sentence.split_whitespace() {
        if !part.is_empty() && part.chars().count() + 1 + word.chars().count() > width {
            parts.push(std::mem::take(&mut part));
        }
        if !part.is_empty() {
            part.push(' ');
        }
        part.push_str(word);
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
    Line::from(dim(&"-".repeat(width)))
}

fn dim(text: &str) -> Span<'static> {
    Span::styled(text.to_owned(), Style::new().fg(Color::DarkGray))
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}
