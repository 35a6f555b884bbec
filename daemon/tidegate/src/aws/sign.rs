//! Signature Version 4, for the services that are asked without their SDK: EC2 and DynamoDB, whose generated clients would be
//! the two largest crates of the whole program, for two questions each, and MSK, which takes a signed URL for a password (IAM user guide, "Create a signed AWS API request").

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_sdk_elasticloadbalancingv2::config::Credentials;
use cutover::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The key that signs a day's requests to a service.
fn key(secret: &str, date: &str, region: &str, service: &str) -> Vec<u8> {
    let key = mac(format!("AWS4{secret}").as_bytes(), date);
    mac(&mac(&mac(&key, region), service), "aws4_request")
}

/// Who signs, what for, and when. AWS takes a signature for five minutes.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// The keys.
    pub keys: &'a Credentials,
    /// The region.
    pub region: &'a str,
    /// The service, as credentials are scoped: `dynamodb`.
    pub service: &'a str,
    /// AWS's time.
    pub now: Timestamp,
}

impl Signer<'_> {
    /// The header fields of a POST of `body` to `/` at `authority`: those that are given, by lower-case names, and what the
    /// signature adds. `None` for a time that no calendar has.
    pub fn fields(
        self,
        authority: &str,
        given: &[(&'static str, &str)],
        body: &str,
    ) -> Option<BTreeMap<&'static str, String>> {
        let moment = jiff::Timestamp::from_second(self.now.0.div_euclid(1000)).ok()?;
        let moment = moment.strftime("%Y%m%dT%H%M%SZ").to_string();
        let date = moment.get(..8)?;
        let mut fields: BTreeMap<&'static str, String> =
            given.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        fields.insert("host", authority.to_owned());
        fields.insert("x-amz-date", moment.clone());
        if let Some(token) = self.keys.session_token() {
            fields.insert("x-amz-security-token", token.to_owned());
        }
        let names = fields.keys().copied().collect::<Vec<_>>().join(";");
        let lines: Vec<String> = fields.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let lines = lines.concat();
        let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", hex(&Sha256::digest(body.as_bytes())));
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
        let key = key(self.keys.secret_access_key(), date, self.region, self.service);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.keys.access_key_id(),
            hex(&mac(&key, &text))
        );
        fields.insert("authorization", authorization);
        Some(fields)
    }

    /// A URL of `GET /` at `host` that proves for `seconds` who made it. `None` for a time that no calendar has.
    pub fn presigned(self, host: &str, parameters: &[(&str, &str)], seconds: u32) -> Option<String> {
        let moment = jiff::Timestamp::from_second(self.now.0.div_euclid(1000)).ok()?;
        let moment = moment.strftime("%Y%m%dT%H%M%SZ").to_string();
        let date = moment.get(..8)?;
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let mut query: BTreeMap<String, String> =
            parameters.iter().map(|(name, value)| (encoded(name), encoded(value))).collect();
        let mut add = |name: &str, value: &str| drop(query.insert(name.to_owned(), encoded(value)));
        add("X-Amz-Algorithm", "AWS4-HMAC-SHA256");
        add("X-Amz-Credential", &format!("{}/{scope}", self.keys.access_key_id()));
        add("X-Amz-Date", &moment);
        add("X-Amz-Expires", &seconds.to_string());
        add("X-Amz-SignedHeaders", "host");
        if let Some(token) = self.keys.session_token() {
            add("X-Amz-Security-Token", token);
        }
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let query = query.join("&");
        let canonical = format!("GET\n/\n{query}\nhost:{host}\n\nhost\n{}", hex(&Sha256::digest(b"")));
        let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
        let key = key(self.keys.secret_access_key(), date, self.region, self.service);
        Some(format!("https://{host}/?{query}&X-Amz-Signature={}", hex(&mac(&key, &text))))
    }
}

/// Everything but letters, digits and `-_.~` as `%XX` (RFC 3986).
pub fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves the signature of a URL by what botocore 1.43 makes of the same one (`SigV4QueryAuth`).
    #[test]
    fn a_url_is_signed_as_botocore_does() {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let keys = Credentials::new("AKIDEXAMPLE", secret, Some("to/ken".to_owned()), None, "test");
        // 2026-11-22T05:00:00Z
        let now = Timestamp(1_795_323_600_000);
        let signer = Signer { keys: &keys, region: "eu-central-1", service: "kafka-cluster", now };
        let host = "kafka.eu-central-1.amazonaws.com";
        assert_eq!(
            signer.presigned(host, &[("Action", "kafka-cluster:Connect")], 900).unwrap(),
            "https://kafka.eu-central-1.amazonaws.com/?Action=kafka-cluster%3AConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIDEXAMPLE%2F20261122%2Feu-central-1%2Fkafka-cluster%2Faws4_request\
             &X-Amz-Date=20261122T050000Z&X-Amz-Expires=900&X-Amz-Security-Token=to%2Fken&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=4c0178cb302ff1ebca12a91fd1913a727dbcb150ac3ecebb039456450ab2ddc9"
        );
    }

    /// Proves the derivation of a signing key by the vector that AWS published for it (General Reference, "Examples of how
    /// to derive a signing key").
    #[test]
    fn the_signing_key_is_aws_own() {
        let key = key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20120215", "us-east-1", "iam");
        assert_eq!(hex(&key), "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
    }

    /// Proves the signature of a whole request by what botocore 1.44 makes of the same one.
    #[test]
    fn a_request_is_signed_as_botocore_does() {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let keys = Credentials::new("AKIDEXAMPLE", secret, Some("token".to_owned()), None, "test");
        // 2026-11-22T05:00:00Z
        let now = Timestamp(1_795_323_600_000);
        let signer = Signer { keys: &keys, region: "eu-central-1", service: "dynamodb", now };
        let given =
            [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "DynamoDB_20120810.DescribeTable")];
        let fields = signer.fields("dynamodb.eu-central-1.amazonaws.com", &given, r#"{"TableName":"leases"}"#).unwrap();
        assert_eq!(fields["x-amz-date"], "20261122T050000Z");
        assert_eq!(
            fields["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/eu-central-1/dynamodb/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, \
             Signature=d0af772cb70d9741ef718e1af06b1b9b5e06941090871457ecae83d8a74af43a"
        );
    }
}
