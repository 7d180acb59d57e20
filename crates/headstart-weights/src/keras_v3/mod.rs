//! Keras 3: `.keras`, a zip of `config.json`, `metadata.json` and `model.weights.h5`, and `.weights.h5` alone.
//!
//! Source: `saving/saving_lib.py` of Keras 3.15. In the HDF5 file each object of the model is a group, called by the
//! attribute that holds it or, among `layers`, by its class in snake case with `_1`, `_2` … in order of appearance. Its
//! variables are `vars/0`, `vars/1` …; since Keras 3.9 the group `vars` has the object's own name as attribute `name`. The
//! optimizer's variables are left out.
//!
//! **Names** are those that the `.h5` reader gives for the same model: `<layer>/<variable>`, nested models as
//! `<model>/<layer>/<variable>`.
//! - An object is called by the attribute `name`, else as `config.json` says, else by its group
//!   (`conv2d_3`). The group `layers` itself is left out.
//! - A variable is called by its class and its options in the configuration (`variables.rs`). Where the class or its
//!   options are not known, the position stays: `0`, `1` ….
//!
//! Weights that would share a name keep their whole path in the file instead.

mod config;
mod variables;

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::WeightsError;
use crate::hdf5::Hdf5;
use crate::keras_h5::{KerasFile, Weight, hdf5_error, open_hdf5};
use crate::peek::{Kind, Peek};
use crate::zip_member::Archive;
use crate::{Checkpoint, Format, json};
use config::Config;

const NAME: &str = "keras v3";

/// The registry row.
pub(crate) const FORMAT: Format = Format { name: NAME, extensions: &["keras", "h5"], recognizes, open };

/// The member of a `.keras` file with the values.
const WEIGHTS: &str = "model.weights.h5";

/// Largest `config.json` in bytes.
const LONGEST_CONFIG: u64 = 16 << 20;

/// The configuration goes into the metadata when it is no longer than this.
const LONGEST_METADATA: usize = 1 << 20;

/// Groups that hold a model's layers; the second was written by TensorFlow 2.12.
const LAYERS: [&str; 2] = ["layers", "_layer_checkpoint_dependencies"];

/// Whether it is a `.keras` archive.
pub(crate) fn is_archive(peek: &Peek<'_>) -> bool {
    // A name at the root, which no PyTorch file has.
    peek.kind == Kind::Zip && (peek.holds(WEIGHTS) || peek.holds("config.json") && peek.holds("metadata.json"))
}

/// Whether it is an HDF5 file in the layout of Keras 3.
pub(crate) fn is_weights(peek: &Peek<'_>) -> bool {
    let is_layered = LAYERS.iter().any(|name| peek.holds(name)) || peek.holds("vars");
    peek.kind == Kind::Hdf5 && is_layered && !peek.holds("model_weights")
}

fn recognizes(peek: &Peek<'_>) -> bool {
    is_archive(peek) || is_weights(peek)
}

fn malformed(path: &Path, reason: String) -> WeightsError {
    WeightsError::Malformed { format: NAME, path: path.to_owned(), reason }
}

fn open(path: &Path) -> Result<Box<dyn Checkpoint>, WeightsError> {
    if Peek::at(path, is_weights)? {
        return open_weights(path, open_hdf5(path, NAME)?, &Config::default(), BTreeMap::new());
    }
    let mut archive = Archive::open(path, NAME)?;
    let length = archive.length();
    if archive.member(WEIGHTS).is_none() {
        return Err(malformed(path, format!("it holds no `{WEIGHTS}`, the only form of weights that we read")));
    }
    let mut metadata = BTreeMap::new();
    let mut member = |name: &str| -> Result<serde_json::Value, WeightsError> {
        if archive.member(name).is_none() {
            return Ok(serde_json::Value::Null);
        }
        let bytes = archive.read(name, LONGEST_CONFIG)?;
        if name == "config.json"
            && bytes.len() <= LONGEST_METADATA
            && let Ok(text) = std::str::from_utf8(&bytes)
        {
            metadata.insert("model_config".to_owned(), text.to_owned());
        }
        json::parse(&bytes, length).map_err(|error| malformed(path, format!("`{name}` is no usable JSON: {error}")))
    };
    let about = member("metadata.json")?;
    let config = Config::find(&member("config.json")?, version(&about));
    if let Some(version) = version(&about) {
        metadata.insert("keras_version".to_owned(), version.to_owned());
    }
    let source = archive.source(WEIGHTS)?;
    let hdf5 = Hdf5::open(source).map_err(|error| hdf5_error(path, NAME, error))?;
    open_weights(path, hdf5, &config, metadata)
}

fn version(about: &serde_json::Value) -> Option<&str> {
    about.get("keras_version")?.as_str().filter(|version| version.len() <= 64)
}

fn open_weights(
    path: &Path,
    hdf5: Hdf5,
    config: &Config,
    metadata: BTreeMap<String, String>,
) -> Result<Box<dyn Checkpoint>, WeightsError> {
    let mut walk = Walk { path, hdf5: &hdf5, config, weights: Vec::new() };
    walk.group("", "")?;
    let weights = walk.weights;
    Ok(Box::new(KerasFile::open(path, NAME, hdf5, weights, metadata)?))
}

/// A walk through the groups of a file that names what it finds.
struct Walk<'a> {
    path: &'a Path,
    hdf5: &'a Hdf5,
    config: &'a Config,
    weights: Vec<Weight>,
}

impl Walk<'_> {
    /// Adds the variables at and below a group; `outer` is the name of what holds it. HDF5 groups form no circles.
    fn group(&mut self, at: &str, outer: &str) -> Result<(), WeightsError> {
        let children = self.hdf5.children(at).unwrap_or_default();
        let vars = join(at, "vars");
        let name = if at.is_empty() { String::new() } else { join(outer, &self.name_of(at, &vars)?) };
        if let Some(variables) = self.hdf5.children(&vars) {
            let mut positions: Vec<&String> = variables.iter().collect();
            positions.sort_by_key(|position| natural(position));
            let known = self.variables(at, &vars, positions.len())?;
            for position in positions {
                let called = position.parse().ok().and_then(|position: usize| known.as_ref()?.get(position).copied());
                let path = join(&vars, position);
                self.weights.push(Weight { name: join(&name, called.unwrap_or(position)), path });
            }
        }
        let mut below: Vec<&String> = children.iter().filter(|child| *child != "vars").collect();
        below.sort_by_key(|child| natural(child));
        for child in below {
            // The optimizer belongs to the whole model, not to a layer that happens to be called so.
            if !(at.is_empty() && child == "optimizer") {
                self.group(&join(at, child), &name)?;
            }
        }
        Ok(())
    }

    /// What an object is called: nothing for a list of layers.
    fn name_of(&self, at: &str, vars: &str) -> Result<String, WeightsError> {
        let group = at.rsplit('/').next().unwrap_or_default();
        if let Some(name) = self.own_name(vars)? {
            return Ok(name);
        }
        if let Some(layer) = self.config.layer(at) {
            return Ok(layer.name.clone());
        }
        let is_list = LAYERS.contains(&group) && self.hdf5.children(vars).is_none();
        Ok(if is_list { String::new() } else { group.to_owned() })
    }

    /// The name that Keras writes beside the variables.
    fn own_name(&self, vars: &str) -> Result<Option<String>, WeightsError> {
        let texts = self.hdf5.texts(vars).map_err(|error| hdf5_error(self.path, NAME, error))?;
        Ok(texts.get("name").and_then(|texts| texts.first()).filter(|name| !name.is_empty()).cloned())
    }

    /// Names of an object's variables, where its class and options say them.
    fn variables(&self, at: &str, vars: &str, count: usize) -> Result<Option<Vec<&'static str>>, WeightsError> {
        let own = self.own_name(vars)?;
        if let Some(layer) = self.config.layer(at) {
            // A configuration that speaks of another layer says nothing about this one.
            if own.is_none_or(|own| own == layer.name) {
                return Ok(variables::of(&layer.class, Some(layer.options), self.config.is_keras_2, count));
            }
        }
        let mut parts = at.rsplit('/');
        let (group, holder) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let class = config::without_number(group);
        Ok(match LAYERS.contains(&holder) {
            true => variables::of(class, None, self.config.is_keras_2, count),
            false => None,
        })
    }
}

fn join(outer: &str, inner: &str) -> String {
    match (outer.is_empty(), inner.is_empty()) {
        (true, _) => inner.to_owned(),
        (_, true) => outer.to_owned(),
        _ => format!("{outer}/{inner}"),
    }
}

/// Sorts `conv2d_2` before `conv2d_10`.
fn natural(name: &str) -> (String, u64, String) {
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (start, number) = name.split_at(name.len() - digits);
    (start.to_owned(), number.parse().unwrap_or(0), name.to_owned())
}
