//! Bad input for a cutover at an ALB: what `tidegate preflight` and the daemon say of it, and that nothing is changed by them.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lab::faults::{Fault, FaultName};
use lab::model::REGION;
use serde_json::{Value, json};
use tidegate_tests::servers::{Process, aws::towards, built_binary};

use crate::support::{SPEED, Stand};

/// How long a daemon may take to be ready, and to say what it thinks of a start.
const DAEMON_MAX: Duration = Duration::from_mins(1);

/// Where the program is pointed at.
struct Account<'a> {
    endpoint: &'a str,
    region: &'a str,
}

impl Account<'_> {
    fn of<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        towards(command, self.endpoint, self.region)
    }

    /// What preflight says of a policy: its exit code and everything it printed.
    fn preflight(&self, file: &Path) -> (Option<i32>, String) {
        let mut command = Command::new(built_binary());
        command.args(["preflight", "--clock-speed", &SPEED.to_string()]).arg(file);
        let output = self.of(&mut command).output().expect("the program can be run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    }
}

/// A page of somebody who answers everything with 200 and is not AWS.
fn somebody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the kernel's choosing");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 16 * 1024];
            // Who does not ask, or does not read the answer, has gone: the next one is answered.
            let _ = stream.read(&mut head);
            let page = "<html><body>Please log in</body></html>";
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                page.len()
            );
        }
    });
    format!("http://{address}")
}

/// What a lab holds that a cutover could change: the weighted listener's list of actions, every one it ever had, and how many
/// calls changed anything.
fn held(stand: &Stand) -> (Value, usize, usize) {
    let shared = stand.lab.shared();
    let lists = shared.history.actions(Some(&stand.lab.scene().listener_arn));
    let changing = |operation: &str| !operation.starts_with("Describe") && !operation.starts_with("Get");
    let changes = shared.history.calls().iter().filter(|call| changing(&call.operation)).count();
    (json!(lists.last().map(|note| &note.actions)), lists.len(), changes)
}

fn write(folder: &Path, name: &str, source: &str, target: &str) -> PathBuf {
    let file = folder.join(format!("{name}.toml"));
    let text = format!(
        "service = \"{name}\"\n[balancer]\nkind = \"alb\"\n[source]\ntarget_group = \"{source}\"\n\
         [target]\ntarget_group = \"{target}\"\n[shift]\nwrites = \"split\"\n"
    );
    std::fs::write(&file, text).expect("a file of ours");
    file
}

/// Lets every call of `op` go wrong.
fn let_fail(stand: &Stand, name: FaultName, op: &str) {
    let fault = Fault { name, op: op.to_owned(), times: None, seconds: None };
    let shared = stand.lab.shared();
    shared.read(|model| shared.faults.put(fault, model, shared.clock.now())).expect("the lab takes this fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_ends_with_words_before_anything_is_changed() {
    // Proves for each kind of bad input that preflight ends with 1 and says what is wrong and what to do, that a daemon which is
    // told to start all the same says so too and moves nothing, and that in all of it the listener got no other list of actions
    // and nothing was called that changes anything.
    let stand = Stand::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let scene = stand.lab.scene().clone();
    let (source, target) = (&scene.source_tg, &scene.target_tg);
    let endpoint = stand.lab.endpoint();
    let account = Account { endpoint: &endpoint, region: REGION };
    let begun = held(&stand);
    let check = |what: &str, account: &Account<'_>, file: &Path, words: &[&str]| {
        let (code, said) = account.preflight(file);
        let missing: Vec<&&str> = words.iter().filter(|word| !said.contains(**word)).collect();
        assert!(code == Some(1) && missing.is_empty(), "{what}: {code:?}, without {missing:?}:\n{said}");
    };

    let other = |arn: &str| arn.replace(REGION, "eu-west-1");
    let region = "TargetGroupNotFound";
    for (name, source, target, words) in [
        (
            "kind",
            &*scene.listener_arn,
            &**target,
            ["a listener of an Application Load Balancer and not a target group", "hint"],
        ),
        ("elsewhere", &*other(source), &*other(target), [region, "look at the ARN, its region and its account"]),
        ("apart", source, &*other(target), ["are in one region of one account", "hint"]),
        ("gone", &*format!("{source}0"), target, [region, "`tidegate aws discover` lists"]),
    ] {
        check(name, &account, &write(folder, name, source, target), &words);
    }
    let good = write(folder, "good", source, target);
    let html = somebody();
    for (what, endpoint, words) in [
        (
            "a captive portal",
            &*html,
            ["NO    weights", "not an answer of AWS: 200 without a code of AWS's; see what is in between"],
        ),
        ("nobody", "http://127.0.0.1:1", ["NO    weights", "no connection: nobody listens there"]),
    ] {
        check(what, &Account { endpoint, region: REGION }, &good, &words);
    }
    for (fault, op, words) in [
        (FaultName::Truncated, "*", ["NO    weights", "end of file before message length reached"]),
        (
            FaultName::NotAws,
            "DescribeListeners",
            ["NO    weights", "cannot list the listeners of the load balancer: not an answer"],
        ),
        (FaultName::NotAws, "GetMetricData", ["?     numbers", "metrics: "]),
        (FaultName::Truncated, "DescribeTargetHealth", ["?     target healthy", "end of file"]),
    ] {
        let_fail(&stand, fault, op);
        check(&format!("{} {op}", fault.name()), &account, &good, &words);
        stand.mend();
    }
    // The region is the ARNs', whatever the environment says.
    let (_, said) = Account { endpoint: &endpoint, region: "eu-west-1" }.preflight(&good);
    assert!(said.contains("ok    weights"), "{said}");
    assert_eq!(held(&stand), begun, "nothing was changed");

    let group = |arn: &String, weight: u8| json!({"TargetGroupArn": arn, "Weight": weight});
    let forward = |groups: &[Value]| json!([{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]);
    for (name, actions, words) in [
        (
            "one",
            forward(&[group(source, 1)]),
            ["no listener's default action weighs both", "targetClusterProxyServiceEnabled"],
        ),
        (
            "neither",
            forward(&[group(source, 0), group(target, 0)]),
            ["both target groups have weight 0", "give the source 1"],
        ),
        (
            "redirect",
            json!([{"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301", "Port": "8443"}}]),
            ["no listener's default action weighs both", "tidegate aws discover"],
        ),
    ] {
        stand.foreign("ModifyListener", &json!({"ListenerArn": scene.listener_arn, "DefaultActions": actions}));
        let begun = held(&stand);
        let file = write(folder, name, source, target);
        check(name, &account, &file, &words);
        refused_by_the_daemon(&account, folder, name, words[0]);
        assert_eq!(held(&stand), begun, "{name}: nothing was changed");
    }
}

/// A daemon that is told to start all the same says why it does not.
fn refused_by_the_daemon(account: &Account<'_>, folder: &Path, name: &str, word: &str) {
    let socket = format!("unix:{}", folder.join(format!("{name}.sock")).display());
    let mut command = Command::new(built_binary());
    command.args(["run", "--clock-speed", &SPEED.to_string(), "--log", "human", "--control", &socket, "--state"]);
    command.arg(folder.join(format!("{name}.state"))).arg("--policies").arg(folder);
    account.of(&mut command);
    let mut daemon = Process::start(&format!("daemon-{name}"), folder, command);
    daemon.wait_for_line("ready", DAEMON_MAX);
    let say = |arguments: &[&str]| {
        let output = Command::new(built_binary()).args(arguments).env("TIDEGATE_API", &socket).output();
        let output = output.expect("the program can be run");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let started = say(&["start", name, "--yes"]);
    daemon.wait_until(&format!("`{word}` in what it says of {name}, after `{started}`"), DAEMON_MAX, |_| {
        say(&["explain", name]).contains(word)
    });
    daemon.signal("KILL");
    daemon.wait(DAEMON_MAX);
}
