//! Expand → depthwise → project, fused: expanded rows never leave the cache.
//!
//! A small map is worked panel by panel of expanded channels, the whole map at a time; a large one in blocks of rows, with
//! the expanded rows of all panels in a ring. Both give the same bits as the three layers one after the other.

use crate::bf16::{Precision, narrow, narrowed};
use crate::buffer::Buffer;
use crate::convolution::{Conv2d, Pass};
use crate::depthwise::{DepthwiseConv2d, clear_padding, fill_row};
use crate::dispatch::InstructionSet;
use crate::error::KernelError;
use crate::product::{Operand, Target, multiply};
use crate::shape::{Shape, volume};
use crate::tile::{PANEL, Taps};

/// Inverted residual block (Sandler et al. 2018).
#[derive(Debug, Clone)]
pub struct InvertedResidual {
    expand: Option<Conv2d>,
    depthwise: DepthwiseConv2d,
    project: Conv2d,
    residual: bool,
}

/// Bytes of expanded rows that should stay in the second-level cache.
const RING_BYTES: usize = 400 << 10;

/// A whole expanded panel up to this size is worked at once.
const PANEL_BYTES: usize = 128 << 10;

/// …if the results of the depthwise convolution fit here.
const RESULT_BYTES: usize = 512 << 10;

/// How a block is worked for an input shape.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    output: Shape,
    top: usize,
    left: usize,
    /// Floats of one padded expanded row of one panel.
    row: usize,
    /// Rows of results a block.
    block: usize,
    /// Expanded rows that the ring holds.
    ring: usize,
    /// Panels that the ring holds.
    ring_panels: usize,
}

impl InvertedResidual {
    /// Fuses three layers; `residual` adds the input to the sums of `project`, before its activation.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] when the layers do not fit together.
    pub fn new(
        expand: Option<Conv2d>,
        depthwise: DepthwiseConv2d,
        project: Conv2d,
        residual: bool,
    ) -> Result<Self, KernelError> {
        let hidden = depthwise.spec.channels;
        let inputs = expand.as_ref().map_or(hidden, |expand| expand.spec.in_channels);
        if expand.as_ref().is_some_and(|expand| !expand.is_pointwise() || expand.spec.out_channels != hidden) {
            return Err(KernelError::Invalid("the expansion must be a 1×1 convolution to the depthwise channels"));
        }
        if !project.is_pointwise() || project.spec.in_channels != hidden {
            return Err(KernelError::Invalid("the projection must be a 1×1 convolution from the depthwise channels"));
        }
        let keeps_shape = depthwise.spec.window().keeps_size() && project.spec.out_channels == inputs;
        if residual && !keeps_shape {
            return Err(KernelError::Invalid("a residual needs a result of the shape of the input"));
        }
        Ok(Self { expand, depthwise, project, residual })
    }

    /// The same in another precision, which this machine must have.
    pub(crate) fn in_precision(self, precision: Precision) -> Self {
        let expand = self.expand.map(|expand| expand.in_precision(precision));
        Self { expand, project: self.project.in_precision(precision), ..self }
    }

    fn precision(&self) -> Precision {
        self.project.precision
    }

    pub(crate) fn in_channels(&self) -> usize {
        self.expand.as_ref().map_or(self.depthwise.spec.channels, |expand| expand.spec.in_channels)
    }

    pub(crate) fn output(&self, input: Shape) -> Option<Shape> {
        Some(Shape { channels: self.project.spec.out_channels, ..self.depthwise.output(input)? })
    }

    fn schedule(&self, input: Shape) -> Schedule {
        let window = self.depthwise.spec.window();
        let padding = window.padding(input.height, input.width);
        let output = self.output(input).expect("checked when the network was built");
        let row = volume(&[input.width + padding.left + padding.right, PANEL]);
        let (stride, span) = (window.stride[0], (window.kernel[0] - 1) * window.dilation[0] + 1);
        let panels = self.depthwise.panels();
        let result_bytes = volume(&[output.height, output.width, panels, PANEL, 4]);
        let whole_ring = (output.height - 1) * stride + span;
        if volume(&[whole_ring, row, 4]) <= PANEL_BYTES && result_bytes <= RESULT_BYTES {
            let (top, left) = (padding.top, padding.left);
            return Schedule { output, top, left, row, block: output.height, ring: whole_ring, ring_panels: 1 };
        }
        let fitting = RING_BYTES / volume(&[panels, row, 4]);
        let most = (fitting.saturating_sub(span) / stride + 1).min(output.height);
        // Blocks of equal height waste nothing at the end.
        let block = output.height.div_ceil(output.height.div_ceil(most));
        let ring = (block - 1) * stride + span;
        Schedule { output, top: padding.top, left: padding.left, row, block, ring, ring_panels: panels }
    }

    /// Floats of scratch that one picture needs.
    pub(crate) fn scratch(&self, input: Shape) -> usize {
        let plan = self.schedule(input);
        let ring = volume(&[plan.ring, plan.row, plan.ring_panels]);
        let slots = self.precision().slots(PANEL);
        let results = volume(&[plan.block, plan.output.width, self.depthwise.panels(), slots]);
        let narrow = match self.precision() {
            Precision::F32 => 0,
            Precision::Bf16 => volume(&[plan.output.width, PANEL]).saturating_add(self.pixel_slots(&plan, input)),
        };
        ring.saturating_add(results).saturating_add(plan.row).saturating_add(narrow)
    }

    /// Slots of the narrowed rows of the input that one block expands.
    fn pixel_slots(&self, plan: &Schedule, input: Shape) -> usize {
        if self.expand.is_none() {
            return 0;
        }
        // The first block expands every row under it, the others those that the ring has not seen.
        let stride = self.depthwise.spec.stride[0];
        let rows = plan.ring.max(plan.block * stride).min(input.height);
        volume(&[rows, input.width, Precision::Bf16.slots(input.channels)])
    }

    /// Rows `rows` of the result of one picture; lengths have been checked by the network.
    pub(crate) fn forward(&self, pass: Pass<'_>, output: Target<'_>, scratch: &mut Buffer) {
        let Pass { set, shape, input, rows, .. } = pass;
        let Target { values: output, stride: output_stride } = output;
        let plan = self.schedule(shape);
        let window = self.depthwise.spec.window();
        let (stride, dilation) = (window.stride[0], window.dilation[0]);
        let (width, panels) = (plan.output.width, self.depthwise.panels());
        let (ring, rest) = scratch[..self.scratch(shape)].split_at_mut(plan.ring * plan.row * plan.ring_panels);
        let precision = self.precision();
        let slots = precision.slots(PANEL);
        let (results, rest) = rest.split_at_mut(plan.block * width * panels * slots);
        let (zeros, rest) = rest.split_at_mut(plan.row);
        // In bf16: one row of results in f32, and pixels as words.
        let (wide, narrow_pixels) = rest.split_at_mut(rest.len().min(width * PANEL));
        zeros.fill(0.0);

        let whole = plan.block == plan.output.height;
        let (from, to) = (rows.start, rows.end);
        let start = (from * stride).saturating_sub(plan.top).min(shape.height); // the first row of the input that is needed
        let mut expanded = start; // rows of the input up to which the ring has seen
        let mut first = from;
        while first < to {
            let rows = plan.block.min(to - first);
            // Rows of the input under the last result, cut at the bottom.
            let last = (first + rows - 1) * stride + (window.kernel[0] - 1) * dilation;
            let needed = (last + 1).saturating_sub(plan.top).min(shape.height);
            let results_len = rows * width * slots;
            let from_row = if whole { start } else { expanded };
            let pixels = &input[from_row * shape.width * shape.channels..needed * shape.width * shape.channels];
            let pixels = match (precision, &self.expand) {
                (Precision::Bf16, Some(_)) => {
                    narrowed(pixels, shape.channels, (needed - from_row) * shape.width, narrow_pixels)
                }
                _ => Operand { values: pixels, row_stride: shape.channels, taps: Taps::single(shape.channels) },
            };
            for panel in 0..panels {
                let slot = if plan.ring_panels == 1 { 0 } else { panel };
                let ring = &mut ring[slot * plan.ring * plan.row..][..plan.ring * plan.row];
                for y in from_row..needed {
                    let values = &pixels.values[(y - from_row) * shape.width * pixels.row_stride..];
                    let values = &values[..shape.width * pixels.row_stride];
                    let row = &mut ring[(y % plan.ring) * plan.row..][..plan.row];
                    self.expand_row(set, Operand { values, ..pixels }, panel, plan.left, row);
                }
                for y in 0..rows {
                    let under = self.depthwise.rows_under(first + y, plan.top, shape.height, zeros, |row| {
                        &ring[(row % plan.ring) * plan.row..][..plan.row]
                    });
                    let under = &under[..window.kernel[0]];
                    let row = &mut results[panel * results_len + y * width * slots..][..width * slots];
                    if precision == Precision::F32 {
                        self.depthwise.row(set, panel, under, row);
                    } else {
                        self.depthwise.row(set, panel, under, wide);
                        narrow((wide, PANEL), self.depthwise.channels_of(panel), (row, slots), width);
                    }
                }
            }
            expanded = needed;
            let channels = plan.output.channels;
            let target = &mut output[(first - from) * width * output_stride..];
            let residual = self.residual.then(|| &input[first * width * channels..]);
            let operand = Operand {
                values: &results[..panels * results_len],
                row_stride: slots,
                taps: Taps {
                    groups: panels,
                    group_stride: results_len,
                    members: 1,
                    member_stride: 0,
                    depth: slots,
                    last_depth: precision.slots(self.depthwise.channels_of(panels - 1)),
                },
            };
            for panel in 0..self.project.panels() {
                let residual = residual.map(|residual| (&residual[panel * PANEL..], channels));
                let target = Target { values: &mut target[panel * PANEL..], stride: output_stride };
                multiply(set, self.project.panel(panel), operand, rows * width, target, residual);
            }
            first += rows;
        }
    }

    /// One panel of a row of expanded channels, with zeros around it.
    fn expand_row(&self, set: InstructionSet, pixels: Operand<'_>, panel: usize, left: usize, row: &mut [f32]) {
        let Some(expand) = &self.expand else {
            return fill_row(row, pixels.values, self.in_channels(), panel * PANEL, left);
        };
        let width = pixels.values.len() / pixels.row_stride;
        clear_padding(row, left, width);
        let target = Target { values: &mut row[left * PANEL..], stride: PANEL };
        multiply(set, expand.panel(panel), pixels, width, target, None);
    }
}
