//! What YOLO's outputs mean, and which of its predictions is responsible for which object.
//!
//! Source: `yolo_layer.c` and `region_layer.c` of Darknet; YOLO v3 (arXiv 1804.02767), v4 (arXiv 2004.10934).

use crate::boxes::overlap::iou;
use crate::boxes::{BoundingBox, Coordinate};

/// A map of predictions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cells {
    /// Rows and columns of the map.
    pub grid: (usize, usize),
    /// Rows and columns of the network's input in pixels.
    pub input: (usize, usize),
    /// What the sigmoids of x and y are stretched by about their middle; 1 in v2 and v3.
    pub scale_x_y: f32,
    /// Whether values are taken as they are, without sigmoid and exponential (v4-csp).
    pub has_new_coordinates: bool,
}

impl Cells {
    /// The box that four raw outputs stand for, in pixels of the input. `anchor` is its width and height in the same pixels.
    pub fn decode(&self, raw: [f32; 4], (row, column): (usize, usize), anchor: [f32; 2]) -> BoundingBox<f32> {
        let [x, y, w, h] = raw;
        let stretched = |value: f32, at: usize, cells: usize, pixels: usize| {
            let part = if self.has_new_coordinates { value } else { sigmoid(value) };
            let within = part * self.scale_x_y - 0.5 * (self.scale_x_y - 1.0);
            (at as f32 + within) / cells as f32 * pixels as f32
        };
        let side = |value: f32, anchor: f32| {
            if self.has_new_coordinates { value * value * 4.0 * anchor } else { value.exp() * anchor }
        };
        BoundingBox::about(
            stretched(x, column, self.grid.1, self.input.1),
            stretched(y, row, self.grid.0, self.input.0),
            side(w, anchor[0]),
            side(h, anchor[1]),
        )
    }

    /// The cell in which a point of the input lies, in pixels: row and column.
    pub fn cell(&self, x: f32, y: f32) -> (usize, usize) {
        let at = |value: f32, cells: usize, pixels: usize| {
            ((value * cells as f32 / pixels as f32).max(0.0) as usize).min(cells.saturating_sub(1))
        };
        (at(y, self.grid.0, self.input.0), at(x, self.grid.1, self.input.1))
    }
}

/// 1 / (1 + e⁻ˣ).
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// A prediction that is taught an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Responsible {
    /// Index of the object.
    pub object: usize,
    /// Position of the anchor in `mask`.
    pub anchor: usize,
    /// Row and column.
    pub cell: (usize, usize),
}

/// The predictions of one map that are taught an object, in the order of objects; where two objects want one prediction, both
/// are listed, and in Darknet the later one counts.
///
/// The anchor, of all anchors of the network, whose shape overlaps most with the object is responsible, in the map whose
/// `mask` names it; with `iou_threshold` below 1 (v4) every other anchor of the map whose shape overlaps by more is too. `objects`
/// are in pixels of the input, and so are the anchors. Objects without area are passed over.
pub fn responsible(
    objects: &[BoundingBox<f32>],
    cells: &Cells,
    anchors: &[[f32; 2]],
    mask: &[usize],
    iou_threshold: f32,
) -> Vec<Responsible> {
    let mut found = Vec::new();
    for (index, object) in objects.iter().enumerate().filter(|(_, object)| object.has_area()) {
        let shape = BoundingBox::about(0.0, 0.0, object.width(), object.height());
        let overlap = |[width, height]: [f32; 2]| iou(&shape, &BoundingBox::about(0.0, 0.0, width, height));
        let overlaps: Vec<f32> = anchors.iter().map(|anchor| overlap(*anchor)).collect();
        let mut best = (0, f32::NEG_INFINITY);
        for (anchor, overlap) in overlaps.iter().enumerate() {
            if *overlap > best.1 {
                best = (anchor, *overlap);
            }
        }
        let (x, y) = object.middle();
        let cell = cells.cell(x, y);
        for (anchor, number) in mask.iter().enumerate() {
            let is_near = iou_threshold < 1.0 && overlaps.get(*number).is_some_and(|overlap| *overlap > iou_threshold);
            if *number == best.0 || is_near {
                found.push(Responsible { object: index, anchor, cell });
            }
        }
    }
    found
}

/// Whether each prediction overlaps with any object by more than `threshold`: such are not taught that there is none.
pub fn is_spared<T: Coordinate>(predictions: &[BoundingBox<T>], objects: &[BoundingBox<T>], threshold: T) -> Vec<bool> {
    predictions.iter().map(|one| objects.iter().any(|object| iou(one, object) > threshold)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CELLS: Cells = Cells { grid: (10, 20), input: (320, 640), scale_x_y: 1.0, has_new_coordinates: false };

    #[test]
    fn outputs_of_zero_are_the_anchor_in_the_middle_of_its_cell() {
        for scale_x_y in [1.0, 1.05, 1.2, 2.0] {
            let found = Cells { scale_x_y, ..CELLS }.decode([0.0; 4], (2, 5), [40.0, 20.0]);
            let (expected, near) = (BoundingBox::about(176.0, 80.0, 40.0, 20.0), 1e-4);
            assert!(
                found.sides().iter().zip(expected.sides()).all(|(a, b): (&f32, f32)| (a - b).abs() < near),
                "{found:?}"
            );
        }
        let new = Cells { scale_x_y: 2.0, has_new_coordinates: true, ..CELLS };
        let found = new.decode([0.5, 0.5, 0.5, 1.0], (0, 0), [40.0, 20.0]);
        assert_eq!(found, BoundingBox::about(16.0, 16.0, 40.0, 80.0));
        // x of far above 0 reaches the right side of the cell, stretched by 1.2 a tenth of a cell beyond it.
        let stretched = Cells { scale_x_y: 1.2, ..CELLS }.decode([50.0, 0.0, 0.0, 0.0], (0, 0), [2.0, 2.0]);
        assert!((stretched.middle().0 - 35.2).abs() < 1e-4, "{stretched:?}");
    }

    #[test]
    fn the_best_anchor_is_responsible_in_its_map_alone_and_near_ones_in_v4() {
        let anchors = [[10.0, 10.0], [20.0, 20.0], [40.0, 40.0], [80.0, 80.0]];
        let objects = [BoundingBox::about(100.0, 50.0, 38.0, 42.0), BoundingBox::new(5.0, 5.0, 5.0, 9.0)];
        let of = |mask: &[usize], threshold| responsible(&objects, &CELLS, &anchors, mask, threshold);
        assert_eq!(of(&[2, 3], 1.0), [Responsible { object: 0, anchor: 0, cell: (1, 3) }]);
        assert!(of(&[0, 1], 1.0).is_empty());
        assert_eq!(of(&[0, 1], 0.213).iter().map(|one| one.anchor).collect::<Vec<_>>(), [1]);
        assert_eq!(of(&[0, 1, 2, 3], 0.213).len(), 3);
        assert_eq!(is_spared(&objects, &objects[..1], 0.7), [true, false]);
    }

    proptest! {
        #[test]
        fn every_object_has_one_best_anchor_over_all_maps(
            places in prop::collection::vec((0.0f32..640.0, 0.0f32..320.0, 1.0f32..300.0, 1.0f32..300.0), 0..8),
        ) {
            let objects: Vec<BoundingBox<f32>> = places.iter().map(|(x, y, w, h)| BoundingBox::about(*x, *y, *w, *h)).collect();
            let anchors: Vec<[f32; 2]> = (1..=6).map(|number| [number as f32 * 20.0, number as f32 * 15.0]).collect();
            let maps = [responsible(&objects, &CELLS, &anchors, &[0, 1, 2], 1.0), responsible(&objects, &CELLS, &anchors, &[3, 4, 5], 1.0)];
            let mut seen: Vec<usize> = maps.iter().flatten().map(|one| one.object).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..objects.len()).collect::<Vec<_>>());
            for one in maps.iter().flatten() {
                prop_assert!(one.cell.0 < 10 && one.cell.1 < 20 && one.anchor < 3);
            }
        }
    }
}
