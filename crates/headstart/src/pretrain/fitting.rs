//! The loop over the steps of a pretraining.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::Device;

use super::language_model::LanguageModel;
use super::objective::SpecialTokens;
use super::recipe::PretrainRecipe;
use super::run::PretrainEpoch;
use super::sequences::TokenSequences;
use super::state::{LossSum, PretrainState};
use crate::error::{Error, Result};
use crate::nn::named::collect;
use crate::nn::{TransformerShape, release_buffers};
use crate::random::Stream;
use crate::recipe::{Optimizer, Schedule};
use crate::train::observer::{Control, Event, Observer, Work};
use crate::train::optimizer::Stepper;

/// Longest time without a saved state: what a kill costs at most.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// Largest norm of all gradients together; what is beyond is scaled down, as is usual with transformers.
const CLIP: f32 = 1.0;

/// What is trained, on what, and who is told.
pub(super) struct Fitting<'a> {
    pub(super) recipe: &'a PretrainRecipe,
    pub(super) shape: TransformerShape,
    pub(super) special: &'a SpecialTokens,
    pub(super) learned: &'a TokenSequences,
    pub(super) held_out: &'a TokenSequences,
    pub(super) stop: &'a AtomicBool,
    /// Writes the state where a later run finds it.
    pub(super) save: &'a dyn Fn(&PretrainState) -> Result<()>,
}

impl Fitting<'_> {
    /// Steps of a round and of the whole pretraining.
    pub(super) fn steps(&self) -> (usize, usize) {
        let round = self.learned.batch_count(self.recipe.batch);
        (round, self.recipe.steps.unwrap_or(round * self.recipe.epochs))
    }

    /// Trains from where `state` stands to the end.
    ///
    /// # Errors
    /// [`Error::Interrupted`] after the state was saved; [`Error::Diverged`].
    pub(super) fn fit(&self, state: &mut PretrainState, observer: &mut dyn Observer) -> Result<()> {
        let device = Device::default().autodiff();
        let objective = self.recipe.objective;
        let mut model = LanguageModel::load(self.shape, objective, &state.model, &device)?;
        let optimizer = Optimizer::AdamW { weight_decay: self.recipe.weight_decay };
        let mut stepper = Stepper::new(optimizer, Some(CLIP));
        stepper.restore(&state.optimizer, state.optimizer_steps, &device.clone().inner());
        if state.progress.step == 0 {
            state.progress.before = self.score(&model).map(LossSum::mean);
        }
        let (round, all) = self.steps();
        let drops = self.shape.dropout > 0.0 || self.shape.attention_dropout > 0.0;
        let (mut saved, mut shown) = (Instant::now(), Instant::now());
        let mut batches: Option<(usize, Vec<Vec<usize>>)> = None;
        while state.progress.step < all {
            let step = state.progress.step;
            let (epoch, within) = (step / round, step % round);
            let (_, batches) = match &mut batches {
                Some(drawn) if drawn.0 == epoch => drawn,
                drawn => drawn.insert((epoch, self.learned.batches(self.recipe.batch, self.recipe.seed, epoch))),
            };
            let counters = [step as u64];
            let mut hidden = Stream::new(self.recipe.seed, "hidden tokens", &counters);
            let batch = objective.batch(&self.learned.pick(&batches[within]), self.special, &mut hidden);
            let rate = self.recipe.learning_rate * Schedule::Linear.factor(step, all);
            // Of very few tokens none may be hidden, and then there is nothing to learn.
            if !batch.rows.is_empty() {
                let mut noise = Stream::new(self.recipe.seed, "dropout", &counters);
                let loss = model.loss(&batch, drops.then_some(&mut noise));
                let value = loss.clone().into_scalar::<f32>();
                if !value.is_finite() {
                    let (epoch, step) = (epoch + 1, within + 1);
                    return Err(Error::Diverged { loss: value, phase: 1, epoch, step, learning_rate: rate });
                }
                model = stepper.step(model, &loss.backward(), &|_| rate);
                state.progress.running.nats += f64::from(value) * batch.rows.len() as f64;
                state.progress.running.tokens += batch.rows.len();
            }
            state.progress.step = step + 1;
            let ends = within + 1 == round || step + 1 == all;
            let control = if ends { self.end_round(&model, state, rate, observer) } else { Control::Continue };
            let is_over = state.progress.step == all || control == Control::Stop;
            if is_over || saved.elapsed() > SAVE_INTERVAL || self.stop.load(Ordering::Relaxed) {
                state.model = collect(&model);
                (state.optimizer, state.optimizer_steps) = stepper.state();
                if is_over {
                    break;
                }
                (self.save)(state)?;
                saved = Instant::now();
                if self.stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted { checkpoint: None });
                }
            }
            if !ends && shown.elapsed() > Duration::from_millis(100) {
                shown = Instant::now();
                let total = round.min(all - epoch * round);
                observer.event(&Event::Progress { stage: Work::Fit, done: within + 1, total });
            }
        }
        release_buffers();
        Ok(())
    }

    /// Scores what is held out, notes the round and tells it.
    fn end_round(
        &self,
        model: &LanguageModel,
        state: &mut PretrainState,
        rate: f64,
        observer: &mut dyn Observer,
    ) -> Control {
        let (round, all) = self.steps();
        let held_out_loss = self.score(model).map(LossSum::mean);
        let epoch = PretrainEpoch {
            epoch: state.progress.step.div_ceil(round),
            epochs: all.div_ceil(round),
            step: state.progress.step,
            learning_rate: rate,
            loss: std::mem::take(&mut state.progress.running).mean(),
            held_out_loss,
            held_out_perplexity: held_out_loss.map(f64::exp),
        };
        state.progress.history.push(epoch.clone());
        observer.event(&Event::PretrainEpoch(epoch))
    }

    /// Loss of what is held out, always with the same tokens hidden; `None` where there is nothing.
    fn score(&self, model: &LanguageModel) -> Option<LossSum> {
        let model = model.valid();
        let mut sum = LossSum::default();
        if self.held_out.is_empty() {
            return None;
        }
        for (index, numbers) in self.held_out.batches_in_order(self.recipe.batch).into_iter().enumerate() {
            let mut hidden = Stream::new(self.recipe.seed, "hidden tokens that are held out", &[index as u64]);
            let batch = self.recipe.objective.batch(&self.held_out.pick(&numbers), self.special, &mut hidden);
            if !batch.rows.is_empty() {
                sum.nats += f64::from(model.loss(&batch, None).into_scalar::<f32>()) * batch.rows.len() as f64;
                sum.tokens += batch.rows.len();
            }
        }
        (sum.tokens > 0).then_some(sum)
    }
}
