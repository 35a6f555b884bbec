//! Whether the target's disks have room below the watermarks that it has itself: above the low one no shard comes to a node,
//! and above the flood stage its indices take no writes (OpenSearch's guide, "Cluster settings": `cluster.routing.allocation.
//! disk.watermark.*`; 85 and 95 % where nobody says otherwise).

use cutover::event::{Check, CheckOutcome};
use serde_json::Value;

/// Where the watermarks are told, set or left.
pub(super) const SETTINGS: &str =
    "/_cluster/settings?include_defaults=true&filter_path=*.cluster.routing.allocation.disk";

/// Where each node's disk is told, in bytes.
pub(super) const ALLOCATION: &str = "/_cat/allocation?format=json&bytes=b";

/// How full a disk may be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mark {
    /// In percent of it.
    Used(f64),
    /// In bytes that stay free.
    Free(f64),
}

/// How full the cluster lets its disks become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Marks {
    enabled: bool,
    low: Mark,
    flood: Mark,
}

const USUAL: Marks = Marks { enabled: true, low: Mark::Used(85.0), flood: Mark::Used(95.0) };

impl Mark {
    /// A watermark as it is written: `85%`, `0.85`, or what stays free, such as `10gb`.
    fn of(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if let Some(percent) = text.strip_suffix('%') {
            return percent.trim().parse().ok().map(Self::Used);
        }
        if let Ok(ratio) = text.parse::<f64>() {
            return Some(Self::Used(ratio * 100.0));
        }
        let units = [("pb", 5), ("tb", 4), ("gb", 3), ("mb", 2), ("kb", 1), ("b", 0)];
        let (number, power) = units.iter().find_map(|(unit, power)| Some((text.strip_suffix(unit)?, *power)))?;
        number.trim().parse::<f64>().ok().map(|number| Self::Free(number * 1024_f64.powi(power)))
    }

    fn is_passed(self, disk: &Disk) -> bool {
        match self {
            Self::Used(percent) => disk.percent() >= percent,
            Self::Free(bytes) => disk.free <= bytes,
        }
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Used(percent) => write!(f, "{percent} %"),
            Self::Free(bytes) => write!(f, "{:.0} GiB free", bytes / 1024_f64.powi(3)),
        }
    }
}

impl Marks {
    /// As the cluster's settings say it; what they do not say is as usual.
    pub(super) fn of(settings: &Value) -> Self {
        let said = |path: &str| {
            let layers = ["transient", "persistent", "defaults"];
            layers.iter().find_map(|layer| {
                settings.pointer(&format!("/{layer}/cluster/routing/allocation/disk/{path}"))?.as_str()
            })
        };
        let mark = |path, usual| said(path).and_then(Mark::of).unwrap_or(usual);
        Self {
            enabled: said("threshold_enabled") != Some("false"),
            low: mark("watermark/low", USUAL.low),
            flood: mark("watermark/flood_stage", USUAL.flood),
        }
    }
}

/// A node's disk, in bytes.
struct Disk {
    node: String,
    total: f64,
    free: f64,
}

impl Disk {
    fn of(told: &Value) -> Option<Self> {
        let number = |key: &str| match told.get(key)? {
            Value::String(text) => text.parse::<f64>().ok(),
            other => other.as_f64(),
        };
        let node = told.get("node").and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Self { node, total: number("disk.total")?, free: number("disk.avail")? })
    }

    fn percent(&self) -> f64 {
        if self.total > 0.0 { (1.0 - self.free / self.total) * 100.0 } else { 0.0 }
    }
}

/// The fullest disk, against the watermarks; the usual ones where nobody told them.
pub(super) fn check(told: &Value, marks: Option<&Marks>) -> Option<Check> {
    let disks: Vec<Disk> = told.as_array()?.iter().filter_map(Disk::of).collect();
    let fullest = disks.iter().max_by(|one, other| one.percent().total_cmp(&other.percent()))?;
    let assumed = if marks.is_none() { ", as is usual: its settings may not be read" } else { "" };
    let marks = marks.copied().unwrap_or(USUAL);
    let seen = format!("the fullest, of {}, is at {:.0} %", fullest.node, fullest.percent());
    if !marks.enabled {
        return Some(Check::new(
            "smoke: disks",
            CheckOutcome::Pass,
            format!("{seen}; the cluster looks at no watermarks"),
            "",
        ));
    }
    let outcome = match &disks {
        _ if disks.iter().any(|disk| marks.flood.is_passed(disk)) => CheckOutcome::Fail,
        _ if disks.iter().any(|disk| marks.low.is_passed(disk)) => CheckOutcome::Warn,
        _ => CheckOutcome::Pass,
    };
    let evidence = format!("{seen}; the low watermark is {}, the flood stage {}{assumed}", marks.low, marks.flood);
    Some(Check::new("smoke: disks", outcome, evidence, "make room: above the flood stage nothing takes writes"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

    fn disk(node: &str, free: u64) -> Value {
        json!({"node": node, "disk.total": (100.0 * GIB).to_string(), "disk.avail": ((free as f64) * GIB).to_string()})
    }

    #[test]
    fn disks_are_held_to_the_clusters_own_watermarks() {
        // Proves that percent, ratios and bytes are read, that what is set stands above what is left, that a node which has no
        // disk is none, and that usual watermarks are assumed only where the cluster's are not told.
        let outcome = |free: u64, marks: Option<&Marks>| {
            let none = json!({"node": "UNASSIGNED", "disk.total": null});
            check(&json!([disk("a", 50), disk("b", free), none]), marks).unwrap().outcome
        };
        assert_eq!(
            [50, 10, 4].map(|free| outcome(free, None)),
            [CheckOutcome::Pass, CheckOutcome::Warn, CheckOutcome::Fail]
        );
        let of = |low: &str, flood: &str| {
            let disk = json!({"threshold_enabled": "true", "watermark": {"low": low, "flood_stage": flood}});
            let usual = json!({"threshold_enabled": "false", "watermark": {"low": "1%", "flood_stage": "1%"}});
            let nested = |disk: Value| json!({"cluster": {"routing": {"allocation": {"disk": disk}}}});
            Marks::of(&json!({"persistent": nested(disk), "defaults": nested(usual)}))
        };
        assert_eq!(of("60%", "0.7"), Marks { enabled: true, low: Mark::Used(60.0), flood: Mark::Used(70.0) });
        assert_eq!(
            [45, 35, 25].map(|free| outcome(free, Some(&of("60%", "0.7")))),
            [CheckOutcome::Pass, CheckOutcome::Warn, CheckOutcome::Fail]
        );
        let bytes = of("40gb", "20gb");
        assert_eq!((bytes.low, bytes.flood.to_string()), (Mark::Free(40.0 * GIB), "20 GiB free".to_owned()));
        assert_eq!(
            [45, 35, 15].map(|free| outcome(free, Some(&bytes))),
            [CheckOutcome::Pass, CheckOutcome::Warn, CheckOutcome::Fail]
        );
        let off = Marks { enabled: false, ..USUAL };
        assert_eq!(outcome(1, Some(&off)), CheckOutcome::Pass);
        assert!(check(&json!([]), None).is_none() && check(&json!({"took": 1}), None).is_none());
        assert_eq!(Marks::of(&json!({})), USUAL);
    }
}
