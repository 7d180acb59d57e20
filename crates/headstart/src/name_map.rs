//! From the names of a published checkpoint to ours, every array accounted for.

use std::collections::{BTreeMap, BTreeSet};

use headstart_data::preprocess::Preprocess;
use headstart_weights::{ArrayInfo, Checkpoint};

use crate::backbones::{BackboneSpec, Conventions, Variant};
use crate::error::{Result, nearest};
use crate::nn::Padding;
use crate::parameters::{Parameter, Parameters};

mod classifier;
mod keras;
mod layout;

pub(crate) use classifier::no_classifier;
pub use classifier::{Classifier, ClassifierNames, DenseOrder, FoundClassifier};
pub use layout::Layout;

/// A family of checkpoints: who publishes it, under which names, with which conventions.
pub struct NameMap {
    /// Short name.
    pub family: &'static str,
    /// Who publishes it.
    pub origin: &'static str,
    /// Whether these arrays can be of this family, where names alone do not tell.
    pub applies: fn(&[ArrayInfo]) -> bool,
    /// The names of a listing as the entries write them, one for each array: [`NameMap::as_they_are`] where they need no
    /// change.
    pub canonical: fn(&[ArrayInfo]) -> Vec<String>,
    /// Theirs → ours for a variant, one to one; empty where the family has no such variant.
    pub entries: fn(&Variant) -> Vec<Entry>,
    /// Parts of names of arrays that a backbone does not need: the original classifier, counters.
    pub ignore: &'static [&'static str],
    /// The original classifier, under each of the names that it was published with; the first that is there counts.
    pub classifiers: &'static [ClassifierNames],
    /// How the family's convolutions pad.
    pub padding: Padding,
    /// Epsilon of the family's batch normalization.
    pub batch_norm_epsilon: f64,
    /// The family's preprocessing for an input side in pixels.
    pub preprocess: fn(u32) -> Preprocess,
}

impl std::fmt::Debug for NameMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NameMap").field("family", &self.family).finish_non_exhaustive()
    }
}

impl NameMap {
    /// Names that need no change.
    pub fn as_they_are(arrays: &[ArrayInfo]) -> Vec<String> {
        arrays.iter().map(|array| array.name.clone()).collect()
    }

    /// Keras's names: see the source for what old and new versions write.
    pub fn keras(arrays: &[ArrayInfo]) -> Vec<String> {
        keras::canonical(arrays)
    }
}

/// One array: their name and ours, and how its values lie.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Name in the checkpoint, without a common prefix.
    pub theirs: String,
    /// Our name.
    pub ours: String,
    /// From their values to ours.
    pub layout: Layout,
}

impl Entry {
    pub(crate) fn new(theirs: String, ours: String) -> Self {
        Self { theirs, ours, layout: Layout::AsItIs }
    }

    pub(crate) fn with_layout(theirs: String, ours: String, layout: Layout) -> Self {
        Self { theirs, ours, layout }
    }

    /// Convolution and batch normalization as PyTorch names them; ours as a prefix.
    pub(crate) fn pytorch_conv_norm(conv: &str, norm: &str, ours: &str) -> Vec<Self> {
        let mut entries = vec![Self::new(format!("{conv}.weight"), format!("{ours}.weight"))];
        let names = [("weight", "gamma"), ("bias", "beta"), ("running_mean", "mean"), ("running_var", "variance")];
        for (theirs, name) in names {
            entries.push(Self::new(format!("{norm}.{theirs}"), format!("{ours}.norm.{name}")));
        }
        entries
    }

    /// Convolution and batch normalization as Keras names them; ours as a prefix.
    pub(crate) fn keras_conv_norm(conv: &str, norm: &str, ours: &str, is_depthwise: bool) -> Vec<Self> {
        let layout = if is_depthwise { Layout::KerasDepthwise } else { Layout::KerasConv };
        let mut entries = vec![Self::with_layout(format!("{conv}/kernel"), format!("{ours}.weight"), layout)];
        let names = [("gamma", "gamma"), ("beta", "beta"), ("moving_mean", "mean"), ("moving_variance", "variance")];
        for (theirs, name) in names {
            entries.push(Self::new(format!("{norm}/{theirs}"), format!("{ours}.norm.{name}")));
        }
        entries
    }
}

/// How well a checkpoint fits one backbone, variant and family.
#[derive(Debug, Clone)]
pub struct Fit {
    /// The architecture.
    pub spec: &'static BackboneSpec,
    /// Its size.
    pub variant: &'static Variant,
    /// The family.
    pub family: &'static NameMap,
    /// Common prefix of the checkpoint's names (`module.`, `state_dict.`…).
    pub prefix: String,
    /// Names of the family's entries → names in the file.
    names: BTreeMap<String, String>,
    /// Arrays that the backbone needs and the checkpoint lacks: their name, and the nearest that is there.
    pub missing: Vec<(String, Option<String>)>,
    /// Arrays of another shape: name, expected, found.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Arrays of the checkpoint that nothing asked for.
    pub unused: Vec<String>,
    /// The published classifier, if the checkpoint holds it.
    pub classifier: Option<FoundClassifier>,
}

impl Fit {
    /// Compares a listing with what a variant of a family needs.
    pub fn of(
        arrays: &[ArrayInfo],
        spec: &'static BackboneSpec,
        variant: &'static Variant,
        family: &'static NameMap,
    ) -> Self {
        let entries = (family.entries)(variant);
        let shapes: BTreeMap<String, Vec<usize>> =
            (spec.parameters)(variant).into_iter().map(|parameter| (parameter.name, parameter.shape)).collect();
        let canonical = (family.canonical)(arrays);
        let found: BTreeMap<&str, &ArrayInfo> = canonical.iter().map(String::as_str).zip(arrays).collect();
        let first = entries.iter().find(|entry| entry.layout.is_read()).map_or("", |entry| entry.theirs.as_str());
        let prefix = common_prefix(&found, first);
        let mut names: Vec<String> = Vec::new();
        let mut fit = Self {
            spec,
            variant,
            family,
            prefix,
            names: BTreeMap::new(),
            missing: Vec::new(),
            misshapen: Vec::new(),
            unused: Vec::new(),
            classifier: None,
        };
        let mut used = BTreeSet::new();
        for entry in &entries {
            for (bare, expected) in entry.layout.sources(&entry.theirs, &shapes[&entry.ours]) {
                let name = format!("{}{bare}", fit.prefix);
                match found.get(name.as_str()) {
                    None => fit.missing.push((name, None)),
                    Some(array) => {
                        if array.shape != expected {
                            fit.misshapen.push((array.name.clone(), expected, array.shape.clone()));
                        }
                        used.insert(array.name.as_str());
                        fit.names.insert(bare, array.name.clone());
                    }
                }
            }
        }
        if !fit.missing.is_empty() {
            names.extend(found.keys().filter_map(|name| name.strip_prefix(&fit.prefix)).map(str::to_owned));
        }
        // Only the first miss is shown, and edit distances over all names are dear.
        if let Some((name, near)) = fit.missing.first_mut() {
            let bare = name.strip_prefix(&fit.prefix).unwrap_or(name);
            *near = nearest(bare, &names).map(str::to_owned);
        }
        // A classifier may stand beside a backbone that is a model of its own.
        let of_classifier =
            |name: &str| found.get(format!("{}{name}", fit.prefix).as_str()).or_else(|| found.get(name)).copied();
        fit.classifier = family.classifiers.iter().find_map(|names| FoundClassifier::of(names, of_classifier));
        fit.unused = arrays
            .iter()
            .filter(|array| !used.contains(array.name.as_str()))
            .filter(|array| !family.ignore.iter().any(|part| array.name.contains(part)))
            .map(|array| array.name.clone())
            .collect();
        fit
    }

    /// Whether every array that the backbone needs is there in its shape.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.misshapen.is_empty()
    }

    /// Number of arrays that do not fit.
    pub fn error_count(&self) -> usize {
        self.missing.len() + self.misshapen.len()
    }

    /// Thousandths of what the backbone needs that do not fit: networks differ in size, so counts alone say little.
    pub(crate) fn misses_in_a_thousand(&self) -> usize {
        let needed = self.names.len() + self.missing.len();
        (self.error_count() * 1000).div_ceil(needed.max(1))
    }

    /// The first thing that does not fit, in words.
    pub fn first_error(&self) -> String {
        if self.names.is_empty() && !self.missing.is_empty() {
            return "none; no array has a name that a known family uses".to_owned();
        }
        let candidate = format!("{}:{} ({} names)", self.spec.name, self.variant.name, self.family.family);
        if let Some((name, expected, found)) = self.misshapen.first() {
            return format!("`{name}` has shape {found:?}, {candidate} expects {expected:?}");
        }
        match self.missing.first() {
            Some((name, Some(near))) => format!("{candidate} needs `{name}`; the nearest array is `{near}`"),
            Some((name, None)) => format!("{candidate} needs `{name}`, which is not there"),
            None => format!("{candidate} fits"),
        }
    }

    /// What the family's published classifier would be called, in words.
    pub(crate) fn expected_classifier(&self) -> String {
        match self.family.classifiers.iter().filter_map(|names| names.layers.first()).next() {
            Some((weight, _)) => format!("it has no `{weight}` as {} has", self.family.origin),
            None => format!("none is known for {}", self.family.origin),
        }
    }

    /// Reads the arrays under our names.
    ///
    /// # Errors
    /// Of the reader. Only call it on a complete fit.
    pub fn read(&self, checkpoint: &dyn Checkpoint) -> Result<Parameters> {
        let shapes: BTreeMap<String, Vec<usize>> = (self.spec.parameters)(self.variant)
            .into_iter()
            .map(|parameter| (parameter.name, parameter.shape))
            .collect();
        let read_one = |bare: &str| -> Result<Vec<f32>> {
            let name = self.names.get(bare).map_or(bare, String::as_str);
            Ok(checkpoint.read(name)?.to_f32()?)
        };
        (self.family.entries)(self.variant)
            .into_iter()
            .map(|entry| {
                let shape = shapes[&entry.ours].clone();
                let values = entry.layout.read(&entry.theirs, &shape, read_one)?;
                Ok((entry.ours, Parameter { shape, values }))
            })
            .collect()
    }

    /// The family's conventions at an input side of `size` pixels.
    pub fn conventions(&self, size: u32) -> Conventions {
        Conventions {
            family: self.family.family.to_owned(),
            padding: self.family.padding,
            batch_norm_epsilon: self.family.batch_norm_epsilon,
            preprocess: (self.family.preprocess)(size),
        }
    }
}

/// What stands before the first needed name in the checkpoint, if it is there at all.
fn common_prefix(found: &BTreeMap<&str, &ArrayInfo>, first: &str) -> String {
    if first.is_empty() || found.contains_key(first) {
        return String::new();
    }
    found
        .keys()
        .filter_map(|name| name.strip_suffix(first))
        .find(|prefix| prefix.ends_with(['.', '/']))
        .unwrap_or_default()
        .to_owned()
}
