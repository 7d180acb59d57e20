//! How deep to open a backbone: what `freeze = "auto"` means for a data set.
//!
//! 1. Linear probes and the recipe's own head on the pooled output of every stage, judged on training examples alone, say
//!    which stages already carry the task (`stage_probes.rs`).
//! 2. A few cuts follow from that (`candidates.rs`). Each is fine-tuned for a while from the frozen head's weights on four
//!    fifths of the training examples and judged on the fifth (linear probing, then fine-tuning: Kumar et al. 2022,
//!    arXiv:2202.10054).
//! 3. The best of them, unless it is clearly worse than the frozen head there, becomes the phase, on all training examples.
//!    The best epoch of the whole run is kept, the frozen head's among them, so the result is never below it on the
//!    validation examples.
//!
//! The validation examples take part in the last step alone.

mod budget;
mod candidates;
mod ridge;
mod stage_probes;
mod trials;

use serde::{Deserialize, Serialize};

pub use budget::Budget;

use crate::error::Result;
use crate::phase_runner::PhaseRunner;
use crate::recipe::{Freeze, Phase, Recipe};
use crate::run::Seconds;
use crate::tasks::Task;
use crate::train::checkpoint::TrainingState;
use crate::train::observer::{Event, Observer};

/// How the depth was chosen: what was tried, what it scored, what became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// What a head makes of each stage, from the input on.
    pub probes: Vec<StageProbe>,
    /// Work that all trials, and then the phase, could each be: photos through the whole network, learning.
    pub passes: f64,
    /// The frozen head first, then every cut.
    pub trials: Vec<Trial>,
    /// The phase that was run in place of the automatic one; none when the frozen head was better.
    pub phase: Option<Phase>,
    /// Why.
    pub reason: String,
    /// Right answers of the frozen head on the validation examples, as a part of them.
    pub frozen_accuracy: Option<f64>,
    /// Whether fine-tuning beat the frozen head on the validation examples, so that its weights are the result.
    pub kept: bool,
}

/// What a head makes of the pooled output of one stage; parts of right answers in [0, 1].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageProbe {
    /// The stage.
    pub stage: String,
    /// Of a ridge classifier, leaving one training example out at a time; none where examples have no class.
    pub linear: Option<f64>,
    /// Of the recipe's head after a few epochs, on the training examples held out.
    pub head: f64,
}

/// One candidate, judged on the training examples held out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// What did not learn.
    pub freeze: Freeze,
    /// Highest rate of the head.
    pub learning_rate: f64,
    /// Each stage learned this much slower than the one after it.
    pub stage_decay: f64,
    /// Epochs.
    pub epochs: usize,
    /// Least mean loss on the examples held out; none when training diverged.
    pub loss: Option<f64>,
    /// Part of right answers after that epoch.
    pub accuracy: f64,
    /// Wall-clock seconds; not in bundles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

impl Choice {
    /// As a bundle remembers it: a function of recipe, weights and data.
    pub(crate) fn without_times(&self) -> Self {
        let mut choice = self.clone();
        choice.trials.iter_mut().for_each(|trial| trial.seconds = None);
        choice
    }
}

/// The phase to run at `index`: the recipe's own, or what `auto` comes down to; none when the frozen head is better.
///
/// What was tried is kept in `state`, so that an interrupted choice goes on after its last finished trial.
///
/// # Errors
/// Of training; [`crate::Error::Interrupted`].
pub(crate) fn resolve<T: Task>(
    line: &PhaseRunner<'_, T>,
    index: usize,
    state: &mut TrainingState,
    seconds: &mut Seconds,
    observer: &mut dyn Observer,
) -> Result<Option<Phase>> {
    let phase = &line.recipe.phases[index];
    if phase.freeze != Freeze::Auto {
        return Ok(Some(phase.clone()));
    }
    if let Some(choice) = state.choice.as_ref().filter(|choice| !choice.reason.is_empty()) {
        return Ok(choice.phase.clone());
    }
    let choice = trials::choose(line, index, state, seconds, observer)?;
    observer.event(&Event::Choice(Box::new(choice.clone())));
    let phase = choice.phase.clone();
    state.choice = Some(choice);
    line.run.write(state)?;
    Ok(phase)
}

/// The choice once all phases are over: whether what was fine-tuned is what was kept.
pub(crate) fn settle(state: &TrainingState) -> Option<Choice> {
    let mut choice = state.choice.clone()?;
    let opened = state.best.iter().any(|(name, _)| name.starts_with("backbone."));
    choice.kept = choice.phase.is_some() && opened;
    if choice.phase.is_some() && !opened {
        choice
            .reason
            .push_str("; no epoch of it beat the frozen head on the validation examples, which therefore stays");
    }
    Some(choice)
}

/// The recipe that gives the same weights without any choosing.
pub(crate) fn resolved(recipe: &Recipe, choice: Option<&Choice>) -> Recipe {
    let Some(choice) = choice else { return recipe.clone() };
    let mut resolved = Recipe { budget: None, ..recipe.clone() };
    resolved.phases.retain(|phase| phase.freeze != Freeze::Auto);
    resolved.phases.extend(choice.phase.clone().filter(|_| choice.kept));
    resolved
}
