//! Pool or flatten → dense layers with ReLU and dropout → one dense output layer.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, activation};

use crate::error::Result;
use crate::features::{FeatureLayout, Features, Sequences};
use crate::model::Head;
use crate::nn::Dense;
use crate::parameters::{ParameterSpec, Parameters};
use crate::random::Stream;
use crate::recipe::{HeadRecipe, Output, Pool};

/// The classic head: `Dense(256, relu)`, `Dropout(0.5)`, `Dense(classes)`, with any list of hidden widths.
#[derive(Module, Debug)]
pub struct ClassificationHead {
    hidden: Vec<Dense>,
    output: Dense,
    dropout: f64,
    #[module(skip)]
    pool: Pool,
}

impl ClassificationHead {
    pub(crate) fn parameters(recipe: &HeadRecipe, layout: FeatureLayout, classes: usize) -> Vec<ParameterSpec> {
        let mut width = match (layout, recipe.pool) {
            (FeatureLayout::Map { channels, .. }, Pool::Average) => channels,
            (FeatureLayout::Sequence { width }, _) => width,
            (layout, _) => layout.value_count(),
        };
        let mut parameters = Vec::new();
        for (index, &outputs) in recipe.hidden.iter().enumerate() {
            parameters.extend(Dense::parameters(&format!("hidden.{index}"), width, outputs));
            width = outputs;
        }
        let outputs = match recipe.output {
            Output::Softmax | Output::Sigmoids => classes,
            Output::Sigmoid => 1,
        };
        parameters.extend(Dense::parameters("output", width, outputs));
        parameters
    }

    /// The head from its arrays: `hidden.0.weight` `[in, out]`, `hidden.0.bias`, …, `output.bias`.
    ///
    /// # Errors
    /// [`crate::Error::UnknownName`] when one is missing.
    pub fn load(recipe: &HeadRecipe, parameters: &Parameters, device: &Device) -> Result<Self> {
        let hidden = (0..recipe.hidden.len())
            .map(|index| Dense::load(parameters, &format!("hidden.{index}"), device))
            .collect::<Result<_>>()?;
        Ok(Self {
            hidden,
            output: Dense::load(parameters, "output", device)?,
            dropout: f64::from(recipe.dropout),
            pool: recipe.pool,
        })
    }

    /// The part without weights, which the frozen path runs before caching.
    fn condense(&self, features: Features) -> Tensor<2> {
        match (features, self.pool) {
            (Features::Vector(vector), _) => vector,
            (Features::Map(map), Pool::Average) => {
                let [batch, channels, height, width] = map.dims();
                map.reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels]) // [B, C]
            }
            (Features::Map(_), Pool::Logits | Pool::First | Pool::Last | Pool::Tokens) => {
                unreachable!(
                    "checked before: no stage below a published classifier learns, and tokens alone have an order"
                )
            }
            (Features::Sequence(states, sequences), pool) => condense_sequences(states, &sequences, pool),
            (Features::Tokens(_) | Features::Maps(_), _) => {
                unreachable!("a classifier stands behind one map or states")
            }
            (Features::Map(map), Pool::Flatten) => {
                let [batch, channels, height, width] = map.dims();
                map.permute([0, 2, 3, 1]).reshape([batch, height * width * channels]) // [B, H·W·C]
            }
        }
    }
}

/// `[tokens, width]` → `[B, width]`: the first or last state of each sequence, or its mean.
fn condense_sequences(states: Tensor<2>, sequences: &Sequences, pool: Pool) -> Tensor<2> {
    let device = states.device();
    let rows: Vec<std::ops::Range<usize>> = sequences.ranges().collect();
    let pick = |chosen: Vec<i64>| Tensor::<1, Int>::from_data(TensorData::new(chosen, [rows.len()]), &device);
    match pool {
        Pool::Tokens => states,
        Pool::First => states.select(0, pick(rows.iter().map(|rows| rows.start as i64).collect())),
        Pool::Last => states.select(0, pick(rows.iter().map(|rows| rows.end as i64 - 1).collect())),
        Pool::Average | Pool::Flatten | Pool::Logits => {
            let tokens = sequences.token_count();
            let mut shares = vec![0.0f32; rows.len() * tokens];
            for (example, rows) in rows.iter().enumerate() {
                shares[example * tokens..][rows.clone()].fill(1.0 / rows.len() as f32);
            }
            Tensor::<2>::from_data(TensorData::new(shares, [rows.len(), tokens]), &device).matmul(states)
        }
    }
}

impl Head for ClassificationHead {
    fn forward(&self, features: Features, mut noise: Option<&mut Stream>) -> Tensor<2> {
        let mut vector = self.condense(features);
        for layer in &self.hidden {
            vector = activation::relu(layer.forward(vector)); // [B, hidden]
            if let Some(noise) = noise.as_deref_mut() {
                vector = dropout(vector, self.dropout as f32, noise);
            }
        }
        self.output.forward(vector) // [B, N]
    }
}

/// Drops each value with probability `rate` and scales the others by 1 / (1 − rate) (Srivastava et al. 2014).
///
/// The mask comes from our own stream, not from the engine's global generator, so that a resumed run draws it again.
fn dropout(input: Tensor<2>, rate: f32, noise: &mut Stream) -> Tensor<2> {
    if rate == 0.0 {
        return input;
    }
    let [batch, width] = input.dims();
    let kept = 1.0 / (1.0 - rate);
    let mask = (0..batch * width).map(|_| if noise.unit() < rate { 0.0 } else { kept }).collect();
    let mask = Tensor::<2>::from_data(TensorData::new(mask, [batch, width]), &input.device());
    input.mul(mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Rows;

    #[test]
    fn dropout_keeps_the_mean_and_drops_the_stated_part() {
        let ones = Tensor::<2>::ones([64, 256], &Device::default());
        let mut noise = Stream::new(0, "dropout", &[]);
        let values = crate::nn::named::values(dropout(ones, 0.5, &mut noise));
        let zeros = values.iter().filter(|value| **value == 0.0).count() as f32 / values.len() as f32;
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!((zeros - 0.5).abs() < 0.02 && (mean - 1.0).abs() < 0.03, "{zeros} {mean}");
        assert!(values.iter().all(|value| *value == 0.0 || *value == 2.0));
    }

    #[test]
    fn pooling_in_the_head_equals_pooling_before_the_cache() {
        let recipe = HeadRecipe { hidden: vec![3], ..HeadRecipe::default() };
        let layout = FeatureLayout::Map { channels: 2, height: 2, width: 2 };
        let specs = ClassificationHead::parameters(&recipe, layout, 2);
        let device = Device::default();
        let head = ClassificationHead::load(&recipe, &Parameters::initialize(&specs, 0), &device).unwrap();
        let map = vec![1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0]; // [1, 2, 2, 2], channels last
        let from_map = head.forward(layout.tensor(Rows::even(map, 1), &device), None);
        let vector = FeatureLayout::Vector { width: 2 }.tensor(Rows::even(vec![2.5, 25.0], 1), &device);
        let from_vector = head.forward(vector, None);
        let (a, b) = (crate::nn::named::values(from_map), crate::nn::named::values(from_vector));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} {b:?}");
    }
}
