//! A weight file to a backbone: which architecture, variant and family it is, and its arrays under our names.

pub mod detector;
mod speech;
mod text;
mod transformers;

use std::path::{Path, PathBuf};

pub use detector::{PretrainedDetector, load_detector};
pub(crate) use speech::carried;
pub use speech::{PretrainedSpeech, Writer, Writing, load_speech};
pub use text::{PretrainedText, TextReader, load_text};
pub use transformers::{PretrainedTransformer, load_transformer};
pub(crate) use transformers::{transformer_of, weight_file};

use headstart_data::preprocess::Preprocess;
use headstart_weights::{self as weights, ArrayInfo, Checkpoint};

use crate::backbones::{self, BACKBONES, BackboneSpec, Conventions, Variant};
use crate::error::{Error, Result};
use crate::name_map::{Classifier, Fit, no_classifier};
use crate::nn::Padding;
use crate::parameters::Parameters;

/// Makes a preprocessing for an input side in pixels.
type MakePreprocess = fn(u32) -> Preprocess;

/// Preprocessings that the metadata of a weight file can name.
pub(crate) const PREPROCESSES: [(&str, MakePreprocess); 3] =
    [("tensorflow", Preprocess::tensorflow), ("torchvision", Preprocess::torchvision), ("caffe", Preprocess::caffe)];

/// Pretrained weights, ready to be frozen or trained.
#[derive(Debug, Clone)]
pub struct Pretrained {
    /// The architecture.
    pub spec: &'static BackboneSpec,
    /// Its size.
    pub variant: &'static Variant,
    /// Padding, epsilon and preprocessing.
    pub conventions: Conventions,
    /// Arrays under our names.
    pub parameters: Parameters,
    /// Where they come from, in words: a file name, `embedded`, `random`.
    pub source: String,
    /// Licence that the file states.
    pub licence: Option<String>,
    /// Arrays of the file that were not needed.
    pub unused: Vec<String>,
    /// The published classifier, where a head learns on its outputs.
    pub classifier: Option<Classifier>,
}

impl Pretrained {
    /// BLAKE3 of the arrays.
    pub fn digest(&self) -> String {
        match &self.classifier {
            None => self.parameters.digest(),
            Some(classifier) => {
                let mut all = self.parameters.clone();
                all.extend(classifier.parameters.with_prefix("classifier."));
                all.digest()
            }
        }
    }

    /// Sets the input to `size` × `size` pixels.
    ///
    /// # Errors
    /// [`Error::Recipe`] when the architecture cannot take so small an input.
    pub fn resize_input(&mut self, size: u32) -> Result<()> {
        if size < self.spec.smallest_input || size > 2048 {
            return Err(Error::Recipe {
                reason: format!("input size {size} is outside {}–2048", self.spec.smallest_input),
                help: format!("`{}` was published for {} pixels", self.spec.name, self.spec.input_size),
            });
        }
        self.conventions.preprocess.height = size;
        self.conventions.preprocess.width = size;
        Ok(())
    }

    /// An untrained network, the control of every claim about transfer.
    pub fn random(spec: &'static BackboneSpec, variant: &'static Variant, seed: u64) -> Self {
        let family = &spec.families[0];
        Self {
            spec,
            variant,
            conventions: Conventions {
                family: "random".to_owned(),
                padding: family.padding,
                batch_norm_epsilon: family.batch_norm_epsilon,
                preprocess: (family.preprocess)(spec.input_size),
            },
            parameters: Parameters::initialize(&(spec.parameters)(variant), seed),
            source: "random".to_owned(),
            licence: None,
            unused: Vec::new(),
            classifier: None,
        }
    }
}

/// Every backbone, variant and family compared with a listing, best fit first.
pub fn fits(arrays: &[ArrayInfo]) -> Vec<Fit> {
    let mut fits: Vec<Fit> = Vec::new();
    for spec in BACKBONES {
        for family in spec.families.iter().filter(|family| (family.applies)(arrays)) {
            for variant in spec.variants.iter().filter(|variant| !(family.entries)(variant).is_empty()) {
                fits.push(Fit::of(arrays, spec, variant, family));
            }
        }
    }
    fits.sort_by_key(|fit| fit.matching.misses_in_a_thousand());
    fits
}

/// Loads a weight file; the architecture is found unless `backbone` names it.
///
/// # Errors
/// Of the reader; [`Error::NoBackbone`] or [`Error::Misfit`] with the nearest miss.
pub fn load(path: &Path, backbone: Option<&str>) -> Result<Pretrained> {
    if let Some(pretrained) = crate::bundle::read::pretrained(path)? {
        return Ok(pretrained);
    }
    let checkpoint = weights::open(path)?;
    load_checkpoint(checkpoint.as_ref(), backbone, file_name(path))
}

/// [`load`] for a checkpoint that is already open.
///
/// # Errors
/// See [`load`].
pub fn load_checkpoint(checkpoint: &dyn Checkpoint, backbone: Option<&str>, source: String) -> Result<Pretrained> {
    let fit = complete_fit(checkpoint, backbone)?;
    let metadata = checkpoint.metadata();
    let said = |key: &str| metadata.get(key).map(String::as_str);
    let number = |key: &str| said(key).and_then(|text| text.parse::<f64>().ok());
    let size = number("input_size").map_or(fit.spec.input_size, |size| size as u32);
    let mut conventions = fit.conventions(size);
    // A file may state conventions that its names cannot tell.
    match said("padding") {
        Some("tensorflow") => conventions.padding = Padding::Tensorflow,
        Some("bottom_right") => conventions.padding = Padding::BottomRight,
        Some("symmetric") => conventions.padding = Padding::Symmetric,
        _ => {}
    }
    if let Some(epsilon) = number("batch_norm_epsilon") {
        conventions.batch_norm_epsilon = epsilon;
    }
    if let Some((_, make)) = PREPROCESSES.iter().find(|(name, _)| said("preprocess") == Some(name)) {
        conventions.preprocess = make(size);
    }
    Ok(Pretrained {
        spec: fit.spec,
        variant: fit.variant,
        conventions,
        parameters: fit.read(checkpoint)?,
        source,
        licence: said("license").or(said("licence")).map(str::to_owned),
        unused: fit.matching.unused,
        classifier: None,
    })
}

/// Loads the published classifier of a weight file, or the head of a bundle that is one.
///
/// # Errors
/// As [`load`]; [`Error::NoClassifier`].
pub fn load_classifier(path: &Path, backbone: Option<&str>) -> Result<Classifier> {
    if let Some(classifier) = crate::bundle::read::classifier(path)? {
        return Ok(classifier);
    }
    let checkpoint = weights::open(path)?;
    let fit = complete_fit(checkpoint.as_ref(), backbone)?;
    let channels = (fit.spec.channels)(fit.variant);
    match &fit.classifier {
        Some(found) => found.read(checkpoint.as_ref(), channels),
        None => Err(no_classifier(path, fit.expected_classifier())),
    }
}

/// The best fit of a checkpoint, which must lack nothing.
fn complete_fit(checkpoint: &dyn Checkpoint, backbone: Option<&str>) -> Result<Fit> {
    let wanted = backbone.map(backbones::find).transpose()?;
    let mut fits = fits(checkpoint.arrays());
    if let Some((spec, variant)) = wanted {
        fits.retain(|fit| fit.spec.name == spec.name && variant.is_none_or(|variant| fit.variant == variant));
    }
    let path = || PathBuf::from(checkpoint.path());
    match fits.into_iter().next() {
        Some(fit) if fit.is_complete() => Ok(fit),
        best => {
            let detail = best.map_or_else(|| "no family applies".to_owned(), |fit| fit.first_error());
            Err(match backbone {
                Some(backbone) => Error::Misfit { path: path(), backbone: backbone.to_owned(), detail },
                None => Error::NoBackbone { path: path(), nearest: format!("nearest: {detail}") },
            })
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
