//! How well objects are found: COCO's numbers and Pascal VOC's.

use headstart_data::boxes::Object;
use headstart_data::boxes::average_precision::voc::{Rule, voc};
use headstart_data::boxes::average_precision::{CocoScores, Found, Truth, coco};
use serde::{Deserialize, Serialize};

use super::decode::Detected;

/// Everything that we say about found objects on one part of the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectionMetrics {
    /// Number of pictures.
    pub pictures: usize,
    /// Number of objects that count.
    pub objects: usize,
    /// As pycocotools counts.
    pub coco: CocoScores,
    /// Mean over the classes of Pascal VOC's average precision at IoU 0.5 (all points), in [0, 1].
    pub voc_map: Option<f64>,
    /// That of each class; nothing where there is no object.
    pub voc_classes: Vec<Option<f64>>,
}

impl DetectionMetrics {
    /// Scores detections against what is there, a list a picture.
    pub(crate) fn new(truths: &[&[Object]], found: &[Vec<Detected>], labels: &[String]) -> Self {
        let (crowds, difficult) = (truths_of(truths, |object| object.is_crowd), truths_of(truths, hidden));
        let found = found_of(found);
        let mut coco = coco(&crowds, &found, labels.len());
        // A curve of 101 points a class is no score; what it comes down to is.
        coco.classes.iter_mut().for_each(|class| class.precisions.clear());
        let voc = voc(&difficult, &found, labels.len(), 0.5, Rule::AllPoints);
        Self {
            pictures: truths.len(),
            objects: truths.iter().flat_map(|objects| objects.iter()).filter(|object| !hidden(object)).count(),
            coco,
            voc_map: voc.map,
            voc_classes: voc.classes.into_iter().map(|class| class.map(|class| class.ap)).collect(),
        }
    }
}

/// Finding it is neither right nor wrong.
fn hidden(object: &Object) -> bool {
    object.is_crowd || object.is_difficult
}

/// Pascal VOC's mean average precision at IoU 0.5; 0 where there is nothing to find.
pub(super) fn map50(truths: &[&[Object]], found: &[Vec<Detected>], classes: usize) -> f64 {
    voc(&truths_of(truths, hidden), &found_of(found), classes, 0.5, Rule::AllPoints).map.unwrap_or(0.0)
}

fn truths_of(truths: &[&[Object]], is_ignored: impl Fn(&Object) -> bool) -> Vec<Truth> {
    let of_picture = |(image, objects): (usize, &&[Object])| -> Vec<Truth> {
        let truth = |object: &Object| Truth {
            image,
            class: object.class,
            place: [object.place.left, object.place.top, object.place.width(), object.place.height()],
            area: object.area.unwrap_or_else(|| object.place.area()),
            is_ignored: is_ignored(object),
        };
        objects.iter().map(truth).collect()
    };
    truths.iter().enumerate().flat_map(of_picture).collect()
}

fn found_of(found: &[Vec<Detected>]) -> Vec<Found> {
    let of_picture = |(image, found): (usize, &Vec<Detected>)| -> Vec<Found> {
        let one = |one: &Detected| Found {
            image,
            class: one.class,
            place: [one.place.left, one.place.top, one.place.width(), one.place.height()],
            score: one.score,
        };
        found.iter().map(one).collect()
    };
    found.iter().enumerate().flat_map(of_picture).collect()
}
