//! TensorFlow.js: a JSON manifest, and the weights in shards beside it.
//!
//! Source: `io/types.ts` and `io/io_utils.ts` of tfjs-core 4.22, `write_weights.py` of the tensorflowjs converter. Layers
//! models and graph models have a `model.json` with `weightsManifest`; graph models of before 2019 have the manifest alone
//! in `weights_manifest.json`. Each group of the manifest lists weights, which follow one another without gaps, and the
//! shards in which they lie. A model is opened from its manifest, from the folder of it, or from a zip of that folder.
//!
//! **Names** are those of the manifest, unchanged, in its order. Weights quantized to uint8, uint16 or float16 are given as
//! the float32 or int32 numbers that TensorFlow.js computes from them. Weights of strings and complex numbers are left out
//! and listed in the metadata under `skipped`.
//!
//! Shards are read from the manifest's folder alone: not through `..`, not from absolute paths, not through links out of it.

mod manifest;
mod shards;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::array::ArrayInfo;
use crate::contents::{Contents, Listed};
use crate::error::WeightsError;
use crate::peek::{Kind, Peek};
use crate::zip_member::Archive;
use crate::{Checkpoint, Format};
use manifest::{Manifest, Packing, Weight};
use shards::{Place, Shards, Store};

const NAME: &str = "tensorflow.js";

/// The registry row.
pub(crate) const FORMAT: Format = Format { name: NAME, extensions: &["json", "zip"], recognizes, open };

/// Names of the manifest, the better one first.
const MANIFESTS: [&str; 2] = ["model.json", "weights_manifest.json"];

/// More texts than this are not counted through to what follows them.
const MOST_TEXTS: usize = 65_536;

pub(crate) fn recognizes(peek: &Peek<'_>) -> bool {
    match peek.kind {
        Kind::Folder => MANIFESTS.iter().any(|name| peek.holds(name)),
        Kind::Zip => manifest_in(&peek.names).is_some(),
        Kind::Hdf5 | Kind::Prefix => false,
        Kind::Plain => {
            let is_json = peek.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
            let start = peek.first.trim_ascii_start();
            is_json && (start.starts_with(b"{") || start.starts_with(b"[")) && !peek.first.contains(&0)
        }
    }
}

/// The manifest among the members of a zip: that in the uppermost folder.
fn manifest_in(names: &[String]) -> Option<&String> {
    let name_of = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    if names.iter().any(|name| ["data.pkl", "model.weights.h5"].contains(&name_of(name).as_str())) {
        return None;
    }
    let rank = |path: &str| MANIFESTS.iter().position(|name| *name == name_of(path));
    let found = names.iter().filter_map(|path| Some((path.matches('/').count(), rank(path)?, path)));
    found.min().map(|(_, _, path)| path)
}

fn malformed(path: &Path, reason: impl Into<String>) -> WeightsError {
    WeightsError::Malformed { format: NAME, path: path.to_owned(), reason: reason.into() }
}

/// The manifest and every shard of a model that is not in a zip.
///
/// # Errors
/// As for opening it.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, WeightsError> {
    let model = Model::open(path)?;
    let mut files = vec![model.manifest];
    for shard in model.groups.iter().flat_map(Shards::iter) {
        if let Store::File(path) = &shard.store {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn open(path: &Path) -> Result<Box<dyn Checkpoint>, WeightsError> {
    Ok(Box::new(Model::open(path)?))
}

/// What is left out.
struct Skipped {
    names: Vec<String>,
    /// Number of texts that were counted through.
    texts: usize,
}

struct Model {
    contents: Contents,
    manifest: PathBuf,
    groups: Vec<Shards>,
    /// Group, first byte and packing of each array.
    places: Vec<(usize, u64, Packing)>,
}

impl Model {
    fn open(path: &Path) -> Result<Self, WeightsError> {
        let (manifest_path, json, mut place) = find(path)?;
        let length = if let Place::Zip(archive, _) = &place { archive.length() } else { json.len() as u64 };
        let (manifest, groups) = Manifest::parse(path, &json, length)?;
        let mut model = Self {
            contents: Contents::new(NAME, path),
            manifest: manifest_path,
            groups: Vec::new(),
            places: Vec::new(),
        };
        let told = [
            ("format", manifest.format),
            ("generatedBy", manifest.generated_by),
            ("convertedBy", manifest.converted_by),
        ];
        for (key, text) in told {
            if let Some(text) = text.filter(|text| text.len() <= 1024) {
                model.contents.metadata.insert(key.to_owned(), text);
            }
        }
        let mut seen = BTreeSet::new();
        let mut skipped = Skipped { names: Vec::new(), texts: 0 };
        for group in groups {
            let mut shards = Vec::with_capacity(group.paths.len());
            for name in &group.paths {
                // A shard that counts many times would let a small file claim large arrays.
                if !seen.insert(name.trim_start_matches("./").to_owned()) {
                    return Err(malformed(path, format!("shard `{name}` is listed twice")));
                }
                shards.push(place.shard(path, name)?);
            }
            let shards = Shards::new(shards);
            let mut at = 0;
            for entry in &group.weights {
                at = model.add(&shards, at, entry, &mut skipped)?;
            }
            if at != shards.length() {
                let reason = format!(
                    "shards {:?} have {} bytes, their weights need {at}: a shard is another model's",
                    group.paths,
                    shards.length()
                );
                return Err(malformed(path, reason));
            }
            model.groups.push(shards);
        }
        if !skipped.names.is_empty() {
            model.contents.metadata.insert("skipped".to_owned(), skipped.names.join(", "));
        }
        Ok(model)
    }

    /// Adds a weight that begins at `at` of the group that comes next; the answer is where it ends.
    fn add(
        &mut self,
        shards: &Shards,
        at: u64,
        entry: &manifest::Entry,
        skipped: &mut Skipped,
    ) -> Result<u64, WeightsError> {
        let name = &entry.name;
        let cut_off = || malformed(&self.contents.path, format!("the shards end before weight `{name}` does"));
        let checked = |length: u64| at.checked_add(length).filter(|end| *end <= shards.length()).ok_or_else(cut_off);
        match entry.weight(&self.contents.path)? {
            Weight::Array(info, packing) => {
                let end = checked((info.element_count() * packing.stored_size(info.dtype)) as u64)?;
                if !self.contents.add(info) {
                    return Err(malformed(&self.contents.path, format!("two weights are called `{name}`")));
                }
                self.places.push((self.groups.len(), at, packing));
                Ok(end)
            }
            Weight::Other(length, what) => {
                skipped.names.push(format!("{name} ({what})"));
                checked(length)
            }
            Weight::Texts(count) => {
                skipped.names.push(format!("{name} (string)"));
                skipped.texts = skipped.texts.saturating_add(count);
                if skipped.texts > MOST_TEXTS {
                    let (what, claimed) = (format!("the texts up to weight `{name}`"), skipped.texts as u64);
                    let limit = MOST_TEXTS as u64;
                    return Err(WeightsError::TooLarge { path: self.contents.path.clone(), what, claimed, limit });
                }
                let mut end = at;
                for _ in 0..count {
                    let length = shards.read(end, 4).map_err(|_| cut_off())?;
                    let length = length.try_into().map(u32::from_le_bytes).map_err(|_| cut_off())?;
                    end += 4 + u64::from(length);
                }
                checked(end - at)
            }
        }
    }
}

/// The manifest's path and bytes, and where its shards lie.
fn find(path: &Path) -> Result<(PathBuf, Vec<u8>, Place), WeightsError> {
    let failed = |source| WeightsError::Io { path: path.to_owned(), source };
    let (kind, in_zip) = Peek::at(path, |peek| (peek.kind, manifest_in(&peek.names).cloned()))?;
    if kind == Kind::Zip {
        let mut archive = Archive::open(path, NAME)?;
        let member = in_zip.ok_or_else(|| malformed(path, "the zip holds no model.json"))?;
        let json = archive.read(&member, manifest::LONGEST)?;
        let folder = member.rfind('/').map_or("", |slash| &member[..=slash]).to_owned();
        return Ok((path.to_owned(), json, Place::Zip(Box::new(archive), folder)));
    }
    let manifest = match kind {
        Kind::Folder => {
            let found = MANIFESTS.iter().map(|name| path.join(name)).find(|manifest| manifest.is_file());
            found.ok_or_else(|| malformed(path, "the folder holds no model.json"))?
        }
        _ => path.to_owned(),
    };
    let file = File::open(&manifest).map_err(failed)?;
    manifest::check_length(path, file.metadata().map_err(failed)?.len())?;
    let mut json = Vec::new();
    file.take(manifest::LONGEST).read_to_end(&mut json).map_err(failed)?;
    Ok((manifest.clone(), json, Place::Folder(manifest)))
}

impl Listed for Model {
    fn contents(&self) -> &Contents {
        &self.contents
    }

    fn bytes(&self, index: usize, info: &ArrayInfo) -> Result<Vec<u8>, WeightsError> {
        let (group, at, packing) = self.places[index];
        let length = (info.element_count() * packing.stored_size(info.dtype)) as u64;
        let stored = self.groups[group].read(at, length);
        let stored = stored.map_err(|source| WeightsError::Io { path: self.contents.path.clone(), source })?;
        Ok(packing.unpack(info.dtype, stored))
    }
}
