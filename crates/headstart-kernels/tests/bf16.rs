//! Reduced precision against plain loops whose inputs are rounded, and against itself in other batches.
//!
//! Without AVX-512 BF16 only the refusal can be tested; the other tests say so and pass.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a helper of a test may panic, a skipped test says so")]

use headstart_kernels::{
    Activation, Conv2d, Conv2dSpec, DepthwiseConv2d, DepthwiseConv2dSpec, InstructionSet, InvertedResidual,
    KernelError, Layer, Network, Padding, PaddingRule, Precision, Shape,
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

/// The nearest bf16, the even one of two.
fn rounded(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

fn all_rounded(values: &[f32]) -> Vec<f32> {
    values.iter().copied().map(rounded).collect()
}

fn is_missing() -> bool {
    let missing = Precision::Bf16.check().is_err();
    if missing {
        println!("skipped: AVX-512 BF16 not found");
    }
    missing
}

fn spec(inputs: usize, outputs: usize, activation: Activation) -> Conv2dSpec {
    Conv2dSpec {
        in_channels: inputs,
        out_channels: outputs,
        kernel: [1; 2],
        stride: [1; 2],
        dilation: [1; 2],
        padding: PaddingRule::TensorFlowSame,
        activation,
    }
}

/// act(inputs · weights + bias + residual) for rows of `inputs`, in f64.
fn product(spec: &Conv2dSpec, weights: &[f32], bias: &[f32], input: &[f32], residual: Option<&[f32]>) -> Vec<f32> {
    let mut output = Vec::new();
    for (pixel, row) in input.chunks(spec.in_channels).enumerate() {
        for out in 0..spec.out_channels {
            let products = row
                .iter()
                .enumerate()
                .map(|(channel, value)| f64::from(*value) * f64::from(weights[channel * spec.out_channels + out]));
            let added = residual.map_or(0.0, |residual| residual[pixel * spec.out_channels + out]);
            let sum = products.sum::<f64>() + f64::from(bias[out]) + f64::from(added);
            output.push(match spec.activation {
                Activation::Identity => sum,
                Activation::Relu6 => sum.clamp(0.0, 6.0),
                Activation::Silu => sum / (1.0 + (-sum).exp()),
                _ => unreachable!("no other activation is tested"),
            } as f32);
        }
    }
    output
}

/// The result of one picture, by one thread and by several, alone and in a batch: the same to the last bit.
fn run(shape: Shape, layers: Vec<Layer>, input: &[f32], precision: Precision) -> Vec<f32> {
    let network = Network::with_precision(shape, layers, precision).unwrap();
    let count = network.layer_count();
    let mut output = vec![f32::NAN; network.shape_after(count).len()];
    // What an earlier picture left in the buffers must not be seen.
    network.forward(0..count, &vec![f32::NAN; input.len()], 1, &mut output, 1).unwrap();
    network.forward(0..count, input, 1, &mut output, 1).unwrap();
    for threads in [2, 3] {
        let mut split = vec![f32::NAN; output.len()];
        network.forward(0..count, input, 1, &mut split, threads).unwrap();
        assert_eq!(split, output, "{threads} threads");
    }
    let batch = [&vec![0.5; input.len()][..], input, input].concat();
    let mut outputs = vec![f32::NAN; 3 * output.len()];
    for threads in [1, 2] {
        network.forward(0..count, &batch, 3, &mut outputs, threads).unwrap();
        for found in outputs.chunks(output.len().max(1)).skip(1) {
            assert_eq!(found, output, "in a batch, {threads} threads");
        }
    }
    output
}

/// Sums in f32 differ from those in f64 by rounding alone, as in the tests of f32.
fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1.0f32, |most, value| most.max(value.abs()));
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "value {index} is {a}, expected {b}");
    }
}

fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![Just(Activation::Identity), Just(Activation::Relu6), Just(Activation::Silu)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 96 }))]

    #[test]
    fn a_pointwise_convolution_equals_plain_loops_on_rounded_numbers(
        (height, width, inputs, outputs) in (1usize..14, 1usize..19, 1usize..100, 1usize..70),
        activation in activation(), with_residual: bool, seed: u64,
    ) {
        if is_missing() { return Ok(()); }
        let outputs = if with_residual { inputs } else { outputs };
        let shape = Shape { height, width, channels: inputs };
        let spec = spec(inputs, outputs, activation);
        let (weights, bias) = (values(inputs * outputs, seed), values(outputs, seed ^ 1));
        let input = values(shape.len(), seed ^ 2);
        let layer: Layer = Conv2d::new(spec, &weights, &bias).unwrap().into();
        let layer = if with_residual { Layer::Residual { body: vec![layer], shortcut: Vec::new() } } else { layer };
        // Bias and residual are not rounded.
        let residual = with_residual.then_some(&input[..]);
        let expected = product(&spec, &all_rounded(&weights), &bias, &all_rounded(&input), residual);
        assert_close(&run(shape, vec![layer], &input, Precision::Bf16), &expected, 2e-5);
    }

    /// The expansion is compared by itself above; here it and the depthwise convolution run in our kernels, so that what
    /// the projection rounds is the same to the last bit and cannot go to another side.
    #[test]
    fn a_fused_inverted_residual_equals_its_parts_on_rounded_numbers(
        (height, width, inputs, expansion) in (1usize..40, 1usize..40, 1usize..20, 0usize..7),
        (stride, kernel) in (1usize..3, prop_oneof![Just(3usize), Just(5)]), residual: bool, same: bool, seed: u64,
    ) {
        if is_missing() { return Ok(()); }
        let shape = Shape { height, width, channels: inputs };
        let padding = if same { PaddingRule::TensorFlowSame } else { PaddingRule::Explicit(Padding::symmetric(kernel / 2)) };
        let hidden = inputs * expansion.max(1);
        let residual = residual && stride == 1;
        let outputs = if residual { inputs } else { 1 + (seed % 37) as usize };
        let expand = Conv2d::new(
            spec(inputs, hidden, Activation::Relu6), &values(inputs * hidden, seed ^ 10), &values(hidden, seed ^ 11),
        ).unwrap();
        let expand = (expansion > 0).then_some(expand);
        let depthwise = DepthwiseConv2dSpec {
            channels: hidden, kernel: [kernel; 2], stride: [stride; 2], dilation: [1; 2], padding, activation: Activation::Relu6,
        };
        let depthwise =
            DepthwiseConv2d::new(depthwise, &values(kernel * kernel * hidden, seed ^ 20), &values(hidden, seed ^ 21)).unwrap();
        let project = spec(hidden, outputs, Activation::Identity);
        let (weights, bias) = (values(hidden * outputs, seed ^ 30), values(outputs, seed ^ 31));
        let input = values(shape.len(), seed ^ 2);

        let mut first: Vec<Layer> = expand.clone().map(Layer::from).into_iter().collect();
        first.push(depthwise.clone().into());
        let hidden = all_rounded(&run(shape, first, &input, Precision::Bf16));
        let expected = product(&project, &all_rounded(&weights), &bias, &hidden, residual.then_some(&input[..]));
        let project = Conv2d::new(project, &weights, &bias).unwrap();
        let fused = InvertedResidual::new(expand, depthwise, project, residual).unwrap();
        assert_close(&run(shape, vec![fused.into()], &input, Precision::Bf16), &expected, 2e-5);
    }
}

#[test]
fn other_convolutions_stay_in_f32() {
    if is_missing() {
        return;
    }
    let shape = Shape { height: 9, width: 8, channels: 20 };
    let input = values(shape.len(), 3);
    for (kernel, stride) in [(3, 1), (1, 2)] {
        let spec = Conv2dSpec { kernel: [kernel; 2], stride: [stride; 2], ..spec(20, 33, Activation::Relu6) };
        let layer = Conv2d::new(spec, &values(kernel * kernel * 20 * 33, 1), &values(33, 2)).unwrap();
        let [narrow, wide] = [Precision::Bf16, Precision::F32]
            .map(|precision| run(shape, vec![layer.clone().into()], &input, precision));
        assert_eq!(narrow, wide, "kernel {kernel}, stride {stride}");
    }
}

#[test]
fn a_map_of_many_blocks_gives_the_same_as_its_rows() {
    if is_missing() {
        return;
    }
    // 150 KB a narrowed row: more than one block, with one row a block at the end.
    let (shape, row) = (Shape { height: 5, width: 300, channels: 256 }, Shape { height: 1, width: 300, channels: 256 });
    let layer = Conv2d::new(spec(256, 40, Activation::Identity), &values(256 * 40, 1), &values(40, 2)).unwrap();
    let input = values(shape.len(), 3);
    let whole = run(shape, vec![layer.clone().into()], &input, Precision::Bf16);
    let rows = input.chunks(row.len()).flat_map(|input| run(row, vec![layer.clone().into()], input, Precision::Bf16));
    assert_eq!(whole, rows.collect::<Vec<f32>>());
}

#[test]
fn where_the_instructions_are_missing_it_is_refused() {
    let shape = Shape { height: 2, width: 2, channels: 4 };
    let layer = || Layer::from(Conv2d::new(spec(4, 4, Activation::Identity), &[0.5; 16], &[0.0; 4]).unwrap());
    let built = Network::with_precision(shape, vec![layer()], Precision::Bf16);
    match Precision::Bf16.check() {
        Ok(()) => assert!(built.is_ok()),
        Err(error) => {
            assert_eq!(built.unwrap_err(), error);
            assert!(matches!(error, KernelError::Unavailable { .. }), "{error}");
        }
    }
    assert!(Network::with_precision(shape, vec![layer()], Precision::F32).is_ok());
    assert!(InstructionSet::available().contains(&InstructionSet::Portable));
}
