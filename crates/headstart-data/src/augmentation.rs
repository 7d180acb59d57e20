//! Views of a training photo: other crops, flips, colours and small turns of the same thing.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::image::{Region, resize_region};
use crate::preprocess::Preprocess;

/// What a view may look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augmentation {
    /// Mirrored left to right, every second time.
    pub horizontal_flip: bool,
    /// A part of the picture instead of its centre.
    pub crop: Option<CropRange>,
    /// Other brightness, contrast and saturation.
    pub color: Option<ColorJitter>,
    /// Turned by up to this many degrees either way.
    pub rotation_degrees: f32,
}

/// Which part of the picture a crop shows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CropRange {
    /// Smallest and largest part of the picture's area.
    pub scale: [f32; 2],
    /// Smallest and largest ratio of width to height.
    pub ratio: [f32; 2],
}

/// Factors are drawn from 1 − x to 1 + x.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ColorJitter {
    /// Of every value.
    pub brightness: f32,
    /// Of the distance from the mean grey.
    pub contrast: f32,
    /// Of the distance from each pixel's grey.
    pub saturation: f32,
}

impl Default for Augmentation {
    fn default() -> Self {
        Self::none()
    }
}

impl Augmentation {
    /// Views that are the plain picture.
    pub fn none() -> Self {
        Self { horizontal_flip: false, crop: None, color: None, rotation_degrees: 0.0 }
    }

    /// What suits photographs of things that have no fixed size, side or light.
    pub fn photos() -> Self {
        Self {
            horizontal_flip: true,
            crop: Some(CropRange { scale: [0.35, 1.0], ratio: [0.75, 4.0 / 3.0] }),
            color: Some(ColorJitter { brightness: 0.3, contrast: 0.3, saturation: 0.3 }),
            rotation_degrees: 10.0,
        }
    }

    /// The view of the input's size, before normalization.
    pub(crate) fn view(&self, preprocess: &Preprocess, picture: &RgbImage, seed: u64) -> RgbImage {
        let mut draws = Draws(seed);
        let region = match self.crop {
            Some(range) => random_region(range, picture.width(), picture.height(), &mut draws),
            None => preprocess.region(picture.width(), picture.height()),
        };
        let angle = self.rotation_degrees.to_radians() * draws.between(-1.0, 1.0);
        let mut view = if angle == 0.0 {
            resize_region(picture, region, preprocess.width, preprocess.height)
        } else {
            turned(picture, region, preprocess.width, preprocess.height, angle)
        };
        if self.horizontal_flip && draws.unit() < 0.5 {
            image::imageops::flip_horizontal_in_place(&mut view);
        }
        if let Some(jitter) = self.color {
            recolor(&mut view, jitter, &mut draws);
        }
        view
    }
}

/// The seed of view `view` of an example: the same on every machine and for ever.
pub fn view_seed(run_seed: u64, example_digest: &[u8; 32], view: u32) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"view");
    hasher.update(&run_seed.to_le_bytes());
    hasher.update(example_digest);
    hasher.update(&view.to_le_bytes());
    let digest = hasher.finalize();
    u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("a digest has 32 bytes"))
}

/// SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) struct Draws(pub(crate) u64);

impl Draws {
    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }

    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }
}

/// A random part of the picture; the largest centred one of a permitted ratio when ten draws do not fit (as torchvision).
fn random_region(range: CropRange, width: u32, height: u32, draws: &mut Draws) -> Region {
    let (w, h) = (f64::from(width), f64::from(height));
    for _ in 0..10 {
        let area = w * h * f64::from(draws.between(range.scale[0], range.scale[1]));
        let ratio = f64::from(draws.between(range.ratio[0].ln(), range.ratio[1].ln())).exp();
        let (crop_w, crop_h) = ((area * ratio).sqrt(), (area / ratio).sqrt());
        let (x, y) = (f64::from(draws.unit()), f64::from(draws.unit()));
        if crop_w <= w && crop_h <= h && crop_w >= 1.0 && crop_h >= 1.0 {
            let (left, top) = ((w - crop_w) * x, (h - crop_h) * y);
            return Region { left, top, right: left + crop_w, bottom: top + crop_h };
        }
    }
    let ratio = (w / h).clamp(f64::from(range.ratio[0]), f64::from(range.ratio[1]));
    let (crop_w, crop_h) = if w / h > ratio { (h * ratio, h) } else { (w, w / ratio) };
    let (left, top) = ((w - crop_w) / 2.0, (h - crop_h) / 2.0);
    Region { left, top, right: left + crop_w, bottom: top + crop_h }
}

/// A part of the picture, turned about its centre; what lies outside repeats the edge.
///
/// Resized first, with antialiasing, to the size of the result, then turned by bilinear sampling.
fn turned(picture: &RgbImage, region: Region, width: u32, height: u32, angle: f32) -> RgbImage {
    let flat = resize_region(picture, region, width, height);
    let (sin, cos) = angle.sin_cos();
    let (center_x, center_y) = (width as f32 / 2.0 - 0.5, height as f32 / 2.0 - 0.5);
    RgbImage::from_fn(width, height, |x, y| {
        let (dx, dy) = (x as f32 - center_x, y as f32 - center_y);
        let sx = (center_x + dx * cos + dy * sin).clamp(0.0, width as f32 - 1.0);
        let sy = (center_y - dx * sin + dy * cos).clamp(0.0, height as f32 - 1.0);
        let (x0, y0) = (sx as u32, sy as u32);
        let (x1, y1) = ((x0 + 1).min(width - 1), (y0 + 1).min(height - 1));
        let (fx, fy) = (sx - x0 as f32, sy - y0 as f32);
        let at = |x, y| flat.get_pixel(x, y).0;
        let (a, b, c, d) = (at(x0, y0), at(x1, y0), at(x0, y1), at(x1, y1));
        image::Rgb(std::array::from_fn(|i| {
            let top = f32::from(a[i]) * (1.0 - fx) + f32::from(b[i]) * fx;
            let bottom = f32::from(c[i]) * (1.0 - fx) + f32::from(d[i]) * fx;
            (top * (1.0 - fy) + bottom * fy + 0.5) as u8
        }))
    })
}

/// Brightness, then contrast about the mean grey, then saturation about each pixel's grey (ITU-R 601 weights).
fn recolor(view: &mut RgbImage, jitter: ColorJitter, draws: &mut Draws) {
    let mut factor = |range: f32| draws.between(1.0 - range, 1.0 + range);
    let (brightness, contrast, saturation) =
        (factor(jitter.brightness), factor(jitter.contrast), factor(jitter.saturation));
    let grey = |[r, g, b]: [f32; 3]| 0.299 * r + 0.587 * g + 0.114 * b;
    let sum: f64 = view.pixels().map(|pixel| f64::from(grey(pixel.0.map(f32::from)))).sum();
    let mean = (sum / f64::from(view.width() * view.height())) as f32 * brightness;
    for pixel in view.pixels_mut() {
        let lit = pixel.0.map(|value| (f32::from(value) * brightness - mean) * contrast + mean);
        let own = grey(lit);
        pixel.0 = lit.map(|value| ((value - own) * saturation + own + 0.5).clamp(0.0, 255.0) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 9) as u8, (y * 5) as u8, (x * y) as u8]))
    }

    #[test]
    fn no_augmentation_is_the_plain_picture() {
        let preprocess = Preprocess::torchvision(32);
        let plain = preprocess.apply(&picture(50, 40));
        assert_eq!(preprocess.apply_view(&picture(50, 40), &Augmentation::none(), 7), plain);
    }

    #[test]
    fn a_flip_mirrors_exactly() {
        let flips = Augmentation { horizontal_flip: true, ..Augmentation::none() };
        let preprocess = Preprocess::tensorflow(16);
        let plain = preprocess.pixels(&picture(20, 20));
        let views: Vec<RgbImage> = (0..20).map(|seed| flips.view(&preprocess, &picture(20, 20), seed)).collect();
        let mirrored = image::imageops::flip_horizontal(&plain);
        assert!(views.contains(&plain) && views.contains(&mirrored));
        assert!(views.iter().all(|view| *view == plain || *view == mirrored));
    }

    #[test]
    fn the_sequence_of_draws_never_changes() {
        let mut draws = Draws(42);
        let found: Vec<u32> = (0..3).map(|_| (draws.unit() * 16_777_216.0) as u32).collect();
        // SplitMix64 from 42: 0xbdd732262feb6e95, 0x28efe333b266f103, 0x47526757130f9f52, first 24 bits.
        assert_eq!(found, [0xbdd732, 0x28efe3, 0x475267]);
        assert_ne!(view_seed(0, &[1; 32], 1), view_seed(0, &[1; 32], 2));
        assert_ne!(view_seed(0, &[1; 32], 1), view_seed(1, &[1; 32], 1));
    }

    proptest! {
        #[test]
        fn every_view_is_whole_finite_and_a_function_of_its_seed(w in 1u32..90, h in 1u32..90, seed: u64) {
            let preprocess = Preprocess::torchvision(24);
            let augmentation = Augmentation::photos();
            let view = preprocess.apply_view(&picture(w, h), &augmentation, seed);
            prop_assert_eq!(view.len(), 24 * 24 * 3);
            prop_assert!(view.iter().all(|value| value.is_finite()));
            prop_assert_eq!(view, preprocess.apply_view(&picture(w, h), &augmentation, seed));
        }
    }
}
