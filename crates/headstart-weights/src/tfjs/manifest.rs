//! The JSON that says which weights lie in which shards.

use std::path::Path;

use serde::Deserialize;

use super::{NAME, malformed};
use crate::array::{ArrayInfo, DType, checked_count};
use crate::error::WeightsError;
use crate::json;

/// What we need of a manifest; the topology of the model is passed over without being kept.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) format: Option<String>,
    pub(super) generated_by: Option<String>,
    pub(super) converted_by: Option<String>,
    weights_manifest: Option<Vec<Group>>,
}

/// Weights one after the other, cut in shards anywhere.
#[derive(Debug, Deserialize)]
pub(super) struct Group {
    pub(super) paths: Vec<String>,
    pub(super) weights: Vec<Entry>,
}

/// One weight as written.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) name: String,
    shape: Vec<usize>,
    dtype: String,
    quantization: Option<Quantization>,
}

#[derive(Debug, Deserialize)]
struct Quantization {
    dtype: String,
    scale: Option<f64>,
    min: Option<f64>,
}

/// How stored numbers become those of the array.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Packing {
    /// As they are.
    Plain,
    /// `stored × scale + min`.
    Linear { stored: DType, scale: f64, min: f64 },
    /// Half floats.
    Half,
}

/// What an entry stands for.
#[derive(Debug, PartialEq)]
pub(super) enum Weight {
    Array(ArrayInfo, Packing),
    /// So many texts, each with its length in four bytes before it.
    Texts(usize),
    /// Bytes that we pass over, and what they are.
    Other(u64, String),
}

impl Manifest {
    /// Reads `model.json` or `weights_manifest.json` of a file of `length` bytes.
    pub(super) fn parse(path: &Path, manifest: &[u8], length: u64) -> Result<(Self, Vec<Group>), WeightsError> {
        let wrong = |error: String| malformed(path, format!("its manifest cannot be read: {error}"));
        if manifest.trim_ascii_start().starts_with(b"[") {
            return Ok((Self::default(), json::parse(manifest, length).map_err(wrong)?));
        }
        let mut manifest: Self = json::parse(manifest, length).map_err(wrong)?;
        let groups = manifest.weights_manifest.take().ok_or_else(|| {
            malformed(path, "it has no `weightsManifest`: it is no model of TensorFlow.js, or one without weights")
        })?;
        Ok((manifest, groups))
    }
}

impl Entry {
    /// Type and size, checked.
    pub(super) fn weight(&self, path: &Path) -> Result<Weight, WeightsError> {
        let refused = |dtype: String| WeightsError::Type { path: path.to_owned(), name: self.name.clone(), dtype };
        let too_large = || malformed(path, format!("weight `{}` has a shape that no memory holds", self.name));
        // The widest type is what has to fit.
        let count = checked_count(&self.shape, DType::F64).ok_or_else(too_large)?;
        let dtype = match self.dtype.as_str() {
            "float32" => DType::F32,
            "int32" => DType::I32,
            "bool" => DType::Bool,
            "float16" => DType::F16,
            "uint8" => DType::U8,
            "uint16" => DType::U16,
            "string" => return Ok(Weight::Texts(count)),
            "complex64" => return Ok(Weight::Other(count as u64 * 8, self.dtype.clone())),
            other => return Err(refused(other.to_owned())),
        };
        let packing = match &self.quantization {
            None => Packing::Plain,
            Some(quantization) => match (quantization.dtype.as_str(), quantization.scale, quantization.min) {
                ("float16", ..) if dtype == DType::F32 => Packing::Half,
                ("uint8", Some(scale), Some(min)) if is_linear(dtype) => {
                    Packing::Linear { stored: DType::U8, scale, min }
                }
                ("uint16", Some(scale), Some(min)) if is_linear(dtype) => {
                    Packing::Linear { stored: DType::U16, scale, min }
                }
                ("uint8" | "uint16", ..) if is_linear(dtype) => {
                    return Err(malformed(path, format!("weight `{}` is quantized without scale and min", self.name)));
                }
                (stored, ..) => return Err(refused(format!("{} quantized to {stored}", self.dtype))),
            },
        };
        let info = ArrayInfo { name: self.name.clone(), shape: self.shape.clone(), dtype };
        Ok(Weight::Array(info, packing))
    }
}

/// Whether a type is quantized by scale and minimum.
fn is_linear(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::I32)
}

impl Packing {
    /// Bytes of one number as stored.
    pub(super) fn stored_size(self, dtype: DType) -> usize {
        match self {
            Self::Plain => dtype.size(),
            Self::Linear { stored, .. } => stored.size(),
            Self::Half => 2,
        }
    }

    /// Numbers of the array from numbers as stored. Sums are made in f64 and rounded once, as TensorFlow.js does.
    pub(super) fn unpack(self, dtype: DType, stored: Vec<u8>) -> Vec<u8> {
        let linear = |number: f64, scale: f64, min: f64| -> [u8; 4] {
            match dtype {
                // JavaScript rounds halves up.
                DType::I32 => ((number * scale + min + 0.5).floor() as i32).to_le_bytes(),
                _ => ((number * scale + min) as f32).to_le_bytes(),
            }
        };
        match self {
            Self::Plain => stored,
            Self::Half => {
                let halves = stored.as_chunks::<2>().0;
                halves.iter().flat_map(|half| half::f16::from_le_bytes(*half).to_f32().to_le_bytes()).collect()
            }
            Self::Linear { stored: DType::U8, scale, min } => {
                stored.iter().flat_map(|number| linear(f64::from(*number), scale, min)).collect()
            }
            Self::Linear { scale, min, .. } => {
                let numbers = stored.as_chunks::<2>().0.iter().map(|number| u16::from_le_bytes(*number));
                numbers.flat_map(|number| linear(f64::from(number), scale, min)).collect()
            }
        }
    }
}

/// The manifest may be this long, in bytes; the topology of large models takes some.
pub(super) const LONGEST: u64 = 32 << 20;

/// Refuses a manifest that is too long to be one.
pub(super) fn check_length(path: &Path, length: u64) -> Result<(), WeightsError> {
    if length > LONGEST {
        let what = format!("the manifest of this {NAME} model");
        return Err(WeightsError::TooLarge { path: path.to_owned(), what, claimed: length, limit: LONGEST });
    }
    Ok(())
}
