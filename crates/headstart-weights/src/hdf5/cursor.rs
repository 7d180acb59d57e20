//! Numbers one after the other, as HDF5 writes them: little-endian.

use super::Hdf5Error;

/// A place in bytes of structure that moves forward as they are read.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// What is being read, for messages.
    what: &'static str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, at: 0, what }
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Hdf5Error> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| Hdf5Error::malformed(format!("a {} ends too early", self.what)))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub(super) fn skip(&mut self, length: usize) -> Result<(), Hdf5Error> {
        self.take(length).map(|_| ())
    }

    /// Goes on to the next multiple of eight, counted from the beginning.
    pub(super) fn align(&mut self) -> Result<(), Hdf5Error> {
        self.skip(self.at.next_multiple_of(8) - self.at)
    }

    /// An unsigned number of up to eight bytes.
    pub(super) fn uint(&mut self, width: usize) -> Result<u64, Hdf5Error> {
        let mut bytes = [0; 8];
        let taken = self.take(width)?;
        let Some(room) = bytes.get_mut(..width) else {
            return Err(Hdf5Error::malformed(format!("a {} has a number of {width} bytes", self.what)));
        };
        room.copy_from_slice(taken);
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn u8(&mut self) -> Result<u8, Hdf5Error> {
        Ok(self.uint(1)? as u8)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Hdf5Error> {
        Ok(self.uint(2)? as u16)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Hdf5Error> {
        Ok(self.uint(4)? as u32)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Hdf5Error> {
        self.uint(8)
    }

    /// The signature and version that must come next.
    pub(super) fn expect(&mut self, signature: &[u8; 4], version: u8) -> Result<(), Hdf5Error> {
        if self.take(4)? != signature {
            return Err(Hdf5Error::malformed(format!("there is no {} where one should be", self.what)));
        }
        match self.u8()? {
            found if found == version => Ok(()),
            found => Err(Hdf5Error::unsupported(format!("version {found} of a {}", self.what))),
        }
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }
}

/// The bytes before a checksum that holds for them.
pub(super) fn checked<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a [u8], Hdf5Error> {
    let Some((content, sum)) = bytes.split_last_chunk::<4>() else {
        return Err(Hdf5Error::malformed(format!("a {what} ends too early")));
    };
    // A fuzzer cannot guess checksums, and whoever means harm can compute them.
    if !cfg!(fuzzing) && checksum(content) != u32::from_le_bytes(*sum) {
        return Err(Hdf5Error::malformed(format!("the checksum of a {what} is wrong")));
    }
    Ok(content)
}

/// Bob Jenkins's `lookup3`, which HDF5 puts behind its newer structures.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut left = bytes;
    while !left.is_empty() {
        let (now, later) = left.split_at(left.len().min(12));
        let mut block = [0; 12];
        block[..now.len()].copy_from_slice(now);
        let word = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
        a = a.wrapping_add(word(0));
        b = b.wrapping_add(word(4));
        c = c.wrapping_add(word(8));
        left = later;
        if left.is_empty() {
            for (turned, by) in [(14, 0), (11, 1), (25, 2), (16, 3), (4, 4), (14, 5), (24, 6)] {
                match by % 3 {
                    0 => c = (c ^ b).wrapping_sub(b.rotate_left(turned)),
                    1 => a = (a ^ c).wrapping_sub(c.rotate_left(turned)),
                    _ => b = (b ^ a).wrapping_sub(a.rotate_left(turned)),
                }
            }
        } else {
            a = a.wrapping_sub(c) ^ c.rotate_left(4);
            c = c.wrapping_add(b);
            b = b.wrapping_sub(a) ^ a.rotate_left(6);
            a = a.wrapping_add(c);
            c = c.wrapping_sub(b) ^ b.rotate_left(8);
            b = b.wrapping_add(a);
            a = a.wrapping_sub(c) ^ c.rotate_left(16);
            c = c.wrapping_add(b);
            b = b.wrapping_sub(a) ^ a.rotate_left(19);
            a = a.wrapping_add(c);
            c = c.wrapping_sub(b) ^ b.rotate_left(4);
            b = b.wrapping_add(a);
        }
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_lookup3() {
        // From the driver at the foot of lookup3.c.
        assert_eq!(checksum(b""), 0xdead_beef);
        assert_eq!(checksum(b"Four score and seven years ago"), 0x1777_0551);
    }

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let mut cursor = Cursor::new(&[1, 2, 3], "test");
        assert_eq!(cursor.u16().unwrap(), 0x0201);
        assert!(cursor.u16().is_err());
        assert!(cursor.take(usize::MAX).is_err());
        assert!(Cursor::new(&[0; 16], "test").uint(9).is_err());
    }
}
