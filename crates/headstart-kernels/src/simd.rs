//! The few vector operations that the kernels need, for each instruction set.

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
    /// self · a + b, rounded once where the hardware can.
    unsafe fn multiply_add(self, a: Self, b: Self) -> Self;
    /// Between the bounds; NaN stays NaN.
    unsafe fn clamp(self, low: Self, high: Self) -> Self;
}

/// Four floats in plain code: runs everywhere, and compilers turn it into the baseline's vectors.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct Portable([f32; 4]);

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

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Vector;
    use std::arch::x86_64::*;

    impl Vector for __m512 {
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the caller has AVX-512F.
            unsafe { _mm512_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the caller has AVX-512F and 16 valid floats.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as for `load`.
            unsafe { _mm512_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> Self {
            // SAFETY: masked lanes are not touched.
            unsafe { _mm512_maskz_loadu_ps(((1u32 << count) - 1) as u16, from) }
        }

        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, count: usize) {
            // SAFETY: masked lanes are not touched.
            unsafe { _mm512_mask_storeu_ps(to, ((1u32 << count) - 1) as u16, self) }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: the caller has AVX-512F.
            unsafe { _mm512_add_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller has AVX-512F.
            unsafe { _mm512_fmadd_ps(self, a, b) }
        }

        #[inline(always)]
        unsafe fn clamp(self, low: Self, high: Self) -> Self {
            // SAFETY: the caller has AVX-512F. The second operand wins when one is NaN, so a NaN passes through.
            unsafe { _mm512_min_ps(high, _mm512_max_ps(low, self)) }
        }
    }

    /// All bits set in the first `count` of eight lanes.
    #[inline(always)]
    unsafe fn mask(count: usize) -> __m256i {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
    }

    impl Vector for __m256 {
        const LANES: usize = 8;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the caller has AVX2.
            unsafe { _mm256_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the caller has AVX2 and 8 valid floats.
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as for `load`.
            unsafe { _mm256_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> Self {
            // SAFETY: masked lanes are not touched.
            unsafe { _mm256_maskload_ps(from, mask(count)) }
        }

        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, count: usize) {
            // SAFETY: masked lanes are not touched.
            unsafe { _mm256_maskstore_ps(to, mask(count), self) }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: the caller has AVX2.
            unsafe { _mm256_add_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller has FMA.
            unsafe { _mm256_fmadd_ps(self, a, b) }
        }

        #[inline(always)]
        unsafe fn clamp(self, low: Self, high: Self) -> Self {
            // SAFETY: the caller has AVX2. The second operand wins when one is NaN, so a NaN passes through.
            unsafe { _mm256_min_ps(high, _mm256_max_ps(low, self)) }
        }
    }
}
