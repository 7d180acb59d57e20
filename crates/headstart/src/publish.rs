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
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
    let mut temporary = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(readable_by_all())
        .tempfile_in(folder)
        .map_err(Error::io("write in", folder))?;
    write(temporary.as_file_mut()).map_err(Error::io("write", path))?;
    temporary.as_file().sync_all().map_err(Error::io("write", path))?;
    temporary.persist(path).map_err(|error| Error::io("write", path)(error.error))?;
    // The rename itself lives in the folder; without this a power cut may forget it.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
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
        if stale {
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
}
