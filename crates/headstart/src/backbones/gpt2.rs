//! GPT-2: a transformer in which a token sees those before it (Radford et al. 2019, "Language Models are Unsupervised
//! Multitask Learners").
//!
//! Shapes and names follow Hugging Face transformers 4 and 5 `modeling_gpt2.py` and OpenAI's `model.py`. Both keep queries, keys
//! and values in one matrix `[in, 3 · width]`. The output layer shares the word embeddings and is not part of the backbone.

use serde_json::{Value, json};

use super::{LanguageModelNames, TransformerBackbone, TransformerNames, config};
use crate::error::Result;
use crate::name_map::{Entry, Layout};
use crate::nn::TransformerShape;

/// The registry entry.
pub(crate) static SPEC: TransformerBackbone = TransformerBackbone {
    name: "gpt2",
    paper: "Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
    licence: "MIT (OpenAI)",
    read_config,
    telling_key: "n_embd",
    write_config,
    language_model: LanguageModelNames { class: "GPT2LMHeadModel", prefix: "transformer.", entries: Vec::new },
    families: &[
        TransformerNames {
            family: "hugging_face",
            origin: "Hugging Face transformers",
            canonical: str::to_owned,
            entries: hugging_face_entries,
            // Masks that older files hold beside the weights, and the output layer, which shares the embeddings.
            ignore: &["attn.bias", "attn.masked_bias", "lm_head."],
        },
        TransformerNames {
            family: "openai",
            origin: "OpenAI's TensorFlow checkpoints",
            canonical: str::to_owned,
            entries: openai_entries,
            ignore: &[],
        },
    ],
};

/// The shape that a `config.json` (or OpenAI's `hparams.json`) states.
///
/// # Errors
/// [`crate::Error::Recipe`] naming the first value that is missing or that this architecture does not have.
fn read_config(config: &Value) -> Result<TransformerShape> {
    let read = config::Reader::new(config, "gpt2");
    read.expect("scale_attn_weights", true)?;
    read.expect("scale_attn_by_inverse_layer_idx", false)?;
    read.expect("add_cross_attention", false)?;
    let width = read.count("n_embd")?;
    Ok(TransformerShape {
        vocabulary: read.either("vocab_size", "n_vocab")?,
        positions: read.either("n_positions", "n_ctx")?,
        kinds: 0,
        width,
        layers: read.count("n_layer")?,
        heads: read.count("n_head")?,
        hidden: read.count_or("n_inner", 4 * width)?,
        activation: read.activation("activation_function")?,
        norm_first: true,
        causal: true,
        epsilon: read.number("layer_norm_epsilon", 1e-5)?,
        dropout: read.number("resid_pdrop", 0.1)? as f32,
        attention_dropout: read.number("attn_pdrop", 0.1)? as f32,
    })
}

/// What [`read_config`] reads.
fn write_config(shape: &TransformerShape) -> Value {
    json!({
        "vocab_size": shape.vocabulary,
        "n_positions": shape.positions,
        "n_embd": shape.width,
        "n_layer": shape.layers,
        "n_head": shape.heads,
        "n_inner": shape.hidden,
        "activation_function": config::activation_name(shape.activation),
        "layer_norm_epsilon": shape.epsilon,
        "embd_pdrop": config::decimal(shape.dropout),
        "resid_pdrop": config::decimal(shape.dropout),
        "attn_pdrop": config::decimal(shape.attention_dropout),
    })
}

/// How one publisher writes names.
struct Names {
    words: &'static str,
    positions: &'static str,
    layer: fn(usize) -> String,
    separator: char,
    /// Weight and bias of a dense layer.
    dense: [&'static str; 2],
    /// Scale and shift of a normalization.
    norm: [&'static str; 2],
    final_norm: &'static str,
    /// Whether matrices are written as convolutions of width 1: `[1, in, out]`.
    framed: bool,
}

const HUGGING_FACE: Names = Names {
    words: "wte.weight",
    positions: "wpe.weight",
    layer: |index| format!("h.{index}"),
    separator: '.',
    dense: ["weight", "bias"],
    norm: ["weight", "bias"],
    final_norm: "ln_f",
    framed: false,
};

const OPENAI: Names = Names {
    words: "model/wte",
    positions: "model/wpe",
    layer: |index| format!("model/h{index}"),
    separator: '/',
    dense: ["w", "b"],
    norm: ["g", "b"],
    final_norm: "model/ln_f",
    framed: true,
};

/// Names of Hugging Face's files.
fn hugging_face_entries(shape: &TransformerShape) -> Vec<Entry> {
    entries(shape, &HUGGING_FACE)
}

/// Names of OpenAI's TensorFlow checkpoints.
fn openai_entries(shape: &TransformerShape) -> Vec<Entry> {
    entries(shape, &OPENAI)
}

fn entries(shape: &TransformerShape, names: &Names) -> Vec<Entry> {
    let dot = names.separator;
    let mut entries = vec![
        Entry::new(names.words.to_owned(), "embeddings.words".to_owned()),
        Entry::new(names.positions.to_owned(), "embeddings.positions".to_owned()),
    ];
    let norm = |theirs: &str, ours: &str| {
        let [scale, shift] = names.norm;
        [(scale, "gamma"), (shift, "beta")]
            .map(|(array, name)| Entry::new(format!("{theirs}{dot}{array}"), format!("{ours}.{name}")))
    };
    for index in 0..shape.layers {
        let (scope, layer) = ((names.layer)(index), TransformerShape::layer_name(index));
        let mut dense = |theirs: &str, ours: &str, part: Option<usize>| {
            for (array, name) in names.dense.into_iter().zip(["weight", "bias"]) {
                let theirs = format!("{scope}{dot}{}{dot}{array}", theirs.replace('.', &dot.to_string()));
                let framed = names.framed && name == "weight";
                let layout = match part {
                    Some(index) => Layout::Columns { index, of: 3, framed },
                    None if framed => Layout::Framed,
                    None => Layout::AsItIs,
                };
                entries.push(Entry::with_layout(theirs, format!("{layer}.{ours}.{name}"), layout));
            }
        };
        for (index, ours) in ["query", "key", "value"].into_iter().enumerate() {
            dense("attn.c_attn", ours, Some(index));
        }
        dense("attn.c_proj", "attended", None);
        dense("mlp.c_fc", "expand", None);
        dense("mlp.c_proj", "contract", None);
        entries.extend(norm(&format!("{scope}{dot}ln_1"), &format!("{layer}.attention_norm")));
        entries.extend(norm(&format!("{scope}{dot}ln_2"), &format!("{layer}.dense_norm")));
    }
    if let Some(last) = shape.layers.checked_sub(1) {
        entries.extend(norm(names.final_norm, &format!("{}.final_norm", TransformerShape::layer_name(last))));
    }
    entries
}
