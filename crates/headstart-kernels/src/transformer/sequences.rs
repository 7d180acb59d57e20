//! Sequences of tokens one after the other, without padding between them.

use std::ops::Range;

/// Where each of several sequences lies among the rows of `[tokens, width]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sequences {
    /// Row behind the last token of each.
    ends: Vec<usize>,
}

impl Sequences {
    /// Sequences of these lengths.
    pub fn of_lengths(lengths: &[usize]) -> Self {
        let mut end = 0;
        let ends = lengths
            .iter()
            .map(|length| {
                end += length;
                end
            })
            .collect();
        Self { ends }
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Tokens of all of them.
    pub fn token_count(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Rows of each sequence.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        self.ends
            .iter()
            .enumerate()
            .map(|(index, &end)| index.checked_sub(1).map_or(0, |before| self.ends[before])..end)
    }

    /// The rows of each sequence of `values` `[tokens, width]`.
    pub(super) fn rows_of<'a>(&self, mut values: &'a mut [f32], width: usize) -> Vec<&'a mut [f32]> {
        self.ranges()
            .map(|range| {
                let (rows, rest) = std::mem::take(&mut values).split_at_mut(range.len() * width);
                values = rest;
                rows
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_lie_one_after_the_other() {
        let sequences = Sequences::of_lengths(&[2, 0, 3]);
        assert_eq!((sequences.len(), sequences.token_count()), (3, 5));
        assert_eq!(sequences.ranges().collect::<Vec<_>>(), [0..2, 2..2, 2..5]);
        let mut values = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9.];
        let rows = sequences.rows_of(&mut values, 2);
        assert_eq!(rows[2], [4., 5., 6., 7., 8., 9.]);
        assert!(rows[1].is_empty() && Sequences::default().is_empty());
    }
}
