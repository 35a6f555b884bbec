//! The dossier's charts, as inline SVG.
//!
//! Colours are written as CSS variables, so that the page decides them for light and dark; the lines of the two sides
//! differ in dash as well as in colour, for whoever prints in grey.

use cutover::Timestamp;
use judge::Side;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Sample;

/// Width and height of one chart, in SVG units.
const SIZE: (u32, u32) = (920, 260);
/// The most points of one line: more would not show, and a cutover of days has very many intervals.
const POINTS_MAX: usize = 1500;

/// Stand-ins that are replaced by CSS variables; plotters itself knows only fixed colours.
const INK: RGBColor = RGBColor(1, 1, 1);
const FAINT: RGBColor = RGBColor(2, 2, 2);
const SOURCE: RGBColor = RGBColor(3, 3, 3);
const TARGET: RGBColor = RGBColor(4, 4, 4);
const LIMIT: RGBColor = RGBColor(5, 5, 5);
const MARK: RGBColor = RGBColor(6, 6, 6);
/// Each stand-in as plotters writes it, and what the page calls it.
const VARIABLES: [(&str, &str); 6] = [
    ("#010101", "var(--ink)"),
    ("#020202", "var(--faint)"),
    ("#030303", "var(--source)"),
    ("#040404", "var(--target)"),
    ("#050505", "var(--limit)"),
    ("#060606", "var(--mark)"),
];

/// A chart with its heading.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Chart {
    /// What it shows.
    pub(super) title: String,
    /// How to read it.
    pub(super) caption: String,
    /// Its lines: name, the CSS variable of the colour, and whether it is dashed. Beside the drawing and not in it,
    /// where it would hide lines.
    pub(super) legend: Vec<(&'static str, &'static str, bool)>,
    /// The drawing.
    pub(super) svg: String,
}

/// An event to be marked on every chart: seconds since the start, and the number of its decision.
pub(super) type Mark = (f64, u64);

/// One line of a chart.
struct Curve {
    name: &'static str,
    color: RGBColor,
    dashed: bool,
    thin: bool,
    points: Vec<(f64, f64)>,
}

/// All charts of a cutover that started at `start`.
pub(super) fn all(samples: &[Sample], start: Timestamp, marks: &[Mark]) -> Vec<Chart> {
    let stride = samples.len().div_ceil(POINTS_MAX).max(1);
    let samples: Vec<&Sample> = samples.iter().step_by(stride).collect();
    if samples.is_empty() {
        return Vec::new();
    }
    let at = |sample: &Sample| seconds(sample.at(), start);
    let points = |value: &dyn Fn(&Sample) -> Option<f64>| -> Vec<(f64, f64)> {
        samples.iter().filter_map(|sample| Some((at(sample), value(sample)?))).collect()
    };
    let curve = |name, color, dashed, value: &dyn Fn(&Sample) -> Option<f64>| Curve {
        name,
        color,
        dashed,
        thin: name.ends_with("p99"),
        points: points(value),
    };
    let rate = |sample: &Sample, side| {
        let seconds = sample.observation.window.length().as_secs_f64();
        (seconds > 0.0).then(|| sample.side(side).requests as f64 / seconds)
    };
    let errors = |sample: &Sample, side| {
        let counts = sample.side(side);
        (counts.requests > 0).then(|| counts.errors() as f64 / counts.requests as f64 * 100.0)
    };
    let latency = |sample: &Sample, side, q| sample.side(side).latency.quantile_micros(q).map(|micros| micros / 1000.0);
    let charts = [
        (
            "The target's share",
            "What was wanted, what the balancer said, and what the requests showed, in percent.",
            "%",
            Scale::To(100.0),
            vec![
                curve("desired", FAINT, false, &|s| Some(s.desired.reads.fraction() * 100.0)),
                curve("configured", INK, true, &|s| Some(s.configured?.reads.fraction() * 100.0)),
                curve("observed", TARGET, false, &|s| Some(s.observed()? * 100.0)),
            ],
        ),
        (
            "Requests",
            "Requests a second on each side; where the source's line ends at zero, it is drained.",
            "/s",
            Scale::Free,
            vec![
                curve("source", SOURCE, true, &|s| rate(s, Side::Source)),
                curve("target", TARGET, false, &|s| rate(s, Side::Target)),
            ],
        ),
        (
            "Errors",
            "5XX answers and requests a side failed to answer, in percent of its requests.",
            "%",
            Scale::Free,
            vec![
                curve("source", SOURCE, true, &|s| errors(s, Side::Source)),
                curve("target", TARGET, false, &|s| errors(s, Side::Target)),
            ],
        ),
        (
            "Latency",
            "Time to the first byte of the answer, median and 99th percentile, in milliseconds.",
            "ms",
            Scale::Free,
            vec![
                curve("source p50", SOURCE, true, &|s| latency(s, Side::Source, 0.5)),
                curve("target p50", TARGET, false, &|s| latency(s, Side::Target, 0.5)),
                curve("source p99", SOURCE, true, &|s| latency(s, Side::Source, 0.99)),
                curve("target p99", TARGET, false, &|s| latency(s, Side::Target, 0.99)),
            ],
        ),
        (
            "Evidence against the target",
            "How many times likelier the counts are if the target is worse than its tolerance; at the bound the cutover \
             reverts. The axis is logarithmic.",
            "x",
            Scale::Free,
            vec![
                curve("evidence", TARGET, false, &|s| Some(s.evidence?.max(0.01).log10())),
                curve("bound", LIMIT, true, &|s| Some(s.evidence_max?.log10())),
            ],
        ),
    ];
    let span = samples.iter().map(|sample| at(sample)).chain(marks.iter().map(|mark| mark.0)).fold(1.0, f64::max);
    charts
        .into_iter()
        .filter(|(.., curves)| curves.iter().any(|curve| !curve.points.is_empty()))
        .map(|(title, caption, unit, scale, curves)| Chart {
            title: title.to_owned(),
            caption: caption.to_owned(),
            legend: curves.iter().map(|curve| (curve.name, variable(curve.color), curve.dashed)).collect(),
            svg: draw(unit, scale, &curves, marks, span),
        })
        .collect()
}

/// What the page calls a stand-in colour.
fn variable(color: RGBColor) -> &'static str {
    let RGBColor(number, ..) = color;
    VARIABLES.get(usize::from(number).saturating_sub(1)).map_or("var(--ink)", |&(_, variable)| variable)
}

/// Seconds since the start, with a fraction.
pub(super) fn seconds(at: Timestamp, start: Timestamp) -> f64 {
    at.0.saturating_sub(start.0) as f64 / 1000.0
}

/// How the vertical axis is chosen.
#[derive(Clone, Copy)]
enum Scale {
    /// From 0 to this.
    To(f64),
    /// As the points need it, 0 always in sight.
    Free,
}

fn draw(unit: &str, scale: Scale, curves: &[Curve], marks: &[Mark], span: f64) -> String {
    let values = || curves.iter().flat_map(|curve| &curve.points).map(|&(_, value)| value);
    let (low, high) = match scale {
        Scale::To(high) => (0.0, high),
        Scale::Free => (values().fold(0.0, f64::min), values().fold(0.0, f64::max)),
    };
    // A flat line at zero still needs an axis.
    let room = if high > low { (high - low) * 0.06 } else { 1.0 };
    let mut svg = String::new();
    let drawn = chart(&mut svg, unit, (low, high + room), curves, marks, span);
    if let Err(error) = drawn {
        // The dossier is worth more than one chart: it says what is missing and goes on.
        return format!("<p class=\"missing\">this chart could not be drawn: {}</p>", escape(&error.to_string()));
    }
    for (stand_in, variable) in VARIABLES {
        svg = svg.replace(stand_in, variable);
    }
    svg.replacen("<svg ", "<svg role=\"img\" viewBox=\"0 0 920 260\" ", 1)
}

fn chart(
    svg: &mut String,
    unit: &str,
    (low, high): (f64, f64),
    curves: &[Curve],
    marks: &[Mark],
    span: f64,
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let area: DrawingArea<SVGBackend<'_>, Shift> = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .margin_right(16)
        .x_label_area_size(28)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..span, low..high)?;
    let label = ("sans-serif", 12).into_font().color(&INK);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT.mix(0.35))
        .axis_style(FAINT)
        .label_style(label)
        .x_labels(10)
        .y_labels(5)
        .x_label_formatter(&|seconds| format!("{seconds:.0} s"))
        .y_label_formatter(&|value| axis(*value, high, unit))
        .draw()?;
    let mut tagged = f64::NEG_INFINITY;
    for &(second, number) in marks {
        chart.draw_series(DashedLineSeries::new([(second, low), (second, high)], 2, 4, MARK.stroke_width(1)))?;
        // Of decisions close together the first one has its number; all have their line.
        if second - tagged < span * 0.025 {
            continue;
        }
        tagged = second;
        // At the right edge the number stands to the left of its line, where it can be read.
        let side = if second > span * 0.96 { HPos::Right } else { HPos::Left };
        let style = ("sans-serif", 11).into_font().color(&MARK).pos(Pos::new(side, VPos::Top));
        let tag = Text::new(format!(" {number} "), (second, high), style);
        chart.draw_series([tag])?;
    }
    for curve in curves {
        let style = curve.color.stroke_width(if curve.thin { 1 } else { 2 });
        let points = curve.points.iter().copied();
        if curve.dashed {
            chart.draw_series(DashedLineSeries::new(points, 6, 4, style))?;
        } else {
            chart.draw_series(LineSeries::new(points, style))?;
        }
    }
    area.present()
}

fn axis(value: f64, high: f64, unit: &str) -> String {
    let digits = match high {
        h if h >= 20.0 => 0,
        h if h >= 2.0 => 1,
        _ => 2,
    };
    if unit == "x" { format!("{:.1}", 10_f64.powf(value)) } else { format!("{value:.digits$} {unit}") }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
