//! A box as its difference from an anchor, as RetinaNet and its kin learn it.
//!
//! Source: `BoxCoder` of torchvision 0.29 with the weights 1, 1, 1, 1.

use crate::boxes::BoundingBox;

/// Largest logarithm of a side that is decoded: ln(1000 / 16).
pub const LARGEST_LOGARITHM: f32 = 4.135_166_6;

/// x, y in sides of the anchor from middle to middle; logarithms of width and height in sides of the anchor.
///
/// Both must have an area; otherwise numbers come out that are not finite.
pub fn encode(place: &BoundingBox<f32>, anchor: &BoundingBox<f32>) -> [f32; 4] {
    let (ax, ay) = middle(anchor);
    let (x, y) = middle(place);
    let (width, height) = (anchor.width(), anchor.height());
    [(x - ax) / width, (y - ay) / height, (place.width() / width).ln(), (place.height() / height).ln()]
}

/// The box that a difference from an anchor stands for; sides are at most 62.5 times the anchor's.
pub fn decode(code: [f32; 4], anchor: &BoundingBox<f32>) -> BoundingBox<f32> {
    let [dx, dy, dw, dh] = code;
    let (width, height) = (anchor.width(), anchor.height());
    let (ax, ay) = middle(anchor);
    let (x, y) = (dx * width + ax, dy * height + ay);
    let half = |logarithm: f32, side: f32| 0.5 * (logarithm.min(LARGEST_LOGARITHM).exp() * side);
    let (half_width, half_height) = (half(dw, width), half(dh, height));
    BoundingBox::new(x - half_width, y - half_height, x + half_width, y + half_height)
}

/// In the reference's order of operations.
fn middle(place: &BoundingBox<f32>) -> (f32, f32) {
    (place.left + 0.5 * place.width(), place.top + 0.5 * place.height())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decoding_undoes_encoding(
            x in -50.0f32..50.0, y in -50.0f32..50.0, w in 4.0f32..200.0, h in 4.0f32..200.0,
            ax in -50.0f32..50.0, ay in -50.0f32..50.0, aw in 8.0f32..100.0, ah in 8.0f32..100.0,
        ) {
            let (place, anchor) = (BoundingBox::about(x, y, w, h), BoundingBox::about(ax, ay, aw, ah));
            let found = decode(encode(&place, &anchor), &anchor);
            // A few roundings of numbers up to 250.
            prop_assert!(found.sides().iter().zip(place.sides()).all(|(a, b)| (a - b).abs() < 1e-3), "{:?} {:?}", found, place);
        }
    }

    #[test]
    fn sides_are_bounded() {
        let anchor = BoundingBox::new(0.0, 0.0, 16.0, 16.0);
        let found = decode([0.0, 0.0, 1e30, 5.0], &anchor);
        assert!((found.width() - 1000.0).abs() < 1e-2 && (found.height() - 1000.0).abs() < 1e-2);
        assert!((f64::from(LARGEST_LOGARITHM) - (1000.0f64 / 16.0).ln()).abs() < 3e-7);
    }
}
