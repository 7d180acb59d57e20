//! One label a picture.

pub mod decode;
pub mod metrics;

mod data;
mod head;
mod loss;

use burn::tensor::{Device, Tensor};
use headstart_data::layouts;
use headstart_data::preprocess::Preprocess;

pub use data::ImageExamples;
pub use head::ClassificationHead;
pub(crate) use loss::binary_cross_entropy;

use super::{Part, Score, Task, TaskSpec, View};
use crate::error::Result;
use crate::features::FeatureLayout;
use crate::parameters::{ParameterSpec, Parameters};
use crate::rate_finder::find_rates_task;
use crate::recipe::{ClassWeights, HeadRecipe, Output, Recipe};
use crate::run::{self, RunOptions};
use crate::train::observer::Observer;

/// The registry row.
pub(crate) static SPEC: TaskSpec = TaskSpec {
    name: ImageClassification::NAME,
    summary: "a folder of photos for each class → the class of a new photo",
    recognizes: layouts::holds_images,
    run: run::run_task::<ImageClassification>,
    extract: run::extract_task::<ImageClassification>,
    find_rates: find_rates_task::<ImageClassification>,
};

/// An image folder opened for classification.
#[derive(Debug)]
pub struct ImageClassification {
    examples: ImageExamples,
    class_rule: ClassWeights,
    class_weights: Vec<f32>,
}

impl Task for ImageClassification {
    const NAME: &'static str = "image_classification";

    type Head = ClassificationHead;

    fn open(recipe: &Recipe, options: &RunOptions, observer: &mut dyn Observer) -> Result<Self> {
        let examples = ImageExamples::open(recipe, options, observer)?;
        if recipe.head.output == Output::Sigmoid && examples.classes().len() != 2 {
            return Err(crate::Error::Recipe {
                reason: format!("one sigmoid unit tells two classes apart, the data has {}", examples.classes().len()),
                help: "leave --output softmax".to_owned(),
            });
        }
        let class_weights =
            loss::class_weights(recipe.class_weights, examples.labels(Part::Train), examples.classes().len());
        Ok(Self { examples, class_rule: recipe.class_weights, class_weights })
    }

    fn labels(&self) -> &[String] {
        self.examples.classes()
    }

    fn adopt_labels(&mut self, labels: Vec<String>) -> Result<()> {
        self.examples.adopt_labels(labels)?;
        let classes = self.examples.classes().len();
        self.class_weights = loss::class_weights(self.class_rule, self.examples.labels(Part::Train), classes);
        Ok(())
    }

    fn digests(&self, part: Part) -> Vec<[u8; 32]> {
        self.examples.digests(part)
    }

    fn classes(&self, part: Part) -> Option<Vec<usize>> {
        Some(self.examples.labels(part).to_vec())
    }

    fn skipped_count(&self) -> usize {
        self.examples.skipped_count()
    }

    fn input(&self, part: Part, index: usize, preprocess: &Preprocess, view: View<'_>) -> Result<Vec<f32>> {
        self.examples.input(part, index, preprocess, view)
    }

    fn head_parameters(&self, recipe: &HeadRecipe, layout: FeatureLayout) -> Vec<ParameterSpec> {
        ClassificationHead::parameters(recipe, layout, self.labels().len())
    }

    fn load_head(&self, recipe: &HeadRecipe, parameters: &Parameters, device: &Device) -> Result<ClassificationHead> {
        ClassificationHead::load(recipe, parameters, device)
    }

    fn loss(&self, recipe: &Recipe, outputs: Tensor<2>, examples: &[usize]) -> Tensor<1> {
        let labels = self.examples.labels(Part::Train);
        let labels: Vec<usize> = examples.iter().map(|&example| labels[example]).collect();
        match recipe.head.output {
            Output::Softmax => loss::cross_entropy(outputs, &labels, &self.class_weights, recipe.label_smoothing),
            Output::Sigmoid => {
                loss::binary_cross_entropy(outputs, &labels, &self.class_weights, recipe.label_smoothing)
            }
        }
    }

    fn score(&self, recipe: &Recipe, part: Part, examples: &[usize], outputs: &[f32]) -> Score {
        let labels = self.examples.labels(part);
        let classes = self.labels().len();
        let mut score = Score::EMPTY;
        for (row, &example) in outputs.chunks_exact(outputs.len() / examples.len().max(1)).zip(examples) {
            let probabilities = decode::probabilities(row, recipe.head.output);
            let label = labels[example];
            score.add(Score {
                loss_sum: -f64::from(probabilities[label].max(f32::MIN_POSITIVE)).ln(),
                correct: usize::from(decode::best(&probabilities) == label),
                count: 1,
            });
            debug_assert_eq!(probabilities.len(), classes);
        }
        score
    }

    fn metrics(&self, recipe: &Recipe, part: Part, outputs: &[f32]) -> metrics::ClassificationMetrics {
        let labels = self.examples.labels(part);
        let classes = self.labels().len();
        let probabilities: Vec<f32> = outputs
            .chunks_exact(outputs.len() / labels.len().max(1))
            .flat_map(|row| decode::probabilities(row, recipe.head.output))
            .collect();
        let metrics = metrics::ClassificationMetrics::from_probabilities(&probabilities, labels, classes)
            .expect("finite probabilities, one row a label: diverged training stops earlier");
        if recipe.head.original { metrics.of_seen_classes() } else { metrics }
    }
}
