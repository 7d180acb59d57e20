//! The lists of `ImageSets/Main`: which picture is in which part.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::named;
use crate::boxes::draft::Draft;
use crate::error::DataError;
use crate::layouts::Split;
use crate::text::{Outcome, charset};

/// Pictures by name, with the list and the line that name them first.
pub(super) type Sets = BTreeMap<String, Listed>;

/// Where a picture is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) split: Split,
    pub(super) list: PathBuf,
    pub(super) line: usize,
}

/// The lists in the order in which they count: what is tested on is not learned from, whatever another list says.
const LISTS: [(&str, Split); 4] = [
    ("test.txt", Split::Test),
    ("val.txt", Split::Validation),
    ("train.txt", Split::Train),
    ("trainval.txt", Split::Train),
];

/// Reads the lists of a data set; nothing where there are none.
///
/// A picture that stands in two parts is named and stays in the one that is not learned from. `trainval.txt`, which holds the
/// two others, adds what they leave out. Lists of single classes are passed over.
///
/// # Errors
/// [`DataError::Io`].
pub(super) fn read(draft: &mut Draft, home: &Path) -> Result<Option<Sets>, DataError> {
    let Some(sets) = named(home, "imagesets") else { return Ok(None) };
    let folder = named(&sets, "main").unwrap_or(sets);
    let mut found = Sets::new();
    let mut is_any = false;
    for (name, split) in LISTS {
        let list = folder.join(name);
        if !list.is_file() {
            continue;
        }
        is_any = true;
        let read = charset::read(&list)?;
        for (index, written) in String::from_utf8_lossy(&read.bytes).lines().enumerate() {
            let picture = written.trim().trim_start_matches('\u{feff}');
            if picture.is_empty() {
                continue;
            }
            let line = index + 1;
            match found.get(picture) {
                None => {
                    found.insert(picture.to_owned(), Listed { split, list: list.clone(), line });
                }
                Some(first) if first.split == split || name == "trainval.txt" && first.split == Split::Validation => {}
                Some(first) => {
                    let other = first.list.file_name().unwrap_or_default().to_string_lossy();
                    let what = format!("`{}` is in {other} too, where it stays", picture.escape_debug());
                    draft.problem((&list, line), what, Outcome::Repaired);
                }
            }
        }
    }
    Ok(is_any.then_some(found))
}
