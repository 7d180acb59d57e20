//! The CTC loss (Graves et al. 2006) on the engine: gradients come from our kernel, the engine carries them on.

use burn::tensor::Tensor;
use headstart_kernels::ctc::{CtcBatch, gradients, losses};

use crate::nn::named::values;
use crate::train::given_gradient;

/// Recordings as the kernel takes them: outputs `[rows, classes]`, one after the other, padded to the longest.
struct Padded {
    logits: Vec<f32>,
    longest: usize,
}

impl Padded {
    fn new(outputs: &[f32], rows: &[usize], classes: usize) -> Self {
        let longest = rows.iter().copied().max().unwrap_or(0);
        let mut logits = vec![0.0; rows.len() * longest * classes];
        let mut begin = 0;
        for (row, &length) in rows.iter().enumerate() {
            let end = begin + length * classes;
            logits[row * longest * classes..][..length * classes].copy_from_slice(&outputs[begin..end]);
            begin = end;
        }
        Self { logits, longest }
    }
}

const LABELS: &str = "labels are letters of the alphabet, whose blank is the last class";

/// What is said in some recordings, as the kernel takes it.
pub(crate) struct Labels {
    all: Vec<usize>,
    lengths: Vec<usize>,
}

impl Labels {
    pub(crate) fn new<'a>(labels: impl IntoIterator<Item = &'a [usize]>) -> Self {
        let (mut all, mut lengths) = (Vec::new(), Vec::new());
        for labels in labels {
            all.extend_from_slice(labels);
            lengths.push(labels.len());
        }
        Self { all, lengths }
    }

    fn batch<'a>(&'a self, padded: &'a Padded, rows: &'a [usize], classes: usize) -> CtcBatch<'a> {
        CtcBatch {
            logits: &padded.logits,
            frames: padded.longest,
            classes,
            lengths: rows,
            labels: &self.all,
            label_lengths: &self.lengths,
            blank: classes - 1,
            // One recording that is too fast for its letters must not end a run; it teaches nothing.
            zero_infinity: true,
        }
    }
}

/// Mean loss of some recordings, `outputs` `[frames of all, classes]`, `rows` the frames of each. As DeepSpeech's: a mean over
/// recordings, not over letters.
pub(crate) fn mean_loss(outputs: Tensor<2>, rows: &[usize], labels: &Labels) -> Tensor<1> {
    let [frames, classes] = outputs.dims();
    let padded = Padded::new(&values(outputs.clone()), rows, classes);
    let mut gradient = vec![0.0; padded.logits.len()];
    let found = gradients(&labels.batch(&padded, rows, classes), &mut gradient).expect(LABELS);
    let count = rows.len().max(1) as f32;
    let mut dense = Vec::with_capacity(frames * classes);
    for (row, &length) in rows.iter().enumerate() {
        let gradient = &gradient[row * padded.longest * classes..][..length * classes];
        dense.extend(gradient.iter().map(|value| value / count));
    }
    given_gradient(outputs, dense, found.iter().sum::<f32>() / count)
}

/// The loss of each recording; 0 where there are fewer frames than its labels need.
pub(crate) fn losses_of(outputs: &[f32], rows: &[usize], classes: usize, labels: &Labels) -> Vec<f32> {
    let padded = Padded::new(outputs, rows, classes);
    losses(&labels.batch(&padded, rows, classes)).expect(LABELS)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn the_engine_sees_the_value_and_the_gradient_of_the_kernel() {
        let device = Device::default().autodiff();
        let logits: Vec<f32> = (0..7 * 3).map(|n| ((n * 37) % 11) as f32 / 5.0 - 1.0).collect();
        let outputs = Tensor::<2>::from_data(TensorData::new(logits.clone(), [7, 3]), &device).require_grad();
        let (rows, labels) = ([4, 3], Labels::new([&[0usize, 1][..], &[1]]));
        let loss = mean_loss(outputs.clone(), &rows, &labels);
        let each = losses_of(&logits, &rows, 3, &labels);
        let value = loss.clone().into_scalar::<f32>();
        assert!((value - (each[0] + each[1]) / 2.0).abs() < 1e-6, "{value} {each:?}");
        let gradient = values(outputs.grad(&loss.backward()).unwrap());
        for index in 0..logits.len() {
            let moved = |by: f32| {
                let mut logits = logits.clone();
                logits[index] += by;
                losses_of(&logits, &rows, 3, &labels).iter().sum::<f32>() / 2.0
            };
            let expected = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((gradient[index] - expected).abs() < 1e-3, "{index}: {} {expected}", gradient[index]);
        }
    }

    #[test]
    fn a_recording_that_is_too_fast_teaches_nothing_and_breaks_nothing() {
        let device = Device::default().autodiff();
        let outputs = Tensor::<2>::zeros([3, 3], &device).require_grad();
        let labels = Labels::new([&[0usize, 0, 0][..], &[1]]);
        let loss = mean_loss(outputs.clone(), &[2, 1], &labels);
        assert!(loss.clone().into_scalar::<f32>().is_finite());
        let gradient = values(outputs.grad(&loss.backward()).unwrap());
        assert!(gradient[..6].iter().all(|value| *value == 0.0) && gradient[7] < 0.0);
    }
}
