//! How well speech is written down.

use headstart_data::speech::error_rate::{self, Edits};
use serde::{Deserialize, Serialize};

/// Everything that we say about transcripts on one part of the data. Rates are those of jiwer 4: all edits over all words, or
/// characters, of the references.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpeechMetrics {
    /// Number of recordings.
    pub recordings: usize,
    /// Words of the references.
    pub words: usize,
    /// Characters of the references, spaces between words among them.
    pub characters: usize,
    /// Word error rate; above 1 where more is written than was said.
    pub word_error_rate: f64,
    /// Character error rate.
    pub character_error_rate: f64,
    /// Recordings without a single error.
    pub exact: usize,
    /// Mean loss of a recording (CTC), in nats, where it was computed; those with fewer frames than letters do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
}

impl SpeechMetrics {
    /// Scores pairs of a reference and a hypothesis.
    pub(crate) fn new<'a>(pairs: &[(&'a str, &'a str)], loss: Option<f64>) -> Self {
        let (words, characters) = error_rate::of_all(pairs.iter().copied());
        let said = |edits: Edits| edits.hits + edits.substitutions + edits.deletions;
        Self {
            recordings: pairs.len(),
            words: said(words),
            characters: said(characters),
            word_error_rate: words.rate(),
            character_error_rate: characters.rate(),
            exact: pairs.iter().filter(|(reference, hypothesis)| reference == hypothesis).count(),
            loss,
        }
    }
}
