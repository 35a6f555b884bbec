//! What must be so before anything is changed: pure judgements over what was found, with what to do.
//!
//! An unknown stands in the way like a no, but an operator who knows better can accept it by name; a no cannot be accepted.

use std::collections::BTreeSet;

use cutover::event::{Check, CheckOutcome};

use super::record::Way;
use super::weigh;

/// Listeners of one load balancer (user guide, quotas; not adjustable beyond it here, since a refusal costs nothing).
const LISTENERS_MAX: usize = 50;

/// How many Network Load Balancers one Application Load Balancer can be a target of (user guide, "Use Application Load
/// Balancers as targets of a Network Load Balancer").
const FRONTS_MAX: usize = 2;

/// What an Application Load Balancer takes of the targets that an NLB may have in a zone (the same page), and how many
/// those are (quotas).
const ALB_TARGETS: usize = 100;
const TARGETS_MAX: usize = 500;

/// Whether a question has been answered, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Yes, by this evidence.
    Yes(String),
    /// No, by this evidence.
    No(String),
    /// Nobody knows, for this reason.
    Unknown(String),
}

/// A load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balancer {
    /// Its VPC.
    pub vpc: String,
    /// Its zones.
    pub zones: BTreeSet<String>,
    /// Whether each of its nodes sends to the targets of all zones.
    pub cross_zone: bool,
}

/// The NLB and its live listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// The NLB.
    pub balancer: Balancer,
    /// `TCP`, `TLS`, …
    pub protocol: String,
    /// How many target groups the live listener forwards to; `None` where it does not forward.
    pub groups: Option<usize>,
    /// Whether one of them is the weighted listener's load balancer already.
    pub leads_here: bool,
    /// How many listeners the NLB has.
    pub listeners: usize,
    /// How many targets it has, each load balancer among them counted as AWS counts it.
    pub targets: usize,
    /// Whether the port of the new listener is free.
    pub port_free: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How it shall be done.
    pub way: Way,
    /// The weighted listener's load balancer.
    pub balancer: Balancer,
    /// The port of the weighted listener.
    pub port: u16,
    /// Whether it sends everything to the source.
    pub all_source: Answered,
    /// The NLB; `None` where there is none.
    pub front: Option<Front>,
    /// How many NLBs have this load balancer as a target already.
    pub fronts: usize,
    /// Whether connections get through to the weighted listener.
    pub path: Answered,
    /// Whether clients will trust its certificate.
    pub certificate: Answered,
    /// Whether the old path's requests can be counted.
    pub counted: Answered,
    /// Whether the name can be resolved, with how long answers are kept; `None` where none is asked for.
    pub name: Option<Answered>,
}

fn asked(name: &str, answered: &Answered, fix: &str) -> Check {
    match answered {
        Answered::Yes(evidence) => Check::new(name, CheckOutcome::Pass, evidence.clone(), ""),
        Answered::No(evidence) => Check::new(name, CheckOutcome::Fail, evidence.clone(), fix),
        Answered::Unknown(evidence) => Check::new(name, CheckOutcome::Unknown, evidence.clone(), fix),
    }
}

fn bool(name: &str, holds: bool, evidence: impl Into<String>, fix: &str) -> Check {
    Check::new(name, if holds { CheckOutcome::Pass } else { CheckOutcome::Fail }, evidence, fix)
}

/// Every check of what was found, in the order in which a person would mend them.
pub fn checks(found: &Found) -> Vec<Check> {
    let mut checks = vec![asked(
        "weights",
        &found.all_source,
        "put the weighted listener to 100 % source: clients that are brought to it now would write to the target",
    )];
    if let Some(front) = &found.front {
        checks.extend(of_front(found, front));
    }
    checks.push(asked(
        "security groups",
        &found.path,
        "let the NLB and the clients (their addresses are kept) reach the weighted listener's port",
    ));
    checks.push(asked(
        "certificate",
        &found.certificate,
        "give the weighted listener a certificate that clients trust for the name they use (Migration Assistant: \
         `albAcmCertArn`), and say that name by --server-name, their authority by --client-ca",
    ));
    let counted = &found.counted;
    checks.push(match counted {
        // Without it the judge has less to go by, and the end needs a person's word; neither is a danger.
        Answered::No(evidence) => Check::new(
            "old path counted",
            CheckOutcome::Warn,
            evidence.clone(),
            "name the target groups that serve it by --old-group, if they belong to an Application Load Balancer; else \
             `advance --accept` will be asked for at the end",
        ),
        other => asked("old path counted", other, "look whether CloudWatch can be read (`tidegate aws iam`)"),
    });
    checks.extend(found.name.iter().map(|name| asked("name", name, "name a resolver that knows it by --resolver")));
    checks
}

fn of_front(found: &Found, front: &Front) -> Vec<Check> {
    let tls = "AWS does not take an Application Load Balancer behind an NLB's TLS listener, though the runbook asks for one. \
               The ways out: `--way beside --port N` makes a TCP listener on another port, TLS ends at the load balancer and \
               clients move there; or change the live listener to TCP first, in one step, once the load balancer has its \
               certificate; or lead the clients' name to the load balancer itself (`--name`)";
    let mut checks = Vec::new();
    let switch = found.way == Way::Switch;
    let tcp = front.protocol == "TCP";
    checks.push(match (tcp, switch) {
        (true, _) => Check::new("listener protocol", CheckOutcome::Pass, "the live listener speaks TCP", ""),
        (false, true) => Check::new(
            "listener protocol",
            CheckOutcome::Fail,
            format!("the live listener speaks {}", front.protocol),
            tls,
        ),
        (false, false) => Check::new(
            "listener protocol",
            CheckOutcome::Warn,
            format!(
                "the live listener speaks {}, the new one will speak TCP: TLS ends at the load balancer",
                front.protocol
            ),
            "see that clients trust the load balancer's certificate",
        ),
    });
    if switch {
        checks.push(match front.groups {
            Some(groups) => bool(
                "listener action",
                groups < weigh::GROUPS_MAX && !front.leads_here,
                if front.leads_here {
                    "the live listener forwards to this load balancer already".to_owned()
                } else {
                    format!("the live listener forwards to {groups} target groups")
                },
                "there is nothing to switch, or no room for one more target group (5 is the most)",
            ),
            None => Check::new(
                "listener action",
                CheckOutcome::Fail,
                "the live listener does not forward",
                "name the listener that clients use",
            ),
        });
    }
    let same = front.balancer.vpc == found.balancer.vpc;
    checks.push(bool(
        "vpc",
        same,
        format!("{} and {}", front.balancer.vpc, found.balancer.vpc),
        "an NLB reaches a load balancer of its own VPC and account only: use --name instead",
    ));
    let word = |on: bool| if on { "on" } else { "off" };
    let (ours, theirs) = (word(front.balancer.cross_zone), word(found.balancer.cross_zone));
    checks.push(bool(
        "cross-zone",
        ours == theirs,
        format!("the NLB has it {ours}, the load balancer {theirs}"),
        "set `load_balancing.cross_zone.enabled` of the NLB to what the load balancer has: where they differ, clients get \
         503 now and then (user guide)",
    ));
    let missing: Vec<&str> = front.balancer.zones.difference(&found.balancer.zones).map(String::as_str).collect();
    checks.push(if missing.is_empty() {
        Check::new("zones", CheckOutcome::Pass, "the load balancer is in every zone of the NLB", "")
    } else {
        Check::new(
            "zones",
            CheckOutcome::Warn,
            format!("the load balancer is not in {}", missing.join(", ")),
            "connections of these zones go by others: fine with cross-zone on",
        )
    });
    let targets = front.targets + ALB_TARGETS;
    let fits = front.listeners < LISTENERS_MAX && found.fronts < FRONTS_MAX && targets <= TARGETS_MAX;
    checks.push(bool(
        "quota",
        fits,
        format!(
            "{} of {LISTENERS_MAX} listeners, the load balancer behind {} of {FRONTS_MAX} NLBs, {targets} of {TARGETS_MAX} \
             targets with it",
            front.listeners, found.fronts
        ),
        "make room, or ask AWS for a higher quota",
    ));
    checks.push(bool(
        "port",
        front.port_free,
        if front.port_free { "the new listener's port is free" } else { "the new listener's port is taken" },
        "name a port of the NLB that is free by --port",
    ));
    checks
}

/// The checks that stand in the way, after what an operator accepted.
pub fn in_the_way(checks: &[Check], accepted: impl Fn(&str) -> bool) -> Vec<&Check> {
    let stands = |check: &&Check| match check.outcome {
        CheckOutcome::Pass | CheckOutcome::Warn => false,
        CheckOutcome::Fail => true,
        CheckOutcome::Unknown => !accepted(&check.name),
    };
    checks.iter().filter(stands).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yes() -> Answered {
        Answered::Yes("yes".to_owned())
    }

    fn found() -> Found {
        let balancer =
            Balancer { vpc: "vpc-1".to_owned(), zones: ["a", "b"].map(str::to_owned).into(), cross_zone: true };
        let front = Front {
            balancer: balancer.clone(),
            protocol: "TCP".to_owned(),
            groups: Some(1),
            leads_here: false,
            listeners: 1,
            targets: 3,
            port_free: true,
        };
        Found {
            way: Way::Switch,
            balancer,
            port: 443,
            all_source: yes(),
            front: Some(front),
            fronts: 0,
            path: yes(),
            certificate: yes(),
            counted: yes(),
            name: None,
        }
    }

    fn refused(change: impl FnOnce(&mut Found, &mut Front)) -> Vec<String> {
        let mut found = found();
        let mut front = found.front.take().unwrap();
        change(&mut found, &mut front);
        found.front = Some(front);
        let checks = checks(&found);
        assert!(checks.iter().all(|check| check.fix.is_empty() == (check.outcome == CheckOutcome::Pass)), "{checks:?}");
        in_the_way(&checks, |name| name == "certificate").iter().map(|check| check.name.clone()).collect()
    }

    /// Proves that each thing that AWS or a client would stumble over stands in the way by its own name, that nothing else
    /// does, and that only what is unknown can be accepted.
    #[test]
    fn each_obstacle_is_named_before_anything_is_changed() {
        let no = || Answered::No("no".to_owned());
        let none: [&str; 0] = [];
        assert_eq!(refused(|_, _| {}), none);
        assert_eq!(refused(|found, _| found.all_source = no()), ["weights"]);
        assert_eq!(refused(|_, front| front.protocol = "TLS".to_owned()), ["listener protocol"]);
        let beside = |found: &mut Found, front: &mut Front| {
            (found.way, front.protocol) = (Way::Beside, "TLS".to_owned());
        };
        assert_eq!(refused(beside), none, "a listener beside a TLS listener is TCP");
        assert_eq!(refused(|_, front| front.groups = None), ["listener action"]);
        assert_eq!(refused(|_, front| front.groups = Some(5)), ["listener action"]);
        assert_eq!(refused(|_, front| front.leads_here = true), ["listener action"]);
        assert_eq!(refused(|_, front| front.balancer.vpc = "vpc-2".to_owned()), ["vpc"]);
        assert_eq!(refused(|_, front| front.balancer.cross_zone = false), ["cross-zone"]);
        assert_eq!(refused(|_, front| front.listeners = 50), ["quota"]);
        assert_eq!(refused(|found, _| found.fronts = 2), ["quota"]);
        assert_eq!(refused(|_, front| front.targets = 450), ["quota"]);
        assert_eq!(refused(|_, front| front.port_free = false), ["port"]);
        assert_eq!(refused(|found, _| found.path = no()), ["security groups"]);
        assert_eq!(refused(|found, _| found.certificate = no()), ["certificate"]);
        assert_eq!(refused(|found, _| found.certificate = Answered::Unknown("?".to_owned())), none, "it was accepted");
        assert_eq!(refused(|found, _| found.path = Answered::Unknown("?".to_owned())), ["security groups"]);
        assert_eq!(refused(|found, _| found.counted = no()), none, "a person's word does at the end");
        assert_eq!(refused(|found, _| found.name = Some(no())), ["name"]);
        let text = checks(&{
            let mut found = found();
            found.front.as_mut().unwrap().protocol = "TLS".to_owned();
            found
        });
        assert!(text.iter().any(|check| check.fix.contains("The ways out")), "{text:?}");
    }
}
