//! Other hue, saturation and brightness, which move no box.

use ::image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::augmentation::Draws;

/// How far colours may go.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsvJitter {
    /// Hue is turned by up to this part of the whole circle, either way.
    pub hue: f32,
    /// Saturation is multiplied by 1 / s to s, both as likely.
    pub saturation: f32,
    /// So is brightness.
    pub value: f32,
}

impl HsvJitter {
    /// What Darknet's networks were trained with.
    pub const fn photos() -> Self {
        Self { hue: 0.1, saturation: 1.5, value: 1.5 }
    }

    /// Changes a picture by one draw of each.
    pub(crate) fn apply(&self, picture: &mut RgbImage, draws: &mut Draws) {
        let turn = draws.between(-1.0, 1.0) * self.hue;
        let mut factor = |most: f32| {
            let far = most.max(1e-3).ln();
            (far * draws.between(-1.0, 1.0)).exp()
        };
        let (saturation, value) = (factor(self.saturation), factor(self.value));
        for pixel in picture.pixels_mut() {
            pixel.0 = changed(pixel.0, turn, saturation, value);
        }
    }
}

/// One pixel.
fn changed(rgb: [u8; 3], turn: f32, saturation: f32, value: f32) -> [u8; 3] {
    let [red, green, blue] = rgb.map(|channel| f32::from(channel) / 255.0);
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let chroma = most - least;
    // The hue in sixths of the circle.
    let sixths = if chroma <= 0.0 {
        0.0
    } else if most == red {
        ((green - blue) / chroma).rem_euclid(6.0)
    } else if most == green {
        (blue - red) / chroma + 2.0
    } else {
        (red - green) / chroma + 4.0
    };
    let sixths = (sixths + turn * 6.0).rem_euclid(6.0);
    let part = if most <= 0.0 { 0.0 } else { (chroma / most * saturation).clamp(0.0, 1.0) };
    let bright = (most * value).clamp(0.0, 1.0);
    let channel = |offset: f32| {
        let k = (offset + sixths).rem_euclid(6.0);
        let level = bright - bright * part * k.min(4.0 - k).clamp(0.0, 1.0);
        (level * 255.0 + 0.5) as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_change_is_none_and_turns_go_round() {
        for rgb in [[0, 0, 0], [255, 255, 255], [255, 0, 0], [12, 200, 99], [1, 2, 3], [250, 250, 3], [90, 10, 200]] {
            assert_eq!(changed(rgb, 0.0, 1.0, 1.0), rgb);
            assert_eq!(changed(rgb, 1.0, 1.0, 1.0), rgb);
            let grey = changed(rgb, 0.3, 0.0, 1.0);
            assert!(grey[0] == grey[1] && grey[1] == grey[2]);
        }
        assert_eq!(changed([255, 0, 0], 1.0 / 3.0, 1.0, 1.0), [0, 255, 0]);
        assert_eq!(changed([255, 0, 0], -1.0 / 3.0, 1.0, 1.0), [0, 0, 255]);
        assert_eq!(changed([100, 50, 0], 0.0, 1.0, 2.0), [200, 100, 0]);
    }
}
