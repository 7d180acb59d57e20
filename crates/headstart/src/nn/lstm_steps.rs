//! An LSTM by the engine's own operations, frame by frame: for devices that have no bridge to our kernel.

use burn::tensor::{Int, Tensor, TensorData, activation};
use headstart_kernels::transformer::Sequences;

/// `input` `[frames, inputs]` → `[frames, hidden]`, with `kernel` `[inputs + hidden, 4 · hidden]`.
pub(super) fn forward(sequences: &Sequences, input: Tensor<2>, kernel: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    let device = input.device();
    let (inputs, width) = (input.dims()[1], bias.dims()[0]);
    let hidden = width / 4;
    let pick = |rows: &[i64]| Tensor::<1, Int>::from_data(TensorData::new(rows.to_vec(), [rows.len()]), &device);
    let projected = input.matmul(kernel.clone().slice([0..inputs, 0..width])) + bias.unsqueeze();
    let recurrent = kernel.slice([inputs..inputs + hidden, 0..width]);
    // The longest first, so that those that go on are always the first ones.
    let mut rows: Vec<std::ops::Range<usize>> = sequences.ranges().filter(|rows| !rows.is_empty()).collect();
    rows.sort_by_key(|rows| (std::cmp::Reverse(rows.len()), rows.start));
    let Some(longest) = rows.first().map(std::ops::Range::len) else { return projected.slice([0..0, 0..hidden]) };
    let (mut given, mut places) = (Vec::with_capacity(longest), vec![0i64; sequences.token_count()]);
    let (mut output, mut cell) =
        (Tensor::<2>::zeros([rows.len(), hidden], &device), Tensor::<2>::zeros([rows.len(), hidden], &device));
    let mut done = 0;
    for frame in 0..longest {
        let active = rows.partition_point(|rows| rows.len() > frame);
        let here: Vec<i64> = rows[..active].iter().map(|rows| (rows.start + frame) as i64).collect();
        for (place, row) in here.iter().enumerate() {
            places[*row as usize] = (done + place) as i64;
        }
        done += active;
        (output, cell) = (output.slice([0..active, 0..hidden]), cell.slice([0..active, 0..hidden]));
        let sums = projected.clone().select(0, pick(&here)) + output.matmul(recurrent.clone());
        let gate = |index: usize| sums.clone().slice([0..active, index * hidden..(index + 1) * hidden]);
        cell = activation::sigmoid(gate(2)) * cell + activation::sigmoid(gate(0)) * gate(1).tanh();
        output = activation::sigmoid(gate(3)) * cell.clone().tanh();
        given.push(output.clone());
    }
    Tensor::cat(given, 0).select(0, pick(&places))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use burn::tensor::Device;

    use super::*;
    use crate::nn::cpu_lstm;
    use crate::nn::named::values;
    use crate::parameters::{Initial, ParameterSpec};

    #[test]
    fn the_engine_and_our_kernel_agree_forward_and_back() {
        let device = Device::default().autodiff();
        let sequences = Arc::new(Sequences::of_lengths(&[3, 0, 5, 1]));
        let normal = |name: &str, shape: Vec<usize>| {
            let initial = Initial::Normal { deviation: 0.5 };
            ParameterSpec { name: name.to_owned(), shape, initial }.initialize(3).values
        };
        let tensor = |name: &str, shape: [usize; 2]| {
            let data = TensorData::new(normal(name, shape.to_vec()), shape);
            Tensor::<2>::from_data(data, &device).require_grad()
        };
        let (input, kernel) = (tensor("input", [9, 4]), tensor("kernel", [4 + 6, 24]));
        let bias = Tensor::<1>::from_data(TensorData::new(normal("bias", vec![24]), [24]), &device).require_grad();
        let direction = Tensor::<2>::from_data(TensorData::new(normal("direction", vec![54]), [9, 6]), &device);
        let ours = cpu_lstm::forward(&sequences, &input, &kernel, &bias).unwrap();
        let theirs = forward(&sequences, input.clone(), kernel.clone(), bias.clone());
        let close = |a: Vec<f32>, b: Vec<f32>| {
            assert_eq!(a.len(), b.len());
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} {b:?}");
        };
        close(values(ours.clone()), values(theirs.clone()));
        let [ours, theirs] = [ours, theirs].map(|output| (output * direction.clone()).sum().backward());
        for tensor in [&input, &kernel] {
            close(values(tensor.grad(&ours).unwrap()), values(tensor.grad(&theirs).unwrap()));
        }
        close(values(bias.grad(&ours).unwrap()), values(bias.grad(&theirs).unwrap()));
    }
}
