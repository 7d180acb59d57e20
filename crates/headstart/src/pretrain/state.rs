//! The state of a pretraining between two steps: everything that resuming needs and nothing else.
//!
//! Orders, hidden tokens and dropout are functions of the seed and the step (see `random`), so no generator is saved.

use serde::{Deserialize, Serialize};

use super::run::PretrainEpoch;
use crate::parameters::Parameters;
use crate::run_folder::SavedState;

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

/// What is not arrays.
#[derive(Serialize, Deserialize)]
pub(crate) struct Header {
    optimizer_steps: u64,
    progress: Progress,
}

impl PretrainState {
    /// The beginning.
    pub(super) fn new(model: Parameters) -> Self {
        Self { model, optimizer: Parameters::default(), optimizer_steps: 0, progress: Progress::default() }
    }
}

impl SavedState for PretrainState {
    const KEY: &'static str = "pretraining_state";
    const NAME: &'static str = "pretraining state";
    const TOLD_BY: &'static str = "options, weights or texts";
    type Header = Header;

    fn parts(&self) -> (Header, Parameters) {
        let mut all = self.model.with_prefix("model.");
        all.extend(self.optimizer.with_prefix("optimizer."));
        (Header { optimizer_steps: self.optimizer_steps, progress: self.progress.clone() }, all)
    }

    fn from_parts(header: Header, all: &Parameters) -> Self {
        Self {
            model: all.strip_prefix("model."),
            optimizer: all.strip_prefix("optimizer."),
            optimizer_steps: header.optimizer_steps,
            progress: header.progress,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::error::Error;
    use crate::parameters::{Initial, ParameterSpec};
    use crate::run_folder::RunFolder;

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
        let mine = RunFolder::new(&out, &["recipe", "texts"]);
        assert_eq!(mine.read::<PretrainState>().unwrap(), None);
        mine.write(&state).unwrap();
        assert_eq!(mine.read().unwrap(), Some(state));
        let slashed = format!("{}/", out.display());
        assert!(RunFolder::new(Path::new(&slashed), &["recipe", "texts"]).read::<PretrainState>().unwrap().is_some());
        let other = RunFolder::new(&out, &["recipe", "other texts"]);
        assert!(matches!(other.read::<PretrainState>(), Err(Error::ResumeMismatch { .. })));
        mine.remove();
        assert_eq!(mine.read::<PretrainState>().unwrap(), None);
    }
}
