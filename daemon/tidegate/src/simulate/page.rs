//! What a simulation came to as a page for a browser: one self-contained HTML file with charts, in the dossier's look.

use minijinja::context;
use serde::Serialize;

use super::fault::{Kind, Onset};
use super::study::Faulty;
use super::told::{PolicyTold, Report, cells, dash, long, plain, share};
use crate::report::plot::{Chart, Curve, FAINT, INK, LIMIT, MARK, SOURCE, Scale, TARGET, draw, variable};
use crate::report::{ReportError, STYLE, pages};
use crate::screen::format::count;

/// The most points of one line: more would not show.
const POINTS_MAX: usize = 400;
/// Lines of one chart in the order of the faults' sizes.
const COLORS: [plotters::style::RGBColor; 6] = [SOURCE, TARGET, LIMIT, MARK, INK, FAINT];

/// One policy, as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    file: String,
    done: String,
    median: String,
    p90: String,
    false_reverts: String,
    false_low: String,
    false_high: String,
    allowed: String,
    held: String,
    steps: Vec<[String; 5]>,
    faults: Vec<[String; 11]>,
}

/// The report as HTML.
///
/// # Errors
/// When the template cannot be filled in, which is a bug in it.
pub fn html(report: &Report, version: &str) -> Result<String, ReportError> {
    let mut environment = pages();
    environment.add_template("simulation", include_str!("../../assets/simulation.html"))?;
    let page = environment.get_template("simulation")?.render(context! {
        style => STYLE,
        service => report.baseline.service,
        baseline => report.baseline.file,
        length => long(report.baseline.seconds),
        by_hour => report.baseline.by_hour,
        rate => format!("{:.1}", report.baseline.requests_per_second),
        rate_min => format!("{:.1}", report.baseline.requests_per_second_min),
        rate_max => format!("{:.1}", report.baseline.requests_per_second_max),
        errors => share(report.baseline.errors),
        cutovers => count(report.cutovers.into()),
        cutovers_per_fault => count(report.cutovers_per_fault.into()),
        seed => report.seed.to_string(),
        warnings => report.warnings,
        policies => report.policies.iter().map(shown).collect::<Vec<_>>(),
        charts => charts(&report.policies),
        version => version,
    })?;
    Ok(page)
}

fn shown(policy: &PolicyTold) -> Shown {
    let healthy = &policy.study.healthy;
    let seconds = |of: fn(super::study::Spread) -> f64| healthy.seconds.map_or_else(dash, |seconds| long(of(seconds)));
    Shown {
        file: policy.file.clone(),
        done: plain(healthy.done),
        median: seconds(|seconds| seconds.median),
        p90: seconds(|seconds| seconds.p90),
        false_reverts: plain(healthy.false_reverts),
        false_low: share(healthy.false_reverts.low),
        false_high: share(healthy.false_reverts.high),
        allowed: share(policy.false_revert_max),
        held: plain(healthy.held),
        steps: healthy
            .steps
            .iter()
            .enumerate()
            .map(|(index, step)| {
                [
                    (index + 1).to_string(),
                    step.share.clone(),
                    step.seconds.map_or_else(dash, |seconds| long(seconds.median)),
                    step.seconds.map_or_else(dash, |seconds| long(seconds.p90)),
                    count(step.held),
                ]
            })
            .collect(),
        faults: policy.study.faults.iter().map(row).collect(),
    }
}

fn row(fault: &Faulty) -> [String; 11] {
    let [detected, stopped, missed, after, after_p90, at, bad, bad_p90, by] = cells(fault);
    let (name, words) = (fault.fault.to_string(), fault.words.clone());
    [name, words, detected, stopped, missed, after, after_p90, at, bad, bad_p90, by]
}

/// How long healthy cutovers take, and how soon each kind of fault is seen; the second policy's lines are dashed.
fn charts(policies: &[PolicyTold]) -> Vec<Chart> {
    let mut charts = Vec::new();
    let durations: Vec<Curve> = policies
        .iter()
        .enumerate()
        .filter(|(_, policy)| !policy.study.healthy.durations.is_empty())
        .map(|(index, policy)| {
            let of = policy.study.healthy.done.of;
            curve(policy.file.clone(), index, index > 0, &policy.study.healthy.durations, of)
        })
        .collect();
    charts.extend(chart(
        "How long a healthy cutover takes",
        "The share of all cutovers with a healthy target that are done by then, in percent.",
        durations,
    ));
    let kinds = [Kind::Errors, Kind::ClientErrors, Kind::Redirects, Kind::Latency, Kind::Tail, Kind::Outage];
    for kind in kinds {
        let mut curves = Vec::new();
        for (index, policy) in policies.iter().enumerate() {
            let faults =
                policy.study.faults.iter().filter(|fault| fault.fault.kind == kind && !fault.delays.is_empty());
            for (number, fault) in faults.enumerate() {
                let name = if policies.len() > 1 {
                    format!("{} ({})", fault.fault, policy.file)
                } else {
                    fault.fault.to_string()
                };
                let dashed = if policies.len() > 1 { index > 0 } else { fault.fault.onset != Onset::Start };
                curves.push(curve(name, number, dashed, &fault.delays, fault.met));
            }
        }
        let title = format!("How soon a fault is seen: {}", kind.name());
        charts.extend(chart(
            &title,
            "The share of the cutovers with that fault that are taken back so long after it began, in percent.",
            curves,
        ));
    }
    charts
}

/// The share of `of` that is at most each of the ascending `values`, as a line.
fn curve(name: String, color: usize, dashed: bool, values: &[f64], of: u64) -> Curve {
    let percent = |rank: usize| rank as f64 * 100.0 / of.max(1) as f64;
    let stride = values.len().div_ceil(POINTS_MAX).max(1);
    let mut points = vec![(0.0, 0.0)];
    // Steps, not slopes: between two cutovers nothing ended.
    for (index, &value) in
        values.iter().enumerate().filter(|(index, _)| index % stride == 0 || index + 1 == values.len())
    {
        let before = points.last().map_or(0.0, |&(_, y)| y);
        points.extend([(value, before), (value, percent(index + 1))]);
    }
    Curve { name, color: COLORS[color % COLORS.len()], dashed, thin: false, points }
}

/// A chart over time; `None` without lines.
fn chart(title: &str, caption: &str, mut curves: Vec<Curve>) -> Option<Chart> {
    let last = |curve: &Curve| curve.points.last().map_or(0.0, |&(x, _)| x);
    let span = curves.iter().map(last).fold(1.0, f64::max) * 1.02;
    for curve in &mut curves {
        let end = curve.points.last().copied();
        curve.points.extend(end.map(|(_, y)| (span, y)));
    }
    let (unit, seconds) = match span {
        span if span < 600.0 => ("s", 1.0),
        span if span < 4.0 * 3_600.0 => ("min", 60.0),
        _ => ("h", 3_600.0),
    };
    // In the unit that is written, so that the axis has round numbers.
    for point in curves.iter_mut().flat_map(|curve| &mut curve.points) {
        point.0 /= seconds;
    }
    let along = move |at: f64| format!("{} {unit}", (at * 10.0).round() / 10.0);
    (!curves.is_empty()).then(|| Chart {
        title: title.to_owned(),
        caption: caption.to_owned(),
        legend: curves.iter().map(|curve| (curve.name.clone(), variable(curve.color), curve.dashed)).collect(),
        svg: draw("%", Scale::To(100.0), &curves, &[], span / seconds, &along),
    })
}
