//! Labelled recordings: what every speech layout gives, and what is made of it before a network hears it.

pub mod alphabet;
pub(crate) mod assemble;
pub mod error_rate;
pub mod scan;
pub mod split;
pub mod style;

use std::path::PathBuf;

use crate::layouts::Split;
use crate::text::{Origin, Problem};

/// Recordings with what is said in them, or with a class each.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeechSet {
    /// Name of the layout.
    pub layout: &'static str,
    /// The file or folder.
    pub root: PathBuf,
    /// Names of the classes, numbers by value, all else by bytes; empty where recordings have transcripts.
    pub classes: Vec<String>,
    /// The tables that were read; [`Origin::file`] is an index into them. Where there is no table, the recordings.
    pub files: Vec<PathBuf>,
    /// Recordings in the order of tables and lines, or of their paths.
    pub utterances: Vec<Utterance>,
    /// What a user should be told, guesses among it.
    pub notes: Vec<String>,
    /// Lines and files that are left out, in their order.
    pub problems: Vec<Problem>,
}

/// One labelled recording, unread.
#[derive(Debug, Clone, PartialEq)]
pub struct Utterance {
    /// Where it is.
    pub path: PathBuf,
    /// What is known of it.
    pub target: SpeechTarget,
    /// Who speaks, if the data set says so.
    pub speaker: Option<String>,
    /// Its part, if the data set says so.
    pub split: Option<Split>,
    /// Where its label came from.
    pub origin: Origin,
}

/// What is known of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpeechTarget {
    /// What is said, as it is written in the data set.
    Transcript(String),
    /// Index into [`SpeechSet::classes`].
    Class(usize),
}

impl SpeechSet {
    /// The transcripts, in the order of the recordings; none where there are classes.
    pub fn transcripts(&self) -> impl Iterator<Item = &str> {
        self.utterances.iter().filter_map(|utterance| match &utterance.target {
            SpeechTarget::Transcript(text) => Some(text.as_str()),
            SpeechTarget::Class(_) => None,
        })
    }

    /// The place of a recording's label, as a user would write it: `train.csv:17`.
    pub fn place(&self, utterance: usize) -> String {
        let Origin { file, line } = self.utterances[utterance].origin;
        format!("{}:{line}", self.files[file].display())
    }
}
