//! Why a broker's certificate is not accepted.
//!
//! librdkafka has one sentence for all of it, which sends whoever reads it to look for a missing authority when a certificate has
//! merely expired. So the broker that it names is asked for its certificate once more, by a library that tells. What OpenSSL
//! refuses and that library takes keeps librdkafka's sentence.

use std::{
    io,
    net::{TcpStream, ToSocketAddrs as _},
    path::PathBuf,
    time::Duration,
};

use rdkafka::ClientConfig;
use rustls::{CertificateError, ClientConnection, pki_types::ServerName};

use super::topic::StartError;
use crate::{config::ClientTls, tls};

/// How long the broker is waited for, at each step.
const STEP_MAX: Duration = Duration::from_secs(1);

/// What OpenSSL says of each certificate that it does not take.
const REFUSED: &str = "certificate verify failed";

/// Why the certificate is not accepted of which librdkafka complained in these words; `None` where it did not, or the reason cannot
/// be found.
pub(super) fn refused(config: &ClientConfig, complaint: &str) -> Option<StartError> {
    let broker = complaint.contains(REFUSED).then(|| broker(complaint)).flatten()?;
    let ca = config.get("ssl.ca.location").map(PathBuf::from);
    let any_host = config.get("ssl.endpoint.identification.algorithm") == Some("none");
    let why = why(&shake(broker, ca.clone())?, ca, any_host)?;
    Some(StartError::Certificate { broker: broker.to_owned(), why })
}

/// The address in `sasl_ssl://HOST:PORT/bootstrap: SSL handshake failed: …`.
fn broker(complaint: &str) -> Option<&str> {
    let (_, rest) = complaint.split_once("ssl://")?;
    rest.split(['/', ' ']).next().filter(|address| address.contains(':'))
}

/// What is wrong with the certificate of whoever listens there.
fn shake(broker: &str, ca: Option<PathBuf>) -> Option<CertificateError> {
    let (host, _) = broker.rsplit_once(':')?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()?;
    let config = tls::client(&ClientTls { ca, insecure: false, server_name: None }).ok()?;
    let address = broker.to_socket_addrs().ok()?.next()?;
    let mut stream = TcpStream::connect_timeout(&address, STEP_MAX).ok()?;
    stream.set_read_timeout(Some(STEP_MAX)).ok()?;
    stream.set_write_timeout(Some(STEP_MAX)).ok()?;
    let mut connection = ClientConnection::new(config, name).ok()?;
    match connection.complete_io(&mut stream).err().and_then(io::Error::into_inner)?.downcast::<rustls::Error>() {
        Ok(error) => match *error {
            rustls::Error::InvalidCertificate(error) => Some(error),
            _ => None,
        },
        Err(_) => None,
    }
}

/// In words, with what to do.
fn why(error: &CertificateError, ca: Option<PathBuf>, any_host: bool) -> Option<String> {
    Some(match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("{error}; renew it on the broker, and capture goes on by itself")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("{error}; wait, or set the clock of whichever machine is wrong")
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => match ca {
            Some(ca) => format!("no authority in `{}` has issued it; name the file of its authority", ca.display()),
            None => "no authority that the system trusts has issued it; name the file of its authority".to_owned(),
        },
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } if !any_host => {
            format!("{error}; reach the broker by a name that its certificate has, or accept any host")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that the broker is found in librdkafka's complaint, and in no other.
    #[test]
    fn the_broker_stands_in_the_complaint() {
        for (complaint, wanted) in [
            ("ssl://b-1.kafka:9093/bootstrap: SSL handshake failed: certificate verify failed", Some("b-1.kafka:9093")),
            ("sasl_ssl://[::1]:9/1: SSL handshake failed", Some("[::1]:9")),
            ("ssl://", None),
            ("sasl_plaintext://b:1/1: no TLS here", None),
        ] {
            assert_eq!(broker(complaint), wanted, "{complaint}");
        }
        assert_eq!(refused(&ClientConfig::new(), "ssl://b:1/1: Connection refused"), None);
    }
}
