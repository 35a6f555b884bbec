//! Alerts to a program, as JSON on its stdin.

use cutover::policy::AlertPolicy;

use super::{AlertSink, Message};
use crate::port::{Answer, PortError};
use crate::program;

/// Hands alerts to programs. Exit code 0 means that it has it.
pub struct Command;

impl AlertSink for Command {
    fn send<'a>(&'a self, message: &'a Message) -> Answer<'a, ()> {
        Box::pin(async move {
            let AlertPolicy::Command { argv } = &message.to else {
                return Err(PortError::never("alert", "this alert is not for a program"));
            };
            let ended = program::run(argv, &message.body()).await.map_err(|error| PortError::later("alert", error))?;
            if ended.code == Some(0) {
                return Ok(());
            }
            let code = ended.code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
            Err(PortError::later("alert", format!("`{}` ended with {code}: {}", argv.join(" "), ended.output)))
        })
    }
}
