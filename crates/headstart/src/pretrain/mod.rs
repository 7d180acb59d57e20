//! What makes a source model of tokens: objectives, and a transformer with an output over its vocabulary.

mod language_model;
mod objective;

pub use language_model::LanguageModel;
pub use objective::{Batch, Objective, SpecialTokens};
