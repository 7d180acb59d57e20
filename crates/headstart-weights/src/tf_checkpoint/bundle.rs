//! What stands in the index of a checkpoint: where each tensor lies, and how those cut in slices are put together.
//!
//! Source: `protobuf/tensor_bundle.proto` and `framework/tensor_slice.proto` of TensorFlow 2.21; keys of slices as in
//! `util/saved_tensor_slice_util.cc` and `lib/strings/ordered_code.cc`.

use crate::tensorflow::Shape;

/// The entry with the empty key.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Header {
    #[prost(int32, tag = "1")]
    pub(super) shards: i32,
    /// 1 for big-endian.
    #[prost(int32, tag = "2")]
    pub(super) endianness: i32,
}

/// One tensor, or one slice of one.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Entry {
    #[prost(int32, tag = "1")]
    pub(super) dtype: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) shape: Option<Shape>,
    #[prost(int32, tag = "3")]
    pub(super) shard: i32,
    #[prost(int64, tag = "4")]
    pub(super) offset: i64,
    #[prost(int64, tag = "5")]
    pub(super) size: i64,
    #[prost(fixed32, tag = "6")]
    pub(super) checksum: u32,
    #[prost(message, repeated, tag = "7")]
    pub(super) slices: Vec<Slice>,
}

/// A part of a tensor: a range of each axis.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Slice {
    #[prost(message, repeated, tag = "1")]
    pub(super) ranges: Vec<Range>,
}

/// A range of an axis; all of it where the length is absent.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Range {
    #[prost(int64, tag = "1")]
    start: i64,
    #[prost(int64, optional, tag = "2")]
    length: Option<i64>,
}

impl Slice {
    /// First index and length on each axis, if they lie in a tensor of this shape.
    pub(super) fn within(&self, shape: &[usize]) -> Option<Vec<(usize, usize)>> {
        if self.ranges.len() != shape.len() {
            return None;
        }
        let range = |(range, whole): (&Range, &usize)| {
            let start = usize::try_from(range.start).ok()?;
            let length = range.length.map_or(Some(*whole), |length| usize::try_from(length).ok())?;
            (start.checked_add(length)? <= *whole).then_some((start, length))
        };
        self.ranges.iter().zip(shape).map(range).collect()
    }

    /// The key under which a slice of the tensor `name` is listed.
    pub(super) fn key(&self, name: &[u8]) -> Vec<u8> {
        // Zero, which no name begins with; the name with 0 and 255 escaped and 0, 1 behind it; the number of axes.
        let mut key = vec![0];
        for byte in name {
            match byte {
                0 => key.extend([0, 0xFF]),
                0xFF => key.extend([0xFF, 0]),
                other => key.push(*other),
            }
        }
        key.extend([0, 1]);
        let axes = (self.ranges.len() as u64).to_be_bytes();
        let zeros = axes.iter().take_while(|byte| **byte == 0).count();
        key.push((8 - zeros) as u8);
        key.extend(&axes[zeros..]);
        for range in &self.ranges {
            signed(&mut key, range.start);
            signed(&mut key, range.length.unwrap_or(-1));
        }
        key
    }
}

/// A signed number such that keys sort as numbers do: as many ones as there are bytes, a zero, then the number; the whole
/// is inverted where it is negative.
fn signed(key: &mut Vec<u8>, number: i64) {
    let magnitude = if number < 0 { !number } else { number };
    let length = (64 - magnitude.leading_zeros() as usize) / 7 + 1;
    let wide = i128::from(number).to_be_bytes();
    let mut bytes = wide[16 - length..].to_vec();
    let header =
        if length <= 8 { [(0xFF00_u16 >> length) as u8, 0] } else { [0xFF, (0xFF00_u16 >> (length - 8)) as u8] };
    bytes.iter_mut().zip(header).for_each(|(byte, ones)| *byte ^= ones);
    key.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_slices_are_those_that_tensorflow_writes() {
        // From an index that TensorFlow 2.21 wrote: rows 4 to 6 of ten, all three columns.
        let range = |start, length| Range { start, length: Some(length) };
        let slice = Slice { ranges: vec![range(4, 3), range(0, 3)] };
        assert_eq!(slice.key(b"p/kernel"), b"\0p/kernel\0\x01\x01\x02\x84\x83\x80\x83");
        // From ordered_code_test.cc and its description.
        let number = |number| {
            let mut key = Vec::new();
            signed(&mut key, number);
            key
        };
        assert_eq!(number(63), [0xBF]);
        assert_eq!(number(64), [0xC0, 0x40]);
        assert_eq!(number(-1), [0x7F]);
        assert_eq!(number(-64), [0x40]);
        assert_eq!(number(-65), [0x3F, 0xBF]);
        assert_eq!(number(8192), [0xE0, 0x20, 0x00]);
        assert_eq!(number(i64::MAX), [0xFF, 0xC0, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!(number(i64::MIN), [0x00, 0x3F, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn slices_that_leave_their_tensor_are_none() {
        let slice = |start, length| Slice { ranges: vec![Range { start, length }] };
        assert_eq!(slice(1, Some(2)).within(&[3]), Some(vec![(1, 2)]));
        assert_eq!(slice(0, None).within(&[3]), Some(vec![(0, 3)]));
        for (start, length) in [(1, None), (2, Some(2)), (-1, Some(1)), (0, Some(-2)), (i64::MAX, Some(i64::MAX))] {
            assert_eq!(slice(start, length).within(&[3]), None);
        }
        assert_eq!(slice(0, None).within(&[3, 1]), None);
    }
}
