//! Every way of showing the broker who we are, and being refused in words.

use std::sync::Arc;

use proxy::capture::{
    Verdict,
    kafka::{Options, Properties, Scram, Secret, Security, StartError, Tls, Token, TokenProvider, read},
};

use crate::{
    client::{Client, options},
    clock,
    servers::kafka::broker,
};

/// An issuer whose tokens the test broker takes: unsigned, as its default validator does.
#[derive(Debug)]
struct Unsigned;

impl TokenProvider for Unsigned {
    fn token(&self) -> Result<Token, String> {
        let now = i64::try_from(clock::unix_seconds()).map_err(|error| error.to_string())?;
        let claims = format!(r#"{{"sub":"alice","iat":{now},"exp":{}}}"#, now + 600);
        let value = format!("{}.{}.", url(br#"{"alg":"none"}"#), url(claims.as_bytes()));
        Ok(Token { value: Secret(value), principal: "alice".to_owned(), expires_unix_millis: (now + 600) * 1000 })
    }
}

fn url(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}

fn safe(name: &str, options: &Options) {
    let mut client = Client::start(options.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(client.one(name), Ok(Verdict::Safe), "{name}");
    let ranges = read::ranges(options).unwrap_or_else(|error| panic!("{name}, reading: {error}"));
    assert!(ranges.values().any(|range| range.end > 0), "{name}: whoever reads gets in by the same way: {ranges:?}");
}

/// Proves that plaintext, TLS, SCRAM over both, bearer tokens and a Java properties file each reach a real broker, to write
/// and to read; and that a wrong password, an unknown authority and a wrong host are told at start.
#[test]
fn every_way_in_works_and_wrong_credentials_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &[]);
    let tls = Tls { authorities: Some(broker.authorities()), ..Tls::default() };
    let scram = |mechanism, password: &str, tls| Security::Scram {
        mechanism,
        user: "alice".to_owned(),
        password: Secret(password.to_owned()),
        tls,
    };
    let with = |brokers: &str, security| Options { security, ..options(brokers, "ways", 1) };
    safe("plaintext", &with(&broker.plaintext(), Security::Plaintext));
    safe("tls", &with(&broker.ssl(), Security::Tls(tls.clone())));
    safe("scram", &with(&broker.sasl_plaintext(), scram(Scram::Sha512, "alice-secret", None)));
    safe("scram-256", &with(&broker.sasl_plaintext(), scram(Scram::Sha256, "alice-secret", None)));
    safe("scram-tls", &with(&broker.sasl_ssl(), scram(Scram::Sha512, "alice-secret", Some(tls.clone()))));
    let token = Security::Token { provider: Arc::new(Unsigned), tls: None };
    safe("token", &with(&broker.sasl_plaintext(), token));
    let file = format!(
        "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
         sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n  username=\"alice\" \
         password=\"alice-secret\";\n",
        broker.authorities().display()
    );
    let properties = Properties::parse(&file).unwrap();
    safe("file", &Options { properties, ..options(&broker.sasl_ssl(), "ways", 1) });

    let refused = |name: &str, options: Options| match Client::start(options.clone()).err() {
        Some(StartError::Credentials { why, .. }) => {
            println!("{name}: {why}");
            let reading = read::ranges(&options).unwrap_err();
            assert!(matches!(reading, StartError::Credentials { .. }), "{name}, reading: {reading}");
            why
        }
        other => panic!("{name}: {other:?}"),
    };
    refused("wrong password", with(&broker.sasl_ssl(), scram(Scram::Sha512, "wrong", Some(tls))));
    refused("unknown authority", with(&broker.ssl(), Security::Tls(Tls::default())));
}
