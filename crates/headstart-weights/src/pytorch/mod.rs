//! PyTorch's `torch.save`: a zip of a pickle and storages, or the older chain of pickles and storages.
//!
//! Layouts as in torch 2.15 `serialization.py`. The pickle is read by our own machine, which runs nothing.

mod pickle;
mod tensors;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Mutex;

use crate::array::ArrayInfo;
use crate::contents::{Contents, Listed};
use crate::error::WeightsError;
use crate::peek::{Kind, Peek};
use crate::zip_member::Archive;
use crate::{Checkpoint, Format, keras_v3, limits, tfjs};
use pickle::{Pickle, PickleError, Value};
use tensors::{Tensors, View};

const NAME: &str = "pytorch";

/// The zip form.
pub(crate) const ZIP_FORMAT: Format =
    Format { name: NAME, extensions: &["pt", "pth", "bin", "th", "ckpt"], recognizes: is_zip, open: open_zip };

/// The form before torch 1.6.
pub(crate) const LEGACY_FORMAT: Format =
    Format { name: "pytorch (legacy)", extensions: &["pth", "th", "tar"], recognizes: is_legacy, open: open_legacy };

/// Little-endian bytes of 0x1950a86a20f9469cfc6c.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Largest pickle of a zip in bytes.
const LARGEST_PICKLE: u64 = 256 << 20;

/// Largest storage in bytes.
const LARGEST_STORAGE: u64 = 64 << 30;

fn is_zip(peek: &Peek<'_>) -> bool {
    // A zip that belongs to no format is taken for a PyTorch file that was changed, and the reader says what is missing.
    peek.kind == Kind::Zip && !keras_v3::is_archive(peek) && !tfjs::recognizes(peek)
}

fn is_legacy(peek: &Peek<'_>) -> bool {
    let first = peek.first;
    first.len() > 14 && first.starts_with(&[0x80, 0x02, 0x8a, 0x0a]) && first[4..14] == MAGIC
}

struct Pytorch {
    tensors: Tensors,
    storages: Storages,
}

/// Where the bytes of the storages are.
enum Storages {
    /// Members `<folder>/data/<key>`.
    Zip { archive: Archive, folder: String },
    /// Offset in the file and number of elements by key.
    Legacy { file: Mutex<File>, places: BTreeMap<String, (u64, u64)> },
}

fn malformed(path: &Path, reason: impl Into<String>) -> WeightsError {
    WeightsError::Malformed { format: NAME, path: path.to_owned(), reason: reason.into() }
}

fn pickle_error(path: &Path, error: PickleError) -> WeightsError {
    match error {
        PickleError::Truncated => malformed(path, "its pickle ends too early"),
        PickleError::Malformed(reason) => malformed(path, format!("its pickle makes no sense: {reason}")),
        PickleError::Opcode(opcode) => {
            malformed(path, format!("its pickle uses opcode {opcode:#04x}, which no weights need"))
        }
        PickleError::Forbidden(global) => WeightsError::Forbidden { path: path.to_owned(), global },
        PickleError::TooLarge(what) => malformed(path, format!("{what} in its pickle are beyond any use")),
    }
}

fn open_zip(path: &Path) -> Result<Box<dyn Checkpoint>, WeightsError> {
    let archive = Archive::open(path, NAME)?;
    let name = archive
        .names()
        .find(|name| *name == "data.pkl" || name.ends_with("/data.pkl"))
        .map(str::to_owned)
        .ok_or_else(|| malformed(path, "the zip holds no data.pkl: it is no PyTorch file"))?;
    let folder = name.trim_end_matches("data.pkl").to_owned();
    let byte_order = format!("{folder}byteorder");
    if archive.member(&byte_order).is_some() {
        let mut text = Vec::new();
        let read = archive.reader(&byte_order)?.take(16).read_to_end(&mut text);
        read.map_err(|error| malformed(path, format!("member `{byte_order}` cannot be unpacked: {error}")))?;
        if text != b"little" {
            let text = String::from_utf8_lossy(&text).escape_debug().to_string();
            return Err(malformed(path, format!("its numbers are {text}-endian, which we do not read")));
        }
    }
    let claimed = archive.member(&name).map_or(0, |member| member.claimed);
    if claimed > LARGEST_PICKLE {
        let (what, limit) = ("its pickle".to_owned(), LARGEST_PICKLE);
        return Err(WeightsError::TooLarge { path: path.to_owned(), what, claimed, limit });
    }
    let pickle = Pickle::read(&mut BufReader::new(archive.reader(&name)?.take(LARGEST_PICKLE)), archive.length());
    let pickle = pickle.map_err(|error| pickle_error(path, error))?;
    let tensors = Tensors::find(NAME, path, &pickle, archive.length())?;
    for (key, storage) in &tensors.storages {
        let member = archive
            .member(&format!("{folder}data/{key}"))
            .ok_or_else(|| malformed(path, format!("storage `{key}` is not in the zip")))?;
        let (claimed, limit) = (member.claimed, LARGEST_STORAGE.min(limits::unpacked(member.stored)));
        if claimed > limit {
            let what = format!("storage `{key}`");
            return Err(WeightsError::TooLarge { path: path.to_owned(), what, claimed, limit });
        }
        if claimed < storage.byte_len() {
            return Err(malformed(
                path,
                format!("storage `{key}` has {claimed} bytes, {} are needed", storage.byte_len()),
            ));
        }
    }
    let storages = Storages::Zip { archive, folder };
    Ok(Box::new(Pytorch { tensors, storages }))
}

fn open_legacy(path: &Path) -> Result<Box<dyn Checkpoint>, WeightsError> {
    let failed = |source| WeightsError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut input = Counted { input: BufReader::new(file), count: 0 };
    let mut next = || Pickle::read(&mut input, length).map_err(|error| pickle_error(path, error));
    let magic = next()?;
    if magic.value(magic.root) != &Value::Bytes(MAGIC.to_vec()) {
        return Err(malformed(path, "its magic number is wrong"));
    }
    let protocol = next()?;
    if protocol.int(protocol.root) != Some(1001) {
        return Err(malformed(path, "its protocol is not 1001"));
    }
    let system = next()?;
    if !is_little_endian(&system) {
        return Err(malformed(path, "its numbers are big-endian, which we do not read"));
    }
    let object = next()?;
    let keys = next()?;
    let tensors = Tensors::find(LEGACY_FORMAT.name, path, &object, length)?;
    let order = keys.items(keys.root).ok_or_else(|| malformed(path, "it has no list of storages"))?;

    let mut at = input.count;
    let mut file = input.input.into_inner();
    let mut places = BTreeMap::new();
    for &key in order {
        let key = keys.text(key).ok_or_else(|| malformed(path, "the key of a storage is no text"))?.to_owned();
        let storage =
            tensors.storages.get(&key).ok_or_else(|| malformed(path, format!("storage `{key}` belongs to nothing")))?;
        let mut count = [0; 8];
        file.seek(SeekFrom::Start(at)).map_err(failed)?;
        file.read_exact(&mut count).map_err(|_| malformed(path, format!("storage `{key}` is cut off")))?;
        let count = u64::from_le_bytes(count);
        let end = count.checked_mul(storage.dtype.size() as u64).and_then(|bytes| bytes.checked_add(at + 8));
        match end {
            Some(end) if end <= length => {
                places.insert(key, (at + 8, count));
                at = end;
            }
            _ => return Err(malformed(path, format!("storage `{key}` is cut off"))),
        }
    }
    for (key, storage) in &tensors.storages {
        match places.get(key) {
            Some((_, count)) if *count >= storage.elements => {}
            _ => return Err(malformed(path, format!("storage `{key}` has fewer values than it claims"))),
        }
    }
    let storages = Storages::Legacy { file: Mutex::new(file), places };
    Ok(Box::new(Pytorch { tensors, storages }))
}

/// `sys_info["little_endian"]`.
fn is_little_endian(system: &Pickle) -> bool {
    let Value::Dict(pairs) = system.value(system.root) else { return false };
    pairs
        .iter()
        .any(|(key, value)| system.text(*key) == Some("little_endian") && system.value(*value) == &Value::Bool(true))
}

/// Counts what was read, so that the place after the pickles is known.
struct Counted {
    input: BufReader<File>,
    count: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.count += read as u64;
        Ok(read)
    }
}

impl Listed for Pytorch {
    fn contents(&self) -> &Contents {
        &self.tensors.contents
    }

    fn bytes(&self, index: usize, info: &ArrayInfo) -> Result<Vec<u8>, WeightsError> {
        if info.element_count() == 0 {
            return Ok(Vec::new());
        }
        let view = &self.tensors.views[index];
        let (first, span) = view.span(&info.shape);
        let size = info.dtype.size() as u64;
        let values = self.storage_bytes(view, first * size, span * size)?;
        Ok(view.gather(info, &values))
    }
}

impl Pytorch {
    /// Bytes `from .. from + length` of a storage.
    fn storage_bytes(&self, view: &View, from: u64, length: u64) -> Result<Vec<u8>, WeightsError> {
        let failed = |source| WeightsError::Io { path: self.tensors.contents.path.clone(), source };
        let poisoned = || failed(std::io::Error::other("another reader failed"));
        let mut bytes = Vec::new();
        match &self.storages {
            Storages::Zip { archive, folder } => {
                let mut member = archive.reader(&format!("{folder}data/{}", view.storage))?;
                let damaged =
                    |error| malformed(&self.tensors.contents.path, format!("storage `{}`: {error}", view.storage));
                std::io::copy(&mut member.by_ref().take(from), &mut std::io::sink()).map_err(damaged)?;
                member.take(length).read_to_end(&mut bytes).map_err(damaged)?;
            }
            Storages::Legacy { file, places } => {
                let (start, _) = places
                    .get(&view.storage)
                    .ok_or_else(|| malformed(&self.tensors.contents.path, "a storage is missing"))?;
                let mut file = file.lock().map_err(|_| poisoned())?;
                file.seek(SeekFrom::Start(start + from)).map_err(failed)?;
                file.by_ref().take(length).read_to_end(&mut bytes).map_err(failed)?;
            }
        }
        if bytes.len() as u64 != length {
            return Err(malformed(&self.tensors.contents.path, format!("storage `{}` is cut off", view.storage)));
        }
        Ok(bytes)
    }
}
