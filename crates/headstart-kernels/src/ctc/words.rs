//! Labels at their frames, and the words that they make.

use std::ops::Range;

use crate::error::KernelError;

/// A label and the frames that it was heard in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emission {
    /// The class.
    pub label: usize,
    /// First frame, and the one after the last.
    pub frames: Range<usize>,
}

/// A word and the frames from its first label to its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Its labels.
    pub labels: Vec<usize>,
    /// First frame, and the one after the last.
    pub frames: Range<usize>,
}

/// Parts labels at `space`; without a space all are one word.
pub fn words(emissions: &[Emission], space: Option<usize>) -> Vec<Word> {
    let parts = emissions.split(|emission| Some(emission.label) == space);
    parts
        .filter_map(|part| {
            let frames = part.first()?.frames.start..part.last()?.frames.end;
            Some(Word { labels: part.iter().map(|emission| emission.label).collect(), frames })
        })
        .collect()
}

/// Whether logits are whole frames with a blank.
pub(super) fn check(logits: &[f32], classes: usize, blank: usize) -> Result<(), KernelError> {
    if blank >= classes {
        return Err(KernelError::Invalid("the blank is none of the classes"));
    }
    match logits.len() % classes {
        0 => Ok(()),
        rest => {
            let found = logits.len();
            Err(KernelError::Length { what: "the logits of a recording", expected: found - rest + classes, found })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lie_between_spaces() {
        let emission = |label, start| Emission { label, frames: start..start + 2 };
        let emissions =
            [emission(9, 0), emission(1, 3), emission(2, 5), emission(9, 8), emission(9, 10), emission(3, 12)];
        let found = words(&emissions, Some(9));
        assert_eq!(found, [Word { labels: vec![1, 2], frames: 3..7 }, Word { labels: vec![3], frames: 12..14 }]);
        assert_eq!(words(&emissions, None).len(), 1);
        assert_eq!(words(&[], Some(9)), []);
    }
}
