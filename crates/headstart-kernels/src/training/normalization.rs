//! Batch normalization with its activation, forward and back, on `[pixels, C]`.
//!
//! The loops are plain; each is compiled once for every instruction set.

use super::ConvNormSpec;
use crate::dispatch::InstructionSet;

/// Normalization as one multiplication and one addition a channel, and what the way back needs.
pub(super) struct Affine {
    scale: Vec<f32>,
    shift: Vec<f32>,
    mean: Vec<f32>,
    /// 1 / √(variance + ε)
    inverse: Vec<f32>,
    /// Subtracted from a gradient: constant, and times the distance from the mean. Zero unless the statistics are the
    /// batch's.
    constant: Vec<f32>,
    slope: Vec<f32>,
    low: f32,
    high: f32,
    /// What values below zero are multiplied by.
    leak: f32,
}

/// Sums over pixels of the gradient before the activation.
#[derive(Clone)]
pub(super) struct Sums {
    /// Σ g
    gradient: Vec<f64>,
    /// Σ g · (z − mean)
    weighted: Vec<f64>,
}

impl Sums {
    pub(super) fn new(channels: usize) -> Self {
        Self { gradient: vec![0.0; channels], weighted: vec![0.0; channels] }
    }

    /// The sum of many, in their order.
    pub(super) fn total<'a>(all: impl Iterator<Item = &'a Self>, channels: usize) -> Self {
        let mut total = Self::new(channels);
        for part in all {
            total.gradient.iter_mut().zip(&part.gradient).for_each(|(sum, value)| *sum += value);
            total.weighted.iter_mut().zip(&part.weighted).for_each(|(sum, value)| *sum += value);
        }
        total
    }
}

impl Affine {
    pub(super) fn new(gamma: &[f32], beta: &[f32], mean: &[f32], variance: &[f32], spec: &ConvNormSpec) -> Self {
        let inverse: Vec<f32> = variance.iter().map(|variance| 1.0 / (variance + spec.epsilon).sqrt()).collect();
        let scale: Vec<f32> = gamma.iter().zip(&inverse).map(|(gamma, inverse)| gamma * inverse).collect();
        let shift = beta.iter().zip(mean.iter().zip(&scale)).map(|(beta, (mean, scale))| beta - mean * scale).collect();
        let (low, high) = spec.activation.bounds();
        let zeros = vec![0.0; gamma.len()];
        let leak = spec.activation.leak();
        Self { scale, shift, mean: mean.to_vec(), inverse, constant: zeros.clone(), slope: zeros, low, high, leak }
    }

    /// Takes into account that mean and variance are functions of the batch of `count` pixels.
    pub(super) fn correct(&mut self, sums: &Sums, count: usize) {
        for channel in 0..self.scale.len() {
            let inverse = f64::from(self.inverse[channel]);
            self.constant[channel] = (sums.gradient[channel] / count as f64) as f32;
            self.slope[channel] = (sums.weighted[channel] * inverse * inverse / count as f64) as f32;
        }
    }

    /// Gradients of gamma and beta.
    pub(super) fn parameter_gradients(&self, sums: &Sums) -> (Vec<f32>, Vec<f32>) {
        let gamma = sums.weighted.iter().zip(&self.inverse).map(|(sum, inverse)| (sum * f64::from(*inverse)) as f32);
        (gamma.collect(), sums.gradient.iter().map(|sum| *sum as f32).collect())
    }
}

/// Mean and biased variance of each channel over all pixels of all pictures.
pub(super) fn statistics(values: &[f32], picture: usize, channels: usize) -> (Vec<f32>, Vec<f32>) {
    use rayon::prelude::*;
    let count = (values.len() / channels) as f64;
    let add = |mut sums: Vec<f64>, part: Vec<f64>| {
        sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        sums
    };
    // Pictures in parallel, their sums in order.
    let over = |term: &(dyn Fn(usize, f32) -> f64 + Sync)| -> Vec<f64> {
        let parts: Vec<Vec<f64>> = values
            .par_chunks_exact(picture)
            .map(|picture| {
                let mut sums = vec![0.0; channels];
                for pixel in picture.chunks_exact(channels) {
                    for (channel, (sum, value)) in sums.iter_mut().zip(pixel).enumerate() {
                        *sum += term(channel, *value);
                    }
                }
                sums
            })
            .collect();
        parts.into_iter().fold(vec![0.0; channels], add)
    };
    let mean: Vec<f64> = over(&|_, value| f64::from(value)).iter().map(|sum| sum / count).collect();
    let variance = over(&|channel, value| (f64::from(value) - mean[channel]).powi(2));
    (mean.iter().map(|mean| *mean as f32).collect(), variance.iter().map(|sum| (sum / count) as f32).collect())
}

#[inline(always)]
fn apply_plain(affine: &Affine, values: &[f32], output: &mut [f32]) {
    let channels = affine.scale.len();
    let (low, high, leak) = (affine.low, affine.high, affine.leak);
    for (from, to) in values.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
        let parameters = affine.scale.iter().zip(&affine.shift);
        for ((to, from), (scale, shift)) in to.iter_mut().zip(from).zip(parameters) {
            let value = from * scale + shift;
            // Comparisons leave a NaN as it is.
            let value = if value < low { low } else { value };
            let value = if value > high { high } else { value };
            *to = if value < 0.0 { value * leak } else { value };
        }
    }
}

/// Pixels whose sums are made in f32 before they are added to those in f64.
const BLOCK: usize = 256;

#[inline(always)]
fn back_plain(affine: &Affine, values: &[f32], gradient: &[f32], mut output: Option<&mut [f32]>, sums: &mut Sums) {
    let channels = affine.scale.len();
    let (low, high, leak) = (affine.low, affine.high, affine.leak);
    let mut block = vec![0.0f32; 2 * channels];
    for (index, (values, gradient)) in
        values.chunks(BLOCK * channels).zip(gradient.chunks(BLOCK * channels)).enumerate()
    {
        block.fill(0.0);
        let (plain, weighted) = block.split_at_mut(channels);
        for (pixel, (value, gradient)) in values.chunks_exact(channels).zip(gradient.chunks_exact(channels)).enumerate()
        {
            // Slices of one length, so that the loop needs no checks.
            let (scale, shift, mean) = (&affine.scale[..channels], &affine.shift[..channels], &affine.mean[..channels]);
            let (constant, slope) = (&affine.constant[..channels], &affine.slope[..channels]);
            let (plain, weighted) = (&mut plain[..channels], &mut weighted[..channels]);
            let (value, gradient) = (&value[..channels], &gradient[..channels]);
            match &mut output {
                Some(output) => {
                    let output = &mut output[(index * BLOCK + pixel) * channels..][..channels];
                    for c in 0..channels {
                        let before = value[c] * scale[c] + shift[c];
                        let open = if before > low && before < high { gradient[c] } else { 0.0 };
                        let open = if before > 0.0 { open } else { open * leak };
                        let distance = value[c] - mean[c];
                        plain[c] += open;
                        weighted[c] += open * distance;
                        output[c] = scale[c] * (open - constant[c] - distance * slope[c]);
                    }
                }
                None => {
                    for c in 0..channels {
                        let before = value[c] * scale[c] + shift[c];
                        let open = if before > low && before < high { gradient[c] } else { 0.0 };
                        let open = if before > 0.0 { open } else { open * leak };
                        plain[c] += open;
                        weighted[c] += open * (value[c] - mean[c]);
                    }
                }
            }
        }
        for c in 0..channels {
            sums.gradient[c] += f64::from(plain[c]);
            sums.weighted[c] += f64::from(weighted[c]);
        }
    }
}

macro_rules! instruction_set {
    ($apply:ident, $back:ident, $(#[$attribute:meta])*) => {
        $(#[$attribute])*
        fn $apply(affine: &Affine, values: &[f32], output: &mut [f32]) {
            apply_plain(affine, values, output);
        }

        $(#[$attribute])*
        fn $back(affine: &Affine, values: &[f32], gradient: &[f32], output: Option<&mut [f32]>, sums: &mut Sums) {
            back_plain(affine, values, gradient, output, sums);
        }
    };
}

#[cfg(target_arch = "x86_64")]
instruction_set!(apply_avx512, back_avx512, #[target_feature(enable = "avx512f")]);
#[cfg(target_arch = "x86_64")]
instruction_set!(apply_avx2, back_avx2, #[target_feature(enable = "avx2")]);
instruction_set!(apply_portable, back_portable,);

/// Normalization and activation of one picture.
pub(super) fn apply(set: InstructionSet, affine: &Affine, values: &[f32], output: &mut [f32]) {
    match set {
        // SAFETY: plain code; a step only has a `set` that this machine has.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { apply_avx512(affine, values, output) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => unsafe { apply_avx2(affine, values, output) },
        _ => apply_portable(affine, values, output),
    }
}

/// The gradient of one picture before normalization, and its sums.
pub(super) fn back(
    set: InstructionSet,
    affine: &Affine,
    values: &[f32],
    gradient: &[f32],
    output: &mut [f32],
    sums: &mut Sums,
) {
    assert!(values.len() == gradient.len() && values.len() == output.len());
    either(set, affine, values, gradient, Some(output), sums);
}

/// The sums alone.
pub(super) fn sum_back(set: InstructionSet, affine: &Affine, values: &[f32], gradient: &[f32], sums: &mut Sums) {
    either(set, affine, values, gradient, None, sums);
}

fn either(
    set: InstructionSet,
    affine: &Affine,
    values: &[f32],
    gradient: &[f32],
    output: Option<&mut [f32]>,
    sums: &mut Sums,
) {
    match set {
        // SAFETY: plain code; a step only has a `set` that this machine has.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { back_avx512(affine, values, gradient, output, sums) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => unsafe { back_avx2(affine, values, gradient, output, sums) },
        _ => back_portable(affine, values, gradient, output, sums),
    }
}
