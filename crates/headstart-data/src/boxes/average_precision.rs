//! Average precision of detections as COCO counts it, and as Pascal VOC does ([`voc`]).
//!
//! Source: `cocoeval.py` and `maskApi.c` of pycocotools 2.0.11, to which the tests hold this: 101 recalls, ten thresholds,
//! areas in three ranges, at most 1, 10 or 100 detections a picture, crowds that may be found any number of times for nothing.

mod coco_matching;
pub mod voc;

use serde::{Deserialize, Serialize};

use coco_matching::{Evaluated, Pair};

/// An object that is there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truth {
    /// Number of its picture; pictures without an object need no truth.
    pub image: usize,
    /// Index of its class.
    pub class: usize,
    /// Left, top, width, height in pixels: COCO's form, so that nothing is rounded on the way.
    pub place: [f64; 4],
    /// Area in square pixels by which it is small or large; that of an outline, or of the box.
    pub area: f64,
    /// Whether finding it is neither right nor wrong: a crowd of COCO, which may be found by parts and often; for
    /// [`voc`] a difficult object.
    pub is_ignored: bool,
}

/// An object that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// Number of its picture.
    pub image: usize,
    /// Index of its class.
    pub class: usize,
    /// Left, top, width, height in pixels.
    pub place: [f64; 4],
    /// How sure; of equal ones, the one in the earlier picture, then the earlier one comes first.
    pub score: f64,
}

/// COCO's twelve numbers, each in [0, 1], and what they are made of; nothing where there is no object to be found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CocoScores {
    /// Mean over IoU 0.50, 0.55, … 0.95.
    pub ap: Option<f64>,
    /// At IoU 0.50.
    pub ap50: Option<f64>,
    /// At IoU 0.75.
    pub ap75: Option<f64>,
    /// Of objects of less than 32² pixels.
    pub ap_small: Option<f64>,
    /// Of those from 32² to 96².
    pub ap_medium: Option<f64>,
    /// Of those above 96².
    pub ap_large: Option<f64>,
    /// Mean recall with the best 1 detection a picture and class.
    pub ar_1: Option<f64>,
    /// With the best 10.
    pub ar_10: Option<f64>,
    /// With the best 100.
    pub ar_100: Option<f64>,
    /// Of objects of less than 32² pixels, with 100.
    pub ar_small: Option<f64>,
    /// Of those from 32² to 96².
    pub ar_medium: Option<f64>,
    /// Of those above 96².
    pub ar_large: Option<f64>,
    /// Each class by its index.
    pub classes: Vec<ClassScores>,
}

/// Scores of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Mean over thresholds.
    pub ap: Option<f64>,
    /// At IoU 0.50.
    pub ap50: Option<f64>,
    /// Objects of it, without crowds.
    pub objects: usize,
    /// Precision at recalls 0, 0.01, … 1 and IoU 0.50; none where there is no object.
    pub precisions: Vec<f64>,
}

/// Ranges of areas in square pixels, ends included: all, small, medium, large.
const AREAS: [[f64; 2]; 4] = [[0.0, 1e10], [0.0, 1024.0], [1024.0, 9216.0], [9216.0, 1e10]];

/// Detections that count, a picture and class.
const MOST_DETECTIONS: [usize; 3] = [1, 10, 100];

/// Number of recalls at which precision is taken.
const RECALLS: usize = 101;

/// Thresholds of IoU as NumPy's `linspace(0.5, 0.95, 10)` rounds them.
fn thresholds() -> [f64; 10] {
    let step = (0.95 - 0.5) / 9.0;
    std::array::from_fn(|index| if index == 9 { 0.95 } else { index as f64 * step + 0.5 })
}

/// Recalls as NumPy's `linspace(0, 1, 101)` rounds them.
fn recalls() -> [f64; RECALLS] {
    std::array::from_fn(|index| if index == RECALLS - 1 { 1.0 } else { index as f64 * (1.0 / 100.0) })
}

/// Scores detections by the rules of COCO. Classes are those from 0 to `classes`; others are passed over.
pub fn coco(truths: &[Truth], found: &[Found], classes: usize) -> CocoScores {
    let per_class: Vec<ClassResult> = (0..classes).map(|class| ClassResult::of(truths, found, class)).collect();
    let precision = |area: usize, thresholds: std::ops::Range<usize>| {
        mean(per_class.iter().filter_map(|class| class.precision(area, thresholds.clone())))
    };
    let recall = |area: usize, most: usize| mean(per_class.iter().filter_map(|class| class.recall(area, most)));
    CocoScores {
        ap: precision(0, 0..10),
        ap50: precision(0, 0..1),
        ap75: precision(0, 5..6),
        ap_small: precision(1, 0..10),
        ap_medium: precision(2, 0..10),
        ap_large: precision(3, 0..10),
        ar_1: recall(0, 0),
        ar_10: recall(0, 1),
        ar_100: recall(0, 2),
        ar_small: recall(1, 2),
        ar_medium: recall(2, 2),
        ar_large: recall(3, 2),
        classes: per_class
            .iter()
            .map(|class| ClassScores {
                ap: class.precision(0, 0..10),
                ap50: class.precision(0, 0..1),
                objects: class.objects[0],
                precisions: class.curves[0].first().map_or_else(Vec::new, |curve| curve.to_vec()),
            })
            .collect(),
    }
}

/// What a class gives for every range of areas.
struct ClassResult {
    /// Objects that count.
    objects: [usize; 4],
    /// Precisions of each threshold, with 100 detections; none without objects.
    curves: [Vec<[f64; RECALLS]>; 4],
    /// Recalls of each threshold, for each number of detections.
    recalls: [[Vec<f64>; 3]; 4],
}

impl ClassResult {
    fn of(truths: &[Truth], found: &[Found], class: usize) -> Self {
        let most = MOST_DETECTIONS[MOST_DETECTIONS.len() - 1];
        let pairs = Pair::of_class(truths, found, class, most);
        let thresholds = thresholds();
        let mut result = Self { objects: [0; 4], curves: Default::default(), recalls: Default::default() };
        for (area, range) in AREAS.iter().enumerate() {
            let evaluated: Vec<Evaluated> = pairs.iter().map(|pair| pair.evaluate(*range, &thresholds)).collect();
            let objects: usize = evaluated.iter().map(|image| image.objects).sum();
            result.objects[area] = objects;
            if objects == 0 {
                continue;
            }
            for (place, most) in MOST_DETECTIONS.into_iter().enumerate() {
                let order = ranked(&evaluated, most);
                for threshold in 0..thresholds.len() {
                    let outcomes = order.iter().filter_map(|(image, index)| {
                        let outcome = &evaluated[*image].outcomes[threshold][*index];
                        (!outcome.is_ignored).then_some(outcome.is_right)
                    });
                    let curve = Curve::of(outcomes, objects);
                    result.recalls[area][place].push(curve.recalls.last().copied().unwrap_or(0.0));
                    if place == MOST_DETECTIONS.len() - 1 {
                        result.curves[area].push(curve.sampled());
                    }
                }
            }
        }
        result
    }

    fn precision(&self, area: usize, thresholds: std::ops::Range<usize>) -> Option<f64> {
        let curves = self.curves[area].get(thresholds)?;
        mean(curves.iter().flatten().copied())
    }

    fn recall(&self, area: usize, most: usize) -> Option<f64> {
        mean(self.recalls[area][most].iter().copied())
    }
}

/// The best `most` detections of every picture, as picture and index, by falling score.
fn ranked(images: &[Evaluated], most: usize) -> Vec<(usize, usize)> {
    let of_image = |(image, evaluated): (usize, &Evaluated)| {
        (0..evaluated.scores.len().min(most)).map(move |index| (image, index)).collect::<Vec<_>>()
    };
    let mut order: Vec<(usize, usize)> = images.iter().enumerate().flat_map(of_image).collect();
    let score = |(image, index): &(usize, usize)| images[*image].scores[*index];
    order.sort_by(|a, b| falling(score(a), score(b)));
    order
}

/// The order of scores from high to low; those that are no numbers come last.
fn falling(a: f64, b: f64) -> std::cmp::Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Precision and recall after each detection.
struct Curve {
    recalls: Vec<f64>,
    precisions: Vec<f64>,
}

impl Curve {
    /// From whether each detection is right, best first.
    fn of(outcomes: impl Iterator<Item = bool>, objects: usize) -> Self {
        let (mut right, mut wrong) = (0.0, 0.0);
        let mut curve = Self { recalls: Vec::new(), precisions: Vec::new() };
        for is_right in outcomes {
            if is_right {
                right += 1.0
            } else {
                wrong += 1.0
            }
            curve.recalls.push(right / objects as f64);
            curve.precisions.push(right / (wrong + right + f64::EPSILON));
        }
        // What a lower threshold of the score gives is no worse than what a higher one does.
        for index in (1..curve.precisions.len()).rev() {
            curve.precisions[index - 1] = curve.precisions[index - 1].max(curve.precisions[index]);
        }
        curve
    }

    /// Precision at each of the recalls; 0 where it is not reached.
    fn sampled(&self) -> [f64; RECALLS] {
        recalls().map(|wanted| {
            let at = self.recalls.partition_point(|recall| *recall < wanted);
            self.precisions.get(at).copied().unwrap_or(0.0)
        })
    }
}

/// Mean of numbers, if there are any.
fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = numbers.fold((0.0, 0usize), |(sum, count), number| (sum + number, count + 1));
    (count > 0).then(|| sum / count as f64)
}
