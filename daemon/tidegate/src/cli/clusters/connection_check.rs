//! `tidegate clusters connection-check`: who answers, and whether it lets us in.

use serde_json::{Map, Value, json};

use super::sides::Sides;
use super::{Context, Exit};
use crate::clusters::connection;

/// The arguments of `tidegate clusters connection-check`.
#[derive(Debug, clap::Args)]
pub(super) struct ConnectionCheck {
    #[command(flatten)]
    sides: Sides,
}

impl ConnectionCheck {
    pub(super) fn run(self: Box<Self>, context: &Context) -> anyhow::Result<Exit> {
        let named = self.sides.named()?;
        context.block_on(async {
            let mut exit = Exit::Done;
            let mut object = Map::new();
            for (title, key, cluster) in named.each() {
                let found = connection::check(cluster).await;
                let (value, text) = match found {
                    Ok(who) => {
                        let text = format!("ok: {}", who.told());
                        let mut value = serde_json::to_value(who)?;
                        value["ok"] = true.into();
                        (value, text)
                    }
                    Err(error) => {
                        exit = Exit::Error;
                        (json!({ "ok": false, "error": error.to_string() }), format!("NO: {error}"))
                    }
                };
                if !context.json {
                    context.print(&format!("{title}\n{text}\n\n"))?;
                }
                object.insert(key.to_owned(), value);
            }
            if context.json {
                context.print_json(&Value::Object(object))?;
            }
            Ok(exit)
        })
    }
}
