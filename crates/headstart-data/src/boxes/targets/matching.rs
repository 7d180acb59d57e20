//! Which object an anchor is taught, by IoU.
//!
//! Source: `Matcher` of torchvision 0.29, as RetinaNet uses it (Lin et al. 2017, arXiv 1708.02002).

use crate::boxes::overlap::iou;
use crate::boxes::{BoundingBox, Coordinate};

/// Thresholds of IoU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatchRule {
    /// From here on an anchor is taught its best object.
    pub foreground: f64,
    /// Below, it is taught that there is none; between the two, nothing.
    pub background: f64,
    /// Whether the anchors that are best for an object are taught one whatever their IoU.
    pub keeps_best: bool,
}

/// RetinaNet's rule.
pub const RETINANET: MatchRule = MatchRule { foreground: 0.5, background: 0.4, keeps_best: true };

/// What an anchor is taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taught {
    /// The object of this index.
    Object(usize),
    /// That there is none.
    Background,
    /// Nothing.
    Nothing,
}

/// What each anchor is taught of these objects.
///
/// Of equal IoUs the first object counts. With `keeps_best` the anchors that no other overlaps an object more than are taught
/// their own best object, which may be another one; that is the reference's rule.
pub fn teach<T: Coordinate>(anchors: &[BoundingBox<T>], objects: &[BoundingBox<T>], rule: &MatchRule) -> Vec<Taught> {
    let mut best: Vec<(usize, T)> = vec![(0, T::ZERO); anchors.len()];
    let mut is_best_for_one = vec![false; anchors.len()];
    for (index, object) in objects.iter().enumerate() {
        let overlaps: Vec<T> = anchors.iter().map(|anchor| iou(object, anchor)).collect();
        let most = overlaps.iter().fold(T::ZERO, |most, overlap| most.larger(*overlap));
        for ((best, is_best), overlap) in best.iter_mut().zip(&mut is_best_for_one).zip(overlaps) {
            if overlap > best.1 {
                *best = (index, overlap);
            }
            *is_best |= overlap == most;
        }
    }
    let taught = |((object, overlap), is_best): ((usize, T), bool)| {
        let overlap: f64 = overlap.into();
        if objects.is_empty() {
            Taught::Background
        } else if overlap >= rule.foreground || rule.keeps_best && is_best {
            Taught::Object(object)
        } else if overlap < rule.background {
            Taught::Background
        } else {
            Taught::Nothing
        }
    };
    best.into_iter().zip(is_best_for_one).map(taught).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_and_the_best_anchor_decide() {
        let object = BoundingBox::new(0.0, 0.0, 10.0, 10.0);
        let anchors =
            [(10.0, 5.0), (10.0, 4.5), (10.0, 3.0), (10.0, 9.0)].map(|(w, h)| BoundingBox::new(0.0, 0.0, w, h));
        let taught = teach(&anchors, &[object], &RETINANET);
        assert_eq!(taught, [Taught::Object(0), Taught::Nothing, Taught::Background, Taught::Object(0)]);
        let far = object.moved(100.0, 0.0);
        assert_eq!(teach(&[far], &[], &RETINANET), [Taught::Background]);
        let one = MatchRule { keeps_best: false, ..RETINANET };
        assert_eq!(teach(&anchors[2..3], &[object], &one), [Taught::Background]);
        assert_eq!(teach(&anchors[2..3], &[object], &RETINANET), [Taught::Object(0)]);
    }
}
