//! Trying cuts on training examples alone.

use std::time::Instant;

use super::{Choice, Trial, candidates, stage_probes};
use crate::error::{Error, Result};
use crate::measure::{StepSpec, training_steps};
use crate::model::{FrozenBackbone, frozen_depth};
use crate::phase_runner::{Opening, PhaseRunner};
use crate::recipe::{Freeze, Phase};
use crate::run::Seconds;
use crate::tasks::{Part, Task};
use crate::train::checkpoint::{Position, TrainingState};
use crate::train::hold_out::HoldOut;
use crate::train::observer::{Control, Event, Observer};

/// Training examples that take part in trials.
const TRIAL_EXAMPLES: usize = 2500;
/// Photos through the whole network that trials, and then the phase, may each learn from: minutes on two cores.
const PASSES: f64 = 12_000.0;
/// Or so many times every training photo, where there are many.
const PASSES_A_PHOTO: f64 = 6.0;
/// The best cut is tried with a rate lower by this factor too.
const LOWER_RATE: f64 = 3.0;
/// Steps that a time budget is converted by, after one to warm up.
const TIMED_STEPS: usize = 3;

/// Probes every stage, tries the cuts that follow, and says what to do with the phase at `index`.
pub(super) fn choose<T: Task>(
    line: &PhaseRunner<'_, T>,
    index: usize,
    state: &mut TrainingState,
    seconds: &mut Seconds,
    observer: &mut dyn Observer,
) -> Result<Choice> {
    let PhaseRunner { task, recipe, network, .. } = *line;
    let pretrained = network.pictures()?;
    let phase = &recipe.phases[index];
    let classes = task.classes(Part::Train);
    let examples = task.digests(Part::Train).len();
    let hold_out = HoldOut::draw(examples, classes.as_deref(), TRIAL_EXAMPLES, recipe.seed);
    if hold_out.held.is_empty() {
        let reason = format!("{examples} training photos are too few to judge a cut by; the frozen head stays");
        return Ok(Choice { reason, frozen_accuracy: frozen_accuracy(state), ..Choice::default() });
    }
    let frozen = FrozenBackbone::new(pretrained, &pretrained.parameters)?;
    let share = |freeze: &Freeze| -> Result<f64> {
        Ok(candidates::open_share(pretrained, &frozen, frozen_depth(pretrained, freeze)?))
    };
    if state.choice.is_none() {
        line.run.remove_trials();
        let probes = stage_probes::probe(line, &hold_out, observer)?;
        let passes = match recipe.budget {
            // Half for the trials, half for the phase.
            Some(budget) => budget.seconds() / 2.0 * passes_a_second(line, share(&Freeze::AllBut(2))?)?,
            None => PASSES.max(PASSES_A_PHOTO * examples as f64),
        };
        let frozen_accuracy = frozen_accuracy(state);
        state.choice = Some(Choice { probes, passes, frozen_accuracy, ..Choice::default() });
        line.run.write(state)?;
    }
    let known = state.choice.clone().unwrap_or_default();
    let cuts = candidates::cuts(
        &known.probes,
        1.0 / task.labels().len().max(1) as f64,
        frozen.input(),
        &frozen.stage_shapes(),
        most_values(line, examples),
    );

    let epochs_within = |freeze: &Freeze, passes: f64| -> Result<usize> {
        Ok(((passes / (examples as f64 * share(freeze)?)) as usize).clamp(2.min(phase.epochs), phase.epochs))
    };
    let freezes: Vec<Freeze> = cuts.iter().map(|&cut| candidates::freeze(pretrained, cut)).collect();
    // Half of the epochs that the phase will have, and less where all trials together would be more than the phase.
    let mut planned = Vec::new();
    for freeze in freezes {
        planned.push((epochs_within(&freeze, known.passes)?.div_ceil(2), share(&freeze)?, freeze));
    }
    let most = planned.iter().map(|&(epochs, share, _)| epochs as f64 * share).fold(0.0, f64::max);
    let work = planned.iter().map(|&(epochs, share, _)| epochs as f64 * share).sum::<f64>() + most;
    let scale = (known.passes / (work * hold_out.learned.len() as f64)).min(1.0);
    let planned: Vec<Phase> = planned
        .into_iter()
        .map(|(epochs, _, freeze)| Phase { freeze, epochs: ((epochs as f64 * scale) as usize).max(1), ..phase.clone() })
        .collect();

    let start = frozen_trial(line, index, &hold_out, state, seconds, observer)?;
    for (number, candidate) in planned.iter().enumerate() {
        open_trial(line, index, number + 1, candidate, &hold_out, &start, state, seconds, observer)?;
    }
    if let Some(best) = best(trials(state)) {
        let lower = Phase { learning_rate: best.learning_rate / LOWER_RATE, ..phase_of(phase, best) };
        open_trial(line, index, planned.len() + 1, &lower, &hold_out, &start, state, seconds, observer)?;
    }

    let mut choice = state.choice.clone().unwrap_or_default();
    let held = hold_out.held.len();
    let head = choice.trials[0].clone();
    match best(&choice.trials) {
        Some(trial) if is_worth_it(trial, &head, held) => {
            choice.phase =
                Some(Phase { epochs: epochs_within(&trial.freeze, choice.passes)?, ..phase_of(phase, trial) });
            choice.reason = format!(
                "of the cuts, opening what is behind {} at rate {:.1e} had the least loss on the {held} training photos held \
                 out: {} at {:.1} %, the frozen head {} at {:.1} %",
                behind(&trial.freeze),
                trial.learning_rate,
                written(trial.loss),
                trial.accuracy * 100.0,
                written(head.loss),
                head.accuracy * 100.0,
            );
        }
        best => {
            choice.reason = format!(
                "no cut came within a standard error of the frozen head on the {held} training photos held out: {} at {:.1} \
                 %, the frozen head {} at {:.1} %; it stays",
                written(best.and_then(|trial| trial.loss)),
                best.map_or(0.0, |trial| trial.accuracy) * 100.0,
                written(head.loss),
                head.accuracy * 100.0,
            );
        }
    }
    Ok(choice)
}

/// Trial 0: the frozen phases on the examples to learn from. Gives the weights that every other trial begins with.
fn frozen_trial<T: Task>(
    line: &PhaseRunner<'_, T>,
    index: usize,
    hold_out: &HoldOut,
    state: &mut TrainingState,
    seconds: &mut Seconds,
    observer: &mut dyn Observer,
) -> Result<TrainingState> {
    let clock = Instant::now();
    let mut trial = line.run.read_trial(0)?.unwrap_or_else(|| TrainingState::new(line.untrained.clone()));
    let save = |state: &TrainingState| line.run.write_trial(0, state);
    for before in trial.position.phase..index {
        let phase = &line.recipe.phases[before];
        let opening = Opening { index: before, phase, hold_out: Some(hold_out), save: &save };
        line.fit(&opening, &mut trial, seconds, &mut muted(observer))?;
    }
    if trials(state).is_empty() {
        save(&trial)?;
        let last = &line.recipe.phases[index - 1];
        record(line, judged(last, &trial, clock), state, observer)?;
    }
    Ok(trial)
}

/// Fine-tunes one candidate from the weights of trial 0, unless an earlier run did.
#[expect(clippy::too_many_arguments, reason = "what a phase needs, and where its trial belongs")]
fn open_trial<T: Task>(
    line: &PhaseRunner<'_, T>,
    index: usize,
    number: usize,
    phase: &Phase,
    hold_out: &HoldOut,
    start: &TrainingState,
    state: &mut TrainingState,
    seconds: &mut Seconds,
    observer: &mut dyn Observer,
) -> Result<()> {
    if trials(state).len() > number {
        return Ok(());
    }
    let clock = Instant::now();
    let mut trial = line.run.read_trial(number)?.unwrap_or_else(|| {
        let mut fresh = TrainingState::new(start.model.clone());
        fresh.position = Position { phase: index, ..Position::default() };
        fresh
    });
    if trial.position.phase == index {
        let save = |state: &TrainingState| line.run.write_trial(number, state);
        let opening = Opening { index, phase, hold_out: Some(hold_out), save: &save };
        match line.fit(&opening, &mut trial, seconds, &mut muted(observer)) {
            // A rate that is too high for a cut is a finding, not a failure.
            Err(Error::Diverged { .. }) => trial.history.clear(),
            other => other?,
        }
    }
    record(line, judged(phase, &trial, clock), state, observer)
}

/// What a trial showed: its epoch of least loss.
fn judged(phase: &Phase, trial: &TrainingState, clock: Instant) -> Trial {
    let best = trial
        .history
        .iter()
        .filter_map(|epoch| epoch.validation_loss.zip(epoch.validation_accuracy))
        .filter(|(loss, _)| loss.is_finite())
        .min_by(|a, b| a.0.total_cmp(&b.0));
    Trial {
        freeze: phase.freeze.clone(),
        learning_rate: phase.learning_rate,
        stage_decay: phase.stage_decay,
        epochs: phase.epochs,
        loss: best.map(|(loss, _)| loss),
        accuracy: best.map_or(0.0, |(_, accuracy)| accuracy),
        seconds: Some(clock.elapsed().as_secs_f64()),
    }
}

/// Adds a finished trial to what is known, and saves that.
fn record<T: Task>(
    line: &PhaseRunner<'_, T>,
    trial: Trial,
    state: &mut TrainingState,
    observer: &mut dyn Observer,
) -> Result<()> {
    observer.event(&Event::Trial(trial.clone()));
    if let Some(choice) = &mut state.choice {
        choice.trials.push(trial);
    }
    line.run.write(state)
}

fn trials(state: &TrainingState) -> &[Trial] {
    state.choice.as_ref().map_or(&[], |choice| &choice.trials)
}

/// The open trial of least loss; of equals the first, which opens less.
fn best(trials: &[Trial]) -> Option<&Trial> {
    let finite = trials.iter().skip(1).filter(|trial| trial.loss.is_some());
    finite.min_by(|a, b| a.loss.unwrap_or(f64::INFINITY).total_cmp(&b.loss.unwrap_or(f64::INFINITY)))
}

/// Whether a cut deserves the whole phase. A trial is half as long, on fewer photos, and the frozen head had the best of many
/// epochs: what has less loss, or comes within a standard error of its right answers, may go on. In the end it must beat the
/// frozen head on the validation examples, so that what this costs is time.
fn is_worth_it(trial: &Trial, head: &Trial, held: usize) -> bool {
    let error = (head.accuracy * (1.0 - head.accuracy) / held as f64).sqrt();
    trial.loss.unwrap_or(f64::INFINITY) < head.loss.unwrap_or(f64::INFINITY) || trial.accuracy >= head.accuracy - error
}

/// The phase that a trial was of.
fn phase_of(phase: &Phase, trial: &Trial) -> Phase {
    Phase {
        freeze: trial.freeze.clone(),
        epochs: trial.epochs,
        learning_rate: trial.learning_rate,
        stage_decay: trial.stage_decay,
        ..phase.clone()
    }
}

fn frozen_accuracy(state: &TrainingState) -> Option<f64> {
    state.best_score.map(|score| score.accuracy())
}

fn behind(freeze: &Freeze) -> String {
    match freeze {
        Freeze::UpTo(stage) => format!("`{stage}`"),
        _ => "the picture".to_owned(),
    }
}

fn written(loss: Option<f64>) -> String {
    loss.map_or_else(|| "not a number".to_owned(), |loss| format!("{loss:.3}"))
}

/// Values a picture that maps may have, so that all views of all pictures fill at most a quarter of the cache.
fn most_values<T: Task>(line: &PhaseRunner<'_, T>, examples: usize) -> usize {
    let pictures = (examples * line.recipe.views as usize).max(1);
    (line.options.cache.limit / 4) as usize / pictures / size_of::<f32>()
}

/// How many photos a second learn through the whole network here, from a few steps through the last two stages.
fn passes_a_second<T: Task>(line: &PhaseRunner<'_, T>, share: f64) -> Result<f64> {
    let PhaseRunner { recipe, options, network, .. } = *line;
    let pretrained = network.pictures()?;
    let spec = StepSpec {
        backbone: pretrained.spec,
        variant: pretrained.variant,
        freeze: Freeze::AllBut(2),
        batch: recipe.batch,
        threads: options.threads,
    };
    let mut times = training_steps(&spec, TIMED_STEPS + 1)?.split_off(1);
    times.sort_unstable();
    let step = times[TIMED_STEPS / 2].as_secs_f64().max(f64::MIN_POSITIVE);
    // Steps were timed at the published size.
    let size = f64::from(pretrained.conventions.preprocess.width) / f64::from(pretrained.spec.input_size);
    Ok(recipe.batch as f64 * share / step / (size * size))
}

/// Lets progress through and nothing else: the epochs of a trial are not those of the run.
fn muted(observer: &mut dyn Observer) -> impl Observer {
    move |event: &Event| match event {
        Event::Progress { .. } => observer.event(event),
        _ => Control::Continue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(loss: Option<f64>, accuracy: f64) -> Trial {
        Trial {
            freeze: Freeze::Nothing,
            learning_rate: 1e-3,
            stage_decay: 1.0,
            epochs: 1,
            loss,
            accuracy,
            seconds: None,
        }
    }

    #[test]
    fn a_cut_goes_on_if_it_is_better_or_not_clearly_worse() {
        let head = trial(Some(0.7), 0.75);
        assert!(is_worth_it(&trial(Some(0.6), 0.60), &head, 100));
        assert!(is_worth_it(&trial(Some(0.8), 0.71), &head, 100));
        assert!(!is_worth_it(&trial(Some(0.8), 0.70), &head, 100));
        assert!(!is_worth_it(&trial(None, 0.0), &head, 100));
    }

    #[test]
    fn the_best_is_an_open_trial_of_least_loss_and_one_that_diverged_is_none() {
        let trials = [trial(Some(0.1), 1.0), trial(None, 0.0), trial(Some(0.5), 0.7), trial(Some(0.4), 0.6)];
        assert_eq!(best(&trials), Some(&trials[3]));
        assert_eq!(best(&trials[..2]), None);
        assert_eq!(best(&[]), None);
    }
}
