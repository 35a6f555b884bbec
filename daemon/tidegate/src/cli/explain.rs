//! `tidegate explain`: why a cutover is where it is, in sentences: each guard with its numbers, and what is missing.

use super::api::Api;
use super::status::next;
use super::{Context, Exit};
use crate::clock::rfc3339;
use crate::daemon::Detail;

/// The arguments of `tidegate explain`.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// The service.
    service: String,
}

impl Explain {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        context.block_on(async {
            let detail: Detail = Api::new(context)?.get(&format!("/v1/cutovers/{}", self.service)).await?;
            let Some(view) = &detail.view else { anyhow::bail!("{} has no cutover to explain", self.service) };
            let cutover = &view.cutover;
            let judgement = cutover.evidence.judgement.as_ref();
            if context.json {
                context.print_json(&serde_json::json!({
                    "service": detail.service,
                    "cutover": cutover.id,
                    "phase": cutover.phase.name(),
                    "reason": cutover.reason,
                    "outlook": cutover.outlook,
                    "blockers": cutover.blockers,
                    "guards": judgement.map(|judgement| &judgement.guards),
                    "checks": cutover.checks,
                    "price": detail.price,
                }))?;
                return Ok(Exit::Done);
            }
            let mut lines = vec![
                format!("{} is in `{}` since {}.", cutover.id, cutover.phase.name(), rfc3339(cutover.since)),
                format!("Because: {}.", cutover.reason.text),
                format!("Next: {}.", next(&cutover.outlook)),
            ];
            match judgement {
                None => lines.push("Nothing is judged yet.".to_owned()),
                Some(judgement) => {
                    let age = detail.now.since(cutover.evidence.counted_to).as_secs();
                    lines.push(format!("What is proven (counted up to {age} s ago):"));
                    lines.extend(judgement.guards.iter().map(|guard| format!("- {}", guard.sentence)));
                }
            }
            if !cutover.blockers.is_empty() {
                lines.push("What stands in the way of the next step:".to_owned());
                lines.extend(cutover.blockers.iter().map(|blocker| format!("- {}", blocker.text)));
            }
            lines.extend(detail.price.iter().map(|price| format!("What a revert costs: {}.", price.text)));
            context.print(&(lines.join("\n") + "\n"))?;
            Ok(Exit::Done)
        })
    }
}
