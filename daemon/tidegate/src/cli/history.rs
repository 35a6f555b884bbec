//! `tidegate history`: the journal of a service, one decision a line.

use super::api::Api;
use super::{Context, Exit};
use crate::clock::rfc3339;
use crate::store::{ENTRIES_MAX, Entry};

/// The arguments of `tidegate history`.
#[derive(Debug, clap::Args)]
pub struct History {
    /// The service.
    service: String,
    /// Only of this cutover.
    #[arg(long, value_name = "ID")]
    cutover: Option<String>,
    /// Only entries after this one.
    #[arg(long, value_name = "ENTRY", default_value_t = 0)]
    after: u64,
}

impl History {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        context.block_on(async {
            let api = Api::new(context)?;
            let only = self.cutover.map(|cutover| format!("&cutover={cutover}")).unwrap_or_default();
            let mut after = self.after;
            let mut found = false;
            let mut all = Vec::new();
            loop {
                let path = format!("/v1/cutovers/{}/journal?after={after}&limit={ENTRIES_MAX}{only}", self.service);
                let entries: Vec<Entry> = api.get(&path).await?;
                let Some(last) = entries.last() else { break };
                after = last.id;
                found = true;
                if context.json {
                    all.extend(entries);
                } else {
                    context.print(&entries.iter().map(line).collect::<Vec<_>>().concat())?;
                }
            }
            if context.json {
                context.print_json(&all)?;
            } else if !found {
                context.say(&format!("the journal has no such entry of {}", self.service))?;
            }
            Ok(Exit::Done)
        })
    }
}

fn line(entry: &Entry) -> String {
    let (at, phase, desired) = (rfc3339(entry.at), entry.next.phase.name(), entry.next.desired.to_string());
    format!("#{:<5} {at}  {phase:9} {desired:>6}  {}\n", entry.id, entry.reason.text)
}
