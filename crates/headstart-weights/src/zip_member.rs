//! Members of zip archives, which may claim any size.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use crate::error::WeightsError;
use crate::source::Source;

/// Largest member in bytes, as in Keras 3.15 (`saving_lib.py`).
const LARGEST: u64 = 4 << 30;

/// A compressed member may be this much larger than its bytes in the file, above [`BOMB_FROM`].
const MOST_EXPANSION: u64 = 100;

/// Smaller members are harmless however well they compress.
const BOMB_FROM: u64 = 1 << 20;

/// An open archive.
pub(crate) type Archive = ZipArchive<BufReader<File>>;

/// Opens an archive; `format` is for messages.
pub(crate) fn open(path: &Path, format: &'static str) -> Result<Archive, WeightsError> {
    let file = File::open(path).map_err(|source| WeightsError::Io { path: path.to_owned(), source })?;
    ZipArchive::new(BufReader::new(file)).map_err(|error| broken(path, format, &error))
}

fn broken(path: &Path, format: &'static str, error: &zip::result::ZipError) -> WeightsError {
    let reason = format!("it is no whole zip archive: {error}");
    WeightsError::Malformed { format, path: path.to_owned(), reason }
}

/// The bytes of a member of up to `limit` bytes.
pub(crate) fn read(
    archive: &mut Archive,
    path: &Path,
    format: &'static str,
    name: &str,
    limit: u64,
) -> Result<Vec<u8>, WeightsError> {
    let member = archive.by_name(name).map_err(|error| broken(path, format, &error))?;
    let (claimed, stored) = (member.size(), member.compressed_size());
    let expanded = stored.saturating_mul(MOST_EXPANSION).max(BOMB_FROM);
    let limit = limit.min(LARGEST).min(expanded);
    if claimed > limit {
        return Err(WeightsError::TooLarge {
            path: path.to_owned(),
            what: format!("member `{name}` of {stored} bytes"),
            claimed,
            limit,
        });
    }
    // The claim may still be too small or too large; memory grows with what is really there.
    let mut bytes = Vec::new();
    let reason = match member.take(claimed + 1).read_to_end(&mut bytes) {
        Ok(read) if read as u64 == claimed => return Ok(bytes),
        Ok(read) => format!("member `{name}` has {read} bytes and claims {claimed}"),
        Err(error) => format!("member `{name}` cannot be unpacked: {error}"),
    };
    Err(WeightsError::Malformed { format, path: path.to_owned(), reason })
}

/// The bytes of a member that will be read in parts: from the file where it is stored as it is, else unpacked.
pub(crate) fn source(
    archive: &mut Archive,
    path: &Path,
    format: &'static str,
    name: &str,
) -> Result<Source, WeightsError> {
    let failed = |source| WeightsError::Io { path: path.to_owned(), source };
    let member = archive.by_name(name).map_err(|error| broken(path, format, &error))?;
    if member.compression() != CompressionMethod::Stored || member.encrypted() {
        drop(member);
        return Ok(Source::memory(read(archive, path, format, name, LARGEST)?));
    }
    let (start, length) = (member.data_start(), member.size());
    drop(member);
    let file = File::open(path).map_err(failed)?;
    let there = file.metadata().map_err(failed)?.len();
    if start.checked_add(length).is_none_or(|end| end > there) {
        let reason = format!("member `{name}` is cut off");
        return Err(WeightsError::Malformed { format, path: path.to_owned(), reason });
    }
    Ok(Source::file(file, start, length))
}
