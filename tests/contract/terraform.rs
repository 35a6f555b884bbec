//! Terraform's AWS provider against the lab, where both are on the machine: what it creates, changes and reads, and what it
//! says before and after the lines are taken over that Tidegate prints when a cutover is done.
//!
//! Nothing is downloaded: Terraform may take its provider from wherever the machine's own configuration says it lies
//! (`provider_installation` with a `filesystem_mirror`, or `~/.terraform.d/plugins`), and the registry cannot be reached.
//! Where there is no Terraform or no provider, the test says so past the harness, which shows nothing of a test that passes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use lab::model::REGION;
use lab::wire::params::Params;
use serde_json::{Value, json};

use crate::whole::{SERVICE, World};

/// What `plan -detailed-exitcode` ends with.
const NO_CHANGES: Option<i32> = Some(0);
const CHANGES: Option<i32> = Some(2);

/// Says what the harness would keep to itself.
fn tell(text: &str) {
    // Nobody may be listening, and the test does not depend on it.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Runs Terraform in a folder, with the lab for AWS; `None` where there is none.
fn terraform(world: &World, folder: &Path, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("terraform");
    command.args(arguments).arg("-no-color").current_dir(folder).env("TF_IN_AUTOMATION", "1").env("TF_INPUT", "0");
    // No registry: what is not on the machine is not fetched. The lab is asked without a proxy.
    command.env("CHECKPOINT_DISABLE", "1").env("HTTPS_PROXY", "http://127.0.0.1:1").env("NO_PROXY", "127.0.0.1");
    command.env_remove("HTTP_PROXY").env_remove("http_proxy").env_remove("https_proxy").env_remove("no_proxy");
    match world.aws(&mut command).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("terraform cannot be run: {error}"),
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The weighted listener as the account has it.
fn listener(world: &World) -> Value {
    let shared = world.lab().shared();
    let input = json!({ "ListenerArns": [world.lab().scene().listener_arn] });
    let answer = shared.read(|model| lab::elbv2::read(model, shared.clock.now(), "DescribeListeners", Params(&input)));
    answer.expect("the lab has this operation").expect("the listener is there")["Listeners"][0].clone()
}

/// What describes the deployment, with this action for the weighted listener and this delay for what Terraform makes itself.
fn described(world: &World, action: &str, delay: u32) -> String {
    let scene = world.lab().scene();
    let listener = listener(world);
    let of = |place: &str| listener.pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned();
    let group = |side: &str, name: &str| {
        format!(
            "resource \"aws_lb_target_group\" \"{side}\" {{\n  name = \"{name}\"\n  port = 9200\n  protocol = \"HTTPS\"\n  \
             target_type = \"ip\"\n  vpc_id = data.aws_vpc.main.id\n  health_check {{\n    path = \"/\"\n    protocol = \
             \"HTTPS\"\n    matcher = \"200-499\"\n  }}\n}}\n"
        )
    };
    let name = |arn: &str| arn.rsplit('/').nth(1).unwrap_or_default().to_owned();
    let mut text = format!(
        "terraform {{\n  required_providers {{\n    aws = {{\n      source = \"hashicorp/aws\"\n    }}\n  }}\n}}\n\
         provider \"aws\" {{\n  region = \"{REGION}\"\n}}\n\
         data \"aws_vpc\" \"main\" {{}}\n\
         data \"aws_subnets\" \"all\" {{\n  filter {{\n    name = \"vpc-id\"\n    values = [data.aws_vpc.main.id]\n  }}\n}}\n\
         data \"aws_security_groups\" \"alb\" {{\n  filter {{\n    name = \"group-name\"\n    values = \
         [\"MigrationAssistant-alb\"]\n  }}\n}}\n"
    );
    for (to, id) in [
        ("aws_lb.front", of("/LoadBalancerArn")),
        ("aws_lb_listener.weighted", scene.listener_arn.clone()),
        ("aws_lb_target_group.source", scene.source_tg.clone()),
        ("aws_lb_target_group.target", scene.target_tg.clone()),
    ] {
        writeln!(text, "import {{\n  to = {to}\n  id = \"{id}\"\n}}").expect("a String takes everything");
    }
    text.push_str(&group("source", &name(&scene.source_tg)));
    text.push_str(&group("target", &name(&scene.target_tg)));
    let (certificate, ssl) = (of("/Certificates/0/CertificateArn"), of("/SslPolicy"));
    let balancer = name(&of("/LoadBalancerArn"));
    write!(
        text,
        "resource \"aws_lb\" \"front\" {{\n  name = \"{balancer}\"\n  internal = true\n  subnets = \
         data.aws_subnets.all.ids\n  security_groups = data.aws_security_groups.alb.ids\n  enable_http2 = false\n}}\n\
         resource \"aws_lb_listener\" \"weighted\" {{\n  load_balancer_arn = aws_lb.front.arn\n  port = 443\n  protocol = \
         \"HTTPS\"\n  ssl_policy = \"{ssl}\"\n  certificate_arn = \"{certificate}\"\n{action}}}\n\
         resource \"aws_lb_target_group\" \"own\" {{\n  name = \"own\"\n  port = 8080\n  protocol = \"HTTP\"\n  target_type = \
         \"ip\"\n  vpc_id = data.aws_vpc.main.id\n  deregistration_delay = {delay}\n  tags = {{\n    delay = \"{delay} s\"\n  \
         }}\n}}\n\
         resource \"aws_lb_listener\" \"own\" {{\n  load_balancer_arn = aws_lb.front.arn\n  port = 9300\n  protocol = \
         \"HTTP\"\n  default_action {{\n    type = \"forward\"\n    forward {{\n      target_group {{\n        arn = \
         aws_lb_target_group.own.arn\n        weight = {delay}\n      }}\n      target_group {{\n        arn = \
         aws_lb_target_group.source.arn\n        weight = 1\n      }}\n    }}\n  }}\n}}\n"
    )
    .expect("a String takes everything");
    text
}

/// An action of two weights.
fn weighted(source: u8, target: u8) -> String {
    let group = |side: &str, weight: u8| {
        format!(
            "      target_group {{\n        arn = aws_lb_target_group.{side}.arn\n        weight = {weight}\n      }}\n"
        )
    };
    let groups = [group("source", source), group("target", target)].concat();
    format!("  default_action {{\n    type = \"forward\"\n    forward {{\n{groups}    }}\n  }}\n")
}

/// The lines for Terraform in what is told of a cutover.
fn lines(told: &str) -> String {
    let mut from = told.lines().skip_while(|line| line.trim() != "default_action {").peekable();
    let indent = from.peek().map_or(0, |line| line.len() - line.trim_start().len());
    let end = format!("{}}}", " ".repeat(indent));
    let mut block = String::new();
    for line in from {
        block.push_str(line);
        block.push('\n');
        if line == end {
            return block;
        }
    }
    panic!("there are no lines for Terraform in: {told}");
}

/// Proves that Terraform takes over, creates, changes and reads what the lab has, that it would undo a cutover that is done,
/// and that it plans no change once the lines are taken over that Tidegate prints.
#[test]
fn terraform_plans_no_change_once_a_cutovers_lines_are_taken_over() {
    let world = World::new("[20, 100]", "");
    // The daemon's clock runs as fast as the lab's from its own start: it starts before Terraform takes its time.
    let mut daemon = world.daemon();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let describe = |action: &str, delay: u32| {
        std::fs::write(folder.path().join("main.tf"), described(&world, action, delay)).expect("a file of ours");
    };
    let run = |arguments: &[&str]| terraform(&world, folder.path(), arguments);
    describe(&weighted(1, 0), 60);
    let Some(begun) = run(&["init"]) else {
        return tell("contract: Terraform was NOT tried: there is no `terraform` on this machine");
    };
    if !begun.status.success() {
        let told = text(&begun);
        let why = told.lines().find(|line| line.contains("Error")).unwrap_or("init failed").trim();
        return tell(&format!("contract: Terraform was NOT tried: its AWS provider is not on this machine ({why})"));
    }
    let plan = || {
        let planned = run(&["plan", "-detailed-exitcode"]).expect("it was there a moment ago");
        (planned.status.code(), text(&planned))
    };
    let apply = || {
        let applied = run(&["apply", "-auto-approve"]).expect("it was there a moment ago");
        let told = text(&applied);
        assert!(applied.status.success(), "{told}");
        told
    };
    let told = apply();
    assert!(told.contains("4 imported, 2 added") && told.contains("0 destroyed"), "{told}");
    describe(&weighted(1, 0), 90);
    let told = apply();
    assert!(told.contains("0 added, 2 changed, 0 destroyed"), "{told}");

    let clients = world.clients();
    world.say(&["start", SERVICE, "--yes"]);
    world.wait_for(&mut daemon, "done", None);
    assert_eq!(world.weights(), [0, 1]);
    assert_eq!(clients.stop(), 0, "no request failed");
    let (code, told) = plan();
    assert!(code == CHANGES && told.contains("aws_lb_listener.weighted will be updated"), "it would undo it: {told}");
    describe(&lines(&world.say(&["explain", SERVICE])), 90);
    let (code, told) = plan();
    assert_eq!(code, NO_CHANGES, "{told}");
    tell("contract: Terraform took over, created, changed and planned no change after a cutover");
}
