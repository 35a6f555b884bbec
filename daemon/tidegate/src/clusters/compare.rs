//! Whether the documents of two clusters agree, index by index.
//!
//! It counts and does not look into documents: equal counts do not prove equal documents. A count that cannot be had is
//! *unknown* and never agreement; neither is a comparison of nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde::Serialize;
use tokio::task::JoinSet;

use super::indices::{self, Index};
use super::{Cluster, ClusterError};

/// How many indices are counted at once: a source under load is asked gently.
const COUNTED_AT_ONCE: usize = 4;

/// How far counts may be apart, since both sides take writes while they are counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// So many documents.
    Documents(u64),
    /// A part of the source's documents, in percent.
    Percent(f64),
}

/// A name on the source and what it is called on the target. One `*` on both sides stands for the same text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    from: String,
    to: String,
}

/// Why an option has no meaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Not a tolerance.
    #[error("`{0}` is no tolerance; write a number of documents (`100`) or a part of the source's (`0.5%`)")]
    Tolerance(String),
    /// Not a renaming.
    #[error("`{0}` is no renaming; write `OLD=NEW`, with one `*` on both sides or on none")]
    Rename(String),
}

impl FromStr for Tolerance {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let wrong = || OptionError::Tolerance(text.to_owned());
        match text.strip_suffix('%') {
            Some(percent) => match percent.trim().parse::<f64>() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            },
            None => text.parse().map(Self::Documents).map_err(|_| wrong()),
        }
    }
}

impl std::fmt::Display for Tolerance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Documents(1) => f.write_str("1 document"),
            Self::Documents(count) => write!(f, "{count} documents"),
            Self::Percent(percent) => write!(f, "{percent} %"),
        }
    }
}

impl FromStr for Rename {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let wrong = || OptionError::Rename(text.to_owned());
        let (from, to) = text.split_once('=').ok_or_else(wrong)?;
        let stars = |name: &str| name.matches('*').count();
        if from.is_empty() || to.is_empty() || stars(from) > 1 || stars(from) != stars(to) {
            return Err(wrong());
        }
        Ok(Self { from: from.to_owned(), to: to.to_owned() })
    }
}

impl Rename {
    /// What a name of the source is called on the target, if this speaks of it.
    fn apply(&self, name: &str) -> Option<String> {
        match self.from.split_once('*') {
            None => (self.from == name).then(|| self.to.clone()),
            Some((head, tail)) => {
                let middle = name.strip_prefix(head)?.strip_suffix(tail)?;
                Some(self.to.replacen('*', middle, 1))
            }
        }
    }
}

/// Whether `name` is one of those that `pattern` stands for, in which each `*` is any text.
pub fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// What is compared, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only the source's indices that one of these patterns fits, and what they are called on the target; all when empty.
    pub only: Vec<String>,
    /// None of the indices that one of these patterns fits.
    pub except: Vec<String>,
    /// What is called otherwise on the target; the first that speaks of a name decides.
    pub renames: Vec<Rename>,
    /// How far counts may be apart.
    pub tolerance: Tolerance,
}

/// What was found of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Both sides have the same number of documents.
    Same,
    /// They are apart by no more than the tolerance.
    Within,
    /// They are apart by more.
    Differs,
    /// Only the source has this index.
    Missing,
    /// Only the target has this index. It is named; nothing of the source is lost by it.
    Extra,
    /// It could not be counted.
    Unknown,
}

impl Verdict {
    /// Whether this stands in the way of "they agree".
    pub fn is_wrong(self) -> bool {
        match self {
            Self::Differs | Self::Missing | Self::Unknown => true,
            Self::Same | Self::Within | Self::Extra => false,
        }
    }
}

/// One index, or data stream, of both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name on the source; what it would be called there, for one of the target alone.
    pub index: String,
    /// Its name on the target.
    pub target_index: String,
    /// How many documents the source has in it.
    pub source: Option<u64>,
    /// How many the target has.
    pub target: Option<u64>,
    /// What follows.
    pub verdict: Verdict,
    /// Why it could not be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Whether the documents of both sides agree.
    pub ok: bool,
    /// The indices, by name.
    pub indices: Vec<Row>,
    /// The source's system indices, which are not compared: each cluster has its own.
    pub source_system: Vec<String>,
    /// The target's.
    pub target_system: Vec<String>,
}

/// The indices of both sides, put beside each other before anything is counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Paired {
    pairs: Vec<Pair>,
    source_system: Vec<String>,
    target_system: Vec<String>,
}

/// One name and what holds its documents on each side; empty where the side has none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    index: String,
    target_index: String,
    source: Vec<Index>,
    target: Vec<Index>,
}

/// Puts the indices of both sides beside each other. Several of the source that go into one of the target are one row, by
/// their sum.
fn pair(source: Vec<Index>, target: Vec<Index>, options: &Options) -> Paired {
    let wanted = |name: &str| {
        (options.only.is_empty() || options.only.iter().any(|pattern| fits(pattern, name)))
            && !options.except.iter().any(|pattern| fits(pattern, name))
    };
    let mut paired = Paired::default();
    let mut target = indices::by_name(target);
    // Sources that are merged into one index of the target are compared by their sum.
    let mut merged: BTreeMap<String, (Vec<String>, Vec<Index>)> = BTreeMap::new();
    let mut left_out = BTreeSet::new();
    for (name, found) in indices::by_name(source) {
        if indices::is_system(&name) {
            paired.source_system.push(name);
            continue;
        }
        let to = options.renames.iter().find_map(|rename| rename.apply(&name)).unwrap_or_else(|| name.clone());
        if wanted(&name) {
            let (names, sum) = merged.entry(to).or_default();
            names.push(name);
            sum.extend(found);
        } else {
            left_out.insert(to);
        }
    }
    for (to, (names, source)) in merged {
        let target = target.remove(&to).unwrap_or_default();
        paired.pairs.push(Pair { index: names.join("+"), target_index: to, source, target });
    }
    for (name, found) in target {
        if indices::is_system(&name) {
            paired.target_system.push(name);
        } else if wanted(&name) && !left_out.contains(&name) {
            paired.pairs.push(Pair { index: name.clone(), target_index: name, source: Vec::new(), target: found });
        }
    }
    paired.pairs.sort_by(|a, b| a.index.cmp(&b.index));
    paired
}

/// What two counts mean.
fn judge(source: u64, target: u64, tolerance: Tolerance) -> Verdict {
    let apart = source.abs_diff(target);
    let within = match tolerance {
        Tolerance::Documents(documents) => apart <= documents,
        Tolerance::Percent(percent) => apart as f64 <= source as f64 * percent / 100.0,
    };
    match (apart, within) {
        (0, _) => Verdict::Same,
        (_, true) => Verdict::Within,
        (_, false) => Verdict::Differs,
    }
}

/// The documents of all of `found`; `None` for none.
async fn counted(cluster: &Cluster, found: &[Index]) -> Result<Option<u64>, ClusterError> {
    let mut sum = None;
    for Index { index, status } in found {
        if status.as_deref() == Some("close") {
            return Err(
                cluster.odd(&format!("/{index}"), "it is closed, so its documents cannot be counted".to_owned())
            );
        }
        sum = Some(sum.unwrap_or(0) + indices::count(cluster, index).await?);
    }
    Ok(sum)
}

async fn row(pair: Pair, source: Cluster, target: Cluster, tolerance: Tolerance) -> Row {
    // At the same time, so that what is written meanwhile weighs as little as can be.
    let (of_source, of_target) = tokio::join!(counted(&source, &pair.source), counted(&target, &pair.target));
    let Pair { index, target_index, .. } = pair;
    let wrong = [of_source.as_ref().err(), of_target.as_ref().err()];
    let why: Vec<String> = wrong.into_iter().flatten().map(ToString::to_string).collect();
    let (source, target) = (of_source.unwrap_or_default(), of_target.unwrap_or_default());
    let verdict = match (source, target) {
        _ if !why.is_empty() => Verdict::Unknown,
        (Some(source), Some(target)) => judge(source, target, tolerance),
        (Some(_), None) => Verdict::Missing,
        (None, _) => Verdict::Extra,
    };
    let why = (!why.is_empty()).then(|| why.join("; "));
    Row { index, target_index, source, target, verdict, why }
}

/// Counts the documents of both clusters and puts them beside each other.
///
/// # Errors
/// When a cluster does not say which indices it has.
pub async fn compare(source: &Cluster, target: &Cluster, options: &Options) -> Result<Comparison, ClusterError> {
    let (of_source, of_target) = tokio::join!(indices::list(source), indices::list(target));
    let Paired { pairs, source_system, target_system } = pair(of_source?, of_target?, options);
    let mut rows = Vec::with_capacity(pairs.len());
    let mut counting = JoinSet::new();
    for pair in pairs {
        if counting.len() >= COUNTED_AT_ONCE {
            rows.extend(counting.join_next().await.map(counted_row));
        }
        counting.spawn(row(pair, source.clone(), target.clone(), options.tolerance));
    }
    while let Some(ended) = counting.join_next().await {
        rows.push(counted_row(ended));
    }
    rows.sort_by(|a, b| a.index.cmp(&b.index));
    let compared = rows.iter().any(|row| row.verdict != Verdict::Extra);
    let ok = compared && !rows.iter().any(|row| row.verdict.is_wrong());
    Ok(Comparison { ok, indices: rows, source_system, target_system })
}

fn counted_row(ended: Result<Row, tokio::task::JoinError>) -> Row {
    ended.expect("counting an index does not panic, and nobody else can abort it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(renames: &[&str], only: &[&str], except: &[&str]) -> Options {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Options {
            only: owned(only),
            except: owned(except),
            renames: renames.iter().map(|text| text.parse().unwrap()).collect(),
            tolerance: Tolerance::Documents(0),
        }
    }

    fn index(name: &str) -> Index {
        Index { index: name.to_owned(), status: None }
    }

    fn pairs(source: &[&str], target: &[&str], options: &Options) -> Vec<String> {
        let indices = |names: &[&str]| names.iter().map(|name| index(name)).collect();
        let told =
            |pair: &Pair| format!("{}>{} {}:{}", pair.index, pair.target_index, pair.source.len(), pair.target.len());
        pair(indices(source), indices(target), options).pairs.iter().map(told).collect()
    }

    /// Proves what is put beside what: renamed, merged, backing indices of a stream as one, and what one side has alone.
    #[test]
    fn names_are_put_beside_each_other() {
        let source = [".kibana_1", "a", "logs-1", "logs-2", ".ds-s-000001", ".ds-s-000002", "only"];
        let target = [".security", "a", "old-1", "old-2", ".ds-s-2026.11.22-000001", "more"];
        assert_eq!(
            pairs(&source, &target, &options(&["logs-*=old-*"], &[], &[])),
            ["a>a 1:1", "logs-1>old-1 1:1", "logs-2>old-2 1:1", "more>more 0:1", "only>only 1:0", "s>s 2:1"]
        );
        assert_eq!(pairs(&["x", "y"], &["z"], &options(&["x=z", "y=z"], &[], &[])), ["x+y>z 2:1"]);
        assert_eq!(pairs(&source, &target, &options(&[], &["a", "o*"], &["old-*"])), ["a>a 1:1", "only>only 1:0"]);
        // What is left out on the source is no surprise on the target, under whatever name.
        assert_eq!(pairs(&["a", "b"], &["a", "c"], &options(&["b=c"], &[], &["b"])), ["a>a 1:1"]);
    }

    /// Proves what is within a tolerance, at its edge and one beyond.
    #[test]
    fn a_tolerance_ends_where_it_says() {
        let of = |text: &str, source, target| judge(source, target, text.parse().unwrap());
        assert_eq!([of("0", 5, 5), of("0", 5, 4)], [Verdict::Same, Verdict::Differs]);
        assert_eq!([of("2", 5, 7), of("2", 5, 8)], [Verdict::Within, Verdict::Differs]);
        assert_eq!([of("1 %", 200, 198), of("1%", 200, 197)], [Verdict::Within, Verdict::Differs]);
        assert_eq!(of("5%", 0, 1), Verdict::Differs, "a part of nothing is nothing");
        for wrong in ["", "-1", "1.5", "101%", "x%", "%"] {
            assert!(wrong.parse::<Tolerance>().is_err(), "{wrong}");
        }
        for wrong in ["a", "=b", "a=", "a*=b", "a*b*=c*d*"] {
            assert!(wrong.parse::<Rename>().is_err(), "{wrong}");
        }
    }

    /// Proves that a star stands for any text, and only a star does.
    #[test]
    fn a_pattern_fits_as_in_an_index_name() {
        for (pattern, name) in [("*", ""), ("a*", "a"), ("*-1", "x-1-1"), ("a*b*c", "a-b-b-c"), ("a", "a")] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("a*b", "a"), ("a*c*c", "a-c"), ("", "a")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
