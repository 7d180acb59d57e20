//! The few vector operations that the kernels need, for each instruction set.

#[cfg(target_arch = "x86_64")]
mod x86;

/// A vector register of `LANES` floats.
///
/// # Safety
/// The methods need the instruction set of the type; pointers must be valid for the lanes that are touched.
pub(crate) trait Vector: Copy {
    const LANES: usize;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// The first `count` ≤ `LANES` lanes; the others are zero.
    unsafe fn load_first(from: *const f32, count: usize) -> Self;
    /// The first `count` ≤ `LANES` lanes.
    unsafe fn store_first(self, to: *mut f32, count: usize);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn subtract(self, other: Self) -> Self;
    unsafe fn multiply(self, other: Self) -> Self;
    unsafe fn divide(self, other: Self) -> Self;
    /// The greater of each pair; NaN where one of them is.
    unsafe fn max(self, other: Self) -> Self;
    /// Two to the power of lanes that are whole numbers between −126 and 127.
    unsafe fn power_of_two(self) -> Self;
    /// self · a + b, rounded once where the hardware can.
    unsafe fn multiply_add(self, a: Self, b: Self) -> Self;
    /// Between the bounds; NaN stays NaN.
    unsafe fn clamp(self, low: Self, high: Self) -> Self;
}

/// What every machine of the target has.
#[cfg(target_arch = "x86_64")]
pub(crate) type Baseline = std::arch::x86_64::__m128;

/// What every machine of the target has.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) type Baseline = Portable;

/// Four floats in plain code: runs everywhere, and compilers turn most of it into the baseline's vectors.
#[cfg(any(test, not(target_arch = "x86_64")))]
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct Portable([f32; 4]);

#[cfg(any(test, not(target_arch = "x86_64")))]
impl Vector for Portable {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for four floats; arrays of f32 need no more alignment than f32.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as for `load`.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        if count == 4 {
            // SAFETY: four lanes are asked for and so valid.
            return unsafe { Self::load(from) };
        }
        let mut lanes = [0.0; 4];
        for (lane, value) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: `lane < count`.
            *value = unsafe { *from.add(lane) };
        }
        Self(lanes)
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        if count == 4 {
            // SAFETY: four lanes are asked for and so valid.
            return unsafe { self.store(to) };
        }
        for (lane, value) in self.0.iter().enumerate().take(count) {
            // SAFETY: `lane < count`.
            unsafe { *to.add(lane) = *value };
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }

    #[inline(always)]
    unsafe fn subtract(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] - other.0[lane]))
    }

    #[inline(always)]
    unsafe fn multiply(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] * other.0[lane]))
    }

    #[inline(always)]
    unsafe fn divide(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] / other.0[lane]))
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // `f32::max` would hide a NaN.
        let greater = |a: f32, b: f32| if a > b || a.is_nan() { a } else { b };
        Self(std::array::from_fn(|lane| greater(self.0[lane], other.0[lane])))
    }

    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        Self(self.0.map(|lane| f32::from_bits(((lane as i32 + 127) << 23) as u32)))
    }

    #[inline(always)]
    unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] * a.0[lane] + b.0[lane]))
    }

    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        Self(std::array::from_fn(|lane| {
            let value = self.0[lane];
            // `f32::clamp` panics on odd bounds; comparisons leave a NaN as it is.
            if value < low.0[lane] {
                low.0[lane]
            } else if value > high.0[lane] {
                high.0[lane]
            } else {
                value
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first lanes of a vector.
    fn lanes<T: Vector>(vector: T, count: usize) -> Vec<f32> {
        let mut stored = vec![-7.0; T::LANES + 1];
        // SAFETY: the caller has checked the instruction set; there is room for every lane.
        unsafe { vector.store_first(stored.as_mut_ptr(), count) };
        assert!(stored[count..].iter().all(|lane| *lane == -7.0), "lanes beyond {count} were written");
        stored.truncate(count);
        stored
    }

    /// # Safety
    /// The machine must have the instruction set of `T`.
    unsafe fn check_vector<T: Vector>() {
        let values: Vec<f32> = (0..T::LANES).map(|lane| lane as f32 * 1.25 - 3.0).collect();
        // SAFETY: the caller has the instruction set; pointers are to slices of enough lanes.
        unsafe {
            let all = T::load(values.as_ptr());
            for count in 0..=T::LANES {
                // A slice of its own, so that a read beyond its end is one that the sanitizers see.
                let few = values[..count].to_vec();
                let mut expected = few.clone();
                expected.resize(T::LANES, 0.0);
                assert_eq!(lanes(T::load_first(few.as_ptr(), count), T::LANES), expected);
                assert_eq!(lanes(all, count), few);
            }
            let mut stored = vec![0.0; T::LANES];
            all.store(stored.as_mut_ptr());
            assert_eq!(stored, values);
            let sums: Vec<f32> = values.iter().map(|value| value + 2.0).collect();
            assert_eq!(lanes(all.add(T::splat(2.0)), T::LANES), sums);
            // These products are exact, so it does not matter whether they are rounded.
            let products: Vec<f32> = values.iter().map(|value| value * 2.0 + 0.5).collect();
            assert_eq!(lanes(all.multiply_add(T::splat(2.0), T::splat(0.5)), T::LANES), products);
            let halves: Vec<f32> = values.iter().map(|value| (value - 1.0) * 3.0 / 2.0).collect();
            let found = all.subtract(T::splat(1.0)).multiply(T::splat(3.0)).divide(T::splat(2.0));
            assert_eq!(lanes(found, T::LANES), halves);
            let greater: Vec<f32> = values.iter().map(|value| value.max(0.25)).collect();
            assert_eq!(lanes(all.max(T::splat(0.25)), T::LANES), greater);
            for (a, b) in [(f32::NAN, 1.0), (1.0, f32::NAN)] {
                assert!(lanes(T::splat(a).max(T::splat(b)), T::LANES).iter().all(|lane| lane.is_nan()));
            }
            for exponent in [-126.0f32, -1.0, 0.0, 5.0, 127.0] {
                let expected = vec![exponent.exp2(); T::LANES];
                assert_eq!(lanes(T::splat(exponent).power_of_two(), T::LANES), expected);
            }
            let clamped: Vec<f32> = values.iter().map(|value| value.clamp(-1.0, 1.0)).collect();
            assert_eq!(lanes(all.clamp(T::splat(-1.0), T::splat(1.0)), T::LANES), clamped);
            let nan = T::splat(f32::NAN).clamp(T::splat(0.0), T::splat(6.0));
            assert!(lanes(nan, T::LANES).iter().all(|lane| lane.is_nan()));
        }
    }

    #[test]
    fn every_vector_has_the_same_meaning() {
        // SAFETY: plain code; SSE2 is part of x86-64; the others are asked for first.
        unsafe {
            check_vector::<Portable>();
            check_vector::<Baseline>();
            #[cfg(target_arch = "x86_64")]
            {
                use std::arch::x86_64::{__m256, __m512};
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    check_vector::<__m256>();
                }
                if is_x86_feature_detected!("avx512f") {
                    check_vector::<__m512>();
                }
            }
        }
    }
}
