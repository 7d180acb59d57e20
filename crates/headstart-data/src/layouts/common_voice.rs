//! Common Voice: tab-separated tables with `client_id`, `path` and `sentence`, recordings in `clips/`.

use std::path::Path;

use super::evidence::{self, Evidence, TextFile, evidence};
use super::transcript_table::{Named, read};
use super::{Layout, Opener, Split};
use crate::error::DataError;
use crate::speech::SpeechSet;

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: "common_voice",
    describes: "Common Voice: DATA/train.tsv, dev.tsv, test.tsv (or validated.tsv) with path and sentence, DATA/clips/*.mp3",
    recognizes: |path| evidence(path) == Some(Evidence::CommonVoice),
    open: Opener::Speech(open),
};

fn open(root: &Path) -> Result<SpeechSet, DataError> {
    let mut notes = Vec::new();
    let parts = [("train.tsv", Split::Train), ("dev.tsv", Split::Validation), ("test.tsv", Split::Test)];
    let there = |(name, split): &(&str, Split)| {
        let path = root.join(name);
        path.is_file().then_some(TextFile { path, split: Some(*split) })
    };
    let mut files: Vec<TextFile> = parts.iter().filter_map(there).collect();
    let validated = root.join("validated.tsv");
    if !files.iter().any(|file| file.split == Some(Split::Train)) {
        // `validated.tsv` would be taken for a validation part by its name; it is all that listeners agreed with.
        (files, notes) = if validated.is_file() {
            (vec![TextFile { path: validated, split: None }], Vec::new())
        } else {
            evidence::files(root, Evidence::CommonVoice)?
        };
    } else if validated.is_file() {
        notes.push("train.tsv, dev.tsv and test.tsv were read; the other tables were left out".to_owned());
    }
    read(LAYOUT.name, root, files, notes, Named { recording: "path", transcript: "sentence", speaker: "client_id" })
}
