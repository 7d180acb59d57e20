//! One class a text.

mod data;

use burn::tensor::{Device, Tensor};
use headstart_data::layouts;

pub use data::TextExamples;
pub(crate) use data::columns;

use super::classes::{Truth, check_output};
use super::image_classification::metrics::ClassificationMetrics;
use super::image_classification::{ClassificationHead, loss};
use super::{Part, Reads, Score, Task, TaskSpec, View};
use crate::error::Result;
use crate::features::FeatureLayout;
use crate::network::Network;
use crate::parameters::{ParameterSpec, Parameters};
use crate::rate_finder::find_rates_task;
use crate::recipe::{HeadRecipe, Recipe};
use crate::run::{self, RunOptions};
use crate::train::observer::Observer;

/// The registry row.
pub(crate) static SPEC: TaskSpec = TaskSpec {
    name: TextClassification::NAME,
    summary: "a table, JSON lines or a folder of texts with their classes → the class of a new text",
    recognizes: layouts::holds_texts,
    run: run::run_task::<TextClassification>,
    extract: run::extract_task::<TextClassification>,
    find_rates: find_rates_task::<TextClassification>,
};

/// Labelled texts opened for classification.
#[derive(Debug)]
pub struct TextClassification {
    examples: TextExamples,
    class_weights: Vec<f32>,
}

impl TextClassification {
    fn truth<'a>(&'a self, recipe: &'a Recipe, part: Part) -> Truth<'a> {
        Truth { recipe, labels: self.examples.labels(part), classes: self.examples.classes().len() }
    }
}

impl Task for TextClassification {
    const NAME: &'static str = "text_classification";
    const READS: Reads = Reads::Text;

    type Head = ClassificationHead;

    fn open(recipe: &Recipe, network: &Network, _options: &RunOptions, observer: &mut dyn Observer) -> Result<Self> {
        let examples = TextExamples::open(recipe, network.text()?, observer)?;
        let classes = examples.classes().len();
        check_output(recipe, classes)?;
        let class_weights = loss::class_weights(recipe.class_weights, examples.labels(Part::Train), classes);
        Ok(Self { examples, class_weights })
    }

    fn labels(&self) -> &[String] {
        self.examples.classes()
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

    fn input(&self, part: Part, index: usize, _network: &Network, _view: View<'_>) -> Result<Vec<f32>> {
        Ok(self.examples.tokens(part, index).to_vec())
    }

    fn head_parameters(&self, recipe: &HeadRecipe, layout: FeatureLayout) -> Vec<ParameterSpec> {
        ClassificationHead::parameters(recipe, layout, self.labels().len())
    }

    fn load_head(&self, recipe: &HeadRecipe, parameters: &Parameters, device: &Device) -> Result<ClassificationHead> {
        ClassificationHead::load(recipe, parameters, device)
    }

    fn loss(&self, recipe: &Recipe, outputs: Tensor<2>, examples: &[usize]) -> Tensor<1> {
        self.truth(recipe, Part::Train).loss(outputs, examples, &self.class_weights)
    }

    fn score(&self, recipe: &Recipe, part: Part, examples: &[usize], outputs: &[f32]) -> Score {
        self.truth(recipe, part).score(examples, outputs)
    }

    fn metrics(&self, recipe: &Recipe, part: Part, outputs: &[f32]) -> ClassificationMetrics {
        self.truth(recipe, part).metrics(outputs)
    }
}
