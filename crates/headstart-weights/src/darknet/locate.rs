//! From what the user names to the two files of a model: the description `NAME.cfg` and the values `NAME.weights`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{NAME, malformed, too_large};
use crate::beside;
use crate::error::WeightsError;
use crate::peek::{Kind, Peek};

/// Endings of the two files.
const DESCRIPTION: &str = "cfg";
const VALUES: &str = "weights";

/// Longest description in bytes; the largest published has 30 KiB.
const LONGEST: u64 = 1 << 20;

/// Names of a folder that are looked at.
const MOST_NAMES: usize = 65_536;

/// Whether a file is a description: text, by its first bytes.
pub(super) fn is_description(peek: &Peek<'_>) -> bool {
    let is_text = peek.first.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace());
    peek.kind == Kind::Plain && has_ending(peek.path, DESCRIPTION) && is_text
}

/// Whether a folder holds a model.
pub(super) fn is_in(peek: &Peek<'_>) -> bool {
    let holds = |ending| peek.names.iter().any(|name| has_ending(Path::new(name), ending));
    peek.kind == Kind::Folder && holds(DESCRIPTION) && holds(VALUES)
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(ending))
}

/// The description that belongs to what lies at `path`: that file itself, or the one beside the values.
pub(super) fn description(path: &Path) -> Result<PathBuf, WeightsError> {
    if !path.is_dir() && has_ending(path, DESCRIPTION) {
        return Ok(path.to_owned());
    }
    partner(path, &weights(path)?, DESCRIPTION)
}

/// The values that belong to what lies at `path`: that file itself, the one beside a description, the only one of a folder.
pub(super) fn weights(path: &Path) -> Result<PathBuf, WeightsError> {
    if path.is_dir() {
        let names = names(path, VALUES)?;
        return match names.as_slice() {
            [only] => Ok(path.join(only)),
            [] => Err(malformed(path, "the folder holds no `.weights`")),
            _ => Err(malformed(path, "the folder holds several `.weights`: name the one that is meant")),
        };
    }
    if has_ending(path, DESCRIPTION) { partner(path, path, VALUES) } else { Ok(path.to_owned()) }
}

/// The other file: of the same name, or the only one with this ending.
fn partner(path: &Path, file: &Path, ending: &str) -> Result<PathBuf, WeightsError> {
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let names = names(folder, ending)?;
    let same = names.iter().find(|name| Path::new(name).file_stem().is_some_and(|other| *other == *stem));
    let name = match (same, names.as_slice()) {
        (Some(same), _) => same,
        (None, [only]) => only,
        (None, others) => {
            let (wanted, count) = (format!("{stem}.{ending}"), others.len());
            let reason = format!("`{wanted}` is not beside it, and {count} other `.{ending}` are: put it there");
            return Err(malformed(path, reason));
        }
    };
    let (found, _) = beside::find(path, NAME, file, name)?;
    Ok(found)
}

/// Names in a folder that have this ending, in order.
fn names(folder: &Path, ending: &str) -> Result<Vec<String>, WeightsError> {
    let failed = |source| WeightsError::Io { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)?.take(MOST_NAMES) {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if has_ending(Path::new(&name), ending) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The text of a description; comments may be in any encoding.
pub(super) fn text(path: &Path) -> Result<String, WeightsError> {
    let failed = |source| WeightsError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if length > LONGEST {
        return Err(too_large(path, "the description", length, LONGEST));
    }
    file.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
