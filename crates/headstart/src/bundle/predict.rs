//! Prediction walks the straight line backwards: sample → input → frozen network → head → decode.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use headstart_data::image::{self, RgbImage};
use headstart_data::preprocess::Preprocess;
use headstart_data::text::tokenizer::Tokenizer;
use headstart_data::text::words::words;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::manifest::{CLASSIFIER, Manifest, TOKENIZER};
use super::read::Bundle;
use super::transcribe::Hearing;
use crate::backbones;
use crate::error::{Error, Result};
use crate::features::Rows;
use crate::load::detector::DetectorPlan;
use crate::load::{Pretrained, TextReader};
use crate::model::{FrozenBackbone, Head};
use crate::name_map::Classifier;
use crate::network::FrozenNetwork;
use crate::nn::map_graph::FrozenMaps;
use crate::nn::named::values;
use crate::nn::{FrozenDeepSpeech, FrozenTransformer};
use crate::parameters::Parameters;
use crate::recipe::{Output, Pool};
use crate::tasks::Reads;
use crate::tasks::image_classification::ClassificationHead;
use crate::tasks::image_classification::decode::{self, Candidate};
use crate::tasks::object_detection::DetectionHead;
use crate::tasks::object_detection::loss::output_count;
use crate::tasks::text_classification::metrics::THRESHOLD;
use crate::tasks::token_classification;
use crate::tasks::token_classification::data::WordTokens;
use crate::tasks::token_classification::decode::FoundEntity;

/// What a bundle says of one picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The file.
    pub path: PathBuf,
    /// Most probable class.
    pub label: String,
    /// Its probability.
    pub probability: f32,
    /// The most probable classes, best first.
    pub top: Vec<Candidate>,
}

impl Prediction {
    /// The `top` most probable classes of a file, the best at least.
    pub(super) fn new(path: &Path, probabilities: &[f32], labels: &[String], top: usize) -> Self {
        let top = decode::top(probabilities, labels, top.max(1));
        Self { path: path.to_owned(), label: top[0].label.clone(), probability: top[0].probability, top }
    }
}

/// A picture that could not be predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// What a bundle says of one text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextPrediction {
    /// The text.
    pub text: String,
    /// Most probable class.
    pub label: String,
    /// Its probability.
    pub probability: f32,
    /// The most probable classes, best first.
    pub top: Vec<Candidate>,
    /// Of a bundle that gives a text any number of labels: those that are more probable than not, best first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<Candidate>>,
    /// Tokens at the end of the text that were more than the bundle reads.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut_tokens: usize,
}

/// What a bundle says of the words of one text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntityPrediction {
    /// The text.
    pub text: String,
    /// The entities, in the order of the text.
    pub entities: Vec<FoundEntity>,
    /// Tokens at the end of the text that were more than the bundle reads.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut_tokens: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The frozen form of a whole model.
#[derive(Debug)]
pub(crate) struct Predictor {
    network: FrozenNetwork,
    head: BundledHead,
    sample: Sample,
    pool: Pool,
    output: Output,
    labels: Vec<String>,
}

/// How a sample becomes an input.
#[derive(Debug)]
enum Sample {
    Picture(Preprocess),
    Text(Box<TextReader>),
    Recording(Box<Hearing>),
    Objects(Box<DetectorPlan>),
}

/// The head of any task.
#[derive(Debug)]
enum BundledHead {
    Classes(Box<ClassificationHead>),
    Objects(Box<DetectionHead>),
}

impl Predictor {
    pub(crate) fn new(
        manifest: &Manifest,
        backbone: &Parameters,
        head: &Parameters,
        tokenizer: Option<&[u8]>,
    ) -> Result<Self> {
        let (network, sample) = match (&manifest.backbone.conventions, &manifest.backbone.text, tokenizer) {
            (Some(conventions), _, _) => {
                let (spec, _) = backbones::find(&manifest.backbone.name)?;
                let pretrained = Pretrained {
                    spec,
                    variant: spec.find_variant(&manifest.backbone.variant)?,
                    conventions: conventions.clone(),
                    parameters: Parameters::default(),
                    source: String::new(),
                    licence: None,
                    unused: Vec::new(),
                    classifier: manifest
                        .backbone
                        .classifier
                        .map(|pool| Classifier::from_parameters(pool, backbone.strip_prefix(CLASSIFIER)))
                        .transpose()?,
                };
                let frozen = FrozenBackbone::new(&pretrained, backbone)?;
                (FrozenNetwork::Pictures(frozen), Sample::Picture(conventions.preprocess.clone()))
            }
            (None, None, _) if let Some(plan) = &manifest.backbone.detector => {
                plan.graph.check()?;
                let frozen = FrozenMaps::new(&plan.graph, backbone, plan.shape())?;
                (FrozenNetwork::Detector(Box::new(frozen)), Sample::Objects(Box::new(plan.clone())))
            }
            (None, None, _) if let Some(speech) = &manifest.backbone.speech => {
                let hearing = Hearing { features: speech.shape.features(), writing: speech.writing.clone() };
                let frozen = FrozenDeepSpeech::new(speech.shape, backbone.clone())?;
                (FrozenNetwork::Speech(frozen), Sample::Recording(Box::new(hearing)))
            }
            (None, Some(text), Some(tokenizer)) => {
                let reader = TextReader::new(Tokenizer::from_bytes(tokenizer)?, &text.shape, Some(text.max_tokens))?;
                (
                    FrozenNetwork::Text(FrozenTransformer::new(text.shape, backbone.clone())?),
                    Sample::Text(Box::new(reader)),
                )
            }
            _ => {
                return Err(Error::UnknownName {
                    kind: "array",
                    name: TOKENIZER.to_owned(),
                    known: backbone.iter().map(|(name, _)| name.clone()).collect(),
                });
            }
        };
        let (device, recipe) = (Device::default(), &manifest.recipe.head);
        let head = match &sample {
            Sample::Objects(plan) => BundledHead::Objects(Box::new(DetectionHead::load(&plan.head, head, &device)?)),
            _ => BundledHead::Classes(Box::new(ClassificationHead::load(recipe, head, &device)?)),
        };
        Ok(Self { network, head, sample, pool: recipe.pool, output: recipe.output, labels: manifest.labels.clone() })
    }

    pub(crate) fn reads_text(&self) -> bool {
        matches!(self.sample, Sample::Text(_))
    }

    /// Outputs of the head for pictures, `[pictures, N]`.
    pub(crate) fn outputs(&self, pictures: &[RgbImage], threads: usize) -> Result<Vec<f32>> {
        let mut rows = Rows::default();
        for picture in pictures {
            let input = match &self.sample {
                Sample::Picture(preprocess) => preprocess.apply(picture),
                Sample::Objects(plan) => plan.values(&plan.letterboxed(picture)),
                Sample::Text(_) | Sample::Recording(_) => return Err(self.wrong_sample("pictures")),
            };
            rows.push(self.features(&input, threads)?);
        }
        Ok(self.head_outputs(rows))
    }

    /// What the self-test of a bundle of texts records: the outputs for its sentences, one row each or one row a token.
    pub(super) fn self_test_outputs<'t>(&self, texts: impl Iterator<Item = &'t str>) -> Result<Vec<f32>> {
        let mut rows = Rows::default();
        for text in texts {
            rows.push(self.features(&self.reader()?.read(text, None)?.0, 1)?);
        }
        Ok(self.head_outputs(rows))
    }

    /// Outputs of the head for one text, number and kind of each token, or for the frames of one recording: one row, or one
    /// row a token or frame.
    pub(crate) fn outputs_of_tokens(&self, tokens: &[f32]) -> Result<Vec<f32>> {
        let mut rows = Rows::default();
        rows.push(self.features(tokens, 1)?);
        Ok(self.head_outputs(rows))
    }

    /// The reader of texts.
    pub(crate) fn reader(&self) -> Result<&TextReader> {
        match &self.sample {
            Sample::Text(reader) => Ok(reader),
            _ => Err(self.wrong_sample("texts")),
        }
    }

    /// Whether it hears recordings.
    pub(crate) fn hears(&self) -> bool {
        matches!(self.sample, Sample::Recording(_))
    }

    /// Network and features of recordings.
    pub(super) fn hearing(&self) -> Result<(&FrozenDeepSpeech, &Hearing)> {
        match (&self.network, &self.sample) {
            (FrozenNetwork::Speech(network), Sample::Recording(hearing)) => Ok((network, hearing)),
            _ => Err(self.wrong_sample("recordings")),
        }
    }

    fn wrong_sample(&self, given: &str) -> Error {
        let reads = match &self.sample {
            Sample::Picture(_) | Sample::Objects(_) => "reads pictures",
            Sample::Text(_) => "reads texts",
            Sample::Recording(_) => "hears recordings",
        };
        Error::Recipe {
            reason: format!("this bundle {reads}, and {given} were given"),
            help: "`headstart inspect BUNDLE` says what a bundle is for".to_owned(),
        }
    }

    /// What is known of a detector, if the bundle is one.
    pub(super) fn detector(&self) -> Option<&DetectorPlan> {
        match &self.sample {
            Sample::Objects(plan) => Some(plan),
            _ => None,
        }
    }

    /// Class names in the order of the outputs.
    pub(super) fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Outputs of a row: one a label, or a single one for two classes.
    pub(super) fn output_count(&self) -> usize {
        if let Some(plan) = self.detector() {
            return output_count(plan, self.labels.len());
        }
        if self.output == Output::Sigmoid { 1 } else { self.labels.len() }
    }

    pub(crate) fn output(&self) -> Output {
        self.output
    }

    /// Whether the outputs are of tokens, and not of whole texts.
    pub(crate) fn tags_words(&self) -> bool {
        self.pool == Pool::Tokens && self.reads_text()
    }

    fn features(&self, input: &[f32], threads: usize) -> Result<Vec<f32>> {
        self.network.forward(input, self.network.stage_count(), self.pool, threads)
    }

    pub(super) fn head_outputs(&self, rows: Rows) -> Vec<f32> {
        let layout = self.network.layout(self.network.stage_count(), self.pool);
        let features = layout.tensor(rows, &Device::default());
        values(match &self.head {
            BundledHead::Classes(head) => head.forward(features, None),
            BundledHead::Objects(head) => head.forward(features, None),
        })
    }

    /// Class probabilities of one decoded picture; threads share it out by rows.
    fn probabilities(&self, picture: &RgbImage, threads: usize) -> Result<Vec<f32>> {
        if self.detector().is_some() {
            return Err(Error::Recipe {
                reason: "this bundle finds objects, and the class of a picture was asked for".to_owned(),
                help: "ask for the objects of the picture".to_owned(),
            });
        }
        Ok(decode::probabilities(&self.outputs(std::slice::from_ref(picture), threads)?, self.output))
    }

    /// Class probabilities of one text or pair, and the tokens cut off it.
    pub(crate) fn text_probabilities(&self, text: &str, pair: Option<&str>) -> Result<(Vec<f32>, usize)> {
        let (tokens, cut) = self.reader()?.read(text, pair)?;
        Ok((decode::probabilities(&self.outputs_of_tokens(&tokens)?, self.output), cut))
    }
}

/// Does `work` for every item in parallel, in order; `progress` is called with the number of items done so far.
///
/// # Errors
/// When the threads cannot be started.
pub(crate) fn each<I: Sync, R: Send>(
    items: &[I],
    threads: usize,
    progress: &(dyn Fn(usize) + Sync),
    work: &(dyn Fn(&I) -> R + Sync),
) -> Result<Vec<R>> {
    let done = AtomicUsize::new(0);
    let counted = |item| {
        let result = work(item);
        progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        result
    };
    Ok(crate::run::thread_pool(threads)?.install(|| items.par_iter().map(counted).collect()))
}

impl Bundle {
    /// Predicts one decoded picture: the probability of every class, best first.
    ///
    /// # Errors
    /// [`Error::Kernel`] never happens for a bundle that opened.
    pub fn predict_picture(&self, picture: &RgbImage) -> Result<Vec<Candidate>> {
        let probabilities = self.predictor.probabilities(picture, 1)?;
        Ok(decode::top(&probabilities, &self.predictor.labels, probabilities.len()))
    }

    /// Predicts one file.
    ///
    /// # Errors
    /// [`Error::Data`] when it is not a picture.
    pub fn predict(&self, path: impl AsRef<Path>) -> Result<Prediction> {
        self.predict_top(path.as_ref(), self.predictor.labels.len(), 1)
    }

    fn predict_top(&self, path: &Path, top: usize, threads: usize) -> Result<Prediction> {
        let picture = image::decode(path)?;
        let probabilities = self.predictor.probabilities(&picture, threads)?;
        Ok(Prediction::new(path, &probabilities, &self.predictor.labels, top))
    }

    /// Predicts many files in parallel, in order; those that are no pictures come back with the reason.
    ///
    /// `progress` is called with the number of files done so far.
    pub fn predict_all(
        &self,
        paths: &[PathBuf],
        top: usize,
        threads: usize,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Result<Prediction, Unreadable>>> {
        // With fewer files than threads, several work on one.
        let threads_each = (threads / paths.len().max(1)).max(1);
        each(paths, threads, progress, &|path| {
            self.predict_top(path, top, threads_each)
                .map_err(|error| Unreadable { path: path.clone(), reason: error.to_string() })
        })
    }

    /// Class probabilities `[files, classes]` of labelled files: what [`crate::evaluate`] scores.
    pub(crate) fn probabilities_of(&self, path: &Path) -> Result<Vec<f32>, Error> {
        self.predictor.probabilities(&image::decode(path)?, 1)
    }

    /// What the bundle is given.
    pub fn reads(&self) -> Reads {
        match self.predictor.sample {
            Sample::Picture(_) => Reads::Pictures,
            Sample::Text(_) => Reads::Text,
            Sample::Recording(_) => Reads::Speech,
            Sample::Objects(_) => Reads::Objects,
        }
    }

    /// Whether the bundle reads texts, and not pictures.
    pub fn reads_text(&self) -> bool {
        self.predictor.reads_text()
    }

    /// Predicts one text: the probability of every class, best first.
    ///
    /// # Errors
    /// [`Error::Recipe`] when the bundle reads pictures.
    pub fn predict_text(&self, text: &str) -> Result<TextPrediction> {
        self.predict_text_top(text, self.predictor.labels.len())
    }

    fn predict_text_top(&self, text: &str, top: usize) -> Result<TextPrediction> {
        if self.tags_words() {
            return Err(Error::Recipe {
                reason: "this bundle finds entities, and the class of a text was asked for".to_owned(),
                help: "ask for the entities of the text".to_owned(),
            });
        }
        let (probabilities, cut_tokens) = self.predictor.text_probabilities(text, None)?;
        let all = decode::top(&probabilities, &self.predictor.labels, probabilities.len());
        let labels = (self.predictor.output == Output::Sigmoids)
            .then(|| all.iter().filter(|candidate| candidate.probability > THRESHOLD).cloned().collect());
        let (label, probability) = (all[0].label.clone(), all[0].probability);
        let top = all.into_iter().take(top.max(1)).collect();
        Ok(TextPrediction { text: text.to_owned(), label, probability, top, labels, cut_tokens })
    }

    /// Whether the bundle finds entities in texts.
    pub fn tags_words(&self) -> bool {
        self.predictor.tags_words()
    }

    /// Finds the entities of one text.
    ///
    /// # Errors
    /// [`Error::Recipe`] when the bundle does not find entities.
    pub fn predict_entities_of(&self, text: &str) -> Result<EntityPrediction> {
        if !self.tags_words() {
            return Err(Error::Recipe {
                reason: "this bundle finds no entities".to_owned(),
                help: "train one on tagged words, or ask for the class of the text".to_owned(),
            });
        }
        let words = WordTokens::read(self.predictor.reader()?, text, words(text, &[]))?;
        let outputs = self.predictor.outputs_of_tokens(&words.tokens)?;
        let found = token_classification::decode::tags_of(&words, &outputs, self.predictor.labels.len());
        let entities = token_classification::decode::entities_of(text, &words.words, &self.predictor.labels, &found);
        Ok(EntityPrediction { text: text.to_owned(), entities, cut_tokens: words.cut })
    }

    /// Finds the entities of many texts in parallel, in order.
    ///
    /// # Errors
    /// As [`Bundle::predict_entities_of`].
    pub fn predict_entities(
        &self,
        texts: &[String],
        threads: usize,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<EntityPrediction>> {
        each(texts, threads, progress, &|text| self.predict_entities_of(text))?.into_iter().collect()
    }

    /// Predicts many texts in parallel, in order.
    ///
    /// # Errors
    /// As [`Bundle::predict_text`].
    pub fn predict_texts(
        &self,
        texts: &[String],
        top: usize,
        threads: usize,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<TextPrediction>> {
        each(texts, threads, progress, &|text| self.predict_text_top(text, top))?.into_iter().collect()
    }
}
