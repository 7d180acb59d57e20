//! Dense convolution while it learns: forward and back on the frozen tile, the kernel's gradient as products of matrices.

use gemm::Parallelism;

use super::{ConvNorm, ConvNormSpec, Scratch};
use crate::buffer::Buffer;
use crate::convolution::{Conv2d, Conv2dSpec, Pass, fill_padded};
use crate::dispatch::InstructionSet;
use crate::error::KernelError;
use crate::product::Target;
use crate::shape::{Activation, Padding, PaddingRule, Shape};

/// A convolution without bias or activation, packed for this step.
pub(super) struct Dense(Conv2d);

impl Dense {
    /// `weights` `[out, in, k, k]`.
    pub(super) fn forward(spec: &ConvNormSpec, weights: &[f32]) -> Result<Self, KernelError> {
        let (inputs, outputs, taps) = (spec.in_channels, spec.out_channels, spec.kernel[0] * spec.kernel[1]);
        let mut rows = vec![0.0; weights.len()]; // [k, k, in, out]
        for tap in 0..taps {
            for (input, row) in rows[tap * inputs * outputs..].chunks_exact_mut(outputs).take(inputs).enumerate() {
                let column = weights[input * taps + tap..].iter().step_by(inputs * taps);
                row.iter_mut().zip(column).for_each(|(to, from)| *to = *from);
            }
        }
        Self::packed(spec, inputs, outputs, spec.stride, spec.padding, &rows)
    }

    /// The convolution that carries a gradient, spread by the stride, back to the input: kernel turned round.
    pub(super) fn transposed(step: &ConvNorm, weights: &[f32]) -> Result<Self, KernelError> {
        let spec = &step.spec;
        let (inputs, outputs, taps) = (spec.in_channels, spec.out_channels, spec.kernel[0] * spec.kernel[1]);
        let mut rows = vec![0.0; weights.len()]; // [k, k, out, in]
        for tap in 0..taps {
            let turned = &mut rows[(taps - 1 - tap) * inputs * outputs..][..inputs * outputs];
            let across = weights[tap..].iter().step_by(taps);
            turned.iter_mut().zip(across).for_each(|(to, from)| *to = *from);
        }
        let reach = spec.kernel.map(|side| side - 1);
        // As many zeros behind as bring the result to the size of the input; rows that the stride skipped are among them.
        let behind = |input: usize, output: usize, before: usize| input + before - ((output - 1) * spec.stride + 1);
        let padding = Padding {
            top: reach[0] - step.padding.top,
            bottom: behind(step.input.height, step.output.height, step.padding.top),
            left: reach[1] - step.padding.left,
            right: behind(step.input.width, step.output.width, step.padding.left),
        };
        Self::packed(spec, outputs, inputs, 1, PaddingRule::Explicit(padding), &rows)
    }

    fn packed(
        spec: &ConvNormSpec,
        in_channels: usize,
        out_channels: usize,
        stride: usize,
        padding: PaddingRule,
        rows: &[f32],
    ) -> Result<Self, KernelError> {
        let spec = Conv2dSpec {
            in_channels,
            out_channels,
            kernel: spec.kernel,
            stride: [stride; 2],
            dilation: [1; 2],
            padding,
            activation: Activation::Identity,
        };
        Ok(Self(Conv2d::new(spec, rows, &vec![0.0; out_channels])?))
    }

    /// One picture.
    pub(super) fn run(
        &self,
        set: InstructionSet,
        shape: Shape,
        input: &[f32],
        output: &mut [f32],
        scratch: &mut Buffer,
    ) {
        scratch.room(self.0.scratch(shape));
        let rows = self.0.output(shape).map_or(0, |output| output.height);
        let target = Target { values: output, stride: self.0.spec.out_channels };
        self.0.forward(Pass { set, shape, input, residual: None, rows: 0..rows }, target, scratch);
    }
}

/// Adds one picture's part to `weights` `[k, k, in, out]`: for each tap, inputs under it transposed times gradients.
pub(super) fn add_weight_gradient(
    step: &ConvNorm,
    input: &[f32],
    gradient: &[f32],
    weights: &mut [f32],
    scratch: &mut Scratch,
) {
    let (spec, shape, result) = (&step.spec, step.input, step.output);
    let (inputs, outputs) = (spec.in_channels, spec.out_channels);
    if spec.kernel == [1; 2] && spec.stride == 1 && step.padding == Padding::default() {
        add_product((input, inputs), (gradient, outputs), shape.height * shape.width, weights, inputs, outputs);
        return;
    }
    let padding = step.padding;
    let padded_width = shape.width + padding.left + padding.right;
    let padded_height = shape.height + padding.top + padding.bottom;
    let padded = scratch.padded.room(padded_height * padded_width * inputs);
    fill_padded(padded, input, 0, padding, shape, padded_width);
    let tap = |ky: usize, kx: usize| (ky * padded_width + kx) * inputs;
    if spec.stride > 1 {
        for (y, row) in gradient.chunks_exact(result.width * outputs).enumerate() {
            let under = &padded[y * spec.stride * padded_width * inputs..];
            for (index, weights) in weights.chunks_exact_mut(inputs * outputs).enumerate() {
                let rows = &under[tap(index / spec.kernel[1], index % spec.kernel[1])..];
                add_product((rows, spec.stride * inputs), (row, outputs), result.width, weights, inputs, outputs);
            }
        }
        return;
    }
    // Gradients on rows as wide as the padded picture, zeros behind them: one long product a tap.
    let count = (result.height - 1) * padded_width + result.width;
    let wide = scratch.spread.room(count * outputs);
    for (y, row) in gradient.chunks_exact(result.width * outputs).enumerate() {
        let rest = &mut wide[y * padded_width * outputs..];
        rest[..row.len()].copy_from_slice(row);
        let end = rest.len().min(padded_width * outputs);
        rest[row.len()..end].fill(0.0);
    }
    for (index, weights) in weights.chunks_exact_mut(inputs * outputs).enumerate() {
        let rows = &padded[tap(index / spec.kernel[1], index % spec.kernel[1])..];
        add_product((rows, inputs), (wide, outputs), count, weights, inputs, outputs);
    }
}

/// `sum` `[m, n]` += `left` `[count, m]` transposed · `right` `[count, n]`; each with the floats from row to row.
fn add_product(
    (left, left_row): (&[f32], usize),
    (right, right_row): (&[f32], usize),
    count: usize,
    sum: &mut [f32],
    m: usize,
    n: usize,
) {
    assert!(
        left.len() >= (count - 1) * left_row + m && right.len() >= (count - 1) * right_row + n && sum.len() == m * n
    );
    // SAFETY: the assert keeps every row of both factors and the sum in their slices.
    unsafe {
        gemm::gemm(
            m,
            n,
            count,
            sum.as_mut_ptr(),
            1,
            n as isize,
            true,
            left.as_ptr(),
            left_row as isize,
            1,
            right.as_ptr(),
            1,
            right_row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
