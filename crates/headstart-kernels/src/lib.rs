//! Fused CPU kernels of frozen networks: slices in, slices out.
//!
//! Pictures are `[height, width, channels]` f32, channels last. Weights are packed once; normalization is folded by the
//! caller; bias, residual and activation happen where the sums are still in registers. One kernel source serves every
//! instruction set ([`instruction_set`]); it is chosen at run time.
#![expect(unsafe_code, reason = "vector instructions and raw rows; every block says why it is sound")]

mod bf16;
mod buffer;
mod convolution;
pub mod ctc;
mod curve;
mod dense_rows;
mod depthwise;
mod dispatch;
mod error;
pub mod fma_peak;
mod inverted_residual;
mod layer;
pub mod lstm;
mod matrix;
mod network;
mod plan;
mod pool2d;
mod product;
mod row_shares;
mod shape;
mod simd;
mod tile;
pub mod training;
pub mod transformer;
mod winograd;

pub use bf16::Precision;
pub use convolution::{Conv2d, Conv2dSpec};
pub use dense_rows::dense_rows;
pub use depthwise::{DepthwiseConv2d, DepthwiseConv2dSpec};
pub use dispatch::{InstructionSet, instruction_set};
pub use error::KernelError;
pub use inverted_residual::InvertedResidual;
pub use layer::Layer;
pub use network::Network;
pub use pool2d::{Pool2d, PoolKind};
pub use shape::{Activation, Padding, PaddingRule, Shape};
