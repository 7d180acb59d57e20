//! From what the user names to the index: a prefix, the index itself, the text file `checkpoint`, or a folder.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{NAME, malformed};
use crate::beside;
use crate::error::WeightsError;
use crate::peek::{Kind, Peek};

/// The text file that names the latest checkpoint of a folder, and how it begins.
pub(super) const POINTER: &str = "checkpoint";
const POINTS_TO: &[u8] = b"model_checkpoint_path:";

/// Longest text file of this kind in bytes.
const LONGEST: u64 = 1 << 20;

/// The folder of a saved model, where the variables are a checkpoint.
const SAVED_MODEL: &str = "saved_model.pb";
const VARIABLES: &str = "variables/variables.index";

/// Whether a file is a pointer to a checkpoint.
pub(super) fn is_pointer(peek: &Peek<'_>) -> bool {
    peek.kind == Kind::Plain && peek.first.starts_with(POINTS_TO)
}

/// Whether a folder holds a checkpoint.
pub(super) fn is_in(peek: &Peek<'_>) -> bool {
    let holds_index = peek.names.iter().any(|name| name.ends_with(".index"));
    peek.kind == Kind::Folder
        && (holds_index || peek.holds(POINTER) || peek.holds(SAVED_MODEL) && peek.holds("variables"))
}

/// The index of the checkpoint at `path`.
pub(super) fn index(path: &Path) -> Result<PathBuf, WeightsError> {
    let (kind, points, names) = Peek::at(path, |peek| (peek.kind, is_pointer(peek), peek.names.clone()))?;
    match kind {
        Kind::Prefix => Ok(with_suffix(path, ".index")),
        Kind::Folder => {
            let pointer = path.join(POINTER);
            if names.iter().any(|name| name == POINTER) && pointer.is_file() {
                return pointed(path, &pointer);
            }
            let mut found = names.iter().filter(|name| name.ends_with(".index"));
            match (found.next(), found.next()) {
                (Some(only), None) => Ok(path.join(only)),
                (Some(_), Some(_)) => Err(malformed(path, "the folder holds several: name the one that is meant")),
                (None, _) => Ok(path.join(VARIABLES)),
            }
        }
        _ if points => pointed(path, path),
        _ => Ok(path.to_owned()),
    }
}

/// The index that a text file names: beside it, since the folder that it was written in is another machine's.
fn pointed(path: &Path, pointer: &Path) -> Result<PathBuf, WeightsError> {
    let failed = |source| WeightsError::Io { path: pointer.to_owned(), source };
    let mut text = Vec::new();
    File::open(pointer).map_err(failed)?.take(LONGEST).read_to_end(&mut text).map_err(failed)?;
    let name = String::from_utf8(text).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix("model_checkpoint_path:"))?;
        Some(line.trim().strip_prefix('"')?.strip_suffix('"')?.to_owned())
    });
    let name = name.ok_or_else(|| malformed(path, format!("`{}` names no checkpoint", pointer.display())))?;
    let name = if name.starts_with('/') || name.contains('\\') {
        name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned()
    } else {
        name
    };
    let (index, _) = beside::find(path, NAME, pointer, &format!("{name}.index"))?;
    Ok(index)
}

/// A path with letters behind its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut whole = path.as_os_str().to_owned();
    whole.push(suffix);
    PathBuf::from(whole)
}
