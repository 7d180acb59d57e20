//! B-trees of both versions, read from end to end (specification III.A).

use super::cursor::{Cursor, checked};
use super::input::Input;
use super::{Hdf5Error, UNDEFINED};

/// Trees of the first version are balanced and wide: this depth holds more than any file.
const MOST_LEVELS: u8 = 16;

/// Type of a tree of links by name, and bytes of a record: a hash and a place in the heap.
pub(super) const LINK_NAMES: (u8, usize) = (5, 11);

/// Type of a tree of attributes by name: a place in the heap, flags, the order of creation and a hash.
pub(super) const ATTRIBUTE_NAMES: (u8, usize) = (8, 17);

/// One chunk of a data set.
pub(super) struct Chunk {
    /// Bytes as stored.
    pub(super) length: u32,
    /// Filters that were left out, a bit each.
    pub(super) mask: u32,
    /// Place of its first element.
    pub(super) offsets: Vec<u64>,
    pub(super) address: u64,
}

/// The symbol table nodes of a group.
pub(super) fn children_of_group(input: &Input, root: u64) -> Result<Vec<u64>, Hdf5Error> {
    let mut found = Vec::new();
    walk(input, root, 0, 8, &mut |_, child| {
        found.push(child);
        Ok(())
    })?;
    Ok(found)
}

/// The chunks of a data set of `rank` axes.
pub(super) fn chunks(input: &Input, root: u64, rank: usize) -> Result<Vec<Chunk>, Hdf5Error> {
    let mut found = Vec::new();
    walk(input, root, 1, 8 + 8 * (rank + 1), &mut |key, address| {
        let mut cursor = Cursor::new(key, "key of a chunk");
        let (length, mask) = (cursor.u32()?, cursor.u32()?);
        let offsets = (0..rank).map(|_| cursor.u64()).collect::<Result<_, _>>()?;
        found.push(Chunk { length, mask, offsets, address });
        Ok(())
    })?;
    Ok(found)
}

/// Takes a key and the address of what it stands for.
type Found<'a> = dyn FnMut(&[u8], u64) -> Result<(), Hdf5Error> + 'a;

/// Hands every leaf's keys and children on, from left to right.
fn walk(input: &Input, root: u64, sort: u8, key: usize, found: &mut Found<'_>) -> Result<(), Hdf5Error> {
    // Levels must fall by one from parent to child, so there is no circle.
    let mut open = vec![(root, None)];
    while let Some((address, expected)) = open.pop() {
        let start = input.structure(address, 24)?;
        let mut cursor = Cursor::new(&start, "tree node");
        cursor.skip(4)?;
        let (found_sort, level, count) = (cursor.u8()?, cursor.u8()?, cursor.u16()?);
        let level_is_right = expected.map_or(level <= MOST_LEVELS, |expected| level == expected);
        if !start.starts_with(b"TREE") || found_sort != sort || !level_is_right {
            return Err(Hdf5Error::malformed("a tree has a node that does not belong to it"));
        }
        let body = input.structure(address.saturating_add(24), u64::from(count) * (key as u64 + 8))?;
        let entries = body.chunks_exact(key + 8).map(|entry| entry.split_at(key));
        if level == 0 {
            for (key, child) in entries {
                found(key, Cursor::new(child, "tree node").u64()?)?;
            }
        } else {
            let children: Result<Vec<_>, Hdf5Error> =
                entries.map(|(_, child)| Ok((Cursor::new(child, "tree node").u64()?, Some(level - 1)))).collect();
            open.extend(children?.into_iter().rev());
        }
    }
    Ok(())
}

/// Every record of a tree of the second version, in order.
pub(super) fn records(input: &Input, address: u64, (sort, length): (u8, usize)) -> Result<Vec<Vec<u8>>, Hdf5Error> {
    let bytes = input.structure(address, 38)?;
    let mut cursor = Cursor::new(checked(&bytes, "tree header")?, "tree header");
    cursor.expect(b"BTHD", 0)?;
    let found = cursor.u8()?;
    let node = cursor.u32()?;
    let record = usize::from(cursor.u16()?);
    let depth = cursor.u16()?;
    cursor.skip(2)?;
    let (root, count) = (cursor.u64()?, cursor.u16()?);
    if found != sort || record != length || depth > u16::from(MOST_LEVELS) {
        return Err(Hdf5Error::malformed("the index of a heap makes no sense"));
    }
    let mut tree = Tree { input, sort, node: u64::from(node), record, records: Vec::new() };
    if root != UNDEFINED && count > 0 {
        let widths = tree.widths(usize::from(depth))?;
        tree.read(root, count, &widths)?;
    }
    Ok(tree.records)
}

struct Tree<'a> {
    input: &'a Input,
    sort: u8,
    /// Bytes of a node.
    node: u64,
    /// Bytes of a record.
    record: usize,
    records: Vec<Vec<u8>>,
}

/// Signature, version, type, checksum.
const NODE_OVERHEAD: u64 = 10;

impl Tree<'_> {
    /// Bytes of the counts behind a pointer to a child, for each level above the leaves.
    fn widths(&self, depth: usize) -> Result<Vec<(usize, usize)>, Hdf5Error> {
        let nonsense = || Hdf5Error::malformed("the nodes of an index are too small");
        let bytes_for = |count: u64| (count.max(1).ilog2() / 8 + 1) as usize;
        let most = self.node.checked_sub(NODE_OVERHEAD).ok_or_else(nonsense)? / self.record as u64;
        let of_count = bytes_for(most);
        let (mut below, mut of_total) = (most, 0);
        let mut widths = Vec::with_capacity(depth);
        for _ in 0..depth {
            widths.push((of_count, of_total));
            let pointer = (8 + of_count + of_total) as u64;
            let room = self.node.checked_sub(NODE_OVERHEAD + pointer).ok_or_else(nonsense)?;
            let most = room / (self.record as u64 + pointer);
            below = (most + 1).saturating_mul(below).saturating_add(most);
            of_total = bytes_for(below);
        }
        Ok(widths)
    }

    /// Reads a node; `widths` are those of the levels from the lowest to its own.
    fn read(&mut self, address: u64, count: u16, widths: &[(usize, usize)]) -> Result<(), Hdf5Error> {
        let count = usize::from(count);
        let mut length = NODE_OVERHEAD + (count * self.record) as u64;
        if let Some((of_count, of_total)) = widths.last() {
            length += ((count + 1) * (8 + of_count + of_total)) as u64;
        }
        let bytes = self.input.structure(address, length)?;
        let mut cursor = Cursor::new(checked(&bytes, "index node")?, "index node");
        cursor.expect(if widths.is_empty() { b"BTLF" } else { b"BTIN" }, 0)?;
        if cursor.u8()? != self.sort {
            return Err(Hdf5Error::malformed("an index has a node that does not belong to it"));
        }
        let records: Vec<Vec<u8>> =
            (0..count).map(|_| cursor.take(self.record).map(<[u8]>::to_vec)).collect::<Result<_, _>>()?;
        let Some(((of_count, of_total), below)) = widths.split_last() else {
            self.records.extend(records);
            return Ok(());
        };
        let mut records = records.into_iter();
        for _ in 0..=count {
            let child = cursor.u64()?;
            let in_child = cursor.uint(*of_count)?;
            cursor.skip(*of_total)?;
            let in_child = u16::try_from(in_child)
                .map_err(|_| Hdf5Error::malformed("an index has a node with too many records"))?;
            self.read(child, in_child, below)?;
            self.records.extend(records.next());
        }
        Ok(())
    }
}
