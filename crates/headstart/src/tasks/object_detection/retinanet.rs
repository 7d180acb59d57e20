//! RetinaNet's rules: what its anchors are taught, what its outputs mean.
//!
//! Source: `retinanet.py` of torchvision 0.29: focal loss with α 0.25 and γ 2 and the distance of the codes of boxes, each
//! divided by the anchors that are taught an object.

use headstart_data::boxes::suppression::Detection;
use headstart_data::boxes::targets::anchor_grid::{CellAnchors, RETINANET_RATIOS, retinanet_sizes};
use headstart_data::boxes::targets::box_coding;
use headstart_data::boxes::targets::matching::{RETINANET, Taught, teach};
use headstart_data::boxes::targets::yolo::sigmoid;
use headstart_data::boxes::{BoundingBox, Object};

use super::decode::{DecodeRule, Detected, in_picture};
use crate::load::detector::DetectorPlan;

/// Values of a prediction before those of the classes.
pub(crate) const CODE_VALUES: usize = 4;

/// Anchors of a cell.
pub(crate) const CELL_ANCHORS: usize = 9;

const ALPHA: f64 = 0.25;

/// Most predictions of a map that are looked at, best first.
const MOST_OF_MAP: usize = 1000;

/// All anchors of each map, in pixels of the input.
pub(crate) fn anchors(plan: &DetectorPlan) -> Vec<Vec<BoundingBox<f32>>> {
    let shapes = plan.graph.shapes(plan.shape()).unwrap_or_default();
    let input = (plan.input[0] as usize, plan.input[1] as usize);
    let maps = plan.graph.outputs.iter().filter_map(|output| shapes.get(*output));
    maps.zip(retinanet_sizes())
        .map(|(map, sizes)| CellAnchors::new(&sizes, &RETINANET_RATIOS).over(input, (map.height, map.width)))
        .collect()
}

/// Loss of one picture and its gradient, from outputs `[anchors, 4 + classes]`; objects are in pixels of the input.
pub(super) fn picture(
    anchors: &[BoundingBox<f32>],
    classes: usize,
    [box_weight, _, class_weight]: &[f32; 3],
    truth: &[Object],
    outputs: &[f32],
) -> (f64, Vec<f32>) {
    let objects: Vec<(BoundingBox<f32>, usize)> =
        truth.iter().filter(|object| !object.is_crowd).map(|object| (object.place.cast(), object.class)).collect();
    let places: Vec<BoundingBox<f32>> = objects.iter().map(|(place, _)| *place).collect();
    let taught = teach(anchors, &places, &RETINANET);
    let count = taught.iter().filter(|one| matches!(one, Taught::Object(_))).count().max(1) as f64;
    let (box_weight, class_weight) = (f64::from(*box_weight) / count, f64::from(*class_weight) / count);
    let width = CODE_VALUES + classes;
    let (mut sum, mut gradient) = (0.0, vec![0.0f32; outputs.len()]);
    for ((row, to), (anchor, taught)) in
        outputs.chunks_exact(width).zip(gradient.chunks_exact_mut(width)).zip(anchors.iter().zip(taught))
    {
        let object = match taught {
            Taught::Nothing => continue,
            Taught::Background => None,
            Taught::Object(index) => Some(objects[index]),
        };
        if let Some((place, _)) = object {
            for ((found, code), to) in row.iter().zip(box_coding::encode(&place, anchor)).zip(&mut *to) {
                let off = f64::from(*found) - f64::from(code);
                sum += box_weight * off.abs();
                *to = (box_weight * if off == 0.0 { 0.0 } else { off.signum() }) as f32;
            }
        }
        for (class, (output, to)) in row[CODE_VALUES..].iter().zip(&mut to[CODE_VALUES..]).enumerate() {
            let (loss, slope) = focal(f64::from(*output), object.is_some_and(|(_, right)| right == class));
            sum += class_weight * loss;
            *to = (class_weight * slope) as f32;
        }
    }
    (sum, gradient)
}

/// Focal loss of a sigmoid with γ = 2, and its slope.
fn focal(output: f64, is_right: bool) -> (f64, f64) {
    // Of the other side, with the sign turned, it is the same function.
    let (x, weight, sign) = if is_right { (output, ALPHA, 1.0) } else { (-output, 1.0 - ALPHA, -1.0) };
    let p = 1.0 / (1.0 + (-x).exp());
    let entropy = (-x).max(0.0) + (-x.abs()).exp().ln_1p();
    let miss = 1.0 - p;
    (weight * miss * miss * entropy, sign * weight * -miss * miss * (2.0 * p * entropy + miss))
}

/// Predictions of at least the least score in pixels of the picture, before suppression.
pub(super) fn candidates(
    plan: &DetectorPlan,
    classes: usize,
    outputs: &[f32],
    size: (u32, u32),
    rule: &DecodeRule,
) -> Vec<Detected> {
    let placement = plan.placement(size);
    let width = CODE_VALUES + classes;
    let (mut found, mut rest) = (Vec::new(), outputs);
    for map in anchors(plan) {
        let (rows, after) = rest.split_at((map.len() * width).min(rest.len()));
        rest = after;
        let mut best: Vec<(f32, usize, usize)> = Vec::new();
        for (anchor, row) in rows.chunks_exact(width).enumerate() {
            for (class, output) in row[CODE_VALUES..].iter().enumerate() {
                let score = sigmoid(*output);
                if score > rule.least_score {
                    best.push((score, anchor, class));
                }
            }
        }
        best.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (score, anchor, class) in best.into_iter().take(MOST_OF_MAP) {
            let row = &rows[anchor * width..];
            let place = box_coding::decode([row[0], row[1], row[2], row[3]], &map[anchor]);
            let place = in_picture(&place, &placement, size);
            found.extend(place.map(|place| Detection { place, class, score: f64::from(score) }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_of_the_focal_loss_is_its_difference() {
        for is_right in [true, false] {
            for x in [-30.0, -3.0, -0.4, 0.0, 0.7, 4.0, 30.0] {
                let expected = (focal(x + 1e-5, is_right).0 - focal(x - 1e-5, is_right).0) / 2e-5;
                assert!((focal(x, is_right).1 - expected).abs() < 1e-6, "{x} {is_right}");
            }
        }
        // torchvision's `sigmoid_focal_loss` of 0.3.
        assert!((focal(0.3, true).0 - 0.25 * 0.425_557_5f64.powi(2) * 0.554_355_2).abs() < 1e-6);
    }
}
