//! Transformers as data: a shape, from which parameters, frozen form and trainable form follow.

mod adapter;
mod frozen;
mod layer;
#[cfg(test)]
mod parity;
mod shape;
mod trainable;

pub(crate) use adapter::is_adapter;
pub use adapter::{LoraRecipe, LoraStore};
pub use frozen::FrozenTransformer;
pub(crate) use layer::{LayerNorm, drop};
pub use shape::{DenseActivation, TransformerShape};
pub use trainable::Transformer;
