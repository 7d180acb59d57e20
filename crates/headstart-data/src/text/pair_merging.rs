//! The heart of both trainers: the most frequent pair of neighbouring pieces becomes one piece, again and again
//! (Sennrich et al. 2016).
//!
//! Ties go to the pair with the lower numbers and every count is exact, so that nothing depends on threads or on the order
//! of a hash map.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

/// Two neighbouring pieces, by their numbers.
type Pair = (u32, u32);

/// A word as numbers of pieces, and how often it is met.
pub(crate) struct Word {
    /// Its pieces, in order.
    pub(crate) pieces: Vec<u32>,
    /// How often it is met.
    pub(crate) count: u64,
}

/// Where pairs are, and how often.
struct Pairs {
    counts: HashMap<Pair, u64>,
    /// Words in which a pair is, or was.
    places: HashMap<Pair, HashSet<usize>>,
    /// Counts that held when they were put here; what no longer holds is put right when it is met.
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
}

impl Pairs {
    fn of(words: &[Word]) -> Self {
        let mut pairs = Self { counts: HashMap::new(), places: HashMap::new(), queue: BinaryHeap::new() };
        for (index, word) in words.iter().enumerate() {
            pairs.add(index, word);
        }
        pairs.queue = pairs.counts.iter().map(|(pair, count)| (*count, Reverse(*pair))).collect();
        pairs
    }

    fn add(&mut self, index: usize, word: &Word) {
        for pair in neighbours(&word.pieces) {
            let count = self.counts.entry(pair).or_default();
            *count = count.saturating_add(word.count);
            self.places.entry(pair).or_default().insert(index);
        }
    }

    fn remove(&mut self, word: &Word) {
        for pair in neighbours(&word.pieces) {
            if let Some(count) = self.counts.get_mut(&pair) {
                *count = count.saturating_sub(word.count);
            }
        }
    }

    /// The most frequent pair that is met at least `least` times.
    fn pop(&mut self, least: u64) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            let held = self.counts.get(&pair).copied().unwrap_or(0);
            if held == count && count >= least {
                return Some(pair);
            }
            if held < count && held >= least {
                self.queue.push((held, Reverse(pair)));
            }
        }
        None
    }
}

/// Pairs of neighbours, each place once: in `aaa` the pair `aa` is met twice.
fn neighbours(pieces: &[u32]) -> impl Iterator<Item = Pair> {
    pieces.windows(2).map(|pair| (pair[0], pair[1]))
}

/// Merges until there are `size` pieces, or no pair is met `least` times.
///
/// `pieces` holds the text of every piece by its number, and grows; `join` makes the text of two pieces one. Where that text
/// is of a piece already, it is that piece. Given back are the merged pairs in their order.
pub(crate) fn merge_frequent(
    mut words: Vec<Word>,
    pieces: &mut Vec<String>,
    size: usize,
    least: u64,
    join: impl Fn(&str, &str) -> String,
) -> Vec<Pair> {
    let mut numbers: HashMap<String, u32> =
        pieces.iter().enumerate().map(|(number, piece)| (piece.clone(), number as u32)).collect();
    let mut pairs = Pairs::of(&words);
    let mut merges = Vec::new();
    while pieces.len() < size {
        let Some(pair) = pairs.pop(least) else { break };
        let text = join(&pieces[pair.0 as usize], &pieces[pair.1 as usize]);
        let merged = *numbers.entry(text).or_insert_with_key(|text| {
            pieces.push(text.clone());
            (pieces.len() - 1) as u32
        });
        merges.push(pair);
        let mut changed = BTreeSet::new();
        for index in pairs.places.remove(&pair).unwrap_or_default() {
            let word = &mut words[index];
            if !neighbours(&word.pieces).any(|there| there == pair) {
                continue;
            }
            pairs.remove(word);
            replace(&mut word.pieces, pair, merged);
            pairs.add(index, word);
            changed.extend(neighbours(&word.pieces).filter(|(first, second)| *first == merged || *second == merged));
        }
        pairs.counts.remove(&pair);
        for pair in changed {
            pairs.queue.push((pairs.counts.get(&pair).copied().unwrap_or(0), Reverse(pair)));
        }
    }
    merges
}

/// Puts `merged` in the place of every `pair`, from the left.
fn replace(pieces: &mut Vec<u32>, pair: Pair, merged: u32) {
    let (mut read, mut write) = (0, 0);
    while read < pieces.len() {
        let is_pair = read + 1 < pieces.len() && (pieces[read], pieces[read + 1]) == pair;
        pieces[write] = if is_pair { merged } else { pieces[read] };
        read += if is_pair { 2 } else { 1 };
        write += 1;
    }
    pieces.truncate(write);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same by counting all anew for every merge.
    fn plain(mut words: Vec<Word>, pieces: &mut Vec<String>, size: usize, least: u64) -> Vec<Pair> {
        let mut merges = Vec::new();
        while pieces.len() < size {
            let mut counts: HashMap<Pair, u64> = HashMap::new();
            for word in &words {
                neighbours(&word.pieces).for_each(|pair| *counts.entry(pair).or_default() += word.count);
            }
            let best = counts.into_iter().map(|(pair, count)| (count, Reverse(pair))).max();
            let Some((_, Reverse(pair))) = best.filter(|(count, _)| *count >= least) else { break };
            let text = format!("{}{}", pieces[pair.0 as usize], pieces[pair.1 as usize]);
            let number = pieces.iter().position(|piece| *piece == text).unwrap_or_else(|| {
                pieces.push(text);
                pieces.len() - 1
            });
            merges.push(pair);
            words.iter_mut().for_each(|word| replace(&mut word.pieces, pair, number as u32));
        }
        merges
    }

    fn words(letters: &[Vec<u32>]) -> Vec<Word> {
        let word = |(index, pieces): (usize, &Vec<u32>)| Word { pieces: pieces.clone(), count: 1 + index as u64 % 3 };
        letters.iter().enumerate().map(word).collect()
    }

    proptest! {
        #[test]
        fn the_merges_are_those_of_counting_anew(
            letters in proptest::collection::vec(proptest::collection::vec(0u32..4, 0..9), 0..20), size in 4usize..30,
        ) {
            let alphabet: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
            let (mut fast, mut slow) = (alphabet.clone(), alphabet);
            let join = |first: &str, second: &str| format!("{first}{second}");
            let merges = merge_frequent(words(&letters), &mut fast, size, 2, join);
            prop_assert_eq!(merges, plain(words(&letters), &mut slow, size, 2));
            prop_assert_eq!(fast, slow);
        }
    }
}
