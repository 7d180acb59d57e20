//! The cache of `huggingface_hub`, layout and locks:
//!
//! ```text
//! .locks/models--timm--resnet18.tv_in1k/<digest>.lock
//! models--timm--resnet18.tv_in1k/
//!   blobs/<digest>                        the bytes, named after what they must be
//!   blobs/<digest>.incomplete             those of a download that goes on later
//!   refs/main                             the commit that a branch meant when it was last asked for
//!   snapshots/<commit>/model.safetensors  a link to the blob
//! ```

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::digest::{Digest, Hasher};
use crate::error::HubError;
use crate::reference::{check_file, is_commit};

/// The part of the cache that belongs to one repository.
pub(crate) struct RepositoryFolder {
    folder: PathBuf,
    locks: PathBuf,
}

/// Kept while a blob is written; the system takes it back when the process ends.
pub(crate) struct Lock {
    _file: Option<File>,
}

impl RepositoryFolder {
    pub(crate) fn new(cache: &Path, repository: &str) -> Self {
        let name = format!("models--{}", repository.replace('/', "--"));
        Self { folder: cache.join(&name), locks: cache.join(".locks").join(name) }
    }

    /// The commit that a revision means, as far as it is remembered.
    pub(crate) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = std::fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Files of a commit that are there, without those in folders.
    pub(crate) fn files(&self, commit: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.folder.join("snapshots").join(commit)) else { return Vec::new() };
        let mut files: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.path().is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        files.sort();
        files
    }

    /// Where a file of a commit lies, if it is there.
    pub(crate) fn find(&self, commit: &str, file: &str) -> Option<PathBuf> {
        let path = self.snapshot(commit, file);
        path.is_file().then_some(path)
    }

    /// Reads a file of the cache and compares it with the digest that its blob is named after.
    ///
    /// Where there are no links (Windows), the file has no such name and only its own digest can be told.
    pub(crate) fn verify(&self, path: &Path) -> Result<Digest, HubError> {
        let link = std::fs::read_link(path).ok();
        let named =
            link.as_deref().and_then(Path::file_name).and_then(|name| Digest::from_hex(&name.to_string_lossy()));
        let found = digest_of(path, named.unwrap_or(Digest::Sha256([0; 32])))?;
        match named {
            Some(expected) if expected != found => {
                Err(HubError::Digest { file: path.display().to_string(), expected, found })
            }
            _ => Ok(found),
        }
    }

    pub(crate) fn blob(&self, digest: Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.to_hex())
    }

    pub(crate) fn partial(&self, digest: Digest) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", digest.to_hex()))
    }

    /// Waits until nobody else fetches this blob. `waiting` is called once if that takes a while.
    pub(crate) fn lock(
        &self,
        digest: Digest,
        stop: &AtomicBool,
        waiting: &mut dyn FnMut(),
    ) -> Result<Option<Lock>, HubError> {
        make_folder(&self.locks)?;
        let path = self.locks.join(format!("{}.lock", digest.to_hex()));
        let file =
            File::options().create(true).append(true).open(&path).map_err(HubError::io("open the lock", &path))?;
        let mut waited = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Lock { _file: Some(file) })),
                // Some network file systems have no locks. What is written is verified, so two writers do no harm.
                Err(TryLockError::Error(_)) => return Ok(Some(Lock { _file: None })),
                Err(TryLockError::WouldBlock) => {}
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if !waited {
                waiting();
                waited = true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes a verified blob appear as `file` of `commit`.
    pub(crate) fn point(&self, commit: &str, file: &str, digest: Digest) -> Result<PathBuf, HubError> {
        let path = self.snapshot(commit, file);
        let folder = path.parent().unwrap_or(&self.folder).to_owned();
        make_folder(&folder)?;
        let up = "../".repeat(1 + file.split('/').count());
        let target = PathBuf::from(format!("{up}blobs/{}", digest.to_hex()));
        if std::fs::read_link(&path).is_ok_and(|known| known == target) {
            return Ok(path);
        }
        let blob = self.blob(digest);
        // Under another name first: whoever looks sees the old link or the new one, never none.
        let link = tempfile::Builder::new().prefix(".tmp_").make_in(&folder, |link| {
            symlink(&target, link).or_else(|_| std::fs::hard_link(&blob, link)).or_else(|error| {
                if error.kind() == std::io::ErrorKind::AlreadyExists {
                    return Err(error);
                }
                std::fs::copy(&blob, link).map(drop)
            })
        });
        let link = link.map_err(HubError::io("link in", &folder))?;
        link.persist(&path).map_err(|error| HubError::io("link", &path)(error.error))?;
        Ok(path)
    }

    /// Remembers which commit a branch or tag meant.
    pub(crate) fn remember(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if is_commit(revision) || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        let folder = path.parent().unwrap_or(&self.folder);
        make_folder(folder)?;
        let failed = |error| HubError::io("write", &path)(error);
        let mut file = tempfile::Builder::new()
            .permissions_of_others()
            .tempfile_in(folder)
            .map_err(HubError::io("write in", folder))?;
        file.write_all(commit.as_bytes()).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&path).map_err(|error| HubError::io("write", &path)(error.error))?;
        Ok(())
    }

    /// Makes the folder for blobs.
    pub(crate) fn make_blobs(&self) -> Result<(), HubError> {
        make_folder(&self.folder.join("blobs"))
    }

    fn snapshot(&self, commit: &str, file: &str) -> PathBuf {
        debug_assert!(is_commit(commit) && check_file(file).is_ok());
        let mut path = self.folder.join("snapshots").join(commit);
        path.extend(file.split('/'));
        path
    }
}

/// Digest of a file, of the kind of `like`.
pub(crate) fn digest_of(path: &Path, like: Digest) -> Result<Digest, HubError> {
    let file = File::open(path).map_err(HubError::io("read", path))?;
    let size = file.metadata().map_err(HubError::io("read", path))?.len();
    let mut hasher = Hasher::new(like, size);
    hasher.update_reader(file).map_err(HubError::io("read", path))?;
    Ok(hasher.finish())
}

/// Puts a finished file in its place, so that a power cut leaves it whole or absent.
pub(crate) fn publish(partial: &Path, blob: &Path) -> Result<(), HubError> {
    std::fs::rename(partial, blob).map_err(HubError::io("rename to", blob))?;
    if let Some(Ok(folder)) = blob.parent().map(File::open) {
        let _ = folder.sync_all(); // not every file system can; the rename stands without it
    }
    Ok(())
}

fn make_folder(folder: &Path) -> Result<(), HubError> {
    std::fs::create_dir_all(folder).map_err(HubError::io("make the folder", folder))
}

/// Temporaries are private by default; a shared cache is read by others, as far as the umask lets them.
trait ReadableByOthers {
    fn permissions_of_others(&mut self) -> &mut Self;
}

impl ReadableByOthers for tempfile::Builder<'_, '_> {
    #[cfg(unix)]
    fn permissions_of_others(&mut self) -> &mut Self {
        use std::os::unix::fs::PermissionsExt;
        self.permissions(std::fs::Permissions::from_mode(0o666))
    }

    #[cfg(not(unix))]
    fn permissions_of_others(&mut self) -> &mut Self {
        self
    }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_target: &Path, _link: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
