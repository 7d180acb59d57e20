//! Every kernel on every instruction set of this machine against plain loops, on random shapes.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

use headstart_kernels::{
    Activation, Conv2d, Conv2dSpec, DepthwiseConv2d, DepthwiseConv2dSpec, InstructionSet, InvertedResidual,
    KernelError, Layer, Network, Padding, PaddingRule, Shape,
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

fn act(activation: Activation, value: f64) -> f64 {
    match activation {
        Activation::Identity => value,
        Activation::Relu => value.max(0.0),
        Activation::Relu6 => value.clamp(0.0, 6.0),
        Activation::ClippedRelu(limit) => value.clamp(0.0, f64::from(limit)),
        Activation::LeakyRelu(slope) => {
            if value < 0.0 {
                value * f64::from(slope)
            } else {
                value
            }
        }
        Activation::Silu => value / (1.0 + (-value).exp()),
        _ => unreachable!("no other activation"),
    }
}

/// Padding and result sides by the definition.
fn geometry(
    rule: PaddingRule,
    shape: Shape,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
) -> (Padding, usize, usize) {
    let sides = [shape.height, shape.width];
    let span: Vec<usize> = (0..2).map(|axis| (kernel[axis] - 1) * dilation[axis] + 1).collect();
    let padding = match rule {
        PaddingRule::Explicit(padding) => padding,
        PaddingRule::TensorFlowSame => {
            let total: Vec<usize> = (0..2)
                .map(|axis| {
                    ((sides[axis].div_ceil(stride[axis]) - 1) * stride[axis] + span[axis]).saturating_sub(sides[axis])
                })
                .collect();
            Padding {
                top: total[0] / 2,
                bottom: total[0] - total[0] / 2,
                left: total[1] / 2,
                right: total[1] - total[1] / 2,
            }
        }
    };
    let height = (shape.height + padding.top + padding.bottom - span[0]) / stride[0] + 1;
    let width = (shape.width + padding.left + padding.right - span[1]) / stride[1] + 1;
    (padding, height, width)
}

/// Sum over the taps of one result.
fn taps(
    shape: Shape,
    padding: Padding,
    (kernel, stride, dilation): ([usize; 2], [usize; 2], [usize; 2]),
    (y, x): (usize, usize),
    mut visit: impl FnMut(usize, usize, usize, usize),
) {
    for ky in 0..kernel[0] {
        for kx in 0..kernel[1] {
            let row = (y * stride[0] + ky * dilation[0]) as isize - padding.top as isize;
            let column = (x * stride[1] + kx * dilation[1]) as isize - padding.left as isize;
            if (0..shape.height as isize).contains(&row) && (0..shape.width as isize).contains(&column) {
                visit(ky, kx, row as usize, column as usize);
            }
        }
    }
}

fn naive_conv(spec: &Conv2dSpec, weights: &[f32], bias: &[f32], shape: Shape, input: &[f32]) -> Vec<f32> {
    let (padding, height, width) = geometry(spec.padding, shape, spec.kernel, spec.stride, spec.dilation);
    let mut output = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for out in 0..spec.out_channels {
                let mut sum = f64::from(bias[out]);
                taps(shape, padding, (spec.kernel, spec.stride, spec.dilation), (y, x), |ky, kx, row, column| {
                    for channel in 0..spec.in_channels {
                        let weight = weights
                            [((ky * spec.kernel[1] + kx) * spec.in_channels + channel) * spec.out_channels + out];
                        sum += f64::from(input[(row * shape.width + column) * shape.channels + channel])
                            * f64::from(weight);
                    }
                });
                output.push(act(spec.activation, sum) as f32);
            }
        }
    }
    output
}

fn naive_depthwise(spec: &DepthwiseConv2dSpec, weights: &[f32], bias: &[f32], shape: Shape, input: &[f32]) -> Vec<f32> {
    let (padding, height, width) = geometry(spec.padding, shape, spec.kernel, spec.stride, spec.dilation);
    let mut output = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for channel in 0..spec.channels {
                let mut sum = f64::from(bias[channel]);
                taps(shape, padding, (spec.kernel, spec.stride, spec.dilation), (y, x), |ky, kx, row, column| {
                    let weight = weights[(ky * spec.kernel[1] + kx) * spec.channels + channel];
                    sum +=
                        f64::from(input[(row * shape.width + column) * shape.channels + channel]) * f64::from(weight);
                });
                output.push(act(spec.activation, sum) as f32);
            }
        }
    }
    output
}

fn run(shape: Shape, layers: Vec<Layer>, input: &[f32], set: InstructionSet) -> Vec<f32> {
    let network = Network::for_instruction_set(shape, layers, set).unwrap();
    let count = network.layer_count();
    let mut output = vec![f32::NAN; network.shape_after(count).len()];
    // What an earlier picture left in the buffers must not be seen.
    network.forward(0..count, &vec![f32::NAN; input.len()], 1, &mut output, 1).unwrap();
    network.forward(0..count, input, 1, &mut output, 1).unwrap();
    // One picture can be shared out by rows, to the same bits.
    for threads in [2, 3] {
        let mut split = vec![f32::NAN; output.len()];
        network.forward(0..count, input, 1, &mut split, threads).unwrap();
        assert_eq!(split, output, "{threads} threads");
    }
    output
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_close_at(1.0, found, expected, what);
}

/// `least` is how large the sums are before an activation cuts them.
fn assert_close_at(least: f32, found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(least, |most, value| most.max(value.abs()));
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 2e-5 * scale, "{what}: value {index} is {a}, expected {b}");
    }
}

/// `found` is the activation of `sums`: to the bit, except for SiLU's exponential.
fn assert_activation_of(activation: Activation, found: &[f32], sums: &[f32], what: &str) {
    let expected: Vec<f32> = sums.iter().map(|sum| act(activation, f64::from(*sum)) as f32).collect();
    match activation {
        Activation::Silu => assert_close(found, &expected, what),
        // A slope is one multiplication in f32, of which `act` rounds another.
        Activation::LeakyRelu(_) => {
            let within = |(a, b): (&f32, &f32)| (a - b).abs() <= f32::EPSILON * b.abs();
            assert!(found.iter().zip(&expected).all(within), "{what}: not the leaky activation of the sums");
        }
        _ => assert_eq!(found, expected, "{what}"),
    }
}

/// The sums are those of the plain loops, and the output is the activation of the sums. Apart, since the error of a sum is
/// measured by the sums, also where an activation then cuts them short.
fn assert_convolution(spec: Conv2dSpec, weights: &[f32], bias: &[f32], shape: Shape, seed: u64, least: f32) {
    let sums = Conv2dSpec { activation: Activation::Identity, ..spec };
    let layers = |spec| vec![Layer::from(Conv2d::new(spec, weights, bias).unwrap())];
    let input = values(shape.len(), seed);
    let expected = naive_conv(&sums, weights, bias, shape, &input);
    for set in InstructionSet::available() {
        let plain = run(shape, layers(sums), &input, set);
        assert_close_at(least, &plain, &expected, set.name());
        let found = run(shape, layers(spec), &input, set);
        assert_activation_of(spec.activation, &found, &plain, set.name());
    }
}

fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::Identity),
        Just(Activation::Relu),
        Just(Activation::Relu6),
        Just(Activation::ClippedRelu(0.5)),
        Just(Activation::LeakyRelu(0.1)),
        Just(Activation::Silu),
    ]
}

fn padding() -> impl Strategy<Value = PaddingRule> {
    let explicit = (0usize..4, 0usize..4, 0usize..4, 0usize..4)
        .prop_map(|(top, bottom, left, right)| PaddingRule::Explicit(Padding { top, bottom, left, right }));
    prop_oneof![explicit, Just(PaddingRule::TensorFlowSame)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 96 }))]

    #[test]
    fn convolution_equals_plain_loops(
        (height, width, inputs, outputs) in (1usize..14, 1usize..19, 1usize..40, 1usize..70),
        (ky, kx, sy, sx, dy, dx) in (1usize..6, 1usize..6, 1usize..4, 1usize..4, 1usize..3, 1usize..3),
        padding in padding(), activation in activation(), seed: u64,
    ) {
        let shape = Shape { height, width, channels: inputs };
        let spec = Conv2dSpec {
            in_channels: inputs, out_channels: outputs, kernel: [ky, kx], stride: [sy, sx], dilation: [dy, dx], padding, activation,
        };
        let (weights, bias) = (values(ky * kx * inputs * outputs, seed), values(outputs, seed ^ 1));
        match Network::new(shape, vec![Conv2d::new(spec, &weights, &bias).unwrap().into()]) {
            Err(KernelError::TooSmall { .. }) => {}
            Err(error) => panic!("{error}"),
            Ok(_) => assert_convolution(spec, &weights, &bias, shape, seed ^ 2, 1.0),
        }
    }

    /// Wide enough that Winograd's form is chosen, on sides that its tiles do not divide.
    #[test]
    fn wide_convolution_equals_plain_loops(
        (height, width, inputs, outputs) in (1usize..18, 1usize..19, 16usize..75, 16usize..75),
        kernel in prop::sample::select(&[[3usize, 3], [5, 5], [1, 3], [3, 1], [1, 7], [7, 1]][..]),
        padding in padding(), activation in activation(), seed: u64,
    ) {
        let shape = Shape { height, width, channels: inputs };
        let spec = Conv2dSpec {
            in_channels: inputs, out_channels: outputs, kernel, stride: [1; 2], dilation: [1; 2], padding, activation,
        };
        let (weights, bias) = (values(kernel[0] * kernel[1] * inputs * outputs, seed), values(outputs, seed ^ 1));
        if Network::new(shape, vec![Conv2d::new(spec, &weights, &bias).unwrap().into()]).is_ok() {
            // A sum of n products of values between −1 and 1 deviates by √n / 3.
            let deviation = ((kernel[0] * kernel[1] * inputs) as f32).sqrt() / 3.0;
            assert_convolution(spec, &weights, &bias, shape, seed ^ 2, deviation);
        }
    }

    #[test]
    fn depthwise_equals_plain_loops(
        (height, width, channels) in (1usize..14, 1usize..25, 1usize..70),
        (ky, kx, stride, dilation) in (1usize..6, 1usize..6, 1usize..4, 1usize..3),
        square: bool, padding in padding(), activation in activation(), seed: u64,
    ) {
        let kernel = if square { [if ky > 2 { 5 } else { 3 }; 2] } else { [ky, kx] };
        let dilation = if square { 1 } else { dilation };
        let shape = Shape { height, width, channels };
        let spec = DepthwiseConv2dSpec {
            channels, kernel, stride: [stride; 2], dilation: [dilation; 2], padding, activation,
        };
        let (weights, bias) = (values(kernel[0] * kernel[1] * channels, seed), values(channels, seed ^ 1));
        let layer = DepthwiseConv2d::new(spec, &weights, &bias).unwrap();
        if Network::new(shape, vec![layer.clone().into()]).is_ok() {
            let input = values(shape.len(), seed ^ 2);
            let expected = naive_depthwise(&spec, &weights, &bias, shape, &input);
            for set in InstructionSet::available() {
                assert_close(&run(shape, vec![layer.clone().into()], &input, set), &expected, set.name());
            }
        }
    }

    #[test]
    fn a_fused_inverted_residual_equals_its_three_layers(
        (height, width, inputs, expansion) in (1usize..40, 1usize..40, 1usize..20, 0usize..7),
        (stride, kernel) in (1usize..3, prop_oneof![Just(3usize), Just(5)]), residual: bool, same: bool, seed: u64,
    ) {
        let shape = Shape { height, width, channels: inputs };
        let padding = if same { PaddingRule::TensorFlowSame } else { PaddingRule::Explicit(Padding::symmetric(kernel / 2)) };
        let hidden = inputs * expansion.max(1);
        let residual = residual && stride == 1;
        let outputs = if residual { inputs } else { 1 + (seed % 37) as usize };
        let pointwise = |from, to, activation, seed| {
            let spec = Conv2dSpec {
                in_channels: from, out_channels: to, kernel: [1; 2], stride: [1; 2], dilation: [1; 2],
                padding: PaddingRule::TensorFlowSame, activation,
            };
            Conv2d::new(spec, &values(from * to, seed), &values(to, seed ^ 1)).unwrap()
        };
        let expand = (expansion > 0).then(|| pointwise(inputs, hidden, Activation::Relu6, seed ^ 10));
        let spec = DepthwiseConv2dSpec {
            channels: hidden, kernel: [kernel; 2], stride: [stride; 2], dilation: [1; 2], padding, activation: Activation::Relu6,
        };
        let weights = values(kernel * kernel * hidden, seed ^ 20);
        let depthwise = DepthwiseConv2d::new(spec, &weights, &values(hidden, seed ^ 21)).unwrap();
        let project = pointwise(hidden, outputs, Activation::Identity, seed ^ 30);
        let input = values(shape.len(), seed ^ 2);
        for set in InstructionSet::available() {
            let mut separate: Vec<Layer> = expand.clone().map(Layer::from).into_iter().collect();
            separate.extend([depthwise.clone().into(), project.clone().into()]);
            let mut expected = run(shape, separate, &input, set);
            if residual {
                expected.iter_mut().zip(&input).for_each(|(sum, value)| *sum += value);
            }
            let fused = InvertedResidual::new(expand.clone(), depthwise.clone(), project.clone(), residual).unwrap();
            assert_close(&run(shape, vec![fused.into()], &input, set), &expected, set.name());
        }
    }
}

/// A small network of every kind of layer.
fn network() -> Network {
    let conv = |from: usize, to: usize, kernel: usize, stride: usize, activation| {
        let spec = Conv2dSpec {
            in_channels: from,
            out_channels: to,
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            padding: PaddingRule::TensorFlowSame,
            activation,
        };
        Conv2d::new(spec, &values(kernel * kernel * from * to, 5), &values(to, 6)).unwrap()
    };
    let depthwise = |channels: usize, stride: usize| {
        let spec = DepthwiseConv2dSpec {
            channels,
            kernel: [3; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            padding: PaddingRule::TensorFlowSame,
            activation: Activation::Relu6,
        };
        DepthwiseConv2d::new(spec, &values(9 * channels, 7), &values(channels, 8)).unwrap()
    };
    let block = InvertedResidual::new(
        Some(conv(24, 72, 1, 1, Activation::Relu6)),
        depthwise(72, 1),
        conv(72, 24, 1, 1, Activation::Identity),
        true,
    )
    .unwrap();
    let layers = vec![
        conv(3, 24, 3, 2, Activation::Relu6).into(),
        block.into(),
        depthwise(24, 2).into(),
        conv(24, 40, 1, 1, Activation::Relu).into(),
        Layer::GlobalAveragePool,
    ];
    Network::new(Shape { height: 37, width: 29, channels: 3 }, layers).unwrap()
}

#[test]
fn the_result_of_a_picture_does_not_depend_on_its_batch_or_the_threads() {
    let network = network();
    let (from, to) = (network.shape_after(0).len(), network.shape_after(5).len());
    let input = values(5 * from, 1);
    let mut alone = vec![0.0; 5 * to];
    for (input, output) in input.chunks_exact(from).zip(alone.chunks_exact_mut(to)) {
        network.forward(0..5, input, 1, output, 1).unwrap();
    }
    for threads in [1, 2, 3, 4, 9] {
        let mut together = vec![0.0; 5 * to];
        network.forward(0..5, &input, 5, &mut together, threads).unwrap();
        assert_eq!(together, alone, "{threads} threads");
        // One picture alone is shared out by rows.
        for (input, expected) in input.chunks_exact(from).zip(alone.chunks_exact(to)) {
            let mut split = vec![0.0; to];
            network.forward(0..5, input, 1, &mut split, threads).unwrap();
            assert_eq!(split, expected, "{threads} threads on one picture");
        }
    }
}

#[test]
fn a_network_cut_anywhere_gives_the_same_bits() {
    let network = network();
    let input = values(network.shape_after(0).len(), 1);
    let mut whole = vec![0.0; network.shape_after(5).len()];
    network.forward(0..5, &input, 1, &mut whole, 1).unwrap();
    for cut in 0..=5 {
        let mut half = vec![0.0; network.shape_after(cut).len()];
        let mut result = vec![0.0; whole.len()];
        network.forward(0..cut, &input, 1, &mut half, 1).unwrap();
        network.forward(cut..5, &half, 1, &mut result, 1).unwrap();
        assert_eq!(result, whole, "cut at {cut}");
    }
}

#[test]
fn a_nan_is_not_hidden_by_an_activation() {
    let network = network();
    let mut input = values(network.shape_after(0).len(), 1);
    input[100] = f32::NAN;
    let mut output = vec![0.0; network.shape_after(5).len()];
    network.forward(0..5, &input, 1, &mut output, 1).unwrap();
    assert!(output.iter().any(|value| value.is_nan()));
}

#[test]
fn wrong_lengths_ranges_and_shapes_are_errors() {
    let network = network();
    let mut output = vec![0.0; network.shape_after(5).len()];
    let input = values(network.shape_after(0).len(), 1);
    assert!(matches!(network.forward(0..6, &input, 1, &mut output, 1), Err(KernelError::Range { .. })));
    assert!(matches!(network.forward(0..5, &input[1..], 1, &mut output, 1), Err(KernelError::Length { .. })));
    assert!(matches!(network.forward(0..5, &input, 1, &mut output[1..], 1), Err(KernelError::Length { .. })));
    let spec = Conv2dSpec {
        in_channels: 4,
        out_channels: 2,
        kernel: [5; 2],
        stride: [1; 2],
        dilation: [1; 2],
        padding: PaddingRule::Explicit(Padding::default()),
        activation: Activation::Identity,
    };
    assert!(matches!(Conv2d::new(spec, &[0.0; 3], &[0.0; 2]), Err(KernelError::Length { .. })));
    let layer = Conv2d::new(spec, &[0.0; 200], &[0.0; 2]).unwrap();
    let build = |height, channels| Network::new(Shape { height, width: 9, channels }, vec![layer.clone().into()]);
    assert!(matches!(build(9, 3), Err(KernelError::Channels { .. })));
    assert!(matches!(build(4, 4), Err(KernelError::TooSmall { .. })));
}
