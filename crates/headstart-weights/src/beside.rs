//! The other files of a model that is several: each must lie in the model's folder.

use std::path::{Component, Path, PathBuf};

use crate::error::WeightsError;

/// Whether a name that a file gives leads nowhere but down from its folder.
pub(crate) fn is_inside(name: &str) -> bool {
    let goes_down = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    !name.is_empty() && !name.contains(['\\', '\0', ':']) && Path::new(name).components().all(goes_down)
}

/// The real path and the length of the file `name` in the folder of `main`, the file that names it, for the model at `path`.
///
/// In a cache of blobs both files are links: then the file may lie where `main` really lies.
///
/// # Errors
/// [`WeightsError::Outside`] for names and links out of the folder; [`WeightsError::Malformed`] for what is no file.
pub(crate) fn find(path: &Path, format: &'static str, main: &Path, name: &str) -> Result<(PathBuf, u64), WeightsError> {
    let failed = |place: &Path, source| WeightsError::Io { path: place.to_owned(), source };
    let outside = || WeightsError::Outside { path: path.to_owned(), what: format!("`{}`", name.escape_debug()) };
    if !is_inside(name) {
        return Err(outside());
    }
    let folder = folder_of(main);
    let place = folder.join(name);
    // Links are followed first, so that one out of the folder does not pass for a file in it.
    let home = folder.canonicalize().map_err(|source| failed(&folder, source))?;
    let real = place.canonicalize().map_err(|source| failed(&place, source))?;
    let is_beside = main.canonicalize().is_ok_and(|main| main.parent() == real.parent());
    if !real.starts_with(&home) && !is_beside {
        return Err(outside());
    }
    let metadata = std::fs::metadata(&real).map_err(|source| failed(&place, source))?;
    if !metadata.is_file() {
        let reason = format!("`{}` is no file", name.escape_debug());
        return Err(WeightsError::Malformed { format, path: path.to_owned(), reason });
    }
    Ok((real, metadata.len()))
}

/// The folder in which a file lies.
fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
