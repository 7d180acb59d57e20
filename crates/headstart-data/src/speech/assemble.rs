//! From what a layout read to a [`SpeechSet`]: recordings found, rows without them listed, classes numbered.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::{SpeechSet, SpeechTarget, Utterance};
use crate::audio::EXTENSIONS;
use crate::error::DataError;
use crate::layouts::Split;
use crate::text::assemble::ordered;
use crate::text::{Origin, Outcome, Problem};

/// A data set as a layout read it.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) rows: Vec<DraftRow>,
    pub(crate) notes: Vec<String>,
    pub(crate) problems: Vec<Problem>,
}

/// A row as a layout read it.
#[derive(Debug)]
pub(crate) struct DraftRow {
    pub(crate) path: PathBuf,
    pub(crate) target: DraftTarget,
    pub(crate) speaker: Option<String>,
    pub(crate) split: Option<Split>,
    pub(crate) origin: Origin,
}

/// A label by name.
#[derive(Debug)]
pub(crate) enum DraftTarget {
    Transcript(String),
    Class(String),
}

impl Draft {
    /// Adds a line or file that is left out.
    pub(crate) fn skip(&mut self, file: &Path, line: usize, what: impl Into<String>) {
        let problem = Problem { file: file.to_owned(), line, what: what.into(), outcome: Outcome::Skipped };
        self.problems.push(problem);
    }

    /// Leaves out rows without a recording or a transcript and recordings that came before; numbers classes.
    ///
    /// # Errors
    /// [`DataError::Layout`] where nothing is left, or there are no two classes to tell apart.
    pub(crate) fn finish(mut self, layout: &'static str, root: &Path) -> Result<SpeechSet, DataError> {
        let mut places: HashMap<PathBuf, Origin> = HashMap::new();
        let rows = std::mem::take(&mut self.rows);
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows {
            let Origin { file, line } = row.origin;
            let shown = self.files[file].clone();
            let is_empty = matches!(&row.target, DraftTarget::Transcript(text) if text.trim().is_empty());
            if !row.path.is_file() {
                self.skip(&shown, line, format!("there is no recording `{}`", row.path.display()));
            } else if is_empty {
                self.skip(&shown, line, "the transcript is empty");
            } else if let Some(first) = places.get(&row.path) {
                let first = format!("{}:{}", self.files[first.file].display(), first.line);
                self.skip(&shown, line, format!("`{}` came before, in {first}", row.path.display()));
            } else {
                places.insert(row.path.clone(), row.origin);
                kept.push(row);
            }
        }
        let order: HashMap<&Path, usize> =
            self.files.iter().enumerate().map(|(index, path)| (path.as_path(), index)).collect();
        self.problems
            .sort_by_key(|problem| (order.get(problem.file.as_path()).copied().unwrap_or(usize::MAX), problem.line));
        let refuse = |reason: String, help: &str| {
            Err(DataError::Layout { path: root.to_owned(), reason, help: help.to_owned() })
        };
        if kept.is_empty() {
            return match self.problems.first() {
                Some(first) => refuse(
                    format!("no recording could be used; the first of {} problems: {first}", self.problems.len()),
                    "mend the lines that are named; paths are taken from the folder of the table",
                ),
                None => refuse("it holds no labelled recording".to_owned(), "give recordings with their transcripts"),
            };
        }
        let classes = self.classes(&kept);
        if let [only] = classes.as_slice() {
            return refuse(
                format!("there is only one class, `{only}`: nothing can be told apart"),
                "make one folder for each class and put its recordings there, such as words/yes/1.wav, words/no/2.wav",
            );
        }
        if !self.problems.is_empty() {
            self.notes.push(format!("{} rows and files were left out, each listed with its line", self.problems.len()));
        }
        let speakers: BTreeSet<&str> = kept.iter().filter_map(|row| row.speaker.as_deref()).collect();
        if !speakers.is_empty() {
            self.notes.push(format!("the data names {} speakers", speakers.len()));
        }
        let utterances = kept.into_iter().map(|row| row.number(&classes)).collect();
        let Self { files, notes, problems, .. } = self;
        Ok(SpeechSet { layout, root: root.to_owned(), classes, files, utterances, notes, problems })
    }

    fn classes(&self, rows: &[DraftRow]) -> Vec<String> {
        ordered(rows.iter().filter_map(|row| match &row.target {
            DraftTarget::Class(name) => Some(name.as_str()),
            DraftTarget::Transcript(_) => None,
        }))
    }
}

impl DraftRow {
    fn number(self, classes: &[String]) -> Utterance {
        let target = match self.target {
            DraftTarget::Transcript(text) => SpeechTarget::Transcript(text.trim().to_owned()),
            DraftTarget::Class(name) => {
                SpeechTarget::Class(classes.iter().position(|class| *class == name).unwrap_or_default())
            }
        };
        let Self { path, speaker, split, origin, .. } = self;
        Utterance { path, target, speaker, split, origin }
    }
}

/// Folders beside a table that its recordings lie in when their names have none.
const FOLDERS: &[&str] = &["clips", "wavs", "wav", "audio", "recordings"];

/// The recording that a cell of a table means: as it is written, in one of the usual folders, with an extension added.
/// Where there is none, the path as it is written.
pub(crate) fn find(folder: &Path, cell: &str) -> PathBuf {
    let cell = cell.trim();
    let written = folder.join(cell);
    let places = std::iter::once(folder.to_owned()).chain(FOLDERS.iter().map(|name| folder.join(name)));
    for place in places {
        let path = place.join(cell);
        if path.is_file() {
            return path;
        }
        for extension in EXTENSIONS {
            let mut named = path.clone().into_os_string();
            named.push(".");
            named.push(extension);
            let named = PathBuf::from(named);
            if named.is_file() {
                return named;
            }
        }
    }
    written
}
