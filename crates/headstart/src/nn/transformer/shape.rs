//! How large a transformer is, and which arrays it has.

use headstart_kernels::transformer::{Bend, NormPlace, TransformerSpec};
use serde::{Deserialize, Serialize};

use crate::parameters::{Initial, ParameterSpec};

/// Everything that decides the arrays and the arithmetic of a transformer, as a published `config.json` says it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TransformerShape {
    /// Tokens that have an embedding.
    pub vocabulary: usize,
    /// Longest sequence.
    pub positions: usize,
    /// Kinds of tokens (first and second sentence); 0 where the network has none.
    pub kinds: usize,
    /// Values of a token.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of attention in a layer.
    pub heads: usize,
    /// Values between the dense layers.
    pub hidden: usize,
    /// Activation between them.
    pub activation: DenseActivation,
    /// Whether a layer normalizes what it reads (GPT-2) instead of what it gives (BERT).
    pub norm_first: bool,
    /// Whether a token sees only those before it and itself.
    pub causal: bool,
    /// Added to the variance in layer normalization.
    pub epsilon: f64,
    /// Rate of dropout on embeddings and on what attention and the dense layers add, while the backbone learns.
    pub dropout: f32,
    /// Rate of dropout on the probabilities of attention.
    pub attention_dropout: f32,
}

/// Activation between the dense layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DenseActivation {
    /// By the error function.
    Gelu,
    /// By its approximation with a hyperbolic tangent.
    GeluTanh,
    /// The greater of x and 0.
    Relu,
}

/// Deviation of untrained weights, in BERT and GPT-2 alike.
const DEVIATION: f32 = 0.02;

impl TransformerShape {
    /// Name of the stage of layer `index`.
    pub(crate) fn layer_name(index: usize) -> String {
        format!("layer{index}")
    }

    /// The units of freezing: the embeddings, then each layer.
    pub(crate) fn stages(&self) -> Vec<String> {
        std::iter::once("embeddings".to_owned()).chain((0..self.layers).map(Self::layer_name)).collect()
    }

    /// Number of stages.
    pub(crate) fn stage_count(&self) -> usize {
        self.layers + 1
    }

    /// Index of the stage that owns the parameter called `name`.
    pub(crate) fn stage_of(&self, name: &str) -> Option<usize> {
        let first = name.split('.').next()?;
        match first.strip_prefix("layer") {
            Some(index) => index.parse().ok().filter(|index| *index < self.layers).map(|index: usize| index + 1),
            None => (first == "embeddings").then_some(0),
        }
    }

    /// The kernel's view of a layer.
    pub(crate) fn layer(&self) -> TransformerSpec {
        TransformerSpec {
            width: self.width,
            heads: self.heads,
            hidden: self.hidden,
            bend: match self.activation {
                DenseActivation::Gelu => Bend::Gelu,
                DenseActivation::GeluTanh => Bend::GeluTanh,
                DenseActivation::Relu => Bend::Relu,
            },
            norm: if self.norm_first { NormPlace::Before } else { NormPlace::After },
            causal: self.causal,
            epsilon: self.epsilon as f32,
        }
    }

    /// Every array. Those of the embeddings begin with `embeddings`, those of layer 0 with `layer0`.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        let mut all = Vec::new();
        let mut table = |name: &str, rows: usize| {
            let initial = Initial::Normal { deviation: DEVIATION };
            all.push(ParameterSpec { name: format!("embeddings.{name}"), shape: vec![rows, self.width], initial });
        };
        table("words", self.vocabulary);
        table("positions", self.positions);
        if self.kinds > 0 {
            table("kinds", self.kinds);
        }
        if !self.norm_first {
            norm("embeddings.norm", self.width, &mut all);
        }
        // GPT-2 scales what is added to the residual sum by the number of additions (Radford et al. 2019).
        let added = if self.norm_first { DEVIATION / (2.0 * self.layers as f32).sqrt() } else { DEVIATION };
        for index in 0..self.layers {
            let layer = Self::layer_name(index);
            for (name, inputs, outputs, deviation) in [
                ("query", self.width, self.width, DEVIATION),
                ("key", self.width, self.width, DEVIATION),
                ("value", self.width, self.width, DEVIATION),
                ("attended", self.width, self.width, added),
                ("expand", self.width, self.hidden, DEVIATION),
                ("contract", self.hidden, self.width, added),
            ] {
                let (weight, bias) = (format!("{layer}.{name}.weight"), format!("{layer}.{name}.bias"));
                let initial = Initial::Normal { deviation };
                all.push(ParameterSpec { name: weight, shape: vec![inputs, outputs], initial });
                all.push(ParameterSpec { name: bias, shape: vec![outputs], initial: Initial::Zeros });
            }
            norm(&format!("{layer}.attention_norm"), self.width, &mut all);
            norm(&format!("{layer}.dense_norm"), self.width, &mut all);
            if self.norm_first && index + 1 == self.layers {
                norm(&format!("{layer}.final_norm"), self.width, &mut all);
            }
        }
        all
    }
}

fn norm(name: &str, width: usize, all: &mut Vec<ParameterSpec>) {
    for (array, initial) in [("gamma", Initial::Ones), ("beta", Initial::Zeros)] {
        all.push(ParameterSpec { name: format!("{name}.{array}"), shape: vec![width], initial });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(shape: &TransformerShape) -> usize {
        shape.parameters().iter().map(|spec| spec.shape.iter().product::<usize>()).sum()
    }

    #[test]
    fn the_published_networks_have_the_published_number_of_weights() {
        let bert = TransformerShape {
            vocabulary: 30_522,
            positions: 512,
            kinds: 2,
            width: 768,
            layers: 12,
            heads: 12,
            hidden: 3072,
            activation: DenseActivation::Gelu,
            norm_first: false,
            causal: false,
            epsilon: 1e-12,
            dropout: 0.1,
            attention_dropout: 0.1,
        };
        // transformers 4: BertModel without its pooler (590 592), GPT2Model.
        assert_eq!(count(&bert), 109_482_240 - 590_592);
        let gpt2 = TransformerShape {
            vocabulary: 50_257,
            positions: 1024,
            kinds: 0,
            norm_first: true,
            causal: true,
            activation: DenseActivation::GeluTanh,
            ..bert
        };
        assert_eq!(count(&gpt2), 124_439_808);
    }
}
