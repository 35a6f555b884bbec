//! Numbers as people read them.

use std::time::Duration;

use cutover::Timestamp;
use judge::GuardKind;

/// `412`, `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A share of requests (0 to 1) in percent, with as many digits as small shares need: `0 %`, `25.0 %`, `0.08 %`, `0.003 %`.
pub fn share(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 {
        return "0 %".to_owned();
    }
    let digits = match percent.abs() {
        p if p >= 10.0 => 1,
        p if p >= 0.1 => 2,
        p if p >= 0.001 => 3,
        _ => 4,
    };
    format!("{percent:.digits$} %")
}

/// Milliseconds: `8.4 ms`, `141 ms`, `2.31 s`.
pub fn millis(millis: f64) -> String {
    match millis {
        m if m >= 1000.0 => format!("{:.2} s", m / 1000.0),
        m if m >= 100.0 => format!("{m:.0} ms"),
        m => format!("{m:.1} ms"),
    }
}

/// A guard's figure in its own unit.
pub fn figure(guard: GuardKind, value: Option<f64>) -> String {
    match (guard, value) {
        (_, None) => "-".to_owned(),
        // A share of answers that are very slow, not how slow they are.
        (GuardKind::LatencySlow, Some(value)) => share(value),
        (guard, Some(value)) if guard.is_timed() => millis(value),
        (_, Some(value)) => share(value),
    }
}

/// A guard's name as operators say it.
pub fn guard(guard: GuardKind) -> &'static str {
    match guard {
        GuardKind::Errors => "errors",
        GuardKind::Success => "not 2xx/3xx",
        GuardKind::ClientErrors => "4xx",
        GuardKind::Redirects => "3xx",
        GuardKind::Latency => "latency",
        GuardKind::LatencyBody => "latency body",
        GuardKind::LatencyTail => "latency tail",
        GuardKind::LatencySlow => "very slow",
        GuardKind::LatencySteady => "latency steady",
        GuardKind::Exchange => "exchange",
        GuardKind::Baseline => "vs baseline",
    }
}

/// `40 ms`, `0.4 s`, `12 s`, `4 m 05 s`, `6 h 12 m`, `3 d 04 h`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.is_zero() => "0 s".to_owned(),
        0 if duration.as_millis() < 100 => format!("{} ms", duration.as_millis()),
        0..10 if duration.subsec_millis() > 0 => format!("{:.1} s", duration.as_secs_f64()),
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// How old something is: `1 s ago`; `just now` below a second.
pub fn age(now: Timestamp, then: Timestamp) -> String {
    let age = now.since(then);
    if age < Duration::from_secs(1) {
        "just now".to_owned()
    } else {
        format!("{} ago", duration(Duration::from_secs(age.as_secs())))
    }
}

/// The time of day in UTC: `02:25:03`.
pub fn clock(at: Timestamp) -> String {
    let seconds = at.0.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Evidence against the target: `1.0`, `12`, `> 1e6`.
pub fn evidence(factor: f64) -> String {
    match factor {
        f if f > 1e6 => "> 1e6".to_owned(),
        f if f >= 10.0 => format!("{f:.0}"),
        f => format!("{f:.2}"),
    }
}
