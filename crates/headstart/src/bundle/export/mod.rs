//! The trained model as others use it: backbone, head and preprocessing constants in the formats of other libraries.
//!
//! Every writer serializes one graph (`graph.rs`), safetensors the arrays that it was built from, so nothing is written for
//! an architecture. After writing, the bytes are read again into a graph and computed by plain loops (`evaluate.rs`); only if
//! that gives the bundle's own probabilities does the export appear under its name.

mod about;
mod build;
mod evaluate;
mod graph;
mod keras;
mod keras_layers;
mod onnx;
mod onnx_messages;
mod safetensors;
mod tfjs;
mod whole_head;

use std::path::Path;

use headstart_data::image::RgbImage;
use headstart_weights::Checkpoint;
use serde::{Deserialize, Serialize};

use self::about::About;
use self::build::Source;
use self::graph::Graph;
use self::whole_head::whole_head;
use super::Bundle;
use super::predict::Predictor;
use super::self_test;
use crate::backbones;
use crate::error::{Error, Result};
use crate::publish;
use crate::recipe::Output;
use crate::tasks::image_classification::decode;

/// A format that bundles are exported to.
#[derive(Debug, Clone, Copy)]
pub struct ExportFormat {
    /// Short name.
    pub name: &'static str,
    /// What it is and who reads it.
    pub summary: &'static str,
    /// Ending of the file's or folder's name, without the dot.
    pub ending: &'static str,
    /// Whether it is a folder of files.
    pub is_folder: bool,
    /// Whether its library refuses another ending.
    pub needs_ending: bool,
    /// Writes to a path where an empty file or folder is.
    write: fn(&Exported<'_>, &Path) -> Result<(), Failure>,
    /// Reads what was written, from its bytes alone.
    read: fn(&Path) -> Result<Graph, Failure>,
}

/// Every format that we write.
pub const EXPORTS: &[ExportFormat] = &[safetensors::FORMAT, keras::FORMAT, tfjs::FORMAT, onnx::FORMAT];

/// Largest difference of a probability between a bundle and its export.
pub const TOLERANCE: f32 = 1e-4;

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportReport {
    /// Name of the format.
    pub format: String,
    /// The file or folder.
    pub path: std::path::PathBuf,
    /// Size of all files together.
    pub bytes: u64,
    /// Pictures on which the written bytes were compared with the bundle.
    pub pictures: usize,
    /// Largest difference of a probability on them.
    pub largest_difference: f32,
}

/// The format called `name`.
///
/// # Errors
/// [`Error::UnknownName`].
pub fn find(name: &str) -> Result<&'static ExportFormat> {
    EXPORTS.iter().find(|format| format.name == name).ok_or_else(|| Error::UnknownName {
        kind: "export format",
        name: name.to_owned(),
        known: EXPORTS.iter().map(|format| format.name.to_owned()).collect(),
    })
}

impl Bundle {
    /// Writes the model in another format, reads it again and compares it with the bundle; nothing is left behind if it
    /// differs by more than [`TOLERANCE`].
    ///
    /// # Errors
    /// [`Error::ExportDiffers`]; [`Error::Export`] when the format cannot hold the model or a folder of other files is in the
    /// way; [`Error::Io`].
    pub fn export(&self, format: &ExportFormat, path: impl AsRef<Path>) -> Result<ExportReport> {
        let path = path.as_ref();
        if path.canonicalize().is_ok_and(|path| self.path().canonicalize().is_ok_and(|bundle| bundle == path)) {
            let reason = "it would overwrite the bundle".to_owned();
            return Err(Error::Export { format: format.name, path: path.to_owned(), reason });
        }
        if format.needs_ending && path.extension().is_none_or(|ending| ending != format.ending) {
            let reason = format!("its library opens no file without the ending `.{}`", format.ending);
            return Err(Error::Export { format: format.name, path: path.to_owned(), reason });
        }
        let (backbone, head) = self.arrays()?;
        let manifest = self.manifest();
        let Some(conventions) = &manifest.backbone.conventions else {
            let what = if self.finds_objects() { "find objects" } else { "read texts" };
            let reason = format!("bundles that {what} are not exported yet");
            return Err(Error::Export { format: format.name, path: path.to_owned(), reason });
        };
        let (spec, _) = backbones::find(&manifest.backbone.name)?;
        let (recipe, head) = whole_head(&manifest.recipe.head, &head, manifest.backbone.classifier, &backbone)?;
        let source = Source {
            spec,
            variant: spec.find_variant(&manifest.backbone.variant)?,
            conventions,
            recipe: &recipe,
            backbone: &backbone,
            head: &head,
        };
        let name = self.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let exported = Exported {
            name,
            graph: build::build(source)?,
            about: About::of(manifest, &conventions.preprocess),
            source,
        };
        export(&exported, &self.predictor, format, path)
    }
}

/// All that a format may write.
#[derive(Debug)]
struct Exported<'a> {
    /// Name of the bundle without its ending.
    name: String,
    graph: Graph,
    about: About,
    source: Source<'a>,
}

/// Why a format could not be written or read.
#[derive(Debug)]
enum Failure {
    Io(std::io::Error),
    Reason(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

// Everything else is said in words: the paths that these errors name are those of temporaries.
macro_rules! reasons {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Reason(error.to_string())
            }
        })*
    };
}

reasons!(
    String,
    &str,
    Error,
    headstart_weights::WeightsError,
    serde_json::Error,
    zip::result::ZipError,
    prost::DecodeError
);

fn export(exported: &Exported<'_>, bundle: &Predictor, format: &ExportFormat, path: &Path) -> Result<ExportReport> {
    if let Some(folder) = path.parent() {
        publish::sweep(folder);
    }
    let pictures = self_test::pictures();
    let expected = probabilities(bundle, exported.source.recipe.output, &pictures)?;
    let preprocess = &exported.source.conventions.preprocess;
    let inputs: Vec<Vec<f32>> = pictures
        .iter()
        .map(|picture| preprocess.pixels(picture).as_raw().iter().map(|value| f32::from(*value)).collect())
        .collect();
    let failed = |failure| match failure {
        Failure::Io(source) => Error::Io { action: "write", path: path.to_owned(), source },
        Failure::Reason(reason) => Error::Export { format: format.name, path: path.to_owned(), reason },
    };
    let write = |temporary: &Path| {
        (format.write)(exported, temporary).map_err(failed)?;
        let again = (format.read)(temporary).map_err(failed)?;
        let mut found = Vec::new();
        for input in &inputs {
            found.extend(evaluate::evaluate(&again, input).map_err(|what| failed(what.into()))?);
        }
        let largest_difference = compare(format, path, &found, &expected)?;
        let bytes = size(temporary).map_err(Error::io("read", path))?;
        let (format, path) = (format.name.to_owned(), path.to_owned());
        Ok(ExportReport { format, path, bytes, pictures: pictures.len(), largest_difference })
    };
    if format.is_folder {
        refuse_other_files(format, path)?;
        publish::publish_folder(path, write)
    } else {
        publish::publish_at(path, write)
    }
}

/// The bundle's own outputs as an export gives them: a probability for each class, or that of the second of two.
fn probabilities(bundle: &Predictor, output: Output, pictures: &[RgbImage]) -> Result<Vec<f32>> {
    let outputs = bundle.outputs(pictures, 1)?;
    let rows = outputs.chunks(outputs.len() / pictures.len());
    Ok(rows
        .flat_map(|row| {
            let probabilities = decode::probabilities(row, output);
            match output {
                Output::Softmax | Output::Sigmoids => probabilities,
                Output::Sigmoid => probabilities[1..].to_vec(),
            }
        })
        .collect())
}

/// The largest difference, if it is small enough.
fn compare(format: &ExportFormat, path: &Path, found: &[f32], expected: &[f32]) -> Result<f32> {
    if found.len() != expected.len() {
        let reason = format!("read again it gives {} numbers, the bundle gives {}", found.len(), expected.len());
        return Err(Error::Export { format: format.name, path: path.to_owned(), reason });
    }
    let mut largest = 0f32;
    for (&found, &expected) in found.iter().zip(expected) {
        let difference = (found - expected).abs();
        if difference.is_nan() || difference > TOLERANCE {
            return Err(Error::ExportDiffers { format: format.name, path: path.to_owned(), found, expected });
        }
        largest = largest.max(difference);
    }
    Ok(largest)
}

/// Bytes of a file, or of the files in a folder.
fn size(path: &Path) -> std::io::Result<u64> {
    if !path.is_dir() {
        return Ok(std::fs::metadata(path)?.len());
    }
    std::fs::read_dir(path)?.map(|entry| entry?.metadata().map(|metadata| metadata.len())).sum()
}

/// A folder is replaced as a whole, so it must hold nothing but an earlier export.
fn refuse_other_files(format: &ExportFormat, path: &Path) -> Result<()> {
    if !path.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(Error::io("list", path))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !tfjs::is_ours(&name) || entry.path().is_dir() {
            let reason = format!("the folder holds `{name}`, which is no part of an export");
            return Err(Error::Export { format: format.name, path: path.to_owned(), reason });
        }
    }
    Ok(())
}

/// Arrays of an open file as the layers of Keras ask for them.
fn find_array(checkpoint: &dyn Checkpoint) -> impl Fn(&str) -> Result<(Vec<usize>, Vec<f32>), String> + '_ {
    move |name| {
        let array = checkpoint.read(name).map_err(|error| error.to_string())?;
        let values = array.to_f32().map_err(|error| error.to_string())?;
        Ok((array.info.shape, values))
    }
}

#[cfg(test)]
mod tests;
