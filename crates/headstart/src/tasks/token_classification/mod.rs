//! A tag a word: named entities. The first token of a word speaks for it, the others are not asked.

pub mod decode;
pub mod metrics;

pub(crate) mod data;

use burn::tensor::{Device, Int, Tensor, TensorData};
use std::ops::Add;

use headstart_data::layouts;
use headstart_data::text::entity_scores::counts;

pub use data::TaggedTexts;
use metrics::EntityMetrics;

use super::image_classification::{ClassificationHead, loss};
use super::metrics::Metrics;
use super::{Asked, Counts, Part, Reads, Score, Task, TaskSpec, View};
use crate::error::{Error, Result};
use crate::features::FeatureLayout;
use crate::network::Network;
use crate::parameters::{ParameterSpec, Parameters};
use crate::rate_finder::find_rates_task;
use crate::recipe::{HeadRecipe, Output, Pool, Recipe};
use crate::run::{self, RunOptions};
use crate::train::observer::Observer;

/// The registry row.
pub(crate) static SPEC: TaskSpec = TaskSpec {
    name: TokenClassification::NAME,
    summary: "texts with named stretches (CoNLL tags, JSON spans) → the entities of a new text",
    reads: Reads::Text,
    recognizes: layouts::holds_entities,
    run: run::run_task::<TokenClassification>,
    extract: run::extract_task::<TokenClassification>,
    find_rates: find_rates_task::<TokenClassification>,
};

/// Texts with named stretches opened for tagging.
#[derive(Debug)]
pub struct TokenClassification {
    texts: TaggedTexts,
    tag_weights: Vec<f32>,
}

impl TokenClassification {
    /// Rows of `[tokens, tags]` that speak for words, and the right tag of each.
    fn asked(&self, part: Part, examples: &[usize]) -> (Vec<i64>, Vec<usize>) {
        let part = self.texts.part(part);
        let (mut rows, mut right, mut begin) = (Vec::new(), Vec::new(), 0);
        for &example in examples {
            let words = &part.texts[example];
            for (first, tag) in words.firsts.iter().zip(&part.tags[example]) {
                if let Some(first) = first {
                    rows.push((begin + first) as i64);
                    right.push(*tag);
                }
            }
            begin += words.token_count();
        }
        (rows, right)
    }

    /// True and predicted tags of some examples, by name, and the sum of the losses of their words.
    fn tagged<'t>(&'t self, part: Part, examples: &[usize], outputs: &[f32]) -> Tagged<'t> {
        let tags = self.texts.tags();
        let part = self.texts.part(part);
        let mut tagged = Tagged { truth: Vec::new(), predicted: Vec::new(), loss_sum: 0.0, asked: 0, right: 0 };
        let mut rest = outputs;
        for &example in examples {
            let words = &part.texts[example];
            let (rows, after) = rest.split_at(words.token_count() * tags.len());
            rest = after;
            let found = decode::tags_of(words, rows, tags.len());
            let (loss, asked) = decode::loss_of(words, &part.tags[example], rows, tags.len());
            tagged.loss_sum += loss;
            tagged.asked += asked;
            let right = found.iter().zip(&part.tags[example]).filter(|((tag, _), right)| tag == *right).count();
            tagged.right += right;
            tagged.truth.push(part.tags[example].iter().map(|tag| tags[*tag].as_str()).collect());
            tagged.predicted.push(found.iter().map(|(tag, _)| tags[*tag].as_str()).collect());
        }
        tagged
    }
}

/// Tags of some texts.
struct Tagged<'t> {
    truth: Vec<Vec<&'t str>>,
    predicted: Vec<Vec<&'t str>>,
    loss_sum: f64,
    asked: usize,
    right: usize,
}

impl Task for TokenClassification {
    const NAME: &'static str = "token_classification";
    const READS: Reads = Reads::Text;

    type Head = ClassificationHead;

    fn open(recipe: &Recipe, network: &Network, _options: &RunOptions, observer: &mut dyn Observer) -> Result<Self> {
        let texts = TaggedTexts::open(recipe, network.text()?, Self::NAME, observer)?;
        let all: Vec<usize> = texts.part(Part::Train).tags.concat();
        let tag_weights = loss::class_weights(recipe.class_weights, &all, texts.tags().len());
        Ok(Self { texts, tag_weights })
    }

    /// Every token has an output, whatever pooling was left at its default.
    fn head_recipe(&self, asked: &HeadRecipe) -> Result<HeadRecipe> {
        let fail = |reason: &str, help: &str| Err(Error::Recipe { reason: reason.to_owned(), help: help.to_owned() });
        if !matches!(asked.pool, Pool::Average | Pool::Tokens) {
            return fail("a head that tags words reads every token", "write --head linear or mlp:256");
        }
        if asked.output != Output::Softmax {
            return fail("a word has one tag of many", "leave --output softmax");
        }
        Ok(HeadRecipe { pool: Pool::Tokens, ..asked.clone() })
    }

    fn labels(&self) -> &[String] {
        self.texts.tags()
    }

    fn digests(&self, part: Part) -> Vec<[u8; 32]> {
        self.texts.part(part).digests.clone()
    }

    fn skipped_count(&self) -> usize {
        self.texts.skipped_count()
    }

    fn input(&self, part: Part, index: usize, _network: &Network, _view: View<'_>) -> Result<Vec<f32>> {
        Ok(self.texts.part(part).texts[index].tokens.clone())
    }

    fn head_parameters(&self, recipe: &HeadRecipe, layout: FeatureLayout) -> Vec<ParameterSpec> {
        ClassificationHead::parameters(recipe, layout, self.labels().len())
    }

    fn load_head(&self, recipe: &HeadRecipe, parameters: &Parameters, device: &Device) -> Result<ClassificationHead> {
        ClassificationHead::load(recipe, parameters, device)
    }

    /// `outputs` is `[tokens, tags]`.
    fn loss(&self, recipe: &Recipe, outputs: Tensor<2>, asked: Asked<'_>) -> Tensor<1> {
        let (rows, right) = self.asked(Part::Train, asked.examples);
        if rows.is_empty() {
            // Texts of nothing that the tokenizer knows teach nothing.
            return outputs.sum().mul_scalar(0.0);
        }
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [right.len()]), &outputs.device());
        loss::cross_entropy(outputs.select(0, rows), &right, &self.tag_weights, recipe.label_smoothing)
    }

    fn score(&self, _recipe: &Recipe, part: Part, asked: Asked<'_>, outputs: &[f32]) -> Score {
        let tagged = self.tagged(part, asked.examples, outputs);
        let sentences = tagged.truth.iter().zip(&tagged.predicted);
        let counts = sentences.map(|(truth, predicted)| counts(truth, predicted)).fold(Counts::default(), Counts::add);
        let words = tagged.truth.iter().map(Vec::len).sum();
        Score {
            loss_sum: tagged.loss_sum,
            losses: tagged.asked,
            correct: tagged.right,
            count: words,
            found: Some(counts),
        }
    }

    fn metrics(&self, _recipe: &Recipe, part: Part, outputs: &[f32], _rows: &[usize]) -> Metrics {
        let all: Vec<usize> = (0..self.texts.part(part).texts.len()).collect();
        let tagged = self.tagged(part, &all, outputs);
        let cross_entropy = tagged.loss_sum / tagged.asked.max(1) as f64;
        Metrics::Entities(EntityMetrics::new(&tagged.truth, &tagged.predicted, cross_entropy))
    }
}
