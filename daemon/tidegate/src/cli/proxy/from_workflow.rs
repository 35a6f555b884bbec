//! `tidegate proxy --from-workflow FILE`: what a workflow file of Migration Assistant says of a proxy, as our flags.
//!
//! As the Java proxy's command line it is turned into flags before anything else looks at them, so that there is one place
//! that knows what each means. A flag that is given wins over the file.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{
    capture::record_bytes_max,
    java::{Translated, has},
};
use crate::workflow::{self, Auth, Authority, Capture, Proxy, Tls};

/// What `--help` says of it.
pub(crate) const HELP: &str = "\
--from-workflow FILE takes what `traffic.proxies` of a workflow file of Migration Assistant (YAML or JSON) says of a proxy \
for the flags that are not given; --workflow-proxy NAME says which, where the file has several. TLS is served by a \
self-signed certificate unless --tls-cert names one or the file says `plaintext`.";

/// Turns `--from-workflow FILE [--workflow-proxy NAME]` among the words behind `tidegate proxy` into flags. `None` where it is
/// not among them.
///
/// # Errors
/// When the file is wrong or has no such proxy, with every problem and its place.
pub(crate) fn translate(args: &[OsString]) -> Result<Option<Translated>, String> {
    let (mut file, mut name) = (None, None);
    let mut ours: Vec<OsString> = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let text = arg.to_string_lossy();
        let (word, inline) =
            text.split_once('=').map_or((&*text, None), |(word, value)| (word, Some(value.to_owned())));
        if !matches!(word, "--from-workflow" | "--workflow-proxy") {
            ours.push(arg.clone());
            continue;
        }
        let value = inline.map(OsString::from).or_else(|| rest.next().cloned());
        let value = value.ok_or_else(|| format!("{word} needs a value"))?;
        let place = if word == "--from-workflow" { &mut file } else { &mut name };
        if place.replace(value).is_some() {
            return Err(format!("{word} is said twice"));
        }
    }
    let Some(file) = file else {
        return if name.is_some() { Err("--workflow-proxy needs --from-workflow".to_owned()) } else { Ok(None) };
    };
    let name = name.map(|name| name.to_string_lossy().into_owned());
    let workflow = workflow::open(&PathBuf::from(file)).map_err(|error| error.to_string())?;
    let proxy = workflow.proxy(name.as_deref()).map_err(|error| error.to_string())?;
    let more: Vec<OsString> = flags(proxy, &ours)?.into_iter().map(OsString::from).collect();
    ours.extend(more);
    let notes = workflow.warnings.iter().map(ToString::to_string).collect();
    Ok(Some(Translated { args: ours, notes }))
}

/// The flags that `given` leaves to be said.
fn flags(proxy: &Proxy, given: &[OsString]) -> Result<Vec<String>, String> {
    let mut said = Vec::new();
    let mut say = |flag: &str, value: &str| {
        if !has(given, flag) {
            said.extend([flag.to_owned(), value.to_owned()]);
        }
    };
    say("--listen", &format!("0.0.0.0:{}", proxy.listen_port));
    say("--source", &proxy.source.endpoint);
    if let Some(threads) = proxy.threads {
        say("--workers", &threads.to_string());
    }
    for (name, value) in &proxy.set_headers {
        say("--source-header", &format!("{name}: {value}"));
    }
    match proxy.client_auth.as_ref().map(|auth| &auth.authority) {
        Some(Authority::File(file)) => say("--client-ca", file),
        Some(Authority::Pem(_)) if !has(given, "--client-ca") => {
            return Err(format!(
                "put `clientAuth.trustedClientCaPem` of `{}` into a file and name it by --client-ca",
                proxy.name
            ));
        }
        Some(Authority::Pem(_)) | None => {}
    }
    if let Some(capture) = &proxy.capture
        && !["--capture", "--no-capture"].iter().any(|flag| has(given, flag))
    {
        captured(capture, &mut say);
    }
    let switch = |flag: &str| !has(given, flag);
    if proxy.source.allow_insecure && !has(given, "--source") && switch("--source-insecure") {
        said.push("--source-insecure".to_owned());
    }
    let serves = ["--tls-cert", "--tls-key", "--client-ca"].iter().any(|flag| has(given, flag));
    if proxy.tls == Tls::Plaintext && !serves && switch("--plaintext") {
        said.push("--plaintext".to_owned());
    }
    Ok(said)
}

/// What is captured, and where to.
fn captured(capture: &Capture, say: &mut impl FnMut(&str, &str)) {
    say("--capture", "kafka");
    say("--kafka", &capture.kafka.brokers);
    say("--topic", &capture.topic);
    match &capture.kafka.auth {
        Auth::None => {}
        Auth::Iam => say("--kafka-auth", "msk-iam"),
        Auth::Scram { user, .. } => {
            say("--kafka-auth", "scram-sha-512");
            say("--kafka-user", user);
        }
    }
    if let Some(name) = &capture.client_id {
        say("--kafka-client-id", name);
    }
    if let Some(bytes) = capture.buffer_bytes_max {
        say("--capture-record-max", &record_bytes_max(bytes.into()).to_string());
    }
    for (name, pattern) in &capture.suppress.headers {
        say("--suppress-header", &format!("{name}: {pattern}"));
    }
    for (flag, pattern) in [
        ("--suppress-method", &capture.suppress.method),
        ("--suppress-path", &capture.suppress.path),
        ("--suppress-method-and-path", &capture.suppress.method_and_path),
    ] {
        if let Some(pattern) = pattern {
            say(flag, pattern);
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "kafka")]
    use clap::Parser as _;
    use proxy::capture::chunks::CHUNK_BYTES_MAX;

    use super::*;
    #[cfg(feature = "kafka")]
    use crate::cli::Cli;

    const WORKFLOW: &str = r#"
sourceClusters: {legacy: {endpoint: "https://legacy:9200", allowInsecure: true}}
kafkaClusterConfiguration: {default: {autoCreate: {}}}
traffic:
  proxies:
    capture:
      source: legacy
      proxyConfig:
        listenPort: 9201
        numThreads: 2
        maxTrafficBufferSize: 1048576
        setHeader: ["X-One: 1"]
        suppressCaptureForHeaderMatch: ["User-Agent: probe.*"]
        suppressCaptureForMethod: HEAD
        tls: {mode: plaintext}
"#;

    /// Proves that MSK's IAM in a file becomes our flag for it.
    #[cfg(feature = "aws")]
    #[test]
    fn iam_of_a_file_becomes_our_flag() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let msk =
            "kafkaClusterConfiguration: {default: {existing: {kafkaConnection: \"b-1:9098\", enableMSKAuth: true}}}";
        let text = WORKFLOW.replace("kafkaClusterConfiguration: {default: {autoCreate: {}}}", msk);
        std::fs::write(file.path(), text).unwrap();
        let args = translate(&["--from-workflow".into(), file.path().into()]).unwrap().unwrap().args;
        let told: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
        assert!(told.join(" ").contains("--kafka b-1:9098 --topic capture --kafka-auth msk-iam"), "{told:?}");
    }

    /// Proves which flags a file becomes, that what is given wins, and that our own command line takes all of it.
    #[test]
    fn a_file_becomes_flags_that_are_ours() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), WORKFLOW).unwrap();
        let of = |more: &[&str]| {
            let mut words: Vec<OsString> = vec!["--from-workflow".into(), file.path().into()];
            words.extend(more.iter().map(OsString::from));
            let args = translate(&words).unwrap().unwrap().args;
            let told: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
            #[cfg(feature = "kafka")]
            Cli::try_parse_from([vec!["tidegate".to_owned(), "proxy".to_owned()], told.clone()].concat()).unwrap();
            told.join(" ")
        };
        assert_eq!(
            of(&[]),
            format!(
                "--listen 0.0.0.0:9201 --source https://legacy:9200 --workers 2 --source-header X-One: 1 --capture kafka \
                 --kafka default-kafka-bootstrap:9093 --topic capture --kafka-auth scram-sha-512 \
                 --kafka-user default-migration-app --capture-record-max {CHUNK_BYTES_MAX} \
                 --suppress-header User-Agent: probe.* --suppress-method HEAD --source-insecure --plaintext"
            )
        );
        let given =
            of(&["--no-capture", "--listen=127.0.0.1:0", "--tls-cert", "c", "--tls-key", "k", "--workers", "1"]);
        assert_eq!(
            given,
            "--no-capture --listen=127.0.0.1:0 --tls-cert c --tls-key k --workers 1 --source https://legacy:9200 \
             --source-header X-One: 1 --source-insecure"
        );
        assert_eq!(translate(&["--listen".into(), "x".into()]), Ok(None));
        assert!(translate(&["--workflow-proxy=x".into()]).unwrap_err().contains("needs --from-workflow"));
    }
}
