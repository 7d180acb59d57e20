//! The only language between backbone and head.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// What goes into a backbone.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Input {
    /// Preprocessed pictures, `[B, C, H, W]`.
    Pixels(Tensor<4>),
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
