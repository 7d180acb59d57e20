//! The bridge from the engine's CPU tensors to our kernels for convolution, normalization and activation.
//!
//! Other devices have no such bridge: [`forward`] and [`forward_chain`] give `None` there, and the caller uses the engine's
//! own operations.

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::{Tensor, TensorData};
use headstart_kernels::Shape;
use headstart_kernels::training::{Chain, ConvNorm, Forward, LayerArguments, Normalization};

use super::cpu_tensors::{POOL, Tracked, like, plain, recycle, register, slice, tracked};

const SHAPES: &str = "the layer made the step for these shapes";

/// Arguments of one layer.
pub(crate) struct LayerTensors {
    /// `[out, in / groups, k, k]`
    pub(crate) weight: Tensor<4>,
    pub(crate) gamma: Tensor<1>,
    pub(crate) beta: Tensor<1>,
    /// Running mean and variance, unless those of the batch are used.
    pub(crate) statistics: Option<(Vec<f32>, Vec<f32>)>,
}

/// The result of a layer, and the mean and variance that it was normalized with.
pub(super) struct Outcome {
    pub(super) output: Tensor<4>,
    pub(super) mean: Vec<f32>,
    pub(super) variance: Vec<f32>,
}

/// Runs one layer on `input` `[B, H, W, C]` if the tensors are on the CPU, recorded if one of them is tracked.
pub(super) fn forward(step: &ConvNorm, input: &Tensor<4>, layer: &LayerTensors) -> Option<Outcome> {
    if let Some((input, node)) = tracked(input) {
        let (layer, nodes) = Layer::tracked(layer)?;
        let Forward { output, convolved, mean, variance } = layer.forward(step, &input);
        let output = tensor(output, &input, step.output());
        let [weight, gamma, beta] = nodes;
        let nodes = [node, weight, gamma, beta];
        let output = match StepBack.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let convolved = Arc::new(convolved);
                let (mean, variance) = (mean.clone(), variance.clone());
                prepared.finish(SavedStep { step: *step, input, layer, convolved, mean, variance }, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        };
        return Some(Outcome { output: Tensor::from_primitive::<Tracked>(output), mean, variance });
    }
    let (input, layer) = (plain(input)?, Layer::plain(layer)?);
    let Forward { output, convolved, mean, variance } = layer.forward(step, &input);
    POOL.give(convolved);
    Some(Outcome { output: Tensor::from_primitive::<Flex>(tensor(output, &input, step.output())), mean, variance })
}

/// Runs a chain of layers with fixed statistics as one step, as [`forward`] does one layer.
pub(crate) fn forward_chain(chain: Chain, input: &Tensor<4>, layers: &[LayerTensors]) -> Option<Tensor<4>> {
    if let Some((input, node)) = tracked(input) {
        let (layers, nodes): (Vec<Layer>, Vec<[NodeGuard; 3]>) =
            layers.iter().map(Layer::tracked).collect::<Option<Vec<_>>>()?.into_iter().unzip();
        let (output, convolved) = run(&chain, &input, &layers);
        let output = tensor(output, &input, chain.output());
        let saved = SavedChain { chain, input, layers, convolved: Arc::new(convolved) };
        let nodes: Vec<NodeGuard> = std::iter::once(node).chain(nodes.into_iter().flatten()).collect();
        // The number of parents is part of the engine's type: the input and three for each layer.
        let output = match <[NodeGuard; 7]>::try_from(nodes) {
            Ok(nodes) => finish(nodes, saved, output),
            Err(nodes) => finish(<[NodeGuard; 10]>::try_from(nodes).ok()?, saved, output),
        };
        return Some(output);
    }
    let input = plain(input)?;
    let layers: Vec<Layer> = layers.iter().map(Layer::plain).collect::<Option<_>>()?;
    let (output, convolved) = run(&chain, &input, &layers);
    convolved.into_iter().for_each(|buffer| POOL.give(buffer));
    Some(Tensor::from_primitive::<Flex>(tensor(output, &input, chain.output())))
}

fn finish<const P: usize>(nodes: [NodeGuard; P], saved: SavedChain, output: FlexTensor) -> Tensor<4> {
    let output = match ChainBack::<P>.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(saved, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Tracked>(output)
}

fn run(chain: &Chain, input: &FlexTensor, layers: &[Layer]) -> (Vec<f32>, Vec<Vec<f32>>) {
    let layers: Vec<LayerArguments<'_>> = layers.iter().map(Layer::arguments).collect();
    chain.forward(&POOL, batch(input), slice(input), &layers).expect(SHAPES)
}

/// A layer's arguments as contiguous CPU tensors.
#[derive(Debug, Clone)]
struct Layer {
    weight: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    statistics: Option<(Vec<f32>, Vec<f32>)>,
}

impl Layer {
    fn tracked(layer: &LayerTensors) -> Option<(Self, [NodeGuard; 3])> {
        let (weight, weight_node) = tracked(&layer.weight)?;
        let (gamma, gamma_node) = tracked(&layer.gamma)?;
        let (beta, beta_node) = tracked(&layer.beta)?;
        let layer = Self { weight, gamma, beta, statistics: layer.statistics.clone() };
        Some((layer, [weight_node, gamma_node, beta_node]))
    }

    fn plain(layer: &LayerTensors) -> Option<Self> {
        let (weight, gamma, beta) = (plain(&layer.weight)?, plain(&layer.gamma)?, plain(&layer.beta)?);
        Some(Self { weight, gamma, beta, statistics: layer.statistics.clone() })
    }

    fn forward(&self, step: &ConvNorm, input: &FlexTensor) -> Forward {
        step.forward(&POOL, batch(input), slice(input), slice(&self.weight), self.normalization()).expect(SHAPES)
    }

    fn normalization(&self) -> Normalization<'_> {
        let statistics = self.statistics.as_ref().map(|(mean, variance)| (mean.as_slice(), variance.as_slice()));
        Normalization { gamma: slice(&self.gamma), beta: slice(&self.beta), statistics }
    }

    fn arguments(&self) -> LayerArguments<'_> {
        LayerArguments { weights: slice(&self.weight), normalization: self.normalization() }
    }
}

/// What the way back of one layer needs of the way forward.
#[derive(Debug, Clone)]
struct SavedStep {
    step: ConvNorm,
    input: FlexTensor,
    layer: Layer,
    convolved: Arc<Vec<f32>>,
    mean: Vec<f32>,
    variance: Vec<f32>,
}

#[derive(Debug)]
struct StepBack;

impl Backward<Flex, 4> for StepBack {
    type State = SavedStep;

    fn backward(self, ops: Ops<SavedStep, 4>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let SavedStep { step, input, layer, convolved, mean, variance } = ops.state;
        let parents = ops.parents.map(|parent| parent.map(|node| node.id));
        let wants_input = parents[0].is_some();
        let (weights, normalization) = (slice(&layer.weight), layer.normalization());
        let saved = (convolved.as_slice(), mean.as_slice(), variance.as_slice());
        let back = step
            .backward(&POOL, batch(&input), slice(&input), weights, normalization, saved, slice(&gradient), wants_input)
            .expect(SHAPES);
        let found = [
            back.input.map(|values| like(values, &input)),
            Some(like(back.weights, &layer.weight)),
            Some(like(back.gamma, &layer.gamma)),
            Some(like(back.beta, &layer.beta)),
        ];
        register(grads, parents, found);
        if let Ok(convolved) = Arc::try_unwrap(convolved) {
            POOL.give(convolved);
        }
        recycle(gradient);
        recycle(input);
    }
}

/// What the way back of a chain needs of the way forward.
#[derive(Debug, Clone)]
struct SavedChain {
    chain: Chain,
    input: FlexTensor,
    layers: Vec<Layer>,
    convolved: Arc<Vec<Vec<f32>>>,
}

/// The way back of a chain with `P` parents: the input, then weight, gamma and beta of each layer.
#[derive(Debug)]
struct ChainBack<const P: usize>;

impl<const P: usize> Backward<Flex, P> for ChainBack<P> {
    type State = SavedChain;

    fn backward(self, ops: Ops<SavedChain, P>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let SavedChain { chain, input, layers, convolved } = ops.state;
        let arguments: Vec<LayerArguments<'_>> = layers.iter().map(Layer::arguments).collect();
        let parents = ops.parents.map(|parent| parent.map(|node| node.id));
        let wants_input = parents[0].is_some();
        let (to_input, found) = chain
            .backward(&POOL, batch(&input), slice(&input), &arguments, &convolved, slice(&gradient), wants_input)
            .expect(SHAPES);
        let of_layers = found.into_iter().zip(&layers).flat_map(|(found, layer)| {
            [like(found.weights, &layer.weight), like(found.gamma, &layer.gamma), like(found.beta, &layer.beta)]
        });
        let all = std::iter::once(to_input.map(|values| like(values, &input))).chain(of_layers.map(Some));
        register(grads, parents, all);
        if let Ok(convolved) = Arc::try_unwrap(convolved) {
            convolved.into_iter().for_each(|buffer| POOL.give(buffer));
        }
        recycle(gradient);
        recycle(input);
    }
}

fn batch(input: &FlexTensor) -> usize {
    input.layout().shape()[0]
}

fn tensor(values: Vec<f32>, input: &FlexTensor, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, [batch(input), shape.height, shape.width, shape.channels]))
}
