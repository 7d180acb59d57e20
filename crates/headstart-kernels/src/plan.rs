//! Layers → steps: which kernel reads which map and writes where, with maps used again as soon as they are free.

use crate::bf16::Precision;
use crate::buffer::Buffer;
use crate::convolution::{Conv2d, Pass};
use crate::depthwise::DepthwiseConv2d;
use crate::error::KernelError;
use crate::inverted_residual::InvertedResidual;
use crate::layer::Layer;
use crate::pool2d::Pool2d;
use crate::product::Target;
use crate::shape::{Shape, volume};
use crate::winograd::Winograd;

/// Floats that a map or a step's scratch may have: a quarter of what can be addressed holds all of a thread's.
pub(crate) const MOST: usize = isize::MAX as usize / 64;

/// Layers within layers, at most.
const DEEPEST: usize = 8;

/// Maps that each depth of nesting has of its own: two that the layers of a chain go back and forth between, and a
/// shortcut.
const MAPS_A_DEPTH: usize = 3;

/// A map, as seen from one layer of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// What goes into the layer.
    Input,
    /// What comes out of it.
    Output,
    /// A map that only lives within it.
    Inner(usize),
}

/// Where the result of a chain goes: a map with `stride` channels, from channel `offset` on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination {
    pub(crate) place: Place,
    pub(crate) stride: usize,
    pub(crate) offset: usize,
}

/// What runs.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a network has tens of steps, and their weights are elsewhere")]
pub(crate) enum Kernel {
    Conv2d(Conv2d),
    Winograd(Winograd),
    Depthwise(DepthwiseConv2d),
    InvertedResidual(InvertedResidual),
    Pool2d(Pool2d),
    GlobalAveragePool,
    Copy,
}

/// One kernel on one map.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) kernel: Kernel,
    pub(crate) from: Place,
    pub(crate) input: Shape,
    pub(crate) to: Destination,
    pub(crate) output: Shape,
    pub(crate) residual: Option<Place>,
}

/// The steps of one layer of the network.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// Floats of each inner map.
    pub(crate) inner: Vec<usize>,
    /// Number of the layer, for errors.
    layer: usize,
    /// Of the 1×1 convolutions.
    precision: Precision,
}

impl Plan {
    /// Plans one layer of the network; also the shape of its result.
    pub(crate) fn new(
        number: usize,
        layer: Layer,
        input: Shape,
        precision: Precision,
    ) -> Result<(Self, Shape), KernelError> {
        let mut plan = Self { layer: number, precision, ..Self::default() };
        let output = plan.shape_after(&layer, input, 0)?;
        let to = Destination { place: Place::Output, stride: output.channels, offset: 0 };
        plan.add(layer, (Place::Input, input), to, 0)?;
        Ok((plan, output))
    }

    /// Shape of a layer's result, with everything about it checked.
    fn shape_after(&self, layer: &Layer, input: Shape, depth: usize) -> Result<Shape, KernelError> {
        let channels = match layer {
            Layer::Conv2d(layer) => layer.spec.in_channels,
            Layer::Depthwise(layer) => layer.spec.channels,
            Layer::InvertedResidual(layer) => layer.in_channels(),
            _ => input.channels,
        };
        if channels != input.channels {
            return Err(KernelError::Channels { layer: self.layer, expected: channels, found: input.channels });
        }
        if depth > DEEPEST {
            return Err(KernelError::Invalid("layers within layers within layers, more than eight deep"));
        }
        let (output, scratch) = match layer {
            Layer::Conv2d(layer) => (layer.output(input), layer.scratch(input)),
            Layer::Depthwise(layer) => (layer.output(input), layer.scratch(input)),
            Layer::InvertedResidual(layer) => (layer.output(input), layer.scratch(input)),
            Layer::Pool2d(layer) => (layer.output(input), 0),
            Layer::GlobalAveragePool => (Some(Shape { height: 1, width: 1, channels }), 0),
            Layer::Branches(branches) => (Some(self.side_by_side(branches, input, depth)?), 0),
            Layer::Residual { body, shortcut } => {
                let sum = self.shape_after_all(body, input, depth)?;
                if !matches!(body.last(), Some(Layer::Conv2d(_))) {
                    return Err(KernelError::Invalid("the body of a residual must end in a convolution"));
                }
                if self.shape_after_all(shortcut, input, depth)? != sum {
                    return Err(KernelError::Invalid("body and shortcut of a residual must have results of one shape"));
                }
                (Some(sum), 0)
            }
        };
        let (layer, height, width) = (self.layer, input.height, input.width);
        let output = output.ok_or(KernelError::TooSmall { layer, height, width })?;
        if input.len().max(output.len()).max(scratch) > MOST {
            return Err(KernelError::TooLarge { layer, height, width });
        }
        Ok(output)
    }

    fn shape_after_all(&self, layers: &[Layer], input: Shape, depth: usize) -> Result<Shape, KernelError> {
        layers.iter().try_fold(input, |shape, layer| self.shape_after(layer, shape, depth + 1))
    }

    fn side_by_side(&self, branches: &[Vec<Layer>], input: Shape, depth: usize) -> Result<Shape, KernelError> {
        let shapes = branches.iter().map(|branch| self.shape_after_all(branch, input, depth));
        let shapes = shapes.collect::<Result<Vec<_>, _>>()?;
        let Some(first) = shapes.first() else { return Err(KernelError::Invalid("branches without a branch")) };
        if shapes.iter().any(|shape| (shape.height, shape.width) != (first.height, first.width)) {
            return Err(KernelError::Invalid("branches whose results are not of the same height and width"));
        }
        Ok(Shape { channels: shapes.iter().map(|shape| shape.channels).sum(), ..*first })
    }

    /// Adds the steps of a layer whose shapes have been checked.
    fn add(
        &mut self,
        layer: Layer,
        (from, input): (Place, Shape),
        to: Destination,
        depth: usize,
    ) -> Result<(), KernelError> {
        let kernel = match layer {
            Layer::Conv2d(layer) => match Winograd::form(&layer.spec, input) {
                Some(form) => Kernel::Winograd(Winograd::new(&layer, form)),
                None => Kernel::Conv2d(layer.in_precision(self.precision)),
            },
            Layer::Depthwise(layer) => Kernel::Depthwise(layer),
            Layer::InvertedResidual(layer) => Kernel::InvertedResidual(layer.in_precision(self.precision)),
            Layer::Pool2d(layer) => Kernel::Pool2d(layer),
            Layer::GlobalAveragePool => Kernel::GlobalAveragePool,
            Layer::Branches(branches) => {
                let mut offset = to.offset;
                for branch in branches {
                    let part = Destination { offset, ..to };
                    offset += self.add_all(branch, (from, input), part, depth)?.channels;
                }
                return Ok(());
            }
            Layer::Residual { body, shortcut } => {
                let kept = if shortcut.is_empty() {
                    from
                } else {
                    let place = Place::Inner(MAPS_A_DEPTH * depth + 2);
                    let shape = self.shape_after_all(&shortcut, input, depth)?;
                    self.room(place, shape);
                    let kept = Destination { place, stride: shape.channels, offset: 0 };
                    self.add_all(shortcut, (from, input), kept, depth)?;
                    place
                };
                self.add_all(body, (from, input), to, depth)?;
                if let Some(last) = self.steps.last_mut() {
                    last.residual = Some(kept);
                }
                return Ok(());
            }
        };
        let output = kernel.output(input).ok_or(KernelError::TooSmall {
            layer: self.layer,
            height: input.height,
            width: input.width,
        })?;
        if kernel.scratch(input) > MOST {
            return Err(KernelError::TooLarge { layer: self.layer, height: input.height, width: input.width });
        }
        self.steps.push(Step { kernel, from, input, to, output, residual: None });
        Ok(())
    }

    /// Adds a chain within a layer; the shape of its result.
    fn add_all(
        &mut self,
        layers: Vec<Layer>,
        (mut from, mut input): (Place, Shape),
        to: Destination,
        depth: usize,
    ) -> Result<Shape, KernelError> {
        if layers.is_empty() {
            self.steps.push(Step { kernel: Kernel::Copy, from, input, to, output: input, residual: None });
            return Ok(input);
        }
        let count = layers.len();
        for (index, layer) in layers.into_iter().enumerate() {
            let output = self.shape_after(&layer, input, depth + 1)?;
            let target = if index + 1 == count {
                to
            } else {
                let place = Place::Inner(MAPS_A_DEPTH * depth + index % 2);
                self.room(place, output);
                Destination { place, stride: output.channels, offset: 0 }
            };
            self.add(layer, (from, input), target, depth + 1)?;
            (from, input) = (target.place, output);
        }
        Ok(input)
    }

    fn room(&mut self, place: Place, shape: Shape) {
        if let Place::Inner(index) = place {
            self.inner.resize(self.inner.len().max(index + 1), 0);
            self.inner[index] = self.inner[index].max(shape.len());
        }
    }

    /// Floats of scratch that the step that needs most of it needs.
    pub(crate) fn scratch(&self) -> usize {
        self.steps.iter().map(|step| step.kernel.scratch(step.input)).max().unwrap_or(0)
    }
}

impl Step {
    /// Rows of the result that one of `threads` threads computes.
    pub(crate) fn share(&self, thread: usize, threads: usize) -> std::ops::Range<usize> {
        // Tiles of Winograd's form stay whole.
        let unit = if let Kernel::Winograd(layer) = &self.kernel { layer.row_unit() } else { 1 };
        let units = self.output.height.div_ceil(unit);
        let row = |thread: usize| (units * thread / threads * unit).min(self.output.height);
        row(thread)..row(thread + 1)
    }

    /// Floats from the start of the map that is written to the first of row `y` that this step writes.
    pub(crate) fn start_of(&self, y: usize) -> usize {
        y * self.output.width * self.to.stride + self.to.offset
    }

    /// Floats of the map that is written.
    pub(crate) fn target_len(&self) -> usize {
        volume(&[self.output.height, self.output.width, self.to.stride])
    }
}

impl Kernel {
    fn output(&self, input: Shape) -> Option<Shape> {
        match self {
            Self::Conv2d(layer) => layer.output(input),
            Self::Winograd(layer) => layer.output(input),
            Self::Depthwise(layer) => layer.output(input),
            Self::InvertedResidual(layer) => layer.output(input),
            Self::Pool2d(layer) => layer.output(input),
            Self::GlobalAveragePool => Some(Shape { height: 1, width: 1, channels: input.channels }),
            Self::Copy => Some(input),
        }
    }

    fn scratch(&self, input: Shape) -> usize {
        match self {
            Self::Conv2d(layer) => layer.scratch(input),
            Self::Winograd(layer) => layer.scratch(input),
            Self::Depthwise(layer) => layer.scratch(input),
            Self::InvertedResidual(layer) => layer.scratch(input),
            Self::Pool2d(_) | Self::GlobalAveragePool | Self::Copy => 0,
        }
    }

    /// The rows of `pass`, into `output`, which begins at the first of them.
    pub(crate) fn forward(&self, pass: Pass<'_>, output: Target<'_>, scratch: &mut Buffer) {
        if pass.rows.is_empty() {
            return;
        }
        match self {
            Self::Conv2d(layer) => layer.forward(pass, output, scratch),
            Self::Winograd(layer) => layer.forward(pass, output, scratch),
            Self::Depthwise(layer) => layer.forward(pass, output, scratch),
            Self::InvertedResidual(layer) => layer.forward(pass, output, scratch),
            Self::Pool2d(layer) => layer.forward(pass, output),
            Self::GlobalAveragePool => average(pass, output),
            Self::Copy => copy(pass, output),
        }
    }
}

fn average(pass: Pass<'_>, output: Target<'_>) {
    let output = &mut output.values[..pass.shape.channels];
    output.fill(0.0);
    for pixel in pass.input.chunks_exact(pass.shape.channels) {
        for (sum, value) in output.iter_mut().zip(pixel) {
            *sum += value;
        }
    }
    let scale = 1.0 / (pass.shape.height * pass.shape.width) as f32;
    output.iter_mut().for_each(|sum| *sum *= scale);
}

fn copy(pass: Pass<'_>, output: Target<'_>) {
    let (channels, row) = (pass.shape.channels, pass.shape.width * pass.shape.channels);
    let pixels = pass.input[pass.rows.start * row..pass.rows.end * row].chunks_exact(channels);
    for (index, pixel) in pixels.enumerate() {
        output.values[index * output.stride..][..channels].copy_from_slice(pixel);
    }
}
