//! No bytes make a reader of texts panic, and every problem names its line.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::fs;

use headstart_data::layouts;
use headstart_data::split::SplitRule;
use headstart_data::text::copies::split;
use headstart_data::text::{Target, TextOptions, TextSet};
use proptest::prelude::*;

const TABLE: &str =
    "id,text,label\r\n1,\"a \"\"quoted\"\"\r\nline\",pos\r\n2,größer 🎬,neg\r\n3,plain,pos\r\n4,again,neg\r\n";
const TABS: &str = "a film\t1\nno film\t0\n\" said he\t1\n";
const LINES: &str =
    "{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":\"b\",\"label\":[\"x\",\"y\"]}\n{\"text\":\"c\",\"label\":null}\n";
const SPANS: &str = "{\"text\":\"Zoë met Bob\",\"spans\":[{\"start\":0,\"end\":3,\"label\":\"PER\"},[8,11,\"PER\"]]}\n{\"tokens\":[\"a\"],\"tags\":[\"B-X\"]}\n";
const WORDS: &str = "-DOCSTART- -X- O\n\nJürg NNP B-PER\nMüller NNP I-PER\nin IN O\n\n# note\nBonn NNP S-LOC\n";

const FILES: [(&str, &str); 5] =
    [("x.csv", TABLE), ("x.tsv", TABS), ("x.jsonl", LINES), ("spans.jsonl", SPANS), ("x.conll", WORDS)];

/// What must hold of any set that is read.
fn assert_sound(set: &TextSet, bytes: &[u8]) {
    let lines = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
    for problem in &set.problems {
        assert!((1..=lines).contains(&problem.line) && !problem.what.is_empty(), "{problem}");
    }
    for example in &set.examples {
        assert!((1..=lines).contains(&example.origin.line));
        assert!(!example.text.trim().is_empty());
        assert!(example.words.iter().all(|word| example.text.get(word.clone()).is_some()));
        match &example.target {
            Target::Class(class) => assert!(*class < set.labels.len()),
            Target::Labels(labels) => assert!(labels.iter().all(|label| *label < set.labels.len())),
            Target::Spans(spans) => {
                assert!(spans.windows(2).all(|pair| pair[0].bytes.end <= pair[1].bytes.start));
                for span in spans {
                    let text = example.text.get(span.bytes.clone()).unwrap();
                    assert_eq!(text.chars().count(), span.chars.len());
                    assert!(span.label < set.labels.len());
                }
            }
            Target::Unlabeled => {}
        }
    }
    let assignment = split(set, &SplitRule { validation: 0.3, test: 0.1, seed: 1 });
    assert_eq!(assignment.splits.len(), set.examples.len());
}

fn read(name: &str, bytes: &[u8]) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join(name);
    fs::write(&path, bytes).unwrap();
    match layouts::open_text(&path, &TextOptions::default()) {
        Ok(set) => assert_sound(&set, bytes),
        Err(error) => assert!(error.help().is_some() && !error.to_string().is_empty()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_bytes_do_no_harm(file in 0usize..5, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        read(FILES[file].0, &bytes);
    }

    #[test]
    fn random_marks_do_no_harm(file in 0usize..5, text in "[\"',;|\\t\\n\\r\\\\{}\\[\\]:a-bO0-1 #-]{0,120}") {
        read(FILES[file].0, text.as_bytes());
    }

    #[test]
    fn changed_files_do_no_harm(
        file in 0usize..5, changes in proptest::collection::vec((any::<u16>(), any::<u8>(), 0u8..4), 1..6),
    ) {
        let (name, text) = FILES[file];
        let mut bytes = text.repeat(3).into_bytes();
        for (at, byte, change) in changes {
            let at = usize::from(at) % bytes.len().max(1);
            match change {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => bytes.insert(at.min(bytes.len()), byte),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.truncate(at + 1),
            }
        }
        read(name, &bytes);
    }
}
