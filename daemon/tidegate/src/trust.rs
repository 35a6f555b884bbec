//! Whom an outgoing TLS connection trusts, and who it says it is: files that a policy names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Why there is no such trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file cannot be read, or holds no certificate or key.
    #[error("cannot read the {what} in `{path}`: {why}")]
    File {
        /// What should be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// What is in the files does not fit together.
    #[error("cannot use TLS as the policy says: {0}")]
    Tls(#[from] rustls::Error),
}

/// Trusts the authorities in `ca` alone, or those of the Mozilla programme without one, and shows the certificate of
/// `identity` (chain and key) to who asks for it. All files are PEM.
///
/// # Errors
/// When a file cannot be read, holds nothing of its kind, or certificate and key do not fit together.
pub fn tls(ca: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = match ca {
        None => builder.with_webpki_roots(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("authority", path)? {
                roots.add(certificate)?;
            }
            builder.with_root_certificates(roots)
        }
    };
    Ok(match identity {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| file("key", key, &error))?;
            config.with_client_auth_cert(certificates("certificate", chain)?, private)?
        }
    })
}

fn file(what: &'static str, path: &Path, error: &dyn std::error::Error) -> TrustError {
    TrustError::File { what, path: path.to_owned(), why: error.to_string() }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<_, _>>)
        .map_err(|error| file(what, path, &error))?;
    if found.is_empty() {
        let why = "there is no certificate in it".to_owned();
        return Err(TrustError::File { what, path: path.to_owned(), why });
    }
    Ok(found)
}
