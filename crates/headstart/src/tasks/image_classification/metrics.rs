//! How good a classifier is, from its probabilities and the true classes.
//!
//! Definitions and corner cases are scikit-learn's (`zero_division = 0`), which the tests hold every value to. Pure
//! functions on slices, summed in a fixed order: the same input gives the same bytes on any machine.

use serde::{Deserialize, Serialize};

/// Why probabilities cannot be scored.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// There is nothing to score.
    #[error("no example to score")]
    NoExamples,
    /// The probabilities are not one row of `classes` values a label.
    #[error("{found} probabilities for {examples} labels of {classes} classes")]
    Shape {
        /// Number of labels, N.
        examples: usize,
        /// Number of classes, C.
        classes: usize,
        /// Number of probabilities, which should be N·C.
        found: usize,
    },
    /// A label is not a class index.
    #[error("label of example {example} is {label}, there are {classes} classes")]
    Label {
        /// Index of the example.
        example: usize,
        /// Its label.
        label: usize,
        /// Number of classes, C.
        classes: usize,
    },
    /// A probability is NaN or infinite: the model has diverged.
    #[error("example {example} has probability {value} for class {class}")]
    NotFinite {
        /// Index of the example.
        example: usize,
        /// Index of the class.
        class: usize,
        /// What was found.
        value: f32,
    },
}

/// Everything that we say about a classifier on one part of the data. All numbers are finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassificationMetrics {
    /// Number of examples scored, N.
    pub examples: usize,
    /// Share of examples whose most probable class (the first of equals) is the true one, in [0, 1].
    pub accuracy: f64,
    /// Wilson 95 % interval of [`accuracy`](Self::accuracy).
    pub accuracy_interval: Interval,
    /// Share of examples whose true class is among the five most probable; `None` with five classes or fewer.
    pub top5_accuracy: Option<f64>,
    /// Mean recall of the classes that occur among the labels.
    pub balanced_accuracy: f64,
    /// Mean of −ln(probability of the true class) in nats (log loss), probabilities clipped to [ε, 1 − ε], ε = 2⁻²³.
    pub cross_entropy: f64,
    /// Area under the ROC curve: of class 1 with two classes, else the macro average of one class against the rest.
    /// `None` where a class has no example or all of them.
    pub roc_auc: Option<f64>,
    /// Unweighted mean over all classes, absent ones counted as 0.
    pub macro_average: Average,
    /// From counts summed over the classes; with one label an example all three equal the accuracy.
    pub micro_average: Average,
    /// Mean over classes weighted by their number of examples.
    pub weighted_average: Average,
    /// Matthews's correlation coefficient over all classes, in [−1, 1]; 0 where it is not defined.
    #[serde(default)]
    pub matthews: f64,
    /// Indices of the labels that what follows is about, where it is not about all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<usize>>,
    /// One entry a class, in the order of the labels.
    pub per_class: Vec<ClassMetrics>,
    /// Number of examples, `[C, C]`: row = true class, column = predicted class.
    pub confusion: Vec<Vec<usize>>,
}

/// A confidence interval of a proportion, within [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

/// Precision, recall and F1 averaged over classes, each in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Average {
    /// Averaged precision.
    pub precision: f64,
    /// Averaged recall.
    pub recall: f64,
    /// Averaged F1, which is not the F1 of the two averages.
    pub f1: f64,
}

/// How well one class is told from the rest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// Share of the predictions of this class that are right; 0 if it is never predicted.
    pub precision: f64,
    /// Share of the examples of this class that are found; 0 if it has none.
    pub recall: f64,
    /// Harmonic mean of precision and recall; 0 if the class neither occurs nor is predicted.
    pub f1: f64,
    /// Number of examples of this class.
    pub support: usize,
    /// Area under the ROC curve of this class against the rest; `None` if it has no example or all of them.
    pub roc_auc: Option<f64>,
}

impl ClassificationMetrics {
    /// Scores `probabilities` `[N, C]`, row-major, against `labels` `[N]`, each below `classes` = C.
    ///
    /// Rows are taken as they are: they are not made to sum to 1.
    ///
    /// # Errors
    /// [`MetricsError`] if there is no example, the lengths disagree, a label is no class, or a value is not finite.
    pub fn from_probabilities(probabilities: &[f32], labels: &[usize], classes: usize) -> Result<Self, MetricsError> {
        check(probabilities, labels, classes)?;
        let examples = labels.len();
        let mut confusion = vec![vec![0; classes]; classes];
        let mut within_top5 = 0;
        let mut cross_entropy = 0.0;
        for (row, &label) in probabilities.chunks_exact(classes).zip(labels) {
            confusion[label][most_probable(row)] += 1;
            within_top5 += usize::from(rank(row, label) < 5);
            cross_entropy -= f64::from(row[label].clamp(f32::EPSILON, 1.0 - f32::EPSILON)).ln();
        }

        let column =
            |class: usize| -> Vec<f32> { probabilities.iter().skip(class).step_by(classes).copied().collect() };
        let per_class: Vec<ClassMetrics> = (0..classes)
            .map(|class| {
                let positive: Vec<bool> = labels.iter().map(|&label| label == class).collect();
                ClassMetrics::new(&confusion, class, roc_auc(&column(class), &positive))
            })
            .collect();
        let correct: usize = (0..classes).map(|class| confusion[class][class]).sum();
        let accuracy = ratio(correct, examples);
        let present = per_class.iter().filter(|class| class.support > 0);
        Ok(Self {
            examples,
            accuracy,
            accuracy_interval: wilson(correct, examples),
            top5_accuracy: (classes > 5).then(|| ratio(within_top5, examples)),
            balanced_accuracy: present.clone().map(|class| class.recall).sum::<f64>() / present.count() as f64,
            cross_entropy: cross_entropy / examples as f64,
            roc_auc: overall_roc_auc(&per_class),
            macro_average: Average::weighted(&per_class, |_| 1.0),
            micro_average: Average { precision: accuracy, recall: accuracy, f1: accuracy },
            weighted_average: Average::weighted(&per_class, |class| class.support as f64),
            matthews: matthews(&confusion),
            classes: None,
            per_class,
            confusion,
        })
    }

    /// The same, with what is said of single classes only of those that occur or were predicted, and the averages over
    /// those that occur: of a network that tells a thousand classes apart, most are not in the data.
    pub fn of_seen_classes(self) -> Self {
        let is_seen = |class: &usize| {
            self.confusion
                .iter()
                .zip(0..)
                .any(|(row, label)| row[*class] > 0 || label == *class && row.iter().any(|count| *count > 0))
        };
        let seen: Vec<usize> = (0..self.per_class.len()).filter(is_seen).collect();
        let per_class: Vec<ClassMetrics> = seen.iter().map(|&class| self.per_class[class]).collect();
        let confusion =
            seen.iter().map(|&row| seen.iter().map(|&column| self.confusion[row][column]).collect()).collect();
        Self {
            macro_average: Average::weighted(&per_class, |class| f64::from(u8::from(class.support > 0))),
            classes: Some(seen),
            per_class,
            confusion,
            ..self
        }
    }

    /// Index of the label of entry `row` of [`per_class`](Self::per_class).
    pub fn label_of(&self, row: usize) -> usize {
        self.classes.as_ref().map_or(row, |classes| classes[row])
    }
}

impl ClassMetrics {
    fn new(confusion: &[Vec<usize>], class: usize, roc_auc: Option<f64>) -> Self {
        let hits = confusion[class][class];
        let support = confusion[class].iter().sum();
        let predicted: usize = confusion.iter().map(|row| row[class]).sum();
        Self::of_counts(hits, support, predicted, roc_auc)
    }

    /// From the number of examples that have the class, that were said to, and that both is true of.
    pub(crate) fn of_counts(hits: usize, support: usize, predicted: usize, roc_auc: Option<f64>) -> Self {
        Self {
            precision: ratio(hits, predicted),
            recall: ratio(hits, support),
            f1: ratio(2 * hits, support + predicted),
            support,
            roc_auc,
        }
    }
}

impl Average {
    pub(crate) fn weighted(per_class: &[ClassMetrics], weight: impl Fn(&ClassMetrics) -> f64) -> Self {
        let total: f64 = per_class.iter().map(&weight).sum();
        let mean = |value: fn(&ClassMetrics) -> f64| {
            per_class.iter().map(|class| weight(class) * value(class)).sum::<f64>() / total
        };
        Self {
            precision: mean(|class| class.precision),
            recall: mean(|class| class.recall),
            f1: mean(|class| class.f1),
        }
    }
}

/// Wilson's score interval of `successes` in `trials` at 95 % (Wilson 1927): unlike the normal approximation it stays
/// within [0, 1] and has a width at 0 and at 1. [0, 1] without a trial.
pub fn wilson(successes: usize, trials: usize) -> Interval {
    /// 97.5 % quantile of the standard normal distribution.
    const Z: f64 = 1.959_963_984_540_054;
    if trials == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (n, share) = (trials as f64, ratio(successes, trials));
    let center = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    Interval {
        low: if successes == 0 { 0.0 } else { (center - half) / scale },
        high: if successes == trials { 1.0 } else { (center + half) / scale },
    }
}

/// Area under the ROC curve of `scores` `[N]` for `positive` `[N]`, by the rank-sum statistic (Mann & Whitney 1947): the
/// chance that a positive example scores higher than a negative one, equal scores counting half. `None` if one of the
/// two kinds is missing, or a score is NaN.
pub fn roc_auc(scores: &[f32], positive: &[bool]) -> Option<f64> {
    if scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let mut examples: Vec<(f32, bool)> = scores.iter().copied().zip(positive.iter().copied()).collect();
    examples.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut positives, mut negatives, mut wins_twice) = (0u64, 0u64, 0u128);
    for tied in examples.chunk_by(|a, b| a.0 == b.0) {
        let tied_positives = tied.iter().filter(|example| example.1).count() as u64;
        let tied_negatives = tied.len() as u64 - tied_positives;
        wins_twice += u128::from(tied_positives) * u128::from(2 * negatives + tied_negatives);
        positives += tied_positives;
        negatives += tied_negatives;
    }
    let pairs = u128::from(positives) * u128::from(negatives);
    (pairs > 0).then(|| wins_twice as f64 / (2 * pairs) as f64)
}

/// Matthews's correlation coefficient of a confusion matrix, for any number of classes (Gorodkin 2004).
fn matthews(confusion: &[Vec<usize>]) -> f64 {
    let all: usize = confusion.iter().flatten().sum();
    let hits: usize = (0..confusion.len()).map(|class| confusion[class][class]).sum();
    let pairs = |class: usize| {
        let there: usize = confusion[class].iter().sum();
        let predicted: usize = confusion.iter().map(|row| row[class]).sum();
        (there as f64, predicted as f64)
    };
    let sum = |term: fn((f64, f64)) -> f64| (0..confusion.len()).map(|class| term(pairs(class))).sum::<f64>();
    let (all, hits) = (all as f64, hits as f64);
    let covariance = hits * all - sum(|(there, predicted)| there * predicted);
    let spread =
        (all * all - sum(|(there, _)| there * there)) * (all * all - sum(|(_, predicted)| predicted * predicted));
    if spread == 0.0 { 0.0 } else { covariance / spread.sqrt() }
}

fn check(probabilities: &[f32], labels: &[usize], classes: usize) -> Result<(), MetricsError> {
    let examples = labels.len();
    if examples == 0 {
        return Err(MetricsError::NoExamples);
    }
    if classes == 0 || examples.checked_mul(classes) != Some(probabilities.len()) {
        return Err(MetricsError::Shape { examples, classes, found: probabilities.len() });
    }
    if let Some(example) = labels.iter().position(|&label| label >= classes) {
        return Err(MetricsError::Label { example, label: labels[example], classes });
    }
    if let Some(index) = probabilities.iter().position(|value| !value.is_finite()) {
        let (example, class) = (index / classes, index % classes);
        return Err(MetricsError::NotFinite { example, class, value: probabilities[index] });
    }
    Ok(())
}

/// Index of the highest value, the first of equals.
fn most_probable(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
}

/// How many classes come before `label` when the most probable is first, equals in the order of the classes.
fn rank(row: &[f32], label: usize) -> usize {
    let before = |(class, &value): (usize, &f32)| value > row[label] || (value == row[label] && class < label);
    row.iter().enumerate().filter(|&entry| before(entry)).count()
}

/// With two classes the curve of class 1, as is the custom; else the mean over classes, if each is defined.
fn overall_roc_auc(per_class: &[ClassMetrics]) -> Option<f64> {
    if let [_, second] = per_class {
        return second.roc_auc;
    }
    let areas: Option<Vec<f64>> = per_class.iter().map(|class| class.roc_auc).collect();
    areas.map(|areas| areas.iter().sum::<f64>() / areas.len() as f64)
}

/// `part / whole`, and 0 / 0 = 0.
pub(crate) fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Fixture {
        tolerance: f64,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        classes: usize,
        labels: Vec<usize>,
        probabilities: Vec<f32>,
        expected: ClassificationMetrics,
    }

    /// Every number of the metrics with the name of its place, `None` where undefined.
    fn numbers(metrics: &ClassificationMetrics) -> Vec<(String, Option<f64>)> {
        let mut found = Vec::new();
        let mut pending = vec![(String::new(), serde_json::to_value(metrics).expect("plain numbers"))];
        while let Some((place, value)) = pending.pop() {
            match value {
                serde_json::Value::Object(fields) => {
                    pending.extend(fields.into_iter().map(|(name, value)| (format!("{place}.{name}"), value)))
                }
                serde_json::Value::Array(values) => {
                    pending.extend(values.into_iter().enumerate().map(|(i, value)| (format!("{place}[{i}]"), value)))
                }
                value => found.push((place, value.as_f64())),
            }
        }
        found
    }

    #[test]
    fn classes_that_neither_occur_nor_are_predicted_can_be_left_out() {
        // Truth 1, 1, 4; predicted 1, 3, 4 of six classes.
        let row = |class: usize| (0..6).map(move |other| if other == class { 0.5 } else { 0.1 });
        let probabilities: Vec<f32> = row(1).chain(row(3)).chain(row(4)).collect();
        let all = ClassificationMetrics::from_probabilities(&probabilities, &[1, 1, 4], 6).unwrap();
        let seen = all.clone().of_seen_classes();
        assert_eq!(seen.classes, Some(vec![1, 3, 4]));
        assert_eq!(seen.confusion, [[1, 1, 0], [0, 0, 0], [0, 0, 1]]);
        assert_eq!((seen.label_of(2), all.label_of(2)), (4, 2));
        assert_eq!((seen.accuracy, seen.top5_accuracy), (all.accuracy, all.top5_accuracy));
        assert!((seen.macro_average.f1 - (2.0 / 3.0 + 1.0) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn every_metric_equals_scikit_learn() {
        let text = include_str!("../../../../../fixtures/metrics/classification.json");
        let fixture: Fixture = serde_json::from_str(text).expect("committed fixture");
        assert!(fixture.cases.len() >= 18);
        let mut differing = Vec::new();
        for case in &fixture.cases {
            let found = ClassificationMetrics::from_probabilities(&case.probabilities, &case.labels, case.classes)
                .expect("finite probabilities");
            let (found, expected) = (numbers(&found), numbers(&case.expected));
            assert_eq!(found.len(), expected.len(), "{}", case.name);
            for ((place, found), (_, expected)) in found.iter().zip(&expected) {
                let same = match (found, expected) {
                    (Some(found), Some(expected)) => (found - expected).abs() <= fixture.tolerance,
                    (None, None) => true,
                    _ => false,
                };
                if !same {
                    differing.push(format!("{}{place}: {found:?}, expected {expected:?}", case.name));
                }
            }
        }
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    }

    #[test]
    fn metrics_survive_json() {
        let metrics =
            ClassificationMetrics::from_probabilities(&[0.7, 0.2, 0.1, 0.3, 0.3, 0.4, 0.1, 0.8, 0.1], &[0, 1, 1], 3)
                .expect("finite probabilities");
        assert_eq!(metrics.roc_auc, None);
        let json = serde_json::to_string(&metrics).expect("plain numbers");
        let read: ClassificationMetrics = serde_json::from_str(&json).expect("own JSON");
        // Without `float_roundtrip`, serde_json may read the last bit of a number differently.
        for ((place, read), (_, written)) in numbers(&read).iter().zip(&numbers(&metrics)) {
            let close = match (read, written) {
                (Some(read), Some(written)) => (read - written).abs() <= 1e-15,
                _ => read == written,
            };
            assert!(close, "{place}: {read:?}, written {written:?}");
        }
        assert_eq!(read.confusion, metrics.confusion);
    }

    #[test]
    fn unusable_input_is_an_error_that_names_the_culprit() {
        let score = ClassificationMetrics::from_probabilities;
        assert_eq!(score(&[], &[], 2), Err(MetricsError::NoExamples));
        assert_eq!(score(&[0.5, 0.5, 1.0], &[0, 1], 2), Err(MetricsError::Shape { examples: 2, classes: 2, found: 3 }));
        assert_eq!(score(&[], &[0], 0), Err(MetricsError::Shape { examples: 1, classes: 0, found: 0 }));
        assert_eq!(
            score(&[], &[0, 0], usize::MAX),
            Err(MetricsError::Shape { examples: 2, classes: usize::MAX, found: 0 })
        );
        assert_eq!(
            score(&[0.5, 0.5, 1.0, 0.0], &[0, 2], 2),
            Err(MetricsError::Label { example: 1, label: 2, classes: 2 })
        );
        for value in [f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(
                score(&[0.5, 0.5, 1.0, value], &[0, 1], 2),
                Err(MetricsError::NotFinite { example: 1, class: 1, value })
            );
        }
        let message = score(&[0.5, f32::NAN], &[0], 2).expect_err("NaN").to_string();
        assert_eq!(message, "example 0 has probability NaN for class 1");
    }

    #[test]
    fn a_single_class_is_always_right_and_has_no_curve() {
        let metrics = ClassificationMetrics::from_probabilities(&[1.0, 1.0], &[0, 0], 1).expect("finite");
        assert_eq!((metrics.accuracy, metrics.roc_auc), (1.0, None));
        assert_eq!(metrics.confusion, [[2]]);
        assert!(metrics.cross_entropy < 1e-6);
    }

    #[test]
    fn certainty_in_the_wrong_class_costs_a_finite_amount() {
        let metrics = ClassificationMetrics::from_probabilities(&[1.0, 0.0], &[1], 2).expect("finite");
        assert!((metrics.cross_entropy - 23.0 * 2f64.ln()).abs() < 1e-9);
    }

    #[test]
    fn equal_scores_count_half_whatever_the_sign_of_zero() {
        let area = |scores: [f32; 4]| roc_auc(&scores, &[true, false, true, false]);
        assert_eq!(area([1.0, 0.0, 1.0, 0.0]), Some(1.0));
        assert_eq!(area([0.0, 1.0, 0.0, 1.0]), Some(0.0));
        assert_eq!(area([0.0, -0.0, -0.0, 0.0]), Some(0.5));
        assert_eq!(area([0.0, f32::NAN, 0.0, 1.0]), None);
        assert_eq!(roc_auc(&[0.1, 0.2], &[true, true]), None);
    }

    #[test]
    fn the_interval_stays_within_bounds_and_narrows_with_more_trials() {
        assert_eq!(wilson(0, 0), Interval { low: 0.0, high: 1.0 });
        assert_eq!(wilson(0, 10).low, 0.0);
        assert_eq!(wilson(10, 10).high, 1.0);
        let width = |trials| wilson(trials / 2, trials).high - wilson(trials / 2, trials).low;
        assert!(width(1000) < width(100) && width(100) < width(10));
    }
}
