//! Cross-entropy with label smoothing and class weights.

use burn::tensor::{Tensor, TensorData, activation};

use crate::recipe::ClassWeights;

/// Weight of each class: all one, or inverse to its number of examples with mean 1 over the examples.
///
/// A class without a training example weighs nothing.
pub(crate) fn class_weights(rule: ClassWeights, labels: &[usize], classes: usize) -> Vec<f32> {
    match rule {
        ClassWeights::None => vec![1.0; classes],
        ClassWeights::Balanced => {
            let mut counts = vec![0usize; classes];
            labels.iter().for_each(|&label| counts[label] += 1);
            let present = counts.iter().filter(|&&count| count > 0).count();
            counts
                .iter()
                .map(|&count| if count == 0 { 0.0 } else { labels.len() as f32 / (present * count) as f32 })
                .collect()
        }
    }
}

/// Mean over the batch of −Σ target · log softmax(outputs), each example weighted by its class.
///
/// Targets are (1 − s) on the label plus s / C everywhere, as in Keras and PyTorch. `outputs` is `[B, C]`.
pub(crate) fn cross_entropy(outputs: Tensor<2>, labels: &[usize], weights: &[f32], smoothing: f32) -> Tensor<1> {
    let [batch, classes] = outputs.dims();
    let mut targets = vec![0.0; batch * classes];
    for (row, &label) in targets.chunks_exact_mut(classes).zip(labels) {
        row.fill(weights[label] * smoothing / classes as f32);
        row[label] += weights[label] * (1.0 - smoothing);
    }
    let targets = Tensor::<2>::from_data(TensorData::new(targets, [batch, classes]), &outputs.device());
    activation::log_softmax(outputs, 1).mul(targets).sum().neg().div_scalar(batch as f32)
}

/// Mean over the batch of the binary cross-entropy of one unit, each example weighted by its class.
///
/// `outputs` is `[B, 1]`; label 1 is the positive class. Written as max(x, 0) − x·t + log(1 + e^−|x|), which cannot
/// overflow.
pub(crate) fn binary_cross_entropy(outputs: Tensor<2>, labels: &[usize], weights: &[f32], smoothing: f32) -> Tensor<1> {
    let batch = labels.len();
    let device = outputs.device();
    let column = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, [batch, 1]), &device);
    let targets = column(labels.iter().map(|&label| label as f32 * (1.0 - smoothing) + 0.5 * smoothing).collect());
    let weights = column(labels.iter().map(|&label| weights[label]).collect());
    let positive = activation::relu(outputs.clone());
    let tail = outputs.clone().abs().neg().exp().add_scalar(1.0).log();
    positive.sub(outputs.mul(targets)).add(tail).mul(weights).sum().div_scalar(batch as f32)
}

/// Mean over the batch and the labels of the binary cross-entropy of a unit each; label l weighs `weights[l]` where it is there.
///
/// `outputs` is `[B, L]`, `labels` those of each example.
pub(crate) fn binary_cross_entropies(
    outputs: Tensor<2>,
    labels: &[&[usize]],
    weights: &[f32],
    smoothing: f32,
) -> Tensor<1> {
    let [batch, count] = outputs.dims();
    let device = outputs.device();
    let mut targets = vec![0.5 * smoothing; batch * count];
    let mut factors = vec![1.0; batch * count];
    for (row, labels) in labels.iter().enumerate() {
        for &label in *labels {
            targets[row * count + label] = 1.0 - 0.5 * smoothing;
            factors[row * count + label] = weights[label];
        }
    }
    let matrix = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, [batch, count]), &device);
    let positive = activation::relu(outputs.clone());
    let tail = outputs.clone().abs().neg().exp().add_scalar(1.0).log();
    positive.sub(outputs.mul(matrix(targets))).add(tail).mul(matrix(factors)).sum().div_scalar((batch * count) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn outputs(values: &[f32], columns: usize) -> Tensor<2> {
        let rows = values.len() / columns;
        Tensor::from_data(TensorData::new(values.to_vec(), [rows, columns]), &Device::default())
    }

    fn scalar(loss: Tensor<1>) -> f32 {
        loss.into_scalar::<f32>()
    }

    // Expected values: torch 2.15 `cross_entropy(label_smoothing=…)`, `binary_cross_entropy_with_logits`.
    #[test]
    fn cross_entropy_equals_pytorch_with_and_without_smoothing() {
        let x = [1.0, -2.0, 0.5, 0.1, 0.2, 0.3];
        let plain = scalar(cross_entropy(outputs(&x, 3), &[0, 2], &[1.0; 3], 0.0));
        let smooth = scalar(cross_entropy(outputs(&x, 3), &[0, 2], &[1.0; 3], 0.1));
        assert!((plain - 0.753_269_9).abs() < 1e-5, "{plain}");
        assert!((smooth - 0.816_603_2).abs() < 1e-5, "{smooth}");
    }

    #[test]
    fn binary_cross_entropy_equals_pytorch_and_survives_large_outputs() {
        let loss = scalar(binary_cross_entropy(outputs(&[0.3, -1.2, 2.0], 1), &[1, 0, 0], &[1.0; 2], 0.0));
        assert!((loss - 0.981_521_9).abs() < 1e-5, "{loss}");
        let huge = scalar(binary_cross_entropy(outputs(&[1000.0, -1000.0], 1), &[0, 1], &[1.0; 2], 0.0));
        assert!((huge - 1000.0).abs() < 1e-3, "{huge}");
    }

    #[test]
    fn a_unit_a_label_equals_pytorch() {
        let x = outputs(&[0.3, -1.2, 2.0, 0.5, 1.5, -0.7], 3);
        let labels: [&[usize]; 2] = [&[0, 2], &[]];
        let plain = scalar(binary_cross_entropies(x.clone(), &labels, &[1.0; 3], 0.0));
        let weighted = scalar(binary_cross_entropies(x, &labels, &[2.0, 1.0, 3.0], 0.0));
        // `binary_cross_entropy_with_logits`, and the same with the weight of each element.
        assert!((plain - 0.670_540_3).abs() < 1e-5, "{plain}");
        assert!((weighted - 0.805_242_2).abs() < 1e-5, "{weighted}");
    }

    #[test]
    fn balanced_weights_make_every_class_count_the_same() {
        let labels = [0, 0, 0, 1];
        let weights = class_weights(ClassWeights::Balanced, &labels, 3);
        assert_eq!(weights[2], 0.0);
        assert!((weights[0] * 3.0 - weights[1]).abs() < 1e-6);
        let mean = labels.iter().map(|&label| weights[label]).sum::<f32>() / 4.0;
        assert!((mean - 1.0).abs() < 1e-6);
    }
}
