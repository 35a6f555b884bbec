//! Until when the credentials are good with which AWS is asked, and who renews them.
//!
//! The SDK renews what it can and says no word about the rest: keys for a session that stand in the environment or in a
//! profile end when they end, and the first one to notice would be a revert. AWS's command line says the end of such keys in
//! `AWS_CREDENTIAL_EXPIRATION` when it exports them, which the SDK does not read.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

use aws_credential_types::credential_feature::AwsCredentialFeature as Feature;
use aws_sdk_elasticloadbalancingv2::config::{Credentials, ProvideCredentials as _};
use cutover::Timestamp;

use super::Aws;
use crate::clock;
use crate::port::{PortError, in_one_line};

/// Says until when exported keys are good (AWS CLI, `configure export-credentials --format env`).
const EXPIRATION: &str = "AWS_CREDENTIAL_EXPIRATION";

/// How long an answer counts: some who give credentials ask a service for them.
const AGE_MAX: Duration = Duration::from_mins(5);

/// What was found last, and when.
pub(super) type Kept = Arc<Mutex<Option<(Instant, Good)>>>;

/// Who renews credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// Nobody needs to: they do not end.
    Never,
    /// The machine, the container or the cluster that they are for.
    ByItself,
    /// A program or a login, as long as that lasts.
    WhileItLasts,
    /// Nobody.
    ByNobody,
}

/// Until when credentials are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Good {
    /// The end; `None` where there is none, or nobody says it.
    pub until: Option<Timestamp>,
    /// Who renews them.
    pub renewed: Renewed,
}

impl Good {
    /// What credentials say of themselves; `said` is the end that whoever exported them told.
    fn of(found: &Credentials, said: Option<&str>) -> Self {
        let end = found.expiry().and_then(|end| end.duration_since(UNIX_EPOCH).ok());
        let end = end.map(|end| Timestamp(i64::try_from(end.as_millis()).unwrap_or(i64::MAX)));
        let features = found.get_property::<Vec<Feature>>().map_or(&[][..], Vec::as_slice);
        let is = |wanted: &[Feature]| features.iter().any(|feature| wanted.contains(feature));
        if end.is_some() {
            let by_itself = is(&[
                Feature::CredentialsHttp,
                Feature::CredentialsImds,
                Feature::CredentialsStsAssumeRoleWebId,
                Feature::CredentialsEnvVarsStsWebIdToken,
                Feature::CredentialsProfileStsWebIdToken,
            ]);
            let renewed = if by_itself { Renewed::ByItself } else { Renewed::WhileItLasts };
            return Self { until: end, renewed };
        }
        if found.session_token().is_none() {
            return Self { until: None, renewed: Renewed::Never };
        }
        let said = said.and_then(|said| said.parse::<jiff::Timestamp>().ok());
        Self { until: said.map(|said| Timestamp(said.as_millisecond())), renewed: Renewed::ByNobody }
    }
}

impl Aws {
    /// Until when its credentials are good.
    ///
    /// # Errors
    /// When there are none, or whoever gives them does not answer.
    pub async fn good_until(&self) -> Result<Good, PortError> {
        let none = |why: String| PortError::later("fleet", format!("cannot find credentials: {why}"));
        let now = clock::instant();
        let kept = *self.found.lock().expect("nobody panics while holding it");
        if let Some((_, good)) = kept.filter(|(found, _)| now.duration_since(*found) < AGE_MAX) {
            return Ok(good);
        }
        let provider = self.config.credentials_provider().ok_or_else(|| none("nobody gives any".to_owned()))?;
        let found = provider.provide_credentials().await.map_err(|error| none(in_one_line(&error)))?;
        let good = Good::of(&found, std::env::var(EXPIRATION).ok().as_deref());
        *self.found.lock().expect("nobody panics while holding it") = Some((now, good));
        Ok(good)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn keys(token: Option<&str>, end: Option<u64>, from: Option<Feature>) -> Credentials {
        let end = end.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let mut keys = Credentials::new("key", "secret", token.map(str::to_owned), end, "test");
        if let Some(from) = from {
            keys.get_property_mut_or_default::<Vec<Feature>>().push(from);
        }
        keys
    }

    /// Proves who is taken for renewing what, and that the end of exported keys is read where somebody says it.
    #[test]
    fn the_end_of_credentials_is_known_where_anybody_says_it() {
        let good = |keys: &Credentials, said| Good::of(keys, said);
        let lasting = good(&keys(None, None, Some(Feature::CredentialsEnvVars)), None);
        assert_eq!(lasting, Good { until: None, renewed: Renewed::Never });
        let role = good(&keys(Some("token"), Some(60), Some(Feature::CredentialsHttp)), None);
        assert_eq!(role, Good { until: Some(Timestamp(60_000)), renewed: Renewed::ByItself });
        let program = good(&keys(Some("token"), Some(60), Some(Feature::CredentialsProcess)), None);
        assert_eq!(program.renewed, Renewed::WhileItLasts);
        let exported = keys(Some("token"), None, Some(Feature::CredentialsEnvVars));
        assert_eq!(good(&exported, None), Good { until: None, renewed: Renewed::ByNobody });
        let said = good(&exported, Some("1970-01-01T00:02:00+00:00"));
        assert_eq!(said, Good { until: Some(Timestamp(120_000)), renewed: Renewed::ByNobody });
        assert_eq!(good(&exported, Some("tomorrow")).until, None);
    }
}
