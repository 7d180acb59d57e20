//! What a detector is taught: boxes by complete IoU, objectness and classes by binary cross-entropy, by the rules of YOLO v3
//! and v4 (arXiv 1804.02767, 2004.10934), with the gradient beside the value.

use headstart_data::boxes::targets::yolo::{Cells, is_spared, responsible};
use headstart_data::boxes::{BoundingBox, Object};
use rayon::prelude::*;

use super::derivative::Derived;
use super::head::BOX_VALUES;
use super::retinanet;
use crate::load::detector::{DetectorPlan, HeadPlan, YoloLevel};

/// The maps of a head: which cells they have, and where their outputs begin.
pub(super) fn maps(plan: &DetectorPlan, classes: usize) -> Vec<(&YoloLevel, Cells, usize)> {
    let HeadPlan::Yolo { levels } = &plan.head else { return Vec::new() };
    let shapes = plan.graph.shapes(plan.shape()).unwrap_or_default();
    let mut begin = 0;
    let mut all = Vec::with_capacity(levels.len());
    for (level, output) in levels.iter().zip(&plan.graph.outputs) {
        let Some(shape) = shapes.get(*output) else { continue };
        let cells = Cells {
            grid: (shape.height, shape.width),
            input: (plan.input[0] as usize, plan.input[1] as usize),
            scale_x_y: level.scale_x_y,
            has_new_coordinates: level.has_new_coordinates,
        };
        all.push((level, cells, begin));
        begin += shape.height * shape.width * level.anchors.len() * (BOX_VALUES + classes);
    }
    all
}

/// Number of outputs of a picture.
pub(crate) fn output_count(plan: &DetectorPlan, classes: usize) -> usize {
    if let HeadPlan::RetinaNet { .. } = plan.head {
        let anchors: usize = retinanet::anchors(plan).iter().map(Vec::len).sum();
        return anchors * (retinanet::CODE_VALUES + classes);
    }
    let of_map = |(level, cells, _): (&YoloLevel, Cells, usize)| {
        cells.grid.0 * cells.grid.1 * level.anchors.len() * (BOX_VALUES + classes)
    };
    maps(plan, classes).into_iter().map(of_map).sum()
}

/// Loss of a batch and its gradient: of YOLO divided by the number of its objects, of RetinaNet the mean over the pictures; from outputs `[B, N]`. `truths` are in pixels of the
/// input; crowds are passed over.
///
/// `weights` are those of boxes, objectness and classes. Sums have a fixed order.
pub(crate) fn batch(
    plan: &DetectorPlan,
    classes: usize,
    weights: &[f32; 3],
    truths: &[Vec<Object>],
    outputs: &[f32],
) -> (f64, Vec<f32>) {
    let length = (outputs.len() / truths.len().max(1)).max(1);
    if let HeadPlan::RetinaNet { .. } = plan.head {
        let anchors = retinanet::anchors(plan).concat();
        let pictures: Vec<(f64, Vec<f32>)> = outputs
            .par_chunks_exact(length)
            .zip(truths.par_iter())
            .map(|(row, truth)| retinanet::picture(&anchors, classes, weights, truth, row))
            .collect();
        return mean(pictures, truths.len().max(1) as f64);
    }
    let maps = maps(plan, classes);
    let results: Vec<(f64, Vec<f32>)> = outputs
        .par_chunks_exact(length)
        .zip(truths.par_iter())
        .map(|(row, truth)| {
            let objects: Vec<(BoundingBox<f32>, usize)> = truth
                .iter()
                .filter(|object| !object.is_crowd)
                .map(|object| (object.place.cast(), object.class))
                .collect();
            picture(&maps, classes, weights, &objects, row)
        })
        .collect();
    let objects = truths.iter().flatten().filter(|object| !object.is_crowd).count().max(1) as f64;
    mean(results, objects)
}

/// The sum of losses and gradients of pictures over a count.
fn mean(pictures: Vec<(f64, Vec<f32>)>, count: f64) -> (f64, Vec<f32>) {
    let value = pictures.iter().map(|(value, _)| value).sum::<f64>() / count;
    let mut gradient: Vec<f32> = pictures.into_iter().flat_map(|(_, gradient)| gradient).collect();
    gradient.iter_mut().for_each(|value| *value /= count as f32);
    (value, gradient)
}

/// Loss of one picture and its gradient.
fn picture(
    maps: &[(&YoloLevel, Cells, usize)],
    classes: usize,
    weights: &[f32; 3],
    objects: &[(BoundingBox<f32>, usize)],
    outputs: &[f32],
) -> (f64, Vec<f32>) {
    let [box_weight, object_weight, class_weight] = weights.map(f64::from);
    let places: Vec<BoundingBox<f32>> = objects.iter().map(|(place, _)| *place).collect();
    let (mut sum, mut gradient) = (0.0, vec![0.0f32; outputs.len()]);
    let width = BOX_VALUES + classes;
    for (level, cells, begin) in maps {
        let anchors = level.anchors.len();
        let at =
            |cell: (usize, usize), anchor: usize| begin + ((cell.0 * cells.grid.1 + cell.1) * anchors + anchor) * width;
        // Of two objects that want one prediction, the later counts.
        let mut taught: std::collections::BTreeMap<usize, (usize, (usize, usize), usize)> = Default::default();
        for one in responsible(&places, cells, &level.all_anchors, &level.mask, level.iou_threshold) {
            taught.insert(at(one.cell, one.anchor), (one.object, one.cell, one.anchor));
        }
        for row in 0..cells.grid.0 {
            for column in 0..cells.grid.1 {
                for (anchor, size) in level.anchors.iter().enumerate() {
                    let begin = at((row, column), anchor);
                    if taught.contains_key(&begin) {
                        continue;
                    }
                    let raw: [f32; 4] = std::array::from_fn(|index| outputs[begin + index]);
                    let place = cells.decode(raw, (row, column), *size);
                    if !places.is_empty() && is_spared(&[place], &places, level.ignore_threshold)[0] {
                        continue;
                    }
                    let (loss, slope) = cross_entropy(outputs[begin + 4], 0.0);
                    sum += object_weight * loss;
                    gradient[begin + 4] += (object_weight * slope) as f32;
                }
            }
        }
        for (begin, (object, cell, anchor)) in taught {
            let (place, class) = objects[object];
            let raw: [f64; 4] = std::array::from_fn(|index| f64::from(outputs[begin + index]));
            let overlap = complete_iou(decoded(cells, raw, cell, level.anchors[anchor]), &place);
            sum += box_weight * (1.0 - overlap.value);
            for (index, partial) in overlap.partials.iter().enumerate() {
                gradient[begin + index] -= (box_weight * partial) as f32;
            }
            let (loss, slope) = cross_entropy(outputs[begin + 4], 1.0);
            sum += object_weight * loss;
            gradient[begin + 4] += (object_weight * slope) as f32;
            for other in 0..classes {
                let index = begin + BOX_VALUES + other;
                let (loss, slope) = cross_entropy(outputs[index], if other == class { 1.0 } else { 0.0 });
                sum += class_weight * loss;
                gradient[index] += (class_weight * slope) as f32;
            }
        }
    }
    (sum, gradient)
}

/// Binary cross-entropy of a sigmoid, and its slope.
fn cross_entropy(output: f32, target: f64) -> (f64, f64) {
    let x = f64::from(output);
    let loss = x.max(0.0) - x * target + (-x.abs()).exp().ln_1p();
    (loss, 1.0 / (1.0 + (-x).exp()) - target)
}

/// Left, top, right and bottom of a prediction as functions of its raw values: [`Cells::decode`] with derivatives.
fn decoded(cells: &Cells, raw: [f64; 4], (row, column): (usize, usize), anchor: [f32; 2]) -> [Derived; 4] {
    let [x, y, w, h] = std::array::from_fn(|index| Derived::variable(raw[index], index));
    let stretch = f64::from(cells.scale_x_y);
    let middle = |value: Derived, at: usize, count: usize, pixels: usize| {
        let part = if cells.has_new_coordinates { value } else { value.sigmoid() };
        let within = part.scaled(stretch) + Derived::constant(at as f64 - 0.5 * (stretch - 1.0));
        within.scaled(pixels as f64 / count as f64)
    };
    // A side of e⁸ anchors is no box of this picture; beyond, there is no slope left to go wrong by.
    let side = |value: Derived, anchor: f32| {
        let factor = if cells.has_new_coordinates {
            (value * value).scaled(4.0)
        } else {
            value.smaller(Derived::constant(8.0)).exp()
        };
        factor.scaled(f64::from(anchor))
    };
    let (x, y) = (middle(x, column, cells.grid.1, cells.input.1), middle(y, row, cells.grid.0, cells.input.0));
    let (half_w, half_h) = (side(w, anchor[0]).scaled(0.5), side(h, anchor[1]).scaled(0.5));
    [x - half_w, y - half_h, x + half_w, y + half_h]
}

/// CIoU of a box that is a function of four values with one that is there.
fn complete_iou([left, top, right, bottom]: [Derived; 4], truth: &BoundingBox<f32>) -> Derived {
    let [l, t, r, b] = truth.sides().map(|side| Derived::constant(f64::from(side)));
    let zero = Derived::constant(0.0);
    let tiny = Derived::constant(1e-9);
    let (width, height) = (right - left, bottom - top);
    let (wide, high) = (r - l, b - t);
    let across = (right.smaller(r) - left.larger(l)).larger(zero);
    let down = (bottom.smaller(b) - top.larger(t)).larger(zero);
    let both = across * down;
    let iou = both / (width * height + wide * high - both + tiny);
    let (hull_w, hull_h) = (right.larger(r) - left.smaller(l), bottom.larger(b) - top.smaller(t));
    let (dx, dy) = ((left + right - l - r).scaled(0.5), (top + bottom - t - b).scaled(0.5));
    let distance = (dx * dx + dy * dy) / (hull_w * hull_w + hull_h * hull_h + tiny);
    let turn = (wide / high).atan() - (width / (height + tiny)).atan();
    let v = (turn * turn).scaled(4.0 / (std::f64::consts::PI * std::f64::consts::PI));
    let alpha = v / (Derived::constant(1.0) - iou + v + tiny);
    iou - distance - alpha * v
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_data::boxes::overlap::ciou;

    const CELLS: Cells = Cells { grid: (4, 4), input: (128, 128), scale_x_y: 1.1, has_new_coordinates: false };

    fn level() -> YoloLevel {
        YoloLevel {
            anchors: vec![[20.0, 30.0], [50.0, 40.0]],
            mask: vec![0, 1],
            all_anchors: vec![[20.0, 30.0], [50.0, 40.0]],
            classes: 3,
            scale_x_y: 1.1,
            has_new_coordinates: false,
            is_softmax: false,
            ignore_threshold: 0.5,
            iou_threshold: 0.213,
        }
    }

    #[test]
    fn the_overlap_is_that_of_the_boxes() {
        let raw = [0.3, -0.7, 0.2, -0.4];
        let truth = BoundingBox::new(20.0f32, 44.0, 61.0, 90.0);
        let place = CELLS.decode(raw.map(|value| value as f32), (2, 1), [20.0, 30.0]);
        let found = complete_iou(decoded(&CELLS, raw, (2, 1), [20.0, 30.0]), &truth);
        assert!((found.value - ciou(&place, &truth)).abs() < 1e-5, "{found:?}");
    }

    #[test]
    fn gradients_are_the_differences_of_the_loss() {
        let level = level();
        let maps = [(&level, CELLS, 0)];
        let mut stream = crate::random::Stream::new(4, "outputs", &[]);
        let outputs: Vec<f32> = (0..4 * 4 * 2 * 8).map(|_| stream.normal() * 0.5).collect();
        let objects =
            [(BoundingBox::about(50.0, 70.0, 24.0, 33.0), 2), (BoundingBox::about(100.0, 20.0, 45.0, 50.0), 0)];
        let weights = [2.0, 1.0, 1.0];
        let (_, gradient) = picture(&maps, 3, &weights, &objects, &outputs);
        let mut checked = 0;
        for index in 0..outputs.len() {
            let at = |step: f32| {
                let mut moved = outputs.clone();
                moved[index] += step;
                picture(&maps, 3, &weights, &objects, &moved).0
            };
            let expected = (at(1e-3) - at(-1e-3)) / 2e-3;
            assert!((f64::from(gradient[index]) - expected).abs() < 2e-3, "{index}: {} {expected}", gradient[index]);
            checked += usize::from(gradient[index] != 0.0);
        }
        assert!(checked > 4 * 4 * 2, "{checked}");
    }
}
