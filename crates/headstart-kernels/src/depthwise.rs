//! Depthwise convolution: each channel has a kernel of its own.
//!
//! Works on panels of [`PANEL`] channels: rows of `[columns, PANEL]` with their zeros around them.

use crate::buffer::Buffer;
use crate::convolution::{Pass, UNUSABLE, check};
use crate::curve::{Bend, Curve};
use crate::dispatch::{InstructionSet, run_row};
use crate::error::KernelError;
use crate::product::Target;
use crate::shape::{Activation, PaddingRule, Shape, Window, volume};
use crate::simd::{Baseline, Vector};
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
/// Each of `inputs` must hold `(columns − 1) · stride + (kernel columns − 1) · dilation + 1` pixels of [`PANEL`]
/// floats, `output` must be valid for `columns`, `weights` for every tap and `bias` for one.
pub(crate) struct Row<'a> {
    /// The padded row under each kernel row.
    pub(crate) inputs: &'a [&'a [f32]],
    pub(crate) kernel_columns: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) weights: *const f32,
    pub(crate) bias: *const f32,
    pub(crate) output: *mut f32,
    pub(crate) columns: usize,
    /// Channels of the panel that are there; whole vectors beyond them are left out.
    pub(crate) channels: usize,
    pub(crate) low: f32,
    pub(crate) high: f32,
    /// Applied to the results.
    pub(crate) curve: Option<Curve>,
}

/// Rows of the largest kernel.
pub(crate) const MOST_ROWS: usize = 32;

/// Square kernels of side `K` without dilation, stride `S`: several results together, so that a loaded value serves all
/// of them that it lies under.
#[inline(always)]
unsafe fn row_fixed<T: Vector, const K: usize, const S: usize>(row: &Row<'_>) {
    // SAFETY: columns and taps stay within what the caller of the row vouches for.
    unsafe {
        let (low, high) = (T::splat(row.low), T::splat(row.high));
        let mut lane = 0;
        while lane < row.channels {
            let bias = T::load(row.bias.add(lane));
            let mut x = 0;
            // Sides are usually multiples of 7 (224 pixels) or of a power of two.
            if row.columns.is_multiple_of(7) {
                x = run_together::<T, K, S, 7>(row, x, lane, bias, low, high);
            }
            x = run_together::<T, K, S, 8>(row, x, lane, bias, low, high);
            x = run_together::<T, K, S, 4>(row, x, lane, bias, low, high);
            while x < row.columns {
                one::<T>(row, x, lane, bias, low, high);
                x += 1;
            }
            lane += T::LANES;
        }
    }
}

/// Results from `x` on, `N` at a time as long as there are so many; the first that is left.
#[inline(always)]
unsafe fn run_together<T: Vector, const K: usize, const S: usize, const N: usize>(
    row: &Row<'_>,
    mut x: usize,
    lane: usize,
    bias: T,
    low: T,
    high: T,
) -> usize {
    // SAFETY: as for `row_fixed`.
    unsafe {
        while x + N <= row.columns {
            let mut sums = [bias; N];
            for (ky, input) in row.inputs.iter().enumerate().take(K) {
                let mut weights = [bias; K];
                for (kx, weight) in weights.iter_mut().enumerate() {
                    *weight = T::load(row.weights.add((ky * K + kx) * PANEL + lane));
                }
                let start = input.as_ptr().add(x * S * PANEL + lane);
                for pixel in 0..(N - 1) * S + K {
                    let value = T::load(start.add(pixel * PANEL));
                    for (kx, weight) in weights.iter().enumerate() {
                        if pixel >= kx && (pixel - kx) % S == 0 && (pixel - kx) / S < N {
                            let sum = &mut sums[(pixel - kx) / S];
                            *sum = value.multiply_add(*weight, *sum);
                        }
                    }
                }
            }
            for (index, sum) in sums.iter().enumerate() {
                sum.clamp(low, high).store(row.output.add((x + index) * PANEL + lane));
            }
            x += N;
        }
    }
    x
}

/// Any kernel, stride and dilation.
#[inline(always)]
unsafe fn row_any<T: Vector>(row: &Row<'_>) {
    // SAFETY: as for `row_fixed`.
    unsafe {
        let (low, high) = (T::splat(row.low), T::splat(row.high));
        let mut lane = 0;
        while lane < row.channels {
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
                let value = T::load(input.as_ptr().add((x * row.stride + kx * row.dilation) * PANEL + lane));
                let weight = T::load(row.weights.add((ky * row.kernel_columns + kx) * PANEL + lane));
                sum = value.multiply_add(weight, sum);
            }
        }
        sum.clamp(low, high).store(row.output.add(x * PANEL + lane));
    }
}

macro_rules! instruction_set {
    ($name:ident, $bend:path, $(#[$attribute:meta])*, $vector:ty) => {
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
                if let Some(curve) = row.curve {
                    let (rows, columns) = (row.columns, row.channels);
                    $bend(&Bend { curve, values: row.output, rows, stride: PANEL, columns });
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
instruction_set!(row_avx512, crate::curve::bend_avx512, #[target_feature(enable = "avx512f")], std::arch::x86_64::__m512);
#[cfg(target_arch = "x86_64")]
instruction_set!(row_avx2, crate::curve::bend_avx2, #[target_feature(enable = "avx2,fma")], std::arch::x86_64::__m256);
instruction_set!(row_portable, crate::curve::bend_portable, , Baseline);

impl DepthwiseConv2d {
    /// Packs a depthwise convolution; `weights` `[rows, columns, channels]` row-major, `bias` `[channels]`.
    ///
    /// # Errors
    /// [`KernelError::Length`]; [`KernelError::Invalid`] for a number out of range or a kernel of more than 32 rows.
    pub fn new(spec: DepthwiseConv2dSpec, weights: &[f32], bias: &[f32]) -> Result<Self, KernelError> {
        if !spec.window().is_usable() || !spec.activation.is_usable() || spec.channels == 0 {
            return Err(KernelError::Invalid(UNUSABLE));
        }
        if spec.kernel[0] > MOST_ROWS {
            return Err(KernelError::Invalid("a depthwise kernel of more than 32 rows"));
        }
        let taps = volume(&spec.kernel);
        check("the kernel", volume(&[taps, spec.channels]), weights.len())?;
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

    /// Channels of a panel that are there.
    pub(crate) fn channels_of(&self, panel: usize) -> usize {
        (self.spec.channels - panel * PANEL).min(PANEL)
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
        let (low, high) = self.spec.activation.bounds();
        let row = Row {
            inputs,
            kernel_columns: self.spec.kernel[1],
            stride: self.spec.stride[1],
            dilation: self.spec.dilation[1],
            weights: self.weights[panel * taps * PANEL..][..taps * PANEL].as_ptr(),
            bias: self.bias[panel * PANEL..][..PANEL].as_ptr(),
            output: output.as_mut_ptr(),
            columns,
            channels: self.channels_of(panel),
            low,
            high,
            curve: self.spec.activation.curve(),
        };
        // SAFETY: the reach of the last result lies in every input row, weights and bias are whole panels.
        unsafe { run_row(set, &row) }
    }

    /// Floats of scratch that one picture needs: the padded panel, a row of zeros and a row of results.
    pub(crate) fn scratch(&self, input: Shape) -> usize {
        let padding = self.spec.window().padding(input.height, input.width);
        let row = volume(&[input.width + padding.left + padding.right, PANEL]);
        let results = self.output(input).map_or(0, |output| volume(&[output.width, PANEL]));
        volume(&[row, input.height + 1]).saturating_add(results)
    }

    /// Rows `rows` of the result of one picture; lengths have been checked by the network.
    pub(crate) fn forward(&self, pass: Pass<'_>, output: Target<'_>, scratch: &mut Buffer) {
        let Pass { set, shape, input, rows, .. } = pass;
        let Target { values: output, stride } = output;
        let window = self.spec.window();
        let padding = window.padding(shape.height, shape.width);
        let (_, width) = window.output(shape.height, shape.width).expect("checked when the network was built");
        let channels = self.spec.channels;
        let row_length = (shape.width + padding.left + padding.right) * PANEL;
        let (picture, rest) = scratch[..self.scratch(shape)].split_at_mut(row_length * shape.height);
        let (zeros, results) = rest.split_at_mut(row_length);
        zeros.fill(0.0);
        for panel in 0..self.panels() {
            let (first, count) = (panel * PANEL, self.channels_of(panel));
            for (row, pixels) in picture.chunks_exact_mut(row_length).zip(input.chunks_exact(shape.width * channels)) {
                fill_row(row, pixels, channels, first, padding.left);
            }
            for (index, y) in rows.clone().enumerate() {
                let under = self
                    .rows_under(y, padding.top, shape.height, zeros, |row| &picture[row * row_length..][..row_length]);
                self.row(set, panel, &under[..window.kernel[0]], results);
                for x in 0..width {
                    output[(index * width + x) * stride + first..][..count]
                        .copy_from_slice(&results[x * PANEL..][..count]);
                }
            }
        }
    }

    /// The rows of the input under the kernel at result row `y`: `row` finds one, `zeros` stands for the padding.
    pub(crate) fn rows_under<'a>(
        &self,
        y: usize,
        top: usize,
        height: usize,
        zeros: &'a [f32],
        row: impl Fn(usize) -> &'a [f32],
    ) -> [&'a [f32]; MOST_ROWS] {
        let mut rows: [&[f32]; MOST_ROWS] = [&[]; MOST_ROWS];
        for (ky, under) in rows.iter_mut().enumerate().take(self.spec.kernel[0]) {
            *under = match (y * self.spec.stride[0] + ky * self.spec.dilation[0]).checked_sub(top) {
                Some(index) if index < height => row(index),
                _ => zeros,
            };
        }
        rows
    }
}

/// One panel of a row of pixels, with zeros for the padding; channels that are not there are left as they were.
pub(crate) fn fill_row(row: &mut [f32], pixels: &[f32], channels: usize, first: usize, left: usize) {
    let count = PANEL.min(channels - first);
    clear_padding(row, left, pixels.len() / channels);
    for (to, from) in row[left * PANEL..].chunks_exact_mut(PANEL).zip(pixels.chunks_exact(channels)) {
        to[..count].copy_from_slice(&from[first..first + count]);
    }
}

/// Zeros before and after the pixels of a padded row of one panel.
pub(crate) fn clear_padding(row: &mut [f32], left: usize, width: usize) {
    row[..left * PANEL].fill(0.0);
    row[(left + width) * PANEL..].fill(0.0);
}

impl DepthwiseConv2dSpec {
    pub(crate) fn window(&self) -> Window {
        Window { kernel: self.kernel, stride: self.stride, dilation: self.dilation, padding: self.padding }
    }
}
