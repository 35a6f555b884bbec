//! Listeners, each with its default rule.

use serde_json::{Value, json};

use super::actions;
use crate::model::check::LISTENERS_MAX;
use crate::model::{BalancerKind, Listener, Model, Protocol, Refusal};
use crate::wire::params::Params;

/// What a listener has that says none.
const SSL_POLICY: &str = "ELBSecurityPolicy-2016-08";

fn spelled(listener: &Listener) -> Value {
    let certificates: Vec<Value> =
        listener.certificates.iter().take(1).map(|arn| json!({"CertificateArn": arn})).collect();
    let actions: Vec<Value> = listener.default_actions.iter().map(crate::model::Action::spelled).collect();
    let mut out = json!({
        "ListenerArn": listener.arn,
        "LoadBalancerArn": listener.load_balancer,
        "Port": listener.port,
        "Protocol": listener.protocol.name(),
        "DefaultActions": actions,
    });
    if !certificates.is_empty() {
        out["Certificates"] = certificates.into();
        out["SslPolicy"] = listener.ssl_policy.clone().into();
    }
    if listener.protocol == Protocol::Https {
        out["MutualAuthentication"] = json!({"Mode": "off"});
    }
    if !listener.alpn.is_empty() {
        out["AlpnPolicy"] = listener.alpn.clone().into();
    }
    out
}

pub(super) fn describe(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arns = params.texts("ListenerArns");
    let found = match params.text("LoadBalancerArn") {
        Some(_) if !arns.is_empty() => {
            return Err(Refusal::invalid("Load balancer ARN and listener ARNs cannot be specified at the same time"));
        }
        Some(balancer) => {
            super::check_arn(balancer, &["loadbalancer"], "load balancer")?;
            model.listeners_of(&model.load_balancer(balancer)?.arn)
        }
        None if arns.is_empty() => {
            return Err(Refusal::invalid("You must specify either listener ARNs or a load balancer ARN"));
        }
        None => {
            let mut found = Vec::new();
            for arn in arns {
                super::check_arn(arn, &["listener"], "listener")?;
                found.push(model.listener(arn)?);
            }
            found
        }
    };
    let parts = found.into_iter().map(|listener| (listener.arn.clone(), spelled(listener))).collect();
    super::page("Listeners", params, parts)
}

pub(super) fn describe_certificates(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let listener = model.listener(params.need("ListenerArn")?)?;
    let one = |(index, arn): (usize, &String)| (arn.clone(), json!({"CertificateArn": arn, "IsDefault": index == 0}));
    super::page("Certificates", params, listener.certificates.iter().enumerate().map(one).collect())
}

/// What a listener is apart from its actions, from parameters over what it was.
struct Front {
    port: u16,
    protocol: Protocol,
    certificates: Vec<String>,
    ssl_policy: Option<String>,
    alpn: Vec<String>,
}

fn front(params: Params<'_>, kind: BalancerKind, old: Option<&Listener>) -> Result<Front, Refusal> {
    let port = params.number("Port", 1..=65_535_u16)?.or(old.map(|old| old.port));
    let port = port.ok_or_else(|| Refusal::missing("Port"))?;
    let protocol = match params.text("Protocol") {
        Some(name) => Protocol::parse(name)
            .ok_or_else(|| Refusal::new("UnsupportedProtocol", format!("Protocol '{name}' is not supported")))?,
        None => old.map(|old| old.protocol).ok_or_else(|| Refusal::missing("Protocol"))?,
    };
    if protocol.is_http() != (kind == BalancerKind::Application) {
        // The code and the kind of load balancer are AWS's; the set in brackets is what the service model allows for each.
        let allowed = if kind == BalancerKind::Application { "HTTP, HTTPS" } else { "TCP, TCP_UDP, TLS, UDP" };
        return Err(Refusal::invalid(format!("Listener protocol '{}' must be one of '{allowed}'", protocol.name())));
    }
    let given: Vec<&str> =
        params.tables("Certificates").filter_map(|certificate| certificate.text("CertificateArn")).collect();
    let secure = matches!(protocol, Protocol::Https | Protocol::Tls);
    if !secure && !given.is_empty() {
        return Err(Refusal::invalid(format!("A certificate cannot be specified for {} listeners", protocol.name())));
    }
    if given.len() > 1 {
        return Err(Refusal::new("TooManyCertificates", "You can specify one default certificate only"));
    }
    if let Some(bad) = given.iter().find(|arn| !(arn.starts_with("arn:aws:acm:") || arn.starts_with("arn:aws:iam:"))) {
        return Err(Refusal::new("CertificateNotFound", format!("Certificate ARN '{bad}' is not valid")));
    }
    // The further certificates (AddListenerCertificates) stay when the default one changes.
    let mut certificates = old.map_or_else(Vec::new, |old| old.certificates.clone());
    match given.first() {
        Some(first) if certificates.is_empty() => certificates.push((*first).to_owned()),
        Some(first) => (*first).clone_into(&mut certificates[0]),
        None => {}
    }
    if !secure {
        certificates.clear();
    } else if certificates.is_empty() {
        return Err(Refusal::new(
            "CertificateNotFound",
            format!("A certificate must be specified for {} listeners", protocol.name()),
        ));
    }
    let ssl_policy = params.text("SslPolicy").or(old.and_then(|old| old.ssl_policy.as_deref()));
    if let Some(policy) = ssl_policy.filter(|policy| !policy.starts_with("ELBSecurityPolicy-")) {
        return Err(Refusal::new("SSLPolicyNotFound", format!("SSL policy '{policy}' not found")));
    }
    let alpn = if params.has("AlpnPolicy") {
        params.texts("AlpnPolicy").into_iter().map(str::to_owned).collect()
    } else {
        old.map_or_else(Vec::new, |old| old.alpn.clone())
    };
    if !alpn.is_empty() && protocol != Protocol::Tls {
        return Err(Refusal::new("ALPNPolicyNotSupported", "ALPN policies are supported on TLS listeners only"));
    }
    let ssl_policy = secure.then(|| ssl_policy.unwrap_or(SSL_POLICY).to_owned());
    Ok(Front { port, protocol, certificates, ssl_policy, alpn })
}

pub(super) fn create(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let balancer = params.need("LoadBalancerArn")?;
    super::check_arn(balancer, &["loadbalancer"], "load balancer")?;
    let balancer = model.load_balancer(balancer)?.clone();
    let front = front(params, balancer.kind, None)?;
    let actions = actions::parse(model, params, "DefaultActions", &[])?;
    let actions = actions.ok_or_else(|| Refusal::missing("DefaultActions"))?;
    let others = model.listeners_of(&balancer.arn);
    if others.iter().any(|other| other.port == front.port) {
        // AWS's own sentence, hashicorp/terraform#26407.
        let why = format!("A listener already exists on this port for this load balancer '{}'", balancer.arn);
        return Err(Refusal::new("DuplicateListener", why));
    }
    if others.len() == LISTENERS_MAX {
        let why = format!("A load balancer can have at most {LISTENERS_MAX} listeners");
        return Err(Refusal::new("TooManyListeners", why));
    }
    model.check_actions(&balancer, front.protocol, &actions)?;
    let tags = super::tags::parse(params)?;
    let id = model.fresh_id(16);
    let arn = format!("{}/{id}", balancer.arn.replace(":loadbalancer/", ":listener/"));
    let default_rule = format!("{}/{}", arn.replace(":listener/", ":listener-rule/"), model.fresh_id(16));
    let Front { port, protocol, certificates, ssl_policy, alpn } = front;
    let listener = Listener {
        arn: arn.clone(),
        load_balancer: balancer.arn,
        port,
        protocol,
        certificates,
        ssl_policy,
        alpn,
        default_actions: actions,
        default_rule,
        rules: Vec::new(),
        attributes: std::collections::BTreeMap::new(),
        address: None,
    };
    let answer = json!({"Listeners": [spelled(&listener)]});
    model.tags.insert(arn.clone(), tags);
    model.listeners.insert(arn, listener);
    model.refresh_use();
    Ok(answer)
}

/// What is not given stays as it is; the action list is replaced whole.
pub(super) fn modify(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arn = params.need("ListenerArn")?;
    super::check_arn(arn, &["listener"], "listener")?;
    let old = model.listener(arn)?.clone();
    let balancer = model.load_balancer(&old.load_balancer)?.clone();
    let front = front(params, balancer.kind, Some(&old))?;
    if model.listeners_of(&balancer.arn).iter().any(|other| other.arn != arn && other.port == front.port) {
        let why = format!("A listener already exists on this port for this load balancer '{}'", balancer.arn);
        return Err(Refusal::new("DuplicateListener", why));
    }
    let given = actions::parse(model, params, "DefaultActions", &old.default_actions)?;
    let actions = given.unwrap_or_else(|| old.default_actions.clone());
    model.check_actions(&balancer, front.protocol, &actions)?;
    for rule in &old.rules {
        model.check_actions(&balancer, front.protocol, &rule.actions)?;
    }
    let Front { port, protocol, certificates, ssl_policy, alpn } = front;
    let listener = Listener { port, protocol, certificates, ssl_policy, alpn, default_actions: actions, ..old };
    let answer = json!({"Listeners": [spelled(&listener)]});
    model.listeners.insert(arn.to_owned(), listener);
    model.refresh_use();
    Ok(answer)
}

pub(super) fn delete(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arn = params.need("ListenerArn")?;
    super::check_arn(arn, &["listener"], "listener")?;
    let port = model.listener(arn)?.port;
    let balancer = model.listener(arn)?.load_balancer.clone();
    // A listener that an NLB forwards to cannot go (the service model says so of the code, not of the sentence).
    let front = model
        .target_groups
        .values()
        .find(|group| group.port == port && group.targets.iter().any(|target| target.id == balancer));
    if let Some(group) = front {
        let why = format!("Listener '{arn}' is a target of target group '{}'", group.arn);
        return Err(Refusal::new("ResourceInUse", why));
    }
    model.listeners.remove(arn);
    model.tags.remove(arn);
    model.refresh_use();
    Ok(json!({}))
}
