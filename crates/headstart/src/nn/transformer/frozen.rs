//! The frozen form: arrays laid out once, layers run one after the other, nothing kept.

use headstart_kernels::training::BufferPool;
use headstart_kernels::transformer::{
    DenseWeights, LayerWeights, NormWeights, Sequences, TransformerLayer, layer_norm,
};

use super::shape::TransformerShape;
use crate::error::Result;
use crate::features::Tokens;
use crate::parameters::Parameters;

/// A whole transformer that does not learn.
#[derive(Debug)]
pub struct FrozenTransformer {
    parameters: Parameters,
    layer: TransformerLayer,
    shape: TransformerShape,
    pool: BufferPool,
}

impl FrozenTransformer {
    /// Takes the arrays of a network.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`] for an impossible shape; [`crate::Error::UnknownName`] when an array is missing.
    pub fn new(shape: TransformerShape, parameters: Parameters) -> Result<Self> {
        for spec in shape.parameters() {
            parameters.find(&spec.name)?;
        }
        Ok(Self { parameters, layer: TransformerLayer::new(shape.layer())?, shape, pool: BufferPool::new() })
    }

    /// The shape.
    pub fn shape(&self) -> &TransformerShape {
        &self.shape
    }

    /// States `[tokens, width]` after the embeddings.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`] when a token is not in the vocabulary, or a sequence is too long: see [`Tokens::check`].
    pub fn embed(&self, tokens: &Tokens) -> Result<Vec<f32>> {
        tokens.check(&self.shape)?;
        let width = self.shape.width;
        let (words, positions) = (self.array("embeddings.words")?, self.array("embeddings.positions")?);
        let kinds = if self.shape.kinds > 0 { Some(self.array("embeddings.kinds")?) } else { None };
        let row = |table: &'_ [f32], index: usize| -> std::ops::Range<usize> {
            debug_assert!((index + 1) * width <= table.len());
            index * width..(index + 1) * width
        };
        let mut states = Vec::with_capacity(tokens.ids.len() * width);
        for rows in tokens.sequences.ranges() {
            for (position, token) in rows.enumerate() {
                let id = tokens.ids[token] as usize;
                let sum = words[row(words, id)].iter().zip(&positions[row(positions, position)]).map(|(a, b)| a + b);
                match kinds {
                    Some(kinds) => {
                        let kind = tokens.kinds[token] as usize;
                        states.extend(sum.zip(&kinds[row(kinds, kind)]).map(|(sum, kind)| sum + kind));
                    }
                    None => states.extend(sum),
                }
            }
        }
        if self.shape.norm_first {
            return Ok(states);
        }
        Ok(layer_norm(self.norm("embeddings.norm")?, self.shape.epsilon as f32, &states)?)
    }

    /// States after `layers.end` layers, from those after `layers.start`.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`] when `states` is not `[tokens, width]`.
    pub fn run_layers(
        &self,
        layers: std::ops::Range<usize>,
        mut states: Vec<f32>,
        sequences: &Sequences,
    ) -> Result<Vec<f32>> {
        for index in layers {
            let name = TransformerShape::layer_name(index);
            let next = self.layer.forward(&self.pool, sequences, &states, &self.weights(&name)?)?;
            self.pool.give(std::mem::replace(&mut states, next));
            if self.shape.norm_first && index + 1 == self.shape.layers {
                let norm = self.norm(&format!("{name}.final_norm"))?;
                states = layer_norm(norm, self.shape.epsilon as f32, &states)?;
            }
        }
        Ok(states)
    }

    fn array(&self, name: &str) -> Result<&[f32]> {
        Ok(&self.parameters.find(name)?.values)
    }

    fn norm(&self, name: &str) -> Result<NormWeights<'_>> {
        Ok(NormWeights { gamma: self.array(&format!("{name}.gamma"))?, beta: self.array(&format!("{name}.beta"))? })
    }

    fn weights(&self, layer: &str) -> Result<LayerWeights<'_>> {
        let dense = |name: &str| {
            let of = |array: &str| self.array(&format!("{layer}.{name}.{array}"));
            Ok::<_, crate::Error>(DenseWeights { weight: of("weight")?, bias: of("bias")? })
        };
        Ok(LayerWeights {
            query: dense("query")?,
            key: dense("key")?,
            value: dense("value")?,
            attended: dense("attended")?,
            attention_norm: self.norm(&format!("{layer}.attention_norm"))?,
            expand: dense("expand")?,
            contract: dense("contract")?,
            dense_norm: self.norm(&format!("{layer}.dense_norm"))?,
        })
    }
}
