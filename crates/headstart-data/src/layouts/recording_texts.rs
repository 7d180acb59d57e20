//! A text file beside each recording: `name.wav` and `name.txt`, in one folder or in several.

use std::path::Path;

use super::evidence::{Evidence, evidence};
use super::speech_evidence::recordings;
use super::{Layout, Opener, Split};
use crate::error::DataError;
use crate::speech::SpeechSet;
use crate::speech::assemble::{Draft, DraftRow, DraftTarget};
use crate::text::{Origin, charset};

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: "recording_texts",
    describes: "a text beside each recording: DATA/**/name.wav with name.txt, perhaps below train/, val/ and test/",
    recognizes: |path| evidence(path) == Some(Evidence::RecordingTexts),
    open: Opener::Speech(open),
};

fn open(root: &Path) -> Result<SpeechSet, DataError> {
    let mut draft = Draft::default();
    let split_of = |path: &Path| -> Option<Split> {
        let first = path.strip_prefix(root).ok()?.components().next()?;
        super::class_folders::split_of(Path::new(first.as_os_str()))
    };
    let found = recordings(root);
    // Parts only where there is one to learn from.
    let has_parts = found.iter().any(|path| split_of(path) == Some(Split::Train));
    for path in found {
        let text = path.with_extension("txt");
        if !text.is_file() {
            draft.skip(&path, 1, "no text file of its name lies beside it");
            continue;
        }
        let read = charset::read(&text).map_err(|error| match error {
            DataError::Layout { reason, .. } => reason,
            other => other.to_string(),
        });
        let read =
            read.and_then(|read| String::from_utf8(read.bytes).map_err(|_| "bytes that are no UTF-8".to_owned()));
        let file = draft.files.len();
        draft.files.push(text.clone());
        match read {
            Ok(transcript) => draft.rows.push(DraftRow {
                split: if has_parts { split_of(&path) } else { None },
                path,
                target: DraftTarget::Transcript(transcript),
                speaker: None,
                origin: Origin { file, line: 1 },
            }),
            Err(what) => draft.skip(&text, 1, what),
        }
    }
    draft.finish(LAYOUT.name, root)
}
