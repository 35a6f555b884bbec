//! `tidegate reroute`: brings clients to the capture proxy before any weight is shifted.
//!
//! It creates and deletes in AWS, which the daemon's role must not, so it runs with an operator's credentials and asks
//! nothing of the daemon. What it does is on record before it is done: run the same verb again after whatever ended it.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::bail;
use cutover::event::{Check, CheckOutcome};
use cutover::{Policy, Timestamp};
use serde_json::{Value, json};

use super::{Context, Exit, preflight};
use crate::clock::Clock;
use crate::config::Config;
use crate::reroute::begin::{self, Asked};
use crate::reroute::check;
use crate::reroute::drive::{Drive, Ended};
use crate::reroute::keep::{self, Keep};
use crate::reroute::knock::Knock;
use crate::reroute::record::{Accepted, Record, Stage, Way};
use crate::{policy_files, run, secret};

/// The arguments of `tidegate reroute`.
#[derive(Debug, clap::Args)]
pub struct Reroute {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Check everything, and say what would be done; nothing is changed.
    Plan(Plan),
    /// Check, make the new path, try it, and stop with the address for real clients to try.
    Start(Start),
    /// Go on after real clients have tried: switch, watch, wait for the old path to be empty, clean up.
    Advance(Advance),
    /// Say where it is.
    Status(Status),
    /// Put everything back as it was.
    Undo(Undo),
}

/// Which service, and where its record is.
#[derive(Debug, clap::Args)]
struct Place {
    /// The service's policy file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The state directory; the daemon's unless it is said.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// How things are reached from here.
#[derive(Debug, clap::Args)]
struct Reach {
    /// Certificates that clients trust, in PEM form; those of the Mozilla programme without it.
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Connect to TO where HOST:PORT is meant, as through a tunnel; may be said more than once.
    #[arg(long, value_name = "HOST:PORT=TO")]
    connect_to: Vec<String>,
    /// Who is asked what names resolve to; this machine's own without it.
    #[arg(long, value_name = "IP:PORT")]
    resolver: Option<SocketAddr>,
    /// How many times as fast as real time its clock runs: see `tidegate run`.
    #[arg(long, hide = true, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3600))]
    clock_speed: u32,
}

/// What shall be done.
#[derive(Debug, clap::Args)]
struct Wanted {
    /// The ARN of the NLB's listener that clients use today.
    #[arg(long, value_name = "ARN", conflicts_with = "name")]
    nlb_listener: Option<String>,
    /// The name that clients use, where there is no NLB: it is to lead to the load balancer.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// `switch`: the live listener leads to the load balancer, clients change nothing. `beside`: one more listener does, and
    /// clients move to it. Without it: what fits to where the live listener leads today.
    #[arg(long, value_parser = ["switch", "beside"])]
    way: Option<String>,
    /// The new listener's port; the weighted listener's without it, or the next that is free.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Shares of new connections, in percent; 100 is added.
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_value = "10,50,100",
        value_parser = clap::value_parser!(u8).range(1..=100))]
    steps: Vec<u8>,
    /// The ARN of a target group that serves clients today, where that cannot be found out; may be said more than once.
    #[arg(long, value_name = "ARN")]
    old_group: Vec<String>,
    /// The name that clients use, which the certificate must be good for.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Go on although a check is unknown; it is put on record. May be said more than once.
    #[arg(long, value_name = "CHECK=REASON")]
    accept: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Plan {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
struct Start {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
struct Advance {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    reach: Reach,
    /// Take something upon you that cannot be found out, such as `old path=REASON`; it is put on record.
    #[arg(long, value_name = "WHAT=REASON")]
    accept: Vec<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
struct Status {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Undo {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    reach: Reach,
    /// Take the new path away at once, though clients may still be on it.
    #[arg(long)]
    now: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// `NAME=VALUE` apart.
fn pair(text: &str) -> anyhow::Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => bail!("`{text}` must have the form NAME=VALUE"),
    }
}

fn accepted(texts: &[String], now: Timestamp) -> anyhow::Result<Vec<Accepted>> {
    let one = |text: &String| pair(text).map(|(what, reason)| Accepted { what, reason, at: now });
    texts.iter().map(one).collect()
}

impl Place {
    fn policy(&self) -> anyhow::Result<Policy> {
        let loaded = policy_files::load(&self.file, &policy_files::environment())?;
        let sound = loaded.is_sound();
        match loaded.policy.filter(|_| sound) {
            Some(policy) => Ok(policy),
            None => bail!("{} cannot be used; `tidegate policy check` says why", self.file.display()),
        }
    }

    fn state(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| Config::default().state_dir)
    }
}

impl Reach {
    fn knock(&self) -> anyhow::Result<Knock> {
        let tunnels = self.connect_to.iter().map(|text| pair(text)).collect::<Result<_, _>>()?;
        Knock::new(self.client_ca.as_deref(), tunnels).map_err(|error| anyhow::anyhow!("{error}"))
    }
}

impl Wanted {
    fn asked(&self, reach: &Reach, now: Timestamp) -> anyhow::Result<Asked> {
        let mut steps = self.steps.clone();
        if steps.last() != Some(&100) {
            steps.push(100);
        }
        if !steps.is_sorted_by(|one, next| one < next) {
            bail!("the steps must rise");
        }
        if self.nlb_listener.is_none() && self.name.is_none() {
            bail!(
                "say the NLB's listener that clients use (--nlb-listener ARN), or without an NLB the name (--name NAME)"
            );
        }
        Ok(Asked {
            way: self.way.as_deref().map(|way| if way == "switch" { Way::Switch } else { Way::Beside }),
            nlb_listener: self.nlb_listener.clone(),
            name: self.name.clone(),
            port: self.port,
            steps,
            old_groups: self.old_group.clone(),
            server_name: self.server_name.clone(),
            resolver: reach.resolver,
            accepted: accepted(&self.accept, now)?,
        })
    }
}

/// What would be done, in sentences.
fn intent(record: &Record) -> Vec<String> {
    let weighted = &record.weighted;
    let make = format!(
        "make the target group `{}` with the load balancer on port {}, and a TCP listener on port {} of the NLB that leads to it",
        record.group_name, weighted.port, record.new_port
    );
    let try_it =
        format!("wait until it is healthy, ask through {}, and stop for real clients to try", record.new_address());
    let quiet = "wait until nothing comes by the old path".to_owned();
    match record.way {
        Way::Switch => {
            let steps: Vec<String> = record.steps.iter().map(|step| format!("{step} %")).collect();
            let switch = format!("after `advance`, move new connections of the live listener: {}", steps.join(", "));
            vec![make, try_it, switch, quiet, "take the listener for the test away".to_owned()]
        }
        Way::Beside => {
            let moved = format!("after `advance`, clients move to {}", record.new_address());
            vec![make, try_it, moved, quiet]
        }
        Way::Dns => {
            let name = record.name.as_ref().map_or("the name", |name| name.name.as_str());
            let moved = format!("after `advance`, lead {name} to {} yourself; it is checked", weighted.address);
            vec![try_it, moved, quiet]
        }
    }
}

/// A record as scripts read it.
fn shown(record: &Record, why: Option<&str>) -> Value {
    json!({
        "service": record.service,
        "way": record.way,
        "stage": record.stage,
        "since": record.stage_since.to_string(),
        "address": record.new_address(),
        "switched_percent": record.switched.iter().rfind(|step| step.confirmed).map_or(0, |step| step.percent),
        "capture_complete_since": record.complete.map(|at| at.to_string()),
        "by_hand": record.by_hand(),
        "why": why,
        "told": record.told.iter().map(|told| json!({"at": told.at.to_string(), "text": told.text})).collect::<Vec<_>>(),
    })
}

/// What a person does next.
fn hint(record: &Record) -> String {
    match (record.stage, record.way) {
        (Stage::Testing, _) => {
            format!("let real clients try {}; then `tidegate reroute advance`, or `undo`", record.new_address())
        }
        (Stage::Preparing, _) => "`tidegate reroute start` goes on, `undo` takes away what was made".to_owned(),
        (Stage::Complete, _) => "take a snapshot now".to_owned(),
        (Stage::Reverted, _) => "mend what was wrong; then `tidegate reroute advance`, or `undo`".to_owned(),
        (Stage::Undone, _) => "nothing is left".to_owned(),
        _ => "`tidegate reroute advance` goes on, `undo` puts everything back".to_owned(),
    }
}

impl Reroute {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        match self.what {
            What::Plan(verb) => verb.run(context),
            What::Start(verb) => verb.run(context),
            What::Advance(verb) => verb.run(context),
            What::Status(verb) => verb.run(context),
            What::Undo(verb) => verb.run(context),
        }
    }
}

/// Drives what is on record until it ends, and tells how.
fn drive(
    context: &Context,
    policy: &Policy,
    reach: &Reach,
    clock: &Clock,
    keep: &Keep,
    record: &mut Record,
) -> anyhow::Result<Exit> {
    let knock = reach.knock()?;
    let identity = policy.source.authorization.as_deref().map(secret::read).transpose()?;
    // A terminal that is gone is no reason to stop in the middle.
    let say = |text: &str| drop(context.say(text));
    let ended = context.block_on(async {
        let cloud = run::reroute(policy, clock, knock.clone()).await;
        let drive = Drive {
            cloud: &cloud,
            keep,
            policy,
            clock,
            knock: &knock,
            identity: identity.as_ref(),
            resolver: reach.resolver,
            say: &say,
        };
        Ok(Box::pin(drive.run(record)).await?)
    })?;
    let (exit, why) = match &ended {
        Ended::Asks | Ended::Complete | Ended::Undone => (Exit::Done, None),
        Ended::Reverted => {
            // The last word is that the original is back; the one before says why it had to go back.
            let why = record.told.iter().rev().find(|told| !told.text.contains("original"));
            (Exit::Reverted, why.map(|told| told.text.clone()))
        }
        Ended::Stopped(why) => (Exit::Error, Some(why.clone())),
        Ended::Stuck(why) => (Exit::Stuck, Some(why.clone())),
    };
    if context.json {
        context.print_json(&shown(record, why.as_deref()))?;
    } else {
        if let Some(why) = &why {
            context.say(why)?;
        }
        let since = record.complete.map_or_else(String::new, |at| format!("capture is complete since {at}\n"));
        context.print(&format!("{since}{}: {}\n", name(record.stage), hint(record)))?;
    }
    Ok(exit)
}

/// A stage's name, as in the record.
fn name(stage: Stage) -> String {
    serde_json::to_value(stage).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Finds out what there is, and tells what stands in the way; `None` where something does.
fn checked(
    context: &Context,
    policy: &Policy,
    wanted: &Wanted,
    reach: &Reach,
    clock: &Clock,
) -> anyhow::Result<(Record, Vec<Check>, bool)> {
    let asked = wanted.asked(reach, clock.now())?;
    let knock = reach.knock()?;
    let (record, checks) = context.block_on(async {
        let cloud = run::reroute(policy, clock, knock.clone()).await;
        Ok(Box::pin(begin::begin(&cloud, policy, &asked, &knock, clock.now())).await?)
    })?;
    let clear = check::in_the_way(&checks, |what| record.accepts(what)).is_empty();
    Ok((record, checks, clear))
}

/// The checks where acceptance made a difference: what was unknown and accepted is to be looked at.
fn after_acceptance(checks: Vec<Check>, record: &Record) -> Vec<Check> {
    let one = |mut check: Check| {
        if check.outcome == CheckOutcome::Unknown && record.accepts(&check.name) {
            check.outcome = CheckOutcome::Warn;
        }
        check
    };
    checks.into_iter().map(one).collect()
}

impl Plan {
    fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let policy = self.place.policy()?;
        let clock = Clock::fast(self.reach.clock_speed);
        let (record, checks, clear) = checked(context, &policy, &self.wanted, &self.reach, &clock)?;
        let checks = after_acceptance(checks, &record);
        if context.json {
            let what = intent(&record);
            context.print_json(&json!({
                "service": record.service, "way": record.way, "ok": clear, "checks": checks, "plan": what,
            }))?;
        } else {
            context.print(&preflight::told(&format!("{} reroute", policy.service), &checks))?;
            for (number, sentence) in (1..).zip(intent(&record)) {
                context.print(&format!("{number}. {sentence}\n"))?;
            }
        }
        Ok(if clear { Exit::Done } else { Exit::Error })
    }
}

impl Start {
    fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let policy = self.place.policy()?;
        let clock = Clock::fast(self.reach.clock_speed);
        let keep = Keep::take(&self.place.state(), &policy.service)?;
        let mut record = match keep.read()? {
            // It was begun: what is on record counts, and what is said now is only for what is not.
            Some(mut record) if matches!(record.stage, Stage::Preparing | Stage::Testing) => {
                record.accepted.extend(accepted(&self.wanted.accept, clock.now())?);
                // Its patience begins anew.
                record.stage_since = clock.now();
                record
            }
            Some(record) if record.stage != Stage::Undone => {
                bail!("a reroute of {} is on record and is `{}`: {}", record.service, name(record.stage), hint(&record))
            }
            _ => {
                let (record, checks, clear) = checked(context, &policy, &self.wanted, &self.reach, &clock)?;
                let checks = after_acceptance(checks, &record);
                if !clear {
                    if context.json {
                        context.print_json(&json!({"service": record.service, "ok": false, "checks": checks}))?;
                    } else {
                        context.print(&preflight::told(&format!("{} reroute", policy.service), &checks))?;
                    }
                    return Ok(Exit::Error);
                }
                let mut record = record;
                record.tell(clock.now(), "every check passed");
                record
            }
        };
        keep.write(&record)?;
        drive(context, &policy, &self.reach, &clock, &keep, &mut record)
    }
}

/// What is on record of a service, to go on with it.
fn begun(keep: &Keep, service: &str) -> anyhow::Result<Record> {
    match keep.read()? {
        Some(record) => Ok(record),
        None => bail!("no reroute of {service} is on record: begin with `tidegate reroute start`"),
    }
}

impl Advance {
    fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let policy = self.place.policy()?;
        let clock = Clock::fast(self.reach.clock_speed);
        let keep = Keep::take(&self.place.state(), &policy.service)?;
        let mut record = begun(&keep, &policy.service)?;
        let now = clock.now();
        match record.stage {
            Stage::Preparing => bail!("the new path is not tried yet: run `tidegate reroute start` again"),
            Stage::Undoing | Stage::Undone => {
                bail!("it is being undone, or was: begin anew with `tidegate reroute start`")
            }
            Stage::Testing | Stage::Reverted if !record.advanced || record.stage == Stage::Reverted => {
                let question = match record.way {
                    Way::Switch => {
                        format!("move new connections of the live listener of {} to the proxy?", record.service)
                    }
                    Way::Beside | Way::Dns => {
                        "have real clients tried the new path, and shall all move now?".to_owned()
                    }
                };
                if !self.yes && !context.confirm(&question)? {
                    bail!("nothing was changed");
                }
                record.advanced = true;
                (record.switched, record.alone, record.restored) = (Vec::new(), None, None);
                record.go(Stage::Testing, now, "somebody said `advance`");
            }
            // Its patience begins anew.
            Stage::Leaving => record.stage_since = now,
            _ => {}
        }
        record.accepted.extend(accepted(&self.accept, now)?);
        keep.write(&record)?;
        drive(context, &policy, &self.reach, &clock, &keep, &mut record)
    }
}

impl Status {
    fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let policy = self.place.policy()?;
        let Some(record) = keep::look(&self.place.state(), &policy.service)? else {
            bail!("no reroute of {} is on record", policy.service);
        };
        if context.json {
            context.print_json(&shown(&record, None))?;
            return Ok(Exit::Done);
        }
        for told in &record.told {
            context.print(&format!("{}  {}\n", told.at, told.text))?;
        }
        let since = record.complete.map_or_else(String::new, |at| format!("capture is complete since {at}\n"));
        context.print(&format!("{since}{}: {}\n", name(record.stage), hint(&record)))?;
        Ok(Exit::Done)
    }
}

impl Undo {
    fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let policy = self.place.policy()?;
        let clock = Clock::fast(self.reach.clock_speed);
        let keep = Keep::take(&self.place.state(), &policy.service)?;
        let mut record = begun(&keep, &policy.service)?;
        let now = clock.now();
        if !matches!(record.stage, Stage::Undoing | Stage::Undone) {
            let question = format!("put back what stood before the reroute of {}?", record.service);
            if !self.yes && !context.confirm(&question)? {
                bail!("nothing was changed");
            }
            // From now on what clients send may go past the proxy again.
            (record.complete, record.restored) = (None, None);
            record.go(Stage::Undoing, now, "somebody said `undo`");
        }
        if self.now {
            let reason = "said with `undo --now`".to_owned();
            record.accepted.push(Accepted { what: "new path".to_owned(), reason, at: now });
        }
        keep.write(&record)?;
        drive(context, &policy, &self.reach, &clock, &keep, &mut record)
    }
}
