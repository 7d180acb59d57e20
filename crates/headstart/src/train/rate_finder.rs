//! Learning-rate range test: one short run at ever higher rates, and what its losses say (Smith 2017, arXiv:1506.01186).

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::fit::PhaseContext;
use super::observer::{Event, Observer, Work};
use super::optimizer::Stepper;
use crate::error::{Error, Result};
use crate::model::{Head, Model};
use crate::nn::release_buffers;
use crate::random::Stream;
use crate::tasks::Asked;

/// Weight of the past in the smoothed loss.
const SMOOTHING: f64 = 0.95;
/// The test ends when the smoothed loss is this many times its best.
const DIVERGED: f64 = 4.0;
/// A best below this counts as this: the losses of a head that knows its examples by heart are noise, of which any is many
/// times the least.
const LEAST_BEST: f64 = 0.1;

/// Which rates are tried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RangeTest {
    /// Rate of the first step.
    pub low: f64,
    /// Rate of the last step, if the loss lets it come so far.
    pub high: f64,
    /// Number of steps, each this many times the rate of the one before: a geometric ladder.
    pub steps: usize,
}

impl Default for RangeTest {
    fn default() -> Self {
        Self { low: 1e-6, high: 1.0, steps: 100 }
    }
}

/// What a range test of one phase gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RateCurve {
    /// Phase, from 1.
    pub phase: usize,
    /// `all`, `none` or the last frozen stage.
    pub freeze: String,
    /// The rate that the recipe has.
    pub recipe_rate: f64,
    /// One a step.
    pub points: Vec<RatePoint>,
    /// The rate where the loss fell fastest; none when it never fell.
    pub steepest: Option<f64>,
    /// The middle of the longest way down; none when it never fell.
    pub valley: Option<f64>,
    /// The rate at which the smoothed loss had risen to four times its best (or to 0.4, if that is more), or was no number
    /// any more.
    pub diverged: Option<f64>,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RatePoint {
    /// Learning rate of the head.
    pub rate: f64,
    /// Loss before the step.
    pub loss: f64,
    /// Moving average of the losses so far, freed of its bias towards the start (Kingma and Ba 2015, section 3).
    pub smoothed: f64,
}

impl RangeTest {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Recipe`] naming what cannot be used.
    pub fn check(&self) -> Result<()> {
        if !(self.low > 0.0 && self.low < self.high && self.high.is_finite()) {
            return Err(Error::Recipe {
                reason: format!("rates from {} to {} are not a ladder upwards from above 0", self.low, self.high),
                help: "set --from 1e-6 --to 1".to_owned(),
            });
        }
        if !(10..=10_000).contains(&self.steps) {
            return Err(Error::Recipe {
                reason: format!("{} steps are not between 10 and 10 000", self.steps),
                help: "set --steps 100".to_owned(),
            });
        }
        Ok(())
    }

    fn rate(&self, step: usize) -> f64 {
        self.low * (self.high / self.low).powf(step as f64 / (self.steps - 1) as f64)
    }
}

impl RateCurve {
    /// What to set: the valley, which lies lower and is safer than the steepest point.
    pub fn suggestion(&self) -> Option<f64> {
        self.valley.or(self.steepest)
    }
}

impl PhaseContext<'_> {
    /// Runs the range test of this phase from `model`, which is left behind.
    ///
    /// # Errors
    /// [`Error::Interrupted`]; those of reading features. A loss that is no number ends the test and is no error.
    pub(crate) fn find_rate<H: Head>(
        &self,
        mut model: Model<H>,
        test: &RangeTest,
        observer: &mut dyn Observer,
    ) -> Result<RateCurve> {
        let device = Device::default().autodiff();
        let mut stepper = Stepper::new(self.recipe.optimizer, self.recipe.gradient_clip);
        let steps_an_epoch = self.train.len().div_ceil(self.recipe.batch);
        let (mut order, mut shown) = (Vec::new(), Instant::now());
        let mut points: Vec<RatePoint> = Vec::with_capacity(test.steps);
        let (mut average, mut best, mut diverged) = (0.0, f64::INFINITY, None);
        for number in 0..test.steps {
            let (epoch, step) = (number / steps_an_epoch, number % steps_an_epoch);
            if step == 0 {
                order = Stream::new(self.recipe.seed, "order", &[self.index as u64, epoch as u64])
                    .permutation(self.train.len());
            }
            let examples = &order[step * self.recipe.batch..((step + 1) * self.recipe.batch).min(order.len())];
            let rate = test.rate(number);
            let read = self.train.read(examples, epoch)?;
            let rows = self.train.layout().rows(&read);
            let features = self.train.layout().tensor(read, &device);
            let counters = [self.index as u64, epoch as u64, step as u64];
            let mut noise = Stream::new(self.recipe.seed, "dropout", &counters);
            let outputs = model.forward(self.depth, features, self.phase.norm, Some(&mut noise));
            let loss = (self.objective.loss)(outputs, Asked { examples, rows: &rows, view: 0 }, epoch);
            let value = f64::from(loss.clone().into_scalar::<f32>());
            if !value.is_finite() {
                diverged = Some(rate);
                break;
            }
            average = SMOOTHING * average + (1.0 - SMOOTHING) * value;
            let smoothed = average / (1.0 - SMOOTHING.powi(number as i32 + 1));
            points.push(RatePoint { rate, loss: value, smoothed });
            best = best.min(smoothed);
            if smoothed > DIVERGED * best.max(LEAST_BEST) {
                diverged = Some(rate);
                break;
            }
            model = stepper.step(model, &loss.backward(), &|name| rate * (self.relative_rate)(name));
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted { checkpoint: None });
            }
            if shown.elapsed() > Duration::from_millis(100) {
                shown = Instant::now();
                observer.event(&Event::Progress { stage: Work::Fit, done: number + 1, total: test.steps });
            }
        }
        observer.event(&Event::Progress { stage: Work::Fit, done: test.steps, total: test.steps });
        release_buffers();
        let smoothed: Vec<f64> = points.iter().map(|point| point.smoothed).collect();
        Ok(RateCurve {
            phase: self.index + 1,
            freeze: self.phase.freeze.clone().into(),
            recipe_rate: self.phase.learning_rate,
            steepest: steepest(&smoothed).map(|index| points[index].rate),
            valley: valley(&smoothed).map(|index| points[index].rate),
            points,
            diverged,
        })
    }
}

/// Where the curve falls fastest a step, between its first tenth, in which few losses make the average, and its lowest point.
fn steepest(losses: &[f64]) -> Option<usize> {
    let lowest = (0..losses.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b]))?;
    let slope = |index: usize| losses[index + 1] - losses[index - 1];
    (losses.len().div_ceil(10).max(1)..lowest)
        .min_by(|&a, &b| slope(a).total_cmp(&slope(b)))
        .filter(|&index| slope(index) < 0.0)
}

/// The middle of the longest run of ever lower losses, other losses between them left out: the flank that leads into the
/// valley. Rates climb by a factor a step, so the middle is that of their logarithms.
fn valley(losses: &[f64]) -> Option<usize> {
    // Length and beginning of the longest way down that ends at each step.
    let mut ways: Vec<(usize, usize)> = Vec::with_capacity(losses.len());
    for (end, loss) in losses.iter().enumerate() {
        let before =
            (0..end).filter(|&before| losses[before] > *loss).max_by_key(|&before| (ways[before].0, end - before));
        ways.push(before.map_or((1, end), |before| (ways[before].0 + 1, ways[before].1)));
    }
    let end = (0..ways.len()).max_by_key(|&end| (ways[end].0, losses.len() - end))?;
    (ways[end].0 > 1).then(|| ways[end].1.midpoint(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_is_geometric_and_ends_where_it_should() {
        let test = RangeTest { low: 1e-6, high: 1.0, steps: 13 };
        assert!((test.rate(0) - 1e-6).abs() < 1e-18 && (test.rate(12) - 1.0).abs() < 1e-12);
        assert!((test.rate(6) - 1e-3).abs() < 1e-12);
        assert!(RangeTest { low: 1.0, high: 1.0, ..test }.check().is_err());
        assert!(RangeTest { low: f64::NAN, ..test }.check().is_err());
        assert!(RangeTest { steps: 9, ..test }.check().is_err());
        assert!(RangeTest::default().check().is_ok());
    }

    #[test]
    fn flank_and_valley_are_found_where_they_were_put() {
        // Level for 40 steps, then a slope whose fastest part is about step 60, lowest at 80, then up.
        let losses: Vec<f64> = (0..100)
            .map(|step| {
                let x = f64::from(step);
                let fall = 1.0 / (1.0 + (-(x - 60.0) / 4.0).exp());
                2.0 - fall + if x > 80.0 { (x - 80.0) * 0.2 } else { 0.0 }
            })
            .collect();
        assert!((58..=62).contains(&steepest(&losses).unwrap()));
        assert!((30..=50).contains(&valley(&losses).unwrap()), "{:?}", valley(&losses));
    }

    #[test]
    fn a_loss_that_only_rises_suggests_nothing() {
        let rising: Vec<f64> = (0..50).map(f64::from).collect();
        assert_eq!((steepest(&rising), valley(&rising)), (None, None));
        assert_eq!((steepest(&[]), valley(&[])), (None, None));
        assert_eq!((steepest(&[1.0]), valley(&[1.0])), (None, None));
    }
}
