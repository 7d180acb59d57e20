//! From the names of a published checkpoint to ours, every array accounted for.

use std::collections::BTreeMap;

use headstart_data::preprocess::Preprocess;
use headstart_weights::{ArrayInfo, Checkpoint};

use crate::backbones::{BackboneSpec, Conventions, Variant};
use crate::error::Result;
use crate::nn::Padding;
use crate::parameters::Parameters;

mod classifier;
mod keras;
mod layout;
mod matching;

pub(crate) use classifier::no_classifier;
pub use classifier::{Classifier, ClassifierNames, DenseOrder, FoundClassifier};
pub use layout::Layout;
pub use matching::Matching;
pub(crate) use matching::shapes_of;

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
    /// What of it is there.
    pub matching: Matching,
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
        let canonical = (family.canonical)(arrays);
        let shapes = shapes_of((spec.parameters)(variant));
        let matching = Matching::of(arrays, &canonical, &(family.entries)(variant), &shapes, family.ignore);
        let found: BTreeMap<&str, &ArrayInfo> = canonical.iter().map(String::as_str).zip(arrays).collect();
        // A classifier may stand beside a backbone that is a model of its own.
        let of_classifier =
            |name: &str| found.get(format!("{}{name}", matching.prefix).as_str()).or_else(|| found.get(name)).copied();
        let classifier = family.classifiers.iter().find_map(|names| FoundClassifier::of(names, of_classifier));
        Self { spec, variant, family, matching, classifier }
    }

    /// Whether every array that the backbone needs is there in its shape.
    pub fn is_complete(&self) -> bool {
        self.matching.is_complete()
    }

    /// The first thing that does not fit, in words.
    pub fn first_error(&self) -> String {
        let candidate = format!("{}:{} ({} names)", self.spec.name, self.variant.name, self.family.family);
        self.matching.first_error(&candidate)
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
        let shapes = shapes_of((self.spec.parameters)(self.variant));
        self.matching.read(checkpoint, (self.family.entries)(self.variant), &shapes)
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
