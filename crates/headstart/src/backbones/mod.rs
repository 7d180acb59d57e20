//! Pretrained networks up to where a head attaches: one file an architecture, and this registry.

pub mod bert;
mod config;
pub mod darknet;
pub mod deepspeech;
pub mod gpt2;
pub mod inception_v3;
pub mod mobilenet_v1;
pub mod mobilenet_v2;
pub mod published;
pub mod resnet;
pub mod retinanet;
pub mod vgg16;

use burn::module::Module;
use burn::tensor::Device;
use headstart_data::preprocess::Preprocess;
use headstart_kernels::Layer;
use headstart_weights::ArrayInfo;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::features::{FeatureLayout, Features};
use crate::name_map::{Entry, NameMap};
use crate::nn::graph::Stages;
use crate::nn::{DeepSpeechShape, Graph, NormStatistics, Padding, TransformerShape};
use crate::parameters::{ParameterSpec, Parameters};

/// Layers of the frozen form of one stage.
pub type StageLayers = Vec<Layer>;

/// All that is known of one architecture.
pub struct BackboneSpec {
    /// Registry name.
    pub name: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// Licence of the published weights.
    pub licence: &'static str,
    /// Published sizes; the last is `tiny`, for tests.
    pub variants: &'static [Variant],
    /// Units of freezing, from the input on.
    pub stages: &'static [Stage],
    /// Published input side in pixels.
    pub input_size: u32,
    /// Smallest input side in pixels.
    pub smallest_input: u32,
    /// Families of checkpoints that can be loaded.
    pub families: &'static [NameMap],
    /// The network as data, one list of nodes a stage: what exports are built from.
    pub(crate) graph: fn(&Variant) -> Stages,
    /// Every array of a variant.
    pub parameters: fn(&Variant) -> Vec<ParameterSpec>,
    /// Channels after the last stage.
    pub channels: fn(&Variant) -> usize,
    /// Layers of the frozen form, one list a stage.
    pub frozen: fn(&Variant, &Parameters, &Conventions) -> Result<Vec<StageLayers>>,
    /// Trainable form.
    pub trainable: fn(&Variant, &Parameters, &Conventions, &Device) -> Result<Backbone>,
}

impl std::fmt::Debug for BackboneSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackboneSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A published size of an architecture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variant {
    /// Name within the architecture.
    pub name: &'static str,
    /// Width multiplier.
    pub width: f64,
}

/// A unit of freezing and of learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// Name; the stage's parameters begin with it.
    pub name: &'static str,
    /// What it does to the picture.
    pub summary: &'static str,
}

/// What a checkpoint family decides beside the values of the weights. It travels in the bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conventions {
    /// Family of the checkpoint.
    pub family: String,
    /// How convolutions pad.
    pub padding: Padding,
    /// Added to the variance in batch normalization.
    pub batch_norm_epsilon: f64,
    /// Sample to input.
    pub preprocess: Preprocess,
}

// One list makes the registry, the run-time choice and the dispatch: a new architecture is its file and a line here.
macro_rules! registry {
    ($($module:ident :: $network:ident($type:ty)),* $(,)?) => {
        /// Every architecture that we have.
        pub const BACKBONES: &[&BackboneSpec] = &[$(&$module::SPEC),*];

        /// The trainable form of any registered architecture.
        #[derive(Module, Debug)]
        #[expect(clippy::large_enum_variant, reason = "there is one of it in a run")]
        pub enum Backbone {
            $(
                #[doc = concat!("See [`", stringify!($module), "`].")]
                $network($type),
            )*
            /// A network that gives maps of several sizes.
            Detector(Graph),
            /// A transformer of any shape.
            Transformer(crate::nn::Transformer),
            /// A DeepSpeech of any width.
            DeepSpeech(crate::nn::DeepSpeech),
        }

        impl Backbone {
            /// Runs the stages from number `stage` to the end on the features after stage `stage − 1`
            /// (`stage` 0: on pixels, `[B, 3, H, W]`, or on tokens).
            pub fn resume_from(&self, stage: usize, features: Features, statistics: NormStatistics) -> Features {
                match self {
                    $(Self::$network(network) => network.resume_from(stage, features, statistics),)*
                    Self::Detector(network) => network.resume_from(stage, features, statistics),
                    Self::Transformer(network) => network.resume_from(stage, features, None),
                    Self::DeepSpeech(network) => network.resume_from(stage, features, None),
                }
            }
        }
    };
}

registry!(
    mobilenet_v1::MobileNetV1(Graph),
    mobilenet_v2::MobileNetV2(mobilenet_v2::MobileNetV2),
    vgg16::Vgg16(Graph),
    inception_v3::InceptionV3(Graph),
    resnet::ResNet(Graph),
);

/// All that is known of an architecture whose input is tokens; its size is read from the configuration beside the weights.
pub struct TransformerBackbone {
    /// Registry name; what `model_type` of a configuration says.
    pub name: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// Licence of the published weights.
    pub licence: &'static str,
    /// The shape that a configuration states.
    pub read_config: fn(&serde_json::Value) -> Result<TransformerShape>,
    /// A key that only configurations of this architecture have, for those that do not say what they are of.
    pub telling_key: &'static str,
    /// The configuration of a shape, as `read_config` reads it.
    pub write_config: fn(&TransformerShape) -> serde_json::Value,
    /// What the network is called and holds where it is published as a language model.
    pub language_model: LanguageModelNames,
    /// Families of checkpoints that can be loaded.
    pub families: &'static [TransformerNames],
}

/// A language model as Hugging Face transformers publishes it; its output matrix is the table of words.
pub struct LanguageModelNames {
    /// Name of its class, for `architectures` of the configuration.
    pub class: &'static str,
    /// What stands before the names of the backbone's arrays.
    pub prefix: &'static str,
    /// Arrays of the output, theirs → ours under `output.`.
    pub entries: fn() -> Vec<Entry>,
}

impl std::fmt::Debug for TransformerBackbone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransformerBackbone").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A family of checkpoints of a transformer.
pub struct TransformerNames {
    /// Short name.
    pub family: &'static str,
    /// Who publishes it.
    pub origin: &'static str,
    /// A name as the entries write it.
    pub canonical: fn(&str) -> String,
    /// Theirs → ours, one to one.
    pub entries: fn(&TransformerShape) -> Vec<Entry>,
    /// Parts of names of arrays that a backbone does not need.
    pub ignore: &'static [&'static str],
}

impl std::fmt::Debug for TransformerNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransformerNames").field("family", &self.family).finish_non_exhaustive()
    }
}

/// All that is known of an architecture whose input is recordings; its size is read from its arrays.
pub struct SpeechBackbone {
    /// Registry name.
    pub name: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// Licence of the published weights.
    pub licence: &'static str,
    /// Its layers from the input on, with what each does.
    pub stages: &'static [(&'static str, &'static str)],
    /// The shape that the array of the first layer states; what is wrong with it comes in words.
    pub read_shape: fn(&ArrayInfo) -> Result<DeepSpeechShape, String>,
    /// Families of checkpoints that can be loaded.
    pub families: &'static [SpeechNames],
    /// Parts of names of arrays that a backbone does not need.
    pub ignore: &'static [&'static str],
}

impl std::fmt::Debug for SpeechBackbone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpeechBackbone").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A family of checkpoints of recordings.
pub struct SpeechNames {
    /// Short name.
    pub family: &'static str,
    /// Who publishes it.
    pub origin: &'static str,
    /// The array that tells the family, whose shape tells the size.
    pub first: &'static str,
    /// Theirs → ours, one to one.
    pub entries: fn() -> Vec<Entry>,
    /// Weight and bias of the layer that writes letters.
    pub output: [&'static str; 2],
    /// What its cell adds to the forget gate beside the bias.
    pub forget_bias: f32,
}

impl std::fmt::Debug for SpeechNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpeechNames").field("family", &self.family).finish_non_exhaustive()
    }
}

/// Every architecture of recordings that we have.
pub const SPEECH: &[&SpeechBackbone] = &[&deepspeech::SPEC];

/// Every architecture of tokens that we have.
pub const TRANSFORMERS: &[&TransformerBackbone] = &[&bert::SPEC, &gpt2::SPEC];

/// The architecture called `name`; a variant may follow a colon (`mobilenet_v2:0.35`).
///
/// # Errors
/// [`Error::UnknownName`] for the architecture or the variant.
pub fn find(name: &str) -> Result<(&'static BackboneSpec, Option<&'static Variant>)> {
    let (backbone, variant) = match name.split_once(':') {
        Some((backbone, variant)) => (backbone, Some(variant)),
        None => (name, None),
    };
    let spec = BACKBONES.iter().find(|spec| spec.name == backbone).ok_or_else(|| Error::UnknownName {
        kind: "backbone",
        name: backbone.to_owned(),
        known: BACKBONES.iter().map(|spec| spec.name.to_owned()).collect(),
    })?;
    let variant = variant.map(|variant| spec.find_variant(variant)).transpose()?;
    Ok((spec, variant))
}

impl BackboneSpec {
    /// The variant called `name`.
    ///
    /// # Errors
    /// [`Error::UnknownName`].
    pub fn find_variant(&self, name: &str) -> Result<&'static Variant> {
        self.variants.iter().find(|variant| variant.name == name).ok_or_else(|| Error::UnknownName {
            kind: "variant",
            name: name.to_owned(),
            known: self.variants.iter().map(|variant| variant.name.to_owned()).collect(),
        })
    }

    /// Index of the stage that owns the parameter called `name`.
    pub fn stage_of(&self, name: &str) -> Option<usize> {
        let first = name.split('.').next()?;
        self.stages.iter().position(|stage| stage.name == first)
    }
}

/// A map of `[B, C, H, W]` or a panic: the caller is a network that only ever produces maps.
pub(crate) fn expect_map(features: Features) -> burn::tensor::Tensor<4> {
    match features {
        Features::Map(map) => map,
        _ => unreachable!("a convolutional stage follows a map"),
    }
}

/// Shape of a map as features.
pub(crate) fn map_layout(shape: headstart_kernels::Shape) -> FeatureLayout {
    FeatureLayout::Map { channels: shape.channels, height: shape.height, width: shape.width }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_as_data_has_the_arrays_that_are_loaded() {
        for spec in BACKBONES {
            for variant in spec.variants {
                let stages = (spec.graph)(variant);
                assert_eq!(stages.parameters(), (spec.parameters)(variant), "{}:{}", spec.name, variant.name);
                assert_eq!(stages.0.len(), spec.stages.len());
                assert_eq!(stages.channels(), (spec.channels)(variant));
            }
        }
    }
}
