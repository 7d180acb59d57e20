//! The state of a run between two steps: everything that resuming needs and nothing else.
//!
//! Orders, dropout masks and views are functions of the seed and the position (see `random`), so no generator is saved.

use serde::{Deserialize, Serialize};

use super::observer::Epoch;
use crate::depth::Choice;
use crate::parameters::Parameters;
use crate::run_folder::SavedState;
use crate::tasks::{Counts, Score};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Phase, from 0.
    pub(crate) phase: usize,
    /// Finished epochs of the phase.
    pub(crate) epoch: usize,
    /// Finished steps of the epoch.
    pub(crate) step: usize,
}

/// Model, optimizer and history between two steps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TrainingState {
    pub(crate) position: Position,
    /// Arrays of the model: `head.*`, and `backbone.*` once a stage learned.
    pub(crate) model: Parameters,
    pub(crate) optimizer: Parameters,
    pub(crate) optimizer_steps: u64,
    /// Arrays of the best epoch.
    pub(crate) best: Parameters,
    pub(crate) best_score: Option<Score>,
    /// Epochs since the best one.
    pub(crate) since_best: usize,
    /// Sums of the epoch under way.
    pub(crate) running: Score,
    pub(crate) history: Vec<Epoch>,
    /// What was tried so far for an automatic phase.
    pub(crate) choice: Option<Choice>,
}

/// The part of the state that is not arrays. Floats are kept as bits: text would round them.
#[derive(Serialize, Deserialize)]
pub(crate) struct Header {
    position: Position,
    optimizer_steps: u64,
    best_score: Option<ScoreBits>,
    since_best: usize,
    running: ScoreBits,
    history: Vec<EpochBits>,
    /// JSON numbers are written and read to the last bit (`float_roundtrip`).
    choice: Option<Choice>,
}

#[derive(Serialize, Deserialize)]
struct ScoreBits(u64, [usize; 3], Option<[usize; 3]>);

#[derive(Serialize, Deserialize)]
struct EpochBits {
    numbers: [usize; 3],
    floats: [u64; 3],
    validation: Option<[u64; 2]>,
    validation_f1: Option<u64>,
}

impl TrainingState {
    /// The beginning, with an untrained model.
    pub(crate) fn new(model: Parameters) -> Self {
        Self {
            position: Position::default(),
            model,
            optimizer: Parameters::default(),
            optimizer_steps: 0,
            best: Parameters::default(),
            best_score: None,
            since_best: 0,
            running: Score::EMPTY,
            history: Vec::new(),
            choice: None,
        }
    }
}

impl SavedState for TrainingState {
    const KEY: &'static str = "training_state";
    const NAME: &'static str = "training state";
    const TOLD_BY: &'static str = "recipe, weights or data";
    type Header = Header;

    fn parts(&self) -> (Header, Parameters) {
        let header = Header {
            position: self.position,
            optimizer_steps: self.optimizer_steps,
            best_score: self.best_score.map(ScoreBits::from),
            since_best: self.since_best,
            running: self.running.into(),
            history: self.history.iter().map(EpochBits::from).collect(),
            choice: self.choice.clone(),
        };
        let mut all = self.model.with_prefix("model.");
        all.extend(self.optimizer.with_prefix("optimizer."));
        all.extend(self.best.with_prefix("best."));
        (header, all)
    }

    fn from_parts(header: Header, all: &Parameters) -> Self {
        Self {
            position: header.position,
            model: all.strip_prefix("model."),
            optimizer: all.strip_prefix("optimizer."),
            optimizer_steps: header.optimizer_steps,
            best: all.strip_prefix("best."),
            best_score: header.best_score.map(Score::from),
            since_best: header.since_best,
            running: header.running.into(),
            history: header.history.iter().map(Epoch::from).collect(),
            choice: header.choice,
        }
    }
}

impl From<Score> for ScoreBits {
    fn from(score: Score) -> Self {
        let found = score.found.map(|found| [found.there, found.predicted, found.both]);
        Self(score.loss_sum.to_bits(), [score.losses, score.correct, score.count], found)
    }
}

impl From<ScoreBits> for Score {
    fn from(bits: ScoreBits) -> Self {
        let [losses, correct, count] = bits.1;
        let found = bits.2.map(|[there, predicted, both]| Counts { there, predicted, both });
        Self { loss_sum: f64::from_bits(bits.0), losses, correct, count, found }
    }
}

impl From<&Epoch> for EpochBits {
    fn from(epoch: &Epoch) -> Self {
        Self {
            numbers: [epoch.phase, epoch.epoch, epoch.epochs],
            floats: [epoch.learning_rate, epoch.loss, epoch.accuracy].map(f64::to_bits),
            validation: epoch.validation_loss.zip(epoch.validation_accuracy).map(|(a, b)| [a.to_bits(), b.to_bits()]),
            validation_f1: epoch.validation_f1.map(f64::to_bits),
        }
    }
}

impl From<&EpochBits> for Epoch {
    fn from(bits: &EpochBits) -> Self {
        let [phase, epoch, epochs] = bits.numbers;
        let [learning_rate, loss, accuracy] = bits.floats.map(f64::from_bits);
        let validation = bits.validation.map(|pair| pair.map(f64::from_bits));
        Self {
            phase,
            epoch,
            epochs,
            learning_rate,
            loss,
            accuracy,
            validation_loss: validation.map(|pair| pair[0]),
            validation_accuracy: validation.map(|pair| pair[1]),
            validation_f1: bits.validation_f1.map(f64::from_bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::parameters::{Initial, ParameterSpec};

    #[test]
    fn a_state_comes_back_to_the_last_bit_and_only_to_its_own_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        let spec =
            ParameterSpec { name: "head.w".into(), shape: vec![3, 2], initial: Initial::HeNormal { fan_out: 2 } };
        let mut state = TrainingState::new(Parameters::initialize(&[spec], 3));
        state.optimizer = state.model.with_prefix("0.");
        state.best = state.model.clone();
        state.best_score = Some(Score {
            loss_sum: 0.1 + 0.2,
            losses: 4,
            correct: 3,
            count: 4,
            found: Some(Counts { there: 2, predicted: 3, both: 1 }),
        });
        state.position = Position { phase: 1, epoch: 2, step: 3 };
        state.history.push(Epoch {
            phase: 1,
            epoch: 1,
            epochs: 2,
            learning_rate: 1.0 / 3.0,
            loss: std::f64::consts::PI,
            accuracy: 0.7,
            validation_loss: Some(1e-300),
            validation_accuracy: Some(0.1),
            validation_f1: Some(0.7),
        });
        state.write(&path, "run a").unwrap();
        assert_eq!(TrainingState::read(&path, "run a").unwrap(), Some(state));
        assert!(matches!(TrainingState::read(&path, "run b"), Err(Error::ResumeMismatch { .. })));
        assert_eq!(TrainingState::read(&folder.path().join("none"), "run a").unwrap(), None);
    }
}
