//! How well entities are found.

use headstart_data::text::entities::Scheme;
use headstart_data::text::entity_scores::{self, EntityScores, Mode};
use serde::{Deserialize, Serialize};

/// Everything that we say about found entities on one part of the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntityMetrics {
    /// Number of texts.
    pub texts: usize,
    /// Number of words; one whose tokens were cut off counts as outside.
    pub words: usize,
    /// Mean of −ln(probability of the right tag) over the words that were read, in nats.
    pub cross_entropy: f64,
    /// As seqeval counts by default, and `conlleval`.
    pub entities: EntityScores,
    /// As seqeval counts in strict mode under IOB2.
    pub strict: EntityScores,
}

impl EntityMetrics {
    /// Scores predicted tags, a list a text, against true ones of the same lengths.
    pub(crate) fn new(truth: &[Vec<&str>], predicted: &[Vec<&str>], cross_entropy: f64) -> Self {
        let score = |mode| {
            entity_scores::score(truth, predicted, mode)
                .expect("every word of every text has a true and a predicted tag")
        };
        Self {
            texts: truth.len(),
            words: truth.iter().map(Vec::len).sum(),
            cross_entropy,
            entities: score(Mode::Lenient),
            strict: score(Mode::Strict(Scheme::Iob2)),
        }
    }
}
