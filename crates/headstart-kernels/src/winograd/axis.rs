//! Winograd's minimal filtering along one axis: F(m, r) takes m + r − 1 products for m results of a kernel of r taps.
//!
//! Polynomials are evaluated at the points 0, ±1, ±2, (±½), ∞ (Lavin and Gray 2016, arXiv:1509.09308). The transform of the
//! picture depends on the points alone, that of the kernel and of the results on m and r too.

use crate::simd::Vector;

/// Points of the largest form.
pub(crate) const MOST_POINTS: usize = 8;

/// One value a point, tap or result; what a form does not use is left alone.
pub(crate) type Line<T> = [T; MOST_POINTS];

/// One axis of a form.
pub(crate) trait Axis {
    /// Taps of the kernel.
    const TAPS: usize;
    /// Results of one tile.
    const RESULTS: usize;
    /// Products of one tile, and pixels that it reads.
    const POINTS: usize = Self::RESULTS + Self::TAPS - 1;
    /// Where polynomials are evaluated, beside 0 and ∞, and the factor of each in the transform of the kernel.
    const FINITE: &'static [(f64, f64)];
    /// The factor at 0.
    const AT_ZERO: f64;

    /// Taps of a kernel to points.
    fn kernel_to_points(taps: Line<f64>) -> Line<f64> {
        let mut points = [0.0; MOST_POINTS];
        points[0] = taps[0] * Self::AT_ZERO;
        for (point, (at, factor)) in points[1..].iter_mut().zip(Self::FINITE) {
            *point = taps[..Self::TAPS].iter().rev().fold(0.0, |sum, tap| sum * at + tap) * factor;
        }
        points[Self::POINTS - 1] = taps[Self::TAPS - 1];
        points
    }

    /// Pixels to points.
    ///
    /// # Safety
    /// The machine must have the instruction set of `T`.
    unsafe fn to_points<T: Vector>(pixels: Line<T>) -> Line<T>;

    /// Points to results.
    ///
    /// # Safety
    /// The machine must have the instruction set of `T`.
    unsafe fn to_results<T: Vector>(points: Line<T>) -> Line<T>;
}

/// A kernel of one tap: nothing to transform.
pub(crate) struct OneTap;

/// F(4, 3).
pub(crate) struct ThreeTaps;

/// F(2, 5), on the points of F(4, 3).
pub(crate) struct FiveTaps;

/// F(2, 7).
pub(crate) struct SevenTaps;

impl Axis for OneTap {
    const TAPS: usize = 1;
    const RESULTS: usize = 1;
    const FINITE: &'static [(f64, f64)] = &[];
    const AT_ZERO: f64 = 1.0;

    #[inline(always)]
    unsafe fn to_points<T: Vector>(pixels: Line<T>) -> Line<T> {
        pixels
    }

    #[inline(always)]
    unsafe fn to_results<T: Vector>(points: Line<T>) -> Line<T> {
        points
    }
}

const SIX_POINTS: &[(f64, f64)] = &[(1.0, -1.0 / 6.0), (-1.0, -1.0 / 6.0), (2.0, 1.0 / 24.0), (-2.0, 1.0 / 24.0)];

const EIGHT_POINTS: &[(f64, f64)] = &[
    (1.0, -2.0 / 9.0),
    (-1.0, -2.0 / 9.0),
    (2.0, 1.0 / 90.0),
    (-2.0, 1.0 / 90.0),
    (0.5, 32.0 / 45.0),
    (-0.5, 32.0 / 45.0),
];

/// # Safety
/// The machine must have the instruction set of `T`.
#[inline(always)]
unsafe fn to_six_points<T: Vector>(d: Line<T>) -> Line<T> {
    // SAFETY: passed on to the caller.
    unsafe {
        let four = T::splat(4.0);
        let (even, odd) = (d[2].multiply_add(T::splat(-4.0), d[4]), d[1].multiply_add(T::splat(-4.0), d[3]));
        let (far, near) = (d[4].subtract(d[2]), d[3].subtract(d[1]).multiply(T::splat(2.0)));
        [
            d[0].multiply_add(four, d[2].multiply_add(T::splat(-5.0), d[4])),
            even.add(odd),
            even.subtract(odd),
            far.add(near),
            far.subtract(near),
            d[1].multiply_add(four, d[3].multiply_add(T::splat(-5.0), d[5])),
            d[6],
            d[7],
        ]
    }
}

impl Axis for ThreeTaps {
    const TAPS: usize = 3;
    const RESULTS: usize = 4;
    const FINITE: &'static [(f64, f64)] = SIX_POINTS;
    const AT_ZERO: f64 = 0.25;

    #[inline(always)]
    unsafe fn to_points<T: Vector>(pixels: Line<T>) -> Line<T> {
        // SAFETY: passed on to the caller.
        unsafe { to_six_points(pixels) }
    }

    #[inline(always)]
    unsafe fn to_results<T: Vector>(m: Line<T>) -> Line<T> {
        // SAFETY: passed on to the caller.
        unsafe {
            let (sum, difference) = (m[1].add(m[2]), m[1].subtract(m[2]));
            let (far_sum, far_difference) = (m[3].add(m[4]), m[3].subtract(m[4]));
            [
                m[0].add(sum.add(far_sum)),
                far_difference.multiply_add(T::splat(2.0), difference),
                far_sum.multiply_add(T::splat(4.0), sum),
                far_difference.multiply_add(T::splat(8.0), difference).add(m[5]),
                m[4],
                m[5],
                m[6],
                m[7],
            ]
        }
    }
}

impl Axis for FiveTaps {
    const TAPS: usize = 5;
    const RESULTS: usize = 2;
    const FINITE: &'static [(f64, f64)] = SIX_POINTS;
    const AT_ZERO: f64 = 0.25;

    #[inline(always)]
    unsafe fn to_points<T: Vector>(pixels: Line<T>) -> Line<T> {
        // SAFETY: passed on to the caller.
        unsafe { to_six_points(pixels) }
    }

    #[inline(always)]
    unsafe fn to_results<T: Vector>(m: Line<T>) -> Line<T> {
        // SAFETY: passed on to the caller.
        unsafe {
            let (sum, difference) = (m[1].add(m[2]), m[1].subtract(m[2]));
            let (far_sum, far_difference) = (m[3].add(m[4]), m[3].subtract(m[4]));
            let second = far_difference.multiply_add(T::splat(2.0), difference).add(m[5]);
            [m[0].add(sum.add(far_sum)), second, m[2], m[3], m[4], m[5], m[6], m[7]]
        }
    }
}

impl Axis for SevenTaps {
    const TAPS: usize = 7;
    const RESULTS: usize = 2;
    const FINITE: &'static [(f64, f64)] = EIGHT_POINTS;
    const AT_ZERO: f64 = 1.0;

    #[inline(always)]
    unsafe fn to_points<T: Vector>(d: Line<T>) -> Line<T> {
        // SAFETY: passed on to the caller.
        unsafe {
            let at = T::splat;
            let (even1, odd1) =
                (d[4].multiply_add(at(-4.25), d[2].add(d[6])), d[3].multiply_add(at(-4.25), d[1].add(d[5])));
            let even2 = d[2].multiply_add(at(0.25), d[4].multiply_add(at(-1.25), d[6]));
            let even3 = d[2].multiply_add(at(4.0), d[4].multiply_add(at(-5.0), d[6]));
            let middle = d[3].multiply(at(-2.5));
            let odd2 = d[1].multiply_add(at(0.5), d[5].multiply_add(at(2.0), middle));
            let odd3 = d[1].multiply_add(at(2.0), d[5].multiply_add(at(0.5), middle));
            [
                d[4].subtract(d[2]).multiply_add(at(5.25), d[0].subtract(d[6])),
                even1.add(odd1),
                even1.subtract(odd1),
                even2.add(odd2),
                even2.subtract(odd2),
                even3.add(odd3),
                even3.subtract(odd3),
                d[3].subtract(d[5]).multiply_add(at(5.25), d[7].subtract(d[1])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn to_results<T: Vector>(m: Line<T>) -> Line<T> {
        // SAFETY: passed on to the caller.
        unsafe {
            let sums = m[1].add(m[2]).add(m[3].add(m[4])).add(m[5].add(m[6]));
            let near = m[5].subtract(m[6]).multiply_add(T::splat(0.5), m[1].subtract(m[2]));
            let second = m[3].subtract(m[4]).multiply_add(T::splat(2.0), near).add(m[7]);
            [m[0].add(sums), second, m[2], m[3], m[4], m[5], m[6], m[7]]
        }
    }
}
