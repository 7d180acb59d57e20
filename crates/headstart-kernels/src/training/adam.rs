//! One step of Adam in one pass over the values.

use rayon::prelude::*;

use crate::dispatch::{InstructionSet, chosen};

/// Numbers of one step of Adam (Kingma and Ba 2015) with decoupled decay (Loshchilov and Hutter 2019).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Learning rate with the correction of both moments: rate · √(1 − β₂ᵗ) / (1 − β₁ᵗ).
    pub rate: f32,
    /// Part of a value that is taken off: rate · decay.
    pub decay: f32,
    /// Kept of the first moment.
    pub beta1: f32,
    /// Kept of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// The gradient is multiplied by this first.
    pub scale: f32,
}

/// Values that one thread takes at a time.
const CHUNK: usize = 1 << 15;

/// Moves `values` and both moments, all of one length.
///
/// # Panics
/// When the lengths differ.
pub fn adam_step(step: &AdamStep, values: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32]) {
    assert!(values.len() == first.len() && values.len() == second.len() && values.len() == gradient.len());
    let set = chosen();
    let chunks = values.par_chunks_mut(CHUNK).zip(first.par_chunks_mut(CHUNK)).zip(second.par_chunks_mut(CHUNK));
    chunks.zip(gradient.par_chunks(CHUNK)).for_each(|(((values, first), second), gradient)| match set {
        // SAFETY: plain code; `chosen` is an instruction set of this machine.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { chunk_avx512(step, values, first, second, gradient) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => unsafe { chunk_avx2(step, values, first, second, gradient) },
        _ => chunk(step, values, first, second, gradient),
    });
}

#[inline(always)]
fn chunk(step: &AdamStep, values: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32]) {
    let moments = first.iter_mut().zip(second.iter_mut());
    for ((value, gradient), (first, second)) in values.iter_mut().zip(gradient).zip(moments) {
        let gradient = gradient * step.scale;
        *first = *first * step.beta1 + gradient * (1.0 - step.beta1);
        *second = *second * step.beta2 + gradient * gradient * (1.0 - step.beta2);
        *value -= step.rate * *first / (second.sqrt() + step.epsilon) + step.decay * *value;
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn chunk_avx512(step: &AdamStep, values: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32]) {
    chunk(step, values, first, second, gradient);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn chunk_avx2(step: &AdamStep, values: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32]) {
    chunk(step, values, first, second, gradient);
}
