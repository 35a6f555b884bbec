//! `tidegate clusters compare`: the documents of both clusters, index by index.

use std::fmt::Write as _;

use anyhow::bail;
use serde_json::json;

use super::sides::Sides;
use super::{Context, Exit};
use crate::clusters::compare::{Comparison, Options, Rename, Row, Tolerance, Verdict, compare};

/// The arguments of `tidegate clusters compare`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
As a gate of a policy: kind = \"command\", argv = [\"tidegate\", \"clusters\", \"compare\", \"--policy\", \"FILE\", \
\"--tolerance\", \"0.5%\", \"--later\"]. Equal counts do not prove equal documents.")]
pub(super) struct Compare {
    #[command(flatten)]
    sides: Sides,
    /// Refresh every index first, so that what was written just now is counted.
    #[arg(long)]
    refresh: bool,
    /// How far the counts of an index may be apart, for writes that come while it is counted: a number of documents, or a
    /// part of the source's, such as `0.5%`.
    #[arg(long, value_name = "N|P%", default_value = "0")]
    tolerance: Tolerance,
    /// What an index, or data stream, of the source is called on the target; one `*` on both sides stands for the same
    /// text. Repeatable, the first that fits decides. Several that get one name are compared by their sum.
    #[arg(long = "rename", value_name = "OLD=NEW")]
    renames: Vec<Rename>,
    /// Compare only what this pattern fits, such as `logs-*`; repeatable.
    #[arg(long = "index", value_name = "PATTERN")]
    only: Vec<String>,
    /// Leave out what this pattern fits; repeatable.
    #[arg(long = "except", value_name = "PATTERN")]
    except: Vec<String>,
    /// Exit with 75 instead of 1 when they do not agree or cannot be asked: a gate that calls this asks again until its own
    /// time-out.
    #[arg(long)]
    later: bool,
}

impl Compare {
    pub(super) fn run(self: Box<Self>, context: &Context) -> anyhow::Result<Exit> {
        let not_yet = if self.later { Exit::Later } else { Exit::Error };
        let named = self.sides.named()?;
        let (Some(source), Some(target)) = (named.source, named.target) else {
            bail!("a comparison needs both clusters: `--source URL` and `--target URL`, or `--policy FILE`");
        };
        let options =
            Options { only: self.only, except: self.except, renames: self.renames, tolerance: self.tolerance };
        let found = context.block_on(async {
            if self.refresh {
                let (of_source, of_target) = tokio::join!(source.refresh(), target.refresh());
                of_source.and(of_target)?;
            }
            Ok(compare(&source, &target, &options).await?)
        });
        let found = match found {
            Ok(found) => found,
            Err(error) if self.later => {
                context.say(&format!("tidegate: {error:#}"))?;
                if context.json {
                    context.print_json(&json!({ "ok": false, "error": format!("{error:#}") }))?;
                }
                return Ok(not_yet);
            }
            Err(error) => return Err(error),
        };
        if context.json {
            context.print_json(&found)?;
        } else {
            context.print(&told(&found, options.tolerance))?;
        }
        Ok(if found.ok { Exit::Done } else { not_yet })
    }
}

fn verdict(row: &Row, tolerance: Tolerance) -> String {
    match (row.verdict, &row.why) {
        (Verdict::Same, _) => "same".to_owned(),
        (Verdict::Within, _) => format!("within {tolerance}"),
        (Verdict::Differs, _) => "DIFFERS".to_owned(),
        (Verdict::Missing, _) => "MISSING on the target".to_owned(),
        (Verdict::Extra, _) => "only on the target".to_owned(),
        (Verdict::Unknown, Some(why)) => format!("UNKNOWN: {why}"),
        (Verdict::Unknown, None) => "UNKNOWN".to_owned(),
    }
}

/// The comparison for a person.
fn told(found: &Comparison, tolerance: Tolerance) -> String {
    let name = |row: &Row| {
        if row.index == row.target_index { row.index.clone() } else { format!("{} -> {}", row.index, row.target_index) }
    };
    let width = found.indices.iter().map(|row| name(row).chars().count()).max().unwrap_or_default().max(5);
    let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let mut text = format!("{:<width$}  {:>12}  {:>12}  {:>10}\n", "index", "source", "target", "difference");
    for row in &found.indices {
        let apart = match (row.source, row.target) {
            (Some(source), Some(target)) => (i128::from(target) - i128::from(source)).to_string(),
            (None, _) | (_, None) => "-".to_owned(),
        };
        let (name, source, target) = (name(row), count(row.source), count(row.target));
        let verdict = verdict(row, tolerance);
        writeln!(text, "{name:<width$}  {source:>12}  {target:>12}  {apart:>10}  {verdict}")
            .expect("a String takes everything");
    }
    for (side, system) in [("source", &found.source_system), ("target", &found.target_system)] {
        if !system.is_empty() {
            writeln!(text, "not compared, of the {side}'s own: {}", system.join(", "))
                .expect("a String takes everything");
        }
    }
    let wrong = found.indices.iter().filter(|row| row.verdict.is_wrong()).count();
    let compared = found.indices.iter().filter(|row| row.verdict != Verdict::Extra).count();
    let end = match (compared, wrong) {
        (0, _) => "there is nothing to compare, which proves nothing".to_owned(),
        (_, 0) => format!("they agree in {compared} indices"),
        (_, _) => format!("{wrong} of {compared} indices stand in the way"),
    };
    writeln!(text, "{end}").expect("a String takes everything");
    text
}
