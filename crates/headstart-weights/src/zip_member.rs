//! Members of zip archives, which may claim any size.
//!
//! The directory is walked entry by entry (crate `rawzip`), so that a number of members which a file only claims costs
//! nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, FileReader, ZipArchive, ZipArchiveEntryWayfinder};

use crate::error::WeightsError;
use crate::limits;
use crate::source::Source;

/// Smaller members are harmless however well they compress.
const BOMB_FROM: u64 = 1 << 20;

/// The first bytes of every archive.
pub(crate) const SIGNATURE: [u8; 4] = *b"PK\x03\x04";

/// An open archive.
pub(crate) struct Archive {
    path: PathBuf,
    format: &'static str,
    zip: ZipArchive<FileReader>,
    members: BTreeMap<String, Member>,
    /// Bytes of the file.
    length: u64,
    /// Bytes of the file that may still be unpacked: members that share them would make little seem much.
    stored_left: u64,
    /// Bytes that members may still be unpacked to, all together.
    unpacked_left: u64,
}

/// What the directory says of a member.
#[derive(Clone, Copy)]
pub(crate) struct Member {
    place: ZipArchiveEntryWayfinder,
    packing: Packing,
    /// Bytes in the file.
    pub(crate) stored: u64,
    /// Bytes when unpacked, as claimed.
    pub(crate) claimed: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Packing {
    Stored,
    Deflated,
    Other,
}

impl Archive {
    /// Opens an archive; `format` is for messages.
    pub(crate) fn open(path: &Path, format: &'static str) -> Result<Self, WeightsError> {
        let failed = |source| WeightsError::Io { path: path.to_owned(), source };
        let broken = |error: rawzip::Error| malformed(path, format, format!("it is no whole zip archive: {error}"));
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
        let zip = ZipArchive::from_file(file, &mut buffer).map_err(broken)?;
        let mut members = BTreeMap::new();
        let mut entries = zip.entries(&mut buffer);
        while let Some(entry) = entries.next_entry().map_err(broken)? {
            let packing = match entry.compression_method() {
                _ if entry.flags().is_encrypted() => Packing::Other,
                CompressionMethod::STORE => Packing::Stored,
                CompressionMethod::DEFLATE => Packing::Deflated,
                _ => Packing::Other,
            };
            let member = Member {
                place: entry.wayfinder(),
                packing,
                stored: entry.compressed_size_hint(),
                claimed: entry.uncompressed_size_hint(),
            };
            let name = String::from_utf8_lossy(entry.file_path().as_bytes()).into_owned();
            if members.contains_key(&name) {
                return Err(malformed(path, format, format!("two members are called `{}`", name.escape_debug())));
            }
            members.insert(name, member);
        }
        let unpacked_left = limits::unpacked(length);
        Ok(Self { path: path.to_owned(), format, zip, members, length, stored_left: length, unpacked_left })
    }

    /// Names of all members, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// Bytes of the file.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// A member, if there is one of that name.
    pub(crate) fn member(&self, name: &str) -> Option<Member> {
        self.members.get(name).copied()
    }

    fn malformed(&self, reason: String) -> WeightsError {
        malformed(&self.path, self.format, reason)
    }

    fn present(&self, name: &str) -> Result<Member, WeightsError> {
        self.member(name).ok_or_else(|| self.malformed(format!("it holds no member `{}`", name.escape_debug())))
    }

    /// A member's bytes as they unpack, from its beginning. Whoever reads to the end is told if the checksum is wrong.
    pub(crate) fn reader(&self, name: &str) -> Result<Box<dyn Read + '_>, WeightsError> {
        let member = self.present(name)?;
        let broken = |error| self.malformed(format!("member `{name}` cannot be found: {error}"));
        let entry = self.zip.get_entry(member.place).map_err(broken)?;
        let packed = entry.reader();
        match member.packing {
            // A fuzzer cannot guess checksums, and whoever means harm can compute them.
            Packing::Stored if cfg!(fuzzing) => Ok(Box::new(packed)),
            Packing::Deflated if cfg!(fuzzing) => Ok(Box::new(DeflateDecoder::new(packed))),
            Packing::Stored => Ok(Box::new(entry.verifying_reader(packed))),
            Packing::Deflated => Ok(Box::new(entry.verifying_reader(DeflateDecoder::new(packed)))),
            Packing::Other => Err(WeightsError::Unsupported {
                format: self.format,
                path: self.path.clone(),
                what: format!("member `{name}`, which is encrypted or not packed with deflate"),
            }),
        }
    }

    /// The bytes of a member of up to `limit` bytes.
    pub(crate) fn read(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, WeightsError> {
        let Member { stored, claimed, .. } = self.present(name)?;
        let expanded = stored.saturating_mul(limits::MOST_EXPANSION).max(BOMB_FROM);
        let limit = limit.min(limits::MEMBER).min(expanded).min(self.unpacked_left);
        if claimed > limit {
            let (path, what) = (self.path.clone(), format!("member `{name}` of {stored} bytes"));
            return Err(WeightsError::TooLarge { path, what, claimed, limit });
        }
        self.stored_left = self
            .stored_left
            .checked_sub(stored)
            .ok_or_else(|| self.malformed(format!("member `{name}` shares its bytes with others")))?;
        self.unpacked_left -= claimed;
        // The claim may still be too small or too large; memory grows with what is really there.
        let mut bytes = Vec::new();
        let reason = match self.reader(name)?.take(claimed + 1).read_to_end(&mut bytes) {
            Ok(read) if read as u64 == claimed => return Ok(bytes),
            Ok(read) => format!("member `{name}` has {read} bytes and claims {claimed}"),
            Err(error) => format!("member `{name}` cannot be unpacked: {error}"),
        };
        Err(self.malformed(reason))
    }

    /// The bytes of a member that will be read in parts: from the file where it is stored as it is, else unpacked.
    pub(crate) fn source(&mut self, name: &str) -> Result<Source, WeightsError> {
        let failed = |source| WeightsError::Io { path: self.path.clone(), source };
        let member = self.present(name)?;
        if member.packing != Packing::Stored {
            return Ok(Source::memory(self.read(name, limits::MEMBER)?));
        }
        let broken = |error| self.malformed(format!("member `{name}` cannot be found: {error}"));
        let (start, end) = self.zip.get_entry(member.place).map_err(broken)?.compressed_data_range();
        if end > self.length || member.claimed != member.stored {
            return Err(self.malformed(format!("member `{name}` is cut off")));
        }
        Ok(Source::file(File::open(&self.path).map_err(failed)?, start, member.stored))
    }
}

fn malformed(path: &Path, format: &'static str, reason: String) -> WeightsError {
    WeightsError::Malformed { format, path: path.to_owned(), reason }
}
