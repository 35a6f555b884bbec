//! How Tidegate speaks to AWS: one connection for all adapters, AWS's own clock, and answers as they came.
//!
//! Credentials, region and endpoint are found as every AWS tool finds them (environment, profile, container, instance).
//! TLS is ours (ring), since two providers in one binary make rustls refuse to choose. Reads and writes have budgets of
//! their own: what may never be late is a revert.

pub mod action;
pub mod credentials;
pub mod dynamodb;
pub mod find;
pub mod lease;
pub(crate) mod lenient;
#[cfg(feature = "kafka")]
pub mod msk;
pub mod pace;
pub mod sign;
pub mod xml;

mod heard;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_elasticloadbalancingv2 as elb;
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use cutover::Timestamp;

pub use heard::Raw;

use crate::port::{PortError, Retry};

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long one attempt may take; a hang is told from a slow answer soon enough for another attempt.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// How long a call may take with all its attempts.
const CALL_MAX: Duration = Duration::from_secs(14);
/// How often a read is tried, the first time included. The next poll tries again anyway.
const READ_ATTEMPTS: u32 = 2;
/// How often a write is tried.
const WRITE_ATTEMPTS: u32 = 5;

/// AWS's clock as its answers tell it, against ours. It decides which minutes are over; nothing else.
#[derive(Clone, Debug, Default)]
pub struct AwsClock {
    ahead: Arc<AtomicI64>,
    heard: Arc<AtomicBool>,
}

impl AwsClock {
    /// AWS's time when ours is `now`.
    pub fn at(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add(self.ahead.load(Ordering::Relaxed)))
    }

    /// By how much AWS's clock is ahead of ours, in milliseconds; its own step is a second.
    pub fn ahead_millis(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }

    /// Whether any answer has told it yet.
    pub fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// An answer that came at `now` says that AWS's time is `said`, in whole seconds.
    fn hear(&self, said: Timestamp, now: Timestamp) {
        self.heard.store(true, Ordering::Relaxed);
        let ahead = said.0 - now.0;
        // The header has whole seconds: within one of them nothing is known, and a jitter would make minutes flicker.
        if (ahead - self.ahead.load(Ordering::Relaxed)).abs() > 1_000 {
            self.ahead.store(ahead, Ordering::Relaxed);
        }
    }
}

/// The way to AWS in one region.
#[derive(Clone, Debug)]
pub struct Aws {
    config: SdkConfig,
    dated: heard::Dated,
    found: credentials::Kept,
    /// Its clock.
    pub clock: AwsClock,
}

impl Aws {
    /// Finds credentials and endpoints for `region`; without one, the region is found as well. Asks nothing of AWS yet.
    pub async fn new(region: Option<String>, clock: crate::clock::Clock) -> Self {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let aws_clock = AwsClock::default();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_MAX)
            .operation_attempt_timeout(ATTEMPT_MAX)
            .operation_timeout(CALL_MAX)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(READ_ATTEMPTS));
        if let Ok(name) = AppName::new("tidegate") {
            loader = loader.app_name(name);
        }
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        let config = loader.load().await;
        let found = credentials::Kept::default();
        Self { config, dated: heard::Dated::new(aws_clock.clone(), clock), found, clock: aws_clock }
    }

    /// An AWS at `endpoint`, with keys that nobody checks: what stands in for the real one.
    pub async fn at(endpoint: &str, region: &str, clock: crate::clock::Clock) -> Self {
        let mut aws = Self::new(Some(region.to_owned()), clock).await;
        let keys = elb::config::Credentials::new("stand-in", "stand-in", None, None, "stand-in");
        let keys = elb::config::SharedCredentialsProvider::new(keys);
        aws.config = aws.config.into_builder().endpoint_url(endpoint).credentials_provider(keys).build();
        aws
    }

    /// The keys that calls are signed with, for the services that are asked without their SDK.
    ///
    /// # Errors
    /// When there are none, in words.
    pub async fn keys(&self) -> Result<elb::config::Credentials, String> {
        use elb::config::ProvideCredentials as _;
        let provider = self.config.credentials_provider().ok_or("nobody provides credentials")?;
        provider.provide_credentials().await.map_err(|error| crate::port::in_one_line(&error))
    }

    /// Where `service` (as in `AWS_ENDPOINT_URL_EC2`) is, if not at AWS's own name for it.
    pub fn endpoint(&self, service: &str) -> Option<String> {
        let own = std::env::var(format!("AWS_ENDPOINT_URL_{service}")).ok().filter(|url| !url.is_empty());
        own.or_else(|| self.config.endpoint_url().map(str::to_owned))
    }

    /// An answer that did not come by an SDK came at `now` and says that AWS's time is `date`.
    pub(crate) fn hear(&self, date: &str, now: Timestamp) -> Option<Timestamp> {
        let said = heard::date(date)?;
        self.clock.hear(said, now);
        Some(said)
    }

    /// The region.
    pub fn region(&self) -> String {
        self.config.region().map(ToString::to_string).unwrap_or_default()
    }

    /// Elastic Load Balancing, for reads.
    pub fn balancing(&self) -> elb::Client {
        elb::Client::from_conf(elb::config::Builder::from(&self.config).interceptor(self.dated.clone()).build())
    }

    /// Elastic Load Balancing, for looks that can wait: what they fail takes nothing from the retries of the others. The SDK
    /// gives all clients of one service in one region a common bucket of retries unless they ask for another.
    pub fn balancing_looks(&self) -> elb::Client {
        let partition = elb::config::retry::RetryPartition::new("tidegate looks");
        let config = elb::config::Builder::from(&self.config).interceptor(self.dated.clone());
        elb::Client::from_conf(config.retry_partition(partition).build())
    }

    /// Elastic Load Balancing, for writes: tried more often, since a revert has nothing better to do, and from a bucket of
    /// retries of their own.
    pub fn balancing_writes(&self) -> elb::Client {
        let retry = RetryConfig::standard().with_max_attempts(WRITE_ATTEMPTS);
        let partition = elb::config::retry::RetryPartition::new("tidegate writes");
        let config = elb::config::Builder::from(&self.config).interceptor(self.dated.clone()).retry_config(retry);
        elb::Client::from_conf(config.retry_partition(partition).build())
    }

    /// Elastic Container Service.
    pub fn containers(&self) -> aws_sdk_ecs::Client {
        let config = aws_sdk_ecs::config::Builder::from(&self.config).interceptor(self.dated.clone());
        aws_sdk_ecs::Client::from_conf(config.build())
    }

    /// Application Auto Scaling.
    pub fn scaling(&self) -> aws_sdk_applicationautoscaling::Client {
        let config = aws_sdk_applicationautoscaling::config::Builder::from(&self.config);
        aws_sdk_applicationautoscaling::Client::from_conf(config.interceptor(self.dated.clone()).build())
    }

    /// CloudWatch.
    pub fn watching(&self) -> aws_sdk_cloudwatch::Client {
        let config = aws_sdk_cloudwatch::config::Builder::from(&self.config).interceptor(self.dated.clone());
        aws_sdk_cloudwatch::Client::from_conf(config.build())
    }
}

/// Codes of a caller that is too fast (ELB API reference, "Common Errors"; `aws-runtime` retries the same ones).
const THROTTLED: [&str; 4] = ["Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException"];

/// Codes that the same call gets again, however often it is made.
const FOR_GOOD: [&str; 22] = [
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "ValidationError",
    "ValidationException",
    "InvalidParameterValue",
    "InvalidParameterCombination",
    "InvalidConfigurationRequest",
    "InvalidLoadBalancerAction",
    "InvalidAction",
    "ListenerNotFound",
    "RuleNotFound",
    "TargetGroupNotFound",
    "LoadBalancerNotFound",
    "TargetGroupAssociationLimit",
    "IncompatibleProtocols",
    "OperationNotPermitted",
    "TooManyActions",
    "TooManyTargets",
    "TooManyUniqueTargetGroupsPerLoadBalancer",
    "UnsupportedProtocol",
    "InvalidClientTokenId",
];

/// Whether a call failed since AWS had too many of them: then whatever can wait should.
pub fn is_throttled<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let SdkError::ServiceError(service) = error else { return false };
    service.err().code().is_some_and(|code| THROTTLED.contains(&code))
}

/// What to do about an answer that has no code of AWS's.
fn somebody_else(status: u16) -> String {
    let look = "see what is in between, and where `AWS_ENDPOINT_URL` leads, if it is set";
    format!("{status} without a code of AWS's; {look}")
}

/// Whether a connection was refused before anything was asked.
fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        next = error.source();
    }
    false
}

/// What a failed call means for `port`: what was being done, AWS's code and words, and whether to try again.
///
/// A time-out or a lost connection may have done it all the same, so it is never final.
pub fn failed<E>(port: &'static str, doing: &str, error: &SdkError<E, HttpResponse>) -> PortError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let (code, message) = match error {
        SdkError::ServiceError(service) => match service.err().code() {
            Some(code) => (code.to_owned(), service.err().message().unwrap_or_default().to_owned()),
            // AWS gives each refusal a code. Somebody else answers: a proxy, a captive portal, another service.
            None => ("not an answer of AWS".to_owned(), somebody_else(service.raw().status().as_u16())),
        },
        SdkError::TimeoutError(_) => ("time-out".to_owned(), "it may have been done all the same".to_owned()),
        SdkError::DispatchFailure(failure) if is_refused(error) && !failure.is_timeout() => {
            ("no connection".to_owned(), format!("nobody listens there; {}", crate::port::in_one_line(error)))
        }
        SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => {
            ("connection lost".to_owned(), "it may have been done all the same".to_owned())
        }
        other => ("no answer".to_owned(), crate::port::in_one_line(other)),
    };
    let retry = if FOR_GOOD.contains(&code.as_str()) { Retry::Never } else { Retry::Later };
    let hint = match code.as_str() {
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => crate::rights::hint(&message),
        "ExpiredToken" | "ExpiredTokenException" | "InvalidClientTokenId" => "; renew the credentials".to_owned(),
        "ListenerNotFound" | "RuleNotFound" | "TargetGroupNotFound" | "LoadBalancerNotFound" => {
            "; look at the ARN, its region and its account: `tidegate aws discover` lists what these credentials see"
                .to_owned()
        }
        _ => String::new(),
    };
    let text = format!("cannot {doing}: {code}: {message}{hint}");
    match retry {
        Retry::Never => PortError::never(port, text),
        Retry::Later => PortError::later(port, text),
    }
}

#[cfg(test)]
mod tests;
