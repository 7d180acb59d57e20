//! Where the state of an unfinished run lies: a folder beside the bundle.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::recipe::Recipe;
use crate::train::checkpoint::TrainingState;

/// The folder, and which run its states belong to.
#[derive(Debug)]
pub(crate) struct RunFolder {
    pub(crate) folder: PathBuf,
    run: String,
}

impl RunFolder {
    pub(crate) fn new(out: &Path, recipe: &Recipe, weights: &str, data: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        for text in [recipe.to_toml().as_str(), weights, data, env!("CARGO_PKG_VERSION")] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        let mut folder = out.as_os_str().to_owned();
        folder.push(".run");
        Self { folder: folder.into(), run: hasher.finalize().to_hex().to_string() }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("state.safetensors")
    }

    pub(crate) fn read(&self) -> Result<Option<TrainingState>> {
        TrainingState::read(&self.file(), &self.run)
    }

    pub(crate) fn write(&self, state: &TrainingState) -> Result<()> {
        state.write(&self.file(), &self.run)
    }

    /// The state of trial `number` of an automatic phase.
    pub(crate) fn read_trial(&self, number: usize) -> Result<Option<TrainingState>> {
        TrainingState::read(&self.trial(number), &self.run)
    }

    pub(crate) fn write_trial(&self, number: usize, state: &TrainingState) -> Result<()> {
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

    /// The bundle is there; a state that cannot be removed does no harm.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
