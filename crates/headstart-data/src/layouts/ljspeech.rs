//! LJSpeech: `metadata.csv` with `name|text|normalized text`, no header and no quotes, recordings in `wavs/`.

use std::path::Path;

use super::evidence::{self, Evidence, evidence};
use super::{Layout, Opener};
use crate::error::DataError;
use crate::speech::SpeechSet;
use crate::speech::assemble::{Draft, DraftRow, DraftTarget, find};
use crate::text::{Origin, charset};

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: "ljspeech",
    describes: "LJSpeech: DATA/metadata.csv with name|text|normalized text and no header, DATA/wavs/*.wav",
    recognizes: |path| evidence(path) == Some(Evidence::LjSpeech),
    open: Opener::Speech(open),
};

/// Quotes are plain characters there, so a line is a row.
fn open(root: &Path) -> Result<SpeechSet, DataError> {
    let (files, notes) = evidence::files(root, Evidence::LjSpeech)?;
    let mut draft = Draft { notes, ..Draft::default() };
    for part in files {
        let read = charset::read(&part.path)?;
        draft.notes.extend(read.note);
        let file = draft.files.len();
        draft.files.push(part.path.clone());
        let folder = part.path.parent().unwrap_or(Path::new("")).to_owned();
        for (index, line) in read.bytes.split(|byte| *byte == b'\n').enumerate() {
            let number = index + 1;
            let Ok(line) = std::str::from_utf8(line) else {
                draft.skip(&part.path, number, "bytes that are no UTF-8");
                continue;
            };
            if line.trim().is_empty() {
                continue;
            }
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let (name, text) = match cells.as_slice() {
                // The last column has numbers and abbreviations in words; in some lines it is empty.
                [name, text, spoken] if !spoken.is_empty() && !name.is_empty() => {
                    (name, if text.is_empty() { text } else { spoken })
                }
                [name, text] | [name, text, _] if !name.is_empty() => (name, text),
                _ => {
                    draft.skip(
                        &part.path,
                        number,
                        format!("{} columns, expected name|text|normalized text", cells.len()),
                    );
                    continue;
                }
            };
            draft.rows.push(DraftRow {
                path: find(&folder, name),
                target: DraftTarget::Transcript((*text).to_owned()),
                speaker: None,
                split: part.split,
                origin: Origin { file, line: number },
            });
        }
    }
    draft.finish(LAYOUT.name, root)
}
