//! What is looked at before a format is chosen: the first bytes, and the names inside of what holds several things.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::WeightsError;
use crate::hdf5::{self, Hdf5};
use crate::source::Source;
use crate::tf_checkpoint;
use crate::zip_member::{self, Archive};

/// More names than this are not listed: what a format looks for would not lie behind them.
const MOST_NAMES: usize = 65_536;

/// What a path leads to, as far as its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A folder.
    Folder,
    /// A zip archive.
    Zip,
    /// An HDF5 file.
    Hdf5,
    /// Any other file.
    Plain,
    /// No file itself: the beginning of the names of a TensorFlow checkpoint's files.
    Prefix,
}

/// A first look at a path.
#[derive(Debug)]
pub struct Peek<'a> {
    /// The path.
    pub path: &'a Path,
    /// Up to 64 bytes from the beginning of a file.
    pub first: &'a [u8],
    /// Up to 8 bytes from its end.
    pub last: &'a [u8],
    /// Bytes of a file.
    pub length: u64,
    /// What it is.
    pub kind: Kind,
    /// Names in a folder, in a zip or at the root of an HDF5 file, sorted; none where they cannot be read.
    pub names: Vec<String>,
}

impl Peek<'_> {
    /// Whether there is an entry of that name.
    pub fn holds(&self, name: &str) -> bool {
        self.names.binary_search_by(|entry| entry.as_str().cmp(name)).is_ok()
    }

    /// Looks at a path and hands what is there to `then`.
    pub(crate) fn at<T>(path: &Path, then: impl FnOnce(&Peek<'_>) -> T) -> Result<T, WeightsError> {
        let failed = |source| WeightsError::Io { path: path.to_owned(), source };
        let mut names = Vec::new();
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(source) => {
                if source.kind() == ErrorKind::NotFound && tf_checkpoint::index_of_prefix(path).is_file() {
                    return Ok(then(&Peek { path, first: &[], last: &[], length: 0, kind: Kind::Prefix, names }));
                }
                return Err(failed(source));
            }
        };
        if metadata.is_dir() {
            for entry in std::fs::read_dir(path).map_err(failed)?.take(MOST_NAMES) {
                names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
            }
            names.sort();
            return Ok(then(&Peek { path, first: &[], last: &[], length: 0, kind: Kind::Folder, names }));
        }
        let mut file = File::open(path).map_err(failed)?;
        let (mut first, mut last) = (Vec::with_capacity(64), Vec::with_capacity(8));
        file.by_ref().take(64).read_to_end(&mut first).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(8))).map_err(failed)?;
        file.take(8).read_to_end(&mut last).map_err(failed)?;
        let kind = if first.starts_with(&zip_member::SIGNATURE) {
            if let Ok(archive) = Archive::open(path, "zip") {
                names.extend(archive.names().take(MOST_NAMES).map(str::to_owned));
            }
            Kind::Zip
        } else if first.starts_with(&hdf5::SIGNATURE) {
            names = root_names(path).unwrap_or_default();
            Kind::Hdf5
        } else {
            Kind::Plain
        };
        names.sort();
        Ok(then(&Peek { path, first: &first, last: &last, length, kind, names }))
    }
}

/// Names at the root of an HDF5 file.
fn root_names(path: &Path) -> Option<Vec<String>> {
    let file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    Hdf5::root_names(Source::file(file, 0, length)).ok()
}
