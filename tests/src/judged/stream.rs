//! Counts that somebody else made, judged block by block.
//!
//! The format is that of the golden streams: `baseline` (the source's minutes: `n`, `err`, `bad`, `slow50`, `slow90`,
//! `slow99`), `model` (`thS`, `thA`, `kind`; optionally `alpha`, `component_log_weights`, `r`, `d`, `steps`) and `blocks`
//! (`new_step`, `nT`, `nS`, `errT`, `errS`, `c4T`, `c4S`, `binsT`, `binsS`, `slowT`, `slowS`; optionally `millis`, 60 s if
//! not said). Such a stream holds bins and no histograms, so the evidence is asked, not the judge around it: what the
//! watch on a failing or silent target would add is not in these verdicts.

use judge::dispersion::{Phi, phi_baseline};
use judge::engine::{Engine, Latencies, Normal, Table};
use judge::evidence::Pair;
use judge::latency::{Alternative, Part, Shape};
use judge::{GuardKind, Guards};
use serde_json::Value;

/// Steps of the ladder if the stream does not say.
const STEPS: u32 = 7;
/// No stream may be longer, in blocks: a year of seconds.
const BLOCKS_MAX: usize = 31_536_000;

/// What is proven after one block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// Evidence against the target, as a natural log.
    pub log_evidence: f64,
    /// Whether it reached its limit, now or before.
    pub fails: bool,
    /// The guard with the largest part of it.
    pub guard: Option<GuardKind>,
}

/// The streams of a file: its own name for one, or an object of named ones.
///
/// # Errors
/// When the file holds neither.
pub fn streams(file: &Value) -> Result<Vec<(String, &Value)>, String> {
    if file["blocks"].is_array() {
        return Ok(vec![("stream".to_owned(), file)]);
    }
    match file.as_object() {
        Some(streams) if !streams.is_empty() && streams.values().all(|stream| stream["blocks"].is_array()) => {
            Ok(streams.iter().map(|(name, stream)| (name.clone(), stream)).collect())
        }
        _ => Err("it holds neither `blocks` nor named streams with `blocks`".to_owned()),
    }
}

/// Judges one stream; one verdict for each block. `alpha` is used where the stream has none.
///
/// # Errors
/// When something is missing, no number, or cannot be counted: which, and in which block.
pub fn judge(stream: &Value, alpha: f64) -> Result<Vec<Judged>, String> {
    let model = &stream["model"];
    let mut guards = Guards { false_revert_max: alpha, ..Guards::default() };
    if let Some(alpha) = model["alpha"].as_f64() {
        guards.false_revert_max = alpha;
    }
    if let Some(weights) = model.get("component_log_weights") {
        let weights = numbers(weights).ok_or("`model.component_log_weights` is no list of numbers")?;
        for (guard, log) in guards.guards.iter_mut().zip(weights) {
            guard.weight = log.exp();
        }
    }
    if let Some(errors) = guards.guards.iter_mut().find(|guard| guard.kind == GuardKind::Errors) {
        errors.ratio = model["r"].as_f64().unwrap_or(errors.ratio);
        errors.margin = model["d"].as_f64().unwrap_or(errors.margin);
    }
    let shape = shape(model)?;
    let steps = model["steps"].as_u64().map_or(STEPS, |steps| steps as u32);
    let mut engine = Engine::new(&guards, &normal(&stream["baseline"])?, steps);
    let limit = -guards.false_revert_max.ln();
    let blocks = stream["blocks"].as_array().ok_or("`blocks` is no list")?;
    if blocks.len() > BLOCKS_MAX {
        return Err(format!("it has {} blocks, more than {BLOCKS_MAX}", blocks.len()));
    }
    let mut fails = false;
    let mut judged = Vec::with_capacity(blocks.len());
    for (at, block) in blocks.iter().enumerate() {
        engine.observe(&table(block, &shape).map_err(|why| format!("block {at}: {why}"))?);
        fails |= engine.log_evidence() >= limit;
        judged.push(Judged {
            log_evidence: engine.log_evidence(),
            fails,
            guard: engine.log_components().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(kind, _)| kind),
        });
    }
    Ok(judged)
}

/// All numbers of a list; `None` if it is none or one of them is none.
fn numbers(value: &Value) -> Option<Vec<f64>> {
    value.as_array()?.iter().map(Value::as_f64).collect()
}

/// A list of counts: finite and not below 0.
fn counts(of: &Value, name: &str) -> Result<Vec<f64>, String> {
    numbers(&of[name])
        .filter(|counts| counts.iter().all(|count| *count >= 0.0 && count.is_finite()))
        .ok_or_else(|| format!("`{name}` is no list of counts"))
}

/// What was normal for the source.
fn normal(baseline: &Value) -> Result<Normal, String> {
    let named = |name: &str| counts(baseline, name).map_err(|why| format!("`baseline`: {why}"));
    let requests = named("n")?;
    let total: f64 = requests.iter().sum();
    let phi = |name: &str| -> Result<(f64, Phi), String> {
        let hits = named(name)?;
        if hits.len() != requests.len() || hits.iter().zip(&requests).any(|(hits, requests)| hits > requests) {
            return Err(format!("`baseline.{name}` does not fit `baseline.n`"));
        }
        let phi = phi_baseline(&hits, &requests).ok_or_else(|| format!("`baseline.{name}` is too short"))?;
        Ok((hits.iter().sum::<f64>() / total, phi))
    };
    let ((errors, errors_phi), (bad, bad_phi)) = (phi("err")?, phi("bad")?);
    let slow = [phi("slow50")?.1, phi("slow90")?.1, phi("slow99")?.1];
    Ok(Normal {
        errors,
        errors_high: errors,
        bad,
        // No golden stream says anything of these, and none of its guards asks.
        client_errors: 0.0,
        redirects: 0.0,
        requests: total / requests.len() as f64,
        errors_phi,
        bad_phi,
        client_errors_phi: bad_phi,
        redirects_phi: bad_phi,
        latency_phi: slow,
        exchange_phi: slow,
        latency_slow: [0.5, 0.1, 0.01],
        exchange_slow: [0.5, 0.1, 0.01],
        trusted: true,
    })
}

/// The bins' masses under the reference and under each alternative.
fn shape(model: &Value) -> Result<Shape, String> {
    let reference = counts(model, "thS").map_err(|why| format!("`model`: {why}"))?;
    let kinds = counts(model, "kind").map_err(|why| format!("`model`: {why}"))?;
    let alternatives = model["thA"].as_array().ok_or("`model.thA` is no list")?;
    let alternatives: Vec<Alternative> = alternatives
        .iter()
        .zip(kinds)
        .filter_map(|(masses, kind)| {
            let masses = numbers(masses).filter(|masses| masses.len() == reference.len())?;
            Some(Alternative { part: if kind == 0.0 { Part::Body } else { Part::Tail }, masses })
        })
        .collect();
    if alternatives.is_empty() {
        return Err("`model.thA` has no alternative with as many bins as `model.thS`".to_owned());
    }
    Ok(Shape { reference, alternatives })
}

/// One block as tables.
fn table<'a>(block: &Value, shape: &'a Shape) -> Result<Table<'a>, String> {
    let count = |name: &str| {
        let count = block[name].as_f64().filter(|count| *count >= 0.0 && count.is_finite());
        count.ok_or_else(|| format!("`{name}` is no count"))
    };
    let (target, source) = (count("nT")?, count("nS")?);
    let pair = |hits: (f64, f64), what: &str| {
        if hits.0 > target || hits.1 > source {
            return Err(format!("more {what} than requests"));
        }
        Ok(Pair { target_hits: hits.0, target, source_hits: hits.1, source })
    };
    let errors = (count("errT")?, count("errS")?);
    let bad = (errors.0 + count("c4T")?, errors.1 + count("c4S")?);
    let (bins_target, bins_source) = (counts(block, "binsT")?, counts(block, "binsS")?);
    if bins_target.len() != shape.reference.len() || bins_source.len() != shape.reference.len() {
        return Err(format!("its bins are not the {} of `model.thS`", shape.reference.len()));
    }
    let (slow_target, slow_source) = (counts(block, "slowT")?, counts(block, "slowS")?);
    let &[t50, t90, t99] = slow_target.as_slice() else { return Err("`slowT` has not three counts".to_owned()) };
    let &[s50, s90, s99] = slow_source.as_slice() else { return Err("`slowS` has not three counts".to_owned()) };
    let slow =
        [pair((t50, s50), "slow answers")?, pair((t90, s90), "slow answers")?, pair((t99, s99), "slow answers")?];
    let millis = block["millis"].as_u64().unwrap_or(60_000);
    if millis == 0 {
        return Err("it has no length".to_owned());
    }
    Ok(Table {
        millis,
        new_step: block["new_step"].as_bool().unwrap_or(false),
        next_weight: 1.0,
        source_live: true,
        errors: pair(errors, "errors")?,
        bad: pair(bad, "bad answers")?,
        client_errors: pair((count("c4T")?, count("c4S")?), "client errors")?,
        redirects: pair((0.0, 0.0), "redirects")?,
        latency: Some(Latencies {
            shape,
            target: bins_target.into_iter().collect(),
            target_parts: Default::default(),
            source: bins_source.into_iter().collect(),
            slow,
            over: slow,
        }),
        exchange: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> Value {
        serde_json::from_str(include_str!("../../../daemon/judge/tests/vectors/golden_stream.json")).unwrap()
    }

    #[test]
    fn the_golden_streams_are_judged_as_recorded() {
        let file = golden();
        let streams = streams(&file).unwrap();
        assert!(!streams.is_empty());
        for (name, stream) in streams {
            let judged = judge(stream, 0.05).unwrap();
            let blocks = stream["blocks"].as_array().unwrap();
            assert_eq!(judged.len(), blocks.len());
            for (judged, block) in judged.iter().zip(blocks) {
                assert!((judged.log_evidence - block["logM"].as_f64().unwrap()).abs() < 1e-9, "{name}");
                assert!(judged.fails || !block["revert"].as_bool().unwrap(), "{name}");
            }
        }
    }

    #[test]
    fn a_stream_that_cannot_be_is_refused_with_the_block() {
        let file = golden();
        let stream = streams(&file).unwrap()[0].1.clone();
        let refusal = |change: &dyn Fn(&mut Value)| {
            let mut changed = stream.clone();
            change(&mut changed);
            judge(&changed, 0.05).unwrap_err()
        };
        assert!(refusal(&|s| s["blocks"][3]["errT"] = 1e9.into()).contains("block 3: more errors than requests"));
        assert!(refusal(&|s| s["blocks"][0]["nS"] = (-1).into()).contains("block 0: `nS` is no count"));
        assert!(refusal(&|s| s["blocks"][0]["binsT"] = vec![1, 2].into()).contains("its bins are not the 11"));
        assert!(refusal(&|s| s["baseline"]["err"] = vec![1].into()).contains("does not fit"));
        assert!(streams(&serde_json::json!({"a": 1})).is_err());
    }
}
