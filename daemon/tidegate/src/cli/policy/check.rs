//! `tidegate policy check`: every problem of some files at once, with line, caret and hint.

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use cutover::policy::{Problem, Severity};
use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode, ThemeCharacters,
    ThemeStyles,
};

use crate::cli::{Context, Exit};
use crate::policy_files::{self, Loaded};
use crate::screen::look::{Look, Signs};

/// How wide a report is drawn.
const COLUMNS: usize = 120;

/// The arguments of `tidegate policy check`.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// Policy files, or directories of them. `defaults.toml` beside a file is a layer of it.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Check {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let environment = policy_files::environment();
        let mut files = Vec::new();
        for file in self.files {
            if file.is_dir() {
                let found = policy_files::files_in(&file)?;
                if found.is_empty() {
                    anyhow::bail!("there is no policy in `{}`: a policy is a file that ends in .toml", file.display());
                }
                files.extend(found);
            } else {
                files.push(file);
            }
        }
        let mut reports = Vec::new();
        let mut services: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut sound = true;
        for file in files {
            let loaded = match policy_files::load(&file, &environment) {
                Ok(loaded) => loaded,
                Err(error) => {
                    sound = false;
                    reports.push(
                        serde_json::json!({"file": file, "sound": false, "error": error.to_string(), "problems": []}),
                    );
                    if !context.json {
                        context.print(&format!("{error}\n\n"))?;
                    }
                    continue;
                }
            };
            // Two files for one service would take turns at its weights.
            let other = loaded.policy.as_ref().and_then(|policy| services.insert(policy.service.clone(), file.clone()));
            let twice =
                other.map(|other| format!("{}: this service has another policy: {}", file.display(), other.display()));
            let fine = loaded.is_sound() && twice.is_none();
            sound &= fine;
            if context.json {
                reports.push(
                    serde_json::json!({"file": file, "sound": fine, "error": twice, "problems": loaded.problems}),
                );
                continue;
            }
            context.print(&report(&loaded))?;
            if let Some(twice) = twice {
                context.print(&format!("{twice}\n"))?;
            }
        }
        if context.json {
            context.print_json(&serde_json::json!({"sound": sound, "files": reports}))?;
        }
        Ok(if sound { Exit::Done } else { Exit::Error })
    }
}

/// Every problem drawn, and a line that sums them up.
pub(in crate::cli) fn report(loaded: &Loaded) -> String {
    let look = Look::of_process();
    let terminal = std::io::stdout().is_terminal();
    let look = Look { colour: look.colour && terminal, signs: if terminal { look.signs } else { Signs::Unicode } };
    let mut text = String::new();
    for problem in &loaded.problems {
        let source = loaded.layers.iter().find(|layer| layer.name == problem.file);
        text.push_str(&draw(problem, source.map_or("", |layer| &layer.text), look));
        text.push('\n');
    }
    let count = |severity| loaded.problems.iter().filter(|problem| problem.severity == severity).count();
    let file = loaded.file.display();
    let words = match (count(Severity::Error), count(Severity::Warning)) {
        (0, 0) => "sound".to_owned(),
        (0, warnings) => format!("sound, {}", counted(warnings, "warning")),
        (errors, 0) => counted(errors, "problem"),
        (errors, warnings) => format!("{}, {}", counted(errors, "problem"), counted(warnings, "warning")),
    };
    text + &format!("{file}: {words}\n")
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// One problem with the line it is on, a caret under it, and what to write instead.
pub(super) fn draw(problem: &Problem, text: &str, look: Look) -> String {
    if text.is_empty() {
        // A caret needs something to stand under.
        return format!("  × {problem}\n");
    }
    let theme = match (look.signs, look.colour) {
        (Signs::Unicode, true) => GraphicalTheme::unicode(),
        (Signs::Unicode, false) => GraphicalTheme::unicode_nocolor(),
        (Signs::Ascii, colour) => GraphicalTheme {
            characters: ThemeCharacters::ascii(),
            styles: if colour { ThemeStyles::ansi() } else { ThemeStyles::none() },
        },
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(COLUMNS).with_context_lines(1).with_links(false);
    let mut drawn = String::new();
    let shown = Shown { problem, source: NamedSource::new(&problem.file, text.to_owned()) };
    if handler.render_report(&mut drawn, &shown).is_err() {
        // A report that cannot be drawn is still told.
        drawn = format!("{problem}\n");
    }
    drawn
}

/// A problem as miette draws it.
#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    source: NamedSource<String>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { file, line, column, what, .. } = self.problem;
        write!(f, "{file}:{line}:{column}: {what}")
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let hint = (!self.problem.hint.is_empty()).then(|| format!("hint: {}", self.problem.hint));
        let span = self.problem.span.clone();
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(hint, span))))
    }
}

#[cfg(test)]
#[expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: &Expect) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("search.toml");
        std::fs::write(&file, text).unwrap();
        let loaded = policy_files::load(&file, &[]).unwrap();
        expected.assert_eq(&report(&loaded).replace(&format!("{}/", directory.path().display()), ""));
    }

    #[test]
    fn a_problem_is_drawn_with_its_line_a_caret_and_a_hint() {
        // Proves: what the operator sees: FILE:LINE:COL, the line itself, and what to write instead.
        check(
            "service = \"search\"\n[source]\nendpoints = [\"http://10.0.0.1:9200\"]\n[target]\nendpoints = [\"http://10.0.1.1:9200\"]\n[shift]\nwrites = \"last\"\nbake_min = \"5 mins\"\nstepz = [1, 100]\n",
            &expect![[r#"
                  × search.toml:8:12: `5 mins` is not a duration
                   ╭─[search.toml:8:12]
                 7 │ writes = "last"
                 8 │ bake_min = "5 mins"
                   ·            ────┬───
                   ·                ╰── hint: write `5m`
                 9 │ stepz = [1, 100]
                   ╰────

                  × search.toml:9:1: unknown key `stepz` in `shift`
                   ╭─[search.toml:9:1]
                 8 │ bake_min = "5 mins"
                 9 │ stepz = [1, 100]
                   · ──┬──
                   ·   ╰── hint: did you mean `steps`?
                   ╰────

                search.toml: 2 problems
            "#]],
        );
    }

    #[test]
    fn an_empty_file_is_drawn_too() {
        // Proves: a report without any text to point at still says what is missing and what to write.
        check(
            "",
            &expect![[r#"
              × search.toml:1:1: the service's name is missing: say `service` (hint: write `service = "NAME"` at the top of the file)

              × search.toml:1:1: what a split means for writes is missing: say `shift.writes` (hint: write `writes = "last"` (they stay with the source until the last step) or `writes = "split"`)

              × search.toml:1:1: the source has no endpoints: say `source.endpoints` (hint: write `endpoints = ["http://HOST:PORT"]` under `[source]`)

              × search.toml:1:1: the target has no endpoints: say `target.endpoints` (hint: write `endpoints = ["http://HOST:PORT"]` under `[target]`)

            search.toml: 4 problems
        "#]],
        );
    }

    #[test]
    fn a_sound_file_is_one_line() {
        // Proves: nothing is said about what is right.
        check(
            crate::cli::policy::sample::sample("fast").unwrap(),
            &expect![[r#"
            search.toml: sound
        "#]],
        );
    }
}
