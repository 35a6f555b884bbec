//! `tidegate baseline import`: counts that somebody else wrote down, as a baseline.

use std::path::PathBuf;

use anyhow::Context as _;
use cutover::baseline::file::{IMPORT_BYTES_MAX, Totals, record};
use cutover::baseline::{Class, Document, Origin};

use super::{Output, refused, tool};
use crate::cli::{Context, Exit};
use crate::{baselines, clock};

/// The arguments of `tidegate baseline import`.
///
/// Columns (or JSON keys): time, requests, 5xx; if known 2xx, 3xx, 4xx, failed, abandoned, latency as `le_25ms` (answers
/// within 25 ms, as running totals over the columns, `le_inf` for all), service. Rows are equally long, in order of time,
/// without gaps.
#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// The file: CSV with names in its first line, or JSON, an array of flat objects or an object a line.
    file: PathBuf,
    /// The service whose source was counted.
    #[arg(long, value_name = "NAME")]
    service: String,
    /// Which requests were counted: `all`, or `reads` alone.
    #[arg(long, value_name = "CLASS", default_value = "all", value_parser = class)]
    class: Class,
    /// The counts are running totals, as a counter shows them.
    #[arg(long)]
    totals: bool,
    #[command(flatten)]
    output: Output,
}

fn class(text: &str) -> Result<Class, String> {
    match text {
        "all" => Ok(Class::All),
        "reads" => Ok(Class::Reads),
        _ => Err("say `all` or `reads`".to_owned()),
    }
}

impl Import {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        self.output.check()?;
        let name = self.file.display().to_string();
        let text = baselines::text(&self.file, IMPORT_BYTES_MAX).with_context(|| format!("cannot read `{name}`"))?;
        let totals = if self.totals { Totals::Running } else { Totals::Each };
        let record = record(&text, &name, &self.service, totals).map_err(|refusals| refused(&refusals))?;
        let document = Document {
            service: self.service,
            source: format!("the file {name}"),
            origin: Origin::File,
            tool: tool(),
            written: clock::now(),
            class: self.class,
            record,
            reads: None,
        };
        self.output.write(&document, context)?;
        Ok(Exit::Done)
    }
}
