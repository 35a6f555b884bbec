//! What all orders have in common: who orders and why, asking before traffic moves, and following to the end.

use cutover::{Phase, Price};
use serde_json::json;

use super::api::{Api, refusal};
use super::{Context, Exit};
use crate::baselines::Sent;
use crate::controller::View;
use crate::daemon::Detail;

/// Who orders and why.
#[derive(Debug, clap::Args)]
pub(super) struct Why {
    /// Why; the journal, alerts and the dossier keep it.
    #[arg(long, value_name = "TEXT", default_value = "no reason given")]
    reason: String,
    /// Who orders, if not the user who runs this.
    #[arg(long, value_name = "NAME", env = "TIDEGATE_ACTOR")]
    actor: Option<String>,
}

impl Why {
    fn actor(&self) -> String {
        actor(self.actor.as_deref())
    }
}

/// Who orders: who was named, or the user who runs this.
pub(super) fn actor(named: Option<&str>) -> String {
    let user = || std::env::var("USER").ok().filter(|user| !user.is_empty());
    named.map(str::to_owned).or_else(user).unwrap_or_else(|| "someone".to_owned())
}

/// Gives an order and prints the answer. A refused order is an error.
pub(super) async fn give(context: &Context, service: &str, verb: &str, why: &Why, adopt: bool) -> anyhow::Result<Exit> {
    send(context, service, json!({ "verb": verb, "actor": why.actor(), "reason": why.reason, "adopt_policy": adopt }))
        .await
}

/// Begins a cutover; `baseline` goes before the one that its policy names.
pub(super) async fn start(
    context: &Context,
    service: &str,
    why: &Why,
    baseline: Option<&Sent>,
) -> anyhow::Result<Exit> {
    let mut body = json!({ "verb": "start", "actor": why.actor(), "reason": why.reason });
    if let Some(baseline) = baseline {
        body["baseline"] = serde_json::to_value(baseline)?;
    }
    send(context, service, body).await
}

async fn send(context: &Context, service: &str, body: serde_json::Value) -> anyhow::Result<Exit> {
    let api = Api::new(context)?;
    let verb = body["verb"].as_str().unwrap_or_default();
    let (status, answer) = api.call("POST", &format!("/v1/cutovers/{service}/orders"), Some(&body)).await?;
    if context.json {
        context.print_json(&answer)?;
    }
    if status != 200 {
        if !context.json {
            anyhow::bail!("{verb} {service}: {}", refusal(status, &answer));
        }
        return Ok(Exit::Error);
    }
    if !context.json {
        let text = |key: &str| answer.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        context.print(&format!("{service}: {} ({})\n", text("text"), text("phase")))?;
    }
    Ok(Exit::Done)
}

/// Asks, unless `yes`; false means that the answer was no.
pub(super) fn asked(context: &Context, yes: bool, question: &str) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    let agreed = context.confirm(question)?;
    if !agreed {
        context.say("nothing was done")?;
    }
    Ok(agreed)
}

/// What a revert would cost now, as the daemon counts it.
pub(super) async fn price(context: &Context, service: &str) -> anyhow::Result<Option<Price>> {
    let detail: Detail = Api::new(context)?.get(&format!("/v1/cutovers/{service}")).await?;
    Ok(detail.price)
}

/// The exit code of a cutover that has ended; `None` while it has not.
pub(super) fn outcome(view: &View) -> Option<Exit> {
    match view.cutover.phase {
        Phase::Done => Some(Exit::Done),
        Phase::Reverted => Some(Exit::Reverted),
        Phase::Aborted => Some(Exit::Aborted),
        Phase::Stuck { .. } => Some(Exit::Stuck),
        Phase::Pending
        | Phase::Preflight
        | Phase::Baseline
        | Phase::Gated { .. }
        | Phase::Shifting { .. }
        | Phase::Baking { .. }
        | Phase::Draining
        | Phase::Reverting { .. } => None,
    }
}

/// Follows a cutover to its end and answers with its exit code. Each decision is a line on stderr.
pub(super) async fn follow(context: &Context, service: &str) -> anyhow::Result<Exit> {
    let mut told = None;
    let found = Api::new(context)?
        .follow(service, |update| {
            let view = update.view;
            if view.entry.is_some() && view.entry != told {
                told = view.entry;
                let (phase, desired) = (view.cutover.phase.name(), view.cutover.desired);
                context.say(&format!(
                    "{} {phase} at {desired}: {}",
                    crate::clock::rfc3339(view.at),
                    view.reason.text
                ))?;
            }
            Ok(outcome(&view).map(|exit| (exit, view)))
        })
        .await?;
    let Some((exit, view)) = found else {
        anyhow::bail!("the daemon stopped before the cutover of {service} ended; it goes on when the daemon does")
    };
    if context.json {
        context.print_json(&json!({
            "service": service,
            "cutover": view.cutover.id,
            "outcome": view.cutover.phase.name(),
            "reason": view.cutover.reason,
        }))?;
    } else {
        context.print(&format!("{service}: {} ({})\n", view.cutover.reason.text, view.cutover.phase.name()))?;
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cutover;

    /// Proves that each end of a cutover has its documented exit code, and that nothing else ends the waiting.
    #[test]
    fn outcomes_have_their_exit_codes() {
        let mut seen = Vec::new();
        for phase in [
            Phase::Preflight,
            Phase::Baking { step: 0 },
            Phase::Reverting { attempts: 1, reads: 0 },
            Phase::Done,
            Phase::Reverted,
            Phase::Stuck { attempts: 3, reads: 3 },
            Phase::Aborted,
        ] {
            let mut cutover = cutover("search");
            cutover.phase = phase;
            let reason = cutover.reason.clone();
            let view = View { at: cutover.since, cutover, reason, entry: None, accepted: true, lately: None };
            seen.push(outcome(&view).map(Exit::code));
        }
        assert_eq!(seen, [None, None, None, Some(0), Some(3), Some(4), Some(5)]);
    }
}
