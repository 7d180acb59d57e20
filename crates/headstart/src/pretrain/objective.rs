//! What a language model is trained to say: the tokens that were hidden, or the token that comes next.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::features::{Sequences, Tokens};
use crate::random::Stream;

/// What is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Hidden tokens from both sides (Devlin et al. 2018): makes a BERT.
    MaskedLm,
    /// The next token from those before it (Radford et al. 2019): makes a GPT-2.
    CausalLm,
}

/// Tokens that the objective must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialTokens {
    /// What stands for a hidden token; not needed to predict the next one.
    pub mask: Option<u32>,
    /// Tokens that are never hidden: those of the tokenizer itself.
    pub kept: Vec<u32>,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
}

/// Inputs of a step, and what is right where.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// What the network reads.
    pub tokens: Tokens,
    /// Rows of `[tokens, width]` whose state predicts a token.
    pub rows: Vec<i64>,
    /// The right token of each of them.
    pub targets: Vec<usize>,
}

/// Part of the tokens that is predicted, and what a hidden one becomes: the numbers of the paper.
const PREDICTED: f32 = 0.15;
const MASKED: f32 = 0.8;
const REPLACED: f32 = 0.1;

impl Objective {
    /// The batch of some sequences; `draw` hides tokens.
    pub fn batch(self, sequences: &[&[u32]], special: &SpecialTokens, draw: &mut Stream) -> Batch {
        let lengths: Vec<usize> = sequences.iter().map(|sequence| sequence.len()).collect();
        let mut ids: Vec<u32> = sequences.concat();
        let layout = Sequences::of_lengths(&lengths);
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        match self {
            Self::CausalLm => {
                for range in layout.ranges() {
                    for row in range.clone().take(range.len().saturating_sub(1)) {
                        rows.push(row as i64);
                        targets.push(ids[row + 1] as usize);
                    }
                }
            }
            Self::MaskedLm => {
                for (row, id) in ids.iter_mut().enumerate() {
                    // Three numbers for every token, so that a mask does not depend on the tokens before it.
                    let (chosen, kind, other) = (draw.unit(), draw.unit(), draw.below(special.vocabulary));
                    if chosen >= PREDICTED || special.kept.contains(id) {
                        continue;
                    }
                    rows.push(row as i64);
                    targets.push(*id as usize);
                    if kind < MASKED {
                        *id = special.mask.unwrap_or(*id);
                    } else if kind < MASKED + REPLACED {
                        *id = other as u32;
                    }
                }
            }
        }
        let kinds = vec![0; ids.len()];
        Batch { tokens: Tokens { ids, kinds, sequences: Arc::new(layout) }, rows, targets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special() -> SpecialTokens {
        SpecialTokens { mask: Some(1), kept: vec![0, 1], vocabulary: 50 }
    }

    #[test]
    fn the_next_token_is_predicted_within_a_sequence_only() {
        let mut draw = Stream::new(0, "test", &[]);
        let batch = Objective::CausalLm.batch(&[&[5, 6, 7], &[8], &[9, 10]], &special(), &mut draw);
        assert_eq!((batch.rows, batch.targets), (vec![0, 1, 4], vec![6, 7, 10]));
        assert_eq!(batch.tokens.ids, [5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn the_stated_parts_are_hidden_replaced_and_kept_and_special_tokens_never() {
        let text: Vec<u32> = (0..60_000).map(|index| if index % 10 == 0 { 0 } else { 2 + index % 40 }).collect();
        let mut draw = Stream::new(3, "test", &[]);
        let batch = Objective::MaskedLm.batch(&[&text], &special(), &mut draw);
        let part = |count: usize, of: usize| count as f64 / of as f64;
        assert!((part(batch.rows.len(), 54_000) - 0.15).abs() < 0.005);
        let (mut masked, mut kept) = (0, 0);
        for (row, target) in batch.rows.iter().zip(&batch.targets) {
            let row = *row as usize;
            assert_eq!(text[row] as usize, *target);
            assert_ne!(row % 10, 0, "a special token is predicted");
            masked += usize::from(batch.tokens.ids[row] == 1);
            kept += usize::from(batch.tokens.ids[row] == text[row]);
        }
        let count = batch.rows.len();
        assert!((part(masked, count) - 0.8).abs() < 0.02 && (part(kept, count) - 0.1).abs() < 0.02);
        let untouched = (0..text.len()).filter(|row| !batch.rows.contains(&(*row as i64))).take(2000);
        assert!(untouched.into_iter().all(|row| batch.tokens.ids[row] == text[row]));
    }
}
