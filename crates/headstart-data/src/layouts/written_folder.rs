//! A data set is written into a folder that appears whole or not at all.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::Path;

use crate::boxes::DetectionSet;
use crate::error::DataError;
use crate::layouts::Split;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Pictures, each copied as it is.
    pub pictures: usize,
    /// Boxes.
    pub boxes: usize,
    /// What the layout cannot say, with counts.
    pub notes: Vec<String>,
}

/// Writes the folder by way of a temporary one beside it: files, fsync, rename.
///
/// # Errors
/// [`DataError::Layout`] where something is there already; [`DataError::Write`]; what `write` finds.
pub(super) fn publish<T>(folder: &Path, write: impl FnOnce(&Path) -> Result<T, DataError>) -> Result<T, DataError> {
    let failed = |source| DataError::Write { path: folder.to_owned(), source };
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file() {
        return Err(DataError::Layout {
            path: folder.to_owned(),
            reason: "something is there already".to_owned(),
            help: "give a folder that is not there yet".to_owned(),
        });
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    let temporary = tempfile::Builder::new().prefix(".headstart-partial-").tempdir_in(parent).map_err(failed)?;
    let new = temporary.path().join("new");
    fs::create_dir(&new).map_err(failed)?;
    let written = write(&new)?;
    sync_all(&new).map_err(failed)?;
    if folder.is_dir() {
        // It is empty; a rename over it is not possible everywhere.
        fs::remove_dir(folder).map_err(failed)?;
    }
    fs::rename(&new, folder).map_err(failed)?;
    sync(parent);
    Ok(written)
}

/// Files are on disk before the folder is called by its name.
fn sync_all(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { sync_all(&path)? } else { File::open(path)?.sync_all()? }
    }
    sync(folder);
    Ok(())
}

/// Not every system syncs folders.
fn sync(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// Writes a file, and the folders above it.
pub(super) fn write_file(path: &Path, content: &str) -> Result<(), DataError> {
    let failed = |source| DataError::Write { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::write(path, content).map_err(failed)
}

/// Copies a picture, and makes the folders above it.
pub(super) fn copy_picture(from: &Path, to: &Path) -> Result<(), DataError> {
    let failed = |source| DataError::Write { path: to.to_owned(), source };
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut source = File::open(from).map_err(|source| DataError::Io { path: from.to_owned(), source })?;
    let mut target = File::create(to).map_err(failed)?;
    std::io::copy(&mut source, &mut target).map_err(failed)?;
    Ok(())
}

/// A file name for each picture. Annotations are called by them without their endings, so no two are the same without it,
/// whatever the case of the letters.
pub(super) fn file_names(set: &DetectionSet) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut names = Vec::with_capacity(set.pictures.len());
    for picture in &set.pictures {
        let plain = |text: &str| {
            let is_wrong = |letter: char| letter.is_control() || "/\\:".contains(letter);
            let letters: String = text.chars().map(|letter| if is_wrong(letter) { '_' } else { letter }).collect();
            // A name that begins with a dot is that of a hidden file, which no reader looks at.
            let letters = letters.trim();
            letters.strip_prefix('.').map_or_else(|| letters.to_owned(), |rest| format!("_{rest}"))
        };
        let (whole, ending) = picture.relative.rsplit_once('.').unwrap_or((&picture.relative, "jpg"));
        let (ending, short) = (plain(ending), plain(whole.rsplit('/').next().unwrap_or(whole)));
        let numbered = (2..).map(|number| format!("{}_{number}", plain(whole)));
        let stems = [short, plain(whole)].into_iter().chain(numbered);
        let stem = stems.into_iter().find(|stem| !stem.is_empty() && taken.insert(stem.to_lowercase()));
        names.push(format!("{}.{ending}", stem.unwrap_or_default()));
    }
    names
}

/// The part that is written for each picture: as the set says; where only some have one, the others are learned from.
pub(super) fn parts(set: &DetectionSet, notes: &mut Vec<String>) -> Vec<Option<Split>> {
    let without = set.pictures.iter().filter(|picture| picture.split.is_none()).count();
    let is_mixed = without > 0 && without < set.pictures.len();
    if is_mixed {
        notes.push(format!("{without} pictures without a part were put into training"));
    }
    let part = |split: Option<Split>| if is_mixed { split.or(Some(Split::Train)) } else { split };
    set.pictures.iter().map(|picture| part(picture.split)).collect()
}

/// What a part is called in files.
pub(super) fn part_name(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Validation => "val",
        Split::Test => "test",
    }
}
