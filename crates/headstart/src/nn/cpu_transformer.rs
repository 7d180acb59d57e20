//! The bridge from the engine's CPU tensors to our kernels for a layer of a transformer and for layer normalization.
//!
//! Other devices have no such bridge: both functions give `None` there, and the caller uses the engine's own operations.

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use headstart_kernels::transformer::{
    ARRAYS, DenseWeights, LayerDropout, LayerWeights, NormWeights, Saved, Sequences, TransformerLayer, layer_norm,
    layer_norm_back,
};

use super::cpu_tensors::{POOL, Tracked, like, plain, recycle, register, slice, tracked};

const SHAPES: &str = "the module holds the arrays of its shape";

/// Weight and bias of a dense layer.
pub(super) type DenseTensors = (Tensor<2>, Tensor<1>);
/// Gamma and beta of a normalization.
pub(super) type NormTensors = (Tensor<1>, Tensor<1>);

/// The arrays of a layer.
#[derive(Debug, Clone)]
pub(super) struct LayerTensors {
    pub(super) query: DenseTensors,
    pub(super) key: DenseTensors,
    pub(super) value: DenseTensors,
    pub(super) attended: DenseTensors,
    pub(super) attention_norm: NormTensors,
    pub(super) expand: DenseTensors,
    pub(super) contract: DenseTensors,
    pub(super) dense_norm: NormTensors,
}

/// Runs one layer on `input` `[tokens, width]` if the tensors are on the CPU, recorded if one of them is tracked.
pub(super) fn forward(
    layer: TransformerLayer,
    sequences: &Arc<Sequences>,
    input: &Tensor<2>,
    tensors: &LayerTensors,
    dropout: Option<LayerDropout>,
) -> Option<Tensor<2>> {
    if let Some((input, node)) = tracked(input) {
        let (arrays, nodes): (Vec<FlexTensor>, Vec<NodeGuard>) = tensors.each(Tracks)?.into_iter().unzip();
        let nodes: Vec<NodeGuard> = std::iter::once(node).chain(nodes).collect();
        let nodes = <[NodeGuard; ARRAYS + 1]>::try_from(nodes).ok()?;
        let arrays = Arrays(arrays);
        let (output, saved) =
            layer.forward_saving(&POOL, sequences, slice(&input), &arrays.weights(), dropout).expect(SHAPES);
        let output = like(output, &input);
        let output = match LayerBack.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (sequences, saved) = (sequences.clone(), Arc::new(saved));
                prepared.finish(SavedLayer { layer, sequences, input, arrays, dropout, saved }, output)
            }
            OpsKind::UnTracked(prepared) => {
                saved.recycle(&POOL);
                prepared.finish(output)
            }
        };
        return Some(Tensor::from_primitive::<Tracked>(output));
    }
    let (input, arrays) = (plain(input)?, Arrays(tensors.each(Plain)?));
    let (output, saved) =
        layer.forward_saving(&POOL, sequences, slice(&input), &arrays.weights(), dropout).expect(SHAPES);
    saved.recycle(&POOL);
    Some(Tensor::from_primitive::<Flex>(like(output, &input)))
}

/// What is asked of every array, whatever its number of axes.
trait Ask {
    type Answer;

    fn ask<const D: usize>(&self, tensor: &Tensor<D>) -> Option<Self::Answer>;
}

struct Tracks;

impl Ask for Tracks {
    type Answer = (FlexTensor, NodeGuard);

    fn ask<const D: usize>(&self, tensor: &Tensor<D>) -> Option<Self::Answer> {
        tracked(tensor)
    }
}

struct Plain;

impl Ask for Plain {
    type Answer = FlexTensor;

    fn ask<const D: usize>(&self, tensor: &Tensor<D>) -> Option<FlexTensor> {
        plain(tensor)
    }
}

impl LayerTensors {
    /// Answers for all arrays in the order of [`LayerWeights`]; `None` if one has none.
    fn each<A: Ask>(&self, ask: A) -> Option<Vec<A::Answer>> {
        let dense = |(weight, bias): &DenseTensors| Some([ask.ask(weight)?, ask.ask(bias)?]);
        let norm = |(gamma, beta): &NormTensors| Some([ask.ask(gamma)?, ask.ask(beta)?]);
        let answers = [
            dense(&self.query)?,
            dense(&self.key)?,
            dense(&self.value)?,
            dense(&self.attended)?,
            norm(&self.attention_norm)?,
            dense(&self.expand)?,
            dense(&self.contract)?,
            norm(&self.dense_norm)?,
        ];
        Some(answers.into_iter().flatten().collect())
    }
}

/// A layer's arrays as contiguous CPU tensors, in the order of [`LayerWeights`].
#[derive(Debug, Clone)]
struct Arrays(Vec<FlexTensor>);

impl Arrays {
    fn weights(&self) -> LayerWeights<'_> {
        let dense = |at: usize| DenseWeights { weight: slice(&self.0[at]), bias: slice(&self.0[at + 1]) };
        let norm = |at: usize| NormWeights { gamma: slice(&self.0[at]), beta: slice(&self.0[at + 1]) };
        LayerWeights {
            query: dense(0),
            key: dense(2),
            value: dense(4),
            attended: dense(6),
            attention_norm: norm(8),
            expand: dense(10),
            contract: dense(12),
            dense_norm: norm(14),
        }
    }
}

/// What the way back of a layer needs of the way forward.
#[derive(Debug, Clone)]
struct SavedLayer {
    layer: TransformerLayer,
    sequences: Arc<Sequences>,
    input: FlexTensor,
    arrays: Arrays,
    dropout: Option<LayerDropout>,
    saved: Arc<Saved>,
}

#[derive(Debug)]
struct LayerBack;

impl Backward<Flex, { ARRAYS + 1 }> for LayerBack {
    type State = SavedLayer;

    fn backward(self, ops: Ops<SavedLayer, { ARRAYS + 1 }>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let SavedLayer { layer, sequences, input, arrays, dropout, saved } = ops.state;
        let parents = ops.parents.map(|parent| parent.map(|node| node.id));
        // An array that does not learn, such as the matrix under an adapter, has no node: its product is not made.
        let wanted = std::array::from_fn(|index| parents[index + 1].is_some());
        let (to_input, found) = layer
            .backward(
                &POOL,
                &sequences,
                slice(&input),
                &arrays.weights(),
                dropout,
                &saved,
                slice(&gradient),
                wanted,
                parents[0].is_some(),
            )
            .expect(SHAPES);
        let of_arrays = found.into_iter().zip(&arrays.0).map(|(found, array)| found.map(|values| like(values, array)));
        let all = std::iter::once(to_input.map(|values| like(values, &input))).chain(of_arrays);
        register(grads, parents, all);
        if let Ok(saved) = Arc::try_unwrap(saved) {
            saved.recycle(&POOL);
        }
        recycle(gradient);
        recycle(input);
    }
}

/// Layer normalization of `input` `[tokens, width]`, as [`forward`] does a layer.
pub(super) fn normalize(input: &Tensor<2>, (gamma, beta): &NormTensors, epsilon: f32) -> Option<Tensor<2>> {
    let run = |input: &FlexTensor, gamma: &FlexTensor, beta: &FlexTensor| {
        let norm = NormWeights { gamma: slice(gamma), beta: slice(beta) };
        like(layer_norm(norm, epsilon, slice(input)).expect(SHAPES), input)
    };
    if let Some((input, node)) = tracked(input) {
        let ((gamma, gamma_node), (beta, beta_node)) = (tracked(gamma)?, tracked(beta)?);
        let output = run(&input, &gamma, &beta);
        let nodes = [node, gamma_node, beta_node];
        let output = match NormBack.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(SavedNorm { input, gamma, beta, epsilon }, output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        };
        return Some(Tensor::from_primitive::<Tracked>(output));
    }
    Some(Tensor::from_primitive::<Flex>(run(&plain(input)?, &plain(gamma)?, &plain(beta)?)))
}

/// What the way back of a normalization needs of the way forward.
#[derive(Debug, Clone)]
struct SavedNorm {
    input: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    epsilon: f32,
}

#[derive(Debug)]
struct NormBack;

impl Backward<Flex, 3> for NormBack {
    type State = SavedNorm;

    fn backward(self, ops: Ops<SavedNorm, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let SavedNorm { input, gamma, beta, epsilon } = ops.state;
        let norm = NormWeights { gamma: slice(&gamma), beta: slice(&beta) };
        let [to_input, to_gamma, to_beta] =
            layer_norm_back(norm, epsilon, slice(&input), slice(&gradient)).expect(SHAPES);
        let found = [like(to_input, &input), like(to_gamma, &gamma), like(to_beta, &beta)];
        register(grads, ops.parents.map(|parent| parent.map(|node| node.id)), found.map(Some));
    }
}
