//! Pictures of one scene stay on one side of a split: frames of a video, neighbours of a flight.

use std::collections::BTreeMap;

use crate::layouts::Split;
use crate::scan::Scan;
use crate::split::{Assignment, SplitRule, groups_of_copies, ticket};

/// What makes pictures one scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SceneRule {
    /// Nothing: each picture is a scene.
    Picture,
    /// The folder in which they lie.
    Folder,
    /// A name that differs in the number at its end alone, as of the frames of a video: `flight_0005-0018.jpg` and
    /// `flight_0005-0204.jpg`.
    RunningNumber {
        /// Numbers further apart than this are two scenes; none if never.
        gap: Option<u64>,
    },
}

/// The scene of each picture, by its path within the data set; scenes are numbered as they are met.
pub fn scenes(paths: &[&str], rule: SceneRule) -> Vec<usize> {
    let mut keys: Vec<(&str, u64)> = Vec::with_capacity(paths.len());
    for (index, path) in paths.iter().enumerate() {
        keys.push(match rule {
            SceneRule::Picture => ("", index as u64),
            SceneRule::Folder => (path.rsplit_once('/').map_or("", |(folder, _)| folder), 0),
            SceneRule::RunningNumber { .. } => series(path),
        });
    }
    if let SceneRule::RunningNumber { gap } = rule {
        // Numbers become the first one of their run.
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by_key(|index| keys[*index]);
        let mut last: Option<(&str, u64, u64)> = None;
        for index in order {
            let (name, number) = keys[index];
            let first = match last {
                Some((before, first, previous)) if before == name && gap.is_none_or(|gap| number - previous <= gap) => {
                    first
                }
                _ => number,
            };
            last = Some((name, first, number));
            keys[index] = (name, first);
        }
    }
    let mut numbers = BTreeMap::new();
    keys.into_iter()
        .map(|key| {
            let next = numbers.len();
            *numbers.entry(key).or_insert(next)
        })
        .collect()
}

/// A path without its ending and the number before that, and the number; one that has none is of a series of its own.
fn series(path: &str) -> (&str, u64) {
    let name_at = path.rfind('/').map_or(0, |slash| slash + 1);
    let stem = match path[name_at..].rfind('.') {
        Some(dot) => &path[..name_at + dot],
        None => path,
    };
    let name = stem.trim_end_matches(|letter: char| letter.is_ascii_digit());
    match stem[name.len()..].parse() {
        Ok(number) if name.len() >= name_at => (name, number),
        _ => (path, 0),
    }
}

/// Draws whole scenes for validation and test, whatever parts the data set itself has; copies across scenes join them.
///
/// Scenes are taken in an order that the seed and the bytes of their first pictures decide, each unless the part would get
/// more than half too large; if all would, the smallest is. One scene at least stays to be learned from.
pub fn split_by_scene(scan: &Scan, rule: &SplitRule, scene_rule: SceneRule) -> Assignment {
    let paths: Vec<&str> = scan.examples.iter().map(|scanned| scanned.example.relative.as_str()).collect();
    let numbers = scenes(&paths, scene_rule);
    let copies = groups_of_copies(&scan.examples);
    let mut joined = Joined::new(numbers.iter().max().map_or(0, |most| most + 1));
    for members in copies.values() {
        members.iter().for_each(|&member| joined.join(numbers[members[0]], numbers[member]));
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, &scene) in numbers.iter().enumerate() {
        groups.entry(joined.root(scene)).or_default().push(index);
    }
    let mut drawn: Vec<(u64, &Vec<usize>)> =
        groups.values().map(|members| (ticket(rule.seed, &scan.examples[members[0]].digest), members)).collect();
    drawn.sort();
    let total = scan.examples.len();
    let mut splits = vec![Split::Train; total];
    for (part, fraction) in [(Split::Validation, rule.validation), (Split::Test, rule.test)] {
        if fraction <= 0.0 {
            continue;
        }
        let wanted = ((total as f32 * fraction).round() as usize).max(1);
        let mut taken = 0;
        let mut left = Vec::new();
        let count = drawn.len();
        for (position, group) in drawn.into_iter().enumerate() {
            let size = group.1.len();
            let fits = taken < wanted && 2 * (taken + size) <= 3 * wanted;
            let leaves_one = !left.is_empty() || position + 1 < count;
            if fits && leaves_one {
                taken += size;
                group.1.iter().for_each(|&member| splits[member] = part);
            } else {
                left.push(group);
            }
        }
        if taken == 0 && left.len() > 1 {
            // All scenes are too large: the smallest does least harm.
            let smallest = (0..left.len()).min_by_key(|index| left[*index].1.len()).unwrap_or(0);
            left.remove(smallest).1.iter().for_each(|&member| splits[member] = part);
        }
        drawn = left;
    }
    let duplicates: usize = copies.values().map(|members| members.len() - 1).sum();
    let mut notes =
        vec![format!("{total} pictures are of {} scenes; each stays on one side of the split", groups.len())];
    if duplicates > 0 {
        notes.push(format!("{duplicates} pictures are copies or near-copies of others; their scenes are one"));
    }
    Assignment { splits, leaks: Vec::new(), conflicts: Vec::new(), notes }
}

/// Scenes that were joined.
struct Joined(Vec<usize>);

impl Joined {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn root(&mut self, scene: usize) -> usize {
        let mut scene = scene;
        while self.0[scene] != scene {
            self.0[scene] = self.0[self.0[scene]];
            scene = self.0[scene];
        }
        scene
    }

    /// The lower number stands for both.
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenes_are_series_of_numbers_or_folders() {
        let paths = ["a/v-0001.jpg", "a/v-0002.jpg", "a/v-0100.jpg", "a/7.jpg", "b/v-0003.jpg", "b/x.y", "b/x.z"];
        let running = |gap| scenes(&paths, SceneRule::RunningNumber { gap });
        assert_eq!(running(None), [0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(running(Some(5)), [0, 0, 1, 2, 3, 4, 5]);
        assert_eq!(scenes(&paths, SceneRule::Folder), [0, 0, 0, 0, 1, 1, 1]);
        assert_eq!(scenes(&paths, SceneRule::Picture), [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn odd_names_are_scenes_of_their_own() {
        for path in ["", "/", "é9", "99999999999999999999999.jpg", "a.b/", "a1/b", "1"] {
            assert_eq!(scenes(&[path, "other"], SceneRule::RunningNumber { gap: Some(0) }), [0, 1], "{path}");
        }
        assert_eq!(series("a1/b.2"), ("a1/b.2", 0));
        assert_eq!(series("1.jpg"), ("", 1));
    }
}
