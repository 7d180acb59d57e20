//! A transformer with the tokenizer that was published beside it.

use std::ops::Range;
use std::path::Path;

use headstart_data::text::tokenizer::Tokenizer;

use super::{PretrainedTransformer, load_transformer};
use crate::error::{Error, Result};
use crate::features::Tokens;
use crate::nn::TransformerShape;
use crate::parameters::Parameters;

/// Tokens of an example when nobody says more: attention to more of them costs much, and most sentences are shorter.
const LONGEST: usize = 256;

/// A pretrained transformer that reads texts.
#[derive(Debug, Clone)]
pub struct PretrainedText {
    /// The network.
    pub transformer: PretrainedTransformer,
    /// Text to tokens.
    pub reader: TextReader,
    /// Licence that the weights state.
    pub licence: Option<String>,
}

/// Text to what a network reads.
#[derive(Debug, Clone)]
pub struct TextReader {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// Most tokens of an example.
    pub longest: usize,
    /// Kinds of tokens that the network tells apart.
    kinds: usize,
}

impl TextReader {
    /// A reader for a network of this shape, with the usual limit where none is given.
    ///
    /// # Errors
    /// [`Error::Recipe`] when the tokenizer has tokens that the network has no embedding of, or `longest` is out of reach.
    pub fn new(tokenizer: Tokenizer, shape: &TransformerShape, longest: Option<usize>) -> Result<Self> {
        let (found, known) = (tokenizer.vocabulary_size(), shape.vocabulary);
        if found > known {
            return Err(Error::Recipe {
                reason: format!("the tokenizer has {found} tokens, its network {known}"),
                help: "take the tokenizer that was published with these weights".to_owned(),
            });
        }
        let most = shape.positions;
        let longest = longest.unwrap_or(LONGEST.min(most));
        if !(4..=most).contains(&longest) {
            return Err(Error::Recipe {
                reason: format!("{longest} tokens a text are not within 4 and the {most} positions of the network"),
                help: format!("set --max-tokens to {most} or less"),
            });
        }
        Ok(Self { tokenizer, longest, kinds: shape.kinds })
    }

    /// Number and kind of each token of a text or a pair, and how many tokens were cut off.
    ///
    /// # Errors
    /// [`Error::Data`] where the tokenizer fails.
    pub fn read(&self, text: &str, pair: Option<&str>) -> Result<(Vec<f32>, usize)> {
        let encoding = self.tokenizer.encode(text, pair, self.longest)?;
        let (mut ids, mut kinds) = (encoding.ids, encoding.kinds);
        if ids.is_empty() {
            // A tokenizer without special tokens makes nothing of an empty text; a network needs something to read.
            (ids, kinds) = (vec![self.tokenizer.padding()], vec![0]);
        }
        Ok((self.values(&ids, kinds), encoding.cut))
    }
}

impl TextReader {
    /// Number and kind of each token of a text, the word that each is of, and how many tokens were cut off. `words` are bytes
    /// of the text.
    ///
    /// # Errors
    /// As [`TextReader::read`].
    pub fn read_words(&self, text: &str, words: &[Range<usize>]) -> Result<(Vec<f32>, Vec<Option<usize>>, usize)> {
        let encoding = self.tokenizer.encode(text, None, self.longest)?;
        let word_of = encoding.words_among(words);
        if encoding.ids.is_empty() {
            let (tokens, cut) = self.read(text, None)?;
            return Ok((tokens, vec![None], cut));
        }
        Ok((self.values(&encoding.ids, encoding.kinds), word_of, encoding.cut))
    }

    fn values(&self, ids: &[u32], kinds: Vec<u32>) -> Vec<f32> {
        let last = self.kinds.saturating_sub(1) as u32;
        Tokens::values(ids, kinds.into_iter().map(|kind| kind.min(last)))
    }
}

/// Loads the folder of a transformer: configuration, weights and tokenizer.
///
/// # Errors
/// Of [`load_transformer`] and of the tokenizer; see also [`TextReader::new`].
pub fn load_text(path: &Path, longest: Option<usize>) -> Result<PretrainedText> {
    let transformer = load_transformer(path)?;
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let reader = TextReader::new(Tokenizer::open(folder)?, &transformer.shape, longest)?;
    Ok(PretrainedText { transformer, reader, licence: None })
}

impl PretrainedText {
    /// The same network untrained, the control of every claim about transfer.
    pub fn untrained(mut self, seed: u64) -> Self {
        self.transformer.parameters = Parameters::initialize(&self.transformer.shape.parameters(), seed);
        self.transformer.source = "random".to_owned();
        self
    }
}
