//! What is learned. One folder a task, each with the same names: mod · data · head · loss · metrics · decode.

pub mod audio_classification;
pub(crate) mod classes;
pub mod image_classification;
mod metrics;
pub mod object_detection;
pub(crate) mod recordings;
pub mod speech_recognition;
pub mod text_classification;
pub(crate) mod texts;
pub mod token_classification;
mod watched;

use std::path::Path;

use burn::tensor::{Device, Tensor};
use headstart_data::augmentation::Augmentation;
use headstart_data::layouts::Split;
pub use headstart_data::text::entity_scores::Counts;
pub use metrics::Metrics;

use crate::error::{Error, Result};
use crate::features::FeatureLayout;
use crate::load::Writing;
use crate::model::Head;
use crate::network::Network;
use crate::parameters::{ParameterSpec, Parameters};
use crate::rate_finder::{RangeTest, RateCurve};
use crate::recipe::{HeadRecipe, Recipe};
use crate::run::{Report, RunOptions};
use crate::train::observer::Observer;

/// A row of the registry.
pub struct TaskSpec {
    /// Registry name.
    pub name: &'static str,
    /// What it learns from what.
    pub summary: &'static str,
    /// What its network reads.
    pub reads: Reads,
    /// Whether a data set looks like this task's.
    pub recognizes: fn(&Path) -> bool,
    /// Runs a whole recipe.
    pub run: fn(&Recipe, &RunOptions, &mut dyn Observer) -> Result<Report>,
    /// Computes one part of the feature shards of a recipe: part `index` of `count`.
    pub extract: fn(&Recipe, &RunOptions, usize, usize, &mut dyn Observer) -> Result<crate::run::Extracted>,
    /// Tests ranges of learning rates on every phase of a recipe.
    pub find_rates: fn(&Recipe, &RunOptions, &RangeTest, &mut dyn Observer) -> Result<Vec<RateCurve>>,
}

impl std::fmt::Debug for TaskSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every task that we have.
pub const TASKS: &[&TaskSpec] = &[
    &image_classification::SPEC,
    &text_classification::SPEC,
    &token_classification::SPEC,
    &speech_recognition::SPEC,
    &audio_classification::SPEC,
    &object_detection::SPEC,
];

/// The task called `name`, or the one that recognizes the data.
///
/// # Errors
/// [`Error::UnknownName`]; [`Error::Recipe`] when no task recognizes the data.
pub fn find(name: Option<&str>, data: &Path) -> Result<&'static TaskSpec> {
    match name {
        // Without data there is only a published classifier to keep, and those that we have are of pictures.
        None if data.as_os_str().is_empty() => Ok(&image_classification::SPEC),
        Some(name) => TASKS.iter().copied().find(|task| task.name == name).ok_or_else(|| Error::UnknownName {
            kind: "task",
            name: name.to_owned(),
            known: TASKS.iter().map(|task| task.name.to_owned()).collect(),
        }),
        None => TASKS.iter().copied().find(|task| (task.recognizes)(data)).ok_or_else(|| Error::Recipe {
            reason: format!("no task recognizes the data set `{}`", data.display()),
            help: "name one with --task; `headstart list tasks` says what each expects".to_owned(),
        }),
    }
}

/// What the network of a task reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// Pictures.
    Pictures,
    /// Texts.
    Text,
    /// Recordings.
    Speech,
    /// Pictures in which objects are found.
    Objects,
}

/// A subset of the examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Examples that are learned from.
    Train,
    /// Examples that choose the best epoch.
    Validation,
    /// Examples that nothing was chosen by.
    Test,
}

impl Part {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// Its place among them.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl From<Split> for Part {
    fn from(split: Split) -> Self {
        match split {
            Split::Train => Self::Train,
            Split::Validation => Self::Validation,
            Split::Test => Self::Test,
        }
    }
}

/// The part of an example where other data are validated on: what its own data set calls validation is learned from.
pub(crate) fn beside_validation(split: Option<Split>) -> Option<Split> {
    Some(match split {
        Some(Split::Test) => Split::Test,
        _ => Split::Train,
    })
}

/// A picture of an example: the plain one, or an augmented view.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View<'a> {
    /// Number of the view; 0 is the plain picture.
    pub number: u32,
    /// What the other views look like.
    pub augmentation: &'a Augmentation,
    /// Seed of the run.
    pub seed: u64,
}

/// A data set opened for a task, and what the task does with it.
pub trait Task: Sized + Sync {
    /// Registry name.
    const NAME: &'static str;

    /// What its network reads.
    const READS: Reads;

    /// Whether each pass over pictures of which nothing is frozen shows a view of its own, however many are cached below a cut.
    const HAS_FRESH_VIEWS: bool = false;

    /// The task's head.
    type Head: Head;

    /// Opens, checks and splits the data set of a recipe for a network.
    ///
    /// # Errors
    /// When the data set cannot be used at all; single bad examples are reported to the observer and left out.
    fn open(recipe: &Recipe, network: &Network, options: &RunOptions, observer: &mut dyn Observer) -> Result<Self>;

    /// The head that the data ask for, where `asked` can be that.
    ///
    /// # Errors
    /// [`Error::Recipe`] where it cannot.
    fn head_recipe(&self, asked: &HeadRecipe) -> Result<HeadRecipe>;

    /// Class names in the order of the outputs.
    fn labels(&self) -> &[String];

    /// Takes the labels of a published classifier: the outputs are these, and the classes of the data are among them.
    ///
    /// # Errors
    /// [`Error::Label`] for the first class that is not; [`Error::Recipe`] for a task without published classifiers.
    fn adopt_labels(&mut self, _labels: Vec<String>) -> Result<()> {
        Err(Error::Recipe {
            reason: format!("no classifier was published for the task {}", Self::NAME),
            help: "leave out --head original".to_owned(),
        })
    }

    /// Digest of each example of a part, in order: what the example is, not where it lies.
    fn digests(&self, part: Part) -> Vec<[u8; 32]>;

    /// Class of each example of a part, where the task gives an example one class.
    fn classes(&self, _part: Part) -> Option<Vec<usize>> {
        None
    }

    /// The head before any training, from random values: what a published network has of it may take their place.
    ///
    /// # Errors
    /// When an array is missing.
    fn begin_head(&self, _network: &Network, random: Parameters, _observer: &mut dyn Observer) -> Result<Parameters> {
        Ok(random)
    }

    /// Which letters the head writes and how, of a task that writes.
    fn writing(&self) -> Option<Writing> {
        None
    }

    /// Number of examples that could not be read.
    fn skipped_count(&self) -> usize;

    /// What the network reads of one example: the preprocessed view of a picture, `[H, W, 3]`, number and kind of each
    /// token, `[T, 2]`, or the cepstra of each frame, `[T, cepstra]`.
    ///
    /// # Errors
    /// When the file changed or vanished since it was opened.
    fn input(&self, part: Part, index: usize, network: &Network, view: View<'_>) -> Result<Vec<f32>>;

    /// Arrays of the head for features of this layout.
    fn head_parameters(&self, recipe: &HeadRecipe, layout: FeatureLayout) -> Vec<ParameterSpec>;

    /// The head from its arrays.
    ///
    /// # Errors
    /// When an array is missing.
    fn load_head(&self, recipe: &HeadRecipe, parameters: &Parameters, device: &Device) -> Result<Self::Head>;

    /// Mean loss of a batch of training examples, `outputs` `[B, N]`.
    fn loss(&self, recipe: &Recipe, outputs: Tensor<2>, asked: Asked<'_>) -> Tensor<1>;

    /// Changes of the network that the data ask for, such as other anchors; none by default.
    fn adapt_network(&self, _network: &mut Network) {}

    /// What an epoch line says of a batch while it is learned; `loss` is its mean.
    fn training_score(&self, recipe: &Recipe, asked: Asked<'_>, outputs: &[f32], _loss: f32) -> Score {
        self.score(recipe, Part::Train, asked, outputs)
    }

    /// Loss and accuracy of `outputs`, `[examples, N]` row-major, on some examples of a part.
    fn score(&self, recipe: &Recipe, part: Part, asked: Asked<'_>, outputs: &[f32]) -> Score;

    /// All metrics of the outputs of a whole part, of whose examples each has so many `rows`.
    fn metrics(&self, recipe: &Recipe, part: Part, outputs: &[f32], rows: &[usize]) -> Metrics;
}

/// Which examples some outputs are of.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Their places in their part.
    pub examples: &'a [usize],
    /// Rows of outputs of each, where a head says something of every token or frame; views of one recording may differ.
    pub rows: &'a [usize],
    /// Which view of each it is, for tasks in which it decides what is right; 0 is the plain one.
    pub view: u32,
}

/// What an epoch line shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Sum of the losses.
    pub loss_sum: f64,
    /// Number of losses.
    pub losses: usize,
    /// Number of examples, labels or words that are right.
    pub correct: usize,
    /// Number of them.
    pub count: usize,
    /// What was found of what is there, of tasks that find things.
    pub found: Option<Counts>,
}

impl Score {
    /// No example yet.
    pub(crate) const EMPTY: Self = Self { loss_sum: 0.0, losses: 0, correct: 0, count: 0, found: None };

    /// Of examples of which only their mean loss is known.
    pub(crate) fn of_mean_loss(loss: f32, examples: usize) -> Self {
        Self { loss_sum: f64::from(loss) * examples as f64, losses: examples, ..Self::EMPTY }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.loss_sum += other.loss_sum;
        self.losses += other.losses;
        self.found = match (self.found, other.found) {
            (Some(a), Some(b)) => {
                Some(Counts { there: a.there + b.there, predicted: a.predicted + b.predicted, both: a.both + b.both })
            }
            (one, other) => one.or(other),
        };
        self.correct += other.correct;
        self.count += other.count;
    }

    /// Mean loss.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.losses.max(1) as f64
    }

    /// Whether this is a better result than `other`: more found or more right; among equals, more sure of it.
    pub(crate) fn is_better_than(&self, other: &Self) -> bool {
        let value = |score: &Self| score.found.map_or(score.accuracy(), |counts| counts.f1());
        let (now, before) = (value(self), value(other));
        now > before || (now == before && self.loss_sum < other.loss_sum)
    }

    /// Part of what is asked that is right.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.count.max(1) as f64
    }
}
