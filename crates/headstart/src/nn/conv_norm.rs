//! Convolution without bias, batch normalization, optional ReLU6: the brick of the mobile networks.

use burn::module::{Module, Param, RunningState};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, module as functional};
use headstart_kernels as kernels;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::nn::cpu_conv_norm::{self, LayerTensors, Outcome};
use crate::nn::named::{read, values};
use crate::parameters::{Initial, ParameterSpec, Parameters};

/// How a convolution pads its input; the checkpoint family decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// (k − 1) / 2 on each side, as PyTorch networks are built.
    Symmetric,
    /// TensorFlow's "same": as little as needed, the odd pixel on the right and at the bottom.
    Tensorflow,
}

/// Which statistics a batch normalization of an open stage uses while it learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormStatistics {
    /// The running statistics of the checkpoint, which stay as they are: right for a little data.
    #[default]
    Fixed,
    /// Those of the batch, moving the running statistics: needed when training from scratch.
    Batch,
}

/// Channels, kernel and stride of a [`ConvNorm`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ConvNormSpec {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) depthwise: bool,
    pub(crate) relu6: bool,
}

/// What the checkpoint family decides for every layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NormPadding {
    pub(crate) padding: Padding,
    pub(crate) epsilon: f64,
}

const MOMENTUM: f64 = 0.1;

impl ConvNormSpec {
    /// Names and shapes under `prefix`; the kernel is `[out, in / groups, k, k]`.
    pub(crate) fn parameters(&self, prefix: &str) -> Vec<ParameterSpec> {
        let groups = if self.depthwise { self.inputs } else { 1 };
        let area = self.kernel * self.kernel;
        let spec = |name: &str, shape, initial| ParameterSpec { name: format!("{prefix}.{name}"), shape, initial };
        vec![
            spec(
                "weight",
                vec![self.outputs, self.inputs / groups, self.kernel, self.kernel],
                Initial::HeNormal { fan_out: area * self.outputs / groups },
            ),
            spec("norm.gamma", vec![self.outputs], Initial::Ones),
            spec("norm.beta", vec![self.outputs], Initial::Zeros),
            spec("norm.mean", vec![self.outputs], Initial::Zeros),
            spec("norm.variance", vec![self.outputs], Initial::Ones),
        ]
    }

    fn activation(&self) -> kernels::Activation {
        if self.relu6 { kernels::Activation::Relu6 } else { kernels::Activation::Identity }
    }

    fn kernel_padding(&self, padding: Padding) -> kernels::PaddingRule {
        match padding {
            Padding::Symmetric => kernels::PaddingRule::Explicit(kernels::Padding::symmetric((self.kernel - 1) / 2)),
            Padding::Tensorflow => kernels::PaddingRule::TensorFlowSame,
        }
    }

    /// Kernel and bias with the normalization folded in: `[k, k, in / groups, out]` and `[out]`.
    ///
    /// Folded in f64, so that the frozen form differs from the trainable one by rounding of the products alone.
    fn fold(&self, parameters: &Parameters, prefix: &str, epsilon: f64) -> Result<(Vec<f32>, Vec<f32>)> {
        let array = |name: &str| parameters.find(&format!("{prefix}.{name}")).map(|found| &found.values);
        let (weight, gamma, beta) = (array("weight")?, array("norm.gamma")?, array("norm.beta")?);
        let (mean, variance) = (array("norm.mean")?, array("norm.variance")?);
        let inputs = if self.depthwise { 1 } else { self.inputs };
        let area = self.kernel * self.kernel;
        let mut folded = vec![0.0; weight.len()];
        let mut bias = vec![0.0; self.outputs];
        for out in 0..self.outputs {
            let scale = f64::from(gamma[out]) / (f64::from(variance[out]) + epsilon).sqrt();
            bias[out] = (f64::from(beta[out]) - f64::from(mean[out]) * scale) as f32;
            for input in 0..inputs {
                for tap in 0..area {
                    let value = f64::from(weight[(out * inputs + input) * area + tap]) * scale;
                    folded[(tap * inputs + input) * self.outputs + out] = value as f32;
                }
            }
        }
        Ok((folded, bias))
    }

    /// The frozen form of a dense (not depthwise) convolution.
    pub(crate) fn frozen_conv(
        &self,
        parameters: &Parameters,
        prefix: &str,
        family: NormPadding,
    ) -> Result<kernels::Conv2d> {
        debug_assert!(!self.depthwise);
        let (weights, bias) = self.fold(parameters, prefix, family.epsilon)?;
        let spec = kernels::Conv2dSpec {
            in_channels: self.inputs,
            out_channels: self.outputs,
            kernel: [self.kernel; 2],
            stride: [self.stride; 2],
            dilation: [1; 2],
            padding: self.kernel_padding(family.padding),
            activation: self.activation(),
        };
        Ok(kernels::Conv2d::new(spec, &weights, &bias)?)
    }

    /// The frozen form of a depthwise convolution.
    pub(crate) fn frozen_depthwise(
        &self,
        parameters: &Parameters,
        prefix: &str,
        family: NormPadding,
    ) -> Result<kernels::DepthwiseConv2d> {
        debug_assert!(self.depthwise);
        let (weights, bias) = self.fold(parameters, prefix, family.epsilon)?;
        let spec = kernels::DepthwiseConv2dSpec {
            channels: self.outputs,
            kernel: [self.kernel; 2],
            stride: [self.stride; 2],
            dilation: [1; 2],
            padding: self.kernel_padding(family.padding),
            activation: self.activation(),
        };
        Ok(kernels::DepthwiseConv2d::new(spec, &weights, &bias)?)
    }
}

/// Trainable form of convolution + batch normalization + ReLU6.
#[derive(Module, Debug)]
pub struct ConvNorm {
    weight: Param<Tensor<4>>,
    norm: BatchNorm,
    #[module(skip)]
    spec: ConvNormSpec,
    #[module(skip)]
    padding: Padding,
}

/// Batch normalization whose statistics move only when it is told to.
///
/// The engine's own layer decides by the device whether it is training; a frozen stage on a training device must not
/// move its running statistics, so the caller says it here.
#[derive(Module, Debug)]
struct BatchNorm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    mean: RunningState<Tensor<1>>,
    variance: RunningState<Tensor<1>>,
    epsilon: f64,
}

impl ConvNorm {
    pub(crate) fn load(
        spec: ConvNormSpec,
        family: NormPadding,
        parameters: &Parameters,
        prefix: &str,
        device: &Device,
    ) -> Result<Self> {
        let vector = |name: &str| read::<1>(parameters, &format!("{prefix}.norm.{name}"), device);
        Ok(Self {
            weight: Param::from_tensor(read::<4>(parameters, &format!("{prefix}.weight"), device)?),
            norm: BatchNorm {
                gamma: Param::from_tensor(vector("gamma")?),
                beta: Param::from_tensor(vector("beta")?),
                mean: RunningState::new(vector("mean")?),
                variance: RunningState::new(vector("variance")?),
                epsilon: family.epsilon,
            },
            spec,
            padding: family.padding,
        })
    }

    /// `[B, H, W, C]` → `[B, ⌈H / stride⌉, ⌈W / stride⌉, out]`: channels last, as our kernels have it.
    pub(crate) fn forward(&self, input: Tensor<4>, statistics: NormStatistics) -> Tensor<4> {
        match self.forward_on_cpu(&input, statistics) {
            Some(output) => output,
            None => self.forward_on_engine(input, statistics),
        }
    }

    /// Our own kernels, if the tensors are on the CPU.
    fn forward_on_cpu(&self, input: &Tensor<4>, statistics: NormStatistics) -> Option<Tensor<4>> {
        let [_, height, width, channels] = input.dims();
        let step = self.step(kernels::Shape { height, width, channels })?;
        let Outcome { output, mean, variance } = cpu_conv_norm::forward(&step, input, &self.tensors(statistics))?;
        if statistics == NormStatistics::Batch {
            let device = input.device();
            let vector = |values: Vec<f32>| Tensor::<1>::from_floats(values.as_slice(), &device);
            self.norm.move_towards(vector(mean), vector(variance), output.shape().num_elements() / self.spec.outputs);
        }
        Some(output)
    }

    /// Several layers with fixed statistics as one step of our kernels, if the tensors are on the CPU; with `residual` the
    /// input is added to the result.
    pub(crate) fn forward_chain(layers: &[&Self], residual: bool, input: &Tensor<4>) -> Option<Tensor<4>> {
        let [_, height, width, channels] = input.dims();
        let mut shape = kernels::Shape { height, width, channels };
        let mut steps = Vec::with_capacity(layers.len());
        for layer in layers {
            let step = layer.step(shape)?;
            shape = step.output();
            steps.push(step);
        }
        let chain = kernels::training::Chain::new(steps, residual).ok()?;
        let tensors: Vec<LayerTensors> = layers.iter().map(|layer| layer.tensors(NormStatistics::Fixed)).collect();
        cpu_conv_norm::forward_chain(chain, input, &tensors)
    }

    /// This layer for our kernels, on inputs of one shape.
    fn step(&self, input: kernels::Shape) -> Option<kernels::training::ConvNorm> {
        let spec = kernels::training::ConvNormSpec {
            in_channels: self.spec.inputs,
            out_channels: self.spec.outputs,
            kernel: self.spec.kernel,
            stride: self.spec.stride,
            padding: self.spec.kernel_padding(self.padding),
            depthwise: self.spec.depthwise,
            activation: self.spec.activation(),
            epsilon: self.norm.epsilon as f32,
        };
        kernels::training::ConvNorm::new(spec, input).ok()
    }

    fn tensors(&self, statistics: NormStatistics) -> LayerTensors {
        let fixed = statistics == NormStatistics::Fixed;
        LayerTensors {
            weight: self.weight.val(),
            gamma: self.norm.gamma.val(),
            beta: self.norm.beta.val(),
            statistics: fixed.then(|| (values(self.norm.mean.value()), values(self.norm.variance.value()))),
        }
    }

    /// The engine's operations, on any device.
    fn forward_on_engine(&self, input: Tensor<4>, statistics: NormStatistics) -> Tensor<4> {
        let input = input.permute([0, 3, 1, 2]); // [B, C, H, W]
        let [_, _, height, width] = input.dims();
        let options = ConvOptions::new_with_padding(
            [self.spec.stride; 2],
            [self.pad(height), self.pad(width)],
            [1; 2],
            if self.spec.depthwise { self.spec.inputs } else { 1 },
        );
        let output = functional::conv2d(input, self.weight.val(), None, options); // [B, out, H', W']
        let output = self.norm.forward(output, statistics);
        let output = if self.spec.relu6 { output.clamp(0.0, 6.0) } else { output };
        output.permute([0, 2, 3, 1])
    }

    /// Pixels before and after along one axis.
    fn pad(&self, length: usize) -> (usize, usize) {
        let (kernel, stride) = (self.spec.kernel, self.spec.stride);
        match self.padding {
            Padding::Symmetric => ((kernel - 1) / 2, (kernel - 1) / 2),
            Padding::Tensorflow => {
                let total = ((length.div_ceil(stride) - 1) * stride + kernel).saturating_sub(length);
                (total / 2, total - total / 2)
            }
        }
    }
}

impl BatchNorm {
    fn forward(&self, input: Tensor<4>, statistics: NormStatistics) -> Tensor<4> {
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
    fn move_towards(&self, mean: Tensor<1>, variance: Tensor<1>, count: usize) {
        // PyTorch keeps the unbiased variance in its running statistics.
        let unbiased = variance.detach().mul_scalar(count as f64 / (count as f64 - 1.0).max(1.0));
        self.mean.update(moved(self.mean.value_sync(), mean.detach()));
        self.variance.update(moved(self.variance.value_sync(), unbiased));
    }
}

fn moved(running: Tensor<1>, batch: Tensor<1>) -> Tensor<1> {
    running.detach().mul_scalar(1.0 - MOMENTUM).add(batch.mul_scalar(MOMENTUM))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    const SPEC: ConvNormSpec =
        ConvNormSpec { inputs: 3, outputs: 4, kernel: 3, stride: 2, depthwise: false, relu6: true };

    fn layer(device: &Device) -> ConvNorm {
        layer_of(SPEC, device)
    }

    fn layer_of(spec: ConvNormSpec, device: &Device) -> ConvNorm {
        let family = NormPadding { padding: Padding::Tensorflow, epsilon: 1e-3 };
        let parameters = Parameters::initialize(&spec.parameters("layer"), 5);
        ConvNorm::load(spec, family, &parameters, "layer", device).unwrap()
    }

    fn picture(device: &Device) -> Tensor<4> {
        let mut stream = Stream::new(1, "picture", &[]);
        let values: Vec<f32> = (0..2 * 7 * 7 * 3).map(|_| stream.normal() + 0.5).collect();
        Tensor::<1>::from_floats(values.as_slice(), device).reshape([2, 7, 7, 3])
    }

    #[test]
    fn our_kernels_and_the_engine_give_the_same_results_and_gradients() {
        let device = Device::default().autodiff();
        for depthwise in [false, true] {
            for statistics in [NormStatistics::Fixed, NormStatistics::Batch] {
                let outputs = if depthwise { 3 } else { 4 };
                let layer = layer_of(ConvNormSpec { depthwise, outputs, ..SPEC }, &device);
                let results = [true, false].map(|ours| {
                    let input = picture(&device).require_grad();
                    let output = if ours {
                        layer.forward_on_cpu(&input, statistics).expect("this is the CPU")
                    } else {
                        layer.forward_on_engine(input.clone(), statistics)
                    };
                    let gradients = output.clone().powi_scalar(2).sum().backward();
                    let gradient = |found: Option<Tensor<1>>| values(found.unwrap());
                    [
                        values(output),
                        values(input.grad(&gradients).unwrap()),
                        values(layer.weight.val().grad(&gradients).unwrap()),
                        gradient(layer.norm.gamma.val().grad(&gradients)),
                        gradient(layer.norm.beta.val().grad(&gradients)),
                    ]
                });
                let [ours, engine] = results;
                for (which, (a, b)) in ours.iter().zip(&engine).enumerate() {
                    let largest = b.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
                    assert!(apart <= 1e-4 * largest, "{depthwise} {statistics:?} {which}: {apart} of {largest}");
                }
            }
        }
    }

    /// Σ output · i / n: a loss under which the mean that the normalization removes is not all there is.
    fn loss(layer: &ConvNorm, input: Tensor<4>) -> Tensor<1> {
        let output = layer.forward(input, NormStatistics::Batch).flatten::<1>(0, 3);
        let count = output.dims()[0];
        let weights: Vec<f32> = (0..count).map(|index| index as f32 / count as f32).collect();
        (output.clone() * Tensor::from_floats(weights.as_slice(), &output.device())).sum()
    }

    #[test]
    fn gradients_through_batch_statistics_agree_with_finite_differences() {
        let device = Device::default().autodiff();
        let layer = layer(&device);
        let input = picture(&device);
        let gradients = loss(&layer, input.clone()).backward();
        let analytic = values(layer.weight.val().grad(&gradients).unwrap());
        let shape = layer.weight.dims();
        let weights = values(layer.weight.val());
        let at = |index: usize, step: f32| -> f64 {
            let mut moved = weights.clone();
            moved[index] += step;
            let mut other = layer.clone();
            other.weight = Param::from_tensor(Tensor::<1>::from_floats(moved.as_slice(), &device).reshape(shape));
            f64::from(loss(&other, input.clone()).into_scalar::<f32>())
        };
        let largest = analytic.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        for index in (0..weights.len()).step_by(7) {
            let step = 2e-3;
            let numeric = (at(index, step) - at(index, -step)) / (2.0 * f64::from(step));
            let difference = (numeric - f64::from(analytic[index])).abs();
            assert!(difference < 0.03 * f64::from(largest), "{index}: {numeric} against {}", analytic[index]);
        }
    }

    #[test]
    fn running_statistics_come_to_be_those_of_the_batch_and_stay_when_fixed() {
        let device = Device::default().autodiff();
        let layer = layer(&device);
        let input = picture(&device);
        let before = values(layer.norm.mean.value());
        let fixed = values(layer.forward(input.clone(), NormStatistics::Fixed));
        assert_eq!(values(layer.norm.mean.value()), before, "fixed statistics moved");
        for _ in 0..100 {
            layer.forward(input.clone(), NormStatistics::Batch);
        }
        let batch = values(layer.forward(input.clone(), NormStatistics::Batch));
        let after = values(layer.valid().forward(input.inner(), NormStatistics::Fixed));
        let distance = |other: &[f32]| {
            batch.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0f32, |most, next| most.max(next))
        };
        // 32 values a channel: the unbiased variance is 1/31 larger.
        assert!(distance(&after) < 0.1, "{}", distance(&after));
        assert!(distance(&fixed) > 0.3, "the test would pass without any statistics");
    }
}
