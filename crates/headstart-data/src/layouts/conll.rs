//! Tagged words, one a line: CoNLL and its kin, in two to four columns of which the first is the word and the last its tag.
//!
//! An empty line ends a sentence. `-DOCSTART-` lines and comments are passed over. The text of a sentence is its words
//! with one space between them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::evidence::{self, Evidence, evidence};
use super::{Layout, Opener};
use crate::error::DataError;
use crate::layouts::Split;
use crate::text::assemble::{Draft, DraftExample, DraftTarget};
use crate::text::entities::{Scheme, Tag, entities, violations};
use crate::text::labels::short;
use crate::text::{Origin, Outcome, TargetKind, TextOptions, TextSet, charset};

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: "conll",
    describes: "one `word tag` a line, an empty line between sentences: train.conll, or a folder with train, dev and test files",
    recognizes: |path| evidence(path) == Some(Evidence::Conll),
    open: Opener::Entities(open),
};

/// Most columns of a line.
const MOST_COLUMNS: usize = 4;

fn open(root: &Path, options: &TextOptions) -> Result<TextSet, DataError> {
    if options.target.is_some_and(|target| target != TargetKind::Spans) {
        let reason = "it marks entities, word by word".to_owned();
        let help = "leave the task open, or give texts and labels in a table".to_owned();
        return Err(DataError::Layout { path: root.to_owned(), reason, help });
    }
    let (files, notes) = evidence::files(root, Evidence::Conll)?;
    let mut draft = Draft { notes, ..Draft::default() };
    let mut sentences = Vec::new();
    for file in files {
        let read = charset::read(&file.path)?;
        draft.notes.extend(read.note);
        sentences.extend(sentences_of(&mut draft, &file.path, file.split, &read.bytes)?);
    }
    add_tagged(&mut draft, sentences);
    draft.finish(LAYOUT.name, root, TargetKind::Spans)
}

/// A sentence of tagged words.
pub(super) struct Tagged {
    /// Words with their lines.
    pub(super) words: Vec<(String, usize)>,
    /// One well-formed tag a word.
    pub(super) tags: Vec<String>,
    pub(super) file: usize,
    pub(super) split: Option<Split>,
}

/// Finds the scheme that all sentences share and adds them with their entities; what breaks the scheme is named and
/// repaired as `conlleval` reads it.
pub(super) fn add_tagged(draft: &mut Draft, sentences: Vec<Tagged>) {
    let tags: Vec<Vec<&str>> =
        sentences.iter().map(|sentence| sentence.tags.iter().map(String::as_str).collect()).collect();
    let scheme = Scheme::find(tags.iter().map(Vec::as_slice));
    draft.notes.push(format!("the tags are {}", scheme.name()));
    for (sentence, tags) in sentences.iter().zip(&tags) {
        let path: PathBuf = draft.files[sentence.file].clone();
        for (word, wrong) in violations(tags, scheme) {
            let line = sentence.words[word].1;
            let what = format!("{wrong}: a tag out of place begins an entity, and an open one ends before it");
            draft.problem(&path, line, what, Outcome::Repaired);
        }
        let (text, words) = joined(sentence.words.iter().map(|(word, _)| word.as_str()));
        let spans = entities(tags)
            .into_iter()
            .map(|entity| (words[entity.words.0].start..words[entity.words.1 - 1].end, entity.kind))
            .collect();
        draft.examples.push(DraftExample {
            text,
            pair: None,
            words,
            target: DraftTarget::Spans(spans),
            origin: Origin { file: sentence.file, line: sentence.words[0].1 },
            split: sentence.split,
        });
    }
}

/// Words with one space between them, and the bytes of each.
fn joined<'a>(words: impl Iterator<Item = &'a str>) -> (String, Vec<std::ops::Range<usize>>) {
    let (mut text, mut ranges) = (String::new(), Vec::new());
    for word in words {
        if !text.is_empty() {
            text.push(' ');
        }
        let start = text.len();
        text.push_str(word);
        ranges.push(start..text.len());
    }
    (text, ranges)
}

/// Whether lines look like tagged words: each has two to four columns of which the last is a tag.
pub(super) fn looks_like(head: &str) -> bool {
    const LOOKED_AT: usize = 200;
    let separator = Separator::of(head);
    let (mut tagged, mut entities) = (0, 0);
    for line in head.lines().take(LOOKED_AT).filter(|line| !is_passed_over(line)) {
        let columns = separator.columns(line);
        match columns.last().and_then(|tag| Tag::well_formed(tag)) {
            Some(tag) if (2..=MOST_COLUMNS).contains(&columns.len()) => {
                tagged += 1;
                entities += usize::from(tag.letter != 'O');
            }
            _ if line.starts_with('#') => {}
            _ => return false,
        }
    }
    // A table of blood groups has O in its last column too.
    tagged > 0 && (entities > 0 || tagged > 20)
}

/// What stands between columns.
#[derive(Debug, Clone, Copy)]
enum Separator {
    Tab,
    Space,
}

impl Separator {
    /// Tabs if most lines have one; then words may hold spaces.
    fn of(text: &str) -> Self {
        const LOOKED_AT: usize = 1_000;
        let lines = || text.lines().filter(|line| !is_passed_over(line)).take(LOOKED_AT);
        if lines().filter(|line| line.contains('\t')).count() * 2 > lines().count() { Self::Tab } else { Self::Space }
    }

    fn columns(self, line: &str) -> Vec<&str> {
        match self {
            Self::Tab => line.trim_end().split('\t').map(str::trim).collect(),
            Self::Space => line.split_whitespace().collect(),
        }
    }
}

/// Empty lines and marks of documents.
fn is_passed_over(line: &str) -> bool {
    line.trim().is_empty() || is_document(line)
}

fn is_document(line: &str) -> bool {
    line.trim_start().starts_with("-DOCSTART-")
}

/// The sentences of one file; one with a line that cannot be used is left out and the line named.
fn sentences_of(draft: &mut Draft, path: &Path, split: Option<Split>, bytes: &[u8]) -> Result<Vec<Tagged>, DataError> {
    let file = draft.files.len();
    draft.files.push(path.to_owned());
    let lossy = String::from_utf8_lossy(bytes);
    let separator = Separator::of(&lossy);
    let width = width(&lossy, separator).ok_or_else(|| DataError::Layout {
        path: path.to_owned(),
        reason: format!("no line has 2 to {MOST_COLUMNS} columns with a tag such as O, B-PER or I-PER in the last"),
        help: "give a word and its tag a line, with a space or tab between them".to_owned(),
    })?;
    let mut found = Vec::new();
    let mut sentence = Tagged { words: Vec::new(), tags: Vec::new(), file, split };
    let mut is_broken = false;
    let lines = bytes.split(|byte| *byte == b'\n').enumerate().map(|(index, line)| (index + 1, line));
    for (number, line) in lines.chain([(0, b"".as_slice())]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let read = std::str::from_utf8(line).map_err(|_| "bytes that are no UTF-8".to_owned());
        if read.as_ref().is_ok_and(|line| is_passed_over(line)) {
            let whole = std::mem::replace(&mut sentence, Tagged { words: Vec::new(), tags: Vec::new(), file, split });
            if !std::mem::take(&mut is_broken) && !whole.words.is_empty() {
                found.push(whole);
            }
            continue;
        }
        let parsed = read.and_then(|line| {
            let columns = separator.columns(line);
            let tag = columns.last().and_then(|tag| Tag::well_formed(tag));
            match (columns.as_slice(), tag) {
                _ if line.starts_with('#') && (columns.len() != width || tag.is_none()) => Ok(None),
                ([word, .., tag], Some(_)) if columns.len() == width => {
                    if word.is_empty() {
                        return Err("there is no word".to_owned());
                    }
                    Ok(Some(((*word).to_owned(), (*tag).to_owned())))
                }
                _ if columns.len() != width => Err(format!("{} columns, expected {width}", columns.len())),
                _ => Err(format!("`{}` is no tag", short(columns.last().unwrap_or(&"")))),
            }
        });
        match parsed {
            Ok(Some((word, tag))) => {
                sentence.words.push((word, number));
                sentence.tags.push(tag);
            }
            Ok(None) => {}
            Err(what) => {
                draft.problem(path, number, format!("{what}; its sentence is left out"), Outcome::Skipped);
                is_broken = true;
            }
        }
    }
    Ok(found)
}

/// The number of columns of most tagged lines.
fn width(text: &str, separator: Separator) -> Option<usize> {
    let mut widths: BTreeMap<usize, usize> = BTreeMap::new();
    for line in text.lines().filter(|line| !is_passed_over(line)) {
        let columns = separator.columns(line);
        let is_tagged = columns.last().is_some_and(|tag| Tag::well_formed(tag).is_some());
        if is_tagged && (2..=MOST_COLUMNS).contains(&columns.len()) {
            *widths.entry(columns.len()).or_default() += 1;
        }
    }
    widths.into_iter().max_by_key(|(_, count)| *count).map(|(width, _)| width)
}
