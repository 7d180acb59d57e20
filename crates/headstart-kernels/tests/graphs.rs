//! Pooling, branches and residuals against plain loops and against their parts, on every instruction set of this machine.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

use headstart_kernels::{
    Activation, Conv2d, Conv2dSpec, InstructionSet, KernelError, Layer, Network, Padding, PaddingRule, Pool2d,
    PoolKind, Shape,
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

fn conv(from: usize, to: usize, kernel: [usize; 2], stride: usize, activation: Activation, seed: u64) -> Layer {
    let spec = Conv2dSpec {
        in_channels: from,
        out_channels: to,
        kernel,
        stride: [stride; 2],
        dilation: [1; 2],
        padding: PaddingRule::TensorFlowSame,
        activation,
    };
    let weights = values(kernel[0] * kernel[1] * from * to, seed);
    Conv2d::new(spec, &weights, &values(to, seed ^ 1)).unwrap().into()
}

fn pool(kind: PoolKind, side: usize, stride: usize) -> Layer {
    Pool2d::new(kind, [side; 2], [stride; 2], PaddingRule::TensorFlowSame).unwrap().into()
}

/// The result of one picture, by one thread and by several, which must agree to the last bit.
fn run(shape: Shape, layers: Vec<Layer>, input: &[f32], set: InstructionSet) -> (Shape, Vec<f32>) {
    let network = Network::for_instruction_set(shape, layers, set).unwrap();
    let count = network.layer_count();
    let mut output = vec![f32::NAN; network.shape_after(count).len()];
    // What an earlier picture left in the buffers must not be seen.
    network.forward(0..count, &vec![f32::NAN; input.len()], 1, &mut output, 1).unwrap();
    network.forward(0..count, input, 1, &mut output, 1).unwrap();
    for threads in [2, 3, 7] {
        let mut split = vec![f32::NAN; output.len()];
        network.forward(0..count, input, 1, &mut split, threads).unwrap();
        assert_eq!(split, output, "{threads} threads");
    }
    (network.shape_after(count), output)
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0f32, |most, value| most.max(value.abs()));
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 2e-5 * scale, "{what}: value {index} is {a}, expected {b}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 64 }))]

    #[test]
    fn pooling_equals_plain_loops(
        (height, width, channels) in (1usize..20, 1usize..20, 1usize..50),
        (rows, columns, down, right) in (1usize..5, 1usize..5, 1usize..4, 1usize..4),
        (top, bottom, left, before) in (0usize..4, 0usize..4, 0usize..4, 0usize..4),
        kind in prop_oneof![Just(PoolKind::Max), Just(PoolKind::Average), Just(PoolKind::AverageWithPadding)],
        seed: u64,
    ) {
        let padding = Padding { top: top % rows, bottom: bottom % rows, left: left % columns, right: before % columns };
        let layer = Pool2d::new(kind, [rows, columns], [down, right], PaddingRule::Explicit(padding)).unwrap();
        let shape = Shape { height, width, channels };
        if height + padding.top + padding.bottom < rows || width + padding.left + padding.right < columns {
            let error = Network::new(shape, vec![layer.into()]).unwrap_err();
            prop_assert!(matches!(error, KernelError::TooSmall { .. }), "{}", error);
            return Ok(());
        }
        let input = values(shape.len(), seed);
        let mut expected = Vec::new();
        for y in 0..=(height + padding.top + padding.bottom - rows) / down {
            for x in 0..=(width + padding.left + padding.right - columns) / right {
                for channel in 0..channels {
                    let mut window = Vec::new();
                    for row in y * down..y * down + rows {
                        for column in x * right..x * right + columns {
                            if let (Some(row), Some(column)) = (row.checked_sub(padding.top), column.checked_sub(padding.left))
                                && row < height && column < width
                            {
                                window.push(input[(row * width + column) * channels + channel]);
                            }
                        }
                    }
                    expected.push(match kind {
                        PoolKind::Max => window.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                        PoolKind::Average => window.iter().sum::<f32>() / window.len() as f32,
                        PoolKind::AverageWithPadding => window.iter().sum::<f32>() / (rows * columns) as f32,
                    });
                }
            }
        }
        for set in InstructionSet::available() {
            assert_close(&run(shape, vec![layer.into()], &input, set).1, &expected, set.name());
        }
    }

    /// Chains of several lengths, one within another, pooling and an empty one, as in an Inception block.
    #[test]
    fn branches_stand_side_by_side(
        (height, width, channels) in (2usize..20, 2usize..20, 1usize..40), seed: u64,
    ) {
        let shape = Shape { height, width, channels };
        let relu = Activation::Relu;
        let chains = [
            vec![conv(channels, 17, [1, 1], 1, relu, seed)],
            vec![
                conv(channels, 24, [1, 1], 1, relu, seed ^ 2), conv(24, 33, [1, 7], 1, relu, seed ^ 3),
                conv(33, 8, [7, 1], 1, Activation::Silu, seed ^ 4),
            ],
            vec![],
            vec![pool(PoolKind::Average, 3, 1), conv(channels, 5, [1, 1], 1, relu, seed ^ 5)],
        ];
        let (left, right) = (conv(20, 40, [3, 3], 1, relu, seed ^ 7), conv(20, 3, [3, 1], 1, relu, seed ^ 8));
        let fork = conv(channels, 20, [3, 3], 1, relu, seed ^ 6);
        let nested = vec![fork.clone(), Layer::Branches(vec![vec![left.clone()], vec![right.clone()]])];
        let input = values(shape.len(), seed ^ 9);
        for set in InstructionSet::available() {
            let mut parts: Vec<(Shape, Vec<f32>)> = Vec::new();
            for chain in chains.iter().cloned().chain([vec![fork.clone(), left.clone()], vec![fork.clone(), right.clone()]]) {
                parts.push(if chain.is_empty() { (shape, input.clone()) } else { run(shape, chain, &input, set) });
            }
            let branches = Layer::Branches(chains.iter().cloned().chain([nested.clone()]).collect());
            let (found, output) = run(shape, vec![branches], &input, set);
            prop_assert_eq!(found.channels, parts.iter().map(|(shape, _)| shape.channels).sum::<usize>());
            for (index, pixel) in output.chunks_exact(found.channels).enumerate() {
                let mut rest = pixel;
                for (shape, part) in &parts {
                    let (here, after) = rest.split_at(shape.channels);
                    prop_assert_eq!(here, &part[index * shape.channels..][..shape.channels], "{}", set.name());
                    rest = after;
                }
            }
        }
    }

    #[test]
    fn a_residual_adds_before_the_activation(
        (height, width, channels, stride) in (2usize..16, 2usize..16, 1usize..40, 1usize..3), kernel in 1usize..4, seed: u64,
    ) {
        let shape = Shape { height, width, channels };
        let identity = Activation::Identity;
        let outputs = if stride == 1 { channels } else { channels + 9 };
        let body = |last| vec![
            conv(channels, 19, [1, 1], 1, Activation::Relu, seed),
            conv(19, outputs, [kernel; 2], stride, last, seed ^ 2),
        ];
        let shortcut = if stride == 1 { vec![] } else { vec![conv(channels, outputs, [1, 1], stride, identity, seed ^ 3)] };
        let input = values(shape.len(), seed ^ 4);
        for set in InstructionSet::available() {
            let (_, expected) = run(shape, body(identity), &input, set);
            let kept = if stride == 1 { input.clone() } else { run(shape, shortcut.clone(), &input, set).1 };
            let expected: Vec<f32> = expected.iter().zip(&kept).map(|(sum, kept)| (sum + kept).clamp(0.0, 6.0)).collect();
            let layer = Layer::Residual { body: body(Activation::Relu6), shortcut: shortcut.clone() };
            // Twice, so that a layer also reads what another has written.
            let (_, found) = run(shape, vec![layer], &input, set);
            assert_close(&found, &expected, set.name());
        }
    }
}

#[test]
fn a_nan_is_not_hidden_by_pooling() {
    let shape = Shape { height: 4, width: 4, channels: 19 };
    for kind in [PoolKind::Max, PoolKind::Average] {
        for set in InstructionSet::available() {
            for at in [0, 19, 4 * 19] {
                let mut input = values(shape.len(), 1);
                input[at] = f32::NAN;
                let (_, output) = run_with_nan(shape, pool(kind, 2, 2), &input, set);
                assert!(output[0].is_nan(), "{kind:?} on {}", set.name());
                assert_eq!(output.iter().filter(|value| value.is_nan()).count(), 1);
            }
        }
    }
}

fn run_with_nan(shape: Shape, layer: Layer, input: &[f32], set: InstructionSet) -> (Shape, Vec<f32>) {
    let network = Network::for_instruction_set(shape, vec![layer], set).unwrap();
    let mut output = vec![0.0; network.shape_after(1).len()];
    network.forward(0..1, input, 1, &mut output, 1).unwrap();
    (network.shape_after(1), output)
}

#[test]
fn graphs_that_do_not_fit_together_are_errors() {
    let shape = Shape { height: 8, width: 8, channels: 4 };
    let identity = Activation::Identity;
    let error = |layer| Network::new(shape, vec![layer]).unwrap_err().to_string();
    assert!(error(Layer::Branches(vec![])).contains("without a branch"));
    let (one, two) = (conv(4, 4, [1, 1], 1, identity, 1), conv(4, 4, [1, 1], 2, identity, 1));
    assert!(error(Layer::Branches(vec![vec![one.clone()], vec![two.clone()]])).contains("same height"));
    assert!(error(Layer::Residual { body: vec![two], shortcut: vec![] }).contains("one shape"));
    assert!(error(Layer::Residual { body: vec![pool(PoolKind::Max, 3, 1)], shortcut: vec![] }).contains("convolution"));
    assert!(error(Layer::Branches(vec![vec![conv(5, 4, [1, 1], 1, identity, 1)]])).contains('5'));
    let mut deep = one;
    for _ in 0..20 {
        deep = Layer::Branches(vec![vec![deep]]);
    }
    assert!(error(deep).contains("deep"));
    assert!(Pool2d::new(PoolKind::Max, [2; 2], [1; 2], PaddingRule::Explicit(Padding::symmetric(2))).is_err());
    assert!(Pool2d::new(PoolKind::Max, [0, 2], [1; 2], PaddingRule::TensorFlowSame).is_err());
}
