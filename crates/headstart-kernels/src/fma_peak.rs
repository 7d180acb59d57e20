//! The most multiplications and additions a second that this machine does in registers: what kernels can at best reach.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::dispatch::{InstructionSet, chosen};
use crate::simd::{Baseline, Vector};

/// Measurements whose median is taken.
const ROUNDS: usize = 7;

/// Steps between two looks at the clock: tens of microseconds.
const STEPS: usize = 4096;

/// Floating-point operations a second of `threads` threads (0 counts as 1) on the instruction set in use, measured for
/// about `duration` in short rounds, the median of them. A fused multiply-add is two operations.
///
/// Without fused multiply-add (the baseline of x86-64) it is the rate of one multiplication followed by one addition,
/// as the kernels do it there. Threads beyond the processors of the machine give a number without a meaning.
pub fn measure(threads: usize, duration: Duration) -> f64 {
    let (set, threads, round) = (chosen(), threads.max(1), duration / ROUNDS as u32);
    let barrier = Barrier::new(threads);
    let work = || {
        [(); ROUNDS].map(|()| {
            barrier.wait();
            // SAFETY: `chosen` gives only what the machine has.
            unsafe { rate(set, round) }
        })
    };
    let mut rounds = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut sums = work();
        for other in others {
            let rates = other.join().unwrap_or_default();
            sums.iter_mut().zip(rates).for_each(|(sum, rate)| *sum += rate);
        }
        sums
    });
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

/// Operations a second of this thread, over at least `time`.
///
/// # Safety
/// The machine must have `set`.
unsafe fn rate(set: InstructionSet, time: Duration) -> f64 {
    let (mut operations, start) = (0, Instant::now());
    loop {
        // SAFETY: passed on to the caller.
        operations += unsafe { run(set) };
        let elapsed = start.elapsed();
        // A coarse clock may stand still at first.
        if elapsed >= time && !elapsed.is_zero() {
            return operations as f64 / elapsed.as_secs_f64();
        }
    }
}

/// The loop of an instruction set; gives the number of its operations.
///
/// # Safety
/// The machine must have `set`.
unsafe fn run(set: InstructionSet) -> usize {
    // SAFETY: passed on to the caller.
    unsafe {
        match set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => chains_avx512(),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => chains_avx2(),
            _ => chains_portable(),
        }
    }
}

/// `N` sums in registers, each waiting only for itself: enough of them hide the latency of an instruction.
///
/// # Safety
/// The machine must have the instruction set of `T`.
#[inline(always)]
unsafe fn chains<T: Vector, const N: usize>() -> usize {
    // SAFETY: the caller has the instruction set; the last vector is stored to an array of as many lanes or more.
    unsafe {
        // Halves towards one: neither grows nor becomes so small that the processor slows down. The sum is a factor,
        // since a product that does not change would be taken out of the loop where it is not fused.
        let (factor, addend) = (T::splat(black_box(0.5)), T::splat(black_box(0.5)));
        let mut sums = [T::splat(0.0); N];
        for (index, sum) in sums.iter_mut().enumerate() {
            // Equal chains would become one.
            *sum = T::splat(black_box(index as f32));
        }
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = sum.multiply_add(factor, addend);
            }
        }
        let mut total = sums[0];
        for sum in &sums[1..] {
            total = total.add(*sum);
        }
        let mut lanes = [0.0f32; 16];
        total.store_first(lanes.as_mut_ptr(), T::LANES.min(lanes.len()));
        black_box(lanes);
    }
    2 * N * T::LANES * STEPS
}

macro_rules! instruction_set {
    ($name:ident, $(#[$attribute:meta])*, $vector:ty, $sums:literal) => {
        /// # Safety
        /// The machine must have the instruction set.
        $(#[$attribute])*
        #[inline(never)]
        unsafe fn $name() -> usize {
            // SAFETY: passed on to the caller.
            unsafe { chains::<$vector, $sums>() }
        }
    };
}

// As many sums as the registers hold beside factor and addend, or a few less.
#[cfg(target_arch = "x86_64")]
instruction_set!(chains_avx512, #[target_feature(enable = "avx512f")], std::arch::x86_64::__m512, 24);
#[cfg(target_arch = "x86_64")]
instruction_set!(chains_avx2, #[target_feature(enable = "avx2,fma")], std::arch::x86_64::__m256, 12);
instruction_set!(chains_portable, , Baseline, 12);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "a measurement")]
    fn a_peak_is_a_positive_number() {
        for threads in [0, 1, 3] {
            let peak = measure(threads, Duration::from_millis(3));
            assert!(peak.is_finite() && peak > 0.0, "{peak}");
        }
    }

    #[test]
    fn every_instruction_set_has_a_rate() {
        for set in InstructionSet::available() {
            // SAFETY: the machine has it.
            let rate = unsafe { rate(set, Duration::ZERO) };
            assert!(rate.is_finite() && rate > 0.0, "{}: {rate}", set.name());
        }
    }
}
