//! From what a layout read to a [`TextSet`]: empty texts, label names and their numbers, digests.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use super::{Origin, Outcome, Problem, Span, Target, TargetKind, TextExample, TextSet};
use crate::error::DataError;
use crate::layouts::Split;

/// A data set as a layout read it, labels still by name.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) examples: Vec<DraftExample>,
    pub(crate) notes: Vec<String>,
    pub(crate) problems: Vec<Problem>,
}

/// An example as a layout read it.
#[derive(Debug)]
pub(crate) struct DraftExample {
    pub(crate) text: String,
    pub(crate) pair: Option<String>,
    pub(crate) words: Vec<Range<usize>>,
    pub(crate) target: DraftTarget,
    pub(crate) origin: Origin,
    pub(crate) split: Option<Split>,
}

/// A stretch of bytes and its kind.
pub(crate) type NamedBytes = (Range<usize>, String);

/// Labels by name.
#[derive(Debug)]
pub(crate) enum DraftTarget {
    Class(String),
    Labels(Vec<String>),
    /// Byte ranges on character boundaries with their kinds, in any order.
    Spans(Vec<NamedBytes>),
    Unlabeled,
}

impl Draft {
    /// Adds a problem with a line of a file.
    pub(crate) fn problem(&mut self, file: &Path, line: usize, what: impl Into<String>, outcome: Outcome) {
        self.problems.push(Problem { file: file.to_owned(), line, what: what.into(), outcome });
    }

    /// Skips unusable examples, numbers the labels and orders everything.
    ///
    /// # Errors
    /// [`DataError::Layout`] where nothing is left, or there are no two classes to tell apart.
    pub(crate) fn finish(
        mut self,
        layout: &'static str,
        root: &Path,
        target: TargetKind,
    ) -> Result<TextSet, DataError> {
        self.skip_empty();
        self.settle_overlaps();
        self.skip_unlearnable_classes();
        let labels = ordered(self.examples.iter().flat_map(|example| example.target.names()));
        let refuse = |reason: String, help: &str| {
            Err(DataError::Layout { path: root.to_owned(), reason, help: help.to_owned() })
        };
        let order: BTreeMap<&Path, usize> =
            self.files.iter().enumerate().map(|(index, path)| (path.as_path(), index)).collect();
        self.problems.sort_by_key(|problem| (order.get(problem.file.as_path()).copied(), problem.line));
        if self.examples.is_empty() {
            return match self.problems.first() {
                Some(first) => refuse(
                    format!("no example could be used; the first of {} problems: {first}", self.problems.len()),
                    "mend the lines that are named, or name the columns with --text-column and --label-column",
                ),
                None => refuse("it holds no example".to_owned(), "a data set needs some labelled lines"),
            };
        }
        match (target, labels.as_slice()) {
            (TargetKind::Class, [only]) => {
                return refuse(
                    format!("there is only one class, `{only}`: nothing can be told apart"),
                    "name the column of the labels with --label-column, or add examples of another class",
                );
            }
            (TargetKind::Labels, []) => {
                return refuse(
                    "no example has a label".to_owned(),
                    "name the columns of the labels with --label-column",
                );
            }
            (TargetKind::Spans, []) => {
                return refuse(
                    "no entity is marked anywhere".to_owned(),
                    "entities are marked by tags such as B-PER, or by spans",
                );
            }
            _ => {}
        }
        self.note_twins(&labels);
        self.note_problems();
        let number: BTreeMap<&str, usize> =
            labels.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
        let examples = self.examples.into_iter().map(|example| example.number(&number)).collect();
        Ok(TextSet {
            layout,
            root: root.to_owned(),
            target,
            labels,
            files: self.files,
            examples,
            notes: self.notes,
            problems: self.problems,
        })
    }

    fn skip_empty(&mut self) {
        let (files, problems) = (&self.files, &mut self.problems);
        self.examples.retain(|example| {
            let what = if is_empty(&example.text) {
                "the text is empty"
            } else if example.pair.as_deref().is_some_and(is_empty) {
                "the second text is empty"
            } else {
                return true;
            };
            let Origin { file, line } = example.origin;
            let problem = Problem { file: files[file].clone(), line, what: what.to_owned(), outcome: Outcome::Skipped };
            problems.push(problem);
            false
        });
    }

    /// Of spans that overlap the longest is kept, and the first of equals.
    fn settle_overlaps(&mut self) {
        for example in &mut self.examples {
            let DraftTarget::Spans(spans) = &mut example.target else { continue };
            spans.sort_by_key(|(bytes, _)| (std::cmp::Reverse(bytes.len()), bytes.start));
            // Kept spans by their start; they do not overlap, so the neighbours decide.
            let mut kept: BTreeMap<usize, (usize, String)> = BTreeMap::new();
            for (bytes, kind) in spans.drain(..) {
                let before = kept.range(..bytes.end).next_back().filter(|(_, (end, _))| *end > bytes.start);
                match before {
                    Some((start, (end, other))) => {
                        let what = format!(
                            "`{kind}` over bytes {} to {} overlaps `{other}` over {start} to {end}: the longer is kept",
                            bytes.start, bytes.end
                        );
                        let Origin { file, line } = example.origin;
                        let file = self.files[file].clone();
                        self.problems.push(Problem { file, line, what, outcome: Outcome::Repaired });
                    }
                    None => {
                        kept.insert(bytes.start, (bytes.end, kind));
                    }
                }
            }
            spans.extend(kept.into_iter().map(|(start, (end, kind))| (start..end, kind)));
        }
    }

    /// A class that no training example has cannot be learned: its examples are left out, and named.
    fn skip_unlearnable_classes(&mut self) {
        let learned: BTreeSet<String> = self
            .examples
            .iter()
            .filter(|example| matches!(example.split, None | Some(Split::Train)))
            .flat_map(|example| example.target.names().map(str::to_owned))
            .collect();
        let (files, problems, notes) = (&self.files, &mut self.problems, &mut self.notes);
        let mut told = BTreeSet::new();
        self.examples.retain(|example| match &example.target {
            DraftTarget::Class(name) if !learned.contains(name) => {
                let Origin { file, line } = example.origin;
                let what = format!("class `{name}` has no training example");
                problems.push(Problem { file: files[file].clone(), line, what, outcome: Outcome::Skipped });
                false
            }
            target => {
                for name in target.names().filter(|name| !learned.contains(*name)) {
                    if told.insert(name.to_owned()) {
                        notes.push(format!("`{name}` occurs in no training example: it will not be found"));
                    }
                }
                true
            }
        });
    }

    /// `Positive` and `positive ` are one class spelled twice more often than two classes.
    fn note_twins(&mut self, labels: &[String]) {
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for label in labels {
            let plain: String =
                label.nfkc().flat_map(char::to_lowercase).filter(|letter| letter.is_alphanumeric()).collect();
            if plain.is_empty() {
                continue;
            }
            match seen.get(&plain) {
                Some(other) => {
                    self.notes.push(format!("`{other}` and `{label}` look like two spellings of one label"));
                }
                None => {
                    seen.insert(plain, label);
                }
            }
        }
    }

    fn note_problems(&mut self) {
        let count = |outcome| self.problems.iter().filter(|problem| problem.outcome == outcome).count();
        let (skipped, repaired) = (count(Outcome::Skipped), count(Outcome::Repaired));
        if skipped > 0 {
            self.notes.push(format!("{skipped} broken places were left out, each listed with its line"));
        }
        if repaired > 0 {
            self.notes.push(format!("{repaired} places were repaired, each listed with its line"));
        }
    }
}

impl DraftTarget {
    fn names(&self) -> impl Iterator<Item = &str> {
        let (class, labels, spans): (Option<&str>, &[String], &[NamedBytes]) = match self {
            Self::Class(name) => (Some(name), &[], &[]),
            Self::Labels(names) => (None, names, &[]),
            Self::Spans(spans) => (None, &[], spans),
            Self::Unlabeled => (None, &[], &[]),
        };
        class.into_iter().chain(labels.iter().map(String::as_str)).chain(spans.iter().map(|(_, kind)| kind.as_str()))
    }
}

impl DraftExample {
    fn number(self, number: &BTreeMap<&str, usize>) -> TextExample {
        let target = match self.target {
            DraftTarget::Class(name) => Target::Class(number[name.as_str()]),
            DraftTarget::Labels(names) => {
                let labels: BTreeSet<usize> = names.iter().map(|name| number[name.as_str()]).collect();
                Target::Labels(labels.into_iter().collect())
            }
            DraftTarget::Spans(spans) => Target::Spans(numbered(&self.text, &spans, number)),
            DraftTarget::Unlabeled => Target::Unlabeled,
        };
        TextExample {
            digest: digest(&self.text, self.pair.as_deref()),
            text: self.text,
            pair: self.pair,
            words: self.words,
            target,
            origin: self.origin,
            split: self.split,
        }
    }
}

/// Spans, sorted and apart, with their character offsets; one walk over the text.
fn numbered(text: &str, spans: &[NamedBytes], number: &BTreeMap<&str, usize>) -> Vec<Span> {
    let (mut byte, mut char) = (0, 0);
    let mut to_char = |offset: usize| {
        char += text[byte..offset].chars().count();
        byte = offset;
        char
    };
    spans
        .iter()
        .map(|(bytes, kind)| Span {
            label: number[kind.as_str()],
            bytes: bytes.clone(),
            chars: to_char(bytes.start)..to_char(bytes.end),
        })
        .collect()
}

/// BLAKE3 of text and pair, each with its length.
fn digest(text: &str, pair: Option<&str>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in [Some(text), pair].into_iter().flatten() {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// Nothing that a reader would see.
fn is_empty(text: &str) -> bool {
    text.chars()
        .all(|letter| letter.is_whitespace() || letter.is_control() || matches!(letter, '\u{200b}' | '\u{feff}'))
}

/// Names once each: by value if all are numbers, else by bytes.
pub(crate) fn ordered<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let names: BTreeSet<&str> = names.collect();
    let mut names: Vec<&str> = names.into_iter().collect();
    let value = |name: &str| name.parse::<f64>().ok().filter(|value| value.is_finite());
    if names.iter().all(|name| value(name).is_some()) {
        names.sort_by(|a, b| value(a).unwrap_or(0.0).total_cmp(&value(b).unwrap_or(0.0)));
    }
    names.into_iter().map(str::to_owned).collect()
}
