//! The way back by hand: the commands that put back what a listener had before a cutover, for a person with AWS's own
//! command line and no Tidegate.
//!
//! They are made of the recorded original alone, whole, so they can be made again from the journal at any time. They lie
//! in a file from the moment the original is recorded, stand in each alert that calls for a person, and in the dossier. Our
//! own proxies need none: their share is one call that `tidegate revert` and the proxy's control API both make.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use cutover::policy::BalancerPolicy;
use cutover::{Cutover, Lever};
use serde_json::{Value, json};

/// Where the files are, below the directory with the journal.
pub const DIRECTORY: &str = "undo";

/// Who may read and run a file: its owner. It names accounts and listeners.
const FILE_MODE: u32 = 0o600;

/// One word of a command line, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A list of actions as `ModifyListener` and `ModifyRule` take them. What was recorded lacks the secret that AWS never
/// tells; AWS keeps it where it is asked to.
fn taken(actions: &Value) -> String {
    let mut actions = actions.clone();
    for action in actions.as_array_mut().into_iter().flatten() {
        if let Some(oidc) = action.get_mut("AuthenticateOidcConfig") {
            oidc["UseExistingClientSecret"] = json!(true);
        }
    }
    actions.to_string()
}

/// The commands that put back the recorded original, in the order in which they are to be run, and after them what else was
/// changed; none before anything is recorded, and none for our own proxies.
pub fn commands(cutover: &Cutover) -> Vec<String> {
    let mut commands = weights(cutover);
    commands.extend(levers(cutover));
    commands
}

/// Those that put back the settings beside the weights. The target's tasks stay: whether it still serves something is not
/// known here.
fn levers(cutover: &Cutover) -> Vec<String> {
    let BalancerPolicy::Alb { target, .. } = &cutover.policy.balancer else { return Vec::new() };
    let region = target.split(':').nth(3).unwrap_or_default();
    let names = cutover.policy.fleet.cluster.as_ref().zip(cutover.policy.target.service.as_ref());
    let listener = cutover.original.as_ref().and_then(|original| original.action.get("ListenerArn")?.as_str());
    let balancer = listener.and_then(|arn| {
        arn.replacen(":listener/", ":loadbalancer/", 1).rsplit_once('/').map(|(arn, _)| arn.to_owned())
    });
    let pulled = cutover.levers.pulled.iter().filter_map(|(lever, pulled)| match lever {
        Lever::ScaleIn => names.map(|(cluster, service)| {
            format!(
                "aws application-autoscaling register-scalable-target --region {region} --service-namespace ecs \
                 --scalable-dimension ecs:service:DesiredCount --resource-id {} --suspended-state \
                 DynamicScalingInSuspended={}",
                quoted(&format!("service/{cluster}/{service}")),
                pulled.before != 0
            )
        }),
        Lever::KeepAlive => balancer.as_ref().map(|arn| {
            format!(
                "aws elbv2 modify-load-balancer-attributes --region {region} --load-balancer-arn {} --attributes \
                 Key=client_keep_alive.seconds,Value={}",
                quoted(arn),
                pulled.before
            )
        }),
        Lever::Count => None,
    });
    pulled.collect()
}

/// Those that put back the recorded original.
fn weights(cutover: &Cutover) -> Vec<String> {
    let (BalancerPolicy::Alb { .. }, Some(original)) = (&cutover.policy.balancer, &cutover.original) else {
        return Vec::new();
    };
    let action = &original.action;
    let default = action.get("ListenerArn").and_then(Value::as_str).zip(action.get("DefaultActions"));
    let default =
        default.map(|(arn, actions)| command(["modify-listener", "listener-arn", "default-actions"], arn, actions));
    let rules = action.get("Rules").and_then(Value::as_object).into_iter().flatten();
    let rules = rules.map(|(arn, actions)| command(["modify-rule", "rule-arn", "actions"], arn, actions));
    default.into_iter().chain(rules).collect()
}

/// A call of AWS's command line: the operation, and the names of its two parameters.
fn command([operation, thing, list]: [&str; 3], arn: &str, actions: &Value) -> String {
    let region = arn.split(':').nth(3).unwrap_or_default();
    format!("aws elbv2 {operation} --region {region} --{thing} {} --{list} {}", quoted(arn), quoted(&taken(actions)))
}

/// The same as a file for a shell. Each command is run whatever became of the one before it.
fn script(cutover: &Cutover, commands: &[String]) -> String {
    let Cutover { id, policy, .. } = cutover;
    let service = &policy.service;
    let mut text = format!(
        "#!/bin/sh\n\
         # Puts back what the listener had before the cutover {id} of {service}, without Tidegate:\n\
         #   sh FILE\n\
         # It needs AWS's command line, and credentials that may write the listener. While the daemon runs,\n\
         # `tidegate revert {service}` does the same and makes sure of it.\n\
         failed=0\n"
    );
    for command in commands {
        text.push_str(command);
        text.push_str(" || failed=1\n");
    }
    text.push_str("exit $failed\n");
    text
}

/// The file of a cutover in `directory`.
pub fn file(directory: &Path, cutover: &Cutover) -> PathBuf {
    directory.join(format!("{}.sh", cutover.id))
}

/// Writes the file of a cutover in `directory`, in place of an older one and never in part; `None` where there is nothing
/// to write.
///
/// # Errors
/// When it is not known to be on disk.
pub fn keep(directory: &Path, cutover: &Cutover) -> std::io::Result<Option<PathBuf>> {
    let commands = commands(cutover);
    if commands.is_empty() {
        return Ok(None);
    }
    std::fs::create_dir_all(directory)?;
    let (place, new) = (file(directory, cutover), directory.join(format!(".{}.new", cutover.id)));
    // One that a crash left half written must not lend its mode to this one.
    drop(std::fs::remove_file(&new));
    let mut open = std::fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&new)?;
    open.write_all(script(cutover, &commands).as_bytes())?;
    open.sync_all()?;
    std::fs::rename(&new, &place)?;
    Ok(Some(place))
}

/// What an alert that calls for a person says besides; nothing where there is no way back by hand.
pub fn told(cutover: &Cutover) -> Option<String> {
    let commands = commands(cutover);
    (!commands.is_empty()).then(|| format!("\nby hand, without tidegate: {}", commands.join("; ")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use cutover::event::Reading;
    use cutover::{Share, Weight};

    use super::*;
    use crate::testing::{START, cutover};

    const LISTENER: &str =
        "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener/app/a/50dc6c495c0c9188/f2f7dc8e";

    fn recorded(actions: &Value, rules: &Value) -> Cutover {
        let mut cutover = cutover("search");
        let group =
            |name: &str| format!("arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/{name}/73e2");
        let (source, target) = (group("old"), group("new"));
        Arc::make_mut(&mut cutover.policy).balancer =
            BalancerPolicy::Alb { listener: None, rules: Vec::new(), source, target };
        let action = json!({ "ListenerArn": LISTENER, "DefaultActions": actions, "Rules": rules });
        let share = Share::both(Weight::NONE);
        cutover.original = Some(Arc::new(Reading { share, action, begun: START, disagreeing: Vec::new() }));
        cutover
    }

    /// Proves that nothing in an action can leave its quotes, that the secret stays where it is, and that numbered rules go
    /// back as well.
    #[test]
    fn every_part_of_the_original_is_in_the_commands() {
        let login = json!({"AuthenticateOidcConfig": {"Scope": "it's; rm -rf $HOME"}});
        let rule = LISTENER.replace("listener", "listener-rule");
        let cutover = recorded(&json!([login]), &json!({ rule.clone(): [{"Type": "forward"}] }));
        let commands = commands(&cutover);
        assert_eq!(
            commands,
            [
                format!(
                    "aws elbv2 modify-listener --region eu-central-1 --listener-arn '{LISTENER}' --default-actions \
                     '[{{\"AuthenticateOidcConfig\":{{\"Scope\":\"it'\\''s; rm -rf $HOME\",\
                     \"UseExistingClientSecret\":true}}}}]'"
                ),
                format!(
                    "aws elbv2 modify-rule --region eu-central-1 --rule-arn '{rule}' --actions '[{{\"Type\":\"forward\"}}]'"
                ),
            ]
        );
        assert!(told(&cutover).unwrap().contains(&commands[0]));
    }

    /// Proves that the file is its owner's alone, that a later original takes its place, and that our own proxies get none.
    #[test]
    fn the_file_is_whole_and_private() {
        let folder = tempfile::TempDir::new().unwrap();
        let directory = folder.path().join(DIRECTORY);
        assert_eq!(keep(&directory, &cutover("search")).unwrap(), None);
        for order in [1, 2] {
            let cutover = recorded(&json!([{"Type": "forward", "Order": order}]), &json!({}));
            let file = keep(&directory, &cutover).unwrap().unwrap();
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, FILE_MODE);
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.contains(&format!("\"Order\":{order}")) && text.ends_with("exit $failed\n"), "{text}");
        }
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "nothing else is left there");
    }
}
