//! Average precision as Pascal VOC counts it, at one threshold.
//!
//! Source: `VOCevaldet.m` and `VOCap.m` of the development kit: eleven recalls until 2009, all since 2010. Difficult objects
//! count neither way; an object that is found a second time counts as wrong.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Found, Truth, falling, mean};
use crate::boxes::BoundingBox;
use crate::boxes::overlap::iou;

/// How the area under the curve is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Mean of the best precisions at recalls of at least 0, 0.1, … 1.
    ElevenPoints,
    /// The whole area under the curve, made falling.
    AllPoints,
}

/// Scores of one threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VocScores {
    /// Mean over the classes that have objects, in [0, 1].
    pub map: Option<f64>,
    /// Each class by its index; nothing where there is no object.
    pub classes: Vec<Option<VocClass>>,
}

/// Scores of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VocClass {
    /// Average precision, in [0, 1].
    pub ap: f64,
    /// Objects of it, without difficult ones.
    pub objects: usize,
    /// After each detection that counts, best first.
    pub points: Vec<Point>,
}

/// Precision and recall of the detections down to a score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Score of the last of them.
    pub score: f64,
    /// Part of the objects that they find.
    pub recall: f64,
    /// Part of them that finds an object.
    pub precision: f64,
}

/// Scores detections of the classes from 0 to `classes`; a detection finds an object with an IoU of at least `threshold`.
pub fn voc(truths: &[Truth], found: &[Found], classes: usize, threshold: f64, rule: Rule) -> VocScores {
    let classes: Vec<_> = (0..classes).map(|class| class_scores(truths, found, class, threshold, rule)).collect();
    VocScores { map: mean(classes.iter().flatten().map(|class| class.ap)), classes }
}

fn class_scores(truths: &[Truth], found: &[Found], class: usize, threshold: f64, rule: Rule) -> Option<VocClass> {
    let bounds = |[x, y, w, h]: [f64; 4]| BoundingBox::new(x, y, x + w, y + h);
    let mut images: BTreeMap<usize, Vec<(&Truth, bool)>> = BTreeMap::new();
    for truth in truths.iter().filter(|truth| truth.class == class) {
        images.entry(truth.image).or_default().push((truth, false));
    }
    let objects = images.values().flatten().filter(|(truth, _)| !truth.is_ignored).count();
    if objects == 0 {
        return None;
    }
    let mut ranked: Vec<&Found> = found.iter().filter(|found| found.class == class).collect();
    ranked.sort_by(|a, b| falling(a.score, b.score));
    let (mut right, mut points, mut rights) = (0usize, Vec::new(), Vec::new());
    for one in ranked {
        let mut best: Option<(f64, &mut (&Truth, bool))> = None;
        for truth in images.get_mut(&one.image).into_iter().flatten() {
            let overlap = iou(&bounds(one.place), &bounds(truth.0.place));
            if best.as_ref().is_none_or(|(most, _)| overlap > *most) {
                best = Some((overlap, truth));
            }
        }
        match best.filter(|(overlap, _)| *overlap >= threshold) {
            Some((_, (truth, _))) if truth.is_ignored => continue,
            Some((_, (_, is_taken))) => {
                right += usize::from(!*is_taken);
                *is_taken = true;
            }
            None => {}
        }
        rights.push(right);
        let precision = right as f64 / rights.len() as f64;
        points.push(Point { score: one.score, recall: right as f64 / objects as f64, precision });
    }
    let ap = match rule {
        Rule::ElevenPoints => eleven_points(&points, &rights, objects),
        Rule::AllPoints => all_points(&points),
    };
    Some(VocClass { ap, objects, points })
}

fn eleven_points(points: &[Point], rights: &[usize], objects: usize) -> f64 {
    let best_from = |tenth: usize| {
        // Whole numbers, since 3 / 10 is not 0.3 everywhere.
        let from = rights.partition_point(|right| right * 10 < tenth * objects);
        points[from..].iter().map(|point| point.precision).fold(0.0, f64::max)
    };
    (0..=10).map(best_from).sum::<f64>() / 11.0
}

fn all_points(points: &[Point]) -> f64 {
    let (mut area, mut best) = (0.0, 0.0f64);
    for (index, point) in points.iter().enumerate().rev() {
        best = best.max(point.precision);
        let before = if index == 0 { 0.0 } else { points[index - 1].recall };
        area += (point.recall - before) * best;
    }
    area
}
