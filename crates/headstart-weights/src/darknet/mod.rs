//! Darknet's `NAME.cfg` with `NAME.weights`: the networks of YOLO v2, v3, v4 and Yolo-Fastest.
//!
//! Source: `parser.c` of Darknet (pjreddie, and AlexeyAB's successor). The values have no names and no shapes: they are the
//! parameters of each convolution, one after another in the order of the description, so both files are needed. What is
//! opened is the values, the description, or the folder of both; the other is found by its name, or because it is the only
//! one.
//!
//! **Names** are `layers.N.` and Darknet's own word for the field, where N counts sections from 0 after `[net]`: `biases`, with
//! normalization `scales`, `rolling_mean` and `rolling_variance`, then `weights` as
//! `[filters, channels / groups, size, size]`.
//!
//! The header is the version as three numbers of 32 bits and how many pictures were seen: 64 bits from version 0.2 on, 32
//! before. Nothing may be left when the last layer is read.
//!
//! [`Network`] is the description as data, for whoever builds the network.

mod layers;
mod locate;
mod network;
mod sections;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use network::{Activation, Convolution, Layer, LayerKind, MapShape, Network, Region, Yolo};

use crate::array::{ArrayInfo, DType, checked_count};
use crate::contents::{Contents, Listed};
use crate::error::WeightsError;
use crate::peek::{Kind, Peek};
use crate::source::Source;
use crate::{Checkpoint, Format, tf_checkpoint, tfjs};

const NAME: &str = "darknet";

/// The registry row.
pub(crate) const FORMAT: Format = Format { name: NAME, extensions: &["weights", "cfg"], recognizes, open };

/// Highest revision that a version of Darknet has had, and a few more.
const HIGHEST_REVISION: i32 = 15;

pub(crate) fn recognizes(peek: &Peek<'_>) -> bool {
    if tfjs::recognizes(peek) || tf_checkpoint::recognizes(peek) {
        return false;
    }
    locate::is_in(peek) || locate::is_description(peek) || has_header(peek)
}

/// Whether a file begins with the version of Darknet: 0.1 or 0.2, and a revision.
fn has_header(peek: &Peek<'_>) -> bool {
    let number = |at: usize| peek.first.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_le_bytes);
    peek.kind == Kind::Plain
        && number(0) == Some(0)
        && number(4).is_some_and(|minor| (1..=2).contains(&minor))
        && number(8).is_some_and(|revision| (0..=HIGHEST_REVISION).contains(&revision))
}

fn malformed(path: &Path, reason: impl Into<String>) -> WeightsError {
    WeightsError::Malformed { format: NAME, path: path.to_owned(), reason: reason.into() }
}

fn too_large(path: &Path, what: &str, claimed: u64, limit: u64) -> WeightsError {
    WeightsError::TooLarge { path: path.to_owned(), what: what.to_owned(), claimed, limit }
}

/// Both files of a model.
///
/// # Errors
/// As for finding them.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, WeightsError> {
    Ok(vec![locate::description(path)?, locate::weights(path)?])
}

fn open(path: &Path) -> Result<Box<dyn Checkpoint>, WeightsError> {
    let weights = locate::weights(path)?;
    let description = locate::description(path)?;
    let network = Network::parse(&description, &locate::text(&description)?)?;
    let failed = |source| WeightsError::Io { path: weights.clone(), source };
    let file = File::open(&weights).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let source = Source::file(file, 0, length);
    let header = Header::read(&weights, &source)?;
    let (arrays, starts) = place(&weights, &network, header.length, length)?;
    let mut contents = Contents::new(NAME, path);
    for info in arrays {
        // Layers are numbered and their fields differ, so no two arrays have a name.
        let is_new = contents.add(info);
        debug_assert!(is_new);
    }
    contents.metadata.insert("version".to_owned(), header.version);
    contents.metadata.insert("pictures_seen".to_owned(), header.seen.to_string());
    if !network.notes.is_empty() {
        contents.metadata.insert("notes".to_owned(), network.notes.join("; "));
    }
    Ok(Box::new(Darknet { contents, source, starts }))
}

/// What stands before the values.
struct Header {
    version: String,
    seen: u64,
    /// Its own bytes.
    length: u64,
}

impl Header {
    fn read(path: &Path, source: &Source) -> Result<Self, WeightsError> {
        let short = |_| malformed(path, format!("it has {} bytes, fewer than its header", source.length()));
        let numbers = |at, count: u64| source.read(at, 4 * count).map_err(short);
        let version = numbers(0, 3)?;
        let number = |at: usize| version[at..at + 4].try_into().map_or(0, i32::from_le_bytes);
        let (major, minor, revision) = (number(0), number(4), number(8));
        // Above, Darknet takes the file for one whose matrices are transposed.
        if !(0..=1000).contains(&major) || !(0..=1000).contains(&minor) {
            return Err(malformed(path, format!("its header speaks of version {major}.{minor}.{revision}")));
        }
        let words = if major * 10 + minor >= 2 { 2 } else { 1 };
        let mut seen = numbers(12, words)?;
        seen.resize(8, 0);
        let seen = seen.try_into().map_or(0, u64::from_le_bytes);
        Ok(Self { version: format!("{major}.{minor}.{revision}"), seen, length: 12 + 4 * words })
    }
}

/// The arrays of a network, and where each begins in the file.
///
/// # Errors
/// [`WeightsError::Malformed`] where the file is not exactly as long as all of them.
fn place(path: &Path, network: &Network, start: u64, end: u64) -> Result<(Vec<ArrayInfo>, Vec<u64>), WeightsError> {
    let (mut arrays, mut starts, mut at) = (Vec::new(), Vec::new(), start);
    for (number, layer) in network.layers.iter().enumerate() {
        let LayerKind::Convolution(convolution) = layer.kind else { continue };
        let Convolution { filters, size, groups, is_normalized, .. } = convolution;
        let vectors: &[&str] =
            if is_normalized { &["biases", "scales", "rolling_mean", "rolling_variance"] } else { &["biases"] };
        let kernels = ("weights", vec![filters, layer.input.channels / groups, size, size]);
        for (field, shape) in vectors.iter().map(|field| (*field, vec![filters])).chain([kernels]) {
            let name = format!("layers.{number}.{field}");
            let bytes = checked_count(&shape, DType::F32).map(|count| count as u64 * 4);
            let next = bytes.and_then(|bytes| at.checked_add(bytes)).filter(|next| *next <= end);
            let Some(next) = next else {
                let line = layer.line;
                let left = end - at;
                let reason = format!(
                    "it ends in `{name}` (line {line} of the description), for which {left} bytes are left; it may hold \
                     the first layers alone, or belong to another description"
                );
                return Err(malformed(path, reason));
            };
            arrays.push(ArrayInfo { name, shape, dtype: DType::F32 });
            starts.push(at);
            at = next;
        }
    }
    if at != end {
        let left = end - at;
        let reason = format!("{left} bytes follow the last layer: it belongs to another description");
        return Err(malformed(path, reason));
    }
    Ok((arrays, starts))
}

struct Darknet {
    contents: Contents,
    source: Source,
    starts: Vec<u64>,
}

impl Listed for Darknet {
    fn contents(&self) -> &Contents {
        &self.contents
    }

    fn bytes(&self, index: usize, info: &ArrayInfo) -> Result<Vec<u8>, WeightsError> {
        let failed = |source| WeightsError::Io { path: self.contents.path.clone(), source };
        self.source.read(self.starts[index], info.byte_len() as u64).map_err(failed)
    }
}
