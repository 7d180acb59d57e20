//! Convolution by Winograd's minimal filtering (Lavin and Gray 2016, arXiv:1509.09308): 3×3 with 36 products where the
//! direct form takes 144, and 5×5, 1×3, 3×1, 1×7 and 7×1.
//!
//! Tiles of pixels are transformed, multiplied channel by channel as independent products of matrices, one for each point,
//! and transformed back. Tiles lie on a fixed grid, so whole rows of them can be shared out to the same bits.

mod axis;
mod tiles;

pub(crate) use tiles::{Form, InputTile, OutputTile, input_tile_portable, output_tile_portable};
#[cfg(target_arch = "x86_64")]
pub(crate) use tiles::{input_tile_avx2, input_tile_avx512, output_tile_avx2, output_tile_avx512};

use axis::MOST_POINTS;

use crate::bf16::Precision;
use crate::buffer::Buffer;
use crate::convolution::{Conv2d, Conv2dSpec, Pass};
use crate::dispatch::{InstructionSet, run_input_tile, run_output_tile};
use crate::product::{Operand, Panel, Target, multiply};
use crate::shape::{Activation, Shape, volume};
use crate::tile::{PANEL, Taps};

/// Bytes that the transformed weights of one layer may take: 3×3 kernels become four times as large.
const MOST_WEIGHT_BYTES: usize = 64 << 20;

/// Bytes of transformed tiles that should stay in the second-level cache…
const BLOCK_BYTES: usize = 1 << 20;

/// …but so many tiles at least use each panel of weights once it is there.
const FEWEST_TILES: usize = 56;

/// Weights up to this size stay in a cache from one picture to the next.
const CACHED_BYTES: usize = 4 << 20;

/// Rows of a product that take as long as the weights of one column take to come from memory.
const ROWS_A_WEIGHT: usize = 24;

/// Floats between the matrices of two points beside the matrices themselves, so that they do not all begin in the same
/// set of the cache.
const STAGGER: usize = 48;

/// A convolution with its kernels transformed.
#[derive(Debug, Clone)]
pub(crate) struct Winograd {
    spec: Conv2dSpec,
    form: Form,
    /// [points][panels][in][PANEL]
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

impl Winograd {
    /// The form that is faster than the direct one for an input shape, if there is one and its weights are small enough.
    ///
    /// Products are counted against what the transforms cost, in products: measured on AVX-512 and AVX2.
    pub(crate) fn form(spec: &Conv2dSpec, input: Shape) -> Option<Form> {
        let form = Form::of(spec.kernel).filter(|_| spec.stride == [1; 2] && spec.dilation == [1; 2])?;
        let (height, width) = spec.window().output(input.height, input.width)?;
        let (inputs, outputs) = (spec.in_channels as f64, spec.out_channels as f64);
        let [rows, columns] = form.sides();
        let points = rows.points * columns.points;
        let tiles = height.div_ceil(rows.results) * width.div_ceil(columns.results);
        let bytes = volume(&[points, spec.in_channels, spec.out_channels.next_multiple_of(PANEL), size_of::<f32>()]);
        let product_rows = if bytes > CACHED_BYTES { tiles.max(ROWS_A_WEIGHT) } else { tiles };
        // A second axis transforms everything twice.
        let (of_input, of_output) = if rows.points > 1 && columns.points > 1 { (13.0, 11.0) } else { (8.0, 7.0) };
        let direct = (height * width * spec.kernel[0] * spec.kernel[1]) as f64 * inputs * outputs;
        let products = (product_rows * points) as f64 * inputs * outputs;
        let transforms = (tiles * points) as f64 * (of_input * inputs + of_output * outputs);
        (products + transforms < 0.75 * direct && bytes <= MOST_WEIGHT_BYTES).then_some(form)
    }

    /// Transforms the kernels of a convolution.
    pub(crate) fn new(direct: &Conv2d, form: Form) -> Self {
        let spec = direct.spec;
        let (inputs, outputs) = (spec.in_channels, spec.out_channels);
        let panels = outputs.div_ceil(PANEL);
        let [rows, columns] = form.sides();
        let mut weights = Buffer::zeroed(rows.points * columns.points * panels * inputs * PANEL);
        for input in 0..inputs {
            for output in 0..outputs {
                // [kernel columns][row points]
                let mut half = [[0.0; MOST_POINTS]; MOST_POINTS];
                for (kx, points) in half.iter_mut().enumerate().take(spec.kernel[1]) {
                    let mut taps = [0.0; MOST_POINTS];
                    for (ky, tap) in taps.iter_mut().enumerate().take(spec.kernel[0]) {
                        *tap = f64::from(direct.weight([ky, kx], input, output));
                    }
                    *points = (rows.kernel_to_points)(taps);
                }
                for y in 0..rows.points {
                    let points = (columns.kernel_to_points)(half.map(|points| points[y]));
                    for (x, point) in points.iter().enumerate().take(columns.points) {
                        let at = (((y * columns.points + x) * panels + output / PANEL) * inputs + input) * PANEL;
                        weights[at + output % PANEL] = *point as f32;
                    }
                }
            }
        }
        Self { spec, form, weights, bias: direct.bias().clone() }
    }

    pub(crate) fn output(&self, input: Shape) -> Option<Shape> {
        let (height, width) = self.spec.window().output(input.height, input.width)?;
        Some(Shape { height, width, channels: self.spec.out_channels })
    }

    /// Rows of results that are computed together.
    pub(crate) fn row_unit(&self) -> usize {
        self.form.sides()[0].results
    }

    fn points(&self) -> usize {
        self.form.sides().iter().map(|side| side.points).product()
    }

    fn blocks(&self, input: Shape) -> Blocks {
        let padded = |channels: usize| channels.next_multiple_of(PANEL);
        let (before, after) = (padded(self.spec.in_channels), padded(self.spec.out_channels));
        let (height, width) = self.size(input);
        let [rows, columns] = self.form.sides();
        let fitting = BLOCK_BYTES / volume(&[self.points(), before + after, size_of::<f32>()]).max(1);
        let all = height.div_ceil(rows.results) * width.div_ceil(columns.results);
        let most = fitting.max(FEWEST_TILES).min(all);
        // Blocks of about equal size, so that the last is not a small one.
        let tiles = all.div_ceil(all.div_ceil(most));
        Blocks { tiles, before: tiles * before + STAGGER, after: tiles * after + STAGGER }
    }

    fn size(&self, input: Shape) -> (usize, usize) {
        self.spec.window().output(input.height, input.width).expect("checked when the network was built")
    }

    /// Floats of scratch that one picture needs: tiles before and after the products, and a pixel of zeros.
    pub(crate) fn scratch(&self, input: Shape) -> usize {
        let blocks = self.blocks(input);
        volume(&[self.points(), blocks.before.saturating_add(blocks.after)]).saturating_add(self.spec.in_channels)
    }

    /// Rows of the result of one picture, beginning on the grid of tiles; lengths have been checked by the network.
    pub(crate) fn forward(&self, pass: Pass<'_>, output: Target<'_>, scratch: &mut Buffer) {
        let Pass { set, shape, input, residual, rows } = pass;
        let (_, width) = self.size(shape);
        let (inputs, outputs) = (self.spec.in_channels, self.spec.out_channels);
        let [down, right] = self.form.sides();
        assert!(rows.start % down.results == 0 && input.len() == shape.len());
        assert!(output.values.len() >= (rows.len() * width - 1) * output.stride + outputs);
        assert!(residual.is_none_or(|residual| residual.len() >= rows.end * width * outputs));
        let (blocks, points) = (self.blocks(shape), self.points());
        let (before, rest) = scratch[..self.scratch(shape)].split_at_mut(points * blocks.before);
        let (after, zeros) = rest.split_at_mut(points * blocks.after);
        zeros.fill(0.0);
        let padding = self.spec.window().padding(shape.height, shape.width);
        let across = width.div_ceil(right.results);
        let (first, last) = (rows.start / down.results * across, rows.end.div_ceil(down.results) * across);
        let (low, high) = self.spec.activation.bounds();
        let corner = |tile: usize| (tile / across * down.results, tile % across * right.results);
        let mut pixels = [zeros.as_ptr(); MOST_POINTS * MOST_POINTS];
        for start in (first..last).step_by(blocks.tiles) {
            let count = blocks.tiles.min(last - start);
            for index in 0..count {
                let (y, x) = corner(start + index);
                for (point, pixel) in pixels.iter_mut().enumerate().take(points) {
                    let row = (y + point / right.points).checked_sub(padding.top);
                    let column = (x + point % right.points).checked_sub(padding.left);
                    *pixel = match (row, column) {
                        (Some(row), Some(column)) if row < shape.height && column < shape.width => {
                            input[(row * shape.width + column) * inputs..].as_ptr()
                        }
                        _ => zeros.as_ptr(),
                    };
                }
                let tile = InputTile {
                    form: self.form,
                    pixels: &pixels[..points],
                    channels: inputs,
                    to: before[index * PANEL..].as_mut_ptr(),
                    point_stride: blocks.before,
                    panel_stride: blocks.tiles * PANEL,
                };
                // SAFETY: pixels lie in the picture or are zeros; tile `index` of every panel and point lies in `before`.
                unsafe { run_input_tile(set, &tile) }
            }
            for point in 0..points {
                self.multiply_point(set, point, count, (before, after), blocks);
            }
            for index in 0..count {
                let (y, x) = corner(start + index);
                let row = y - rows.start;
                let tile = OutputTile {
                    form: self.form,
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
                    rows: rows.end - y,
                    columns: width - x,
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
            let weights =
                Panel { weights, precision: Precision::F32, bias: &NO_BIAS, columns, activation: Activation::Identity };
            let values = &mut products[panel * blocks.tiles * PANEL..];
            multiply(set, weights, operand, count, Target { values, stride: PANEL }, None);
        }
    }
}
