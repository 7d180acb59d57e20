//! A stratified, seeded split that keeps copies of a photo on one side.

use std::collections::{BTreeMap, HashMap};

use crate::layouts::Split;
use crate::scan::{Scan, ScannedExample};

/// How much goes where, for the examples whose part the data set does not say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SplitRule {
    /// Part of each class for validation.
    pub validation: f32,
    /// Part of each class for the test.
    pub test: f32,
    /// Seed of the draw.
    pub seed: u64,
}

/// The part of every scanned example, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// One a scanned example.
    pub splits: Vec<Split>,
    /// Pairs of copies on two sides that the data set itself put there.
    pub leaks: Vec<(usize, usize)>,
    /// Pairs of copies with two labels.
    pub conflicts: Vec<(usize, usize)>,
    /// What a user should be told of copies.
    pub notes: Vec<String>,
}

/// Assigns every example to a part.
///
/// Depends on the digests, labels, seed and fractions alone: neither on the place of the folder nor on files that were
/// skipped. If the data set has training and validation parts they stay as they are, and copies across them are reported;
/// if it has only a training part, validation is drawn from it.
pub fn split(scan: &Scan, classes: &[String], rule: &SplitRule) -> Assignment {
    let examples = &scan.examples;
    let groups = groups_of_copies(examples);
    let drawn: Vec<Drawn<'_>> = examples
        .iter()
        .map(|ScannedExample { example, digest, .. }| Drawn { digest, class: example.label, split: example.split })
        .collect();
    let splits = assign(&drawn, &groups, classes.len(), rule);

    let (mut leaks, mut conflicts) = (Vec::new(), Vec::new());
    for members in groups.values().filter(|members| members.len() > 1) {
        for (position, &a) in members.iter().enumerate() {
            for &b in &members[position + 1..] {
                if splits[a] != splits[b] {
                    leaks.push((a, b));
                }
                if examples[a].example.label != examples[b].example.label {
                    conflicts.push((a, b));
                }
            }
        }
    }
    let notes = notes(examples, &groups, &leaks, &conflicts);
    Assignment { splits, leaks, conflicts, notes }
}

/// What the draw knows of an example.
pub(crate) struct Drawn<'a> {
    pub(crate) digest: &'a [u8; 32],
    /// What the split is stratified by.
    pub(crate) class: usize,
    pub(crate) split: Option<Split>,
}

/// The part of every example: as given, else drawn class by class in whole groups of copies.
pub(crate) fn assign(
    examples: &[Drawn<'_>],
    groups: &BTreeMap<usize, Vec<usize>>,
    classes: usize,
    rule: &SplitRule,
) -> Vec<Split> {
    let has = |part| examples.iter().any(|example| example.split == Some(part));
    let draw = SplitRule {
        validation: if has(Split::Validation) { 0.0 } else { rule.validation },
        test: if has(Split::Test) { 0.0 } else { rule.test },
        seed: rule.seed,
    };
    let mut splits: Vec<Split> = examples.iter().map(|example| example.split.unwrap_or(Split::Train)).collect();
    draw_parts(examples, groups, classes, &draw, &mut splits);
    splits
}

/// Draws whole groups of each class until its parts are full.
fn draw_parts(
    examples: &[Drawn<'_>],
    groups: &BTreeMap<usize, Vec<usize>>,
    classes: usize,
    rule: &SplitRule,
    splits: &mut [Split],
) {
    for class in 0..classes {
        // A group belongs to the class of its first member; one that the data set placed is not drawn.
        let mut drawn: Vec<(u64, &Vec<usize>)> = groups
            .values()
            .filter(|members| examples[members[0]].class == class)
            .filter(|members| members.iter().all(|&member| splits[member] == Split::Train))
            .map(|members| (ticket(rule.seed, examples[members[0]].digest), members))
            .collect();
        drawn.sort();
        let total: usize = drawn.iter().map(|(_, members)| members.len()).sum();
        let mut remaining = drawn.len();
        let mut queue = drawn.into_iter();
        for (part, fraction) in [(Split::Validation, rule.validation), (Split::Test, rule.test)] {
            if fraction <= 0.0 {
                continue;
            }
            let wanted = ((total as f32 * fraction).round() as usize).max(1);
            let mut taken = 0;
            // One group at least stays to be learned from.
            while taken < wanted && remaining > 1 {
                let Some((_, members)) = queue.next() else { break };
                remaining -= 1;
                taken += members.len();
                members.iter().for_each(|&member| splits[member] = part);
            }
        }
    }
}

/// The place of a photo in the draw: a function of its bytes, so adding photos does not reshuffle the others.
pub(crate) fn ticket(seed: u64, digest: &[u8; 32]) -> u64 {
    let digest = blake3::keyed_hash(digest, &seed.to_le_bytes());
    u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("a digest has 32 bytes"))
}

/// Groups of identical and near-identical photos by their first member.
///
/// Every pair is compared: 20 000 photos take a few seconds; beyond that only byte-identical ones are found.
pub(crate) fn groups_of_copies(examples: &[ScannedExample]) -> BTreeMap<usize, Vec<usize>> {
    const MOST_COMPARED: usize = 20_000;
    let mut parent: Vec<usize> = (0..examples.len()).collect();
    let mut first: HashMap<[u8; 32], usize> = HashMap::new();
    for (index, scanned) in examples.iter().enumerate() {
        let other = *first.entry(scanned.digest).or_insert(index);
        join(&mut parent, other, index);
    }
    if examples.len() <= MOST_COMPARED {
        for a in 0..examples.len() {
            for b in a + 1..examples.len() {
                if examples[a].hash.is_near(&examples[b].hash) {
                    join(&mut parent, a, b);
                }
            }
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in 0..examples.len() {
        groups.entry(root(&mut parent, index)).or_default().push(index);
    }
    groups
}

fn root(parent: &mut [usize], mut index: usize) -> usize {
    while parent[index] != index {
        parent[index] = parent[parent[index]];
        index = parent[index];
    }
    index
}

/// The smaller index becomes the root, so a group is named by its first member.
fn join(parent: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parent, a), root(parent, b));
    parent[a.max(b)] = a.min(b);
}

fn notes(
    examples: &[ScannedExample],
    groups: &BTreeMap<usize, Vec<usize>>,
    leaks: &[(usize, usize)],
    conflicts: &[(usize, usize)],
) -> Vec<String> {
    let name = |index: usize| &examples[index].example.relative;
    let mut notes = Vec::new();
    let copies: usize = groups.values().map(|members| members.len() - 1).sum();
    if copies > 0 {
        notes.push(format!("{copies} photos are copies or near-copies of others; each stays on one side of the split"));
    }
    let mut tell = |pairs: &[(usize, usize)], what: &str| {
        const SHOWN: usize = 5;
        for (a, b) in pairs.iter().take(SHOWN) {
            notes.push(format!("{what}: {} and {}", name(*a), name(*b)));
        }
        if pairs.len() > SHOWN {
            notes.push(format!("{what}: {} more pairs", pairs.len() - SHOWN));
        }
    };
    tell(leaks, "the same photo on two sides of the given split");
    tell(conflicts, "the same photo in two classes");
    notes
}
