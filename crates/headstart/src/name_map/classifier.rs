//! The classifier that a family publishes behind its backbone: dense layers, under whatever names and in whatever order.

use std::path::Path;

use headstart_weights::{ArrayInfo, Checkpoint};

use crate::error::{Error, Result};
use crate::parameters::{Parameter, Parameters};
use crate::recipe::Pool;

/// Where the dense layers of a published classifier are, from the features to the outputs; ReLU stands between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassifierNames {
    /// How the last map becomes the input of the first layer.
    pub pool: Pool,
    /// Names of weight and bias of each layer.
    pub layers: &'static [(&'static str, &'static str)],
    /// How the weights lie.
    pub order: DenseOrder,
}

/// How the weight of a dense layer lies. A convolution that sees the whole map is one too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenseOrder {
    /// PyTorch's `[out, in]`; a flattened map is in the order channels, rows, columns.
    OutputsFirst,
    /// TensorFlow's `[in, out]`; a flattened map is in the order rows, columns, channels, as ours.
    InputsFirst,
}

/// A published classifier that a checkpoint holds.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundClassifier {
    names: ClassifierNames,
    /// (inputs, outputs) of each layer.
    widths: Vec<(usize, usize)>,
    /// Weight and bias of each layer in the file.
    arrays: Vec<[String; 2]>,
}

/// A classifier: dense layers with ReLU between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    /// How the last map becomes the input of the first layer.
    pub pool: Pool,
    /// Widths of the layers before the last.
    pub hidden: Vec<usize>,
    /// Number of outputs.
    pub classes: usize,
    /// What each output stands for, where the file says so.
    pub labels: Option<Vec<String>>,
    /// `hidden.0.weight` `[in, out]`, `hidden.0.bias`, …, `output.bias`, as a head calls them.
    pub parameters: Parameters,
}

impl FoundClassifier {
    /// Looks for the layers of `names` in a listing; `find` gives the array of a name, with its name in the file.
    pub(super) fn of<'a>(names: &ClassifierNames, find: impl Fn(&str) -> Option<&'a ArrayInfo>) -> Option<Self> {
        let (mut widths, mut arrays) = (Vec::new(), Vec::new());
        for (weight, bias) in names.layers {
            let (weight, bias) = (find(weight)?, find(bias)?);
            let (inputs, outputs) = match (names.order, weight.shape.as_slice()) {
                (DenseOrder::OutputsFirst, [outputs, rest @ ..]) if !rest.is_empty() => {
                    (rest.iter().product(), *outputs)
                }
                (DenseOrder::InputsFirst, [rest @ .., outputs]) if !rest.is_empty() => {
                    (rest.iter().product(), *outputs)
                }
                _ => return None,
            };
            if bias.shape != [outputs] {
                return None;
            }
            widths.push((inputs, outputs));
            arrays.push([weight.name.clone(), bias.name.clone()]);
        }
        let is_chain = widths.windows(2).all(|pair| pair[0].1 == pair[1].0);
        (is_chain && !widths.is_empty()).then_some(Self { names: *names, widths, arrays })
    }

    /// Number of outputs.
    pub fn classes(&self) -> usize {
        self.widths.last().map_or(0, |(_, outputs)| *outputs)
    }

    /// Widths of the layers before the last.
    pub fn hidden(&self) -> Vec<usize> {
        self.widths[..self.widths.len() - 1].iter().map(|(_, outputs)| *outputs).collect()
    }

    /// How the last map becomes the input of the first layer.
    pub fn pool(&self) -> Pool {
        self.names.pool
    }

    /// Reads the layers; `channels` are those of the backbone's last map.
    ///
    /// # Errors
    /// [`Error::NoClassifier`] when the first layer does not follow the backbone; of the reader.
    pub(crate) fn read(&self, checkpoint: &dyn Checkpoint, channels: usize) -> Result<Classifier> {
        let inputs = self.widths[0].0;
        let fits = match self.pool() {
            Pool::Flatten => inputs.is_multiple_of(channels),
            _ => inputs == channels,
        };
        if !fits {
            let reason = format!("`{}` takes {inputs} features, the backbone gives {channels}", self.arrays[0][0]);
            return Err(no_classifier(checkpoint.path(), reason));
        }
        let mut parameters = Parameters::default();
        for (index, (&(inputs, outputs), [weight, bias])) in self.widths.iter().zip(&self.arrays).enumerate() {
            let is_flattened = index == 0 && self.pool() == Pool::Flatten;
            let positions = if is_flattened { inputs / channels } else { 1 };
            let values = checkpoint.read(weight)?.to_f32()?;
            let values = match self.names.order {
                DenseOrder::InputsFirst => values,
                DenseOrder::OutputsFirst => inputs_first(&values, outputs, inputs / positions, positions),
            };
            let name = match index + 1 == self.widths.len() {
                true => "output".to_owned(),
                false => format!("hidden.{index}"),
            };
            parameters.insert(format!("{name}.weight"), Parameter { shape: vec![inputs, outputs], values });
            let values = checkpoint.read(bias)?.to_f32()?;
            parameters.insert(format!("{name}.bias"), Parameter { shape: vec![outputs], values });
        }
        Ok(Classifier { pool: self.pool(), hidden: self.hidden(), classes: self.classes(), labels: None, parameters })
    }
}

impl Classifier {
    /// A classifier from its arrays, called as in [`Classifier::parameters`].
    ///
    /// # Errors
    /// [`Error::UnknownName`] when there is no last layer; [`Error::Recipe`] when the layers do not follow each other.
    pub(crate) fn from_parameters(pool: Pool, parameters: Parameters) -> Result<Self> {
        let hidden = (0..).map_while(|index| parameters.find(&format!("hidden.{index}.bias")).ok());
        let hidden = hidden.map(|bias| bias.values.len()).collect();
        let classes = parameters.find("output.bias")?.values.len();
        let classifier = Self { pool, hidden, classes, labels: None, parameters };
        let mut inputs = classifier.inputs();
        for layer in classifier.layers() {
            let weight = &classifier.parameters.find(&format!("{layer}.weight"))?.shape;
            let outputs = classifier.parameters.find(&format!("{layer}.bias"))?.values.len();
            if *weight != [inputs, outputs] {
                return Err(Error::Recipe {
                    reason: format!(
                        "`{layer}` of the published classifier has shape {weight:?}, expected {:?}",
                        [inputs, outputs]
                    ),
                    help: "the file is damaged".to_owned(),
                });
            }
            inputs = outputs;
        }
        Ok(classifier)
    }

    /// Number of inputs of the first layer.
    pub fn inputs(&self) -> usize {
        let first = if self.hidden.is_empty() { "output.weight" } else { "hidden.0.weight" };
        self.parameters.find(first).map_or(0, |weight| weight.shape[0])
    }

    /// Names of the layers, from the features to the outputs.
    pub(crate) fn layers(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.hidden.len()).map(|index| format!("hidden.{index}")).chain(["output".to_owned()])
    }
}

pub(crate) fn no_classifier(path: &Path, reason: String) -> Error {
    Error::NoClassifier { path: path.to_owned(), reason }
}

/// `[out, channels, positions]` → `[positions, channels, out]`.
fn inputs_first(values: &[f32], outputs: usize, channels: usize, positions: usize) -> Vec<f32> {
    let mut moved = vec![0.0; values.len()];
    for (out, row) in values.chunks_exact((channels * positions).max(1)).enumerate() {
        for (index, value) in row.iter().enumerate() {
            let (channel, position) = (index / positions, index % positions);
            moved[(position * channels + channel) * outputs + out] = *value;
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_weights::DType;

    #[test]
    fn a_flattened_map_is_turned_from_channels_first_to_channels_last() {
        // Theirs [2, 3 · 2]: value = out · 6 + channel · 2 + position.
        let values: Vec<f32> = (0..12).map(|value| value as f32).collect();
        assert_eq!(inputs_first(&values, 2, 3, 2), [0., 6., 2., 8., 4., 10., 1., 7., 3., 9., 5., 11.]);
        assert_eq!(inputs_first(&values[..6], 2, 3, 1), [0., 3., 1., 4., 2., 5.]);
    }

    #[test]
    fn layers_that_do_not_follow_each_other_are_no_classifier() {
        let names = ClassifierNames {
            pool: Pool::Flatten,
            layers: &[("a.weight", "a.bias"), ("b.weight", "b.bias")],
            order: DenseOrder::OutputsFirst,
        };
        let listing = |second: usize| {
            let array = |name: &str, shape: &[usize]| ArrayInfo {
                name: name.to_owned(),
                shape: shape.to_vec(),
                dtype: DType::F32,
            };
            vec![
                array("a.weight", &[4, 3, 2, 2]),
                array("a.bias", &[4]),
                array("b.weight", &[10, second]),
                array("b.bias", &[10]),
            ]
        };
        let of =
            |arrays: &[ArrayInfo]| FoundClassifier::of(&names, |name| arrays.iter().find(|array| array.name == name));
        let found = of(&listing(4)).unwrap();
        assert_eq!((found.classes(), found.hidden(), found.widths[0]), (10, vec![4], (12, 4)));
        assert_eq!(of(&listing(5)), None);
        assert_eq!(of(&listing(4)[..3]), None);
    }
}
