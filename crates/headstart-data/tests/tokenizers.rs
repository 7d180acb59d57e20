//! Tokenizers against Hugging Face transformers, on lines of mixed scripts, emoji and control characters.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::ops::Range;
use std::path::{Path, PathBuf};

use headstart_data::text::tokenizer::{Encoding, Tokenizer};
use serde::Deserialize;
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/tokenizers")
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixtures().join(name)).unwrap()).unwrap()
}

fn lines() -> Vec<String> {
    serde_json::from_value(json("lines.json")).unwrap()
}

#[derive(Deserialize)]
struct Expected {
    shown: Vec<Shown>,
    whole: Vec<String>,
    cut_at_9: String,
    pairs_cut_at_17: String,
}

#[derive(Deserialize)]
struct Shown {
    ids: Vec<u32>,
    offsets: Vec<[u32; 2]>,
}

/// FNV-1a over 32-bit numbers, as `make.py` takes it.
struct Digest(u64);

impl Digest {
    fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    fn add(&mut self, numbers: impl IntoIterator<Item = u32>) {
        for byte in numbers.into_iter().flat_map(u32::to_le_bytes) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
        }
    }

    fn text(&self) -> String {
        format!("{:016x}", self.0)
    }
}

/// Byte ranges as the reference counts them, in characters.
fn in_characters(text: &str, range: &Range<usize>) -> [u32; 2] {
    [range.start, range.end].map(|byte| text[..byte].chars().count() as u32)
}

fn offsets(encoding: &Encoding, texts: [&str; 2]) -> Vec<[u32; 2]> {
    let offset = |(range, sequence): (&Range<usize>, &Option<usize>)| match sequence {
        Some(sequence) => in_characters(texts[*sequence], range),
        None => [0, 0],
    };
    encoding.offsets.iter().zip(&encoding.sequences).map(offset).collect()
}

fn numbers(encoding: &Encoding, texts: [&str; 2], has_kinds: bool) -> Vec<u32> {
    let kinds = encoding.kinds.iter().map(|kind| if has_kinds { *kind } else { 0 });
    let mut all: Vec<u32> = encoding.ids.iter().copied().chain(kinds).collect();
    all.extend(offsets(encoding, texts).into_iter().flatten());
    all
}

fn compare(tokenizer: &Tokenizer, expected: &Expected, name: &str) {
    let lines = lines();
    assert_eq!(lines.len(), 1000);
    // GPT-2 has no kinds of tokens, so the reference gives none.
    let has_kinds = name != "bytes";
    for (line, shown) in lines.iter().zip(&expected.shown) {
        let found = tokenizer.encode(line, None, usize::MAX).unwrap();
        let tokens: Vec<_> = found.ids.iter().map(|id| tokenizer.token(*id)).collect();
        assert_eq!(found.ids, shown.ids, "{name} {line:?} {tokens:?}");
        assert_eq!(offsets(&found, [line, ""]), shown.offsets, "{name} {line:?}");
    }
    let mut cut = Digest::new();
    for (line, whole) in lines.iter().zip(&expected.whole) {
        let mut digest = Digest::new();
        digest.add(numbers(&tokenizer.encode(line, None, usize::MAX).unwrap(), [line, ""], has_kinds));
        assert_eq!(&digest.text(), whole, "{name} {line:?}");
        cut.add(numbers(&tokenizer.encode(line, None, 9).unwrap(), [line, ""], has_kinds));
    }
    assert_eq!(cut.text(), expected.cut_at_9, "{name} cut");
    let mut pairs = Digest::new();
    for pair in lines.windows(2) {
        let found = tokenizer.encode(&pair[0], Some(&pair[1]), 17).unwrap();
        pairs.add(numbers(&found, [&pair[0], &pair[1]], has_kinds));
    }
    assert_eq!(pairs.text(), expected.pairs_cut_at_17, "{name} pairs");
}

#[test]
fn tokens_types_and_offsets_of_a_thousand_hard_lines_are_those_of_transformers() {
    let mut all = json("expected.json");
    for name in ["bytes", "uncased", "cased"] {
        let expected: Expected = serde_json::from_value(all[name].take()).unwrap();
        let tokenizer = Tokenizer::open(&fixtures().join(name)).unwrap();
        compare(&tokenizer, &expected, name);
        let again = Tokenizer::from_bytes(&tokenizer.to_bytes().unwrap()).unwrap();
        compare(&again, &expected, name);
        assert_eq!(again.to_bytes().unwrap(), tokenizer.to_bytes().unwrap());
    }
}

#[test]
fn tokens_are_told_the_words_that_they_are_part_of() {
    let tokenizer = Tokenizer::open(&fixtures().join("uncased")).unwrap();
    let text = "Née in  ÅSUN, 1987";
    let words = [0..4, 5..7, 9..15, 16..20];
    assert_eq!(&text[words[2].clone()], "ÅSUN,");
    let found = tokenizer.encode(text, Some("another text"), usize::MAX).unwrap();
    let among = found.words_among(&words);
    for ((word, range), sequence) in among.iter().zip(&found.offsets).zip(&found.sequences) {
        match (word, sequence) {
            (Some(word), Some(0)) => assert!(words[*word].start <= range.start && range.end <= words[*word].end),
            (word, sequence) => assert!(word.is_none() && *sequence != Some(0), "{range:?} is of no word"),
        }
    }
    let mut seen: Vec<usize> = among.into_iter().flatten().collect();
    seen.dedup();
    assert_eq!(seen, [0, 1, 2, 3]);
}

#[test]
fn tokenizers_that_cannot_be_are_refused_with_the_file_and_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let message = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = Tokenizer::open(&path).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.help().is_some(), "{error}");
        error.to_string()
    };
    assert!(message("tokenizer.json", b"{").contains("no JSON"));
    assert!(message("tokenizer.json", b"{\"model\": {\"type\": \"WordPiece\", \"vocab\": {}}}").contains("empty"));
    assert!(message("vocab.txt", b"a\nb\n").contains("[UNK]"));
    assert!(message("vocab.txt", b"[UNK]\n\xff\n").contains("line 2"));
    assert!(message("vocab.json", b"{\"a\": 0}").contains("merges.txt"));
    // The crate panics on a template without the special tokens that it names.
    let tokenizer = Tokenizer::open(&fixtures().join("cased")).unwrap();
    let mut value: Value = serde_json::from_slice(&tokenizer.to_bytes().unwrap()).unwrap();
    value["post_processor"]["special_tokens"] = serde_json::json!({});
    message("tokenizer.json", value.to_string().as_bytes());
    assert!(Tokenizer::open(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
}

#[test]
fn the_files_that_openai_published_are_those_of_hugging_face_under_other_names() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fixtures().join("bytes");
    for (theirs, first) in [("vocab.json", "encoder.json"), ("merges.txt", "vocab.bpe")] {
        std::fs::copy(bytes.join(theirs), folder.path().join(first)).unwrap();
    }
    let (first, theirs) = (Tokenizer::open(folder.path()).unwrap(), Tokenizer::open(&bytes).unwrap());
    let text = "Größe 12 — it's 🙂";
    let encoded = |tokenizer: &Tokenizer| tokenizer.encode(text, None, 64).unwrap();
    assert_eq!(encoded(&first), encoded(&theirs));
}

#[test]
fn a_text_without_room_is_an_error_and_never_a_panic() {
    let tokenizer = Tokenizer::open(&fixtures().join("uncased")).unwrap();
    assert!(tokenizer.encode("a", None, 2).unwrap_err().to_string().contains("no room"));
    let found = tokenizer.encode("one two three four", None, 4).unwrap();
    assert_eq!((found.ids.len(), found.cut > 0), (4, true));
    assert_eq!(tokenizer.encode("", None, 64).unwrap().ids.len(), 2);
}
