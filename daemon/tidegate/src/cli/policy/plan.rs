//! `tidegate policy plan`: what a policy will do, for people and as JSON.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use cutover::plan::{self, Assumed, Sees, Step, Until};
use cutover::policy::{self, formats::period_text};

use super::check;
use crate::cli::{Context, Exit};
use crate::policy_files;

/// The arguments of `tidegate policy plan`.
#[derive(Debug, clap::Args)]
pub(super) struct Plan {
    /// The service's policy file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How many requests a second the service has, both sides together.
    #[arg(long, value_name = "RPS", default_value_t = plan::REQUESTS_PER_SECOND, value_parser = rate)]
    rate: f64,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of requests a second"))?;
    if rate > 0.0 && rate <= 1e9 {
        Ok(rate)
    } else {
        Err("use more than 0 and at most 1e9 requests a second".to_owned())
    }
}

impl Plan {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let loaded = policy_files::load(&self.file, &policy_files::environment())?;
        let Some(policy) = &loaded.policy else {
            if context.json {
                context.print_json(&serde_json::json!({"plan": null, "problems": loaded.problems}))?;
            } else {
                context.print(&check::report(&loaded))?;
                if loaded.is_sound() {
                    context.print("this is the layer that other policies share; name one of those\n")?;
                }
            }
            return Ok(Exit::Error);
        };
        let plan = plan::plan(policy, Assumed::usual(self.rate));
        if context.json {
            context.print_json(&serde_json::json!({"plan": plan, "problems": loaded.problems}))?;
        } else {
            context.print(&table(policy, &plan))?;
        }
        Ok(Exit::Done)
    }
}

/// The plan as a page of text.
pub(super) fn table(policy: &policy::Policy, plan: &plan::Plan) -> String {
    let assumed = &plan.assumed;
    if plan.steps.is_empty() {
        return format!(
            "{}: captures the source's traffic and moves nothing. `tidegate start` refuses it.\n",
            plan.service
        );
    }
    let mut text = format!(
        "{}: {} steps at {} requests a second\n\n",
        plan.service,
        plan.steps.len(),
        number(assumed.requests_per_second)
    );
    let mut rows = vec![
        ["step", "target's share", "target/s", "lasts about", "until", "sees errors", "sees slow", "outage"]
            .map(str::to_owned),
    ];
    for (index, step) in plan.steps.iter().enumerate() {
        rows.push(row(index, step, policy.shift.bake_max));
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    let baseline = brief(plan.baseline_seconds);
    let total = plan.expected_seconds.map_or_else(
        || {
            let then = match policy.unknown.on_timeout {
                policy::OnTimeout::Hold => "the cutover holds and calls a human",
                policy::OnTimeout::StepBack => "the cutover steps back to the last good step",
                policy::OnTimeout::Revert => "the cutover reverts",
            };
            let bake_max = period_text(policy.shift.bake_max);
            format!("a step does not end by evidence at this traffic: after {bake_max} {then}")
        },
        |seconds| format!("about {}", brief(seconds)),
    );
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\nbefore      the source is recorded for {baseline}\n\
         after       the source must be silent for {}\n\
         in all      {total}; at least {}\n",
        brief(plan.quiet_seconds),
        brief(plan.least_seconds),
    );
    for wait in &plan.waits {
        let _ = writeln!(text, "waits       {wait}");
    }
    let _ = write!(
        text,
        "sees        errors: from this share of the target's answers on it is expected to revert within the step, where {} of the\n            \
         source's fail; slow: the same for answers slower than the source's slowest 1 %; outage: when a tripwire fires\n\
         assumed     {} of the requests are writes, {} of the answers fail, {} are not 2XX or 3XX, no bursts of trouble\n",
        percent(assumed.errors),
        percent(assumed.writes),
        percent(assumed.errors),
        percent(assumed.not_ok),
    );
    text
}

fn row(index: usize, step: &Step, bake_max: Duration) -> [String; 8] {
    let lasts = step.seconds.map_or_else(|| format!("over {}", period_text(bake_max)), brief);
    let until = match step.until {
        Until::BakeMin => "the least bake",
        Until::Requests => "enough requests",
        Until::Errors => "proof on errors",
        Until::Success => "proof on success",
        Until::Latency => "proof on latency",
        Until::Timeout => "timeout: no proof",
        Until::Drain => "the source is silent",
    };
    let Sees { errors, slow, outage_seconds } = step.sees;
    let seen = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), percent);
    let gated = if step.gates.is_empty() { String::new() } else { format!(" (gate {})", step.gates.join(", ")) };
    [
        (index + 1).to_string(),
        format!("{}{gated}", step.share),
        number(step.target_per_second),
        lasts,
        until.to_owned(),
        seen(errors),
        seen(slow),
        outage_seconds.map_or_else(|| "-".to_owned(), brief),
    ]
}

/// A share in percent with two figures that matter.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 9.95 {
        format!("{percent:.0} %")
    } else if percent >= 0.995 {
        format!("{percent:.1} %").replace(".0 %", " %")
    } else {
        format!("{percent:.2} %").replace(".00 %", " %").replace("0 %", " %")
    }
}

/// A number with one decimal where that matters.
fn number(number: f64) -> String {
    if number >= 10.0 || number.fract() == 0.0 { format!("{number:.0}") } else { format!("{number:.1}") }
}

/// A length of time with two units at most: seconds do not matter beside hours.
fn brief(seconds: f64) -> String {
    let seconds = if seconds < 10.0 { (seconds * 10.0).round() / 10.0 } else { seconds.round() };
    let grain = match seconds {
        seconds if seconds >= 172_800.0 => 3600.0,
        seconds if seconds >= 7200.0 => 60.0,
        _ => 0.1,
    };
    let rounded = (seconds / grain).round() * grain;
    period_text(Duration::from_millis((rounded * 1000.0).round() as u64))
}

#[cfg(test)]
#[expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::cli::policy::sample::sample;

    fn check(name: &str, rate: f64, expected: &Expect) {
        let policy = policy::read(sample(name).unwrap(), &format!("{name}.toml")).unwrap();
        expected.assert_eq(&table(&policy, &plan::plan(&policy, Assumed::usual(rate))));
    }

    #[test]
    fn the_plan_of_cautious() {
        // Proves: the example for the service that pays the bills takes hours and waits for people.
        check(
            "cautious",
            100.0,
            &expect![[r#"
            orders-search: 11 steps at 100 requests a second

            step  target's share                              target/s  lasts about  until                 sees errors  sees slow  outage
            1     reads 0.5 %, writes 0 %                     0.4       1h25m20s     enough requests       0.55 %       2 %        3m10s
            2     reads 1 %, writes 0 %                       0.8       43m40s       enough requests       0.63 %       2.2 %      25s
            3     reads 2 %, writes 0 %                       1.6       22m50s       enough requests       0.63 %       2.2 %      13s
            4     reads 5 %, writes 0 %                       4         17m          the least bake        0.49 %       1.9 %      6s
            5     reads 10 %, writes 0 %                      8         17m          the least bake        0.37 %       1.6 %      6s
            6     reads 20 %, writes 0 %                      16        17m          the least bake        0.3 %        1.5 %      6s
            7     reads 35 %, writes 0 %                      28        17m          the least bake        0.27 %       1.4 %      700ms
            8     reads 50 %, writes 0 % (gate change-board)  40        17m          the least bake        0.27 %       1.4 %      500ms
            9     reads 75 %, writes 0 %                      60        17m          the least bake        0.31 %       1.5 %      500ms
            10    reads 95 %, writes 0 %                      76        17m          the least bake        0.64 %       2 %        500ms
            11    100 % (gate backfill, replay)               100       1h           the source is silent  -            -          500ms

            before      the source is recorded for 1h
            after       the source must be silent for 1h
            in all      about 6h31m; at least 4h50m
            waits       a step begins only in the change windows: 28.0 hours a week (Europe/Berlin)
            waits       gate `backfill` is asked once and may take 1h each time
            waits       gate `change-board` is asked once and may take 1d each time
            waits       gate `replay` is asked once and may take 2h each time
            sees        errors: from this share of the target's answers on it is expected to revert within the step, where 0.1 % of the
                        source's fail; slow: the same for answers slower than the source's slowest 1 %; outage: when a tripwire fires
            assumed     20 % of the requests are writes, 0.1 % of the answers fail, 2 % are not 2XX or 3XX, no bursts of trouble
        "#]],
        );
    }

    #[test]
    fn the_plan_of_fast() {
        // Proves: with much traffic the policy's own patience decides.
        check(
            "fast",
            5000.0,
            &expect![[r#"
            catalog-search: 7 steps at 5000 requests a second

            step  target's share          target/s  lasts about  until                 sees errors  sees slow  outage
            1     reads 1 %, writes 0 %   40        2m15s        the least bake        0.35 %       1.6 %      500ms
            2     reads 3 %, writes 0 %   120       2m15s        the least bake        0.26 %       1.4 %      500ms
            3     reads 9 %, writes 0 %   360       2m15s        the least bake        0.2 %        1.2 %      500ms
            4     reads 27 %, writes 0 %  1080      2m15s        the least bake        0.17 %       1.2 %      500ms
            5     reads 81 %, writes 0 %  3240      2m15s        the least bake        0.18 %       1.2 %      500ms
            6     reads 95 %, writes 0 %  3800      2m15s        the least bake        0.25 %       1.3 %      500ms
            7     100 %                   5000      5m           the source is silent  -            -          500ms

            before      the source is recorded for 5m
            after       the source must be silent for 5m
            in all      about 23m30s; at least 23m30s
            sees        errors: from this share of the target's answers on it is expected to revert within the step, where 0.1 % of the
                        source's fail; slow: the same for answers slower than the source's slowest 1 %; outage: when a tripwire fires
            assumed     20 % of the requests are writes, 0.1 % of the answers fail, 2 % are not 2XX or 3XX, no bursts of trouble
        "#]],
        );
    }

    #[test]
    fn the_plan_of_write_heavy() {
        // Proves: writes that are split alike are compared, so all traffic is evidence.
        check(
            "write-heavy",
            1000.0,
            &expect![[r#"
            logs-ingest: 6 steps at 1000 requests a second

            step  target's share                     target/s  lasts about  until                 sees errors  sees slow  outage
            1     1 % (gate disk-is-large-enough)    10        10m30s       the least bake        0.33 %       1.5 %      6s
            2     5 % (gate disk-is-large-enough)    50        10m30s       the least bake        0.22 %       1.3 %      500ms
            3     25 % (gate disk-is-large-enough)   250       10m30s       the least bake        0.17 %       1.2 %      500ms
            4     50 % (gate disk-is-large-enough)   500       10m30s       the least bake        0.16 %       1.2 %      500ms
            5     95 % (gate disk-is-large-enough)   950       10m30s       the least bake        0.23 %       1.3 %      500ms
            6     100 % (gate disk-is-large-enough)  1000      10m          the source is silent  -            -          500ms

            before      the source is recorded for 10m
            after       the source must be silent for 10m
            in all      about 1h12m30s; at least 1h12m30s
            waits       gate `disk-is-large-enough` is asked 6 times and may take 15m each time
            sees        errors: from this share of the target's answers on it is expected to revert within the step, where 0.1 % of the
                        source's fail; slow: the same for answers slower than the source's slowest 1 %; outage: when a tripwire fires
            assumed     20 % of the requests are writes, 0.1 % of the answers fail, 2 % are not 2XX or 3XX, no bursts of trouble
        "#]],
        );
    }

    #[test]
    fn the_plan_of_low_traffic() {
        // Proves: with a few requests a second the evidence decides, and small regressions are not promised.
        check(
            "low-traffic",
            5.0,
            &expect![[r#"
            intranet-search: 4 steps at 5 requests a second

            step  target's share          target/s  lasts about  until                 sees errors  sees slow  outage
            1     reads 10 %, writes 0 %  0.4       30m30s       the least bake        0.97 %       2.8 %      30s
            2     reads 50 %, writes 0 %  2         30m30s       the least bake        0.69 %       2.2 %      30s
            3     reads 95 %, writes 0 %  3.8       37m52s       proof on latency      2.4 %        4.3 %      30s
            4     100 %                   5         1d2h         the source is silent  -            -          30s

            before      the source is recorded for 2h
            after       the source must be silent for 1d2h
            in all      about 1d5h39m; at least 1d5h32m
            sees        errors: from this share of the target's answers on it is expected to revert within the step, where 0.1 % of the
                        source's fail; slow: the same for answers slower than the source's slowest 1 %; outage: when a tripwire fires
            assumed     20 % of the requests are writes, 0.1 % of the answers fail, 2 % are not 2XX or 3XX, no bursts of trouble
        "#]],
        );
    }

    #[test]
    fn the_plan_of_capture_only() {
        // Proves: a policy without steps is said to move nothing.
        check(
            "capture-only",
            100.0,
            &expect![[r#"
            orders-search: captures the source's traffic and moves nothing. `tidegate start` refuses it.
        "#]],
        );
    }

    #[test]
    fn thin_traffic_is_told_to_time_out() {
        // Proves: what cannot be shown before `bake_max` is not promised to end.
        let policy = policy::read(sample("cautious").unwrap(), "cautious.toml").unwrap();
        let plan = plan::plan(&policy, Assumed::usual(0.01));
        assert_eq!(plan.expected_seconds, None);
        assert!(plan.steps[0].until == Until::Timeout && table(&policy, &plan).contains("does not end by evidence"));
    }
}
