//! Which detection of a picture finds which object, as `COCOeval.evaluateImg` has it.

use std::collections::BTreeMap;

use super::{Found, Truth, falling};

/// What is there and what was found of one class in one picture.
pub(super) struct Pair<'a> {
    truths: Vec<&'a Truth>,
    /// Best first, no more than count.
    found: Vec<&'a Found>,
    /// `[found, truths]`.
    overlaps: Vec<Vec<f64>>,
}

/// One picture for one range of areas.
pub(super) struct Evaluated {
    /// Objects that count.
    pub(super) objects: usize,
    /// Of the detections, best first.
    pub(super) scores: Vec<f64>,
    /// `[thresholds, detections]`.
    pub(super) outcomes: Vec<Vec<Outcome>>,
}

/// What becomes of a detection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outcome {
    pub(super) is_right: bool,
    /// It counts neither way.
    pub(super) is_ignored: bool,
}

impl<'a> Pair<'a> {
    /// The pictures in which the class is or was found, in their order.
    pub(super) fn of_class(truths: &'a [Truth], found: &'a [Found], class: usize, most: usize) -> Vec<Self> {
        let mut images: BTreeMap<usize, (Vec<&Truth>, Vec<&Found>)> = BTreeMap::new();
        for truth in truths.iter().filter(|truth| truth.class == class) {
            images.entry(truth.image).or_default().0.push(truth);
        }
        for one in found.iter().filter(|found| found.class == class) {
            images.entry(one.image).or_default().1.push(one);
        }
        images
            .into_values()
            .map(|(truths, mut found)| {
                found.sort_by(|a, b| falling(a.score, b.score));
                found.truncate(most);
                let overlaps =
                    found.iter().map(|found| truths.iter().map(|truth| overlap(found, truth)).collect()).collect();
                Self { truths, found, overlaps }
            })
            .collect()
    }

    /// Each detection, best first, takes the object that is left with which it overlaps most; one that counts goes before one
    /// that does not, and a crowd is never taken away.
    pub(super) fn evaluate(&self, [least, most]: [f64; 2], thresholds: &[f64]) -> Evaluated {
        let is_out = |area: f64| area < least || area > most;
        let ignored: Vec<bool> = self.truths.iter().map(|truth| truth.is_ignored || is_out(truth.area)).collect();
        let mut order: Vec<usize> = (0..self.truths.len()).collect();
        order.sort_by_key(|index| ignored[*index]);
        let outcomes = thresholds.iter().map(|threshold| {
            let mut is_taken = vec![false; self.truths.len()];
            let outcome = |(found, overlaps): (&&Found, &Vec<f64>)| {
                let mut enough = threshold.min(1.0 - 1e-10);
                let mut best: Option<usize> = None;
                for &truth in &order {
                    if is_taken[truth] && !self.truths[truth].is_ignored {
                        continue;
                    }
                    if best.is_some_and(|best| !ignored[best]) && ignored[truth] {
                        break;
                    }
                    if overlaps[truth] >= enough {
                        enough = overlaps[truth];
                        best = Some(truth);
                    }
                }
                match best {
                    Some(truth) => {
                        is_taken[truth] = true;
                        Outcome { is_right: true, is_ignored: ignored[truth] }
                    }
                    // One of another size may have found an object of another size.
                    None => Outcome { is_right: false, is_ignored: is_out(found.place[2] * found.place[3]) },
                }
            };
            self.found.iter().zip(&self.overlaps).map(outcome).collect()
        });
        Evaluated {
            objects: ignored.iter().filter(|ignored| !**ignored).count(),
            scores: self.found.iter().map(|found| found.score).collect(),
            outcomes: outcomes.collect(),
        }
    }
}

/// IoU; with a crowd, the part of the detection that lies in it. Computed as `bbIou` does, so that thresholds fall the same.
fn overlap(found: &Found, truth: &Truth) -> f64 {
    let ([x, y, w, h], [gx, gy, gw, gh]) = (found.place, truth.place);
    let wide = (w + x).min(gw + gx) - x.max(gx);
    let high = (h + y).min(gh + gy) - y.max(gy);
    // Not even if a side is no number.
    let both = wide * high;
    if !(wide > 0.0 && high > 0.0) {
        return 0.0;
    }
    let union = if truth.is_ignored { w * h } else { w * h + gw * gh - both };
    both / union
}
