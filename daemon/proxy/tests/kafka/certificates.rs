//! A broker's certificate that is not accepted: told at the start, and while capture runs.

use std::{fs, path::Path, process::Command, time::Duration};

use proxy::capture::{
    Refused, Verdict,
    kafka::{Options, Scram, Secret, Security, StartError, Tls, read},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

use crate::{
    client::{Client, options},
    clock,
    servers::kafka::broker,
};

/// For how long a certificate is good that shall expire: a broker and a client start within it, with builds beside them.
const SHORT: Duration = Duration::from_secs(45);

const DAY: Duration = Duration::from_hours(24);

/// An authority that issues brokers' certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn tls(&self, path: &Path) -> Tls {
        fs::write(path, self.0.pem()).unwrap();
        Tls { authorities: Some(path.to_owned()), ..Tls::default() }
    }

    /// Writes a certificate for `name` and its key as a broker reads them, good until so many seconds after 1970.
    fn issue(&self, path: &Path, name: &str, until: u64) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(until);
        params.not_before = params.not_after - DAY;
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let pem = path.with_extension("pem");
        fs::write(&pem, certificate.pem() + &key.serialize_pem()).unwrap();
        let mut command = Command::new("openssl");
        command.args(["pkcs12", "-export", "-passout", "pass:changeit", "-in"]).arg(pem).arg("-out").arg(path);
        let made = command.output().expect("openssl is installed: run tests/run once");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

/// Proves that a certificate that has expired, one that another authority has issued and one for another host are told apart
/// at the start, with the broker, the reason and what to do, to whoever writes and whoever reads.
#[test]
fn a_certificate_that_is_not_accepted_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (known, other) = (Authority::new("known"), Authority::new("other"));
    let place = |name: &str| folder.path().join(name);
    known.issue(&place("expired.p12"), "127.0.0.1", clock::unix_seconds() - 3600);
    known.issue(&place("named.p12"), "broker.example", clock::unix_seconds() + DAY.as_secs());
    let store = |listener: &str, name: &str| {
        format!("listener.name.{listener}.ssl.keystore.location={}", place(name).display())
    };
    let (expired, named) = (store("ssl", "expired.p12"), store("sasl_ssl", "named.p12"));
    let broker = broker(folder.path(), &[&expired, &named]);
    let (trusted, unknown) = (known.tls(&place("known.pem")), other.tls(&place("other.pem")));
    let scram = |tls| Security::Scram {
        mechanism: Scram::Sha512,
        user: "alice".to_owned(),
        password: Secret("alice-secret".to_owned()),
        tls: Some(tls),
    };
    let from = format!("no authority in `{}` has issued it", place("other.pem").display());
    for (brokers, security, wanted) in [
        (broker.ssl(), Security::Tls(trusted.clone()), ["expired", "seconds ago", "renew it on the broker"]),
        (
            broker.sasl_ssl(),
            scram(trusted.clone()),
            ["127.0.0.1", "broker.example", "reach the broker by a name that its certificate has"],
        ),
        (
            broker.sasl_ssl(),
            scram(Tls { any_host: true, ..unknown }),
            [&from, "has issued it", "name the file of its authority"],
        ),
    ] {
        let asked = Options { security, ..options(&brokers, "certificates", 1) };
        let error = Client::start(asked.clone()).err().expect("it is refused");
        println!("{error}");
        assert!(matches!(error, StartError::Certificate { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("the certificate of broker {brokers} is not accepted: ")), "{text}");
        assert!(wanted.iter().all(|part| text.contains(part)), "{text}: {wanted:?}");
        let reading = read::ranges(&asked).unwrap_err();
        assert!(matches!(reading, StartError::Certificate { .. }), "{reading:?}");
    }
    let any = Options { security: scram(Tls { any_host: true, ..trusted }), ..options(&broker.sasl_ssl(), "named", 1) };
    assert_eq!(Client::start(any).unwrap().one("any-host"), Ok(Verdict::Safe));
}

/// Proves that a certificate which expires while we are connected is no failure of capture until we connect again; that it is one
/// then, which says so; and that capture goes on by itself once it is renewed.
#[test]
fn a_certificate_that_expires_under_way_fails_at_the_next_connection() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("authority");
    let store = folder.path().join("server.p12");
    let until = clock::unix_seconds() + SHORT.as_secs();
    authority.issue(&store, "127.0.0.1", until);
    let setting = format!("listener.name.ssl.ssl.keystore.location={}", store.display());
    let mut broker = broker(folder.path(), &[&setting]);
    let security = Security::Tls(authority.tls(&folder.path().join("authority.pem")));
    let mut client = Client::start(Options { security, ..options(&broker.ssl(), "expires", 1) }).unwrap();
    assert_eq!(client.one("before"), Ok(Verdict::Safe));
    while clock::unix_seconds() <= until {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(client.one("connected"), Ok(Verdict::Safe));
    assert_eq!(client.capture.figures().opened_times, 0);

    broker.kill();
    broker.start_again();
    let why = |client: &Client| client.capture.figures().opened_why.unwrap_or_default();
    client.until("it is told", |client| why(client).contains("renew it on the broker"));
    println!("{}", why(&client));
    assert!(why(&client).starts_with(&format!("the certificate of broker {} is not accepted: ", broker.ssl())));
    assert_eq!(client.one("refused"), Err(Refused::BreakerOpen));

    authority.issue(&store, "127.0.0.1", until + DAY.as_secs());
    broker.kill();
    broker.start_again();
    client.until_safe("renewed");
    assert_eq!(client.capture.figures().life, 0, "the topic is the same");
}
