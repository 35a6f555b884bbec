//! Recorded baselines by the built program: made of a file and of live counters, shown, refused, and used by cutovers.

use std::{fmt::Write as _, fs, path::Path, process::Command, time::Duration};

use serde_json::Value;
use tidegate_tests::servers::{Process, built_binary};

use crate::daemon::{Daemon, SERVICE, Said, World, verb};

/// How long a program of ours may take to begin or to end; builds may run beside the tests.
const START_MAX: Duration = Duration::from_secs(20);

/// Monday, 2026-01-05T00:00:00Z, in seconds.
const MONDAY: u64 = 1_767_571_200;

/// Minutes of a week.
const WEEK: u64 = 7 * 1_440;

/// A file of so many minutes: requests by the hour of the day, one in a thousand failed, but for an outage of an hour.
fn minutes(file: &Path, count: u64, rate: impl Fn(u64) -> u64) {
    let mut text = "time,requests,4xx,5xx,le_10ms,le_50ms,le_inf\n".to_owned();
    for minute in 0..count {
        let requests = rate(minute % 1_440 / 60);
        let errors = if (2_000..2_060).contains(&minute) { requests / 2 } else { requests / 1_000 };
        let (fast, most) = (requests / 2, requests - requests / 50);
        let time = MONDAY + minute * 60;
        writeln!(text, "{time},{requests},5,{errors},{fast},{most},{requests}").expect("text takes what is written");
    }
    fs::write(file, text).expect("a new file");
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn import(from: &Path, service: &str, to: &Path, more: &[&str]) -> Said {
    let (from, to) = (text(from), text(to));
    verb(&[&["baseline", "import", &from, "--service", service, "--out", &to], more].concat(), &[])
}

/// Proves that a week of somebody else's counts becomes a baseline that says what it is, by hour of the week and without
/// its outage, and that a day of it says that it is thin.
#[test]
fn a_file_becomes_a_baseline() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (csv, week, day) =
        (folder.path().join("week.csv"), folder.path().join("week.json"), folder.path().join("day.json"));
    minutes(&csv, WEEK, |hour| 1_000 + 100 * hour);
    let said = import(&csv, "search", &week, &[]).expect(0);
    for words in
        ["of search, imported from", "each hour of the week", "60 min were left out", "by hour of the week in UTC"]
    {
        assert!(said.out.contains(words), "no `{words}` in\n{}", said.out);
    }
    let shown = verb(&["baseline", "show", &text(&week), "--json"], &[]).expect(0).json().remove(0);
    assert_eq!(
        (&shown["thin"], &shown["outage_minutes"], &shown["seconds"]),
        (&false.into(), &60.into(), &604_800.into())
    );
    let hours = shown["hours"].as_array().expect("hours");
    assert_eq!(hours.len(), 168);
    assert_eq!((&hours[30]["name"], &hours[30]["requests_a_minute"]), (&"Tue 06".into(), &1_600.0.into()));
    let hours: Vec<&str> = said.out.lines().filter(|line| line.starts_with("  Mon ")).collect();
    assert!(hours.len() == 3 && hours.iter().all(|line| line.chars().count() >= 30), "{hours:?}");
    let table = verb(&["baseline", "show", &text(&week), "--hours"], &[]).expect(0).out;
    assert!(table.lines().any(|line| line.starts_with("Sun 23") && line.contains("3300.0")), "{table}");

    minutes(&csv, 1_440, |_| 1_000);
    let thin = import(&csv, "search", &day, &[]).expect(0).out;
    assert!(thin.contains("thin: 24.0 h are on record, and a week has 168"), "{thin}");
}

/// Proves that what is no baseline, or no record, is refused with what is wrong, where, and what to do, and that nothing
/// is written for it.
#[test]
fn what_is_no_baseline_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (csv, out) = (folder.path().join("b.csv"), folder.path().join("b.json"));
    let refused = |said: Said, words: &[&str]| {
        assert!(said.code == Some(1) && said.out.is_empty(), "{said:?}");
        for word in words {
            assert!(said.err.contains(word), "no `{word}` in {said:?}");
        }
    };
    minutes(&csv, 90, |_| 1_000);
    let sound = fs::read_to_string(&csv).expect("it was written");
    let with = |text: &str| {
        fs::write(&csv, text).expect("a file of ours");
        import(&csv, "search", &out, &[])
    };
    let mut lines: Vec<&str> = sound.lines().collect();
    lines.remove(40);
    refused(with(&lines.join("\n")), &["b.csv:41: 60 s are missing before it", "hint: "]);
    refused(with(&sound.replace("5xx", "p99")), &["b.csv:1: unknown column `p99`", "`5xx` is missing"]);
    let service = sound.replacen("le_inf", "le_inf,service", 1).replace(",1000\n", ",1000,orders\n");
    refused(with(&service), &["b.csv:2: this row is of `orders`, and the baseline is to be of `search`"]);
    fs::write(&csv, &sound).expect("a file of ours");
    refused(import(&csv, "search", &out, &["--totals"]), &["b.csv:", "hint: "]);
    assert!(!out.exists(), "what is refused leaves nothing behind");

    import(&csv, "search", &out, &[]).expect(0);
    refused(import(&csv, "search", &out, &[]), &["is there already", "--force"]);
    import(&csv, "search", &out, &["--force"]).expect(0);
    let written = fs::read_to_string(&out).expect("it was written");
    let show = |text: &str| {
        fs::write(&out, text).expect("a file of ours");
        verb(&["baseline", "show", &self::text(&out)], &[])
    };
    refused(show(&written.replacen("search", "orders", 1)), &["b.json: the baseline was changed after it was written"]);
    refused(show(&written.replacen("\"layout\":1", "\"layout\":9", 1)), &["layout 9", "use the version that wrote it"]);
    refused(show(&sound), &["b.json:1: this is no baseline", "baseline import"]);
    refused(verb(&["baseline", "show", "/nowhere/b.json"], &[]), &["/nowhere/b.json", "No such file"]);
    refused(
        verb(
            &[
                "baseline",
                "record",
                "search",
                "--control",
                "unix:/nowhere/p.sock",
                "--for",
                "1s",
                "--out",
                &text(&csv),
                "--force",
            ],
            &[],
        ),
        &["cannot read the counters at unix:/nowhere/p.sock"],
    );
}

/// What a policy says of its baseline, in place of what every one here says.
fn policy(world: &World, baseline: &str) -> String {
    world.policy("").replace("record = \"3s\"", &format!("record = \"3s\"\n{baseline}"))
}

/// The check of preflight that compares with the baseline, from the journal.
fn drift(history: &[Value]) -> Option<Value> {
    history.iter().find_map(|entry| {
        let checks = entry["event"]["checks"].as_array()?;
        checks.iter().find(|check| check["name"] == "baseline drift" && check["outcome"] != "unknown").cloned()
    })
}

fn record(daemon: &Daemon, more: &[&str]) -> Said {
    daemon.say(&[&["baseline", "record", SERVICE, "--json"], more].concat())
}

/// Proves that live counters become a baseline, and that a cutover started with it records nothing, is judged by it, keeps
/// it, and says in preflight that the source is as it was.
#[test]
fn a_recorded_baseline_serves_a_cutover() {
    let mut world = World::new(&[], "");
    world.write_policy(&policy(&world, "intervals_min = 1"));
    let clients = world.clients();
    let daemon = world.daemon(&[]);
    let file = text(&world.path("shop.json"));
    let recorded = record(&daemon, &["--for", "6s", "--out", &file]).expect(0).json().remove(0);
    assert_eq!(
        (&recorded["thin"], &recorded["reads_apart"], &recorded["origin"]),
        (&true.into(), &true.into(), &"proxies".into())
    );
    assert!(recorded["requests"].as_u64() > Some(100) && recorded["errors"] == 0.0, "{recorded}");

    daemon.say(&["start", SERVICE, "--yes", "--wait", "--baseline", &file]).expect(0);
    for pool in clients {
        pool.stop();
    }
    let history = daemon.history();
    let kinds: Vec<&str> = history.iter().filter_map(|entry| entry["reason"]["kind"].as_str()).collect();
    assert!(kinds.contains(&"baseline_given") && !kinds.contains(&"baseline_recorded"), "{kinds:?}");
    let drift = drift(&history).expect("a check of drift");
    assert!(drift["outcome"] == "pass" || drift["outcome"] == "warn", "{drift}");
    assert!(drift["evidence"].as_str().is_some_and(|text| text.contains("requests a minute")), "{drift}");
    let given = &history.last().expect("entries")["next"]["given"];
    let digest = given["digest"].as_str().expect("a digest");
    assert_eq!(Some(digest), recorded["digest"].as_str());
    assert!(world.path(&format!("state/baselines/kept/{digest}.json")).exists(), "it is kept beside the journal");
    daemon.finish(&[]);
}

/// Proves that a policy finds its baseline by name, that one which no longer fits the source keeps a cutover in preflight
/// where the policy says so, and that one of another service is refused at the order.
#[test]
fn a_baseline_that_has_drifted_stops_where_the_policy_says_so() {
    let mut world = World::new(&[], "");
    let csv = world.path("minutes.csv");
    // Ten million requests a minute: whatever this machine does is less than half of that.
    minutes(&csv, WEEK, |_| 10_000_000);
    let named = world.path("state/baselines/usual.json");
    fs::create_dir_all(named.parent().expect("a folder")).expect("a new folder");
    import(&csv, "other", &named, &[]).expect(0);
    world.write_policy(&policy(&world, "use = \"usual\"\non_drift = \"refuse\""));
    let clients = world.clients();
    let daemon = world.daemon(&[]);
    let refused = daemon.say(&["start", SERVICE, "--yes"]).expect(1);
    assert!(refused.err.contains("`usual` is a record of `other`, and this is `shop`"), "{refused:?}");

    import(&csv, SERVICE, &named, &["--force"]).expect(0);
    daemon.say(&["start", SERVICE, "--yes"]).expect(0);
    let blocked = daemon.wait_until("drift", |detail| {
        let checks = detail["view"]["cutover"]["checks"].as_array().cloned().unwrap_or_default();
        checks.iter().any(|check| check["name"] == "baseline drift" && check["outcome"] == "fail")
    });
    assert_eq!(blocked["view"]["cutover"]["phase"]["phase"], "preflight", "{blocked}");
    let explained = daemon.say(&["explain", SERVICE]).expect(0).out;
    assert!(explained.contains("of the requests") && explained.contains("UTC of the baseline"), "{explained}");
    daemon.say(&["abort", SERVICE, "--yes"]).expect(0);
    for pool in clients {
        pool.stop();
    }
    daemon.finish(&[]);
}

/// Proves that who interrupts a recording keeps what there is of it, and that a proxy which goes away is named.
#[test]
fn an_interrupted_recording_is_kept() {
    let world = World::new(&[], "");
    let clients = world.clients();
    let control = format!("unix:{}", world.proxy.control.display());
    let out = world.path("cut.json");
    let mut command = Command::new(built_binary());
    command.args(["baseline", "record", SERVICE, "--control", &control, "--for", "1h", "--out", &text(&out)]);
    let mut recording = Process::start("recording", &world.path(""), command);
    recording.wait_for_line("recording shop from the proxy at", START_MAX);
    std::thread::sleep(Duration::from_secs(3));
    recording.signal("INT");
    let status = recording.wait(START_MAX);
    assert!(status.success(), "{status}:\n{}", recording.log());
    let shown = verb(&["baseline", "show", &text(&out), "--json"], &[]).expect(0).json().remove(0);
    assert!(shown["requests"].as_u64() > Some(50) && shown["seconds"].as_u64() >= Some(1), "{shown}");

    let file = text(&out);
    let arguments = ["baseline", "record", SERVICE, "--control", &control, "--for", "4s", "--out", &file, "--force"];
    let gone = std::thread::scope(|scope| {
        let gone = scope.spawn(|| verb(&arguments, &[]));
        std::thread::sleep(Duration::from_secs(2));
        world.proxy.process.signal("KILL");
        gone.join().expect("no panic").expect(1)
    });
    assert!(gone.err.contains("nothing of shop was recorded") && gone.err.contains("proxy.sock"), "{gone:?}");
    let kept = verb(&["baseline", "show", &text(&out), "--json"], &[]).expect(0).json().remove(0);
    assert_eq!(kept["digest"], shown["digest"], "what was there is not lost");
    for pool in clients {
        pool.stop();
    }
}

/// Proves that what a cutover counted before it shifted is a past that a baseline can be made of.
#[test]
fn what_the_daemon_still_knows_becomes_a_baseline() {
    let mut world = World::new(&[], "");
    world.write_policy(&world.policy("").replace("record = \"3s\"", "record = \"10m\""));
    let clients = world.clients();
    let daemon = world.daemon(&[]);
    let out = text(&world.path("past.json"));
    let nothing = record(&daemon, &["--last", "10m", "--out", &out]).expect(1);
    assert!(nothing.err.contains("knows nothing of the last 10 m"), "{nothing:?}");
    daemon.say(&["start", SERVICE, "--yes"]).expect(0);
    daemon.wait_until("recording", |detail| detail["view"]["cutover"]["evidence"]["recorded"].as_u64() >= Some(4_000));
    let recorded = record(&daemon, &["--last", "10m", "--out", &out]).expect(0).json().remove(0);
    assert_eq!((&recorded["origin"], &recorded["thin"]), (&"daemon".into(), &true.into()));
    assert!(recorded["seconds"].as_u64() >= Some(3) && recorded["requests"].as_u64() > Some(50), "{recorded}");
    daemon.say(&["abort", SERVICE, "--yes"]).expect(0);
    for pool in clients {
        pool.stop();
    }
    daemon.finish(&[]);
}
