//! Values of a published `config.json`, each checked where it is read.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::nn::DenseActivation;

/// Largest number that a configuration may state: beyond every published network, within every machine word.
const LARGEST: u64 = 1 << 24;

/// Reads one configuration.
pub(super) struct Reader<'a> {
    config: &'a Value,
    backbone: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(config: &'a Value, backbone: &'static str) -> Self {
        Self { config, backbone }
    }

    /// A number of things, at least one.
    pub(super) fn count(&self, key: &str) -> Result<usize> {
        let found = self.config.get(key).filter(|value| !value.is_null());
        match found.map(Value::as_u64) {
            Some(Some(count)) if (1..=LARGEST).contains(&count) => Ok(count as usize),
            Some(_) => Err(self.wrong(&format!("`{key}` is {}", self.config[key]), "a whole number above 0")),
            None => Err(self.wrong(&format!("`{key}` is missing"), "a whole number above 0")),
        }
    }

    /// The same where it may be left out.
    pub(super) fn count_or(&self, key: &str, otherwise: usize) -> Result<usize> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(otherwise),
            Some(_) => self.count(key),
        }
    }

    /// The same under either of two names.
    pub(super) fn either(&self, key: &str, other: &str) -> Result<usize> {
        if self.config.get(key).is_some() { self.count(key) } else { self.count(other) }
    }

    /// A rate or an epsilon in [0, 1).
    pub(super) fn number(&self, key: &str, otherwise: f64) -> Result<f64> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(otherwise),
            Some(value) => match value.as_f64() {
                Some(number) if (0.0..1.0).contains(&number) => Ok(number),
                _ => Err(self.wrong(&format!("`{key}` is {value}"), "a number in [0, 1)")),
            },
        }
    }

    /// A switch of other architectures that share the format.
    pub(super) fn expect(&self, key: &str, expected: impl Into<Value>) -> Result<()> {
        let expected = expected.into();
        match self.config.get(key) {
            Some(value) if *value != expected && !value.is_null() => {
                Err(self.wrong(&format!("`{key}` is {value}"), &expected.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// The activation between the dense layers.
    pub(super) fn activation(&self, key: &str) -> Result<DenseActivation> {
        match self.config.get(key).and_then(Value::as_str) {
            Some("gelu") => Ok(DenseActivation::Gelu),
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => Ok(DenseActivation::GeluTanh),
            Some("relu") => Ok(DenseActivation::Relu),
            // OpenAI's own files do not say it.
            None if self.backbone == "gpt2" => Ok(DenseActivation::GeluTanh),
            _ => Err(self.wrong(&format!("`{key}` is {}", self.config[key]), "gelu, gelu_new or relu")),
        }
    }

    fn wrong(&self, found: &str, expected: &str) -> Error {
        Error::Recipe {
            reason: format!(
                "the configuration does not fit backbone `{}`: {found}, expected {expected}",
                self.backbone
            ),
            help: "take the config.json that was published with these weights".to_owned(),
        }
    }
}

/// How a configuration calls an activation.
pub(super) fn activation_name(activation: DenseActivation) -> &'static str {
    match activation {
        DenseActivation::Gelu => "gelu",
        DenseActivation::GeluTanh => "gelu_new",
        DenseActivation::Relu => "relu",
    }
}

/// A rate as a person wrote it: 0.1 and not the 0.10000000149 that an f32 holds.
pub(super) fn decimal(rate: f32) -> f64 {
    rate.to_string().parse().unwrap_or(f64::from(rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_missing_or_of_another_architecture_is_named() {
        let message = |config: Value| (super::super::bert::SPEC.read_config)(&config).unwrap_err().to_string();
        let mut config = json!({
            "vocab_size": 9, "max_position_embeddings": 8, "type_vocab_size": 2, "hidden_size": 4,
            "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "hidden_act": "gelu",
        });
        assert_eq!((super::super::bert::SPEC.read_config)(&config).unwrap().epsilon, 1e-12);
        config["hidden_act"] = "swish".into();
        assert!(message(config.clone()).contains("`hidden_act` is \"swish\", expected gelu"));
        config["hidden_act"] = "gelu".into();
        config["position_embedding_type"] = "relative_key".into();
        assert!(message(config.clone()).contains("position_embedding_type"));
        config["position_embedding_type"] = Value::Null;
        config["vocab_size"] = json!(-1);
        assert!(message(config.clone()).contains("`vocab_size` is -1"));
        config["vocab_size"] = json!(1u64 << 40);
        assert!(message(config).contains("`vocab_size`"));
        assert!(message(json!({})).contains("`vocab_size` is missing"));
    }

    #[test]
    fn what_is_written_is_read_as_the_same_shape() {
        for spec in super::super::TRANSFORMERS {
            let is_causal = spec.name == "gpt2";
            let shape = crate::nn::TransformerShape {
                vocabulary: 12,
                positions: 16,
                kinds: if is_causal { 0 } else { 2 },
                width: 8,
                layers: 3,
                heads: 2,
                hidden: 24,
                activation: if is_causal { DenseActivation::GeluTanh } else { DenseActivation::Gelu },
                norm_first: is_causal,
                causal: is_causal,
                epsilon: 1e-5,
                dropout: 0.1,
                attention_dropout: 0.25,
            };
            assert_eq!((spec.read_config)(&(spec.write_config)(&shape)).unwrap(), shape);
        }
    }
}
