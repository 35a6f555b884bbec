//! Policy files on disk: which layers a service's policy has, and what they come to.
//!
//! Built-in defaults, then `defaults.toml` beside the service's file, then the file itself, then the environment as
//! `TIDEGATE_POLICY__SECTION__KEY`. The layers are read and checked by `cutover::policy`, which knows lines; the `config`
//! crate lays them over one another and remembers which layer each value came from. What a policy *means* is not decided
//! here.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use config::{Config, ConfigError, Map, Source, Value, ValueKind};
use cutover::policy::{self, Layer, Policy, Problem, Resolved, Severity};
use serde::Serialize;

/// The file that all services of a directory share.
pub const DEFAULTS: &str = "defaults.toml";

/// What the names of environment variables begin with.
const PREFIX: &str = "TIDEGATE_POLICY__";

/// Policies in one directory beyond this many are refused rather than half loaded.
pub const POLICIES_MAX: usize = 10_000;

/// A service's policy as its layers make it.
#[derive(Debug)]
pub struct Loaded {
    /// The service's file as it was named.
    pub file: PathBuf,
    /// The policy, unless something stands in its way.
    pub policy: Option<Policy>,
    /// Everything that is wrong with any layer, warnings included.
    pub problems: Vec<Problem>,
    /// What results, key by key in alphabetical order.
    pub values: Vec<Effective>,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
}

/// One value that results, and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effective {
    /// The key, such as `shift.bake_min`.
    pub key: String,
    /// Its value, in the words of the file.
    pub value: serde_json::Value,
    /// The layer: `built-in`, a file, or an environment variable.
    pub origin: String,
    /// The line in that file.
    pub line: Option<usize>,
}

impl Loaded {
    /// Whether nothing but warnings was found.
    pub fn is_sound(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity == Severity::Warning)
    }
}

/// The policy variables of this process, for [`load`].
pub fn environment() -> Vec<(String, String)> {
    let mut variables: Vec<_> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    variables.sort();
    variables
}

/// The policy of one service, read from its directory.
///
/// # Errors
/// What is wrong with it, in words, or that there is none.
pub fn of_service(policies_dir: &Path, service: &str) -> Result<Policy, String> {
    let cannot = |error: io::Error| format!("cannot read the policies in `{}`: {error}", policies_dir.display());
    for file in files_in(policies_dir).map_err(cannot)? {
        let loaded = load(&file, &environment()).map_err(cannot)?;
        // A file that is too broken to say whose it is counts by its name, as everywhere in the daemon.
        let named = || file.file_stem().is_some_and(|stem| stem == service);
        if loaded.policy.as_ref().map_or_else(named, |policy| policy.service == service) {
            let sound = loaded.is_sound();
            let problems = loaded.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            return loaded.policy.filter(|_| sound).ok_or(problems);
        }
    }
    Err(format!("no policy for it in `{}`", policies_dir.display()))
}

/// The services' files of a directory, sorted: every `*.toml` but the shared defaults.
///
/// # Errors
/// When the directory cannot be read, or holds more than [`POLICIES_MAX`].
pub fn files_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let named = path.extension().is_some_and(|extension| extension == "toml");
        if named && path.file_name().is_some_and(|name| name != DEFAULTS) && path.is_file() {
            files.push(path);
        }
        if files.len() > POLICIES_MAX {
            return Err(io::Error::other(format!("more than {POLICIES_MAX} policies in one directory")));
        }
    }
    files.sort();
    Ok(files)
}

/// Loads one service's policy with all its layers. `environment` is usually [`environment()`].
///
/// The shared defaults alone (`.../defaults.toml`) are checked as a layer and give no policy.
///
/// # Errors
/// When the file, or the shared defaults beside it, cannot be read. What is wrong *in* them is in [`Loaded::problems`].
pub fn load(file: &Path, environment: &[(String, String)]) -> io::Result<Loaded> {
    let mut layers = Vec::new();
    let shared = file.with_file_name(DEFAULTS);
    let alone = file.file_name() == shared.file_name();
    if !alone && shared.is_file() {
        layers.push(read_layer(&shared)?);
    }
    layers.push(read_layer(file)?);
    over_builtins(&mut layers);
    if alone {
        let problems = layers.iter().flat_map(|layer| layer.problems.iter().cloned()).collect();
        let (_, values) = merge(&layers).map_err(io::Error::other)?;
        return Ok(Loaded { file: file.to_owned(), policy: None, problems, values, layers });
    }
    for (name, value) in environment {
        if let Some(keys) = name.strip_prefix(PREFIX) {
            let below = policy::merge(&layers.iter().collect::<Vec<_>>());
            layers.push(policy::parse_variable(&keys_of(keys, &below), value, name));
        }
    }
    // A variable may have said another balancer.
    layers.retain(|layer| !layer.name.starts_with(policy::BUILTIN));
    over_builtins(&mut layers);
    let (merged, values) = merge(&layers).map_err(io::Error::other)?;
    let Resolved { policy, problems } = policy::resolve(&layers.iter().collect::<Vec<_>>(), &merged);
    Ok(Loaded { file: file.to_owned(), policy, problems, values, layers })
}

/// Puts what Tidegate assumes below what was written.
fn over_builtins(layers: &mut Vec<Layer>) {
    let builtins = policy::builtins(layers.iter());
    layers.splice(0..0, builtins.into_iter().cloned());
}

fn read_layer(file: &Path) -> io::Result<Layer> {
    let bytes = fs::read(file)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot read policy `{}`: {error}", file.display())))?;
    Ok(policy::parse_bytes(&bytes, &file.display().to_string()))
}

/// The keys that a variable's name means. Variables cannot spell `-`, so names that the layers below already know are
/// matched without regard to it: `TRIPWIRES__ERRORS_LASTING__LIMIT` is `tripwires.errors-lasting.limit`.
fn keys_of(name: &str, below: &serde_json::Value) -> Vec<String> {
    let mut at = Some(below);
    let mut keys = Vec::new();
    for part in name.split("__") {
        let plain = part.to_ascii_lowercase();
        let same = |key: &&String| key.replace('-', "_").to_ascii_lowercase() == plain;
        let known = at.and_then(|value| value.as_object()?.keys().find(same)).cloned();
        let key = known.unwrap_or(plain);
        at = at.and_then(|value| value.get(&key));
        keys.push(key);
    }
    keys
}

/// Lays the layers over one another.
fn merge(layers: &[Layer]) -> Result<(serde_json::Value, Vec<Effective>), ConfigError> {
    let merged = layers
        .iter()
        .fold(Config::builder(), |builder, layer| builder.add_source(LayerSource(layer.clone())))
        .build()?
        .collect()?;
    let mut values = BTreeMap::new();
    flatten("", &merged, &mut values);
    let values = values
        .into_iter()
        .map(|(key, (value, origin))| {
            let said = layers.iter().rev().find(|layer| layer.name == origin);
            let line =
                said.filter(|layer| !layer.name.starts_with(policy::BUILTIN)).and_then(|layer| layer.line_of(&key));
            Effective { key, value, origin, line }
        })
        .collect();
    Ok((plain(&Value::new(None, merged)), values))
}

/// One layer as the `config` crate reads it.
#[derive(Clone, Debug)]
struct LayerSource(Layer);

impl Source for LayerSource {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        match named(&self.0.value, &self.0.name).kind {
            ValueKind::Table(table) => Ok(table),
            _ => Ok(Map::new()),
        }
    }
}

/// A value with its layer's name on every part.
fn named(value: &serde_json::Value, origin: &String) -> Value {
    use serde_json::Value as Json;
    let kind = match value {
        Json::Null => ValueKind::Nil,
        Json::Bool(flag) => ValueKind::Boolean(*flag),
        Json::Number(number) => {
            number.as_u64().map_or_else(|| number.as_f64().map_or(ValueKind::Nil, ValueKind::Float), ValueKind::U64)
        }
        Json::String(text) => ValueKind::String(text.clone()),
        Json::Array(items) => ValueKind::Array(items.iter().map(|item| named(item, origin)).collect()),
        Json::Object(map) => {
            ValueKind::Table(map.iter().map(|(key, value)| (key.clone(), named(value, origin))).collect())
        }
    };
    Value::new(Some(origin), kind)
}

/// The same value without the names.
fn plain(value: &Value) -> serde_json::Value {
    match &value.kind {
        ValueKind::Nil => serde_json::Value::Null,
        ValueKind::Boolean(flag) => (*flag).into(),
        ValueKind::I64(number) => (*number).into(),
        ValueKind::U64(number) => (*number).into(),
        ValueKind::Float(number) => (*number).into(),
        ValueKind::String(text) => text.clone().into(),
        ValueKind::Array(items) => items.iter().map(plain).collect(),
        ValueKind::Table(table) => {
            // Sorted, because `config` keeps no order and what is printed should not change from run to run.
            let sorted: BTreeMap<_, _> = table.iter().map(|(key, value)| (key.clone(), plain(value))).collect();
            sorted.into_iter().collect()
        }
        // No layer says such a number: `named` above makes none.
        ValueKind::I128(_) | ValueKind::U128(_) => serde_json::Value::Null,
    }
}

fn flatten(path: &str, table: &Map<String, Value>, values: &mut BTreeMap<String, (serde_json::Value, String)>) {
    for (key, value) in table {
        let below = policy::join(path, key);
        match &value.kind {
            ValueKind::Table(inner) => flatten(&below, inner, values),
            _ => {
                values.insert(below, (plain(value), value.origin().unwrap_or(policy::BUILTIN).to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = r#"
service = "search"
[source]
endpoints = ["http://10.0.0.1:9200"]
headers = { "X-Dotted.Name" = "a" }
[target]
endpoints = ["http://10.0.1.1:9200"]
[shift]
writes = "last"
bake_min = "7m"
"#;

    fn directory(defaults: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(DEFAULTS), defaults).unwrap();
        let file = directory.path().join("search.toml");
        fs::write(&file, SERVICE).unwrap();
        (directory, file)
    }

    fn variables(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn value<'a>(loaded: &'a Loaded, key: &str) -> &'a Effective {
        loaded.values.iter().find(|value| value.key == key).unwrap()
    }

    #[test]
    fn each_layer_wins_over_the_ones_below_it() {
        // Proves: built-in < defaults.toml < the service's file < environment, and `show` can name each.
        let (_directory, file) = directory("[shift]\nbake_min = \"6m\"\nwarm_up = \"40s\"\nsettle = \"3s\"\n");
        let environment = variables(&[
            ("TIDEGATE_POLICY__SHIFT__WARM_UP", "50s"),
            ("TIDEGATE_POLICY__SHIFT__STEPS", "[5, 95, 100]"),
            ("TIDEGATE_POLICY__TRIPWIRES__ERRORS_LASTING__LIMIT", "30 %"),
            ("TIDEGATE_POLICY__WINDOWS__FREEZE", "true"),
            ("OTHER", "x"),
        ]);
        let loaded = load(&file, &environment).unwrap();
        assert_eq!(loaded.problems, []);
        let origins: Vec<_> = ["interval", "settle", "bake_min", "warm_up", "steps"]
            .map(|key| value(&loaded, &format!("shift.{key}")))
            .map(|value| (value.origin.rsplit('/').next().unwrap().to_owned(), value.line))
            .into();
        assert_eq!(
            origins,
            [
                ("built-in".to_owned(), None),
                ("defaults.toml".to_owned(), Some(4)),
                ("search.toml".to_owned(), Some(10)),
                ("TIDEGATE_POLICY__SHIFT__WARM_UP".to_owned(), Some(1)),
                ("TIDEGATE_POLICY__SHIFT__STEPS".to_owned(), Some(1)),
            ]
        );
        let policy = loaded.policy.unwrap();
        assert_eq!(policy.shift.bake_min.as_secs(), 420);
        assert_eq!(policy.shift.steps.len(), 3);
        assert!(policy.windows.freeze);
        assert_eq!(policy.source.headers["X-Dotted.Name"], "a");
    }

    #[test]
    fn a_file_in_another_encoding_is_refused_with_the_place() {
        // Proves: a letter of a file saved as Latin-1 is found by line and column, like every other problem.
        let (_directory, file) = directory("");
        let mut bytes = SERVICE.as_bytes().to_vec();
        bytes.extend(b"# f\xfcr die Suche\n");
        fs::write(&file, bytes).unwrap();
        let loaded = load(&file, &[]).unwrap();
        assert!(!loaded.is_sound());
        let told = loaded.problems[0].to_string();
        let line = SERVICE.lines().count() + 1;
        assert!(
            told.ends_with(&format!(":{line}:4: byte 0xfc is no UTF-8 text (hint: save the file as UTF-8)")),
            "{told}"
        );
    }

    #[test]
    fn config_merges_as_the_core_does() {
        // Proves: a policy read by a pure test and the same read by the daemon are one.
        let (_directory, file) =
            directory("[guards.errors]\ntolerance = \"20 %\"\n[target]\nheaders = { Host = \"b\" }\n");
        let loaded = load(&file, &[]).unwrap();
        let expected = policy::merge(&loaded.layers.iter().collect::<Vec<_>>());
        assert_eq!(merge(&loaded.layers).unwrap().0, expected);
    }

    #[test]
    fn a_bad_variable_is_reported_by_its_name() {
        // Proves: nobody has to guess that a value came from the environment.
        let (_directory, file) = directory("");
        let environment = variables(&[
            ("TIDEGATE_POLICY__SHIFT__BAKE_MIN", "5 mins"),
            ("TIDEGATE_POLICY__SHIFT__BAKEMAX", "5m"),
            ("TIDEGATE_POLICY__SHIFT__REQUESTS_MIN", "many"),
            ("TIDEGATE_POLICY__UNKNOWN__BLIND_BUDGET", "1s"),
        ]);
        let problems: Vec<String> =
            load(&file, &environment).unwrap().problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "TIDEGATE_POLICY__UNKNOWN__BLIND_BUDGET:1:1: a blind budget of 1s is spent before the first interval of 10s can be seen, so every step would revert (hint: allow at least two intervals and the settle time)",
                "TIDEGATE_POLICY__SHIFT__REQUESTS_MIN:1:1: this is text, but a whole number belongs here (hint: write a plain number)",
                "TIDEGATE_POLICY__SHIFT__BAKEMAX:1:1: unknown key `bakemax` in `shift` (hint: did you mean `bake_max`?)",
                "TIDEGATE_POLICY__SHIFT__BAKE_MIN:1:1: `5 mins` is not a duration (hint: write `5m`)",
            ]
        );
    }

    #[test]
    fn a_problem_of_the_shared_defaults_names_that_file() {
        // Proves: what is wrong in one layer is not blamed on another.
        let (_directory, file) = directory("[shift]\nsettel = \"6s\"\nbake_max = \"2m\"\n");
        let problems = load(&file, &[]).unwrap().problems;
        let short: Vec<_> = problems
            .iter()
            .map(|problem| (problem.file.rsplit('/').next().unwrap(), problem.line, problem.column))
            .collect();
        assert_eq!(short, [("search.toml", 10, 12), ("defaults.toml", 2, 1)]);
    }

    #[test]
    fn the_policies_of_the_readme_are_sound() {
        // Proves: who copies a policy out of the README has one that passes `policy check`.
        let readme = include_str!("../../../README.md");
        let blocks: Vec<&str> =
            readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
        assert!(blocks.len() >= 2, "the README has {} policies", blocks.len());
        let directory = tempfile::tempdir().unwrap();
        for (number, block) in blocks.iter().enumerate() {
            let file = directory.path().join(format!("{number}.toml"));
            fs::write(&file, block).unwrap();
            let loaded = load(&file, &[]).unwrap();
            assert!(loaded.is_sound(), "{:?} in\n{block}", loaded.problems);
        }
    }

    #[test]
    fn the_shared_defaults_are_no_service() {
        // Proves: a directory lists its services only, and the shared file is checked as a layer.
        let (directory, file) = directory("[shift]\nbake_min = \"6m\"\n");
        assert_eq!(files_in(directory.path()).unwrap(), [file]);
        let loaded = load(&directory.path().join(DEFAULTS), &[]).unwrap();
        assert!(loaded.is_sound() && loaded.policy.is_none());
    }
}
