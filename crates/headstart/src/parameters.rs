//! Named f32 arrays: the weights of a network outside of any engine.

use std::collections::BTreeMap;
use std::collections::btree_map;

use crate::error::{Error, Result};
use crate::random::Stream;

/// One array, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Lengths of the axes, outermost first.
    pub shape: Vec<usize>,
    /// Values, as many as the product of the axes.
    pub values: Vec<f32>,
}

/// Name, shape and initial value of one array of an architecture.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpec {
    /// Our name.
    pub name: String,
    /// Lengths of the axes in our layout.
    pub shape: Vec<usize>,
    /// What it holds before any training.
    pub initial: Initial,
}

/// Initial values of an untrained array.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initial {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// Normal with variance 2 / fan-out (He et al. 2015), as torchvision initializes convolutions.
    HeNormal {
        /// Number of outputs that one input reaches.
        fan_out: usize,
    },
    /// Normal with this deviation, as BERT and GPT-2 initialize their tables and dense layers.
    Normal {
        /// Standard deviation.
        deviation: f32,
    },
    /// Uniform in ±√(6 / (fan-in + fan-out)) (Glorot and Bengio 2010), as Keras initializes dense layers.
    GlorotUniform {
        /// Inputs of one output.
        fan_in: usize,
        /// Outputs of one input.
        fan_out: usize,
    },
}

impl ParameterSpec {
    /// The untrained array; a pure function of the seed and the name.
    pub fn initialize(&self, seed: u64) -> Parameter {
        let count = self.shape.iter().product();
        let mut stream = Stream::new(seed, &self.name, &[]);
        let values = match self.initial {
            Initial::Zeros => vec![0.0; count],
            Initial::Ones => vec![1.0; count],
            Initial::HeNormal { fan_out } => {
                let deviation = (2.0 / fan_out as f32).sqrt();
                (0..count).map(|_| stream.normal() * deviation).collect()
            }
            Initial::Normal { deviation } => (0..count).map(|_| stream.normal() * deviation).collect(),
            Initial::GlorotUniform { fan_in, fan_out } => {
                let limit = (6.0 / (fan_in + fan_out) as f32).sqrt();
                (0..count).map(|_| stream.uniform(-limit, limit)).collect()
            }
        };
        Parameter { shape: self.shape.clone(), values }
    }
}

/// Arrays by name, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters(BTreeMap<String, Parameter>);

impl Parameters {
    /// Untrained values for every array of an architecture.
    pub fn initialize(specs: &[ParameterSpec], seed: u64) -> Self {
        Self(specs.iter().map(|spec| (spec.name.clone(), spec.initialize(seed))).collect())
    }

    /// Adds or replaces one array.
    pub fn insert(&mut self, name: impl Into<String>, parameter: Parameter) {
        self.0.insert(name.into(), parameter);
    }

    /// The array called `name`.
    ///
    /// # Errors
    /// [`Error::UnknownName`] when there is none.
    pub fn find(&self, name: &str) -> Result<&Parameter> {
        self.0.get(name).ok_or_else(|| Error::UnknownName {
            kind: "parameter",
            name: name.to_owned(),
            known: self.0.keys().cloned().collect(),
        })
    }

    /// Names and arrays in the order of the names.
    pub fn iter(&self) -> btree_map::Iter<'_, String, Parameter> {
        self.0.iter()
    }

    /// Number of arrays.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no array.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of values in all arrays.
    pub fn value_count(&self) -> usize {
        self.0.values().map(|parameter| parameter.values.len()).sum()
    }

    /// Multiplies every array by what `factor` says for its name.
    #[cfg(test)]
    pub(crate) fn scale(&mut self, factor: impl Fn(&str) -> f32) {
        for (name, parameter) in &mut self.0 {
            let factor = factor(name);
            parameter.values.iter_mut().for_each(|value| *value *= factor);
        }
    }

    /// Replaces or adds every array of `other`.
    pub fn extend(&mut self, other: Parameters) {
        self.0.extend(other.0);
    }

    /// Keeps the arrays whose names satisfy `keep`.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| keep(name));
    }

    /// The arrays whose names begin with `prefix`, which is taken off.
    pub fn strip_prefix(&self, prefix: &str) -> Parameters {
        Self(
            self.0
                .iter()
                .filter_map(|(name, parameter)| Some((name.strip_prefix(prefix)?.to_owned(), parameter.clone())))
                .collect(),
        )
    }

    /// The same arrays with `prefix` put before every name.
    pub fn with_prefix(&self, prefix: &str) -> Parameters {
        Self(self.0.iter().map(|(name, parameter)| (format!("{prefix}{name}"), parameter.clone())).collect())
    }

    /// BLAKE3 over names, shapes and values, in hexadecimal: two networks agree if and only if their digests do.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (name, parameter) in &self.0 {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(&(parameter.shape.len() as u64).to_le_bytes());
            for length in &parameter.shape {
                hasher.update(&(*length as u64).to_le_bytes());
            }
            hasher.update(&little_endian(&parameter.values));
        }
        hasher.finalize().to_hex().to_string()
    }
}

impl FromIterator<(String, Parameter)> for Parameters {
    fn from_iter<I: IntoIterator<Item = (String, Parameter)>>(arrays: I) -> Self {
        Self(arrays.into_iter().collect())
    }
}

/// The bytes of f32 values, little-endian.
pub(crate) fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Parameters {
        let spec = |name: &str, initial| ParameterSpec { name: name.to_owned(), shape: vec![2, 3], initial };
        Parameters::initialize(
            &[spec("a", Initial::HeNormal { fan_out: 3 }), spec("b", Initial::GlorotUniform { fan_in: 2, fan_out: 3 })],
            5,
        )
    }

    #[test]
    fn initialization_depends_on_seed_and_name_alone() {
        assert_eq!(two(), two());
        let other = ParameterSpec { name: "a".into(), shape: vec![2, 3], initial: Initial::HeNormal { fan_out: 3 } };
        assert_eq!(two().find("a").unwrap(), &other.initialize(5));
        assert_ne!(two().find("a").unwrap(), &other.initialize(6));
    }

    #[test]
    fn the_digest_sees_values_shapes_and_names() {
        let base = two();
        let mut changed = base.clone();
        changed.0.get_mut("a").unwrap().values[0] += 1e-6;
        let mut reshaped = base.clone();
        reshaped.0.get_mut("a").unwrap().shape = vec![3, 2];
        let digests = [base.digest(), changed.digest(), reshaped.digest(), base.with_prefix("x.").digest()];
        for (i, a) in digests.iter().enumerate() {
            assert!(digests[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn prefixes_are_put_on_and_taken_off() {
        let base = two();
        assert_eq!(base.with_prefix("backbone.").strip_prefix("backbone."), base);
        assert!(base.strip_prefix("head.").is_empty());
    }
}
