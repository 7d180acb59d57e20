//! Anchors of a data set: sizes of boxes by k-means, where near means a large overlap.
//!
//! Source: Redmon and Farhadi 2017, arXiv 1612.08242, section 2: the distance is 1 − IoU of boxes with one corner in common.

use super::BoundingBox;
use super::overlap::iou;

/// Rounds of k-means; it settles in far fewer.
const MOST_ROUNDS: usize = 300;

/// Anchors with how well they fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Anchors {
    /// Width and height of each, by rising area.
    pub sizes: Vec<[f64; 2]>,
    /// Mean over the boxes of the IoU with the best anchor, in [0, 1].
    pub mean_iou: f64,
}

/// `count` anchors for boxes of these widths and heights, in their own unit; sizes that are not finite or not above 0 are
/// passed over. Of fewer different sizes than `count`, each is an anchor.
///
/// The first ones are drawn as k-means++ draws them, from the seed alone; then boxes go to their nearest anchor and anchors
/// to the mean of their boxes until nothing changes. Sums have the order of the boxes.
pub fn anchors(sizes: &[[f64; 2]], count: usize, seed: u64) -> Anchors {
    let usable = |size: &&[f64; 2]| size.iter().all(|side| side.is_finite() && *side > 0.0);
    let sizes: Vec<[f64; 2]> = sizes.iter().filter(usable).copied().collect();
    if sizes.is_empty() || count == 0 {
        return Anchors { sizes: Vec::new(), mean_iou: 0.0 };
    }
    let mut anchors = drawn(&sizes, count, seed);
    let mut owners = vec![usize::MAX; sizes.len()];
    for _ in 0..MOST_ROUNDS {
        let nearest: Vec<usize> = sizes.iter().map(|size| best(&anchors, size).0).collect();
        if nearest == owners {
            break;
        }
        owners = nearest;
        for (index, anchor) in anchors.iter_mut().enumerate() {
            let own = sizes.iter().zip(&owners).filter(|(_, owner)| **owner == index).map(|(size, _)| size);
            let (sum, members) = own.fold(([0.0; 2], 0.0), |([w, h], n), [a, b]| ([w + a, h + b], n + 1.0));
            // An anchor without boxes stays where it is.
            if members > 0.0 {
                *anchor = sum.map(|side| side / members);
            }
        }
    }
    let mean_iou = sizes.iter().map(|size| best(&anchors, size).1).sum::<f64>() / sizes.len() as f64;
    let area = |[width, height]: &[f64; 2]| width * height;
    anchors.sort_by(|a, b| area(a).total_cmp(&area(b)).then(a[0].total_cmp(&b[0])));
    Anchors { sizes: anchors, mean_iou }
}

/// The nearest anchor, the first of equal ones, and its IoU.
fn best(anchors: &[[f64; 2]], size: &[f64; 2]) -> (usize, f64) {
    let at_corner = |[width, height]: &[f64; 2]| BoundingBox::new(0.0, 0.0, *width, *height);
    let of = anchors.iter().map(|anchor| iou(&at_corner(anchor), &at_corner(size)));
    of.enumerate().fold((0, -1.0), |best, (index, iou)| if iou > best.1 { (index, iou) } else { best })
}

/// k-means++: each next one drawn with the squared distance from those before as weight.
fn drawn(sizes: &[[f64; 2]], count: usize, seed: u64) -> Vec<[f64; 2]> {
    let unit = |draw: usize| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"anchors");
        hasher.update(&seed.to_le_bytes());
        hasher.update(&(draw as u64).to_le_bytes());
        let bytes = hasher.finalize();
        let number = u64::from_le_bytes(bytes.as_bytes()[..8].try_into().expect("a digest has 32 bytes"));
        (number >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut anchors = vec![sizes[((unit(0) * sizes.len() as f64) as usize).min(sizes.len() - 1)]];
    while anchors.len() < count {
        let weights: Vec<f64> = sizes.iter().map(|size| (1.0 - best(&anchors, size).1).max(0.0).powi(2)).collect();
        let whole: f64 = weights.iter().sum();
        if whole <= 0.0 {
            // Every size is an anchor already.
            break;
        }
        let mut left = unit(anchors.len()) * whole;
        let last = weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0);
        let chosen = weights.iter().position(|weight| {
            left -= weight;
            *weight > 0.0 && left < 0.0
        });
        anchors.push(sizes[chosen.unwrap_or(last)]);
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn clusters_far_apart_are_found() {
        let mut sizes = Vec::new();
        for number in 0..30 {
            let off = f64::from(number % 5) * 0.1;
            sizes.extend([[10.0 + off, 10.0], [100.0, 20.0 + off], [20.0, 100.0 - off]]);
        }
        let found = anchors(&sizes, 3, 1);
        let near = |[a, b]: [f64; 2], [c, d]: [f64; 2]| (a - c).abs() < 0.3 && (b - d).abs() < 0.3;
        let expected = [[10.2, 10.0], [20.0, 99.8], [100.0, 20.2]];
        assert!(found.sizes.iter().zip(expected).all(|(a, b)| near(*a, b)), "{found:?}");
        assert!(found.mean_iou > 0.98);
    }

    #[test]
    fn nothing_and_few_sizes_do_no_harm() {
        assert!(anchors(&[], 3, 0).sizes.is_empty());
        assert!(anchors(&[[f64::NAN, 1.0], [0.0, 1.0], [-1.0, 2.0]], 3, 0).sizes.is_empty());
        let found = anchors(&[[2.0, 3.0], [4.0, 1.0], [2.0, 3.0]], 9, 0);
        assert_eq!((found.sizes, found.mean_iou), (vec![[4.0, 1.0], [2.0, 3.0]], 1.0));
    }

    proptest! {
        #[test]
        fn anchors_are_a_function_of_boxes_and_seed_within_their_range(
            sizes in prop::collection::vec([1.0f64..500.0, 1.0f64..500.0], 1..60), count in 1usize..9, seed: u64,
        ) {
            let found = anchors(&sizes, count, seed);
            prop_assert_eq!(&anchors(&sizes, count, seed), &found);
            prop_assert!(!found.sizes.is_empty() && found.sizes.len() <= count);
            prop_assert!((0.0..=1.0 + 1e-12).contains(&found.mean_iou));
            for side in 0..2 {
                let (low, high) = sizes.iter().fold((f64::MAX, 0.0), |(low, high): (f64, f64), size| (low.min(size[side]), high.max(size[side])));
                prop_assert!(found.sizes.iter().all(|anchor| (low - 1e-9..=high + 1e-9).contains(&anchor[side])));
            }
        }
    }
}
