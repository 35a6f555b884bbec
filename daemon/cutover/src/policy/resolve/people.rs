//! Gates and alerts: who is asked, who is told, and whether there is a way to reach them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::formats;
use super::super::layer::join;
use super::super::raw::{self, AskKind, TellKind};
use super::super::{
    AlertPolicy, BackfillTells, Gate, GateBefore, GateKind, GateTimeout, ReplayLag, ShiftPolicy, Writes,
};
use super::Resolver;

impl Resolver<'_> {
    pub(super) fn gates(&mut self, gates: &BTreeMap<String, raw::Gate>, shift: &ShiftPolicy) -> Vec<Gate> {
        let mut gates: Vec<Gate> = gates.iter().filter_map(|(name, gate)| self.gate(name, gate, shift)).collect();
        // A person may take a day, and by then the answer of another gate would be a day old.
        gates.sort_by_key(|gate| gate.kind.ages());
        gates
    }

    fn gate(&mut self, name: &str, gate: &raw::Gate, shift: &ShiftPolicy) -> Option<Gate> {
        let path = join("gates", name);
        let hint = "write `kind = \"manual\"`, `\"command\"`, `\"webhook\"`, `\"backfill\"` or `\"replay_lag\"`";
        let asked = self.need(gate.kind, &join(&path, "kind"), "how the gate is asked", hint);
        let hint = "write `before = \"each-step\"`, `\"writes\"`, `\"each-writes\"`, or a share such as `50`";
        // What these ask about matters when writes move, and needs not be said.
        let on_writes = matches!(asked, Some(AskKind::Backfill | AskKind::ReplayLag));
        let usual = (gate.before.is_none() && on_writes && !self.bad(&[&join(&path, "before")]))
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
        let asked = asked?;
        self.strangers(gate, asked, &path);
        let kind = match asked {
            AskKind::Manual => GateKind::Manual,
            AskKind::Command => GateKind::Command { argv: self.argv(gate.argv.as_ref(), &path)? },
            AskKind::Webhook => {
                let url = self.url(gate.url.as_ref(), &path)?;
                GateKind::Webhook { url, secret: gate.secret.as_ref().map(|secret| secret.0.clone()) }
            }
            AskKind::Backfill => {
                let argv = self.argv(gate.argv.as_ref(), &path)?;
                GateKind::Backfill { argv, tells: gate.tells.unwrap_or(BackfillTells::Status) }
            }
            AskKind::ReplayLag => GateKind::ReplayLag(self.replay_lag(gate, &path)?),
        };
        let on_timeout = gate.on_timeout.unwrap_or(GateTimeout::Hold);
        Some(Gate { name: name.to_owned(), before: before?.0, kind, timeout, on_timeout })
    }

    /// How far the replay may be behind.
    fn replay_lag(&mut self, gate: &raw::Gate, path: &str) -> Option<ReplayLag> {
        let hint = "write `brokers = [\"HOST:PORT\"]`";
        let brokers = self.need(gate.brokers.as_ref(), &join(path, "brokers"), "where the brokers are", hint);
        if brokers.is_some_and(Vec::is_empty) {
            self.wrong(&join(path, "brokers"), "there is no broker to ask", hint);
        }
        let hint = "write `group = \"replayer-TARGET\"`, with the name of the workflow's target, or \
                    `\"logging-group-default\"` for an older Replayer";
        let group = self.need(gate.group.clone(), &join(path, "group"), "the Replayer's consumer group", hint);
        let hint = "write `topic = \"logging-traffic-topic\"`, with the name that is captured to";
        let topic = self.need(gate.topic.clone(), &join(path, "topic"), "the topic that is replayed", hint);
        let hint = "write `max = \"30s\"`";
        let max = self.need(gate.max, &join(path, "max"), "how far the replay may be behind", hint);
        if max.is_some_and(|max| max.0.is_zero()) {
            self.wrong(&join(path, "max"), "a replay that is never behind does not exist while traffic comes", hint);
        }
        Some(ReplayLag {
            brokers: brokers?.iter().map(|broker| broker.0.clone()).collect(),
            group: group?.0,
            topic: topic?.0,
            max: max?.0,
            properties: gate.properties.as_ref().map(|path| path.0.clone()),
        })
    }

    /// Keys that make no sense beside the kind of a gate.
    fn strangers(&mut self, gate: &raw::Gate, kind: AskKind, path: &str) {
        use AskKind::{Backfill, Command, Manual, ReplayLag, Webhook};
        let keys: [(&str, bool, &[AskKind]); 9] = [
            ("argv", gate.argv.is_some(), &[Command, Backfill]),
            ("tells", gate.tells.is_some(), &[Backfill]),
            ("url", gate.url.is_some(), &[Webhook]),
            ("secret", gate.secret.is_some(), &[Webhook]),
            ("brokers", gate.brokers.is_some(), &[ReplayLag]),
            ("group", gate.group.is_some(), &[ReplayLag]),
            ("topic", gate.topic.is_some(), &[ReplayLag]),
            ("max", gate.max.is_some(), &[ReplayLag]),
            ("properties", gate.properties.is_some(), &[ReplayLag]),
        ];
        let strangers: Vec<_> = keys.map(|(key, said, kinds)| (key, said && !kinds.contains(&kind))).into();
        let name = match kind {
            Manual => "a manual gate",
            Command => "a command",
            Webhook => "a webhook",
            Backfill => "a backfill",
            ReplayLag => "a replay's lag",
        };
        self.stray(path, name, &strangers);
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
