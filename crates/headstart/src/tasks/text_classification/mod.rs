//! One class a text, or any number of labels.

pub mod metrics;

mod data;

use burn::tensor::{Device, Tensor};
use headstart_data::layouts;

pub use data::TextExamples;
use metrics::{LabelMetrics, THRESHOLD};

use super::classes::{Truth, check_output};
use super::image_classification::{ClassificationHead, decode, loss};
use super::{Asked, Counts, Metrics, Part, Reads, Score, Task, TaskSpec, View};
use crate::error::{Error, Result};
use crate::features::FeatureLayout;
use crate::network::Network;
use crate::parameters::{ParameterSpec, Parameters};
use crate::rate_finder::find_rates_task;
use crate::recipe::{ClassWeights, HeadRecipe, Output, Pool, Recipe};
use crate::run::{self, RunOptions};
use crate::train::observer::Observer;

/// The registry row.
pub(crate) static SPEC: TaskSpec = TaskSpec {
    name: TextClassification::NAME,
    summary: "a table, JSON lines or a folder of texts with their classes or labels → those of a new text",
    reads: Reads::Text,
    recognizes: layouts::holds_texts,
    run: run::run_task::<TextClassification>,
    extract: run::extract_task::<TextClassification>,
    find_rates: find_rates_task::<TextClassification>,
};

/// Labelled texts opened for classification.
#[derive(Debug)]
pub struct TextClassification {
    examples: TextExamples,
    weights: Vec<f32>,
}

impl TextClassification {
    fn truth<'a>(&'a self, recipe: &'a Recipe, part: Part) -> Truth<'a> {
        Truth { recipe, labels: self.examples.classes(part), classes: self.examples.names().len() }
    }

    /// Labels that are said and their loss, of some examples.
    fn score_labels(&self, part: Part, examples: &[usize], outputs: &[f32]) -> Score {
        let count = self.examples.names().len();
        let mut score = Score::EMPTY;
        let mut found = Counts::default();
        for (row, &example) in outputs.chunks_exact(count).zip(examples) {
            let right = &self.examples.labels(part)[example];
            for (label, probability) in decode::probabilities(row, Output::Sigmoids).into_iter().enumerate() {
                let (is_there, is_said) = (right.contains(&label), probability > THRESHOLD);
                let of_truth = if is_there { probability } else { 1.0 - probability };
                score.loss_sum -= f64::from(of_truth.max(f32::MIN_POSITIVE)).ln();
                score.correct += usize::from(is_there == is_said);
                found.there += usize::from(is_there);
                found.predicted += usize::from(is_said);
                found.both += usize::from(is_there && is_said);
            }
            score.losses += count;
            score.count += count;
        }
        Score { found: Some(found), ..score }
    }
}

/// Weight of each label where it is there: as often as it is not, at most a hundred times.
fn label_weights(rule: ClassWeights, labels: &[Vec<usize>], count: usize) -> Vec<f32> {
    const MOST: f32 = 100.0;
    let there = |label: usize| labels.iter().filter(|labels| labels.contains(&label)).count().max(1);
    match rule {
        ClassWeights::None => vec![1.0; count],
        ClassWeights::Balanced => (0..count)
            .map(|label| {
                ((labels.len() - there(label).min(labels.len())) as f32 / there(label) as f32).clamp(1.0, MOST)
            })
            .collect(),
    }
}

impl Task for TextClassification {
    const NAME: &'static str = "text_classification";
    const READS: Reads = Reads::Text;

    type Head = ClassificationHead;

    fn open(recipe: &Recipe, network: &Network, _options: &RunOptions, observer: &mut dyn Observer) -> Result<Self> {
        let examples = TextExamples::open(recipe, network.text()?, Self::NAME, observer)?;
        let (rule, count) = (recipe.class_weights, examples.names().len());
        let weights = match examples.has_several() {
            true => label_weights(rule, examples.labels(Part::Train), count),
            false => loss::class_weights(rule, examples.classes(Part::Train), count),
        };
        Ok(Self { examples, weights })
    }

    /// Any number of labels needs a unit each, whatever output was left at its default.
    fn head_recipe(&self, asked: &HeadRecipe) -> Result<HeadRecipe> {
        let fail = |reason: &str, help: &str| Err(Error::Recipe { reason: reason.to_owned(), help: help.to_owned() });
        if asked.original || matches!(asked.pool, Pool::Flatten | Pool::Logits | Pool::Tokens) {
            return fail(
                "a head of texts takes the average, the first or the last token",
                "write --head linear or first+mlp:256",
            );
        }
        if !self.examples.has_several() {
            check_output(asked, self.labels().len())?;
            return Ok(asked.clone());
        }
        if asked.output == Output::Sigmoid {
            return fail(
                "one sigmoid unit tells two classes apart, and the data has several labels a text",
                "leave --output out",
            );
        }
        Ok(HeadRecipe { output: Output::Sigmoids, ..asked.clone() })
    }

    fn labels(&self) -> &[String] {
        self.examples.names()
    }

    fn digests(&self, part: Part) -> Vec<[u8; 32]> {
        self.examples.digests(part)
    }

    fn classes(&self, part: Part) -> Option<Vec<usize>> {
        (!self.examples.has_several()).then(|| self.examples.classes(part).to_vec())
    }

    fn skipped_count(&self) -> usize {
        self.examples.skipped_count()
    }

    fn input(&self, part: Part, index: usize, _network: &Network, _view: View<'_>) -> Result<Vec<f32>> {
        Ok(self.examples.tokens(part, index).to_vec())
    }

    fn head_parameters(&self, recipe: &HeadRecipe, layout: FeatureLayout) -> Vec<ParameterSpec> {
        ClassificationHead::parameters(recipe, layout, self.labels().len())
    }

    fn load_head(&self, recipe: &HeadRecipe, parameters: &Parameters, device: &Device) -> Result<ClassificationHead> {
        ClassificationHead::load(recipe, parameters, device)
    }

    fn loss(&self, recipe: &Recipe, outputs: Tensor<2>, asked: Asked<'_>) -> Tensor<1> {
        if !self.examples.has_several() {
            return self.truth(recipe, Part::Train).loss(outputs, asked.examples, &self.weights);
        }
        let all = self.examples.labels(Part::Train);
        let labels: Vec<&[usize]> = asked.examples.iter().map(|&example| all[example].as_slice()).collect();
        loss::binary_cross_entropies(outputs, &labels, &self.weights, recipe.label_smoothing)
    }

    fn score(&self, recipe: &Recipe, part: Part, asked: Asked<'_>, outputs: &[f32]) -> Score {
        match self.examples.has_several() {
            true => self.score_labels(part, asked.examples, outputs),
            false => self.truth(recipe, part).score(asked.examples, outputs),
        }
    }

    fn metrics(&self, recipe: &Recipe, part: Part, outputs: &[f32], _rows: &[usize]) -> Metrics {
        if !self.examples.has_several() {
            return Metrics::Classes(self.truth(recipe, part).metrics(outputs));
        }
        let count = self.labels().len();
        let rows = outputs.chunks_exact(count);
        let probabilities: Vec<f32> = rows.flat_map(|row| decode::probabilities(row, Output::Sigmoids)).collect();
        Metrics::Labels(LabelMetrics::new(&probabilities, self.examples.labels(part), count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rare_label_weighs_as_much_as_it_is_rare() {
        let labels = [vec![0], vec![0, 1], vec![0], vec![]];
        assert_eq!(label_weights(ClassWeights::Balanced, &labels, 3), [1.0, 3.0, 3.0]);
        assert_eq!(label_weights(ClassWeights::None, &labels, 3), [1.0; 3]);
    }
}
