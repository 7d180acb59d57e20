//! Batch normalization whose statistics move only when it is told to.
//!
//! The engine's own layer decides by the device whether it is training; a frozen stage on a training device must not move
//! its running statistics, so the caller says it here.

use burn::module::{Module, Param, RunningState};
use burn::tensor::{Device, Tensor, module as functional};

use crate::error::Result;
use crate::nn::NormStatistics;
use crate::nn::named::{read, values};
use crate::parameters::Parameters;

/// Share of the batch in the new running statistics, as in PyTorch.
const MOMENTUM: f64 = 0.1;

/// See the module.
#[derive(Module, Debug)]
pub(super) struct BatchNorm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    mean: RunningState<Tensor<1>>,
    variance: RunningState<Tensor<1>>,
    epsilon: f64,
}

impl BatchNorm {
    pub(super) fn load(epsilon: f64, parameters: &Parameters, prefix: &str, device: &Device) -> Result<Self> {
        let vector = |name: &str| read::<1>(parameters, &format!("{prefix}.{name}"), device);
        Ok(Self {
            gamma: Param::from_tensor(vector("gamma")?),
            beta: Param::from_tensor(vector("beta")?),
            mean: RunningState::new(vector("mean")?),
            variance: RunningState::new(vector("variance")?),
            epsilon,
        })
    }

    pub(super) fn epsilon(&self) -> f64 {
        self.epsilon
    }

    pub(super) fn scale_and_shift(&self) -> (Tensor<1>, Tensor<1>) {
        (self.gamma.val(), self.beta.val())
    }

    /// Running mean and variance.
    pub(super) fn statistics(&self) -> (Vec<f32>, Vec<f32>) {
        (values(self.mean.value()), values(self.variance.value()))
    }

    /// `[B, C, H, W]` → the same.
    pub(super) fn forward(&self, input: Tensor<4>, statistics: NormStatistics) -> Tensor<4> {
        match statistics {
            NormStatistics::Fixed => functional::batch_norm(
                input,
                self.gamma.val(),
                self.beta.val(),
                self.mean.value(),
                self.variance.value(),
                self.epsilon,
            ),
            NormStatistics::Batch => {
                let [batch, _, height, width] = input.dims();
                let count = batch * height * width;
                let result = functional::batch_norm_train(input, self.gamma.val(), self.beta.val(), self.epsilon);
                self.move_towards(result.mean, result.variance, count);
                result.output
            }
        }
    }

    /// Moves the running statistics towards those of a batch of `count` values a channel.
    pub(super) fn move_towards(&self, mean: Tensor<1>, variance: Tensor<1>, count: usize) {
        // PyTorch keeps the unbiased variance in its running statistics.
        let unbiased = variance.detach().mul_scalar(count as f64 / (count as f64 - 1.0).max(1.0));
        self.mean.update(moved(self.mean.value_sync(), mean.detach()));
        self.variance.update(moved(self.variance.value_sync(), unbiased));
    }
}

fn moved(running: Tensor<1>, batch: Tensor<1>) -> Tensor<1> {
    running.detach().mul_scalar(1.0 - MOMENTUM).add(batch.mul_scalar(MOMENTUM))
}
