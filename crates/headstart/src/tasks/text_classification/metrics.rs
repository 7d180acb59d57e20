//! How well any number of labels an example are found, from the probability of each.
//!
//! Definitions and corner cases are scikit-learn's (`zero_division = 0`), which the tests hold every value to.

use serde::{Deserialize, Serialize};

use crate::tasks::image_classification::metrics::{Average, ClassMetrics, Interval, ratio, roc_auc, wilson};

/// A label is said where it is more probable than not.
pub const THRESHOLD: f32 = 0.5;

/// Everything that we say about found labels on one part of the data. All numbers are finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelMetrics {
    /// Number of examples, N.
    pub examples: usize,
    /// Share of examples whose labels are all right, none missing and none too many.
    pub exact_match: f64,
    /// Wilson 95 % interval of [`exact_match`](Self::exact_match).
    pub exact_match_interval: Interval,
    /// Share of the N · L answers that are wrong.
    pub hamming_loss: f64,
    /// Mean binary cross-entropy of the N · L answers in nats, probabilities clipped to [ε, 1 − ε], ε = 2⁻²³.
    pub binary_cross_entropy: f64,
    /// Mean over labels of the area under the ROC curve; `None` where a label has no example or all of them.
    pub roc_auc: Option<f64>,
    /// Over all answers together.
    pub micro_average: Average,
    /// Unweighted mean over labels.
    pub macro_average: Average,
    /// Mean over labels weighted by their number of examples.
    pub weighted_average: Average,
    /// One entry a label, in their order.
    pub per_label: Vec<ClassMetrics>,
}

impl LabelMetrics {
    /// Scores `probabilities` `[N, L]`, row-major, against the labels of each example, each below `count` = L.
    pub(crate) fn new(probabilities: &[f32], truth: &[Vec<usize>], count: usize) -> Self {
        let answers: Vec<Vec<bool>> =
            truth.iter().map(|labels| (0..count).map(|label| labels.contains(&label)).collect()).collect();
        let rows = || probabilities.chunks_exact(count).zip(&answers);
        let said = |probability: &f32| *probability > THRESHOLD;
        let mut per_label = Vec::with_capacity(count);
        let (mut hits, mut there, mut predicted) = (0, 0, 0);
        for label in 0..count {
            let positive: Vec<bool> = answers.iter().map(|row| row[label]).collect();
            let scores: Vec<f32> = probabilities.iter().skip(label).step_by(count).copied().collect();
            let support = positive.iter().filter(|positive| **positive).count();
            let found = scores.iter().filter(|score| said(score)).count();
            let both = scores.iter().zip(&positive).filter(|(score, positive)| said(score) && **positive).count();
            per_label.push(ClassMetrics::of_counts(both, support, found, roc_auc(&scores, &positive)));
            (hits, there, predicted) = (hits + both, there + support, predicted + found);
        }
        let exact = rows().filter(|(row, right)| row.iter().map(said).eq(right.iter().copied())).count();
        let wrong = there + predicted - 2 * hits;
        let loss = |(row, right): (&[f32], &Vec<bool>)| -> f64 {
            let of_one = |(probability, positive): (&f32, &bool)| {
                let probability = f64::from(probability.clamp(f32::EPSILON, 1.0 - f32::EPSILON));
                -(if *positive { probability } else { 1.0 - probability }).ln()
            };
            row.iter().zip(right).map(of_one).sum()
        };
        let areas: Option<Vec<f64>> = per_label.iter().map(|label| label.roc_auc).collect();
        Self {
            examples: truth.len(),
            exact_match: ratio(exact, truth.len()),
            exact_match_interval: wilson(exact, truth.len()),
            hamming_loss: ratio(wrong, truth.len() * count),
            binary_cross_entropy: rows().map(loss).sum::<f64>() / (truth.len() * count).max(1) as f64,
            roc_auc: areas
                .filter(|areas| !areas.is_empty())
                .map(|areas| areas.iter().sum::<f64>() / areas.len() as f64),
            micro_average: Average {
                precision: ratio(hits, predicted),
                recall: ratio(hits, there),
                f1: ratio(2 * hits, there + predicted),
            },
            macro_average: Average::weighted(&per_label, |_| 1.0),
            weighted_average: match there {
                0 => Average { precision: 0.0, recall: 0.0, f1: 0.0 },
                _ => Average::weighted(&per_label, |label| label.support as f64),
            },
            per_label,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Fixture {
        tolerance: f64,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        probabilities: Vec<f32>,
        labels: Vec<Vec<usize>>,
        count: usize,
        expected: serde_json::Value,
    }

    #[test]
    fn every_value_is_scikit_learns() {
        let text = include_str!("../../../../../fixtures/metrics/labels.json");
        let fixture: Fixture = serde_json::from_str(text).expect("committed fixture");
        assert!(fixture.cases.len() >= 8);
        for (index, case) in fixture.cases.iter().enumerate() {
            let found = LabelMetrics::new(&case.probabilities, &case.labels, case.count);
            let found = serde_json::to_value(&found).unwrap();
            for (name, expected) in case.expected.as_object().unwrap() {
                match (found[name].as_f64(), expected.as_f64()) {
                    (Some(found), Some(expected)) => {
                        assert!(
                            (found - expected).abs() <= fixture.tolerance,
                            "case {index} {name}: {found} {expected}"
                        );
                    }
                    (None, None) if expected.is_null() => assert!(found[name].is_null(), "case {index} {name}"),
                    _ => {
                        for part in ["precision", "recall", "f1"] {
                            let (found, expected) =
                                (found[name][part].as_f64().unwrap(), expected[part].as_f64().unwrap());
                            assert!(
                                (found - expected).abs() <= fixture.tolerance,
                                "case {index} {name} {part}: {found} {expected}"
                            );
                        }
                    }
                }
            }
        }
    }
}
