//! Prediction walks the straight line backwards: picture → preprocess → frozen backbone → head → decode.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use headstart_data::image::{self, RgbImage};
use headstart_data::preprocess::Preprocess;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::manifest::{CLASSIFIER, Manifest};
use super::read::Bundle;
use crate::backbones;
use crate::error::{Error, Result};
use crate::load::Pretrained;
use crate::model::{FrozenBackbone, Head};
use crate::name_map::Classifier;
use crate::nn::named::values;
use crate::parameters::Parameters;
use crate::recipe::{Output, Pool};
use crate::tasks::image_classification::ClassificationHead;
use crate::tasks::image_classification::decode::{self, Candidate};

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

/// A picture that could not be predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// The frozen form of a whole model.
#[derive(Debug)]
pub(crate) struct Predictor {
    backbone: FrozenBackbone,
    head: ClassificationHead,
    preprocess: Preprocess,
    pool: Pool,
    output: Output,
    labels: Vec<String>,
}

impl Predictor {
    pub(crate) fn new(manifest: &Manifest, backbone: &Parameters, head: &Parameters) -> Result<Self> {
        let (spec, _) = backbones::find(&manifest.backbone.name)?;
        let pretrained = Pretrained {
            spec,
            variant: spec.find_variant(&manifest.backbone.variant)?,
            conventions: manifest.backbone.conventions.clone(),
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
        Ok(Self {
            backbone: FrozenBackbone::new(&pretrained, backbone)?,
            head: ClassificationHead::load(&manifest.recipe.head, head, &Device::default())?,
            preprocess: manifest.backbone.conventions.preprocess.clone(),
            pool: manifest.recipe.head.pool,
            output: manifest.recipe.head.output,
            labels: manifest.labels.clone(),
        })
    }

    /// Outputs of the head, `[pictures, N]`.
    pub(crate) fn outputs(&self, pictures: &[RgbImage], threads: usize) -> Result<Vec<f32>> {
        let input: Vec<f32> = pictures.iter().flat_map(|picture| self.preprocess.apply(picture)).collect();
        let depth = self.backbone.stage_count();
        let features = self.backbone.forward(&input, pictures.len(), depth, self.pool, threads)?;
        self.head_outputs(features, pictures.len())
    }

    fn head_outputs(&self, features: Vec<f32>, batch: usize) -> Result<Vec<f32>> {
        let layout = self.backbone.layout(self.backbone.stage_count(), self.pool);
        Ok(values(self.head.forward(layout.tensor(features, batch, &Device::default()), None)))
    }

    /// Class probabilities of one decoded picture; threads share it out by rows.
    fn probabilities(&self, picture: &RgbImage, threads: usize) -> Result<Vec<f32>> {
        Ok(decode::probabilities(&self.outputs(std::slice::from_ref(picture), threads)?, self.output))
    }
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
        let top = decode::top(&probabilities, &self.predictor.labels, top.max(1));
        Ok(Prediction { path: path.to_owned(), label: top[0].label.clone(), probability: top[0].probability, top })
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
        let done = AtomicUsize::new(0);
        // With fewer files than threads, several work on one.
        let each = (threads / paths.len().max(1)).max(1);
        let predict = |path: &PathBuf| {
            let result = self
                .predict_top(path, top, each)
                .map_err(|error| Unreadable { path: path.clone(), reason: error.to_string() });
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            result
        };
        let pool = crate::run::thread_pool(threads)?;
        Ok(pool.install(|| paths.par_iter().map(predict).collect()))
    }

    /// Class probabilities `[files, classes]` of labelled files: what [`crate::evaluate`] scores.
    pub(crate) fn probabilities_of(&self, path: &Path) -> Result<Vec<f32>, Error> {
        self.predictor.probabilities(&image::decode(path)?, 1)
    }
}
