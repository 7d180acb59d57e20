//! Convolution, normalization and activation while they learn: one fused step forward, one back.
//!
//! Everything is `[B, H, W, C]`. Forward keeps what the convolution gave before normalization; backward turns the gradient
//! of a picture into those of input, kernel and normalization while the picture is in the cache. Threads take whole
//! pictures; sums over pictures are made in a fixed number of shards and added in their order, so the bytes do not depend
//! on the number of threads.

mod adam;
mod chain;
mod dense;
mod depthwise;
mod normalization;
mod pool;

pub use adam::{AdamStep, adam_step};
pub use chain::{Chain, LayerArguments, LayerGradients};
pub use pool::BufferPool;

use rayon::prelude::*;

use crate::buffer::Buffer;
use crate::convolution::{UNUSABLE, check};
use crate::dispatch::{InstructionSet, chosen};
use crate::error::KernelError;
use crate::shape::{Activation, Padding, PaddingRule, Shape, Window, volume};
use normalization::{Affine, Sums};

/// Parts into which a batch is cut for sums over its pictures, whatever the number of threads.
const SHARDS: usize = 8;

/// Shape of a convolution with normalization and activation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvNormSpec {
    /// Channels of its input.
    pub in_channels: usize,
    /// Channels of its result.
    pub out_channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Step along rows and columns.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: PaddingRule,
    /// Each channel has a kernel of its own.
    pub depthwise: bool,
    /// What happens at the end.
    pub activation: Activation,
    /// Added to the variance.
    pub epsilon: f32,
}

/// What is normalized with. `mean` and `variance` are absent where those of the batch are used.
#[derive(Debug, Clone, Copy)]
pub struct Normalization<'a> {
    /// `[C]`
    pub gamma: &'a [f32],
    /// `[C]`
    pub beta: &'a [f32],
    /// `[C]` each.
    pub statistics: Option<(&'a [f32], &'a [f32])>,
}

/// Results of [`ConvNorm::forward`].
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// `[B, H', W', C]`, the result.
    pub output: Vec<f32>,
    /// `[B, H', W', C]` before normalization: what backward needs.
    pub convolved: Vec<f32>,
    /// `[C]`, the mean that was used.
    pub mean: Vec<f32>,
    /// `[C]`, the variance that was used (of a batch: the biased one).
    pub variance: Vec<f32>,
}

/// Results of [`ConvNorm::backward`].
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// `[B, H, W, C]`, if it was asked for.
    pub input: Option<Vec<f32>>,
    /// As the weights: `[out, in, rows, columns]`, or `[C, 1, rows, columns]`.
    pub weights: Vec<f32>,
    /// `[C]`
    pub gamma: Vec<f32>,
    /// `[C]`
    pub beta: Vec<f32>,
}

/// A convolution with normalization and activation on inputs of one shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvNorm {
    spec: ConvNormSpec,
    input: Shape,
    output: Shape,
    padding: Padding,
    set: InstructionSet,
}

/// The convolution alone, with its weights laid out for one call.
enum Kernel {
    Dense(dense::Dense),
    Depthwise(depthwise::Depthwise),
}

/// Buffers of one thread or shard.
#[derive(Default)]
struct Scratch {
    padded: Buffer,
    spread: Buffer,
    gradient: Buffer,
}

/// Sums of one shard of pictures.
struct Partial {
    weights: Vec<f32>,
    sums: Sums,
}

impl ConvNorm {
    /// Checks a convolution for inputs of `input` `[H, W, C]`, on the widest instruction set of this machine.
    ///
    /// # Errors
    /// [`KernelError::Invalid`], [`KernelError::Channels`], [`KernelError::TooSmall`].
    pub fn new(spec: ConvNormSpec, input: Shape) -> Result<Self, KernelError> {
        Self::for_instruction_set(spec, input, chosen())
    }

    /// [`ConvNorm::new`] on one of [`InstructionSet::available`].
    ///
    /// # Errors
    /// As [`ConvNorm::new`].
    pub fn for_instruction_set(spec: ConvNormSpec, input: Shape, set: InstructionSet) -> Result<Self, KernelError> {
        let window = spec.window();
        if !InstructionSet::available().contains(&set) {
            return Err(KernelError::Invalid("this machine lacks the instruction set"));
        }
        if !window.is_usable() || !spec.activation.is_usable() || spec.in_channels * spec.out_channels == 0 {
            return Err(KernelError::Invalid(UNUSABLE));
        }
        if spec.activation == Activation::Silu {
            return Err(KernelError::Invalid("an activation that has no backward here"));
        }
        if input.channels != spec.in_channels || (spec.depthwise && spec.in_channels != spec.out_channels) {
            return Err(KernelError::Channels { layer: 0, expected: spec.in_channels, found: input.channels });
        }
        let padding = window.padding(input.height, input.width);
        if spec.depthwise && spec.kernel[0] != spec.kernel[1] {
            return Err(KernelError::Invalid("a depthwise kernel that is not square has no backward here"));
        }
        if padding.top.max(padding.bottom) >= spec.kernel[0] || padding.left.max(padding.right) >= spec.kernel[1] {
            return Err(KernelError::Invalid("padding as wide as the kernel or wider"));
        }
        let (height, width) = window.output(input.height, input.width).ok_or(KernelError::TooSmall {
            layer: 0,
            height: input.height,
            width: input.width,
        })?;
        if input.is_empty() || height * width == 0 {
            return Err(KernelError::Invalid("an input without pixels"));
        }
        Ok(Self { spec, input, output: Shape { height, width, channels: spec.out_channels }, padding, set })
    }

    /// Shape of one picture of the result.
    pub fn output(&self) -> Shape {
        self.output
    }

    /// Number of weights: `[out, in, rows, columns]`, or `[C, 1, rows, columns]`.
    pub fn weight_count(&self) -> usize {
        let inputs = if self.spec.depthwise { 1 } else { self.spec.in_channels };
        volume(&[self.spec.out_channels, inputs, self.spec.kernel[0], self.spec.kernel[1]])
    }

    /// `input` `[B, H, W, C]` → the result and what backward needs, in buffers from `pool`.
    ///
    /// # Errors
    /// [`KernelError::Length`].
    pub fn forward(
        &self,
        pool: &BufferPool,
        batch: usize,
        input: &[f32],
        weights: &[f32],
        normalization: Normalization<'_>,
    ) -> Result<Forward, KernelError> {
        self.check(batch, input, weights, normalization)?;
        let kernel = self.kernel(weights)?;
        let size = self.output.len();
        let mut output = pool.take(batch * size);
        let mut convolved = pool.take(batch * size);
        if let Some((mean, variance)) = normalization.statistics {
            let affine = Affine::new(normalization.gamma, normalization.beta, mean, variance, &self.spec);
            let pictures = input.par_chunks_exact(self.input.len()).zip(convolved.par_chunks_exact_mut(size));
            pictures.zip(output.par_chunks_exact_mut(size)).for_each_init(
                Scratch::default,
                |scratch, ((input, convolved), output)| {
                    self.convolve(&kernel, input, convolved, scratch);
                    normalization::apply(self.set, &affine, convolved, output);
                },
            );
            return Ok(Forward { output, convolved, mean: mean.to_vec(), variance: variance.to_vec() });
        }
        let pictures = input.par_chunks_exact(self.input.len()).zip(convolved.par_chunks_exact_mut(size));
        pictures.for_each_init(Scratch::default, |scratch, (input, convolved)| {
            self.convolve(&kernel, input, convolved, scratch);
        });
        let (mean, variance) = normalization::statistics(&convolved, size, self.spec.out_channels);
        let affine = Affine::new(normalization.gamma, normalization.beta, &mean, &variance, &self.spec);
        let pictures = convolved.par_chunks_exact(size).zip(output.par_chunks_exact_mut(size));
        pictures.for_each(|(convolved, output)| normalization::apply(self.set, &affine, convolved, output));
        Ok(Forward { output, convolved, mean, variance })
    }

    /// Gradients from that of the result, `[B, H', W', C]`. `forward` is what [`ConvNorm::forward`] gave for the same
    /// arguments (its `output` is not used); `wants_input` asks for the gradient of the input.
    ///
    /// # Errors
    /// [`KernelError::Length`].
    #[expect(clippy::too_many_arguments, reason = "each is a tensor of the step")]
    pub fn backward(
        &self,
        pool: &BufferPool,
        batch: usize,
        input: &[f32],
        weights: &[f32],
        normalization: Normalization<'_>,
        (convolved, mean, variance): (&[f32], &[f32], &[f32]),
        gradient: &[f32],
        wants_input: bool,
    ) -> Result<Gradients, KernelError> {
        self.check(batch, input, weights, normalization)?;
        let size = self.output.len();
        check("the convolved pictures", batch * size, convolved.len())?;
        check("the gradient", batch * size, gradient.len())?;
        check("the mean", self.spec.out_channels, mean.len())?;
        check("the variance", self.spec.out_channels, variance.len())?;
        let mut affine = Affine::new(normalization.gamma, normalization.beta, mean, variance, &self.spec);
        if normalization.statistics.is_none() {
            // The statistics are functions of the batch: two more sums, which every picture's gradient needs.
            let sums: Vec<Sums> = convolved
                .par_chunks_exact(size)
                .zip(gradient.par_chunks_exact(size))
                .map(|(convolved, gradient)| {
                    let mut sums = Sums::new(self.spec.out_channels);
                    normalization::sum_back(self.set, &affine, convolved, gradient, &mut sums);
                    sums
                })
                .collect();
            let total = Sums::total(sums.iter(), self.spec.out_channels);
            affine.correct(&total, batch * self.output.height * self.output.width);
        }
        let kernel = self.kernel(weights)?;
        let back = wants_input.then(|| kernel.transposed(self, weights)).transpose()?;
        let mut input_gradient = wants_input.then(|| pool.take(input.len()));
        // Shards of neighbouring pictures: (input, convolved, gradient, gradient of the input).
        let shard = batch.div_ceil(SHARDS).max(1);
        let run = |index: usize, mut inputs: Option<&mut [f32]>| {
            let mut scratch = Scratch::default();
            let mut partial = Partial::new(self);
            for picture in index * shard..((index + 1) * shard).min(batch) {
                let here = &input[picture * self.input.len()..][..self.input.len()];
                let (convolved, gradient) = (&convolved[picture * size..][..size], &gradient[picture * size..][..size]);
                scratch.gradient.room(size);
                let mut inner = std::mem::take(&mut scratch.gradient);
                normalization::back(self.set, &affine, convolved, gradient, &mut inner[..size], &mut partial.sums);
                kernel.add_weight_gradient(self, here, &inner[..size], &mut partial.weights, &mut scratch);
                if let (Some(back), Some(inputs)) = (&back, &mut inputs) {
                    let at = (picture - index * shard) * self.input.len();
                    back.run(self, &inner[..size], &mut inputs[at..][..self.input.len()], &mut scratch);
                }
                scratch.gradient = inner;
            }
            partial
        };
        let partials: Vec<Partial> = match &mut input_gradient {
            Some(all) => all
                .par_chunks_mut(shard * self.input.len())
                .enumerate()
                .map(|(index, inputs)| run(index, Some(inputs)))
                .collect(),
            None => (0..batch.div_ceil(shard)).into_par_iter().map(|index| run(index, None)).collect(),
        };
        let (weights, gamma, beta) = Partial::total(partials.iter(), self, &kernel, &affine);
        Ok(Gradients { input: input_gradient, weights, gamma, beta })
    }

    fn convolve(&self, kernel: &Kernel, input: &[f32], convolved: &mut [f32], scratch: &mut Scratch) {
        match kernel {
            Kernel::Dense(dense) => dense.run(self.set, self.input, input, convolved, &mut scratch.padded),
            Kernel::Depthwise(depthwise) => {
                depthwise.run(self.set, self.input, self.output, self.corner(), self.spec.stride, input, convolved);
            }
        }
    }

    /// Rows and columns of zeros before the picture.
    fn corner(&self) -> [usize; 2] {
        [self.padding.top, self.padding.left]
    }

    fn kernel(&self, weights: &[f32]) -> Result<Kernel, KernelError> {
        Ok(if self.spec.depthwise {
            Kernel::Depthwise(depthwise::Depthwise::new(weights, self.spec.out_channels, self.spec.kernel[0], false))
        } else {
            Kernel::Dense(dense::Dense::forward(&self.spec, weights)?)
        })
    }

    fn check(
        &self,
        batch: usize,
        input: &[f32],
        weights: &[f32],
        normalization: Normalization<'_>,
    ) -> Result<(), KernelError> {
        check("the input", volume(&[batch, self.input.len()]), input.len())?;
        self.check_arguments(weights, normalization)
    }

    fn check_arguments(&self, weights: &[f32], normalization: Normalization<'_>) -> Result<(), KernelError> {
        check("the kernel", self.weight_count(), weights.len())?;
        check("gamma", self.spec.out_channels, normalization.gamma.len())?;
        check("beta", self.spec.out_channels, normalization.beta.len())?;
        if let Some((mean, variance)) = normalization.statistics {
            check("the mean", self.spec.out_channels, mean.len())?;
            check("the variance", self.spec.out_channels, variance.len())?;
        }
        Ok(())
    }

    /// The gradient of a result with `stride − 1` zeros between its values.
    fn spread<'a>(&self, gradient: &'a [f32], spread: &'a mut Buffer) -> (&'a [f32], Shape) {
        let (stride, from) = (self.spec.stride, self.output);
        if stride == 1 {
            return (gradient, from);
        }
        let to = Shape {
            height: (from.height - 1) * stride + 1,
            width: (from.width - 1) * stride + 1,
            channels: from.channels,
        };
        let spread = spread.room(to.len());
        // Values go to the same places for every picture, so the zeros between them stay.
        for (y, row) in gradient.chunks_exact(from.width * from.channels).enumerate() {
            for (x, pixel) in row.chunks_exact(from.channels).enumerate() {
                let at = (y * stride * to.width + x * stride) * to.channels;
                spread[at..][..to.channels].copy_from_slice(pixel);
            }
        }
        (spread, to)
    }
}

impl Kernel {
    /// The convolution that carries a gradient back to the input.
    fn transposed(&self, step: &ConvNorm, weights: &[f32]) -> Result<Kernel, KernelError> {
        Ok(match self {
            Self::Dense(_) => Self::Dense(dense::Dense::transposed(step, weights)?),
            Self::Depthwise(_) => {
                Self::Depthwise(depthwise::Depthwise::new(weights, step.spec.out_channels, step.spec.kernel[0], true))
            }
        })
    }

    /// Carries the gradient of one picture back to its input; `self` is transposed.
    fn run(&self, step: &ConvNorm, gradient: &[f32], input: &mut [f32], scratch: &mut Scratch) {
        let (gradient, shape) = step.spread(gradient, &mut scratch.spread);
        match self {
            Self::Dense(dense) => dense.run(step.set, shape, gradient, input, &mut scratch.padded),
            Self::Depthwise(depthwise) => {
                let corner = [step.spec.kernel[0] - 1 - step.padding.top, step.spec.kernel[1] - 1 - step.padding.left];
                depthwise.run(step.set, shape, step.input, corner, 1, gradient, input);
            }
        }
    }

    fn add_weight_gradient(
        &self,
        step: &ConvNorm,
        input: &[f32],
        gradient: &[f32],
        weights: &mut [f32],
        scratch: &mut Scratch,
    ) {
        match self {
            Self::Dense(_) => dense::add_weight_gradient(step, input, gradient, weights, scratch),
            Self::Depthwise(_) => {
                depthwise::add_weight_gradient(step, input, gradient, weights);
            }
        }
    }

    /// A gradient in our own order (tap, in, out) in the order in which weights are given.
    fn as_given(&self, step: &ConvNorm, ours: Vec<f32>) -> Vec<f32> {
        let taps = step.spec.kernel[0] * step.spec.kernel[1];
        let inputs = if step.spec.depthwise { 1 } else { step.spec.in_channels };
        let outputs = step.spec.out_channels;
        let mut given = vec![0.0; ours.len()];
        for (tap, rows) in ours.chunks_exact(inputs * outputs).enumerate() {
            for (input, row) in rows.chunks_exact(outputs).enumerate() {
                for (output, value) in row.iter().enumerate() {
                    given[(output * inputs + input) * taps + tap] = *value;
                }
            }
        }
        given
    }
}

impl ConvNormSpec {
    fn window(&self) -> Window {
        Window { kernel: self.kernel, stride: [self.stride; 2], dilation: [1; 2], padding: self.padding }
    }
}
