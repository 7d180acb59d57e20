//! What makes a source model of tokens: objectives, a transformer with an output over its vocabulary, and the run that
//! trains one on plain text and writes it as a published folder.

mod beginning;
mod fitting;
mod language_model;
mod model_folder;
mod objective;
mod recipe;
mod run;
mod sequences;
mod state;

pub use language_model::LanguageModel;
pub use objective::{Batch, Objective, SpecialTokens};
pub use recipe::{PretrainRecipe, Size};
pub use run::{PretrainEpoch, PretrainOptions, PretrainReport, pretrain};
