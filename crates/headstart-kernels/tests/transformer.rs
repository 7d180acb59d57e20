//! A layer of a transformer against plain loops in f64, and its way back against their differences.

use headstart_kernels::KernelError;
use headstart_kernels::training::BufferPool;
use headstart_kernels::transformer::{
    ARRAYS, Bend, DenseWeights, LayerDropout, LayerWeights, NormPlace, NormWeights, Sequences, TransformerLayer,
    TransformerSpec,
};
use proptest::prelude::*;

/// Reproducible values between −1 and 1.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

fn lengths_of(spec: &TransformerSpec) -> [usize; ARRAYS] {
    let (w, h) = (spec.width, spec.hidden);
    [w * w, w, w * w, w, w * w, w, w * w, w, w, w, w * h, h, h * w, w, w, w]
}

fn arrays(spec: &TransformerSpec, seed: u64) -> Vec<Vec<f32>> {
    let of = |(index, length): (usize, usize)| {
        let scale = if length > spec.hidden.max(spec.width) { 1.5 / (spec.width as f32).sqrt() } else { 0.3 };
        let shift = if index == 8 || index == 14 { 1.0 } else { 0.0 }; // gammas
        values(length, seed + index as u64).into_iter().map(|value| value * scale + shift).collect()
    };
    lengths_of(spec).into_iter().enumerate().map(of).collect()
}

fn weights(arrays: &[Vec<f32>]) -> LayerWeights<'_> {
    let dense = |at: usize| DenseWeights { weight: &arrays[at], bias: &arrays[at + 1] };
    let norm = |at: usize| NormWeights { gamma: &arrays[at], beta: &arrays[at + 1] };
    LayerWeights {
        query: dense(0),
        key: dense(2),
        value: dense(4),
        attended: dense(6),
        attention_norm: norm(8),
        expand: dense(10),
        contract: dense(12),
        dense_norm: norm(14),
    }
}

fn plain_dense(input: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let (outputs, inputs) = (bias.len(), weight.len() / bias.len());
    input
        .chunks_exact(inputs)
        .flat_map(|row| {
            (0..outputs).map(move |out| {
                bias[out] + row.iter().enumerate().map(|(at, value)| value * weight[at * outputs + out]).sum::<f64>()
            })
        })
        .collect()
}

fn plain_norm(input: &[f64], gamma: &[f64], beta: &[f64], epsilon: f64) -> Vec<f64> {
    let width = gamma.len();
    let mut output = Vec::new();
    for row in input.chunks_exact(width) {
        let mean = row.iter().sum::<f64>() / width as f64;
        let variance = row.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / width as f64;
        output.extend(
            row.iter()
                .enumerate()
                .map(|(at, value)| (value - mean) / (variance + epsilon).sqrt() * gamma[at] + beta[at]),
        );
    }
    output
}

/// The error function by its series.
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn plain_bend(bend: Bend, x: f64) -> f64 {
    match bend {
        Bend::Gelu => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
        Bend::GeluTanh => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
        Bend::Relu => x.max(0.0),
    }
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// The definition.
fn plain(spec: &TransformerSpec, sequences: &Sequences, input: &[f64], arrays: &[Vec<f64>]) -> Vec<f64> {
    let (width, head) = (spec.width, spec.width / spec.heads);
    let dense = |input: &[f64], at: usize| plain_dense(input, &arrays[at], &arrays[at + 1]);
    let norm = |input: &[f64], at: usize| plain_norm(input, &arrays[at], &arrays[at + 1], f64::from(spec.epsilon));
    let before = spec.norm == NormPlace::Before;
    let seen = if before { norm(input, 8) } else { input.to_vec() };
    let (query, key, value) = (dense(&seen, 0), dense(&seen, 2), dense(&seen, 4));
    let mut context = vec![0.0; input.len()];
    for rows in sequences.ranges() {
        for (first, i) in (0..spec.heads).flat_map(|h| rows.clone().map(move |i| (h * head, i))) {
            let seen: Vec<usize> = rows.clone().filter(|j| !spec.causal || *j <= i).collect();
            let score = |j: &usize| -> f64 {
                (0..head).map(|c| query[i * width + first + c] * key[j * width + first + c]).sum::<f64>()
                    / (head as f64).sqrt()
            };
            let scores: Vec<f64> = seen.iter().map(score).collect();
            let most = scores.iter().fold(f64::NEG_INFINITY, |most, score| most.max(*score));
            let total: f64 = scores.iter().map(|score| (score - most).exp()).sum();
            for (j, score) in seen.iter().zip(&scores) {
                for c in 0..head {
                    context[i * width + first + c] += (score - most).exp() / total * value[j * width + first + c];
                }
            }
        }
    }
    let attended = sum(input, &dense(&context, 6));
    let normed = if before { norm(&attended, 14) } else { norm(&attended, 8) };
    let bent: Vec<f64> = dense(&normed, 10).into_iter().map(|value| plain_bend(spec.bend, value)).collect();
    let contracted = dense(&bent, 12);
    if before { sum(&attended, &contracted) } else { norm(&sum(&normed, &contracted), 14) }
}

fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-3f64, |most, value| most.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*found) - expected).abs() <= tolerance * scale, "{what} at {at}: {found}, {expected}");
    }
}

fn spec() -> impl Strategy<Value = TransformerSpec> {
    let bend = prop_oneof![Just(Bend::Gelu), Just(Bend::GeluTanh), Just(Bend::Relu)];
    (1usize..4, 1usize..20, 1usize..40, bend, any::<bool>(), any::<bool>()).prop_map(
        |(heads, head, hidden, bend, causal, before)| TransformerSpec {
            width: heads * head,
            heads,
            hidden,
            bend,
            norm: if before { NormPlace::Before } else { NormPlace::After },
            causal,
            epsilon: 1e-3,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 64 }))]

    #[test]
    fn a_layer_equals_plain_loops(
        spec in spec(),
        lengths in prop::collection::vec(0usize..40, 1..4),
        seed: u32,
    ) {
        let (sequences, arrays) = (Sequences::of_lengths(&lengths), arrays(&spec, u64::from(seed)));
        let input = values(sequences.token_count() * spec.width, u64::from(seed) + 99);
        let layer = TransformerLayer::new(spec).unwrap();
        let found = layer.forward(&BufferPool::new(), &sequences, &input, &weights(&arrays)).unwrap();
        let wide_arrays: Vec<Vec<f64>> = arrays.iter().map(|array| wide(array)).collect();
        let expected = plain(&spec, &sequences, &wide(&input), &wide_arrays);
        assert_close(&found, &expected, 2e-5, "output");
    }

    #[test]
    fn gradients_equal_differences(
        spec in spec(),
        lengths in prop::collection::vec(1usize..6, 1..4),
        seed: u32,
    ) {
        let spec = TransformerSpec { bend: if spec.bend == Bend::Relu { Bend::Gelu } else { spec.bend }, ..spec };
        let (sequences, arrays) = (Sequences::of_lengths(&lengths), arrays(&spec, u64::from(seed)));
        let input = values(sequences.token_count() * spec.width, u64::from(seed) + 99);
        let gradient = values(input.len(), u64::from(seed) + 98);
        let layer = TransformerLayer::new(spec).unwrap();
        let pool = BufferPool::new();
        let (_, saved) = layer.forward_saving(&pool, &sequences, &input, &weights(&arrays), None).unwrap();
        let (to_input, found) = layer
            .backward(&pool, &sequences, &input, &weights(&arrays), None, &saved, &gradient, [true; ARRAYS], true)
            .unwrap();
        let loss = |input: &[f64], arrays: &[Vec<f64>]| -> f64 {
            plain(&spec, &sequences, input, arrays).iter().zip(&gradient).map(|(a, b)| a * f64::from(*b)).sum()
        };
        let wide_arrays: Vec<Vec<f64>> = arrays.iter().map(|array| wide(array)).collect();
        let wide_input = wide(&input);
        // A few places of every array are enough to catch a wrong factor or a swapped axis.
        let places = |count: usize| (0..4usize).map(move |k| (k * 7919 + seed as usize) % count);
        let step = 1e-5;
        for at in places(input.len()) {
            let moved = |by: f64| {
                let mut input = wide_input.clone();
                input[at] += by;
                loss(&input, &wide_arrays)
            };
            let expected = (moved(step) - moved(-step)) / (2.0 * step);
            let found = f64::from(to_input.as_ref().unwrap()[at]);
            prop_assert!((found - expected).abs() <= 3e-4 * expected.abs().max(1.0), "input {at}: {found}, {expected}");
        }
        for (index, found) in found.iter().enumerate() {
            let found = found.as_ref().unwrap();
            prop_assert_eq!(found.len(), arrays[index].len());
            for at in places(found.len()) {
                let moved = |by: f64| {
                    let mut arrays = wide_arrays.clone();
                    arrays[index][at] += by;
                    loss(&wide_input, &arrays)
                };
                let expected = (moved(step) - moved(-step)) / (2.0 * step);
                let found = f64::from(found[at]);
                prop_assert!((found - expected).abs() <= 3e-4 * expected.abs().max(1.0), "{index} {at}: {found}, {expected}");
            }
        }
    }
}

const BERT: TransformerSpec = TransformerSpec {
    width: 12,
    heads: 3,
    hidden: 20,
    bend: Bend::Gelu,
    norm: NormPlace::After,
    causal: false,
    epsilon: 1e-5,
};
const GPT: TransformerSpec = TransformerSpec { norm: NormPlace::Before, causal: true, bend: Bend::GeluTanh, ..BERT };

#[test]
fn gradients_under_dropout_are_those_of_the_masked_layer() {
    for spec in [BERT, GPT] {
        let (sequences, arrays) = (Sequences::of_lengths(&[5, 3]), arrays(&spec, 4));
        let input = values(8 * spec.width, 1);
        let gradient = values(input.len(), 2);
        let layer = TransformerLayer::new(spec).unwrap();
        let (pool, dropout) = (BufferPool::new(), Some(LayerDropout { attention: 0.2, hidden: 0.3, seed: 77 }));
        let forward =
            |input: &[f32]| layer.forward_saving(&pool, &sequences, input, &weights(&arrays), dropout).unwrap();
        let loss = |output: &[f32]| output.iter().zip(&gradient).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let (output, saved) = forward(&input);
        assert_ne!(output, layer.forward(&pool, &sequences, &input, &weights(&arrays)).unwrap());
        assert_eq!(output, forward(&input).0, "the same seed draws the same mask");
        let (to_input, _) = layer
            .backward(&pool, &sequences, &input, &weights(&arrays), dropout, &saved, &gradient, [false; ARRAYS], true)
            .unwrap();
        for at in (0..input.len()).step_by(7) {
            let moved = |by: f32| {
                let mut input = input.clone();
                input[at] += by;
                loss(&forward(&input).0)
            };
            let step = 4e-3;
            let expected = (moved(step) - moved(-step)) / f64::from(2.0 * step);
            let found = f64::from(to_input.as_ref().unwrap()[at]);
            assert!((found - expected).abs() < 0.02 * expected.abs().max(1.0), "{at}: {found}, {expected}");
        }
    }
}

#[test]
fn only_what_is_wanted_is_computed_and_it_is_the_same() {
    for spec in [BERT, GPT] {
        let (sequences, arrays) = (Sequences::of_lengths(&[5, 3]), arrays(&spec, 4));
        let (input, gradient) = (values(8 * spec.width, 1), values(8 * spec.width, 2));
        let layer = TransformerLayer::new(spec).unwrap();
        let pool = BufferPool::new();
        let (_, saved) = layer.forward_saving(&pool, &sequences, &input, &weights(&arrays), None).unwrap();
        let back = |wanted: [bool; ARRAYS], wants_input: bool| {
            layer
                .backward(&pool, &sequences, &input, &weights(&arrays), None, &saved, &gradient, wanted, wants_input)
                .unwrap()
        };
        let (to_input, all) = back([true; ARRAYS], true);
        for index in 0..ARRAYS {
            let mut wanted = [false; ARRAYS];
            wanted[index] = true;
            let (none, one) = back(wanted, false);
            assert!(none.is_none());
            for (at, found) in one.iter().enumerate() {
                assert_eq!(found.as_ref(), if at == index { all[at].as_ref() } else { None }, "{index} {at}");
            }
        }
        assert_eq!(back([false; ARRAYS], true).0, to_input);
    }
}

#[test]
fn the_bytes_depend_neither_on_threads_nor_on_neighbours() {
    let spec = TransformerSpec { width: 96, heads: 4, hidden: 200, ..BERT };
    let arrays = arrays(&spec, 8);
    let lengths = [70, 1, 33];
    let sequences = Sequences::of_lengths(&lengths);
    let (input, gradient) = (values(104 * spec.width, 1), values(104 * spec.width, 2));
    let layer = TransformerLayer::new(spec).unwrap();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let pool = BufferPool::new();
            let dropout = Some(LayerDropout { attention: 0.1, hidden: 0.1, seed: 5 });
            let (output, saved) = layer.forward_saving(&pool, &sequences, &input, &weights(&arrays), dropout).unwrap();
            let back = layer
                .backward(
                    &pool,
                    &sequences,
                    &input,
                    &weights(&arrays),
                    dropout,
                    &saved,
                    &gradient,
                    [true; ARRAYS],
                    true,
                )
                .unwrap();
            (output, back)
        })
    };
    let one = with(1);
    assert!(one == with(2) && one == with(4), "another number of threads gives other bits");
    let pool = BufferPool::new();
    let together = layer.forward(&pool, &sequences, &input, &weights(&arrays)).unwrap();
    for rows in sequences.ranges() {
        let alone = Sequences::of_lengths(&[rows.len()]);
        let part = &input[rows.start * spec.width..rows.end * spec.width];
        let found = layer.forward(&pool, &alone, part, &weights(&arrays)).unwrap();
        let expected = wide(&together[rows.start * spec.width..rows.end * spec.width]);
        assert_close(&found, &expected, 1e-6, "a sequence alone");
    }
}

#[test]
fn no_token_gives_nothing_and_gradients_of_zero() {
    let layer = TransformerLayer::new(BERT).unwrap();
    let (arrays, pool) = (arrays(&BERT, 4), BufferPool::new());
    for sequences in [Sequences::default(), Sequences::of_lengths(&[0, 0])] {
        let (output, saved) = layer.forward_saving(&pool, &sequences, &[], &weights(&arrays), None).unwrap();
        assert!(output.is_empty());
        let (to_input, found) =
            layer.backward(&pool, &sequences, &[], &weights(&arrays), None, &saved, &[], [true; ARRAYS], true).unwrap();
        assert_eq!(to_input, Some(Vec::new()));
        for (found, array) in found.iter().zip(&arrays) {
            assert_eq!(found.as_deref(), Some(&vec![0.0; array.len()][..]));
        }
    }
}

#[test]
fn wrong_shapes_are_errors() {
    assert!(matches!(TransformerLayer::new(TransformerSpec { heads: 5, ..BERT }), Err(KernelError::Invalid(_))));
    assert!(TransformerLayer::new(TransformerSpec { epsilon: f32::NAN, ..BERT }).is_err());
    let layer = TransformerLayer::new(BERT).unwrap();
    let mut arrays = arrays(&BERT, 4);
    let sequences = Sequences::of_lengths(&[2]);
    let input = values(2 * BERT.width, 1);
    let pool = BufferPool::new();
    assert!(matches!(
        layer.forward(&pool, &sequences, &input[1..], &weights(&arrays)),
        Err(KernelError::Length { what: "the input", .. })
    ));
    let bad = Some(LayerDropout { attention: 0.0, hidden: 1.0, seed: 0 });
    assert!(layer.forward_saving(&pool, &sequences, &input, &weights(&arrays), bad).is_err());
    arrays[10].pop();
    assert!(layer.forward(&pool, &sequences, &input, &weights(&arrays)).is_err());
}
