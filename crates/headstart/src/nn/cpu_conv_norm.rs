//! The bridge from the engine's CPU tensors to our kernels for convolution, normalization and activation.
//!
//! Other devices have no such bridge: [`forward`] gives `None` there, and the caller uses the engine's own operations.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{Tensor, TensorData};
use headstart_kernels::training::{BufferPool, ConvNorm, Forward, Normalization};

/// Buffers of pictures, which go round from step to step.
static POOL: BufferPool = BufferPool::new();

/// Frees the buffers that the steps of a phase have left.
pub(crate) fn release_buffers() {
    POOL.clear();
}

/// A tracked backend on the CPU.
type Tracked = Autodiff<Flex, NoCheckpointing>;

/// What one step is a function of; pictures are `[B, H, W, C]`.
pub(super) struct Operands {
    pub(super) input: Tensor<4>,
    /// `[out, in / groups, k, k]`
    pub(super) weight: Tensor<4>,
    pub(super) gamma: Tensor<1>,
    pub(super) beta: Tensor<1>,
    /// Running mean and variance, unless those of the batch are used.
    pub(super) statistics: Option<(Vec<f32>, Vec<f32>)>,
}

/// The result and the mean and variance that it was normalized with.
pub(super) struct Outcome {
    pub(super) output: Tensor<4>,
    pub(super) mean: Vec<f32>,
    pub(super) variance: Vec<f32>,
}

/// Runs `step` if the tensors are on the CPU, recorded for the backward pass if one of them is tracked.
pub(super) fn forward(step: &ConvNorm, operands: &Operands) -> Option<Outcome> {
    if let (Ok(input), Ok(weight)) = (
        operands.input.clone().try_into_primitive::<Tracked>(),
        operands.weight.clone().try_into_primitive::<Tracked>(),
    ) {
        let gamma = operands.gamma.clone().try_into_primitive::<Tracked>().ok()?;
        let beta = operands.beta.clone().try_into_primitive::<Tracked>().ok()?;
        let nodes = [input.node(), weight.node(), gamma.node(), beta.node()];
        let values = Values {
            input: input.into_primitive().to_contiguous(),
            weight: weight.into_primitive().to_contiguous(),
            gamma: gamma.into_primitive().to_contiguous(),
            beta: beta.into_primitive().to_contiguous(),
            statistics: operands.statistics.clone(),
        };
        let result = values.forward(step)?;
        let Forward { output, convolved, mean, variance } = result;
        let output = tensor(output, values.batch(), step);
        let output = match ConvNormBackward.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let saved = Saved {
                    step: *step,
                    values,
                    convolved: Arc::new(convolved),
                    mean: mean.clone(),
                    variance: variance.clone(),
                };
                prepared.finish(saved, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        };
        return Some(Outcome { output: Tensor::from_primitive::<Tracked>(output), mean, variance });
    }
    let values = Values {
        input: operands.input.clone().try_into_primitive::<Flex>().ok()?.to_contiguous(),
        weight: operands.weight.clone().try_into_primitive::<Flex>().ok()?.to_contiguous(),
        gamma: operands.gamma.clone().try_into_primitive::<Flex>().ok()?.to_contiguous(),
        beta: operands.beta.clone().try_into_primitive::<Flex>().ok()?.to_contiguous(),
        statistics: operands.statistics.clone(),
    };
    let Forward { output, convolved, mean, variance } = values.forward(step)?;
    POOL.give(convolved);
    let output = Tensor::from_primitive::<Flex>(tensor(output, values.batch(), step));
    Some(Outcome { output, mean, variance })
}

/// The operands as contiguous CPU tensors.
#[derive(Debug, Clone)]
struct Values {
    input: FlexTensor,
    weight: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    statistics: Option<(Vec<f32>, Vec<f32>)>,
}

impl Values {
    fn batch(&self) -> usize {
        self.input.layout().shape()[0]
    }

    /// `None` for tensors that are not f32.
    fn forward(&self, step: &ConvNorm) -> Option<Forward> {
        let (input, weight) = (self.input.as_slice()?, self.weight.as_slice()?);
        let forward = step.forward(&POOL, self.batch(), input, weight, self.normalization()?);
        Some(forward.expect("shapes agree: the layer made the step for this input"))
    }

    fn normalization(&self) -> Option<Normalization<'_>> {
        let statistics = self.statistics.as_ref().map(|(mean, variance)| (mean.as_slice(), variance.as_slice()));
        Some(Normalization { gamma: self.gamma.as_slice()?, beta: self.beta.as_slice()?, statistics })
    }
}

/// What backward needs of the way forward.
#[derive(Debug, Clone)]
struct Saved {
    step: ConvNorm,
    values: Values,
    convolved: Arc<Vec<f32>>,
    mean: Vec<f32>,
    variance: Vec<f32>,
}

#[derive(Debug)]
struct ConvNormBackward;

impl Backward<Flex, 4> for ConvNormBackward {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 4>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let Saved { step, values, convolved, mean, variance } = ops.state;
        let [input, weight, gamma, beta] = ops.parents;
        let back = step
            .backward(
                &POOL,
                values.batch(),
                values.input.as_slice().expect("the way forward had f32"),
                values.weight.as_slice().expect("the way forward had f32"),
                values.normalization().expect("the way forward had f32"),
                (&convolved, &mean, &variance),
                gradient.as_slice().expect("gradients have the type of their values"),
                input.is_some(),
            )
            .expect("shapes agree: the way forward ran");
        let like = |values: Vec<f32>, other: &FlexTensor| {
            FlexTensor::from_data(TensorData::new(values, other.layout().shape().clone()))
        };
        if let (Some(node), Some(gradient)) = (input, back.input) {
            grads.register::<Flex>(node.id, like(gradient, &values.input));
        }
        if let Ok(convolved) = Arc::try_unwrap(convolved) {
            POOL.give(convolved);
        }
        recycle(gradient);
        if let Some(node) = weight {
            grads.register::<Flex>(node.id, like(back.weights, &values.weight));
        }
        if let Some(node) = gamma {
            grads.register::<Flex>(node.id, like(back.gamma, &values.gamma));
        }
        if let Some(node) = beta {
            grads.register::<Flex>(node.id, like(back.beta, &values.beta));
        }
        recycle(values.input);
    }
}

fn tensor(values: Vec<f32>, batch: usize, step: &ConvNorm) -> FlexTensor {
    let shape = step.output();
    FlexTensor::from_data(TensorData::new(values, [batch, shape.height, shape.width, shape.channels]))
}

/// Gives the buffer of a tensor back, if nobody else holds it.
fn recycle(tensor: FlexTensor) {
    if tensor.is_unique()
        && let Ok(buffer) = tensor.into_data().try_into_vec::<f32>()
    {
        POOL.give(buffer);
    }
}
