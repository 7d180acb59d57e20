//! Texts as sequences of tokens, learned from or held out, and the batches of a round.

use std::ops::Range;

use headstart_data::layouts::Split;
use headstart_data::split::SplitRule;
use headstart_data::text::tokenizer::{Encoding, Tokenizer};
use headstart_data::text::{Outcome, TextSet, copies};
use rayon::prelude::*;

use super::objective::Objective;
use crate::error::Result;
use crate::random::Stream;

/// Which texts are learned from and which are held out; drawn by their contents, copies on one side.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) learned: Vec<&'a str>,
    pub(super) held_out: Vec<&'a str>,
    pub(super) skipped: usize,
    pub(super) notes: Vec<String>,
}

impl<'a> Parts<'a> {
    /// Draws `fraction` of the texts to be held out.
    pub(super) fn draw(set: &'a TextSet, fraction: f32, seed: u64) -> Self {
        let rule = SplitRule { validation: fraction, test: 0.0, seed };
        let assignment = copies::split(set, &rule);
        let part = |wanted: bool| {
            let sides = set.examples.iter().zip(&assignment.splits);
            sides.filter(|(_, split)| (**split == Split::Train) == wanted).map(|(example, _)| &*example.text).collect()
        };
        let mut notes: Vec<String> = set.notes.iter().chain(&assignment.notes).cloned().collect();
        if fraction == 0.0 {
            notes.retain(|note| !note.contains("no validation part"));
        }
        let skipped = set.problems.iter().filter(|problem| problem.outcome == Outcome::Skipped).count();
        Self { learned: part(true), held_out: part(false), skipped, notes }
    }
}

/// Sequences that a network reads, none longer than it can.
#[derive(Debug, Default)]
pub(super) struct TokenSequences(Vec<Vec<u32>>);

impl TokenSequences {
    /// The sequences of some texts: enclosed in the tokenizer's special tokens where BERT is trained, closed by the end of a
    /// document where GPT-2 is. A longer text becomes several sequences, so nothing of it is lost.
    ///
    /// # Errors
    /// Of the tokenizer.
    pub(super) fn of(texts: &[&str], tokenizer: &Tokenizer, objective: Objective, longest: usize) -> Result<Self> {
        let cut = |text: &&str| -> Result<Vec<Vec<u32>>> {
            Ok(cut(&tokenizer.encode(text, None, usize::MAX)?, tokenizer, objective, longest))
        };
        let parts: Vec<Vec<Vec<u32>>> = texts.par_iter().map(cut).collect::<Result<_>>()?;
        Ok(Self(parts.into_iter().flatten().collect()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn token_count(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Some sequences by their numbers.
    pub(super) fn pick(&self, numbers: &[usize]) -> Vec<&[u32]> {
        numbers.iter().map(|number| self.0[*number].as_slice()).collect()
    }

    /// Batches of about `tokens` tokens each in the order of the texts.
    pub(super) fn batches_in_order(&self, tokens: usize) -> Vec<Vec<usize>> {
        self.cut((0..self.0.len()).collect(), tokens)
    }

    /// The batches of round `epoch`: every sequence once, in an order drawn for that round.
    pub(super) fn batches(&self, tokens: usize, seed: u64, epoch: usize) -> Vec<Vec<usize>> {
        self.cut(Stream::new(seed, "order", &[epoch as u64]).permutation(self.0.len()), tokens)
    }

    /// How many batches a round has, whatever its order.
    pub(super) fn batch_count(&self, tokens: usize) -> usize {
        (self.token_count() / tokens).max(1)
    }

    /// Cuts an order where the tokens before the middle of a sequence pass a multiple of the even share. Sequences lie one
    /// after the other without padding, so batches need like numbers of tokens and not like lengths. No sequence is longer
    /// than a share, so every batch has one at least.
    fn cut(&self, order: Vec<usize>, tokens: usize) -> Vec<Vec<usize>> {
        let (count, all) = (self.batch_count(tokens), self.token_count().max(1));
        let mut batches = vec![Vec::new(); count];
        let mut before = 0;
        for number in order {
            let length = self.0[number].len();
            let place = (2 * before + length) * count / (2 * all);
            batches[place.min(count - 1)].push(number);
            before += length;
        }
        batches
    }

    /// BLAKE3 over all tokens.
    pub(super) fn add_to(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&(self.0.len() as u64).to_le_bytes());
        for sequence in &self.0 {
            hasher.update(&(sequence.len() as u64).to_le_bytes());
            sequence.iter().for_each(|id| {
                hasher.update(&id.to_le_bytes());
            });
        }
    }
}

/// The sequences of one text.
fn cut(encoding: &Encoding, tokenizer: &Tokenizer, objective: Objective, longest: usize) -> Vec<Vec<u32>> {
    let inner: Range<usize> = {
        let is_text = |sequence: &Option<usize>| sequence.is_some();
        let start = encoding.sequences.iter().position(is_text).unwrap_or(encoding.ids.len());
        let end = encoding.sequences.iter().rposition(is_text).map_or(start, |last| last + 1);
        start..end
    };
    let (before, after) = (&encoding.ids[..inner.start], &encoding.ids[inner.end..]);
    let mut text = encoding.ids[inner.clone()].to_vec();
    if text.is_empty() {
        return Vec::new();
    }
    match objective {
        Objective::MaskedLm => {
            let room = longest.saturating_sub(before.len() + after.len()).max(1);
            text.chunks(room).map(|part| [before, part, after].concat()).collect()
        }
        Objective::CausalLm => {
            text.extend(tokenizer.special().end);
            // One token alone says nothing of what comes next.
            text.chunks(longest).filter(|part| part.len() > 1).map(<[u32]>::to_vec).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_data::text::byte_pair_trainer;
    use headstart_data::text::wordpiece_trainer::SPECIAL;

    fn word_pieces() -> Tokenizer {
        let tokens: Vec<String> = SPECIAL.into_iter().chain(["a", "b", "c"]).map(str::to_owned).collect();
        Tokenizer::from_word_pieces(&tokens, true).unwrap()
    }

    #[test]
    fn long_texts_become_several_enclosed_sequences() {
        let texts = ["a b c a b c a", "b", " "];
        let found = TokenSequences::of(&texts, &word_pieces(), Objective::MaskedLm, 5).unwrap();
        assert_eq!(found.0, [vec![2, 5, 6, 7, 3], vec![2, 5, 6, 7, 3], vec![2, 5, 3], vec![2, 6, 3]]);
        assert_eq!(found.token_count(), 16);
        let bytes = byte_pair_trainer::train(texts.into_iter(), 257).unwrap();
        let found = TokenSequences::of(&["abcde", "a"], &bytes, Objective::CausalLm, 5).unwrap();
        let lengths: Vec<usize> = found.0.iter().map(Vec::len).collect();
        // The end of the first text stood alone, and says nothing.
        assert_eq!(lengths, [5, 2]);
        assert_eq!(found.0[1][1], 0);
    }

    #[test]
    fn batches_hold_every_sequence_once_and_about_as_many_tokens() {
        let lengths = (0..997usize).map(|number| 1 + (number * 7_919) % 60);
        let sequences = TokenSequences(lengths.map(|length| vec![7; length]).collect());
        for tokens in [60, 64, 500, 4_000, 1 << 20] {
            let batches = sequences.batches(tokens, 3, 1);
            assert_eq!(batches, sequences.batches(tokens, 3, 1));
            assert_eq!(batches.len(), sequences.batch_count(tokens));
            assert_ne!(batches, sequences.batches(tokens, 3, 2));
            let mut all = batches.concat();
            all.sort_unstable();
            assert_eq!(all, (0..997).collect::<Vec<_>>());
            let share = sequences.token_count() / batches.len();
            for batch in &batches {
                let held: usize = sequences.pick(batch).iter().map(|sequence| sequence.len()).sum();
                assert!(!batch.is_empty() && held.abs_diff(share) <= 61, "{held} of {share}");
            }
        }
        assert_eq!(sequences.batches_in_order(500).concat(), (0..997).collect::<Vec<_>>());
    }
}
