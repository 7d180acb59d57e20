//! The loop over epochs and steps of one phase.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor};

use super::Source;
use super::checkpoint::{Position, TrainingState};
use super::evaluate::evaluate;
use super::observer::{Control, Epoch, Event, Observer, Work};
use super::optimizer::{GradientSum, Stepper};
use crate::error::{Error, Result};
use crate::model::{Head, Model};
use crate::nn::named::{collect, values};
use crate::nn::release_buffers;
use crate::random::Stream;
use crate::recipe::{Phase, Recipe};
use crate::tasks::{Asked, Score};

/// Examples, outputs and their mean loss → what an epoch line says of them.
type TrainScore<'a> = dyn Fn(Asked<'_>, &[f32], f32) -> Score + 'a;

/// What a task asks of the outputs; closures, so that training knows no task.
pub(crate) struct Objective<'a> {
    /// Mean loss of a batch of training examples, in the views that belong to a pass over them.
    pub(crate) loss: &'a dyn Fn(Tensor<2>, Asked<'_>, usize) -> Tensor<1>,
    /// Loss and right answers on training examples, of which the mean loss is known.
    pub(crate) train_score: &'a TrainScore<'a>,
    /// Loss and right answers on validation examples.
    pub(crate) validation_score: &'a dyn Fn(Asked<'_>, &[f32]) -> Score,
}

/// One phase of a run.
pub(crate) struct PhaseContext<'a> {
    pub(crate) recipe: &'a Recipe,
    /// From 0.
    pub(crate) index: usize,
    pub(crate) phase: &'a Phase,
    /// Stages below the cut.
    pub(crate) depth: usize,
    /// Rate of a parameter relative to the head's, by name.
    pub(crate) relative_rate: &'a dyn Fn(&str) -> f64,
    /// Whether a parameter belongs to the head or to a stage above the cut.
    pub(crate) is_open: &'a dyn Fn(&str) -> bool,
    pub(crate) train: &'a dyn Source,
    pub(crate) validation: Option<&'a dyn Source>,
    pub(crate) objective: Objective<'a>,
    pub(crate) stop: &'a AtomicBool,
    /// Writes the state where a later run finds it.
    pub(crate) save: &'a dyn Fn(&TrainingState) -> Result<()>,
}

/// The order of the examples in one round, kept while it lasts.
#[derive(Default)]
struct Order {
    pass: Option<usize>,
    examples: Vec<usize>,
}

/// Shortest time between two saved states: head-only epochs last milliseconds, and a state is megabytes.
const SAVE_INTERVAL: Duration = Duration::from_millis(500);

impl PhaseContext<'_> {
    /// Trains `model` from where `state` stands to the end of the phase.
    ///
    /// # Errors
    /// [`Error::Interrupted`] after the state was saved; [`Error::Diverged`].
    pub(crate) fn fit<H: Head>(
        &self,
        mut model: Model<H>,
        state: &mut TrainingState,
        observer: &mut dyn Observer,
    ) -> Result<Model<H>> {
        let device = Device::default().autodiff();
        let mut stepper = Stepper::new(self.recipe.optimizer, self.recipe.gradient_clip);
        stepper.restore(&state.optimizer, state.optimizer_steps, &device.clone().inner());
        // Batches of one round through the data; an epoch may be shorter or longer than that.
        let round = self.train.len().div_ceil(self.recipe.batch);
        let steps = self.recipe.steps_per_epoch.filter(|_| round > 0).unwrap_or(round);
        let mut saved = Instant::now();
        while state.position.epoch < self.phase.epochs {
            let epoch = state.position.epoch;
            let mut order = Order::default();
            let mut shown = Instant::now();
            let mut rate = self.phase.learning_rate;
            for step in state.position.step..steps {
                let (pass, batch) = ((epoch * steps + step) / round, (epoch * steps + step) % round);
                let examples = self.batch(&mut order, pass, batch);
                rate = self.phase.learning_rate
                    * self.phase.schedule.factor(epoch * steps + step, self.phase.epochs * steps);
                let counters = [self.index as u64, epoch as u64, step as u64];
                let mut noise = Stream::new(self.recipe.seed, "dropout", &counters);
                let mut gradients = GradientSum::default();
                let (mut step_score, mut whole) = (Score::EMPTY, None);
                // What does not fit at once is computed in parts, whose gradients are those of the whole.
                for examples in examples.chunks(self.recipe.micro_batch.unwrap_or(usize::MAX)) {
                    let read = self.train.read(examples, pass)?;
                    let rows = self.train.layout().rows(&read);
                    let asked = Asked { examples, rows: &rows, view: 0 };
                    let features = self.train.layout().tensor(read, &device);
                    let outputs = model.forward(self.depth, features, self.phase.norm, Some(&mut noise));
                    let loss = (self.objective.loss)(outputs.clone(), asked, pass);
                    let value = loss.clone().into_scalar::<f32>();
                    if !value.is_finite() {
                        return Err(Error::Diverged {
                            loss: value,
                            phase: self.index + 1,
                            epoch: epoch + 1,
                            step: step + 1,
                            learning_rate: rate,
                        });
                    }
                    let score = (self.objective.train_score)(asked, &values(outputs), value);
                    step_score.add(score);
                    match self.recipe.micro_batch {
                        None => whole = Some(loss.backward()),
                        Some(_) => gradients.add(&model, &loss.mul_scalar(score.losses as f64).backward()),
                    }
                }
                let rate_of = |name: &str| rate * (self.relative_rate)(name);
                model = match whole {
                    Some(whole) => stepper.step(model, &whole, &rate_of),
                    None => stepper.step_by_sum(model, &gradients, step_score.losses, &rate_of),
                };
                state.running.add(step_score);
                state.position.step = step + 1;
                if self.stop.load(Ordering::Relaxed) {
                    self.save(&model, &stepper, state)?;
                    return Err(Error::Interrupted { checkpoint: None });
                }
                if shown.elapsed() > Duration::from_millis(100) && step + 1 < steps {
                    shown = Instant::now();
                    observer.event(&Event::Progress { stage: Work::Fit, done: step + 1, total: steps });
                }
            }
            if self.end_epoch(&model, state, rate, observer)? == Control::Stop {
                break;
            }
            if saved.elapsed() > SAVE_INTERVAL || state.position.epoch == self.phase.epochs {
                self.save(&model, &stepper, state)?;
                saved = Instant::now();
            }
        }
        release_buffers();
        Ok(model)
    }

    /// Batch number `batch` of round `pass` through the training examples.
    fn batch<'o>(&self, order: &'o mut Order, pass: usize, batch: usize) -> &'o [usize] {
        if order.pass != Some(pass) {
            let mut stream = Stream::new(self.recipe.seed, "order", &[self.index as u64, pass as u64]);
            *order = Order { pass: Some(pass), examples: stream.permutation(self.train.len()) };
        }
        let start = batch * self.recipe.batch;
        &order.examples[start..(start + self.recipe.batch).min(order.examples.len())]
    }

    /// Validates, compares with the best epoch, tells the observer and moves on to the next epoch.
    fn end_epoch<H: Head>(
        &self,
        model: &Model<H>,
        state: &mut TrainingState,
        rate: f64,
        observer: &mut dyn Observer,
    ) -> Result<Control> {
        let train = std::mem::replace(&mut state.running, Score::EMPTY);
        let validation = match self.validation {
            Some(source) => {
                let (outputs, rows) = evaluate(model, source, self.depth, self.recipe.batch.max(64))?;
                let all: Vec<usize> = (0..source.len()).collect();
                Some((self.objective.validation_score)(Asked { examples: &all, rows: &rows, view: 0 }, &outputs))
            }
            None => None,
        };
        let epoch = Epoch {
            phase: self.index + 1,
            epoch: state.position.epoch + 1,
            epochs: self.phase.epochs,
            learning_rate: rate,
            loss: train.loss(),
            accuracy: train.accuracy(),
            validation_loss: validation.map(|score| score.loss()),
            validation_accuracy: validation.map(|score| score.accuracy()),
            validation_f1: validation.and_then(|score| score.found).map(|found| found.f1()),
        };
        state.position = Position { phase: self.index, epoch: state.position.epoch + 1, step: 0 };
        let better = match (validation, state.best_score) {
            (Some(now), Some(best)) => now.is_better_than(&best),
            _ => true,
        };
        if better {
            state.best_score = validation;
            self.remember(model, state);
            state.best = state.model.clone();
            state.since_best = 0;
        } else {
            state.since_best += 1;
        }
        state.history.push(epoch.clone());
        let control = observer.event(&Event::Epoch(epoch));
        if let (Some(patience), Some(_)) = (self.recipe.early_stopping, validation)
            && state.since_best >= patience
            && state.position.epoch < self.phase.epochs
        {
            let reason = format!("no better validation score for {patience} epochs");
            observer.event(&Event::Stopped { reason });
            return Ok(Control::Stop);
        }
        Ok(control)
    }

    /// Copies what learns into the state, over what earlier phases learned.
    pub(crate) fn remember<H: Head>(&self, model: &Model<H>, state: &mut TrainingState) {
        let mut learned = collect(model);
        learned.retain(|name| (self.is_open)(name));
        state.model.extend(learned);
    }

    fn save<H: Head>(&self, model: &Model<H>, stepper: &Stepper, state: &mut TrainingState) -> Result<()> {
        self.remember(model, state);
        (state.optimizer, state.optimizer_steps) = stepper.state();
        (self.save)(state)
    }
}
