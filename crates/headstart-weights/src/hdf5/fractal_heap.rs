//! Fractal heaps, where links and attributes go when they are many (specification III.G).

use super::cursor::{Cursor, checked};
use super::input::Input;
use super::{Hdf5Error, UNDEFINED};

/// A heap whose managed and tiny objects can be read.
pub(super) struct FractalHeap {
    width: u64,
    /// Bytes of a block of the first row.
    first: u64,
    largest_direct: u64,
    /// Bytes of an offset and of a length in a place.
    offset_width: usize,
    length_width: usize,
    root: u64,
    /// Rows of the root if it is indirect.
    rows: u16,
}

impl FractalHeap {
    pub(super) fn open(input: &Input, address: u64) -> Result<Self, Hdf5Error> {
        let nonsense = || Hdf5Error::malformed("a heap of links or attributes makes no sense");
        let start = input.structure(address, 9)?;
        let filters = u16::from_le_bytes([start[7], start[8]]);
        if filters != 0 {
            return Err(Hdf5Error::unsupported("compressed heaps of links or attributes"));
        }
        let bytes = input.structure(address, 146)?;
        let mut cursor = Cursor::new(checked(&bytes, "heap header")?, "heap header");
        cursor.expect(b"FRHP", 0)?;
        cursor.skip(5)?;
        let largest_object = u64::from(cursor.u32()?);
        cursor.skip(12 * 8)?;
        let width = u64::from(cursor.u16()?);
        let (first, largest_direct) = (cursor.u64()?, cursor.u64()?);
        let bits = u64::from(cursor.u16()?);
        cursor.skip(2)?;
        let (root, rows) = (cursor.u64()?, cursor.u16()?);
        let is_sane = width > 0
            && width <= 1024
            && first.is_power_of_two()
            && largest_direct.is_power_of_two()
            && first <= largest_direct
            && largest_direct <= 1 << 32
            && (1..=64).contains(&bits)
            && rows <= 64;
        if !is_sane {
            return Err(nonsense());
        }
        let by_block = u64::from(largest_direct.ilog2()).div_ceil(8);
        let by_object = u64::from(largest_object.max(1).ilog2()) / 8 + 1;
        Ok(Self {
            width,
            first,
            largest_direct,
            offset_width: bits.div_ceil(8) as usize,
            length_width: by_block.min(by_object) as usize,
            root,
            rows,
        })
    }

    /// The object at a place, which is what records of the index hold.
    pub(super) fn object(&self, input: &Input, place: &[u8]) -> Result<Vec<u8>, Hdf5Error> {
        let mut cursor = Cursor::new(place, "place in a heap");
        let flags = cursor.u8()?;
        match (flags >> 4) & 3 {
            0 => {
                let (offset, length) = (cursor.uint(self.offset_width)?, cursor.uint(self.length_width)?);
                let block = self.block_with(input, offset)?;
                input.structure(block, length)
            }
            // A tiny object lies in the place itself; its length less one is in the flags.
            2 => Ok(cursor.take(usize::from(flags & 0x0F) + 1)?.to_vec()),
            _ => Err(Hdf5Error::unsupported("links or attributes that are larger than a block of their heap")),
        }
    }

    /// Bytes of a block in a row.
    fn row_block(&self, row: u32) -> u64 {
        self.first.checked_shl(row.saturating_sub(1)).unwrap_or(u64::MAX)
    }

    /// The address of what lies at an offset of the heap.
    fn block_with(&self, input: &Input, offset: u64) -> Result<u64, Hdf5Error> {
        let outside = || Hdf5Error::malformed("a link or attribute lies outside of its heap");
        let (mut node, mut rows, mut at) = (self.root, u32::from(self.rows), offset);
        // Each pass goes one level down; the span of a level is a part of that above it.
        for _ in 0..16 {
            if node == UNDEFINED {
                return Err(outside());
            }
            if rows == 0 {
                return node.checked_add(at).ok_or_else(outside);
            }
            // Row 0 and row 1 have blocks of the same size, then the size doubles.
            let mut row = 0;
            while row < rows {
                let span = self.row_block(row).saturating_mul(self.width);
                if at < span {
                    break;
                }
                at -= span;
                row += 1;
            }
            if row == rows {
                return Err(outside());
            }
            let block = self.row_block(row);
            let index = u64::from(row) * self.width + at / block;
            at %= block;
            // Signature, version, address of the heap's header, offset of the block.
            let prefix = 4 + 1 + 8 + self.offset_width as u64;
            let signature = input.structure(node, 4)?;
            if signature != b"FHIB" {
                return Err(Hdf5Error::malformed("a heap has a block that does not belong to it"));
            }
            let entry = node.checked_add(prefix + index * 8).ok_or_else(outside)?;
            node = Cursor::new(&input.structure(entry, 8)?, "block of a heap").u64()?;
            rows = if block <= self.largest_direct {
                0
            } else {
                // An indirect block spans `first × width × 2^(rows − 1)` bytes.
                (block / self.first / self.width).max(1).ilog2() + 1
            };
        }
        Err(outside())
    }
}
