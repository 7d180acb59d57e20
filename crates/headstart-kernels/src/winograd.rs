//! 3×3 convolution by Winograd's F(4×4, 3×3): 36 products where the direct form takes 144 (Lavin and Gray 2016,
//! arXiv:1509.09308).
//!
//! Tiles of 6×6 pixels are transformed, multiplied channel by channel as 36 independent products of matrices, and
//! transformed back to 4×4 results. Tiles lie on a fixed grid, so rows can be shared out in fours to the same bits.

use crate::buffer::Buffer;
use crate::convolution::{Conv2d, Conv2dSpec, Pass};
use crate::curve::{Curve, bent};
use crate::dispatch::{InstructionSet, run_input_tile, run_output_tile};
use crate::product::{Operand, Panel, Target, multiply};
use crate::shape::{Activation, Shape, volume};
use crate::simd::{Baseline, Vector};
use crate::tile::{PANEL, Taps};

/// Rows and columns of results of one tile.
pub(crate) const TILE: usize = 4;

/// Rows and columns that a tile reads.
const PATCH: usize = 6;

/// Products of one tile and channel.
const POINTS: usize = PATCH * PATCH;

/// Bytes that the transformed weights of one layer may take: four times what they were.
const MOST_WEIGHT_BYTES: usize = 64 << 20;

/// Bytes of transformed tiles that should stay in the second-level cache…
const BLOCK_BYTES: usize = 1 << 20;

/// …but so many tiles at least use each panel of weights once it is there.
const FEWEST_TILES: usize = 56;

/// Floats between the matrices of two points beside the matrices themselves, so that they do not all begin in the same
/// set of the cache.
const STAGGER: usize = 48;

/// From kernels to points: the matrix G of the paper.
const KERNEL_TRANSFORM: [[f64; 3]; PATCH] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// A convolution with its kernels transformed.
#[derive(Debug, Clone)]
pub(crate) struct Winograd {
    spec: Conv2dSpec,
    /// [POINTS][panels][in][PANEL]
    weights: Buffer,
    bias: Buffer,
}

/// How tiles lie in the scratch.
#[derive(Debug, Clone, Copy)]
struct Blocks {
    /// Tiles a block.
    tiles: usize,
    /// Floats from the matrix of one point to the next, before and after the products.
    before: usize,
    after: usize,
}

/// One tile to transform, all channels of it.
///
/// # Safety
/// Each of `pixels` must be valid for `channels` floats; `to` for [`PANEL`] floats in every panel at every point.
pub(crate) struct InputTile {
    pixels: [*const f32; POINTS],
    channels: usize,
    to: *mut f32,
    point_stride: usize,
    panel_stride: usize,
}

/// One tile of products to transform back.
///
/// # Safety
/// `from` must be valid for [`PANEL`] floats in every panel at every point, `bias` for whole panels, `to` and a non-null
/// `residual` for `channels` floats at each of `rows` × `columns` pixels.
pub(crate) struct OutputTile {
    from: *const f32,
    point_stride: usize,
    panel_stride: usize,
    channels: usize,
    bias: *const f32,
    to: *mut f32,
    row_stride: usize,
    pixel_stride: usize,
    residual: *const f32,
    residual_row_stride: usize,
    residual_pixel_stride: usize,
    rows: usize,
    columns: usize,
    low: f32,
    high: f32,
    curve: Option<Curve>,
}

impl Winograd {
    /// Whether this form is faster than the direct one for an input shape, and its weights small enough.
    ///
    /// Products are counted against what the transforms cost, in products: measured on AVX-512 and AVX2.
    pub(crate) fn pays(spec: &Conv2dSpec, input: Shape) -> bool {
        const INPUT_TRANSFORM: f64 = 470.0;
        const OUTPUT_TRANSFORM: f64 = 390.0;
        if spec.kernel != [3; 2] || spec.stride != [1; 2] || spec.dilation != [1; 2] {
            return false;
        }
        let Some((height, width)) = spec.window().output(input.height, input.width) else { return false };
        let (inputs, outputs) = (spec.in_channels as f64, spec.out_channels as f64);
        let tiles = (height.div_ceil(TILE) * width.div_ceil(TILE)) as f64;
        let direct = (height * width) as f64 * 9.0 * inputs * outputs;
        let ours = tiles * (POINTS as f64 * inputs * outputs + INPUT_TRANSFORM * inputs + OUTPUT_TRANSFORM * outputs);
        let bytes = volume(&[POINTS, spec.in_channels, spec.out_channels.next_multiple_of(PANEL), size_of::<f32>()]);
        ours < 0.75 * direct && bytes <= MOST_WEIGHT_BYTES
    }

    /// Transforms the kernels of a 3×3 convolution.
    pub(crate) fn new(direct: &Conv2d) -> Self {
        let spec = direct.spec;
        let (inputs, outputs) = (spec.in_channels, spec.out_channels);
        let panels = outputs.div_ceil(PANEL);
        let mut weights = Buffer::zeroed(POINTS * panels * inputs * PANEL);
        for input in 0..inputs {
            for output in 0..outputs {
                let kernel: [[f64; 3]; 3] = std::array::from_fn(|ky| {
                    std::array::from_fn(|kx| f64::from(direct.weight([ky, kx], input, output)))
                });
                let dot =
                    |row: &[f64; 3], column: [f64; 3]| -> f64 { row.iter().zip(column).map(|(a, b)| a * b).sum() };
                for (y, row) in KERNEL_TRANSFORM.iter().enumerate() {
                    let half: [f64; 3] = std::array::from_fn(|kx| dot(row, [0, 1, 2].map(|ky: usize| kernel[ky][kx])));
                    for (x, column) in KERNEL_TRANSFORM.iter().enumerate() {
                        let at = (((y * PATCH + x) * panels + output / PANEL) * inputs + input) * PANEL;
                        weights[at + output % PANEL] = dot(column, half) as f32;
                    }
                }
            }
        }
        Self { spec, weights, bias: direct.bias().clone() }
    }

    pub(crate) fn output(&self, input: Shape) -> Option<Shape> {
        let (height, width) = self.spec.window().output(input.height, input.width)?;
        Some(Shape { height, width, channels: self.spec.out_channels })
    }

    fn blocks(&self, input: Shape) -> Blocks {
        let padded = |channels: usize| channels.next_multiple_of(PANEL);
        let (before, after) = (padded(self.spec.in_channels), padded(self.spec.out_channels));
        let (height, width) = self.sides(input);
        let fitting = BLOCK_BYTES / volume(&[POINTS, before + after, size_of::<f32>()]).max(1);
        let tiles = fitting.max(FEWEST_TILES).min(height.div_ceil(TILE) * width.div_ceil(TILE));
        Blocks { tiles, before: tiles * before + STAGGER, after: tiles * after + STAGGER }
    }

    fn sides(&self, input: Shape) -> (usize, usize) {
        self.spec.window().output(input.height, input.width).expect("checked when the network was built")
    }

    /// Floats of scratch that one picture needs: tiles before and after the products, and a pixel of zeros.
    pub(crate) fn scratch(&self, input: Shape) -> usize {
        let blocks = self.blocks(input);
        volume(&[POINTS, blocks.before.saturating_add(blocks.after)]).saturating_add(self.spec.in_channels)
    }

    /// Rows of the result of one picture, beginning on the grid of tiles; lengths have been checked by the network.
    pub(crate) fn forward(&self, pass: Pass<'_>, output: Target<'_>, scratch: &mut Buffer) {
        let Pass { set, shape, input, residual, rows } = pass;
        let (_, width) = self.sides(shape);
        let (inputs, outputs) = (self.spec.in_channels, self.spec.out_channels);
        assert!(rows.start % TILE == 0 && input.len() == shape.len());
        assert!(output.values.len() >= (rows.len() * width - 1) * output.stride + outputs);
        assert!(residual.is_none_or(|residual| residual.len() >= rows.end * width * outputs));
        let blocks = self.blocks(shape);
        let (before, rest) = scratch[..self.scratch(shape)].split_at_mut(POINTS * blocks.before);
        let (after, zeros) = rest.split_at_mut(POINTS * blocks.after);
        zeros.fill(0.0);
        let padding = self.spec.window().padding(shape.height, shape.width);
        let across = width.div_ceil(TILE);
        let (first, last) = (rows.start / TILE * across, rows.end.div_ceil(TILE) * across);
        let (low, high) = self.spec.activation.bounds();
        let corner = |tile: usize| (tile / across * TILE, tile % across * TILE);
        for start in (first..last).step_by(blocks.tiles) {
            let count = blocks.tiles.min(last - start);
            for index in 0..count {
                let (y, x) = corner(start + index);
                let pixels = std::array::from_fn(|point| {
                    let row = (y + point / PATCH).checked_sub(padding.top).filter(|row| *row < shape.height);
                    let column = (x + point % PATCH).checked_sub(padding.left).filter(|column| *column < shape.width);
                    match (row, column) {
                        (Some(row), Some(column)) => input[(row * shape.width + column) * inputs..].as_ptr(),
                        _ => zeros.as_ptr(),
                    }
                });
                let to = before[index * PANEL..].as_mut_ptr();
                let (point_stride, panel_stride) = (blocks.before, blocks.tiles * PANEL);
                // SAFETY: pixels lie in the picture or are zeros; tile `index` of every panel and point lies in `before`.
                unsafe { run_input_tile(set, &InputTile { pixels, channels: inputs, to, point_stride, panel_stride }) }
            }
            for point in 0..POINTS {
                self.multiply_point(set, point, count, (before, after), blocks);
            }
            for index in 0..count {
                let (y, x) = corner(start + index);
                let row = y - rows.start;
                let tile = OutputTile {
                    from: after[index * PANEL..].as_ptr(),
                    point_stride: blocks.after,
                    panel_stride: blocks.tiles * PANEL,
                    channels: outputs,
                    bias: self.bias.as_ptr(),
                    to: output.values[(row * width + x) * output.stride..].as_mut_ptr(),
                    row_stride: width * output.stride,
                    pixel_stride: output.stride,
                    residual: residual.map_or(std::ptr::null(), |values| values[(y * width + x) * outputs..].as_ptr()),
                    residual_row_stride: width * outputs,
                    residual_pixel_stride: outputs,
                    rows: TILE.min(rows.end - y),
                    columns: TILE.min(width - x),
                    low,
                    high,
                    curve: self.spec.activation.curve(),
                };
                // SAFETY: tile `index` lies in `after`, its pixels in output and residual by the asserts above.
                unsafe { run_output_tile(set, &tile) }
            }
        }
    }

    /// The product of matrices of one point, for `count` tiles.
    fn multiply_point(
        &self,
        set: InstructionSet,
        point: usize,
        count: usize,
        (before, after): (&[f32], &mut [f32]),
        blocks: Blocks,
    ) {
        const NO_BIAS: [f32; PANEL] = [0.0; PANEL];
        let (inputs, outputs) = (self.spec.in_channels, self.spec.out_channels);
        let (panels, groups) = (outputs.div_ceil(PANEL), inputs.div_ceil(PANEL));
        let taps = Taps {
            groups,
            group_stride: blocks.tiles * PANEL,
            members: 1,
            member_stride: 0,
            depth: PANEL,
            last_depth: inputs - (groups - 1) * PANEL,
        };
        let operand = Operand { values: &before[point * blocks.before..][..blocks.before], row_stride: PANEL, taps };
        let products = &mut after[point * blocks.after..][..blocks.after];
        for panel in 0..panels {
            let weights = &self.weights[(point * panels + panel) * inputs * PANEL..][..inputs * PANEL];
            let columns = (outputs - panel * PANEL).min(PANEL);
            let weights = Panel { weights, bias: &NO_BIAS, columns, activation: Activation::Identity };
            let values = &mut products[panel * blocks.tiles * PANEL..];
            multiply(set, weights, operand, count, Target { values, stride: PANEL }, None);
        }
    }
}

/// Six pixels of a row or column to six points: the transposed matrix B of the paper.
#[inline(always)]
unsafe fn to_points<T: Vector>(d: [T; PATCH]) -> [T; PATCH] {
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
        ]
    }
}

/// Six points to four results: the transposed matrix A of the paper.
#[inline(always)]
unsafe fn to_results<T: Vector>(m: [T; PATCH]) -> [T; TILE] {
    // SAFETY: passed on to the caller.
    unsafe {
        let (sum, difference) = (m[1].add(m[2]), m[1].subtract(m[2]));
        let (far_sum, far_difference) = (m[3].add(m[4]), m[3].subtract(m[4]));
        [
            m[0].add(sum.add(far_sum)),
            far_difference.multiply_add(T::splat(2.0), difference),
            far_sum.multiply_add(T::splat(4.0), sum),
            far_difference.multiply_add(T::splat(8.0), difference).add(m[5]),
        ]
    }
}

/// One column of a table of vectors. A loop, since closures do not always inherit the instruction set.
#[inline(always)]
fn column<T: Vector, const N: usize>(rows: &[[T; N]; PATCH], x: usize) -> [T; PATCH] {
    let mut column = [rows[0][x]; PATCH];
    for (value, row) in column.iter_mut().zip(rows) {
        *value = row[x];
    }
    column
}

/// # Safety
/// See [`InputTile`]; the machine must have the instruction set of `T`.
#[inline(always)]
unsafe fn input_tile<T: Vector>(tile: &InputTile) {
    let mut channel = 0;
    while channel < tile.channels {
        let count = (tile.channels - channel).min(T::LANES);
        // SAFETY: `count` channels of each pixel are there, and whole vectors of each panel.
        unsafe {
            let mut rows = [[T::splat(0.0); PATCH]; PATCH];
            for (row, pixels) in rows.iter_mut().zip(tile.pixels.chunks_exact(PATCH)) {
                let mut values = [T::splat(0.0); PATCH];
                for (value, pixel) in values.iter_mut().zip(pixels) {
                    *value = T::load_first(pixel.add(channel), count);
                }
                *row = to_points(values);
            }
            let to = tile.to.add(channel / PANEL * tile.panel_stride + channel % PANEL);
            for x in 0..PATCH {
                let points = to_points(column(&rows, x));
                for (y, point) in points.iter().enumerate() {
                    point.store(to.add((y * PATCH + x) * tile.point_stride));
                }
            }
        }
        channel += T::LANES;
    }
}

/// # Safety
/// See [`OutputTile`]; the machine must have the instruction set of `T`.
#[inline(always)]
unsafe fn output_tile<T: Vector>(tile: &OutputTile) {
    let mut channel = 0;
    while channel < tile.channels {
        let count = (tile.channels - channel).min(T::LANES);
        // SAFETY: whole vectors of each panel are there, and `count` channels of every pixel.
        unsafe {
            let from = tile.from.add(channel / PANEL * tile.panel_stride + channel % PANEL);
            let mut columns = [[T::splat(0.0); TILE]; PATCH];
            for (x, results) in columns.iter_mut().enumerate() {
                let mut points = [T::splat(0.0); PATCH];
                for (y, point) in points.iter_mut().enumerate() {
                    *point = T::load(from.add((y * PATCH + x) * tile.point_stride));
                }
                *results = to_results(points);
            }
            let (bias, low, high) = (T::load(tile.bias.add(channel)), T::splat(tile.low), T::splat(tile.high));
            for y in 0..tile.rows {
                let results = to_results(column(&columns, y));
                for (x, result) in results.iter().enumerate().take(tile.columns) {
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
        pub(crate) unsafe fn $input(tile: &InputTile) {
            // SAFETY: passed on to the caller.
            unsafe { input_tile::<$vector>(tile) }
        }

        /// Transforms one tile of products back.
        ///
        /// # Safety
        /// See [`OutputTile`]; the machine must have the instruction set.
        $(#[$attribute])*
        pub(crate) unsafe fn $output(tile: &OutputTile) {
            // SAFETY: passed on to the caller.
            unsafe { output_tile::<$vector>(tile) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
instruction_set!(input_tile_avx512, output_tile_avx512, #[target_feature(enable = "avx512f")], std::arch::x86_64::__m512);
#[cfg(target_arch = "x86_64")]
instruction_set!(input_tile_avx2, output_tile_avx2, #[target_feature(enable = "avx2,fma")], std::arch::x86_64::__m256);
instruction_set!(input_tile_portable, output_tile_portable, , Baseline);
