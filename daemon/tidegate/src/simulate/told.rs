//! What a simulation came to, in words: the report that is printed, and its numbers for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::study::{Faulty, Healthy, Portion, Spread, Study};
use crate::screen::format::{self, count, duration};

/// A fault counts as seen when at least this share of its cutovers is reverted.
const SEEN: f64 = 0.95;
/// It counts as getting by when more than this share goes through.
const GETS_BY: f64 = 0.05;

/// The baseline that was simulated, as it is told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BaselineTold {
    /// Its file.
    pub file: String,
    /// Its service.
    pub service: String,
    /// How long the record is, in seconds.
    pub seconds: f64,
    /// Whether it has a normal for each hour of the week.
    pub by_hour: bool,
    /// Requests a second, both sides together, in the mean hour.
    pub requests_per_second: f64,
    /// The same in the quietest hour.
    pub requests_per_second_min: f64,
    /// The same in the busiest hour.
    pub requests_per_second_max: f64,
    /// Share of requests that end in a server error.
    pub errors: f64,
}

/// One policy and what it came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyTold {
    /// Its file.
    pub file: String,
    /// The chance of a false revert that it allows.
    pub false_revert_max: f64,
    /// What it came to.
    #[serde(flatten)]
    pub study: Study,
}

/// A whole simulation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What was simulated.
    pub baseline: BaselineTold,
    /// Cutovers with a healthy target, for each policy.
    pub cutovers: u32,
    /// Cutovers with each fault, for each policy.
    pub cutovers_per_fault: u32,
    /// What all chance came from.
    pub seed: u64,
    /// What to know before the numbers are believed.
    pub warnings: Vec<String>,
    /// One policy, or two that are compared.
    pub policies: Vec<PolicyTold>,
}

impl Report {
    /// The report as a page of text.
    pub fn text(&self) -> String {
        let mut text = self.head();
        match self.policies.as_slice() {
            [one] => {
                text.push_str(&healthy(one, self.cutovers));
                text.push_str(&faults(&one.study.faults, self.cutovers_per_fault));
            }
            several => text.push_str(&compared(several)),
        }
        text
    }

    /// What was simulated, and on what.
    fn head(&self) -> String {
        let baseline = &self.baseline;
        let files: Vec<&str> = self.policies.iter().map(|policy| policy.file.as_str()).collect();
        let mut text = format!(
            "{}: {} cutovers by {}, seed {}\n\
             the service, as `{}` recorded it for {}: {} requests a second{}, {} of them fail\n",
            baseline.service,
            count(self.cutovers.into()),
            files.join(", and the same by "),
            self.seed,
            baseline.file,
            duration(whole(baseline.seconds)),
            rate(baseline.requests_per_second),
            if baseline.by_hour {
                let (least, most) = (baseline.requests_per_second_min, baseline.requests_per_second_max);
                format!(" ({} to {} by the hour of the week)", rate(least), rate(most))
            } else {
                String::new()
            },
            share(baseline.errors),
        );
        for warning in &self.warnings {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "mind: {warning}");
        }
        text
    }
}

/// What becomes of a healthy target.
fn healthy(policy: &PolicyTold, cutovers: u32) -> String {
    let healthy = &policy.study.healthy;
    let mut text = format!("\na healthy target ({} cutovers)\n", count(cutovers.into()));
    let mut line = |what: &str, how: &str| {
        let _ = writeln!(text, "  {what:<20}  {how}");
    };
    line("goes through", &portion(healthy.done));
    line("takes", &lasting(healthy.seconds));
    if let Some(waiting) = healthy.waiting_seconds.filter(|waiting| waiting.p90 > 0.0) {
        line("of that waiting", &format!("{} for change windows", lasting(Some(waiting))));
    }
    line("is reverted wrongly", &false_reverts(healthy, policy.false_revert_max));
    if let Some(example) = &healthy.revert_example {
        line("", &format!("by {}; the first: {example}", by(&healthy.reverted_by)));
    }
    line("stops for a person", &portion(healthy.held));
    if let Some(example) = &healthy.held_example {
        line("", &format!("the first: {example}"));
    }
    for (what, portion_of) in [("is taken back late", healthy.gave_up), ("is never over", healthy.unfinished)] {
        if portion_of.count > 0 {
            line(what, &portion(portion_of));
        }
    }
    text.push('\n');
    let mut rows = vec![["step", "target's share", "lasts", "1 in 10 longer than", "stops here"].map(str::to_owned)];
    for (index, step) in healthy.steps.iter().enumerate() {
        let told = |of: fn(Spread) -> f64| step.seconds.map_or_else(dash, |seconds| long(of(seconds)));
        rows.push([
            (index + 1).to_string(),
            step.share.clone(),
            told(|seconds| seconds.median),
            told(|seconds| seconds.p90),
            if step.held == 0 { dash() } else { count(step.held) },
        ]);
    }
    text + &table(&rows)
}

/// What became of one fault, in the order of the tables: how often it is reverted, stops and goes through; after how long,
/// usually and at most times; at which share; how many bad answers, usually and at most times; and what saw it.
pub(super) fn cells(fault: &Faulty) -> [String; 9] {
    let after = |of: fn(Spread) -> f64| fault.seconds.map_or_else(dash, |seconds| long(of(seconds)));
    let bad = |of: fn(Spread) -> f64| fault.bad_answers.map_or_else(dash, |bad| count(of(bad) as u64));
    [
        between(fault.detected),
        plain(fault.stopped),
        plain(fault.missed),
        after(|seconds| seconds.median),
        after(|seconds| seconds.p90),
        fault.share_at_revert.map_or_else(dash, |at| share(at.median / 1_000.0)),
        bad(|bad| bad.median),
        bad(|bad| bad.p90),
        by(&fault.reverted_by),
    ]
}

/// What becomes of targets that are worse.
fn faults(faults: &[Faulty], cutovers: u32) -> String {
    if faults.is_empty() {
        return String::new();
    }
    let mut text = format!("\na target that is worse ({} cutovers with each fault)\n", count(cutovers.into()));
    let mut rows = vec![
        [
            "fault",
            "is reverted",
            "stops",
            "goes through",
            "after",
            "1 in 10 later than",
            "at share",
            "bad answers",
            "1 in 10 more than",
            "seen by",
        ]
        .map(str::to_owned),
    ];
    for fault in faults {
        let [detected, stopped, missed, after, after_p90, at, bad, bad_p90, by] = cells(fault);
        let name = fault.fault.to_string();
        rows.push([name, detected, stopped, missed, after, after_p90, at, bad, bad_p90, by]);
    }
    text.push_str(&table(&rows));
    text.push('\n');
    let named = |is: &dyn Fn(&Faulty) -> bool| {
        let names: Vec<String> =
            faults.iter().filter(|fault| fault.met > 0 && is(fault)).map(|fault| fault.fault.to_string()).collect();
        if names.is_empty() { "none of these".to_owned() } else { names.join(", ") }
    };
    let seen = named(&|fault| fault.detected.share >= Some(SEEN));
    let missed = named(&|fault| fault.missed.share > Some(GETS_BY));
    let _ = writeln!(text, "  sees          {seen} (taken back at least 19 times of 20)");
    let _ = writeln!(text, "  lets through  {missed} (more often than 1 time of 20)");
    for fault in faults.iter().filter(|fault| fault.met < u64::from(cutovers)) {
        let met = count(fault.met);
        let _ = writeln!(
            text,
            "  {} came in {met} of {} cutovers; the others ended before it",
            fault.fault,
            count(cutovers.into())
        );
    }
    text.push_str(
        "  after: from the first request that had the fault to the decision; bad answers: until the original was back or the\n  \
         cutover ended; for latency every slower answer is one. Each cutover takes the baseline along, as `start --baseline`\n  \
         does; gates say yes at once; writes that come last are left out.\n",
    );
    text
}

/// Two or more policies beside each other.
fn compared(policies: &[PolicyTold]) -> String {
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(policies.iter().map(|policy| policy.file.clone()));
    let mut row = |what: String, of: &dyn Fn(&PolicyTold) -> String| {
        let mut row = vec![what];
        row.extend(policies.iter().map(of));
        rows.push(row);
    };
    row("a healthy target".to_owned(), &|_| String::new());
    row("  goes through".to_owned(), &|policy| portion(policy.study.healthy.done));
    row("  takes".to_owned(), &|policy| policy.study.healthy.seconds.map_or_else(dash, |s| long(s.median)));
    row("  1 in 10 takes more than".to_owned(), &|policy| {
        policy.study.healthy.seconds.map_or_else(dash, |seconds| long(seconds.p90))
    });
    row("  is reverted wrongly".to_owned(), &|policy| portion(policy.study.healthy.false_reverts));
    row("  95 % sure of".to_owned(), &|policy| {
        let portion = policy.study.healthy.false_reverts;
        format!("{} to {}", share(portion.low), share(portion.high))
    });
    row("  the policy allows".to_owned(), &|policy| share(policy.false_revert_max));
    row("  stops for a person".to_owned(), &|policy| portion(policy.study.healthy.held));
    let count_of_faults = policies.first().map_or(0, |policy| policy.study.faults.len());
    for index in 0..count_of_faults {
        let fault = |policy: &PolicyTold| policy.study.faults[index].clone();
        row(policies[0].study.faults[index].fault.to_string(), &|_| String::new());
        row("  is reverted".to_owned(), &|policy| between(fault(policy).detected));
        row("  after".to_owned(), &|policy| fault(policy).seconds.map_or_else(dash, |seconds| long(seconds.median)));
        row("  goes through".to_owned(), &|policy| plain(fault(policy).missed));
        row("  bad answers".to_owned(), &|policy| {
            fault(policy).bad_answers.map_or_else(dash, |bad| count(bad.median as u64))
        });
    }
    format!("\n{}", aligned(&rows))
}

/// `2 of 1,000 (0.2 %; 95 % sure of at most 0.73 %; the policy allows 5 %)`.
fn false_reverts(healthy: &Healthy, allowed: f64) -> String {
    let portion = healthy.false_reverts;
    format!(
        "{} of {} ({}; 95 % sure of {} to {}; the policy allows {})",
        count(portion.count),
        count(portion.of),
        plain(portion),
        share(portion.low),
        share(portion.high),
        share(allowed)
    )
}

/// `998 of 1,000 (99.8 %)`.
fn portion(portion: Portion) -> String {
    format!("{} of {} ({})", count(portion.count), count(portion.of), plain(portion))
}

/// `99.8 %`, or `-` of none.
pub(super) fn plain(portion: Portion) -> String {
    portion.share.map_or_else(dash, percent)
}

/// `97 % (92-99)`: the share, and between what it lies with 95 % confidence.
pub(super) fn between(portion: Portion) -> String {
    match portion.share {
        None => dash(),
        Some(_) => format!("{} ({:.0}-{:.0})", plain(portion), portion.low * 100.0, portion.high * 100.0),
    }
}

/// A share in percent with one decimal where that says something.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if (percent - percent.round()).abs() < 0.05 { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}

/// A share of requests in percent, as exact as small shares need, without zeros at the end.
pub(super) fn share(share: f64) -> String {
    let text = format::share(share);
    match text.strip_suffix(" %") {
        Some(number) if number.contains('.') => {
            format!("{} %", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// `4 h 53 m; 1 in 10 less than 4 h 50 m, 1 in 10 more than 5 h 10 m`.
fn lasting(seconds: Option<Spread>) -> String {
    seconds.map_or_else(dash, |seconds| {
        let (least, most) = (long(seconds.p10), long(seconds.p90));
        let median = long(seconds.median);
        if least == most { median } else { format!("{median}; 1 in 10 less than {least}, 1 in 10 more than {most}") }
    })
}

/// A length of time, without fractions from ten seconds on.
pub(super) fn long(seconds: f64) -> String {
    duration(if seconds < 10.0 { Duration::from_millis((seconds * 1_000.0).round() as u64) } else { whole(seconds) })
}

fn whole(seconds: f64) -> Duration {
    Duration::from_secs(seconds.round() as u64)
}

fn rate(per_second: f64) -> String {
    if per_second >= 10.0 { count(per_second.round() as u64) } else { format!("{per_second:.1}") }
}

/// What decided, the most frequent first.
pub(super) fn by(counts: &std::collections::BTreeMap<&'static str, u64>) -> String {
    let mut names: Vec<(&&str, &u64)> = counts.iter().collect();
    names.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    if names.is_empty() { dash() } else { names.iter().map(|(name, _)| **name).collect::<Vec<_>>().join(", ") }
}

pub(super) fn dash() -> String {
    "-".to_owned()
}

/// Rows of equal length as a table with two spaces before and between.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.to_vec()).collect();
    aligned(&rows).lines().fold(String::new(), |text, line| text + "  " + line + "\n")
}

/// Rows of equal length with aligned columns.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter().fold(String::new(), |text, row| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text + cells.join("  ").trim_end() + "\n"
    })
}

#[cfg(test)]
#[expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect;

    use super::super::study::{StepTold, portion as of};
    use super::*;

    fn spread(p10: f64, median: f64, p90: f64) -> Spread {
        Spread { p10, median, p90 }
    }

    fn told(file: &str, missed: usize) -> PolicyTold {
        let fault = |text: &str, detected: usize, missed: usize, met: usize| Faulty {
            fault: text.parse().expect("the fault is sound"),
            words: String::new(),
            met: met as u64,
            detected: of(detected, met),
            stopped: of(met - detected - missed, met),
            missed: of(missed, met),
            seconds: (detected > 0).then(|| spread(70.0, 95.4, 2_460.0)),
            share_at_revert: (detected > 0).then(|| spread(10.0, 50.0, 200.0)),
            bad_answers: Some(spread(1.0, 12_345.0, 20_000.0)),
            reverted_by: BTreeMap::from([("errors", detected as u64), ("tripwire", 1)]),
            delays: Vec::new(),
        };
        let healthy = Healthy {
            done: of(990, 1_000),
            false_reverts: of(2, 1_000),
            gave_up: of(0, 1_000),
            held: of(8, 1_000),
            unfinished: of(0, 1_000),
            reverted_by: BTreeMap::from([("latency", 2)]),
            revert_example: Some("its answers were slower".to_owned()),
            held_example: Some("this step has baked for 7200 s and its evidence does not suffice".to_owned()),
            seconds: Some(spread(2_900.0, 3_000.0, 90_000.0)),
            waiting_seconds: Some(spread(0.0, 0.0, 61_200.0)),
            steps: vec![StepTold {
                share: "reads 5 %, writes 0 %".to_owned(),
                passed: 998,
                held: 8,
                seconds: Some(spread(340.0, 340.0, 400.0)),
            }],
            durations: Vec::new(),
        };
        let faults = vec![fault("errors:2%", 100 - missed, missed, 100), fault("latency:x1.5@50%", 97, 0, 98)];
        PolicyTold { file: file.to_owned(), false_revert_max: 0.05, study: Study { healthy, faults } }
    }

    fn report(policies: Vec<PolicyTold>) -> Report {
        let baseline = BaselineTold {
            file: "search.json".to_owned(),
            service: "search".to_owned(),
            seconds: 604_800.0,
            by_hour: true,
            requests_per_second: 120.4,
            requests_per_second_min: 3.25,
            requests_per_second_max: 300.0,
            errors: 0.001,
        };
        Report { baseline, cutovers: 1_000, cutovers_per_fault: 100, seed: 1, warnings: Vec::new(), policies }
    }

    /// Proves what an operator reads of one policy.
    #[test]
    fn one_policy_is_told_in_words() {
        let mut report = report(vec![told("a.toml", 7)]);
        report.warnings.push("the baseline is thin".to_owned());
        expect![[r#"
            search: 1,000 cutovers by a.toml, seed 1
            the service, as `search.json` recorded it for 7 d 00 h: 120 requests a second (3.2 to 300 by the hour of the week), 0.1 % of them fail
            mind: the baseline is thin

            a healthy target (1,000 cutovers)
              goes through          990 of 1,000 (99 %)
              takes                 50 m 00 s; 1 in 10 less than 48 m 20 s, 1 in 10 more than 1 d 01 h
              of that waiting       0 s; 1 in 10 less than 0 s, 1 in 10 more than 17 h 00 m for change windows
              is reverted wrongly   2 of 1,000 (0.2 %; 95 % sure of 0.055 % to 0.73 %; the policy allows 5 %)
                                    by latency; the first: its answers were slower
              stops for a person    8 of 1,000 (0.8 %)
                                    the first: this step has baked for 7200 s and its evidence does not suffice

              step  target's share         lasts     1 in 10 longer than  stops here
              1     reads 5 %, writes 0 %  5 m 40 s  6 m 40 s             8

            a target that is worse (100 cutovers with each fault)
              fault             is reverted    stops  goes through  after     1 in 10 later than  at share  bad answers  1 in 10 more than  seen by
              errors:2%         93 % (86-97)   0 %    7 %           1 m 35 s  41 m 00 s           5 %       12,345       20,000             errors, tripwire
              latency:x1.5@50%  99 % (94-100)  1 %    0 %           1 m 35 s  41 m 00 s           5 %       12,345       20,000             errors, tripwire

              sees          latency:x1.5@50% (taken back at least 19 times of 20)
              lets through  errors:2% (more often than 1 time of 20)
              latency:x1.5@50% came in 98 of 100 cutovers; the others ended before it
              after: from the first request that had the fault to the decision; bad answers: until the original was back or the
              cutover ended; for latency every slower answer is one. Each cutover takes the baseline along, as `start --baseline`
              does; gates say yes at once; writes that come last are left out.
        "#]].assert_eq(&report.text());
    }

    /// Proves that two policies stand beside each other, row by row.
    #[test]
    fn two_policies_are_told_beside_each_other() {
        expect![[r#"
            search: 1,000 cutovers by a.toml, and the same by policies/b.toml, seed 1
            the service, as `search.json` recorded it for 7 d 00 h: 120 requests a second (3.2 to 300 by the hour of the week), 0.1 % of them fail

                                       a.toml               policies/b.toml
            a healthy target
              goes through             990 of 1,000 (99 %)  990 of 1,000 (99 %)
              takes                    50 m 00 s            50 m 00 s
              1 in 10 takes more than  1 d 01 h             1 d 01 h
              is reverted wrongly      2 of 1,000 (0.2 %)   2 of 1,000 (0.2 %)
              95 % sure of             0.055 % to 0.73 %    0.055 % to 0.73 %
              the policy allows        5 %                  5 %
              stops for a person       8 of 1,000 (0.8 %)   8 of 1,000 (0.8 %)
            errors:2%
              is reverted              93 % (86-97)         100 % (96-100)
              after                    1 m 35 s             1 m 35 s
              goes through             7 %                  0 %
              bad answers              12,345               12,345
            latency:x1.5@50%
              is reverted              99 % (94-100)        99 % (94-100)
              after                    1 m 35 s             1 m 35 s
              goes through             0 %                  0 %
              bad answers              12,345               12,345
        "#]].assert_eq(&report(vec![told("a.toml", 7), told("policies/b.toml", 0)]).text());
    }

    /// Proves that the page holds what the text holds, and nothing that a browser would run or fetch.
    #[test]
    fn the_page_stands_alone() {
        let mut one = told("<b>.toml", 7);
        one.study.healthy.durations = vec![2_900.0, 3_000.0];
        one.study.faults[0].delays = vec![70.0, 95.0];
        let page =
            super::super::page::html(&report(vec![one, told("b.toml", 0)]), "0.1.0").expect("the template is sound");
        for said in ["&lt;b&gt;.toml", "99 %", "errors:2%", "12,345", "1 m 35 s", "<svg role=\"img\"", "<figcaption>"] {
            assert!(page.contains(said), "the page lacks `{said}`");
        }
        for never in ["<script", "http-equiv=\"refresh\"", "src=", "<link", "@import", "class=\"missing\""] {
            assert!(!page.contains(never), "the page has `{never}`");
        }
    }
}
