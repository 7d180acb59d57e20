//! What a pretraining begins with: a tokenizer made of the texts and untrained arrays, or those of a published folder.

use std::path::Path;

use headstart_data::text::byte_pair_trainer;
use headstart_data::text::tokenizer::Tokenizer;
use headstart_data::text::wordpiece_trainer::{self, VocabularyRule};

use super::language_model::LanguageModel;
use super::objective::{Objective, SpecialTokens};
use super::recipe::{DROPOUT, MAX_TOKENS, PretrainRecipe, Size, VOCABULARY};
use crate::backbones::{TRANSFORMERS, TransformerBackbone};
use crate::embedded;
use crate::error::{Error, Result};
use crate::load::{load_text, weight_file};
use crate::name_map::{Matching, shapes_of};
use crate::nn::{DenseActivation, TransformerShape};
use crate::parameters::Parameters;

/// A network before its first step.
pub(super) struct Beginning {
    pub(super) spec: &'static TransformerBackbone,
    pub(super) tokenizer: Tokenizer,
    pub(super) shape: TransformerShape,
    /// Most tokens of a sequence.
    pub(super) longest: usize,
    /// Arrays as [`LanguageModel`] names them.
    pub(super) parameters: Parameters,
    /// Where they come from: the name of a folder, or `untrained`.
    pub(super) source: String,
    pub(super) notes: Vec<String>,
}

impl Beginning {
    /// Opens what the recipe goes on from, or makes a vocabulary of the texts and a new network.
    ///
    /// # Errors
    /// [`Error::Recipe`] where objective and network do not fit, or the texts give fewer tokens than were asked for; of the
    /// tokenizer and of loading.
    pub(super) fn open(recipe: &PretrainRecipe, texts: &[&str]) -> Result<Self> {
        match &recipe.weights {
            Some(folder) => Self::of_folder(recipe, folder),
            None => Self::of_texts(recipe, texts),
        }
    }

    fn of_texts(recipe: &PretrainRecipe, texts: &[&str]) -> Result<Self> {
        let Size { width, layers, heads, hidden, vocabulary, cased } = recipe.size;
        let size = vocabulary.unwrap_or(VOCABULARY);
        let texts = texts.iter().copied();
        let tokenizer = match recipe.objective {
            Objective::MaskedLm => {
                // Characters take half of it at most, so that there is room for words.
                let rule =
                    VocabularyRule { size, characters: (size / 4).min(1_000), lowercase: !cased, ..Default::default() };
                Tokenizer::from_word_pieces(&wordpiece_trainer::train(texts, &rule)?, !cased)?
            }
            Objective::CausalLm => byte_pair_trainer::train(texts, size)?,
        };
        let found = tokenizer.vocabulary_size();
        if vocabulary.is_some_and(|asked| asked > found) {
            return Err(Error::Recipe {
                reason: format!("the texts give {found} tokens, {size} were asked for"),
                help: format!("set --vocabulary to {found} or less, or leave it out; more text gives more tokens"),
            });
        }
        let is_causal = recipe.objective == Objective::CausalLm;
        let longest = recipe.max_tokens.unwrap_or(MAX_TOKENS);
        let dropout = recipe.dropout.unwrap_or(DROPOUT);
        let shape = TransformerShape {
            vocabulary: found,
            positions: longest,
            kinds: if is_causal { 0 } else { 2 },
            width,
            layers,
            heads,
            hidden: hidden.unwrap_or(4 * width),
            activation: if is_causal { DenseActivation::GeluTanh } else { DenseActivation::Gelu },
            norm_first: is_causal,
            causal: is_causal,
            epsilon: if is_causal { 1e-5 } else { 1e-12 },
            dropout,
            attention_dropout: dropout,
        };
        let parameters = Parameters::initialize(&LanguageModel::parameters(&shape, recipe.objective), recipe.seed);
        let spec = architecture(recipe.objective);
        Ok(Self { spec, tokenizer, shape, longest, parameters, source: "untrained".to_owned(), notes: Vec::new() })
    }

    fn of_folder(recipe: &PretrainRecipe, folder: &Path) -> Result<Self> {
        let spec = architecture(recipe.objective);
        let loaded = match is_embedded(folder) {
            true => embedded::load_text(None)?,
            false => load_text(folder, None)?,
        };
        if loaded.transformer.spec.name != spec.name {
            let found = loaded.transformer.spec.name;
            let (objective, other) = match recipe.objective {
                Objective::MaskedLm => ("masked-lm", "causal-lm"),
                Objective::CausalLm => ("causal-lm", "masked-lm"),
            };
            return Err(Error::Recipe {
                reason: format!("{objective} trains a {}, and `{}` holds a {found}", spec.name, folder.display()),
                help: format!("write --task {other}, or leave --weights out for a new network"),
            });
        }
        let mut shape = loaded.transformer.shape;
        if let Some(rate) = recipe.dropout {
            (shape.dropout, shape.attention_dropout) = (rate, rate);
        }
        let longest = recipe.max_tokens.unwrap_or(MAX_TOKENS.min(shape.positions));
        if longest > shape.positions {
            return Err(Error::Recipe {
                reason: format!(
                    "{longest} tokens a sequence are more than the {} positions of the network",
                    shape.positions
                ),
                help: format!("set --max-tokens to {} or less", shape.positions),
            });
        }
        let mut notes = loaded.reader.tokenizer.notes().to_vec();
        let untrained = LanguageModel::parameters(&shape, recipe.objective);
        let mut parameters = Parameters::initialize(&untrained, recipe.seed);
        parameters.extend(loaded.transformer.parameters.with_prefix("backbone."));
        match output(folder, spec, &shape, recipe.objective)? {
            Some(output) => parameters.extend(output),
            None => notes.push(format!(
                "`{}` was published without its output over the vocabulary, which begins untrained",
                folder.display()
            )),
        }
        Ok(Self {
            spec,
            tokenizer: loaded.reader.tokenizer,
            shape,
            longest,
            parameters,
            source: loaded.transformer.source,
            notes,
        })
    }

    /// Tokens that the objective must know.
    ///
    /// # Errors
    /// [`Error::Recipe`] where tokens are to be hidden and the tokenizer has none that stands for a hidden one.
    pub(super) fn special(&self, objective: Objective) -> Result<SpecialTokens> {
        let special = self.tokenizer.special();
        if objective == Objective::MaskedLm && special.mask.is_none() {
            return Err(Error::Recipe {
                reason: "its tokenizer has no `[MASK]`, so no token can be hidden".to_owned(),
                help: "take the tokenizer that was published with a masked language model".to_owned(),
            });
        }
        let all = [special.start, special.separator, special.padding, special.unknown, special.mask, special.end];
        let kept = all.into_iter().flatten().collect();
        Ok(SpecialTokens { mask: special.mask, kept, vocabulary: self.tokenizer.vocabulary_size() })
    }
}

/// Whether the network inside the program is meant.
fn is_embedded(folder: &Path) -> bool {
    folder == Path::new(embedded::NAME) && !folder.exists()
}

/// The architecture that an objective trains.
fn architecture(objective: Objective) -> &'static TransformerBackbone {
    let name = match objective {
        Objective::MaskedLm => "bert",
        Objective::CausalLm => "gpt2",
    };
    TRANSFORMERS.iter().find(|spec| spec.name == name).expect("both are in the registry")
}

/// The output over the vocabulary of a published folder, under our names; `None` where it was left out.
fn output(
    folder: &Path,
    spec: &TransformerBackbone,
    shape: &TransformerShape,
    objective: Objective,
) -> Result<Option<Parameters>> {
    let entries = (spec.language_model.entries)();
    let needed: Vec<_> = LanguageModel::parameters(shape, objective)
        .into_iter()
        .filter(|spec| spec.name.starts_with("output."))
        .collect();
    if needed.is_empty() {
        return Ok(Some(Parameters::default()));
    }
    if is_embedded(folder) {
        return Ok(None);
    }
    let file = if folder.is_dir() { weight_file(folder)? } else { folder.to_owned() };
    let checkpoint = headstart_weights::open(&file)?;
    let arrays = checkpoint.arrays();
    let canonical: Vec<String> = arrays.iter().map(|array| (spec.families[0].canonical)(&array.name)).collect();
    let shapes = shapes_of(needed);
    let matching = Matching::of(arrays, &canonical, &entries, &shapes, &[""]);
    if !matching.is_complete() {
        return Ok(None);
    }
    matching.read(checkpoint.as_ref(), entries, &shapes).map(Some)
}
