//! Outputs of the head for each frame → letters → words with their times.

use std::path::Path;

use headstart_data::speech::alphabet::Alphabet;
use headstart_data::text::arpa::Arpa;
use headstart_kernels::ctc::{self, BeamOptions, BeamSearch, Emission, Language};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::load::Writing;

/// A word of a transcript.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimedWord {
    /// Its letters.
    pub word: String,
    /// Seconds from the start of the recording to its first letter.
    pub start: f64,
    /// Seconds to behind its last letter.
    pub end: f64,
}

/// The most probable letters of outputs `[frames, letters + 1]`, words parted by one space.
pub(crate) fn greedy_text(outputs: &[f32], alphabet: &Alphabet) -> String {
    let emissions =
        ctc::greedy(outputs, alphabet.len() + 1, alphabet.blank()).expect("rows of a letter each and a blank");
    text(&emissions, alphabet)
}

fn text(emissions: &[Emission], alphabet: &Alphabet) -> String {
    let words = ctc::words(emissions, alphabet.space());
    words.iter().map(|word| alphabet.decode(&word.labels)).collect::<Vec<_>>().join(" ")
}

/// An n-gram model over the words of an alphabet.
#[derive(Debug, Clone)]
pub struct WordModel {
    arpa: Arpa,
    alphabet: Alphabet,
}

impl WordModel {
    /// Reads a model in ARPA's text format, for what a bundle writes.
    ///
    /// # Errors
    /// [`crate::Error::Data`] naming the line that cannot be read.
    pub fn read(path: &Path, writing: &Writing) -> Result<Self> {
        Ok(Self { arpa: Arpa::read(path)?, alphabet: writing.alphabet.clone() })
    }
}

impl Language for WordModel {
    fn begin(&self) -> Vec<u32> {
        self.arpa.begin()
    }

    fn word(&self, context: &[u32], word: &[usize]) -> (f64, Vec<u32>) {
        self.arpa.word(context, &self.alphabet.decode(word))
    }
}

/// How letters are chosen.
#[derive(Debug, Clone, Copy, Default)]
pub enum Decoding<'a> {
    /// The most probable one of each frame.
    #[default]
    Greedy,
    /// The most probable transcript among many, weighed with how probable its words are where there is a model of them.
    Beam {
        /// Width and weights.
        options: BeamOptions,
        /// The model of words.
        language: Option<&'a WordModel>,
    },
}

/// Letters from outputs that come in pieces.
pub(crate) struct Decoder<'a> {
    alphabet: &'a Alphabet,
    seconds_a_frame: f64,
    frames: usize,
    search: Search<'a>,
}

enum Search<'a> {
    Greedy { emissions: Vec<Emission>, last: usize },
    Beam(Box<BeamSearch<'a>>),
}

impl<'a> Decoder<'a> {
    /// # Errors
    /// [`crate::Error::Kernel`] when an option of the beam search is out of range.
    pub(crate) fn new(alphabet: &'a Alphabet, seconds_a_frame: f64, decoding: &Decoding<'a>) -> Result<Self> {
        let search = match *decoding {
            Decoding::Greedy => Search::Greedy { emissions: Vec::new(), last: alphabet.blank() },
            Decoding::Beam { options, language } => {
                let language = language.map(|language| language as &dyn Language);
                let classes = alphabet.len() + 1;
                Search::Beam(Box::new(BeamSearch::new(classes, alphabet.blank(), alphabet.space(), options, language)?))
            }
        };
        Ok(Self { alphabet, seconds_a_frame, frames: 0, search })
    }

    /// Adds outputs `[frames, letters + 1]`.
    pub(crate) fn push(&mut self, outputs: &[f32]) -> Result<()> {
        let (classes, blank) = (self.alphabet.len() + 1, self.alphabet.blank());
        match &mut self.search {
            Search::Beam(search) => search.push(outputs)?,
            Search::Greedy { emissions, last } => {
                let Some(end) = outputs.len().checked_sub(classes) else { return Ok(()) };
                let found = ctc::greedy(outputs, classes, blank)?;
                for emission in found {
                    let frames = emission.frames.start + self.frames..emission.frames.end + self.frames;
                    match emissions.last_mut() {
                        // A letter may go on over the end of a piece.
                        Some(before) if emission.frames.start == 0 && *last == emission.label => {
                            before.frames.end = frames.end
                        }
                        _ => emissions.push(Emission { label: emission.label, frames }),
                    }
                }
                let of_last = ctc::greedy(&outputs[end..], classes, blank)?;
                *last = of_last.first().map_or(blank, |emission| emission.label);
            }
        }
        self.frames += outputs.len() / classes;
        Ok(())
    }

    /// The words, in their order.
    pub(crate) fn words(&self) -> Vec<TimedWord> {
        let emissions = match &self.search {
            Search::Greedy { emissions, .. } => emissions.clone(),
            Search::Beam(search) => search.best(1).into_iter().next().map(|best| best.emissions).unwrap_or_default(),
        };
        let words = ctc::words(&emissions, self.alphabet.space());
        let seconds = |frame: usize| frame as f64 * self.seconds_a_frame;
        words
            .iter()
            .map(|word| TimedWord {
                word: self.alphabet.decode(&word.labels),
                start: seconds(word.frames.start),
                end: seconds(word.frames.end),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alphabet() -> Alphabet {
        Alphabet::of(["ab "])
    }

    /// One frame a letter, `_` is the blank.
    fn outputs(path: &str) -> Vec<f32> {
        let place = |letter: char| " ab_".find(letter).unwrap();
        path.chars().flat_map(|letter| (0..4).map(move |n| if n == place(letter) { 5.0 } else { 0.0 })).collect()
    }

    #[test]
    fn words_stand_where_their_letters_were_heard() {
        let alphabet = alphabet();
        let mut decoder = Decoder::new(&alphabet, 0.02, &Decoding::Greedy).unwrap();
        decoder.push(&outputs("__aab_ _ ba")).unwrap();
        let words = decoder.words();
        let shown: Vec<(&str, i64, i64)> = words
            .iter()
            .map(|word| (word.word.as_str(), (word.start * 1e3).round() as i64, (word.end * 1e3).round() as i64))
            .collect();
        assert_eq!(shown, [("ab", 40, 100), ("ba", 180, 220)]);
        assert_eq!(greedy_text(&outputs("__aab_ _ ba"), &alphabet), "ab ba");
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_say_the_same(path in "[ ab_]{1,24}", cuts in prop::collection::vec(1usize..5, 1..8)) {
            let alphabet = alphabet();
            for decoding in [Decoding::Greedy, Decoding::Beam { options: BeamOptions::default(), language: None }] {
                let mut whole = Decoder::new(&alphabet, 0.02, &decoding).unwrap();
                whole.push(&outputs(&path)).unwrap();
                let mut pieces = Decoder::new(&alphabet, 0.02, &decoding).unwrap();
                let (mut rest, mut sizes) = (path.as_str(), cuts.iter().cycle());
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                    pieces.push(&outputs(piece)).unwrap();
                    rest = after;
                }
                prop_assert_eq!(pieces.words(), whole.words());
            }
        }
    }
}
