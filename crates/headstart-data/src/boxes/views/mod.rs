//! Other views of a picture that carry its boxes along: mirrored, cut, resized, four as one, in other colours.
//!
//! What moves pixels moves boxes by the same numbers, so a box is where its object is to a fraction of a pixel.

mod hsv;
mod mosaic;
mod placement;

pub use hsv::HsvJitter;
pub use mosaic::mosaic;
pub use placement::Placement;

use ::image::RgbImage;
use serde::{Deserialize, Serialize};

use super::{BoundingBox, Object};
use crate::augmentation::Draws;
use crate::image::{Region, resize_region};

/// A picture and what is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The picture.
    pub picture: RgbImage,
    /// Its objects, in pixels of the picture.
    pub objects: Vec<Object>,
}

/// What a view may look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BoxAugmentation {
    /// Mirrored left to right, every second time.
    pub horizontal_flip: bool,
    /// Mirrored top to bottom, every second time: right for pictures from above alone.
    pub vertical_flip: bool,
    /// Smallest part of each side that a crop keeps; 1 for none.
    pub crop: f32,
    /// An object of which a crop leaves a smaller part of its area is left out.
    pub visible: f64,
    /// Other hue, saturation and brightness.
    pub color: Option<HsvJitter>,
    /// What lies round a picture of another shape than the view: red, green, blue.
    pub fill: [u8; 3],
}

impl Default for BoxAugmentation {
    fn default() -> Self {
        Self::none()
    }
}

impl BoxAugmentation {
    /// Views that are the plain picture.
    pub fn none() -> Self {
        let (horizontal_flip, vertical_flip) = (false, false);
        Self { horizontal_flip, vertical_flip, crop: 1.0, visible: 0.25, color: None, fill: [114; 3] }
    }

    /// What suits photographs.
    pub fn photos() -> Self {
        Self { horizontal_flip: true, crop: 0.6, color: Some(HsvJitter::photos()), ..Self::none() }
    }

    /// The view of a sample in this size: a pure function of all of these. The shape of what is shown is kept, and `fill` put
    /// round it.
    pub fn view(&self, sample: &Sample, width: u32, height: u32, seed: u64) -> Sample {
        let mut draws = Draws(seed);
        let kept = self.kept(sample, &mut draws);
        let mut view = kept.letterboxed(width, height, self.fill);
        self.recolor(&mut view, &mut draws);
        view
    }

    /// A view of four samples round a point that is drawn from the middle half of the view.
    pub fn mosaic_view(&self, samples: [&Sample; 4], width: u32, height: u32, seed: u64) -> Sample {
        let mut draws = Draws(seed);
        let kept = samples.map(|sample| self.kept(sample, &mut draws));
        let mut within = |length: u32| ((length as f32 * draws.between(0.25, 0.75)) as u32).min(length);
        let middle = (within(width), within(height));
        let mut view = mosaic(kept.each_ref(), width, height, middle, self.visible);
        self.recolor(&mut view, &mut draws);
        view
    }

    /// What the crop leaves of a sample, perhaps mirrored.
    fn kept(&self, sample: &Sample, draws: &mut Draws) -> Sample {
        let (width, height) = sample.picture.dimensions();
        let mut side = |length: u32| {
            let part = draws.between(self.crop.clamp(0.0, 1.0), 1.0);
            let kept = ((length as f32 * part).round() as u32).clamp(1, length.max(1));
            let start = (draws.unit() * (length - kept + 1) as f32) as u32;
            (start.min(length - kept), kept)
        };
        let ((left, wide), (top, high)) = (side(width), side(height));
        let mut kept = if (wide, high) == (width, height) {
            sample.clone()
        } else {
            sample.cropped(left, top, wide, high, self.visible)
        };
        // Both are drawn always, so that one does not move the draws of the other.
        let (across, down) = (draws.unit() < 0.5, draws.unit() < 0.5);
        if self.horizontal_flip && across {
            kept = kept.mirrored();
        }
        if self.vertical_flip && down {
            kept = kept.upside_down();
        }
        kept
    }

    fn recolor(&self, view: &mut Sample, draws: &mut Draws) {
        if let Some(color) = self.color {
            color.apply(&mut view.picture, draws);
        }
    }
}

impl Sample {
    /// Mirrored left to right.
    pub fn mirrored(&self) -> Self {
        let width = f64::from(self.picture.width());
        let flip = |place: BoundingBox| BoundingBox { left: width - place.right, right: width - place.left, ..place };
        let objects = self.objects.iter().map(|object| Object { place: flip(object.place), ..*object }).collect();
        Self { picture: ::image::imageops::flip_horizontal(&self.picture), objects }
    }

    /// Mirrored top to bottom.
    pub fn upside_down(&self) -> Self {
        let height = f64::from(self.picture.height());
        let flip = |place: BoundingBox| BoundingBox { top: height - place.bottom, bottom: height - place.top, ..place };
        let objects = self.objects.iter().map(|object| Object { place: flip(object.place), ..*object }).collect();
        Self { picture: ::image::imageops::flip_vertical(&self.picture), objects }
    }

    /// The part from `left`, `top`, clipped to the picture. Objects are clipped to it; one of whose area less than `visible`,
    /// a part from 0 to 1, is left goes.
    pub fn cropped(&self, left: u32, top: u32, width: u32, height: u32, visible: f64) -> Self {
        let picture = ::image::imageops::crop_imm(&self.picture, left, top, width, height).to_image();
        let placement = Placement { scale: [1.0, 1.0], offset: [-f64::from(left), -f64::from(top)] };
        let window = BoundingBox::of_picture(picture.width(), picture.height());
        let objects = self.objects.iter().filter_map(|object| placed(object, &placement, &window, visible)).collect();
        Self { picture, objects }
    }

    /// In another size, its shape changed if need be.
    pub fn resized(&self, width: u32, height: u32) -> Self {
        let (from_width, from_height) = self.picture.dimensions();
        let placement = Placement::stretched((from_width, from_height), (width, height));
        let whole = Region { left: 0.0, top: 0.0, right: f64::from(from_width), bottom: f64::from(from_height) };
        let picture = resize_region(&self.picture, whole, width, height);
        let window = BoundingBox::of_picture(width, height);
        let objects = self.objects.iter().filter_map(|object| placed(object, &placement, &window, 0.0)).collect();
        Self { picture, objects }
    }

    /// In another size with its shape kept, in the middle of `fill`. [`Placement::letterbox`] is where it lies.
    pub fn letterboxed(&self, width: u32, height: u32, fill: [u8; 3]) -> Self {
        let (inner, offset) = Placement::letterbox_of(self.picture.dimensions(), (width, height));
        let mut resized = self.resized(inner.0, inner.1);
        let (x, y) = (f64::from(offset.0), f64::from(offset.1));
        for object in &mut resized.objects {
            object.place = object.place.moved(x, y);
        }
        let mut picture = RgbImage::from_pixel(width, height, ::image::Rgb(fill));
        ::image::imageops::replace(&mut picture, &resized.picture, i64::from(offset.0), i64::from(offset.1));
        Self { picture, objects: resized.objects }
    }
}

/// An object after it was moved and cut to a window; nothing if too little of it is left.
fn placed(object: &Object, placement: &Placement, window: &BoundingBox, visible: f64) -> Option<Object> {
    let moved = placement.forward(&object.place);
    let place = moved.intersection(window);
    let part = place.area() / moved.area();
    let [x, y] = placement.scale;
    let area = object.area.map(|area| area * x * y * part);
    let is_cut = part < 1.0 - 1e-9;
    let is_truncated = object.is_truncated || is_cut;
    (place.has_area() && part >= visible).then_some(Object { place, area, is_truncated, ..*object })
}

#[cfg(test)]
mod tests;
