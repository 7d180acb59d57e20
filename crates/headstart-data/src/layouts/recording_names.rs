//! Recordings in one folder whose names begin with their class: `7_jackson_12.wav`.

use std::path::Path;

use super::evidence::{Evidence, evidence};
use super::speech_evidence::{parts_of_name, recordings};
use super::{Layout, Opener};
use crate::error::DataError;
use crate::speech::SpeechSet;
use crate::speech::assemble::{Draft, DraftRow, DraftTarget};
use crate::text::Origin;

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: "recording_names",
    describes: "recordings whose names begin with their class: DATA/**/<class>_<speaker>_<number>.wav in one folder",
    recognizes: |path| evidence(path) == Some(Evidence::RecordingNames),
    open: Opener::Sounds(open),
};

fn open(root: &Path) -> Result<SpeechSet, DataError> {
    let note = "guessed: the class is the first part of each name, the speaker the second of three".to_owned();
    let mut draft = Draft { notes: vec![note], ..Draft::default() };
    for path in recordings(root) {
        let Some((class, speaker)) = parts_of_name(&path) else {
            draft.skip(&path, 1, "its name does not begin with a class, such as 7_jackson_12.wav");
            continue;
        };
        let file = draft.files.len();
        draft.files.push(path.clone());
        let (target, origin) = (DraftTarget::Class(class), Origin { file, line: 1 });
        draft.rows.push(DraftRow { path, target, speaker, split: None, origin });
    }
    draft.finish(LAYOUT.name, root)
}
