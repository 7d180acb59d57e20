//! A folder of `.txt` files for each class, or `train/`, `val/` and `test/` folders of such.

use std::path::Path;

use super::class_folders::{self, Contents};
use super::evidence::{Evidence, evidence};
use super::{Layout, Opener};
use crate::error::DataError;
use crate::text::assemble::{Draft, DraftExample, DraftTarget};
use crate::text::{Origin, Outcome, TargetKind, TextOptions, TextSet, charset};

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: TEXTS.layout,
    describes: "DATA/<class>/**/*.txt, or DATA/train/<class>/…, DATA/val/<class>/…, DATA/test/<class>/…",
    recognizes: |path| evidence(path) == Some(Evidence::Texts),
    open: Opener::Text(open),
};

const TEXTS: Contents = Contents {
    layout: "text_folder",
    one: "text",
    many: "texts",
    is: is_text,
    is_not: "not a text by its name",
    expected: "make one folder for each class and put its texts there, such as mails/spam/1.txt, mails/ham/2.txt",
};

/// Whether a file is a text by its name.
pub(super) fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt"))
}

/// Reads every file; one that is no text is a problem with its first line.
fn open(root: &Path, options: &TextOptions) -> Result<TextSet, DataError> {
    if options.target.is_some_and(|target| !matches!(target, TargetKind::Class | TargetKind::Unlabeled)) {
        let reason = "folders name one class for each text".to_owned();
        let help = "leave the task open, or give the labels in a table".to_owned();
        return Err(DataError::Layout { path: root.to_owned(), reason, help });
    }
    let target = options.target.unwrap_or(TargetKind::Class);
    let listing = class_folders::open(root, &TEXTS)?;
    let mut draft = Draft { notes: listing.notes, ..Draft::default() };
    for example in listing.examples {
        let file = draft.files.len();
        draft.files.push(example.path.clone());
        let text = charset::read(&example.path).map_err(|error| match error {
            DataError::Layout { reason, .. } => reason,
            other => other.to_string(),
        });
        let text =
            text.and_then(|read| String::from_utf8(read.bytes).map_err(|_| "bytes that are no UTF-8".to_owned()));
        match text {
            Ok(text) => draft.examples.push(DraftExample {
                text,
                pair: None,
                words: Vec::new(),
                target: match target {
                    TargetKind::Unlabeled => DraftTarget::Unlabeled,
                    _ => DraftTarget::Class(listing.classes[example.label].clone()),
                },
                origin: Origin { file, line: 1 },
                split: example.split,
            }),
            Err(what) => draft.problem(&example.path, 1, what, Outcome::Skipped),
        }
    }
    for skipped in listing.skipped {
        draft.problem(&skipped.path, 1, skipped.reason, Outcome::Skipped);
    }
    draft.finish(LAYOUT.name, root, target)
}
