//! A photograph of a leaf: ground, other leaves, light, shadow, camera.

use image::RgbImage;

use super::leaf_shape::LeafShape;
use super::leaves::Species;
use super::noise::{Draws, cloud, cosine, sine, smooth_step, value_noise};

type Color = [f32; 3];

/// Samples along a side of a pixel.
const SUPERSAMPLING: u32 = 2;

/// A leaf somewhere in the picture.
struct Placed {
    shape: LeafShape,
    /// Middle of the blade in the picture, 0 … 1.
    center: [f32; 2],
    /// Picture units per leaf length.
    scale: f32,
    turn: f32,
    /// How much the leaf is foreshortened, and where to.
    tilt: [f32; 2],
    colors: [Color; 2],
    seed: u64,
    gloss: f32,
    /// Darkened by others above it, and out of focus.
    dim: f32,
}

/// Where a leaf's colour begins and where it ends: from one tone to another, independent of the species.
const FOLIAGE: [Color; 7] = [
    [0.18, 0.36, 0.10],
    [0.30, 0.50, 0.16],
    [0.13, 0.28, 0.14],
    [0.62, 0.62, 0.18],
    [0.80, 0.62, 0.16],
    [0.66, 0.30, 0.12],
    [0.45, 0.24, 0.12],
];

fn mix(a: Color, b: Color, t: f32) -> Color {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * t)
}

fn scaled(color: Color, factor: f32) -> Color {
    color.map(|value| value * factor)
}

impl Placed {
    fn new(species: Species, center: [f32; 2], scale: f32, dim: f32, draws: &mut Draws) -> Self {
        let tone = draws.below(FOLIAGE.len());
        let other = if draws.chance(0.6) { tone } else { draws.below(FOLIAGE.len()) };
        let vary = |color: Color, draws: &mut Draws| color.map(|value| value * draws.between(0.8, 1.2));
        Self {
            shape: LeafShape::new(species, draws),
            center,
            scale,
            turn: draws.unit(),
            tilt: [draws.between(-0.35, 0.35), draws.between(0.72, 1.0)],
            colors: [vary(FOLIAGE[tone], draws), vary(FOLIAGE[other], draws)],
            seed: draws.bits(),
            gloss: draws.between(0.0, 0.25),
            dim,
        }
    }

    /// Picture → leaf plane.
    fn to_leaf(&self, x: f32, y: f32) -> (f32, f32) {
        let (dx, dy) = ((x - self.center[0]) / self.scale, (y - self.center[1]) / self.scale);
        let (sin, cos) = (sine(self.turn), cosine(self.turn));
        let (u, v) = (dx * cos + dy * sin, dy * cos - dx * sin);
        // Perspective: what leans away is smaller.
        let depth = 1.0 + self.tilt[0] * v * 0.6;
        (u * depth / self.tilt[1], 0.5 - v * depth)
    }

    /// Whether neither the leaf nor its shadow can reach a point: most of the picture, and most of the time.
    fn is_far(&self, x: f32, y: f32) -> bool {
        let (dx, dy) = (x - self.center[0], y - self.center[1]);
        dx * dx + dy * dy > (0.95 * self.scale) * (0.95 * self.scale)
    }

    /// How much of the light is kept from a point by this leaf, 0 … 1.
    fn shadow(&self, x: f32, y: f32, light: [f32; 2]) -> f32 {
        if self.is_far(x, y) {
            return 0.0;
        }
        let mut covered = 0.0;
        for step in 0..3 {
            let far = 0.022 + 0.018 * step as f32;
            let (u, v) = self.to_leaf(x + light[0] * far, y + light[1] * far);
            covered += smooth_step(-0.03, 0.03, self.shape.at(u, v).inside);
        }
        0.55 * covered / 3.0
    }

    /// The leaf's colour at a point, if it is there.
    fn color(&self, x: f32, y: f32, light: [f32; 2]) -> Option<Color> {
        if self.is_far(x, y) {
            return None;
        }
        let (u, v) = self.to_leaf(x, y);
        if !(-0.5..1.3).contains(&v) || u.abs() > 1.0 {
            return None;
        }
        let point = self.shape.at(u, v);
        if point.inside <= 0.0 {
            return None;
        }
        let patch = cloud(self.seed, u * 6.0, v * 6.0);
        let speckle = value_noise(self.seed ^ 5, u * 70.0, v * 70.0);
        let edge = smooth_step(0.10, 0.0, point.inside);
        let mut color = mix(self.colors[0], self.colors[1], smooth_step(0.35, 0.75, patch + 0.25 * edge));
        color = scaled(color, 0.88 + 0.24 * speckle);
        let pale = mix(color, [0.80, 0.80, 0.52], 0.55);
        color = mix(color, pale, point.vein * if point.is_stalk { 0.3 } else { 0.62 });
        // The halves of a leaf lean to either side of its midrib and catch the light differently.
        let lean =
            if point.across < 0.0 { -1.0 } else { 1.0 } * (light[0] * cosine(self.turn) + light[1] * sine(self.turn));
        let bulge = value_noise(self.seed ^ 7, u * 9.0, v * 9.0) - 0.5;
        let lit = 0.92 + 0.16 * lean + 0.35 * bulge * 0.5 - 0.10 * point.vein * lean;
        color = scaled(color, lit * self.dim);
        let shine = smooth_step(0.62, 0.9, value_noise(self.seed ^ 11, u * 4.0 + lean, v * 4.0)) * self.gloss;
        Some(mix(color, [0.95, 0.97, 1.0], shine * self.dim))
    }
}

/// What lies under the leaves.
struct Ground {
    kind: usize,
    seed: u64,
    turn: f32,
    base: Color,
}

impl Ground {
    fn new(draws: &mut Draws) -> Self {
        let kind = draws.below(6);
        let base = match kind {
            0 => [0.30, 0.22, 0.15],
            1 => [0.52, 0.36, 0.22],
            2 => [0.50, 0.50, 0.48],
            3 => [0.24, 0.38, 0.14],
            4 => [0.86, 0.84, 0.80],
            _ => [0.40, 0.31, 0.20],
        };
        Self {
            kind,
            seed: draws.bits(),
            turn: draws.unit(),
            base: base.map(|value: f32| value * draws.between(0.8, 1.18)),
        }
    }

    fn color(&self, x: f32, y: f32) -> Color {
        let (sin, cos) = (sine(self.turn), cosine(self.turn));
        let (u, v) = (x * cos + y * sin, y * cos - x * sin);
        let seed = self.seed;
        match self.kind {
            // Soil: clods and grains.
            0 => scaled(
                self.base,
                0.45 + 0.7 * cloud(seed, u * 9.0, v * 9.0) + 0.35 * value_noise(seed ^ 1, u * 60.0, v * 60.0),
            ),
            // Wood: long grain with rings.
            1 => {
                let ring = sine(v * 7.0 + 1.5 * cloud(seed, u * 1.2, v * 3.0));
                scaled(self.base, 0.85 + 0.12 * ring + 0.3 * (value_noise(seed, u * 5.0, v * 90.0) - 0.5))
            }
            // Stone: patches and specks.
            2 => {
                let speck = smooth_step(0.78, 0.9, value_noise(seed ^ 2, u * 80.0, v * 80.0));
                scaled(self.base, 0.75 + 0.45 * cloud(seed, u * 5.0, v * 5.0) - 0.3 * speck)
            }
            // Grass out of focus: soft blades.
            3 => {
                let blades = cloud(seed, u * 14.0, v * 2.2);
                mix(scaled(self.base, 0.6 + 0.7 * blades), [0.55, 0.62, 0.25], smooth_step(0.6, 0.8, blades))
            }
            // Paper: almost nothing.
            4 => scaled(self.base, 0.97 + 0.05 * value_noise(seed, u * 40.0, v * 40.0)),
            // Litter: brown shreds.
            _ => {
                let shred = cloud(seed, u * 12.0 + 3.0 * cloud(seed ^ 4, u * 3.0, v * 3.0), v * 12.0);
                scaled(self.base, 0.4 + 1.1 * smooth_step(0.3, 0.75, shred))
            }
        }
    }
}

/// Takes the photograph.
pub(super) fn photograph(species: Species, draws: &mut Draws, size: u32) -> RgbImage {
    let ground = Ground::new(draws);
    let turn = draws.unit();
    let light = [cosine(turn), sine(turn)];
    let mut leaves = Vec::new();
    for _ in 0..draws.below(4) {
        // Clutter keeps to the border, cut off by it.
        let side = draws.unit();
        let center = [0.5 + 0.62 * cosine(side), 0.5 + 0.62 * sine(side)];
        let other = Species::ALL[draws.below(Species::ALL.len())];
        let (scale, dim) = (draws.between(0.35, 0.6), draws.between(0.5, 0.85));
        leaves.push(Placed::new(other, center, scale, dim, draws));
    }
    let center = [draws.between(0.44, 0.56), draws.between(0.44, 0.56)];
    let scale = draws.between(0.68, 0.92);
    leaves.push(Placed::new(species, center, scale, 1.0, draws));

    let samples = size * SUPERSAMPLING;
    let mut fine = vec![[0.0f32; 3]; (samples * samples) as usize];
    for (index, sample) in fine.iter_mut().enumerate() {
        let (px, py) = (index as u32 % samples, index as u32 / samples);
        let (x, y) = ((px as f32 + 0.5) / samples as f32, (py as f32 + 0.5) / samples as f32);
        let mut color = ground.color(x, y);
        for leaf in &leaves {
            color = match leaf.color(x, y, light) {
                Some(leaf) => leaf,
                None => scaled(color, 1.0 - leaf.shadow(x, y, light)),
            };
        }
        *sample = color;
    }
    develop(&fine, samples, size, light, draws)
}

/// Lens and sensor: pixels from samples, sometimes out of focus, vignette, white balance, exposure, noise.
fn develop(fine: &[Color], samples: u32, size: u32, light: [f32; 2], draws: &mut Draws) -> RgbImage {
    let reach = if draws.chance(0.25) { 1 + draws.below(2) as i32 } else { 0 };
    let balance = [draws.between(0.88, 1.12), 1.0, draws.between(0.86, 1.14)];
    let exposure = draws.between(0.75, 1.3);
    let vignette = draws.between(0.0, 0.5);
    let grain = draws.between(0.004, 0.03);
    let slope = draws.between(0.0, 0.3);
    let noise_seed = draws.bits();
    let limit = samples as i32 - 1;
    RgbImage::from_fn(size, size, |x, y| {
        let mut sum = [0.0f32; 3];
        let mut count = 0.0;
        let step = SUPERSAMPLING as i32;
        for sy in -reach * step..step + reach * step {
            for sx in -reach * step..step + reach * step {
                let px = (x as i32 * step + sx).clamp(0, limit);
                let py = (y as i32 * step + sy).clamp(0, limit);
                let sample = fine[(py * samples as i32 + px) as usize];
                (0..3).for_each(|i| sum[i] += sample[i]);
                count += 1.0;
            }
        }
        let (u, v) = (x as f32 / size as f32 - 0.5, y as f32 / size as f32 - 0.5);
        let fall = exposure * (1.0 - vignette * (u * u + v * v)) * (1.0 - slope * (u * light[0] + v * light[1]));
        image::Rgb(std::array::from_fn(|i| {
            let mut pixel = Draws::new(noise_seed ^ u64::from(x) << 40 ^ u64::from(y) << 16 ^ i as u64);
            // Three uniform draws make noise enough like a sensor's.
            let noise = pixel.unit() + pixel.unit() + pixel.unit() - 1.5;
            let value = (sum[i] / count * balance[i] * fall).max(0.0) + noise * grain;
            // The square root is the film's curve.
            ((value.clamp(0.0, 1.0).sqrt() * 0.55 + value.clamp(0.0, 1.0) * 0.45) * 255.0 + 0.5) as u8
        }))
    })
}
