//! What a policy says of the clients: whole identities, and a rate that can be held against one.

use super::super::clients::{ClientsPolicy, ExpectedRate};
use super::super::raw;
use super::Resolver;

impl Resolver<'_> {
    pub(super) fn clients(&mut self, clients: &raw::Clients) -> ClientsPolicy {
        let path = |path: &Option<super::formats::AbsolutePath>| path.as_ref().map(|path| path.0.clone());
        let certificate = match (path(&clients.certificate), path(&clients.key)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (certificate, _) => {
                let (said, missing) =
                    if certificate.is_some() { ("certificate", "key") } else { ("key", "certificate") };
                if !self.bad(&[&format!("clients.{missing}")]) {
                    self.wrong(
                        &format!("clients.{said}"),
                        format!("a client shows a certificate and proves by its key that it is its own: `{missing}` is missing"),
                        format!("say `{missing} = \"/absolute/path.pem\"` under `[clients]`, or leave out `{said}`"),
                    );
                }
                None
            }
        };
        ClientsPolicy {
            ca: path(&clients.ca),
            server_name: clients.server_name.as_ref().map(|name| name.0.clone()),
            authorization: clients.authorization.as_ref().map(|secret| secret.0.clone()),
            certificate,
            expected: self.expected(clients),
        }
    }

    fn expected(&mut self, clients: &raw::Clients) -> Option<ExpectedRate> {
        let Some(rps) = clients.expected_rps else {
            if clients.rps_tolerance.is_some() && !self.bad(&["clients.expected_rps"]) {
                self.wrong(
                    "clients.rps_tolerance",
                    "a tolerance of nothing: no rate is expected",
                    "say `expected_rps = 120`, too, or leave it out",
                );
            }
            return None;
        };
        if !(rps.is_finite() && rps > 0.0) {
            self.wrong(
                "clients.expected_rps",
                format!("{rps} requests a second are no traffic that could be missing"),
                "write how many requests a second the service usually has, such as `120`, or leave it out",
            );
            return None;
        }
        let tolerance = clients.rps_tolerance.map_or(ExpectedRate::TOLERANCE_USUAL, |percent| percent.0);
        Some(ExpectedRate { rps, tolerance })
    }
}
