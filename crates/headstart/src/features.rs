//! The only language between backbone and head.

use std::sync::Arc;

use burn::tensor::Tensor;
use headstart_kernels::KernelError;
pub use headstart_kernels::transformer::Sequences;
use serde::{Deserialize, Serialize};

/// What goes into a backbone.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Input {
    /// Preprocessed pictures, `[B, C, H, W]`.
    Pixels(Tensor<4>),
}

/// Sequences of tokens, one after the other without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Numbers of the tokens in the vocabulary.
    pub ids: Vec<u32>,
    /// Kind of each token: 0 for the first sentence, 1 for the second.
    pub kinds: Vec<u32>,
    /// Where each sequence lies.
    pub sequences: Arc<Sequences>,
}

impl Tokens {
    /// Checks that every token has an embedding of every kind.
    ///
    /// # Errors
    /// [`KernelError::Invalid`].
    pub fn check(&self, shape: &crate::nn::TransformerShape) -> Result<(), KernelError> {
        let count = self.sequences.token_count();
        if self.ids.len() != count || self.kinds.len() != count {
            return Err(KernelError::Invalid("there are as many tokens and kinds as the sequences are long"));
        }
        if self.ids.iter().any(|&id| id as usize >= shape.vocabulary) {
            return Err(KernelError::Invalid("a token is not in the vocabulary of the network"));
        }
        if shape.kinds > 0 && self.kinds.iter().any(|&kind| kind as usize >= shape.kinds) {
            return Err(KernelError::Invalid("the network has no such kind of token"));
        }
        if self.sequences.ranges().any(|rows| rows.len() > shape.positions) {
            return Err(KernelError::Invalid("a sequence is longer than the network has positions"));
        }
        Ok(())
    }
}

/// What comes out of a backbone, or of one of its stages.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Features {
    /// One vector an example, `[B, D]`.
    Vector(Tensor<2>),
    /// A feature map, `[B, C, H, W]`.
    Map(Tensor<4>),
}

impl Features {
    /// Number of examples in the batch.
    pub fn batch(&self) -> usize {
        match self {
            Self::Vector(tensor) => tensor.dims()[0],
            Self::Map(tensor) => tensor.dims()[0],
        }
    }
}

/// Shape of the features of one example, without the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FeatureLayout {
    /// A vector.
    Vector {
        /// Its length.
        width: usize,
    },
    /// A map.
    Map {
        /// Channels.
        channels: usize,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
}

impl FeatureLayout {
    /// Number of values of one example.
    pub fn value_count(&self) -> usize {
        match *self {
            Self::Vector { width } => width,
            Self::Map { channels, height, width } => channels * height * width,
        }
    }

    /// Tensors from the channels-last values of `batch` examples, as the frozen path and the cache hold them.
    ///
    /// `values` is `[B, H, W, C]` for a map and `[B, D]` for a vector.
    pub(crate) fn tensor(&self, values: Vec<f32>, batch: usize, device: &burn::tensor::Device) -> Features {
        use burn::tensor::TensorData;
        match *self {
            Self::Vector { width } => {
                Features::Vector(Tensor::from_data(TensorData::new(values, [batch, width]), device))
            }
            Self::Map { channels, height, width } => {
                let data = TensorData::new(values, [batch, height, width, channels]);
                Features::Map(Tensor::<4>::from_data(data, device).permute([0, 3, 1, 2]))
            }
        }
    }
}
