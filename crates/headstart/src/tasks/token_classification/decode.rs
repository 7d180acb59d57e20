//! Outputs of the head for each token → a tag a word → named stretches of the text.

use std::ops::Range;

use headstart_data::text::entities;
use serde::{Deserialize, Serialize};

use super::data::WordTokens;
use crate::recipe::Output;
use crate::tasks::image_classification::decode::{best, probabilities};

/// A named stretch of a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundEntity {
    /// Its kind.
    pub label: String,
    /// First character of the text, in Unicode code points, from 0.
    pub start: usize,
    /// The one after the last.
    pub end: usize,
    /// What stands there.
    pub text: String,
    /// Mean probability of the tags of its words.
    pub probability: f32,
}

/// Tag of each word and its probability, from outputs `[tokens, tags]`; a word without a token is outside, tag 0.
pub(crate) fn tags_of(words: &WordTokens, outputs: &[f32], tags: usize) -> Vec<(usize, f32)> {
    let rows: Vec<&[f32]> = outputs.chunks_exact(tags).collect();
    let tag = |first: &Option<usize>| match first {
        None => (0, 1.0),
        Some(first) => {
            let probabilities = probabilities(rows[*first], Output::Softmax);
            let tag = best(&probabilities);
            (tag, probabilities[tag])
        }
    };
    words.firsts.iter().map(tag).collect()
}

/// Sum of the losses of the words that have a token, and how many those are; `right` is the tag of each word.
pub(crate) fn loss_of(words: &WordTokens, right: &[usize], outputs: &[f32], tags: usize) -> (f64, usize) {
    let mut sum = (0.0, 0);
    for (first, tag) in words.firsts.iter().zip(right) {
        if let Some(first) = first {
            let row = &outputs[first * tags..(first + 1) * tags];
            sum.0 -= f64::from(probabilities(row, Output::Softmax)[*tag].max(f32::MIN_POSITIVE)).ln();
            sum.1 += 1;
        }
    }
    sum
}

/// The entities that the tags of words mark, read as `conlleval` reads them.
pub(crate) fn entities_of(
    text: &str,
    words: &[Range<usize>],
    tags: &[String],
    found: &[(usize, f32)],
) -> Vec<FoundEntity> {
    let names: Vec<&str> = found.iter().map(|(tag, _)| tags[*tag].as_str()).collect();
    let characters = |bytes: usize| text[..bytes].chars().count();
    let entity = |entity: entities::Entity| {
        let (first, end) = entity.words;
        let bytes = words[first].start..words[end - 1].end;
        let sum: f32 = found[first..end].iter().map(|(_, probability)| probability).sum();
        FoundEntity {
            label: entity.kind,
            start: characters(bytes.start),
            end: characters(bytes.end),
            text: text[bytes].to_owned(),
            probability: sum / (end - first) as f32,
        }
    };
    entities::entities(&names).into_iter().map(entity).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_told_by_characters_of_the_text_as_it_was_given() {
        let text = "Zoë flew to São  Paulo";
        let words = [0..4, 5..9, 10..12, 13..17, 19..24];
        let tags = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"].map(str::to_owned);
        let found = [(1, 0.5), (0, 1.0), (0, 1.0), (3, 0.75), (4, 0.25)];
        let entities = entities_of(text, &words, &tags, &found);
        let shown: Vec<_> = entities
            .iter()
            .map(|found| (found.label.as_str(), found.start, found.end, found.text.as_str(), found.probability))
            .collect();
        assert_eq!(shown, [("PER", 0, 3, "Zoë", 0.5), ("LOC", 12, 22, "São  Paulo", 0.5)]);
    }

    #[test]
    fn the_first_token_of_a_word_decides_its_tag_and_a_word_without_one_is_outside() {
        let words = WordTokens { tokens: vec![0.0; 6], words: vec![0..1, 2..3], firsts: vec![Some(1), None], cut: 0 };
        let outputs = [9.0, 0.0, 0.0, 5.0, 9.0, 0.0];
        let tags = tags_of(&words, &outputs, 2);
        assert_eq!((tags[0].0, tags[1]), (1, (0, 1.0)));
        assert!(tags[0].1 > 0.99);
    }
}
