//! A WordPiece vocabulary from texts, for models that are pretrained here.
//!
//! The merges are the `tokenizers` crate's. Left to itself it numbers pieces in the order of a hash map that differs from
//! run to run, and breaks ties by those numbers, so it is given every piece of one character beforehand, in order.

use std::collections::{BTreeMap, BTreeSet};

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

use crate::error::DataError;

/// How a vocabulary is trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VocabularyRule {
    /// Most tokens, special ones among them.
    pub size: usize,
    /// Pairs of pieces that are met less often are not merged.
    pub least_count: u64,
    /// Most different characters; words with rarer ones are unknown.
    pub characters: usize,
    /// Whether case and accents are dropped.
    pub lowercase: bool,
}

impl Default for VocabularyRule {
    /// BERT's size (Devlin et al. 2018), with the trainer's usual limits.
    fn default() -> Self {
        Self { size: 30_522, least_count: 2, characters: 1_000, lowercase: true }
    }
}

/// Characters of the longest word that BERT's tokenizer takes apart.
const LONGEST_WORD: usize = 100;

/// The first tokens of every vocabulary, in BERT's order.
pub const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// The tokens of a `vocab.txt`: special ones, characters, characters within words, then merged pieces, the first merged
/// first. The same texts in any order give the same vocabulary.
///
/// # Errors
/// [`DataError::Tokenizer`] where the texts hold no word, or the size has no room for their characters.
pub fn train<'a>(texts: impl Iterator<Item = &'a str>, rule: &VocabularyRule) -> Result<Vec<String>, DataError> {
    let words = counts(texts, rule.lowercase)?;
    let kept = frequent_characters(&words, rule.characters);
    let words: BTreeMap<String, u64> =
        words.into_iter().filter(|(word, _)| word.chars().all(|letter| kept.contains(&letter))).collect();
    let inner: BTreeSet<char> = words.keys().flat_map(|word| word.chars().skip(1)).collect();
    let all: BTreeSet<char> = words.keys().flat_map(|word| word.chars()).collect();
    if words.is_empty() {
        return Err(refuse("there is no word to learn from".to_owned(), "give texts with words"));
    }
    let mut known: Vec<String> = SPECIAL.iter().map(|token| (*token).to_owned()).collect();
    known.extend(all.iter().map(char::to_string));
    known.extend(inner.iter().map(|letter| format!("##{letter}")));
    if known.len() > rule.size {
        let reason = format!("{} characters do not fit in {} tokens", known.len() - SPECIAL.len(), rule.size);
        return Err(refuse(reason, "allow more tokens, or fewer characters"));
    }
    let trainer = BpeTrainer::builder()
        .vocab_size(rule.size)
        .min_frequency(rule.least_count)
        .show_progress(false)
        .continuing_subword_prefix("##".to_owned())
        .special_tokens(known.iter().map(|token| AddedToken::from(token.as_str(), true)).collect())
        .build();
    let mut model = BPE::default();
    let counts = scaled(words).into_iter().map(|(word, count)| (word.as_str().into(), count)).collect();
    trainer.do_train(&counts, &mut model).map_err(|error| refuse(error.to_string(), "give other texts"))?;
    let mut tokens: Vec<(u32, String)> = model.get_vocab().into_iter().map(|(token, id)| (id, token)).collect();
    tokens.sort_unstable();
    Ok(tokens.into_iter().map(|(_, token)| token).collect())
}

/// Counts that the trainer's 32-bit sums over pairs of characters hold.
fn scaled(mut words: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let pairs = |words: &BTreeMap<String, u64>| -> u64 {
        words.iter().map(|(word, count)| count.saturating_mul(word.len() as u64)).fold(0, u64::saturating_add)
    };
    while pairs(&words) > i32::MAX as u64 && words.values().any(|count| *count > 1) {
        words.values_mut().for_each(|count| *count = (*count / 2).max(1));
    }
    words
}

/// How often each word is met, words as BERT takes them.
fn counts<'a>(texts: impl Iterator<Item = &'a str>, lowercase: bool) -> Result<BTreeMap<String, u64>, DataError> {
    let normalizer = BertNormalizer::new(true, true, None, lowercase);
    let cut = |text: &str| -> tokenizers::Result<PreTokenizedString> {
        let mut text = NormalizedString::from(text);
        normalizer.normalize(&mut text)?;
        let mut words = PreTokenizedString::from(text);
        BertPreTokenizer.pre_tokenize(&mut words)?;
        Ok(words)
    };
    let mut counts = BTreeMap::new();
    for text in texts {
        let words = cut(text).map_err(|error| refuse(error.to_string(), "give other texts"))?;
        for (word, _, _) in words.get_splits(OffsetReferential::Original, OffsetType::None) {
            // Longer words are unknown to BERT's tokenizer.
            if word.chars().nth(LONGEST_WORD).is_none() {
                *counts.entry(word.to_owned()).or_default() += 1;
            }
        }
    }
    Ok(counts)
}

fn refuse(reason: String, help: &str) -> DataError {
    DataError::Tokenizer { path: "vocabulary".into(), reason, help: help.to_owned() }
}

/// The most frequent characters; of equals the lower code point.
fn frequent_characters(words: &BTreeMap<String, u64>, most: usize) -> BTreeSet<char> {
    let mut counts: BTreeMap<char, u64> = BTreeMap::new();
    for (word, count) in words {
        word.chars().for_each(|letter| *counts.entry(letter).or_default() += count);
    }
    let mut order: Vec<(std::cmp::Reverse<u64>, char)> =
        counts.into_iter().map(|(letter, count)| (std::cmp::Reverse(count), letter)).collect();
    order.sort_unstable();
    order.into_iter().take(most).map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 6] = [
        "The lower newest widest low lower",
        "Newest newest low low lowest, widest!",
        "wide wider widest 中文 cafés",
        "low LOW low wide newest café",
        "the the the then there",
        "lowest newest widest",
    ];

    #[test]
    fn the_same_texts_in_any_order_give_the_same_vocabulary() {
        let rule = VocabularyRule { size: 120, ..VocabularyRule::default() };
        let first = train(TEXTS.into_iter(), &rule).unwrap();
        for turn in 0..TEXTS.len() {
            let turned = (0..TEXTS.len()).map(|index| TEXTS[(index + turn) % TEXTS.len()]);
            assert_eq!(train(turned, &rule).unwrap(), first);
        }
        assert_eq!(&first[..5], &SPECIAL);
        for piece in ["low", "newest", "##est", "the", "caf", "中"] {
            assert!(first.iter().any(|token| token == piece), "{piece} is not in {first:?}");
        }
        let distinct: BTreeSet<&String> = first.iter().collect();
        assert_eq!(distinct.len(), first.len());
    }

    #[test]
    fn a_rule_that_cannot_be_kept_is_refused() {
        let small = VocabularyRule { size: 10, ..VocabularyRule::default() };
        assert!(train(TEXTS.into_iter(), &small).unwrap_err().to_string().contains("do not fit in 10"));
        assert!(train(std::iter::once(" \n"), &VocabularyRule::default()).is_err());
        let few = VocabularyRule { characters: 12, size: 60, ..VocabularyRule::default() };
        assert!(!train(TEXTS.into_iter(), &few).unwrap().contains(&"中".to_owned()));
    }

    #[test]
    fn counts_are_scaled_to_what_the_trainer_holds() {
        let words = BTreeMap::from([("often".to_owned(), u64::MAX), ("seldom".to_owned(), 1)]);
        let scaled = scaled(words);
        assert!(scaled["often"] * 5 < i32::MAX as u64 && scaled["seldom"] == 1);
    }
}
