//! Labelled text: what every text layout gives, and what is made of it before a network sees it.

pub mod arpa;
pub mod assemble;
pub mod byte_pair_trainer;
pub mod charset;
pub mod columns;
pub mod copies;
pub mod entities;
pub mod entity_scores;
pub mod labels;
mod pair_merging;
pub mod plain_text;
pub mod table;
pub mod tokenizer;
mod tokenizer_files;
pub mod wordpiece_trainer;
pub mod words;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use crate::layouts::Split;

/// The examples of a text data set, read whole.
#[derive(Debug, Clone, PartialEq)]
pub struct TextSet {
    /// Name of the layout.
    pub layout: &'static str,
    /// The file or folder.
    pub root: PathBuf,
    /// What the examples are labelled with.
    pub target: TargetKind,
    /// Names of classes, labels or entity kinds in a fixed order: numbers by value, all else by bytes.
    pub labels: Vec<String>,
    /// The files that were read; [`Origin::file`] is an index into them.
    pub files: Vec<PathBuf>,
    /// Examples in the order of files and lines.
    pub examples: Vec<TextExample>,
    /// What a user should be told, guesses among it.
    pub notes: Vec<String>,
    /// Everything that is wrong with single lines, in the order of files and lines.
    pub problems: Vec<Problem>,
}

/// What the examples of a set are labelled with; it decides the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// One class each.
    Class,
    /// Any number of labels each.
    Labels,
    /// Named stretches of the text.
    Spans,
    /// Nothing.
    Unlabeled,
}

/// One text, or a pair of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct TextExample {
    /// The text, as it is in the file.
    pub text: String,
    /// The second text of a pair.
    pub pair: Option<String>,
    /// Byte ranges of the words in `text`, where the file is one of words; else empty.
    pub words: Vec<Range<usize>>,
    /// Its label or labels.
    pub target: Target,
    /// Where it came from.
    pub origin: Origin,
    /// Its part, if the data set says so.
    pub split: Option<Split>,
    /// BLAKE3 of text and pair.
    pub digest: [u8; 32],
}

/// Labels are indices into [`TextSet::labels`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The class.
    Class(usize),
    /// The labels, rising; possibly none.
    Labels(Vec<usize>),
    /// The spans, by their start; they do not overlap.
    Spans(Vec<Span>),
    /// Nothing is known.
    Unlabeled,
}

/// A named stretch of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its kind.
    pub label: usize,
    /// Bytes of the text, on character boundaries.
    pub bytes: Range<usize>,
    /// Unicode code points of the text.
    pub chars: Range<usize>,
}

/// Where an example came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Index into [`TextSet::files`].
    pub file: usize,
    /// First line from 1; the row in a Parquet file.
    pub line: usize,
}

/// Something wrong with one line, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// First line from 1; the row in a Parquet file.
    pub line: usize,
    /// What is wrong, in plain words.
    pub what: String,
    /// What was done.
    pub outcome: Outcome,
}

/// What was done about a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The example is left out.
    Skipped,
    /// The example is used, changed as `what` says.
    Repaired,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Skipped => "skipped",
            Outcome::Repaired => "repaired",
        };
        write!(out, "{}:{}: {} ({outcome})", self.file.display(), self.line, self.what)
    }
}

/// What a user says of a text data set; everything left open is found from the data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// Column of the text: its name, or its number from 1.
    pub text_column: Option<String>,
    /// Column of the second text of a pair.
    pub pair_column: Option<String>,
    /// Column of the label; several for one 0/1 column a label.
    pub label_columns: Vec<String>,
    /// What separates the labels of a cell.
    pub label_separator: Option<char>,
    /// What separates columns.
    pub delimiter: Option<char>,
    /// Whether the first line names the columns.
    pub header: Option<bool>,
    /// What the examples are labelled with.
    pub target: Option<TargetKind>,
}

impl TextSet {
    /// The place of an example, as a user would write it: `reviews.csv:17`.
    pub fn place(&self, example: usize) -> String {
        let Origin { file, line } = self.examples[example].origin;
        format!("{}:{line}", self.files[file].display())
    }
}
