//! Views of a training recording: faster or slower, louder or quieter, in noise, with parts of its features hidden.

use std::f32::consts::TAU;

use serde::{Deserialize, Serialize};

use super::resample::resample;
use crate::augmentation::Draws;
use crate::error::DataError;

/// What a view may sound like. Seeds are those of [`crate::augmentation::view_seed`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpeechAugmentation {
    /// Slowest and fastest, as factors of the speed; pitch goes along (Ko et al. 2015). Drawn in hundredths.
    pub speed: Option<[f32; 2]>,
    /// Quietest and loudest, in dB of the recording's own level.
    pub volume: Option<[f32; 2]>,
    /// Most and least white noise, as a ratio of signal to noise in dB.
    pub noise: Option<[f32; 2]>,
    /// Parts of the features that are hidden.
    pub masks: Option<SpecAugment>,
}

/// Stripes of features that are replaced by each feature's mean (Park et al. 2019, without time warping).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecAugment {
    /// Stripes over all frames.
    pub feature_masks: usize,
    /// Most neighbouring features of such a stripe.
    pub most_features: usize,
    /// Stripes over all features.
    pub time_masks: usize,
    /// Most neighbouring frames of such a stripe.
    pub most_frames: usize,
    /// Largest share of the recording that one such stripe may hide, in [0, 1].
    pub most_time: f32,
}

/// Purposes of draws, so that what is drawn for one does not hang on the others.
const SPEED: u64 = 0x0073_7065_6564;
const VOLUME: u64 = 0x766f_6c75_6d65;
const NOISE: u64 = 0x006e_6f69_7365;
const MASKS: u64 = 0x006d_6173_6b73;

impl SpeechAugmentation {
    /// What suits read speech: ±10 % of speed, ±6 dB, noise from 10 dB on, and two stripes each way.
    pub fn speech() -> Self {
        let masks = SpecAugment { feature_masks: 2, most_features: 6, time_masks: 2, most_frames: 20, most_time: 0.1 };
        Self { speed: Some([0.9, 1.1]), volume: Some([-6.0, 6.0]), noise: Some([10.0, 40.0]), masks: Some(masks) }
    }

    /// Whether ranges are ranges.
    ///
    /// # Errors
    /// [`DataError::Features`] with the range that is none.
    pub fn check(&self) -> Result<(), DataError> {
        let ranges = [
            ("speed", self.speed, 0.5, 2.0),
            ("volume", self.volume, -60.0, 60.0),
            ("noise", self.noise, -20.0, 100.0),
        ];
        for (name, range, least, most) in ranges {
            let Some([low, high]) = range else { continue };
            if !(least <= low && low <= high && high <= most) {
                let reason = format!("`{name}` from {low} to {high}, expected a range within {least} to {most}");
                return Err(DataError::Features { reason });
            }
        }
        match self.masks {
            Some(SpecAugment { most_time, .. }) if !(0.0..=1.0).contains(&most_time) => {
                let reason = format!("`most_time` is {most_time}, expected a share from 0 to 1");
                Err(DataError::Features { reason })
            }
            _ => Ok(()),
        }
    }

    /// The view of a recording at 16 kHz; a function of the samples and the seed.
    pub fn samples(&self, samples: &[f32], seed: u64) -> Vec<f32> {
        let mut view = match self.speed {
            Some([slow, fast]) => at_speed(samples, Draws(seed ^ SPEED).between(slow, fast)),
            None => samples.to_vec(),
        };
        if let Some([most, least]) = self.noise {
            let mut draws = Draws(seed ^ NOISE);
            let ratio = draws.between(most, least);
            let noise: Vec<f32> = (0..view.len()).map(|_| normal(&mut draws)).collect();
            add_noise(&mut view, &noise, ratio);
        }
        if let Some([quiet, loud]) = self.volume {
            let gain = decibels(Draws(seed ^ VOLUME).between(quiet, loud));
            view.iter_mut().for_each(|sample| *sample *= gain);
        }
        view.iter_mut().for_each(|sample| *sample = sample.clamp(-1.0, 1.0));
        view
    }

    /// Hides parts of features `[frames, width]`; a function of the features and the seed.
    pub fn hide(&self, frames: &mut [f32], width: usize, seed: u64) {
        let Some(masks) = self.masks else { return };
        let count = frames.len().checked_div(width).unwrap_or(0);
        if count == 0 {
            return;
        }
        let mut means = vec![0.0f64; width];
        for frame in frames.chunks_exact(width) {
            means.iter_mut().zip(frame).for_each(|(mean, value)| *mean += f64::from(*value));
        }
        let means: Vec<f32> = means.into_iter().map(|sum| (sum / count as f64) as f32).collect();
        let mut draws = Draws(seed ^ MASKS);
        for _ in 0..masks.feature_masks {
            let stripe = stripe(&mut draws, masks.most_features.min(width), width);
            for frame in frames.chunks_exact_mut(width) {
                frame[stripe.clone()].copy_from_slice(&means[stripe.clone()]);
            }
        }
        let longest = masks.most_frames.min((count as f32 * masks.most_time) as usize);
        for _ in 0..masks.time_masks {
            for frame in stripe(&mut draws, longest, count) {
                frames[frame * width..(frame + 1) * width].copy_from_slice(&means);
            }
        }
    }
}

/// A stretch of 0 to `most` of `all` places; `most` is at most `all`.
fn stripe(draws: &mut Draws, most: usize, all: usize) -> std::ops::Range<usize> {
    let size = ((draws.unit() * (most + 1) as f32) as usize).min(most);
    let start = ((draws.unit() * (all - size + 1) as f32) as usize).min(all - size);
    start..start + size
}

/// A recording at another speed, rounded to hundredths between half and double: ⌈samples / speed⌉ samples.
pub fn at_speed(samples: &[f32], speed: f32) -> Vec<f32> {
    let hundredths = ((speed * 100.0).round() as u32).clamp(50, 200);
    resample(samples, hundredths, 100)
}

/// Adds noise so that the ratio of signal to noise is `ratio` dB; short noise is repeated, and silence stays silence.
pub fn add_noise(samples: &mut [f32], noise: &[f32], ratio: f32) {
    let power = |values: &mut dyn Iterator<Item = f32>| {
        let (sum, count) =
            values.fold((0.0f64, 0usize), |(sum, count), value| (sum + f64::from(value).powi(2), count + 1));
        if count == 0 { 0.0 } else { sum / count as f64 }
    };
    let length = samples.len();
    let heard = power(&mut noise.iter().cycle().take(length).copied());
    if heard == 0.0 {
        return;
    }
    let gain = (power(&mut samples.iter().copied()) / heard).sqrt() as f32 / decibels(ratio);
    samples.iter_mut().zip(noise.iter().cycle()).for_each(|(sample, noise)| *sample += noise * gain);
}

/// A factor of amplitude.
fn decibels(decibels: f32) -> f32 {
    10f32.powf(decibels / 20.0)
}

/// Standard normal by Box–Muller.
fn normal(draws: &mut Draws) -> f32 {
    let radius = (-2.0 * (1.0 - draws.unit()).ln()).sqrt();
    radius * (TAU * draws.unit()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tone(samples: usize) -> Vec<f32> {
        (0..samples).map(|n| (n as f32 * 0.1).sin() * 0.5).collect()
    }

    fn rms(samples: &[f32]) -> f32 {
        (samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32).sqrt()
    }

    #[test]
    fn speed_changes_length_and_pitch() {
        let fast = at_speed(&tone(16_000), 1.25);
        assert_eq!(fast.len(), 12_800);
        let expected: Vec<f32> = (0..12_800).map(|n| (n as f32 * 0.125).sin() * 0.5).collect();
        let worst = (1_000..11_000).map(|n| (fast[n] - expected[n]).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-3, "{worst}");
        assert_eq!(at_speed(&tone(1_000), 1.001), tone(1_000));
        assert_eq!(at_speed(&tone(100), f32::NAN).len(), 200);
    }

    #[test]
    fn noise_has_the_ratio_that_was_asked_for() {
        let plain = tone(32_000);
        for ratio in [0.0, 10.0, 20.0] {
            let mut noisy = plain.clone();
            let mut draws = Draws(3);
            let noise: Vec<f32> = (0..5_000).map(|_| normal(&mut draws)).collect();
            add_noise(&mut noisy, &noise, ratio);
            let noise: Vec<f32> = noisy.iter().zip(&plain).map(|(a, b)| a - b).collect();
            let found = 20.0 * (rms(&plain) / rms(&noise)).log10();
            assert!((found - ratio).abs() < 0.01, "{found}");
        }
        let mut silent = vec![0.0; 100];
        add_noise(&mut silent, &[1.0], 0.0);
        add_noise(&mut silent, &[], 0.0);
        assert_eq!(silent, [0.0; 100]);
    }

    #[test]
    fn without_anything_a_view_is_the_recording() {
        let none = SpeechAugmentation::default();
        assert_eq!(none.samples(&tone(500), 9), tone(500));
        let mut frames = tone(60);
        none.hide(&mut frames, 6, 9);
        assert_eq!(frames, tone(60));
        assert!(none.check().is_ok() && SpeechAugmentation::speech().check().is_ok());
        let wrong = SpeechAugmentation { speed: Some([1.1, 0.9]), ..none.clone() };
        assert!(wrong.check().unwrap_err().to_string().contains("`speed`"));
        assert!(SpeechAugmentation { noise: Some([f32::NAN, 1.0]), ..none }.check().is_err());
    }

    #[test]
    fn hidden_stripes_are_the_means_and_the_rest_is_untouched() {
        let plain: Vec<f32> = (0..100 * 26).map(|n| ((n * 7919) % 1_000) as f32).collect();
        let mean = |column: usize| (0..100).map(|row| plain[row * 26 + column]).sum::<f32>() / 100.0;
        let mut met = 0;
        for seed in 0..20 {
            let mut hidden = plain.clone();
            SpeechAugmentation::speech().hide(&mut hidden, 26, seed);
            for (index, (after, before)) in hidden.iter().zip(&plain).enumerate() {
                if after != before {
                    assert!((after - mean(index % 26)).abs() < 0.01);
                    met += 1;
                }
            }
        }
        assert!(met > 1_000, "{met}");
    }

    proptest! {
        #[test]
        fn every_view_is_finite_within_bounds_and_a_function_of_its_seed(length in 0usize..4_000, width in 1usize..40, seed: u64) {
            let augmentation = SpeechAugmentation::speech();
            let view = augmentation.samples(&tone(length), seed);
            prop_assert!(view.iter().all(|sample| (-1.0..=1.0).contains(sample)));
            prop_assert_eq!(&view, &augmentation.samples(&tone(length), seed));
            let mut frames = tone(length / width * width);
            augmentation.hide(&mut frames, width, seed);
            prop_assert!(frames.iter().all(|value| value.is_finite()));
        }
    }
}
