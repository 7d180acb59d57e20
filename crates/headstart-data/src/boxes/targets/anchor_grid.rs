//! The anchors of RetinaNet: in each cell of each map, boxes of some sizes and shapes.
//!
//! Source: `anchor_utils.py` and `retinanet.py` of torchvision 0.29, whose rounding is repeated.

use crate::boxes::BoundingBox;

/// Sizes and shapes of one map.
#[derive(Debug, Clone, PartialEq)]
pub struct CellAnchors(Vec<BoundingBox<f32>>);

/// The sizes of each of RetinaNet's maps, P3 to P7, in pixels.
pub fn retinanet_sizes() -> [[f32; 3]; 5] {
    [32.0f64, 64.0, 128.0, 256.0, 512.0]
        .map(|size| [1.0, 2f64.powf(1.0 / 3.0), 2f64.powf(2.0 / 3.0)].map(|factor| (size * factor).trunc() as f32))
}

/// RetinaNet's shapes: height by width.
pub const RETINANET_RATIOS: [f32; 3] = [0.5, 1.0, 2.0];

impl CellAnchors {
    /// Anchors about the corner 0, 0: for each ratio of height to width, each size, with whole sides.
    pub fn new(sizes: &[f32], ratios: &[f32]) -> Self {
        let mut anchors = Vec::with_capacity(sizes.len() * ratios.len());
        for ratio in ratios {
            let high = ratio.sqrt();
            let wide = 1.0 / high;
            for size in sizes {
                let half = |side: f32| (side * size / 2.0).round_ties_even();
                let less = |side: f32| (-(side * size) / 2.0).round_ties_even();
                anchors.push(BoundingBox::new(less(wide), less(high), half(wide), half(high)));
            }
        }
        Self(anchors)
    }

    /// Number of anchors in a cell.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The anchors of a map of `grid` rows and columns over a picture of `picture` rows and columns, in its pixels: row by row,
    /// cell by cell.
    pub fn over(&self, picture: (usize, usize), grid: (usize, usize)) -> Vec<BoundingBox<f32>> {
        let stride = (picture.0 / grid.0.max(1), picture.1 / grid.1.max(1));
        let mut anchors = Vec::with_capacity(grid.0 * grid.1 * self.count());
        for row in 0..grid.0 {
            for column in 0..grid.1 {
                let (x, y) = ((column * stride.1) as f32, (row * stride.0) as f32);
                anchors.extend(self.0.iter().map(|anchor| anchor.moved(x, y)));
            }
        }
        anchors
    }
}
