//! The loss and its gradient by the logits: forward and backward variables in logarithms.

use rayon::prelude::*;

use super::{log_add, log_softmax};
use crate::error::KernelError;

/// Utterances with what is said in them.
#[derive(Debug, Clone, Copy)]
pub struct CtcBatch<'a> {
    /// `[B, T, C]`, before softmax.
    pub logits: &'a [f32],
    /// T, padding included.
    pub frames: usize,
    /// C, the blank included.
    pub classes: usize,
    /// Frames of each utterance, `[B]`, at most T; what lies behind them is not read.
    pub lengths: &'a [usize],
    /// Labels of all utterances, one after another.
    pub labels: &'a [usize],
    /// Labels of each utterance, `[B]`.
    pub label_lengths: &'a [usize],
    /// Which class is the blank.
    pub blank: usize,
    /// Whether an utterance with too few frames for its labels has the loss 0 instead of ∞ (PyTorch's `zero_infinity`).
    pub zero_infinity: bool,
}

/// The loss of each utterance in nats, −ln of the probability of its labels: `[B]`.
///
/// Labels need a frame each, and one more between two that are equal; with fewer the loss is ∞, or 0 (see
/// [`CtcBatch::zero_infinity`]).
///
/// # Errors
/// [`KernelError::Length`] where slices and lengths do not go together; [`KernelError::Invalid`] for a label that is no class
/// or the blank, or more frames than there are.
pub fn losses(batch: &CtcBatch<'_>) -> Result<Vec<f32>, KernelError> {
    let utterances = batch.check()?;
    Ok(utterances.par_iter().map(|utterance| utterance.run(batch, None)).collect())
}

/// [`losses`] and the gradient of each utterance's own loss by its logits, written to `gradient`: `[B, T, C]`.
///
/// Beyond the length of an utterance it is zero, and also where the loss is infinite: no step would make it finite. (PyTorch
/// gives NaN there unless `zero_infinity` is set.)
///
/// # Errors
/// As [`losses`].
pub fn gradients(batch: &CtcBatch<'_>, gradient: &mut [f32]) -> Result<Vec<f32>, KernelError> {
    let utterances = batch.check()?;
    if gradient.len() != batch.logits.len() {
        let (expected, found) = (batch.logits.len(), gradient.len());
        return Err(KernelError::Length { what: "the gradient of the logits", expected, found });
    }
    gradient.fill(0.0);
    if gradient.is_empty() {
        return Ok(utterances.iter().map(|utterance| utterance.run(batch, None)).collect());
    }
    let rows = gradient.par_chunks_mut(batch.frames * batch.classes);
    Ok(utterances.par_iter().zip(rows).map(|(utterance, row)| utterance.run(batch, Some(row))).collect())
}

impl<'a> CtcBatch<'a> {
    fn check(&self) -> Result<Vec<Utterance<'a>>, KernelError> {
        let Self { logits, frames, classes, lengths, labels, label_lengths, blank, .. } = *self;
        let wrong = |what, expected, found| Err(KernelError::Length { what, expected, found });
        let batch = lengths.len();
        if classes == 0 || blank >= classes {
            return Err(KernelError::Invalid("the blank is none of the classes"));
        }
        match batch.checked_mul(frames).and_then(|rows| rows.checked_mul(classes)) {
            Some(expected) if expected == logits.len() => {}
            expected => return wrong("the logits", expected.unwrap_or(usize::MAX), logits.len()),
        }
        if label_lengths.len() != batch {
            return wrong("the lengths of labels", batch, label_lengths.len());
        }
        let all = label_lengths.iter().try_fold(0usize, |sum, length| sum.checked_add(*length));
        if all != Some(labels.len()) {
            return wrong("the labels", all.unwrap_or(usize::MAX), labels.len());
        }
        if lengths.iter().any(|length| *length > frames) {
            return Err(KernelError::Invalid("an utterance has more frames than the batch"));
        }
        if labels.iter().any(|label| *label >= classes || *label == blank) {
            return Err(KernelError::Invalid("a label is none of the classes, or the blank"));
        }
        let (mut rows, mut rest) = (logits, labels);
        let utterances = lengths.iter().zip(label_lengths).map(|(length, count)| {
            let (row, labels);
            (row, rows) = rows.split_at(frames * classes);
            (labels, rest) = rest.split_at(*count);
            Utterance { logits: &row[..length * classes], labels }
        });
        Ok(utterances.collect())
    }
}

/// One row of a batch without its padding.
struct Utterance<'a> {
    /// `[frames, C]`
    logits: &'a [f32],
    labels: &'a [usize],
}

impl Utterance<'_> {
    /// The loss; the gradient is added to `gradient`, `[T, C]`.
    fn run(&self, batch: &CtcBatch<'_>, gradient: Option<&mut [f32]>) -> f32 {
        let (classes, labels) = (batch.classes, self.labels);
        let frames = self.logits.len() / classes;
        let impossible = if batch.zero_infinity { 0.0 } else { f32::INFINITY };
        let repeats = labels.windows(2).filter(|pair| pair[0] == pair[1]).count();
        if frames < labels.len() + repeats {
            return impossible;
        }
        if frames == 0 {
            return 0.0;
        }
        // Blanks before, between and behind the labels.
        let states = 2 * labels.len() + 1;
        let class = |state: usize| if state.is_multiple_of(2) { batch.blank } else { labels[state / 2] };
        // A label may follow the one before it directly, unless they are equal.
        let skips = |state: usize| state % 2 == 1 && state >= 3 && labels[state / 2] != labels[state / 2 - 1];

        let (mut logs, mut row) = (Vec::with_capacity(frames * classes), Vec::new());
        for logits in self.logits.chunks_exact(classes) {
            log_softmax(logits, &mut row);
            logs.extend_from_slice(&row);
        }
        // `[frames, states]`: ln of the probability of all ways to a state, its own frame included.
        let mut alpha = vec![f64::NEG_INFINITY; frames * states];
        alpha[0] = logs[batch.blank];
        if states > 1 {
            alpha[1] = logs[class(1)];
        }
        for frame in 1..frames {
            let (before, here) = alpha.split_at_mut(frame * states);
            let before = &before[(frame - 1) * states..];
            for state in 0..states {
                let mut sum = before[state];
                if state > 0 {
                    sum = log_add(sum, before[state - 1]);
                }
                if skips(state) {
                    sum = log_add(sum, before[state - 2]);
                }
                here[state] = sum + logs[frame * classes + class(state)];
            }
        }
        let last = &alpha[(frames - 1) * states..];
        let before_last = if states > 1 { last[states - 2] } else { f64::NEG_INFINITY };
        let whole = log_add(last[states - 1], before_last);
        if whole == f64::NEG_INFINITY {
            return impossible;
        }
        if let Some(gradient) = gradient {
            // ln of the probability of all ways from a state on, without its own frame.
            let mut beta = vec![f64::NEG_INFINITY; states];
            beta[states - 1] = 0.0;
            if states > 1 {
                beta[states - 2] = 0.0;
            }
            let mut shares = vec![0.0f64; classes];
            for frame in (0..frames).rev() {
                let logs = &logs[frame * classes..(frame + 1) * classes];
                shares.fill(0.0);
                for state in 0..states {
                    shares[class(state)] += (alpha[frame * states + state] + beta[state] - whole).exp();
                }
                let row = &mut gradient[frame * classes..(frame + 1) * classes];
                for ((place, log), share) in row.iter_mut().zip(logs).zip(&shares) {
                    *place = (log.exp() - share) as f32;
                }
                // In place: a state looks at those after it, as they were, so from the first on.
                for state in 0..states {
                    let mut sum = beta[state] + logs[class(state)];
                    if state + 1 < states {
                        sum = log_add(sum, beta[state + 1] + logs[class(state + 1)]);
                    }
                    if state + 2 < states && skips(state + 2) {
                        sum = log_add(sum, beta[state + 2] + logs[class(state + 2)]);
                    }
                    beta[state] = sum;
                }
            }
        }
        -whole as f32
    }
}
