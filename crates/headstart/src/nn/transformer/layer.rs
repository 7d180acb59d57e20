//! The trainable form of one layer: one step on our kernels, or the engine's operations where there is no bridge.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData, activation};
use headstart_kernels::transformer::{
    Bend, Dropout, LayerDropout, NormPlace, Sequences, TransformerLayer, TransformerSpec,
};

use super::adapter::{Adapter, LoraRecipe};
use crate::error::Result;
use crate::nn::cpu_transformer::{self, DenseTensors, LayerTensors, NormTensors};
use crate::nn::dense::Dense;
use crate::nn::named::read;
use crate::parameters::Parameters;

/// Layer normalization with scale and shift.
#[derive(Module, Debug)]
pub(crate) struct LayerNorm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
}

/// Attention and two dense layers; arrays as [`super::shape::TransformerShape::parameters`] names them.
#[derive(Module, Debug)]
pub(crate) struct Layer {
    query: Dense,
    key: Dense,
    value: Dense,
    attended: Dense,
    attention_norm: LayerNorm,
    expand: Dense,
    contract: Dense,
    dense_norm: LayerNorm,
    final_norm: Option<LayerNorm>,
    query_adapter: Option<Adapter>,
    value_adapter: Option<Adapter>,
    #[module(skip)]
    spec: TransformerSpec,
}

impl LayerNorm {
    pub(crate) fn load(parameters: &Parameters, prefix: &str, device: &Device) -> Result<Self> {
        let vector = |name: &str| read::<1>(parameters, &format!("{prefix}.{name}"), device);
        Ok(Self { gamma: Param::from_tensor(vector("gamma")?), beta: Param::from_tensor(vector("beta")?) })
    }

    /// `[tokens, width]` → the same.
    pub(crate) fn forward(&self, input: Tensor<2>, epsilon: f32) -> Tensor<2> {
        let arrays = self.tensors();
        cpu_transformer::normalize(&input, &arrays, epsilon).unwrap_or_else(|| normalize(input, &arrays, epsilon))
    }

    fn tensors(&self) -> NormTensors {
        (self.gamma.val(), self.beta.val())
    }
}

impl Layer {
    /// The layer called `prefix`; the last one of a network that normalizes first has one normalization more. Under
    /// adapters nothing else of the layer learns.
    pub(super) fn load(
        spec: TransformerSpec,
        parameters: &Parameters,
        prefix: &str,
        has_final_norm: bool,
        lora: Option<&LoraRecipe>,
        device: &Device,
    ) -> Result<Self> {
        let dense = |name: &str| Dense::load(parameters, &format!("{prefix}.{name}"), device);
        let norm = |name: &str| LayerNorm::load(parameters, &format!("{prefix}.{name}"), device);
        TransformerLayer::new(spec)?;
        let layer = Self {
            query: dense("query")?,
            key: dense("key")?,
            value: dense("value")?,
            attended: dense("attended")?,
            attention_norm: norm("attention_norm")?,
            expand: dense("expand")?,
            contract: dense("contract")?,
            dense_norm: norm("dense_norm")?,
            final_norm: has_final_norm.then(|| norm("final_norm")).transpose()?,
            query_adapter: None,
            value_adapter: None,
            spec,
        };
        let Some(lora) = lora else { return Ok(layer) };
        let adapter = |name: &str| Adapter::load(lora, parameters, &format!("{prefix}.{name}"), device).map(Some);
        let (query_adapter, value_adapter) = (adapter("query_adapter")?, adapter("value_adapter")?);
        Ok(Self { query_adapter, value_adapter, ..layer.no_grad() })
    }

    /// `[tokens, width]` → the same.
    pub(super) fn forward(
        &self,
        sequences: &Arc<Sequences>,
        input: Tensor<2>,
        dropout: Option<LayerDropout>,
    ) -> Tensor<2> {
        let arrays = self.tensors();
        let layer = TransformerLayer::new(self.spec).expect("checked when it was loaded");
        let output = cpu_transformer::forward(layer, sequences, &input, &arrays, dropout)
            .unwrap_or_else(|| by_engine(&self.spec, sequences, input, &arrays, dropout));
        match &self.final_norm {
            Some(norm) => norm.forward(output, self.spec.epsilon),
            None => output,
        }
    }

    fn tensors(&self) -> LayerTensors {
        let adapted = |dense: &Dense, adapter: &Option<Adapter>| {
            let (weight, bias) = dense.tensors();
            (adapter.iter().fold(weight, |weight, adapter| adapter.adapted(weight)), bias)
        };
        LayerTensors {
            query: adapted(&self.query, &self.query_adapter),
            key: self.key.tensors(),
            value: adapted(&self.value, &self.value_adapter),
            attended: self.attended.tensors(),
            attention_norm: self.attention_norm.tensors(),
            expand: self.expand.tensors(),
            contract: self.contract.tensors(),
            dense_norm: self.dense_norm.tensors(),
        }
    }
}

fn dense(input: Tensor<2>, (weight, bias): &DenseTensors) -> Tensor<2> {
    burn::tensor::module::linear(input, weight.clone(), Some(bias.clone()))
}

fn normalize(input: Tensor<2>, (gamma, beta): &NormTensors, epsilon: f32) -> Tensor<2> {
    let centred = input.clone() - input.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    let normal = centred / (variance + epsilon).sqrt();
    normal * gamma.clone().unsqueeze() + beta.clone().unsqueeze()
}

/// What a mask leaves, by the engine.
pub(crate) fn drop(values: Tensor<2>, dropout: Option<Dropout>) -> Tensor<2> {
    let Some(dropout) = dropout else { return values };
    let dims = values.dims();
    let factors = TensorData::new(dropout.factors(dims.iter().product()), dims);
    let factors = Tensor::<2>::from_data(factors, &values.device());
    values * factors
}

fn bend(bend: Bend, values: Tensor<2>) -> Tensor<2> {
    match bend {
        Bend::Gelu => activation::gelu(values),
        Bend::GeluTanh => {
            let cubic = values.clone().powi_scalar(3).mul_scalar(0.044_715);
            let inner = (values.clone() + cubic).mul_scalar((2.0 / std::f64::consts::PI).sqrt());
            values * (inner.tanh() + 1.0).mul_scalar(0.5)
        }
        Bend::Relu => activation::relu(values),
    }
}

/// The same layer with the same masks by the engine's operations, one sequence after the other.
fn by_engine(
    spec: &TransformerSpec,
    sequences: &Sequences,
    input: Tensor<2>,
    arrays: &LayerTensors,
    dropout: Option<LayerDropout>,
) -> Tensor<2> {
    let norm_first = spec.norm == NormPlace::Before;
    let norm = |values: Tensor<2>, arrays: &NormTensors| normalize(values, arrays, spec.epsilon);
    let seen = if norm_first { norm(input.clone(), &arrays.attention_norm) } else { input.clone() };
    let [query, key, value] = [&arrays.query, &arrays.key, &arrays.value].map(|array| dense(seen.clone(), array));
    let mut contexts = Vec::with_capacity(sequences.len());
    for (index, rows) in sequences.ranges().enumerate().filter(|(_, rows)| !rows.is_empty()) {
        let parts = [&query, &key, &value].map(|part| part.clone().slice([rows.clone(), 0..spec.width]));
        contexts.push(attend(spec, index, parts, dropout));
    }
    let context = if contexts.is_empty() { value } else { Tensor::cat(contexts, 0) };
    let attended = drop(dense(context, &arrays.attended), dropout.and_then(LayerDropout::attended)) + input;
    let normed = norm(attended.clone(), if norm_first { &arrays.dense_norm } else { &arrays.attention_norm });
    let expanded = bend(spec.bend, dense(normed.clone(), &arrays.expand));
    let added = drop(dense(expanded, &arrays.contract), dropout.and_then(LayerDropout::contracted));
    if norm_first { attended + added } else { norm(normed + added, &arrays.dense_norm) }
}

/// Attention within one sequence, `[length, width]` each.
fn attend(spec: &TransformerSpec, sequence: usize, parts: [Tensor<2>; 3], dropout: Option<LayerDropout>) -> Tensor<2> {
    let length = parts[0].dims()[0];
    let head = spec.width / spec.heads;
    let heads = (0..spec.heads).map(|index| {
        let [query, key, value] =
            parts.each_ref().map(|part| part.clone().slice([0..length, index * head..(index + 1) * head]));
        let mut scores = query.matmul(key.transpose()).mul_scalar(1.0 / (head as f64).sqrt()); // [length, length]
        if spec.causal {
            let hidden =
                (0..length * length).map(|at| if at % length > at / length { -1e30f32 } else { 0.0 }).collect();
            scores = scores.clone() + Tensor::from_data(TensorData::new(hidden, [length, length]), &scores.device());
        }
        let mask = dropout.and_then(|dropout| dropout.probabilities(sequence, index, spec.heads));
        drop(activation::softmax(scores, 1), mask).matmul(value)
    });
    Tensor::cat(heads.collect(), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::named::values;
    use crate::nn::transformer::shape::{DenseActivation, TransformerShape};

    fn shape(norm_first: bool) -> TransformerShape {
        TransformerShape {
            vocabulary: 11,
            positions: 8,
            kinds: 0,
            width: 24,
            layers: 1,
            heads: 3,
            hidden: 40,
            activation: if norm_first { DenseActivation::GeluTanh } else { DenseActivation::Gelu },
            norm_first,
            causal: norm_first,
            epsilon: 1e-6,
            dropout: 0.1,
            attention_dropout: 0.1,
        }
    }

    /// Output and the gradients of input and of every array.
    fn outcome(shape: &TransformerShape, dropout: Option<LayerDropout>, bridged: bool) -> Vec<Vec<f32>> {
        let device = Device::default().autodiff();
        let mut parameters = Parameters::initialize(&shape.parameters(), 3);
        parameters.scale(|name| if name.ends_with(".weight") { 8.0 } else { 1.0 });
        let layer = Layer::load(shape.layer(), &parameters, "layer0", false, None, &device).unwrap();
        let sequences = Arc::new(Sequences::of_lengths(&[5, 1, 7]));
        let mut noise = crate::random::Stream::new(1, "test", &[]);
        let input: Vec<f32> = (0..13 * shape.width).map(|_| noise.normal()).collect();
        let input = Tensor::<2>::from_data(TensorData::new(input, [13, shape.width]), &device).require_grad();
        let output = if bridged {
            layer.forward(&sequences, input.clone(), dropout)
        } else {
            by_engine(&layer.spec, &sequences, input.clone(), &layer.tensors(), dropout)
        };
        let weights: Vec<f32> = (0..13 * shape.width).map(|_| noise.normal()).collect();
        let weights = Tensor::<2>::from_data(TensorData::new(weights, [13, shape.width]), &device);
        let gradients = (output.clone() * weights).sum().backward();
        let arrays = layer.tensors();
        let mut found = vec![values(output), values(input.grad(&gradients).unwrap())];
        for (weight, bias) in [arrays.query, arrays.key, arrays.value, arrays.attended, arrays.expand, arrays.contract]
        {
            found.extend([values(weight.grad(&gradients).unwrap()), values(bias.grad(&gradients).unwrap())]);
        }
        for (gamma, beta) in [arrays.attention_norm, arrays.dense_norm] {
            found.extend([values(gamma.grad(&gradients).unwrap()), values(beta.grad(&gradients).unwrap())]);
        }
        found
    }

    #[test]
    fn kernels_and_engine_agree_forward_and_back_with_the_same_masks() {
        for norm_first in [false, true] {
            for dropout in [None, Some(LayerDropout { attention: 0.2, hidden: 0.3, seed: 9 })] {
                let (ours, engines) =
                    (outcome(&shape(norm_first), dropout, true), outcome(&shape(norm_first), dropout, false));
                for (index, (ours, engines)) in ours.iter().zip(&engines).enumerate() {
                    let scale = engines.iter().fold(1e-2f32, |most, value| most.max(value.abs()));
                    let gap = ours.iter().zip(engines).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
                    assert!(gap <= 5e-5 * scale, "array {index}, norm first {norm_first}: {gap} of {scale}");
                }
            }
        }
    }

    #[test]
    fn an_array_that_does_not_learn_gets_no_gradient_and_changes_no_other() {
        let device = Device::default().autodiff();
        let shape = shape(false);
        let parameters = Parameters::initialize(&shape.parameters(), 3);
        let mut layer = Layer::load(shape.layer(), &parameters, "layer0", false, None, &device).unwrap();
        layer.query = layer.query.no_grad();
        let sequences = Arc::new(Sequences::of_lengths(&[4]));
        let input = Tensor::<2>::ones([4, shape.width], &device);
        let gradients = layer.forward(&sequences, input, None).square().sum().backward();
        assert!(layer.tensors().query.0.grad(&gradients).is_none());
        assert!(layer.tensors().value.0.grad(&gradients).is_some());
    }

    #[test]
    fn adapters_start_as_the_network_learn_alone_and_merge_to_what_they_give() {
        let device = Device::default().autodiff();
        let shape = shape(true);
        let lora = LoraRecipe { rank: 2, alpha: 3.0, ..LoraRecipe::default() };
        let mut parameters = Parameters::initialize(&shape.parameters(), 3);
        let plain = Layer::load(shape.layer(), &parameters, "layer0", false, None, &device).unwrap();
        parameters.extend(Parameters::initialize(&lora.parameters(&shape), 4));
        let load = |parameters: &Parameters, lora: Option<&LoraRecipe>| {
            Layer::load(shape.layer(), parameters, "layer0", false, lora, &device).unwrap()
        };
        let sequences = Arc::new(Sequences::of_lengths(&[3, 2]));
        let mut noise = crate::random::Stream::new(1, "test", &[]);
        let input: Vec<f32> = (0..5 * shape.width).map(|_| noise.normal()).collect();
        let input = Tensor::<2>::from_data(TensorData::new(input, [5, shape.width]), &device);
        let of = |layer: &Layer| layer.forward(&sequences, input.clone(), None);
        assert_eq!(values(of(&load(&parameters, Some(&lora)))), values(of(&plain)));

        parameters.scale(|name| if name.ends_with("_adapter.down") { 20.0 } else { 1.0 });
        for (index, name) in ["query", "value"].into_iter().enumerate() {
            let name = format!("layer0.{name}_adapter.up");
            let mut up = parameters.find(&name).unwrap().clone();
            up.values.iter_mut().enumerate().for_each(|(at, value)| *value = ((at + index) % 5) as f32 * 0.1);
            parameters.insert(name, up);
        }
        let adapted = load(&parameters, Some(&lora));
        let merged = load(&lora.merged(&parameters).unwrap(), None);
        let (found, expected) = (values(of(&adapted)), values(of(&merged)));
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5));
        assert_ne!(expected, values(of(&plain)));

        let gradients = of(&adapted).square().sum().backward();
        let learns = |tensor: &Tensor<2>| tensor.grad(&gradients).is_some();
        assert!(!learns(&adapted.query.tensors().0) && !learns(&adapted.expand.tensors().0));
        let names = crate::nn::named::collect(&adapted);
        assert!(names.iter().any(|(name, _)| name == "query_adapter.down"));
    }
}
