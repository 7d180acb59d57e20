//! Atomic publication of files: a reader sees the old file or the new one, never a torn one.
//!
//! Temporary file in the same folder, fsync, rename, fsync of the folder. A kill at any moment leaves at most a
//! stale temporary, which [`sweep`] removes at the next start.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};

const PREFIX: &str = ".headstart-partial-";

/// Writes `bytes` to `path` atomically; missing parent folders are made.
///
/// # Errors
/// [`Error::Io`] when the folder or the file cannot be written.
pub fn publish(path: &Path, bytes: &[u8]) -> Result<()> {
    publish_with(path, |file| file.write_all(bytes))
}

/// Writes what `write` produces to `path` atomically.
pub(crate) fn publish_with(path: &Path, write: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
    let folder = parent(path)?;
    let mut temporary = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(readable_by_all())
        .tempfile_in(folder)
        .map_err(Error::io("write in", folder))?;
    write(temporary.as_file_mut()).map_err(Error::io("write", path))?;
    temporary.as_file().sync_all().map_err(Error::io("write", path))?;
    temporary.persist(path).map_err(|error| Error::io("write", path)(error.error))?;
    sync_folder(folder);
    Ok(())
}

/// Publishes the file that `write` makes of the empty one at the path that it gets; nothing, if it fails.
pub(crate) fn publish_at<T>(path: &Path, write: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = parent(path)?;
    let temporary = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(readable_by_all())
        .tempfile_in(folder)
        .map_err(Error::io("write in", folder))?;
    let written = write(temporary.path())?;
    temporary.as_file().sync_all().map_err(Error::io("write", path))?;
    temporary.persist(path).map_err(|error| Error::io("write", path)(error.error))?;
    sync_folder(folder);
    Ok(written)
}

/// Publishes the folder of files that `write` makes of the empty one that it gets; nothing, if it fails. A folder that is
/// there already is replaced: for the moment between two renames there is none.
pub(crate) fn publish_folder<T>(path: &Path, write: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let failed = || Error::io("write", path);
    let folder = parent(path)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    // One temporary holds the new folder, and the old one until it is removed.
    let temporary = builder.tempdir_in(folder).map_err(Error::io("write in", folder))?;
    let (new, old) = (temporary.path().join("new"), temporary.path().join("old"));
    std::fs::create_dir(&new).map_err(failed())?;
    let written = write(&new)?;
    for entry in std::fs::read_dir(&new).map_err(failed())? {
        File::open(entry.map_err(failed())?.path()).and_then(|file| file.sync_all()).map_err(failed())?;
    }
    sync_folder(&new);
    let replaces = path.is_dir();
    if replaces {
        std::fs::rename(path, &old).map_err(failed())?;
    }
    if let Err(error) = std::fs::rename(&new, path) {
        if replaces {
            let _ = std::fs::rename(&old, path);
        }
        return Err(failed()(error));
    }
    sync_folder(folder);
    Ok(written)
}

/// The folder of a path; missing ones are made.
fn parent(path: &Path) -> Result<&Path> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
    Ok(folder)
}

/// The rename itself lives in the folder; without this a power cut may forget it.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// Removes temporaries that a killed process left in `folder` more than an hour ago.
pub(crate) fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let stale = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .ok()
                .and_then(|modified| SystemTime::now().duration_since(modified).ok())
                .is_some_and(|age| age > Duration::from_secs(3600));
        if stale && entry.path().is_dir() {
            let _ = std::fs::remove_dir_all(entry.path());
        } else if stale {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

// Temporaries are private by default; a published file should obey the umask like any other.
#[cfg(unix)]
fn readable_by_all() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    std::fs::Permissions::from_mode(0o666)
}

#[cfg(not(unix))]
fn readable_by_all() -> std::fs::Permissions {
    let mut permissions = std::fs::metadata(".").expect("the current folder exists").permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a temporary must be writable on this system")]
    permissions.set_readonly(false);
    permissions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_temporary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/result.bin");
        publish(&path, b"old").unwrap();
        let failed = publish_with(&path, |file| {
            file.write_all(b"half of the ne")?;
            Err(std::io::Error::other("disk full"))
        });
        assert!(matches!(failed, Err(Error::Io { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn publishing_replaces_the_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        publish(&path, b"a long first content").unwrap();
        publish(&path, b"short").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        let write = |text: &'static str| {
            move |new: &Path| {
                std::fs::write(new.join("a"), text).map_err(Error::io("write", new))?;
                Ok(text.len())
            }
        };
        assert_eq!(publish_folder(&path, write("first")).unwrap(), 5);
        assert_eq!(publish_folder(&path, write("second")).unwrap(), 6);
        let failed: Result<()> = publish_folder(&path, |new| {
            std::fs::write(new.join("b"), "half").unwrap();
            Err(Error::io("write", new)(std::io::Error::other("disk full")))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read_to_string(path.join("a")).unwrap(), "second");
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
