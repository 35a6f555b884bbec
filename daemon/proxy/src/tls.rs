//! Certificates and keys, for clients that come and for upstreams that are gone to.
//!
//! The provider is ring, passed explicitly: nothing here depends on what another crate installed as the default.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

use crate::{
    config::{Certificate, ClientTls, ServerTls},
    handle::StartError,
};

fn wrong(path: &Path, why: impl std::fmt::Display) -> StartError {
    StartError::Tls { path: path.to_owned(), why: why.to_string() }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// What is needed to speak TLS to clients; called again for each reload.
pub(crate) fn server(tls: &ServerTls) -> Result<Arc<ServerConfig>, StartError> {
    let (chain_path, key_path) = match &tls.certificate {
        Certificate::Files { chain, key } => (chain.clone(), key.clone()),
        Certificate::SelfSigned { directory } => self_signed(directory)?,
    };
    let chain = certificates(&chain_path)?;
    let key = PrivateKeyDer::from_pem_file(&key_path)
        .map_err(|error| wrong(&key_path, format!("no private key in PEM form can be read from it: {error}")))?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&chain_path, error))?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider())
                .build()
                .map_err(|error| wrong(path, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&chain_path, format!("it does not fit the key {}: {error}", key_path.display())))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What is needed to speak TLS to the endpoints of a side.
pub(crate) fn client(tls: &ClientTls) -> Result<Arc<ClientConfig>, StartError> {
    let nowhere = Path::new("the TLS settings of a side");
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(nowhere, error))?;
    let mut config = if tls.insecure {
        let anything = Arc::new(Anything(ring::default_provider().signature_verification_algorithms));
        builder.dangerous().with_custom_certificate_verifier(anything).with_no_client_auth()
    } else {
        let roots = match &tls.ca {
            Some(path) => roots(path)?,
            None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
        };
        builder.with_root_certificates(roots).with_no_client_auth()
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Why a TLS handshake with an upstream failed, in words an operator can act on.
pub(crate) fn explain(error: &io::Error) -> String {
    let certificate = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match certificate {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            "its certificate was issued by nobody we trust: name the authority with a CA file for the side".to_owned()
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "its certificate is that of an authority (CaUsedAsEndEntity), as self-signed ones often are: \
             give it a certificate of its own, or accept any certificate for the side"
                .to_owned()
        }
        Some(rustls::Error::InvalidCertificate(reason)) => format!("its certificate is not accepted: {reason}"),
        _ => error.to_string(),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(path, format!("no certificate in PEM form can be read from it: {error}")))?;
    if chain.is_empty() {
        return Err(wrong(path, "there is no certificate in PEM form in it"));
    }
    Ok(chain)
}

fn roots(path: &Path) -> Result<RootCertStore, StartError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| wrong(path, format!("it holds no usable authority: {error}")))?;
    }
    Ok(roots)
}

/// The certificate and key in `directory`, made now if they are not there.
fn self_signed(directory: &Path) -> Result<(PathBuf, PathBuf), StartError> {
    let (chain_path, key_path) = (directory.join("cert.pem"), directory.join("key.pem"));
    if chain_path.exists() && key_path.exists() {
        return Ok((chain_path, key_path));
    }
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let generated = rcgen::generate_simple_self_signed(names)
        .map_err(|error| wrong(&chain_path, format!("a self-signed certificate cannot be made: {error}")))?;
    let make = || -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        write_whole(&key_path, 0o600, generated.signing_key.serialize_pem().as_bytes())?;
        write_whole(&chain_path, 0o644, generated.cert.pem().as_bytes())
    };
    make().map_err(|error| wrong(directory, format!("a self-signed certificate cannot be kept there: {error}")))?;
    Ok((chain_path, key_path))
}

/// Writes a file that is either there whole or not at all.
fn write_whole(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

/// Accepts any certificate, but still checks that the peer holds its key.
#[derive(Debug)]
struct Anything(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
