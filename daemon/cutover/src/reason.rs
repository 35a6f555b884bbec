//! Why something was decided: the same words in the journal, on the screen, in alerts and in the dossier.

use serde::{Deserialize, Serialize};

/// Why. `kind` is stable and short, for machines; `text` is one sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// A stable word, such as `verdict_fail`.
    pub kind: String,
    /// One sentence, with the numbers.
    pub text: String,
}

impl Reason {
    /// A reason from its stable word and its sentence.
    pub fn new(kind: &str, text: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), text: text.into() }
    }
}
