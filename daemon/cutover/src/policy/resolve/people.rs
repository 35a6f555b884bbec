//! Gates and alerts: who is asked, who is told, and whether there is a way to reach them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::formats;
use super::super::layer::join;
use super::super::raw::{self, AskKind, TellKind};
use super::super::{AlertPolicy, BackfillTells, Gate, GateBefore, GateKind, GateTimeout, ShiftPolicy, Writes};
use super::Resolver;

impl Resolver<'_> {
    pub(super) fn gates(&mut self, gates: &BTreeMap<String, raw::Gate>, shift: &ShiftPolicy) -> Vec<Gate> {
        gates.iter().filter_map(|(name, gate)| self.gate(name, gate, shift)).collect()
    }

    fn gate(&mut self, name: &str, gate: &raw::Gate, shift: &ShiftPolicy) -> Option<Gate> {
        let path = join("gates", name);
        let hint = "write `kind = \"manual\"`, `\"command\"`, `\"webhook\"` or `\"backfill\"`";
        let asked = self.need(gate.kind, &join(&path, "kind"), "how the gate is asked", hint);
        let hint = "write `before = \"each-step\"`, `\"writes\"`, `\"each-writes\"`, or a share such as `50`";
        // What these ask about matters when writes move, and needs not be said.
        let usual = (gate.before.is_none() && asked == Some(AskKind::Backfill) && !self.bad(&[&join(&path, "before")]))
            .then_some(formats::Before(GateBefore::EachWrites));
        let before =
            self.need(gate.before.or(usual), &join(&path, "before"), "before which step the gate is asked", hint);
        if before.is_some_and(|before| before.0 == GateBefore::Writes) && shift.writes == Writes::Split {
            let at = join(&path, "before");
            self.wrong(
                &at,
                "with `writes = \"split\"` no step moves the writes by themselves",
                "name a share, such as `before = 50`, or each of them: `before = \"each-writes\"`",
            );
        }
        let timeout = gate.timeout.map_or(Duration::from_hours(1), |timeout| timeout.0);
        if timeout.is_zero() && !self.bad(&[&join(&path, "timeout")]) {
            self.wrong(&join(&path, "timeout"), "a gate without time to answer is no gate", "write `timeout = \"1h\"`");
        }
        let kind = match asked? {
            AskKind::Manual => {
                self.stray(
                    &path,
                    "a manual gate",
                    &[
                        ("argv", gate.argv.is_some()),
                        ("url", gate.url.is_some()),
                        ("secret", gate.secret.is_some()),
                        ("tells", gate.tells.is_some()),
                    ],
                );
                GateKind::Manual
            }
            AskKind::Command => {
                self.stray(
                    &path,
                    "a command",
                    &[("url", gate.url.is_some()), ("secret", gate.secret.is_some()), ("tells", gate.tells.is_some())],
                );
                GateKind::Command { argv: self.argv(gate.argv.as_ref(), &path)? }
            }
            AskKind::Webhook => {
                self.stray(&path, "a webhook", &[("argv", gate.argv.is_some()), ("tells", gate.tells.is_some())]);
                let url = self.url(gate.url.as_ref(), &path)?;
                GateKind::Webhook { url, secret: gate.secret.as_ref().map(|secret| secret.0.clone()) }
            }
            AskKind::Backfill => {
                self.stray(&path, "a backfill", &[("url", gate.url.is_some()), ("secret", gate.secret.is_some())]);
                let argv = self.argv(gate.argv.as_ref(), &path)?;
                GateKind::Backfill { argv, tells: gate.tells.unwrap_or(BackfillTells::Status) }
            }
        };
        let on_timeout = gate.on_timeout.unwrap_or(GateTimeout::Hold);
        Some(Gate { name: name.to_owned(), before: before?.0, kind, timeout, on_timeout })
    }

    pub(super) fn alerts(&mut self, alerts: &BTreeMap<String, raw::Receiver>) -> Vec<AlertPolicy> {
        alerts.iter().filter_map(|(name, receiver)| self.alert(name, receiver)).collect()
    }

    fn alert(&mut self, name: &str, receiver: &raw::Receiver) -> Option<AlertPolicy> {
        let path = join("alerts", name);
        let hint = "write `kind = \"webhook\"` or `\"command\"`";
        match self.need(receiver.kind, &join(&path, "kind"), "how this receiver is reached", hint)? {
            TellKind::Webhook => {
                self.stray(&path, "a webhook", &[("argv", receiver.argv.is_some())]);
                let url = self.url(receiver.url.as_ref(), &path)?;
                Some(AlertPolicy::Webhook { url, secret: receiver.secret.as_ref().map(|secret| secret.0.clone()) })
            }
            TellKind::Command => {
                self.stray(
                    &path,
                    "a command",
                    &[("url", receiver.url.is_some()), ("secret", receiver.secret.is_some())],
                );
                Some(AlertPolicy::Command { argv: self.argv(receiver.argv.as_ref(), &path)? })
            }
        }
    }

    /// Keys that make no sense beside a kind.
    fn stray(&mut self, path: &str, kind: &str, keys: &[(&str, bool)]) {
        for (key, _) in keys.iter().filter(|(_, said)| *said) {
            self.wrong(&join(path, key), format!("{kind} has no `{key}`"), "leave it out, or change `kind`");
        }
    }

    fn argv(&mut self, argv: Option<&Vec<String>>, path: &str) -> Option<Vec<String>> {
        let at = join(path, "argv");
        let hint = "write `argv = [\"/usr/local/bin/check\", \"--fast\"]`; no shell is involved";
        let argv = self.need(argv.cloned(), &at, "the program", hint)?;
        match argv.first() {
            Some(program) if !program.trim().is_empty() => Some(argv),
            _ => {
                self.wrong(&at, "there is no program to run", hint);
                None
            }
        }
    }

    fn url(&mut self, url: Option<&formats::Url>, path: &str) -> Option<String> {
        let hint = "write `url = \"https://HOST/PATH\"`";
        self.need(url.map(|url| url.0.clone()), &join(path, "url"), "where the request goes", hint)
    }
}
