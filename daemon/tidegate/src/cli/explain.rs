//! `tidegate explain`: why a cutover is where it is, in sentences: each guard with its numbers, and what is missing.

use cutover::{Phase, captured};
use judge::interval::SHOWN_ALPHA;
use judge::{GuardVerdict, Reference, World};

use super::api::Api;
use super::status::next;
use super::{Context, Exit};
use crate::clock::rfc3339;
use crate::daemon::Detail;
use crate::screen::format;
use crate::{permanent, undo};

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
                    "diagnosis": judgement.map(|judgement| judgement.diagnosis()),
                    "world": judgement.map(|judgement| world(&judgement.world)),
                    "guards": judgement.map(|judgement| &judgement.guards),
                    "intervals": judgement.map(|judgement| {
                        judgement.guards.iter().map(intervals).collect::<Vec<_>>()
                    }),
                    "checks": cutover.checks,
                    "capture": captured::told(cutover),
                    "price": detail.price,
                    "undo": undo::commands(cutover),
                    "permanent": permanent::lines(cutover),
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
                    for guard in &judgement.guards {
                        lines.push(format!("- {}", guard.sentence));
                        lines.extend(lies(guard).map(|lies| format!("  {lies}")));
                    }
                    lines.push(format!("So: {}.", judgement.diagnosis()));
                }
            }
            lines.extend(captured::told(cutover).map(|capture| format!("Capture: {capture}.")));
            if !cutover.blockers.is_empty() {
                lines.push("What stands in the way of the next step:".to_owned());
                lines.extend(cutover.blockers.iter().map(|blocker| format!("- {}", blocker.text)));
            }
            lines.extend(detail.price.iter().map(|price| format!("The price: {}.", price.text)));
            if matches!(cutover.phase, Phase::Stuck { .. } | Phase::Reverting { .. }) {
                lines.extend(undo::commands(cutover).iter().map(|command| format!("By hand: {command}")));
            }
            lines.extend(permanent::lines(cutover));
            context.print(&(lines.join("\n") + "\n"))?;
            Ok(Exit::Done)
        })
    }
}

/// What is known of the source itself, with the interval of its share of errors.
fn world(world: &World) -> serde_json::Value {
    let mut told = serde_json::json!(world);
    told["errors_interval"] = serde_json::json!(world.errors_interval());
    told
}

/// Between what and what the shares behind a verdict really lie, for programs; `null` for latency and without requests.
fn intervals(guard: &GuardVerdict) -> serde_json::Value {
    let sides = guard.shown_intervals();
    sides.map_or(serde_json::Value::Null, |[reference, target]| {
        serde_json::json!({ "guard": guard.guard, "reference": reference, "target": target, "chance_of_error": SHOWN_ALPHA })
    })
}

/// The same for a person.
fn lies(guard: &GuardVerdict) -> Option<String> {
    let [reference, target] = guard.shown_intervals()?;
    let between = |(low, high): (f64, f64)| format!("between {} and {}", format::share(low), format::share(high));
    let whose = match guard.reference {
        Reference::Source => "the source",
        Reference::Baseline => "the baseline",
    };
    Some(format!("really {} at the target and {} at {whose}, at every look", between(target), between(reference)))
}
