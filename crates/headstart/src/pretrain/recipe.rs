//! A pretraining as data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::objective::Objective;
use crate::error::{Error, Result};

/// Everything that decides the result of a pretraining, beside the texts themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainRecipe {
    /// What is predicted; it decides the architecture.
    pub objective: Objective,
    /// Plain files, folders of such, labelled data sets.
    #[serde(skip)]
    pub corpus: Vec<PathBuf>,
    /// Column of the texts in tables; found when left out.
    pub text_column: Option<String>,
    /// The folder of a network to go on from, with its tokenizer; a new one of `size` when left out.
    #[serde(skip)]
    pub weights: Option<PathBuf>,
    /// How large a new network is.
    pub size: Size,
    /// Most tokens of a sequence; longer texts become several. A new network has as many positions.
    pub max_tokens: Option<usize>,
    /// About how many tokens a step reads.
    pub batch: usize,
    /// Rounds through the texts.
    pub epochs: usize,
    /// Steps, instead of rounds.
    pub steps: Option<usize>,
    /// Highest rate of AdamW: it rises over the first tenth of the steps and falls to zero over the rest.
    pub learning_rate: f64,
    /// Decay of matrices, as AdamW takes it.
    pub weight_decay: f64,
    /// Dropout everywhere while it learns; that of the weights when left out, or 0.1.
    pub dropout: Option<f32>,
    /// Part of the texts that is held out to be scored on.
    pub held_out: f32,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Whether the weights are stored in half precision.
    pub half_precision: bool,
}

/// How large a new network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Size {
    /// Values of a token.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of attention in a layer.
    pub heads: usize,
    /// Values between the dense layers; four times the width when left out.
    pub hidden: Option<usize>,
    /// Most tokens of the vocabulary; what the texts give, up to 8,000, when left out.
    pub vocabulary: Option<usize>,
    /// Whether case and accents count; of BERT's tokenizer only, GPT-2's always keeps them.
    pub cased: bool,
}

/// Tokens of a new vocabulary where nobody says more.
pub(super) const VOCABULARY: usize = 8_000;
/// Fewer have no room for the letters of a language.
const FEWEST_TOKENS: usize = 64;
/// Tokens of a sequence where nobody says more: most sentences and paragraphs are shorter.
pub(super) const MAX_TOKENS: usize = 128;
/// Dropout of new networks, as BERT and GPT-2 have it.
pub(super) const DROPOUT: f32 = 0.1;

impl Default for Size {
    /// A network that a laptop trains in minutes.
    fn default() -> Self {
        Self { width: 128, layers: 4, heads: 4, hidden: None, vocabulary: None, cased: false }
    }
}

impl Default for PretrainRecipe {
    fn default() -> Self {
        Self {
            objective: Objective::MaskedLm,
            corpus: Vec::new(),
            text_column: None,
            weights: None,
            size: Size::default(),
            max_tokens: None,
            batch: 2_048,
            epochs: 10,
            steps: None,
            learning_rate: 1e-3,
            weight_decay: 0.01,
            dropout: None,
            held_out: 0.05,
            seed: 0,
            half_precision: false,
        }
    }
}

impl PretrainRecipe {
    /// Refuses what cannot be meant, before any work.
    ///
    /// # Errors
    /// [`Error::Recipe`] with what to write instead.
    pub fn check(&self) -> Result<()> {
        let refuse = |reason: String, help: &str| Err(Error::Recipe { reason, help: help.to_owned() });
        let Size { width, layers, heads, hidden, vocabulary, .. } = self.size;
        if self.corpus.is_empty() {
            return refuse("there is no text to learn from".into(), "name a file or folder of texts");
        }
        if width == 0 || layers == 0 || heads == 0 || hidden == Some(0) {
            return refuse(
                format!("a network of {layers} layers of width {width} with {heads} heads cannot be"),
                "all of them are at least 1",
            );
        }
        if !width.is_multiple_of(heads) {
            return refuse(
                format!("a width of {width} is no multiple of {heads} heads"),
                "choose --heads among the divisors of --width",
            );
        }
        if width > 4_096 || layers > 96 || hidden.is_some_and(|hidden| hidden > 1 << 15) {
            return refuse(
                format!("{layers} layers of width {width} are more than is trained here"),
                "the defaults, 4 layers of width 128, are a good start",
            );
        }
        if let Some(size) = vocabulary.filter(|size| *size < FEWEST_TOKENS) {
            return refuse(format!("{size} tokens have no room for letters and words"), "8000 suits small networks");
        }
        if vocabulary.is_some_and(|size| size > 1 << 20) {
            return refuse("the vocabulary is above a million tokens".into(), "published ones have about 30,000");
        }
        if let Some(tokens) = self.max_tokens.filter(|tokens| !(4..=8_192).contains(tokens)) {
            return refuse(format!("{tokens} tokens a sequence are not within 4 and 8,192"), "128 suits sentences");
        }
        if self.batch < self.max_tokens.unwrap_or(MAX_TOKENS) || self.batch > 1 << 20 {
            return refuse(
                format!("a step of {} tokens does not hold one sequence, or is above a million", self.batch),
                "set --batch to at least --max-tokens",
            );
        }
        if self.epochs == 0 || self.steps == Some(0) {
            return refuse("no step is to be taken".into(), "set --epochs or --steps to at least 1");
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return refuse(format!("a learning rate of {} cannot be", self.learning_rate), "1e-3 suits small networks");
        }
        if !(0.0..1.0).contains(&self.weight_decay) || self.dropout.is_some_and(|rate| !(0.0..1.0).contains(&rate)) {
            return refuse("dropout and weight decay are within 0 and 1".into(), "0.1 and 0.01 are usual");
        }
        if !(0.0..=0.5).contains(&self.held_out) {
            return refuse(
                format!("{} is no part of the texts to hold out", self.held_out),
                "set --held-out to between 0 and 0.5",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let good = PretrainRecipe { corpus: vec!["corpus.txt".into()], ..PretrainRecipe::default() };
        good.check().unwrap();
        let with = |change: &dyn Fn(&mut PretrainRecipe)| {
            let mut recipe = good.clone();
            change(&mut recipe);
            recipe.check().unwrap_err().to_string()
        };
        assert!(with(&|recipe| recipe.corpus.clear()).contains("no text"));
        assert!(with(&|recipe| recipe.size.heads = 3).contains("multiple of 3 heads"));
        assert!(with(&|recipe| recipe.size.layers = 0).contains("cannot be"));
        assert!(with(&|recipe| recipe.size.width = 1 << 20).contains("more than is trained"));
        assert!(with(&|recipe| recipe.size.vocabulary = Some(63)).contains("no room"));
        assert!(with(&|recipe| recipe.max_tokens = Some(3)).contains("3 tokens"));
        assert!(with(&|recipe| recipe.batch = 64).contains("does not hold one sequence"));
        assert!(with(&|recipe| recipe.epochs = 0).contains("no step"));
        assert!(with(&|recipe| recipe.learning_rate = f64::NAN).contains("NaN"));
        assert!(with(&|recipe| recipe.dropout = Some(1.0)).contains("dropout"));
        assert!(with(&|recipe| recipe.held_out = 0.9).contains("0.9"));
    }
}
