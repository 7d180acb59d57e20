//! Shards: where they may lie, and ranges that go over from one to the next.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::NAME;
use crate::beside;
use crate::error::WeightsError;
use crate::source::Source;
use crate::zip_member::Archive;

/// Where the parts of a model lie.
pub(super) enum Place {
    /// The manifest; shards lie beside it.
    Folder(PathBuf),
    /// The archive and the folder in it, with its slash.
    Zip(Box<Archive>, String),
}

/// One shard.
pub(super) struct Shard {
    pub(super) store: Store,
    length: u64,
}

/// Files are opened when they are read: a large model has hundreds.
pub(super) enum Store {
    File(PathBuf),
    Zip(Source),
}

impl Place {
    /// Finds a shard by the name that the manifest at `path` gives it.
    pub(super) fn shard(&mut self, path: &Path, name: &str) -> Result<Shard, WeightsError> {
        match self {
            Self::Folder(manifest) => {
                let (file, length) = beside::find(path, NAME, manifest, name)?;
                Ok(Shard { store: Store::File(file), length })
            }
            Self::Zip(..) if !beside::is_inside(name) => {
                let what = format!("shard `{}`", name.escape_debug());
                Err(WeightsError::Outside { path: path.to_owned(), what })
            }
            Self::Zip(archive, folder) => {
                let member = format!("{folder}{}", name.trim_start_matches("./"));
                let source = archive.source(&member)?;
                Ok(Shard { length: source.length(), store: Store::Zip(source) })
            }
        }
    }
}

/// The shards of a group, as one row of bytes.
pub(super) struct Shards(Vec<Shard>);

impl Shards {
    pub(super) fn new(shards: Vec<Shard>) -> Self {
        Self(shards)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Shard> {
        self.0.iter()
    }

    /// Number of bytes of all.
    pub(super) fn length(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, shard| sum.saturating_add(shard.length))
    }

    /// `length` bytes from `at`, which lie in the shards.
    pub(super) fn read(&self, at: u64, length: u64) -> Result<Vec<u8>, std::io::Error> {
        if at.checked_add(length).is_none_or(|end| end > self.length()) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = Vec::with_capacity(length as usize);
        let (mut at, mut left) = (at, length);
        for shard in &self.0 {
            if at >= shard.length {
                at -= shard.length;
                continue;
            }
            let here = left.min(shard.length - at);
            match &shard.store {
                Store::Zip(source) => bytes.extend(source.read(at, here)?),
                Store::File(path) => {
                    let mut file = File::open(path)?;
                    file.seek(SeekFrom::Start(at))?;
                    if file.take(here).read_to_end(&mut bytes)? as u64 != here {
                        return Err(std::io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
            (at, left) = (0, left - here);
            if left == 0 {
                break;
            }
        }
        Ok(bytes)
    }
}
