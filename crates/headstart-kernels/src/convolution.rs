//! Convolution with fused bias, residual and activation, without im2col: the tile reads the picture in place.

use std::ops::Range;

use crate::buffer::Buffer;
use crate::dispatch::{InstructionSet, run_tile};
use crate::error::KernelError;
use crate::shape::{Activation, PaddingRule, Shape, Window, volume};
use crate::tile::{PANEL, Taps, Tile, pack, pack_bias};

/// What a convolution does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conv2dSpec {
    /// Channels of its input.
    pub in_channels: usize,
    /// Channels of its result.
    pub out_channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Step along rows and columns.
    pub stride: [usize; 2],
    /// Distance of the kernel's taps along rows and columns.
    pub dilation: [usize; 2],
    /// Zeros around the input.
    pub padding: PaddingRule,
    /// What happens to the sums.
    pub activation: Activation,
}

/// A convolution with its weights packed.
#[derive(Debug, Clone)]
pub struct Conv2d {
    pub(crate) spec: Conv2dSpec,
    /// [panels][kernel rows][kernel columns][in][PANEL]
    weights: Buffer,
    bias: Buffer,
}

/// What the rows of a product are read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) values: &'a [f32],
    /// Floats from one row to the next.
    pub(crate) row_stride: usize,
    pub(crate) taps: Taps,
}

pub(crate) const UNUSABLE: &str =
    "a convolution whose kernel, stride, dilation, padding, channels or bound is out of range";

impl Conv2d {
    /// Packs a convolution; `weights` `[rows, columns, in, out]` row-major, `bias` `[out]`.
    ///
    /// # Errors
    /// [`KernelError::Length`]; [`KernelError::Invalid`] for a number out of range.
    pub fn new(spec: Conv2dSpec, weights: &[f32], bias: &[f32]) -> Result<Self, KernelError> {
        if !spec.window().is_usable() || !spec.activation.is_usable() || spec.in_channels == 0 || spec.out_channels == 0
        {
            return Err(KernelError::Invalid(UNUSABLE));
        }
        let inputs = volume(&[spec.kernel[0], spec.kernel[1], spec.in_channels]);
        check("the kernel", volume(&[inputs, spec.out_channels]), weights.len())?;
        check("the bias", spec.out_channels, bias.len())?;
        Ok(Self { spec, weights: pack(weights, inputs, spec.out_channels), bias: pack_bias(bias) })
    }

    /// Whether every result is a function of the one pixel below it.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.spec.kernel == [1, 1]
            && self.spec.stride == [1, 1]
            && !matches!(self.spec.padding, PaddingRule::Explicit(padding) if padding != Default::default())
    }

    pub(crate) fn output(&self, input: Shape) -> Option<Shape> {
        let (height, width) = self.spec.window().output(input.height, input.width)?;
        Some(Shape { height, width, channels: self.spec.out_channels })
    }

    pub(crate) fn panels(&self) -> usize {
        self.spec.out_channels.div_ceil(PANEL)
    }

    /// Floats of scratch that one picture needs: the picture with its padding.
    pub(crate) fn scratch(&self, input: Shape) -> usize {
        if self.is_pointwise() {
            return 0;
        }
        let padding = self.spec.window().padding(input.height, input.width);
        let (height, width) = (input.height + padding.top + padding.bottom, input.width + padding.left + padding.right);
        volume(&[height, width, input.channels])
    }

    /// Rows `rows` of the result of one picture; lengths have been checked by the network.
    pub(crate) fn forward(
        &self,
        set: InstructionSet,
        shape: Shape,
        rows: Range<usize>,
        input: &[f32],
        output: &mut [f32],
        scratch: &mut Buffer,
    ) {
        assert_eq!(input.len(), shape.len());
        let (inputs, outputs) = (self.spec.in_channels, self.spec.out_channels);
        if self.is_pointwise() {
            let values = &input[rows.start * shape.width * inputs..];
            let operand = Operand { values, row_stride: inputs, taps: Taps::single(inputs) };
            for panel in 0..self.panels() {
                self.multiply(set, panel, operand, rows.len() * shape.width, &mut output[panel * PANEL..], None);
            }
            return;
        }
        let window = self.spec.window();
        let padding = window.padding(shape.height, shape.width);
        let (_, width) = window.output(shape.height, shape.width).expect("checked when the network was built");
        assert_eq!(output.len(), rows.len() * width * outputs);
        let padded_width = shape.width + padding.left + padding.right;
        let padded = &mut scratch[..self.scratch(shape)];
        fill_padded(padded, input, padding.top, padding.left * inputs, padded_width * inputs, shape.width * inputs);
        // With neighbouring columns a kernel row is one run of values; with dilation every column is a run of its own.
        let (members, depth) =
            if window.dilation[1] == 1 { (1, window.kernel[1] * inputs) } else { (window.kernel[1], inputs) };
        let taps = Taps {
            groups: window.kernel[0],
            group_stride: window.dilation[0] * padded_width * inputs,
            members,
            member_stride: window.dilation[1] * inputs,
            depth,
            last_depth: depth,
        };
        // Panel by panel, so that its weights stay in the cache for all rows.
        for panel in 0..self.panels() {
            for (y, row) in rows.clone().zip(output.chunks_exact_mut(width * outputs)) {
                let values = &padded[y * window.stride[0] * padded_width * inputs..];
                let operand = Operand { values, row_stride: window.stride[1] * inputs, taps };
                self.multiply(set, panel, operand, width, &mut row[panel * PANEL..], None);
            }
        }
    }

    /// `rows` results of one panel into `output`, which begins at the panel's first channel and has `[rows, out]`; so has
    /// `residual`, which is added before the activation.
    pub(crate) fn multiply(
        &self,
        set: InstructionSet,
        panel: usize,
        operand: Operand<'_>,
        rows: usize,
        output: &mut [f32],
        residual: Option<&[f32]>,
    ) {
        let channels = self.spec.out_channels;
        self.multiply_into(set, panel, operand, rows, (output, channels), residual);
    }

    /// [`Self::multiply`] into rows that are as far apart as the second part of `output` says.
    pub(crate) fn multiply_into(
        &self,
        set: InstructionSet,
        panel: usize,
        operand: Operand<'_>,
        rows: usize,
        (output, stride): (&mut [f32], usize),
        residual: Option<&[f32]>,
    ) {
        let (at, inputs) = (panel * PANEL, operand.taps.inputs());
        let columns = (self.spec.out_channels - at).min(PANEL);
        let Some(last) = rows.checked_sub(1) else { return };
        assert!(operand.taps.groups * operand.taps.members * operand.taps.depth * operand.taps.last_depth > 0);
        assert!(operand.values.len() >= last * operand.row_stride + operand.taps.reach());
        assert!(output.len() >= last * stride + columns);
        assert!(residual.is_none_or(|residual| residual.len() >= last * stride + columns));
        let (low, high) = self.spec.activation.bounds();
        let tile = Tile {
            a: operand.values.as_ptr(),
            lda: operand.row_stride,
            taps: operand.taps,
            b: self.weights[panel * inputs * PANEL..][..inputs * PANEL].as_ptr(),
            bias: self.bias[at..][..PANEL].as_ptr(),
            c: output.as_mut_ptr(),
            ldc: stride,
            residual: residual.map_or(std::ptr::null(), <[f32]>::as_ptr),
            ldr: stride,
            low,
            high,
        };
        // SAFETY: the asserts above keep every row of operand, output and residual in its slice, weights and bias are
        // sliced to whole panels, and a network only takes a `set` that this machine has.
        unsafe { run_tile(set, &tile, rows, columns) }
    }
}

/// A picture with zeros around it; lengths in floats.
pub(crate) fn fill_padded(padded: &mut [f32], input: &[f32], top: usize, left: usize, padded_row: usize, row: usize) {
    padded[..top * padded_row].fill(0.0);
    let mut rows = padded[top * padded_row..].chunks_exact_mut(padded_row);
    for (from, to) in input.chunks_exact(row).zip(rows.by_ref()) {
        to[..left].fill(0.0);
        to[left..][..row].copy_from_slice(from);
        to[left + row..].fill(0.0);
    }
    rows.for_each(|row| row.fill(0.0));
}

impl Conv2dSpec {
    pub(crate) fn window(&self) -> Window {
        Window { kernel: self.kernel, stride: self.stride, dilation: self.dilation, padding: self.padding }
    }
}

pub(crate) fn check(what: &'static str, expected: usize, found: usize) -> Result<(), KernelError> {
    if expected == found { Ok(()) } else { Err(KernelError::Length { what, expected, found }) }
}
