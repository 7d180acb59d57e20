//! One phase of a run: extract what is frozen, fit what is not, go on from the best.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor};

use crate::cache::extract::Times;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::Network;
use crate::nn::is_adapter;
use crate::parameters::Parameters;
use crate::recipe::{Freeze, Phase, Recipe};
use crate::run::{RunOptions, Seconds};
use crate::run_folder::RunFolder;
use crate::sources::Sources;
use crate::tasks::{Asked, Part, Score, Task};
use crate::train::checkpoint::{Position, TrainingState};
use crate::train::fit::{Objective, PhaseContext};
use crate::train::hold_out::{HoldOut, Subset};
use crate::train::observer::{Event, Observer};

/// What all phases of a run share.
pub(crate) struct PhaseRunner<'a, T: Task> {
    pub(crate) task: &'a T,
    pub(crate) recipe: &'a Recipe,
    pub(crate) options: &'a RunOptions,
    pub(crate) network: &'a Network,
    pub(crate) run: &'a RunFolder,
    /// The head before any training, under `head.`, and adapters under `backbone.`.
    pub(crate) untrained: &'a Parameters,
}

/// What is done with an opened phase.
type Body<'a, T, R> =
    dyn FnMut(&PhaseContext<'_>, Model<<T as Task>::Head>, &mut TrainingState, &mut dyn Observer) -> Result<R> + 'a;

/// One phase, as far as opening it goes.
pub(crate) struct Opening<'a> {
    /// From 0.
    pub(crate) index: usize,
    pub(crate) phase: &'a Phase,
    /// Learn from a part of the training examples and score on the others, instead of on the validation examples.
    pub(crate) hold_out: Option<&'a HoldOut>,
    /// Writes the state where a later run finds it.
    pub(crate) save: &'a dyn Fn(&TrainingState) -> Result<()>,
}

impl<T: Task> PhaseRunner<'_, T> {
    /// Runs a phase to its end and leaves its best weights in `state`.
    ///
    /// # Errors
    /// [`Error::Interrupted`] after the state was saved; [`Error::Diverged`].
    pub(crate) fn run(
        &self,
        index: usize,
        phase: &Phase,
        state: &mut TrainingState,
        seconds: &mut Seconds,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let save = |state: &TrainingState| self.run.write(state);
        self.fit(&Opening { index, phase, hold_out: None, save: &save }, state, seconds, observer)
    }

    /// [`Self::run`] on whatever examples, saving wherever `opening` says.
    pub(crate) fn fit(
        &self,
        opening: &Opening<'_>,
        state: &mut TrainingState,
        seconds: &mut Seconds,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        self.open(opening, state, seconds, observer, &mut |context, model, state, observer| match context
            .fit(model, state, observer)
        {
            Err(Error::Interrupted { .. }) => Err(Error::Interrupted { checkpoint: Some(self.run.folder.clone()) }),
            other => {
                context.remember(&other?, state);
                Ok(())
            }
        })?;
        if self.recipe.keep_best && state.best_score.is_some() {
            state.model = state.best.clone();
        }
        state.position = Position { phase: opening.index + 1, epoch: 0, step: 0 };
        (state.optimizer, state.optimizer_steps, state.since_best) = (Parameters::default(), 0, 0);
        Ok(())
    }

    /// Extracts what is frozen, builds what learns, and hands both to `body`.
    pub(crate) fn open<R>(
        &self,
        opening: &Opening<'_>,
        state: &mut TrainingState,
        seconds: &mut Seconds,
        observer: &mut dyn Observer,
        body: &mut Body<'_, T, R>,
    ) -> Result<R> {
        let Self { task, recipe, options, network, .. } = *self;
        let &Opening { index, phase, hold_out, save } = opening;
        let depth = network.frozen_depth(&phase.freeze)?;
        let stages = network.stage_count();
        let mut backbone = network.parameters().clone();
        backbone.extend(state.model.strip_prefix("backbone."));
        let plain = recipe.without_adapters(&backbone)?;

        let frozen = network.frozen(&plain, recipe.arithmetic)?;
        let sources =
            Sources { task, recipe, network, backbone: &plain, frozen: &frozen, depth, cache: &options.cache };
        let device = Device::default().autodiff();
        let model = Model {
            backbone: if depth < stages {
                Some(network.trainable(&backbone, recipe.lora.as_ref(), &device)?)
            } else {
                None
            },
            head: task.load_head(&recipe.head, &state.model.strip_prefix("head."), &device)?,
        };
        let is_open = |name: &str| is_open(network, name, depth, recipe.lora.is_some());
        observer.event(&Event::Phase {
            phase: index + 1,
            phases: recipe.phases.len(),
            freeze: frozen_name(network, depth),
            epochs: phase.epochs,
            learning: sources.learning(&model, &is_open),
            cached: sources.finished_examples(),
        });

        let clock = Instant::now();
        let (train, validation, times) = sources.open(&options.stop, observer)?;
        let (decode, extract) = shares(clock.elapsed(), times);
        seconds.decode += decode;
        seconds.extract += extract;

        let clock = Instant::now();
        let scored = if hold_out.is_some() { Part::Train } else { Part::Validation };
        /// Places in the whole part of examples that are counted within what is learned from.
        fn learned<'e>(hold_out: Option<&HoldOut>, examples: &'e [usize]) -> Cow<'e, [usize]> {
            match hold_out {
                Some(hold_out) => Cow::Owned(hold_out.learned(examples)),
                None => Cow::Borrowed(examples),
            }
        }
        let loss = |outputs: Tensor<2>, asked: Asked<'_>, pass: usize| {
            let (examples, view) = (&learned(hold_out, asked.examples), sources.view_number(pass));
            task.loss(recipe, outputs, Asked { examples, view, ..asked })
        };
        let train_score = |asked: Asked<'_>, outputs: &[f32], loss: f32| {
            task.training_score(recipe, Asked { examples: &learned(hold_out, asked.examples), ..asked }, outputs, loss)
        };
        let validation_score = |asked: Asked<'_>, outputs: &[f32]| -> Score {
            match hold_out {
                Some(hold_out) => {
                    let examples = &hold_out.held(asked.examples);
                    task.score(recipe, scored, Asked { examples, ..asked }, outputs)
                }
                None => task.score(recipe, scored, asked, outputs),
            }
        };
        let parts = hold_out.map(|hold_out| {
            (Subset::new(train.as_ref(), &hold_out.learned), Subset::new(train.as_ref(), &hold_out.held))
        });
        let context = PhaseContext {
            recipe,
            index,
            phase,
            depth,
            relative_rate: &|name| relative_rate(network, phase, name),
            is_open: &is_open,
            train: parts.as_ref().map_or(train.as_ref(), |(learned, _)| learned),
            validation: match &parts {
                Some((_, held)) => Some(held),
                None => validation.as_deref(),
            },
            objective: Objective { loss: &loss, train_score: &train_score, validation_score: &validation_score },
            stop: &options.stop,
            save,
        };
        let result = body(&context, model, state, observer);
        seconds.fit += clock.elapsed().as_secs_f64();
        result
    }
}

/// What a cut comes down to: `all`, `none` or the last frozen stage.
fn frozen_name(network: &Network, depth: usize) -> String {
    let stages = network.stages();
    match depth.checked_sub(1).map(|last| stages[last].clone()) {
        None => Freeze::Nothing.into(),
        Some(_) if depth == stages.len() => Freeze::Backbone.into(),
        Some(stage) => stage,
    }
}

fn is_open(network: &Network, name: &str, depth: usize, adapters_alone: bool) -> bool {
    match name.strip_prefix("backbone.") {
        Some(name) if adapters_alone && !is_adapter(name) => false,
        Some(name) => network.stage_of(name).is_some_and(|stage| stage >= depth),
        None => true,
    }
}

/// Rate of a parameter relative to the head's: each stage learns slower than the one after it.
fn relative_rate(network: &Network, phase: &Phase, name: &str) -> f64 {
    let stage = name.strip_prefix("backbone.").and_then(|name| network.stage_of(name));
    let distance = stage.map_or(0, |stage| network.stage_count() - stage);
    phase.stage_decay.powi(distance as i32)
}

fn shares(wall: Duration, times: Times) -> (f64, f64) {
    let work = (times.decode + times.extract).as_secs_f64().max(f64::MIN_POSITIVE);
    let wall = wall.as_secs_f64();
    let decode = wall * times.decode.as_secs_f64() / work;
    if times == Times::default() { (0.0, 0.0) } else { (decode, wall - decode) }
}
