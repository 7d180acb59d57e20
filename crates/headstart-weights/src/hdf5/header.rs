//! Object headers: the messages that say what an object is (HDF5 File Format Specification 3.0, IV.A).

use std::collections::BTreeSet;

use super::Hdf5Error;
use super::cursor::{Cursor, checked};
use super::input::Input;

/// Kinds of messages that we read.
pub(super) mod kind {
    pub(in super::super) const NOTHING: u16 = 0x00;
    pub(in super::super) const DATASPACE: u16 = 0x01;
    pub(in super::super) const LINK_INFO: u16 = 0x02;
    pub(in super::super) const DATATYPE: u16 = 0x03;
    pub(in super::super) const FILL_VALUE: u16 = 0x05;
    pub(in super::super) const LINK: u16 = 0x06;
    pub(in super::super) const EXTERNAL_FILES: u16 = 0x07;
    pub(in super::super) const LAYOUT: u16 = 0x08;
    pub(in super::super) const GROUP_INFO: u16 = 0x0A;
    pub(in super::super) const FILTERS: u16 = 0x0B;
    pub(in super::super) const ATTRIBUTE: u16 = 0x0C;
    pub(super) const CONTINUATION: u16 = 0x10;
    pub(in super::super) const SYMBOL_TABLE: u16 = 0x11;
    pub(in super::super) const ATTRIBUTE_INFO: u16 = 0x15;
}

/// One message.
pub(super) struct Message {
    pub(super) kind: u16,
    /// The body refers to a message elsewhere.
    pub(super) shared: bool,
    pub(super) body: Vec<u8>,
}

/// More messages than this belong to no object that is meant well; compact attributes are far fewer.
const MOST_MESSAGES: usize = 65_536;

/// Every message of the object header at `address`.
pub(super) fn messages(input: &Input, address: u64) -> Result<Vec<Message>, Hdf5Error> {
    let start = input.structure(address, 16)?;
    let mut header = if start.starts_with(b"OHDR") {
        Header::open_version_2(input, address)?
    } else {
        Header::open_version_1(input, address, &start)?
    };
    while let Some((at, length)) = header.blocks.pop() {
        if !header.visited.insert(at) {
            return Err(Hdf5Error::malformed("an object header continues in a circle"));
        }
        let block = input.structure(at, length)?;
        header.read_block(&block)?;
    }
    Ok(header.messages)
}

struct Header {
    version: u8,
    /// Messages of version 2 carry their creation order.
    ordered: bool,
    messages: Vec<Message>,
    /// Continuations yet to be read.
    blocks: Vec<(u64, u64)>,
    visited: BTreeSet<u64>,
}

impl Header {
    fn open_version_1(input: &Input, address: u64, start: &[u8]) -> Result<Self, Hdf5Error> {
        let mut cursor = Cursor::new(start, "object header");
        match cursor.u8()? {
            1 => {}
            found => return Err(Hdf5Error::malformed(format!("an object header has version {found}"))),
        }
        cursor.skip(7)?;
        let length = u64::from(cursor.u32()?);
        let mut header = Self::new(1, false);
        let block = input.structure(address.saturating_add(16), length)?;
        header.read_block(&block)?;
        Ok(header)
    }

    fn open_version_2(input: &Input, address: u64) -> Result<Self, Hdf5Error> {
        // The longest prefix: signature, version, flags, four times, two limits, length of the first block.
        let longest = (input.length() - address).min(34);
        let start = input.structure(address, longest)?;
        let mut cursor = Cursor::new(&start, "object header");
        cursor.expect(b"OHDR", 2)?;
        let flags = cursor.u8()?;
        cursor.skip(if flags & 0x20 != 0 { 16 } else { 0 })?;
        cursor.skip(if flags & 0x10 != 0 { 4 } else { 0 })?;
        let length = cursor.uint(1 << (flags & 3))?;
        let prefix = longest - cursor.left() as u64;
        let whole = prefix.checked_add(length).and_then(|length| length.checked_add(4));
        let whole = whole.ok_or_else(|| Hdf5Error::malformed("an object header is longer than any file"))?;
        let bytes = input.structure(address, whole)?;
        let content = checked(&bytes, "object header")?;
        let mut header = Self::new(2, flags & 0x04 != 0);
        header.read_messages(&content[prefix as usize..])?;
        Ok(header)
    }

    fn new(version: u8, ordered: bool) -> Self {
        Self { version, ordered, messages: Vec::new(), blocks: Vec::new(), visited: BTreeSet::new() }
    }

    fn read_block(&mut self, block: &[u8]) -> Result<(), Hdf5Error> {
        if self.version == 1 || block.is_empty() {
            return self.read_messages(block);
        }
        let content = checked(block, "continued object header")?;
        match content.strip_prefix(b"OCHK") {
            Some(content) => self.read_messages(content),
            None => Err(Hdf5Error::malformed("an object header continues where it does not")),
        }
    }

    fn read_messages(&mut self, content: &[u8]) -> Result<(), Hdf5Error> {
        let mut cursor = Cursor::new(content, "message of an object header");
        let prefix = match (self.version, self.ordered) {
            (1, _) => 8,
            (_, false) => 4,
            (_, true) => 6,
        };
        // What is left over and too short for a message is a gap.
        while cursor.left() >= prefix {
            let (kind, length, flags);
            if self.version == 1 {
                kind = cursor.u16()?;
                length = cursor.u16()?;
                flags = cursor.u8()?;
                cursor.skip(3)?;
            } else {
                kind = u16::from(cursor.u8()?);
                length = cursor.u16()?;
                flags = cursor.u8()?;
                cursor.skip(if self.ordered { 2 } else { 0 })?;
            }
            let body = cursor.take(usize::from(length))?;
            if kind == kind::CONTINUATION {
                let mut place = Cursor::new(body, "continuation of an object header");
                self.blocks.push((place.u64()?, place.u64()?));
            } else if kind != 0 {
                self.messages.push(Message { kind, shared: flags & 0x02 != 0, body: body.to_vec() });
            }
            if self.messages.len() + self.blocks.len() > MOST_MESSAGES {
                let claimed = (self.messages.len() + self.blocks.len()) as u64;
                let what = "the messages of one object".to_owned();
                return Err(Hdf5Error::TooLarge { what, claimed, limit: MOST_MESSAGES as u64 });
            }
        }
        Ok(())
    }
}
