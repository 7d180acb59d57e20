//! Of detections that mean the same object, the best.

use super::overlap::iou;
use super::{BoundingBox, Coordinate};

/// A detection: where, what, how sure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection<T = f64> {
    /// Where.
    pub place: BoundingBox<T>,
    /// Index of the class.
    pub class: usize,
    /// How sure; higher is surer.
    pub score: T,
}

/// How [`soft_suppress`] lowers the score of a detection that overlaps with a better one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decay {
    /// By 1 − IoU, where that is above the threshold.
    Linear {
        /// Overlaps up to here change nothing.
        threshold: f64,
    },
    /// By exp(−IoU² / σ).
    Gaussian {
        /// Width of the curve; 0.5 in the paper.
        sigma: f64,
    },
}

/// Indices by falling score; of equal ones the earlier first, scores that are no numbers last.
fn ranked<T: Coordinate>(detections: &[Detection<T>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..detections.len()).collect();
    let key = |index: usize| -> f64 {
        let score: f64 = detections[index].score.into();
        if score.is_nan() { f64::NEG_INFINITY } else { score }
    };
    order.sort_by(|a, b| key(*b).total_cmp(&key(*a)));
    order
}

/// Greedy non-maximum suppression within each class: indices of the detections that stay, best first.
///
/// One that overlaps with a better one of its class by *more* than `threshold` goes, as in torchvision's `batched_nms`. IoU is
/// computed in the numbers of the boxes. Of equal scores the earlier is the better.
pub fn suppress<T: Coordinate>(detections: &[Detection<T>], threshold: f64) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::new();
    for candidate in ranked(detections) {
        let one = &detections[candidate];
        let goes = kept.iter().map(|index| &detections[*index]).any(|better| {
            let overlap: f64 = iou(&better.place, &one.place).into();
            better.class == one.class && overlap > threshold
        });
        if !goes {
            kept.push(candidate);
        }
    }
    kept
}

/// Soft suppression within each class (Bodla et al. 2017, arXiv 1704.04503): detections keep their place and lose score.
///
/// Gives index and new score, best first, of those that stay at or above `least`. Of equal scores the earlier is the better.
pub fn soft_suppress<T: Coordinate>(detections: &[Detection<T>], decay: Decay, least: f64) -> Vec<(usize, f64)> {
    let mut left: Vec<(usize, f64)> =
        ranked(detections).into_iter().map(|index| (index, detections[index].score.into())).collect();
    left.retain(|(_, score)| *score >= least);
    let mut kept = Vec::new();
    while let Some(at) = best(&left) {
        let (index, score) = left.remove(at);
        kept.push((index, score));
        let best = &detections[index];
        for (other, score) in &mut left {
            let other = &detections[*other];
            if other.class != best.class {
                continue;
            }
            let overlap: f64 = iou(&best.place, &other.place).into();
            *score *= match decay {
                Decay::Linear { threshold } if overlap > threshold => 1.0 - overlap,
                Decay::Linear { .. } => 1.0,
                Decay::Gaussian { sigma } => (-overlap * overlap / sigma).exp(),
            };
        }
        left.retain(|(_, score)| *score >= least);
    }
    kept
}

/// Position of the best; of equal ones, of the lowest index.
fn best(left: &[(usize, f64)]) -> Option<usize> {
    let better = |a: usize, b: usize| {
        let (a, b) = (left[a], left[b]);
        a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)).is_gt()
    };
    (0..left.len()).reduce(|best, at| if better(at, best) { at } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn detections() -> impl Strategy<Value = Vec<Detection<f32>>> {
        let one =
            (0u8..20, 0u8..20, 1u8..9, 1u8..9, 0usize..3, 0u8..6).prop_map(|(x, y, w, h, class, score)| Detection {
                place: BoundingBox::new(f32::from(x), f32::from(y), f32::from(x + w), f32::from(y + h)),
                class,
                score: f32::from(score) / 5.0,
            });
        prop::collection::vec(one, 0..25)
    }

    proptest! {
        #[test]
        fn what_stays_does_not_overlap_and_what_goes_overlaps_with_a_better_one(all in detections(), threshold in 0.0f64..1.0) {
            let kept = suppress(&all, threshold);
            let overlap = |a: usize, b: usize| f64::from(iou(&all[a].place, &all[b].place));
            let is_better = |a: usize, b: usize| all[a].score > all[b].score || all[a].score == all[b].score && a < b;
            for pair in kept.windows(2) {
                prop_assert!(is_better(pair[0], pair[1]));
            }
            for one in 0..all.len() {
                let rivals = kept.iter().filter(|other| {
                    is_better(**other, one) && all[**other].class == all[one].class && overlap(**other, one) > threshold
                });
                prop_assert_eq!(rivals.count() == 0, kept.contains(&one));
            }
        }

        #[test]
        fn soft_suppression_with_a_step_is_the_hard_one_and_never_raises_a_score(all in detections()) {
            // Where IoU is 1, the linear decay leaves nothing; elsewhere the threshold of 0.999 lets all pass.
            let soft: Vec<usize> = soft_suppress(&all, Decay::Linear { threshold: 0.999 }, 1e-6).into_iter().map(|(index, _)| index).collect();
            let hard: Vec<usize> = suppress(&all, 0.999).into_iter().filter(|index| all[*index].score > 0.0).collect();
            prop_assert_eq!(soft, hard);
            let gaussian = soft_suppress(&all, Decay::Gaussian { sigma: 0.5 }, 0.0);
            prop_assert_eq!(gaussian.len(), all.len());
            prop_assert!(gaussian.windows(2).all(|pair| pair[0].1 >= pair[1].1));
            prop_assert!(gaussian.iter().all(|(index, score)| *score <= f64::from(all[*index].score)));
        }
    }

    #[test]
    fn scores_that_are_no_numbers_come_last_and_equal_ones_in_order() {
        let place = BoundingBox::new(0.0, 0.0, 1.0, 1.0);
        let at = |score, class| Detection { place, class, score };
        assert_eq!(suppress(&[at(f64::NAN, 0), at(0.5, 1), at(0.5, 2), at(0.5, 1)], 0.5), [1, 2, 0]);
        assert_eq!(soft_suppress(&[at(0.5, 0), at(0.5, 0)], Decay::Linear { threshold: 0.3 }, 0.1), [(0, 0.5)]);
        assert!(suppress::<f32>(&[], 0.5).is_empty());
    }
}
