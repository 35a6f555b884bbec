//! Action lists from parameters: every field that the service model has, and nothing that it has not.

use serde_json::{Map, Value};

use crate::model::action::{Action, Forward, Stickiness, Weighted, What};
use crate::model::{Model, Refusal};
use crate::wire::params::Params;

const TYPES: [&str; 6] =
    ["forward", "authenticate-oidc", "authenticate-cognito", "redirect", "fixed-response", "jwt-validation"];
const UNAUTHENTICATED: [&str; 3] = ["deny", "allow", "authenticate"];

/// The list under `name`; `None` if none is given. `old` is the list that it takes the place of: where a client says to
/// keep the secret of a log-in action, it is found there.
pub(super) fn parse(
    model: &Model,
    params: Params<'_>,
    name: &str,
    old: &[Action],
) -> Result<Option<Vec<Action>>, Refusal> {
    if !params.has(name) {
        return Ok(None);
    }
    params.tables(name).map(|action| one(model, action, old)).collect::<Result<_, _>>().map(Some)
}

fn one(model: &Model, params: Params<'_>, old: &[Action]) -> Result<Action, Refusal> {
    let kind = params.word("Type", &TYPES)?.ok_or_else(|| Refusal::missing("Type"))?;
    let order = params.number("Order", 1..=50_000_u32)?;
    let config = |name: &str| {
        let missing =
            || Refusal::new("InvalidLoadBalancerAction", format!("An action of type '{kind}' needs a {name}"));
        params.table(name).ok_or_else(missing)
    };
    let what = match kind {
        "forward" => What::Forward(forward(model, params)?),
        "fixed-response" => What::FixedResponse(fixed_response(config("FixedResponseConfig")?)?),
        "redirect" => What::Redirect(redirect(config("RedirectConfig")?)?),
        "authenticate-oidc" => oidc(config("AuthenticateOidcConfig")?, old)?,
        "authenticate-cognito" => What::Cognito(cognito(config("AuthenticateCognitoConfig")?)?),
        _ => What::Jwt(jwt(config("JwtValidationConfig")?)?),
    };
    Ok(Action { order, what })
}

fn forward(model: &Model, params: Params<'_>) -> Result<Forward, Refusal> {
    let alone = params.text("TargetGroupArn").filter(|arn| !arn.is_empty());
    let Some(config) = params.table("ForwardConfig") else {
        let arn = alone.ok_or_else(|| Refusal::invalid("A target group ARN must be specified"))?;
        let groups = vec![Weighted { arn: arn.to_owned(), weight: 1 }];
        return Ok(Forward { groups, stickiness: Stickiness::default() });
    };
    let tuples: Vec<Params<'_>> = config.tables("TargetGroups").collect();
    let mut groups = Vec::new();
    for tuple in &tuples {
        let arn = tuple.need("TargetGroupArn")?.to_owned();
        let weight = tuple.number("Weight", 0..=999_u32)?;
        let weight = match weight {
            Some(weight) => weight,
            None if tuples.len() == 1 => 1,
            None => return Err(Refusal::invalid("A weight must be specified for each of several target groups")),
        };
        groups.push(Weighted { arn, weight });
    }
    match (alone, &groups[..]) {
        (Some(alone), []) => groups.push(Weighted { arn: alone.to_owned(), weight: 1 }),
        (None, []) => return Err(Refusal::invalid("A target group ARN must be specified")),
        (Some(alone), [only]) if only.arn == alone => {}
        (Some(_), _) => {
            return Err(Refusal::new(
                "InvalidLoadBalancerAction",
                "You can specify both ForwardConfig and TargetGroupArn only if you specify the same target group in both",
            ));
        }
        (None, _) => {}
    }
    for group in &groups {
        super::check_arn(&group.arn, &["targetgroup"], "target group")?;
        model.target_group(&group.arn)?;
    }
    Ok(Forward { groups, stickiness: stickiness(config)? })
}

/// The duration is checked even where stickiness is off: public issues (pulumi/pulumi-aws#1824) show AWS refusing 0 then.
fn stickiness(config: Params<'_>) -> Result<Stickiness, Refusal> {
    let Some(config) = config.table("TargetGroupStickinessConfig") else { return Ok(Stickiness::default()) };
    let enabled = config.flag("Enabled")?.unwrap_or(false);
    let wrong = || Refusal::invalid("Target group stickiness duration must be between 1 and 604800 seconds");
    let seconds = match config.number("DurationSeconds", 1..=604_800_u32) {
        Err(refusal) if refusal.code == "ValidationError" => return Err(wrong()),
        read => read?,
    };
    if enabled && seconds.is_none() {
        return Err(wrong());
    }
    Ok(Stickiness { enabled, seconds })
}

/// Copies texts that are given.
fn copy(params: Params<'_>, names: &[&str], out: &mut Map<String, Value>) {
    for name in names {
        if let Some(text) = params.text(name) {
            out.insert((*name).into(), text.into());
        }
    }
}

/// Copies texts that must be given.
fn copy_needed(params: Params<'_>, names: &[&str], out: &mut Map<String, Value>) -> Result<(), Refusal> {
    for name in names {
        out.insert((*name).into(), params.need(name)?.into());
    }
    Ok(())
}

fn fixed_response(params: Params<'_>) -> Result<Map<String, Value>, Refusal> {
    let mut out = Map::new();
    copy(params, &["MessageBody"], &mut out);
    let status = params.need("StatusCode")?;
    let fits = status.len() == 3 && status.starts_with(['2', '4', '5']) && status.bytes().all(|b| b.is_ascii_digit());
    if !fits {
        return Err(Refusal::invalid(format!("The status code '{status}' is not 2XX, 4XX or 5XX")));
    }
    if params.text("MessageBody").is_some_and(|body| body.chars().count() > 1024) {
        return Err(Refusal::invalid("The message body cannot be longer than 1024 characters"));
    }
    out.insert("StatusCode".into(), status.into());
    copy(params, &["ContentType"], &mut out);
    Ok(out)
}

fn redirect(params: Params<'_>) -> Result<Map<String, Value>, Refusal> {
    let mut out = Map::new();
    let given = |name: &str, default: &str| params.text(name).unwrap_or(default).to_owned();
    for (name, default) in [
        ("Protocol", "#{protocol}"),
        ("Port", "#{port}"),
        ("Host", "#{host}"),
        ("Path", "/#{path}"),
        ("Query", "#{query}"),
    ] {
        out.insert(name.into(), given(name, default).into());
    }
    params.word("Protocol", &["HTTP", "HTTPS", "#{protocol}"])?;
    let status = params.word("StatusCode", &["HTTP_301", "HTTP_302"])?.ok_or_else(|| Refusal::missing("StatusCode"))?;
    out.insert("StatusCode".into(), status.into());
    Ok(out)
}

/// What log-in actions have in common, with the defaults that AWS fills in.
fn log_in(params: Params<'_>, out: &mut Map<String, Value>) -> Result<(), Refusal> {
    let text = |name: &str, default: &str| Value::from(params.text(name).unwrap_or(default));
    out.insert("SessionCookieName".into(), text("SessionCookieName", "AWSELBAuthSessionCookie"));
    out.insert("Scope".into(), text("Scope", "openid"));
    let timeout = params.number("SessionTimeout", 1..=604_800_u32)?.unwrap_or(604_800);
    out.insert("SessionTimeout".into(), timeout.into());
    let extra = params.table("AuthenticationRequestExtraParams");
    let pairs: Map<String, Value> = extra
        .iter()
        .flat_map(|extra| extra.tables("entry"))
        .filter_map(|pair| Some((pair.text("key")?.to_owned(), pair.text("value")?.into())))
        .collect();
    if pairs.len() > 10 {
        return Err(Refusal::invalid("A maximum of 10 authentication request extra parameters can be specified"));
    }
    if !pairs.is_empty() {
        out.insert("AuthenticationRequestExtraParams".into(), pairs.into());
    }
    let else_ = params.word("OnUnauthenticatedRequest", &UNAUTHENTICATED)?.unwrap_or("authenticate");
    out.insert("OnUnauthenticatedRequest".into(), else_.into());
    Ok(())
}

/// The rules for the secret are those of AWS's reply in ansible-collections/amazon.aws#1877.
fn oidc(params: Params<'_>, old: &[Action]) -> Result<What, Refusal> {
    let mut out = Map::new();
    let needed = ["Issuer", "AuthorizationEndpoint", "TokenEndpoint", "UserInfoEndpoint", "ClientId"];
    copy_needed(params, &needed, &mut out)?;
    log_in(params, &mut out)?;
    let refuse = |why: &str| Err(Refusal::new("InvalidLoadBalancerAction", why));
    let secret = match (params.text("ClientSecret"), params.flag("UseExistingClientSecret")?.unwrap_or(false)) {
        (Some(_), true) => {
            return refuse("You cannot both specify a client secret and set UseExistingClientSecret to true");
        }
        (Some(secret), false) => secret.to_owned(),
        (None, false) => {
            return refuse("You must either specify a client secret or set UseExistingClientSecret to true");
        }
        (None, true) => {
            let known = old.iter().find_map(|action| match &action.what {
                What::Oidc(config, secret) if config.get("ClientId") == out.get("ClientId") => secret.clone(),
                _ => None,
            });
            match known {
                Some(secret) => secret,
                None => return refuse("There is no existing client secret to use: the rule has no such OIDC action"),
            }
        }
    };
    Ok(What::Oidc(out, Some(secret)))
}

fn cognito(params: Params<'_>) -> Result<Map<String, Value>, Refusal> {
    let mut out = Map::new();
    copy_needed(params, &["UserPoolArn", "UserPoolClientId", "UserPoolDomain"], &mut out)?;
    log_in(params, &mut out)?;
    Ok(out)
}

fn jwt(params: Params<'_>) -> Result<Map<String, Value>, Refusal> {
    let mut out = Map::new();
    copy_needed(params, &["JwksEndpoint", "Issuer"], &mut out)?;
    let formats = ["single-string", "string-array", "space-separated-values"];
    let mut claims = Vec::new();
    for claim in params.tables("AdditionalClaims") {
        let mut one = Map::new();
        let format = claim.word("Format", &formats)?.ok_or_else(|| Refusal::missing("Format"))?;
        one.insert("Format".into(), format.into());
        copy_needed(claim, &["Name"], &mut one)?;
        one.insert("Values".into(), claim.texts("Values").into());
        claims.push(Value::from(one));
    }
    if !claims.is_empty() {
        out.insert("AdditionalClaims".into(), claims.into());
    }
    Ok(out)
}
