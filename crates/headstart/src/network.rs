//! The pretrained network of a run, whatever it reads: what the straight line asks of pictures, tokens and recordings alike.

use burn::tensor::Device;
use serde::Serialize;

use crate::backbones::{Backbone, Conventions, map_layout};
use crate::error::{Error, Result};
use crate::features::{FeatureLayout, Sequences, Tokens};
use crate::load::detector::{DetectorPlan, HeadPlan};
use crate::load::{Pretrained, PretrainedDetector, PretrainedSpeech, PretrainedText};
use crate::model::{self, FrozenBackbone};
use crate::nn::map_graph::FrozenMaps;
use crate::nn::{
    DeepSpeech, DeepSpeechShape, FrozenDeepSpeech, FrozenTransformer, Graph, LoraRecipe, Transformer, TransformerShape,
};
use crate::parameters::Parameters;
use crate::recipe::{Arithmetic, Freeze, Pool};

/// A pretrained network.
#[derive(Debug, Clone)]
pub enum Network {
    /// It reads pictures.
    Pictures(Box<Pretrained>),
    /// It reads tokens.
    Text(Box<PretrainedText>),
    /// It hears recordings.
    Speech(Box<PretrainedSpeech>),
    /// It reads pictures and gives maps in which objects are found.
    Detector(Box<PretrainedDetector>),
}

/// What of a network beside its weights decides its features; a part of the key of the cache.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub(crate) enum Reading<'a> {
    /// Pictures.
    Pictures(&'a Conventions),
    /// Texts; which tokens they are is told by the digests of the examples.
    Text(&'a TransformerShape),
    /// Recordings; what is done with them before the network hears them follows from its shape.
    Speech(&'a DeepSpeechShape),
    /// Pictures whose shape is kept.
    Detector(&'a DetectorPlan),
}

impl Network {
    /// Arrays under our names.
    pub fn parameters(&self) -> &Parameters {
        match self {
            Self::Pictures(pretrained) => &pretrained.parameters,
            Self::Text(text) => &text.transformer.parameters,
            Self::Speech(speech) => &speech.parameters,
            Self::Detector(detector) => &detector.parameters,
        }
    }

    /// Architecture.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pictures(pretrained) => pretrained.spec.name,
            Self::Text(text) => text.transformer.spec.name,
            Self::Speech(speech) => speech.spec.name,
            Self::Detector(detector) => match detector.plan.head {
                HeadPlan::Yolo { .. } => crate::backbones::darknet::NAME,
                HeadPlan::RetinaNet { .. } => crate::backbones::retinanet::NAME,
            },
        }
    }

    /// Its size: the name of a published one, or layers × width.
    pub fn variant(&self) -> String {
        match self {
            Self::Pictures(pretrained) => pretrained.variant.name.to_owned(),
            Self::Text(text) => format!("{}x{}", text.transformer.shape.layers, text.transformer.shape.width),
            Self::Speech(speech) => speech.shape.hidden.to_string(),
            Self::Detector(detector) => detector.plan.variant.clone(),
        }
    }

    /// Where the weights come from.
    pub fn source(&self) -> &str {
        match self {
            Self::Pictures(pretrained) => &pretrained.source,
            Self::Text(text) => &text.transformer.source,
            Self::Speech(speech) => &speech.source,
            Self::Detector(detector) => &detector.source,
        }
    }

    /// Arrays of the file that were not needed.
    pub(crate) fn unused(&self) -> &[String] {
        match self {
            Self::Pictures(pretrained) => &pretrained.unused,
            Self::Text(text) => &text.transformer.unused,
            Self::Speech(speech) => &speech.unused,
            Self::Detector(_) => &[],
        }
    }

    /// BLAKE3 of the arrays, those of a published classifier below the head included.
    pub fn digest(&self) -> String {
        match self {
            Self::Pictures(pretrained) => pretrained.digest(),
            Self::Text(text) => text.transformer.parameters.digest(),
            Self::Speech(speech) => speech.digest(),
            Self::Detector(detector) => detector.digest(),
        }
    }

    /// The units of freezing, from the input on.
    pub fn stages(&self) -> Vec<String> {
        match self {
            Self::Pictures(pretrained) => pretrained.spec.stages.iter().map(|stage| stage.name.to_owned()).collect(),
            Self::Text(text) => text.transformer.shape.stages(),
            Self::Speech(speech) => speech.shape.stages(),
            Self::Detector(detector) => detector.plan.graph.stages.iter().map(|stage| stage.name.clone()).collect(),
        }
    }

    /// Number of stages.
    pub(crate) fn stage_count(&self) -> usize {
        match self {
            Self::Pictures(pretrained) => pretrained.spec.stages.len(),
            Self::Text(text) => text.transformer.shape.stage_count(),
            Self::Speech(speech) => speech.shape.stages().len(),
            Self::Detector(detector) => detector.plan.graph.stages.len(),
        }
    }

    /// Index of the stage that owns the parameter called `name`.
    pub(crate) fn stage_of(&self, name: &str) -> Option<usize> {
        match self {
            Self::Pictures(pretrained) => pretrained.spec.stage_of(name),
            Self::Text(text) => text.transformer.shape.stage_of(name),
            Self::Speech(speech) => speech.shape.stage_of(name),
            Self::Detector(detector) => detector.plan.graph.stage_of(name),
        }
    }

    /// How many stages are frozen.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for a stage that the network does not have.
    pub(crate) fn frozen_depth(&self, freeze: &Freeze) -> Result<usize> {
        model::depth_of(freeze, &self.stages())
    }

    /// The frozen form.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the input is too small for the strides, or the processor lacks the instructions.
    pub(crate) fn frozen(&self, parameters: &Parameters, arithmetic: Arithmetic) -> Result<FrozenNetwork> {
        Ok(match self {
            Self::Pictures(pretrained) => {
                FrozenNetwork::Pictures(FrozenBackbone::with_arithmetic(pretrained, parameters, arithmetic)?)
            }
            Self::Text(text) => {
                FrozenNetwork::Text(FrozenTransformer::new(text.transformer.shape, parameters.clone())?)
            }
            Self::Speech(speech) => FrozenNetwork::Speech(FrozenDeepSpeech::new(speech.shape, parameters.clone())?),
            Self::Detector(detector) => FrozenNetwork::Detector(Box::new(FrozenMaps::new(
                &detector.plan.graph,
                parameters,
                detector.plan.shape(),
            )?)),
        })
    }

    /// The trainable form; of one with adapters nothing else learns.
    pub(crate) fn trainable(
        &self,
        parameters: &Parameters,
        lora: Option<&LoraRecipe>,
        device: &Device,
    ) -> Result<Backbone> {
        match self {
            Self::Pictures(pretrained) => model::trainable(pretrained, parameters, device),
            Self::Text(text) => {
                Ok(Backbone::Transformer(Transformer::load(text.transformer.shape, parameters, lora, device)?))
            }
            Self::Speech(speech) => Ok(Backbone::DeepSpeech(DeepSpeech::load(speech.shape, parameters, device)?)),
            Self::Detector(detector) => {
                Ok(Backbone::Detector(Graph::of_maps(&detector.plan.graph, parameters, device)?))
            }
        }
    }

    /// What else decides features.
    pub(crate) fn reading(&self) -> Reading<'_> {
        match self {
            Self::Pictures(pretrained) => Reading::Pictures(&pretrained.conventions),
            Self::Text(text) => Reading::Text(&text.transformer.shape),
            Self::Speech(speech) => Reading::Speech(&speech.shape),
            Self::Detector(detector) => Reading::Detector(&detector.plan),
        }
    }

    fn unexpected(&self, expected: &str, help: &str) -> Error {
        let reads = match self {
            Self::Pictures(_) => "pictures",
            Self::Text(_) => "texts",
            Self::Speech(_) => "recordings",
            Self::Detector(_) => "pictures for objects",
        };
        let reason = format!("`{}` reads {reads}, and {expected} were expected", self.source());
        Error::Recipe { reason, help: help.to_owned() }
    }

    /// The network as one of pictures.
    ///
    /// # Errors
    /// [`Error::Recipe`] where it reads something else.
    pub fn pictures(&self) -> Result<&Pretrained> {
        match self {
            Self::Pictures(pretrained) => Ok(pretrained),
            _ => Err(self.unexpected("pictures", "give weights of a network of pictures, or leave --weights out")),
        }
    }

    /// The network as one of texts.
    ///
    /// # Errors
    /// [`Error::Recipe`] where it reads something else.
    pub fn text(&self) -> Result<&PretrainedText> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(self.unexpected("texts", "give the folder of a BERT or GPT-2 with --weights FOLDER")),
        }
    }

    /// The network as one of recordings.
    ///
    /// # Errors
    /// [`Error::Recipe`] where it reads something else.
    pub fn speech(&self) -> Result<&PretrainedSpeech> {
        match self {
            Self::Speech(speech) => Ok(speech),
            _ => Err(self.unexpected("recordings", "give a DeepSpeech with --weights FILE")),
        }
    }

    /// The network as one that finds objects.
    ///
    /// # Errors
    /// [`Error::Recipe`] where it does not.
    pub fn detector(&self) -> Result<&PretrainedDetector> {
        match self {
            Self::Detector(detector) => Ok(detector),
            other => Err(Error::Recipe {
                reason: format!("`{}` finds no objects, and a detector was expected", other.source()),
                help: "give a Darknet network with --weights, such as yolo-fastest-1.1.weights".to_owned(),
            }),
        }
    }
}

/// The frozen form of a network.
#[derive(Debug)]
pub(crate) enum FrozenNetwork {
    /// Of pictures.
    Pictures(FrozenBackbone),
    /// Of tokens.
    Text(FrozenTransformer),
    /// Of recordings.
    Speech(FrozenDeepSpeech),
    /// Of pictures, with several maps.
    Detector(Box<FrozenMaps>),
}

impl FrozenNetwork {
    /// Number of stages.
    pub(crate) fn stage_count(&self) -> usize {
        match self {
            Self::Pictures(frozen) => frozen.stage_count(),
            Self::Text(frozen) => frozen.shape().stage_count(),
            Self::Speech(frozen) => frozen.shape().stages().len(),
            Self::Detector(frozen) => frozen.stage_count(),
        }
    }

    /// Layout after `depth` stages, condensed by `pool` if those are all; of the input for depth 0.
    pub(crate) fn layout(&self, depth: usize, pool: Pool) -> FeatureLayout {
        match self {
            Self::Pictures(frozen) if depth == 0 => map_layout(frozen.input()),
            Self::Pictures(frozen) => frozen.layout(depth, pool),
            Self::Detector(frozen) if depth == 0 => map_layout(frozen.input()),
            Self::Detector(frozen) => FeatureLayout::Maps(frozen.layout(depth)),
            Self::Text(_) if depth == 0 => FeatureLayout::Tokens,
            Self::Text(frozen) if depth == self.stage_count() && pool != Pool::Tokens => {
                FeatureLayout::Vector { width: frozen.shape().width }
            }
            Self::Text(frozen) => FeatureLayout::Sequence { width: frozen.shape().width },
            Self::Speech(frozen) if depth == self.stage_count() && pool != Pool::Tokens => {
                FeatureLayout::Vector { width: frozen.shape().hidden }
            }
            Self::Speech(frozen) => FeatureLayout::Sequence { width: frozen.shape().width_after(depth) },
        }
    }

    /// Examples that go through together: a matrix of the few tokens of a sentence is too small to multiply well, and a
    /// picture is not.
    pub(crate) fn group(&self) -> usize {
        match self {
            Self::Pictures(_) | Self::Detector(_) => 1,
            Self::Text(_) => 16,
            // A frame of a recording waits for the one before it; frames of several go side by side.
            Self::Speech(_) => 8,
        }
    }

    /// One example through the first `depth` stages, condensed by `pool` if those are all.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the input is not one of this network.
    pub(crate) fn forward(&self, input: &[f32], depth: usize, pool: Pool, threads: usize) -> Result<Vec<f32>> {
        match self {
            Self::Pictures(frozen) => frozen.forward(input, 1, depth, pool, threads),
            Self::Detector(_) if depth == 0 => Ok(input.to_vec()),
            Self::Detector(frozen) => frozen.forward(input, depth, threads),
            Self::Text(_) | Self::Speech(_) => Ok(self.forward_group(&[input.to_vec()], depth, pool)?.swap_remove(0)),
        }
    }

    /// Some examples through the first `depth` stages, each condensed by `pool` if those are all.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub(crate) fn forward_group(&self, inputs: &[Vec<f32>], depth: usize, pool: Pool) -> Result<Vec<Vec<f32>>> {
        let all_stages = depth == self.stage_count();
        match self {
            Self::Pictures(_) | Self::Detector(_) => {
                inputs.iter().map(|input| self.forward(input, depth, pool, 1)).collect()
            }
            _ if depth == 0 => Ok(inputs.to_vec()),
            Self::Text(frozen) => {
                let lengths: Vec<usize> = inputs.iter().map(|input| input.len() / 2).collect();
                let tokens = Tokens::of_values(&inputs.concat(), Sequences::of_lengths(&lengths));
                let states = frozen.run_layers(0..depth - 1, frozen.embed(&tokens)?, &tokens.sequences)?;
                Ok(condensed(&states, &tokens.sequences, frozen.shape().width, pool, all_stages))
            }
            Self::Speech(frozen) => {
                let shape = frozen.shape();
                let lengths: Vec<usize> = inputs.iter().map(|input| input.len() / shape.cepstra).collect();
                let sequences = Sequences::of_lengths(&lengths);
                let states = frozen.forward(&inputs.concat(), &sequences, depth)?;
                Ok(condensed(&states, &sequences, shape.hidden, pool, all_stages))
            }
        }
    }

    /// The frozen form as one of pictures.
    ///
    /// # Errors
    /// [`Error::Recipe`] where it reads texts.
    pub(crate) fn pictures(&self) -> Result<&FrozenBackbone> {
        match self {
            Self::Pictures(frozen) => Ok(frozen),
            Self::Text(_) | Self::Speech(_) | Self::Detector(_) => Err(Error::Recipe {
                reason: "the depth is chosen by itself for pictures only".to_owned(),
                help: "leave out --freeze auto; --freeze layer3 or --fine-tune 3 open the last layers".to_owned(),
            }),
        }
    }

    pub(crate) fn arithmetic(&self) -> Arithmetic {
        match self {
            Self::Pictures(frozen) => frozen.arithmetic(),
            Self::Text(_) | Self::Speech(_) | Self::Detector(_) => Arithmetic::F32,
        }
    }
}

/// What of the states `[tokens, width]` of some sequences is kept of each: all of them below the last stage.
fn condensed(states: &[f32], sequences: &Sequences, width: usize, pool: Pool, all_stages: bool) -> Vec<Vec<f32>> {
    let of_rows = |rows: std::ops::Range<usize>| {
        let states = &states[rows.start * width..rows.end * width];
        match pool {
            Pool::Tokens => states.to_vec(),
            _ if !all_stages => states.to_vec(),
            Pool::First => states[..width].to_vec(),
            Pool::Last => states[states.len() - width..].to_vec(),
            Pool::Average | Pool::Flatten | Pool::Logits => average(states, width),
        }
    };
    sequences.ranges().map(of_rows).collect()
}

/// Mean over the rows of `[tokens, width]`.
fn average(states: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; width];
    for state in states.chunks_exact(width) {
        sums.iter_mut().zip(state).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let count = (states.len() / width).max(1) as f64;
    sums.iter().map(|sum| (sum / count) as f32).collect()
}
