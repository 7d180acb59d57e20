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
    /// One sequence as values: number and kind of each token.
    pub(crate) fn values(ids: &[u32], kinds: impl Iterator<Item = u32>) -> Vec<f32> {
        ids.iter().zip(kinds).flat_map(|(&id, kind)| [id as f32, kind as f32]).collect()
    }

    /// Sequences from their values.
    pub(crate) fn of_values(values: &[f32], sequences: Sequences) -> Self {
        let (ids, kinds) = values.chunks_exact(2).map(|pair| (pair[0] as u32, pair[1] as u32)).unzip();
        Self { ids, kinds, sequences: Arc::new(sequences) }
    }

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
    /// States of tokens, `[tokens, width]`, and where each sequence lies.
    Sequence(Tensor<2>, Arc<Sequences>),
    /// What a transformer reads.
    Tokens(Tokens),
    /// Maps of several sizes, each `[B, H, W, C]`.
    Maps(Vec<Tensor<4>>),
}

impl Features {
    /// Number of examples in the batch.
    pub fn batch(&self) -> usize {
        match self {
            Self::Vector(tensor) => tensor.dims()[0],
            Self::Map(tensor) => tensor.dims()[0],
            Self::Sequence(_, sequences) => sequences.ranges().count(),
            Self::Tokens(tokens) => tokens.sequences.ranges().count(),
            Self::Maps(maps) => maps.first().map_or(0, |map| map.dims()[0]),
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
    /// States of as many tokens as the example has.
    Sequence {
        /// Values of a token.
        width: usize,
    },
    /// Number and kind of as many tokens as the example has. Both are below 2²⁴, which an f32 holds exactly.
    Tokens,
    /// Maps of several sizes.
    Maps(MapShapes),
}

/// Rows, columns and channels of a few maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapShapes {
    count: usize,
    shapes: [[usize; 3]; Self::MOST],
}

impl MapShapes {
    /// Most maps that are carried over a cut.
    pub const MOST: usize = 8;

    /// The first [`Self::MOST`] of these shapes.
    pub fn new(shapes: impl Iterator<Item = headstart_kernels::Shape>) -> Self {
        let mut all = Self { count: 0, shapes: [[0; 3]; Self::MOST] };
        for (place, shape) in all.shapes.iter_mut().zip(shapes) {
            *place = [shape.height, shape.width, shape.channels];
            all.count += 1;
        }
        all
    }

    /// Rows, columns and channels of each.
    pub fn shapes(&self) -> &[[usize; 3]] {
        &self.shapes[..self.count]
    }

    /// Number of values of all of them.
    pub fn value_count(&self) -> usize {
        self.shapes().iter().map(|shape| shape.iter().product::<usize>()).sum()
    }
}

/// Values of some examples, one after the other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    /// All values.
    pub values: Vec<f32>,
    /// Number of values of each example.
    pub lengths: Vec<usize>,
}

impl Rows {
    /// Adds one example.
    pub(crate) fn push(&mut self, values: Vec<f32>) {
        self.lengths.push(values.len());
        self.values.extend(values);
    }

    /// `batch` examples of one length.
    pub fn even(values: Vec<f32>, batch: usize) -> Self {
        let lengths = vec![values.len() / batch.max(1); batch];
        Self { values, lengths }
    }
}

impl FeatureLayout {
    /// Number of values of one example, or of one token of it.
    pub fn value_count(&self) -> usize {
        match *self {
            Self::Sequence { width } => width,
            Self::Tokens => 2,
            Self::Vector { width } => width,
            Self::Map { channels, height, width } => channels * height * width,
            Self::Maps(maps) => maps.value_count(),
        }
    }

    /// Whether examples have as many values as they have tokens.
    pub fn varies(&self) -> bool {
        matches!(self, Self::Sequence { .. } | Self::Tokens)
    }

    /// Rows that each example has: one, or as many as it has tokens or frames.
    pub(crate) fn rows(&self, read: &Rows) -> Vec<usize> {
        match self.varies() {
            true => read.lengths.iter().map(|length| length / self.value_count()).collect(),
            false => vec![1; read.lengths.len()],
        }
    }

    /// Tensors from the channels-last values of some examples, as the frozen path and the cache hold them.
    ///
    /// The values are `[B, H, W, C]` for a map, `[B, D]` for a vector, `[tokens, width]` for states.
    pub(crate) fn tensor(&self, rows: Rows, device: &burn::tensor::Device) -> Features {
        use burn::tensor::TensorData;
        let Rows { values, lengths } = rows;
        let batch = lengths.len();
        let sequences = |width: usize| {
            let lengths: Vec<usize> = lengths.iter().map(|length| length / width).collect();
            Sequences::of_lengths(&lengths)
        };
        match *self {
            Self::Sequence { width } => {
                let data = TensorData::new(values, [lengths.iter().sum::<usize>() / width, width]);
                Features::Sequence(Tensor::from_data(data, device), Arc::new(sequences(width)))
            }
            Self::Tokens => Features::Tokens(Tokens::of_values(&values, sequences(2))),
            Self::Vector { width } => {
                Features::Vector(Tensor::from_data(TensorData::new(values, [batch, width]), device))
            }
            Self::Map { channels, height, width } => {
                let data = TensorData::new(values, [batch, height, width, channels]);
                Features::Map(Tensor::<4>::from_data(data, device).permute([0, 3, 1, 2]))
            }
            Self::Maps(maps) => {
                let (length, mut begin) = (maps.value_count(), 0);
                let tensor = |&[height, width, channels]: &[usize; 3]| {
                    let size = height * width * channels;
                    let of_map = begin..begin + size;
                    begin += size;
                    let rows = values.chunks_exact(length.max(1));
                    let data: Vec<f32> = rows.flat_map(|row| &row[of_map.clone()]).copied().collect();
                    Tensor::<4>::from_data(TensorData::new(data, [batch, height, width, channels]), device)
                };
                Features::Maps(maps.shapes().iter().map(tensor).collect())
            }
        }
    }
}
