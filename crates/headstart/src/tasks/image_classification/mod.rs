//! One label a picture.

pub mod decode;
pub mod metrics;

pub(crate) mod data;
mod head;
pub(crate) mod loss;

use burn::tensor::{Device, Tensor};
use headstart_data::layouts;

pub use data::ImageExamples;
pub use head::ClassificationHead;
pub(crate) use loss::binary_cross_entropy;

use super::classes::{Truth, check_output};
use super::{Asked, Metrics, Part, Reads, Score, Task, TaskSpec, View};
use crate::error::{Error, Result};
use crate::features::FeatureLayout;
use crate::network::Network;
use crate::parameters::{ParameterSpec, Parameters};
use crate::rate_finder::find_rates_task;
use crate::recipe::{ClassWeights, HeadRecipe, Pool, Recipe};
use crate::run::{self, RunOptions};
use crate::train::observer::Observer;

/// The registry row.
pub(crate) static SPEC: TaskSpec = TaskSpec {
    name: ImageClassification::NAME,
    summary: "a folder of photos for each class → the class of a new photo",
    reads: Reads::Pictures,
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

impl ImageClassification {
    fn truth<'a>(&'a self, recipe: &'a Recipe, part: Part) -> Truth<'a> {
        Truth { recipe, labels: self.examples.labels(part), classes: self.examples.classes().len() }
    }
}

impl Task for ImageClassification {
    const NAME: &'static str = "image_classification";
    const READS: Reads = Reads::Pictures;

    type Head = ClassificationHead;

    fn open(recipe: &Recipe, _network: &Network, options: &RunOptions, observer: &mut dyn Observer) -> Result<Self> {
        let examples = ImageExamples::open(recipe, options, observer)?;
        let class_weights =
            loss::class_weights(recipe.class_weights, examples.labels(Part::Train), examples.classes().len());
        Ok(Self { examples, class_rule: recipe.class_weights, class_weights })
    }

    fn head_recipe(&self, asked: &HeadRecipe) -> Result<HeadRecipe> {
        if matches!(asked.pool, Pool::First | Pool::Last | Pool::Tokens) {
            return Err(Error::Recipe {
                reason: "a picture has no tokens".to_owned(),
                help: "leave first+ and last+ out of --head".to_owned(),
            });
        }
        check_output(asked, self.examples.classes().len())?;
        Ok(asked.clone())
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

    fn input(&self, part: Part, index: usize, network: &Network, view: View<'_>) -> Result<Vec<f32>> {
        self.examples.input(part, index, &network.pictures()?.conventions.preprocess, view)
    }

    fn head_parameters(&self, recipe: &HeadRecipe, layout: FeatureLayout) -> Vec<ParameterSpec> {
        ClassificationHead::parameters(recipe, layout, self.labels().len())
    }

    fn load_head(&self, recipe: &HeadRecipe, parameters: &Parameters, device: &Device) -> Result<ClassificationHead> {
        ClassificationHead::load(recipe, parameters, device)
    }

    fn loss(&self, recipe: &Recipe, outputs: Tensor<2>, asked: Asked<'_>) -> Tensor<1> {
        self.truth(recipe, Part::Train).loss(outputs, asked.examples, &self.class_weights)
    }

    fn score(&self, recipe: &Recipe, part: Part, asked: Asked<'_>, outputs: &[f32]) -> Score {
        self.truth(recipe, part).score(asked.examples, outputs)
    }

    fn metrics(&self, recipe: &Recipe, part: Part, outputs: &[f32], _rows: &[usize]) -> Metrics {
        let metrics = self.truth(recipe, part).metrics(outputs);
        Metrics::Classes(if recipe.head.original { metrics.of_seen_classes() } else { metrics })
    }
}
