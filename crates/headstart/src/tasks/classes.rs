//! What tasks with one class an example share: loss, score and metrics of the outputs `[B, N]` of a classification head.

use burn::tensor::Tensor;

use super::Score;
use super::image_classification::metrics::ClassificationMetrics;
use super::image_classification::{decode, loss};
use crate::error::{Error, Result};
use crate::recipe::{HeadRecipe, Output, Recipe};

/// The right class of each example of a part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Truth<'a> {
    pub(crate) recipe: &'a Recipe,
    /// Class of each example.
    pub(crate) labels: &'a [usize],
    /// Number of classes.
    pub(crate) classes: usize,
}

impl Truth<'_> {
    /// Mean loss of some examples.
    pub(crate) fn loss(&self, outputs: Tensor<2>, examples: &[usize], weights: &[f32]) -> Tensor<1> {
        let labels: Vec<usize> = examples.iter().map(|&example| self.labels[example]).collect();
        match self.recipe.head.output {
            Output::Softmax => loss::cross_entropy(outputs, &labels, weights, self.recipe.label_smoothing),
            Output::Sigmoid | Output::Sigmoids => {
                loss::binary_cross_entropy(outputs, &labels, weights, self.recipe.label_smoothing)
            }
        }
    }

    /// Loss and accuracy of some examples.
    pub(crate) fn score(&self, examples: &[usize], outputs: &[f32]) -> Score {
        let mut score = Score::EMPTY;
        for (row, &example) in outputs.chunks_exact(outputs.len() / examples.len().max(1)).zip(examples) {
            let probabilities = decode::probabilities(row, self.recipe.head.output);
            let label = self.labels[example];
            score.add(Score {
                loss_sum: -f64::from(probabilities[label].max(f32::MIN_POSITIVE)).ln(),
                losses: 1,
                correct: usize::from(decode::best(&probabilities) == label),
                count: 1,
                found: None,
            });
            debug_assert_eq!(probabilities.len(), self.classes);
        }
        score
    }

    /// All metrics of a whole part.
    pub(crate) fn metrics(&self, outputs: &[f32]) -> ClassificationMetrics {
        let probabilities: Vec<f32> = outputs
            .chunks_exact(outputs.len() / self.labels.len().max(1))
            .flat_map(|row| decode::probabilities(row, self.recipe.head.output))
            .collect();
        ClassificationMetrics::from_probabilities(&probabilities, self.labels, self.classes)
            .expect("finite probabilities, one row a label: diverged training stops earlier")
    }
}

/// One sigmoid unit tells two classes apart.
///
/// # Errors
/// [`Error::Recipe`] when there are not two.
pub(crate) fn check_output(head: &HeadRecipe, classes: usize) -> Result<()> {
    if head.output == Output::Sigmoids {
        return Err(Error::Recipe {
            reason: "a sigmoid a label is for examples with several labels, and each has one class here".to_owned(),
            help: "leave --output out".to_owned(),
        });
    }
    if head.output == Output::Sigmoid && classes != 2 {
        return Err(Error::Recipe {
            reason: format!("one sigmoid unit tells two classes apart, the data has {classes}"),
            help: "leave --output softmax".to_owned(),
        });
    }
    Ok(())
}
