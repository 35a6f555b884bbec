//! What there is before a reroute: everything that its record and its checks need, found by reads alone.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use cutover::event::Check;
use cutover::policy::BalancerPolicy;
use cutover::{Policy, Share, Timestamp, Window};
use sha2::{Digest as _, Sha256};

use super::check::{self, Answered, Found};
use super::judged::MINUTE;
use super::knock::{Knock, Shut};
use super::record::{Accepted, Front, LAYOUT, Name, OldGroup, Record, Stage, Way, Weighted};
use super::{Balancer, Cloud, Counted, Listener, PORT};
use crate::aws::{action, find, sign};
use crate::dns;
use crate::port::{PortError, in_one_line};

/// What of the past is read to see whether the old path can be counted.
const LOOK_BACK: Duration = Duration::from_mins(10);

/// What an operator asks for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// How; `None` for what fits: a switch where the live listener leads to a load balancer today, a listener beside it
    /// where it leads to the cluster itself.
    pub way: Option<Way>,
    /// The ARN of the NLB's live listener.
    pub nlb_listener: Option<String>,
    /// The name that is to lead to the load balancer, where there is no NLB.
    pub name: Option<String>,
    /// The new listener's port.
    pub port: Option<u16>,
    /// Shares of new connections, in percent, rising to 100.
    pub steps: Vec<u8>,
    /// ARNs of the target groups that serve the old path.
    pub old_groups: Vec<String>,
    /// The name that clients ask for.
    pub server_name: Option<String>,
    /// Who is asked what names resolve to.
    pub resolver: Option<SocketAddr>,
    /// What the operator takes upon themselves.
    pub accepted: Vec<Accepted>,
}

fn never(why: impl Into<String>) -> PortError {
    PortError::never(PORT, why.into())
}

/// A dimension of CloudWatch.
fn dimension(arn: &str) -> Result<String, PortError> {
    find::dimension(arn).ok_or_else(|| never(format!("`{arn}` is neither a load balancer nor a target group")))
}

/// What serves the old path, and how long its connections may be silent.
struct Old {
    groups: Vec<OldGroup>,
    idle_seconds: u64,
    uncounted: Option<String>,
}

/// Finds out what there is. Nothing is changed.
///
/// # Errors
/// When it cannot be found out, or what is asked for makes no sense.
pub async fn begin(
    cloud: &impl Cloud,
    policy: &Policy,
    asked: &Asked,
    knock: &Knock,
    now: Timestamp,
) -> Result<(Record, Vec<Check>), PortError> {
    let BalancerPolicy::Alb { listener, source, target, .. } = &policy.balancer else {
        return Err(never("this policy's weights are with Tidegate's own proxies: clients are led to those by hand"));
    };
    let arn = match listener {
        Some(arn) => arn.clone(),
        None => cloud.weighted(source, target).await?,
    };
    let listener = cloud.listener(&arn).await?;
    let balancer = cloud.balancer(&listener.balancer).await?;
    let weighted = Weighted {
        secure: listener.protocol == "HTTPS",
        port: listener.port,
        balancer: listener.balancer.clone(),
        address: balancer.address.clone(),
        vpc: balancer.vpc.clone(),
        source: source.clone(),
        target: target.clone(),
        idle_seconds: balancer.idle_seconds.unwrap_or_default(),
        listener: arn,
    };
    let live = match (&asked.nlb_listener, &asked.name) {
        (Some(arn), None) => Some(cloud.listener(arn).await?),
        (None, Some(_)) => None,
        _ => return Err(never("say either the NLB's listener (--nlb-listener) or the clients' name (--name)")),
    };
    let (way, old) = old_path(cloud, asked, live.as_ref(), source).await?;
    let server_name = asked.server_name.clone().or_else(|| asked.name.clone());
    let (name, resolved) = named(asked).await;
    let mut record = Record {
        layout: LAYOUT,
        service: policy.service.clone(),
        way,
        stage: Stage::Preparing,
        stage_since: now,
        group_name: group_name(&policy.service, asked.nlb_listener.as_deref(), &weighted.listener),
        weighted,
        front: None,
        name,
        old: old.groups,
        old_idle_seconds: old.idle_seconds,
        server_name,
        new_port: 0,
        steps: asked.steps.clone(),
        switched: Vec::new(),
        alone: None,
        restored: None,
        advanced: false,
        accepted: asked.accepted.clone(),
        complete: None,
        told: Vec::new(),
    };
    let mut fronts = BTreeSet::new();
    let mut front = None;
    let mut nlb = None;
    if let Some(live) = live {
        let of = cloud.balancer(&live.balancer).await?;
        let (found, port, others) = in_front(cloud, asked, &live, &of, &record.weighted).await?;
        fronts = others;
        record.new_port = port;
        record.front = Some(Front {
            balancer: of.arn.clone(),
            address: of.address.clone(),
            listener: live.arn.clone(),
            port: live.port,
            original: match &live.actions {
                Ok(actions) => action::spelled(actions),
                Err(why) => return Err(never(format!("the live listener cannot be put back as it is: {why}"))),
            },
        });
        (front, nlb) = (Some(found), Some(of));
    }
    let found = Found {
        way,
        port: record.weighted.port,
        all_source: all_source(&listener, source, target),
        front,
        fronts: fronts.len(),
        path: cloud.lets_in(nlb.as_ref(), &balancer, record.weighted.port).await,
        certificate: certificate(knock, &record).await,
        counted: counted(cloud, &record, old.uncounted).await,
        name: resolved,
        balancer: seen(&balancer),
    };
    Ok((record, check::checks(&found)))
}

/// A name for a target group that the same reroute always gives: up to 32 letters, digits and hyphens.
fn group_name(service: &str, live: Option<&str>, weighted: &str) -> String {
    let mut hasher = Sha256::new();
    for part in [service, live.unwrap_or_default(), weighted] {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    let hash = hasher.finalize();
    format!("tidegate-{}", sign::hex(&hash[..8]))
}

fn seen(balancer: &Balancer) -> check::Balancer {
    check::Balancer { vpc: balancer.vpc.clone(), zones: balancer.zones.clone(), cross_zone: balancer.cross_zone }
}

/// Whether the weighted listener sends everything to the source.
pub(super) fn all_source(listener: &Listener, source: &str, target: &str) -> Answered {
    match &listener.actions {
        Err(why) => Answered::No(why.clone()),
        Ok(actions) => match action::share(actions, source, target) {
            Ok(share) if share == Share::NONE => Answered::Yes("the source has everything".to_owned()),
            Ok(share) => Answered::No(format!("the target has {}", share.reads)),
            Err(error) => Answered::No(error.to_string()),
        },
    }
}

/// Who serves the old path; and which way that suggests.
async fn old_path(
    cloud: &impl Cloud,
    asked: &Asked,
    live: Option<&Listener>,
    source: &str,
) -> Result<(Way, Old), PortError> {
    let mut old = Old { groups: Vec::new(), idle_seconds: 0, uncounted: None };
    let (mut by_balancers, mut tcp_idle_seconds) = (true, 0);
    if let Some(live) = live {
        let actions = live.actions.as_ref().map_err(|why| never(why.clone()))?;
        let groups: Vec<String> = action::groups(actions)
            .map(|groups| groups.into_iter().map(|group| group.target_group_arn).collect())
            .unwrap_or_default();
        let groups = if groups.is_empty() { Vec::new() } else { cloud.groups(&groups).await? };
        tcp_idle_seconds = if live.protocol == "TCP" { cloud.idle_seconds(&live.arn).await? } else { 0 };
        for group in &groups {
            if group.kind != "alb" {
                by_balancers = false;
                continue;
            }
            for target in cloud.targets(&group.arn).await? {
                behind(cloud, &target.id, target.port, &mut old).await?;
            }
        }
    }
    if !asked.old_groups.is_empty() {
        old.groups.clear();
        for group in cloud.groups(&asked.old_groups).await? {
            let user = group.users.iter().find(|arn| arn.contains(":loadbalancer/app/"));
            let user = user.ok_or_else(|| never(format!("`{}` is behind no Application Load Balancer", group.arn)))?;
            old.groups.push(OldGroup { balancer: dimension(user)?, group: dimension(&group.arn)? });
            old.idle_seconds = old.idle_seconds.max(cloud.balancer(user).await?.idle_seconds.unwrap_or_default());
        }
    } else if !by_balancers {
        old.groups.clear();
    }
    let way = match (asked.way, live) {
        (_, None) => Way::Dns,
        (Some(way), Some(_)) => way,
        (None, Some(_)) if by_balancers => Way::Switch,
        (None, Some(_)) => Way::Beside,
    };
    // What comes to the source's own group comes through the proxy.
    let ours = find::dimension(source);
    old.groups.retain(|group| Some(&group.group) != ours.as_ref());
    if way == Way::Beside && asked.old_groups.is_empty() {
        old.groups.clear();
    }
    if old.groups.is_empty() {
        let why = if by_balancers && live.is_some() {
            "the live listener stays, and AWS counts the NLB's own health checks of the old path like any request"
        } else if live.is_some() {
            "the live listener leads to the cluster itself, and AWS counts an NLB's connections by neither listener nor \
             target group"
        } else {
            "nobody said who serves the old path"
        };
        old.uncounted = Some(why.to_owned());
        old.idle_seconds = tcp_idle_seconds;
    }
    Ok((way, old))
}

/// Adds the target groups behind a port of a load balancer.
async fn behind(cloud: &impl Cloud, balancer: &str, port: u16, old: &mut Old) -> Result<(), PortError> {
    let listeners = cloud.listeners(balancer).await?;
    let actions = listeners.iter().find(|one| one.port == port).and_then(|one| one.actions.as_ref().ok());
    for group in actions.and_then(|actions| action::groups(actions).ok()).unwrap_or_default() {
        old.groups.push(OldGroup { balancer: dimension(balancer)?, group: dimension(&group.target_group_arn)? });
    }
    let idle = cloud.balancer(balancer).await?.idle_seconds.unwrap_or_default();
    old.idle_seconds = old.idle_seconds.max(idle);
    Ok(())
}

/// The NLB and its live listener, the port for the new one, and which other NLBs have the load balancer as a target.
async fn in_front(
    cloud: &impl Cloud,
    asked: &Asked,
    live: &Listener,
    nlb: &Balancer,
    weighted: &Weighted,
) -> Result<(check::Front, u16, BTreeSet<String>), PortError> {
    if !nlb.network {
        return Err(never(format!("`{}` is no listener of a Network Load Balancer", live.arn)));
    }
    let listeners = cloud.listeners(&nlb.arn).await?;
    let is_free = |port: u16| listeners.iter().all(|listener| listener.port != port);
    let usual = Some(weighted.port).filter(|port| is_free(*port));
    let next = || (live.port.saturating_add(1)..=u16::MAX).find(|port| is_free(*port));
    let port = asked.port.or(usual).or_else(next).unwrap_or(0);
    let (mut others, mut targets, mut leads_here) = (BTreeSet::new(), 0, false);
    let groups = action::groups(live.actions.as_ref().map_err(|why| never(why.clone()))?);
    let live_groups: Vec<String> = groups.iter().flatten().map(|group| group.target_group_arn.clone()).collect();
    for group in cloud.groups(&[]).await? {
        let mine = group.users.contains(&nlb.arn);
        if group.kind != "alb" && !mine {
            continue;
        }
        for target in cloud.targets(&group.arn).await? {
            let here = target.id == weighted.balancer;
            if mine {
                targets += if group.kind == "alb" { 100 } else { 1 };
                leads_here |= here && target.port == weighted.port && live_groups.contains(&group.arn);
            } else if here {
                others.extend(group.users.iter().cloned());
            }
        }
    }
    let found = check::Front {
        balancer: seen(nlb),
        protocol: live.protocol.clone(),
        groups: groups.ok().map(|groups| groups.len()),
        leads_here,
        listeners: listeners.len(),
        targets,
        port_free: port > 0 && is_free(port),
    };
    Ok((found, port, others))
}

/// The name that is to be led to the load balancer, and what it resolves to now.
async fn named(asked: &Asked) -> (Option<Name>, Option<Answered>) {
    let Some(name) = &asked.name else { return (None, None) };
    let resolved = match asked.resolver.map_or_else(dns::system_resolver, Ok) {
        Ok(resolver) => dns::resolve(resolver, name).await,
        Err(why) => Err(why),
    };
    let ttl_seconds = resolved.as_ref().map_or(0, |resolved| resolved.ttl_seconds);
    let answered = match resolved {
        Ok(resolved) => {
            let addresses: Vec<String> = resolved.addresses.iter().map(ToString::to_string).collect();
            Answered::Yes(format!("{name} resolves to {}, for {ttl_seconds} s", addresses.join(", ")))
        }
        Err(why) => Answered::Unknown(why),
    };
    (Some(Name { name: name.clone(), ttl_seconds, since: None }), Some(answered))
}

/// Whether clients will trust the weighted listener's certificate.
async fn certificate(knock: &Knock, record: &Record) -> Answered {
    let weighted = &record.weighted;
    if !weighted.secure {
        return Answered::Yes("the weighted listener speaks HTTP: there is none".to_owned());
    }
    let Some(name) = &record.server_name else {
        return Answered::Unknown("the name that clients use is not known".to_owned());
    };
    match knock.get(&weighted.address, weighted.port, true, name, None).await {
        Ok(_) => Answered::Yes(format!("it is good for {name}")),
        Err(shut @ Shut::Certificate(_)) => Answered::No(shut.to_string()),
        Err(shut) => Answered::Unknown(shut.to_string()),
    }
}

/// What is counted of a reroute.
pub(super) fn counted_of(record: &Record) -> Result<Counted, PortError> {
    let (balancer, group) = (dimension(&record.weighted.balancer)?, dimension(&record.weighted.source)?);
    let front = record.front.as_ref().map(|front| dimension(&front.balancer)).transpose()?;
    Ok(Counted { old: record.old.clone(), new: OldGroup { balancer, group }, front })
}

/// Whether CloudWatch can be read, and whether it counts the old path.
async fn counted(cloud: &impl Cloud, record: &Record, uncounted: Option<String>) -> Answered {
    let to = Timestamp(cloud.now().0.div_euclid(60_000) * 60_000);
    let window = Window { from: to.minus(LOOK_BACK), to };
    let read = match counted_of(record) {
        Ok(counted) => cloud.minutes(&counted, window).await,
        Err(error) => Err(error),
    };
    match (read, uncounted) {
        (Err(error), _) => Answered::Unknown(in_one_line(&error)),
        (Ok(_), Some(why)) => Answered::No(why),
        (Ok(minutes), None) => {
            let requests: u64 = minutes.iter().filter_map(|one| one.old.as_ref()).map(|old| old.requests).sum();
            let length = LOOK_BACK.as_secs() / MINUTE.as_secs();
            Answered::Yes(format!("{requests} requests in the last {length} minutes, by {} groups", record.old.len()))
        }
    }
}
