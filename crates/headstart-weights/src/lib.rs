//! Foreign weight files → named arrays. Nothing in a file is ever executed, and no length that a file claims is believed.
//!
//! Knows bytes: no engine, no names of models, no network.

mod array;
mod beside;
mod contents;
pub mod darknet;
mod error;
mod hdf5;
mod json;
pub mod keras_h5;
pub mod keras_v3;
pub mod limits;
mod peek;
pub mod pytorch;
pub mod safetensors;
mod source;
mod tensorflow;
pub mod tf_checkpoint;
pub mod tf_graph;
pub mod tfjs;
mod zip_member;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

pub use array::{Array, ArrayInfo, DType};
pub use error::WeightsError;
pub use hdf5::{Hdf5Array, write_hdf5};
pub use peek::{Kind, Peek};

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
    /// Whether it is this format, by the first bytes and the names inside; at most one format says yes.
    pub recognizes: fn(&Peek<'_>) -> bool,
    /// Opens a file or folder.
    pub open: fn(&Path) -> Result<Box<dyn Checkpoint>, WeightsError>,
}

/// Every format that we read.
pub const FORMATS: &[Format] = &[
    safetensors::FORMAT,
    pytorch::ZIP_FORMAT,
    pytorch::LEGACY_FORMAT,
    keras_h5::FORMAT,
    keras_v3::FORMAT,
    tfjs::FORMAT,
    tf_checkpoint::FORMAT,
    tf_graph::FORMAT,
    darknet::FORMAT,
];

/// Opens a weight file or a folder of one model's weights; the format is found by what is in it.
///
/// # Errors
/// [`WeightsError::NotRecognized`] with what the file looks like; whatever the format's reader finds wrong.
pub fn open(path: &Path) -> Result<Box<dyn Checkpoint>, WeightsError> {
    let format = Peek::at(path, |peek| match FORMATS.iter().find(|format| (format.recognizes)(peek)) {
        Some(format) => Ok(format),
        None => Err(not_recognized(peek)),
    })??;
    (format.open)(path)
}

/// Opens a safetensors file that is already in memory; `name` is for messages.
///
/// # Errors
/// As for a file.
pub fn open_safetensors_bytes(name: &str, bytes: &'static [u8]) -> Result<Box<dyn Checkpoint>, WeightsError> {
    safetensors::open_bytes(Path::new(name), bytes)
}

/// BLAKE3 of a file's bytes, in hexadecimal. Where the weights are several files (a manifest of TensorFlow.js, a checkpoint
/// of TensorFlow, Darknet's description and values), of the names, lengths and bytes of all that are read for them.
///
/// # Errors
/// [`WeightsError::Io`]; what is wrong with a manifest or index; [`WeightsError::NotRecognized`] for other folders.
pub fn digest(path: &Path) -> Result<String, WeightsError> {
    let (files, refusal) = Peek::at(path, |peek| (files_of(peek), not_recognized(peek)))?;
    let mut hasher = blake3::Hasher::new();
    let mut add = |path: &Path, framed: bool| -> Result<(), WeightsError> {
        let failed = |source| WeightsError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        if framed {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(&file.metadata().map_err(failed)?.len().to_le_bytes());
        }
        hasher.update_reader(file).map_err(failed)?;
        Ok(())
    };
    match files {
        Some(files) => files(path)?.iter().try_for_each(|file| add(file, true))?,
        None if path.is_dir() => return Err(refusal),
        None => add(path, false)?,
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Lists the files of a model.
type Files = fn(&Path) -> Result<Vec<PathBuf>, WeightsError>;

/// What lists the files of a model that is several.
fn files_of(peek: &Peek<'_>) -> Option<Files> {
    match peek.kind {
        Kind::Zip => None,
        _ if tfjs::recognizes(peek) => Some(tfjs::files),
        _ if tf_checkpoint::recognizes(peek) => Some(tf_checkpoint::files),
        _ if darknet::recognizes(peek) => Some(darknet::files),
        _ => None,
    }
}

fn not_recognized(peek: &Peek<'_>) -> WeightsError {
    let supported = FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", ");
    WeightsError::NotRecognized { path: peek.path.to_owned(), found: what_it_is(peek), supported }
}

/// What a file that we cannot read is, as far as its first bytes and its name tell.
fn what_it_is(peek: &Peek<'_>) -> String {
    let (path, first) = (peek.path, peek.first);
    let extension = path.extension().map(|text| text.to_string_lossy().to_lowercase()).unwrap_or_default();
    let known = if peek.kind == Kind::Folder {
        "a folder without the manifest of a TensorFlow.js model, the index of a TensorFlow checkpoint or Darknet's two files"
    } else if path.file_name().is_some_and(|name| name.to_string_lossy().contains(".data-0")) {
        "one shard of a TensorFlow checkpoint: name its index"
    } else if first.is_empty() {
        "an empty file"
    } else if first.get(4..8) == Some(b"TFL3") {
        "a TensorFlow Lite model"
    } else if first.starts_with(b"version https://git-lfs") {
        "a Git LFS pointer: the weights themselves were not fetched"
    } else if path.file_name().is_some_and(|name| name == "saved_model.pb") {
        "the graph of a saved model: name its folder"
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
