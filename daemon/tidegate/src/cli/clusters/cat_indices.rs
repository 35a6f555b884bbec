//! `tidegate clusters cat-indices`: the seed page's two tables.

use serde_json::{Map, Value, json};

use super::sides::{Named, Sides};
use super::{Context, Exit};
use crate::clusters::indices;

/// The arguments of `tidegate clusters cat-indices`.
#[derive(Debug, clap::Args)]
pub(super) struct CatIndices {
    #[command(flatten)]
    sides: Sides,
    /// Refresh every index first, so that what was written just now is counted.
    #[arg(long)]
    refresh: bool,
}

impl CatIndices {
    pub(super) fn run(self: Box<Self>, context: &Context) -> anyhow::Result<Exit> {
        let named = self.sides.named()?;
        if !self.refresh {
            context.say("the counts may be stale; --refresh brings them up to date first")?;
        }
        context.block_on(shown(&named, self.refresh, context))
    }
}

/// Prints each cluster's table, or in its place why there is none.
async fn shown(named: &Named, refresh: bool, context: &Context) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    let mut object = Map::new();
    for (title, key, cluster) in named.each() {
        let refreshed = if refresh { cluster.refresh().await } else { Ok(()) };
        if context.json {
            let told = match refreshed {
                Ok(()) => indices::rows(cluster).await,
                Err(error) => Err(error),
            };
            let told = told.unwrap_or_else(|error| {
                exit = Exit::Error;
                json!({ "error": error.to_string() })
            });
            object.insert(key.to_owned(), told);
        } else {
            let told = match refreshed {
                Ok(()) => indices::table(cluster).await,
                Err(error) => Err(error),
            };
            let told = told.unwrap_or_else(|error| {
                exit = Exit::Error;
                format!("{error}\n")
            });
            context.print(&format!("{title}\n{}\n\n", told.trim_end()))?;
        }
    }
    if context.json {
        context.print_json(&Value::Object(object))?;
    }
    Ok(exit)
}
