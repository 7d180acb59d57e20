//! A folder of recordings for each class, or `train/`, `val/` and `test/` folders of such.

use std::path::Path;

use super::class_folders::{self, Contents};
use super::evidence::{Evidence, evidence};
use super::{Layout, Opener};
use crate::audio::has_audio_extension;
use crate::error::DataError;
use crate::speech::SpeechSet;
use crate::speech::assemble::{Draft, DraftRow, DraftTarget};
use crate::text::Origin;

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: RECORDINGS.layout,
    describes: "DATA/<class>/**/*.wav, or DATA/train/<class>/…, DATA/val/<class>/…, DATA/test/<class>/…",
    recognizes: |path| evidence(path) == Some(Evidence::RecordingFolders),
    open: Opener::Sounds(open),
};

const RECORDINGS: Contents = Contents {
    layout: "recording_folder",
    one: "recording",
    many: "recordings",
    is: has_audio_extension,
    is_not: "not a recording by its name",
    expected: "make one folder for each class and put its recordings there, such as words/yes/1.wav, words/no/2.wav",
};

fn open(root: &Path) -> Result<SpeechSet, DataError> {
    let listing = class_folders::open(root, &RECORDINGS)?;
    let mut draft = Draft { notes: listing.notes, ..Draft::default() };
    for example in listing.examples {
        let file = draft.files.len();
        draft.files.push(example.path.clone());
        draft.rows.push(DraftRow {
            speaker: speaker(&example.path),
            path: example.path,
            target: DraftTarget::Class(listing.classes[example.label].clone()),
            split: example.split,
            origin: Origin { file, line: 1 },
        });
    }
    for skipped in listing.skipped {
        draft.skip(&skipped.path, 1, skipped.reason);
    }
    draft.finish(LAYOUT.name, root)
}

/// Google's Speech Commands name their speakers: `0a7c2a8d_nohash_0.wav` (Warden 2018).
fn speaker(path: &Path) -> Option<String> {
    let (speaker, _) = path.file_stem()?.to_str()?.split_once("_nohash_")?;
    Some(speaker.to_owned())
}
