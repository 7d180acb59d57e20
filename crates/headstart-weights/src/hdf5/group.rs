//! What a group holds: symbol tables of old, link messages, and links in a fractal heap (specification III.A–D, IV.A.2).

use super::btree;
use super::cursor::Cursor;
use super::fractal_heap::FractalHeap;
use super::header::{Message, kind};
use super::input::Input;
use super::{Hdf5Error, UNDEFINED};

/// Name and object header of each link of the group with these messages.
pub(super) fn links(input: &Input, messages: &[Message]) -> Result<Vec<(String, u64)>, Hdf5Error> {
    let mut links = Vec::new();
    for message in messages {
        let refuse_shared = || match message.shared {
            true => Err(Hdf5Error::unsupported("links that are shared between groups")),
            false => Ok(()),
        };
        match message.kind {
            kind::SYMBOL_TABLE => {
                refuse_shared()?;
                let mut cursor = Cursor::new(&message.body, "symbol table");
                let (tree, heap) = (cursor.u64()?, cursor.u64()?);
                symbols(input, tree, heap, &mut links)?;
            }
            kind::LINK => {
                refuse_shared()?;
                links.push(link(&message.body)?);
            }
            kind::LINK_INFO => {
                refuse_shared()?;
                let mut cursor = Cursor::new(&message.body, "link info");
                cursor.skip(1)?;
                let flags = cursor.u8()?;
                cursor.skip(if flags & 1 != 0 { 8 } else { 0 })?;
                let (heap, names) = (cursor.u64()?, cursor.u64()?);
                if heap != UNDEFINED {
                    let heap = FractalHeap::open(input, heap)?;
                    for record in btree::records(input, names, btree::LINK_NAMES)? {
                        // A hash of the name, then the place in the heap.
                        let place = record.get(4..).unwrap_or_default();
                        links.push(link(&heap.object(input, place)?)?);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(links)
}

/// A link message.
fn link(body: &[u8]) -> Result<(String, u64), Hdf5Error> {
    let mut cursor = Cursor::new(body, "link");
    match cursor.u8()? {
        1 => {}
        version => return Err(Hdf5Error::unsupported(format!("version {version} of a link"))),
    }
    let flags = cursor.u8()?;
    let sort = if flags & 0x08 != 0 { cursor.u8()? } else { 0 };
    cursor.skip(if flags & 0x04 != 0 { 8 } else { 0 })?;
    cursor.skip(if flags & 0x10 != 0 { 1 } else { 0 })?;
    let length = cursor.uint(1 << (flags & 3))?;
    let name = name_of(cursor.take(usize::try_from(length).unwrap_or(usize::MAX))?)?;
    match sort {
        0 => Ok((name, cursor.u64()?)),
        1 => Err(soft(&name)),
        64 => Err(Hdf5Error::Outside(format!("`{name}` is a link to another file"))),
        other => Err(Hdf5Error::unsupported(format!("link `{name}` of kind {other}"))),
    }
}

fn soft(name: &str) -> Hdf5Error {
    Hdf5Error::unsupported(format!("`{name}`, a soft link"))
}

/// A name that can be part of a path.
fn name_of(bytes: &[u8]) -> Result<String, Hdf5Error> {
    let name = String::from_utf8_lossy(bytes);
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(Hdf5Error::malformed(format!("`{}` is no name of an object", name.escape_debug())));
    }
    Ok(name.into_owned())
}

/// The entries of a symbol table.
fn symbols(input: &Input, tree: u64, heap: u64, links: &mut Vec<(String, u64)>) -> Result<(), Hdf5Error> {
    let start = input.structure(heap, 32)?;
    let mut cursor = Cursor::new(&start, "local heap");
    cursor.expect(b"HEAP", 0)?;
    cursor.skip(3)?;
    let length = cursor.u64()?;
    cursor.skip(8)?;
    let names = input.structure(cursor.u64()?, length)?;
    for node in btree::children_of_group(input, tree)? {
        let start = input.structure(node, 8)?;
        let mut cursor = Cursor::new(&start, "symbol table node");
        cursor.expect(b"SNOD", 1)?;
        cursor.skip(1)?;
        let count = cursor.u16()?;
        let entries = input.structure(node.saturating_add(8), u64::from(count) * 40)?;
        let mut cursor = Cursor::new(&entries, "symbol table entry");
        for _ in 0..count {
            let name_at = usize::try_from(cursor.u64()?).ok();
            let header = cursor.u64()?;
            let cached = cursor.u32()?;
            cursor.skip(20)?;
            let name = name_at.and_then(|at| names.get(at..));
            let name = name.ok_or_else(|| Hdf5Error::malformed("the name of an object lies outside of its heap"))?;
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            // Names may be shared by entries; each is paid for.
            input.charge(name.len() as u64)?;
            let name = name_of(name)?;
            if cached == 2 {
                return Err(soft(&name));
            }
            links.push((name, header));
        }
    }
    Ok(())
}
