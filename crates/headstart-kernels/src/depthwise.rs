//! Depthwise convolution: each channel has a kernel of its own.
//!
//! Works on panels of [`PANEL`] channels: rows of `[columns, PANEL]` with their zeros around them.

use crate::buffer::Buffer;
use crate::convolution::check;
use crate::dispatch::{InstructionSet, run_row};
use crate::error::KernelError;
use crate::shape::{Activation, PaddingRule, Shape, Window};
use crate::simd::{Portable, Vector};
use crate::tile::{PANEL, pack_bias};

/// What a depthwise convolution does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DepthwiseConv2dSpec {
    /// Channels of input and result.
    pub channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Step along rows and columns.
    pub stride: [usize; 2],
    /// Distance of the kernel's taps along rows and columns.
    pub dilation: [usize; 2],
    /// Zeros around the input.
    pub padding: PaddingRule,
    /// What happens to the sums.
    pub activation: Activation,
}

/// A depthwise convolution with its weights packed.
#[derive(Debug, Clone)]
pub struct DepthwiseConv2d {
    pub(crate) spec: DepthwiseConv2dSpec,
    /// [panels][taps][PANEL]
    weights: Buffer,
    bias: Buffer,
}

/// One row of results of one panel.
///
/// # Safety
/// Each of `inputs` must be valid for `(columns − 1) · stride + (kernel columns − 1) · dilation + 1` pixels of [`PANEL`]
/// floats, `output` for `columns`, `weights` for every tap and `bias` for one.
pub(crate) struct Row<'a> {
    /// One pointer a kernel row.
    pub(crate) inputs: &'a [*const f32],
    pub(crate) kernel_columns: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) weights: *const f32,
    pub(crate) bias: *const f32,
    pub(crate) output: *mut f32,
    pub(crate) columns: usize,
    pub(crate) low: f32,
    pub(crate) high: f32,
}

/// Rows of the largest kernel.
const MOST_ROWS: usize = 16;

/// Results computed together, so that a loaded value serves several of them.
const TOGETHER: usize = 7;

/// Square kernels of side `K` without dilation, stride `S`.
#[inline(always)]
unsafe fn row_fixed<T: Vector, const K: usize, const S: usize>(row: &Row<'_>) {
    // SAFETY: columns and taps stay within what the caller of the row vouches for.
    unsafe {
        let (low, high) = (T::splat(row.low), T::splat(row.high));
        let mut lane = 0;
        while lane < PANEL {
            let bias = T::load(row.bias.add(lane));
            let mut x = 0;
            while x + TOGETHER <= row.columns {
                let mut sums = [bias; TOGETHER];
                for (ky, input) in row.inputs.iter().enumerate().take(K) {
                    let mut weights = [bias; K];
                    for (kx, weight) in weights.iter_mut().enumerate() {
                        *weight = T::load(row.weights.add((ky * K + kx) * PANEL + lane));
                    }
                    let start = input.add(x * S * PANEL + lane);
                    for pixel in 0..(TOGETHER - 1) * S + K {
                        let value = T::load(start.add(pixel * PANEL));
                        for (kx, weight) in weights.iter().enumerate() {
                            if pixel >= kx && (pixel - kx) % S == 0 && (pixel - kx) / S < TOGETHER {
                                let sum = &mut sums[(pixel - kx) / S];
                                *sum = value.multiply_add(*weight, *sum);
                            }
                        }
                    }
                }
                for (index, sum) in sums.iter().enumerate() {
                    sum.clamp(low, high).store(row.output.add((x + index) * PANEL + lane));
                }
                x += TOGETHER;
            }
            while x < row.columns {
                one::<T>(row, x, lane, bias, low, high);
                x += 1;
            }
            lane += T::LANES;
        }
    }
}

/// Any kernel, stride and dilation.
#[inline(always)]
unsafe fn row_any<T: Vector>(row: &Row<'_>) {
    // SAFETY: as for `row_fixed`.
    unsafe {
        let (low, high) = (T::splat(row.low), T::splat(row.high));
        let mut lane = 0;
        while lane < PANEL {
            let bias = T::load(row.bias.add(lane));
            for x in 0..row.columns {
                one::<T>(row, x, lane, bias, low, high);
            }
            lane += T::LANES;
        }
    }
}

/// One result, tap by tap in the order of `row_fixed`, so that both give the same bits.
#[inline(always)]
unsafe fn one<T: Vector>(row: &Row<'_>, x: usize, lane: usize, bias: T, low: T, high: T) {
    // SAFETY: as for `row_fixed`.
    unsafe {
        let mut sum = bias;
        for (ky, input) in row.inputs.iter().enumerate() {
            for kx in 0..row.kernel_columns {
                let value = T::load(input.add((x * row.stride + kx * row.dilation) * PANEL + lane));
                let weight = T::load(row.weights.add((ky * row.kernel_columns + kx) * PANEL + lane));
                sum = value.multiply_add(weight, sum);
            }
        }
        sum.clamp(low, high).store(row.output.add(x * PANEL + lane));
    }
}

macro_rules! instruction_set {
    ($name:ident, $(#[$attribute:meta])*, $vector:ty) => {
        /// One row of results.
        ///
        /// # Safety
        /// See [`Row`]; the machine must have the instruction set.
        $(#[$attribute])*
        pub(crate) unsafe fn $name(row: &Row<'_>) {
            // SAFETY: passed on to the caller.
            unsafe {
                match (row.inputs.len(), row.kernel_columns, row.dilation, row.stride) {
                    (3, 3, 1, 1) => row_fixed::<$vector, 3, 1>(row),
                    (3, 3, 1, 2) => row_fixed::<$vector, 3, 2>(row),
                    (5, 5, 1, 1) => row_fixed::<$vector, 5, 1>(row),
                    (5, 5, 1, 2) => row_fixed::<$vector, 5, 2>(row),
                    _ => row_any::<$vector>(row),
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
instruction_set!(row_avx512, #[target_feature(enable = "avx512f")], std::arch::x86_64::__m512);
#[cfg(target_arch = "x86_64")]
instruction_set!(row_avx2, #[target_feature(enable = "avx2,fma")], std::arch::x86_64::__m256);
instruction_set!(row_portable, , Portable);

impl DepthwiseConv2d {
    /// Packs a depthwise convolution; `weights` `[rows, columns, channels]` row-major, `bias` `[channels]`.
    ///
    /// # Errors
    /// [`KernelError::Length`] or [`KernelError::Invalid`].
    pub fn new(spec: DepthwiseConv2dSpec, weights: &[f32], bias: &[f32]) -> Result<Self, KernelError> {
        let taps = spec.kernel[0] * spec.kernel[1];
        if !spec.window().is_usable() || spec.channels == 0 {
            return Err(KernelError::Invalid("a convolution without kernel, stride, dilation or channels"));
        }
        if spec.kernel[0] > MOST_ROWS {
            return Err(KernelError::Invalid("a depthwise kernel of more than 16 rows"));
        }
        check("the kernel", taps * spec.channels, weights.len())?;
        check("the bias", spec.channels, bias.len())?;
        let mut packed = Buffer::zeroed(spec.channels.div_ceil(PANEL) * taps * PANEL);
        for (tap, row) in weights.chunks_exact(spec.channels).enumerate() {
            for (panel, channels) in row.chunks(PANEL).enumerate() {
                packed[(panel * taps + tap) * PANEL..][..channels.len()].copy_from_slice(channels);
            }
        }
        Ok(Self { spec, weights: packed, bias: pack_bias(bias) })
    }

    pub(crate) fn panels(&self) -> usize {
        self.spec.channels.div_ceil(PANEL)
    }

    pub(crate) fn output(&self, input: Shape) -> Option<Shape> {
        let (height, width) = self.spec.window().output(input.height, input.width)?;
        Some(Shape { height, width, channels: self.spec.channels })
    }

    /// One row of results of one panel: `inputs` are the padded rows under the kernel, `output` is `[columns, PANEL]`.
    pub(crate) fn row(&self, set: InstructionSet, panel: usize, inputs: &[&[f32]], output: &mut [f32]) {
        let (taps, columns) = (self.spec.kernel[0] * self.spec.kernel[1], output.len() / PANEL);
        let reach = (columns - 1) * self.spec.stride[1] + (self.spec.kernel[1] - 1) * self.spec.dilation[1] + 1;
        assert!(inputs.len() == self.spec.kernel[0] && inputs.iter().all(|row| row.len() >= reach * PANEL));
        let mut pointers = [std::ptr::null(); MOST_ROWS];
        for (pointer, input) in pointers.iter_mut().zip(inputs) {
            *pointer = input.as_ptr();
        }
        let (low, high) = self.spec.activation.bounds();
        let row = Row {
            inputs: &pointers[..inputs.len()],
            kernel_columns: self.spec.kernel[1],
            stride: self.spec.stride[1],
            dilation: self.spec.dilation[1],
            weights: self.weights[panel * taps * PANEL..][..taps * PANEL].as_ptr(),
            bias: self.bias[panel * PANEL..][..PANEL].as_ptr(),
            output: output.as_mut_ptr(),
            columns,
            low,
            high,
        };
        // SAFETY: the reach of the last result lies in every input row, weights and bias are whole panels.
        unsafe { run_row(set, &row) }
    }

    /// Floats of scratch that one picture needs: the padded panel, a row of zeros and a row of results.
    pub(crate) fn scratch(&self, input: Shape) -> usize {
        let padding = self.spec.window().padding(input.height, input.width);
        let width = (input.width + padding.left + padding.right) * PANEL;
        width * (input.height + 1) + self.output(input).map_or(0, |output| output.width * PANEL)
    }

    /// One picture; lengths have been checked by the network.
    pub(crate) fn forward(
        &self,
        set: InstructionSet,
        shape: Shape,
        input: &[f32],
        output: &mut [f32],
        scratch: &mut Buffer,
    ) {
        let window = self.spec.window();
        let padding = window.padding(shape.height, shape.width);
        let (height, width) = window.output(shape.height, shape.width).expect("checked when the network was built");
        let channels = self.spec.channels;
        let row_length = (shape.width + padding.left + padding.right) * PANEL;
        let length = self.scratch(shape);
        scratch.grow(length);
        let (picture, rest) = scratch[..length].split_at_mut(row_length * shape.height);
        let (zeros, results) = rest.split_at_mut(row_length);
        zeros.fill(0.0);
        for panel in 0..self.panels() {
            let first = panel * PANEL;
            let count = PANEL.min(channels - first);
            for (y, row) in picture.chunks_exact_mut(row_length).enumerate() {
                fill_row(
                    row,
                    &input[y * shape.width * channels..][..shape.width * channels],
                    channels,
                    first,
                    padding.left,
                );
            }
            for y in 0..height {
                let rows: Vec<&[f32]> = (0..window.kernel[0])
                    .map(|ky| match (y * window.stride[0] + ky * window.dilation[0]).checked_sub(padding.top) {
                        Some(row) if row < shape.height => &picture[row * row_length..][..row_length],
                        _ => &*zeros,
                    })
                    .collect();
                self.row(set, panel, &rows, results);
                for x in 0..width {
                    output[(y * width + x) * channels + first..][..count]
                        .copy_from_slice(&results[x * PANEL..][..count]);
                }
            }
        }
    }
}

/// One panel of a row of pixels, with zeros for the padding and for channels that are not there.
pub(crate) fn fill_row(row: &mut [f32], pixels: &[f32], channels: usize, first: usize, left: usize) {
    let count = PANEL.min(channels - first);
    row.fill(0.0);
    for (to, from) in row[left * PANEL..].chunks_exact_mut(PANEL).zip(pixels.chunks_exact(channels)) {
        to[..count].copy_from_slice(&from[first..first + count]);
    }
}

impl DepthwiseConv2dSpec {
    pub(crate) fn window(&self) -> Window {
        Window { kernel: self.kernel, stride: self.stride, dilation: self.dilation, padding: self.padding }
    }
}
