//! Layers of published networks, one by one: `cargo bench -p headstart-kernels [-- FILTER]`.
//!
//! Criterion's `elem/s` are operations a second (a multiplication and an addition are two). Each group ends with a
//! table of our own: GFLOP/s and the share of what this machine does in registers. Operations are those of the direct
//! form, so a convolution by Winograd's products may show more than 100 %. `HEADSTART_BENCH_THREADS` is the number of
//! threads (1), `HEADSTART_ISA` lowers the instruction set.
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use std::error::Error;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use headstart_kernels::training::{BufferPool, ConvNorm, ConvNormSpec, Forward, Normalization};
use headstart_kernels::{
    Activation, Conv2d, Conv2dSpec, DepthwiseConv2d, DepthwiseConv2dSpec, InvertedResidual, KernelError, Layer,
    Network, PaddingRule, Shape, fma_peak, instruction_set,
};

/// Operations that a call should at least have, so that the start of threads does not show in it…
const OPERATIONS: f64 = 2e8;

/// …but no more pictures than this a thread.
const MOST_PICTURES: usize = 16;

/// Pictures of a training step: a usual batch, and one for each of its shards of pictures at least.
const TRAINING_BATCH: usize = 16;

/// Calls whose median a row of the table is.
const CALLS: usize = 11;

/// One row: a layer with its input, ready to run.
struct Case {
    name: String,
    /// Of one call.
    operations: f64,
    pictures: usize,
    run: Box<dyn FnMut() -> Result<(), KernelError>>,
}

/// Size of a window and its step: `(rows, columns)` of the kernel, stride.
type Taps = ([usize; 2], usize);

fn made_up(count: usize, scale: f32) -> Vec<f32> {
    // Neither zeros nor one value: numbers as in a network, the same in every run.
    (0..count).map(|index| ((index * 7919 % 1009) as f32 / 504.5 - 1.0) * scale).collect()
}

fn square(side: usize, channels: usize) -> Shape {
    Shape { height: side, width: side, channels }
}

fn conv(from: usize, to: usize, (kernel, stride): Taps, activation: Activation) -> Result<Conv2d, KernelError> {
    let (padding, stride, dilation) = (PaddingRule::TensorFlowSame, [stride; 2], [1; 2]);
    let spec = Conv2dSpec { in_channels: from, out_channels: to, kernel, stride, dilation, padding, activation };
    let inputs = kernel[0] * kernel[1] * from;
    Conv2d::new(spec, &made_up(inputs * to, (inputs as f32).sqrt().recip()), &made_up(to, 0.1))
}

fn depthwise(channels: usize, (kernel, stride): Taps) -> Result<DepthwiseConv2d, KernelError> {
    let (padding, stride, dilation) = (PaddingRule::TensorFlowSame, [stride; 2], [1; 2]);
    let spec = DepthwiseConv2dSpec { channels, kernel, stride, dilation, padding, activation: Activation::Relu6 };
    let taps = kernel[0] * kernel[1];
    DepthwiseConv2d::new(spec, &made_up(taps * channels, 0.3), &made_up(channels, 0.1))
}

/// A frozen layer alone; `products` are the multiplications for one picture.
fn frozen(name: String, input: Shape, layer: Layer, products: usize, threads: usize) -> Result<Case, KernelError> {
    let network = Network::new(input, vec![layer])?;
    let one = 2.0 * products as f64;
    let pictures = threads * ((OPERATIONS / one).ceil() as usize).clamp(1, MOST_PICTURES);
    let values = made_up(pictures * input.len(), 1.0);
    let mut output = vec![0.0; pictures * network.shape_after(1).len()];
    let run = Box::new(move || network.forward(0..1, &values, pictures, &mut output, threads));
    Ok(Case { name, operations: one * pictures as f64, pictures, run })
}

/// A convolution with ReLU on a square picture.
fn conv_case(side: usize, from: usize, to: usize, taps: Taps, threads: usize) -> Result<Case, KernelError> {
    let ([rows, columns], stride) = taps;
    let name = format!("{rows}x{columns} s{stride} {from}-{to} at {side}");
    let results = side.div_ceil(stride).pow(2);
    let layer = conv(from, to, taps, Activation::Relu)?.into();
    frozen(name, square(side, from), layer, results * rows * columns * from * to, threads)
}

/// An inverted residual of MobileNetV2, at the side of its input.
fn residual_case(
    side: usize,
    from: usize,
    to: usize,
    expansion: usize,
    stride: usize,
    threads: usize,
) -> Result<Case, KernelError> {
    let (hidden, one) = (from * expansion, ([1; 2], 1));
    let expand = (expansion > 1).then(|| conv(from, hidden, one, Activation::Relu6)).transpose()?;
    let project = conv(hidden, to, one, Activation::Identity)?;
    let (before, after) = (side.pow(2), side.div_ceil(stride).pow(2));
    let expanding = if expansion > 1 { before * from * hidden } else { 0 };
    let products = expanding + after * hidden * (9 + to);
    let block =
        InvertedResidual::new(expand, depthwise(hidden, ([3; 2], stride))?, project, stride == 1 && from == to)?;
    let name = format!("block x{expansion} s{stride} {from}-{to} at {side}");
    frozen(name, square(side, from), block.into(), products, threads)
}

/// Every distinct layer of MobileNetV2 1.0 at 224 pixels (arXiv:1801.04381, table 2).
fn mobilenet_v2(threads: usize) -> Result<Vec<Case>, KernelError> {
    let mut cases = vec![conv_case(224, 3, 32, ([3; 2], 2), threads)?];
    // (expansion, channels, blocks, stride of the first)
    let table =
        [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
    let (mut side, mut channels) = (112, 32);
    for (expansion, to, blocks, first) in table {
        cases.push(residual_case(side, channels, to, expansion, first, threads)?);
        (side, channels) = (side / first, to);
        // The others of a stage are the same.
        if blocks > 1 {
            cases.push(residual_case(side, channels, to, expansion, 1, threads)?);
        }
    }
    cases.push(conv_case(side, channels, 1280, ([1; 2], 1), threads)?);
    Ok(cases)
}

/// 3×3 convolutions of VGG16 (arXiv:1409.1556).
fn vgg16(threads: usize) -> Result<Vec<Case>, KernelError> {
    let layers = [(224, 64, 64), (112, 64, 128), (112, 128, 128), (56, 256, 256), (28, 512, 512), (14, 512, 512)];
    layers.into_iter().map(|(side, from, to)| conv_case(side, from, to, ([3; 2], 1), threads)).collect()
}

/// Kernels of InceptionV3 that are not 3×3 (arXiv:1512.00567).
fn inception_v3(threads: usize) -> Result<Vec<Case>, KernelError> {
    let layers = [(35, 48, 64, [5, 5]), (17, 128, 128, [1, 7]), (17, 128, 128, [7, 1])];
    layers.into_iter().map(|(side, from, to, kernel)| conv_case(side, from, to, (kernel, 1), threads)).collect()
}

/// Depthwise convolutions alone: 3×3 of MobileNetV2, 5×5 of EfficientNet-B0 (arXiv:1905.11946).
fn depthwise_alone(threads: usize) -> Result<Vec<Case>, KernelError> {
    let layers = [(56, 144, 3, 1), (56, 144, 3, 2), (28, 240, 5, 1), (14, 672, 5, 2)];
    let case = |(side, channels, kernel, stride): (usize, usize, usize, usize)| {
        let name = format!("{kernel}x{kernel} s{stride} {channels} at {side}");
        let products = side.div_ceil(stride).pow(2) * channels * kernel * kernel;
        frozen(name, square(side, channels), depthwise(channels, ([kernel; 2], stride))?.into(), products, threads)
    };
    layers.into_iter().map(case).collect()
}

/// What a layer that learns is called with.
struct Lesson {
    step: ConvNorm,
    input: Vec<f32>,
    weights: Vec<f32>,
    /// Gamma and variance, beta and mean: `[C]` each.
    ones: Vec<f32>,
    zeros: Vec<f32>,
    /// Pictures need no gradient, so the first layer makes none.
    wants_input: bool,
    pool: BufferPool,
}

impl Lesson {
    fn new(spec: ConvNormSpec, side: usize) -> Result<Self, KernelError> {
        let input = square(side, spec.in_channels);
        let step = ConvNorm::new(spec, input)?;
        let (input, weights) = (made_up(TRAINING_BATCH * input.len(), 1.0), made_up(step.weight_count(), 0.2));
        let (ones, zeros) = (vec![1.0; spec.out_channels], vec![0.0; spec.out_channels]);
        let wants_input = spec.in_channels > 3;
        Ok(Self { step, input, weights, ones, zeros, wants_input, pool: BufferPool::new() })
    }

    /// With the statistics of the checkpoint, which is how open stages learn unless a recipe says otherwise.
    fn normalization(&self) -> Normalization<'_> {
        Normalization { gamma: &self.ones, beta: &self.zeros, statistics: Some((&self.zeros, &self.ones)) }
    }

    fn forward(&self) -> Result<Forward, KernelError> {
        self.step.forward(&self.pool, TRAINING_BATCH, &self.input, &self.weights, self.normalization())
    }

    /// The gradients that a network needs of the layer.
    fn backward(&self, convolved: &[f32], gradient: &[f32]) -> Result<(), KernelError> {
        let (batch, saved) = (TRAINING_BATCH, (convolved, &self.zeros[..], &self.ones[..]));
        let (pool, normalization) = (&self.pool, self.normalization());
        let (input, weights, wanted) = (&self.input, &self.weights, self.wants_input);
        let found = self.step.backward(pool, batch, input, weights, normalization, saved, gradient, wanted)?;
        // As in a real step: buffers go round.
        found.input.into_iter().for_each(|buffer| pool.give(buffer));
        Ok(())
    }
}

/// Forward and backward of three layers of MobileNetV2 that learn.
fn training() -> Result<Vec<Case>, KernelError> {
    let mut cases = Vec::new();
    // (what, side, from, to, kernel, stride, depthwise)
    let layers = [
        ("stem 3x3 s2 3-32 at 224", 224, 3, 32, 3, 2, false),
        ("depthwise 3x3 s1 144 at 56", 56, 144, 144, 3, 1, true),
        ("1x1 s1 64-384 at 14", 14, 64, 384, 1, 1, false),
    ];
    for (what, side, from, to, kernel, stride, depthwise) in layers {
        let spec = ConvNormSpec {
            in_channels: from,
            out_channels: to,
            kernel: [kernel; 2],
            stride,
            padding: PaddingRule::TensorFlowSame,
            depthwise,
            activation: Activation::Relu6,
            epsilon: 1e-5,
        };
        let (ahead, back) = (Lesson::new(spec, side)?, Lesson::new(spec, side)?);
        let pixels = side.div_ceil(stride).pow(2);
        let products = pixels * kernel * kernel * to * if depthwise { 1 } else { from };
        let operations = 2.0 * (products * TRAINING_BATCH) as f64;
        let Forward { output, convolved, .. } = back.forward()?;
        let gradient = made_up(output.len(), 1.0);
        let forward = Box::new(move || {
            let found = ahead.forward()?;
            [found.output, found.convolved].into_iter().for_each(|buffer| ahead.pool.give(buffer));
            Ok(())
        });
        let name = format!("forward {what}");
        cases.push(Case { name, operations, pictures: TRAINING_BATCH, run: forward });
        // The gradients of weights and of input have as many products as the layer, each.
        let back_operations = if back.wants_input { 2.0 * operations } else { operations };
        let (name, run) = (format!("backward {what}"), Box::new(move || back.backward(&convolved, &gradient)));
        cases.push(Case { name, operations: back_operations, pictures: TRAINING_BATCH, run });
    }
    Ok(cases)
}

/// Median time of a call.
fn median_seconds(case: &mut Case) -> Result<f64, KernelError> {
    let mut seconds = [0.0; CALLS];
    for second in &mut seconds {
        let start = Instant::now();
        (case.run)()?;
        *second = start.elapsed().as_secs_f64();
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[CALLS / 2])
}

/// Criterion's measurements of a group, and our table of those that its filter let through. `peak` is the greatest of
/// the groups before.
fn measure(
    criterion: &mut Criterion,
    group: &str,
    cases: Vec<Case>,
    threads: usize,
    peak: &mut f64,
) -> Result<(), KernelError> {
    let mut measured = Vec::new();
    let mut benchmarks = criterion.benchmark_group(group);
    benchmarks.sampling_mode(SamplingMode::Flat);
    for mut case in cases {
        benchmarks.throughput(Throughput::Elements(case.operations as u64));
        // An error would be a quick call: it must not be timed.
        (case.run)()?;
        let mut ran = false;
        benchmarks.bench_function(&case.name, |bencher| {
            ran = true;
            bencher.iter(&mut case.run);
        });
        if ran {
            measured.push(case);
        }
    }
    benchmarks.finish();
    // `cargo bench` gives the first; without it, or with `--test`, the benchmarks only have to run.
    let given = |name: &str| std::env::args().any(|argument| argument == name);
    if measured.is_empty() || !given("--bench") || given("--test") {
        return Ok(());
    }
    // The greatest so far, before and after every group: something else on the machine can only lower it.
    let measure_peak = || fma_peak::measure(threads, Duration::from_millis(200));
    let before = measure_peak();
    let seconds = measured.iter_mut().map(median_seconds).collect::<Result<Vec<_>, _>>()?;
    *peak = peak.max(before).max(measure_peak());
    let peak = *peak;
    println!("{group}: {} with {threads} threads, peak {:.1} GFLOP/s", instruction_set(), peak / 1e9);
    println!("| layer | ms a picture | GFLOP/s | % of peak |\n|---|---:|---:|---:|");
    for (case, seconds) in measured.iter().zip(seconds) {
        let (speed, milliseconds) = (case.operations / seconds, seconds * 1e3 / case.pictures as f64);
        println!("| {} | {milliseconds:.3} | {:.1} | {:.0} |", case.name, speed / 1e9, 100.0 * speed / peak);
    }
    println!();
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let threads: usize = match std::env::var("HEADSTART_BENCH_THREADS") {
        Ok(text) => text.parse().map_err(|_| format!("HEADSTART_BENCH_THREADS is `{text}`, not a number"))?,
        Err(_) => 1,
    };
    let threads = threads.max(1);
    // Those of the training kernels.
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut peak = 0.0;
    measure(&mut criterion, "mobilenet_v2", mobilenet_v2(threads)?, threads, &mut peak)?;
    measure(&mut criterion, "vgg16", vgg16(threads)?, threads, &mut peak)?;
    measure(&mut criterion, "inception_v3", inception_v3(threads)?, threads, &mut peak)?;
    measure(&mut criterion, "depthwise", depthwise_alone(threads)?, threads, &mut peak)?;
    measure(&mut criterion, "training", training()?, threads, &mut peak)?;
    criterion.final_summary();
    Ok(())
}
