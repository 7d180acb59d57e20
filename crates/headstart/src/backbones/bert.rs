//! BERT: a transformer that sees both sides of every token (Devlin et al. 2018, arXiv:1810.04805).
//!
//! Shapes and names follow Hugging Face transformers 4 and 5 `modeling_bert.py` and Google's `modeling.py`; relatives with the
//! same layout, such as MiniLM, load as they are. The pooler is part of the head, not of the backbone.

use serde_json::{Value, json};

use super::{LanguageModelNames, TransformerBackbone, TransformerNames, config};
use crate::error::Result;
use crate::name_map::{Entry, Layout};
use crate::nn::TransformerShape;

/// The registry entry.
pub(crate) static SPEC: TransformerBackbone = TransformerBackbone {
    name: "bert",
    paper: "Devlin et al. 2018, arXiv:1810.04805",
    licence: "Apache-2.0 (Google)",
    read_config,
    telling_key: "hidden_size",
    write_config,
    language_model: LanguageModelNames { class: "BertForMaskedLM", prefix: "bert.", entries: output_entries },
    families: &[
        TransformerNames {
            family: "hugging_face",
            origin: "Hugging Face transformers",
            canonical: modern,
            entries: hugging_face_entries,
            ignore: &["pooler.", "cls.", "classifier.", "position_ids"],
        },
        TransformerNames {
            family: "google",
            origin: "Google's TensorFlow checkpoints",
            canonical: str::to_owned,
            entries: tensorflow_entries,
            ignore: &["pooler/", "cls/", "adam_", "global_step", "output_weights", "output_bias"],
        },
    ],
};

/// The shape that a `config.json` states.
///
/// # Errors
/// [`crate::Error::Recipe`] naming the first value that is missing or that this architecture does not have.
fn read_config(config: &Value) -> Result<TransformerShape> {
    let read = config::Reader::new(config, "bert");
    read.expect("position_embedding_type", "absolute")?;
    read.expect("is_decoder", false)?;
    Ok(TransformerShape {
        vocabulary: read.count("vocab_size")?,
        positions: read.count("max_position_embeddings")?,
        kinds: read.count("type_vocab_size")?,
        width: read.count("hidden_size")?,
        layers: read.count("num_hidden_layers")?,
        heads: read.count("num_attention_heads")?,
        hidden: read.count("intermediate_size")?,
        activation: read.activation("hidden_act")?,
        norm_first: false,
        causal: false,
        epsilon: read.number("layer_norm_eps", 1e-12)?,
        dropout: read.number("hidden_dropout_prob", 0.1)? as f32,
        attention_dropout: read.number("attention_probs_dropout_prob", 0.1)? as f32,
    })
}

/// What [`read_config`] reads.
fn write_config(shape: &TransformerShape) -> Value {
    json!({
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.positions,
        "type_vocab_size": shape.kinds,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.hidden,
        "hidden_act": config::activation_name(shape.activation),
        "layer_norm_eps": shape.epsilon,
        "hidden_dropout_prob": config::decimal(shape.dropout),
        "attention_probs_dropout_prob": config::decimal(shape.attention_dropout),
    })
}

/// The layers before the output over the vocabulary, by Hugging Face's names.
fn output_entries() -> Vec<Entry> {
    let scope = "cls.predictions";
    vec![
        Entry::with_layout(
            format!("{scope}.transform.dense.weight"),
            "output.dense.weight".to_owned(),
            Layout::Transposed,
        ),
        Entry::new(format!("{scope}.transform.dense.bias"), "output.dense.bias".to_owned()),
        Entry::new(format!("{scope}.transform.LayerNorm.weight"), "output.norm.gamma".to_owned()),
        Entry::new(format!("{scope}.transform.LayerNorm.bias"), "output.norm.beta".to_owned()),
        Entry::new(format!("{scope}.bias"), "output.bias".to_owned()),
    ]
}

/// (theirs in a layer, ours in a layer)
const DENSE: [(&str, &str); 6] = [
    ("attention.self.query", "query"),
    ("attention.self.key", "key"),
    ("attention.self.value", "value"),
    ("attention.output.dense", "attended"),
    ("intermediate.dense", "expand"),
    ("output.dense", "contract"),
];
const NORMS: [(&str, &str); 2] = [("attention.output.LayerNorm", "attention_norm"), ("output.LayerNorm", "dense_norm")];
const TABLES: [(&str, &str); 3] =
    [("word_embeddings", "words"), ("position_embeddings", "positions"), ("token_type_embeddings", "kinds")];

/// Names of Hugging Face's files, dense layers as `[out, in]`. `gamma` and `beta` of old files are read as `weight` and
/// `bias`: see [`modern`].
fn hugging_face_entries(shape: &TransformerShape) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (theirs, ours) in TABLES.into_iter().filter(|(_, ours)| shape.kinds > 0 || *ours != "kinds") {
        entries.push(Entry::new(format!("embeddings.{theirs}.weight"), format!("embeddings.{ours}")));
    }
    let norm = |theirs: &str, ours: &str| {
        [("weight", "gamma"), ("bias", "beta")]
            .map(|(array, name)| Entry::new(format!("{theirs}.{array}"), format!("{ours}.{name}")))
    };
    entries.extend(norm("embeddings.LayerNorm", "embeddings.norm"));
    for index in 0..shape.layers {
        let (scope, layer) = (format!("encoder.layer.{index}"), TransformerShape::layer_name(index));
        for (theirs, ours) in DENSE {
            let (theirs, ours) = (format!("{scope}.{theirs}"), format!("{layer}.{ours}"));
            let (weight, bias) = (format!("{theirs}.weight"), format!("{theirs}.bias"));
            entries.push(Entry::with_layout(weight, format!("{ours}.weight"), Layout::Transposed));
            entries.push(Entry::new(bias, format!("{ours}.bias")));
        }
        for (theirs, ours) in NORMS {
            entries.extend(norm(&format!("{scope}.{theirs}"), &format!("{layer}.{ours}")));
        }
    }
    entries
}

/// Names of Google's TensorFlow checkpoints, dense layers as `[in, out]`.
fn tensorflow_entries(shape: &TransformerShape) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (theirs, ours) in TABLES.into_iter().filter(|(_, ours)| shape.kinds > 0 || *ours != "kinds") {
        entries.push(Entry::new(format!("bert/embeddings/{theirs}"), format!("embeddings.{ours}")));
    }
    let norm = |theirs: &str, ours: &str| {
        ["gamma", "beta"].map(|array| Entry::new(format!("{theirs}/{array}"), format!("{ours}.{array}")))
    };
    entries.extend(norm("bert/embeddings/LayerNorm", "embeddings.norm"));
    for index in 0..shape.layers {
        let (scope, layer) = (format!("bert/encoder/layer_{index}"), TransformerShape::layer_name(index));
        for (theirs, ours) in DENSE {
            let (theirs, ours) = (format!("{scope}/{}", theirs.replace('.', "/")), format!("{layer}.{ours}"));
            entries.push(Entry::new(format!("{theirs}/kernel"), format!("{ours}.weight")));
            entries.push(Entry::new(format!("{theirs}/bias"), format!("{ours}.bias")));
        }
        for (theirs, ours) in NORMS {
            entries.extend(norm(&format!("{scope}/{}", theirs.replace('.', "/")), &format!("{layer}.{ours}")));
        }
    }
    entries
}

/// `LayerNorm.gamma` → `LayerNorm.weight`: how files of 2018 and 2019 call them.
fn modern(name: &str) -> String {
    match name.rsplit_once("LayerNorm.") {
        Some((scope, "gamma")) => format!("{scope}LayerNorm.weight"),
        Some((scope, "beta")) => format!("{scope}LayerNorm.bias"),
        _ => name.to_owned(),
    }
}
