//! Data sets of numbers: where the values lie and how they are packed (specification IV.A.2.i and l).

use std::io::Read;

use super::btree::{self, Chunk};
use super::cursor::Cursor;
use super::datatype::{self, Datatype, Number};
use super::header::{self, Message, kind};
use super::input::Input;
use super::{Hdf5Error, UNDEFINED};
use crate::array::{DType, checked_count};
use crate::limits;

/// Deflate cannot pack tighter than this.
const DEFLATE_LIMIT: u64 = 1032;

/// A data set without its values.
#[derive(Debug)]
pub(crate) struct Dataset {
    /// Lengths of the axes.
    pub(crate) shape: Vec<usize>,
    /// What its numbers are, or in words what else it holds.
    pub(crate) dtype: Result<DType, String>,
    big_endian: bool,
    layout: Layout,
    filters: Vec<Filter>,
}

#[derive(Debug)]
enum Layout {
    Compact(Vec<u8>),
    Contiguous {
        address: u64,
        length: u64,
    },
    /// Chunks of a shape, in a tree.
    Chunked {
        tree: u64,
        chunk: Vec<usize>,
    },
    /// One chunk, and where there are filters its bytes as stored and the mask of those left out.
    Single {
        address: u64,
        chunk: Vec<usize>,
        stored: Option<(u64, u32)>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Filter {
    Deflate,
    /// Bytes sorted by their place in elements of this size.
    Shuffle(usize),
}

impl Dataset {
    pub(super) fn open(input: &Input, header: u64) -> Result<Self, Hdf5Error> {
        let messages = header::messages(input, header)?;
        if messages.iter().any(|message| message.kind == kind::EXTERNAL_FILES) {
            return Err(Hdf5Error::Outside("an array whose values are in another file".to_owned()));
        }
        let one = |wanted: u16, what: &str| {
            let found = messages.iter().find(|message| message.kind == wanted);
            found.ok_or_else(|| Hdf5Error::malformed(format!("an array has no {what}")))
        };
        let shape = datatype::shape(one(kind::DATASPACE, "shape")?)?;
        let shape = shape.ok_or_else(|| Hdf5Error::malformed("an array has no elements, not even none"))?;
        let datatype = Datatype::parse(one(kind::DATATYPE, "type")?)?;
        let layout = Layout::parse(one(kind::LAYOUT, "layout")?, shape.len(), datatype.size())?;
        let filters = match messages.iter().find(|message| message.kind == kind::FILTERS) {
            Some(message) => filters(message, datatype.size())?,
            None => Vec::new(),
        };
        let (dtype, big_endian) = match &datatype {
            Datatype::Number(Number { dtype, big_endian }) => (Ok(*dtype), *big_endian),
            // HDF5 as h5py writes it has no bfloat16; nothing else that Keras saves is opaque and of two bytes.
            Datatype::Opaque(2) => (Ok(DType::BF16), false),
            other => (Err(other.to_string()), false),
        };
        if let Ok(dtype) = dtype
            && checked_count(&shape, dtype).is_none()
        {
            return Err(Hdf5Error::malformed(format!("an array has shape {shape:?}, which no memory holds")));
        }
        let dataset = Self { shape, dtype, big_endian, layout, filters };
        dataset.check_size(input)?;
        Ok(dataset)
    }

    fn byte_len(&self) -> u64 {
        let size = self.dtype.as_ref().map_or(0, |dtype| dtype.size());
        (self.shape.iter().product::<usize>() * size) as u64
    }

    /// What can be known before reading: values that lie together are all there.
    fn check_size(&self, input: &Input) -> Result<(), Hdf5Error> {
        let needed = if self.dtype.is_ok() { self.byte_len() } else { return Ok(()) };
        if needed == 0 {
            return Ok(());
        }
        let there = match &self.layout {
            Layout::Compact(bytes) => bytes.len() as u64,
            Layout::Contiguous { address, length } => {
                if *address == UNDEFINED {
                    return Err(unwritten());
                }
                input.check(*address, *length)?;
                *length
            }
            Layout::Chunked { tree, .. } if *tree == UNDEFINED => return Err(unwritten()),
            Layout::Single { address, .. } if *address == UNDEFINED => return Err(unwritten()),
            Layout::Chunked { .. } | Layout::Single { .. } => {
                let limit = input.length().saturating_mul(DEFLATE_LIMIT);
                if needed > limit {
                    return Err(Hdf5Error::TooLarge { what: "an array in chunks".to_owned(), claimed: needed, limit });
                }
                needed
            }
        };
        if there < needed {
            return Err(Hdf5Error::malformed(format!(
                "an array of shape {:?} needs {needed} bytes and has {there}",
                self.shape
            )));
        }
        Ok(())
    }

    pub(super) fn read(&self, input: &Input) -> Result<Vec<u8>, Hdf5Error> {
        input.refill();
        let needed = self.byte_len();
        let mut values = match &self.layout {
            _ if needed == 0 => Vec::new(),
            Layout::Compact(bytes) => {
                let bytes = bytes.get(..needed as usize);
                bytes.ok_or_else(|| Hdf5Error::malformed("an array is cut off"))?.to_vec()
            }
            Layout::Contiguous { address, .. } => input.values(*address, needed)?,
            Layout::Chunked { tree, chunk } => {
                let chunks = btree::chunks(input, *tree, self.shape.len())?;
                self.gather(input, chunk, chunks.iter().map(|chunk| (chunk, u64::from(chunk.length))))?
            }
            Layout::Single { address, chunk, stored } => {
                let whole = chunk.iter().product::<usize>() as u64 * self.element() as u64;
                let (length, mask) = stored.unwrap_or((whole, 0));
                let only = Chunk { length: 0, mask, offsets: vec![0; self.shape.len()], address: *address };
                self.gather(input, chunk, std::iter::once((&only, length)))?
            }
        };
        if self.big_endian {
            values.chunks_exact_mut(self.element()).for_each(<[u8]>::reverse);
        }
        Ok(values)
    }

    /// Bytes of a number.
    fn element(&self) -> usize {
        self.dtype.as_ref().map_or(1, |dtype| dtype.size())
    }

    /// Puts chunks together; every element must come from one.
    fn gather<'a>(
        &self,
        input: &Input,
        chunk_shape: &[usize],
        chunks: impl Iterator<Item = (&'a Chunk, u64)> + Clone,
    ) -> Result<Vec<u8>, Hdf5Error> {
        let element = self.element();
        let needed = self.byte_len();
        let stored = chunks.clone().fold(0u64, |sum, (_, length)| sum.saturating_add(length));
        let tightest = if self.filters.contains(&Filter::Deflate) { DEFLATE_LIMIT } else { 1 };
        if stored > input.length() {
            return Err(Hdf5Error::malformed("the chunks of an array share their bytes"));
        }
        let limit = limits::unpacked(stored).min(stored.saturating_mul(tightest));
        let chunk_len = chunk_shape.iter().product::<usize>() as u64 * element as u64;
        for claimed in [needed, chunk_len] {
            if claimed > limit {
                let what = format!("an array of shape {:?} in chunks of {chunk_shape:?}", self.shape);
                return Err(Hdf5Error::TooLarge { what, claimed, limit });
            }
        }
        // The grid has no more chunks than the file lists, so what follows is bounded by the file.
        let grid: Vec<usize> =
            self.shape.iter().zip(chunk_shape).map(|(length, chunk)| length.div_ceil(*chunk)).collect();
        let expected = grid.iter().try_fold(1usize, |all, count| all.checked_mul(*count));
        if expected != Some(chunks.clone().count()) {
            return Err(Hdf5Error::malformed("an array has more or fewer chunks than its shape needs"));
        }
        let mut seen = vec![false; expected.unwrap_or(0)];
        let mut values = vec![0; needed as usize];
        for (chunk, length) in chunks {
            let mut cell = 0;
            for ((offset, count), side) in chunk.offsets.iter().zip(&grid).zip(chunk_shape) {
                let position = usize::try_from(*offset).ok().filter(|offset| offset % side == 0);
                let position = position.map(|offset| offset / side).filter(|position| position < count);
                let position = position.ok_or_else(|| Hdf5Error::malformed("a chunk lies outside of its array"))?;
                cell = cell * count + position;
            }
            if std::mem::replace(&mut seen[cell], true) {
                return Err(Hdf5Error::malformed("two chunks lie in the same place"));
            }
            let bytes = self.unpack(input.values(chunk.address, length)?, chunk.mask, chunk_len as usize)?;
            self.place(&mut values, &bytes, chunk, chunk_shape, element);
        }
        Ok(values)
    }

    /// Undoes the filters of a chunk.
    fn unpack(&self, mut bytes: Vec<u8>, mask: u32, length: usize) -> Result<Vec<u8>, Hdf5Error> {
        for (index, filter) in self.filters.iter().enumerate().rev() {
            if mask & (1 << index) != 0 {
                continue;
            }
            match filter {
                Filter::Deflate => {
                    let mut unpacked = Vec::new();
                    let mut decoder = flate2::read::ZlibDecoder::new(bytes.as_slice()).take(length as u64 + 1);
                    decoder
                        .read_to_end(&mut unpacked)
                        .map_err(|error| Hdf5Error::malformed(format!("a chunk cannot be unpacked: {error}")))?;
                    bytes = unpacked;
                }
                Filter::Shuffle(size) => {
                    let count = bytes.len() / size;
                    let mut sorted = bytes.clone();
                    for (place, plane) in bytes.chunks_exact(count.max(1)).take(*size).enumerate() {
                        for (index, byte) in plane.iter().enumerate().take(count) {
                            sorted[index * size + place] = *byte;
                        }
                    }
                    bytes = sorted;
                }
            }
        }
        match bytes.len() == length {
            true => Ok(bytes),
            false => Err(Hdf5Error::malformed(format!("a chunk has {} bytes, its shape needs {length}", bytes.len()))),
        }
    }

    /// Copies the part of a chunk that lies in the array, row by row.
    fn place(&self, values: &mut [u8], bytes: &[u8], chunk: &Chunk, chunk_shape: &[usize], element: usize) {
        let Some((row, outer)) = chunk_shape.split_last() else {
            values.copy_from_slice(bytes);
            return;
        };
        let rank = self.shape.len();
        let start: Vec<usize> = chunk.offsets.iter().map(|offset| *offset as usize).collect();
        let width = (*row).min(self.shape[rank - 1] - start[rank - 1]) * element;
        let rows: usize = outer.iter().product();
        for (number, stored) in bytes.chunks_exact(row * element).enumerate().take(rows) {
            let (mut left, mut at, mut stride, mut inside) = (number, start[rank - 1], self.shape[rank - 1], true);
            for axis in (0..rank - 1).rev() {
                let index = start[axis] + left % outer[axis];
                left /= outer[axis];
                inside &= index < self.shape[axis];
                at += index * stride;
                stride *= self.shape[axis];
            }
            if inside {
                values[at * element..][..width].copy_from_slice(&stored[..width]);
            }
        }
    }
}

fn unwritten() -> Hdf5Error {
    Hdf5Error::malformed("an array was never written")
}

impl Layout {
    fn parse(message: &Message, rank: usize, element: usize) -> Result<Self, Hdf5Error> {
        let mut cursor = Cursor::new(&message.body, "layout");
        let (version, class) = (cursor.u8()?, cursor.u8()?);
        if message.shared || !(3..=4).contains(&version) {
            return Err(Hdf5Error::unsupported(format!("version {version} of a layout of values")));
        }
        match class {
            0 => {
                let length = usize::from(cursor.u16()?);
                Ok(Self::Compact(cursor.take(length)?.to_vec()))
            }
            1 => Ok(Self::Contiguous { address: cursor.u64()?, length: cursor.u64()? }),
            2 if version == 3 => {
                let axes = cursor.u8()?;
                let tree = cursor.u64()?;
                let chunk = chunk_shape(&mut cursor, axes, 4, rank, element)?;
                Ok(Self::Chunked { tree, chunk })
            }
            2 => {
                let (flags, axes) = (cursor.u8()?, cursor.u8()?);
                let width = usize::from(cursor.u8()?);
                let chunk = chunk_shape(&mut cursor, axes, width, rank, element)?;
                match cursor.u8()? {
                    1 => {
                        let stored = if flags & 2 != 0 { Some((cursor.u64()?, cursor.u32()?)) } else { None };
                        Ok(Self::Single { address: cursor.u64()?, chunk, stored })
                    }
                    index => Err(Hdf5Error::unsupported(format!("arrays in chunks with an index of type {index}"))),
                }
            }
            3 => Err(Hdf5Error::Outside("a virtual array, put together from other places".to_owned())),
            other => Err(Hdf5Error::malformed(format!("an array has a layout of class {other}"))),
        }
    }
}

/// Lengths of a chunk's axes; the one after the last is the size of an element.
fn chunk_shape(
    cursor: &mut Cursor<'_>,
    axes: u8,
    width: usize,
    rank: usize,
    element: usize,
) -> Result<Vec<usize>, Hdf5Error> {
    let wrong = || Hdf5Error::malformed("the chunks of an array do not fit it");
    if usize::from(axes) != rank + 1 {
        return Err(wrong());
    }
    let mut lengths = (0..axes)
        .map(|_| usize::try_from(cursor.uint(width)?).ok().filter(|length| *length > 0).ok_or_else(wrong))
        .collect::<Result<Vec<usize>, _>>()?;
    let last = lengths.pop();
    let bytes = lengths.iter().try_fold(element, |bytes, length| bytes.checked_mul(*length));
    match bytes {
        Some(bytes) if last == Some(element) && bytes <= isize::MAX as usize => Ok(lengths),
        _ => Err(wrong()),
    }
}

/// The filters of a data set in the order in which they were applied.
fn filters(message: &Message, element: usize) -> Result<Vec<Filter>, Hdf5Error> {
    let mut cursor = Cursor::new(&message.body, "list of filters");
    let (version, count) = (cursor.u8()?, cursor.u8()?);
    if message.shared || !(1..=2).contains(&version) {
        return Err(Hdf5Error::unsupported(format!("version {version} of a list of filters")));
    }
    cursor.skip(if version == 1 { 6 } else { 0 })?;
    let mut found = Vec::new();
    for _ in 0..count {
        let id = cursor.u16()?;
        let name = if version == 1 || id >= 256 { usize::from(cursor.u16()?) } else { 0 };
        cursor.skip(2)?;
        let values = usize::from(cursor.u16()?);
        cursor.skip(if version == 1 { name.next_multiple_of(8) } else { name })?;
        cursor.skip(values * 4 + if version == 1 && values % 2 == 1 { 4 } else { 0 })?;
        let filter = match id {
            1 => Filter::Deflate,
            2 => Filter::Shuffle(element.max(1)),
            3 => return Err(Hdf5Error::unsupported("arrays with a checksum (filter fletcher32)")),
            other => return Err(Hdf5Error::unsupported(format!("arrays packed with filter {other}"))),
        };
        if found.contains(&filter) {
            return Err(Hdf5Error::malformed("a filter is applied twice"));
        }
        found.push(filter);
    }
    Ok(found)
}
