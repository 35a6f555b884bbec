//! Two built daemons with state directories of their own, as on two machines, and one listener: who drives it, who waits, and
//! what is written by one that lost it. And what is said of the lease before anything begins.

use std::process::Command;
use std::time::Duration;

use lab::faults::FaultName;
use lab::model::REGION;
use lab::wire::params::Params;
use serde_json::{Value, json};
use tidegate_tests::servers::{Process, built_binary};

use crate::cloud::{SERVICE, Setup, World};
use crate::program::{discovered, tidegate};
use crate::rights;
use crate::support::Stand;

/// The table.
const TABLE: &str = "tidegate-leases";

/// How many times as fast as real time.
const SPEED: u32 = 20;

/// How long a lease lasts, as the policies say it.
const EXPIRY: Duration = Duration::from_mins(4);

/// How long anything may take, in real time.
const WAIT_MAX: Duration = Duration::from_mins(3);

/// Makes the table as the operator is told to.
fn make_table(lab: &lab::Lab, key: &str) {
    let table = json!({
        "TableName": TABLE, "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
    });
    let made = lab.shared().change(|model, now| {
        lab::dynamodb::write(model, now, "CreateTable", Params(&table)).expect("the lab has this operation")
    });
    made.expect("there is none yet");
}

/// A world with a table, and policies that hold the lease in it.
fn world(leased: bool) -> World {
    let minutes = EXPIRY.as_secs() / 60;
    let lease = format!("[lease]\ntable = \"{TABLE}\"\nexpiry = \"{minutes}m\"\n");
    let more = if leased { lease } else { String::new() };
    let world = World::new(&Setup { speed: SPEED, more, ..Setup::default() });
    make_table(world.lab(), "listener");
    world
}

/// One of the daemons.
struct Daemon<'a> {
    world: &'a World,
    name: &'static str,
    process: Process,
}

impl<'a> Daemon<'a> {
    fn start(world: &'a World, name: &'static str) -> Self {
        let mut command = Command::new(built_binary());
        command.args(["run", "--clock-speed", &SPEED.to_string(), "--log", "human", "--state"]);
        command.arg(world.path(&format!("state-{name}"))).arg("--policies").arg(world.path("policies"));
        command.args(["--control", &format!("unix:{}", world.path(&format!("{name}.sock")).display())]);
        world.aws(&mut command);
        let mut process = Process::start(name, &world.path(""), command);
        process.wait_for_line("ready", WAIT_MAX);
        Self { world, name, process }
    }

    fn say(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(built_binary());
        let socket = self.world.path(&format!("{}.sock", self.name));
        command.args(arguments).env("TIDEGATE_API", format!("unix:{}", socket.display()));
        let output = command.output().expect("the program can be run");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it is text")
    }

    fn begin(&self) {
        self.say(&["start", SERVICE, "--yes"]);
    }

    fn wait(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) {
        let (world, name) = (self.world, self.name);
        self.process.wait_until(what, WAIT_MAX, |_| {
            let socket = world.path(&format!("{name}.sock"));
            let mut command = Command::new(built_binary());
            command.args(["--json", "status", SERVICE]).env("TIDEGATE_API", format!("unix:{}", socket.display()));
            let output = command.output().expect("the program can be run");
            let status: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
            is_so(&status["view"]["cutover"])
        });
    }

    fn wait_for(&mut self, phase: &str, share: Option<u16>) {
        self.wait(&format!("{} is in `{phase}` with {share:?}", self.name), |cutover| {
            cutover["phase"]["phase"] == phase && share.is_none_or(|share| cutover["desired"]["reads"] == share)
        });
    }
}

/// Whether something that a cutover waits for has these words.
fn waits_for(cutover: &Value, words: &str) -> bool {
    let blockers = cutover["blockers"].as_array().into_iter().flatten();
    blockers.filter_map(|blocker| blocker["text"].as_str()).any(|text| text.contains(words))
}

/// The owner in the table, and until when it is its.
fn held(world: &World) -> Option<(String, i64)> {
    world.lab().shared().read(|model| {
        let item = model.tables[TABLE].items.values().next()?;
        let text = |name: &str, kind: &str| item[name][kind].as_str().expect("it is written whole").to_owned();
        Some((text("owner", "S"), text("expires", "N").parse().expect("it is a number")))
    })
}

/// How often the listener was written.
fn writes(world: &World) -> u64 {
    let counts = world.lab().shared().history.counts();
    counts.get("elasticloadbalancing:ModifyListener").copied().unwrap_or_default()
}

/// Proves that of two daemons the one that holds the lease drives, that the other says who that is and begins nothing, and
/// that it takes over from one that was killed when its lease has run out and not before; by calls that `aws iam` lists.
#[test]
fn of_two_daemons_one_drives_and_the_other_follows_when_its_lease_has_run_out() {
    let world = world(true);
    let clients = world.clients();
    let mut first = Daemon::start(&world, "first");
    first.begin();
    first.wait_for("baseline", None);
    let told = first.say(&["status", SERVICE]);
    assert!(told.contains("lease: this daemon holds it since"), "{told}");
    let (owner, _) = held(&world).expect("it is held");

    let mut second = Daemon::start(&world, "second");
    second.begin();
    second.wait("the second waits for the lease", |cutover| waits_for(cutover, "check `lease` fails"));
    let told = second.say(&["status", SERVICE]);
    let place = world.path("state-first").display().to_string();
    assert!(told.contains(&place) && told.contains("by a lease until"), "it says who holds it: {told}");

    first.process.signal("KILL");
    first.process.wait(WAIT_MAX);
    let (_, until) = held(&world).expect("nobody gives it back");
    second.process.wait_until("the second takes it", WAIT_MAX, |_| held(&world).is_some_and(|(now, _)| now != owner));
    assert!(world.now() >= until, "{} ms too soon", until - world.now());
    second.wait_for("baking", Some(200));
    assert_eq!(world.weights(), [800, 200]);
    assert_eq!(clients.stop().1, 0, "no request failed");
    let mut command = Command::new(built_binary());
    command.args(["preflight", "--json"]).arg(world.path("policies/migration.toml"));
    let looked = world.aws(&mut command).output().expect("the program can be run");
    assert!(String::from_utf8_lossy(&looked.stdout).contains(&place.replace("first", "second")), "{looked:?}");
    rights::assert_allowed(world.lab(), &["observe", "shift", "lease"]);
    rights::assert_used(world.lab(), &["lease"]);
}

/// Proves that a daemon which was stopped for longer than its lease, and wakes up while another drives the listener, writes
/// nothing, not even the revert that it is told to make, and calls people with who holds it and the way back by hand.
#[test]
fn a_daemon_that_wakes_up_without_its_lease_writes_nothing() {
    let world = world(true);
    let before = world.actions();
    let clients = world.clients();
    let mut first = Daemon::start(&world, "first");
    first.begin();
    first.wait_for("baking", Some(200));
    let (owner, _) = held(&world).expect("it is held");
    first.process.signal("STOP");
    // Somebody puts the traffic back, as they would for a machine that is gone.
    world.elb("ModifyListener", &json!({"ListenerArn": world.lab().scene().listener_arn, "DefaultActions": before}));
    let mut second = Daemon::start(&world, "second");
    second.begin();
    second.wait_for("baking", Some(200));
    assert_ne!(held(&world).expect("it is held").0, owner);
    second.say(&["pause", SERVICE, "--reason", "to see who writes"]);
    let (stands, written) = (world.actions(), writes(&world));

    first.process.signal("CONT");
    first.say(&["revert", SERVICE, "--yes", "--reason", "to see what becomes of it"]);
    first.wait_for("stuck", None);
    let told = first.say(&["explain", SERVICE]);
    let place = world.path("state-second").display().to_string();
    assert!(told.contains(&place) && told.contains("aws elbv2 modify-listener"), "{told}");
    assert_eq!((world.actions(), writes(&world)), (stands, written), "the first writes nothing");
    assert_eq!(clients.stop().1, 0, "no request failed");
}

/// Proves that without its table a cutover does not begin, that one which runs stays where it is, and that a revert goes
/// through all the same.
#[test]
fn a_table_that_does_not_answer_stops_every_rise_and_no_revert() {
    let world = world(true);
    let before = world.actions();
    let clients = world.clients();
    let mut only = Daemon::start(&world, "only");
    world.fault(FaultName::AccessDenied, "PutItem", None, None);
    only.begin();
    only.wait("it waits for its table", |cutover| waits_for(cutover, "check `lease` could not be made"));
    let told = only.say(&["status", SERVICE]);
    assert!(told.contains("`dynamodb:PutItem` is missing: `tidegate aws iam --feature lease`"), "{told}");
    world.lab().shared().faults.clear();
    only.wait_for("baking", Some(200));
    world.fault(FaultName::Hang, "dynamodb:*", None, None);
    only.wait("it holds", |cutover| waits_for(cutover, "check `lease` could not be made"));
    assert_eq!(world.weights(), [800, 200], "it stays where it is");
    only.say(&["revert", SERVICE, "--yes", "--reason", "to see what becomes of it"]);
    only.wait_for("reverted", None);
    assert_eq!(world.actions(), before);
    assert_eq!(clients.stop().1, 0, "no request failed");
}

/// Proves that two daemons without a lease find each other by what the other one writes: one of them stops and says so.
#[test]
fn two_daemons_without_a_lease_find_each_other_by_drift() {
    let world = world(false);
    let mut first = Daemon::start(&world, "first");
    let clients = world.clients();
    first.begin();
    first.wait_for("baseline", None);
    let mut second = Daemon::start(&world, "second");
    second.begin();
    second.wait_for("baseline", None);
    first.wait_for("baking", Some(200));
    let words = "another machine's Tidegate, if there is one: `lease.table`";
    second.wait("the second sees the first", |cutover| {
        cutover["phase"]["phase"] == "pending" || cutover.to_string().contains(words)
    });
    let told = second.say(&["history", SERVICE]);
    assert!(told.contains(words), "{told}");
    assert_eq!(world.weights(), [800, 200], "the second wrote nothing");
    assert_eq!(clients.stop().1, 0, "no request failed");
}

/// The check of the lease in what preflight prints: its outcome, and all of its words.
async fn preflight(stand: &Stand, path: &str) -> (String, String) {
    let printed = tidegate(stand, &["preflight", path, "--json"]).await;
    let list: Value = serde_json::from_slice(&printed.stdout).expect("it is JSON and nothing else");
    let found = list["checks"].as_array().and_then(|checks| checks.iter().find(|check| check["name"] == "lease"));
    let found = found.unwrap_or_else(|| panic!("no `lease` in {list}"));
    (found["outcome"].as_str().expect("it has one").to_owned(), found.to_string())
}

#[tokio::test]
async fn preflight_says_whether_the_table_is_right_and_who_holds_the_lease() {
    // Proves it for no table, a wrong one, a right one, one whose lease another daemon has and had, and each permission that
    // may be missing; and that looking takes nothing.
    let stand = Stand::start().await;
    let (_folder, file) = discovered(&stand).await;
    let path = file.to_str().expect("the folder's name is text");
    let policy = std::fs::read_to_string(&file).expect("it was written");
    std::fs::write(&file, format!("{policy}\n[lease]\ntable = \"{TABLE}\"\n")).expect("it can be written");
    let said = |told: (String, String), outcome: &str, words: &str| {
        assert!(told.0 == outcome && told.1.contains(words), "{outcome}, {words}: {told:?}");
    };
    said(preflight(&stand, path).await, "unknown", "aws dynamodb create-table --table-name tidegate-leases");
    make_table(&stand.lab, "id");
    said(preflight(&stand, path).await, "unknown", "the table `tidegate-leases` has KeySchema");
    let drop_table = json!({ "TableName": TABLE });
    let dropped = stand.lab.shared().change(|model, now| {
        lab::dynamodb::write(model, now, "DeleteTable", Params(&drop_table)).expect("the lab has this operation")
    });
    dropped.expect("it is there");
    make_table(&stand.lab, "listener");
    said(preflight(&stand, path).await, "pass", "nobody holds it");
    assert!(stand.lab.shared().read(|model| model.tables[TABLE].items.is_empty()), "looking takes nothing");

    let now = stand.lab.shared().clock.now().0;
    let item = |expires: i64| {
        json!({"TableName": TABLE, "Item": {
            "listener": {"S": stand.lab.scene().listener_arn}, "owner": {"S": "other/1/search"}, "run": {"S": "1"},
            "place": {"S": "other.example (/var/lib/tidegate, process 7)"}, "service": {"S": "search"},
            "generation": {"N": "7"}, "since": {"N": now.to_string()}, "expires": {"N": expires.to_string()},
        }})
    };
    for (expires, outcome) in [(now + 86_400_000, "fail"), (now - 1, "pass")] {
        let put = item(expires);
        let done = stand.lab.shared().change(|model, now| {
            lab::dynamodb::write(model, now, "PutItem", Params(&put)).expect("the lab has this operation")
        });
        done.expect("it is written");
        said(preflight(&stand, path).await, outcome, "Tidegate on other.example (/var/lib/tidegate, process 7)");
    }
    for operation in ["GetItem", "DescribeTable"] {
        stand.fault(FaultName::AccessDenied, operation, 50);
        let words = format!("`dynamodb:{operation}` is missing: `tidegate aws iam --feature lease`");
        said(preflight(&stand, path).await, "unknown", &words);
        stand.mend();
    }
    stand.fault(FaultName::Throttle, "GetItem", 50);
    said(preflight(&stand, path).await, "unknown", "ProvisionedThroughputExceededException");
    stand.mend();
    stand.fault(FaultName::NotAws, "GetItem", 50);
    said(preflight(&stand, path).await, "unknown", "is not AWS");
    stand.mend();
    let rights = tidegate(&stand, &["aws", "iam", "--json", "--policy", path]).await;
    let rights = String::from_utf8(rights.stdout).expect("it is text");
    assert!(rights.contains(&format!("arn:aws:dynamodb:{REGION}:123456789012:table/{TABLE}")), "{rights}");
}
