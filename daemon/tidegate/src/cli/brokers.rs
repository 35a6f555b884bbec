//! The flags that say how Kafka is reached, for whoever writes to it and whoever reads.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use proxy::capture::kafka::{Options, Properties, Scram, Secret, Security, Tls};

use super::Wrong;
use crate::kafka;

/// Where a password may stand that is given by no file.
const PASSWORD: &str = "TIDEGATE_KAFKA_PASSWORD";

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Kafka")]
pub(super) struct Brokers {
    /// The brokers.
    #[arg(long, value_name = "HOST:PORT,...")]
    pub(super) kafka: Option<String>,

    /// Who we are to the brokers.
    #[arg(long, value_name = "HOW")]
    kafka_auth: Option<Auth>,

    /// The user for SCRAM.
    #[arg(long, value_name = "NAME")]
    kafka_user: Option<String>,

    /// A file with the user's password; `TIDEGATE_KAFKA_PASSWORD` is read where there is none.
    #[arg(long, value_name = "FILE")]
    kafka_password_file: Option<PathBuf>,

    /// The password itself, as the Java proxy takes it; a file keeps it out of the list of processes.
    #[arg(long, value_name = "TEXT", hide = true, conflicts_with = "kafka_password_file", value_parser = secret)]
    kafka_password: Option<Secret>,

    /// Speak TLS to the brokers, and hold their certificates against these authorities (PEM).
    #[arg(long, value_name = "FILE")]
    kafka_ca: Option<PathBuf>,

    /// Our own certificate for the brokers (PEM).
    #[arg(long, value_name = "FILE", requires = "kafka_key")]
    kafka_cert: Option<PathBuf>,

    /// Its key (PEM).
    #[arg(long, value_name = "FILE", requires = "kafka_cert")]
    kafka_key: Option<PathBuf>,

    /// Accept brokers' certificates that name another host.
    #[arg(long)]
    kafka_any_host: bool,

    /// A producer's properties file, with Java's names; single flags override it.
    #[arg(long, value_name = "FILE")]
    kafka_properties: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Auth {
    None,
    Ssl,
    /// MSK's IAM, with the credentials that the process has; over TLS.
    #[value(name = "msk-iam")]
    MskIam,
    #[value(name = "scram-sha-256")]
    ScramSha256,
    #[value(name = "scram-sha-512")]
    ScramSha512,
}

#[expect(clippy::unnecessary_wraps, reason = "the shape that the command line wants")]
fn secret(text: &str) -> Result<Secret, String> {
    Ok(Secret(text.to_owned()))
}

impl Brokers {
    /// The name of a flag that is given and means nothing without Kafka.
    pub(super) fn given(&self) -> Option<&'static str> {
        [
            (self.kafka.is_some(), "--kafka"),
            (self.kafka_properties.is_some(), "--kafka-properties"),
            (self.kafka_auth.is_some(), "--kafka-auth"),
            (self.kafka_ca.is_some(), "--kafka-ca"),
            (self.kafka_cert.is_some(), "--kafka-cert"),
            (self.kafka_key.is_some(), "--kafka-key"),
            (self.kafka_any_host, "--kafka-any-host"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
        .or_else(|| self.login())
    }

    /// The name of a flag that is given and means nothing without SCRAM.
    fn login(&self) -> Option<&'static str> {
        [
            (self.kafka_user.is_some(), "--kafka-user"),
            (self.kafka_password_file.is_some(), "--kafka-password-file"),
            (self.kafka_password.is_some(), "--kafka-password"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    /// How the brokers are reached, for this topic.
    pub(super) fn options(&self, topic: &str) -> anyhow::Result<Options> {
        let missing = || Wrong::because("brokers are missing: name them with --kafka HOST:PORT");
        let brokers = self.kafka.as_deref().ok_or_else(missing)?;
        let properties = match &self.kafka_properties {
            None => Properties::default(),
            Some(path) => kafka::properties(path).map_err(anyhow::Error::msg)?,
        };
        if let Some(flag) = self.login() {
            let scram = matches!(self.kafka_auth, Some(Auth::ScramSha256 | Auth::ScramSha512));
            ensure!(
                scram,
                Wrong::because(format!(
                    "{flag} is given, but not how: say --kafka-auth scram-sha-512, or leave it out"
                ))
            );
        }
        let security = if properties.wants_iam() && self.kafka_auth.is_none() {
            self.iam(brokers)?
        } else {
            self.security(brokers)?
        };
        Ok(Options { security, properties, ..Options::new(brokers, topic) })
    }

    fn security(&self, brokers: &str) -> anyhow::Result<Security> {
        let wants_tls = self.kafka_ca.is_some() || self.kafka_cert.is_some() || self.kafka_any_host;
        let tls = || self.tls();
        let scram = |mechanism| -> anyhow::Result<Security> {
            let user =
                self.kafka_user.clone().ok_or_else(|| Wrong::because("SCRAM needs a user: name --kafka-user"))?;
            let password = self.password()?;
            Ok(Security::Scram { mechanism, user, password, tls: wants_tls.then(tls) })
        };
        match self.kafka_auth {
            None | Some(Auth::None) => Ok(match (self.kafka_auth, wants_tls) {
                (_, true) => Security::Tls(tls()),
                (Some(_), false) => Security::Plaintext,
                (None, false) => Security::AsFile,
            }),
            Some(Auth::Ssl) => Ok(Security::Tls(tls())),
            Some(Auth::MskIam) => self.iam(brokers),
            Some(Auth::ScramSha256) => scram(Scram::Sha256),
            Some(Auth::ScramSha512) => scram(Scram::Sha512),
        }
    }

    fn tls(&self) -> Tls {
        Tls {
            authorities: self.kafka_ca.clone(),
            certificate: self.kafka_cert.clone(),
            key: self.kafka_key.clone(),
            key_password: None,
            any_host: self.kafka_any_host,
        }
    }

    fn iam(&self, brokers: &str) -> anyhow::Result<Security> {
        kafka::iam(brokers, self.tls()).map_err(anyhow::Error::msg)
    }

    fn password(&self) -> anyhow::Result<Secret> {
        if let Some(password) = &self.kafka_password {
            return Ok(password.clone());
        }
        let password = match &self.kafka_password_file {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the password from {}", path.display()))?,
            None => std::env::var(PASSWORD).unwrap_or_default(),
        };
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        ensure!(!password.is_empty(), "SCRAM needs a password: name --kafka-password-file, or set {PASSWORD}");
        Ok(Secret(password))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Words {
        #[command(flatten)]
        brokers: Brokers,
    }

    fn brokers(words: &str) -> Brokers {
        Words::try_parse_from(std::iter::once("test").chain(words.split_whitespace())).unwrap().brokers
    }

    /// Proves that each option that is given is used or refused: alone it is named as one that means nothing without Kafka, and
    /// a login without a way to log in is not passed over.
    #[test]
    fn no_option_is_passed_over() {
        let all = [
            "--kafka b:1",
            "--kafka-auth ssl",
            "--kafka-user u",
            "--kafka-password-file f",
            "--kafka-password p",
            "--kafka-ca f",
            "--kafka-cert f --kafka-key k",
            "--kafka-any-host",
            "--kafka-properties f",
        ];
        for words in all {
            assert_eq!(brokers(words).given(), words.split(' ').next(), "{words}");
        }
        let flags = <Words as clap::CommandFactory>::command();
        let known = flags.get_arguments().filter_map(|flag| flag.get_long()).filter(|flag| flag.starts_with("kafka"));
        let missing: Vec<_> = known.filter(|flag| !all.join(" ").contains(&format!("--{flag}"))).collect();
        assert!(missing.is_empty(), "a flag that this test does not know: {missing:?}");

        for how in ["", "--kafka-auth none", "--kafka-auth ssl", "--kafka-auth msk-iam", "--kafka-ca f"] {
            for login in ["--kafka-user u", "--kafka-password-file f", "--kafka-password p"] {
                let error = brokers(&format!("--kafka b:1 {how} {login}")).options("t").unwrap_err().to_string();
                let flag = login.split(' ').next().unwrap();
                let wanted = format!("{flag} is given, but not how: say --kafka-auth scram-sha-512, or leave it out");
                assert_eq!(error, wanted, "{how}");
            }
        }
        let scram = brokers("--kafka b:1 --kafka-auth scram-sha-256 --kafka-user u --kafka-password p").options("t");
        assert!(matches!(scram.unwrap().security, Security::Scram { mechanism: Scram::Sha256, .. }));
    }
}
