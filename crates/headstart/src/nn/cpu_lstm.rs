//! The bridge from the engine's CPU tensors to our LSTM. Other devices have none: [`forward`] gives `None` there.

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::{Tensor, TensorData};
use headstart_kernels::lstm::{LstmSaved, LstmSpec, LstmWeights, PackedLstm, Wanted};
use headstart_kernels::transformer::Sequences;

use super::cpu_tensors::{Tracked, like, plain, register, slice, tracked};

const SHAPES: &str = "the module holds the arrays of its shape";

/// `input` `[frames, inputs]` → `[frames, hidden]` if the tensors are on the CPU, recorded if one of them is tracked.
pub(super) fn forward(
    sequences: &Arc<Sequences>,
    input: &Tensor<2>,
    kernel: &Tensor<2>,
    bias: &Tensor<1>,
) -> Option<Tensor<2>> {
    let spec = LstmSpec { inputs: input.dims()[1], hidden: bias.dims()[0] / 4 };
    if let Some((input, node)) = tracked(input) {
        let ((kernel, kernel_node), (bias, bias_node)) = (tracked(kernel)?, tracked(bias)?);
        let packed = pack(spec, &kernel, &bias);
        let (output, saved) = packed.forward_saving(sequences, slice(&input)).expect(SHAPES);
        let output = shaped(output, spec);
        let nodes = [node, kernel_node, bias_node];
        let output = match LstmBack.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (sequences, packed, saved) = (sequences.clone(), Arc::new(packed), Arc::new(saved));
                prepared.finish(SavedLstm { sequences, packed, input, kernel, bias, saved }, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        };
        return Some(Tensor::from_primitive::<Tracked>(output));
    }
    let (input, kernel, bias) = (plain(input)?, plain(kernel)?, plain(bias)?);
    let output = pack(spec, &kernel, &bias).forward(sequences, slice(&input), None).expect(SHAPES);
    Some(Tensor::from_primitive::<Flex>(shaped(output, spec)))
}

fn pack(spec: LstmSpec, kernel: &FlexTensor, bias: &FlexTensor) -> PackedLstm {
    PackedLstm::new(spec, LstmWeights { kernel: slice(kernel), bias: slice(bias) }).expect(SHAPES)
}

fn shaped(output: Vec<f32>, spec: LstmSpec) -> FlexTensor {
    let frames = output.len() / spec.hidden;
    FlexTensor::from_data(TensorData::new(output, [frames, spec.hidden]))
}

/// What the way back needs of the way forward.
#[derive(Debug, Clone)]
struct SavedLstm {
    sequences: Arc<Sequences>,
    packed: Arc<PackedLstm>,
    input: FlexTensor,
    kernel: FlexTensor,
    bias: FlexTensor,
    saved: Arc<LstmSaved>,
}

#[derive(Debug)]
struct LstmBack;

impl Backward<Flex, 3> for LstmBack {
    type State = SavedLstm;

    fn backward(self, ops: Ops<SavedLstm, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let SavedLstm { sequences, packed, input, kernel, bias, saved } = ops.state;
        let parents = ops.parents.map(|parent| parent.map(|node| node.id));
        let wanted = Wanted { input: parents[0].is_some(), arrays: parents[1].is_some() || parents[2].is_some() };
        let weights = LstmWeights { kernel: slice(&kernel), bias: slice(&bias) };
        let found =
            packed.backward(&sequences, slice(&input), weights, &saved, slice(&gradient), wanted).expect(SHAPES);
        let found = [
            found.input.map(|values| like(values, &input)),
            found.kernel.map(|values| like(values, &kernel)),
            found.bias.map(|values| like(values, &bias)),
        ];
        register(grads, parents, found);
    }
}
