//! Convolution, normalization and activation while they learn, against plain loops in f64 and their differences.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

use headstart_kernels::training::{
    AdamStep, BufferPool, Chain, ConvNorm, ConvNormSpec, LayerArguments, Normalization, adam_step,
};
use headstart_kernels::{Activation, InstructionSet, Padding, PaddingRule, Shape};
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

/// Everything that one step is a function of.
#[derive(Clone)]
struct Arguments {
    input: Vec<f64>,
    weights: Vec<f64>,
    gamma: Vec<f64>,
    beta: Vec<f64>,
    /// Mean and variance, unless those of the batch are used.
    statistics: Option<(Vec<f64>, Vec<f64>)>,
}

/// The bounds of an activation.
fn bounds(activation: Activation) -> (f64, f64) {
    match activation {
        Activation::Identity | Activation::LeakyRelu(_) => (f64::NEG_INFINITY, f64::INFINITY),
        Activation::Relu => (0.0, f64::INFINITY),
        _ => (0.0, 6.0),
    }
}

/// The definition: convolution, then normalization, then bounds.
fn plain(spec: &ConvNormSpec, shape: Shape, step: &ConvNorm, batch: usize, arguments: &Arguments) -> Vec<f64> {
    let (low, high) = bounds(spec.activation);
    let leak = if let Activation::LeakyRelu(slope) = spec.activation { f64::from(slope) } else { 1.0 };
    let active = |value: f64| if value < 0.0 { value.clamp(low, high) * leak } else { value.clamp(low, high) };
    normalized(spec, shape, step, batch, arguments).into_iter().map(active).collect()
}

/// Convolution, then normalization: what the bounds are laid on.
fn normalized(spec: &ConvNormSpec, shape: Shape, step: &ConvNorm, batch: usize, arguments: &Arguments) -> Vec<f64> {
    let (result, [rows, columns]) = (step.output(), spec.kernel);
    let rule = spec.padding;
    let padding = match rule {
        PaddingRule::Explicit(padding) => padding,
        PaddingRule::TensorFlowSame => {
            Padding::tensorflow_same([shape.height, shape.width], spec.kernel, [spec.stride; 2], [1; 2])
        }
    };
    let channels = spec.out_channels;
    let mut sums = vec![0.0; batch * result.len()];
    for (at, sum) in sums.iter_mut().enumerate() {
        let (out, x) = (at % channels, at / channels % result.width);
        let (y, picture) = (at / channels / result.width % result.height, at / result.len());
        for tap in 0..rows * columns {
            let row = (y * spec.stride + tap / columns).wrapping_sub(padding.top);
            let column = (x * spec.stride + tap % columns).wrapping_sub(padding.left);
            if row >= shape.height || column >= shape.width {
                continue;
            }
            let pixel = picture * shape.len() + (row * shape.width + column) * shape.channels;
            if spec.depthwise {
                *sum += arguments.input[pixel + out] * arguments.weights[out * rows * columns + tap];
            } else {
                for input in 0..shape.channels {
                    let weight = arguments.weights[(out * shape.channels + input) * rows * columns + tap];
                    *sum += arguments.input[pixel + input] * weight;
                }
            }
        }
    }
    let (mean, variance) = arguments.statistics.clone().unwrap_or_else(|| {
        let count = (sums.len() / channels) as f64;
        let over = |term: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
            (0..channels)
                .map(|c| sums.iter().skip(c).step_by(channels).map(|value| term(c, *value)).sum::<f64>() / count)
                .collect()
        };
        let mean = over(&|_, value| value);
        let variance = over(&|c, value| (value - mean[c]).powi(2));
        (mean, variance)
    });
    for (at, sum) in sums.iter_mut().enumerate() {
        let c = at % channels;
        let normal = (*sum - mean[c]) / (variance[c] + f64::from(spec.epsilon)).sqrt();
        *sum = normal * arguments.gamma[c] + arguments.beta[c];
    }
    sums
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn check(spec: ConvNormSpec, shape: Shape, batch: usize, batch_statistics: bool, set: InstructionSet, seed: u64) {
    let step = ConvNorm::for_instruction_set(spec, shape, set).unwrap();
    let channels = spec.out_channels;
    let input = values(batch * shape.len(), seed);
    let weights = values(step.weight_count(), seed + 1);
    let gamma: Vec<f32> = values(channels, seed + 2).iter().map(|value| value + 1.5).collect();
    let beta: Vec<f32> = values(channels, seed + 3).iter().map(|value| value + 0.5).collect();
    let (mean, variance) = (values(channels, seed + 4), values(channels, seed + 5));
    let variance: Vec<f32> = variance.iter().map(|value| value + 1.2).collect();
    let mut direction = values(batch * step.output().len(), seed + 6);
    let normalization = Normalization {
        gamma: &gamma,
        beta: &beta,
        statistics: (!batch_statistics).then_some((&mean[..], &variance[..])),
    };
    let forward = step.forward(&BufferPool::new(), batch, &input, &weights, normalization).unwrap();
    let arguments = Arguments {
        input: wide(&input),
        weights: wide(&weights),
        gamma: wide(&gamma),
        beta: wide(&beta),
        statistics: (!batch_statistics).then(|| (wide(&mean), wide(&variance))),
    };
    let before = normalized(&spec, shape, &step, batch, &arguments);
    let (low, high) = bounds(spec.activation);
    // A bend has no derivative: what stands on one, as far as f32 and the differences can tell, is not asked about.
    for (weight, value) in direction.iter_mut().zip(&before) {
        let bend = if matches!(spec.activation, Activation::LeakyRelu(_)) { value.abs() } else { f64::INFINITY };
        if (value - low).abs().min((value - high).abs()).min(bend) < 1e-3 {
            *weight = 0.0;
        }
    }
    let expected = plain(&spec, shape, &step, batch, &arguments);
    for (found, expected) in forward.output.iter().zip(&expected) {
        assert!((f64::from(*found) - expected).abs() < 2e-4 * (1.0 + expected.abs()), "{found} {expected} {spec:?}");
    }
    let saved = (&forward.convolved[..], &forward.mean[..], &forward.variance[..]);
    // What lies in a buffer from an earlier step must not show.
    let pool = BufferPool::new();
    (0..2).for_each(|_| pool.give(vec![f32::NAN; input.len()]));
    let gradients = step.backward(&pool, batch, &input, &weights, normalization, saved, &direction, true).unwrap();
    let without = step.backward(&pool, batch, &input, &weights, normalization, saved, &direction, false).unwrap();
    assert!(without.input.is_none() && without.weights == gradients.weights);

    // ⟨gradient, v⟩ against the difference of ⟨direction, output⟩ along v, one argument at a time.
    let direction = wide(&direction);
    let difference = |change: &dyn Fn(&mut Arguments, f64)| {
        let at = |h: f64| {
            let mut moved = arguments.clone();
            change(&mut moved, h);
            dot(&plain(&spec, shape, &step, batch, &moved), &direction)
        };
        (at(1e-5) - at(-1e-5)) / 2e-5
    };
    let along = |count: usize, salt: u64| wide(&values(count, seed + salt));
    let moved = |to: &mut [f64], v: &[f64], h: f64| to.iter_mut().zip(v).for_each(|(to, v)| *to += h * v);
    let cases: [(&str, Vec<f32>, Vec<f64>, f64); 4] = [
        ("input", gradients.input.unwrap(), along(input.len(), 7), 0.0),
        ("weights", gradients.weights, along(weights.len(), 8), 0.0),
        ("gamma", gradients.gamma, along(channels, 9), 0.0),
        ("beta", gradients.beta, along(channels, 10), 0.0),
    ];
    for (index, (name, gradient, v, _)) in cases.into_iter().enumerate() {
        let expected = difference(&|arguments, h| {
            let Arguments { input, weights, gamma, beta, .. } = arguments;
            moved([input, weights, gamma, beta][index], &v, h);
        });
        let found = dot(&wide(&gradient), &v);
        let size = gradient.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt().max(1.0);
        assert!((found - expected).abs() < 3e-3 * size, "{name}: {found} {expected} of {size}, {spec:?} {shape:?}");
    }
}

fn specs() -> impl Strategy<Value = (ConvNormSpec, Shape)> {
    let padding = prop_oneof![
        Just(PaddingRule::TensorFlowSame),
        (0..2usize).prop_map(|pixels| PaddingRule::Explicit(Padding::symmetric(pixels))),
    ];
    let activation = prop_oneof![
        Just(Activation::Identity),
        Just(Activation::Relu),
        Just(Activation::Relu6),
        Just(Activation::LeakyRelu(0.1)),
    ];
    let kernel = prop_oneof![Just(1usize), Just(2), Just(3), Just(5), Just(7)];
    let kernel = (kernel.clone(), kernel, any::<bool>());
    (any::<bool>(), kernel, 1..4usize, padding, activation, 1..40usize, 1..40usize, 7..12usize, 7..12usize).prop_map(
        |(depthwise, (rows, columns, square), stride, padding, activation, inputs, outputs, height, width)| {
            let kernel = [rows, if square || depthwise { rows } else { columns }];
            let padding = match padding {
                PaddingRule::Explicit(_) if kernel.contains(&1) => PaddingRule::Explicit(Padding::default()),
                // TensorFlow pads a stride wider than the kernel by nothing, so this is the only one to leave out.
                padding => padding,
            };
            let out_channels = if depthwise { inputs } else { outputs };
            let spec = ConvNormSpec {
                in_channels: inputs,
                out_channels,
                kernel,
                stride,
                padding,
                depthwise,
                activation,
                epsilon: 1e-3,
            };
            (spec, Shape { height, width, channels: inputs })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn gradients_are_those_of_the_definition((spec, shape) in specs(), batch in 1..4usize, own: bool, seed in 0..1000u64) {
        for set in InstructionSet::available() {
            check(spec, shape, batch, own, set, seed);
        }
    }
}

/// A case that once stood on a bend of ReLU6 within f32's reach.
#[test]
fn a_value_on_a_bend_is_not_asked_for_its_derivative() {
    let spec = ConvNormSpec {
        in_channels: 29,
        out_channels: 35,
        kernel: [5, 2],
        stride: 1,
        padding: PaddingRule::TensorFlowSame,
        depthwise: false,
        activation: Activation::Relu6,
        epsilon: 1e-3,
    };
    for set in InstructionSet::available() {
        check(spec, Shape { height: 8, width: 10, channels: 29 }, 1, false, set, 860);
    }
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_threads() {
    let spec = ConvNormSpec {
        in_channels: 24,
        out_channels: 40,
        kernel: [3; 2],
        stride: 2,
        padding: PaddingRule::TensorFlowSame,
        depthwise: false,
        activation: Activation::Relu6,
        epsilon: 1e-5,
    };
    let shape = Shape { height: 15, width: 14, channels: 24 };
    let step = ConvNorm::new(spec, shape).unwrap();
    let (input, weights) = (values(11 * shape.len(), 1), values(step.weight_count(), 2));
    let (gamma, beta, gradient) = (vec![1.0; 40], vec![0.2; 40], values(11 * step.output().len(), 3));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let normalization = Normalization { gamma: &gamma, beta: &beta, statistics: None };
            let forward = step.forward(&BufferPool::new(), 11, &input, &weights, normalization).unwrap();
            let saved = (&forward.convolved[..], &forward.mean[..], &forward.variance[..]);
            let back =
                step.backward(&BufferPool::new(), 11, &input, &weights, normalization, saved, &gradient, true).unwrap();
            (forward, back)
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3) && one == run(4));
}

#[test]
fn wrong_lengths_and_shapes_are_errors() {
    let spec = ConvNormSpec {
        in_channels: 2,
        out_channels: 3,
        kernel: [3; 2],
        stride: 1,
        padding: PaddingRule::Explicit(Padding::symmetric(1)),
        depthwise: false,
        activation: Activation::Relu,
        epsilon: 1e-5,
    };
    let shape = Shape { height: 4, width: 4, channels: 2 };
    assert!(ConvNorm::new(ConvNormSpec { depthwise: true, ..spec }, shape).is_err());
    assert!(ConvNorm::new(ConvNormSpec { kernel: [0; 2], ..spec }, shape).is_err());
    assert!(ConvNorm::new(ConvNormSpec { kernel: [9; 2], ..spec }, shape).is_err());
    let wide = PaddingRule::Explicit(Padding::symmetric(3));
    assert!(ConvNorm::new(ConvNormSpec { padding: wide, ..spec }, shape).is_err());
    let step = ConvNorm::new(spec, shape).unwrap();
    let normalization = Normalization { gamma: &[1.0; 3], beta: &[0.0; 3], statistics: None };
    assert!(step.forward(&BufferPool::new(), 1, &[0.0; 31], &[0.0; 54], normalization).is_err());
    assert!(step.forward(&BufferPool::new(), 1, &[0.0; 32], &[0.0; 53], normalization).is_err());
    assert!(step.forward(&BufferPool::new(), 1, &[0.0; 32], &[0.0; 54], normalization).is_ok());
}

#[test]
fn adam_takes_the_step_of_its_definition() {
    let step = AdamStep { rate: 0.1, decay: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-7, scale: 0.5 };
    let (mut value, mut first, mut second) = ([2.0f32], [0.2f32], [0.04f32]);
    adam_step(&step, &mut value, &mut first, &mut second, &[1.0]);
    let (m, v) = (0.9 * 0.2 + 0.1 * 0.5, 0.999 * 0.04 + 0.001 * 0.25);
    assert!((first[0] - m).abs() < 1e-6 && (second[0] - v).abs() < 1e-6);
    assert!((value[0] - (2.0 - 0.1 * m / (v.sqrt() + 1e-7) - 0.02)).abs() < 1e-6);
}

/// An inverted residual as one step against its three layers one by one, with and without the residual.
#[test]
fn a_chain_gives_what_its_layers_give_one_by_one() {
    let layer = |inputs, outputs, kernel, stride, depthwise, activation| ConvNormSpec {
        in_channels: inputs,
        out_channels: outputs,
        kernel: [kernel; 2],
        stride,
        padding: PaddingRule::TensorFlowSame,
        depthwise,
        activation,
        epsilon: 1e-3,
    };
    for (stride, outputs, residual) in [(1, 8, true), (1, 12, false), (2, 8, false)] {
        let specs = [
            layer(8, 24, 1, 1, false, Activation::Relu6),
            layer(24, 24, 3, stride, true, Activation::Relu6),
            layer(24, outputs, 1, 1, false, Activation::Identity),
        ];
        let (batch, shape) = (11, Shape { height: 9, width: 8, channels: 8 });
        let mut steps: Vec<ConvNorm> = Vec::new();
        for spec in specs {
            let input = steps.last().map_or(shape, ConvNorm::output);
            steps.push(ConvNorm::new(spec, input).unwrap());
        }
        let weights: Vec<Vec<f32>> = steps.iter().map(|step| values(step.weight_count(), 3)).collect();
        let vectors = |seed: u64, add: f32| -> Vec<Vec<f32>> {
            specs.iter().map(|spec| values(spec.out_channels, seed).iter().map(|value| value + add).collect()).collect()
        };
        let (gamma, beta, mean, variance) = (vectors(4, 1.5), vectors(5, 0.5), vectors(6, 0.0), vectors(7, 1.3));
        let arguments: Vec<LayerArguments<'_>> = (0..3)
            .map(|index| LayerArguments {
                weights: &weights[index],
                normalization: Normalization {
                    gamma: &gamma[index],
                    beta: &beta[index],
                    statistics: Some((&mean[index], &variance[index])),
                },
            })
            .collect();
        let input = values(batch * shape.len(), 1);
        let pool = BufferPool::new();
        let chain = Chain::new(steps.clone(), residual).unwrap();
        let (output, convolved) = chain.forward(&pool, batch, &input, &arguments).unwrap();
        let mut here = input.clone();
        let mut inputs = Vec::new();
        for (step, layer) in steps.iter().zip(&arguments) {
            let forward = step.forward(&pool, batch, &here, layer.weights, layer.normalization).unwrap();
            inputs.push((std::mem::replace(&mut here, forward.output.clone()), forward));
        }
        if residual {
            here.iter_mut().zip(&input).for_each(|(sum, value)| *sum += value);
        }
        assert_eq!(output, here);
        assert!(convolved.iter().zip(&inputs).all(|(convolved, (_, forward))| *convolved == forward.convolved));

        let gradient = values(output.len(), 2);
        let (to_input, layers) = chain.backward(&pool, batch, &input, &arguments, &convolved, &gradient, true).unwrap();
        let mut back = gradient.clone();
        for (index, (input, forward)) in inputs.iter().enumerate().rev() {
            let (step, layer) = (&steps[index], &arguments[index]);
            let saved = (&forward.convolved[..], &forward.mean[..], &forward.variance[..]);
            let found =
                step.backward(&pool, batch, input, layer.weights, layer.normalization, saved, &back, true).unwrap();
            assert_eq!(layers[index].weights, found.weights);
            assert_eq!((&layers[index].gamma, &layers[index].beta), (&found.gamma, &found.beta));
            back = found.input.unwrap();
        }
        if residual {
            back.iter_mut().zip(&gradient).for_each(|(sum, value)| *sum += value);
        }
        assert_eq!(to_input.unwrap(), back);
        let (none, same) = chain.backward(&pool, batch, &input, &arguments, &convolved, &gradient, false).unwrap();
        assert!(none.is_none() && same == layers);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one.install(|| chain.forward(&pool, batch, &input, &arguments).unwrap().0), output);
        assert!(Chain::new(vec![steps[0], steps[2]], false).is_err() == (stride == 2));
        assert!(Chain::new(vec![], false).is_err() && Chain::new(steps[..1].to_vec(), true).is_err());
    }
}
