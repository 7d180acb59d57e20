//! A published transformer: configuration and arrays, as they lie beside each other in a folder.

use std::path::{Path, PathBuf};

use headstart_weights::{self as weights, Checkpoint};
use serde_json::Value;

use super::file_name;
use crate::backbones::{TRANSFORMERS, TransformerBackbone, TransformerNames};
use crate::error::{Error, Result};
use crate::name_map::{Matching, shapes_of};
use crate::nn::TransformerShape;
use crate::parameters::Parameters;

/// A pretrained transformer, ready to be frozen or trained.
#[derive(Debug, Clone)]
pub struct PretrainedTransformer {
    /// The architecture.
    pub spec: &'static TransformerBackbone,
    /// Whose names the file has.
    pub family: &'static TransformerNames,
    /// Its size.
    pub shape: TransformerShape,
    /// Arrays under our names.
    pub parameters: Parameters,
    /// Name of the file or folder.
    pub source: String,
    /// Arrays of the file that were not needed.
    pub unused: Vec<String>,
}

/// Names of configurations, those of Hugging Face first, then Google's and OpenAI's.
const CONFIGURATIONS: [&str; 3] = ["config.json", "bert_config.json", "hparams.json"];
/// Names of weight files in a folder.
const WEIGHTS: [&str; 4] = ["model.safetensors", "pytorch_model.bin", "bert_model.ckpt.index", "model.ckpt.index"];
/// Bytes of the longest configuration that is read; published ones have one or two thousand.
const LONGEST: u64 = 1 << 20;

/// Loads a folder, or a weight file with its configuration beside it.
///
/// # Errors
/// Of the reader; [`Error::Recipe`] when the configuration is missing or of another architecture; [`Error::Misfit`] with
/// the nearest miss.
pub fn load_transformer(path: &Path) -> Result<PretrainedTransformer> {
    let (folder, file) = match path.is_dir() {
        true => (path, weight_file(path)?),
        false => (path.parent().unwrap_or(Path::new("")), path.to_owned()),
    };
    let (config_path, config) = read_configuration(folder)?;
    let spec = architecture(&config_path, &config)?;
    // The shape first: a wrong configuration is told before a large file is opened.
    (spec.read_config)(&config)?;
    transformer_of(&config_path, &config, weights::open(&file)?.as_ref(), file_name(path))
}

/// [`load_transformer`] for a configuration and a checkpoint that are already open; `source` says where they come from.
///
/// # Errors
/// See [`load_transformer`].
pub(crate) fn transformer_of(
    config_path: &Path,
    config: &Value,
    checkpoint: &dyn Checkpoint,
    source: String,
) -> Result<PretrainedTransformer> {
    let spec = architecture(config_path, config)?;
    let shape = (spec.read_config)(config)?;
    let arrays = checkpoint.arrays();
    let shapes = shapes_of(shape.parameters());
    let matchings = spec.families.iter().map(|family| {
        let canonical: Vec<String> = arrays.iter().map(|array| (family.canonical)(&array.name)).collect();
        (family, Matching::of(arrays, &canonical, &(family.entries)(&shape), &shapes, family.ignore))
    });
    let best = matchings.min_by_key(|(_, matching)| matching.misses_in_a_thousand());
    let (family, matching) = best.expect("every architecture has a family");
    if !matching.is_complete() {
        let detail = matching.first_error(&format!("{} ({} names)", spec.name, family.family));
        return Err(Error::Misfit { path: checkpoint.path().into(), backbone: spec.name.to_owned(), detail });
    }
    let parameters = matching.read(checkpoint, (family.entries)(&shape), &shapes)?;
    Ok(PretrainedTransformer { spec, family, shape, parameters, source, unused: matching.unused })
}

/// The weight file of a folder.
pub(crate) fn weight_file(folder: &Path) -> Result<PathBuf> {
    WEIGHTS.iter().map(|name| folder.join(name)).find(|path| path.is_file()).ok_or_else(|| Error::Recipe {
        reason: format!("`{}` holds no {}", folder.display(), WEIGHTS.join(" and no ")),
        help: "give the weight file itself; its config.json must lie beside it".to_owned(),
    })
}

fn read_configuration(folder: &Path) -> Result<(PathBuf, Value)> {
    let path = CONFIGURATIONS.iter().map(|name| folder.join(name)).find(|path| path.is_file()).ok_or_else(|| {
        Error::Recipe {
            reason: format!("there is no {} in `{}`", CONFIGURATIONS.join(", "), folder.display()),
            help: "the size of a transformer is in the configuration that was published with its weights".to_owned(),
        }
    })?;
    let unusable = |reason: String| Error::Recipe {
        reason: format!("`{}` {reason}", path.display()),
        help: "take the config.json that was published with these weights".to_owned(),
    };
    let size = path.metadata().map_err(Error::io("read", &path))?.len();
    if size > LONGEST {
        return Err(unusable(format!("has {size} bytes; a configuration has at most {LONGEST}")));
    }
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let config = serde_json::from_str(&text).map_err(|error| unusable(format!("is not JSON: {error}")))?;
    Ok((path, config))
}

/// The architecture that a configuration names, or whose keys it has.
fn architecture(path: &Path, config: &Value) -> Result<&'static TransformerBackbone> {
    let named = config.get("model_type").and_then(Value::as_str);
    let found = match named {
        Some(name) => TRANSFORMERS.iter().find(|spec| spec.name == name),
        None => TRANSFORMERS.iter().find(|spec| config.get(spec.telling_key).is_some()),
    };
    found.copied().ok_or_else(|| Error::Recipe {
        reason: format!("`{}` is of {}", path.display(), named.unwrap_or("an architecture that it does not name")),
        help: format!("we have {}", TRANSFORMERS.iter().map(|spec| spec.name).collect::<Vec<_>>().join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        load_transformer(folder.path()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_missing_or_strange_in_a_folder_is_named() {
        assert!(message(&[]).contains("holds no model.safetensors"));
        assert!(message(&[("model.safetensors", "")]).contains("there is no config.json"));
        assert!(message(&[("model.safetensors", ""), ("config.json", "{")]).contains("is not JSON"));
        let other = r#"{"model_type": "roberta"}"#;
        assert!(message(&[("model.safetensors", ""), ("config.json", other)]).contains("is of roberta"));
        let neither = r#"{"layers": 3}"#;
        assert!(message(&[("model.safetensors", ""), ("config.json", neither)]).contains("does not name"));
        let short = r#"{"n_embd": 8, "n_head": 2}"#;
        assert!(message(&[("model.safetensors", ""), ("hparams.json", short)]).contains("`n_vocab` is missing"));
    }

    #[test]
    fn a_file_that_lacks_a_layer_is_refused_with_its_name() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/transformers");
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(fixtures.join("bert/model.safetensors"), folder.path().join("model.safetensors")).unwrap();
        let text = std::fs::read_to_string(fixtures.join("bert/config.json")).unwrap();
        let more = text.replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4");
        std::fs::write(folder.path().join("config.json"), more).unwrap();
        let message = load_transformer(folder.path()).unwrap_err().to_string();
        assert!(message.contains("encoder.layer.3.attention.self.query.weight"), "{message}");
        let wider = text.replace("\"intermediate_size\": 40", "\"intermediate_size\": 48");
        std::fs::write(folder.path().join("config.json"), wider).unwrap();
        let message = load_transformer(folder.path()).unwrap_err().to_string();
        assert!(message.contains("intermediate.dense") && message.contains("48"), "{message}");
    }
}
