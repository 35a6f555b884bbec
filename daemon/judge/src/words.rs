//! Numbers as people read them.

/// A share (0 to 1) in percent, with as many digits as say something.
pub(crate) fn share(share: f64) -> String {
    let percent = share * 100.0;
    let digits = match percent {
        p if p == 0.0 || p >= 10.0 => 0,
        p if p >= 1.0 => 1,
        p if p >= 0.1 => 2,
        p if p >= 0.01 => 3,
        _ => 4,
    };
    let text = format!("{percent:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

/// How much worse a ratio allows: 1.1 is `10 %`, 1.044 is `4.4 %`.
pub(crate) fn excess(ratio: f64) -> String {
    share((ratio - 1.0).max(0.0))
}

/// A count with thin groups of thousands: `12,345`.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds as `0.8 ms`, `61 ms` or `2.4 s`.
pub(crate) fn millis(millis: f64) -> String {
    match millis {
        m if m < 10.0 => format!("{m:.1} ms"),
        m if m < 1_000.0 => format!("{m:.0} ms"),
        m => format!("{:.1} s", m / 1_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!([0.0, 0.5, 0.0123, 0.0012, 0.00012].map(share), ["0 %", "50 %", "1.2 %", "0.12 %", "0.012 %"]);
        assert_eq!([1.1, 1.044, 2.0].map(excess), ["10 %", "4.4 %", "100 %"]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.83, 61.4, 2_400.0].map(millis), ["0.8 ms", "61 ms", "2.4 s"]);
    }
}
