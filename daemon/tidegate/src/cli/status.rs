//! `tidegate status`: where every cutover is, or one of them in a few lines.

use cutover::event::CheckOutcome;

use super::api::Api;
use super::{Context, Exit};
use crate::clock::rfc3339;
use crate::daemon::{Detail, Summary};

/// The arguments of `tidegate status`.
#[derive(Debug, clap::Args)]
pub struct Status {
    /// The service; all of them without one.
    service: Option<String>,
}

impl Status {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        context.block_on(async {
            let api = Api::new(context)?;
            if let Some(service) = self.service {
                let detail: Detail = api.get(&format!("/v1/cutovers/{service}")).await?;
                if context.json { context.print_json(&detail)? } else { context.print(&one(&detail))? }
            } else {
                let list: Vec<Summary> = api.get("/v1/cutovers").await?;
                if context.json { context.print_json(&list)? } else { context.print(&all(&list))? }
            }
            Ok(Exit::Done)
        })
    }
}

fn all(list: &[Summary]) -> String {
    if list.is_empty() {
        return "no services: put a policy file into the daemon's policy directory\n".to_owned();
    }
    let width = list.iter().map(|summary| summary.service.len()).max().unwrap_or_default();
    list.iter()
        .map(|summary| {
            let desired = summary.desired.map_or_else(|| "-".to_owned(), |share| share.to_string());
            let broken = if summary.problems.is_empty() { "" } else { "  (its policy file has problems)" };
            let Summary { service, phase, outlook, .. } = summary;
            format!("{service:width$}  {phase:10}  {desired:>6}  {}{broken}", next(outlook))
        })
        .collect::<Vec<_>>()
        .join("\n")
        + "\n"
}

/// What happens next, without the word that stands before it already.
pub(super) fn next(outlook: &str) -> &str {
    outlook.trim_start_matches("next: ")
}

fn one(detail: &Detail) -> String {
    let mut lines = Vec::new();
    if let Some(view) = &detail.view {
        let cutover = &view.cutover;
        lines.push(format!("{}  {}  since {}", cutover.id, cutover.phase.name(), rfc3339(cutover.since)));
        lines.push(format!("why:   {}", cutover.reason.text));
        lines.push(format!("next:  {}", next(&cutover.outlook)));
        let configured = cutover.configured.as_ref().map_or_else(
            || "not read yet".to_owned(),
            |reading| format!("{} (read {} s ago)", reading.share, detail.now.since(reading.begun).as_secs()),
        );
        lines.push(format!("share: desired {}, configured {configured}", cutover.desired));
        // Not a word of a lease where there is none, and none said twice.
        let lease = cutover.checks.iter().find(|check| check.name == "lease" && check.outcome == CheckOutcome::Pass);
        lines.extend(lease.map(|lease| format!("lease: {}", lease.evidence)));
        lines.extend(cutover::captured::told(cutover).map(|capture| format!("capture: {capture}")));
        for blocker in &cutover.blockers {
            lines.push(format!("waits: {}", blocker.text));
        }
        if let Some(change) = &cutover.policy_change {
            let service = &detail.service;
            let usable = detail.policy.is_some();
            let hint =
                if usable { format!("; `tidegate resume {service} --adopt-policy` takes it") } else { String::new() };
            lines.push(format!("file:  {change}{hint}"));
        }
    } else {
        lines.push(format!("{}  idle: `tidegate start {}` begins a cutover", detail.service, detail.service));
    }
    if let Some(price) = &detail.price {
        lines.push(format!("price: {}", price.text));
    }
    lines.extend(detail.problems.iter().map(|problem| format!("file:  {problem}")));
    lines.join("\n") + "\n"
}
