//! Convolution, batch normalization or a bias, activation: the brick of convolutional networks.

use burn::module::{Module, Param};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, activation, module as functional};
use headstart_kernels as kernels;
use serde::{Deserialize, Serialize};

use crate::backbones::Conventions;
use crate::error::Result;
use crate::nn::batch_norm::BatchNorm;
use crate::nn::cpu_conv_norm::{self, LayerTensors, Outcome};
use crate::nn::named::read;
use crate::parameters::{Initial, ParameterSpec, Parameters};

/// How a convolution pads its input; the checkpoint family decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// (k − 1) / 2 on each side, as PyTorch networks are built.
    Symmetric,
    /// TensorFlow's "same": as little as needed, the odd pixel on the right and at the bottom.
    Tensorflow,
    /// TensorFlow's "same", but a depthwise convolution of stride 2 pads one pixel on the right and at the bottom, be the
    /// size odd or even: Keras's MobileNet v1.
    BottomRight,
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

/// What stands behind a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Norm {
    /// Batch normalization, and no bias.
    Batch,
    /// A bias alone.
    Bias,
}

/// Channels, kernel, stride and what follows of a [`ConvNorm`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ConvNormSpec {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Rows and columns.
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    pub(crate) depthwise: bool,
    /// Whether it pads as its family does; if not, it does not pad.
    pub(crate) pads: bool,
    pub(crate) norm: Norm,
    pub(crate) activation: kernels::Activation,
}

/// What the checkpoint family decides for every layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NormPadding {
    pub(crate) padding: Padding,
    pub(crate) epsilon: f64,
}

impl From<&Conventions> for NormPadding {
    fn from(conventions: &Conventions) -> Self {
        Self { padding: conventions.padding, epsilon: conventions.batch_norm_epsilon }
    }
}

impl ConvNormSpec {
    /// A dense convolution of one square kernel with batch normalization and ReLU.
    pub(crate) fn square(inputs: usize, outputs: usize, side: usize, stride: usize) -> Self {
        Self {
            inputs,
            outputs,
            kernel: [side; 2],
            stride,
            depthwise: false,
            pads: true,
            norm: Norm::Batch,
            activation: kernels::Activation::Relu,
        }
    }

    /// A depthwise convolution, as [`Self::square`].
    pub(crate) fn depthwise(channels: usize, side: usize, stride: usize) -> Self {
        Self { depthwise: true, ..Self::square(channels, channels, side, stride) }
    }

    /// Names and shapes under `prefix`; the kernel is `[out, in / groups, rows, columns]`.
    pub(crate) fn parameters(&self, prefix: &str) -> Vec<ParameterSpec> {
        let groups = if self.depthwise { self.inputs } else { 1 };
        let [rows, columns] = self.kernel;
        let spec = |name: &str, shape, initial| ParameterSpec { name: format!("{prefix}.{name}"), shape, initial };
        let weight = spec(
            "weight",
            vec![self.outputs, self.inputs / groups, rows, columns],
            Initial::HeNormal { fan_out: rows * columns * self.outputs / groups },
        );
        let vector = |name: &str, initial| spec(name, vec![self.outputs], initial);
        match self.norm {
            Norm::Bias => vec![weight, vector("bias", Initial::Zeros)],
            Norm::Batch => vec![
                weight,
                vector("norm.gamma", Initial::Ones),
                vector("norm.beta", Initial::Zeros),
                vector("norm.mean", Initial::Zeros),
                vector("norm.variance", Initial::Ones),
            ],
        }
    }

    fn is_halving_depthwise(&self) -> bool {
        self.depthwise && self.stride == 2
    }

    pub(crate) fn kernel_padding(&self, padding: Padding) -> kernels::PaddingRule {
        let [rows, columns] = self.kernel.map(|side| (side - 1) / 2);
        match padding {
            _ if !self.pads => kernels::PaddingRule::Explicit(kernels::Padding::default()),
            Padding::Symmetric => kernels::PaddingRule::Explicit(kernels::Padding {
                top: rows,
                bottom: rows,
                left: columns,
                right: columns,
            }),
            Padding::BottomRight if self.is_halving_depthwise() => {
                kernels::PaddingRule::Explicit(kernels::Padding { top: 0, bottom: 1, left: 0, right: 1 })
            }
            Padding::Tensorflow | Padding::BottomRight => kernels::PaddingRule::TensorFlowSame,
        }
    }

    /// Kernel and bias with the normalization folded in: `[rows, columns, in / groups, out]` and `[out]`.
    ///
    /// Folded in f64, so that the frozen form differs from the trainable one by rounding of the products alone.
    pub(crate) fn fold(&self, parameters: &Parameters, prefix: &str, epsilon: f64) -> Result<(Vec<f32>, Vec<f32>)> {
        let array = |name: &str| parameters.find(&format!("{prefix}.{name}")).map(|found| &found.values);
        let weight = array("weight")?;
        let (scales, bias): (Vec<f64>, Vec<f32>) = match self.norm {
            Norm::Bias => (vec![1.0; self.outputs], array("bias")?.clone()),
            Norm::Batch => {
                let (gamma, beta) = (array("norm.gamma")?, array("norm.beta")?);
                let (mean, variance) = (array("norm.mean")?, array("norm.variance")?);
                let folded = |out: usize| {
                    let scale = f64::from(gamma[out]) / (f64::from(variance[out]) + epsilon).sqrt();
                    (scale, (f64::from(beta[out]) - f64::from(mean[out]) * scale) as f32)
                };
                (0..self.outputs).map(folded).unzip()
            }
        };
        let inputs = if self.depthwise { 1 } else { self.inputs };
        let area = self.kernel[0] * self.kernel[1];
        let mut folded = vec![0.0; weight.len()];
        for (out, scale) in scales.iter().enumerate() {
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
            kernel: self.kernel,
            stride: [self.stride; 2],
            dilation: [1; 2],
            padding: self.kernel_padding(family.padding),
            activation: self.activation,
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
            kernel: self.kernel,
            stride: [self.stride; 2],
            dilation: [1; 2],
            padding: self.kernel_padding(family.padding),
            activation: self.activation,
        };
        Ok(kernels::DepthwiseConv2d::new(spec, &weights, &bias)?)
    }
}

/// Trainable form of convolution, normalization or bias, and activation.
#[derive(Module, Debug)]
pub struct ConvNorm {
    weight: Param<Tensor<4>>,
    norm: Option<BatchNorm>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    spec: ConvNormSpec,
    #[module(skip)]
    padding: Padding,
}

impl ConvNorm {
    pub(crate) fn load(
        spec: ConvNormSpec,
        family: NormPadding,
        parameters: &Parameters,
        prefix: &str,
        device: &Device,
    ) -> Result<Self> {
        let is_normalized = spec.norm == Norm::Batch;
        let norm = || BatchNorm::load(family.epsilon, parameters, &format!("{prefix}.norm"), device);
        let bias = || read::<1>(parameters, &format!("{prefix}.bias"), device).map(Param::from_tensor);
        Ok(Self {
            weight: Param::from_tensor(read::<4>(parameters, &format!("{prefix}.weight"), device)?),
            norm: is_normalized.then(norm).transpose()?,
            bias: (!is_normalized).then(bias).transpose()?,
            spec,
            padding: family.padding,
        })
    }

    /// `[B, H, W, C]` → `[B, H', W', out]`: channels last, as our kernels have it.
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
        if let Some(norm) = self.norm.as_ref().filter(|_| statistics == NormStatistics::Batch) {
            let device = input.device();
            let vector = |values: Vec<f32>| Tensor::<1>::from_floats(values.as_slice(), &device);
            norm.move_towards(vector(mean), vector(variance), output.shape().num_elements() / self.spec.outputs);
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
            activation: self.spec.activation,
            epsilon: self.norm.as_ref().map_or(0.0, BatchNorm::epsilon) as f32,
        };
        kernels::training::ConvNorm::new(spec, input).ok()
    }

    /// A bias is a normalization by mean 0 and variance 1.
    fn tensors(&self, statistics: NormStatistics) -> LayerTensors {
        let weight = self.weight.val();
        if let Some(norm) = &self.norm {
            let (gamma, beta) = norm.scale_and_shift();
            let statistics = (statistics == NormStatistics::Fixed).then(|| norm.statistics());
            return LayerTensors { weight, gamma, beta, statistics };
        }
        let (device, outputs) = (weight.device(), self.spec.outputs);
        let gamma = Tensor::ones([outputs], &device);
        let beta = self.bias.as_ref().map_or_else(|| Tensor::zeros([outputs], &device), Param::val);
        LayerTensors { weight, gamma, beta, statistics: Some((vec![0.0; outputs], vec![1.0; outputs])) }
    }

    /// The engine's operations, on any device.
    fn forward_on_engine(&self, input: Tensor<4>, statistics: NormStatistics) -> Tensor<4> {
        let input = input.permute([0, 3, 1, 2]); // [B, C, H, W]
        let [_, _, height, width] = input.dims();
        let options = ConvOptions::new_with_padding(
            [self.spec.stride; 2],
            [self.pad(0, height), self.pad(1, width)],
            [1; 2],
            if self.spec.depthwise { self.spec.inputs } else { 1 },
        );
        let bias = self.bias.as_ref().map(Param::val);
        let mut output = functional::conv2d(input, self.weight.val(), bias, options); // [B, out, H', W']
        if let Some(norm) = &self.norm {
            output = norm.forward(output, statistics);
        }
        activate(output, self.spec.activation).permute([0, 2, 3, 1])
    }

    /// Pixels before and after along one axis.
    fn pad(&self, axis: usize, length: usize) -> (usize, usize) {
        let (kernel, stride) = (self.spec.kernel[axis], self.spec.stride);
        match self.padding {
            _ if !self.spec.pads => (0, 0),
            Padding::Symmetric => ((kernel - 1) / 2, (kernel - 1) / 2),
            Padding::BottomRight if self.spec.is_halving_depthwise() => (0, 1),
            Padding::Tensorflow | Padding::BottomRight => {
                let total = ((length.div_ceil(stride) - 1) * stride + kernel).saturating_sub(length);
                (total / 2, total - total / 2)
            }
        }
    }
}

pub(crate) fn activate(input: Tensor<4>, function: kernels::Activation) -> Tensor<4> {
    match function {
        kernels::Activation::Relu => activation::relu(input),
        kernels::Activation::Relu6 => input.clamp(0.0, 6.0),
        kernels::Activation::ClippedRelu(limit) => input.clamp(0.0, limit),
        kernels::Activation::LeakyRelu(slope) => activation::leaky_relu(input, f64::from(slope)),
        kernels::Activation::Silu => activation::silu(input),
        _ => input,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::named::values;
    use crate::random::Stream;

    const SPEC: ConvNormSpec = ConvNormSpec {
        inputs: 3,
        outputs: 4,
        kernel: [3; 2],
        stride: 2,
        depthwise: false,
        pads: true,
        norm: Norm::Batch,
        activation: kernels::Activation::Relu6,
    };

    fn layer(device: &Device) -> ConvNorm {
        layer_of(SPEC, device)
    }

    fn layer_of(spec: ConvNormSpec, device: &Device) -> ConvNorm {
        let family = NormPadding { padding: Padding::Tensorflow, epsilon: 1e-3 };
        let parameters = Parameters::initialize(&spec.parameters("layer"), 5);
        ConvNorm::load(spec, family, &parameters, "layer", device).unwrap()
    }

    fn norm(layer: &ConvNorm) -> &BatchNorm {
        layer.norm.as_ref().unwrap()
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
                    let (scale, shift) = norm(&layer).scale_and_shift();
                    [
                        values(output),
                        values(input.grad(&gradients).unwrap()),
                        values(layer.weight.val().grad(&gradients).unwrap()),
                        gradient(scale.grad(&gradients)),
                        gradient(shift.grad(&gradients)),
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

    #[test]
    fn a_bias_and_a_kernel_that_is_not_square_give_what_the_engine_gives() {
        let device = Device::default().autodiff();
        for (kernel, pads, stride) in [([1, 7], true, 1), ([3, 1], false, 1), ([3, 3], false, 2), ([3, 3], true, 1)] {
            let activation = kernels::Activation::Relu;
            let layer = layer_of(ConvNormSpec { kernel, pads, stride, norm: Norm::Bias, activation, ..SPEC }, &device);
            let [ours, engine] = [true, false].map(|ours| {
                let input = picture(&device).require_grad();
                let output = if ours {
                    layer.forward_on_cpu(&input, NormStatistics::Batch).expect("this is the CPU")
                } else {
                    layer.forward_on_engine(input.clone(), NormStatistics::Batch)
                };
                let gradients = output.clone().powi_scalar(2).sum().backward();
                let bias = layer.bias.as_ref().unwrap().val();
                let of_weight = values(layer.weight.val().grad(&gradients).unwrap());
                [
                    values(output),
                    values(input.grad(&gradients).unwrap()),
                    of_weight,
                    values(bias.grad(&gradients).unwrap()),
                ]
            });
            for (which, (a, b)) in ours.iter().zip(&engine).enumerate() {
                let largest = b.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
                assert!(apart <= 1e-4 * largest, "{kernel:?} {which}: {apart} of {largest}");
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
        let before = norm(&layer).statistics().0;
        let fixed = values(layer.forward(input.clone(), NormStatistics::Fixed));
        assert_eq!(norm(&layer).statistics().0, before, "fixed statistics moved");
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
