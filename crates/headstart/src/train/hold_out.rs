//! A part of the training examples that is kept from learning, to judge by.

use super::Source;
use crate::error::Result;
use crate::features::{FeatureLayout, Rows};
use crate::random::Stream;

/// One part in this many is held out.
const PARTS: usize = 5;

/// Training examples by what is done with them, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HoldOut {
    /// Learned from.
    pub(crate) learned: Vec<usize>,
    /// Scored.
    pub(crate) held: Vec<usize>,
}

impl HoldOut {
    /// Holds a fifth of `examples` examples out, a fifth of each class where classes are known; at most `most` examples
    /// take part at all.
    pub(crate) fn draw(examples: usize, classes: Option<&[usize]>, most: usize, seed: u64) -> Self {
        let mut order = Stream::new(seed, "hold out", &[]).permutation(examples);
        order.truncate(most);
        if let Some(classes) = classes {
            order.sort_by_key(|&example| classes[example]); // stable: drawn order within a class
        }
        let mut parts = Self { learned: Vec::new(), held: Vec::new() };
        for (position, example) in order.into_iter().enumerate() {
            if position % PARTS == PARTS - 1 { &mut parts.held } else { &mut parts.learned }.push(example);
        }
        parts.learned.sort_unstable();
        parts.held.sort_unstable();
        parts
    }

    /// Training examples of positions among the learned ones.
    pub(crate) fn learned(&self, positions: &[usize]) -> Vec<usize> {
        positions.iter().map(|&position| self.learned[position]).collect()
    }

    /// Training examples of positions among the held ones.
    pub(crate) fn held(&self, positions: &[usize]) -> Vec<usize> {
        positions.iter().map(|&position| self.held[position]).collect()
    }
}

/// Some examples of a source, as a source.
pub(crate) struct Subset<'a> {
    whole: &'a dyn Source,
    examples: &'a [usize],
}

impl<'a> Subset<'a> {
    pub(crate) fn new(whole: &'a dyn Source, examples: &'a [usize]) -> Self {
        Self { whole, examples }
    }
}

impl Source for Subset<'_> {
    fn layout(&self) -> FeatureLayout {
        self.whole.layout()
    }

    fn len(&self) -> usize {
        self.examples.len()
    }

    fn read(&self, examples: &[usize], epoch: usize) -> Result<Rows> {
        let chosen: Vec<usize> = examples.iter().map(|&example| self.examples[example]).collect();
        self.whole.read(&chosen, epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_learned_or_held_once_and_every_class_has_its_share() {
        let classes: Vec<usize> = (0..100).map(|example| usize::from(example >= 80)).collect();
        let parts = HoldOut::draw(100, Some(&classes), 1000, 3);
        let mut all = [parts.learned.clone(), parts.held.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_eq!(parts.held.iter().filter(|&&example| classes[example] == 1).count(), 4);
        assert_eq!(parts.held.len(), 20);
        assert_eq!(parts, HoldOut::draw(100, Some(&classes), 1000, 3));
        assert_ne!(parts, HoldOut::draw(100, Some(&classes), 1000, 4));
        assert_eq!(HoldOut::draw(100, None, 50, 3).held.len(), 10);
    }
}
