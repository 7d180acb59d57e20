//! Features of frozen stages, computed once. Knows digests and features, no labels.
//!
//! A feature set (one part of the data, one view, one depth) is a folder named by its key; in it lie shards of
//! a few dozen examples, each a pure function of its name, published atomically. So a kill, a second process or
//! another machine can only ever add finished shards.

pub(crate) mod extract;
pub(crate) mod key;
pub(crate) mod store;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Examples a shard.
pub(crate) const SHARD_EXAMPLES: usize = 64;

/// Bytes that the cache may fill before the sets used longest ago are removed.
const DEFAULT_LIMIT: u64 = 10 << 30;

/// Where cached features lie, and how many bytes they may fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFolder {
    /// The folder.
    pub path: PathBuf,
    /// Largest size in bytes.
    pub limit: u64,
}

impl CacheFolder {
    /// A folder with the usual limit.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), limit: DEFAULT_LIMIT }
    }

    /// `HEADSTART_CACHE`, else `headstart` in the user's cache folder (`XDG_CACHE_HOME` or `~/.cache`), else a folder in
    /// the system's temporary one. `HEADSTART_CACHE_LIMIT` sets the limit in MiB (default 10 240).
    pub fn from_environment() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let path = set("HEADSTART_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("headstart")))
            .or_else(|| set("HOME").map(|folder| folder.join(".cache/headstart")))
            .or_else(|| set("LOCALAPPDATA").map(|folder| folder.join("headstart")))
            .unwrap_or_else(|| std::env::temp_dir().join("headstart-cache"));
        let limit = std::env::var("HEADSTART_CACHE_LIMIT")
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
            .map_or(DEFAULT_LIMIT, |mebibytes| mebibytes << 20);
        Self { path, limit }
    }

    pub(crate) fn features(&self) -> PathBuf {
        self.path.join("features")
    }

    /// Where the results of scanning image files are remembered.
    pub(crate) fn scan_memo(&self) -> PathBuf {
        self.path.join("scan.memo")
    }

    /// Every feature set, the one used last first.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder exists but cannot be read.
    pub fn sets(&self) -> Result<Vec<CachedSet>> {
        let folder = self.features();
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut sets = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(Error::io("list", &folder))?.flatten() {
            let path = entry.path();
            if !path.is_dir() {
                continue;
            }
            let mut set = CachedSet {
                key: entry.file_name().to_string_lossy().into_owned(),
                bytes: 0,
                shards: 0,
                used: entry.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH),
            };
            for file in std::fs::read_dir(&path).map_err(Error::io("list", &path))?.flatten() {
                let Ok(metadata) = file.metadata() else { continue };
                set.bytes += metadata.len();
                set.shards += usize::from(file.path().extension().is_some_and(|ext| ext == store::EXTENSION));
                set.used = set.used.max(metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH));
            }
            sets.push(set);
        }
        sets.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.key.cmp(&b.key)));
        Ok(sets)
    }

    /// Removes every feature set and the memory of scans; returns the bytes that were freed.
    ///
    /// # Errors
    /// [`Error::Io`] when a folder cannot be removed.
    pub fn clear(&self) -> Result<u64> {
        let freed = self.sets()?.iter().map(|set| set.bytes).sum();
        for path in [self.features(), self.scan_memo()] {
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", path)(error));
                }
                _ => {}
            }
        }
        Ok(freed)
    }

    /// Removes the sets used longest ago until the rest fits the limit; those in `keep` stay.
    pub(crate) fn prune(&self, keep: &[String]) -> Result<()> {
        let mut total = 0;
        for set in self.sets()? {
            total += set.bytes;
            if total > self.limit && !keep.contains(&set.key) {
                total -= set.bytes;
                // Another process may be removing it too; what counts is that it goes.
                let _ = std::fs::remove_dir_all(self.features().join(&set.key));
            }
        }
        Ok(())
    }
}

/// A row of `headstart cache ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedSet {
    /// Digest of everything that the features depend on.
    pub key: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Finished shards.
    pub shards: usize,
    /// When a run last used it.
    pub used: SystemTime,
}

/// Says that a set was used now, which is what [`CacheFolder::prune`] goes by.
pub(crate) fn touch(folder: &Path) {
    let marker = folder.join("used");
    if let Ok(file) = std::fs::File::create(&marker) {
        let _ = file.set_modified(SystemTime::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_removes_the_sets_used_longest_ago_and_spares_those_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CacheFolder { path: folder.path().to_owned(), limit: 250 };
        for (age, key) in ["newest", "middle", "oldest", "kept"].iter().enumerate() {
            let path = cache.features().join(key);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join(format!("0.{}", store::EXTENSION)), vec![0; 100]).unwrap();
            let then = SystemTime::now() - std::time::Duration::from_secs(3600 * (age as u64 + 1));
            for path in [path.join(format!("0.{}", store::EXTENSION)), path] {
                std::fs::File::open(path).unwrap().set_modified(then).unwrap();
            }
        }
        cache.prune(&["kept".to_owned()]).unwrap();
        let left: Vec<String> = cache.sets().unwrap().into_iter().map(|set| set.key).collect();
        assert_eq!(left, ["newest", "middle", "kept"]);
        assert_eq!(cache.clear().unwrap(), 300);
        assert!(cache.sets().unwrap().is_empty());
    }
}
