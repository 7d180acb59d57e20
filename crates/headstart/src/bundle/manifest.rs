//! What a bundle says of itself.

use serde::{Deserialize, Serialize};

use crate::backbones::Conventions;
use crate::depth::Choice;
use crate::recipe::{Pool, Recipe};
use crate::tasks::image_classification::metrics::ClassificationMetrics;
use crate::train::observer::Epoch;

/// Key of the manifest in the metadata.
pub(crate) const KEY: &str = "headstart";

/// Prefix of the published classifier among the backbone's arrays.
pub(crate) const CLASSIFIER: &str = "classifier.";

/// Version of the bundle format that we write and read.
pub const FORMAT: u32 = 1;

/// Everything in a bundle beside the arrays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// Version of the program that wrote it.
    pub written_by: String,
    /// Task.
    pub task: String,
    /// Class names in the order of the outputs.
    pub labels: Vec<String>,
    /// The backbone.
    pub backbone: BundledBackbone,
    /// The run that made it.
    pub recipe: Recipe,
    /// How `freeze = "auto"` was decided, if the run was asked that; `recipe` holds what it came down to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    /// Digest of the data: of every example's bytes and of the split.
    pub data_digest: String,
    /// Numbers of examples.
    pub examples: Examples,
    /// Scores of the weights in this bundle.
    pub scores: Scores,
    /// Every epoch.
    pub history: Vec<Epoch>,
}

/// Which backbone, from where, under which conventions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundledBackbone {
    /// Architecture.
    pub name: String,
    /// Size.
    pub variant: String,
    /// Padding, epsilon, preprocessing.
    pub conventions: Conventions,
    /// Where the pretrained weights came from.
    pub source: String,
    /// BLAKE3 of the pretrained arrays.
    pub pretrained_digest: String,
    /// Licence that the weight file states.
    pub licence: Option<String>,
    /// How the features reach the published classifier that is kept below the head, if it is: `backbone.classifier.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier: Option<Pool>,
}

/// Numbers of examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examples {
    /// Learned from.
    pub train: usize,
    /// Chose the best epoch.
    pub validation: usize,
    /// Nothing was chosen by them.
    pub test: usize,
    /// Could not be read.
    pub skipped: usize,
}

/// Metrics of each part that has examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// On the validation examples.
    pub validation: Option<ClassificationMetrics>,
    /// On the test examples.
    pub test: Option<ClassificationMetrics>,
}
