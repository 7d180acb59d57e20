//! Tensors of the engine that lie on the CPU, as the slices that our kernels take, and back.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::NodeGuard;
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{Tensor, TensorData};
use headstart_kernels::training::BufferPool;

/// Buffers of pictures and tokens, which go round from step to step.
pub(super) static POOL: BufferPool = BufferPool::new();

/// Frees the buffers that the steps of a phase have left.
pub(crate) fn release_buffers() {
    POOL.clear();
}

/// A tracked backend on the CPU.
pub(super) type Tracked = Autodiff<Flex, NoCheckpointing>;

const F32: &str = "pictures, tokens and parameters are f32";

/// The contiguous CPU tensor and the node of a tensor on a tracking device.
pub(super) fn tracked<const D: usize>(tensor: &Tensor<D>) -> Option<(FlexTensor, NodeGuard)> {
    let tensor = tensor.clone().try_into_primitive::<Tracked>().ok()?;
    let node = tensor.node();
    Some((tensor.into_primitive().to_contiguous(), node))
}

/// The contiguous CPU tensor of a tensor on a device that does not track.
pub(super) fn plain<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
    Some(tensor.clone().try_into_primitive::<Flex>().ok()?.to_contiguous())
}

pub(super) fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect(F32)
}

/// Values in the shape of another tensor.
pub(super) fn like(values: Vec<f32>, other: &FlexTensor) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, other.layout().shape().clone()))
}

/// Hands each parent that is tracked the gradient that was made for it.
pub(super) fn register<const P: usize>(
    grads: &mut Gradients,
    parents: [Option<NodeId>; P],
    found: impl IntoIterator<Item = Option<FlexTensor>>,
) {
    for (parent, gradient) in parents.into_iter().zip(found) {
        if let (Some(node), Some(gradient)) = (parent, gradient) {
            grads.register::<Flex>(node, gradient);
        }
    }
}

/// Gives the buffer of a tensor back, if nobody else holds it.
pub(super) fn recycle(tensor: FlexTensor) {
    if tensor.is_unique()
        && let Ok(buffer) = tensor.into_data().try_into_vec::<f32>()
    {
        POOL.give(buffer);
    }
}
