//! Batches of texts of like length, so that little is padded, in an order that length does not rule.

use super::tokenizer::Encoding;

/// Batches are formed within pools of so many batches: like lengths meet, yet not always the same texts.
const POOL: usize = 50;

/// Cuts texts into batches of `batch` (the last of a pool may be smaller).
///
/// `lengths` are in tokens, one a text. `permutation` gives the numbers 0 … n−1 in an order drawn for this epoch; it is
/// called twice, first for the texts and then for the batches. Each text is in exactly one batch, and the same draws give
/// the same batches.
pub fn by_length(lengths: &[usize], batch: usize, mut permutation: impl FnMut(usize) -> Vec<usize>) -> Vec<Vec<usize>> {
    let batch = batch.max(1);
    let mut batches: Vec<Vec<usize>> = Vec::with_capacity(lengths.len().div_ceil(batch));
    let mut order = permutation(lengths.len());
    for pool in order.chunks_mut(batch.saturating_mul(POOL)) {
        // Stable, so that equal lengths stay in the drawn order.
        pool.sort_by_key(|index| std::cmp::Reverse(lengths[*index]));
        batches.extend(pool.chunks(batch).map(<[usize]>::to_vec));
    }
    permutation(batches.len()).into_iter().map(|index| std::mem::take(&mut batches[index])).collect()
}

/// Cuts texts into batches for scoring: the longest first, so that what does not fit in memory fails at once.
pub fn longest_first(lengths: &[usize], batch: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(lengths[*index]));
    order.chunks(batch.max(1)).map(<[usize]>::to_vec).collect()
}

/// A batch as the network takes it, rows one after another: `[B, T]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaddedBatch {
    /// Token numbers, `[B, T]`.
    pub ids: Vec<u32>,
    /// Token types, `[B, T]`; 0 where padded.
    pub kinds: Vec<u32>,
    /// Tokens of each row that are no padding, `[B]`.
    pub lengths: Vec<usize>,
    /// T: the longest row.
    pub width: usize,
}

/// Pads rows at their ends with the token `padding` to the longest of them.
pub fn pad(rows: &[&Encoding], padding: u32) -> PaddedBatch {
    let lengths: Vec<usize> = rows.iter().map(|row| row.ids.len()).collect();
    let width = lengths.iter().copied().max().unwrap_or(0);
    let (mut ids, mut kinds) = (Vec::with_capacity(rows.len() * width), Vec::with_capacity(rows.len() * width));
    for (index, row) in rows.iter().enumerate() {
        let end = (index + 1) * width;
        ids.extend_from_slice(&row.ids);
        ids.resize(end, padding);
        kinds.extend_from_slice(&row.kinds);
        kinds.resize(end, 0);
    }
    PaddedBatch { ids, kinds, lengths, width } // [B, T]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A permutation by a small generator; the library passes one of its own.
    fn shuffled(mut state: u64) -> impl FnMut(usize) -> Vec<usize> {
        move |n| {
            let mut order: Vec<usize> = (0..n).collect();
            for last in (1..n).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                order.swap(last, (state >> 33) as usize % (last + 1));
            }
            order
        }
    }

    proptest! {
        #[test]
        fn every_text_is_in_one_batch_and_the_same_draws_give_the_same_batches(
            lengths in proptest::collection::vec(1usize..200, 0..400), batch in 0usize..40, seed: u64,
        ) {
            let batches = by_length(&lengths, batch, shuffled(seed));
            prop_assert_eq!(&batches, &by_length(&lengths, batch, shuffled(seed)));
            let mut all: Vec<usize> = batches.iter().flatten().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
            prop_assert!(batches.iter().all(|rows| !rows.is_empty() && rows.len() <= batch.max(1)));
        }
    }

    #[test]
    fn little_is_padded_and_lengths_do_not_rule_the_order() {
        let lengths: Vec<usize> = (0..4_000).map(|index| 5 + (index * 7_919) % 120).collect();
        let padded = |batches: &[Vec<usize>]| -> usize {
            let width = |rows: &Vec<usize>| rows.iter().map(|row| lengths[*row]).max().unwrap() * rows.len();
            batches.iter().map(width).sum()
        };
        let batches = by_length(&lengths, 32, shuffled(3));
        let tokens: usize = lengths.iter().sum();
        assert!(padded(&batches) * 100 < tokens * 106, "{} of {tokens}", padded(&batches));
        let drawn: Vec<Vec<usize>> = shuffled(3)(4_000).chunks(32).map(<[usize]>::to_vec).collect();
        assert!(padded(&drawn) * 100 > tokens * 150);
        let first: Vec<usize> = batches.iter().map(|rows| lengths[rows[0]]).collect();
        let rising = first.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((batches.len() / 3..batches.len() * 2 / 3).contains(&rising), "{rising} of {}", batches.len());
        assert!(longest_first(&lengths, 32).windows(2).all(|pair| lengths[pair[0][0]] >= lengths[pair[1][0]]));
    }

    #[test]
    fn rows_are_padded_at_their_ends_to_the_longest() {
        let row = |ids: &[u32]| Encoding {
            ids: ids.to_vec(),
            kinds: vec![1; ids.len()],
            offsets: vec![0..0; ids.len()],
            words: vec![None; ids.len()],
            sequences: vec![None; ids.len()],
            cut: 0,
        };
        let batch = pad(&[&row(&[5, 6, 7]), &row(&[8])], 9);
        assert_eq!((batch.ids, batch.kinds), (vec![5, 6, 7, 8, 9, 9], vec![1, 1, 1, 1, 0, 0]));
        assert_eq!((batch.lengths, batch.width), (vec![3, 1], 3));
        assert_eq!(pad(&[], 0).width, 0);
    }
}
