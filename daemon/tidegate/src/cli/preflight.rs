//! `tidegate preflight`: everything that must be so before a cutover may begin, as a list with what was seen and what to do.
//!
//! It needs no daemon and, without `--write-check`, changes nothing. What is asked of the fleet and the balancer is what the
//! daemon asks again before its first step.

#[cfg(feature = "aws")]
mod snapshot;
mod traffic;

use std::fmt::Write as _;
use std::path::PathBuf;

use cutover::Generation;
use cutover::event::{Check, CheckOutcome};
use cutover::policy::{BalancerPolicy, ExpectedRate, Policy, WeightedStart};

use super::policy::check;
use super::{Context, Exit};
use crate::client::{Client, smoke};
use crate::clock::Clock;
use crate::gate::{ByKind, Gates as _};
use crate::outbound::Outbound;
use crate::policy_files;
use crate::port::{PortError, in_one_line};
use crate::run::{self, Adapters};

/// The arguments of `tidegate preflight`.
#[derive(Debug, clap::Args)]
pub struct Preflight {
    /// The service's policy file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Ask the target by this URL who it is and whether it is well: a test listener that leads to it alone. It is asked as
    /// `[clients]` says; credentials are those of `target.authorization` where that gives none.
    #[arg(long, value_name = "URL")]
    smoke: Option<String>,
    /// Read the counters of the source cluster at this URL twice, and report who asks it past the listener. It takes 10 s
    /// where our own proxies count, and some minutes with CloudWatch or Prometheus. Credentials are those of `[clients]`, or
    /// of `source.authorization`.
    #[arg(long, value_name = "URL")]
    source_stats: Option<String>,
    /// How many requests a second the service has, in place of `clients.expected_rps`; fewer are reported as clients that go
    /// another way.
    #[arg(long, value_name = "RPS")]
    expected_rps: Option<f64>,
    /// Write back what stands, word for word, to see that writing is allowed. Without it a missing permission shows at the
    /// first step.
    #[arg(long)]
    write_check: bool,
    /// As that of `tidegate run`.
    #[arg(long, hide = true, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3600))]
    clock_speed: u32,
    /// When the snapshot was taken, as `2026-11-22T05:00:00Z`: it must not be older than the capture of every client, which
    /// `tidegate reroute` puts on record.
    #[cfg(feature = "aws")]
    #[arg(long, value_name = "RFC3339", value_parser = snapshot::moment)]
    snapshot_taken: Option<cutover::Timestamp>,
    /// The state directory with that record; the daemon's unless it is said.
    #[cfg(feature = "aws")]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// Whether nothing in the list stands in the way.
fn is_clear(checks: &[Check]) -> bool {
    !checks.iter().any(|check| check.outcome.stops())
}

/// The list for a person.
pub(super) fn told(service: &str, checks: &[Check]) -> String {
    let mut text = format!("{service}: preflight\n\n");
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or_default();
    for Check { name, outcome, evidence, fix, .. } in checks {
        let word = match outcome {
            CheckOutcome::Pass => "ok",
            CheckOutcome::Warn => "look",
            CheckOutcome::Fail => "NO",
            CheckOutcome::Unknown => "?",
        };
        writeln!(text, "{word:<4}  {name:<width$}  {evidence}").expect("a String takes everything");
        if !fix.is_empty() {
            writeln!(text, "{:<4}  {:<width$}  -> {fix}", "", "").expect("a String takes everything");
        }
    }
    let count = |wanted: &[CheckOutcome]| checks.iter().filter(|check| wanted.contains(&check.outcome)).count();
    let (wrong, look) = (count(&[CheckOutcome::Fail, CheckOutcome::Unknown]), count(&[CheckOutcome::Warn]));
    let end = match wrong {
        0 => format!("nothing stands in the way; {look} to look at"),
        _ => format!("{wrong} stand in the way; {look} to look at"),
    };
    writeln!(text, "\n{end}").expect("a String takes everything");
    text
}

impl Preflight {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let loaded = policy_files::load(&self.file, &policy_files::environment())?;
        let sound = loaded.is_sound();
        let Some(policy) = loaded.policy.as_ref().filter(|_| sound) else {
            if context.json {
                context.print_json(&serde_json::json!({"ok": false, "checks": [], "problems": loaded.problems}))?;
            } else {
                context.print(&check::report(&loaded))?;
            }
            return Ok(Exit::Error);
        };
        let checks = context.block_on(async { Ok(Box::pin(self.checks(policy)).await) })?;
        let clear = is_clear(&checks);
        if context.json {
            let service = &policy.service;
            context
                .print_json(&serde_json::json!({"service": service, "ok": clear, "checks": checks, "problems": []}))?;
        } else {
            context.print(&told(&policy.service, &checks))?;
        }
        Ok(if clear { Exit::Done } else { Exit::Error })
    }

    async fn checks(&self, policy: &Policy) -> Vec<Check> {
        let clock = Clock::fast(self.clock_speed);
        let adapters = match run::adapters(policy, &clock).await {
            Ok(adapters) => adapters,
            Err(error) => {
                let fix = "mend the policy, or the way to what it names";
                return vec![Check::new("policy", CheckOutcome::Fail, in_one_line(&error), fix)];
            }
        };
        let mut checks = self.balancer(policy, &adapters, &clock).await;
        let (fleet, captured) = tokio::join!(adapters.fleet.check(), adapters.fleet.captured(&policy.capture));
        for found in [fleet, captured] {
            match found {
                Ok(found) => checks.extend(found),
                Err(error) => {
                    checks.push(Check::new("fleet", CheckOutcome::Unknown, in_one_line(&error), "look again"));
                }
            }
        }
        match adapters.metrics.survey().await {
            Ok(found) => checks.extend(found),
            Err(error) => checks.push(Check::new("numbers", CheckOutcome::Unknown, in_one_line(&error), "look again")),
        }
        checks.extend(gates(policy, &clock).await);
        // Each of these takes its time, and none is in the way of another.
        let (rate, smoked, past) = tokio::join!(
            async {
                match self.expected(policy) {
                    Some(expected) => vec![traffic::rate(expected, policy, &*adapters.metrics, &clock).await],
                    None => Vec::new(),
                }
            },
            async {
                match &self.smoke {
                    Some(url) => smoked(url, policy).await,
                    None => Vec::new(),
                }
            },
            async {
                match &self.source_stats {
                    Some(url) => traffic::past(url, policy, &*adapters.metrics, &clock).await,
                    None => Vec::new(),
                }
            },
        );
        checks.extend(rate.into_iter().chain(smoked).chain(past));
        #[cfg(feature = "aws")]
        checks.extend(snapshot::check(self.state.as_deref(), &policy.service, self.snapshot_taken));
        checks
    }

    /// Whether the weights can be read, stand where a cutover may begin, and can be written.
    async fn balancer(&self, policy: &Policy, adapters: &Adapters, clock: &Clock) -> Vec<Check> {
        let reading = match adapters.balancer.read(clock.now()).await {
            Ok(reading) => reading,
            Err(error) => {
                let fix = "nothing can begin before the weights can be read";
                return vec![Check::new("weights", CheckOutcome::Fail, in_one_line(&error), fix)];
            }
        };
        let refused = policy.shift.on_weighted_start == WeightedStart::Refuse;
        let outcome = match reading.share {
            cutover::Share::NONE => CheckOutcome::Pass,
            _ if refused => CheckOutcome::Fail,
            _ => CheckOutcome::Warn,
        };
        let fix = "give the target none, or start with `on_weighted_start = \"adopt\"`";
        let mut checks = vec![Check::new("weights", outcome, format!("the target has {}", reading.share), fix)];
        if !reading.disagreeing.is_empty() {
            let evidence = format!("not the same everywhere: {}", reading.disagreeing.join(", "));
            checks.push(Check::new(
                "weights agree",
                CheckOutcome::Fail,
                evidence,
                "make them the same before a cutover begins",
            ));
        }
        if self.write_check && matches!(policy.balancer, BalancerPolicy::Alb { .. }) {
            checks.push(match adapters.balancer.restore(&reading.action, Generation::default()).await {
                Ok(()) => Check::new("write", CheckOutcome::Pass, "what stands was written back", ""),
                Err(error) => Check::new(
                    "write",
                    CheckOutcome::Fail,
                    in_one_line(&error),
                    "give these credentials what `tidegate aws iam --feature shift` prints",
                ),
            });
        }
        checks
    }

    /// What is said here goes before what the policy says.
    fn expected(&self, policy: &Policy) -> Option<ExpectedRate> {
        let said = policy.clients.expected;
        let tolerance = said.map_or(ExpectedRate::TOLERANCE_USUAL, |expected| expected.tolerance);
        self.expected_rps.map(|rps| ExpectedRate { rps, tolerance }).or(said)
    }
}

/// What the gates say that are about the world.
async fn gates(policy: &Policy, clock: &Clock) -> Vec<Check> {
    let asked = match Outbound::new() {
        Ok(outbound) => ByKind::new(outbound, clock.clone()).at_preflight(policy).await,
        Err(error) => Err(PortError::later("gate", error)),
    };
    asked.unwrap_or_else(|error| vec![Check::new("gates", CheckOutcome::Unknown, in_one_line(&error), "look again")])
}

/// A client that cannot be had.
fn no_client(name: &str, error: &(dyn std::error::Error + 'static)) -> Check {
    let fix = "put what `[clients]` names where it says, readable by who looks";
    Check::new(name, CheckOutcome::Fail, in_one_line(error), fix)
}

/// The target, asked as one of the clients.
async fn smoked(url: &str, policy: &Policy) -> Vec<Check> {
    match Client::new(&policy.clients, policy.target.authorization.as_deref()) {
        Ok(client) => smoke::look(&client, url).await,
        Err(error) => vec![no_client("smoke: identity", &*error)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that one thing which is unknown stands in the way as one that is wrong does, and that each says what to do.
    #[test]
    fn what_is_unknown_stands_in_the_way() {
        let good = Check::new("weights", CheckOutcome::Pass, "the target has 0 %", "never said");
        let look = Check::new("connections", CheckOutcome::Warn, "kept for long", "end them");
        let unknown = Check::new("numbers", CheckOutcome::Unknown, "denied", "allow it");
        assert!(is_clear(&[good.clone(), look.clone()]));
        assert!(!is_clear(&[good.clone(), unknown.clone()]));
        let text = told("search", &[good, look, unknown]);
        for line in
            ["ok    weights      the target has 0 %\n", "-> end them", "?     numbers", "1 stand in the way; 1 to"]
        {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("never said"));
    }
}
