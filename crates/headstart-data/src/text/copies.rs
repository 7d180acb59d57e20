//! The split of a text data set: stratified, seeded, copies of a text on one side.

use std::collections::{BTreeMap, HashMap};

use unicode_normalization::UnicodeNormalization;

use super::{Target, TextExample, TextSet};
use crate::layouts::Split;
use crate::split::{Assignment, Drawn, SplitRule, assign};

/// Assigns every example to a part.
///
/// As with pictures: given parts stay as they are and copies across them are told; what is not given is drawn by the
/// texts' digests, so it depends neither on the place of a file nor on broken lines. Copies are texts that differ in case,
/// white space and Unicode composition at most. Several labels count as their rarest, spans as their rarest kind.
pub fn split(set: &TextSet, rule: &SplitRule) -> Assignment {
    let groups = groups_of_copies(&set.examples);
    let strata = strata(set);
    let drawn: Vec<Drawn<'_>> = set
        .examples
        .iter()
        .zip(&strata)
        .map(|(example, class)| Drawn { digest: &example.digest, class: *class, split: example.split })
        .collect();
    // One stratum more, of those without a label.
    let splits = assign(&drawn, &groups, set.labels.len() + 1, rule);
    let (mut leaks, mut conflicts) = (Vec::new(), Vec::new());
    for members in groups.values() {
        // Each example is told once, beside the first copy that differs: pairs of all would be too many.
        leaks.extend(differing(members, |index| splits[index]));
        conflicts.extend(differing(members, |index| &set.examples[index].target));
    }
    let notes = notes(set, &groups, &leaks, &conflicts, &splits);
    Assignment { splits, leaks, conflicts, notes }
}

/// Every member whose value is not that of an earlier one, with the first such.
fn differing<T: PartialEq>(members: &[usize], value: impl Fn(usize) -> T) -> Vec<(usize, usize)> {
    // The first member of each value.
    let mut firsts: Vec<usize> = Vec::new();
    let mut pairs = Vec::new();
    for &member in members {
        pairs.extend(firsts.iter().find(|first| value(**first) != value(member)).map(|first| (*first, member)));
        if firsts.len() < 2 && firsts.iter().all(|first| value(*first) != value(member)) {
            firsts.push(member);
        }
    }
    pairs
}

/// What each example is stratified by: its class, its rarest label, or that it has none.
fn strata(set: &TextSet) -> Vec<usize> {
    let mut counts = vec![0usize; set.labels.len()];
    let labels = |target: &Target| -> Vec<usize> {
        match target {
            Target::Class(class) => vec![*class],
            Target::Labels(labels) => labels.clone(),
            Target::Spans(spans) => spans.iter().map(|span| span.label).collect(),
            Target::Unlabeled => Vec::new(),
        }
    };
    for label in set.examples.iter().flat_map(|example| labels(&example.target)) {
        counts[label] += 1;
    }
    let rarest = |target| labels(target).into_iter().min_by_key(|label| (counts[*label], *label));
    set.examples.iter().map(|example| rarest(&example.target).unwrap_or(set.labels.len())).collect()
}

/// Groups of equal texts by their first member.
fn groups_of_copies(examples: &[TextExample]) -> BTreeMap<usize, Vec<usize>> {
    let mut first: HashMap<[u8; 32], usize> = HashMap::new();
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, example) in examples.iter().enumerate() {
        let leader = *first.entry(normal_digest(example)).or_insert(index);
        groups.entry(leader).or_default().push(index);
    }
    groups
}

/// Digest of a text without case and differences of white space.
fn normal_digest(example: &TextExample) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in [Some(&example.text), example.pair.as_ref()].into_iter().flatten() {
        let normal: String = part.nfkc().flat_map(char::to_lowercase).collect();
        for word in normal.split_whitespace() {
            hasher.update(word.as_bytes());
            hasher.update(b" ");
        }
        hasher.update(b"\n");
    }
    *hasher.finalize().as_bytes()
}

fn notes(
    set: &TextSet,
    groups: &BTreeMap<usize, Vec<usize>>,
    leaks: &[(usize, usize)],
    conflicts: &[(usize, usize)],
    splits: &[Split],
) -> Vec<String> {
    let mut notes = Vec::new();
    let copies: usize = groups.values().map(|members| members.len() - 1).sum();
    if copies > 0 {
        notes.push(format!("{copies} texts are copies of others; each stays on one side of a split that is drawn"));
    }
    let mut tell = |pairs: &[(usize, usize)], what: &str| {
        const SHOWN: usize = 5;
        for (a, b) in pairs.iter().take(SHOWN) {
            notes.push(format!("{what}: {} and {}", set.place(*a), set.place(*b)));
        }
        if pairs.len() > SHOWN {
            notes.push(format!("{what}: {} more pairs", pairs.len() - SHOWN));
        }
    };
    tell(leaks, "the same text on two sides of the given split");
    tell(conflicts, "the same text with two labels");
    if !splits.contains(&Split::Validation) {
        notes.push("there is no validation part: too few examples to draw one".to_owned());
    }
    notes
}
