//! What a bundle says of itself.

use serde::{Deserialize, Serialize};

use crate::backbones::Conventions;
use crate::depth::Choice;
use crate::load::Writing;
use crate::load::detector::DetectorPlan;
use crate::network::Network;
use crate::nn::{DeepSpeechShape, TransformerShape};
use crate::recipe::{Pool, Recipe};
use crate::tasks::Metrics;
use crate::train::observer::Epoch;

/// Key of the manifest in the metadata.
pub(crate) const KEY: &str = "headstart";

/// Name of the tokenizer among the arrays: bytes of a `tokenizer.json`.
pub(crate) const TOKENIZER: &str = "tokenizer";

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
    /// Padding, epsilon, preprocessing of a network of pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conventions: Option<Conventions>,
    /// What a network of texts is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<BundledText>,
    /// What a network of recordings is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speech: Option<BundledSpeech>,
    /// What a network that finds objects is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detector: Option<DetectorPlan>,
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

/// What a transformer is beside its weights and its tokenizer, which the bundle holds too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundledText {
    /// Its shape.
    pub shape: TransformerShape,
    /// Most tokens of a text.
    pub max_tokens: usize,
}

/// What a DeepSpeech is beside its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundledSpeech {
    /// Its shape.
    pub shape: DeepSpeechShape,
    /// Which letters its head writes, if it writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writing: Option<Writing>,
}

impl BundledBackbone {
    /// What a bundle says of a network.
    pub(crate) fn of(network: &Network, pretrained_digest: String, writing: Option<Writing>) -> Self {
        let bundled = Self {
            name: network.name().to_owned(),
            variant: network.variant(),
            conventions: None,
            text: None,
            speech: None,
            detector: None,
            source: network.source().to_owned(),
            pretrained_digest,
            licence: None,
            classifier: None,
        };
        match network {
            Network::Pictures(pretrained) => Self {
                conventions: Some(pretrained.conventions.clone()),
                licence: pretrained.licence.clone(),
                classifier: pretrained.classifier.as_ref().map(|classifier| classifier.pool),
                ..bundled
            },
            Network::Text(text) => Self {
                text: Some(BundledText { shape: text.transformer.shape, max_tokens: text.reader.longest }),
                licence: text.licence.clone(),
                ..bundled
            },
            Network::Speech(pretrained) => Self {
                speech: Some(BundledSpeech { shape: pretrained.shape, writing }),
                licence: pretrained.licence.clone(),
                ..bundled
            },
            Network::Detector(detector) => {
                Self { detector: Some(detector.plan.clone()), licence: detector.licence.clone(), ..bundled }
            }
        }
    }
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
    pub validation: Option<Metrics>,
    /// On the test examples.
    pub test: Option<Metrics>,
}
