//! What the program and the crate's own test share: values in files against the functions they name.

use std::collections::BTreeMap;

use judge::dispersion::{Phi, phi_baseline};
use judge::engine::{Engine, Latencies, Normal, Table};
use judge::evidence::{self, Pair, Tolerance};
use judge::interval;
use judge::latency::{Alternative, Bins, Part, Shape, monotone_lr};
use judge::numbers::{qchisq, qnorm, wilson_hilferty};
use judge::wealth::Stakes;
use judge::{Guards, share};
use serde_json::Value;

/// How far a golden stream may deviate.
const GOLDEN_TOLERANCE: f64 = 1e-9;
/// Steps of the ladder on which the golden streams were made.
const GOLDEN_STEPS: u32 = 7;

/// What one function or stream came to.
#[derive(Default)]
struct Tally {
    passed: usize,
    failures: Vec<String>,
    skipped: Vec<String>,
}

/// What all files came to.
#[derive(Default)]
pub(crate) struct Report {
    tallies: BTreeMap<String, Tally>,
}

impl Report {
    /// Checks one file's content.
    ///
    /// # Errors
    /// When it has neither of the two formats.
    pub(crate) fn file(&mut self, file: &Value) -> Result<(), String> {
        if let Some(vectors) = file["vectors"].as_array() {
            for vector in vectors {
                self.vector(vector);
            }
            Ok(())
        } else if file["blocks"].is_array() {
            self.stream("golden stream", file)
        } else if let Some(streams) = file.as_object().filter(|streams| !streams.is_empty()) {
            streams.iter().try_for_each(|(name, stream)| self.stream(name, stream))
        } else {
            Err("it holds neither `vectors` nor streams with `blocks`".to_owned())
        }
    }

    /// A line per function and stream, and one per failure.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, tally) in &self.tallies {
            let Tally { passed, failures, skipped } = tally;
            if skipped.is_empty() {
                lines.push(format!("{name}: {passed} passed, {} failed", failures.len()));
            } else {
                lines.push(format!("{name}: skipped ({}), the product has no use for it", skipped.join(" ")));
            }
            lines.extend(failures.iter().map(|failure| format!("  FAILED {failure}")));
        }
        lines
    }

    /// How many values agree.
    pub(crate) fn passed(&self) -> usize {
        self.tallies.values().map(|tally| tally.passed).sum()
    }

    /// How many do not.
    pub(crate) fn failed(&self) -> usize {
        self.tallies.values().map(|tally| tally.failures.len()).sum()
    }

    /// How many name a function that the crate does not have.
    pub(crate) fn skipped(&self) -> usize {
        self.tallies.values().map(|tally| tally.skipped.len()).sum()
    }

    fn vector(&mut self, vector: &Value) {
        let name = vector["fn"].as_str().unwrap_or_default();
        let function = name.split([' ', '(', ':']).next().unwrap_or_default();
        let id = vector["id"].as_str().unwrap_or("?");
        let tally = self.tallies.entry(if name.starts_with("start masses") || name.starts_with("Wilson") {
            name.to_owned()
        } else {
            function.to_owned()
        });
        let tally = tally.or_default();
        let Some(computed) = compute(name, function, &vector["inputs"]) else {
            tally.skipped.push(id.to_owned());
            return;
        };
        let expected = flat(&vector["expected"]);
        let tolerance = vector["tol"].as_f64().unwrap_or(1e-9);
        let relative = vector["rel"].as_bool().unwrap_or(false);
        let agrees = computed.len() == expected.len()
            && computed.iter().zip(&expected).all(|(computed, expected)| {
                (computed - expected).abs() <= tolerance * if relative { expected.abs() } else { 1.0 }
            });
        if agrees {
            tally.passed += 1;
        } else {
            tally.failures.push(format!("{id}: computed {computed:?}, expected {expected:?} within {tolerance}"));
        }
    }

    fn stream(&mut self, name: &str, stream: &Value) -> Result<(), String> {
        let worst = golden(stream).map_err(|error| format!("stream `{name}`: {error}"))?;
        for (field, (deviation, checked)) in worst {
            let tally = self.tallies.entry(format!("{name} {field}")).or_default();
            // Written so that NaN fails.
            if deviation <= GOLDEN_TOLERANCE {
                tally.passed += checked;
            } else {
                tally.failures.push(format!("deviates by {deviation:e} in one of {checked} values"));
            }
        }
        Ok(())
    }
}

/// All numbers of a value, in order.
fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Number(number) => number.as_f64().into_iter().collect(),
        Value::Array(values) => values.iter().flat_map(flat).collect(),
        Value::Object(fields) => fields.values().flat_map(flat).collect(),
        _ => Vec::new(),
    }
}

/// A number among the inputs, by any of its names.
fn number(inputs: &Value, names: &[&str]) -> Option<f64> {
    names.iter().find_map(|name| inputs[name].as_f64())
}

/// Numbers among the inputs, by any of their names.
fn numbers(inputs: &Value, names: &[&str]) -> Option<Vec<f64>> {
    names.iter().find(|name| inputs[**name].is_array()).map(|name| flat(&inputs[*name]))
}

/// What the crate says; `None` when it has no such function.
fn compute(name: &str, function: &str, inputs: &Value) -> Option<Vec<f64>> {
    let get = |name: &str| number(inputs, &[name]);
    let one_sided = inputs["one_sided"].as_bool().unwrap_or(true);
    let one = |value: f64| Some(vec![value]);
    if name.starts_with("start masses") {
        return start_masses(inputs);
    }
    if name.starts_with("Wilson-Hilferty") {
        return one(wilson_hilferty(get("p")?, get("df")?));
    }
    match function {
        "qnorm" => one(qnorm(get("p")?)),
        "qchisq" => one(qchisq(get("p")?, get("df")?)),
        "log_e22" => {
            let (pair, tolerance) = (pair(inputs)?, tolerance(inputs)?);
            let ps = get("ps")?;
            let h = evidence::bet(&pair, tolerance, ps, get("R")?);
            // Where the file says which bet belongs to the ratio, that is checked too.
            let agrees = get("h").is_none_or(|expected| (expected - h).abs() <= 1e-9);
            one(if agrees { evidence::log_e22(&pair, tolerance, ps, h) } else { f64::NAN })
        }
        "e_two_proportions" => {
            let [k1, n1, k2, n2] = ["k1", "n1", "k2", "n2"].map(get);
            let pair = Pair { target_hits: k1?, target: n1?, source_hits: k2?, source: n2? };
            let odds = |p: f64| p / (1.0 - p);
            let h = odds(get("thetaA")?) / odds(get("theta0")?) - 1.0;
            one(evidence::log_e22(&pair, Tolerance { ratio: 1.0, margin: 0.0 }, get("theta0")?, h).exp())
        }
        "log_e_base" | "log_e_fixed" => {
            let p0 = number(inputs, &["p0", "p0b"])?;
            one(evidence::log_e_fixed(get("kT")?, get("nT")?, p0, get("R")?))
        }
        "phi_baseline" => {
            let hits = numbers(inputs, &["k", "hits", "err", "bad", "x"])?;
            let requests = numbers(inputs, &["n", "requests"])?;
            let none = Phi { minute: 1.0, longest: 1.0 };
            let Phi { minute, longest } = phi_baseline(&hits, &requests).unwrap_or(none);
            Some(vec![minute, longest])
        }
        "monotone_lr" => {
            let alternative = numbers(inputs, &["thT", "thA", "alternative", "alt", "target", "q", "a", "p1"])?;
            let reference = numbers(inputs, &["thS", "reference", "ref", "base", "source", "p", "b", "p0"])?;
            Some(monotone_lr(&alternative, &reference))
        }
        "two_sided_normal_mixture.best_rho" => one(interval::best_rho(get("v")?, get("alpha")?)),
        "bernoulli_confidence_interval" => {
            let (low, high) =
                interval::bernoulli_interval(get("successes")?, get("trials")?, get("alpha")?, get("t_opt")?);
            Some(vec![low, high])
        }
        "beta_binomial_log_mixture" => one(interval::beta_binomial_log_mixture(
            get("s")?,
            get("v")?,
            get("v_opt")?,
            get("g")?,
            get("h")?,
            one_sided,
        )),
        "beta_binomial_mixture_bound" => one(interval::beta_binomial_mixture_bound(
            get("v")?,
            get("alpha")?,
            get("v_opt")?,
            get("g")?,
            get("h")?,
            one_sided,
        )),
        "gamma_poisson_log_mixture" => {
            one(interval::gamma_poisson_log_mixture(get("s")?, get("v")?, get("v_opt")?, get("c")?))
        }
        "gamma_poisson_mixture_bound" => {
            one(interval::gamma_poisson_mixture_bound(get("v")?, get("alpha")?, get("v_opt")?, get("c")?))
        }
        "sequential_srm" => {
            let (null, prior) = (numbers(inputs, &["null"])?, numbers(inputs, &["alpha"])?);
            let mut counts = vec![0.0; prior.len()];
            let (mut mixed, mut known) = (Vec::new(), Vec::new());
            for unit in inputs["datapoints"].as_array()? {
                for (count, more) in counts.iter_mut().zip(flat(unit)) {
                    *count += more;
                }
                mixed.push(share::log_marginal(&counts, &prior));
                known.push(share::log_likelihood(&counts, &null));
            }
            mixed.extend(known);
            Some(mixed)
        }
        _ => None,
    }
}

fn pair(inputs: &Value) -> Option<Pair> {
    let [kt, nt, ks, ns] = ["kT", "nT", "kS", "nS"].map(|name| number(inputs, &[name]));
    Some(Pair { target_hits: kt?, target: nt?, source_hits: ks?, source: ns? })
}

fn tolerance(inputs: &Value) -> Option<Tolerance> {
    Some(Tolerance { ratio: number(inputs, &["r"])?, margin: number(inputs, &["d", "delta"])? })
}

/// Stakes laid and left, minute by minute; only with the constants that the crate has.
fn start_masses(inputs: &Value) -> Option<Vec<f64>> {
    let usual = [("step_mass", 0.8), ("first_share", 0.6), ("t0", 30.0)];
    if usual.iter().any(|(name, value)| number(inputs, &[name]).is_some_and(|given| (given - value).abs() > 1e-12)) {
        return None;
    }
    let mut stakes = Stakes::new(number(inputs, &["steps"])? as u32);
    let new_steps = numbers(inputs, &["new_step_at"])?;
    let minutes = number(inputs, &["minutes", "T", "n"]).unwrap_or(12.0) as u32;
    let mut masses = Vec::new();
    for minute in 1..=minutes {
        masses.push(stakes.lay(1.0, new_steps.contains(&f64::from(minute))));
        masses.push(stakes.rest());
    }
    Some(masses)
}

/// The worst deviation and how many values were looked at, for each field of a golden stream.
fn golden(stream: &Value) -> Result<BTreeMap<&'static str, (f64, usize)>, String> {
    let (baseline, model) = (&stream["baseline"], &stream["model"]);
    let mut worst: BTreeMap<&'static str, (f64, usize)> = BTreeMap::new();
    let mut check = |field, computed: f64, expected: f64| {
        let entry = worst.entry(field).or_default();
        let deviation = (computed - expected).abs();
        entry.0 = if deviation.is_nan() { f64::NAN } else { entry.0.max(deviation) };
        entry.1 += 1;
    };
    let series = |name: &str| {
        numbers(baseline, &[name]).filter(|v| !v.is_empty()).ok_or_else(|| format!("`baseline` has no `{name}`"))
    };
    let requests = series("n")?;
    let phi = |name| {
        phi_baseline(&series(name)?, &requests)
            .ok_or_else(|| format!("`baseline.{name}` is too short for a dispersion"))
    };
    let slow = [phi("slow50")?, phi("slow90")?, phi("slow99")?];
    let total: f64 = requests.iter().sum();
    let errors = series("err")?.iter().sum::<f64>() / total;
    let normal = Normal {
        errors,
        errors_high: errors,
        bad: series("bad")?.iter().sum::<f64>() / total,
        // No golden stream says anything of these, and none of its guards asks.
        client_errors: 0.0,
        redirects: 0.0,
        requests: total / requests.len() as f64,
        errors_phi: phi("err")?,
        bad_phi: phi("bad")?,
        client_errors_phi: phi("bad")?,
        redirects_phi: phi("bad")?,
        latency_phi: slow,
        exchange_phi: slow,
        latency_slow: [0.5, 0.1, 0.01],
        exchange_slow: [0.5, 0.1, 0.01],
        trusted: true,
    };
    let phis = [normal.errors_phi, normal.bad_phi, slow[0], slow[1], slow[2]];
    let expected = [&stream["phi0"]["err"], &stream["phi0"]["bad"], &stream["phi0"]["slow"]];
    let expected: Vec<f64> = expected.into_iter().flat_map(flat).collect();
    for (computed, expected) in phis.iter().flat_map(|phi| [phi.minute, phi.longest]).zip(expected) {
        check("phi0", computed, expected);
    }

    let mut guards = Guards::default();
    if let Some(alpha) = number(model, &["alpha"]) {
        guards.false_revert_max = alpha;
    }
    if let Some(weights) = numbers(model, &["component_log_weights"]) {
        for (guard, log) in guards.guards.iter_mut().zip(weights) {
            guard.weight = log.exp();
        }
    }
    if let (Some(r), Some(d)) = (number(model, &["r"]), number(model, &["d"])) {
        (guards.guards[0].ratio, guards.guards[0].margin) = (r, d);
    }
    let shape = shape(model)?;
    let steps = number(model, &["steps"]).map_or(GOLDEN_STEPS, |steps| steps as u32);
    let mut engine = Engine::new(&guards, &normal, steps);
    let log_limit = -guards.false_revert_max.ln();
    for block in stream["blocks"].as_array().ok_or("`blocks` is no list")? {
        engine.observe(&table(block, &shape)?);
        let phis = engine.phis();
        let computed = [phis.errors, phis.bad, phis.latency[0], phis.latency[1], phis.latency[2]];
        let expected = [&block["phi"]["err"], &block["phi"]["bad"], &block["phi"]["slow"]];
        for (computed, expected) in computed.into_iter().zip(expected.into_iter().flat_map(flat)) {
            check("phi", computed, expected);
        }
        let expected = numbers(block, &["log_components_weighted"]).ok_or("a block has no components")?;
        for ((_, computed), expected) in engine.log_components().zip(expected) {
            check("log_components_weighted", computed, expected);
        }
        let log_m = number(block, &["logM"]).ok_or("a block has no `logM`")?;
        check("logM", engine.log_evidence(), log_m);
        let revert = block["revert"].as_bool().ok_or("a block has no `revert`")?;
        check("revert", f64::from(u8::from(engine.log_evidence() >= log_limit)), f64::from(u8::from(revert)));
    }
    Ok(worst)
}

fn shape(model: &Value) -> Result<Shape, String> {
    let reference = numbers(model, &["thS"]).ok_or("`model` has no `thS`")?;
    let kinds = numbers(model, &["kind"]).ok_or("`model` has no `kind`")?;
    let alternatives = model["thA"].as_array().ok_or("`model` has no `thA`")?;
    let alternatives = alternatives.iter().zip(kinds).map(|(masses, kind)| Alternative {
        part: if kind == 0.0 { Part::Body } else { Part::Tail },
        masses: flat(masses),
    });
    Ok(Shape { reference, alternatives: alternatives.collect() })
}

fn table<'a>(block: &Value, shape: &'a Shape) -> Result<Table<'a>, String> {
    let get = |name: &str| number(block, &[name]).ok_or_else(|| format!("a block has no `{name}`"));
    let (nt, ns) = (get("nT")?, get("nS")?);
    let pair = |kt: f64, ks: f64| Pair { target_hits: kt, target: nt, source_hits: ks, source: ns };
    let (errors_t, errors_s) = (get("errT")?, get("errS")?);
    let bins = |name| numbers(block, &[name]).ok_or_else(|| format!("a block has no `{name}`"));
    let binned = |name| bins(name).map(|counts| counts.into_iter().collect::<Bins>());
    let (slow_t, slow_s) = (bins("slowT")?, bins("slowS")?);
    let slow = [0, 1, 2].map(|i| pair(slow_t[i], slow_s[i]));
    Ok(Table {
        millis: 60_000,
        new_step: block["new_step"].as_bool().unwrap_or(false),
        next_weight: 1.0,
        source_live: true,
        errors: pair(errors_t, errors_s),
        bad: pair(errors_t + get("c4T")?, errors_s + get("c4S")?),
        client_errors: pair(get("c4T")?, get("c4S")?),
        redirects: pair(0.0, 0.0),
        latency: Some(Latencies {
            shape,
            target: binned("binsT")?,
            target_parts: Default::default(),
            source: binned("binsS")?,
            slow,
            over: slow,
        }),
        exchange: None,
    })
}
