//! How rows of the tables are named on a command line.
//!
//! The rule: lower case, and every run of characters that are not a letter, a digit or a dot is one dash, none at the
//! ends. `latency jitter + GC` is `latency-jitter-gc`, `5xx .1->.2%` is `5xx-.1-.2`. Other spellings are taken where only
//! one row can be meant: a zero before the dot, dashes left out, the beginning of a name.

use super::world::{Row, beyond, healthy, regressions};

/// A row's name.
pub fn spelled(row: &str) -> String {
    let mut name = String::with_capacity(row.len());
    for character in row.to_lowercase().chars() {
        if character.is_ascii_alphanumeric() || character == '.' {
            name.push(character);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    name.trim_matches('-').to_owned()
}

/// A name without what may be left out: a zero before a dot, and dashes.
fn bare(name: &str) -> String {
    let mut bare = String::with_capacity(name.len());
    let spelled = spelled(name);
    let mut before = ' ';
    for (at, character) in spelled.char_indices() {
        let point = spelled[at..].starts_with("0.") && !before.is_ascii_digit() && before != '.';
        if character != '-' && !point {
            bare.push(character);
        }
        before = character;
    }
    bare
}

/// The rows that a name means: one row of either table or beyond them, `all` (or `table-a`) for the healthy services, `table-b` for the
/// regressions.
///
/// # Errors
/// When no row, or more than one, can be meant; the message names those that can.
pub fn rows(name: &str) -> Result<Vec<Row>, String> {
    match spelled(name).as_str() {
        "all" | "table-a" => return Ok(healthy()),
        "table-b" => return Ok(regressions()),
        _ => {}
    }
    let all: Vec<Row> = healthy().into_iter().chain(regressions()).chain(beyond()).collect();
    let letters = |name: &str| name.replace('.', "");
    let (asked, asked_bare) = (spelled(name), bare(name));
    let ways: [&dyn Fn(&str) -> bool; 4] = [
        &|row| spelled(row) == asked,
        &|row| bare(row) == asked_bare,
        &|row| letters(&bare(row)) == letters(&asked_bare),
        &|row| !asked_bare.is_empty() && bare(row).starts_with(&asked_bare),
    ];
    let mut meant: Vec<Row> = Vec::new();
    for fits in ways {
        meant = all.iter().filter(|row| fits(row.row)).cloned().collect();
        if meant.len() == 1 {
            return Ok(meant);
        }
    }
    let (why, candidates) =
        if meant.is_empty() { ("there is no world", &all) } else { ("more than one world is meant by", &meant) };
    let names: Vec<String> = candidates.iter().map(|row| format!("  {}", spelled(row.row))).collect();
    Err(format!("{why} `{name}`; there are `all`, `table-b` and\n{}", names.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let all: Vec<Row> = healthy().into_iter().chain(regressions()).chain(beyond()).collect();
        for row in &all {
            let name = spelled(row.row);
            assert_eq!(rows(&name).unwrap(), std::slice::from_ref(row), "{name}");
            assert_eq!(rows(row.row).unwrap(), std::slice::from_ref(row), "{name}");
        }
        assert_eq!(all.len(), 26);
    }

    #[test]
    fn names_are_spelled_by_the_rule() {
        for (row, name) in [
            ("latency jitter + GC", "latency-jitter-gc"),
            ("AR(1) shared .5 + own .3", "ar-1-shared-.5-own-.3"),
            ("heavy GC 8%x5%", "heavy-gc-8-x5"),
            ("base err 1%, jitter", "base-err-1-jitter"),
            ("5xx .1->1% (CV .5)", "5xx-.1-1-cv-.5"),
        ] {
            assert_eq!(spelled(row), name);
        }
    }

    #[test]
    fn other_spellings_mean_the_row_they_can_mean() {
        for (asked, row) in [
            ("ar1-shared-0.6", "AR(1) shared .6"),
            ("beta-binomial-cv-0.5", "beta-binomial CV .5"),
            ("beta-binomial-cv-5", "beta-binomial CV .5"),
            ("heavy-gc-8x5", "heavy GC 8%x5%"),
            ("extreme", "EXTREME own AR sd.4 rho.9"),
            ("benign", "benign: lat +3%, err x1.05"),
            ("5xx-1-2", "5xx 1->2%"),
            ("5xx-0.1-0.2", "5xx .1->.2%"),
            ("p99-x2", "p99 x2"),
            ("total-outage", "total outage"),
        ] {
            assert_eq!(rows(asked).unwrap()[0].row, row, "{asked}");
        }
        assert!(rows("p99").unwrap_err().contains("p99-x1.5"));
        assert!(rows("sunshine").unwrap_err().contains("iid-binomial"));
        assert!(rows("").is_err());
    }
}
