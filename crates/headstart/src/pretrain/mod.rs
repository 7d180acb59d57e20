//! Making a small source model from plain text.

mod language_model;
mod objective;

pub use objective::{Objective, SpecialTokens};
