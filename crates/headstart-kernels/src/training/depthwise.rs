//! Depthwise convolution while it learns, straight on `[H, W, C]`: a few channels at a time over the whole picture.

use super::ConvNorm;
use crate::dispatch::InstructionSet;
use crate::shape::Shape;
use crate::simd::{Baseline, Vector};

/// A depthwise kernel laid out `[tap][C]`.
pub(super) struct Depthwise {
    taps: Vec<f32>,
    kernel: usize,
}

/// One picture through a kernel, or one picture's part of the kernel's gradient.
struct Job<'a> {
    kernel: usize,
    stride: usize,
    /// Zeros above and before the input.
    corner: [usize; 2],
    input: &'a [f32],
    shape: Shape,
    /// The result, or its gradient.
    result: Shape,
}

impl Depthwise {
    /// `weights` `[C, 1, k, k]`, turned round for the way back.
    pub(super) fn new(weights: &[f32], channels: usize, kernel: usize, turned: bool) -> Self {
        let count = kernel * kernel;
        let mut taps = vec![0.0; weights.len()];
        for (channel, values) in weights.chunks_exact(count).enumerate() {
            for (tap, value) in values.iter().enumerate() {
                let tap = if turned { count - 1 - tap } else { tap };
                taps[tap * channels + channel] = *value;
            }
        }
        Self { taps, kernel }
    }

    /// One picture.
    #[expect(clippy::too_many_arguments, reason = "shapes and slices of both sides")]
    pub(super) fn run(
        &self,
        set: InstructionSet,
        shape: Shape,
        result: Shape,
        corner: [usize; 2],
        stride: usize,
        input: &[f32],
        output: &mut [f32],
    ) {
        assert!(input.len() == shape.len() && output.len() == result.len() && shape.channels == result.channels);
        assert_eq!(self.taps.len(), self.kernel * self.kernel * shape.channels);
        let job = Job { kernel: self.kernel, stride, corner, input, shape, result };
        // SAFETY: lengths are those of the shapes; a step only has a `set` that this machine has.
        unsafe {
            match set {
                #[cfg(target_arch = "x86_64")]
                InstructionSet::Avx512 => forward_avx512(&job, &self.taps, output),
                #[cfg(target_arch = "x86_64")]
                InstructionSet::Avx2 => forward_avx2(&job, &self.taps, output),
                _ => forward_portable(&job, &self.taps, output),
            }
        }
    }
}

/// Adds one picture's part to `weights` `[tap][C]`.
pub(super) fn add_weight_gradient(step: &ConvNorm, input: &[f32], gradient: &[f32], weights: &mut [f32]) {
    let job = Job {
        kernel: step.spec.kernel[0],
        stride: step.spec.stride,
        corner: step.corner(),
        input,
        shape: step.input,
        result: step.output,
    };
    assert!(input.len() == job.shape.len() && gradient.len() == job.result.len());
    assert_eq!(weights.len(), job.kernel * job.kernel * job.shape.channels);
    // SAFETY: as in `run`.
    unsafe {
        match step.set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => weight_avx512(&job, gradient, weights),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => weight_avx2(&job, gradient, weights),
            _ => weight_portable(&job, gradient, weights),
        }
    }
}

impl Job<'_> {
    /// Taps whose input lies in the picture, for a result at `at` along an axis of `length` pixels.
    #[inline(always)]
    fn taps(&self, at: usize, before: usize, length: usize) -> (usize, usize) {
        let start = at * self.stride;
        (before.saturating_sub(start).min(self.kernel), (length + before).saturating_sub(start).min(self.kernel))
    }

    /// Columns of the result under which every tap lies in the picture.
    fn inner_columns(&self) -> (usize, usize) {
        let first = self.corner[1].div_ceil(self.stride).min(self.result.width);
        let room = self.shape.width + self.corner[1];
        let end = room.checked_sub(self.kernel).map_or(0, |reach| reach / self.stride + 1);
        (first, end.clamp(first, self.result.width))
    }

    /// The input under the first tap of a result, which may lie outside of the picture.
    #[inline(always)]
    fn under(&self, y: usize, x: usize) -> *const f32 {
        let row = (y * self.stride).wrapping_sub(self.corner[0]).wrapping_mul(self.shape.width);
        let pixel = row.wrapping_add((x * self.stride).wrapping_sub(self.corner[1]));
        self.input.as_ptr().wrapping_add(pixel.wrapping_mul(self.shape.channels))
    }

    fn row_stride(&self) -> usize {
        self.shape.width * self.shape.channels
    }
}

/// Loads `count` lanes, all of them where `FULL`.
#[inline(always)]
unsafe fn load<T: Vector, const FULL: bool>(from: *const f32, count: usize) -> T {
    // SAFETY: passed on to the caller.
    unsafe { if FULL { T::load(from) } else { T::load_first(from, count) } }
}

/// Results that share the inputs that they are read from.
const TOGETHER: usize = 4;

/// Channels `at..at + count` of row `y` of the result. `K` and `S` are the kernel's side and the stride, or 0 when they
/// are only known at run time.
#[inline(always)]
unsafe fn forward<T: Vector, const K: usize, const S: usize, const FULL: bool>(
    job: &Job<'_>,
    taps: &[f32],
    output: &mut [f32],
    y: usize,
    (at, count): (usize, usize),
) {
    let (channels, row) = (job.shape.channels, job.row_stride());
    let (top, bottom) = job.taps(y, job.corner[0], job.shape.height);
    let (first, end) = if K == 0 { (0, 0) } else { job.inner_columns() };
    // SAFETY: taps are cut to those that lie in the picture, channels `at..at + count` are there.
    unsafe {
        let to = output.as_mut_ptr().add(y * job.result.width * channels + at);
        let store = |sum: T, x: usize| {
            let to = to.wrapping_add(x * channels);
            if FULL { sum.store(to) } else { sum.store_first(to, count) }
        };
        let mut x = 0;
        while x < job.result.width {
            let from = job.under(y, x).wrapping_add(at);
            if K != 0 && S != 0 && x >= first && x + TOGETHER <= end {
                let mut sums = [T::splat(0.0); TOGETHER];
                for ky in top..bottom {
                    let mut weights = [T::splat(0.0); K];
                    for (kx, weight) in weights.iter_mut().enumerate() {
                        *weight = load::<T, FULL>(taps.as_ptr().add((ky * K + kx) * channels + at), count);
                    }
                    for pixel in 0..(TOGETHER - 1) * S + K {
                        let value = load::<T, FULL>(from.wrapping_add(ky * row + pixel * channels), count);
                        for (kx, weight) in weights.iter().enumerate() {
                            if pixel >= kx && (pixel - kx) % S == 0 && (pixel - kx) / S < TOGETHER {
                                let sum = &mut sums[(pixel - kx) / S];
                                *sum = value.multiply_add(*weight, *sum);
                            }
                        }
                    }
                }
                for (index, sum) in sums.into_iter().enumerate() {
                    store(sum, x + index);
                }
                x += TOGETHER;
                continue;
            }
            let (left, right) = job.taps(x, job.corner[1], job.shape.width);
            let mut sum = T::splat(0.0);
            for ky in top..bottom {
                for kx in left..right {
                    let value = load::<T, FULL>(from.wrapping_add(ky * row + kx * channels), count);
                    let weight = load::<T, FULL>(taps.as_ptr().add((ky * job.kernel + kx) * channels + at), count);
                    sum = value.multiply_add(weight, sum);
                }
            }
            store(sum, x);
            x += 1;
        }
    }
}

/// Adds the part of row `y` of the result to channels `at..at + count` of the kernel's gradient.
#[inline(always)]
unsafe fn weight<T: Vector, const K: usize, const S: usize, const FULL: bool>(
    job: &Job<'_>,
    gradient: &[f32],
    weights: &mut [f32],
    y: usize,
    (at, count): (usize, usize),
) {
    let (channels, row) = (job.shape.channels, job.row_stride());
    let (top, bottom) = job.taps(y, job.corner[0], job.shape.height);
    let (first, end) = if K == 0 { (0, 0) } else { job.inner_columns() };
    // SAFETY: as in `forward`.
    unsafe {
        let back = gradient.as_ptr().add(y * job.result.width * channels + at);
        for ky in top..bottom {
            let mut sums = [T::splat(0.0); K];
            let mut x = 0;
            while x < job.result.width {
                let from = job.under(y, x).wrapping_add(ky * row + at);
                if K != 0 && S != 0 && x >= first && x + TOGETHER <= end {
                    let mut here = [T::splat(0.0); TOGETHER];
                    for (index, here) in here.iter_mut().enumerate() {
                        *here = load::<T, FULL>(back.wrapping_add((x + index) * channels), count);
                    }
                    for pixel in 0..(TOGETHER - 1) * S + K {
                        let value = load::<T, FULL>(from.wrapping_add(pixel * channels), count);
                        for (kx, sum) in sums.iter_mut().enumerate() {
                            if pixel >= kx && (pixel - kx) % S == 0 && (pixel - kx) / S < TOGETHER {
                                *sum = value.multiply_add(here[(pixel - kx) / S], *sum);
                            }
                        }
                    }
                    x += TOGETHER;
                    continue;
                }
                let here = load::<T, FULL>(back.wrapping_add(x * channels), count);
                let (left, right) = job.taps(x, job.corner[1], job.shape.width);
                for kx in left..right {
                    let value = load::<T, FULL>(from.wrapping_add(kx * channels), count);
                    let to = weights.as_mut_ptr().add((ky * job.kernel + kx) * channels + at);
                    value.multiply_add(here, load::<T, FULL>(to, count)).store_first(to, count);
                }
                x += 1;
            }
            for (kx, sum) in sums.iter().enumerate() {
                let to = weights.as_mut_ptr().add((ky * K + kx) * channels + at);
                sum.add(load::<T, FULL>(to, count)).store_first(to, count);
            }
        }
    }
}

macro_rules! instruction_set {
    ($forward:ident, $weight:ident, $(#[$attribute:meta])*, $vector:ty) => {
        /// # Safety
        /// Slices must have the lengths of the job's shapes; the machine must have the instruction set.
        $(#[$attribute])*
        unsafe fn $forward(job: &Job<'_>, taps: &[f32], output: &mut [f32]) {
            over_rows!(job, $vector, forward, taps, output);
        }

        /// # Safety
        /// As above.
        $(#[$attribute])*
        unsafe fn $weight(job: &Job<'_>, gradient: &[f32], weights: &mut [f32]) {
            over_rows!(job, $vector, weight, gradient, weights);
        }
    };
}

// Rows outside and channels inside, so that the rows under a row of results stay in the cache.
macro_rules! over_rows {
    ($job:ident, $vector:ty, $function:ident, $from:ident, $to:ident) => {
        let lanes = <$vector as Vector>::LANES;
        for y in 0..$job.result.height {
            for at in (0..$job.shape.channels).step_by(lanes) {
                let count = ($job.shape.channels - at).min(lanes);
                let part = (at, count);
                // SAFETY: channels `at..at + count` are there, the rest is passed on to the caller.
                unsafe {
                    match ($job.kernel, $job.stride, count == lanes) {
                        (3, 1, true) => $function::<$vector, 3, 1, true>($job, $from, $to, y, part),
                        (3, 1, false) => $function::<$vector, 3, 1, false>($job, $from, $to, y, part),
                        (3, 2, true) => $function::<$vector, 3, 2, true>($job, $from, $to, y, part),
                        (3, 2, false) => $function::<$vector, 3, 2, false>($job, $from, $to, y, part),
                        (5, 1, true) => $function::<$vector, 5, 1, true>($job, $from, $to, y, part),
                        (5, 2, true) => $function::<$vector, 5, 2, true>($job, $from, $to, y, part),
                        (_, _, true) => $function::<$vector, 0, 0, true>($job, $from, $to, y, part),
                        (_, _, false) => $function::<$vector, 0, 0, false>($job, $from, $to, y, part),
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
instruction_set!(forward_avx512, weight_avx512, #[target_feature(enable = "avx512f")], std::arch::x86_64::__m512);
#[cfg(target_arch = "x86_64")]
instruction_set!(forward_avx2, weight_avx2, #[target_feature(enable = "avx2,fma")], std::arch::x86_64::__m256);
instruction_set!(forward_portable, weight_portable, , Baseline);
