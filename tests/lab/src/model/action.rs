//! What a rule does with a request: the list of actions, whole, as a client wrote it.
//!
//! A client that changes two weights must send the whole list back, so nothing that it sent may get lost here: order,
//! further target groups, stickiness, the settings of log-in actions. Only a client secret never comes out again.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// One action. Its JSON is AWS's own spelling ([`Action::spelled`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// Its place, 1 to 50000. `None` if the client gave none, which AWS allows for a list of one.
    pub order: Option<u32>,
    /// What it does.
    pub what: What,
}

/// The kinds of actions of the service model.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// To one to five target groups.
    Forward(Forward),
    /// An answer from the load balancer: `StatusCode`, `ContentType`, `MessageBody`.
    FixedResponse(Map<String, Value>),
    /// A redirection: `Protocol`, `Port`, `Host`, `Path`, `Query`, `StatusCode`.
    Redirect(Map<String, Value>),
    /// Log-in by OpenID Connect: its settings without the secret, and the secret.
    Oidc(Map<String, Value>, Option<String>),
    /// Log-in by Cognito.
    Cognito(Map<String, Value>),
    /// A check of the token that a request brings.
    Jwt(Map<String, Value>),
}

/// Which target groups, and how much of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// In the order given.
    pub groups: Vec<Weighted>,
    /// Whether a client stays with the target group it got first.
    pub stickiness: Stickiness,
}

/// A target group in a forward action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weighted {
    /// Which.
    pub arn: String,
    /// 0 to 999, relative to the others of the action. 0 gets nothing.
    pub weight: u32,
}

/// Stickiness between target groups, by the cookie `AWSALBTG`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stickiness {
    /// Whether the cookie is set and obeyed.
    pub enabled: bool,
    /// How long it lives after each request, 1 to 604800 s. `None` only while it is not enabled.
    pub seconds: Option<u32>,
}

impl What {
    /// As in the field `Type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Forward(_) => "forward",
            Self::FixedResponse(_) => "fixed-response",
            Self::Redirect(_) => "redirect",
            Self::Oidc(..) => "authenticate-oidc",
            Self::Cognito(_) => "authenticate-cognito",
            Self::Jwt(_) => "jwt-validation",
        }
    }

    /// Whether it ends a list: each has exactly one that does.
    pub fn routes(&self) -> bool {
        matches!(self, Self::Forward(_) | Self::FixedResponse(_) | Self::Redirect(_))
    }
}

impl Action {
    /// A forward action by itself.
    pub fn forward(groups: &[(&str, u32)]) -> Self {
        let groups = groups.iter().map(|&(arn, weight)| Weighted { arn: arn.to_owned(), weight }).collect();
        Self { order: None, what: What::Forward(Forward { groups, stickiness: Stickiness::default() }) }
    }

    /// As `DescribeListeners` spells it. One target group stands there twice, as AWS has it: by itself and in the
    /// `ForwardConfig`.
    pub fn spelled(&self) -> Value {
        let mut out = Map::new();
        out.insert("Type".into(), self.what.kind().into());
        if let What::Forward(Forward { groups, .. }) = &self.what
            && let [only] = &groups[..]
        {
            out.insert("TargetGroupArn".into(), only.arn.clone().into());
        }
        if let Some(order) = self.order {
            out.insert("Order".into(), order.into());
        }
        let (name, config) = match &self.what {
            What::Forward(forward) => ("ForwardConfig", forward.spelled()),
            What::FixedResponse(config) => ("FixedResponseConfig", config.clone().into()),
            What::Redirect(config) => ("RedirectConfig", config.clone().into()),
            What::Oidc(config, _) => ("AuthenticateOidcConfig", config.clone().into()),
            What::Cognito(config) => ("AuthenticateCognitoConfig", config.clone().into()),
            What::Jwt(config) => ("JwtValidationConfig", config.clone().into()),
        };
        out.insert(name.into(), config);
        out.into()
    }
}

impl Serialize for Action {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.spelled().serialize(serializer)
    }
}

impl Forward {
    fn spelled(&self) -> Value {
        let groups: Vec<Value> =
            self.groups.iter().map(|group| json!({"TargetGroupArn": group.arn, "Weight": group.weight})).collect();
        let mut stickiness = json!({"Enabled": self.stickiness.enabled});
        if let Some(seconds) = self.stickiness.seconds {
            stickiness["DurationSeconds"] = seconds.into();
        }
        json!({"TargetGroups": groups, "TargetGroupStickinessConfig": stickiness})
    }
}

/// The forward action of a list; `None` if it ends otherwise.
pub fn forward(actions: &[Action]) -> Option<&Forward> {
    actions.iter().find_map(|action| match &action.what {
        What::Forward(forward) => Some(forward),
        _ => None,
    })
}

/// Whether a list sends anything to a target group, be it at weight 0.
pub fn names(actions: &[Action], target_group: &str) -> bool {
    forward(actions).is_some_and(|forward| forward.groups.iter().any(|group| group.arn == target_group))
}
