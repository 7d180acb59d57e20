//! A table of recordings and what is said in them: `transcripts.tsv`, `metadata.csv` and their like.

use std::path::Path;

use super::evidence::{self, Evidence, TextFile, evidence};
use super::speech_evidence::{SpeechColumns, columns};
use super::{Layout, Opener};
use crate::error::DataError;
use crate::speech::SpeechSet;
use crate::speech::assemble::{Draft, DraftRow, DraftTarget, find};
use crate::text::table::{Cell, Row, Table};
use crate::text::{Origin, TextOptions, charset};

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: "transcripts",
    describes: "transcripts.tsv or .csv with columns of recording and text (file, text), or a folder with train.csv, dev.csv, …",
    recognizes: |path| evidence(path) == Some(Evidence::Transcripts),
    open: Opener::Speech(open),
};

fn open(root: &Path) -> Result<SpeechSet, DataError> {
    let (files, notes) = evidence::files(root, Evidence::Transcripts)?;
    read(LAYOUT.name, root, files, notes, Named { recording: "", transcript: "", speaker: "" })
}

/// Names of columns that a layout prescribes; others are found by what they are usually called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    pub(super) recording: &'static str,
    pub(super) transcript: &'static str,
    pub(super) speaker: &'static str,
}

/// Reads tables whose rows name recordings.
///
/// # Errors
/// [`DataError::Io`]; [`DataError::Layout`] where a column is missing or no row could be used.
pub(super) fn read(
    layout: &'static str,
    root: &Path,
    files: Vec<TextFile>,
    notes: Vec<String>,
    named: Named,
) -> Result<SpeechSet, DataError> {
    let mut draft = Draft { notes, ..Draft::default() };
    let options = TextOptions { header: Some(true), ..TextOptions::default() };
    for file in files {
        let bytes = charset::read(&file.path)?;
        draft.notes.extend(bytes.note);
        let table = super::text_table::read_table(&file.path, bytes.bytes, &options, &mut draft.notes)?;
        let chosen = choose(&table, named)?;
        add(&mut draft, table, chosen, &file);
    }
    draft.finish(layout, root)
}

fn choose(table: &Table, named: Named) -> Result<SpeechColumns, DataError> {
    let find = |name: &str| table.columns.iter().position(|column| column.trim().eq_ignore_ascii_case(name));
    let names: Vec<&str> = table.columns.iter().map(String::as_str).collect();
    let chosen = match (find(named.recording), find(named.transcript)) {
        (Some(recording), Some(transcript)) => {
            Some(SpeechColumns { recording, transcript, speaker: find(named.speaker) })
        }
        _ => columns(&names),
    };
    chosen.ok_or_else(|| DataError::Layout {
        path: table.path.clone(),
        reason: format!("it has no columns of recordings and transcripts; its columns are {}", names.join(", ")),
        help: "call the columns `file` and `text`".to_owned(),
    })
}

fn add(draft: &mut Draft, table: Table, columns: SpeechColumns, part: &TextFile) {
    let file = draft.files.len();
    draft.files.push(table.path.clone());
    draft.problems.extend(table.problems);
    let folder = table.path.parent().unwrap_or(Path::new("")).to_owned();
    for Row { line, cells } in table.rows {
        let text = |index: usize| cells[index].text().unwrap_or_default().trim();
        let recording = text(columns.recording);
        if recording.is_empty() {
            draft.skip(&table.path, line, "it names no recording");
            continue;
        }
        let speaker = columns.speaker.and_then(|index| cells[index].text()).map(str::trim);
        draft.rows.push(DraftRow {
            path: find(&folder, recording),
            target: DraftTarget::Transcript(match &cells[columns.transcript] {
                Cell::Text(text) => text.clone(),
                Cell::Missing | Cell::List(_) => String::new(),
            }),
            speaker: speaker.filter(|speaker| !speaker.is_empty()).map(str::to_owned),
            split: part.split,
            origin: Origin { file, line },
        });
    }
}
