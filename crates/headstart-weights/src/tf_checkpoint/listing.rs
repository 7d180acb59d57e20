//! The tensors of an index: their names, and the parts that make them up.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message;

use super::bundle::{Entry, Header};
use super::{malformed, table};
use crate::array::{ArrayInfo, DType, checked_count};
use crate::error::WeightsError;
use crate::tensorflow;

/// What `tf.train.Checkpoint` puts behind the name of a variable.
const ATTRIBUTE: &str = "/.ATTRIBUTES/VARIABLE_VALUE";

/// A tensor may be cut in this many slices.
const MOST_SLICES: usize = 4096;

/// A tensor of the index.
pub(super) enum Tensor {
    Array(ArrayInfo, Vec<Part>),
    /// What holds no numbers, in words.
    Skipped(String),
}

/// Where bytes of a tensor lie, and their checksum.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) shard: i32,
    pub(super) at: u64,
    pub(super) length: u64,
    pub(super) checksum: u32,
    /// First index and length on each axis; nothing where the part is all of the tensor.
    ranges: Option<Vec<(usize, usize)>>,
}

/// An index as read.
pub(super) struct Listing<'a> {
    path: &'a Path,
    header: Header,
    /// Tensors by key, and slices by theirs, which begin with zero.
    entries: BTreeMap<Vec<u8>, Entry>,
}

impl<'a> Listing<'a> {
    pub(super) fn parse(path: &'a Path, index: &[u8]) -> Result<Self, WeightsError> {
        let wrong = |reason: String| malformed(path, reason);
        let mut header = None;
        let mut entries = BTreeMap::new();
        for (key, value) in table::entries(index).map_err(wrong)? {
            let shown = String::from_utf8_lossy(&key).escape_debug().to_string();
            let wrong = |error: prost::DecodeError| malformed(path, format!("entry `{shown}` cannot be read: {error}"));
            if key.is_empty() {
                header = Some(Header::decode(value.as_slice()).map_err(wrong)?);
            } else {
                entries.insert(key, Entry::decode(value.as_slice()).map_err(wrong)?);
            }
        }
        let header = header.ok_or_else(|| malformed(path, "its index has no header"))?;
        match header.endianness {
            0 => Ok(Self { path, header, entries }),
            _ => Err(WeightsError::Unsupported {
                format: super::NAME,
                path: path.to_owned(),
                what: "big-endian numbers".to_owned(),
            }),
        }
    }

    /// Number of shards, as claimed.
    pub(super) fn shards(&self) -> i32 {
        self.header.shards
    }

    /// Every tensor in the order of the index.
    pub(super) fn tensors(&self) -> Result<Vec<Tensor>, WeightsError> {
        let is_slice = |key: &[u8]| key.first() == Some(&0);
        let whole = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        let short = |name: &str| name.strip_suffix(ATTRIBUTE).map(str::to_owned);
        let tensors = || self.entries.iter().filter(|(key, _)| !is_slice(key));
        let mut uses: BTreeMap<String, usize> = BTreeMap::new();
        for (key, _) in tensors() {
            let name = whole(key);
            *uses.entry(short(&name).unwrap_or(name)).or_default() += 1;
        }
        let mut slices = self.entries.keys().filter(|key| is_slice(key)).count();
        let mut found = Vec::new();
        for (key, entry) in tensors() {
            let name = whole(key);
            let name = short(&name).filter(|short| uses.get(short) == Some(&1)).unwrap_or(name);
            slices = slices.saturating_sub(entry.slices.len());
            found.push(match tensorflow::dtype(entry.dtype) {
                Err(what) => Tensor::Skipped(format!("{name} ({what})")),
                Ok(dtype) => {
                    let info = ArrayInfo { shape: self.shape(&name, entry, dtype)?, name, dtype };
                    let parts = self.parts(key, entry, &info)?;
                    Tensor::Array(info, parts)
                }
            });
        }
        match slices {
            0 => Ok(found),
            _ => Err(malformed(self.path, format!("{slices} slices belong to no tensor"))),
        }
    }

    fn shape(&self, name: &str, entry: &Entry, dtype: DType) -> Result<Vec<usize>, WeightsError> {
        let lengths = entry.shape.as_ref().map_or(Some(Vec::new()), tensorflow::Shape::lengths);
        let lengths = lengths.filter(|lengths| checked_count(lengths, dtype).is_some());
        lengths.ok_or_else(|| malformed(self.path, format!("`{name}` has no usable shape")))
    }

    fn parts(&self, key: &[u8], entry: &Entry, info: &ArrayInfo) -> Result<Vec<Part>, WeightsError> {
        let wrong = |what: String| malformed(self.path, format!("`{}` {what}", info.name));
        if entry.slices.is_empty() {
            return Ok(vec![self.part(entry, info.byte_len(), &info.name, None)?]);
        }
        if entry.slices.len() > MOST_SLICES {
            let (what, limit) = (format!("the slices of `{}`", info.name), MOST_SLICES as u64);
            let claimed = entry.slices.len() as u64;
            return Err(WeightsError::TooLarge { path: self.path.to_owned(), what, claimed, limit });
        }
        let mut parts: Vec<Part> = Vec::with_capacity(entry.slices.len());
        let mut covered = 0usize;
        for slice in &entry.slices {
            let ranges = slice.within(&info.shape).ok_or_else(|| wrong("has a slice that lies outside".to_owned()))?;
            let found = self.entries.get(&slice.key(key)).ok_or_else(|| wrong("lacks a slice".to_owned()))?;
            let shape: Vec<usize> = ranges.iter().map(|(_, length)| *length).collect();
            if found.dtype != entry.dtype || self.shape(&info.name, found, info.dtype)? != shape {
                return Err(wrong("has a slice of another shape or type".to_owned()));
            }
            if parts.iter().any(|part| part.meets(&ranges)) {
                return Err(wrong("has slices that overlap".to_owned()));
            }
            let count: usize = shape.iter().product();
            covered = covered.saturating_add(count);
            parts.push(self.part(found, count * info.dtype.size(), &info.name, Some(ranges))?);
        }
        // Apart from each other and inside: they cover all of it if they are as many.
        match covered == info.element_count() {
            true => Ok(parts),
            false => Err(wrong(format!("has slices for {covered} of {} values", info.element_count()))),
        }
    }

    fn part(
        &self,
        entry: &Entry,
        needed: usize,
        name: &str,
        ranges: Option<Vec<(usize, usize)>>,
    ) -> Result<Part, WeightsError> {
        let wrong = |what: &str| malformed(self.path, format!("`{name}` has no usable {what}"));
        let at = u64::try_from(entry.offset).map_err(|_| wrong("place"))?;
        let length = u64::try_from(entry.size).map_err(|_| wrong("size"))?;
        if length != needed as u64 {
            return Err(malformed(self.path, format!("`{name}` has {length} bytes, its shape needs {needed}")));
        }
        Ok(Part { shard: entry.shard, at, length, checksum: entry.checksum, ranges })
    }
}

impl Part {
    pub(super) fn is_whole(&self) -> bool {
        self.ranges.is_none()
    }

    /// Whether the part shares an element with another one.
    fn meets(&self, other: &[(usize, usize)]) -> bool {
        let Some(ranges) = &self.ranges else { return true };
        let meet = |((start, length), (other, others)): (&(usize, usize), &(usize, usize))| {
            *length > 0 && *others > 0 && *start < other + others && *other < start + length
        };
        ranges.iter().zip(other).all(meet)
    }

    /// Copies the bytes of a slice to where they belong among those of the tensor.
    pub(super) fn place(&self, whole: &mut [u8], bytes: &[u8], info: &ArrayInfo) {
        let element = info.dtype.size();
        let Some((&(first, width), outer)) = self.ranges.as_deref().and_then(<[_]>::split_last) else {
            whole.copy_from_slice(bytes);
            return;
        };
        if bytes.is_empty() {
            return;
        }
        for (number, row) in bytes.chunks_exact(width * element).enumerate() {
            let (mut left, mut at, mut stride) = (number, first, info.shape[outer.len()]);
            for (axis, (start, length)) in outer.iter().enumerate().rev() {
                at += (start + left % length) * stride;
                left /= length;
                stride *= info.shape[axis];
            }
            whole[at * element..][..row.len()].copy_from_slice(row);
        }
    }
}
