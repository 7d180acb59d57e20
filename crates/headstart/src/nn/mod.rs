//! Layers. Each that a backbone uses has a trainable form on the engine and a frozen form on our kernels.

pub(crate) mod conv_norm;
mod cpu_conv_norm;
pub(crate) mod dense;
pub(crate) mod named;

pub use conv_norm::{ConvNorm, NormStatistics, Padding};
pub(crate) use cpu_conv_norm::release_buffers;
pub use dense::Dense;
