//! A trained language model as the folder that Hugging Face transformers publishes: `config.json`, `model.safetensors`,
//! `tokenizer.json`, and how it came to be in `pretraining.json`.

use std::collections::BTreeMap;
use std::path::Path;

use headstart_data::text::tokenizer::Tokenizer;
use serde::Serialize;
use serde_json::{Value, json};

use crate::backbones::TransformerBackbone;
use crate::bundle::arrays;
use crate::error::{Error, Result};
use crate::name_map::{Entry, Layout};
use crate::nn::TransformerShape;
use crate::parameters::{Parameter, Parameters};
use crate::publish::publish_folder;

/// What marks a folder as one of ours, which may be replaced.
const ORIGIN: &str = "pretraining.json";

/// What a folder holds.
pub(super) struct ModelFolder<'a, O> {
    pub(super) spec: &'static TransformerBackbone,
    pub(super) shape: &'a TransformerShape,
    /// Arrays as [`super::LanguageModel`] names them.
    pub(super) parameters: &'a Parameters,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) half_precision: bool,
    /// How it came to be.
    pub(super) origin: &'a O,
}

/// Refuses a place where something else lies, before any work.
///
/// # Errors
/// [`Error::Recipe`] when `path` is a file, or a folder that no pretraining wrote, or the one that is gone on from.
pub(super) fn check_place(path: &Path, weights: Option<&Path>) -> Result<()> {
    let refuse = |reason: &str| {
        Err(Error::Recipe {
            reason: format!("`{}` {reason}", path.display()),
            help: "name another folder with --output".to_owned(),
        })
    };
    if path.as_os_str().is_empty() || path.file_name().is_none() {
        return refuse("is no place for a folder");
    }
    if path.is_file() {
        return refuse("is a file");
    }
    let same = |weights: &Path| matches!((path.canonicalize(), weights.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if weights.is_some_and(same) {
        return refuse("is what --weights names, and would be replaced");
    }
    let is_empty = std::fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none());
    if !is_empty && !path.join(ORIGIN).is_file() {
        return refuse("holds files that no pretraining wrote");
    }
    Ok(())
}

impl<O: Serialize> ModelFolder<'_, O> {
    /// Writes the folder; it appears whole, in the place of an earlier one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn publish(&self, path: &Path) -> Result<()> {
        let files = [
            ("config.json", pretty(&self.config())),
            ("model.safetensors", self.weights()),
            ("tokenizer.json", self.tokenizer.to_bytes()?),
            ("tokenizer_config.json", pretty(&self.tokenizer_config())),
            (ORIGIN, pretty(self.origin)),
        ];
        publish_folder(path, |folder| {
            for (name, bytes) in &files {
                let file = folder.join(name);
                std::fs::write(&file, bytes).map_err(Error::io("write", &file))?;
            }
            Ok(())
        })
    }

    fn config(&self) -> Value {
        let mut config = (self.spec.write_config)(self.shape);
        let special = self.tokenizer.special();
        config["model_type"] = json!(self.spec.name);
        config["architectures"] = json!([self.spec.language_model.class]);
        config["torch_dtype"] = json!(if self.half_precision { "float16" } else { "float32" });
        config["tie_word_embeddings"] = json!(true);
        // GPT-2's own numbers of these are beyond a small vocabulary.
        config["bos_token_id"] = json!(special.end.or(special.start));
        config["eos_token_id"] = json!(special.end.or(special.separator));
        config["pad_token_id"] = json!(special.padding);
        config
    }

    fn tokenizer_config(&self) -> Value {
        let special = self.tokenizer.special();
        let mut config =
            json!({ "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": self.shape.positions });
        let names = [
            ("cls_token", special.start),
            ("sep_token", special.separator),
            ("pad_token", special.padding),
            ("unk_token", special.unknown),
            ("mask_token", special.mask),
            ("eos_token", special.end),
        ];
        for (name, id) in names {
            if let Some(token) = id.and_then(|id| self.tokenizer.token(id)) {
                config[name] = json!(token);
            }
        }
        config
    }

    fn weights(&self) -> Vec<u8> {
        let language_model = &self.spec.language_model;
        let backbone = self.parameters.strip_prefix("backbone.");
        let mut arrays =
            theirs(&backbone, (self.spec.families[0].entries)(self.shape)).with_prefix(language_model.prefix);
        arrays.extend(theirs(self.parameters, (language_model.entries)()));
        let metadata = [("format", "pt".to_owned())];
        if self.half_precision {
            arrays::encode_half(&arrays, &metadata)
        } else {
            arrays::encode(&arrays, &[], &metadata)
        }
    }
}

/// Arrays of ours under published names; `entries` must be of a family that writes joint arrays column by column.
fn theirs(ours: &Parameters, entries: Vec<Entry>) -> Parameters {
    let mut written = Parameters::default();
    // Name of a joint array → its parts by their index.
    let mut joint: BTreeMap<String, BTreeMap<usize, &Parameter>> = BTreeMap::new();
    for entry in entries {
        let Ok(array) = ours.find(&entry.ours) else { continue };
        if let Layout::Columns { index, .. } = entry.layout {
            joint.entry(entry.theirs).or_default().insert(index, array);
            continue;
        }
        for (name, array) in entry.layout.write(&entry.theirs, array) {
            written.insert(name, array);
        }
    }
    for (name, parts) in joint {
        written.insert(name, side_by_side(&parts.into_values().collect::<Vec<_>>()));
    }
    written
}

/// Arrays of like shape, joined along the last axis.
fn side_by_side(parts: &[&Parameter]) -> Parameter {
    let mut shape = parts[0].shape.clone();
    let columns = shape.last().copied().unwrap_or(1);
    let rows = parts[0].values.len() / columns.max(1);
    if let Some(last) = shape.last_mut() {
        *last = columns * parts.len();
    }
    let row = |row: usize| parts.iter().flat_map(move |part| &part.values[row * columns..(row + 1) * columns]);
    Parameter { shape, values: (0..rows).flat_map(row).copied().collect() }
}

fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("plain numbers and strings");
    bytes.push(b'\n');
    bytes
}
