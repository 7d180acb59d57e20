//! Shards on disk: written once, atomically, and read through a memory map.
//!
//! A shard is 64 bytes of header (magic, precision, number of examples, values an example, digest of the payload) and
//! the values of its examples, little-endian, one after the other.

use std::fs::File;
use std::path::Path;

use half::f16;
use memmap2::Mmap;

use crate::error::{Error, Result};
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

/// Writes a shard of `examples` examples atomically.
pub(crate) fn write(path: &Path, values: &[f32], examples: usize, precision: Precision) -> Result<()> {
    let payload: Vec<u8> = match precision {
        Precision::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Precision::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
    };
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend(MAGIC);
    bytes.extend(u64::from(precision == Precision::F16).to_le_bytes());
    bytes.extend((examples as u64).to_le_bytes());
    bytes.extend(((values.len() / examples.max(1)) as u64).to_le_bytes());
    bytes.extend(blake3::hash(&payload).as_bytes());
    bytes.extend(payload);
    publish(path, &bytes)
}

/// An open shard.
#[derive(Debug)]
pub(crate) struct Shard {
    map: Mmap,
    precision: Precision,
    width: usize,
}

impl Shard {
    /// Opens a shard and checks all of it: header, length and digest.
    ///
    /// # Errors
    /// [`Error::Shard`] when it is not whole or not the one that was asked for.
    pub(crate) fn open(path: &Path, examples: usize, width: usize, precision: Precision) -> Result<Self> {
        let map = map(path)?;
        let broken = |reason: &str| Error::Shard { path: path.to_owned(), reason: reason.to_owned() };
        let number =
            |at: usize| map.get(at..at + 8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes")));
        if map.get(..8) != Some(MAGIC.as_slice()) || map.len() < HEADER {
            return Err(broken("it does not begin like one"));
        }
        let bytes_a_value = if precision == Precision::F16 { 2 } else { 4 };
        let expected = [u64::from(precision == Precision::F16), examples as u64, width as u64];
        if [number(8), number(16), number(24)] != expected.map(Some) {
            return Err(broken("it holds another number of values"));
        }
        if map.len() != HEADER + examples * width * bytes_a_value {
            return Err(broken("it is cut short"));
        }
        if blake3::hash(&map[HEADER..]).as_bytes() != &map[32..HEADER] {
            return Err(broken("its digest does not match its values"));
        }
        Ok(Self { map, precision, width })
    }

    /// Appends the values of one example.
    pub(crate) fn read_into(&self, example: usize, values: &mut Vec<f32>) {
        match self.precision {
            Precision::F32 => {
                let start = HEADER + example * self.width * 4;
                let bytes = &self.map[start..start + self.width * 4];
                values.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
            }
            Precision::F16 => {
                let start = HEADER + example * self.width * 2;
                let bytes = &self.map[start..start + self.width * 2];
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

    fn values() -> Vec<f32> {
        (0..12).map(|i| i as f32 / 7.0 - 0.5).collect()
    }

    #[test]
    fn a_shard_gives_back_its_values() {
        let folder = tempfile::tempdir().unwrap();
        for (precision, tolerance) in [(Precision::F32, 0.0), (Precision::F16, 1e-3)] {
            let path = folder.path().join(shard_name(2, 7));
            write(&path, &values(), 3, precision).unwrap();
            let shard = Shard::open(&path, 3, 4, precision).unwrap();
            let mut found = Vec::new();
            shard.read_into(2, &mut found);
            shard.read_into(0, &mut found);
            let expected: Vec<f32> = values()[8..].iter().chain(&values()[..4]).copied().collect();
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= tolerance), "{found:?}");
        }
    }

    #[test]
    fn damaged_shards_are_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(shard_name(0, 1));
        write(&path, &values(), 3, Precision::F32).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 5, 63, 64, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(Shard::open(&path, 3, 4, Precision::F32).is_err(), "{length} bytes");
        }
        let mut flipped = whole.clone();
        flipped[70] ^= 1;
        std::fs::write(&path, flipped).unwrap();
        let message = Shard::open(&path, 3, 4, Precision::F32).unwrap_err().to_string();
        assert!(message.contains("digest"), "{message}");
        std::fs::write(&path, whole).unwrap();
        assert!(Shard::open(&path, 2, 6, Precision::F32).is_err());
        assert!(Shard::open(&path, 3, 4, Precision::F16).is_err());
    }
}
