//! Maximum and average over windows of a map.

use crate::convolution::Pass;
use crate::dispatch::run_pixel;
use crate::error::KernelError;
use crate::product::Target;
use crate::shape::{PaddingRule, Shape, Window};
use crate::simd::{Baseline, Vector};

/// What a window is reduced to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// Its greatest value; padding does not count.
    Max,
    /// Its mean over the pixels that are there (TensorFlow, Keras).
    Average,
    /// Its mean with the padding counted as zeros (PyTorch's default).
    AverageWithPadding,
}

/// Pooling of each channel over windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2d {
    kind: PoolKind,
    window: Window,
}

/// One pixel of results: the window of pixels above it.
///
/// # Safety
/// `from` must be valid for `channels` floats at each of `rows` × `columns` pixels, `to` for `channels`.
pub(crate) struct Pixel {
    from: *const f32,
    rows: usize,
    columns: usize,
    row_stride: usize,
    channels: usize,
    to: *mut f32,
    /// What the sum is multiplied by; absent for the maximum.
    scale: Option<f32>,
}

impl Pool2d {
    /// Pooling over windows of `kernel` rows and columns.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] for a side or step of 0, or padding as wide as the window.
    pub fn new(
        kind: PoolKind,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: PaddingRule,
    ) -> Result<Self, KernelError> {
        let window = Window { kernel, stride, dilation: [1; 2], padding };
        let covers = match padding {
            PaddingRule::Explicit(padding) => {
                padding.top.max(padding.bottom) < kernel[0] && padding.left.max(padding.right) < kernel[1]
            }
            PaddingRule::TensorFlowSame => true,
        };
        if !window.is_usable() || !covers {
            return Err(KernelError::Invalid("pooling whose window, stride or padding is out of range"));
        }
        Ok(Self { kind, window })
    }

    pub(crate) fn output(&self, input: Shape) -> Option<Shape> {
        let (height, width) = self.window.output(input.height, input.width)?;
        Some(Shape { height, width, channels: input.channels })
    }

    /// Rows of the result of one picture; lengths have been checked by the network.
    pub(crate) fn forward(&self, pass: Pass<'_>, output: Target<'_>) {
        let Pass { set, shape, input, rows, .. } = pass;
        let padding = self.window.padding(shape.height, shape.width);
        let (_, width) = self.window.output(shape.height, shape.width).expect("checked when the network was built");
        let channels = shape.channels;
        assert!(input.len() == shape.len());
        assert!(output.values.len() >= (rows.len() * width - 1) * output.stride + channels);
        // First pixel and number of pixels under the window along an axis.
        let under = |axis: usize, at: usize, before: usize, side: usize| {
            let from = at * self.window.stride[axis];
            let (start, end) = (from.saturating_sub(before), (from + self.window.kernel[axis] - before).min(side));
            (start, end - start)
        };
        let area = (self.window.kernel[0] * self.window.kernel[1]) as f32;
        for (index, y) in rows.enumerate() {
            let (top, tall) = under(0, y, padding.top, shape.height);
            for x in 0..width {
                let (left, wide) = under(1, x, padding.left, shape.width);
                let pixel = Pixel {
                    from: input[(top * shape.width + left) * channels..].as_ptr(),
                    rows: tall,
                    columns: wide,
                    row_stride: shape.width * channels,
                    channels,
                    to: output.values[(index * width + x) * output.stride..].as_mut_ptr(),
                    scale: match self.kind {
                        PoolKind::Max => None,
                        PoolKind::Average => Some(1.0 / (tall * wide) as f32),
                        PoolKind::AverageWithPadding => Some(1.0 / area),
                    },
                };
                // SAFETY: the window is cut at the sides of the picture; the assert keeps results in `output`.
                unsafe { run_pixel(set, &pixel) }
            }
        }
    }
}

/// # Safety
/// See [`Pixel`]; the machine must have the instruction set of `T`.
#[inline(always)]
unsafe fn pixel<T: Vector>(pixel: &Pixel) {
    let mut channel = 0;
    while channel < pixel.channels {
        let count = (pixel.channels - channel).min(T::LANES);
        // SAFETY: `count` channels of every pixel of the window and of the result are there.
        unsafe {
            let mut result = T::splat(if pixel.scale.is_some() { 0.0 } else { f32::NEG_INFINITY });
            for row in 0..pixel.rows {
                let start = pixel.from.add(row * pixel.row_stride + channel);
                for column in 0..pixel.columns {
                    let value = T::load_first(start.add(column * pixel.channels), count);
                    result = if pixel.scale.is_some() { result.add(value) } else { result.max(value) };
                }
            }
            if let Some(scale) = pixel.scale {
                result = result.multiply(T::splat(scale));
            }
            result.store_first(pixel.to.add(channel), count);
        }
        channel += T::LANES;
    }
}

macro_rules! instruction_set {
    ($name:ident, $(#[$attribute:meta])*, $vector:ty) => {
        /// One pixel of results.
        ///
        /// # Safety
        /// See [`Pixel`]; the machine must have the instruction set.
        $(#[$attribute])*
        pub(crate) unsafe fn $name(window: &Pixel) {
            // SAFETY: passed on to the caller.
            unsafe { pixel::<$vector>(window) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
instruction_set!(pixel_avx512, #[target_feature(enable = "avx512f")], std::arch::x86_64::__m512);
#[cfg(target_arch = "x86_64")]
instruction_set!(pixel_avx2, #[target_feature(enable = "avx2,fma")], std::arch::x86_64::__m256);
instruction_set!(pixel_portable, , Baseline);
