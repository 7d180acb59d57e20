//! A chain of layers for one input shape.

use std::ops::Range;
use std::sync::Mutex;

use crate::bf16::Precision;
use crate::buffer::Buffer;
use crate::convolution::{Pass, check};
use crate::dispatch::{InstructionSet, chosen};
use crate::error::KernelError;
use crate::layer::Layer;
use crate::plan::{MOST, Place, Plan, Step};
use crate::product::Target;
use crate::row_shares::{Gate, Guard, RowShares};
use crate::shape::{Shape, volume};

/// A chain of layers whose weights are packed and whose shapes are known.
#[derive(Debug)]
pub struct Network {
    plans: Vec<Plan>,
    /// Shape before each layer, and after the last.
    shapes: Vec<Shape>,
    set: InstructionSet,
    /// Buffers of threads that are not running.
    idle: Mutex<Vec<Scratch>>,
}

/// What one thread works in.
#[derive(Debug, Default)]
struct Scratch {
    /// Maps between layers.
    maps: [Buffer; 2],
    /// Maps within a layer.
    inner: Vec<Buffer>,
    /// What one kernel works in.
    kernel: Buffer,
}

/// Floats of each buffer of a [`Scratch`].
#[derive(Debug, Default)]
struct Lengths {
    map: usize,
    inner: Vec<usize>,
    kernel: usize,
}

impl Network {
    /// Chains layers for inputs of one shape, on the widest instruction set of this machine.
    ///
    /// # Errors
    /// [`KernelError::Channels`], [`KernelError::TooSmall`] or [`KernelError::TooLarge`] naming the layer;
    /// [`KernelError::Invalid`] for an empty input or layers that do not fit together.
    pub fn new(input: Shape, layers: Vec<Layer>) -> Result<Self, KernelError> {
        Self::with_precision(input, layers, Precision::F32)
    }

    /// [`Network::new`] in a precision.
    ///
    /// # Errors
    /// As [`Network::new`]; [`KernelError::Unavailable`] when the precision cannot be had here.
    pub fn with_precision(input: Shape, layers: Vec<Layer>, precision: Precision) -> Result<Self, KernelError> {
        Self::build(input, layers, chosen(), precision)
    }

    /// [`Network::new`] on a given instruction set, which must be one of [`InstructionSet::available`].
    ///
    /// # Errors
    /// As [`Network::new`]; [`KernelError::Invalid`] when this machine lacks the instruction set.
    pub fn for_instruction_set(input: Shape, layers: Vec<Layer>, set: InstructionSet) -> Result<Self, KernelError> {
        Self::build(input, layers, set, Precision::F32)
    }

    fn build(input: Shape, layers: Vec<Layer>, set: InstructionSet, precision: Precision) -> Result<Self, KernelError> {
        precision.check_on(set)?;
        if !InstructionSet::available().contains(&set) {
            return Err(KernelError::Invalid("this machine lacks the instruction set"));
        }
        if input.len() > MOST {
            return Err(KernelError::TooLarge { layer: 0, height: input.height, width: input.width });
        }
        if input.is_empty() {
            return Err(KernelError::Invalid("an input without pixels or channels"));
        }
        let (mut shapes, mut plans) = (vec![input], Vec::with_capacity(layers.len()));
        let mut shape = input;
        for (number, layer) in layers.into_iter().enumerate() {
            let (plan, output) = Plan::new(number, layer, shape, precision)?;
            plans.push(plan);
            shapes.push(output);
            shape = output;
        }
        Ok(Self { plans, shapes, set, idle: Mutex::new(Vec::new()) })
    }

    /// Number of layers.
    pub fn layer_count(&self) -> usize {
        self.plans.len()
    }

    /// Shape after the first `layers` layers; 0 is the input.
    ///
    /// # Panics
    /// When there are not that many layers.
    pub fn shape_after(&self, layers: usize) -> Shape {
        self.shapes[layers]
    }

    /// Bytes of buffers that `threads` threads work in when they run all layers: all that a pass needs beside weights,
    /// input and output.
    pub fn peak_scratch_bytes(&self, threads: usize) -> usize {
        let lengths = self.lengths(0..self.plans.len());
        let floats = [2 * lengths.map, lengths.kernel].iter().chain(&lengths.inner).fold(0, |sum, length| {
            // Buffers are whole cache lines.
            sum + length.next_multiple_of(16)
        });
        volume(&[floats, size_of::<f32>(), threads])
    }

    /// Floats of the buffers that a range of layers needs.
    fn lengths(&self, range: Range<usize>) -> Lengths {
        let between = self.shapes.iter().take(range.end).skip(range.start + 1);
        let mut lengths = Lengths { map: between.map(Shape::len).max().unwrap_or(0), ..Lengths::default() };
        for plan in &self.plans[range] {
            lengths.kernel = lengths.kernel.max(plan.scratch());
            lengths.inner.resize(lengths.inner.len().max(plan.inner.len()), 0);
            for (most, length) in lengths.inner.iter_mut().zip(&plan.inner) {
                *most = (*most).max(*length);
            }
        }
        lengths
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
        if range.start > range.end || range.end > self.plans.len() {
            let layers = self.plans.len();
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
        let lengths = self.lengths(range.clone());
        let mut scratch = self.take(&lengths)?;
        if threads == 1 {
            pictures.for_each(|(input, output)| self.one(range.clone(), input, output, &mut scratch));
            self.give(scratch);
            return Ok(());
        }
        let others = (1..threads).map(|_| self.take(&lengths)).collect::<Result<Vec<_>, _>>()?;
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

    /// One picture by several threads, each with its part of the rows of every step.
    fn split(&self, range: Range<usize>, input: &[f32], output: &mut [f32], threads: usize) -> Result<(), KernelError> {
        let lengths = self.lengths(range.clone());
        let mut first = self.take(&lengths)?;
        // The others only need what their kernels work in.
        let kernel_alone = Lengths { kernel: lengths.kernel, ..Lengths::default() };
        let mut others = (1..threads).map(|_| self.take(&kernel_alone)).collect::<Result<Vec<_>, _>>()?;
        let [here, there] = &mut first.maps;
        let maps = [RowShares::new(here), RowShares::new(there)];
        let inner: Vec<RowShares<'_>> = first.inner.iter_mut().map(|buffer| RowShares::new(buffer)).collect();
        let last = RowShares::new(output);
        let gate = Gate::new(threads);
        let work = |thread: usize, kernel: &mut Buffer| {
            let _guard = Guard(&gate);
            for (number, index) in range.clone().enumerate() {
                let result = if index + 1 == range.end { &last } else { &maps[(number + 1) % 2] };
                // SAFETY: a map is only read after the gate behind the step that wrote it, and only written after the gate
                // behind the last step that read it: the plan never writes a map that the same step reads.
                let read = |place: Place, shape: Shape| unsafe {
                    match place {
                        Place::Input if number == 0 => input,
                        Place::Input => maps[number % 2].read(shape.len()),
                        Place::Output => result.read(shape.len()),
                        Place::Inner(inner_index) => inner[inner_index].read(shape.len()),
                    }
                };
                for step in &self.plans[index].steps {
                    let rows = step.share(thread, threads);
                    if !rows.is_empty() {
                        let to = match step.to.place {
                            Place::Inner(inner_index) => &inner[inner_index],
                            _ => result,
                        };
                        let part = step.start_of(rows.start)..step.start_of(rows.end) - step.to.offset;
                        // SAFETY: the rows of the threads do not overlap, and nobody reads them before the next gate.
                        let values = unsafe { to.part(part) };
                        let target = Target { values, stride: step.to.stride };
                        let residual = step.residual.map(|place| read(place, step.output));
                        let (set, shape, input) = (self.set, step.input, read(step.from, step.input));
                        step.kernel.forward(Pass { set, shape, input, residual, rows }, target, kernel);
                    }
                    gate.pass();
                }
            }
        };
        std::thread::scope(|scope| {
            for (index, scratch) in others.iter_mut().enumerate() {
                let work = &work;
                scope.spawn(move || work(index + 1, &mut scratch.kernel));
            }
            work(0, &mut first.kernel);
        });
        others.into_iter().for_each(|scratch| self.give(scratch));
        self.give(first);
        Ok(())
    }

    /// One picture through the layers, back and forth between two maps.
    fn one(&self, range: Range<usize>, input: &[f32], output: &mut [f32], scratch: &mut Scratch) {
        if range.is_empty() {
            output.copy_from_slice(input);
            return;
        }
        let Scratch { maps: [here, there], inner, kernel } = scratch;
        let (mut here, mut there) = (here, there);
        for index in range.clone() {
            let source = if index == range.start { input } else { &here[..self.shapes[index].len()] };
            let result = if index + 1 == range.end { &mut *output } else { &mut there[..self.shapes[index + 1].len()] };
            for step in &self.plans[index].steps {
                self.run(step, source, result, inner, kernel);
            }
            std::mem::swap(&mut here, &mut there);
        }
    }

    /// One step on a whole picture.
    fn run(&self, step: &Step, source: &[f32], result: &mut [f32], inner: &mut [Buffer], kernel: &mut Buffer) {
        // The map that is written leaves the list, so that the others can be read; the plan never reads it in this step.
        let mut own = match step.to.place {
            Place::Inner(index) => std::mem::take(&mut inner[index]),
            _ => Buffer::default(),
        };
        let values = if let Place::Inner(_) = step.to.place { &mut own[..step.target_len()] } else { result };
        let read = |place: Place, shape: Shape| match place {
            Place::Inner(index) => &inner[index][..shape.len()],
            _ => source,
        };
        let pass = Pass {
            set: self.set,
            shape: step.input,
            input: read(step.from, step.input),
            residual: step.residual.map(|place| read(place, step.output)),
            rows: 0..step.output.height,
        };
        step.kernel.forward(pass, Target { values: &mut values[step.to.offset..], stride: step.to.stride }, kernel);
        if let Place::Inner(index) = step.to.place {
            inner[index] = own;
        }
    }

    /// Buffers of these lengths: those of an earlier call where there are any.
    fn take(&self, lengths: &Lengths) -> Result<Scratch, KernelError> {
        let mut scratch = self.idle.lock().ok().and_then(|mut idle| idle.pop()).unwrap_or_default();
        scratch.inner.resize_with(scratch.inner.len().max(lengths.inner.len()), Buffer::default);
        let [here, there] = &mut scratch.maps;
        let fixed = [(here, lengths.map), (there, lengths.map), (&mut scratch.kernel, lengths.kernel)];
        for (buffer, length) in fixed.into_iter().chain(scratch.inner.iter_mut().zip(lengths.inner.iter().copied())) {
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
