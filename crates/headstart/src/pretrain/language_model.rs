//! A transformer with an output over its vocabulary that shares the word embeddings.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};

use super::objective::{Batch, Objective};
use crate::error::Result;
use crate::nn::named::read;
use crate::nn::transformer::LayerNorm;
use crate::nn::{Dense, Transformer, TransformerShape};
use crate::parameters::{Initial, ParameterSpec, Parameters};
use crate::random::Stream;

/// Arrays begin with `backbone.` and, for BERT's transformation before the output, with `output.`.
#[derive(Module, Debug)]
pub struct LanguageModel {
    backbone: Transformer,
    output: Option<Transform>,
}

/// BERT's dense layer, activation, normalization and bias before the shared output matrix.
#[derive(Module, Debug)]
struct Transform {
    dense: Dense,
    norm: LayerNorm,
    bias: Param<Tensor<1>>,
    epsilon: f64,
}

impl LanguageModel {
    /// Every array of the model.
    pub fn parameters(shape: &TransformerShape, objective: Objective) -> Vec<ParameterSpec> {
        let mut all: Vec<ParameterSpec> = shape
            .parameters()
            .into_iter()
            .map(|spec| ParameterSpec { name: format!("backbone.{}", spec.name), ..spec })
            .collect();
        if objective == Objective::MaskedLm {
            let array =
                |name: &str, shape: Vec<usize>, initial| ParameterSpec { name: name.to_owned(), shape, initial };
            let width = shape.width;
            all.extend([
                array("output.dense.weight", vec![width, width], Initial::Normal { deviation: 0.02 }),
                array("output.dense.bias", vec![width], Initial::Zeros),
                array("output.norm.gamma", vec![width], Initial::Ones),
                array("output.norm.beta", vec![width], Initial::Zeros),
                array("output.bias", vec![shape.vocabulary], Initial::Zeros),
            ]);
        }
        all
    }

    /// The model from its arrays.
    ///
    /// # Errors
    /// [`crate::Error::UnknownName`] when an array is missing.
    pub fn load(
        shape: TransformerShape,
        objective: Objective,
        parameters: &Parameters,
        device: &Device,
    ) -> Result<Self> {
        let output = (objective == Objective::MaskedLm).then(|| {
            Ok::<_, crate::Error>(Transform {
                dense: Dense::load(parameters, "output.dense", device)?,
                norm: LayerNorm::load(parameters, "output.norm", device)?,
                bias: Param::from_tensor(read(parameters, "output.bias", device)?),
                epsilon: shape.epsilon,
            })
        });
        let backbone = Transformer::load(shape, &parameters.strip_prefix("backbone."), None, device)?;
        Ok(Self { backbone, output: output.transpose()? })
    }

    /// Mean cross-entropy of the predicted tokens, in nats. `noise` draws dropout while it learns.
    pub fn loss(&self, batch: &Batch, mut noise: Option<&mut Stream>) -> Tensor<1> {
        let states = self.backbone.embed(&batch.tokens, noise.as_deref_mut());
        let states = self.backbone.run_layers(0, states, &batch.tokens.sequences, noise);
        let device = states.device();
        let count = batch.rows.len();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(batch.rows.clone(), [count]), &device);
        let mut seen = states.select(0, rows); // [predicted, width]
        if let Some(transform) = &self.output {
            seen = transform.norm.forward(activation::gelu(transform.dense.forward(seen)), transform.epsilon as f32);
        }
        let mut logits = seen.matmul(self.backbone.words().transpose()); // [predicted, vocabulary]
        if let Some(transform) = &self.output {
            logits = logits + transform.bias.val().unsqueeze();
        }
        let targets: Vec<i64> = batch.targets.iter().map(|&target| target as i64).collect();
        let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [count, 1]), &device);
        activation::log_softmax(logits, 1).gather(1, targets).sum().neg().div_scalar(count.max(1) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::DenseActivation;
    use crate::pretrain::objective::SpecialTokens;
    use crate::recipe::Optimizer;
    use crate::train::optimizer::Stepper;

    fn shape(objective: Objective) -> TransformerShape {
        let is_causal = objective == Objective::CausalLm;
        TransformerShape {
            vocabulary: 12,
            positions: 16,
            kinds: if is_causal { 0 } else { 2 },
            width: 16,
            layers: 1,
            heads: 2,
            hidden: 32,
            activation: DenseActivation::Gelu,
            norm_first: is_causal,
            causal: is_causal,
            epsilon: 1e-5,
            dropout: 0.0,
            attention_dropout: 0.0,
        }
    }

    #[test]
    fn both_objectives_begin_at_chance_and_learn_a_rule() {
        // Every token is the one before it plus one, so each neighbour tells it.
        let texts: Vec<Vec<u32>> = (0..10).map(|first| (0..8).map(|step| 2 + (first + step) % 10).collect()).collect();
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let special = SpecialTokens { mask: Some(1), kept: vec![0, 1], vocabulary: 12 };
        let device = Device::default().autodiff();
        // Hidden tokens are few, so that objective sees its rule less often in a step.
        for (objective, steps) in [(Objective::MaskedLm, 2000), (Objective::CausalLm, 120)] {
            let shape = shape(objective);
            let parameters = Parameters::initialize(&LanguageModel::parameters(&shape, objective), 1);
            let mut model = LanguageModel::load(shape, objective, &parameters, &device).unwrap();
            let mut stepper = Stepper::new(Optimizer::AdamW { weight_decay: 0.01 }, None);
            let mut losses = Vec::new();
            for step in 0..steps {
                let mut draw = Stream::new(step, "mask", &[]);
                let batch = objective.batch(&texts, &special, &mut draw);
                let loss = model.loss(&batch, None);
                losses.push(loss.clone().into_scalar::<f32>());
                model = stepper.step(model, &loss.backward(), &|_| 5e-3);
            }
            assert!((losses[0] - 12f32.ln()).abs() < 0.3, "{objective:?} begins at {}", losses[0]);
            let last = losses.iter().rev().take(20).sum::<f32>() / 20.0;
            assert!(last < 0.8, "{objective:?} ends at {last}");
        }
    }
}
