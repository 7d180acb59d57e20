//! A fully connected layer.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, module as functional};

use crate::error::Result;
use crate::nn::named::read;
use crate::parameters::{Initial, ParameterSpec, Parameters};

/// `x · weight + bias` with `weight` `[in, out]`.
#[derive(Module, Debug)]
pub struct Dense {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Dense {
    /// Names, shapes and Keras's initial values (Glorot uniform, zero bias).
    pub(crate) fn parameters(prefix: &str, inputs: usize, outputs: usize) -> [ParameterSpec; 2] {
        [
            ParameterSpec {
                name: format!("{prefix}.weight"),
                shape: vec![inputs, outputs],
                initial: Initial::GlorotUniform { fan_in: inputs, fan_out: outputs },
            },
            ParameterSpec { name: format!("{prefix}.bias"), shape: vec![outputs], initial: Initial::Zeros },
        ]
    }

    pub(crate) fn load(parameters: &Parameters, prefix: &str, device: &Device) -> Result<Self> {
        Ok(Self {
            weight: Param::from_tensor(read(parameters, &format!("{prefix}.weight"), device)?),
            bias: Param::from_tensor(read(parameters, &format!("{prefix}.bias"), device)?),
        })
    }

    /// Weight and bias.
    pub(crate) fn tensors(&self) -> (Tensor<2>, Tensor<1>) {
        (self.weight.val(), self.bias.val())
    }

    /// `[B, in]` → `[B, out]`.
    pub(crate) fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        functional::linear(input, self.weight.val(), Some(self.bias.val()))
    }
}
