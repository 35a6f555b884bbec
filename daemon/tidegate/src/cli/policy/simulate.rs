//! `tidegate policy simulate`: a policy tried out on a recorded service before it is trusted.

use std::io::{IsTerminal as _, Write as _};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use cutover::baseline::Given;
use cutover::policy::Policy;
use judge::record::{Depth, Record};

use super::check;
use crate::cli::{Context, Exit};
use crate::screen::format;
use crate::simulate::told::{BaselineTold, PolicyTold, Report};
use crate::simulate::{Extent, Fault, Service, Subject, fault, page, study};
use crate::{baselines, clock, policy_files};

/// How wide the bar of the progress line is.
const BAR: usize = 30;
/// A fault is simulated once for so many healthy cutovers, and this often at least (or as often as the healthy ones).
const FAULTY_ONE_IN: u32 = 10;
const FAULTY_MIN: u32 = 20;

/// The arguments of `tidegate policy simulate`.
#[derive(Debug, clap::Args)]
pub(super) struct Simulate {
    /// The service's policy file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The service's recorded baseline, as `tidegate baseline record` or `import` writes it. The cutovers take it along, as
    /// with `tidegate start --baseline`.
    #[arg(long, value_name = "BASELINE")]
    baseline: PathBuf,
    /// What is wrong with the target, such as errors:1%, latency:x1.5 or outage:100%@50%; each in cutovers of its own. A
    /// usual set when none is named.
    #[arg(long = "fault", value_name = "KIND:SIZE[@WHEN]", value_parser = read_fault)]
    faults: Vec<Fault>,
    /// Another policy file, to compare: the same service, faults and luck.
    #[arg(long, value_name = "FILE2")]
    against: Option<PathBuf>,
    /// How many cutovers with a healthy target; a tenth of that with each fault.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(study::CUTOVERS_MAX)))]
    cutovers: u32,
    /// Decides all chance: the same seed gives the same figures.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Where the page with the charts goes; a new file among the system's temporary ones when not said.
    #[arg(long, value_name = "OUT")]
    html: Option<PathBuf>,
}

fn read_fault(text: &str) -> Result<Fault, String> {
    text.parse()
}

impl Simulate {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        if self.faults.len() > study::FAULTS_MAX {
            bail!("{} faults are more than one run takes ({}); name fewer", self.faults.len(), study::FAULTS_MAX);
        }
        let shown = self.baseline.display().to_string();
        let read = baselines::read(&self.baseline).context(
            "cannot simulate without a baseline, which `tidegate baseline record` or `tidegate baseline import` makes",
        )?;
        let mut subjects = Vec::new();
        let mut records = Vec::new();
        let mut warnings = Vec::new();
        for file in std::iter::once(&self.file).chain(&self.against) {
            let Some(policy) = sound(context, file)? else { return Ok(Exit::Error) };
            let given = Arc::new(Given::of(&read, &shown, &policy).map_err(anyhow::Error::msg)?);
            if given.baseline.is_thin() {
                warnings.push(format!(
                    "`{}` asks for {} recorded intervals and the baseline has {}, so nothing is judged by it: the source of \
                     the same moment judges alone",
                    file.display(),
                    policy.baseline.intervals_min,
                    given.baseline.intervals()
                ));
            }
            let record = read.document.record_for(policy.shift.writes).map_err(anyhow::Error::msg)?;
            let service = Arc::new(Service::of(record));
            if let Some(lacks) = service.lacks(&policy.guards) {
                warnings.push(format!("`{}` {lacks}", file.display()));
            }
            subjects.push((file, Subject { policy: Arc::new(policy), given: Some(given), service }));
            records.push(record);
        }
        let (record, service) = (records[0], Arc::clone(&subjects[0].1.service));
        let faults = if self.faults.is_empty() {
            fault::USUAL
                .iter()
                .map(|usual| usual.parse())
                .collect::<Result<Vec<Fault>, _>>()
                .map_err(anyhow::Error::msg)?
        } else {
            // Named twice is meant once.
            self.faults
                .iter()
                .enumerate()
                .filter(|(at, fault)| !self.faults[..*at].contains(fault))
                .map(|(_, f)| *f)
                .collect()
        };
        if record.depth() == Depth::Thin {
            warnings.push(
                "the baseline is thin (less than a week): every hour is simulated alike, and what other hours bring is not \
                 in these figures"
                    .to_owned(),
            );
        }
        if records.iter().any(|other| *other != record) {
            warnings.push(
                "the two policies judge different requests (`shift.writes`): reads alone, and reads with writes"
                    .to_owned(),
            );
        }
        for fault in &faults {
            if let Some(why) = service.hides(fault) {
                warnings.push(format!("`{fault}` is no fault here: {why}; name a larger one"));
            }
        }
        let extent = Extent {
            healthy: self.cutovers,
            faulty: (self.cutovers / FAULTY_ONE_IN).max(FAULTY_MIN).min(self.cutovers),
            seed: self.seed,
            threads: std::thread::available_parallelism().map_or(1, NonZero::get),
        };
        let policies: Vec<Subject> = subjects.iter().map(|(_, subject)| subject.clone()).collect();
        let mut progress = Progress::new();
        let studies = study(&policies, &faults, extent, &mut |done, of| progress.tell(done, of));
        progress.end();
        let report = Report {
            baseline: told(shown, &read.document.service, record, &service),
            cutovers: extent.healthy,
            cutovers_per_fault: extent.faulty,
            seed: extent.seed,
            warnings,
            policies: subjects
                .iter()
                .zip(studies)
                .map(|((file, subject), study)| PolicyTold {
                    file: file.display().to_string(),
                    false_revert_max: subject.policy.false_revert_max,
                    study,
                })
                .collect(),
        };
        let page = write_page(&page::html(&report, env!("CARGO_PKG_VERSION"))?, self.html.as_deref())?;
        if context.json {
            let mut value = serde_json::to_value(&report)?;
            value["page"] = serde_json::json!(page);
            context.print_json(&value)?;
        } else {
            context.print(&report.text())?;
            context.print(&format!("\nwith charts: {}\n", page.display()))?;
        }
        Ok(Exit::Done)
    }
}

/// The baseline as the report tells it.
fn told(file: String, service: &str, record: &Record, drawn: &Service) -> BaselineTold {
    let (least, most) = drawn.requests_per_second_between();
    BaselineTold {
        file,
        service: service.to_owned(),
        seconds: record.to.saturating_sub(record.from) as f64 / 1_000.0,
        by_hour: record.depth() == Depth::Week,
        requests_per_second: drawn.requests_per_second(),
        requests_per_second_min: least,
        requests_per_second_max: most,
        errors: record.baseline.normal().errors,
    }
}

/// The policy of a file, if it is sound and moves something; what is wrong is printed.
fn sound(context: &Context, file: &Path) -> anyhow::Result<Option<Policy>> {
    let loaded = policy_files::load(file, &policy_files::environment())?;
    if !loaded.is_sound() || loaded.policy.is_none() {
        if context.json {
            context.print_json(&serde_json::json!({"file": file, "problems": loaded.problems}))?;
        } else {
            context.print(&check::report(&loaded))?;
            if loaded.is_sound() {
                context.print("this is the layer that other policies share; name one of those\n")?;
            }
        }
        return Ok(None);
    }
    let policy = loaded.policy.filter(|policy| !policy.shift.steps.is_empty());
    let Some(policy) = policy else {
        bail!("`{}` captures the source's traffic and moves nothing, so there is nothing to simulate", file.display());
    };
    if policy.windows.freeze {
        bail!(
            "`{}` freezes all changes (`windows.freeze`), so nothing would move; simulate it without",
            file.display()
        );
    }
    Ok(Some(policy))
}

/// Writes the page, and says where; never over a file that nobody named.
fn write_page(page: &str, named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        std::fs::write(named, page).with_context(|| format!("cannot write the page `{}`", named.display()))?;
        return Ok(std::path::absolute(named)?);
    }
    let stamp: String = clock::rfc3339(clock::now()).chars().filter(char::is_ascii_alphanumeric).collect();
    let name = format!("tidegate-simulation-{stamp}-{}.html", std::process::id());
    let path = std::path::absolute(std::env::temp_dir())?.join(name);
    let cannot = || format!("cannot write the page `{}`; say `--html` where it may go", path.display());
    let mut file = std::fs::File::create_new(&path).with_context(cannot)?;
    file.write_all(page.as_bytes()).with_context(cannot)?;
    Ok(path)
}

/// How far it is: a line that redraws itself on a terminal, and one plain line elsewhere.
struct Progress {
    live: bool,
    began: std::time::Instant,
    said: bool,
}

impl Progress {
    fn new() -> Self {
        Self { live: std::io::stderr().is_terminal(), began: clock::instant(), said: false }
    }

    fn tell(&mut self, done: usize, of: usize) {
        let line = if self.live {
            let ended = done * BAR / of.max(1);
            let took = self.began.elapsed();
            let left = if done == 0 { took } else { took.mul_f64((of - done) as f64 / done as f64) };
            let left = std::time::Duration::from_secs(left.as_secs() + 1);
            format!(
                "\r[{}{}] {} of {} cutovers, {} left  ",
                "#".repeat(ended),
                ".".repeat(BAR - ended),
                format::count(done as u64),
                format::count(of as u64),
                format::duration(left)
            )
        } else if self.said {
            return;
        } else {
            format!("simulating {} cutovers\n", format::count(of as u64))
        };
        self.said = true;
        // Who closed stderr does not want to know.
        drop(std::io::stderr().lock().write_all(line.as_bytes()));
    }

    fn end(&self) {
        if self.live {
            drop(std::io::stderr().lock().write_all(b"\r\x1b[2K"));
        }
    }
}

#[cfg(test)]
mod tests {
    use cutover::Timestamp;
    use cutover::baseline::{self, Class, Document, Origin};
    use judge::Counts;
    use judge::record::Row;

    use super::*;

    const POLICY: &str = "service = \"search\"\nsource.endpoints = [\"http://10.0.0.1:9200\"]\n\
        target.endpoints = [\"http://10.0.1.1:9200\"]\nshift.writes = \"last\"\n";

    fn context() -> Context {
        Context { json: true, api: String::new() }
    }

    /// A baseline of two hours of `service`.
    fn baseline_of(service: &str) -> String {
        let rows: Vec<Row> = (0..120)
            .map(|minute| {
                let mut counts = Counts { requests: 6_000, status_2xx: 5_994, status_5xx: 6, ..Counts::default() };
                counts.latency.record(20_000, 3_000);
                counts.latency.record(60_000, 3_000);
                Row { from: 1_767_571_200_000 + minute * 60_000, millis: 60_000, counts }
            })
            .collect();
        baseline::write(&Document {
            service: service.to_owned(),
            source: "a test".to_owned(),
            origin: Origin::File,
            tool: "0.1.0".to_owned(),
            written: Timestamp(0),
            class: Class::Reads,
            record: Record::of(&rows).unwrap(),
            reads: None,
        })
    }

    /// Runs the verb in a directory of its own, with a policy and a baseline of those texts.
    fn run(
        policy: &str,
        baseline: &str,
        more: impl FnOnce(&mut Simulate),
    ) -> (anyhow::Result<Exit>, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let mut simulate = Simulate {
            file: file("search.toml", policy),
            baseline: file("search.json", baseline),
            faults: vec!["outage:100%".parse().unwrap()],
            against: None,
            cutovers: 2,
            seed: 1,
            html: Some(directory.path().join("page.html")),
        };
        more(&mut simulate);
        (simulate.run(&context()), directory)
    }

    /// Proves that the page goes where it was asked to, and that nothing else is written.
    #[test]
    fn a_simulation_writes_its_page_and_nothing_else() {
        let (exit, directory) = run(POLICY, &baseline_of("search"), |_| {});
        assert_eq!(exit.unwrap(), Exit::Done);
        assert!(std::fs::read_to_string(directory.path().join("page.html")).unwrap().contains("SIMULATED"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    /// Proves that what cannot be simulated is refused with what to do, before anything is simulated.
    #[test]
    fn what_cannot_be_simulated_is_refused() {
        let said = |policy: &str, baseline: &str, more: &dyn Fn(&mut Simulate)| {
            format!("{:#}", run(policy, baseline, more).0.expect_err("it is refused"))
        };
        let sound = baseline_of("search");
        let told = said(POLICY, &sound, &|simulate| simulate.baseline.set_file_name("none.json"));
        assert!(told.contains("`tidegate baseline record`") && told.contains("none.json"), "{told}");
        let told = said(POLICY, &baseline_of("catalog"), &|_| {});
        assert!(told.contains("is a record of `catalog`, and this is `search`"), "{told}");
        let told = said(POLICY, &sound.replace("a test", "a guess"), &|_| {});
        assert!(told.contains("was changed after it was written"), "{told}");
        let told = said(&POLICY.replace("last", "split"), &sound, &|_| {});
        assert!(told.contains("counts reads alone"), "{told}");
        let told = said(&format!("{POLICY}windows.freeze = true\n"), &sound, &|_| {});
        assert!(told.contains("freezes all changes"), "{told}");
        let capture = POLICY.replace(
            "target.endpoints = [\"http://10.0.1.1:9200\"]\n",
            "shift.steps = []\ncapture.need = \"required\"\n",
        );
        let told = said(&capture, &sound, &|_| {});
        assert!(told.contains("moves nothing"), "{told}");
        let many = |simulate: &mut Simulate| simulate.faults = vec![simulate.faults[0]; study::FAULTS_MAX + 1];
        let told = said(POLICY, &sound, &many);
        assert!(told.contains("51 faults are more than one run takes"), "{told}");
        assert_eq!(run("service = 1\n", &sound, |_| {}).0.unwrap(), Exit::Error);
    }

    /// Proves that a page that nobody asked for lies among the temporary files, and never over another.
    #[test]
    fn a_page_without_a_name_is_a_new_temporary_file() {
        let path = write_page("a page", None).unwrap();
        assert!(path.starts_with(std::env::temp_dir()), "{}", path.display());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a page");
        std::fs::remove_file(path).unwrap();
    }
}
