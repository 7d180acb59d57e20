//! Antialiased bilinear resizing as Pillow and torchvision do it: a triangle as wide as the reduction.
//!
//! Two passes, rows then columns, with 8-bit values between them and 22-bit fixed-point weights, as in Pillow 11
//! `Resample.c`, so that the results agree to the bit.

use image::RgbImage;

/// Bits after the binary point of the weights.
const PRECISION: u32 = 22;

/// A part of a picture, in pixels; the edges may lie between pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    /// Left edge.
    pub left: f64,
    /// Top edge.
    pub top: f64,
    /// Right edge.
    pub right: f64,
    /// Bottom edge.
    pub bottom: f64,
}

/// Source pixels and weights of one pixel of the result.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// Resizes a whole picture.
pub fn resize_bilinear(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (right, bottom) = (f64::from(picture.width()), f64::from(picture.height()));
    resize_region(picture, Region { left: 0.0, top: 0.0, right, bottom }, width, height)
}

/// Resizes a part of a picture, as `Image.resize(box=…)` does.
pub fn resize_region(picture: &RgbImage, region: Region, width: u32, height: u32) -> RgbImage {
    let (source_width, source_height) = (picture.width() as usize, picture.height() as usize);
    let columns = taps(region.left, region.right, source_width, width as usize);
    let rows = taps(region.top, region.bottom, source_height, height as usize);
    let source = picture.as_raw();
    // Only the source rows that some row of the result needs.
    let first_row = rows.first().map_or(0, |row| row.first);
    let last_row = rows.last().map_or(0, |row| row.first + row.weights.len());
    let stride = width as usize * 3;
    let mut narrowed = vec![0u8; (last_row - first_row) * stride];
    for (y, output) in narrowed.chunks_exact_mut(stride.max(1)).enumerate() {
        let input = &source[(first_row + y) * source_width * 3..][..source_width * 3];
        for (pixel, tap) in output.chunks_exact_mut(3).zip(&columns) {
            let mut sums = [1i32 << (PRECISION - 1); 3];
            for (rgb, weight) in input[tap.first * 3..].chunks_exact(3).zip(&tap.weights) {
                for channel in 0..3 {
                    sums[channel] += i32::from(rgb[channel]) * weight;
                }
            }
            for channel in 0..3 {
                pixel[channel] = clipped(sums[channel]);
            }
        }
    }
    let mut result = vec![0u8; height as usize * stride];
    let mut sums = vec![0i32; stride];
    for (output, tap) in result.chunks_exact_mut(stride.max(1)).zip(&rows) {
        sums.fill(1 << (PRECISION - 1));
        for (offset, weight) in tap.weights.iter().enumerate() {
            let input = &narrowed[(tap.first - first_row + offset) * stride..][..stride];
            for (sum, value) in sums.iter_mut().zip(input) {
                *sum += i32::from(*value) * weight;
            }
        }
        for (value, sum) in output.iter_mut().zip(&sums) {
            *value = clipped(*sum);
        }
    }
    RgbImage::from_raw(width, height, result).expect("three bytes a pixel")
}

fn clipped(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// For each of `count` results, the source pixels under its triangle and their weights, which sum to one.
fn taps(from: f64, to: f64, length: usize, count: usize) -> Vec<Taps> {
    let scale = (to - from) / count as f64;
    let filter_scale = scale.max(1.0);
    (0..count)
        .map(|index| {
            let center = from + (index as f64 + 0.5) * scale;
            let first = ((center - filter_scale + 0.5) as isize).clamp(0, length as isize - 1) as usize;
            let last = ((center + filter_scale + 0.5) as usize).clamp(first + 1, length);
            let triangle = |pixel: usize| (1.0 - ((pixel as f64 - center + 0.5) / filter_scale).abs()).max(0.0);
            let weights: Vec<f64> = (first..last).map(triangle).collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |weight: &f64| {
                let weight = if sum == 0.0 { 1.0 / weights.len() as f64 } else { weight / sum };
                (0.5 + weight * f64::from(1u32 << PRECISION)) as i32
            };
            Taps { first, weights: weights.iter().map(fixed).collect() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: u32, height: u32) -> RgbImage {
        let mut state = 1u32;
        RgbImage::from_fn(width, height, |_, _| {
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            };
            image::Rgb([next(), next(), next()])
        })
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        let picture = noise(17, 9);
        assert_eq!(resize_bilinear(&picture, 17, 9), picture);
    }

    #[test]
    fn an_even_colour_stays_itself_at_any_size() {
        let picture = RgbImage::from_pixel(31, 7, image::Rgb([200, 3, 255]));
        for (width, height) in [(1, 1), (5, 50), (64, 3), (224, 224)] {
            let resized = resize_bilinear(&picture, width, height);
            assert!(resized.pixels().all(|pixel| pixel.0 == [200, 3, 255]), "{width} × {height}");
        }
    }

    #[test]
    fn halving_a_picture_of_pairs_gives_their_weighted_mean() {
        // Pillow 11: Image.fromarray([[0, 100, 200, 40]]).resize((2, 1), BILINEAR) → 71, 117.
        let picture = RgbImage::from_fn(4, 1, |x, _| image::Rgb([[0, 100, 200, 40][x as usize]; 3]));
        let values: Vec<u8> = resize_bilinear(&picture, 2, 1).pixels().map(|pixel| pixel.0[0]).collect();
        assert_eq!(values, [71, 117]);
    }
}
