//! A listener's actions, whole, in AWS's own spelling; and the two weights in them that are ours.
//!
//! `ModifyListener` replaces the whole list, and the SDK's types drop what they do not model. So a list is read from the
//! raw answer into these types, which refuse what they do not know, is journalled as they spell it, and is written back
//! through them: what was read can be put back, or nothing is begun. The shapes are those of `Action` in the service
//! model of Elastic Load Balancing v2 (API version 2015-12-01).

use std::collections::{BTreeMap, HashMap};

use aws_sdk_elasticloadbalancingv2::types as sdk;
use cutover::{Share, Weight};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::aws::lenient;

/// The sum of the two weights of a split. AWS takes 0 to 999 for each, so the ends are written 1/0 and 0/1.
const WHOLE: u16 = 1000;

/// One action of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Action {
    /// `forward`, `authenticate-oidc` and so on.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Its place; must be said when there is more than one.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::number")]
    pub order: Option<i32>,
    /// The one target group of a `forward` action, where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_group_arn: Option<String>,
    /// The target groups of a `forward` action, with their weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_config: Option<Forward>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authenticate_oidc_config: Option<Oidc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authenticate_cognito_config: Option<Cognito>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jwt_validation_config: Option<Jwt>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redirect_config: Option<Redirect>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fixed_response_config: Option<FixedResponse>,
}

/// Where a `forward` action goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Forward {
    /// The target groups.
    #[serde(default)]
    pub target_groups: Vec<Tuple>,
    /// What keeps a client at one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_group_stickiness_config: Option<Stickiness>,
}

/// One target group of a `forward` action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Tuple {
    /// Its ARN.
    pub target_group_arn: String,
    /// 0 to 999; the share of a target group is its part of the sum.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::number")]
    pub weight: Option<i32>,
}

/// What keeps a client at one target group of a `forward` action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Stickiness {
    /// Whether it does.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::flag")]
    pub enabled: Option<bool>,
    /// For how long, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::number")]
    pub duration_seconds: Option<i32>,
}

/// The secret is never told by AWS, so it is not here: a list is written back with "use the existing one".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Oidc {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authorization_endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_info_endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session_cookie_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::number")]
    session_timeout: Option<i64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    authentication_request_extra_params: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_unauthenticated_request: Option<String>,
    // Some answers carry it; it says nothing about what stands.
    #[serde(default, skip_serializing, deserialize_with = "lenient::flag")]
    use_existing_client_secret: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Cognito {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_pool_arn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_pool_client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_pool_domain: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session_cookie_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::number")]
    session_timeout: Option<i64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    authentication_request_extra_params: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_unauthenticated_request: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Jwt {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jwks_endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    additional_claims: Vec<Claim>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Claim {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Redirect {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status_code: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct FixedResponse {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message_body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status_code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
}

/// Why a list of actions cannot be a cutover's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// It has something in it that could not be put back.
    #[error(
        "the action has something that this version does not know and could not put back: {0}; nothing is changed. Take it \
         out of the listener for the time of the cutover, or use a newer version"
    )]
    Unknown(String),
    /// There is no `forward` action.
    #[error("the default action is `{0}` and does not forward: it has no weights, and is left alone")]
    NoForward(String),
    /// It lacks a target group of ours.
    #[error(
        "its target groups are {found}, without `{missing}`: the listener's default action must weigh both target groups \
         (Migration Assistant makes such a listener when `targetClusterProxyServiceEnabled` is true)"
    )]
    NoGroup {
        /// What is there.
        found: String,
        /// What is not.
        missing: String,
    },
    /// Nobody gets anything.
    #[error(
        "both target groups have weight 0, so it is not known who gets the traffic; give the source 1 and the target 0"
    )]
    NoWeight,
    /// More than one action would move.
    #[error("there are {0} `forward` actions, and a rule has one")]
    Forwards(usize),
}

/// Reads a list of actions in AWS's spelling, as the raw answer or the journal has it.
///
/// # Errors
/// When there is something in it that these types do not know.
pub fn read(list: &Value) -> Result<Vec<Action>, ActionError> {
    let mut actions: Vec<Action> =
        serde_json::from_value(list.clone()).map_err(|error| ActionError::Unknown(error.to_string()))?;
    let known =
        ["forward", "authenticate-oidc", "authenticate-cognito", "jwt-validation", "redirect", "fixed-response"];
    if let Some(action) = actions.iter().find(|action| !known.contains(&action.kind.as_str())) {
        return Err(ActionError::Unknown(format!("an action of type `{}`", action.kind)));
    }
    for action in &mut actions {
        if let Some(oidc) = &mut action.authenticate_oidc_config {
            oidc.use_existing_client_secret = None;
        }
    }
    actions.sort_by_key(|action| action.order);
    Ok(actions)
}

/// The same list as the journal keeps it.
pub fn spelled(actions: &[Action]) -> Value {
    serde_json::to_value(actions).unwrap_or_default()
}

/// The one `forward` action.
fn forward(actions: &[Action]) -> Result<&Action, ActionError> {
    let forwards: Vec<&Action> = actions.iter().filter(|action| action.kind == "forward").collect();
    match forwards[..] {
        [one] => Ok(one),
        [] => Err(ActionError::NoForward(actions.last().map_or_else(String::new, |action| action.kind.clone()))),
        _ => Err(ActionError::Forwards(forwards.len())),
    }
}

/// Its target groups and their weights. One that is named alone has all the weight there is.
fn tuples(action: &Action) -> Vec<Tuple> {
    match (&action.forward_config, &action.target_group_arn) {
        (Some(forward), _) if !forward.target_groups.is_empty() => forward.target_groups.clone(),
        (_, Some(arn)) => vec![Tuple { target_group_arn: arn.clone(), weight: Some(1) }],
        _ => Vec::new(),
    }
}

/// The target groups of the one `forward` action, with their weights; one that is named alone has weight 1.
///
/// # Errors
/// When the list does not forward.
pub fn groups(actions: &[Action]) -> Result<Vec<Tuple>, ActionError> {
    forward(actions).map(tuples)
}

/// The list with other target groups and weights in its one `forward` action, and everything else as it is.
///
/// # Errors
/// When the list does not forward.
pub fn with_groups(actions: &[Action], groups: &[Tuple]) -> Result<Vec<Action>, ActionError> {
    forward(actions)?;
    let mut actions = actions.to_vec();
    for action in actions.iter_mut().filter(|action| action.kind == "forward") {
        action.forward_config.get_or_insert_default().target_groups = groups.to_vec();
        // With more than one target group AWS refuses the short form beside the long one.
        action.target_group_arn = None;
    }
    Ok(actions)
}

/// A weight that is not said is 1: AWS's default for a target group of a `forward` action.
fn weight_of(tuples: &[Tuple], arn: &str) -> Result<i32, ActionError> {
    let tuple = tuples.iter().find(|tuple| tuple.target_group_arn == arn);
    tuple.map(|tuple| tuple.weight.unwrap_or(1)).ok_or_else(|| {
        let found: Vec<&str> = tuples.iter().map(|tuple| tuple.target_group_arn.as_str()).collect();
        ActionError::NoGroup {
            found: if found.is_empty() { "none".to_owned() } else { found.join(", ") },
            missing: arn.to_owned(),
        }
    })
}

/// The target's share of what the two target groups get, rounded to a tenth of a percent; but never to nothing or all
/// where it is neither.
///
/// # Errors
/// When the list does not weigh both.
pub fn share(actions: &[Action], source: &str, target: &str) -> Result<Share, ActionError> {
    let tuples = tuples(forward(actions)?);
    let (source, target) = (weight_of(&tuples, source)?, weight_of(&tuples, target)?);
    let both = i64::from(source) + i64::from(target);
    if both <= 0 {
        return Err(ActionError::NoWeight);
    }
    let whole = i64::from(WHOLE);
    let mut per_mille = (i64::from(target) * whole + both / 2) / both;
    if source > 0 && target > 0 {
        per_mille = per_mille.clamp(1, whole - 1);
    }
    let weight = u16::try_from(per_mille).ok().and_then(Weight::new).unwrap_or(Weight::ALL);
    Ok(Share::both(weight))
}

/// The list with the two weights changed and everything else as it is.
///
/// # Errors
/// When it does not weigh both.
pub fn with_share(actions: &[Action], source: &str, target: &str, share: Share) -> Result<Vec<Action>, ActionError> {
    let tuples = tuples(forward(actions)?);
    weight_of(&tuples, source)?;
    weight_of(&tuples, target)?;
    let (for_source, for_target) = match share.reads.per_mille() {
        0 => (1, 0),
        WHOLE => (0, 1),
        per_mille => (i32::from(WHOLE - per_mille), i32::from(per_mille)),
    };
    let mut actions = actions.to_vec();
    for action in actions.iter_mut().filter(|action| action.kind == "forward") {
        let forward = action.forward_config.get_or_insert_default();
        forward.target_groups.clone_from(&tuples);
        for tuple in &mut forward.target_groups {
            if tuple.target_group_arn == source {
                tuple.weight = Some(for_source);
            } else if tuple.target_group_arn == target {
                tuple.weight = Some(for_target);
            }
        }
        // With more than one target group AWS refuses the short form beside the long one.
        action.target_group_arn = None;
    }
    Ok(actions)
}

/// Whether two lists mean the same: the order of target groups, a stickiness that is off or not said, a single target
/// group in the short or the long form, and an order number where there is one action say nothing.
pub fn same(one: &[Action], other: &[Action]) -> bool {
    plain(one) == plain(other)
}

fn plain(actions: &[Action]) -> Vec<Action> {
    let mut plain = actions.to_vec();
    plain.sort_by_key(|action| action.order);
    for (place, action) in plain.iter_mut().enumerate() {
        action.order = i32::try_from(place).ok();
        if action.kind == "forward" {
            let mut groups = tuples(action);
            groups.sort_by(|one, other| one.target_group_arn.cmp(&other.target_group_arn));
            if let [only] = &mut groups[..] {
                only.weight = None;
            }
            for tuple in &mut groups {
                tuple.weight = tuple.weight.or(Some(1));
            }
            let stickiness = action.forward_config.take().and_then(|forward| forward.target_group_stickiness_config);
            let stickiness = stickiness.filter(|stickiness| stickiness.enabled == Some(true));
            action.forward_config = Some(Forward { target_groups: groups, target_group_stickiness_config: stickiness });
            action.target_group_arn = None;
        }
    }
    plain
}

/// The list as the SDK sends it.
pub fn sdk(actions: &[Action]) -> Vec<sdk::Action> {
    actions.iter().map(one).collect()
}

fn some<K: Clone + Eq + std::hash::Hash, V: Clone>(map: &BTreeMap<K, V>) -> Option<HashMap<K, V>> {
    (!map.is_empty()).then(|| map.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn one(action: &Action) -> sdk::Action {
    let forward = action.forward_config.as_ref().map(|forward| {
        let tuple = |tuple: &Tuple| {
            sdk::TargetGroupTuple::builder().target_group_arn(&tuple.target_group_arn).set_weight(tuple.weight).build()
        };
        let stickiness = forward.target_group_stickiness_config.as_ref().map(|stickiness| {
            sdk::TargetGroupStickinessConfig::builder()
                .set_enabled(stickiness.enabled)
                .set_duration_seconds(stickiness.duration_seconds)
                .build()
        });
        sdk::ForwardActionConfig::builder()
            .set_target_groups(Some(forward.target_groups.iter().map(tuple).collect()))
            .set_target_group_stickiness_config(stickiness)
            .build()
    });
    let oidc = action.authenticate_oidc_config.as_ref().map(|oidc| {
        sdk::AuthenticateOidcActionConfig::builder()
            .set_issuer(oidc.issuer.clone())
            .set_authorization_endpoint(oidc.authorization_endpoint.clone())
            .set_token_endpoint(oidc.token_endpoint.clone())
            .set_user_info_endpoint(oidc.user_info_endpoint.clone())
            .set_client_id(oidc.client_id.clone())
            .set_session_cookie_name(oidc.session_cookie_name.clone())
            .set_scope(oidc.scope.clone())
            .set_session_timeout(oidc.session_timeout)
            .set_authentication_request_extra_params(some(&oidc.authentication_request_extra_params))
            .set_on_unauthenticated_request(oidc.on_unauthenticated_request.as_deref().map(Into::into))
            .use_existing_client_secret(true)
            .build()
    });
    let cognito = action.authenticate_cognito_config.as_ref().map(|cognito| {
        sdk::AuthenticateCognitoActionConfig::builder()
            .set_user_pool_arn(cognito.user_pool_arn.clone())
            .set_user_pool_client_id(cognito.user_pool_client_id.clone())
            .set_user_pool_domain(cognito.user_pool_domain.clone())
            .set_session_cookie_name(cognito.session_cookie_name.clone())
            .set_scope(cognito.scope.clone())
            .set_session_timeout(cognito.session_timeout)
            .set_authentication_request_extra_params(some(&cognito.authentication_request_extra_params))
            .set_on_unauthenticated_request(cognito.on_unauthenticated_request.as_deref().map(Into::into))
            .build()
    });
    let jwt = action.jwt_validation_config.as_ref().map(|jwt| {
        let claim = |claim: &Claim| {
            sdk::JwtValidationActionAdditionalClaim::builder()
                .set_format(claim.format.as_deref().map(Into::into))
                .set_name(claim.name.clone())
                .set_values((!claim.values.is_empty()).then(|| claim.values.clone()))
                .build()
        };
        let claims: Vec<_> = jwt.additional_claims.iter().map(claim).collect();
        sdk::JwtValidationActionConfig::builder()
            .set_jwks_endpoint(jwt.jwks_endpoint.clone())
            .set_issuer(jwt.issuer.clone())
            .set_additional_claims((!claims.is_empty()).then_some(claims))
            .build()
    });
    let redirect = action.redirect_config.as_ref().map(|redirect| {
        sdk::RedirectActionConfig::builder()
            .set_protocol(redirect.protocol.clone())
            .set_port(redirect.port.clone())
            .set_host(redirect.host.clone())
            .set_path(redirect.path.clone())
            .set_query(redirect.query.clone())
            .set_status_code(redirect.status_code.as_deref().map(Into::into))
            .build()
    });
    let fixed = action.fixed_response_config.as_ref().map(|fixed| {
        sdk::FixedResponseActionConfig::builder()
            .set_message_body(fixed.message_body.clone())
            .set_status_code(fixed.status_code.clone())
            .set_content_type(fixed.content_type.clone())
            .build()
    });
    sdk::Action::builder()
        .r#type(sdk::ActionTypeEnum::from(action.kind.as_str()))
        .set_order(action.order)
        .set_target_group_arn(action.target_group_arn.clone())
        .set_forward_config(forward)
        .set_authenticate_oidc_config(oidc)
        .set_authenticate_cognito_config(cognito)
        .set_jwt_validation_config(jwt)
        .set_redirect_config(redirect)
        .set_fixed_response_config(fixed)
        .build()
}

#[cfg(test)]
mod tests;
