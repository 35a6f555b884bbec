//! What README.md and the units say can be typed: every command, flag and file in them exists.

use std::{collections::BTreeSet, fs, path::PathBuf};

use crate::daemon::verb;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace").to_owned()
}

fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|why| panic!("{file}: {why}"))
}

/// What a reader has beside the product; these commands are for the reader's machine and are not run here.
const OTHERS: [&str; 6] = ["cargo", "curl", "export", "mkdir", "python3", "while"];

/// A page's blocks of one language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let (mut blocks, mut open) = (Vec::new(), None);
    for line in page.lines() {
        match &mut open {
            None => open = line.strip_prefix("```").map(|language| (language.to_owned(), String::new())),
            Some((of, text)) if line == "```" => {
                if of == language {
                    blocks.push(std::mem::take(text));
                }
                open = None;
            }
            Some((_, text)) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    blocks
}

/// The commands of a page's `sh` blocks.
fn shell(page: &str) -> Vec<String> {
    blocks(page, "sh").concat().lines().map(str::to_owned).collect()
}

/// The pieces of code in running text.
fn inline(page: &str) -> Vec<String> {
    let mut prose = String::new();
    let mut inside = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose.split('`').skip(1).step_by(2).map(|code| code.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// A command's words; quotes keep words together, and what stands for something is that.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in command.split('"').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// The verbs at the beginning of a command's words, as far as the program knows them, and what `--help` says there.
fn help(words: &[String]) -> (Vec<String>, String) {
    let (mut verbs, mut page) = (Vec::new(), verb(&["--help"], &[]).expect(0).out);
    for word in words {
        let lists = |page: &str| page.lines().any(|line| line.split_whitespace().next() == Some(word));
        if word.starts_with('-') || !page.contains("Commands:") || !lists(&page) {
            break;
        }
        verbs.push(word.clone());
        let mut arguments: Vec<&str> = verbs.iter().map(String::as_str).collect();
        arguments.push("--help");
        page = verb(&arguments, &[]).expect(0).out;
    }
    (verbs, page)
}

/// Fails unless the program has the verb and every flag of a command that follows `tidegate`.
fn check(place: &str, words: &[String]) {
    let (verbs, page) = help(words);
    assert!(!verbs.is_empty() || words.is_empty() || words[0].starts_with('-'), "{place}: no verb `{}`", words[0]);
    for word in &words[verbs.len()..] {
        let flag = word.split('=').next().unwrap_or_default().trim_matches(|c| "[](){},;.".contains(c));
        if flag.len() > 1 && flag.starts_with('-') {
            let known = page.split(|c: char| c.is_whitespace() || ",[]=".contains(c)).any(|known| known == flag);
            assert!(known, "{place}: `tidegate {}` has no `{flag}`:\n{page}", verbs.join(" "));
        }
    }
}

/// Proves that every command in README's blocks works: those about policies are run, those that need a daemon are checked
/// down to their flags, and scripts that are named are there.
#[test]
fn the_commands_of_the_readme_work() {
    let commands = shell(&text("README.md"));
    assert!(commands.len() >= 8, "the blocks were found: {commands:?}");
    let mut ran = 0;
    for command in &commands {
        let words = words(command);
        match words[0].as_str() {
            "tidegate" => {
                check(command, &words[1..]);
                // A simulation needs a baseline that the reader has recorded; `simulate.rs` runs whole ones.
                if words[1] == "policy" && words[2] != "simulate" {
                    let mut arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
                    let files: Vec<String> =
                        arguments.iter().map(|word| root().join(word).display().to_string()).collect();
                    for (argument, file) in arguments.iter_mut().zip(&files) {
                        if argument.starts_with("policies/") {
                            *argument = file;
                        }
                    }
                    let said = verb(&arguments, &[]).expect(0);
                    assert!(!said.out.is_empty() || !said.err.is_empty(), "{command} says something");
                    ran += 1;
                }
            }
            "cargo" if words[1] == "run" => {
                let ours = words.iter().position(|word| word == "--").expect("what follows is for the program");
                check(command, &words[ours + 1..]);
            }
            other if OTHERS.contains(&other) => {}
            script => assert!(root().join(script).exists(), "`{script}` is no file of ours"),
        }
    }
    assert!(ran >= 3, "check, plan and sample ran: {commands:?}");
}

/// Proves that the policies which README shows are sound as they stand.
#[test]
fn the_policies_of_the_readme_are_sound() {
    let policies = blocks(&text("README.md"), "toml");
    assert!(!policies.is_empty(), "README shows a policy");
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (number, policy) in policies.iter().enumerate() {
        let file = folder.path().join(format!("policy-{number}.toml"));
        fs::write(&file, policy).expect("a new file");
        verb(&["policy", "check", &file.display().to_string()], &[]).expect(0);
    }
}

/// Proves that what README says in running text exists as well: verbs with their flags, orders, and the policy keys that
/// can be set from the environment.
#[test]
fn the_words_of_the_readme_are_the_programs() {
    let readme = text("README.md");
    let mut seen = BTreeSet::new();
    for code in inline(&readme) {
        if let Some(command) = code.strip_prefix("tidegate ") {
            let words = words(command);
            check(&code, &words);
            seen.insert(words[0].clone());
        }
        if let Some(set) = code.strip_prefix("TIDEGATE_POLICY__") {
            let (name, value) = set.split_once('=').expect("a value");
            let file = root().join("policies/fast.toml").display().to_string();
            let name = format!("TIDEGATE_POLICY__{name}");
            let shown = verb(&["policy", "show", &file], &[(&name, value)]).expect(0).out;
            assert!(shown.contains(&name) && shown.contains(value), "`policy show` names that layer: {shown}");
        }
    }
    for known in ["run", "proxy", "revert", "status", "history", "report", "journal"] {
        assert!(seen.contains(known), "README tells of `tidegate {known}`: {seen:?}");
    }
    let orders: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(orders.len() >= 7, "the table of orders was found: {orders:?}");
    for order in orders {
        check("the table of orders", &[order.to_owned()]);
    }
}

/// Proves that the units start what there is.
#[test]
fn the_commands_of_the_units_exist() {
    for unit in ["systemd/tidegate.service", "systemd/tidegate-proxy.service"] {
        let text = text(unit);
        let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/tidegate ")).expect("ExecStart");
        check(unit, &words(start));
    }
}
