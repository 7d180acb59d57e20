//! Several convolutions with fixed normalization as one step: an inverted residual or a bottleneck while it learns.
//!
//! A picture runs through all layers before the next one begins. Only what each convolution gave before normalization is
//! kept; what lies between two layers is made again on the way back, while the picture is in the cache. That halves the
//! memory and the traffic of layers that learn one by one.

use rayon::prelude::*;

use super::normalization::{self, Affine, Sums};
use super::{BufferPool, ConvNorm, Kernel, Normalization, Partial, SHARDS, Scratch};
use crate::convolution::check;
use crate::error::KernelError;

/// Layers that follow each other; with `residual` the input is added to the result.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    steps: Vec<ConvNorm>,
    residual: bool,
}

/// Weights and normalization of one layer; its statistics must be given.
#[derive(Debug, Clone, Copy)]
pub struct LayerArguments<'a> {
    /// `[out, in, k, k]`, or `[C, 1, k, k]`.
    pub weights: &'a [f32],
    /// With statistics.
    pub normalization: Normalization<'a>,
}

/// Gradients of one layer's arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerGradients {
    /// As the weights.
    pub weights: Vec<f32>,
    /// `[C]`
    pub gamma: Vec<f32>,
    /// `[C]`
    pub beta: Vec<f32>,
}

/// Buffers of one shard.
struct Desk {
    /// What goes into a layer.
    between: Vec<f32>,
    /// Gradients after and before a layer's normalization.
    after: Vec<f32>,
    before: Vec<f32>,
    /// Of each layer, because what is spread by a stride keeps its zeros.
    layers: Vec<Scratch>,
}

impl Chain {
    /// Layers whose shapes fit each other.
    ///
    /// # Errors
    /// [`KernelError::Channels`] or [`KernelError::Invalid`] when they do not.
    pub fn new(steps: Vec<ConvNorm>, residual: bool) -> Result<Self, KernelError> {
        for (index, pair) in steps.windows(2).enumerate() {
            if pair[0].output != pair[1].input {
                let (expected, found) = (pair[1].input.channels, pair[0].output.channels);
                return Err(KernelError::Channels { layer: index + 1, expected, found });
            }
        }
        match (steps.first(), steps.last()) {
            (Some(first), Some(last)) if !residual || first.input == last.output => Ok(Self { steps, residual }),
            _ => Err(KernelError::Invalid("a chain without layers, or a residual between different shapes")),
        }
    }

    /// Shape of one picture of the result.
    pub fn output(&self) -> crate::Shape {
        self.steps[self.steps.len() - 1].output
    }

    /// `input` `[B, H, W, C]` → the result, and what each convolution gave before normalization.
    ///
    /// # Errors
    /// [`KernelError::Length`]; [`KernelError::Invalid`] when a layer's statistics are absent.
    pub fn forward(
        &self,
        pool: &BufferPool,
        batch: usize,
        input: &[f32],
        layers: &[LayerArguments<'_>],
    ) -> Result<(Vec<f32>, Vec<Vec<f32>>), KernelError> {
        let affines = self.affines(layers)?;
        let kernels = self.kernels(layers)?;
        check("the input", batch * self.steps[0].input.len(), input.len())?;
        let mut output = pool.take(batch * self.output().len());
        let mut convolved: Vec<Vec<f32>> = self.steps.iter().map(|step| pool.take(batch * step.output.len())).collect();
        // For each shard of pictures: its part of the input, of every layer's convolved maps and of the output.
        let shard = batch.div_ceil(SHARDS).max(1);
        let mut maps: Vec<_> = convolved
            .iter_mut()
            .zip(&self.steps)
            .map(|(all, step)| all.chunks_mut(shard * step.output.len()))
            .collect();
        let inputs = input.chunks(shard * self.steps[0].input.len());
        let shards: Vec<_> = inputs
            .zip(output.chunks_mut(shard * self.output().len()))
            .map(|(input, output)| {
                let maps: Vec<&mut [f32]> = maps.iter_mut().filter_map(Iterator::next).collect();
                (input, maps, output)
            })
            .collect();
        shards.into_par_iter().for_each(|(input, mut maps, output)| {
            let mut desk = self.desk(pool, false);
            let pictures = input.chunks_exact(self.steps[0].input.len());
            for (picture, (input, output)) in pictures.zip(output.chunks_exact_mut(self.output().len())).enumerate() {
                let mut of_picture: Vec<&mut [f32]> = maps
                    .iter_mut()
                    .zip(&self.steps)
                    .map(|(map, step)| &mut map[picture * step.output.len()..][..step.output.len()])
                    .collect();
                self.picture(&kernels, &affines, input, &mut of_picture, output, &mut desk);
            }
            self.put_away(pool, desk);
        });
        Ok((output, convolved))
    }

    fn picture(
        &self,
        kernels: &[Kernel],
        affines: &[Affine],
        input: &[f32],
        convolved: &mut [&mut [f32]],
        output: &mut [f32],
        desk: &mut Desk,
    ) {
        let last = self.steps.len() - 1;
        for (index, step) in self.steps.iter().enumerate() {
            let here = if index == 0 { input } else { &desk.between[..step.input.len()] };
            step.convolve(&kernels[index], here, convolved[index], &mut desk.layers[index]);
            let result = if index == last { &mut *output } else { &mut desk.between[..step.output.len()] };
            normalization::apply(step.set, &affines[index], convolved[index], result);
        }
        if self.residual {
            output.iter_mut().zip(input).for_each(|(sum, value)| *sum += value);
        }
    }

    /// Gradients of the input, if it is asked for, and of every layer's arguments, from that of the result.
    /// `convolved` is what [`Chain::forward`] gave.
    ///
    /// # Errors
    /// As [`Chain::forward`].
    #[expect(clippy::too_many_arguments, reason = "each is a tensor of the step")]
    pub fn backward(
        &self,
        pool: &BufferPool,
        batch: usize,
        input: &[f32],
        layers: &[LayerArguments<'_>],
        convolved: &[Vec<f32>],
        gradient: &[f32],
        wants_input: bool,
    ) -> Result<(Option<Vec<f32>>, Vec<LayerGradients>), KernelError> {
        let affines = self.affines(layers)?;
        let kernels = self.kernels(layers)?;
        check("the input", batch * self.steps[0].input.len(), input.len())?;
        check("the gradient", batch * self.output().len(), gradient.len())?;
        check("the layers", self.steps.len(), convolved.len())?;
        for (step, convolved) in self.steps.iter().zip(convolved) {
            check("the convolved pictures", batch * step.output.len(), convolved.len())?;
        }
        let back: Vec<Option<Kernel>> = kernels
            .iter()
            .enumerate()
            .map(|(index, kernel)| {
                let needed = index > 0 || wants_input;
                needed.then(|| kernel.transposed(&self.steps[index], layers[index].weights)).transpose()
            })
            .collect::<Result<_, _>>()?;
        let size = self.steps[0].input.len();
        let shard = batch.div_ceil(SHARDS).max(1);
        let run = |index: usize, mut inputs: Option<&mut [f32]>| -> Vec<Partial> {
            let mut desk = self.desk(pool, true);
            let mut partials: Vec<Partial> = self.steps.iter().map(Partial::new).collect();
            for picture in index * shard..((index + 1) * shard).min(batch) {
                let at = (picture - index * shard) * size;
                let to = inputs.as_deref_mut().map(|inputs| &mut inputs[at..][..size]);
                let ends = (&input[picture * size..][..size], &gradient[picture * self.output().len()..]);
                let maps: Vec<&[f32]> = convolved
                    .iter()
                    .zip(&self.steps)
                    .map(|(map, step)| &map[picture * step.output.len()..][..step.output.len()])
                    .collect();
                self.picture_back((&kernels, &back), &affines, ends, &maps, to, &mut partials, &mut desk);
            }
            self.put_away(pool, desk);
            partials
        };
        let mut input_gradient = wants_input.then(|| pool.take(input.len()));
        let shards: Vec<Vec<Partial>> = match &mut input_gradient {
            Some(all) => {
                all.par_chunks_mut(shard * size).enumerate().map(|(index, inputs)| run(index, Some(inputs))).collect()
            }
            None => (0..batch.div_ceil(shard)).into_par_iter().map(|index| run(index, None)).collect(),
        };
        let gradients = (0..self.steps.len())
            .map(|layer| {
                let parts = shards.iter().map(|partials| &partials[layer]);
                let (weights, gamma, beta) =
                    Partial::total(parts, &self.steps[layer], &kernels[layer], &affines[layer]);
                LayerGradients { weights, gamma, beta }
            })
            .collect();
        Ok((input_gradient, gradients))
    }

    #[expect(clippy::too_many_arguments, reason = "both ends of every layer")]
    fn picture_back(
        &self,
        (kernels, back): (&[Kernel], &[Option<Kernel>]),
        affines: &[Affine],
        (input, gradient): (&[f32], &[f32]),
        convolved: &[&[f32]],
        mut to: Option<&mut [f32]>,
        partials: &mut [Partial],
        desk: &mut Desk,
    ) {
        let Desk { between, after, before, layers } = desk;
        let gradient = &gradient[..self.output().len()];
        for (index, step) in self.steps.iter().enumerate().rev() {
            let size = step.output.len();
            let above = if index + 1 == self.steps.len() { gradient } else { &after[..size] };
            let sums = &mut partials[index].sums;
            normalization::back(step.set, &affines[index], convolved[index], above, &mut before[..size], sums);
            let here = if index == 0 {
                input
            } else {
                let below = &mut between[..step.input.len()];
                normalization::apply(step.set, &affines[index - 1], convolved[index - 1], below);
                &*below
            };
            let weights = &mut partials[index].weights;
            kernels[index].add_weight_gradient(step, here, &before[..size], weights, &mut layers[index]);
            let target = match (index, &mut to) {
                (0, Some(to)) => &mut **to,
                (0, None) => continue,
                _ => &mut after[..step.input.len()],
            };
            if let Some(back) = &back[index] {
                back.run(step, &before[..size], target, &mut layers[index]);
            }
        }
        if let (true, Some(to)) = (self.residual, to) {
            to.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
        }
    }

    fn affines(&self, layers: &[LayerArguments<'_>]) -> Result<Vec<Affine>, KernelError> {
        check("the layers", self.steps.len(), layers.len())?;
        let affine = |(step, layer): (&ConvNorm, &LayerArguments<'_>)| {
            let Normalization { gamma, beta, statistics } = layer.normalization;
            step.check_arguments(layer.weights, layer.normalization)?;
            let (mean, variance) = statistics.ok_or(KernelError::Invalid("a chain without fixed statistics"))?;
            Ok(Affine::new(gamma, beta, mean, variance, &step.spec))
        };
        self.steps.iter().zip(layers).map(affine).collect()
    }

    fn kernels(&self, layers: &[LayerArguments<'_>]) -> Result<Vec<Kernel>, KernelError> {
        self.steps.iter().zip(layers).map(|(step, layer)| step.kernel(layer.weights)).collect()
    }

    fn desk(&self, pool: &BufferPool, is_back: bool) -> Desk {
        let largest = self.steps.iter().map(|step| step.input.len().max(step.output.len())).max().unwrap_or(0);
        let gradients = if is_back { largest } else { 0 };
        Desk {
            between: pool.take(largest),
            after: pool.take(gradients),
            before: pool.take(gradients),
            layers: self.steps.iter().map(|_| Scratch::default()).collect(),
        }
    }

    fn put_away(&self, pool: &BufferPool, desk: Desk) {
        [desk.between, desk.after, desk.before].into_iter().for_each(|buffer| pool.give(buffer));
    }
}

impl Partial {
    pub(super) fn new(step: &ConvNorm) -> Self {
        Self { weights: vec![0.0; step.weight_count()], sums: Sums::new(step.spec.out_channels) }
    }

    /// Gradients of weights, gamma and beta from the shards' parts, in their order.
    pub(super) fn total<'a>(
        parts: impl Iterator<Item = &'a Self> + Clone,
        step: &ConvNorm,
        kernel: &Kernel,
        affine: &Affine,
    ) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let mut weights = vec![0.0; step.weight_count()];
        for part in parts.clone() {
            weights.iter_mut().zip(&part.weights).for_each(|(sum, value)| *sum += value);
        }
        let (gamma, beta) =
            affine.parameter_gradients(&Sums::total(parts.map(|part| &part.sums), step.spec.out_channels));
        (kernel.as_given(step, weights), gamma, beta)
    }
}
