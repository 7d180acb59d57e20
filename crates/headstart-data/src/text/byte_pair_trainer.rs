//! GPT-2's kind of tokenizer from texts, for causal models that are pretrained here.
//!
//! The same texts in any order give the same bytes: words are counted, and the merging is exact (see `pair_merging`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use serde_json::{Map, Value};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::pair_merging::{Word, merge_frequent};
use super::tokenizer::Tokenizer;
use crate::error::DataError;

/// The first token of a trained byte-level vocabulary: the end of a document.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Pairs that are met only once are not merged: they say nothing of the language.
const LEAST_COUNT: u64 = 2;

/// Trains a tokenizer of `size` tokens at most (Radford et al. 2019, after Sennrich et al. 2016).
///
/// The tokens are [`END_OF_TEXT`], the 256 bytes, and merged pieces, the most frequent first. No text is unknown to it.
///
/// # Errors
/// [`DataError::Tokenizer`] where `size` is below 257, or a text cannot be taken apart; no such text is known.
pub fn train<'a>(texts: impl Iterator<Item = &'a str>, size: usize) -> Result<Tokenizer, DataError> {
    let alphabet: BTreeSet<char> = ByteLevel::alphabet().into_iter().collect();
    let mut pieces = vec![END_OF_TEXT.to_owned()];
    pieces.extend(alphabet.iter().map(char::to_string));
    if size < pieces.len() {
        let reason = format!("{size} tokens are fewer than the {} of single bytes", pieces.len());
        return Err(refuse(reason, "allow more tokens"));
    }
    let numbers: HashMap<char, u32> = alphabet.iter().zip(1..).map(|(letter, number)| (*letter, number)).collect();
    let words = counts(texts)?
        .into_iter()
        .map(|(word, count)| Word { pieces: word.chars().map(|letter| numbers[&letter]).collect(), count })
        .collect();
    let merges = merge_frequent(words, &mut pieces, size, LEAST_COUNT, |first, second| format!("{first}{second}"));
    let mut lines = String::new();
    for (first, second) in merges {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{} {}", pieces[first as usize], pieces[second as usize]);
    }
    let vocabulary: Map<String, Value> =
        pieces.into_iter().enumerate().map(|(number, piece)| (piece, number.into())).collect();
    Tokenizer::from_byte_pairs(vocabulary, &lines)
}

/// How often each word is met, words as GPT-2 takes them, in its letters for bytes.
fn counts<'a>(texts: impl Iterator<Item = &'a str>) -> Result<BTreeMap<String, u64>, DataError> {
    let cutter = ByteLevel::new(false, true, true);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for text in texts {
        let mut words = PreTokenizedString::from(text);
        cutter.pre_tokenize(&mut words).map_err(|error| refuse(error.to_string(), "give other texts"))?;
        for (word, _, _) in words.get_splits(OffsetReferential::Original, OffsetType::None) {
            match counts.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(counts.insert(word.to_owned(), 1)),
            }
        }
    }
    Ok(counts)
}

fn refuse(reason: String, help: &str) -> DataError {
    DataError::Tokenizer { path: "vocabulary".into(), reason, help: help.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 4] = [
        "The lower newest widest low lower",
        "Newest newest low low lowest, widest!",
        "wide wider widest 中文 cafés low newest café",
        "the the the then there lowest newest widest",
    ];

    #[test]
    fn the_same_texts_in_any_order_give_the_same_bytes() {
        let first = train(TEXTS.into_iter(), 300).unwrap();
        for turn in 1..TEXTS.len() {
            let turned = (0..TEXTS.len()).map(|index| TEXTS[(index + turn) % TEXTS.len()]);
            assert_eq!(train(turned, 300).unwrap().to_bytes().unwrap(), first.to_bytes().unwrap());
        }
        for piece in ["Ġnewest", "Ġlow"] {
            assert!(first.id(piece).is_some(), "{piece}");
        }
        assert_eq!(first.special().end, Some(0));
        assert!(first.vocabulary_size() <= 300);
    }

    #[test]
    fn every_text_comes_back_whole() {
        let tokenizer = train(TEXTS.into_iter(), 300).unwrap();
        for text in TEXTS.into_iter().chain(["Ωμέγα 🎬\u{0}\n\n  x"]) {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text, None, 99).unwrap().ids).unwrap(), text);
        }
    }

    #[test]
    fn too_few_tokens_are_refused_and_no_text_gives_the_bytes_alone() {
        assert!(train(TEXTS.into_iter(), 256).unwrap_err().to_string().contains("single bytes"));
        assert_eq!(train(std::iter::empty(), 400).unwrap().vocabulary_size(), 257);
    }
}
