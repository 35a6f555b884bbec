//! The Java words of a deployment, of JSON and of variables, and each mistake in them.

use super::*;

fn of(line: &[&str], env: &[(&str, &str)]) -> Result<Option<Vec<String>>, String> {
    let args: Vec<OsString> = line.iter().map(Into::into).collect();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Ok(translate(&args, env)?.map(|out| out.args.iter().map(|arg| arg.to_str().unwrap().to_owned()).collect()))
}

fn ours(line: &[&str], env: &[(&str, &str)]) -> String {
    of(line, env).unwrap().unwrap().join(" ")
}

/// Proves that a command line of ours is left alone, whatever else is in the environment.
#[test]
fn our_own_words_are_left_alone() {
    let line = ["--listen", "127.0.0.1:0", "--source", "http://a", "--no-capture"];
    assert_eq!(of(&line, &[("CAPTURE_PROXY_HOME", "/x"), ("PATH", "/bin")]), Ok(None));
}

/// Proves the command line that the ECS and Kubernetes deployments start the Java proxy with.
#[test]
fn a_deployments_command_line_becomes_ours() {
    let line = [
        "--destinationUri",
        "https://source:9200",
        "--insecureDestination",
        "--listenPort",
        "9200",
        "--sslCertChainFile",
        "/c.pem",
        "--sslKeyFile",
        "/k.pem",
        "--kafkaConnection",
        "b1:9092,b2:9092",
        "--kafkaTopic",
        "t",
        "--numThreads",
        "0",
        "--setHeader",
        "Host",
        "source",
    ];
    assert_eq!(
        ours(&line, &[("CAPTURE_PROXY_KAFKA_USER_NAME", "alice"), ("CAPTURE_PROXY_KAFKA_AUTH_TYPE", "scram-sha-512")]),
        "--source-header Host: source --topic t --tls-key /k.pem --tls-cert /c.pem --source-insecure \
         --source https://source:9200 --kafka-user alice --kafka-auth scram-sha-512 --listen 0.0.0.0:9200 \
         --capture kafka --kafka b1:9092,b2:9092"
    );
    let json = r#"{"destinationUri":"http://s","listenPort":9200,"traceDirectory":"/d","maxTrafficBufferSize":1048576,"setHeader":["A: b","C","d",["E","f"]],
        "requireClientAuth":false,"kafkaClientId":null,"suppressCaptureForMethod":["GET","HEAD"]}"#;
    let said = ours(&["---INLINE-JSON", json, "--drain-timeout", "5s"], &[]);
    for part in [
        "--source http://s",
        "--listen 0.0.0.0:9200 --plaintext",
        "--capture file --capture-dir /d",
        "--capture-record-max 1048076",
        "--source-header A: b",
        "--source-header C: d",
        "--source-header E: f",
        "--suppress-method GET",
        "--suppress-method HEAD",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.ends_with("--drain-timeout 5s"));
}

/// Proves that variables come first, the Java flags over them, and that a flag of ours wins over a variable.
#[test]
fn the_command_line_wins_over_variables() {
    let env = [("CAPTURE_PROXY_KAFKA_TOPIC", "env"), ("CAPTURE_PROXY_KAFKA_CONNECTION", "b:1")];
    assert!(ours(&["--kafkaTopic=line"], &env).contains("--topic line"));
    let said = ours(&["--topic", "ours"], &env);
    assert!(!said.contains("env") && said.ends_with("--topic ours"), "{said}");
}

/// Proves that a buffer of the Java proxy's own default, or another one, becomes a record that can be.
#[test]
fn a_buffer_becomes_the_largest_record() {
    let said = |bytes| ours(&["--traceDirectory", "/d", "--maxTrafficBufferSize", bytes], &[]);
    for (bytes, wanted) in [("1048576", "1048076"), ("1048076", "1048076"), ("2000", "2000")] {
        assert!(said(bytes).contains(&format!("--capture-record-max {wanted} ")), "{bytes}: {}", said(bytes));
    }
    let json = r#"{"traceDirectory": "/d", "maxTrafficBufferSize": "1048576"}"#;
    assert!(ours(&["---INLINE-JSON", json], &[]).contains("--capture-record-max 1048076 "));
}

/// Proves that a field in one argument is the same as in two, and that neither takes what stands behind it.
#[test]
fn a_field_is_one_argument_or_two() {
    let said = |words: &[&str]| ours(&[&["--noCapture"], words, &["--drain-timeout", "5s"]].concat(), &[]);
    let wanted = "--source-header A: b:c --no-capture --drain-timeout 5s";
    for words in [&["--setHeader", "A: b:c"][..], &["--setHeader", "A:b:c"], &["--setHeader", "A", "b:c"]] {
        assert_eq!(said(words), wanted, "{words:?}");
    }
    assert_eq!(said(&["--setHeader=A: b:c"]), wanted);
    assert_eq!(said(&["--setHeader=A", "b:c"]), wanted);
    let pattern = ["--traceDirectory", "/d", "--suppressCaptureForHeaderMatch", "User-Agent: a.*", "--workers", "1"];
    assert!(ours(&pattern, &[]).starts_with("--suppress-header User-Agent: a.* "));
}

/// Proves that what says how traffic is recorded is passed over where the Java proxy passes over it, and said.
#[test]
fn settings_of_capture_mean_nothing_without_it() {
    let values = |name: &str| known(name).unwrap().1.arity();
    for none in ["--noCapture", "--no-capture"] {
        for name in OF_CAPTURE {
            let flag = format!("--{name}");
            let words = [&[none, &flag][..], &["1000"; 2][..values(name)]].concat();
            let args: Vec<OsString> = words.iter().map(Into::into).collect();
            let out = translate(&args, std::iter::empty()).unwrap().unwrap();
            assert_eq!(out.args, ["--no-capture"], "{words:?}");
            assert_eq!(out.notes, [format!("{flag} means nothing where nothing is captured")]);
        }
    }
}

/// Proves that what is said of Kafka where nothing goes there becomes none of our flags, which would be refused.
#[test]
fn kafka_means_nothing_without_capture() {
    let words = ["--noCapture", "--kafkaTopic", "t", "--kafkaUserName", "u", "--enableMSKAuth"];
    assert!(!ours(&words, &[]).contains("kafka"));
    let said = ours(&["--kafkaConnection", "b:1", "--kafkaTopic", "t", "--enableMSKAuth"], &[]);
    assert!(said.contains("--topic t") && said.contains("--kafka-auth msk-iam"), "{said}");
}

/// Proves that each mistake is refused in words.
#[test]
fn mistakes_are_refused() {
    for (line, why) in [
        (&["--listenPort", "9200"][..], "exactly one of"),
        (&["--noCapture", "--traceDirectory", "/d"], "exactly one of"),
        (&["--noCapture", "--listenPort", "x"], "no port"),
        (&["--noCapture", "--requireClientAuth"], "needs --sslTrustCertFile"),
        (&["--noCapture", "--setHeader", "A"], "needs 2 values"),
        (&["--noCapture=yes"], "has no value"),
        (&["--noCapture", "--setHeader", "a b: c", "d"], "`a b: c` does not begin with the name of a field"),
        (&["---INLINE-JSON", "{\"setHeader\": [\"a b: c\", \"d\"]}"], "cannot have"),
        (&["--traceDirectory", "/d", "--maxTrafficBufferSize", "much"], "much is no number of bytes"),
        (&["---INLINE-JSON", "{\"x\": 1}"], "names `x`"),
        (&["---INLINE-JSON", "{"], "line 1 column 1"),
        (&["---INLINE-JSON", "{\"listenPort\": {}}"], "cannot have"),
        (&["---INLINE-JSON"], "needs a JSON object"),
        (&["---JSON-FILE", "/there/is/none"], "cannot read"),
    ] {
        let error = of(line, &[]).unwrap_err();
        assert!(error.contains(why), "{line:?}: {error}");
    }
}
