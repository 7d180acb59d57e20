//! Convolution with fused bias, residual and activation, without im2col: the tile reads the picture in place.

use crate::buffer::Buffer;
use crate::dispatch::{InstructionSet, run_tile};
use crate::error::KernelError;
use crate::shape::{Activation, PaddingRule, Shape, Window};
use crate::tile::{PANEL, Tile, pack, pack_bias};

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
    weights: Buffer,
    bias: Buffer,
}

impl Conv2d {
    /// Packs a convolution; `weights` `[rows, columns, in, out]` row-major, `bias` `[out]`.
    ///
    /// # Errors
    /// [`KernelError::Length`] or [`KernelError::Invalid`].
    pub fn new(spec: Conv2dSpec, weights: &[f32], bias: &[f32]) -> Result<Self, KernelError> {
        let inputs = spec.kernel[0] * spec.kernel[1] * spec.in_channels;
        if !spec.window().is_usable() || inputs == 0 || spec.out_channels == 0 {
            return Err(KernelError::Invalid("a convolution without kernel, stride, dilation or channels"));
        }
        check("the kernel", inputs * spec.out_channels, weights.len())?;
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

    /// Floats of scratch that one picture needs.
    pub(crate) fn scratch(&self, input: Shape) -> usize {
        if self.is_pointwise() {
            return 0;
        }
        let padding = self.spec.window().padding(input.height, input.width);
        (input.height + padding.top + padding.bottom) * (input.width + padding.left + padding.right) * input.channels
    }

    /// One picture; lengths have been checked by the network.
    pub(crate) fn forward(
        &self,
        set: InstructionSet,
        shape: Shape,
        input: &[f32],
        output: &mut [f32],
        scratch: &mut Buffer,
    ) {
        assert_eq!(input.len(), shape.len());
        if self.is_pointwise() {
            let rows = shape.height * shape.width;
            assert_eq!(output.len(), rows * self.spec.out_channels);
            self.multiply(set, input.as_ptr(), self.spec.in_channels, &[0], rows, output, None);
            return;
        }
        let (window, channels) = (self.spec.window(), shape.channels);
        let padding = window.padding(shape.height, shape.width);
        let (height, width) = window.output(shape.height, shape.width).expect("checked when the network was built");
        assert_eq!(output.len(), height * width * self.spec.out_channels);
        let padded_width = shape.width + padding.left + padding.right;
        let length = self.scratch(shape);
        scratch.grow(length);
        let padded = &mut scratch[..length];
        padded.fill(0.0);
        for (y, row) in input.chunks_exact((shape.width * channels).max(1)).enumerate() {
            padded[((y + padding.top) * padded_width + padding.left) * channels..][..row.len()].copy_from_slice(row);
        }
        // With neighbouring columns a kernel row is one run of values; with dilation every column is a tap of its own.
        let runs = if window.dilation[1] == 1 { 1 } else { window.kernel[1] };
        let taps: Vec<usize> = (0..window.kernel[0])
            .flat_map(|ky| {
                (0..runs).map(move |kx| (ky * window.dilation[0] * padded_width + kx * window.dilation[1]) * channels)
            })
            .collect();
        let out_row = width * self.spec.out_channels;
        for (y, row) in output.chunks_exact_mut(out_row).enumerate() {
            let start = &padded[y * window.stride[0] * padded_width * channels..];
            // The last tap of the last pixel of the row must lie in the picture.
            let reach = (width - 1) * window.stride[1] * channels + taps[taps.len() - 1] + self.depth(taps.len());
            assert!(reach <= start.len());
            self.multiply(set, start.as_ptr(), window.stride[1] * channels, &taps, width, row, None);
        }
    }

    fn depth(&self, taps: usize) -> usize {
        self.spec.kernel[0] * self.spec.kernel[1] * self.spec.in_channels / taps
    }

    /// `rows` results into `output` `[rows, out]`, from rows of the input that are `lda` apart.
    ///
    /// The caller has made sure that every row and tap lies in the picture that `input` points into.
    #[expect(clippy::too_many_arguments, reason = "a matrix product has that many operands")]
    pub(crate) fn multiply(
        &self,
        set: InstructionSet,
        input: *const f32,
        lda: usize,
        taps: &[usize],
        rows: usize,
        output: &mut [f32],
        residual: Option<&[f32]>,
    ) {
        let channels = self.spec.out_channels;
        assert!(output.len() >= rows * channels);
        assert!(residual.is_none_or(|residual| residual.len() >= rows * channels));
        let inputs = self.weights.len() / PANEL / channels.div_ceil(PANEL);
        let (low, high) = self.spec.activation.bounds();
        for panel in 0..channels.div_ceil(PANEL) {
            let at = panel * PANEL;
            let tile = Tile {
                a: input,
                lda,
                taps,
                depth: inputs / taps.len(),
                b: self.weights[panel * inputs * PANEL..].as_ptr(),
                bias: self.bias[at..].as_ptr(),
                c: output[at..].as_mut_ptr(),
                ldc: channels,
                residual: residual.map_or(std::ptr::null(), |residual| residual[at..].as_ptr()),
                ldr: channels,
                low,
                high,
            };
            // SAFETY: weights and bias are packed to whole panels, output and residual hold `rows` rows, the caller
            // vouches for the input, and `set` was found on this machine.
            unsafe { run_tile(set, &tile, rows, (channels - at).min(PANEL)) }
        }
    }

    /// Pointwise results of one panel of channels into `output` `[rows, PANEL]`.
    pub(crate) fn multiply_panel(
        &self,
        set: InstructionSet,
        input: &[f32],
        panel: usize,
        rows: usize,
        output: &mut [f32],
    ) {
        let inputs = self.spec.in_channels;
        assert!(input.len() >= rows * inputs && output.len() >= rows * PANEL && self.is_pointwise());
        let (low, high) = self.spec.activation.bounds();
        let tile = Tile {
            a: input.as_ptr(),
            lda: inputs,
            taps: &[0],
            depth: inputs,
            b: self.weights[panel * inputs * PANEL..].as_ptr(),
            bias: self.bias[panel * PANEL..].as_ptr(),
            c: output.as_mut_ptr(),
            ldc: PANEL,
            residual: std::ptr::null(),
            ldr: 0,
            low,
            high,
        };
        // SAFETY: lengths are checked above; beyond the last channel weights and bias are zero.
        unsafe { run_tile(set, &tile, rows, PANEL) }
    }

    /// The same convolution with its inputs padded to whole panels, as fused layers feed it.
    pub(crate) fn with_padded_inputs(spec: Conv2dSpec, weights: &Self) -> Self {
        let (inputs, outputs) = (spec.in_channels, spec.out_channels);
        let padded = inputs.next_multiple_of(PANEL);
        let mut packed = Buffer::zeroed(outputs.div_ceil(PANEL) * padded * PANEL);
        for panel in 0..outputs.div_ceil(PANEL) {
            let from = &weights.weights[panel * inputs * PANEL..][..inputs * PANEL];
            packed[panel * padded * PANEL..][..from.len()].copy_from_slice(from);
        }
        Self { spec, weights: packed, bias: weights.bias.clone() }
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
