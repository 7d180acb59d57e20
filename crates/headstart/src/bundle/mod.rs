//! The one-file result: a valid safetensors file with weights, labels, preprocessing, scores and a self-test.
//!
//! Tensors `backbone.*` and `head.*` in f32, pictures and outputs of the self-test, and a JSON manifest in the metadata.
//! The bytes are a function of the recipe, the weights and the data: no dates, no durations, no machine names.

pub(crate) mod arrays;
pub mod detect;
pub mod export;
pub mod manifest;
pub mod predict;
pub mod read;
pub(crate) mod self_test;
pub mod transcribe;
pub(crate) mod write;

pub use manifest::Manifest;
pub use predict::Prediction;
pub use read::Bundle;
