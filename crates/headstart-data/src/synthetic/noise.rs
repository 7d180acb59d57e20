//! Random fields and the few functions of analysis that the pictures need, the same to the last bit on every machine.
//!
//! The sines and arc tangents of system libraries differ in their last bits; these are made of sums, products and square
//! roots, which IEEE 754 fixes.

/// A stream of random numbers (SplitMix64; Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((self.bits() >> 32) as usize * bound) >> 32
    }

    /// Whether something of this probability happens.
    pub(super) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Random value of a lattice point, in [0, 1).
fn lattice(seed: u64, x: i32, y: i32) -> f32 {
    let point = u64::from(x as u32) | u64::from(y as u32) << 32;
    (mixed(seed ^ point.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 40) as f32 / (1u64 << 24) as f32
}

/// Smooth random field in [0, 1] with features of size 1.
pub(super) fn value_noise(seed: u64, x: f32, y: f32) -> f32 {
    let (x0, y0) = (x.floor(), y.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (fx, fy) = (ease(x - x0), ease(y - y0));
    let (x0, y0) = (x0 as i32, y0 as i32);
    let at = |dx: i32, dy: i32| lattice(seed, x0.wrapping_add(dx), y0.wrapping_add(dy));
    let top = at(0, 0) * (1.0 - fx) + at(1, 0) * fx;
    let bottom = at(0, 1) * (1.0 - fx) + at(1, 1) * fx;
    top * (1.0 - fy) + bottom * fy
}

/// Four octaves of [`value_noise`], in [0, 1].
pub(super) fn cloud(seed: u64, x: f32, y: f32) -> f32 {
    let octave = |number: u32, weight: f32| {
        let scale = (1 << number) as f32;
        weight * value_noise(seed.wrapping_add(u64::from(number)), x * scale, y * scale)
    };
    octave(0, 0.5) + octave(1, 0.27) + octave(2, 0.15) + octave(3, 0.08)
}

/// sin(2π · turns), within 2e-4.
pub(super) fn sine(turns: f32) -> f32 {
    // Bhaskara-like parabola on a half turn, bent once to meet the sine.
    let part = turns - (turns + 0.5).floor(); // −0.5 … 0.5
    let parabola = 8.0 * part * (1.0 - 2.0 * part.abs());
    0.225 * (parabola * parabola.abs() - parabola) + parabola
}

/// cos(2π · turns).
pub(super) fn cosine(turns: f32) -> f32 {
    sine(turns + 0.25)
}

/// The angle of (x, y) in turns, −0.5 … 0.5, within 5e-4.
pub(super) fn angle(y: f32, x: f32) -> f32 {
    let (low, high) = (x.abs().min(y.abs()), x.abs().max(y.abs()).max(1e-9));
    let ratio = low / high;
    let square = ratio * ratio;
    // Minimax polynomial of atan on 0 … 1.
    let mut turn = ratio * (0.999_77 + square * (-0.327_62 + square * (0.159_31 - square * 0.046_496)));
    turn /= std::f32::consts::TAU;
    if y.abs() > x.abs() {
        turn = 0.25 - turn;
    }
    if x < 0.0 {
        turn = 0.5 - turn;
    }
    if y < 0.0 { -turn } else { turn }
}

/// 0 below `low`, 1 above `high`, smooth between.
pub(super) fn smooth_step(low: f32, high: f32, value: f32) -> f32 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sine_and_angle_are_what_they_say() {
        for step in -200..200 {
            let turns = step as f32 / 77.0;
            assert!((sine(turns) - (turns * std::f32::consts::TAU).sin()).abs() < 2e-3, "{turns}");
            let (x, y) = (cosine(turns), sine(turns));
            let expected = y.atan2(x) / std::f32::consts::TAU;
            assert!((angle(y, x) - expected).abs() < 1e-3, "{turns}");
        }
    }

    #[test]
    fn noise_stays_within_bounds_and_varies() {
        let values: Vec<f32> = (0..1000).map(|i| cloud(3, i as f32 * 0.37, i as f32 * -0.11)).collect();
        assert!(values.iter().all(|value| (0.0..=1.0).contains(value)));
        let (low, high) =
            values.iter().fold((1.0f32, 0.0f32), |(low, high), value| (low.min(*value), high.max(*value)));
        assert!(high - low > 0.4, "{low} {high}");
    }
}
