//! The LSTM against plain loops in f64, its gradients against differences of those.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use headstart_kernels::KernelError;
use headstart_kernels::lstm::{LstmSpec, LstmState, LstmWeights, PackedLstm, Wanted};
use headstart_kernels::transformer::Sequences;
use proptest::prelude::*;

fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

struct Case {
    spec: LstmSpec,
    sequences: Sequences,
    kernel: Vec<f32>,
    bias: Vec<f32>,
    input: Vec<f32>,
}

impl Case {
    fn new(inputs: usize, hidden: usize, lengths: &[usize], seed: u64) -> Self {
        let sequences = Sequences::of_lengths(lengths);
        let scale = |values: Vec<f32>| values.into_iter().map(|value| value * 0.4).collect();
        Self {
            spec: LstmSpec { inputs, hidden },
            kernel: scale(values((inputs + hidden) * 4 * hidden, seed)),
            bias: scale(values(4 * hidden, seed ^ 1)),
            input: values(sequences.token_count() * inputs, seed ^ 2),
            sequences,
        }
    }

    fn weights(&self) -> LstmWeights<'_> {
        LstmWeights { kernel: &self.kernel, bias: &self.bias }
    }

    fn packed(&self) -> PackedLstm {
        PackedLstm::new(self.spec, self.weights()).unwrap()
    }

    /// By the definition; `[frames, hidden]`.
    fn expected(&self, kernel: &[f64], bias: &[f64], input: &[f64]) -> Vec<f64> {
        let LstmSpec { inputs, hidden } = self.spec;
        let sigmoid = |value: f64| 1.0 / (1.0 + (-value).exp());
        let mut output = vec![0.0; self.sequences.token_count() * hidden];
        for rows in self.sequences.ranges() {
            let (mut h, mut c) = (vec![0.0; hidden], vec![0.0; hidden]);
            for row in rows {
                let joint: Vec<f64> = input[row * inputs..][..inputs].iter().chain(&h).copied().collect();
                let sum = |column: usize| {
                    bias[column]
                        + joint.iter().enumerate().map(|(at, x)| x * kernel[at * 4 * hidden + column]).sum::<f64>()
                };
                for unit in 0..hidden {
                    let [i, g, f, o] = std::array::from_fn(|gate| sum(gate * hidden + unit));
                    c[unit] = sigmoid(f) * c[unit] + sigmoid(i) * g.tanh();
                    h[unit] = sigmoid(o) * c[unit].tanh();
                }
                output[row * hidden..][..hidden].copy_from_slice(&h);
            }
        }
        output
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

fn close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*a) - b).abs() <= tolerance * b.abs().max(1.0), "value {index} is {a}, expected {b}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 48 }))]

    #[test]
    fn the_layer_equals_plain_loops(
        inputs in 1usize..20, hidden in 1usize..40, lengths in prop::collection::vec(0usize..9, 0..6), seed: u64,
    ) {
        let case = Case::new(inputs, hidden, &lengths, seed);
        let expected = case.expected(&wide(&case.kernel), &wide(&case.bias), &wide(&case.input));
        close(&case.packed().forward(&case.sequences, &case.input, None).unwrap(), &expected, 1e-5);
        close(&case.packed().forward_saving(&case.sequences, &case.input).unwrap().0, &expected, 1e-5);
    }

    #[test]
    fn a_sequence_in_pieces_gives_the_same_output(hidden in 1usize..40, length in 1usize..12, cut in 0usize..12, seed: u64) {
        let cut = cut.min(length);
        let case = Case::new(5, hidden, &[length], seed);
        let packed = case.packed();
        let mut states = vec![LstmState::zero(hidden)];
        let (first, second) = case.input.split_at(cut * 5);
        let mut found = packed.forward(&Sequences::of_lengths(&[cut]), first, Some(&mut states)).unwrap();
        found.extend(packed.forward(&Sequences::of_lengths(&[length - cut]), second, Some(&mut states)).unwrap());
        let mut whole = vec![LstmState::zero(hidden)];
        let expected = packed.forward(&case.sequences, &case.input, Some(&mut whole)).unwrap();
        // The projections of all frames are one product, whose sums may be grouped by how many frames there are.
        close(&found, &wide(&expected), 1e-6);
        close(&states[0].cell, &wide(&whole[0].cell), 1e-6);
    }

    #[test]
    fn gradients_are_those_of_the_definition(
        inputs in 1usize..5, hidden in 1usize..11, lengths in prop::collection::vec(0usize..5, 1..4), seed: u64,
    ) {
        let case = Case::new(inputs, hidden, &lengths, seed);
        let packed = case.packed();
        let direction = values(case.sequences.token_count() * hidden, seed ^ 3);
        let (_, saved) = packed.forward_saving(&case.sequences, &case.input).unwrap();
        let wanted = Wanted { input: true, arrays: true };
        let found = packed.backward(&case.sequences, &case.input, case.weights(), &saved, &direction, wanted).unwrap();
        let loss = |kernel: &[f64], bias: &[f64], input: &[f64]| -> f64 {
            case.expected(kernel, bias, input).iter().zip(&direction).map(|(a, b)| a * f64::from(*b)).sum()
        };
        let arrays = [wide(&case.kernel), wide(&case.bias), wide(&case.input)];
        let gradients = [found.kernel.unwrap(), found.bias.unwrap(), found.input.unwrap()];
        for (which, gradient) in gradients.iter().enumerate() {
            let expected: Vec<f64> = (0..gradient.len())
                .map(|index| {
                    let moved = |by: f64| {
                        let mut arrays = arrays.clone();
                        arrays[which][index] += by;
                        loss(&arrays[0], &arrays[1], &arrays[2])
                    };
                    (moved(1e-5) - moved(-1e-5)) / 2e-5
                })
                .collect();
            close(gradient, &expected, 2e-5);
        }
    }
}

#[test]
fn threads_do_not_show_in_the_bytes() {
    let case = Case::new(12, 300, &[7, 3, 9, 9], 4);
    let on = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let packed = case.packed();
            let (output, saved) = packed.forward_saving(&case.sequences, &case.input).unwrap();
            let wanted = Wanted { input: true, arrays: true };
            let found = packed.backward(&case.sequences, &case.input, case.weights(), &saved, &output, wanted).unwrap();
            (output, found.input, found.kernel, found.bias)
        })
    };
    assert!(on(1) == on(3));
}

#[test]
fn wrong_lengths_are_errors() {
    let case = Case::new(3, 5, &[2, 4], 1);
    let short = LstmWeights { kernel: &case.kernel[1..], bias: &case.bias };
    assert!(matches!(PackedLstm::new(case.spec, short), Err(KernelError::Length { .. })));
    let packed = case.packed();
    assert!(matches!(packed.forward(&case.sequences, &case.input[1..], None), Err(KernelError::Length { .. })));
    let mut one = vec![LstmState::zero(5)];
    assert!(matches!(packed.forward(&case.sequences, &case.input, Some(&mut one)), Err(KernelError::Length { .. })));
    assert_eq!(packed.forward(&Sequences::default(), &[], None).unwrap(), Vec::<f32>::new());
}
