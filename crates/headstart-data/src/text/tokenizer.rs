//! Text to token numbers, by the `tokenizers` crate behind a checked door.
//!
//! What is read is made one `tokenizer.json` first, checked, and only then handed over: that crate panics on some files, so
//! it also runs behind a net. Truncation and padding that a file asks for are not used; a caller states its own.

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::utils::truncation::{TruncationParams, truncate_encodings};
use tokenizers::{EncodeInput, InputSequence, PostProcessor};

use super::tokenizer_files;
use crate::error::DataError;

/// A tokenizer with its special tokens.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    special: SpecialTokens,
    notes: Vec<String>,
    /// Where it came from, for messages.
    path: PathBuf,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.vocabulary_size();
        out.debug_struct("Tokenizer").field("path", &self.path).field("tokens", &size).finish_non_exhaustive()
    }
}

/// Numbers of the tokens that stand for no text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Before a text: `[CLS]`, `<s>`.
    pub start: Option<u32>,
    /// After a text: `[SEP]`, `</s>`.
    pub separator: Option<u32>,
    /// Fills up shorter texts of a batch.
    pub padding: Option<u32>,
    /// What is not in the vocabulary.
    pub unknown: Option<u32>,
    /// A word to be guessed.
    pub mask: Option<u32>,
    /// The end of a document: `<|endoftext|>`, `</s>`.
    pub end: Option<u32>,
}

/// A text, or a pair, as tokens: all lists are of one length, T.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// Token numbers.
    pub ids: Vec<u32>,
    /// 0 for the first text, 1 for the second (BERT's token types).
    pub kinds: Vec<u32>,
    /// Bytes of the text that each token stands for; empty for special tokens.
    pub offsets: Vec<Range<usize>>,
    /// Which word of its text a token is part of, as the tokenizer takes words; `None` for special tokens.
    pub words: Vec<Option<u32>>,
    /// 0 or 1 for a token of the first or second text; `None` for special tokens.
    pub sequences: Vec<Option<usize>>,
    /// How many tokens were cut off.
    pub cut: usize,
}

impl Encoding {
    /// The word that each token begins or goes on with, given the bytes of the words in the first text; `None` for special
    /// tokens, the second text and what lies between words.
    pub fn words_among(&self, words: &[Range<usize>]) -> Vec<Option<usize>> {
        let word = |(offset, sequence): (&Range<usize>, &Option<usize>)| {
            let index = words.partition_point(|word| word.end <= offset.start);
            (*sequence == Some(0) && words.get(index)?.start < offset.end).then_some(index)
        };
        self.offsets.iter().zip(&self.sequences).map(word).collect()
    }
}

impl Tokenizer {
    /// Opens `tokenizer.json`, a WordPiece `vocab.txt`, a byte-level BPE `vocab.json` beside `merges.txt`, or a folder with
    /// one of these. `tokenizer_config.json` beside the two latter is heeded.
    ///
    /// # Errors
    /// [`DataError::Io`]; [`DataError::Tokenizer`] with what is wrong.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let (value, notes) = tokenizer_files::read(path)?;
        Self::build(path, value, notes)
    }

    /// Opens what [`to_bytes`](Self::to_bytes) gave; any `tokenizer.json` will do.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] with what is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DataError> {
        let path = Path::new("tokenizer.json");
        Self::build(path, tokenizer_files::parse(path, bytes)?, Vec::new())
    }

    /// BERT's tokenizer over the tokens of a `vocab.txt`, in their order.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] where `[UNK]` is not among them.
    pub fn from_word_pieces(tokens: &[String], lowercase: bool) -> Result<Self, DataError> {
        let (value, notes) = tokenizer_files::word_pieces(tokens, lowercase)?;
        Self::build(Path::new("vocabulary"), value, notes)
    }

    /// GPT-2's tokenizer over the tokens of a `vocab.json` and the lines of a `merges.txt`.
    pub(crate) fn from_byte_pairs(vocabulary: Map<String, Value>, merges: &str) -> Result<Self, DataError> {
        let (value, notes) = tokenizer_files::trained_byte_pairs(vocabulary, merges)?;
        Self::build(Path::new("vocabulary"), value, notes)
    }

    /// The whole tokenizer as `tokenizer.json`: a function of what it does alone.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] where it cannot be written; none such is known.
    pub fn to_bytes(&self) -> Result<Vec<u8>, DataError> {
        let text = self.guarded("write", || self.inner.to_string(false))?;
        Ok(text.into_bytes())
    }

    fn build(path: &Path, mut value: Value, mut notes: Vec<String>) -> Result<Self, DataError> {
        notes.extend(tokenizer_files::check(path, &mut value)?);
        let opened = guarded(path, "open", || tokenizers::Tokenizer::from_bytes(value.to_string()))?;
        let id = |names: &[&str]| names.iter().find_map(|name| opened.token_to_id(name));
        let special = SpecialTokens {
            start: id(&["[CLS]", "<s>"]),
            separator: id(&["[SEP]", "</s>"]),
            padding: id(&["[PAD]", "<pad>"]),
            unknown: id(&["[UNK]", "<unk>"]),
            mask: id(&["[MASK]", "<mask>"]),
            end: id(&["<|endoftext|>", "</s>"]),
        };
        let tokenizer = Self { inner: opened, special, notes, path: path.to_owned() };
        // What is broken inside shows at the first text, better here than in the middle of a run.
        tokenizer.encode("a text", Some("and another"), usize::MAX)?;
        Ok(tokenizer)
    }

    /// What a user should be told.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The special tokens.
    pub fn special(&self) -> SpecialTokens {
        self.special
    }

    /// The number that fills up a batch: the padding token, else the end of a document (GPT-2 has no padding), else 0.
    /// The mask hides it in any case.
    pub fn padding(&self) -> u32 {
        self.special.padding.or(self.special.end).unwrap_or(0)
    }

    /// One more than the highest token number.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1)
    }

    /// The number of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of a number.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The text of tokens, without the special ones.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] where the tokenizer fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, DataError> {
        self.guarded("decode", || self.inner.decode(ids, true))
    }

    /// Encodes a text, or a pair, in `longest` tokens at most, special ones among them; of a pair the longer text is cut. An
    /// empty second text is none.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] where `longest` has no room for any text, or the tokenizer fails.
    pub fn encode(&self, text: &str, pair: Option<&str>, longest: usize) -> Result<Encoding, DataError> {
        let pair = pair.filter(|pair| !pair.is_empty());
        let added = self.inner.get_post_processor().map_or(0, |processor| processor.added_tokens(pair.is_some()));
        let Some(room) = longest.checked_sub(added).filter(|room| *room > 0) else {
            return Err(DataError::Tokenizer {
                path: self.path.clone(),
                reason: format!("{longest} tokens leave no room for a text beside {added} special ones"),
                help: "allow more tokens".to_owned(),
            });
        };
        self.guarded("encode", || {
            let plain = |text: &str| {
                let input = EncodeInput::Single(InputSequence::from(text));
                self.inner.encode(input, false)
            };
            let (first, second) = (plain(text)?, pair.map(plain).transpose()?);
            let all = first.len() + second.as_ref().map_or(0, |second| second.len());
            let (mut first, mut second) = match room < all {
                false => (first, second),
                true => {
                    let limits = TruncationParams { max_length: room, ..TruncationParams::default() };
                    truncate_encodings(first, second, &limits)?
                }
            };
            for encoding in [Some(&mut first), second.as_mut()].into_iter().flatten() {
                // What was cut off is not needed, and would be carried through.
                encoding.take_overflowing();
            }
            let firsts = first.len();
            let encoding = self.inner.post_process(first, second, true)?;
            Ok(from_crate(&encoding, firsts, all.saturating_sub(room)))
        })
    }

    fn guarded<T>(&self, what: &str, run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, DataError> {
        guarded(&self.path, what, run)
    }
}

/// `firsts` tokens are of the first text. The crate's own account of that does not survive its truncation of pairs.
fn from_crate(encoding: &tokenizers::Encoding, firsts: usize, cut: usize) -> Encoding {
    let mut seen = 0;
    let sequence = |is_special: &u32| {
        (*is_special == 0).then(|| {
            seen += 1;
            usize::from(seen > firsts)
        })
    };
    Encoding {
        ids: encoding.get_ids().to_vec(),
        kinds: encoding.get_type_ids().to_vec(),
        offsets: encoding.get_offsets().iter().map(|(start, end)| *start..*end).collect(),
        words: encoding.get_word_ids().to_vec(),
        sequences: encoding.get_special_tokens_mask().iter().map(sequence).collect(),
        cut,
    }
}

/// Runs a piece of the crate; an error or panic in it is a bad tokenizer, not the end of a run.
fn guarded<T>(path: &Path, what: &str, run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, DataError> {
    let refuse = |reason: String| DataError::Tokenizer {
        path: path.to_owned(),
        reason,
        help: "export it again, with the library that it was made with".to_owned(),
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(refuse(format!("it cannot {what}: {error}"))),
        Err(_) => Err(refuse(format!("it fails to {what}, by a fault of the file that its reader does not name"))),
    }
}
