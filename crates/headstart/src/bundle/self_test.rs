//! A few pictures with the outputs that they must give, run whenever a bundle is opened.
//!
//! The pictures are generated, not taken from the user's data: a bundle may be shared, its training photos may not.
//! They are stored as 8-bit pictures of another size than the input, so that preprocessing is tested too.

use headstart_data::image::RgbImage;

use crate::random::Stream;

/// Name of the tensor of pictures, `[N, H, W, 3]` u8.
pub(crate) const PICTURES: &str = "self_test.pictures";

/// Name of the tensor of outputs, `[N, outputs]` f32.
pub(crate) const OUTPUTS: &str = "self_test.outputs";

/// Name of the texts of a bundle that reads texts, a line each, UTF-8.
pub(crate) const TEXTS: &str = "self_test.texts";

/// Name of the recording of a bundle that hears, `[samples]` i16 little-endian at 16 kHz.
pub(crate) const SOUND: &str = "self_test.sound";

/// Bytes of a second and a half of glides and grain, louder and quieter, from whole numbers alone.
pub(crate) fn sound() -> Vec<u8> {
    let mut stream = Stream::new(0, "self-test sound", &[]);
    let (mut phases, mut bytes) = ([0i64; 3], Vec::new());
    for sample in 0..24_000i64 {
        let loud = 1 + (sample / 3_000) % 4;
        let mut value = stream.below(401) as i64 - 200;
        for (place, phase) in phases.iter_mut().enumerate() {
            *phase = (*phase + 400 + 700 * place as i64 + sample / 40) % 65_536;
            // A triangle from −8192 to 8192.
            value += ((*phase - 32_768).abs() - 16_384) / 2 * loud / 4;
        }
        bytes.extend((value.clamp(-32_768, 32_767) as i16).to_le_bytes());
    }
    bytes
}

/// Long and short, of several scripts and with tokens that few vocabularies have.
pub(crate) const SENTENCES: &str = "The quick brown fox jumps over the lazy dog.\n\
    It was neither good nor bad, but I would see it again!\n\
    Añadió 1,234.5 €, że 東京 привет 🙂\n\
    no";

const COUNT: usize = 2;
const WIDTH: u32 = 80;
const HEIGHT: u32 = 64;

/// Largest difference, relative to the largest output, that another processor's rounding may make.
pub(crate) const TOLERANCE: f32 = 1e-3;

/// Colour gradients with blobs and grain: something at every scale, from whole numbers alone.
pub(crate) fn pictures() -> Vec<RgbImage> {
    (0..COUNT as u64)
        .map(|number| {
            let mut stream = Stream::new(number, "self-test", &[]);
            let blobs: Vec<[i32; 6]> = (0..6)
                .map(|_| {
                    let mut below = |bound| stream.below(bound) as i32;
                    [below(WIDTH as usize), below(HEIGHT as usize), 6 + below(20), below(256), below(256), below(256)]
                })
                .collect();
            RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
                let (x, y) = (x as i32, y as i32);
                let mut pixel = [40 + 2 * x, 20 + 3 * y, 200 - x - y];
                for [cx, cy, radius, colour @ ..] in &blobs {
                    if (x - cx).pow(2) + (y - cy).pow(2) < radius.pow(2) {
                        pixel = *colour;
                    }
                }
                let grain = stream.below(17) as i32 - 8;
                image::Rgb(pixel.map(|value| (value + grain).clamp(0, 255) as u8))
            })
        })
        .collect()
}

/// Index, value and expectation of the output that differs most, if it differs too much.
pub(crate) fn worst(found: &[f32], expected: &[f32]) -> Option<(usize, f32, f32)> {
    let largest = expected.iter().fold(1e-3f32, |largest, value| largest.max(value.abs()));
    let (index, found, expected) = found
        .iter()
        .zip(expected)
        .enumerate()
        .map(|(index, (found, expected))| (index, *found, *expected))
        .max_by(|a, b| (a.1 - a.2).abs().total_cmp(&(b.1 - b.2).abs()))?;
    // Written so that a NaN fails too.
    let passes = (found - expected).abs() <= TOLERANCE * largest;
    (!passes).then_some((index, found, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pictures_never_change() {
        let bytes: Vec<u8> = pictures().into_iter().flat_map(RgbImage::into_raw).collect();
        assert_eq!(bytes.len(), COUNT * (WIDTH * HEIGHT * 3) as usize);
        let again: Vec<u8> = pictures().into_iter().flat_map(RgbImage::into_raw).collect();
        assert_eq!(bytes, again);
    }

    #[test]
    fn rounding_passes_and_a_change_or_a_nan_fails() {
        assert_eq!(worst(&[1.0, -3.0], &[1.0, -3.000_001]), None);
        assert_eq!(worst(&[1.0, -2.9], &[1.0, -3.0]), Some((1, -2.9, -3.0)));
        assert!(worst(&[f32::NAN, 0.0], &[1.0, 0.0]).is_some());
    }
}
