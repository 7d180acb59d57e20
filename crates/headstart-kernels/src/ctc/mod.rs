//! Connectionist temporal classification (Graves et al. 2006): its loss with the way back, and what a network has written.
//!
//! A network gives logits over labels and a blank for every frame; a path of labels is what is written once repeats are
//! joined and blanks dropped. Everything is computed in `f64` logarithms from `f32` logits, in one order, so the bytes do
//! not depend on the number of threads.

mod beam;
mod greedy;
mod loss;
mod words;

pub use beam::{BeamOptions, BeamSearch, Language, Transcription};
pub use greedy::greedy;
pub use loss::{CtcBatch, gradients, losses};
pub use words::{Emission, Word, words};

/// ln (eᵃ + eᵇ).
fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    // Two impossible things have no difference.
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// Logarithms of the softmax of one frame, which replace what was in `row`.
fn log_softmax(logits: &[f32], row: &mut Vec<f64>) {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let highest = f64::from(highest);
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - highest).exp()).sum();
    let shift = highest + sum.ln();
    row.clear();
    row.extend(logits.iter().map(|logit| f64::from(*logit) - shift));
}
