//! Lines drawn as inline SVG, for the pages that people open in a browser.
//!
//! Colours are written as CSS variables, so that the page decides them for light and dark; lines differ in dash as well
//! as in colour, for whoever prints in grey.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Width and height of one chart, in SVG units.
const SIZE: (u32, u32) = (920, 260);
/// Stand-ins that are replaced by CSS variables; plotters itself knows only fixed colours.
pub(crate) const INK: RGBColor = RGBColor(1, 1, 1);
pub(crate) const FAINT: RGBColor = RGBColor(2, 2, 2);
pub(crate) const SOURCE: RGBColor = RGBColor(3, 3, 3);
pub(crate) const TARGET: RGBColor = RGBColor(4, 4, 4);
pub(crate) const LIMIT: RGBColor = RGBColor(5, 5, 5);
pub(crate) const MARK: RGBColor = RGBColor(6, 6, 6);
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
pub(crate) struct Chart {
    /// What it shows.
    pub(crate) title: String,
    /// How to read it.
    pub(crate) caption: String,
    /// Its lines: name, the CSS variable of the colour, and whether it is dashed. Beside the drawing and not in it,
    /// where it would hide lines.
    pub(crate) legend: Vec<(String, &'static str, bool)>,
    /// The drawing.
    pub(crate) svg: String,
}

/// An event to be marked on every chart: seconds since the start, and the number of its decision.
pub(crate) type Mark = (f64, u64);

/// One line of a chart.
pub(crate) struct Curve {
    /// What the legend calls it.
    pub(crate) name: String,
    /// One of the stand-ins.
    pub(crate) color: RGBColor,
    /// Whether it is dashed.
    pub(crate) dashed: bool,
    /// Whether it is half as wide as the others.
    pub(crate) thin: bool,
    /// Where it goes, ascending in the first.
    pub(crate) points: Vec<(f64, f64)>,
}

/// What the page calls a stand-in colour.
pub(crate) fn variable(color: RGBColor) -> &'static str {
    let RGBColor(number, ..) = color;
    VARIABLES.get(usize::from(number).saturating_sub(1)).map_or("var(--ink)", |&(_, variable)| variable)
}

/// How the vertical axis is chosen.
#[derive(Clone, Copy)]
pub(crate) enum Scale {
    /// From 0 to this.
    To(f64),
    /// As the points need it, 0 always in sight.
    Free,
}

/// Draws curves over `span` of whatever the horizontal axis counts, which `along` puts in words.
pub(crate) fn draw(
    unit: &str,
    scale: Scale,
    curves: &[Curve],
    marks: &[Mark],
    span: f64,
    along: &dyn Fn(f64) -> String,
) -> String {
    let values = || curves.iter().flat_map(|curve| &curve.points).map(|&(_, value)| value);
    let (low, high) = match scale {
        Scale::To(high) => (0.0, high),
        Scale::Free => (values().fold(0.0, f64::min), values().fold(0.0, f64::max)),
    };
    // A flat line at zero still needs an axis.
    let room = if high > low { (high - low) * 0.06 } else { 1.0 };
    let mut svg = String::new();
    let drawn = chart(&mut svg, unit, (low, high + room), curves, marks, span, along);
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
    along: &dyn Fn(f64) -> String,
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
        .x_label_formatter(&|at| along(*at))
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
