//! The split of recordings: seeded, stratified by class; copies stay together, and speakers where the data names them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::SpeechTarget;
use super::scan::{ScannedRecording, SpeechScan};
use super::style::TranscriptStyle;
use crate::layouts::Split;
use crate::split::{Assignment, Drawn, SplitRule, assign};

/// Whether the recordings of one speaker may lie on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speakers {
    /// Apart where there are enough speakers to draw from, and none has most of the recordings.
    #[default]
    ApartIfMany,
    /// On one side each, however few there are.
    Apart,
    /// On both sides: what is measured is new sentences of known voices.
    Mixed,
}

/// Speakers from which [`Speakers::ApartIfMany`] keeps them apart.
const MANY: usize = 10;

/// Words from which a sentence that is said twice would tell the answer; single words are said by everybody.
const WORDS_OF_A_SENTENCE: usize = 3;

/// Assigns every scanned recording to a part.
///
/// As with pictures: given parts stay as they are and copies across them are told; what is not given is drawn by digests, so
/// it depends neither on the place of a file nor on what was left out. Copies are equal files and, from three words on, equal
/// sentences, whoever says them.
pub fn split(scan: &SpeechScan, rule: &SplitRule, speakers: Speakers) -> Assignment {
    let recordings = &scan.recordings;
    let (apart, mut notes) = keep_apart(recordings, speakers);
    let copies = groups(recordings, false);
    let groups = if apart { groups(recordings, true) } else { copies.clone() };
    let class = |recording: &ScannedRecording| match recording.utterance.target {
        SpeechTarget::Class(class) => class,
        SpeechTarget::Transcript(_) => 0,
    };
    let drawn: Vec<Drawn<'_>> = recordings
        .iter()
        // A speaker says words of all classes, so whole speakers are drawn from all at once.
        .map(|recording| Drawn {
            digest: &recording.digest,
            class: if apart { 0 } else { class(recording) },
            split: recording.utterance.split,
        })
        .collect();
    let classes = recordings.iter().map(|recording| class(recording) + 1).max().unwrap_or(0);
    let splits = assign(&drawn, &groups, classes, rule);

    let (mut leaks, mut conflicts) = (Vec::new(), Vec::new());
    for members in copies.values() {
        let differs = |other: usize, what: &dyn Fn(usize, usize) -> bool| {
            members.iter().copied().take_while(|first| *first < other).find(|first| what(*first, other))
        };
        for &member in members {
            leaks.extend(differs(member, &|a, b| splits[a] != splits[b]).map(|first| (first, member)));
            let conflict = differs(member, &|a, b| recordings[a].utterance.target != recordings[b].utterance.target);
            // Sentences of one group may differ in their punctuation.
            conflicts.extend(
                conflict
                    .filter(|first| recordings[*first].digest == recordings[member].digest)
                    .map(|first| (first, member)),
            );
        }
    }
    let count: usize = copies.values().map(|members| members.len() - 1).sum();
    if count > 0 {
        notes
            .push(format!("{count} recordings are copies of others, or say the same sentence; each stays on one side"));
    }
    let mut tell = |pairs: &[(usize, usize)], what: &str| {
        const SHOWN: usize = 5;
        let shown = |index: usize| recordings[index].utterance.path.display();
        notes.extend(pairs.iter().take(SHOWN).map(|(a, b)| format!("{what}: {} and {}", shown(*a), shown(*b))));
        if pairs.len() > SHOWN {
            notes.push(format!("{what}: {} more pairs", pairs.len() - SHOWN));
        }
    };
    tell(&leaks, "the same recording or sentence on two sides of the given split");
    tell(&conflicts, "the same recording with two labels");
    notes.extend(speakers_across(recordings, &splits));
    Assignment { splits, leaks, conflicts, notes }
}

/// Whether speakers stay on one side, and what to say of it.
fn keep_apart(recordings: &[ScannedRecording], rule: Speakers) -> (bool, Vec<String>) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for speaker in recordings.iter().filter_map(|recording| recording.utterance.speaker.as_deref()) {
        *counts.entry(speaker).or_default() += 1;
    }
    let most = counts.values().copied().max().unwrap_or(0);
    let is_even = most * 2 <= recordings.len();
    match rule {
        _ if counts.is_empty() || rule == Speakers::Mixed => (false, Vec::new()),
        Speakers::ApartIfMany if counts.len() < MANY || !is_even => {
            let why = if is_even { "they are few" } else { "one has most of the recordings" };
            let note = format!("{} speakers lie on both sides of the split, since {why}", counts.len());
            (false, vec![note])
        }
        _ => (true, vec![format!("each of {} speakers stays on one side of the split", counts.len())]),
    }
}

/// Groups that stay together, by their first member.
fn groups(recordings: &[ScannedRecording], with_speakers: bool) -> BTreeMap<usize, Vec<usize>> {
    #[derive(PartialEq, Eq, Hash)]
    enum Key<'a> {
        File([u8; 32]),
        Sentence(String),
        Speaker(&'a str),
    }
    let mut leader: Vec<usize> = (0..recordings.len()).collect();
    fn root(leader: &mut [usize], mut index: usize) -> usize {
        while leader[index] != index {
            leader[index] = leader[leader[index]];
            index = leader[index];
        }
        index
    }
    let mut first: HashMap<Key<'_>, usize> = HashMap::new();
    for (index, recording) in recordings.iter().enumerate() {
        let mut keys = vec![Key::File(recording.digest)];
        // Sentences would tie all speakers of a corpus that is read by many to one group.
        match (&recording.utterance.target, recording.utterance.speaker.as_deref()) {
            (_, Some(speaker)) if with_speakers => keys.push(Key::Speaker(speaker)),
            (SpeechTarget::Transcript(text), _) => {
                let text = TranscriptStyle::plain().apply(text);
                if text.split(' ').count() >= WORDS_OF_A_SENTENCE {
                    keys.push(Key::Sentence(text));
                }
            }
            (SpeechTarget::Class(_), _) => {}
        }
        for key in keys {
            let other = *first.entry(key).or_insert(index);
            let (a, b) = (root(&mut leader, other), root(&mut leader, index));
            leader[a.max(b)] = a.min(b);
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in 0..recordings.len() {
        groups.entry(root(&mut leader, index)).or_default().push(index);
    }
    groups
}

/// A given split may put one voice on both sides.
fn speakers_across(recordings: &[ScannedRecording], splits: &[Split]) -> Option<String> {
    let parts = |is: &dyn Fn(Split) -> bool| -> BTreeSet<&str> {
        let of = recordings.iter().zip(splits).filter(|(_, split)| is(**split));
        of.filter_map(|(recording, _)| recording.utterance.speaker.as_deref()).collect()
    };
    let (learned, held) = (parts(&|split| split == Split::Train), parts(&|split| split != Split::Train));
    let both = learned.intersection(&held).count();
    (both > 0).then(|| format!("{both} voices that are learned from are also among those that it is measured by"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::Utterance;
    use crate::text::Origin;

    fn recording(index: u8, text: &str, speaker: Option<&str>) -> ScannedRecording {
        let utterance = Utterance {
            path: format!("{index}.wav").into(),
            target: SpeechTarget::Transcript(text.to_owned()),
            speaker: speaker.map(str::to_owned),
            split: None,
            origin: Origin { file: 0, line: 1 },
        };
        ScannedRecording { utterance, digest: *blake3::hash(&[index]).as_bytes(), seconds: 1.0 }
    }

    fn assigned(recordings: Vec<ScannedRecording>, speakers: Speakers) -> Assignment {
        let scan = SpeechScan { recordings, skipped: Vec::new(), doubtful: Vec::new() };
        split(&scan, &SplitRule { validation: 0.2, test: 0.1, seed: 3 }, speakers)
    }

    #[test]
    fn the_same_sentence_stays_on_one_side_whoever_says_it() {
        let text = |n: u8| format!("The sentence number {}{}", n / 2, if n.is_multiple_of(2) { "." } else { "" });
        let splits = assigned((0..100).map(|n| recording(n, &text(n), None)).collect(), Speakers::default()).splits;
        assert!((0..50).all(|n| splits[2 * n] == splits[2 * n + 1]));
        let count = |part| splits.iter().filter(|split| **split == part).count();
        assert_eq!((count(Split::Validation), count(Split::Test)), (20, 10));
    }

    #[test]
    fn many_speakers_stay_apart_and_few_do_not_unless_asked() {
        let of = |speakers: u8| -> Vec<ScannedRecording> {
            (0..120)
                .map(|n| {
                    recording(
                        n,
                        "yes",
                        Some(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"][usize::from(n % speakers)]),
                    )
                })
                .collect()
        };
        let sides = |found: &Assignment, speakers: usize| -> Vec<usize> {
            let parts = |speaker| (0..120).filter(move |n| n % speakers == speaker).map(|n| found.splits[n]);
            (0..speakers).map(|speaker| parts(speaker).collect::<BTreeSet<_>>().len()).collect()
        };
        let many = assigned(of(12), Speakers::default());
        assert!(sides(&many, 12).iter().all(|parts| *parts == 1), "{:?}", many.notes);
        assert!(many.splits.contains(&Split::Validation) && many.splits.contains(&Split::Train));
        let few = assigned(of(3), Speakers::default());
        assert!(sides(&few, 3).iter().all(|parts| *parts > 1));
        assert!(few.notes.iter().any(|note| note.contains("3 voices")), "{:?}", few.notes);
        assert!(sides(&assigned(of(3), Speakers::Apart), 3).iter().all(|parts| *parts == 1));
        assert!(sides(&assigned(of(12), Speakers::Mixed), 12).iter().any(|parts| *parts > 1));
    }
}
