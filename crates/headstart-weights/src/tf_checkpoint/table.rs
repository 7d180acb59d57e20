//! Sorted tables: keys and values in blocks, as LevelDB writes them.
//!
//! Source: `lib/io/format.cc`, `block.cc` and `table_builder.cc` of TensorFlow 2.21, after LevelDB's `table_format.md`. A
//! file is blocks, an index of them that is a block itself, and a footer of 48 bytes with the index's place. In a block each
//! key says how many bytes it shares with the one before it; behind a block stand the kind of its packing and a checksum.

use std::borrow::Cow;

use crate::limits;

/// The last bytes of every table, little-endian.
pub(super) const MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();

/// Bytes of the footer: two places of up to 20 bytes, and the magic number.
const FOOTER: usize = 48;

/// Packing and checksum behind a block.
const TRAILER: usize = 5;

/// Bytes of all keys together, besides sixteen times the length of the file: shared parts are written once and kept often.
const LEAST_KEYS: u64 = 1 << 20;

/// A key and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// Every key and value of a table, in order.
pub(super) fn entries(file: &[u8]) -> Result<Vec<Pair>, String> {
    let footer = file.len().checked_sub(FOOTER).and_then(|at| file.get(at..));
    let footer = footer.filter(|footer| footer.ends_with(&MAGIC)).ok_or("it does not end as an index does")?;
    let mut rest = footer;
    let _metaindex = Place::take(&mut rest)?;
    let index = Place::take(&mut rest)?;
    let length = file.len() as u64;
    let mut reader = Reader {
        file,
        stored_left: length,
        unpacked_left: limits::unpacked(length),
        keys_left: 16 * length + LEAST_KEYS,
    };
    let mut found: Vec<Pair> = Vec::new();
    for (_, place) in reader.block(&index)? {
        let place = Place::take(&mut place.as_slice())?;
        for (key, value) in reader.block(&place)? {
            if found.last().is_some_and(|(last, _)| *last >= key) {
                return Err("its keys are not in order, or come twice".to_owned());
            }
            found.push((key, value));
        }
    }
    Ok(found)
}

/// Where a block lies.
struct Place {
    at: u64,
    length: u64,
}

impl Place {
    fn take(bytes: &mut &[u8]) -> Result<Self, String> {
        Ok(Self { at: varint(bytes)?, length: varint(bytes)? })
    }
}

struct Reader<'a> {
    file: &'a [u8],
    /// Bytes of the file that blocks may still take: those that share them would make little seem much.
    stored_left: u64,
    unpacked_left: u64,
    keys_left: u64,
}

impl<'a> Reader<'a> {
    /// Keys and values of a block.
    fn block(&mut self, place: &Place) -> Result<Vec<Pair>, String> {
        let content = self.content(place)?;
        // The number of restarts stands last, their places before it; keys are read from end to end without them.
        let (rest, count) = content.split_last_chunk::<4>().ok_or("a block ends too early")?;
        let restarts = (u32::from_le_bytes(*count) as usize).checked_mul(4);
        let end = restarts.and_then(|length| rest.len().checked_sub(length)).ok_or("a block ends too early")?;
        let mut rest = &rest[..end];
        let mut found: Vec<Pair> = Vec::new();
        let mut key = Vec::new();
        while !rest.is_empty() {
            let (shared, own, length) = (varint(&mut rest)?, varint(&mut rest)?, varint(&mut rest)?);
            let shared = usize::try_from(shared).ok().filter(|shared| *shared <= key.len());
            key.truncate(shared.ok_or("a key shares more than there is")?);
            key.extend(take(&mut rest, own)?);
            let value = take(&mut rest, length)?.to_vec();
            self.keys_left = self.keys_left.checked_sub(key.len() as u64).ok_or("its keys are longer than it is")?;
            found.push((key.clone(), value));
        }
        Ok(found)
    }

    /// The bytes of a block, unpacked.
    fn content(&mut self, place: &Place) -> Result<Cow<'a, [u8]>, String> {
        let beyond =
            || format!("a block of {} bytes at {} lies beyond its {}", place.length, place.at, self.file.len());
        let start = usize::try_from(place.at).map_err(|_| beyond())?;
        let length = usize::try_from(place.length).map_err(|_| beyond())?;
        let end = start.checked_add(length).and_then(|end| end.checked_add(TRAILER)).ok_or_else(beyond)?;
        let stored = self.file.get(start..end).ok_or_else(beyond)?;
        let left = self.stored_left.checked_sub(stored.len() as u64);
        self.stored_left = left.ok_or("its blocks share their bytes")?;
        let (content, sum) = stored.split_at(length + 1);
        let sum = u32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]);
        if !holds(content, sum) {
            return Err("the checksum of a block is wrong".to_owned());
        }
        let (packing, content) = (content[length], &content[..length]);
        match packing {
            0 => Ok(Cow::Borrowed(content)),
            1 => {
                let claimed = snap::raw::decompress_len(content).map_err(|error| error.to_string())?;
                if claimed > limits::BLOCK {
                    return Err(format!("a block claims {claimed} bytes, the limit is {}", limits::BLOCK));
                }
                let left = self.unpacked_left.checked_sub(claimed as u64);
                self.unpacked_left = left.ok_or("its blocks unpack to more than it is good for")?;
                let unpacked = snap::raw::Decoder::new().decompress_vec(content);
                Ok(Cow::Owned(unpacked.map_err(|error| format!("a block cannot be unpacked: {error}"))?))
            }
            other => Err(format!("a block is packed in way {other}, which is unknown")),
        }
    }
}

/// Whether a masked checksum (crc32c) holds.
pub(super) fn holds(bytes: &[u8], masked: u32) -> bool {
    // A fuzzer cannot guess checksums, and whoever means harm can compute them.
    cfg!(fuzzing) || crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8) == masked
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], String> {
    let split = usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
    let (taken, rest) = split.ok_or("a key or value ends too early")?;
    *bytes = rest;
    Ok(taken)
}

/// A number of up to ten bytes of seven bits.
fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    prost::encoding::decode_varint(bytes).map_err(|_| "a number ends too early".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A table of one block with these entries, and the packing of that block.
    fn table(entries: &[(usize, &str, &str)], snappy: bool) -> Vec<u8> {
        let block = |entries: &[(usize, Vec<u8>, Vec<u8>)]| {
            let mut block = Vec::new();
            for (shared, key, value) in entries {
                block.extend([*shared as u8, key.len() as u8, value.len() as u8]);
                block.extend(key);
                block.extend(value);
            }
            block.extend([0, 0, 0, 0, 1, 0, 0, 0]);
            block
        };
        let write = |file: &mut Vec<u8>, content: Vec<u8>, packing: u8| {
            let place = [file.len() as u8, content.len() as u8].to_vec();
            let mut stored = content;
            stored.push(packing);
            let sum = crc32c::crc32c(&stored).rotate_right(15).wrapping_add(0xa282_ead8);
            file.extend(stored);
            file.extend(sum.to_le_bytes());
            place
        };
        let entries: Vec<_> = entries
            .iter()
            .map(|(shared, key, value)| (*shared, key.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect();
        let mut file = Vec::new();
        let content = block(&entries);
        let content = if snappy { snap::raw::Encoder::new().compress_vec(&content).unwrap() } else { content };
        let place = write(&mut file, content, snappy.into());
        let index = write(&mut file, block(&[(0, b"z".to_vec(), place)]), 0);
        let mut footer = [&[0, 0], &index[..]].concat();
        footer.resize(40, 0);
        footer.extend(MAGIC);
        file.extend(footer);
        file
    }

    #[test]
    fn keys_are_put_together_from_what_they_share() {
        for snappy in [false, true] {
            let found = entries(&table(&[(0, "abc", "1"), (2, "d", "2"), (0, "b", "")], snappy)).unwrap();
            let found: Vec<_> = found.iter().map(|(key, value)| (&key[..], &value[..])).collect();
            assert_eq!(found, [(&b"abc"[..], &b"1"[..]), (b"abd", b"2"), (b"b", b"")]);
        }
    }

    #[test]
    fn faults_are_named() {
        let fault = |entries_of: &[(usize, &str, &str)]| entries(&table(entries_of, false)).unwrap_err();
        assert!(fault(&[(0, "b", "1"), (0, "a", "2")]).contains("not in order"));
        assert!(fault(&[(0, "a", "1"), (0, "a", "2")]).contains("twice"));
        assert!(fault(&[(0, "a", "1"), (2, "b", "2")]).contains("shares more than there is"));
        let mut changed = table(&[(0, "a", "1")], false);
        changed[4] ^= 1;
        assert!(entries(&changed).unwrap_err().contains("checksum"));
    }

    #[test]
    fn a_block_that_claims_more_than_there_is_is_refused() {
        let whole = table(&[(0, "a", "1")], false);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] = 0xFF;
            // What the footer does not use may be anything.
            let _ = entries(&changed);
            assert!(entries(&whole[..at]).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_before_a_footer_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut whole = bytes;
            whole.extend(MAGIC);
            let _ = entries(&whole);
        }
    }
}
