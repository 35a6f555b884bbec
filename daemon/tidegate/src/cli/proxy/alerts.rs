//! The flags that say who is told when capture fails.

use cutover::policy::AlertPolicy;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Alerts")]
#[expect(clippy::struct_field_names, reason = "they are the names of the flags")]
pub(super) struct AlertArgs {
    /// Tell this URL when capture fails or loses something, and when it is sound again (Standard Webhooks).
    #[arg(long, value_name = "URL")]
    alert_webhook: Option<String>,

    /// Where the secret is that signs what the URL is told.
    #[arg(long, value_name = "env:NAME|file:PATH", requires = "alert_webhook", value_parser = reference)]
    alert_secret: Option<String>,

    /// Run this program for the same, with the alert as JSON on its stdin; no shell is involved. Repeat the flag for each
    /// argument.
    #[arg(long, value_name = "PROGRAM", allow_hyphen_values = true)]
    alert_command: Vec<String>,
}

impl AlertArgs {
    /// Everybody who is told.
    pub(super) fn receivers(self) -> Vec<AlertPolicy> {
        let webhook = self.alert_webhook.map(|url| AlertPolicy::Webhook { url, secret: self.alert_secret });
        let command = (!self.alert_command.is_empty()).then_some(AlertPolicy::Command { argv: self.alert_command });
        webhook.into_iter().chain(command).collect()
    }
}

fn reference(text: &str) -> Result<String, String> {
    let known = text.starts_with("env:") || text.starts_with("file:");
    if known { Ok(text.to_owned()) } else { Err("write env:NAME or file:PATH, never the secret itself".to_owned()) }
}
