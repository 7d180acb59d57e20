//! The trainable form: embeddings and layers as modules whose paths are the names of the architecture.

use std::sync::Arc;

use burn::module::{Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use headstart_kernels::transformer::{Dropout, LayerDropout, Sequences};

use super::adapter::LoraRecipe;
use super::layer::{Layer, LayerNorm, drop};
use super::shape::TransformerShape;
use crate::error::Result;
use crate::features::{Features, Tokens};
use crate::nn::named::read;
use crate::parameters::Parameters;
use crate::random::Stream;

/// Sums of the tables' rows, normalized where the network does so.
#[derive(Module, Debug)]
struct Embeddings {
    words: Param<Tensor<2>>,
    positions: Param<Tensor<2>>,
    kinds: Option<Param<Tensor<2>>>,
    norm: Option<LayerNorm>,
}

/// A transformer of any shape.
#[derive(Debug, Clone)]
pub struct Transformer {
    embeddings: Embeddings,
    layers: Vec<(String, Layer)>,
    shape: TransformerShape,
}

impl Embeddings {
    fn load(shape: &TransformerShape, parameters: &Parameters, device: &Device) -> Result<Self> {
        let table = |name: &str| {
            Ok::<_, crate::Error>(Param::from_tensor(read(parameters, &format!("embeddings.{name}"), device)?))
        };
        Ok(Self {
            words: table("words")?,
            positions: table("positions")?,
            kinds: (shape.kinds > 0).then(|| table("kinds")).transpose()?,
            norm: (!shape.norm_first).then(|| LayerNorm::load(parameters, "embeddings.norm", device)).transpose()?,
        })
    }

    /// `[tokens, width]`
    fn forward(&self, tokens: &Tokens, epsilon: f32, dropout: Option<Dropout>) -> Tensor<2> {
        let device = self.words.val().device();
        let pick = |table: &Param<Tensor<2>>, rows: Vec<i64>| {
            let count = rows.len();
            table.val().select(0, Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device))
        };
        let positions = tokens.sequences.ranges().flat_map(|rows| 0..rows.len() as i64).collect();
        let mut sum =
            pick(&self.words, tokens.ids.iter().map(|&id| i64::from(id)).collect()) + pick(&self.positions, positions);
        if let Some(kinds) = &self.kinds {
            sum = sum + pick(kinds, tokens.kinds.iter().map(|&kind| i64::from(kind)).collect());
        }
        let normed = match &self.norm {
            Some(norm) => norm.forward(sum, epsilon),
            None => sum,
        };
        drop(normed, dropout)
    }
}

impl Transformer {
    /// A network whose arrays all learn, or whose adapters alone do.
    ///
    /// # Errors
    /// [`crate::Error::UnknownName`] when an array is missing; [`crate::Error::Kernel`] for an impossible shape.
    pub fn load(
        shape: TransformerShape,
        parameters: &Parameters,
        lora: Option<&LoraRecipe>,
        device: &Device,
    ) -> Result<Self> {
        let layer = |index: usize| {
            let name = TransformerShape::layer_name(index);
            let has_final_norm = shape.norm_first && index + 1 == shape.layers;
            let layer = Layer::load(shape.layer(), parameters, &name, has_final_norm, lora, device)?;
            Ok((name, layer))
        };
        let embeddings = Embeddings::load(&shape, parameters, device)?;
        Ok(Self {
            embeddings: if lora.is_some() { embeddings.no_grad() } else { embeddings },
            layers: (0..shape.layers).map(layer).collect::<Result<_>>()?,
            shape,
        })
    }

    /// The table of words, `[vocabulary, width]`.
    pub fn words(&self) -> Tensor<2> {
        self.embeddings.words.val()
    }

    /// States `[tokens, width]` after the embeddings: what stage 0 gives. `noise` draws dropout while it learns.
    pub fn embed(&self, tokens: &Tokens, noise: Option<&mut Stream>) -> Tensor<2> {
        let rate = self.shape.dropout;
        let dropout = noise.filter(|_| rate > 0.0).map(|noise| Dropout { rate, seed: noise.bits() });
        self.embeddings.forward(tokens, self.shape.epsilon as f32, dropout)
    }

    /// States after all layers, from those after `first` layers.
    pub fn run_layers(
        &self,
        first: usize,
        states: Tensor<2>,
        sequences: &Arc<Sequences>,
        mut noise: Option<&mut Stream>,
    ) -> Tensor<2> {
        self.layers[first..].iter().fold(states, |states, (_, layer)| {
            let dropout = noise.as_deref_mut().map(|noise| LayerDropout {
                attention: self.shape.attention_dropout,
                hidden: self.shape.dropout,
                seed: noise.bits(),
            });
            layer.forward(sequences, states, dropout)
        })
    }

    /// States after all stages, from tokens (`stage` 0) or from the states after `stage` stages, of which the embeddings are
    /// the first.
    pub(crate) fn resume_from(&self, stage: usize, features: Features, mut noise: Option<&mut Stream>) -> Features {
        let (states, sequences) = match features {
            Features::Tokens(tokens) => (self.embed(&tokens, noise.as_deref_mut()), tokens.sequences),
            Features::Sequence(states, sequences) => (states, sequences),
            Features::Vector(_) | Features::Map(_) | Features::Maps(_) => {
                unreachable!("a transformer reads tokens, or states of them")
            }
        };
        Features::Sequence(self.run_layers(stage.saturating_sub(1), states, &sequences, noise), sequences)
    }

    fn changed(
        self,
        embeddings: impl FnOnce(Embeddings) -> Embeddings,
        mut layer: impl FnMut(&str, Layer) -> Layer,
    ) -> Self {
        let layers = self.layers.into_iter().map(|(name, module)| {
            let module = layer(&name, module);
            (name, module)
        });
        Self { embeddings: embeddings(self.embeddings), layers: layers.collect(), shape: self.shape }
    }
}

/// Stage of the embeddings.
const EMBEDDINGS: &str = "embeddings";
/// The container's name for visitors.
const CONTAINER: &str = "Transformer";

// By hand, so that the path of a parameter is the name that the architecture gives it.
impl Module for Transformer {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.enter_module(EMBEDDINGS, CONTAINER);
        self.embeddings.visit(visitor);
        visitor.exit_module(EMBEDDINGS, CONTAINER);
        for (name, layer) in &self.layers {
            visitor.enter_module(name, CONTAINER);
            layer.visit(visitor);
            visitor.exit_module(name, CONTAINER);
        }
    }

    fn map<M: ModuleMapper>(mut self, mapper: &mut M) -> Self {
        mapper.enter_module(EMBEDDINGS, CONTAINER);
        self.embeddings = self.embeddings.map(mapper);
        mapper.exit_module(EMBEDDINGS, CONTAINER);
        self.changed(
            |embeddings| embeddings,
            |name, layer| {
                mapper.enter_module(name, CONTAINER);
                let layer = layer.map(mapper);
                mapper.exit_module(name, CONTAINER);
                layer
            },
        )
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        let devices = self.embeddings.collect_devices(devices);
        self.layers.iter().fold(devices, |devices, (_, layer)| layer.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        self.changed(|embeddings| embeddings.fork(device), |_, layer| layer.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.changed(|embeddings| embeddings.to_device(device), |_, layer| layer.to_device(device))
    }

    fn train(self) -> Self {
        self.changed(Embeddings::train, |_, layer| layer.train())
    }

    fn valid(&self) -> Self {
        self.clone().changed(|embeddings| embeddings.valid(), |_, layer| layer.valid())
    }

    fn materialize(self) -> Self {
        self.changed(Embeddings::materialize, |_, layer| layer.materialize())
    }
}

impl ModuleDisplayDefault for Transformer {
    fn content(&self, content: Content) -> Option<Content> {
        let content = content.set_top_level_type(CONTAINER).add(EMBEDDINGS, &self.embeddings);
        self.layers.iter().fold(content, |content, (name, layer)| content.add(name, layer)).optional()
    }

    fn num_params(&self) -> usize {
        Module::num_params(self)
    }
}

impl ModuleDisplay for Transformer {}

impl std::fmt::Display for Transformer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.format(Default::default()))
    }
}
