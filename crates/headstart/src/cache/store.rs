//! Shards on disk: written once, atomically, and read through a memory map.
//!
//! A shard is 64 bytes of header (magic, precision, number of examples, values an example, digest of the payload) and
//! the values of its examples, little-endian, one after the other. Where examples differ in length the header says 0 values
//! an example, and the number of values of each stands before all values.

use std::fs::File;
use std::path::Path;

use half::f16;
use memmap2::Mmap;

use crate::error::{Error, Result};
use crate::features::FeatureLayout;
use crate::publish::publish;
use crate::recipe::Precision;

/// File extension of shards.
pub(crate) const EXTENSION: &str = "features";

const MAGIC: &[u8; 8] = b"HSFEAT01";
const HEADER: usize = 64;

/// Name of shard `index` of `count`: what its bytes are follows from the folder's key and from this.
pub(crate) fn shard_name(index: usize, count: usize) -> String {
    format!("{index:05}-of-{count:05}.{EXTENSION}")
}

/// Writes a shard atomically: the values of each of its examples.
pub(crate) fn write(path: &Path, rows: &[Vec<f32>], layout: FeatureLayout, precision: Precision) -> Result<()> {
    let mut payload: Vec<u8> = match layout.varies() {
        true => rows.iter().flat_map(|row| (row.len() as u64).to_le_bytes()).collect(),
        false => Vec::new(),
    };
    let values = rows.iter().flatten();
    match precision {
        Precision::F32 => payload.extend(values.flat_map(|value| value.to_le_bytes())),
        Precision::F16 => payload.extend(values.flat_map(|value| f16::from_f32(*value).to_le_bytes())),
    }
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend(MAGIC);
    bytes.extend(u64::from(precision == Precision::F16).to_le_bytes());
    bytes.extend((rows.len() as u64).to_le_bytes());
    bytes.extend((width(layout) as u64).to_le_bytes());
    bytes.extend(blake3::hash(&payload).as_bytes());
    bytes.extend(payload);
    publish(path, &bytes)
}

/// What the header says of the values of an example.
fn width(layout: FeatureLayout) -> usize {
    if layout.varies() { 0 } else { layout.value_count() }
}

/// An open shard.
#[derive(Debug)]
pub(crate) struct Shard {
    map: Mmap,
    precision: Precision,
    extents: Extents,
}

/// Where the values of an example lie.
#[derive(Debug)]
enum Extents {
    /// All have this many.
    Even(usize),
    /// Number of values before each example, and before the end.
    Uneven(Vec<usize>),
}

impl Shard {
    /// Opens a shard and checks all of it: header, length and digest.
    ///
    /// # Errors
    /// [`Error::Shard`] when it is not whole or not the one that was asked for.
    pub(crate) fn open(path: &Path, examples: usize, layout: FeatureLayout, precision: Precision) -> Result<Self> {
        let map = map(path)?;
        let broken = |reason: &str| Error::Shard { path: path.to_owned(), reason: reason.to_owned() };
        let number =
            |at: usize| map.get(at..at + 8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes")));
        if map.get(..8) != Some(MAGIC.as_slice()) || map.len() < HEADER {
            return Err(broken("it does not begin like one"));
        }
        let bytes_a_value = if precision == Precision::F16 { 2 } else { 4 };
        let expected = [u64::from(precision == Precision::F16), examples as u64, width(layout) as u64];
        if [number(8), number(16), number(24)] != expected.map(Some) {
            return Err(broken("it holds another number of values"));
        }
        let extents = match layout.varies() {
            false => Extents::Even(layout.value_count()),
            true => {
                let mut before = vec![0usize];
                for example in 0..examples {
                    let count = number(HEADER + 8 * example).and_then(|count| usize::try_from(count).ok());
                    let end = count.and_then(|count| before[example].checked_add(count));
                    before.push(end.ok_or_else(|| broken("it is cut short"))?);
                }
                Extents::Uneven(before)
            }
        };
        let (values, lengths) = match &extents {
            Extents::Even(width) => (examples * width, 0),
            Extents::Uneven(before) => (before[examples], examples * 8),
        };
        if values.checked_mul(bytes_a_value).and_then(|bytes| bytes.checked_add(HEADER + lengths)) != Some(map.len()) {
            return Err(broken("it is cut short"));
        }
        if blake3::hash(&map[HEADER..]).as_bytes() != &map[32..HEADER] {
            return Err(broken("its digest does not match its values"));
        }
        Ok(Self { map, precision, extents })
    }

    /// Appends the values of one example.
    pub(crate) fn read_into(&self, example: usize, values: &mut Vec<f32>) {
        let (first, begin, end) = match &self.extents {
            Extents::Even(width) => (HEADER, example * width, (example + 1) * width),
            Extents::Uneven(before) => (HEADER + 8 * (before.len() - 1), before[example], before[example + 1]),
        };
        match self.precision {
            Precision::F32 => {
                let bytes = &self.map[first + begin * 4..first + end * 4];
                values.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
            }
            Precision::F16 => {
                let bytes = &self.map[first + begin * 2..first + end * 2];
                values.extend(bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()));
            }
        }
    }
}

#[expect(unsafe_code, reason = "memory maps are the point of the store; see SAFETY")]
fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    // SAFETY: published shards are never written again, only replaced by rename or removed, both of which leave a mapped
    // file as it was. A program outside of ours that truncates one could still raise SIGBUS; nothing can prevent that.
    unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: FeatureLayout = FeatureLayout::Vector { width: 4 };

    fn rows() -> Vec<Vec<f32>> {
        (0..3).map(|row| (0..4).map(|i| (4 * row + i) as f32 / 7.0 - 0.5).collect()).collect()
    }

    #[test]
    fn a_shard_gives_back_its_values() {
        let folder = tempfile::tempdir().unwrap();
        for (precision, tolerance) in [(Precision::F32, 0.0), (Precision::F16, 1e-3)] {
            let path = folder.path().join(shard_name(2, 7));
            write(&path, &rows(), LAYOUT, precision).unwrap();
            let shard = Shard::open(&path, 3, LAYOUT, precision).unwrap();
            let mut found = Vec::new();
            shard.read_into(2, &mut found);
            shard.read_into(0, &mut found);
            let expected = [rows()[2].clone(), rows()[0].clone()].concat();
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= tolerance), "{found:?}");
        }
    }

    #[test]
    fn damaged_shards_are_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(shard_name(0, 1));
        write(&path, &rows(), LAYOUT, Precision::F32).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 5, 63, 64, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(Shard::open(&path, 3, LAYOUT, Precision::F32).is_err(), "{length} bytes");
        }
        let mut flipped = whole.clone();
        flipped[70] ^= 1;
        std::fs::write(&path, flipped).unwrap();
        let message = Shard::open(&path, 3, LAYOUT, Precision::F32).unwrap_err().to_string();
        assert!(message.contains("digest"), "{message}");
        std::fs::write(&path, whole).unwrap();
        assert!(Shard::open(&path, 2, FeatureLayout::Vector { width: 6 }, Precision::F32).is_err());
        assert!(Shard::open(&path, 3, LAYOUT, Precision::F16).is_err());
    }

    #[test]
    fn examples_of_many_lengths_come_back_and_a_false_length_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(shard_name(0, 1));
        let layout = FeatureLayout::Sequence { width: 2 };
        let rows = [vec![1.0, 2.0], vec![], vec![3.0, 4.0, 5.0, 6.0]];
        write(&path, &rows, layout, Precision::F32).unwrap();
        let shard = Shard::open(&path, 3, layout, Precision::F32).unwrap();
        for (index, row) in rows.iter().enumerate() {
            let mut found = Vec::new();
            shard.read_into(index, &mut found);
            assert_eq!(&found, row);
        }
        assert!(Shard::open(&path, 3, LAYOUT, Precision::F32).is_err());
        let whole = std::fs::read(&path).unwrap();
        for (at, byte) in [(HEADER, 3), (HEADER + 7, 255)] {
            let mut changed = whole.clone();
            changed[at] = byte;
            std::fs::write(&path, changed).unwrap();
            assert!(Shard::open(&path, 3, layout, Precision::F32).is_err());
        }
    }
}
