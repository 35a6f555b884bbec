//! The dossier's charts: which lines there are, and what they show.

use cutover::Timestamp;
use judge::Side;

use super::Sample;
use super::plot::{Chart, Curve, FAINT, INK, LIMIT, Mark, SOURCE, Scale, TARGET, draw, variable};

/// The most points of one line: more would not show, and a cutover of days has very many intervals.
const POINTS_MAX: usize = 1500;

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
    let curve = |name: &str, color, dashed, value: &dyn Fn(&Sample) -> Option<f64>| Curve {
        name: name.to_owned(),
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
            legend: curves.iter().map(|curve| (curve.name.clone(), variable(curve.color), curve.dashed)).collect(),
            svg: draw(unit, scale, &curves, marks, span, &|seconds| format!("{seconds:.0} s")),
        })
        .collect()
}

/// Seconds since the start, with a fraction.
pub(super) fn seconds(at: Timestamp, start: Timestamp) -> f64 {
    at.0.saturating_sub(start.0) as f64 / 1000.0
}
