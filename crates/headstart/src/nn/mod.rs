//! Layers. Each that a backbone uses has a trainable form on the engine and a frozen form on our kernels.

mod batch_norm;
pub(crate) mod conv_norm;
mod cpu_conv_norm;
mod cpu_lstm;
mod cpu_tensors;
mod cpu_transformer;
pub(crate) mod deepspeech;
pub(crate) mod dense;
pub(crate) mod graph;
mod lstm_steps;
pub mod map_graph;
pub(crate) mod named;
pub(crate) mod transformer;

pub use conv_norm::{ConvNorm, NormStatistics, Padding};
pub(crate) use cpu_tensors::release_buffers;
pub use deepspeech::{DeepSpeech, DeepSpeechShape, DeepSpeechStream, FrozenDeepSpeech};
pub use dense::Dense;
pub use graph::Graph;
pub use map_graph::MapGraph;
pub(crate) use transformer::is_adapter;
pub use transformer::{DenseActivation, FrozenTransformer, LoraRecipe, LoraStore, Transformer, TransformerShape};
