//! Named arrays ↔ the bytes of a safetensors file.

use std::borrow::Cow;
use std::collections::HashMap;

use headstart_weights::Checkpoint;
use safetensors::tensor::{Dtype, View, serialize};

use crate::error::Result;
use crate::parameters::{Parameter, Parameters, little_endian};

/// Bytes that travel with the arrays.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asset {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// A valid safetensors file.
///
/// At most one metadata pair: the writer keeps them in a hash map, whose order would make the bytes depend on chance.
pub(crate) fn encode(arrays: &Parameters, assets: &[Asset], metadata: &[(&str, String)]) -> Vec<u8> {
    let arrays = arrays.iter().map(|(name, array)| {
        let view = Stored { dtype: Dtype::F32, shape: &array.shape, bytes: Cow::Owned(little_endian(&array.values)) };
        (name.as_str(), view)
    });
    let assets = assets.iter().map(|asset| {
        let view = Stored { dtype: Dtype::U8, shape: &asset.shape, bytes: Cow::Borrowed(asset.bytes.as_slice()) };
        (asset.name.as_str(), view)
    });
    file(arrays.chain(assets), metadata)
}

/// The same in half precision, for what is small in size and read again as f32.
pub(crate) fn encode_half(arrays: &Parameters, metadata: &[(&str, String)]) -> Vec<u8> {
    let arrays = arrays.iter().map(|(name, array)| {
        let bytes = array.values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect();
        (name.as_str(), Stored { dtype: Dtype::F16, shape: &array.shape, bytes: Cow::Owned(bytes) })
    });
    file(arrays, metadata)
}

fn file<'a>(arrays: impl Iterator<Item = (&'a str, Stored<'a>)>, metadata: &[(&str, String)]) -> Vec<u8> {
    assert!(metadata.len() <= 1, "more than one metadata pair has no fixed order");
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    serialize(arrays, Some(metadata)).expect("shapes and lengths agree by construction")
}

/// Every floating-point array of a file.
pub(crate) fn read_all(checkpoint: &dyn Checkpoint) -> Result<Parameters> {
    checkpoint
        .arrays()
        .iter()
        .filter(|info| info.dtype != headstart_weights::DType::U8)
        .map(|info| {
            let array = checkpoint.read(&info.name)?;
            Ok((info.name.clone(), Parameter { shape: info.shape.clone(), values: array.to_f32()? }))
        })
        .collect()
}

struct Stored<'a> {
    dtype: Dtype,
    shape: &'a [usize],
    bytes: Cow<'a, [u8]>,
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
