//! Where a picture lies in a view: stretched, then moved.

use crate::boxes::BoundingBox;

/// x of the view is `scale · x + offset`; so is y.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// Of x and y.
    pub scale: [f64; 2],
    /// Of x and y, in pixels of the view.
    pub offset: [f64; 2],
}

impl Placement {
    /// A picture in another size.
    pub fn stretched(from: (u32, u32), to: (u32, u32)) -> Self {
        let scale = [f64::from(to.0) / f64::from(from.0), f64::from(to.1) / f64::from(from.1)];
        Self { scale, offset: [0.0, 0.0] }
    }

    /// A picture in the middle of a view, as large as fits with its shape kept (to whole pixels).
    pub fn letterbox(from: (u32, u32), to: (u32, u32)) -> Self {
        let (inner, offset) = Self::letterbox_of(from, to);
        Self { offset: [f64::from(offset.0), f64::from(offset.1)], ..Self::stretched(from, inner) }
    }

    /// Size of the picture in the view, and its left and top side.
    pub(super) fn letterbox_of(from: (u32, u32), to: (u32, u32)) -> ((u32, u32), (u32, u32)) {
        let fits = (f64::from(to.0) / f64::from(from.0)).min(f64::from(to.1) / f64::from(from.1));
        let side = |length: u32, most: u32| ((f64::from(length) * fits).round() as u32).clamp(1, most.max(1));
        let inner = (side(from.0, to.0), side(from.1, to.1));
        (inner, ((to.0.max(1) - inner.0) / 2, (to.1.max(1) - inner.1) / 2))
    }

    /// A box of the picture, in pixels of the view.
    pub fn forward(&self, place: &BoundingBox) -> BoundingBox {
        place.scaled(self.scale[0], self.scale[1]).moved(self.offset[0], self.offset[1])
    }

    /// A box of the view, in pixels of the picture: what detections need.
    pub fn back(&self, place: &BoundingBox) -> BoundingBox {
        place.moved(-self.offset[0], -self.offset[1]).scaled(1.0 / self.scale[0], 1.0 / self.scale[1])
    }
}
