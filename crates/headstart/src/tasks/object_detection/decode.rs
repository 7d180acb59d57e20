//! Outputs of the head → boxes with a class and a score, in pixels of the picture.

use headstart_data::boxes::BoundingBox;
use headstart_data::boxes::suppression::{Decay, Detection, soft_suppress, suppress};
use headstart_data::boxes::targets::yolo::sigmoid;
use headstart_data::boxes::views::Placement;
use serde::{Deserialize, Serialize};

use super::head::BOX_VALUES;
use super::loss::maps;
use super::retinanet;
use crate::load::detector::{DetectorPlan, HeadPlan};

/// A found object: its place in pixels of the picture, the index of its class, its score.
pub(crate) type Detected = Detection<f64>;

/// An object that was found in a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundObject {
    /// Its class.
    pub label: String,
    /// Index of its class.
    pub class: usize,
    /// How sure, in [0, 1].
    pub score: f32,
    /// Left, top, width, height in pixels of the picture.
    #[serde(rename = "bbox")]
    pub place: [f64; 4],
}

/// Which outputs become detections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeRule {
    /// Least score, objectness times class.
    pub least_score: f32,
    /// Detections of one class that overlap by more are one.
    pub overlap: f64,
    /// Lower the scores of overlapping detections instead of dropping them, along exp(−IoU² / 0.5).
    pub is_soft: bool,
    /// Most detections of a picture.
    pub most: usize,
}

impl DecodeRule {
    /// What is shown to a person.
    pub fn showing() -> Self {
        Self { least_score: 0.3, overlap: 0.45, is_soft: false, most: 300 }
    }

    /// What scores are computed of: nearly everything, since average precision weighs it.
    pub fn scoring() -> Self {
        Self { least_score: 0.005, overlap: 0.45, is_soft: false, most: 300 }
    }
}

/// Most detections before suppression, best first.
const MOST_CANDIDATES: usize = 5000;

/// The objects in a picture of `size`, best first, from one row of outputs.
pub(crate) fn decode(
    plan: &DetectorPlan,
    classes: usize,
    outputs: &[f32],
    size: (u32, u32),
    rule: &DecodeRule,
) -> Vec<Detected> {
    let placement = plan.placement(size);
    if let HeadPlan::RetinaNet { .. } = plan.head {
        let found = retinanet::candidates(plan, classes, outputs, size, rule);
        return chosen(&best(found), rule);
    }
    let width = BOX_VALUES + classes;
    let mut found: Vec<Detected> = Vec::new();
    for (level, cells, begin) in maps(plan, classes) {
        let is_softmax = level.is_softmax && level.classes == classes;
        let anchors = level.anchors.len();
        for (index, values) in
            outputs[begin..].chunks_exact(width).take(cells.grid.0 * cells.grid.1 * anchors).enumerate()
        {
            let objectness = if level.has_new_coordinates { values[4] } else { sigmoid(values[4]) };
            if objectness.is_nan() || objectness < rule.least_score {
                continue;
            }
            let (cell, anchor) = (index / anchors, index % anchors);
            let scores = class_scores(&values[BOX_VALUES..], is_softmax, level.has_new_coordinates);
            for (class, probability) in scores.into_iter().enumerate() {
                let score = objectness * probability;
                if score >= rule.least_score {
                    let raw = [values[0], values[1], values[2], values[3]];
                    let place = cells.decode(raw, (cell / cells.grid.1, cell % cells.grid.1), level.anchors[anchor]);
                    found.extend(in_picture(&place, &placement, size).map(|place| Detection {
                        place,
                        class,
                        score: f64::from(score),
                    }));
                }
            }
        }
    }
    chosen(&best(found), rule)
}

/// A place in the input as one in pixels of the picture, cut to it; `None` where nothing is left.
pub(super) fn in_picture(
    place: &BoundingBox<f32>,
    placement: &Placement,
    size: (u32, u32),
) -> Option<BoundingBox<f64>> {
    let place = placement.back(&place.cast::<f64>()).intersection(&BoundingBox::of_picture(size.0, size.1));
    (place.is_finite() && place.has_area()).then_some(place)
}

/// The best first, and no more than are worth comparing.
fn best(mut found: Vec<Detected>) -> Vec<Detected> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(MOST_CANDIDATES);
    found
}

/// Of detections that mean the same object, the best, or all with lower scores.
pub(crate) fn chosen(found: &[Detected], rule: &DecodeRule) -> Vec<Detected> {
    let mut kept: Vec<Detected> = match rule.is_soft {
        false => suppress(found, rule.overlap).into_iter().map(|index| found[index]).collect(),
        true => {
            let kept = soft_suppress(found, Decay::Gaussian { sigma: 0.5 }, f64::from(rule.least_score));
            kept.into_iter().map(|(index, score)| Detection { score, ..found[index] }).collect()
        }
    };
    kept.truncate(rule.most);
    kept
}

fn class_scores(outputs: &[f32], is_softmax: bool, is_plain: bool) -> Vec<f32> {
    if is_plain {
        return outputs.to_vec();
    }
    if !is_softmax {
        return outputs.iter().map(|output| sigmoid(*output)).collect();
    }
    let highest = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = outputs.iter().map(|output| (output - highest).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.into_iter().map(|value| value / sum).collect()
}

/// Detections with the names of their classes.
pub(crate) fn named(found: &[Detected], labels: &[String]) -> Vec<FoundObject> {
    found
        .iter()
        .map(|one| FoundObject {
            label: labels.get(one.class).cloned().unwrap_or_else(|| one.class.to_string()),
            class: one.class,
            score: one.score as f32,
            place: [one.place.left, one.place.top, one.place.width(), one.place.height()],
        })
        .collect()
}
