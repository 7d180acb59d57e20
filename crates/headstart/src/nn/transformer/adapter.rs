//! Low-rank adapters on the attention of a transformer that does not learn itself (LoRA; Hu et al. 2021, arXiv:2106.09685).
//!
//! A matrix W becomes W + scale · down · up with `down` `[in, rank]` and `up` `[rank, out]`. `up` starts at zero, so an adapted
//! network starts as the published one.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::shape::TransformerShape;
use crate::error::{Error, Result};
use crate::nn::named::read;
use crate::parameters::{Initial, Parameter, ParameterSpec, Parameters};

/// How large the adapters are. They stand on the projections to queries and values, as in the paper.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraRecipe {
    /// Columns of `down`.
    pub rank: usize,
    /// The product is scaled by `alpha` / `rank`.
    pub alpha: f32,
    /// What of them a bundle holds.
    pub store: LoraStore,
}

/// How a bundle holds adapters and the network that they stand on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraStore {
    /// Both, apart from each other: the published arrays are in it unchanged.
    #[default]
    Apart,
    /// The network with the products in its matrices, as if it had learned itself.
    Merged,
    /// The adapters alone: small, and of use only where the published weights are.
    Alone,
}

impl Default for LoraRecipe {
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0, store: LoraStore::Apart }
    }
}

/// Projections that have an adapter.
const ADAPTED: [&str; 2] = ["query", "value"];

impl std::str::FromStr for LoraRecipe {
    type Err = Error;

    /// `8`, or `8:16` for a scale of 16 / 8; the scale is 2 where it is left out.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::Recipe {
            reason: format!("adapters `{text}` are not known"),
            help: "write --lora 8 for adapters of rank 8, or --lora 8:16 for their alpha too".to_owned(),
        };
        let (rank, alpha) = text.split_once(':').map_or((text, None), |(rank, alpha)| (rank, Some(alpha)));
        let rank: usize = rank.trim().parse().map_err(|_| wrong())?;
        let alpha = alpha.map(|alpha| alpha.trim().parse().map_err(|_| wrong())).transpose()?;
        let recipe = Self { rank, alpha: alpha.unwrap_or(2.0 * rank as f32), ..Self::default() };
        recipe.check()?;
        Ok(recipe)
    }
}

impl LoraRecipe {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Recipe`].
    pub fn check(&self) -> Result<()> {
        if (1..=4096).contains(&self.rank) && self.alpha > 0.0 && self.alpha.is_finite() {
            return Ok(());
        }
        Err(Error::Recipe {
            reason: format!("adapters of rank {} and alpha {} cannot be", self.rank, self.alpha),
            help: "set a rank of 1 to 4096, such as 8, and an alpha above 0".to_owned(),
        })
    }

    /// Factor on the product.
    pub(crate) fn scale(&self) -> f32 {
        self.alpha / self.rank.max(1) as f32
    }

    /// The arrays of all adapters of a network.
    pub fn parameters(&self, shape: &TransformerShape) -> Vec<ParameterSpec> {
        let layers = (0..shape.layers).map(TransformerShape::layer_name);
        let adapted = layers.flat_map(|layer| ADAPTED.map(|name| format!("{layer}.{name}_adapter")));
        // The variance of the uniform distribution in ±1/√in, as the paper's code draws it.
        let deviation = 1.0 / (3.0 * shape.width as f32).sqrt();
        adapted
            .flat_map(|name| {
                [
                    (format!("{name}.down"), vec![shape.width, self.rank], Initial::Normal { deviation }),
                    (format!("{name}.up"), vec![self.rank, shape.width], Initial::Zeros),
                ]
            })
            .map(|(name, shape, initial)| ParameterSpec { name, shape, initial })
            .collect()
    }

    /// The same network without adapters: their products are in the matrices.
    ///
    /// # Errors
    /// [`crate::Error::UnknownName`] when an adapter lacks its matrix.
    pub fn merged(&self, parameters: &Parameters) -> Result<Parameters> {
        let mut merged = parameters.clone();
        merged.retain(|name| !is_adapter(name));
        for (name, down) in parameters.iter().filter(|(name, _)| name.ends_with("_adapter.down")) {
            let adapter = name.trim_end_matches(".down");
            let up = parameters.find(&format!("{adapter}.up"))?;
            let matrix = format!("{}.weight", adapter.trim_end_matches("_adapter"));
            let mut sum = parameters.find(&matrix)?.clone();
            add_product(&mut sum, down, up, self.scale());
            merged.insert(matrix, sum);
        }
        Ok(merged)
    }
}

impl LoraRecipe {
    /// What a bundle holds of a network with adapters where they are not merged.
    pub(crate) fn stored_apart(&self, parameters: &Parameters) -> Option<Parameters> {
        let mut stored = match self.store {
            LoraStore::Merged => return None,
            LoraStore::Apart | LoraStore::Alone => parameters.clone(),
        };
        if self.store == LoraStore::Alone {
            stored.retain(is_adapter);
        }
        Some(stored)
    }
}

/// Whether an array belongs to an adapter.
pub(crate) fn is_adapter(name: &str) -> bool {
    name.contains("_adapter.")
}

/// sum `[in, out]` += scale · down `[in, rank]` · up `[rank, out]`
fn add_product(sum: &mut Parameter, down: &Parameter, up: &Parameter, scale: f32) {
    let (rank, outputs) = (up.shape[0].max(1), up.shape[1].max(1));
    for (row, down) in sum.values.chunks_exact_mut(outputs).zip(down.values.chunks_exact(rank)) {
        for (factor, up) in down.iter().zip(up.values.chunks_exact(outputs)) {
            row.iter_mut().zip(up).for_each(|(sum, up)| *sum += scale * factor * up);
        }
    }
}

/// The adapter of one matrix while it learns.
#[derive(Module, Debug)]
pub(super) struct Adapter {
    down: Param<Tensor<2>>,
    up: Param<Tensor<2>>,
    scale: f64,
}

impl Adapter {
    /// The adapter called `name`.
    pub(super) fn load(lora: &LoraRecipe, parameters: &Parameters, name: &str, device: &Device) -> Result<Self> {
        let matrix = |part: &str| read::<2>(parameters, &format!("{name}.{part}"), device);
        Ok(Self {
            down: Param::from_tensor(matrix("down")?),
            up: Param::from_tensor(matrix("up")?),
            scale: f64::from(lora.scale()),
        })
    }

    /// The matrix with the adapter's product in it.
    pub(super) fn adapted(&self, weight: Tensor<2>) -> Tensor<2> {
        weight + self.down.val().matmul(self.up.val()).mul_scalar(self.scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_read_as_they_are_written() {
        let found: LoraRecipe = "8:32".parse().unwrap();
        assert_eq!((found.rank, found.alpha), (8, 32.0));
        assert_eq!("4".parse::<LoraRecipe>().unwrap().scale(), 2.0);
        for text in ["", "0", "8:", "8:-1", "x", "99999", "8:nan"] {
            assert!(text.parse::<LoraRecipe>().is_err(), "{text}");
        }
    }

    #[test]
    fn merging_adds_the_scaled_product_and_leaves_no_adapter() {
        let array = |shape: &[usize], values: &[f32]| Parameter { shape: shape.to_vec(), values: values.to_vec() };
        let mut parameters = Parameters::default();
        parameters.insert("layer0.query.weight", array(&[2, 3], &[1., 2., 3., 4., 5., 6.]));
        parameters.insert("layer0.key.weight", array(&[1, 1], &[9.]));
        parameters.insert("layer0.query_adapter.down", array(&[2, 1], &[1., -1.]));
        parameters.insert("layer0.query_adapter.up", array(&[1, 3], &[1., 0., 2.]));
        let merged = LoraRecipe { rank: 1, alpha: 2.0, ..LoraRecipe::default() }.merged(&parameters).unwrap();
        assert_eq!(merged.len(), 2);
        assert_eq!(merged.find("layer0.query.weight").unwrap().values, [3., 2., 7., 2., 5., 2.]);
    }
}
