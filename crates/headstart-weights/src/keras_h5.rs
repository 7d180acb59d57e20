//! Keras's `.h5`: an HDF5 file with a group a layer, of a whole model or of its weights alone.
//!
//! Source: `legacy/saving/legacy_h5_format.py` of Keras 3.15, which reads and writes what Keras 1 and 2 did. A whole model
//! has its weights in the group `model_weights`. Attribute `layer_names` lists the layers, `weight_names` of each layer's
//! group its weights; lists beyond 64 KiB are cut in `layer_names0`, `layer_names1` and so on. The weights of the optimizer
//! are left out.
//!
//! **Names.** An array is called by its layer and what Keras calls the weight, each part once, without the `:0` of
//! TensorFlow:
//! - where the layer's name is among the parts of the weight's, the array's name begins there: `block1_conv1` and
//!   `block1_conv1/kernel:0` give `block1_conv1/kernel`, `dense` and `sequential/dense/kernel` give `dense/kernel`;
//! - elsewhere the layer's name goes before, and parts with which both begin are written once: `nested` and
//!   `inner/kernel:0` give `nested/inner/kernel`, `block1_conv1` and `block1_conv1_W_1:0` give
//!   `block1_conv1/block1_conv1_W_1`, `fire2/squeeze1x1` and `fire2/squeeze1x1_b` give `fire2/squeeze1x1/squeeze1x1_b`.
//!
//! Weights that would share a name keep their whole path in the file instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use crate::array::{ArrayInfo, DType};
use crate::contents::{Contents, Listed};
use crate::error::WeightsError;
use crate::hdf5::{Dataset, Hdf5, Hdf5Error};
use crate::peek::{Kind, Peek};
use crate::source::Source;
use crate::{Checkpoint, Format, keras_v3};

const NAME: &str = "keras h5";

/// The registry row.
pub(crate) const FORMAT: Format = Format { name: NAME, extensions: &["h5", "hdf5", "keras"], recognizes, open };

/// Attributes that go into the metadata, when they are no longer than this.
const LONGEST_METADATA: usize = 1 << 20;

fn recognizes(peek: &Peek<'_>) -> bool {
    // An HDF5 file that is no Keras file gets this reader's message.
    peek.kind == Kind::Hdf5 && !keras_v3::is_weights(peek)
}

fn open(path: &Path) -> Result<Box<dyn Checkpoint>, WeightsError> {
    let hdf5 = open_hdf5(path, NAME)?;
    let in_context = |error| hdf5_error(path, NAME, error);
    let root = hdf5.texts("").map_err(in_context)?;
    let model = if hdf5.children("model_weights").is_some() { "model_weights" } else { "" };
    let attributes = hdf5.texts(model).map_err(in_context)?;
    let layers = list(&attributes, "layer_names").ok_or_else(|| WeightsError::Malformed {
        format: NAME,
        path: path.to_owned(),
        reason: "it is an HDF5 file without `layer_names`, so Keras did not write it".to_owned(),
    })?;
    let mut metadata = BTreeMap::new();
    for key in ["keras_version", "backend", "model_config"] {
        let found = attributes.get(key).or_else(|| root.get(key)).and_then(|texts| texts.first());
        if let Some(text) = found.filter(|text| text.len() <= LONGEST_METADATA) {
            metadata.insert(key.to_owned(), text.clone());
        }
    }
    let mut weights = Vec::new();
    let mut seen = BTreeSet::new();
    let top = Some("top_level_model_weights".to_owned()).filter(|top| hdf5.children(&join(model, top)).is_some());
    for layer in layers.iter().chain(&top) {
        let group = join(model, layer);
        if !seen.insert(group.clone()) {
            return Err(malformed(path, format!("layer `{layer}` is listed twice")));
        }
        if hdf5.children(&group).is_none() {
            return Err(malformed(path, format!("layer `{layer}` is listed and has no group")));
        }
        let attributes = hdf5.texts(&group).map_err(in_context)?;
        let names = list(&attributes, "weight_names");
        let names = names.ok_or_else(|| malformed(path, format!("layer `{layer}` has no `weight_names`")))?;
        let layer = if Some(layer) == top.as_ref() { "" } else { layer };
        for weight in names {
            weights.push(Weight { name: name_of(layer, &weight), path: join(&group, weight.trim_matches('/')) });
        }
    }
    Ok(Box::new(KerasFile::open(path, NAME, hdf5, weights, metadata)?))
}

fn join(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{group}/{name}") }
}

fn malformed(path: &Path, reason: String) -> WeightsError {
    WeightsError::Malformed { format: NAME, path: path.to_owned(), reason }
}

/// A list of texts that may be cut in numbered attributes.
fn list(attributes: &BTreeMap<String, Vec<String>>, name: &str) -> Option<Vec<String>> {
    if let Some(list) = attributes.get(name) {
        return Some(list.clone());
    }
    let mut parts = (0..).map_while(|number| attributes.get(&format!("{name}{number}")));
    let mut list = parts.next()?.clone();
    list.extend(parts.flatten().cloned());
    Some(list)
}

/// The name of an array, by the rule above.
fn name_of(layer: &str, weight: &str) -> String {
    let weight = weight.strip_suffix(":0").unwrap_or(weight);
    let parts = |name: &'_ str| name.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let (layer, weight) = (parts(layer), parts(weight));
    let within = match layer.is_empty() {
        true => Some(0),
        false => weight.windows(layer.len()).position(|window| window == layer),
    };
    match within {
        // A weight that is called as its layer and nothing more.
        Some(at) if at + layer.len() < weight.len() => weight[at..].join("/"),
        Some(_) => [layer, weight].concat().join("/"),
        None => {
            let shared = layer.iter().zip(&weight).take_while(|(layer, weight)| layer == weight).count();
            [&layer[..], &weight[shared..]].concat().join("/")
        }
    }
}

/// Opens an HDF5 file.
pub(crate) fn open_hdf5(path: &Path, format: &'static str) -> Result<Hdf5, WeightsError> {
    let failed = |source| WeightsError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    Hdf5::open(Source::file(file, 0, length)).map_err(|error| hdf5_error(path, format, error))
}

/// What is wrong with an HDF5 file, with its path.
pub(crate) fn hdf5_error(path: &Path, format: &'static str, error: Hdf5Error) -> WeightsError {
    let path = path.to_owned();
    match error {
        Hdf5Error::Io(source) => WeightsError::Io { path, source },
        Hdf5Error::Malformed(reason) => WeightsError::Malformed { format, path, reason },
        Hdf5Error::Unsupported(what) => WeightsError::Unsupported { format, path, what },
        Hdf5Error::Outside(what) => WeightsError::Outside { path, what },
        Hdf5Error::TooLarge { what, claimed, limit } => WeightsError::TooLarge { path, what, claimed, limit },
    }
}

/// A weight's name here and its path in the file.
pub(crate) struct Weight {
    pub(crate) name: String,
    pub(crate) path: String,
}

/// An open file of either form.
pub(crate) struct KerasFile {
    contents: Contents,
    hdf5: Hdf5,
    datasets: Vec<Dataset>,
}

impl KerasFile {
    /// Looks every weight up; those that would share a name are called by their path.
    pub(crate) fn open(
        path: &Path,
        format: &'static str,
        hdf5: Hdf5,
        weights: Vec<Weight>,
        metadata: BTreeMap<String, String>,
    ) -> Result<Self, WeightsError> {
        let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
        weights.iter().for_each(|weight| *uses.entry(&weight.name).or_default() += 1);
        let mut contents = Contents::new(format, path);
        contents.metadata = metadata;
        let mut datasets = Vec::with_capacity(weights.len());
        for weight in &weights {
            let is_alone = uses.get(weight.name.as_str()) == Some(&1);
            let name = if is_alone { &weight.name } else { &weight.path }.clone();
            if !hdf5.is_dataset(&weight.path) {
                let reason = format!("weight `{}` is listed and has no values", weight.path);
                return Err(WeightsError::Malformed { format, path: path.to_owned(), reason });
            }
            let dataset = hdf5.dataset(&weight.path).map_err(|error| hdf5_error(path, format, error))?;
            let dtype: DType = match &dataset.dtype {
                Ok(dtype) => *dtype,
                Err(what) => {
                    return Err(WeightsError::Type { path: path.to_owned(), name, dtype: what.clone() });
                }
            };
            if !contents.add(ArrayInfo { name: name.clone(), shape: dataset.shape.clone(), dtype }) {
                let reason = format!("two weights are called `{name}`");
                return Err(WeightsError::Malformed { format, path: path.to_owned(), reason });
            }
            datasets.push(dataset);
        }
        Ok(Self { contents, hdf5, datasets })
    }
}

impl Listed for KerasFile {
    fn contents(&self) -> &Contents {
        &self.contents
    }

    fn bytes(&self, index: usize, _info: &ArrayInfo) -> Result<Vec<u8>, WeightsError> {
        let Contents { path, format, .. } = &self.contents;
        self.hdf5.read(&self.datasets[index]).map_err(|error| hdf5_error(path, format, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_the_layer_and_the_weight_once() {
        for (layer, weight, name) in [
            ("block1_conv1", "block1_conv1/kernel:0", "block1_conv1/kernel"),
            ("block1_conv1", "block1_conv1_W_1:0", "block1_conv1/block1_conv1_W_1"),
            ("fire2/squeeze1x1", "fire2/squeeze1x1_b", "fire2/squeeze1x1/squeeze1x1_b"),
            ("fire2/squeeze1x1", "uniform2", "fire2/squeeze1x1/uniform2"),
            ("nested", "inner/kernel:0", "nested/inner/kernel"),
            ("nested", "nested/inner/kernel", "nested/inner/kernel"),
            ("dense_1", "sequential/dense_1/kernel", "dense_1/kernel"),
            ("scale", "scale", "scale/scale"),
            ("", "temperature:0", "temperature"),
        ] {
            assert_eq!(name_of(layer, weight), name);
        }
    }

    #[test]
    fn lists_in_parts_are_put_together() {
        let part = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let attributes = BTreeMap::from([
            ("layer_names0".to_owned(), part(&["a", "b"])),
            ("layer_names1".to_owned(), part(&["c"])),
            ("layer_names3".to_owned(), part(&["lost"])),
        ]);
        assert_eq!(list(&attributes, "layer_names").unwrap(), ["a", "b", "c"]);
        assert_eq!(list(&attributes, "weight_names"), None);
    }
}
