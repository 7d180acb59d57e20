//! Objects in pictures: what they are, and the boxes round them.

pub mod decode;
pub mod metrics;

pub(crate) mod data;
mod derivative;
pub(crate) mod head;
pub(crate) mod loss;
#[cfg(test)]
mod parity;
pub(crate) mod retinanet;

use std::collections::HashMap;
use std::sync::Mutex;

use burn::tensor::{Device, Tensor};
use headstart_data::boxes::Object;
use headstart_data::boxes::anchors::anchors;
use headstart_data::boxes::views::BoxAugmentation;
use headstart_data::layouts;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use data::DetectionExamples;
use decode::{DecodeRule, decode};
pub use head::DetectionHead;
use metrics::DetectionMetrics;

use super::{Asked, Metrics, Part, Reads, Score, Task, TaskSpec, View};
use crate::error::{Error, Result};
use crate::features::FeatureLayout;
use crate::load::detector::{DetectorPlan, HeadPlan};
use crate::network::Network;
use crate::nn::named::values;
use crate::parameters::{ParameterSpec, Parameters};
use crate::rate_finder::find_rates_task;
use crate::recipe::{HeadRecipe, Recipe};
use crate::run::{self, RunOptions};
use crate::train::given_gradient;
use crate::train::observer::{Event, Observer};

/// The registry row.
pub(crate) static SPEC: TaskSpec = TaskSpec {
    name: ObjectDetection::NAME,
    summary: "pictures with boxes (COCO, Pascal VOC, YOLO) → the objects in a new picture",
    reads: Reads::Objects,
    recognizes: layouts::holds_boxes,
    run: run::run_task::<ObjectDetection>,
    extract: run::extract_task::<ObjectDetection>,
    find_rates: find_rates_task::<ObjectDetection>,
};

/// How objects are learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectionRecipe {
    /// Part of the views that are made of four pictures.
    pub mosaic: f32,
    /// Anchors fitted to the boxes of the training pictures instead of the published ones.
    pub fits_anchors: bool,
    /// Keep pictures whose names differ in a running number on one side of the split, whatever the data set says.
    pub splits_by_scene: bool,
    /// Most training pictures, a seeded draw, for curves of what more labels are worth; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_pictures: Option<usize>,
    /// Weights of the parts of the loss: boxes, objectness, classes.
    pub loss_weights: [f32; 3],
    /// What other views of a picture look like.
    pub augmentation: BoxAugmentation,
}

impl Default for DetectionRecipe {
    fn default() -> Self {
        Self {
            mosaic: 0.5,
            fits_anchors: false,
            splits_by_scene: false,
            most_pictures: None,
            loss_weights: [2.0, 1.0, 1.0],
            augmentation: BoxAugmentation::photos(),
        }
    }
}

/// Pictures with boxes opened for detection.
#[derive(Debug)]
pub struct ObjectDetection {
    examples: DetectionExamples,
    plan: DetectorPlan,
    recipe: DetectionRecipe,
    seed: u64,
    /// Objects in the views that were made and not asked about yet: making a view again costs more than remembering.
    remembered: Mutex<HashMap<(usize, u32), Vec<Object>>>,
    /// Views that come again.
    cached_views: u32,
}

impl ObjectDetection {
    /// The objects of training example `index` in a view.
    fn objects_of_view(&self, index: usize, number: u32) -> Vec<Object> {
        let known = self.remembered.lock().ok().and_then(|mut remembered| match number < self.cached_views {
            true => remembered.get(&(index, number)).cloned(),
            false => remembered.remove(&(index, number)),
        });
        known.unwrap_or_else(|| {
            let made = self.examples.view(Part::Train, index, &self.plan, &self.recipe, self.seed, number);
            // It was readable when its features were made.
            let objects = made.map_or_else(|_| Vec::new(), |sample| sample.objects);
            self.remember(index, number, &objects);
            objects
        })
    }

    fn remember(&self, index: usize, number: u32, objects: &[Object]) {
        if let Ok(mut remembered) = self.remembered.lock() {
            remembered.insert((index, number), objects.to_vec());
        }
    }

    /// Detections of some examples of a part, in pixels of their pictures, from outputs `[examples, N]`.
    fn detections(&self, part: Part, examples: &[usize], outputs: &[f32]) -> Vec<Vec<decode::Detected>> {
        let count = outputs.len() / examples.len().max(1);
        let classes = self.examples.classes().len();
        let rows: Vec<(usize, &[f32])> = examples.iter().copied().zip(outputs.chunks_exact(count.max(1))).collect();
        let rule = DecodeRule::scoring();
        rows.into_par_iter()
            .map(|(index, row)| decode(&self.plan, classes, row, self.examples.size(part, index), &rule))
            .collect()
    }

    /// Loss of some plain pictures of a part, and the gradient of their mean.
    fn losses(&self, truths: &[Vec<Object>], outputs: &[f32]) -> (f64, Vec<f32>) {
        let classes = self.examples.classes().len();
        loss::batch(&self.plan, classes, &self.recipe.loss_weights, truths, outputs)
    }

    /// The objects of plain pictures, in pixels of the input.
    fn plain_objects(&self, part: Part, examples: &[usize]) -> Vec<Vec<Object>> {
        examples.iter().map(|index| self.examples.placed_objects(part, *index, &self.plan)).collect()
    }
}

impl Task for ObjectDetection {
    const NAME: &'static str = "object_detection";
    const READS: Reads = Reads::Objects;
    const HAS_FRESH_VIEWS: bool = true;

    type Head = DetectionHead;

    fn open(recipe: &Recipe, network: &Network, options: &RunOptions, observer: &mut dyn Observer) -> Result<Self> {
        let detector = network.detector()?;
        let detection = recipe.detection.clone().unwrap_or_default();
        let mut plan = detector.plan.clone();
        let kept = recipe.head.original.then(|| detector.labels_or_numbers()).transpose()?;
        let examples = DetectionExamples::open(recipe, &detection, kept, options, observer)?;
        if detection.fits_anchors {
            let sizes = examples.training_sizes(&plan);
            let HeadPlan::Yolo { levels } = &mut plan.head else {
                return Err(Error::Recipe {
                    reason: "the anchors of a RetinaNet are fixed".to_owned(),
                    help: "leave --fit-anchors out".to_owned(),
                });
            };
            let count = levels[0].all_anchors.len();
            let fitted = anchors(&sizes, count, recipe.seed);
            if fitted.sizes.len() == count {
                let message =
                    format!("{count} anchors fitted to the boxes overlap with them by {:.2}", fitted.mean_iou);
                observer.event(&Event::Note { message });
                let all: Vec<[f32; 2]> = fitted.sizes.iter().map(|size| size.map(|side| side as f32)).collect();
                for level in levels {
                    level.anchors = level.mask.iter().map(|index| all[*index]).collect();
                    level.all_anchors.clone_from(&all);
                }
            }
        }
        let (seed, cached_views) = (recipe.seed, recipe.views);
        let remembered = Mutex::new(HashMap::new());
        Ok(Self { examples, plan, recipe: detection, seed, remembered, cached_views })
    }

    fn adapt_network(&self, network: &mut Network) {
        if let Network::Detector(detector) = network {
            detector.plan = self.plan.clone();
        }
    }

    fn head_recipe(&self, asked: &HeadRecipe) -> Result<HeadRecipe> {
        // A detector's own head has no hidden layers; what was left at its default says nothing.
        if asked.hidden.is_empty() || *asked == HeadRecipe::default() {
            return Ok(HeadRecipe {
                original: asked.original,
                hidden: Vec::new(),
                dropout: 0.0,
                ..HeadRecipe::default()
            });
        }
        Err(Error::Recipe {
            reason: format!("a detector has a head of its own, not `{asked}`"),
            help: "leave --head out for new classes, or write --head original to keep the published ones".to_owned(),
        })
    }

    fn labels(&self) -> &[String] {
        self.examples.classes()
    }

    fn digests(&self, part: Part) -> Vec<[u8; 32]> {
        self.examples.digests(part)
    }

    fn skipped_count(&self) -> usize {
        self.examples.skipped_count()
    }

    fn input(&self, part: Part, index: usize, _network: &Network, view: View<'_>) -> Result<Vec<f32>> {
        let sample = self.examples.view(part, index, &self.plan, &self.recipe, view.seed, view.number)?;
        if part == Part::Train && view.number > 0 {
            self.remember(index, view.number, &sample.objects);
        }
        Ok(self.plan.values(&sample.picture))
    }

    fn head_parameters(&self, _recipe: &HeadRecipe, layout: FeatureLayout) -> Vec<ParameterSpec> {
        DetectionHead::parameters(&self.plan.head, layout, self.labels().len())
    }

    fn begin_head(&self, network: &Network, random: Parameters, _observer: &mut dyn Observer) -> Result<Parameters> {
        Ok(head::begin(network.detector()?, self.labels(), random))
    }

    fn load_head(&self, _recipe: &HeadRecipe, parameters: &Parameters, device: &Device) -> Result<DetectionHead> {
        DetectionHead::load(&self.plan.head, parameters, device)
    }

    /// The gradient is computed here, in plain loops.
    fn loss(&self, _recipe: &Recipe, outputs: Tensor<2>, asked: Asked<'_>) -> Tensor<1> {
        let examples = asked.examples;
        let truths = match asked.view {
            0 => self.plain_objects(Part::Train, examples),
            number => examples.iter().map(|index| self.objects_of_view(*index, number)).collect(),
        };
        let (value, gradient) = self.losses(&truths, &values(outputs.clone()));
        given_gradient(outputs, gradient, value as f32)
    }

    fn training_score(&self, _recipe: &Recipe, asked: Asked<'_>, _outputs: &[f32], loss: f32) -> Score {
        Score::of_mean_loss(loss, asked.examples.len())
    }

    /// Counts ten-thousandths of mAP at IoU 0.5, which is what epochs are compared by.
    fn score(&self, _recipe: &Recipe, part: Part, asked: Asked<'_>, outputs: &[f32]) -> Score {
        let examples = asked.examples;
        let (value, _) = self.losses(&self.plain_objects(part, examples), outputs);
        let found = self.detections(part, examples, outputs);
        let truths: Vec<_> = examples.iter().map(|index| self.examples.objects(part, *index)).collect();
        let map = metrics::map50(&truths, &found, self.labels().len());
        let losses = examples.len();
        Score {
            loss_sum: value * losses as f64,
            losses,
            correct: (map * 10_000.0).round() as usize,
            count: 10_000,
            found: None,
        }
    }

    fn metrics(&self, _recipe: &Recipe, part: Part, outputs: &[f32], _rows: &[usize]) -> Metrics {
        let all: Vec<usize> = (0..self.examples.count(part)).collect();
        let found = self.detections(part, &all, outputs);
        let truths: Vec<_> = all.iter().map(|index| self.examples.objects(part, *index)).collect();
        Metrics::Detections(Box::new(DetectionMetrics::new(&truths, &found, self.labels())))
    }
}
