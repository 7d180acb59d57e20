//! Where the state of an unfinished run lies: a folder beside what the run will write.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bundle::arrays;
use crate::error::{Error, Result};
use crate::parameters::Parameters;
use crate::publish::publish;

/// The state of a run between two steps: everything that resuming needs and nothing else.
pub(crate) trait SavedState: Sized {
    /// Key in the metadata of its file.
    const KEY: &'static str;
    /// What it is called.
    const NAME: &'static str;
    /// What tells one run from another.
    const TOLD_BY: &'static str;
    /// The part of it that is not arrays.
    type Header: Serialize + DeserializeOwned;

    /// The state taken apart.
    fn parts(&self) -> (Self::Header, Parameters);

    /// The state from its parts.
    fn from_parts(header: Self::Header, arrays: &Parameters) -> Self;

    /// Writes the state atomically; `run` tells which run it is of.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn write(&self, path: &Path, run: &str) -> Result<()> {
        let (header, arrays) = self.parts();
        let header = serde_json::to_string(&OfRun { run: run.to_owned(), header }).expect("plain numbers and strings");
        publish(path, &arrays::encode(&arrays, &[], &[(Self::KEY, header)]))
    }

    /// Reads a state, if there is one, and checks that it belongs to this run.
    ///
    /// # Errors
    /// [`Error::ResumeMismatch`] when it belongs to another run, or is damaged.
    fn read(path: &Path, run: &str) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let mismatch = |difference: String| Error::ResumeMismatch { path: path.to_owned(), difference };
        let checkpoint = headstart_weights::open(path)?;
        let found: OfRun<Self::Header> = checkpoint
            .metadata()
            .get(Self::KEY)
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| mismatch(format!("it is not a {} of this version", Self::NAME)))?;
        if found.run != run {
            return Err(mismatch(format!("its {} are not the same", Self::TOLD_BY)));
        }
        Ok(Some(Self::from_parts(found.header, &arrays::read_all(checkpoint.as_ref())?)))
    }
}

/// A header, and the run that it belongs to.
#[derive(Serialize, Deserialize)]
struct OfRun<H> {
    run: String,
    #[serde(flatten)]
    header: H,
}

/// The folder, and which run its states belong to.
#[derive(Debug)]
pub(crate) struct RunFolder {
    pub(crate) folder: PathBuf,
    run: String,
}

impl RunFolder {
    /// Beside `out`, for the run that `identity` and the version of the program describe.
    pub(crate) fn new(out: &Path, identity: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for text in identity.iter().chain(&[env!("CARGO_PKG_VERSION")]) {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        // `corpus-bert/` and `corpus-bert` are one folder, and so is what lies beside it.
        let mut folder = out.components().as_path().as_os_str().to_owned();
        folder.push(".run");
        Self { folder: folder.into(), run: hasher.finalize().to_hex().to_string() }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("state.safetensors")
    }

    /// Reads the state, if there is one, and checks that it belongs to this run.
    ///
    /// # Errors
    /// [`Error::ResumeMismatch`] when it belongs to another run, or is damaged.
    pub(crate) fn read<S: SavedState>(&self) -> Result<Option<S>> {
        S::read(&self.file(), &self.run)
    }

    /// Writes the state atomically.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn write<S: SavedState>(&self, state: &S) -> Result<()> {
        state.write(&self.file(), &self.run)
    }

    /// The state of trial `number` of an automatic phase.
    pub(crate) fn read_trial<S: SavedState>(&self, number: usize) -> Result<Option<S>> {
        S::read(&self.trial(number), &self.run)
    }

    pub(crate) fn write_trial<S: SavedState>(&self, number: usize, state: &S) -> Result<()> {
        state.write(&self.trial(number), &self.run)
    }

    /// States of trials of an earlier run may be of other work, where a time budget decided it.
    pub(crate) fn remove_trials(&self) {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("trial-") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    fn trial(&self, number: usize) -> PathBuf {
        self.folder.join(format!("trial-{number}.safetensors"))
    }

    /// The result is there; a state that cannot be removed does no harm.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
