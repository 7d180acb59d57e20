//! The transforms of one tile, for every form and instruction set.

use super::axis::{Axis, FiveTaps, Line, MOST_POINTS, OneTap, SevenTaps, ThreeTaps};
use crate::curve::{Curve, bent};
use crate::simd::{Baseline, Vector};
use crate::tile::PANEL;

/// Which axes are transformed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// 3 × 3.
    Square3,
    /// 5 × 5.
    Square5,
    /// 1 × 3.
    Row3,
    /// 3 × 1.
    Column3,
    /// 1 × 7.
    Row7,
    /// 7 × 1.
    Column7,
}

/// Numbers of one axis of a form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side {
    pub(crate) results: usize,
    pub(crate) points: usize,
    pub(crate) kernel_to_points: fn(Line<f64>) -> Line<f64>,
}

// One list of forms and their axes makes the dispatch.
macro_rules! for_form {
    ($form:expr, $function:ident::<$vector:ty>($argument:expr)) => {
        match $form {
            Form::Square3 => $function::<$vector, ThreeTaps, ThreeTaps>($argument),
            Form::Square5 => $function::<$vector, FiveTaps, FiveTaps>($argument),
            Form::Row3 => $function::<$vector, OneTap, ThreeTaps>($argument),
            Form::Column3 => $function::<$vector, ThreeTaps, OneTap>($argument),
            Form::Row7 => $function::<$vector, OneTap, SevenTaps>($argument),
            Form::Column7 => $function::<$vector, SevenTaps, OneTap>($argument),
        }
    };
}

impl Form {
    /// The form for a kernel, if there is one.
    pub(crate) fn of(kernel: [usize; 2]) -> Option<Self> {
        Some(match kernel {
            [3, 3] => Self::Square3,
            [5, 5] => Self::Square5,
            [1, 3] => Self::Row3,
            [3, 1] => Self::Column3,
            [1, 7] => Self::Row7,
            [7, 1] => Self::Column7,
            _ => return None,
        })
    }

    /// Rows, then columns.
    pub(crate) fn sides(self) -> [Side; 2] {
        fn side<A: Axis>() -> Side {
            Side { results: A::RESULTS, points: A::POINTS, kernel_to_points: A::kernel_to_points }
        }
        let (one, three, five, seven) =
            (side::<OneTap>(), side::<ThreeTaps>(), side::<FiveTaps>(), side::<SevenTaps>());
        match self {
            Self::Square3 => [three, three],
            Self::Square5 => [five, five],
            Self::Row3 => [one, three],
            Self::Column3 => [three, one],
            Self::Row7 => [one, seven],
            Self::Column7 => [seven, one],
        }
    }
}

/// One tile of pixels to transform, all channels of it.
///
/// # Safety
/// Each of the form's rows × columns of `pixels` must be valid for `channels` floats; `to` for [`PANEL`] floats in every
/// panel at every point.
pub(crate) struct InputTile<'a> {
    pub(crate) form: Form,
    /// [rows][columns], as many as the form has points.
    pub(crate) pixels: &'a [*const f32],
    pub(crate) channels: usize,
    pub(crate) to: *mut f32,
    pub(crate) point_stride: usize,
    pub(crate) panel_stride: usize,
}

/// One tile of products to transform back.
///
/// # Safety
/// `from` must be valid for [`PANEL`] floats in every panel at every point, `bias` for whole panels, `to` and a non-null
/// `residual` for `channels` floats at each of `rows` × `columns` pixels.
pub(crate) struct OutputTile {
    pub(crate) form: Form,
    pub(crate) from: *const f32,
    pub(crate) point_stride: usize,
    pub(crate) panel_stride: usize,
    pub(crate) channels: usize,
    pub(crate) bias: *const f32,
    pub(crate) to: *mut f32,
    pub(crate) row_stride: usize,
    pub(crate) pixel_stride: usize,
    pub(crate) residual: *const f32,
    pub(crate) residual_row_stride: usize,
    pub(crate) residual_pixel_stride: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) low: f32,
    pub(crate) high: f32,
    pub(crate) curve: Option<Curve>,
}

/// The first `count` values of one column of a table. A loop, since closures do not always inherit the instruction set.
#[inline(always)]
fn column<T: Vector>(rows: &[Line<T>; MOST_POINTS], count: usize, x: usize) -> Line<T> {
    let mut column = [rows[0][x]; MOST_POINTS];
    for (value, row) in column.iter_mut().zip(rows).take(count) {
        *value = row[x];
    }
    column
}

/// # Safety
/// See [`InputTile`]; the machine must have the instruction set of `T`.
#[inline(always)]
unsafe fn input_tile<T: Vector, R: Axis, C: Axis>(tile: &InputTile<'_>) {
    let mut channel = 0;
    while channel < tile.channels {
        let count = (tile.channels - channel).min(T::LANES);
        // SAFETY: `count` channels of each pixel are there, and whole vectors of each panel.
        unsafe {
            let zero = T::splat(0.0);
            let mut rows = [[zero; MOST_POINTS]; MOST_POINTS];
            for (row, pixels) in rows.iter_mut().zip(tile.pixels.chunks_exact(C::POINTS)).take(R::POINTS) {
                let mut values = [zero; MOST_POINTS];
                for (value, pixel) in values.iter_mut().zip(pixels).take(C::POINTS) {
                    *value = T::load_first(pixel.add(channel), count);
                }
                *row = C::to_points(values);
            }
            let to = tile.to.add(channel / PANEL * tile.panel_stride + channel % PANEL);
            for x in 0..C::POINTS {
                let points = R::to_points(column(&rows, R::POINTS, x));
                for (y, point) in points.iter().enumerate().take(R::POINTS) {
                    point.store(to.add((y * C::POINTS + x) * tile.point_stride));
                }
            }
        }
        channel += T::LANES;
    }
}

/// # Safety
/// See [`OutputTile`]; the machine must have the instruction set of `T`.
#[inline(always)]
unsafe fn output_tile<T: Vector, R: Axis, C: Axis>(tile: &OutputTile) {
    let mut channel = 0;
    while channel < tile.channels {
        let count = (tile.channels - channel).min(T::LANES);
        // SAFETY: whole vectors of each panel are there, and `count` channels of every pixel.
        unsafe {
            let from = tile.from.add(channel / PANEL * tile.panel_stride + channel % PANEL);
            let zero = T::splat(0.0);
            let mut columns = [[zero; MOST_POINTS]; MOST_POINTS];
            for (x, results) in columns.iter_mut().enumerate().take(C::POINTS) {
                let mut points = [zero; MOST_POINTS];
                for (y, point) in points.iter_mut().enumerate().take(R::POINTS) {
                    *point = T::load(from.add((y * C::POINTS + x) * tile.point_stride));
                }
                *results = R::to_results(points);
            }
            let (bias, low, high) = (T::load(tile.bias.add(channel)), T::splat(tile.low), T::splat(tile.high));
            for y in 0..R::RESULTS {
                if y >= tile.rows {
                    break;
                }
                let results = C::to_results(column(&columns, C::POINTS, y));
                for (x, result) in results.iter().enumerate().take(C::RESULTS) {
                    if x >= tile.columns {
                        break;
                    }
                    let mut sum = result.add(bias);
                    if !tile.residual.is_null() {
                        let at = y * tile.residual_row_stride + x * tile.residual_pixel_stride + channel;
                        sum = sum.add(T::load_first(tile.residual.add(at), count));
                    }
                    let mut value = sum.clamp(low, high);
                    if let Some(curve) = tile.curve {
                        value = bent(value, curve);
                    }
                    value.store_first(tile.to.add(y * tile.row_stride + x * tile.pixel_stride + channel), count);
                }
            }
        }
        channel += T::LANES;
    }
}

macro_rules! instruction_set {
    ($input:ident, $output:ident, $(#[$attribute:meta])*, $vector:ty) => {
        /// Transforms one tile of pixels.
        ///
        /// # Safety
        /// See [`InputTile`]; the machine must have the instruction set.
        $(#[$attribute])*
        pub(crate) unsafe fn $input(tile: &InputTile<'_>) {
            // SAFETY: passed on to the caller.
            unsafe { for_form!(tile.form, input_tile::<$vector>(tile)) }
        }

        /// Transforms one tile of products back.
        ///
        /// # Safety
        /// See [`OutputTile`]; the machine must have the instruction set.
        $(#[$attribute])*
        pub(crate) unsafe fn $output(tile: &OutputTile) {
            // SAFETY: passed on to the caller.
            unsafe { for_form!(tile.form, output_tile::<$vector>(tile)) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
instruction_set!(input_tile_avx512, output_tile_avx512, #[target_feature(enable = "avx512f")], std::arch::x86_64::__m512);
#[cfg(target_arch = "x86_64")]
instruction_set!(input_tile_avx2, output_tile_avx2, #[target_feature(enable = "avx2,fma")], std::arch::x86_64::__m256);
instruction_set!(input_tile_portable, output_tile_portable, , Baseline);
