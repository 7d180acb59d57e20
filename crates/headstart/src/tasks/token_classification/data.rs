//! Texts with named stretches, as words with a tag each.

use std::ops::Range;

use headstart_data::text::words::words;
use headstart_data::text::{Span, Target, TargetKind, TextExample};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::load::{PretrainedText, TextReader};
use crate::recipe::Recipe;
use crate::tasks::Part;
use crate::tasks::texts::{SplitTexts, check_target};
use crate::train::observer::{Event, Observer};

/// A text as tokens, and which of them speak for its words.
#[derive(Debug, Clone)]
pub(crate) struct WordTokens {
    /// Number and kind of each token, `[T, 2]`.
    pub(crate) tokens: Vec<f32>,
    /// Bytes of each word.
    pub(crate) words: Vec<Range<usize>>,
    /// First token of each word, if it has one.
    pub(crate) firsts: Vec<Option<usize>>,
    /// Tokens that were cut off.
    pub(crate) cut: usize,
}

impl WordTokens {
    /// Reads a text that is these words.
    pub(crate) fn read(reader: &TextReader, text: &str, words: Vec<Range<usize>>) -> Result<Self> {
        let (tokens, word_of, cut) = reader.read_words(text, &words)?;
        let mut firsts = vec![None; words.len()];
        for (token, word) in word_of.into_iter().enumerate().rev() {
            if let Some(word) = word {
                firsts[word] = Some(token);
            }
        }
        Ok(Self { tokens, words, firsts, cut })
    }

    /// Reads an example: its words if the file has them, else those of its text.
    pub(crate) fn of_example(reader: &TextReader, example: &TextExample, spans: &[Span]) -> Result<Self> {
        let words = match example.words.as_slice() {
            [] => words(
                &example.text,
                &spans.iter().flat_map(|span| [span.bytes.start, span.bytes.end]).collect::<Vec<_>>(),
            ),
            words => words.to_vec(),
        };
        Self::read(reader, &example.text, words)
    }

    /// Number of tokens.
    pub(crate) fn token_count(&self) -> usize {
        self.tokens.len() / 2
    }
}

/// `O`, then the tags that begin and go on with each kind.
pub(crate) fn tags(kinds: &[String]) -> Vec<String> {
    let of_kind = kinds.iter().flat_map(|kind| [format!("B-{kind}"), format!("I-{kind}")]);
    std::iter::once("O".to_owned()).chain(of_kind).collect()
}

/// Index of each word's tag among those of [`tags`].
pub(crate) fn tags_of_spans(words: &[Range<usize>], spans: &[Span]) -> Vec<usize> {
    let mut tags = vec![0; words.len()];
    for span in spans {
        let first = words.partition_point(|word| word.end <= span.bytes.start);
        let inside = words[first..].iter().take_while(|word| word.start < span.bytes.end).count();
        for (index, tag) in tags[first..first + inside].iter_mut().enumerate() {
            *tag = 1 + 2 * span.label + usize::from(index > 0);
        }
    }
    tags
}

/// The examples of a data set by part, broken lines left out.
#[derive(Debug)]
pub struct TaggedTexts {
    tags: Vec<String>,
    parts: [PartTexts; 3],
    skipped: usize,
}

#[derive(Debug, Default)]
pub(super) struct PartTexts {
    pub(super) texts: Vec<WordTokens>,
    /// Tag of each word of each text.
    pub(super) tags: Vec<Vec<usize>>,
    pub(super) digests: Vec<[u8; 32]>,
}

impl TaggedTexts {
    /// Reads, splits and tokenizes the data set of a recipe.
    ///
    /// # Errors
    /// [`Error::Data`] when there is nothing to learn from; [`Error::Recipe`] when texts have no named stretches.
    pub(super) fn open(
        recipe: &Recipe,
        text: &PretrainedText,
        name: &str,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let split = SplitTexts::open(recipe, &|set| check_target(set, &[TargetKind::Spans], name), observer)?;
        let spans_of = |example: &TextExample| match &example.target {
            Target::Spans(spans) => spans.clone(),
            _ => Vec::new(),
        };
        let read = |example: &TextExample| WordTokens::of_example(&text.reader, example, &spans_of(example));
        let read: Vec<WordTokens> = split.set.examples.par_iter().map(read).collect::<Result<_>>()?;
        split.tell_cut(read.iter().filter(|words| words.cut > 0).count(), text.reader.longest, observer);
        let tags = tags(&split.set.labels);
        let mut parts: [PartTexts; 3] = Default::default();
        let mut silent = 0;
        for ((example, words), part) in split.set.examples.iter().zip(read).zip(&split.splits) {
            let tags = tags_of_spans(&words.words, &spans_of(example));
            if words.cut == 0 {
                silent += words.firsts.iter().filter(|first| first.is_none()).count();
            }
            let part = &mut parts[Part::from(*part).index()];
            part.digests.push(digest(&words, &tags));
            part.texts.push(words);
            part.tags.push(tags);
        }
        if silent > 0 {
            let message = format!("{silent} words are nothing to the tokenizer and count as outside of entities");
            observer.event(&Event::Note { message });
        }
        let is_marked = |tags: &Vec<usize>| tags.iter().any(|tag| *tag > 0);
        if !parts[Part::Train.index()].tags.iter().any(is_marked) {
            return Err(Error::Recipe {
                reason: format!("`{}` has no training text with an entity", recipe.data.display()),
                help: "entities are marked by tags such as B-PER, or by spans".to_owned(),
            });
        }
        split.tell(&split.set.labels, observer);
        Ok(Self { tags, parts, skipped: split.skipped })
    }

    pub(super) fn tags(&self) -> &[String] {
        &self.tags
    }

    pub(super) fn part(&self, part: Part) -> &PartTexts {
        &self.parts[part.index()]
    }

    pub(super) fn skipped_count(&self) -> usize {
        self.skipped
    }
}

/// What an example is to a network: its tokens, which of them are asked, and what is right.
fn digest(words: &WordTokens, tags: &[usize]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for value in &words.tokens {
        hasher.update(&value.to_le_bytes());
    }
    for (first, tag) in words.firsts.iter().zip(tags) {
        hasher.update(&first.map_or(u64::MAX, |first| first as u64).to_le_bytes());
        hasher.update(&(*tag as u64).to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_that_a_span_touches_gets_its_tag() {
        let span = |label, bytes: Range<usize>| Span { label, chars: bytes.clone(), bytes };
        let words = [0..3, 4..7, 7..8, 9..12];
        assert_eq!(tags_of_spans(&words, &[span(1, 4..8)]), [0, 3, 4, 0]);
        assert_eq!(tags_of_spans(&words, &[span(0, 0..3), span(0, 4..7), span(2, 10..11)]), [1, 1, 0, 5]);
        assert_eq!(tags(&["LOC".to_owned(), "PER".to_owned()]), ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]);
    }
}
