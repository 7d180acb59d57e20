//! Word and character error rate as jiwer 4.0 counts them.

use serde::{Deserialize, Serialize};

/// Edits that make the hypothesis of the reference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edits {
    /// Places that are equal.
    pub hits: usize,
    /// Places that are something else.
    pub substitutions: usize,
    /// Places of the reference that are missing.
    pub deletions: usize,
    /// Places of the hypothesis that are too many.
    pub insertions: usize,
}

impl Edits {
    /// Edits of both.
    pub fn plus(self, other: Self) -> Self {
        Self {
            hits: self.hits + other.hits,
            substitutions: self.substitutions + other.substitutions,
            deletions: self.deletions + other.deletions,
            insertions: self.insertions + other.insertions,
        }
    }

    /// Number of edits.
    pub fn errors(&self) -> usize {
        self.substitutions + self.deletions + self.insertions
    }

    /// Places of the reference.
    pub fn places(&self) -> usize {
        self.hits + self.substitutions + self.deletions
    }

    /// Edits a place of the reference, above 1 where much is inserted; the number of insertions where the reference is empty.
    pub fn rate(&self) -> f64 {
        match self.places() {
            0 => self.insertions as f64,
            places => self.errors() as f64 / places as f64,
        }
    }
}

/// Edits of words: what spaces part, runs of white space taken as one.
pub fn words(reference: &str, hypothesis: &str) -> Edits {
    let (reference, hypothesis) = (one_space(reference), one_space(hypothesis));
    fn parts(text: &str) -> Vec<&str> {
        text.trim_matches(is_space).split(' ').filter(|word| !word.is_empty()).collect()
    }
    edits(&parts(&reference), &parts(&hypothesis))
}

/// Edits of characters (Unicode code points), spaces among them, without those at both ends.
pub fn characters(reference: &str, hypothesis: &str) -> Edits {
    let letters = |text: &str| text.trim_matches(is_space).chars().collect::<Vec<char>>();
    edits(&letters(reference), &letters(hypothesis))
}

/// Sums of [`words`] and [`characters`] over pairs of reference and hypothesis.
pub fn of_all<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> (Edits, Edits) {
    pairs.into_iter().fold(Default::default(), |(by_word, by_letter): (Edits, Edits), (reference, hypothesis)| {
        (by_word.plus(words(reference, hypothesis)), by_letter.plus(characters(reference, hypothesis)))
    })
}

/// Python's white space.
fn is_space(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{1c}'..='\u{1f}')
}

/// Two white spaces or more become one space; a single one stays what it is.
fn one_space(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if is_space(letter) && letters.peek().is_some_and(|next| is_space(*next)) {
            while letters.next_if(|next| is_space(*next)).is_some() {}
            written.push(' ');
        } else {
            written.push(letter);
        }
    }
    written
}

/// A place of the table: the distance of two beginnings, and the edits on the way that is taken back from there.
type Place = (usize, Edits);

/// The fewest edits (Levenshtein). Several sets of edits may be the fewest; the counts are those of the set that RapidFuzz
/// takes, which jiwer uses: what is equal at both ends first, then from the end deletions before insertions before
/// substitutions. Two rows of the table are kept, so long transcripts take little memory.
fn edits<T: PartialEq>(reference: &[T], hypothesis: &[T]) -> Edits {
    let front = reference.iter().zip(hypothesis).take_while(|(a, b)| a == b).count();
    let (reference, hypothesis) = (&reference[front..], &hypothesis[front..]);
    let back = reference.iter().rev().zip(hypothesis.iter().rev()).take_while(|(a, b)| a == b).count();
    let (reference, hypothesis) = (&reference[..reference.len() - back], &hypothesis[..hypothesis.len() - back]);

    let inserted = |insertions| Edits { insertions, ..Edits::default() };
    let mut above: Vec<Place> = (0..=hypothesis.len()).map(|n| (n, inserted(n))).collect();
    let mut row = above.clone();
    for (i, wanted) in reference.iter().enumerate() {
        row[0] = (i + 1, Edits { deletions: i + 1, ..Edits::default() });
        for (j, found) in hypothesis.iter().enumerate() {
            let (delete, insert, keep) = (above[j + 1], row[j], above[j]);
            let is_equal = wanted == found;
            let distance = (delete.0 + 1).min(insert.0 + 1).min(keep.0 + usize::from(!is_equal));
            let mut edits;
            if distance == delete.0 + 1 {
                edits = delete.1;
                edits.deletions += 1;
            } else if j > 0 && insert.0 + 1 == keep.0 {
                edits = insert.1;
                edits.insertions += 1;
            } else {
                edits = keep.1;
                *if is_equal { &mut edits.hits } else { &mut edits.substitutions } += 1;
            }
            row[j + 1] = (distance, edits);
        }
        std::mem::swap(&mut above, &mut row);
    }
    let mut edits = above[hypothesis.len()].1;
    edits.hits += front + back;
    edits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The distance by its definition.
    fn distance(a: &[u8], b: &[u8]) -> usize {
        match (a, b) {
            ([], rest) | (rest, []) => rest.len(),
            ([x, a_rest @ ..], [y, b_rest @ ..]) => {
                let keep = distance(a_rest, b_rest) + usize::from(x != y);
                keep.min(distance(a_rest, b) + 1).min(distance(a, b_rest) + 1)
            }
        }
    }

    #[test]
    fn nothing_and_white_space_count_as_with_jiwer() {
        assert_eq!(words("", ""), Edits::default());
        assert_eq!((words("", "a").insertions, words("", "a b").rate()), (1, 2.0));
        assert_eq!(words(" a  b\n\nc ", "a b c").errors(), 0);
        // A single tab is part of a word there.
        assert_eq!(words("a\tb", "a b").places(), 1);
        assert_eq!(characters(" ab ", "ab").errors(), 0);
    }

    proptest! {
        #[test]
        fn the_edits_are_the_fewest_and_add_up(a in "[abc]{0,6}", b in "[abc]{0,6}") {
            let found = characters(&a, &b);
            prop_assert_eq!(found.errors(), distance(a.as_bytes(), b.as_bytes()));
            prop_assert_eq!(found.places(), a.len());
            prop_assert_eq!(found.hits + found.substitutions + found.insertions, b.len());
        }
    }
}
