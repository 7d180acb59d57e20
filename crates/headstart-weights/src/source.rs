//! Bytes that are read by place: of a file, of a part of one, or in memory.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Seek, SeekFrom};
use std::sync::Mutex;

/// Where the bytes are.
enum Bytes {
    /// A range of a file that begins at the offset.
    File(Mutex<File>, u64),
    Memory(Vec<u8>),
}

/// Bytes of a known length. Nothing is allocated for a range that does not lie in it.
pub(crate) struct Source {
    bytes: Bytes,
    length: u64,
}

impl Source {
    /// `length` bytes of a file from `start`.
    pub(crate) fn file(file: File, start: u64, length: u64) -> Self {
        Self { bytes: Bytes::File(Mutex::new(file), start), length }
    }

    /// Bytes in memory.
    pub(crate) fn memory(bytes: Vec<u8>) -> Self {
        let length = bytes.len() as u64;
        Self { bytes: Bytes::Memory(bytes), length }
    }

    /// Number of bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The end of a range, if it lies in the source.
    pub(crate) fn end(&self, at: u64, length: u64) -> Option<u64> {
        at.checked_add(length).filter(|end| *end <= self.length)
    }

    /// The bytes of a range.
    pub(crate) fn read(&self, at: u64, length: u64) -> Result<Vec<u8>, Error> {
        let end = self.end(at, length).ok_or(ErrorKind::UnexpectedEof)?;
        match &self.bytes {
            Bytes::Memory(bytes) => Ok(bytes[at as usize..end as usize].to_vec()),
            Bytes::File(file, start) => {
                let mut file = file.lock().map_err(|_| Error::other("another reader failed"))?;
                let mut bytes = vec![0; length as usize];
                file.seek(SeekFrom::Start(start + at))?;
                file.read_exact(&mut bytes)?;
                Ok(bytes)
            }
        }
    }
}
