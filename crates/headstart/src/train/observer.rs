//! What a run tells, and who listens: progress bars, JSON lines, callbacks, early stopping are all observers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::depth::{Choice, Trial};
use crate::pretrain::{PretrainEpoch, PretrainReport};
use crate::run::Report;

/// Something that happened, as plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// Long work goes on. `done` of `total` units of `stage` are finished.
    Progress {
        /// What is done.
        stage: Work,
        /// Units finished.
        done: usize,
        /// All units.
        total: usize,
    },
    /// The data set is open.
    Data {
        /// Dataset layout.
        layout: String,
        /// Class names.
        classes: Vec<String>,
        /// Training examples.
        train: usize,
        /// Validation examples.
        validation: usize,
        /// Test examples.
        test: usize,
        /// Examples that could not be read.
        skipped: usize,
    },
    /// One example is left out.
    Skipped {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Something the user should know.
    Note {
        /// In words.
        message: String,
    },
    /// The backbone is loaded.
    Backbone {
        /// Architecture.
        name: String,
        /// Size.
        variant: String,
        /// Checkpoint family.
        family: String,
        /// Where the weights come from.
        source: String,
        /// Number of values.
        parameters: usize,
        /// Side of the input in pixels, of a network of pictures.
        input_size: Option<u32>,
        /// Most tokens of a text, of a network of texts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_tokens: Option<usize>,
    },
    /// A phase begins.
    Phase {
        /// From 1.
        phase: usize,
        /// All phases.
        phases: usize,
        /// `all`, `none` or the last frozen stage.
        freeze: String,
        /// Epochs of the phase.
        epochs: usize,
        /// Values that learn.
        learning: usize,
        /// Training examples whose features were already there.
        cached: usize,
    },
    /// An epoch is over.
    Epoch(Epoch),
    /// Training ends before its last epoch.
    Stopped {
        /// Why.
        reason: String,
    },
    /// One candidate of an automatic phase was tried.
    Trial(Trial),
    /// An automatic phase is decided.
    Choice(Box<Choice>),
    /// The run is over.
    Report(Box<Report>),
    /// The texts of a pretraining are sequences of tokens.
    Corpus {
        /// Texts that are learned from.
        texts: usize,
        /// Texts that are held out.
        held_out: usize,
        /// Lines that could not be read.
        skipped: usize,
        /// Tokens of a round.
        tokens: usize,
        /// Tokens of the vocabulary.
        vocabulary: usize,
    },
    /// A round of a pretraining is over.
    PretrainEpoch(PretrainEpoch),
    /// The pretraining is over.
    Pretrained(Box<PretrainReport>),
}

/// What long work is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Fetching weights; units are bytes.
    Download,
    /// Reading every file once: is it whole, is it a copy of another?
    Scan,
    /// Running the frozen stages.
    Extract,
    /// Steps of the optimizer within an epoch.
    Fit,
    /// Predicting.
    Predict,
}

/// Numbers of one epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Phase, from 1.
    pub phase: usize,
    /// Epoch within the phase, from 1.
    pub epoch: usize,
    /// Epochs of the phase.
    pub epochs: usize,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Mean training loss, dropout on.
    pub loss: f64,
    /// Training accuracy, dropout on; of words or labels where those are told.
    pub accuracy: f64,
    /// Mean validation loss.
    pub validation_loss: Option<f64>,
    /// Validation accuracy.
    pub validation_accuracy: Option<f64>,
    /// F1 of what was found on the validation examples, of tasks that find entities or labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_f1: Option<f64>,
}

/// What an observer wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// End training after this epoch, keep what was learned and write the bundle.
    Stop,
}

/// Listens to a run. A closure over [`Event`] is one.
pub trait Observer: Send {
    /// Called for every event, in order, on the thread of the run.
    fn event(&mut self, event: &Event) -> Control;
}

impl<F: FnMut(&Event) -> Control + Send> Observer for F {
    fn event(&mut self, event: &Event) -> Control {
        self(event)
    }
}

/// Listens to nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    fn event(&mut self, _event: &Event) -> Control {
        Control::Continue
    }
}
