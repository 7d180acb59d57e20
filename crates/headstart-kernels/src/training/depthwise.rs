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
        kernel: step.spec.kernel,
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
    fn taps(&self, at: usize, before: usize, length: usize, kernel: usize) -> (usize, usize) {
        let start = at * self.stride;
        (before.saturating_sub(start).min(kernel), (length + before).saturating_sub(start).min(kernel))
    }
}

/// Loads `count` lanes, all of them where `FULL`.
#[inline(always)]
unsafe fn load<T: Vector, const FULL: bool>(from: *const f32, count: usize) -> T {
    // SAFETY: passed on to the caller.
    unsafe { if FULL { T::load(from) } else { T::load_first(from, count) } }
}

/// Channels `at..at + count` of every result. `K` is the kernel's side, or 0 when it is only known at run time.
#[inline(always)]
unsafe fn forward<T: Vector, const K: usize, const FULL: bool>(
    job: &Job<'_>,
    taps: &[f32],
    output: &mut [f32],
    at: usize,
    count: usize,
) {
    let kernel = if K == 0 { job.kernel } else { K };
    let (channels, row) = (job.shape.channels, job.shape.width * job.shape.channels);
    // SAFETY: taps are cut to those that lie in the picture; channels `at..at + count` are there.
    unsafe {
        let mut held = [T::splat(0.0); 25];
        if K != 0 {
            for (tap, weight) in held.iter_mut().enumerate().take(K * K) {
                *weight = load::<T, FULL>(taps.as_ptr().add(tap * channels + at), count);
            }
        }
        let mut to = output.as_mut_ptr().add(at);
        for y in 0..job.result.height {
            let (top, bottom) = job.taps(y, job.corner[0], job.shape.height, kernel);
            for x in 0..job.result.width {
                let (left, right) = job.taps(x, job.corner[1], job.shape.width, kernel);
                let mut sum = T::splat(0.0);
                let start = (y * job.stride)
                    .wrapping_sub(job.corner[0])
                    .wrapping_mul(row)
                    .wrapping_add((x * job.stride).wrapping_sub(job.corner[1]).wrapping_mul(channels));
                let from = job.input.as_ptr().wrapping_add(start).wrapping_add(at);
                if K != 0 && bottom - top == K && right - left == K {
                    for ky in 0..K {
                        for kx in 0..K {
                            let value = load::<T, FULL>(from.wrapping_add(ky * row + kx * channels), count);
                            sum = value.multiply_add(held[ky * K + kx], sum);
                        }
                    }
                } else {
                    for ky in top..bottom {
                        for kx in left..right {
                            let value = load::<T, FULL>(from.wrapping_add(ky * row + kx * channels), count);
                            let weight = load::<T, FULL>(taps.as_ptr().add((ky * kernel + kx) * channels + at), count);
                            sum = value.multiply_add(weight, sum);
                        }
                    }
                }
                if FULL {
                    sum.store(to);
                } else {
                    sum.store_first(to, count);
                }
                to = to.wrapping_add(channels);
            }
        }
    }
}

/// Adds channels `at..at + count` of the kernel's gradient.
#[inline(always)]
unsafe fn weight<T: Vector, const K: usize, const FULL: bool>(
    job: &Job<'_>,
    gradient: &[f32],
    weights: &mut [f32],
    at: usize,
    count: usize,
) {
    let kernel = if K == 0 { job.kernel } else { K };
    let (channels, row) = (job.shape.channels, job.shape.width * job.shape.channels);
    // SAFETY: as in `forward`.
    unsafe {
        let mut sums = [T::splat(0.0); 25];
        let mut back = gradient.as_ptr().add(at);
        for y in 0..job.result.height {
            let (top, bottom) = job.taps(y, job.corner[0], job.shape.height, kernel);
            for x in 0..job.result.width {
                let (left, right) = job.taps(x, job.corner[1], job.shape.width, kernel);
                let start = (y * job.stride)
                    .wrapping_sub(job.corner[0])
                    .wrapping_mul(row)
                    .wrapping_add((x * job.stride).wrapping_sub(job.corner[1]).wrapping_mul(channels));
                let from = job.input.as_ptr().wrapping_add(start).wrapping_add(at);
                let here = load::<T, FULL>(back, count);
                if K != 0 && bottom - top == K && right - left == K {
                    for ky in 0..K {
                        for kx in 0..K {
                            let value = load::<T, FULL>(from.wrapping_add(ky * row + kx * channels), count);
                            sums[ky * K + kx] = value.multiply_add(here, sums[ky * K + kx]);
                        }
                    }
                } else {
                    for ky in top..bottom {
                        for kx in left..right {
                            let value = load::<T, FULL>(from.wrapping_add(ky * row + kx * channels), count);
                            let to = weights.as_mut_ptr().add((ky * kernel + kx) * channels + at);
                            let sum = value.multiply_add(here, load::<T, FULL>(to, count));
                            sum.store_first(to, count);
                        }
                    }
                }
                back = back.wrapping_add(channels);
            }
        }
        for (tap, sum) in sums.iter().enumerate().take(K * K) {
            let to = weights.as_mut_ptr().add(tap * channels + at);
            sum.add(load::<T, FULL>(to, count)).store_first(to, count);
        }
    }
}

macro_rules! instruction_set {
    ($forward:ident, $weight:ident, $(#[$attribute:meta])*, $vector:ty) => {
        /// # Safety
        /// Slices must have the lengths of the job's shapes; the machine must have the instruction set.
        $(#[$attribute])*
        unsafe fn $forward(job: &Job<'_>, taps: &[f32], output: &mut [f32]) {
            over_channels!(job, $vector, forward, taps, output);
        }

        /// # Safety
        /// As above.
        $(#[$attribute])*
        unsafe fn $weight(job: &Job<'_>, gradient: &[f32], weights: &mut [f32]) {
            over_channels!(job, $vector, weight, gradient, weights);
        }
    };
}

macro_rules! over_channels {
    ($job:ident, $vector:ty, $function:ident, $from:ident, $to:ident) => {
        let lanes = <$vector as Vector>::LANES;
        for at in (0..$job.shape.channels).step_by(lanes) {
            let count = ($job.shape.channels - at).min(lanes);
            // SAFETY: channels `at..at + count` are there, the rest is passed on to the caller.
            unsafe {
                match ($job.kernel, count == lanes) {
                    (3, true) => $function::<$vector, 3, true>($job, $from, $to, at, count),
                    (3, false) => $function::<$vector, 3, false>($job, $from, $to, at, count),
                    (5, true) => $function::<$vector, 5, true>($job, $from, $to, at, count),
                    (5, false) => $function::<$vector, 5, false>($job, $from, $to, at, count),
                    (_, true) => $function::<$vector, 0, true>($job, $from, $to, at, count),
                    (_, false) => $function::<$vector, 0, false>($job, $from, $to, at, count),
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
