//! Activations that are not a clamp: applied to sums that have just been stored, while they are in the first-level cache.
//!
//! In a pass of their own, because temporaries between the sums of a tile would push those out of their registers.

use crate::shape::Activation;
use crate::simd::{Baseline, Vector};

/// What bends a value after its clamp.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Curve {
    /// A negative value times this.
    Leaky(f32),
    /// x / (1 + e⁻ˣ).
    Silu,
}

/// Rows of values that one curve bends in place.
///
/// # Safety
/// `values` must be valid for `columns` floats at every one of `rows` rows, `stride` floats apart.
#[derive(Clone, Copy)]
pub(crate) struct Bend {
    pub(crate) curve: Curve,
    pub(crate) values: *mut f32,
    pub(crate) rows: usize,
    pub(crate) stride: usize,
    pub(crate) columns: usize,
}

impl Activation {
    pub(crate) fn curve(self) -> Option<Curve> {
        match self {
            Self::LeakyRelu(slope) => Some(Curve::Leaky(slope)),
            Self::Silu => Some(Curve::Silu),
            Self::Identity | Self::Relu | Self::Relu6 | Self::ClippedRelu(_) => None,
        }
    }
}

/// # Safety
/// The machine must have the instruction set of `T`.
#[inline(always)]
pub(crate) unsafe fn bent<T: Vector>(value: T, curve: Curve) -> T {
    // SAFETY: passed on to the caller.
    unsafe {
        match curve {
            Curve::Leaky(slope) => {
                let (zero, infinity) = (T::splat(0.0), T::splat(f32::INFINITY));
                let negative = value.clamp(T::splat(f32::NEG_INFINITY), zero);
                negative.multiply_add(T::splat(slope), value.clamp(zero, infinity))
            }
            Curve::Silu => {
                let one = T::splat(1.0);
                value.divide(one.add(exponential(T::splat(0.0).subtract(value))))
            }
        }
    }
}

/// eˣ within 2 units of the last place, for x between −87 and 88; beyond them as there.
///
/// x = n · ln 2 + r with |r| ≤ ln 2 / 2; e^r by its Taylor polynomial of degree 7, whose remainder is below 6e-9.
#[inline(always)]
unsafe fn exponential<T: Vector>(x: T) -> T {
    /// ln 2 in two parts, the first with few bits, so that n times it is exact.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    /// Adding it rounds to a whole number.
    const ROUNDING: f32 = 12_582_912.0;
    const TERMS: [f32; 7] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    // SAFETY: passed on to the caller.
    unsafe {
        let x = x.clamp(T::splat(-87.0), T::splat(88.0));
        let rounding = T::splat(ROUNDING);
        let n = x.multiply_add(T::splat(std::f32::consts::LOG2_E), rounding).subtract(rounding);
        let r = n.multiply_add(T::splat(-LN_2.0), x);
        let r = n.multiply_add(T::splat(-LN_2.1), r);
        let mut sum = T::splat(1.0 / 5040.0);
        for term in TERMS {
            sum = sum.multiply_add(r, T::splat(term));
        }
        sum.multiply(n.power_of_two())
    }
}

/// # Safety
/// See [`Bend`]; the machine must have the instruction set of `T`.
#[inline(always)]
unsafe fn rows<T: Vector>(bend: &Bend) {
    for row in 0..bend.rows {
        let mut column = 0;
        while column < bend.columns {
            let count = (bend.columns - column).min(T::LANES);
            // SAFETY: row and columns are among those that the caller vouches for.
            unsafe {
                let at = bend.values.add(row * bend.stride + column);
                bent(T::load_first(at, count), bend.curve).store_first(at, count);
            }
            column += T::LANES;
        }
    }
}

macro_rules! instruction_set {
    ($name:ident, $(#[$attribute:meta])*, $vector:ty) => {
        /// Bends rows in place.
        ///
        /// # Safety
        /// See [`Bend`]; the machine must have the instruction set.
        $(#[$attribute])*
        #[inline(never)]
        pub(crate) unsafe fn $name(bend: &Bend) {
            // SAFETY: passed on to the caller.
            unsafe { rows::<$vector>(bend) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
instruction_set!(bend_avx512, #[target_feature(enable = "avx512f")], std::arch::x86_64::__m512);
#[cfg(target_arch = "x86_64")]
instruction_set!(bend_avx2, #[target_feature(enable = "avx2,fma")], std::arch::x86_64::__m256);
instruction_set!(bend_portable, , Baseline);

#[cfg(test)]
mod tests {
    use super::*;

    fn bend_all(curve: Curve, mut values: Vec<f32>) -> Vec<f32> {
        let columns = values.len();
        // SAFETY: one row of that many columns; the baseline is everywhere.
        unsafe { bend_portable(&Bend { curve, values: values.as_mut_ptr(), rows: 1, stride: columns, columns }) };
        values
    }

    #[test]
    fn silu_is_exact_to_a_few_units_of_the_last_place() {
        let values: Vec<f32> = (-4000..4000).map(|index| index as f32 * 0.02).collect();
        for (x, found) in values.clone().into_iter().zip(bend_all(Curve::Silu, values)) {
            let expected = f64::from(x) / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(found) - expected).abs() <= 6e-7 * expected.abs() + 1e-35, "{x}: {found}, {expected}");
        }
    }

    #[test]
    fn curves_keep_zero_infinity_and_nan() {
        let found = bend_all(Curve::Silu, vec![0.0, f32::INFINITY, f32::NAN, -1e30]);
        assert_eq!((found[0], found[1]), (0.0, f32::INFINITY));
        assert!(found[2].is_nan() && found[3].abs() < 1e-6);
        let found = bend_all(Curve::Leaky(0.1), vec![-2.0, 0.0, 3.0, f32::NAN]);
        assert_eq!(found[..3], [-0.2, 0.0, 3.0]);
        assert!(found[3].is_nan());
    }
}
