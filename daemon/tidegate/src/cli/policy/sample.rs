//! `tidegate policy sample`: the commented examples of `policies/`, carried in the program.

use anyhow::bail;

use crate::cli::{Context, Exit};

/// Every example: its name, and its text.
const SAMPLES: [(&str, &str); 8] = [
    ("alb", include_str!("../../../../../policies/alb.toml")),
    ("prometheus", include_str!("../../../../../policies/prometheus.toml")),
    ("cautious", include_str!("../../../../../policies/cautious.toml")),
    ("fast", include_str!("../../../../../policies/fast.toml")),
    ("write-heavy", include_str!("../../../../../policies/write-heavy.toml")),
    ("low-traffic", include_str!("../../../../../policies/low-traffic.toml")),
    ("capture-only", include_str!("../../../../../policies/capture-only.toml")),
    ("defaults", include_str!("../../../../../policies/defaults.toml")),
];

/// The arguments of `tidegate policy sample`.
#[derive(Debug, clap::Args)]
pub(super) struct Sample {
    /// Which one; without a name, all are listed.
    name: Option<String>,
}

/// The text of an example, if there is one of this name.
pub(super) fn sample(name: &str) -> Option<&'static str> {
    SAMPLES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// What an example is for: the comment it begins with, on one line.
fn purpose(text: &str) -> String {
    let lines = text.lines().take_while(|line| line.starts_with('#'));
    let comment = lines.map(|line| line.trim_start_matches('#').trim()).collect::<Vec<_>>().join(" ");
    comment.split_inclusive(". ").next().unwrap_or_default().trim().to_owned()
}

impl Sample {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let Some(name) = self.name else {
            if context.json {
                let list: Vec<_> = SAMPLES
                    .iter()
                    .map(|(name, text)| serde_json::json!({"name": name, "purpose": purpose(text)}))
                    .collect();
                context.print_json(&list)?;
            } else {
                for (name, text) in SAMPLES {
                    context.print(&format!("{name:<14} {}\n", purpose(text)))?;
                }
            }
            return Ok(Exit::Done);
        };
        let name = name.trim_end_matches(".toml");
        let Some(text) = sample(name) else {
            bail!("there is no sample `{name}`: the samples are {}", SAMPLES.map(|(name, _)| name).join(", "));
        };
        if context.json {
            context.print_json(&serde_json::json!({"name": name, "text": text}))?;
        } else {
            context.print(text)?;
        }
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use cutover::policy::{self, Severity};

    use super::*;

    #[test]
    fn every_sample_stands_alone_and_is_sound() {
        // Proves: what we hand out passes our own check without a single warning, and only the shared layer is no policy.
        for (name, text) in SAMPLES {
            let file = format!("{name}.toml");
            if name == "defaults" {
                assert_eq!(policy::parse(text, &file).problems, []);
            } else {
                let layer = policy::parse(text, &file);
                let mut layers = policy::builtins(std::iter::once(&layer));
                layers.push(&layer);
                let resolved = policy::resolve(&layers, &policy::merge(&layers));
                assert!(
                    resolved.problems.iter().all(|problem| problem.severity < Severity::Warning),
                    "{:#?}",
                    resolved.problems
                );
                assert!(resolved.policy.is_some(), "{name}");
            }
        }
    }

    #[test]
    fn every_file_of_the_directory_is_a_sample() {
        // Proves: an example that is added to `policies/` is also carried in the program.
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies");
        let mut files: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".toml").to_owned())
            .collect();
        files.sort();
        let mut names = SAMPLES.map(|(name, _)| name);
        names.sort_unstable();
        assert_eq!(files, names);
    }

    #[test]
    fn a_sample_says_what_it_is_for() {
        // Proves: the list is made from the comment each example begins with.
        for (name, text) in SAMPLES {
            let purpose = purpose(text);
            assert!(purpose.len() > 20 && purpose.ends_with('.') || purpose.contains(':'), "{name}: {purpose}");
        }
    }
}
