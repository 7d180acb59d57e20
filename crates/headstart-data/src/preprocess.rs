//! Sample → input, as data: the same record serves training, prediction and the bundle.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::augmentation::Augmentation;
use crate::image::{Region, resize_region};

/// How a picture becomes the input of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Rows of the input in pixels.
    pub height: u32,
    /// Columns of the input in pixels.
    pub width: u32,
    /// How the picture is brought to that size.
    pub resize: ResizeRule,
    /// Order of the channels.
    pub channels: ChannelOrder,
    /// What 8-bit values are divided by first.
    pub divisor: f32,
    /// Then subtracted, in the order of the channels.
    pub mean: [f32; 3],
    /// Then divided by, in the order of the channels.
    pub deviation: [f32; 3],
}

/// How a picture is brought to the size of the input; always antialiased bilinear.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeRule {
    /// The whole picture, its shape changed if need be.
    Squash,
    /// The short side to the input's divided by `fraction`, then the centre of that.
    CenterCrop {
        /// 0.875 is torchvision's 224 of 256.
        fraction: f32,
    },
}

/// Order of the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOrder {
    /// Red first.
    Rgb,
    /// Blue first, as Caffe had it.
    Bgr,
}

impl Preprocess {
    /// TensorFlow's mobile networks and Inception: x / 127.5 − 1 on the centre 87.5 %.
    pub fn tensorflow(size: u32) -> Self {
        Self {
            height: size,
            width: size,
            resize: ResizeRule::CenterCrop { fraction: 0.875 },
            channels: ChannelOrder::Rgb,
            divisor: 127.5,
            mean: [1.0; 3],
            deviation: [1.0; 3],
        }
    }

    /// torchvision's ImageNet networks: x / 255, mean and deviation of ImageNet, on the centre 87.5 %.
    pub fn torchvision(size: u32) -> Self {
        Self { divisor: 255.0, mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225], ..Self::tensorflow(size) }
    }

    /// Networks converted from Caffe (Keras VGG16): BGR less the mean pixel, not scaled.
    pub fn caffe(size: u32) -> Self {
        Self { channels: ChannelOrder::Bgr, divisor: 1.0, mean: [103.939, 116.779, 123.68], ..Self::tensorflow(size) }
    }

    /// The input `[H, W, 3]` of a picture.
    pub fn apply(&self, picture: &RgbImage) -> Vec<f32> {
        self.normalize(&self.pixels(picture))
    }

    /// The input `[H, W, 3]` of an augmented view: a pure function of picture, augmentation and seed.
    pub fn apply_view(&self, picture: &RgbImage, augmentation: &Augmentation, seed: u64) -> Vec<f32> {
        self.normalize(&augmentation.view(self, picture, seed))
    }

    /// The 8-bit picture of the input's size, before normalization.
    ///
    /// Resizing and cropping are one step: the crop is computed in the picture's own pixels, so nothing outside of it is
    /// resampled. The crop begins where torchvision's does (`int(round((side − crop) / 2))` of the resized picture).
    pub fn pixels(&self, picture: &RgbImage) -> RgbImage {
        resize_region(picture, self.region(picture.width(), picture.height()), self.width, self.height)
    }

    /// The part of a picture that the input shows, in the picture's pixels.
    pub fn region(&self, width: u32, height: u32) -> Region {
        let (w, h) = (f64::from(width), f64::from(height));
        let ResizeRule::CenterCrop { fraction } = self.resize else {
            return Region { left: 0.0, top: 0.0, right: w, bottom: h };
        };
        // Sizes of the resized picture are whole numbers: the short side rounded, the long side cut.
        let short = (f64::from(self.width.min(self.height)) / f64::from(fraction)).round();
        let (resized_w, resized_h) =
            if w <= h { (short, (short * h / w).floor()) } else { ((short * w / h).floor(), short) };
        // An input that is not square must still fit.
        let resized_w = resized_w.max(f64::from(self.width));
        let resized_h = resized_h.max(f64::from(self.height));
        let left = ((resized_w - f64::from(self.width)) / 2.0).round_ties_even();
        let top = ((resized_h - f64::from(self.height)) / 2.0).round_ties_even();
        let (scale_x, scale_y) = (w / resized_w, h / resized_h);
        Region {
            left: left * scale_x,
            top: top * scale_y,
            right: (left + f64::from(self.width)) * scale_x,
            bottom: (top + f64::from(self.height)) * scale_y,
        }
    }

    /// Normalized values `[H, W, 3]` of a picture of the input's size.
    pub(crate) fn normalize(&self, picture: &RgbImage) -> Vec<f32> {
        let tables: [[f32; 256]; 3] = std::array::from_fn(|channel| {
            std::array::from_fn(|value| (value as f32 / self.divisor - self.mean[channel]) / self.deviation[channel])
        });
        let order = match self.channels {
            ChannelOrder::Rgb => [0, 1, 2],
            ChannelOrder::Bgr => [2, 1, 0],
        };
        let mut values = Vec::with_capacity(picture.as_raw().len());
        for pixel in picture.as_raw().chunks_exact(3) {
            values.extend((0..3).map(|channel| tables[channel][usize::from(pixel[order[channel]])]));
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_normalizations_give_the_published_values() {
        let picture = RgbImage::from_pixel(8, 8, image::Rgb([255, 0, 51]));
        let first = |preprocess: Preprocess| preprocess.apply(&picture)[..3].to_vec();
        assert_eq!(first(Preprocess::tensorflow(8)), [1.0, -1.0, 51.0 / 127.5 - 1.0]);
        let torch = first(Preprocess::torchvision(8));
        let expected = [(1.0 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225];
        assert!(torch.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{torch:?}");
        assert_eq!(first(Preprocess::caffe(8)), [51.0 - 103.939, -116.779, 255.0 - 123.68]);
    }

    #[test]
    fn the_crop_is_the_centre_of_the_resized_picture() {
        let region = Preprocess::torchvision(224).region(256, 512);
        assert_eq!((region.left, region.right), (16.0, 240.0));
        assert_eq!((region.top, region.bottom), (144.0, 368.0));
    }

    #[test]
    fn every_shape_of_picture_gives_the_whole_input() {
        for (width, height) in [(1, 1), (1, 700), (700, 1), (224, 224), (3, 5)] {
            let picture = RgbImage::from_pixel(width, height, image::Rgb([9, 9, 9]));
            for preprocess in [Preprocess::torchvision(32), Preprocess { width: 48, ..Preprocess::tensorflow(32) }] {
                let values = preprocess.apply(&picture);
                assert_eq!(values.len(), (preprocess.width * preprocess.height * 3) as usize);
                assert!(values.iter().all(|value| value.is_finite()));
            }
        }
    }
}
