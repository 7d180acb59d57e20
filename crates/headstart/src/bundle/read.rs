//! One file → a model that predicts, after it proved itself.

use std::path::{Path, PathBuf};

use headstart_data::image::RgbImage;
use headstart_data::text::tokenizer::Tokenizer;
use headstart_weights::{self as weights, Checkpoint};

use super::arrays::read_all;
use super::manifest::{CLASSIFIER, FORMAT, KEY, Manifest, TOKENIZER};
use super::predict::Predictor;
use super::self_test::{OUTPUTS, PICTURES, SOUND, TEXTS, worst};
use crate::backbones::{self, SPEECH, TRANSFORMERS};
use crate::error::{Error, Result};
use crate::load::{
    Pretrained, PretrainedDetector, PretrainedSpeech, PretrainedText, PretrainedTransformer, TextReader, Writer,
    load_text,
};
use crate::name_map::{Classifier, no_classifier};
use crate::nn::LoraStore;
use crate::parameters::Parameters;
use crate::recipe::{Output, Pool};

/// An open bundle.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    manifest: Manifest,
    pub(crate) predictor: Predictor,
    parameters: usize,
}

impl Bundle {
    /// Opens a bundle and runs its self-test.
    ///
    /// # Errors
    /// [`Error::Bundle`] when the file is not a bundle of a format that we read; [`Error::SelfTest`] when it does not
    /// give its recorded outputs here.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let (bundle, checkpoint) = Self::open_parts(path.as_ref(), None)?;
        bundle.self_test(checkpoint.as_ref())?;
        Ok(bundle)
    }

    /// Opens a bundle without its self-test.
    ///
    /// # Errors
    /// See [`Bundle::open`].
    pub fn open_untested(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::open_parts(path.as_ref(), None)?.0)
    }

    /// Opens a bundle that holds adapters alone, on the published weights of `base`; any other bundle needs no base.
    ///
    /// # Errors
    /// See [`Bundle::open`]; [`Error::Bundle`] when these are not the weights that the adapters stand on.
    pub fn open_on(path: impl AsRef<Path>, base: impl AsRef<Path>, tested: bool) -> Result<Self> {
        let (bundle, checkpoint) = Self::open_parts(path.as_ref(), Some(base.as_ref()))?;
        if tested {
            bundle.self_test(checkpoint.as_ref())?;
        }
        Ok(bundle)
    }

    /// What the bundle says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of values in backbone and head.
    pub fn parameter_count(&self) -> usize {
        self.parameters
    }

    /// The arrays of backbone and head, read again from the file.
    pub(crate) fn arrays(&self) -> Result<(Parameters, Parameters)> {
        let arrays = read_all(weights::open(&self.path)?.as_ref())?;
        let backbone = whole_backbone(&self.path, &self.manifest, arrays.strip_prefix("backbone."), None)?;
        Ok((backbone, arrays.strip_prefix("head.")))
    }

    fn open_parts(path: &Path, base: Option<&Path>) -> Result<(Self, Box<dyn Checkpoint>)> {
        let checkpoint = weights::open(path)?;
        let manifest = read_manifest(checkpoint.as_ref())?
            .ok_or_else(|| bundle_error(path, "it is a weight file without a manifest"))?;
        let arrays = read_all(checkpoint.as_ref())?;
        let (backbone, head) = (arrays.strip_prefix("backbone."), arrays.strip_prefix("head."));
        let backbone = whole_backbone(path, &manifest, backbone, base)?;
        let tokenizer = manifest.backbone.text.as_ref().map(|_| checkpoint.read(TOKENIZER)).transpose()?;
        let tokenizer = tokenizer.as_ref().map(|array| array.bytes.as_ref());
        let predictor = Predictor::new(&manifest, &backbone, &head, tokenizer).map_err(|error| match error {
            Error::UnknownName { kind, name, .. } => bundle_error(path, &format!("{kind} `{name}` is not in it")),
            other => other,
        })?;
        let parameters = backbone.value_count() + head.value_count();
        Ok((Self { path: path.to_owned(), manifest, predictor, parameters }, checkpoint))
    }

    fn self_test(&self, checkpoint: &dyn Checkpoint) -> Result<()> {
        let expected = checkpoint.read(OUTPUTS)?.to_f32()?;
        if self.reads_text() {
            let texts = checkpoint.read(TEXTS)?;
            let texts = String::from_utf8_lossy(&texts.bytes).into_owned();
            return self.compare(&self.predictor.self_test_outputs(texts.lines())?, &expected);
        }
        if self.predictor.hears() {
            return self.compare(&self.predictor.sound_outputs(&checkpoint.read(SOUND)?.bytes)?, &expected);
        }
        let pictures = checkpoint.read(PICTURES)?;
        let [_, height, width, 3] = pictures.info.shape[..] else {
            return Err(bundle_error(&self.path, "its self-test pictures have another shape than [N, H, W, 3]"));
        };
        let length = (height * width * 3).max(1);
        let pictures: Vec<RgbImage> = pictures
            .bytes
            .chunks_exact(length)
            .filter_map(|bytes| RgbImage::from_raw(width as u32, height as u32, bytes.to_vec()))
            .collect();
        self.compare(&self.predictor.outputs(&pictures, 1)?, &expected)
    }

    fn compare(&self, found: &[f32], expected: &[f32]) -> Result<()> {
        if found.len() != expected.len() || found.is_empty() {
            return Err(bundle_error(&self.path, "its self-test has another number of outputs"));
        }
        match worst(found, expected) {
            None => Ok(()),
            Some((index, found, expected)) => Err(Error::SelfTest { path: self.path.clone(), index, found, expected }),
        }
    }
}

/// The pretrained part of a bundle, so that a bundle can be the start of another run; `None` when the file is no bundle.
///
/// # Errors
/// Of the reader, for a file that is a bundle.
pub(crate) fn pretrained(path: &Path) -> Result<Option<Pretrained>> {
    // Whatever cannot be opened is told by the caller, who knows what else it could be.
    let Ok(checkpoint) = weights::open(path) else { return Ok(None) };
    let Some(manifest) = read_manifest(checkpoint.as_ref())? else { return Ok(None) };
    let Some(conventions) = manifest.backbone.conventions else {
        return Err(bundle_error(path, "it reads no pictures, and a network of pictures was asked for"));
    };
    let mut arrays: Parameters = read_all(checkpoint.as_ref())?.strip_prefix("backbone.");
    arrays.retain(|name| !name.starts_with(CLASSIFIER));
    let (spec, _) = backbones::find(&manifest.backbone.name)?;
    Ok(Some(Pretrained {
        spec,
        variant: spec.find_variant(&manifest.backbone.variant)?,
        conventions,
        parameters: arrays,
        source: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        licence: manifest.backbone.licence,
        unused: Vec::new(),
        classifier: None,
    }))
}

/// The pretrained part of a bundle that finds objects, its head with it; `None` when the file is no bundle.
///
/// # Errors
/// Of the reader, for a file that is a bundle.
pub(crate) fn pretrained_detector(path: &Path) -> Result<Option<PretrainedDetector>> {
    if path.is_dir() {
        return Ok(None);
    }
    let Ok(checkpoint) = weights::open(path) else { return Ok(None) };
    let Some(manifest) = read_manifest(checkpoint.as_ref())? else { return Ok(None) };
    let Some(plan) = manifest.backbone.detector else {
        return Err(bundle_error(path, "it finds no objects, and a detector was asked for"));
    };
    plan.graph.check()?;
    let arrays = read_all(checkpoint.as_ref())?;
    Ok(Some(PretrainedDetector {
        plan,
        parameters: arrays.strip_prefix("backbone."),
        head: Some(arrays.strip_prefix("head.")),
        labels: Some(manifest.labels),
        source: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        licence: manifest.backbone.licence,
    }))
}

/// The pretrained part of a bundle that reads texts; `None` when the file is no bundle.
///
/// # Errors
/// Of the reader, for a file that is a bundle.
pub(crate) fn pretrained_text(path: &Path, longest: Option<usize>) -> Result<Option<PretrainedText>> {
    if path.is_dir() {
        return Ok(None);
    }
    let Ok(checkpoint) = weights::open(path) else { return Ok(None) };
    let Some(manifest) = read_manifest(checkpoint.as_ref())? else { return Ok(None) };
    let Some(text) = manifest.backbone.text.clone() else {
        return Err(bundle_error(path, "it reads no texts, and a network of texts was asked for"));
    };
    let name = &manifest.backbone.name;
    let spec = TRANSFORMERS.iter().find(|spec| spec.name == name);
    let spec = spec.ok_or_else(|| bundle_error(path, &format!("its backbone `{name}` is not one that we have")))?;
    let tokenizer = Tokenizer::from_bytes(&checkpoint.read(TOKENIZER)?.bytes)?;
    Ok(Some(PretrainedText {
        reader: TextReader::new(tokenizer, &text.shape, longest.or(Some(text.max_tokens)))?,
        transformer: PretrainedTransformer {
            spec,
            family: &spec.families[0],
            shape: text.shape,
            parameters: whole_backbone(
                path,
                &manifest,
                read_all(checkpoint.as_ref())?.strip_prefix("backbone."),
                None,
            )?,
            source: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            unused: Vec::new(),
        },
        licence: manifest.backbone.licence.clone(),
    }))
}

/// The pretrained part of a bundle that hears, and the letters that it writes; `None` when the file is no bundle.
///
/// # Errors
/// Of the reader, for a file that is a bundle.
pub(crate) fn pretrained_speech(path: &Path) -> Result<Option<PretrainedSpeech>> {
    let Ok(checkpoint) = weights::open(path) else { return Ok(None) };
    let Some(manifest) = read_manifest(checkpoint.as_ref())? else { return Ok(None) };
    let Some(speech) = manifest.backbone.speech.clone() else {
        return Err(bundle_error(path, "it hears nothing, and a network of recordings was asked for"));
    };
    let name = &manifest.backbone.name;
    let spec = SPEECH.iter().find(|spec| spec.name == name);
    let spec = spec.ok_or_else(|| bundle_error(path, &format!("its backbone `{name}` is not one that we have")))?;
    let arrays = read_all(checkpoint.as_ref())?;
    let writes = manifest.recipe.head.hidden.is_empty();
    let writer = speech.writing.filter(|_| writes);
    Ok(Some(PretrainedSpeech {
        spec,
        family: "bundle",
        shape: speech.shape,
        parameters: arrays.strip_prefix("backbone."),
        writer: writer.map(|writing| Writer { writing, parameters: arrays.strip_prefix("head.") }),
        source: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        licence: manifest.backbone.licence,
        unused: Vec::new(),
        notes: Vec::new(),
    }))
}

/// The arrays that predict: adapters are merged, and stand on the weights of `base` or of where the run found them if the
/// bundle holds nothing else.
fn whole_backbone(path: &Path, manifest: &Manifest, stored: Parameters, base: Option<&Path>) -> Result<Parameters> {
    let Some(lora) = &manifest.recipe.lora else { return Ok(stored) };
    if lora.store != LoraStore::Alone {
        return lora.merged(&stored);
    }
    let named = manifest.recipe.weights.as_deref().map(Path::new);
    let base = base.or(named.filter(|base| base.exists())).ok_or_else(|| {
        bundle_error(path, "it holds adapters alone: give the weights that they stand on with --weights FOLDER")
    })?;
    let published = match pretrained_text(base, None)? {
        Some(text) => text,
        None => load_text(base, None)?,
    };
    if published.transformer.parameters.digest() != manifest.backbone.pretrained_digest {
        return Err(bundle_error(
            path,
            &format!("its adapters stand on other weights than those of `{}`", base.display()),
        ));
    }
    let mut whole = published.transformer.parameters;
    whole.extend(stored);
    lora.merged(&whole)
}

/// The head of a bundle as a classifier with its labels; `None` when the file is no bundle.
///
/// # Errors
/// Of the reader; [`Error::NoClassifier`] when its head is not dense layers with softmax on the backbone.
pub(crate) fn classifier(path: &Path) -> Result<Option<Classifier>> {
    let Ok(checkpoint) = weights::open(path) else { return Ok(None) };
    let Some(manifest) = read_manifest(checkpoint.as_ref())? else { return Ok(None) };
    let head = manifest.recipe.head;
    if head.output != Output::Softmax || head.pool == Pool::Logits {
        let reason = format!("the head of this bundle is `{head}`, which is no classifier on the backbone alone");
        return Err(no_classifier(path, reason));
    }
    let classifier = Classifier::from_parameters(head.pool, read_all(checkpoint.as_ref())?.strip_prefix("head."))?;
    Ok(Some(Classifier { labels: Some(manifest.labels), ..classifier }))
}

fn read_manifest(checkpoint: &dyn Checkpoint) -> Result<Option<Manifest>> {
    let Some(text) = checkpoint.metadata().get(KEY) else { return Ok(None) };
    let path = checkpoint.path();
    let version = serde_json::from_str::<serde_json::Value>(text)
        .map_err(|error| bundle_error(path, &format!("its manifest is not JSON: {error}")))?
        .get("format")
        .and_then(serde_json::Value::as_u64);
    if version != Some(u64::from(FORMAT)) {
        let found = version.map_or_else(|| "no".to_owned(), |version| version.to_string());
        return Err(bundle_error(path, &format!("it has format {found}, this program reads format {FORMAT}")));
    }
    serde_json::from_str(text)
        .map(Some)
        .map_err(|error| bundle_error(path, &format!("its manifest is not complete: {error}")))
}

fn bundle_error(path: &Path, reason: &str) -> Error {
    Error::Bundle { path: path.to_owned(), reason: reason.to_owned() }
}
