//! A head on the outputs of the published classifier, as one head on the backbone.
//!
//! The classifier's last layer and the head's first have nothing between them, so their product is one layer, exactly.
//! No format then needs to know that there were two.

use crate::bundle::manifest::CLASSIFIER;
use crate::error::Result;
use crate::name_map::Classifier;
use crate::parameters::{Parameter, Parameters};
use crate::recipe::{HeadRecipe, Pool};

/// The head as it stands on the backbone; `classifier` is how the published one pools, where the features are its outputs.
///
/// # Errors
/// [`crate::Error::UnknownName`] when a layer is missing.
pub(super) fn whole_head(
    recipe: &HeadRecipe,
    head: &Parameters,
    classifier: Option<Pool>,
    backbone: &Parameters,
) -> Result<(HeadRecipe, Parameters)> {
    let recipe = HeadRecipe { original: false, ..recipe.clone() };
    let (Pool::Logits, Some(pool)) = (recipe.pool, classifier) else { return Ok((recipe, head.clone())) };
    let below = Classifier::from_parameters(pool, backbone.strip_prefix(CLASSIFIER))?;
    let count = below.hidden.len();
    let mut whole = below.parameters.clone();
    whole.retain(|name| name.starts_with("hidden."));
    let layers = (0..recipe.hidden.len()).map(|index| (format!("hidden.{index}"), format!("hidden.{}", count + index)));
    let layers = layers.chain([("output".to_owned(), "output".to_owned())]);
    for (index, (from, to)) in layers.enumerate() {
        let (weight, bias) = (head.find(&format!("{from}.weight"))?, head.find(&format!("{from}.bias"))?);
        let (weight, bias) = match index {
            0 => {
                joined((below.parameters.find("output.weight")?, below.parameters.find("output.bias")?), (weight, bias))
            }
            _ => (weight.clone(), bias.clone()),
        };
        whole.insert(format!("{to}.weight"), weight);
        whole.insert(format!("{to}.bias"), bias);
    }
    let hidden = below.hidden.into_iter().chain(recipe.hidden).collect();
    Ok((HeadRecipe { pool, hidden, ..recipe }, whole))
}

/// `x · a + b`, then `· c + d`, as one layer; sums in f64.
fn joined((a, b): (&Parameter, &Parameter), (c, d): (&Parameter, &Parameter)) -> (Parameter, Parameter) {
    let outputs = d.values.len().max(1);
    let through = |row: &[f32], first: &[f32]| -> Vec<f32> {
        let mut sums: Vec<f64> = first.iter().map(|value| f64::from(*value)).collect();
        for (factor, row) in row.iter().zip(c.values.chunks_exact(outputs)) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*factor) * f64::from(*value));
        }
        sums.into_iter().map(|sum| sum as f32).collect()
    };
    let zeros = vec![0.0; outputs];
    let rows = a.values.chunks_exact(b.values.len().max(1));
    let values: Vec<f32> = rows.flat_map(|row| through(row, &zeros)).collect();
    let weight = Parameter { shape: vec![values.len() / outputs, outputs], values };
    (weight, Parameter { shape: vec![outputs], values: through(&b.values, &d.values) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize], values: &[f32]) -> Parameter {
        Parameter { shape: shape.to_vec(), values: values.to_vec() }
    }

    #[test]
    fn two_layers_without_anything_between_become_one() {
        let mut backbone = Parameters::default();
        backbone.insert("classifier.hidden.0.weight", array(&[1, 1], &[7.0]));
        backbone.insert("classifier.hidden.0.bias", array(&[1], &[8.0]));
        backbone.insert("classifier.output.weight", array(&[1, 2], &[1.0, 2.0]));
        backbone.insert("classifier.output.bias", array(&[2], &[0.5, -0.5]));
        let mut head = Parameters::default();
        head.insert("hidden.0.weight", array(&[2, 2], &[1.0, 0.0, 3.0, 1.0]));
        head.insert("hidden.0.bias", array(&[2], &[10.0, 20.0]));
        head.insert("output.weight", array(&[2, 1], &[1.0, 1.0]));
        head.insert("output.bias", array(&[1], &[0.0]));
        let recipe = HeadRecipe { pool: Pool::Logits, hidden: vec![2], ..HeadRecipe::default() };
        let (recipe, whole) = whole_head(&recipe, &head, Some(Pool::Flatten), &backbone).unwrap();
        assert_eq!((recipe.pool, recipe.hidden), (Pool::Flatten, vec![1, 2]));
        assert_eq!(whole.find("hidden.0.weight").unwrap().values, [7.0]);
        assert_eq!(whole.find("hidden.1.weight").unwrap(), &array(&[1, 2], &[7.0, 2.0]));
        assert_eq!(whole.find("hidden.1.bias").unwrap().values, [9.0, 19.5]);
        assert_eq!(whole.find("output.weight").unwrap(), head.find("output.weight").unwrap());
    }
}
