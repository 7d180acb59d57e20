//! Attributes of text: names of layers and weights, versions, configurations (specification IV.A.2.m and v).

use std::collections::BTreeMap;

use super::btree;
use super::cursor::Cursor;
use super::datatype::{self, Datatype};
use super::fractal_heap::FractalHeap;
use super::header::{self, kind};
use super::input::Input;
use super::{Hdf5Error, UNDEFINED};

/// Every attribute of an object that is text or a list of texts. An empty list is one whatever its type, since NumPy
/// makes lists of nothing floats.
pub(super) fn texts(input: &Input, header: u64) -> Result<BTreeMap<String, Vec<String>>, Hdf5Error> {
    let mut found = Texts { input, heaps: BTreeMap::new(), texts: BTreeMap::new() };
    for message in header::messages(input, header)? {
        match message.kind {
            kind::ATTRIBUTE if message.shared => {
                return Err(Hdf5Error::unsupported("attributes that are shared between objects"));
            }
            kind::ATTRIBUTE => found.add(&message.body)?,
            kind::ATTRIBUTE_INFO => {
                let mut cursor = Cursor::new(&message.body, "attribute info");
                cursor.skip(1)?;
                let flags = cursor.u8()?;
                cursor.skip(if flags & 1 != 0 { 2 } else { 0 })?;
                let (heap, names) = (cursor.u64()?, cursor.u64()?);
                if heap == UNDEFINED {
                    continue;
                }
                let heap = FractalHeap::open(input, heap)?;
                for record in btree::records(input, names, btree::ATTRIBUTE_NAMES)? {
                    found.add(&heap.object(input, &record)?)?;
                }
            }
            _ => {}
        }
    }
    Ok(found.texts)
}

/// What is paid for a text besides its bytes.
const OF_TEXT: u64 = 32;

struct Texts<'a> {
    input: &'a Input,
    /// Collections of the global heap that were read, by address.
    heaps: BTreeMap<u64, Vec<u8>>,
    texts: BTreeMap<String, Vec<String>>,
}

impl Texts<'_> {
    /// Adds what an attribute message holds, if it is text.
    fn add(&mut self, body: &[u8]) -> Result<(), Hdf5Error> {
        let mut cursor = Cursor::new(body, "attribute");
        let version = cursor.u8()?;
        let flags = cursor.u8()?;
        let lengths = [cursor.u16()?, cursor.u16()?, cursor.u16()?].map(usize::from);
        match version {
            1 => {}
            2 | 3 if flags & 3 != 0 => {
                return Err(Hdf5Error::unsupported("attributes with a type or shape that is elsewhere"));
            }
            2 => {}
            3 => cursor.skip(1)?,
            other => return Err(Hdf5Error::unsupported(format!("version {other} of an attribute"))),
        }
        let mut part = |length: usize| -> Result<&[u8], Hdf5Error> {
            let part = cursor.take(length)?;
            if version == 1 {
                cursor.align()?;
            }
            Ok(part)
        };
        let name = text_of(part(lengths[0])?);
        let datatype = Datatype::from_body(part(lengths[1])?)?;
        let shape = datatype::shape_from(part(lengths[2])?)?;
        let count = shape.map_or(Some(0), |shape| shape.iter().try_fold(1usize, |all, axis| all.checked_mul(*axis)));
        let size = datatype.size();
        let count = count.filter(|count| count.checked_mul(size).is_some_and(|bytes| bytes <= cursor.left()));
        let count =
            count.ok_or_else(|| Hdf5Error::malformed(format!("attribute `{name}` is larger than its object")))?;
        let elements = cursor.rest();
        // Texts take more room here than in the file, where those of no bytes take none at all.
        self.input.charge((count as u64).saturating_mul(OF_TEXT))?;
        let values = match datatype {
            _ if count == 0 => Vec::new(),
            Datatype::Text(0) => vec![String::new(); count],
            Datatype::Text(size) => elements.chunks_exact(size).take(count).map(text_of).collect(),
            Datatype::TextInHeap => {
                elements.chunks_exact(16).take(count).map(|place| self.in_heap(place)).collect::<Result<_, _>>()?
            }
            _ => return Ok(()),
        };
        self.texts.insert(name, values);
        Ok(())
    }

    /// A text of variable length, which lies in a collection of the global heap (specification III.E).
    fn in_heap(&mut self, place: &[u8]) -> Result<String, Hdf5Error> {
        let mut cursor = Cursor::new(place, "place of a text");
        let (length, address, index) = (cursor.u32()? as usize, cursor.u64()?, cursor.u32()?);
        if length == 0 || address == UNDEFINED || address == 0 {
            return Ok(String::new());
        }
        if !self.heaps.contains_key(&address) {
            let start = self.input.structure(address, 16)?;
            let mut cursor = Cursor::new(&start, "global heap");
            cursor.expect(b"GCOL", 1)?;
            cursor.skip(3)?;
            let collection = self.input.structure(address, cursor.u64()?)?;
            self.heaps.insert(address, collection);
        }
        let missing = || Hdf5Error::malformed("a text is not where it should be");
        let collection = self.heaps.get(&address).and_then(|heap| heap.get(16..)).ok_or_else(missing)?;
        let mut cursor = Cursor::new(collection, "global heap");
        while cursor.left() >= 16 {
            let found = u32::from(cursor.u16()?);
            cursor.skip(6)?;
            let size = usize::try_from(cursor.u64()?).map_err(|_| missing())?;
            // Each step is paid for: a list of many texts must not cost its square.
            self.input.charge(1)?;
            if found == 0 {
                break;
            }
            let object = cursor.take(size)?;
            if found == index {
                let text = object.get(..length).ok_or_else(missing)?;
                self.input.charge(length as u64)?;
                return Ok(text_of(text));
            }
            // The last object may end with the collection.
            cursor.skip((size.next_multiple_of(8) - size).min(cursor.left()))?;
        }
        Err(missing())
    }
}

/// Text up to its first zero. Names that are not UTF-8 stay distinct enough to be told in messages.
fn text_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
