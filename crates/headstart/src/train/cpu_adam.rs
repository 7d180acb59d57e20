//! Adam on the engine's CPU tensors: one pass in place instead of a dozen operations with a new tensor each.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use headstart_kernels::training::{AdamStep, adam_step};

/// Value, first and second moment of one parameter, flat.
pub(super) type Moved = (Tensor<1>, Tensor<1>, Tensor<1>);

/// Whether the tensors are on the CPU.
pub(super) fn applies(tensors: [&Tensor<1>; 4]) -> bool {
    tensors.into_iter().all(|tensor| tensor.clone().try_into_primitive::<Flex>().is_ok())
}

/// Moves a parameter and its moments, which [`applies`] has found on the CPU.
pub(super) fn step((value, first, second): Moved, gradient: Tensor<1>, numbers: &AdamStep) -> Moved {
    let [mut value, mut first, mut second, gradient] = [value, first, second, gradient].map(contiguous);
    adam_step(
        numbers,
        value.storage_mut(),
        first.storage_mut(),
        second.storage_mut(),
        gradient.as_slice().expect("parameters are f32 and were made contiguous"),
    );
    let [value, first, second] = [value, first, second].map(Tensor::from_primitive::<Flex>);
    (value, first, second)
}

fn contiguous(tensor: Tensor<1>) -> FlexTensor {
    let tensor = tensor.try_into_primitive::<Flex>().expect("the caller has asked whether this applies");
    // A copy only where the tensor is a part of another.
    tensor.to_contiguous()
}
