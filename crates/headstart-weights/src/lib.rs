//! Foreign weight files → named arrays. Nothing in a file is ever executed, and no length that a file claims is believed.
//!
//! Knows bytes: no engine, no names of models, no network.

mod array;
mod error;
pub mod pytorch;
pub mod safetensors;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use array::{Array, ArrayInfo, DType};
pub use error::WeightsError;

/// An open weight file: its arrays are listed, their values are read on demand.
pub trait Checkpoint: Send + Sync {
    /// Name of the format.
    fn format(&self) -> &'static str;

    /// The file, or what it is called where it is not one.
    fn path(&self) -> &Path;

    /// Every array, in the order of the file.
    fn arrays(&self) -> &[ArrayInfo];

    /// What the file says beside the arrays.
    fn metadata(&self) -> &BTreeMap<String, String>;

    /// Reads one array.
    ///
    /// # Errors
    /// [`WeightsError::MissingArray`]; [`WeightsError::Io`]; [`WeightsError::Malformed`].
    fn read(&self, name: &str) -> Result<Array, WeightsError>;
}

/// A row of the registry.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// Short name.
    pub name: &'static str,
    /// Usual file extensions.
    pub extensions: &'static [&'static str],
    /// Whether a file with these first bytes is one.
    pub recognizes: fn(&[u8]) -> bool,
    /// Opens a file.
    pub open: fn(&Path) -> Result<Box<dyn Checkpoint>, WeightsError>,
}

/// Every format that we read.
pub const FORMATS: &[Format] = &[safetensors::FORMAT, pytorch::ZIP_FORMAT, pytorch::LEGACY_FORMAT];

/// Opens a weight file; the format is found by its first bytes.
///
/// # Errors
/// [`WeightsError::NotRecognized`] with what the file looks like; whatever the format's reader finds wrong.
pub fn open(path: &Path) -> Result<Box<dyn Checkpoint>, WeightsError> {
    let failed = |source| WeightsError::Io { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(not_recognized(path, "a folder".to_owned()));
    }
    let mut first = Vec::with_capacity(64);
    File::open(path).map_err(failed)?.take(64).read_to_end(&mut first).map_err(failed)?;
    match FORMATS.iter().find(|format| (format.recognizes)(&first)) {
        Some(format) => (format.open)(path),
        None => Err(not_recognized(path, what_it_is(path, &first))),
    }
}

/// Opens a safetensors file that is already in memory; `name` is for messages.
///
/// # Errors
/// As for a file.
pub fn open_safetensors_bytes(name: &str, bytes: &'static [u8]) -> Result<Box<dyn Checkpoint>, WeightsError> {
    safetensors::open_bytes(Path::new(name), bytes)
}

/// BLAKE3 of a file's bytes, in hexadecimal.
///
/// # Errors
/// [`WeightsError::Io`].
pub fn digest(path: &Path) -> Result<String, WeightsError> {
    let failed = |source| WeightsError::Io { path: path.to_owned(), source };
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).map_err(failed)?).map_err(failed)?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn not_recognized(path: &Path, found: String) -> WeightsError {
    let supported = FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", ");
    WeightsError::NotRecognized { path: path.to_owned(), found, supported }
}

/// What a file that we cannot read is, as far as its first bytes and its name tell.
fn what_it_is(path: &Path, first: &[u8]) -> String {
    let extension = path.extension().map(|text| text.to_string_lossy().to_lowercase()).unwrap_or_default();
    let known = if first.is_empty() {
        "an empty file"
    } else if first.starts_with(b"\x89HDF\r\n\x1a\n") {
        "an HDF5 file (Keras)"
    } else if first.get(4..8) == Some(b"TFL3") {
        "a TensorFlow Lite model"
    } else if first.starts_with(b"version https://git-lfs") {
        "a Git LFS pointer: the weights themselves were not fetched"
    } else if first.starts_with(b"{") {
        "a JSON file"
    } else if first.starts_with(b"<") {
        "a web page: the download probably failed"
    } else if extension == "onnx" {
        "an ONNX model"
    } else if first.get(257..262) == Some(b"ustar") || extension == "tar" {
        "a tar archive"
    } else {
        "an unknown kind of file"
    };
    known.to_owned()
}
