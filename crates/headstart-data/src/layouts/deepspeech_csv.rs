//! DeepSpeech's tables: `wav_filename,wav_filesize,transcript`.

use std::path::Path;

use super::evidence::{self, Evidence, evidence};
use super::transcript_table::{Named, read};
use super::{Layout, Opener};
use crate::error::DataError;
use crate::speech::SpeechSet;

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: "deepspeech_csv",
    describes: "DeepSpeech's wav_filename,wav_filesize,transcript: train.csv, or a folder with train.csv, dev.csv, test.csv",
    recognizes: |path| evidence(path) == Some(Evidence::DeepspeechCsv),
    open: Opener::Speech(open),
};

fn open(root: &Path) -> Result<SpeechSet, DataError> {
    let (files, notes) = evidence::files(root, Evidence::DeepspeechCsv)?;
    read(
        LAYOUT.name,
        root,
        files,
        notes,
        Named { recording: "wav_filename", transcript: "transcript", speaker: "speaker" },
    )
}
