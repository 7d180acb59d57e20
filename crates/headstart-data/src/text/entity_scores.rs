//! Precision, recall and F1 of entities, as seqeval 1.2.2 counts them.

use std::collections::{BTreeMap, HashSet};
use std::ops::Add;

use serde::{Deserialize, Serialize};

use super::entities::{Entity, Scheme, entities, strict_entities};

/// How tags are read when entities are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Leniently, as `conlleval` does.
    Lenient,
    /// What breaks the scheme is no entity.
    Strict(Scheme),
}

/// Why tags cannot be scored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntityScoresError {
    /// There are not as many predicted sentences or tags as true ones.
    #[error("sentence {sentence} has {found} predicted tags, {expected} were expected")]
    Shape {
        /// Index of the sentence; the number of true sentences where one side has more.
        sentence: usize,
        /// Number of true tags.
        expected: usize,
        /// Number of predicted tags.
        found: usize,
    },
}

/// Scores of all entities. Where nothing was predicted, or nothing is there, the part that it would divide by is 0 and so is
/// the score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntityScores {
    /// Scores of each kind that is there or was predicted, by name.
    pub kinds: BTreeMap<String, Score>,
    /// Over all entities.
    pub micro: Score,
    /// Mean over kinds.
    pub macro_average: Score,
    /// Mean over kinds, each counted as often as it is there.
    pub weighted_average: Score,
    /// Share of tags that are equal, in [0, 1]; entities apart.
    pub tag_accuracy: f64,
}

/// One row of scores, each in [0, 1].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Share of the predicted entities that are there.
    pub precision: f64,
    /// Share of the entities that were predicted.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// How many entities are there.
    pub support: usize,
}

/// How many things are there, were predicted, and both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// There.
    pub there: usize,
    /// Predicted.
    pub predicted: usize,
    /// Both.
    pub both: usize,
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            there: self.there + other.there,
            predicted: self.predicted + other.predicted,
            both: self.both + other.both,
        }
    }
}

impl Counts {
    /// Harmonic mean of precision and recall; 0 where nothing is there and nothing was predicted.
    pub fn f1(self) -> f64 {
        let all = self.there + self.predicted;
        if all == 0 { 0.0 } else { 2.0 * self.both as f64 / all as f64 }
    }

    fn score(self) -> Score {
        let share = |whole: usize| if whole == 0 { 0.0 } else { self.both as f64 / whole as f64 };
        let (precision, recall) = (share(self.predicted), share(self.there));
        let sum = precision + recall;
        let f1 = if sum == 0.0 { 0.0 } else { 2.0 * precision * recall / sum };
        Score { precision, recall, f1, support: self.there }
    }
}

/// Scores predicted tags, one list a sentence, against the true ones. An entity counts if kind, begin and end are right.
///
/// # Errors
/// [`EntityScoresError::Shape`].
pub fn score<T: AsRef<str>>(
    truth: &[Vec<T>],
    predicted: &[Vec<T>],
    mode: Mode,
) -> Result<EntityScores, EntityScoresError> {
    if truth.len() != predicted.len() {
        let sentence = truth.len().min(predicted.len());
        return Err(EntityScoresError::Shape { sentence, expected: truth.len(), found: predicted.len() });
    }
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    let (mut tags, mut equal) = (0, 0);
    for (sentence, (truth, predicted)) in truth.iter().zip(predicted).enumerate() {
        if truth.len() != predicted.len() {
            return Err(EntityScoresError::Shape { sentence, expected: truth.len(), found: predicted.len() });
        }
        tags += truth.len();
        equal += truth.iter().zip(predicted).filter(|(a, b)| a.as_ref() == b.as_ref()).count();
        count(truth, predicted, mode, &mut counts);
    }
    let kinds: BTreeMap<String, Score> = counts.iter().map(|(kind, counts)| (kind.clone(), counts.score())).collect();
    let all = counts.values().copied().fold(Counts::default(), Counts::add);
    Ok(EntityScores {
        micro: all.score(),
        macro_average: average(&kinds, all.there, |_| 1.0),
        weighted_average: average(&kinds, all.there, |score| score.support as f64),
        kinds,
        tag_accuracy: if tags == 0 { 0.0 } else { equal as f64 / tags as f64 },
    })
}

/// Entities of one sentence, read leniently.
pub fn counts<T: AsRef<str>>(truth: &[T], predicted: &[T]) -> Counts {
    let mut counts = BTreeMap::new();
    count(truth, predicted, Mode::Lenient, &mut counts);
    counts.into_values().fold(Counts::default(), Counts::add)
}

/// Adds the entities of one sentence to the counts of their kinds.
fn count<T: AsRef<str>>(truth: &[T], predicted: &[T], mode: Mode, counts: &mut BTreeMap<String, Counts>) {
    let plain = |tags: &[T]| -> HashSet<Entity> {
        let tags: Vec<&str> = tags.iter().map(AsRef::as_ref).collect();
        match mode {
            Mode::Lenient => entities(&tags).into_iter().collect(),
            Mode::Strict(scheme) => strict_entities(&tags, scheme).into_iter().collect(),
        }
    };
    let there = plain(truth);
    for entity in &there {
        counts.entry(entity.kind.clone()).or_default().there += 1;
    }
    for entity in plain(predicted) {
        let both = there.contains(&entity);
        let counts = counts.entry(entity.kind).or_default();
        counts.predicted += 1;
        counts.both += usize::from(both);
    }
}

/// A weighted mean of rows, summed in the order of their names.
fn average(kinds: &BTreeMap<String, Score>, support: usize, weight: impl Fn(&Score) -> f64) -> Score {
    let whole: f64 = kinds.values().map(&weight).sum();
    let mean = |part: fn(&Score) -> f64| {
        let sum: f64 = kinds.values().map(|score| part(score) * weight(score)).sum();
        if whole == 0.0 { 0.0 } else { sum / whole }
    };
    let (precision, recall, f1) = (mean(|score| score.precision), mean(|score| score.recall), mean(|score| score.f1));
    Score { precision, recall, f1, support }
}
