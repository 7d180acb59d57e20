//! TensorFlow's checkpoints, `NAME.index` with `NAME.data-00000-of-00001` and further shards: what `tf.train.Saver`,
//! `tf.train.Checkpoint` and saved models write, and what BERT and GPT-2 were published as.
//!
//! Source: `util/tensor_bundle/tensor_bundle.cc` of TensorFlow 2.21 (bundle of version 2; files of before 2017 have another
//! form). A checkpoint is opened from its prefix, its index, the text file `checkpoint` or the folder with one of these.
//!
//! **Names** are the keys of the index, in its order, without the ending `/.ATTRIBUTES/VARIABLE_VALUE` that
//! `tf.train.Checkpoint` puts behind each. Slots of optimizers (`…/Adam`, `…/Adam_1`, `global_step`) are arrays like others.
//! Variables that were cut in slices are put together. Strings, complex numbers and quantized integers are left out and
//! listed in the metadata under `skipped`.
//!
//! Every array's checksum is compared when it is read. Shards are read from the index's folder alone.

mod bundle;
mod listing;
mod locate;
mod table;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::array::ArrayInfo;
use crate::contents::{Contents, Listed};
use crate::error::WeightsError;
use crate::peek::{Kind, Peek};
use crate::source::Source;
use crate::{Checkpoint, Format, beside, limits, tfjs};
use listing::{Listing, Part, Tensor};

const NAME: &str = "tensorflow checkpoint";

/// The registry row.
pub(crate) const FORMAT: Format = Format { name: NAME, extensions: &["index", "ckpt"], recognizes, open };

pub(crate) fn recognizes(peek: &Peek<'_>) -> bool {
    let is_index = peek.kind == Kind::Plain && peek.last == table::MAGIC;
    let is_folder = locate::is_in(peek) && !tfjs::recognizes(peek);
    peek.kind == Kind::Prefix || is_index || locate::is_pointer(peek) || is_folder
}

/// The index that belongs to a prefix.
pub(crate) fn index_of_prefix(prefix: &Path) -> PathBuf {
    locate::with_suffix(prefix, ".index")
}

fn malformed(path: &Path, reason: impl Into<String>) -> WeightsError {
    WeightsError::Malformed { format: NAME, path: path.to_owned(), reason: reason.into() }
}

/// The index and every shard that it needs.
///
/// # Errors
/// As for opening it.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, WeightsError> {
    let bundle = Bundle::open(path)?;
    let shards = bundle.shards.into_values().map(|(path, _)| path);
    Ok(std::iter::once(bundle.index_file).chain(shards).collect())
}

fn open(path: &Path) -> Result<Box<dyn Checkpoint>, WeightsError> {
    Ok(Box::new(Bundle::open(path)?))
}

struct Bundle {
    contents: Contents,
    index_file: PathBuf,
    parts: Vec<Vec<Part>>,
    /// Path and length of the shards that arrays lie in.
    shards: BTreeMap<i32, (PathBuf, u64)>,
}

impl Bundle {
    fn open(path: &Path) -> Result<Self, WeightsError> {
        let index_file = locate::index(path)?;
        let failed = |source| WeightsError::Io { path: index_file.clone(), source };
        let file = File::open(&index_file).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length > limits::INDEX {
            let (path, what, limit) = (path.to_owned(), "the index".to_owned(), limits::INDEX);
            return Err(WeightsError::TooLarge { path, what, claimed: length, limit });
        }
        let content = Source::file(file, 0, length).read(0, length).map_err(failed)?;
        let listing = Listing::parse(path, &content)?;
        drop(content);
        let mut bundle =
            Self { contents: Contents::new(NAME, path), index_file, parts: Vec::new(), shards: BTreeMap::new() };
        let mut skipped = Vec::new();
        for tensor in listing.tensors()? {
            match tensor {
                Tensor::Skipped(what) => skipped.push(what),
                Tensor::Array(info, parts) => bundle.add(info, parts, listing.shards())?,
            }
        }
        if !skipped.is_empty() {
            bundle.contents.metadata.insert("skipped".to_owned(), skipped.join(", "));
        }
        Ok(bundle)
    }

    /// Adds an array, if all of it is there.
    fn add(&mut self, info: ArrayInfo, parts: Vec<Part>, shards: i32) -> Result<(), WeightsError> {
        let mut there = 0u64;
        for part in &parts {
            let length = self.shard(part.shard, shards)?;
            if part.at.checked_add(part.length).is_none_or(|end| end > length) {
                let reason = format!("shard {} has {length} bytes and ends before `{}` does", part.shard, info.name);
                return Err(malformed(&self.contents.path, reason));
            }
            there = there.max(length);
        }
        // Slices may lie in the same bytes, and so claim more than there is.
        let (claimed, limit) = (info.byte_len() as u64, limits::unpacked(there));
        if claimed > limit {
            let (path, what) = (self.contents.path.clone(), format!("`{}`", info.name));
            return Err(WeightsError::TooLarge { path, what, claimed, limit });
        }
        let name = info.name.clone();
        if !self.contents.add(info) {
            return Err(malformed(&self.contents.path, format!("two arrays are called `{name}`")));
        }
        self.parts.push(parts);
        Ok(())
    }

    /// Bytes of the shard of this number.
    fn shard(&mut self, number: i32, shards: i32) -> Result<u64, WeightsError> {
        if let Some((_, length)) = self.shards.get(&number) {
            return Ok(*length);
        }
        if !(0..shards).contains(&number) {
            return Err(malformed(&self.contents.path, format!("an array lies in shard {number} of {shards}")));
        }
        let index = self.index_file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let prefix = index.strip_suffix(".index").unwrap_or(&index);
        let name = format!("{prefix}.data-{number:05}-of-{shards:05}");
        let (path, length) = beside::find(&self.contents.path, NAME, &self.index_file, &name)?;
        self.shards.insert(number, (path, length));
        Ok(length)
    }

    /// The bytes of a part, which its checksum holds for.
    fn part(&self, name: &str, part: &Part) -> Result<Vec<u8>, WeightsError> {
        let missing = || malformed(&self.contents.path, format!("shard {} is missing", part.shard));
        let (shard, length) = self.shards.get(&part.shard).ok_or_else(missing)?;
        let failed = |source| WeightsError::Io { path: shard.clone(), source };
        let file = File::open(shard).map_err(failed)?;
        let bytes = Source::file(file, 0, *length).read(part.at, part.length).map_err(failed)?;
        match table::holds(&bytes, part.checksum) {
            true => Ok(bytes),
            false => Err(malformed(&self.contents.path, format!("the checksum of `{name}` is wrong"))),
        }
    }
}

impl Listed for Bundle {
    fn contents(&self) -> &Contents {
        &self.contents
    }

    fn bytes(&self, index: usize, info: &ArrayInfo) -> Result<Vec<u8>, WeightsError> {
        let parts = &self.parts[index];
        if let [only] = &parts[..]
            && only.is_whole()
        {
            return self.part(&info.name, only);
        }
        let mut bytes = vec![0; info.byte_len()];
        for part in parts {
            part.place(&mut bytes, &self.part(&info.name, part)?, info);
        }
        Ok(bytes)
    }
}
