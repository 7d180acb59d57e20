//! The state of a pretraining between two steps: everything that resuming needs and nothing else.
//!
//! Orders, hidden tokens and dropout are functions of the seed and the step (see `random`), so no generator is saved.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::run::PretrainEpoch;
use crate::bundle::arrays;
use crate::error::{Error, Result};
use crate::parameters::Parameters;
use crate::publish::publish;

/// Key in the metadata of the file.
const KEY: &str = "pretraining_state";

/// Sum of a loss over predicted tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct LossSum {
    pub(super) nats: f64,
    pub(super) tokens: usize,
}

impl LossSum {
    /// Nats a token; 0 where there was none.
    pub(super) fn mean(self) -> f64 {
        self.nats / self.tokens.max(1) as f64
    }
}

/// Model, optimizer and history between two steps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PretrainState {
    /// Arrays of the model, as [`super::LanguageModel`] names them.
    pub(super) model: Parameters,
    pub(super) optimizer: Parameters,
    pub(super) optimizer_steps: u64,
    pub(super) progress: Progress,
}

/// The part of the state that is not arrays. JSON numbers are written and read to the last bit (`float_roundtrip`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Finished steps.
    pub(super) step: usize,
    /// Loss of the round under way.
    pub(super) running: LossSum,
    /// Loss of what is held out, before the first step.
    pub(super) before: Option<f64>,
    pub(super) history: Vec<PretrainEpoch>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    run: String,
    optimizer_steps: u64,
    progress: Progress,
}

impl PretrainState {
    /// The beginning.
    pub(super) fn new(model: Parameters) -> Self {
        Self { model, optimizer: Parameters::default(), optimizer_steps: 0, progress: Progress::default() }
    }

    /// Writes the state atomically; `run` identifies recipe, weights and texts.
    pub(super) fn write(&self, path: &Path, run: &str) -> Result<()> {
        let header =
            Header { run: run.to_owned(), optimizer_steps: self.optimizer_steps, progress: self.progress.clone() };
        let header = serde_json::to_string(&header).expect("plain numbers and strings");
        let mut all = self.model.with_prefix("model.");
        all.extend(self.optimizer.with_prefix("optimizer."));
        publish(path, &arrays::encode(&all, &[], &[(KEY, header)]))
    }

    /// Reads a state, if there is one, and checks that it belongs to this run.
    ///
    /// # Errors
    /// [`Error::ResumeMismatch`] when it belongs to another recipe, other weights or other texts, or is damaged.
    pub(super) fn read(path: &Path, run: &str) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let mismatch =
            |difference: &str| Error::ResumeMismatch { path: path.to_owned(), difference: difference.to_owned() };
        let checkpoint = headstart_weights::open(path)?;
        let header: Header = checkpoint
            .metadata()
            .get(KEY)
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| mismatch("it is not a pretraining state of this version"))?;
        if header.run != run {
            return Err(mismatch("its options, weights or texts are not the same"));
        }
        let all = arrays::read_all(checkpoint.as_ref())?;
        Ok(Some(Self {
            model: all.strip_prefix("model."),
            optimizer: all.strip_prefix("optimizer."),
            optimizer_steps: header.optimizer_steps,
            progress: header.progress,
        }))
    }
}

/// Where the state of an unfinished pretraining lies: a folder beside the result.
#[derive(Debug)]
pub(super) struct StateFolder {
    pub(super) folder: PathBuf,
    run: String,
}

impl StateFolder {
    /// Beside `out`, for the run that `identity` describes.
    pub(super) fn new(out: &Path, identity: &[&str]) -> Self {
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

    pub(super) fn read(&self) -> Result<Option<PretrainState>> {
        PretrainState::read(&self.file(), &self.run)
    }

    pub(super) fn write(&self, state: &PretrainState) -> Result<()> {
        state.write(&self.file(), &self.run)
    }

    /// The result is there; a state that cannot be removed does no harm.
    pub(super) fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::{Initial, ParameterSpec};

    #[test]
    fn a_state_comes_back_to_the_last_bit_and_only_to_its_own_run() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("model");
        let spec = ParameterSpec { name: "w".into(), shape: vec![3, 2], initial: Initial::Normal { deviation: 0.02 } };
        let mut state = PretrainState::new(Parameters::initialize(&[spec], 3));
        state.optimizer = state.model.with_prefix("0.");
        state.optimizer_steps = 7;
        state.progress = Progress {
            step: 7,
            running: LossSum { nats: 0.1 + 0.2, tokens: 3 },
            before: Some(1.0 / 3.0),
            history: vec![PretrainEpoch {
                epoch: 1,
                epochs: 2,
                step: 5,
                learning_rate: 1e-300,
                loss: std::f64::consts::PI,
                held_out_loss: Some(1.0 / 7.0),
                held_out_perplexity: Some((1.0f64 / 7.0).exp()),
            }],
        };
        let mine = StateFolder::new(&out, &["recipe", "texts"]);
        assert_eq!(mine.read().unwrap(), None);
        mine.write(&state).unwrap();
        assert_eq!(mine.read().unwrap(), Some(state));
        let slashed = format!("{}/", out.display());
        assert!(StateFolder::new(Path::new(&slashed), &["recipe", "texts"]).read().unwrap().is_some());
        let other = StateFolder::new(&out, &["recipe", "other texts"]);
        assert!(matches!(other.read(), Err(Error::ResumeMismatch { .. })));
        mine.remove();
        assert_eq!(mine.read().unwrap(), None);
    }
}
