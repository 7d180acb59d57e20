//! Power spectra of overlapping windows, sample block by sample block.

use std::f64::consts::TAU;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// Cuts a stream of samples into windows and transforms each.
///
/// In `f64`: the logarithm of a quiet band beside a loud one would show the rounding of an `f32` transform.
pub(super) struct Spectra {
    transform: Arc<dyn RealToComplex<f64>>,
    /// Over `span` samples.
    window: Vec<f64>,
    step: usize,
    /// Samples reflected at both ends, so that the first window has its centre on the first sample.
    padding: usize,
    samples: Vec<f32>,
    /// Where the next window begins in `samples`.
    next: usize,
    /// Whether the reflection before the first sample is in place.
    begun: bool,
    input: Vec<f64>,
    output: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
    power: Vec<f64>,
}

impl std::fmt::Debug for Spectra {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Spectra").field("span", &self.window.len()).field("step", &self.step).finish_non_exhaustive()
    }
}

impl Spectra {
    /// Periodic Hann windows of `window` samples every `step` samples, transformed over `fft` samples.
    ///
    /// With `center`, windows lie in the middle of `fft` samples and both ends are reflected (PyTorch's `stft`); else a window
    /// begins its `fft` samples, zeros follow, and there are only windows that lie within the recording (TensorFlow).
    pub(super) fn new(window: usize, step: usize, fft: usize, layout: Placement) -> Self {
        let hann = (0..window).map(|n| 0.5 - 0.5 * (TAU * n as f64 / window as f64).cos());
        let (left, span) = match layout {
            Placement::Start => (0, window),
            Placement::Middle { .. } => ((fft - window) / 2, fft),
        };
        let mut placed = vec![0.0; span];
        placed[left..left + window].iter_mut().zip(hann).for_each(|(place, value)| *place = value);
        let transform = RealFftPlanner::new().plan_fft_forward(fft);
        let padding = if layout == (Placement::Middle { reflected: true }) { fft / 2 } else { 0 };
        Self {
            window: placed,
            step,
            padding,
            samples: Vec::new(),
            next: 0,
            begun: padding == 0,
            input: transform.make_input_vec(),
            output: transform.make_output_vec(),
            scratch: transform.make_scratch_vec(),
            power: vec![0.0; fft / 2 + 1],
            transform,
        }
    }

    /// Adds samples and hands the power of each window that they complete to `each`: `[fft / 2 + 1]`.
    pub(super) fn push(&mut self, samples: &[f32], each: &mut dyn FnMut(&[f64])) {
        self.samples.extend_from_slice(samples);
        if !self.begun {
            if self.samples.len() <= self.padding {
                return;
            }
            let reflected: Vec<f32> = self.samples[1..=self.padding].iter().rev().copied().collect();
            self.samples.splice(0..0, reflected);
            self.begun = true;
        }
        self.run(each);
    }

    /// The windows that reach over the end. A recording that is not longer than the reflection has none at all.
    pub(super) fn finish(&mut self, each: &mut dyn FnMut(&[f64])) {
        if self.begun && self.padding > 0 {
            let last = self.samples.len() - 1;
            let reflected: Vec<f32> = self.samples[last - self.padding..last].iter().rev().copied().collect();
            self.samples.extend(reflected);
            self.run(each);
        }
        self.samples.clear();
        (self.next, self.begun) = (0, self.padding == 0);
    }

    fn run(&mut self, each: &mut dyn FnMut(&[f64])) {
        while self.next + self.window.len() <= self.samples.len() {
            let samples = &self.samples[self.next..self.next + self.window.len()];
            self.input.fill(0.0);
            for ((input, sample), weight) in self.input.iter_mut().zip(samples).zip(&self.window) {
                *input = f64::from(*sample) * weight;
            }
            // Its lengths are those that it gave itself; there is nothing else that it could refuse.
            if self.transform.process_with_scratch(&mut self.input, &mut self.output, &mut self.scratch).is_ok() {
                self.power.iter_mut().zip(&self.output).for_each(|(power, value)| *power = value.norm_sqr());
                each(&self.power);
            }
            self.next += self.step;
        }
        // The end is reflected, so its samples must stay.
        let done = self.next.min(self.samples.len().saturating_sub(self.padding + 1));
        if done > 4096 {
            self.samples.drain(..done);
            self.next -= done;
        }
    }
}

/// Where a window lies in the samples of its transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// At the start.
    Start,
    /// In the middle, with both ends of the recording reflected or without.
    Middle { reflected: bool },
}
