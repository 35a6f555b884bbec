//! Every way of showing the broker who we are, and being refused in words.

use std::{process::Command, sync::Arc};

use proxy::capture::{
    Refused, Verdict,
    kafka::{Options, Properties, Scram, Secret, Security, StartError, Tls, Token, TokenProvider, read},
};

use crate::{
    client::{Client, options},
    clock,
    servers::{
        kafka::{Broker, broker},
        state_folder,
    },
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

    let refused = |name: &str, options: Options| {
        let (writing, reading) = (Client::start(options.clone()).err(), read::ranges(&options).err());
        [writing, reading].map(|error| {
            println!("{name}: {error:?}");
            error.unwrap_or_else(|| panic!("{name} is refused"))
        })
    };
    for error in refused("wrong password", with(&broker.sasl_ssl(), scram(Scram::Sha512, "wrong", Some(tls)))) {
        assert!(matches!(error, StartError::Credentials { .. }), "{error:?}");
        assert!(error.to_string().ends_with("; check user, password, mechanism and certificates"), "{error}");
    }
    for error in refused("unknown authority", with(&broker.ssl(), Security::Tls(Tls::default()))) {
        assert!(matches!(error, StartError::Certificate { .. }), "{error:?}");
        assert!(error.to_string().ends_with("has issued it; name the file of its authority"), "{error}");
    }
}

/// Gives alice another password.
fn rotate(broker: &Broker, password: &str) {
    let mut command = Command::new("java");
    command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]).arg(state_folder().join("kafka/jars/*"));
    command.args(["kafka.admin.ConfigCommand", "--bootstrap-server", &broker.plaintext(), "--alter", "--add-config"]);
    command.arg(format!("SCRAM-SHA-512=[password={password}]")).args(["--entity-type", "users", "--entity-name"]);
    let done = command.arg("alice").output().expect("java is there, since the broker runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Proves that a password which is changed while we are connected is no failure of capture until we connect again; that it is one
/// then, which says what the broker said and what to check; that who starts with the new one gets in; and that capture goes on
/// by itself where the old one holds again.
#[test]
fn a_rotated_password_fails_at_the_next_connection() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = broker(folder.path(), &[]);
    let with = |password: &str| {
        let (user, password) = ("alice".to_owned(), Secret(password.to_owned()));
        let security = Security::Scram { mechanism: Scram::Sha512, user, password, tls: None };
        Options { security, ..options(&broker.sasl_plaintext(), "rotated", 1) }
    };
    let (old, new) = (with("alice-secret"), with("another"));
    let mut client = Client::start(old).unwrap();
    assert_eq!(client.one("before"), Ok(Verdict::Safe));
    rotate(&broker, "another");
    assert_eq!(client.one("connected"), Ok(Verdict::Safe));

    broker.kill();
    broker.start_again();
    let why = |client: &Client| client.capture.figures().opened_why.unwrap_or_default();
    client.until("it is told", |client| why(client).contains("invalid credentials"));
    println!("{}", why(&client));
    assert!(why(&client).starts_with("the brokers at 127.0.0.1:"), "{}", why(&client));
    assert!(why(&client).ends_with("; check user, password, mechanism and certificates"), "{}", why(&client));
    assert_eq!(client.one("refused"), Err(Refused::BreakerOpen));
    assert_eq!(Client::start(new).unwrap().one("another"), Ok(Verdict::Safe));

    rotate(&broker, "alice-secret");
    client.until_safe("again");
    assert_eq!(client.capture.figures().life, 0, "the topic is the same");
}
