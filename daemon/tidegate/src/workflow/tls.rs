//! How a proxy of a workflow serves TLS. Without a word it does, by a certificate of the cluster's own authority.

use super::Problems;
use super::fields::Fields;
use super::yaml::Node;

/// How the proxy serves clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// By a certificate that cert-manager makes and renews.
    CertManager {
        /// Who signs it; `None` is the authority that Migration Assistant sets up.
        issuer: Option<Issuer>,
        /// The name in its subject.
        common_name: Option<String>,
        /// Whom it is for; empty for the names of the Service.
        dns_names: Vec<String>,
        /// How long it is good, in Go's spelling.
        duration: String,
        /// How long before its end it is renewed.
        renew_before: String,
    },
    /// By what lies in a Secret, as `tls.crt` and `tls.key`.
    Secret(String),
    /// Not at all.
    Plaintext,
}

/// Who signs certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Its name.
    pub name: String,
    /// `Issuer` or `ClusterIssuer`.
    pub kind: String,
    /// Its API group.
    pub group: String,
}

/// Where the authority of clients' certificates is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// A file that somebody mounts.
    File(String),
    /// The certificate itself.
    Pem(String),
}

/// Which certificates clients must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// Signed by this authority.
    pub authority: Authority,
}

impl Tls {
    /// What is meant where nothing is said.
    pub(super) fn usual() -> Self {
        Self::CertManager {
            issuer: None,
            common_name: None,
            dns_names: Vec::new(),
            duration: "2160h".to_owned(),
            renew_before: "360h".to_owned(),
        }
    }

    pub(super) fn read(node: &Node, path: String, problems: &mut Problems<'_>) -> Self {
        let mut fields = Fields::of(node, path, problems);
        let hint = "write `mode: certManager`, `existingSecret` or `plaintext`";
        let place = fields.place();
        let mode = fields.text_at("mode", problems);
        let at = mode.as_ref().map_or(place, |(_, place)| *place);
        let tls = match mode.as_ref().map(|(mode, _)| mode.as_str()) {
            Some("plaintext") => Self::Plaintext,
            Some("existingSecret") => {
                let secret = fields.text("secretName", problems);
                if secret.is_none() {
                    problems.wrong(place, format!("`{}` is missing", fields.name("secretName")), "");
                }
                Self::Secret(secret.unwrap_or_default())
            }
            Some("certManager") => {
                let issuer = fields.take("issuerRef").and_then(|node| {
                    let mut issuer = Fields::of(node, fields.name("issuerRef"), problems);
                    let (name, kind) = (issuer.text("name", problems), issuer.text("kind", problems));
                    let group = issuer.text("group", problems);
                    if name.is_none() {
                        problems.wrong(node.place, format!("`{}` is missing", issuer.name("name")), "");
                    }
                    issuer.end(problems);
                    Some(Issuer {
                        name: name?,
                        kind: kind.unwrap_or_else(|| "ClusterIssuer".to_owned()),
                        group: group.unwrap_or_else(|| "cert-manager.io".to_owned()),
                    })
                });
                Self::CertManager {
                    issuer,
                    common_name: fields.text("commonName", problems),
                    dns_names: fields.texts("dnsNames", problems).into_iter().map(|(name, _)| name).collect(),
                    duration: fields.text("duration", problems).unwrap_or_else(|| "2160h".to_owned()),
                    renew_before: fields.text("renewBefore", problems).unwrap_or_else(|| "360h".to_owned()),
                }
            }
            Some(other) => {
                problems.wrong(at, format!("`{other}` is no way to serve TLS"), hint);
                Self::Plaintext
            }
            None => {
                problems.wrong(place, format!("`{}` is missing", fields.name("mode")), hint);
                Self::Plaintext
            }
        };
        fields.end(problems);
        tls
    }
}

impl ClientAuth {
    pub(super) fn read(node: &Node, path: String, problems: &mut Problems<'_>) -> Option<Self> {
        let mut fields = Fields::of(node, path, problems);
        let file = fields.text("trustedClientCaFile", problems);
        let pem = fields.text("trustedClientCaPem", problems);
        if fields.truth("required", problems) == Some(false) {
            let what =
                format!("`{}` is false: a certificate would be asked for and not needed", fields.name("required"));
            problems.wrong(node.place, what, "leave `clientAuth` out, or let it be required");
        }
        let authority = match (file, pem) {
            (Some(file), None) => Some(Authority::File(file)),
            (None, Some(pem)) => Some(Authority::Pem(pem)),
            (None, None) | (Some(_), Some(_)) => {
                let hint = "write `trustedClientCaFile` or `trustedClientCaPem`, one of them";
                problems.wrong(node.place, "whose certificates clients must show is not clear", hint);
                None
            }
        };
        fields.end(problems);
        authority.map(|authority| Self { authority })
    }
}
