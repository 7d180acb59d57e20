//! The messages of a graph, as far as constants need them.
//!
//! Source: `framework/graph.proto`, `node_def.proto`, `attr_value.proto` and `tensor.proto` of TensorFlow 2.21. The graph
//! itself is never taken apart at once: [`nodes`] goes from node to node, and one is decoded at a time.

use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::array::{ArrayInfo, DType};
use crate::source::Source;
use crate::tensorflow::Shape;

/// Largest node in bytes, which is what protobuf allows a message.
const LARGEST_NODE: u64 = (1 << 31) - 1;

/// Bytes that a key and a length take at most.
const LONGEST_KEY: u64 = 20;

/// An operation.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Node {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) op: String,
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<Attribute>,
}

/// An entry of the map of attributes. Its value is decoded when it is asked for: decoded ones are large even when empty.
#[derive(Clone, PartialEq, prost::Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Value {
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) text: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "6")]
    pub(super) dtype: Option<i32>,
    #[prost(message, optional, tag = "7")]
    pub(super) shape: Option<Shape>,
    #[prost(message, optional, tag = "8")]
    pub(super) tensor: Option<Tensor>,
}

/// A constant's values: all bytes in `content`, or numbers one by one, of which the last stands for all that follow.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Tensor {
    #[prost(int32, tag = "1")]
    pub(super) dtype: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) shape: Option<Shape>,
    #[prost(bytes = "vec", tag = "4")]
    content: Vec<u8>,
    #[prost(float, repeated, tag = "5")]
    floats: Vec<f32>,
    #[prost(double, repeated, tag = "6")]
    doubles: Vec<f64>,
    #[prost(int32, repeated, tag = "7")]
    ints: Vec<i32>,
    #[prost(int64, repeated, tag = "10")]
    longs: Vec<i64>,
    #[prost(bool, repeated, tag = "11")]
    truths: Vec<bool>,
    #[prost(int32, repeated, tag = "13")]
    halves: Vec<i32>,
    #[prost(uint32, repeated, tag = "16")]
    unsigned: Vec<u32>,
    #[prost(uint64, repeated, tag = "17")]
    unsigned_longs: Vec<u64>,
}

impl Node {
    /// An attribute's value.
    pub(super) fn take(&mut self, name: &str) -> Result<Value, String> {
        let at = self.attributes.iter().position(|attribute| attribute.name == name);
        let at = at.ok_or_else(|| format!("`{}` has no attribute `{name}`", self.name))?;
        let value = self.attributes.swap_remove(at).value;
        Value::decode(value.as_slice()).map_err(|error| format!("`{name}` of `{}` cannot be read: {error}", self.name))
    }
}

impl Tensor {
    /// Bytes of the values that are there.
    pub(super) fn stored(&self, dtype: DType) -> u64 {
        (self.content.len() + self.numbers(dtype).len()) as u64
    }

    /// The array's bytes, little-endian.
    pub(super) fn into_bytes(self, info: &ArrayInfo) -> Result<Vec<u8>, String> {
        let needed = info.byte_len();
        if !self.content.is_empty() {
            return match self.content.len() == needed {
                true => Ok(self.content),
                false => Err(format!("has {} bytes, its shape needs {needed}", self.content.len())),
            };
        }
        let mut bytes = self.numbers(info.dtype);
        let (there, size) = (bytes.len(), info.dtype.size());
        if there > needed {
            return Err(format!("has {there} bytes of numbers, its shape needs {needed}"));
        }
        // The last number stands for all that follow; where there is none, it is zero.
        let last = there.checked_sub(size).map_or_else(|| vec![0; size], |at| bytes[at..].to_vec());
        bytes.reserve_exact(needed - there);
        while bytes.len() < needed {
            bytes.extend(&last);
        }
        Ok(bytes)
    }

    /// The numbers that stand one by one, as bytes.
    fn numbers(&self, dtype: DType) -> Vec<u8> {
        fn all<T: Copy, const N: usize>(numbers: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
            let mut all = Vec::with_capacity(numbers.len() * N);
            numbers.iter().for_each(|number| all.extend(bytes(*number)));
            all
        }
        match dtype {
            DType::F32 => all(&self.floats, f32::to_le_bytes),
            DType::F64 => all(&self.doubles, f64::to_le_bytes),
            DType::F16 | DType::BF16 => all(&self.halves, |number| (number as u16).to_le_bytes()),
            DType::I64 => all(&self.longs, i64::to_le_bytes),
            DType::I32 => all(&self.ints, i32::to_le_bytes),
            DType::I16 | DType::U16 => all(&self.ints, |number| (number as u16).to_le_bytes()),
            DType::I8 | DType::U8 => all(&self.ints, |number| [number as u8]),
            DType::Bool => all(&self.truths, |truth| [u8::from(truth)]),
            DType::U32 => all(&self.unsigned, u32::to_le_bytes),
            DType::U64 => all(&self.unsigned_longs, u64::to_le_bytes),
        }
    }
}

/// Where a node lies in its graph.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) length: u64,
}

/// Hands the place and bytes of each node of a graph on, and answers how many functions it has.
pub(super) fn nodes(
    graph: &Source,
    mut node: impl FnMut(Place, Vec<u8>) -> Result<(), String>,
) -> Result<usize, String> {
    let failed = |error: std::io::Error| error.to_string();
    let (mut at, mut functions) = (0, 0);
    while at < graph.length() {
        let start = graph.read(at, LONGEST_KEY.min(graph.length() - at)).map_err(failed)?;
        let mut rest = start.as_slice();
        let wrong = |_| "a field of its graph cannot be read".to_owned();
        let (tag, kind) = decode_key(&mut rest).map_err(wrong)?;
        let (length, is_message) = match kind {
            WireType::LengthDelimited => (decode_varint(&mut rest).map_err(wrong)?, true),
            WireType::Varint => decode_varint(&mut rest).map(|_| (0, false)).map_err(wrong)?,
            WireType::ThirtyTwoBit => (4, false),
            WireType::SixtyFourBit => (8, false),
            _ => return Err("a field of its graph is of no known kind".to_owned()),
        };
        let body = at + (start.len() - rest.len()) as u64;
        let end = body.checked_add(length).filter(|end| *end <= graph.length());
        at = end.ok_or("a field of its graph ends beyond it: it is cut short or changed")?;
        match (tag, is_message) {
            (1, true) if length > LARGEST_NODE => {
                return Err(format!("a node claims {length} bytes, the limit is {LARGEST_NODE}"));
            }
            (1, true) => node(Place { at: body, length }, graph.read(body, length).map_err(failed)?)?,
            (2, true) => functions += 1,
            (1 | 2, false) => return Err("its graph has a number where a message should be".to_owned()),
            _ => {}
        }
    }
    Ok(functions)
}
