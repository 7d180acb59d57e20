//! A chain of layers for one input shape.

use std::ops::Range;
use std::sync::Mutex;

use crate::buffer::Buffer;
use crate::convolution::{Conv2d, check};
use crate::depthwise::DepthwiseConv2d;
use crate::dispatch::{InstructionSet, chosen};
use crate::error::KernelError;
use crate::inverted_residual::InvertedResidual;
use crate::row_shares::{Gate, Guard, RowShares};
use crate::shape::{Shape, volume};

/// One step of a frozen network.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "a network has tens of layers, and their weights are elsewhere")]
pub enum Layer {
    /// Convolution.
    Conv2d(Conv2d),
    /// Depthwise convolution.
    Depthwise(DepthwiseConv2d),
    /// Expand, depthwise, project.
    InvertedResidual(InvertedResidual),
    /// The mean of each channel, as a map of one pixel.
    GlobalAveragePool,
}

impl From<Conv2d> for Layer {
    fn from(layer: Conv2d) -> Self {
        Self::Conv2d(layer)
    }
}

impl From<DepthwiseConv2d> for Layer {
    fn from(layer: DepthwiseConv2d) -> Self {
        Self::Depthwise(layer)
    }
}

impl From<InvertedResidual> for Layer {
    fn from(layer: InvertedResidual) -> Self {
        Self::InvertedResidual(layer)
    }
}

impl Layer {
    fn in_channels(&self) -> Option<usize> {
        match self {
            Self::Conv2d(layer) => Some(layer.spec.in_channels),
            Self::Depthwise(layer) => Some(layer.spec.channels),
            Self::InvertedResidual(layer) => Some(layer.in_channels()),
            Self::GlobalAveragePool => None,
        }
    }

    fn output(&self, input: Shape) -> Option<Shape> {
        match self {
            Self::Conv2d(layer) => layer.output(input),
            Self::Depthwise(layer) => layer.output(input),
            Self::InvertedResidual(layer) => layer.output(input),
            Self::GlobalAveragePool => Some(Shape { height: 1, width: 1, channels: input.channels }),
        }
    }

    fn scratch(&self, input: Shape) -> usize {
        match self {
            Self::Conv2d(layer) => layer.scratch(input),
            Self::Depthwise(layer) => layer.scratch(input),
            Self::InvertedResidual(layer) => layer.scratch(input),
            Self::GlobalAveragePool => 0,
        }
    }

    /// Rows `rows` of the result of one picture.
    fn forward(
        &self,
        set: InstructionSet,
        shape: Shape,
        rows: Range<usize>,
        input: &[f32],
        output: &mut [f32],
        scratch: &mut Buffer,
    ) {
        match self {
            _ if rows.is_empty() => {}
            Self::Conv2d(layer) => layer.forward(set, shape, rows, input, output, scratch),
            Self::Depthwise(layer) => layer.forward(set, shape, rows, input, output, scratch),
            Self::InvertedResidual(layer) => layer.forward(set, shape, rows, input, output, scratch),
            Self::GlobalAveragePool => average(shape, input, output),
        }
    }
}

fn average(shape: Shape, input: &[f32], output: &mut [f32]) {
    output.fill(0.0);
    for pixel in input.chunks_exact(shape.channels) {
        for (sum, value) in output.iter_mut().zip(pixel) {
            *sum += value;
        }
    }
    let scale = 1.0 / (shape.height * shape.width) as f32;
    output.iter_mut().for_each(|sum| *sum *= scale);
}

/// A chain of layers whose weights are packed and whose shapes are known.
#[derive(Debug)]
pub struct Network {
    layers: Vec<Layer>,
    /// Shape before each layer, and after the last.
    shapes: Vec<Shape>,
    set: InstructionSet,
    /// Buffers of threads that are not running.
    idle: Mutex<Vec<Scratch>>,
}

/// Floats that a map or a layer's scratch may have: a quarter of what can be addressed holds both maps and the scratch.
const MOST: usize = isize::MAX as usize / 16;

/// What one thread works in.
#[derive(Debug, Default)]
struct Scratch {
    maps: [Buffer; 2],
    layer: Buffer,
}

impl Network {
    /// Chains layers for inputs of one shape, on the widest instruction set of this machine.
    ///
    /// # Errors
    /// [`KernelError::Channels`], [`KernelError::TooSmall`] or [`KernelError::TooLarge`] naming the layer;
    /// [`KernelError::Invalid`] for an empty input.
    pub fn new(input: Shape, layers: Vec<Layer>) -> Result<Self, KernelError> {
        Self::for_instruction_set(input, layers, chosen())
    }

    /// [`Network::new`] on a given instruction set, which must be one of [`InstructionSet::available`].
    ///
    /// # Errors
    /// As [`Network::new`]; [`KernelError::Invalid`] when this machine lacks the instruction set.
    pub fn for_instruction_set(input: Shape, layers: Vec<Layer>, set: InstructionSet) -> Result<Self, KernelError> {
        if !InstructionSet::available().contains(&set) {
            return Err(KernelError::Invalid("this machine lacks the instruction set"));
        }
        if input.len() > MOST {
            return Err(KernelError::TooLarge { layer: 0, height: input.height, width: input.width });
        }
        if input.is_empty() {
            return Err(KernelError::Invalid("an input without pixels or channels"));
        }
        let mut shapes = vec![input];
        let mut shape = input;
        for (index, layer) in layers.iter().enumerate() {
            if let Some(expected) = layer.in_channels().filter(|expected| *expected != shape.channels) {
                return Err(KernelError::Channels { layer: index, expected, found: shape.channels });
            }
            let too_small = KernelError::TooSmall { layer: index, height: shape.height, width: shape.width };
            let output = layer.output(shape).ok_or(too_small)?;
            // Two maps and a layer's scratch can be addressed, so no later sum overflows.
            if shape.len().max(output.len()).max(layer.scratch(shape)) > MOST {
                return Err(KernelError::TooLarge { layer: index, height: shape.height, width: shape.width });
            }
            shape = output;
            shapes.push(shape);
        }
        Ok(Self { layers, shapes, set, idle: Mutex::new(Vec::new()) })
    }

    /// Number of layers.
    pub fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// Shape after the first `layers` layers; 0 is the input.
    ///
    /// # Panics
    /// When there are not that many layers.
    pub fn shape_after(&self, layers: usize) -> Shape {
        self.shapes[layers]
    }

    /// Bytes of buffers that `threads` threads work in when they run all layers.
    pub fn peak_scratch_bytes(&self, threads: usize) -> usize {
        let (map, layer) = self.scratch(0..self.layers.len());
        volume(&[2 * map + layer, size_of::<f32>(), threads])
    }

    /// Floats of each of the two maps between layers, and of the scratch of the layer that needs most.
    fn scratch(&self, range: Range<usize>) -> (usize, usize) {
        let between = self.shapes.iter().take(range.end).skip(range.start + 1);
        let layers = self.layers[range.clone()].iter().zip(&self.shapes[range]);
        (
            between.map(Shape::len).max().unwrap_or(0),
            layers.map(|(layer, shape)| layer.scratch(*shape)).max().unwrap_or(0),
        )
    }

    /// Runs layers `range` over `batch` pictures, `[B, H, W, C]` → `[B, H', W', C']`.
    ///
    /// Threads take whole pictures, or rows where there is one picture. The result of a picture is the same to the last bit whatever batch it is in and
    /// however many threads there are.
    ///
    /// # Errors
    /// [`KernelError::Range`], [`KernelError::Length`] or [`KernelError::Memory`].
    pub fn forward(
        &self,
        range: Range<usize>,
        input: &[f32],
        batch: usize,
        output: &mut [f32],
        threads: usize,
    ) -> Result<(), KernelError> {
        if range.start > range.end || range.end > self.layers.len() {
            let layers = self.layers.len();
            return Err(KernelError::Range { start: range.start, end: range.end, layers });
        }
        let (from, to) = (self.shapes[range.start].len(), self.shapes[range.end].len());
        check("the input", volume(&[batch, from]), input.len())?;
        check("the output", volume(&[batch, to]), output.len())?;
        if batch == 1 && threads > 1 && !range.is_empty() {
            return self.split(range, input, output, threads);
        }
        let threads = threads.clamp(1, batch.max(1));
        let mut pictures = input.chunks_exact(from).zip(output.chunks_exact_mut(to));
        let mut scratch = self.take(range.clone())?;
        if threads == 1 {
            pictures.for_each(|(input, output)| self.one(range.clone(), input, output, &mut scratch));
            self.give(scratch);
            return Ok(());
        }
        let others = (1..threads).map(|_| self.take(range.clone())).collect::<Result<Vec<_>, _>>()?;
        // Whoever is free takes the next picture.
        let pictures = Mutex::new(pictures.by_ref());
        let work = |mut scratch: Scratch| {
            loop {
                let next = pictures.lock().ok().and_then(|mut pictures| pictures.next());
                let Some((input, output)) = next else { break };
                self.one(range.clone(), input, output, &mut scratch);
            }
            self.give(scratch);
        };
        std::thread::scope(|scope| {
            for scratch in others {
                scope.spawn(|| work(scratch));
            }
            work(scratch);
        });
        Ok(())
    }

    /// One picture by several threads, each with its part of the rows of every layer.
    fn split(&self, range: Range<usize>, input: &[f32], output: &mut [f32], threads: usize) -> Result<(), KernelError> {
        let mut all = (0..threads).map(|_| self.take(range.clone())).collect::<Result<Vec<_>, _>>()?;
        let [mut here, mut there] = std::mem::take(&mut all[0].maps);
        let maps = [RowShares::new(&mut here), RowShares::new(&mut there)];
        let last = RowShares::new(output);
        let gate = Gate::new(threads);
        let work = |thread: usize, scratch: &mut Buffer| {
            let _guard = Guard(&gate);
            for (step, index) in range.clone().enumerate() {
                let (shape, result) = (self.shapes[index], self.shapes[index + 1]);
                let rows = result.height * thread / threads..result.height * (thread + 1) / threads;
                let row = result.width * result.channels;
                let to = if index + 1 == range.end { &last } else { &maps[(step + 1) % 2] };
                // SAFETY: the threads' rows do not overlap, and nobody reads this map before all have passed the gate.
                let to = unsafe { to.part(rows.start * row..rows.end * row) };
                // SAFETY: this map was written before the last gate, and nobody writes to it before the next.
                let from = if step == 0 { input } else { unsafe { maps[step % 2].read(shape.len()) } };
                self.layers[index].forward(self.set, shape, rows, from, to, scratch);
                gate.pass();
            }
        };
        std::thread::scope(|scope| {
            let mut scratches = all.iter_mut().map(|scratch| &mut scratch.layer).enumerate();
            let own = scratches.next();
            for (thread, scratch) in scratches {
                let work = &work;
                scope.spawn(move || work(thread, scratch));
            }
            own.into_iter().for_each(|(thread, scratch)| work(thread, scratch));
        });
        all[0].maps = [here, there];
        all.into_iter().for_each(|scratch| self.give(scratch));
        Ok(())
    }

    /// One picture through the layers, back and forth between two maps.
    fn one(&self, range: Range<usize>, input: &[f32], output: &mut [f32], scratch: &mut Scratch) {
        if range.is_empty() {
            output.copy_from_slice(input);
            return;
        }
        let Scratch { maps: [here, there], layer: scratch } = scratch;
        let (mut here, mut there) = (here, there);
        for index in range.clone() {
            let (shape, result) = (self.shapes[index], self.shapes[index + 1]);
            let source = if index == range.start { input } else { &here[..shape.len()] };
            let result = if index + 1 == range.end { &mut *output } else { &mut there[..result.len()] };
            self.layers[index].forward(self.set, shape, 0..self.shapes[index + 1].height, source, result, scratch);
            std::mem::swap(&mut here, &mut there);
        }
    }

    /// Buffers for a range of layers: those of an earlier call where there are any.
    fn take(&self, range: Range<usize>) -> Result<Scratch, KernelError> {
        let mut scratch = self.idle.lock().ok().and_then(|mut idle| idle.pop()).unwrap_or_default();
        let (map, layer) = self.scratch(range);
        let [here, there] = &mut scratch.maps;
        for (buffer, length) in [(here, map), (there, map), (&mut scratch.layer, layer)] {
            buffer.grow(length).map_err(|_| KernelError::Memory { bytes: volume(&[length, size_of::<f32>()]) })?;
        }
        Ok(scratch)
    }

    fn give(&self, scratch: Scratch) {
        if let Ok(mut idle) = self.idle.lock() {
            idle.push(scratch);
        }
    }
}
