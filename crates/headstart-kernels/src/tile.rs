//! The implicit-GEMM tile: rows of a picture times a packed panel of weights, read in place tap by tap.

use crate::buffer::Buffer;
use crate::curve::{Bend, Curve};
use crate::simd::{Baseline, Vector};

/// Columns of a packed panel of weights, whatever the instruction set.
pub(crate) const PANEL: usize = 32;

/// The runs of values that one row of a product reads: a grid of `groups` × `members` runs.
///
/// Strides are in floats, from where the row begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taps {
    pub(crate) groups: usize,
    pub(crate) group_stride: usize,
    pub(crate) members: usize,
    pub(crate) member_stride: usize,
    /// Values a run.
    pub(crate) depth: usize,
    /// Values of the very last run, which may be shorter.
    pub(crate) last_depth: usize,
}

impl Taps {
    /// One run.
    pub(crate) fn single(depth: usize) -> Self {
        Self { groups: 1, group_stride: 0, members: 1, member_stride: 0, depth, last_depth: depth }
    }

    fn depth_of(&self, group: usize, member: usize) -> usize {
        if group + 1 == self.groups && member + 1 == self.members { self.last_depth } else { self.depth }
    }

    /// Values read in all.
    pub(crate) fn inputs(&self) -> usize {
        (self.groups * self.members - 1) * self.depth + self.last_depth
    }

    /// Floats from where the row begins to the end of the run that reaches farthest.
    pub(crate) fn reach(&self) -> usize {
        let runs = (0..self.groups).flat_map(|group| (0..self.members).map(move |member| (group, member)));
        runs.map(|(group, member)| {
            group * self.group_stride + member * self.member_stride + self.depth_of(group, member)
        })
        .max()
        .unwrap_or(0)
    }
}

/// C[rows][columns] = clamp(Σ over runs t and values k of A[row · lda + t + k] · B[input][column] + bias + residual).
///
/// # Safety
/// There must be at least one run and no run may be empty. `a` must be valid for every row and run, `b` for `taps.inputs()` rows of [`PANEL`] floats, `bias` for [`PANEL`]
/// floats, `c` and a non-null `residual` for every row and column.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    pub(crate) a: *const f32,
    pub(crate) lda: usize,
    pub(crate) taps: Taps,
    pub(crate) b: *const f32,
    pub(crate) bias: *const f32,
    pub(crate) c: *mut f32,
    pub(crate) ldc: usize,
    /// Added before the clamp, unless null.
    pub(crate) residual: *const f32,
    pub(crate) ldr: usize,
    pub(crate) low: f32,
    pub(crate) high: f32,
    /// Applied to the results.
    pub(crate) curve: Option<Curve>,
}

/// What one step along the inputs adds to a vector of sums.
///
/// # Safety
/// The method needs the instruction set of the type and of `T`.
pub(crate) trait Products<T> {
    unsafe fn add(value: T, weight: T, sum: T) -> T;
}

/// One product a lane.
struct Single;

impl<T: Vector> Products<T> for Single {
    #[inline(always)]
    unsafe fn add(value: T, weight: T, sum: T) -> T {
        // SAFETY: passed on to the caller.
        unsafe { value.multiply_add(weight, sum) }
    }
}

/// Rows [inputs][outputs] → panels [⌈outputs / PANEL⌉][inputs][PANEL], zero-filled.
pub(crate) fn pack(rows: &[f32], inputs: usize, outputs: usize) -> Buffer {
    let mut packed = Buffer::zeroed(outputs.div_ceil(PANEL) * inputs * PANEL);
    for (input, row) in rows.chunks_exact(outputs.max(1)).enumerate() {
        for (panel, columns) in row.chunks(PANEL).enumerate() {
            packed[(panel * inputs + input) * PANEL..][..columns.len()].copy_from_slice(columns);
        }
    }
    packed
}

/// A bias, zero-filled to whole panels.
pub(crate) fn pack_bias(bias: &[f32]) -> Buffer {
    let mut packed = Buffer::zeroed(bias.len().next_multiple_of(PANEL));
    packed[..bias.len()].copy_from_slice(bias);
    packed
}

/// `R` rows by `V` vectors of sums in registers.
///
/// # Safety
/// See [`Tile`]; the caller has the instruction set of `T` and of `P`.
#[inline(always)]
unsafe fn sums<T: Vector, P: Products<T>, const R: usize, const V: usize>(tile: &Tile, column: usize, columns: usize) {
    // SAFETY: every pointer stays within what the caller of the tile vouches for: rows < R, k < the run's depth, lanes < PANEL for
    // weights and bias, and `count` lanes for results and residual.
    unsafe {
        let mut sums = [[T::splat(0.0); V]; R];
        let mut b = tile.b.add(column);
        // Loops that test at their end: with a path round them the compiler keeps the sums twice and spills them.
        let taps = tile.taps;
        let (mut start, mut member, mut left) = (tile.a, 0, taps.groups * taps.members);
        loop {
            left -= 1;
            let mut a = start;
            let mut depth = if left == 0 { taps.last_depth } else { taps.depth };
            loop {
                let mut weights = [T::splat(0.0); V];
                for (j, weight) in weights.iter_mut().enumerate() {
                    *weight = T::load(b.add(j * T::LANES));
                }
                for (i, row) in sums.iter_mut().enumerate() {
                    let value = T::splat(*a.add(i * tile.lda));
                    for (sum, weight) in row.iter_mut().zip(weights) {
                        *sum = P::add(value, weight, *sum);
                    }
                }
                a = a.add(1);
                b = b.add(PANEL);
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            if left == 0 {
                break;
            }
            member += 1;
            start = start.wrapping_add(taps.member_stride);
            if member == taps.members {
                member = 0;
                start = start.wrapping_add(taps.group_stride).wrapping_sub(taps.members * taps.member_stride);
            }
        }
        let (low, high) = (T::splat(tile.low), T::splat(tile.high));
        for j in 0..V {
            let at = column + j * T::LANES;
            let count = columns.saturating_sub(at).min(T::LANES);
            let bias = T::load(tile.bias.add(at));
            for (i, row) in sums.iter().enumerate() {
                let mut sum = row[j].add(bias);
                if !tile.residual.is_null() {
                    sum = sum.add(T::load_first(tile.residual.wrapping_add(i * tile.ldr + at), count));
                }
                sum.clamp(low, high).store_first(tile.c.wrapping_add(i * tile.ldc + at), count);
            }
        }
    }
}

// One never-inlined function a tile size keeps its sums in registers; a match over the rows left chooses it.
macro_rules! instruction_set {
    ($rows:ident, $tile:ident, $bend:path, $(#[$attribute:meta])*, $vector:ty, $products:ty, $most:literal, $($less:literal)*) => {
        $(#[$attribute])*
        #[inline(never)]
        unsafe fn $tile<const R: usize, const V: usize>(tile: &Tile, column: usize, columns: usize) {
            // SAFETY: passed on to the caller.
            unsafe { sums::<$vector, $products, R, V>(tile, column, columns) }
        }

        /// All rows and columns of a tile.
        ///
        /// # Safety
        /// See [`Tile`]; the machine must have the instruction set.
        pub(crate) unsafe fn $rows(tile: &Tile, rows: usize, columns: usize) {
            const LANES: usize = <$vector as Vector>::LANES;
            // Tiles of about equal height: one of a few rows waits for its weights.
            let (tiles, mut column) = (rows.div_ceil($most).max(1), 0);
            let (height, higher) = (rows / tiles, rows % tiles);
            while column < columns {
                let wide = columns - column > LANES;
                let mut part = *tile;
                let count = if wide { 2 * LANES } else { LANES };
                for tile in 0..tiles {
                    let taken = height + usize::from(tile < higher);
                    // SAFETY: `taken` rows and the columns from `column` on are part of the tile.
                    unsafe {
                        match (taken, wide) {
                            ($most, true) => $tile::<$most, 2>(&part, column, columns),
                            ($most, false) => $tile::<$most, 1>(&part, column, columns),
                            $(
                                ($less, true) => $tile::<$less, 2>(&part, column, columns),
                                ($less, false) => $tile::<$less, 1>(&part, column, columns),
                            )*
                            _ => {}
                        }
                        if let Some(curve) = part.curve {
                            let columns = (columns - column).min(count);
                            let values = part.c.wrapping_add(column);
                            $bend(&Bend { curve, values, rows: taken, stride: part.ldc, columns });
                        }
                    }
                    part.a = part.a.wrapping_add(taken * part.lda);
                    part.c = part.c.wrapping_add(taken * part.ldc);
                    if !part.residual.is_null() {
                        part.residual = part.residual.wrapping_add(taken * part.ldr);
                    }
                }
                column += count;
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
instruction_set!(rows_avx512, tile_avx512, crate::curve::bend_avx512, #[target_feature(enable = "avx512f")], std::arch::x86_64::__m512, Single, 14, 1 2 3 4 5 6 7 8 9 10 11 12 13);
#[cfg(target_arch = "x86_64")]
instruction_set!(rows_avx512bf16, tile_avx512bf16, crate::curve::bend_avx512, #[target_feature(enable = "avx512f,avx512bf16")], std::arch::x86_64::__m512, crate::bf16::Pairs, 14, 1 2 3 4 5 6 7 8 9 10 11 12 13);
#[cfg(target_arch = "x86_64")]
instruction_set!(rows_avx2, tile_avx2, crate::curve::bend_avx2, #[target_feature(enable = "avx2,fma")], std::arch::x86_64::__m256, Single, 6, 1 2 3 4 5);
instruction_set!(rows_portable, tile_portable, crate::curve::bend_portable, , Baseline, Single, 6, 1 2 3 4 5);
