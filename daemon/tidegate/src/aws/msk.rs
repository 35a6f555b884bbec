//! Tokens for MSK's IAM: a presigned URL of `kafka-cluster:Connect`, as base64, is what a broker takes for a bearer token
//! (the protocol of AWS's own `aws-msk-iam-sasl-signer` libraries, which each language has but ours).
//!
//! Tried against the signatures of botocore, not against MSK.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proxy::capture::kafka::{Secret, Token, TokenProvider};

use super::Aws;
use super::sign::Signer;
use crate::clock::Clock;

/// How long a token is good: what AWS's own libraries ask for. Another is asked for well before.
const TOKEN_SECONDS: u32 = 900;

/// Signs with whatever credentials the process has, found as every AWS tool finds them.
#[derive(Debug)]
pub struct Msk {
    aws: Aws,
    region: String,
    clock: Clock,
    runtime: tokio::runtime::Runtime,
}

impl Msk {
    /// A signer for the brokers `HOST:PORT,…`, whose names have the region in them; else it is the environment's.
    ///
    /// # Errors
    /// When no region is known, in words.
    pub fn new(brokers: &str) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start a runtime: {error}"))?;
        let clock = Clock::system();
        let aws = runtime.block_on(Aws::new(region_of(brokers).map(str::to_owned), clock.clone()));
        let region = aws.region();
        if region.is_empty() {
            return Err("the brokers' names tell no AWS region: set AWS_REGION".to_owned());
        }
        Ok(Self { aws, region, clock, runtime })
    }
}

/// The region in a name such as `b-1.name.abc.c2.kafka.eu-central-1.amazonaws.com:9098`.
fn region_of(brokers: &str) -> Option<&str> {
    let host = brokers.split([',', ':']).next()?;
    let mut labels = host.split('.').skip_while(|label| !matches!(*label, "kafka" | "kafka-serverless"));
    labels.next()?;
    let region = labels.next()?;
    (labels.next() == Some("amazonaws")).then_some(region)
}

impl TokenProvider for Msk {
    fn token(&self) -> Result<Token, String> {
        let keys = self.runtime.block_on(self.aws.keys())?;
        let now = self.clock.now();
        let signer = Signer { keys: &keys, region: &self.region, service: "kafka-cluster", now };
        let host = format!("kafka.{}.amazonaws.com", self.region);
        let url = signer
            .presigned(&host, &[("Action", "kafka-cluster:Connect")], TOKEN_SECONDS)
            .ok_or("the clock is at a time that no calendar has")?;
        // Behind the signature, and so not signed: who we are, for AWS's own logs.
        let url = format!("{url}&User-Agent=tidegate%2F{}", env!("CARGO_PKG_VERSION"));
        Ok(Token {
            value: Secret(URL_SAFE_NO_PAD.encode(url)),
            principal: keys.access_key_id().to_owned(),
            expires_unix_millis: now.0 + i64::from(TOKEN_SECONDS) * 1000,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that the region is found in the names that MSK gives its brokers, and in no others.
    #[test]
    fn the_region_is_in_the_brokers_names() {
        for (brokers, region) in [
            ("b-1.name.abc.c2.kafka.eu-central-1.amazonaws.com:9098,b-2.x:9098", Some("eu-central-1")),
            ("boot-x.c1.kafka-serverless.us-east-1.amazonaws.com:9098", Some("us-east-1")),
            ("127.0.0.1:9092", None),
            ("kafka.default.svc:9092", None),
            ("kafka", None),
        ] {
            assert_eq!(region_of(brokers), region, "{brokers}");
        }
    }
}
