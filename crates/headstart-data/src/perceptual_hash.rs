//! Recognizing the same photo after resizing, re-encoding, mirroring or a change of light.
//!
//! Two 64-bit hashes of a picture reduced to grey: the gradient hash (is each of 9 × 8 cells brighter than its right
//! neighbour) and the low frequencies of a 32 × 32 cosine transform against their median; and the mean colours of a
//! 4 × 4 grid. Two photos are near-identical when all three agree, either way round.

use image::RgbImage;

use crate::image::resize_bilinear;

/// What is remembered of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerceptualHash {
    /// Gradient hash and cosine hash of the picture.
    plain: [u64; 2],
    /// The same of its mirror image.
    mirrored: [u64; 2],
    /// Mean colours of a 4 × 4 grid, row by row.
    colors: [[u8; 3]; 16],
}

/// Most of 64 bits that may differ between near-identical pictures, of the gradient and of the cosine hash.
const MOST_BITS: [u32; 2] = [9, 10];

/// Largest mean difference of the grid's colours, of 255.
const MOST_COLOR: u32 = 20;

impl PerceptualHash {
    /// Hashes a picture.
    pub fn of(picture: &RgbImage) -> Self {
        let small = resize_bilinear(picture, 32, 32);
        let grey: Vec<f32> = small
            .as_raw()
            .chunks_exact(3)
            .map(|rgb| 0.299 * f32::from(rgb[0]) + 0.587 * f32::from(rgb[1]) + 0.114 * f32::from(rgb[2]))
            .collect();
        let flipped: Vec<f32> = grey.chunks_exact(32).flat_map(|row| row.iter().rev().copied()).collect();
        let grid = resize_bilinear(&small, 4, 4);
        let mut colors = [[0; 3]; 16];
        for (color, rgb) in colors.iter_mut().zip(grid.as_raw().chunks_exact(3)) {
            color.copy_from_slice(rgb);
        }
        Self {
            plain: [gradient_hash(&grey), cosine_hash(&grey)],
            mirrored: [gradient_hash(&flipped), cosine_hash(&flipped)],
            colors,
        }
    }

    /// Whether two pictures look like copies of each other.
    pub fn is_near(&self, other: &Self) -> bool {
        let close = |a: [u64; 2], b: [u64; 2]| (0..2).all(|i| (a[i] ^ b[i]).count_ones() <= MOST_BITS[i]);
        (close(self.plain, other.plain) && self.color_distance(other, false) <= MOST_COLOR)
            || (close(self.plain, other.mirrored) && self.color_distance(other, true) <= MOST_COLOR)
    }

    fn color_distance(&self, other: &Self, mirrored: bool) -> u32 {
        let mut sum = 0;
        for (index, color) in self.colors.iter().enumerate() {
            let (row, column) = (index / 4, index % 4);
            let there = other.colors[row * 4 + if mirrored { 3 - column } else { column }];
            sum += (0..3).map(|channel| u32::from(color[channel].abs_diff(there[channel]))).sum::<u32>();
        }
        sum / 48
    }

    /// The hash as bytes, for storing.
    pub(crate) fn to_bytes(self) -> [u8; 80] {
        let mut bytes = [0; 80];
        let words = [self.plain[0], self.plain[1], self.mirrored[0], self.mirrored[1]];
        for (slot, word) in bytes.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        bytes[32..].copy_from_slice(self.colors.as_flattened());
        bytes
    }

    /// Reads what [`Self::to_bytes`] gave.
    pub(crate) fn from_bytes(bytes: &[u8; 80]) -> Self {
        let word = |index: usize| u64::from_le_bytes(std::array::from_fn(|offset| bytes[index * 8 + offset]));
        let mut colors = [[0; 3]; 16];
        colors.as_flattened_mut().copy_from_slice(&bytes[32..]);
        Self { plain: [word(0), word(1)], mirrored: [word(2), word(3)], colors }
    }
}

/// 8 rows of 9 cells: is each cell brighter than the one to its right?
fn gradient_hash(grey: &[f32]) -> u64 {
    let cell = |row: usize, column: usize| {
        let (left, right) = (column * 32 / 9, ((column + 1) * 32).div_ceil(9));
        let sum: f32 = (row * 4..row * 4 + 4).map(|y| grey[y * 32 + left..y * 32 + right].iter().sum::<f32>()).sum();
        sum / (4 * (right - left)) as f32
    };
    let mut hash = 0;
    for row in 0..8 {
        for column in 0..8 {
            hash = hash << 1 | u64::from(cell(row, column) > cell(row, column + 1));
        }
    }
    hash
}

/// The 8 × 8 lowest frequencies (without the constant row and column) against their median.
fn cosine_hash(grey: &[f32]) -> u64 {
    let basis: Vec<[f32; 32]> = (1..=8)
        .map(|frequency| {
            std::array::from_fn(|x| (std::f32::consts::PI * (x as f32 + 0.5) * frequency as f32 / 32.0).cos())
        })
        .collect();
    let mut half = [[0f32; 32]; 8];
    for (row, wave) in half.iter_mut().zip(&basis) {
        for (x, value) in row.iter_mut().enumerate() {
            *value = (0..32).map(|y| grey[y * 32 + x] * wave[y]).sum();
        }
    }
    let values: Vec<f32> = half
        .iter()
        .flat_map(|row| basis.iter().map(move |wave| row.iter().zip(wave).map(|(a, b)| a * b).sum()))
        .collect();
    let mut sorted = values.clone();
    sorted.sort_by(f32::total_cmp);
    let median = (sorted[31] + sorted[32]) / 2.0;
    values.iter().fold(0, |hash, value| hash << 1 | u64::from(*value > median))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::imageops;

    /// Smooth blobs of random place, size and colour.
    fn photo(seed: u32) -> RgbImage {
        let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        let blobs: Vec<[f32; 6]> =
            (0..8).map(|_| [next(), next(), 0.1 + 0.3 * next(), next(), next(), next()]).collect();
        RgbImage::from_fn(120, 90, |x, y| {
            let (x, y) = (x as f32 / 120.0, y as f32 / 90.0);
            let mut color = [60.0f32, 80.0, 70.0];
            for [cx, cy, radius, rgb @ ..] in &blobs {
                let near = (1.0 - ((x - cx).powi(2) + (y - cy).powi(2)) / radius.powi(2)).max(0.0);
                for channel in 0..3 {
                    color[channel] = color[channel] * (1.0 - near) + 255.0 * rgb[channel] * near;
                }
            }
            image::Rgb(color.map(|value| value as u8))
        })
    }

    #[test]
    fn copies_are_recognized_and_other_photos_are_not() {
        for seed in 0..20 {
            let original = photo(seed);
            let hash = PerceptualHash::of(&original);
            let brighter = RgbImage::from_fn(120, 90, |x, y| {
                image::Rgb(original.get_pixel(x, y).0.map(|value| (f32::from(value) * 1.08).min(255.0) as u8))
            });
            let mut jpeg = std::io::Cursor::new(Vec::new());
            let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 40);
            original.write_with_encoder(encoder).unwrap();
            let recompressed = image::load_from_memory(jpeg.get_ref()).unwrap().into_rgb8();
            let copies = [
                resize_bilinear(&original, 64, 48),
                resize_bilinear(&original, 240, 180),
                imageops::flip_horizontal(&original),
                resize_bilinear(&imageops::flip_horizontal(&original), 80, 60),
                brighter,
                recompressed,
            ];
            for (index, copy) in copies.iter().enumerate() {
                assert!(hash.is_near(&PerceptualHash::of(copy)), "photo {seed}, copy {index}");
            }
            for other in seed + 1..20 {
                assert!(!hash.is_near(&PerceptualHash::of(&photo(other))), "photos {seed} and {other}");
            }
        }
    }

    #[test]
    fn a_hash_survives_storing() {
        let hash = PerceptualHash::of(&photo(3));
        assert_eq!(PerceptualHash::from_bytes(&hash.to_bytes()), hash);
    }
}
