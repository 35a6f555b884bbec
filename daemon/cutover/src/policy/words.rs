//! Finding the word that was meant.

/// How alike two words must be (0 to 1) before one is offered for the other: by their beginnings, which is how keys differ,
/// or by how few letters must change.
const BEGINNING_MIN: f64 = 0.84;
const LETTERS_MIN: f64 = 0.6;

/// What other tools call our keys. Only those that no likeness would find.
const ELSEWHERE: [(&str, &str); 12] = [
    ("name", "service"),
    ("weights", "steps"),
    ("stepWeights", "steps"),
    ("stepWeight", "steps"),
    ("setWeight", "steps"),
    ("canary", "shift"),
    ("bakeTime", "bake_min"),
    ("rollback", "revert"),
    ("thresholds", "guards"),
    ("metrics", "guards"),
    ("approvals", "gates"),
    ("old", "source"),
];

/// The known word nearest to `word`, if one is near enough.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = plainly(word);
    let elsewhere = ELSEWHERE.iter().find(|(theirs, _)| plainly(theirs) == plain).map(|(_, ours)| *ours);
    let mut best: Option<(f64, &'a str)> = None;
    for candidate in known {
        if elsewhere == Some(candidate) {
            return Some(candidate);
        }
        let known = plainly(candidate);
        let beginning = strsim::jaro_winkler(&plain, &known);
        let letters = strsim::normalized_damerau_levenshtein(&plain, &known);
        let likeness = beginning + letters;
        if (beginning >= BEGINNING_MIN || letters >= LETTERS_MIN) && best.is_none_or(|(most, _)| likeness > most) {
            best = Some((likeness, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// A word without its case, and its parts in one order: `min_requests` and `requestsMin` are `requests_min`'s kin.
fn plainly(word: &str) -> String {
    let mut parts: Vec<String> = vec![String::new()];
    let mut before_upper = true;
    for c in word.chars() {
        if matches!(c, '_' | '-' | ' ' | '.') {
            parts.push(String::new());
        } else {
            if c.is_uppercase() && !before_upper {
                parts.push(String::new());
            }
            if let Some(part) = parts.last_mut() {
                part.extend(c.to_lowercase());
            }
        }
        before_upper = c.is_uppercase();
    }
    parts.sort();
    parts.concat()
}
