//! Convolution with fused bias, residual and activation, without im2col: the tile reads the picture in place.

use std::ops::Range;

use crate::bf16::{Precision, narrowed, pack_pairs};
use crate::buffer::Buffer;
use crate::dispatch::InstructionSet;
use crate::error::KernelError;
use crate::product::{Operand, Panel, Target, multiply};
use crate::shape::{Activation, Padding, PaddingRule, Shape, Window, volume};
use crate::tile::{PANEL, Taps, pack, pack_bias};

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
    pub(crate) precision: Precision,
    /// [panels][kernel rows][kernel columns][in][PANEL]; in bf16 [panels][⌈in / 2⌉][PANEL] of words.
    weights: Buffer,
    bias: Buffer,
}

/// Bytes of narrowed pixels that should stay in the second-level cache beside a panel of weights.
const BLOCK_BYTES: usize = 256 << 10;

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
        let weights = pack(weights, inputs, spec.out_channels);
        Ok(Self { spec, precision: Precision::F32, weights, bias: pack_bias(bias) })
    }

    /// The same in another precision, which this machine must have; only one whose results are each a function of the one
    /// pixel below them changes.
    pub(crate) fn in_precision(self, precision: Precision) -> Self {
        if precision == self.precision || !self.is_pointwise() {
            return self;
        }
        let weights = pack_pairs(&self.weights, self.spec.in_channels);
        Self { precision, weights, ..self }
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

    /// Rows of pixels that are narrowed at a time.
    fn block(&self, input: Shape) -> usize {
        match self.precision {
            Precision::F32 => input.height,
            Precision::Bf16 => {
                let row = volume(&[input.width, self.precision.slots(input.channels), 4]);
                (BLOCK_BYTES / row.max(1)).clamp(1, input.height.max(1))
            }
        }
    }

    /// Floats of scratch that one picture needs: the picture with its padding, or a block of its rows in bf16.
    pub(crate) fn scratch(&self, input: Shape) -> usize {
        if self.precision == Precision::Bf16 {
            return volume(&[self.block(input), input.width, self.precision.slots(input.channels)]);
        }
        let padding = self.spec.window().padding(input.height, input.width);
        if padding == Padding::default() {
            return 0;
        }
        let (height, width) = (input.height + padding.top + padding.bottom, input.width + padding.left + padding.right);
        volume(&[height, width, input.channels])
    }

    /// Rows `rows` of the result of one picture; lengths have been checked by the network.
    pub(crate) fn forward(&self, pass: Pass<'_>, output: Target<'_>, scratch: &mut Buffer) {
        let Pass { set, shape, input, residual, rows } = pass;
        assert_eq!(input.len(), shape.len());
        let (inputs, outputs) = (self.spec.in_channels, self.spec.out_channels);
        let Target { values: output, stride } = output;
        let residual = |y: usize, panel: usize, width: usize| {
            residual.map(|residual| (&residual[y * width * outputs + panel * PANEL..], outputs))
        };
        if self.is_pointwise() {
            for first in rows.clone().step_by(self.block(shape)) {
                let pixels = self.block(shape).min(rows.end - first) * shape.width;
                let values = &input[first * shape.width * inputs..];
                let operand = match self.precision {
                    Precision::F32 => Operand { values, row_stride: inputs, taps: Taps::single(inputs) },
                    Precision::Bf16 => narrowed(values, inputs, pixels, scratch),
                };
                let output = &mut output[(first - rows.start) * shape.width * stride..];
                for panel in 0..self.panels() {
                    let target = Target { values: &mut output[panel * PANEL..], stride };
                    multiply(set, self.panel(panel), operand, pixels, target, residual(first, panel, shape.width));
                }
            }
            return;
        }
        let window = self.spec.window();
        let padding = window.padding(shape.height, shape.width);
        let (_, width) = window.output(shape.height, shape.width).expect("checked when the network was built");
        let padded_width = shape.width + padding.left + padding.right;
        // The rows of the padded picture under the rows that are asked for.
        let first = rows.start * window.stride[0];
        let count = (rows.len() - 1) * window.stride[0] + window.span(0);
        let padded = if padding == Padding::default() {
            &input[first * padded_width * inputs..]
        } else {
            let padded = &mut scratch[..count * padded_width * inputs];
            fill_padded(padded, input, first, padding, shape, padded_width);
            padded
        };
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
            for (index, y) in rows.clone().enumerate() {
                let values = &padded[index * window.stride[0] * padded_width * inputs..];
                let operand = Operand { values, row_stride: window.stride[1] * inputs, taps };
                let target = Target { values: &mut output[index * width * stride + panel * PANEL..], stride };
                multiply(set, self.panel(panel), operand, width, target, residual(y, panel, width));
            }
        }
    }

    /// The packed weights and bias of one panel of results.
    pub(crate) fn panel(&self, panel: usize) -> Panel<'_> {
        let inputs = volume(&[self.spec.kernel[0], self.spec.kernel[1], self.precision.slots(self.spec.in_channels)]);
        Panel {
            precision: self.precision,
            weights: &self.weights[panel * inputs * PANEL..][..inputs * PANEL],
            bias: &self.bias[panel * PANEL..][..PANEL],
            columns: (self.spec.out_channels - panel * PANEL).min(PANEL),
            activation: self.spec.activation,
        }
    }

    /// One weight, unpacked; of a convolution in f32.
    pub(crate) fn weight(&self, [ky, kx]: [usize; 2], input: usize, output: usize) -> f32 {
        let (tap, inputs) = (ky * self.spec.kernel[1] + kx, self.spec.in_channels);
        let rows = volume(&[self.spec.kernel[0], self.spec.kernel[1], inputs]);
        self.weights[((output / PANEL) * rows + tap * inputs + input) * PANEL + output % PANEL]
    }

    /// The bias, zero-filled to whole panels.
    pub(crate) fn bias(&self) -> &Buffer {
        &self.bias
    }
}

/// One picture on its way through a layer.
#[derive(Debug, Clone)]
pub(crate) struct Pass<'a> {
    pub(crate) set: InstructionSet,
    /// Of the input.
    pub(crate) shape: Shape,
    pub(crate) input: &'a [f32],
    /// Of the whole result, added before the activation.
    pub(crate) residual: Option<&'a [f32]>,
    /// Rows of the result that are wanted.
    pub(crate) rows: Range<usize>,
}

/// Rows of a picture with zeros around it, from row `first` of the padded picture on, as many as `padded` holds.
pub(crate) fn fill_padded(
    padded: &mut [f32],
    input: &[f32],
    first: usize,
    padding: Padding,
    shape: Shape,
    padded_width: usize,
) {
    let (row, left) = (shape.width * shape.channels, padding.left * shape.channels);
    for (index, to) in padded.chunks_exact_mut(padded_width * shape.channels).enumerate() {
        match (first + index).checked_sub(padding.top).filter(|y| *y < shape.height) {
            Some(y) => {
                to[..left].fill(0.0);
                to[left..][..row].copy_from_slice(&input[y * row..][..row]);
                to[left + row..].fill(0.0);
            }
            None => to.fill(0.0),
        }
    }
}

impl Conv2dSpec {
    pub(crate) fn window(&self) -> Window {
        Window { kernel: self.kernel, stride: self.stride, dilation: self.dilation, padding: self.padding }
    }
}

pub(crate) fn check(what: &'static str, expected: usize, found: usize) -> Result<(), KernelError> {
    if expected == found { Ok(()) } else { Err(KernelError::Length { what, expected, found }) }
}
