//! Filters of the mel scale and the cosine transform of their logarithms, as TensorFlow and as torchaudio have them.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How hertz become mels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MelScale {
    /// 2595 · log₁₀(1 + f/700) (O'Shaughnessy 1987), torchaudio's default.
    Htk,
    /// Linear up to 1 kHz, logarithmic above (Slaney's Auditory Toolbox 1998), librosa's default.
    Slaney,
}

impl MelScale {
    fn mel(self, hertz: f64) -> f64 {
        match self {
            Self::Htk => 2595.0 * (1.0 + hertz / 700.0).log10(),
            Self::Slaney if hertz < BREAK => hertz / LINEAR,
            Self::Slaney => BREAK / LINEAR + (hertz / BREAK).ln() / log_step(),
        }
    }

    fn hertz(self, mel: f64) -> f64 {
        match self {
            Self::Htk => 700.0 * (10f64.powf(mel / 2595.0) - 1.0),
            Self::Slaney if mel < BREAK / LINEAR => mel * LINEAR,
            Self::Slaney => BREAK * ((mel - BREAK / LINEAR) * log_step()).exp(),
        }
    }
}

/// Where Slaney's scale turns from linear to logarithmic, in Hz.
const BREAK: f64 = 1000.0;

/// Hz of a mel below that.
const LINEAR: f64 = 200.0 / 3.0;

/// 27 mels are a factor of 6.4.
fn log_step() -> f64 {
    6.4f64.ln() / 27.0
}

/// Weighted sums over the bins of a spectrum.
#[derive(Debug, Clone)]
pub(super) struct FilterBank {
    /// First bin and weights of each filter.
    filters: Vec<(usize, Vec<f64>)>,
}

impl FilterBank {
    /// Triangles between points that are evenly spaced in mels, with corners at any frequency (torchaudio's
    /// `melscale_fbanks`). `area` divides each by half its width in Hz, which Slaney's toolbox does.
    pub(super) fn triangles(
        count: usize,
        [lower, upper]: [f64; 2],
        scale: MelScale,
        area: bool,
        bins: usize,
        rate: u32,
    ) -> Self {
        let (low, high) = (scale.mel(lower), scale.mel(upper));
        let point = |n: usize| scale.hertz(low + (high - low) * n as f64 / (count + 1) as f64);
        // torchaudio takes half the rate as a whole number.
        let hertz = |bin: usize| f64::from(rate / 2) * bin as f64 / (bins - 1) as f64;
        let filters = (0..count).map(|n| {
            let (left, center, right) = (point(n), point(n + 1), point(n + 2));
            let size = if area { 2.0 / (right - left) } else { 1.0 };
            let weight = |bin: usize| {
                let rising = (hertz(bin) - left) / (center - left);
                let falling = (right - hertz(bin)) / (right - center);
                rising.min(falling).max(0.0) * size
            };
            trimmed((0..bins).map(weight).collect())
        });
        Self { filters: filters.collect() }
    }

    /// TensorFlow's (`mfcc_mel_filterbank.cc`): each bin is shared out between the two filters whose centres are its
    /// neighbours; there is no filter centred on the upper end.
    pub(super) fn tensorflow(count: usize, [lower, upper]: [f64; 2], bins: usize, rate: u32) -> Self {
        let mel = |hertz: f64| 1127.0 * (hertz / 700.0).ln_1p();
        let (low, spacing) = (mel(lower), (mel(upper) - mel(lower)) / (count + 1) as f64);
        let center = |n: usize| low + spacing * (n + 1) as f64;
        let width = 0.5 * f64::from(rate) / (bins - 1) as f64;
        let (start, end) = ((1.5 + lower / width) as usize, (upper / width) as usize);
        let mut dense = vec![vec![0.0; bins]; count];
        let mut above = 0;
        let heard = (start..=end.min(bins - 1)).map(|bin| (bin, mel(bin as f64 * width)));
        for (bin, at) in heard {
            while above < count && center(above) < at {
                above += 1;
            }
            // Of the way from the centre below to the one above, what is still to go.
            let before = if above == 0 { low } else { center(above - 1) };
            let share = (center(above) - at) / (center(above) - before);
            if above > 0 {
                dense[above - 1][bin] += share;
            }
            if above < count {
                dense[above][bin] += 1.0 - share;
            }
        }
        Self { filters: dense.into_iter().map(trimmed).collect() }
    }

    /// `[filters]` from `[bins]`.
    pub(super) fn apply(&self, spectrum: &[f64], out: &mut Vec<f64>) {
        out.extend(self.filters.iter().map(|(start, weights)| {
            weights.iter().zip(&spectrum[*start..]).map(|(weight, value)| weight * value).sum::<f64>()
        }));
    }
}

/// Weights without the zeros at both ends.
fn trimmed(weights: Vec<f64>) -> (usize, Vec<f64>) {
    let start = weights.iter().position(|weight| *weight != 0.0).unwrap_or(0);
    let end = weights.iter().rposition(|weight| *weight != 0.0).map_or(start, |last| last + 1);
    (start, weights[start..end].to_vec())
}

/// Which constants a cosine transform (type 2) carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CosineScale {
    /// √(2/n) everywhere (TensorFlow).
    Plain,
    /// The first coefficient by √(1/n): lengths are kept (torchaudio's `norm="ortho"`).
    Orthonormal,
}

/// `[count, inputs]`.
pub(super) fn cosines(count: usize, inputs: usize, scale: CosineScale) -> Vec<f64> {
    let n = inputs as f64;
    let rows = (0..count).flat_map(|row| {
        let size = match (row, scale) {
            (0, CosineScale::Orthonormal) => (1.0 / n).sqrt(),
            _ => (2.0 / n).sqrt(),
        };
        (0..inputs).map(move |column| size * (PI / n * row as f64 * (column as f64 + 0.5)).cos())
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_go_there_and_back() {
        for scale in [MelScale::Htk, MelScale::Slaney] {
            for hertz in [0.0, 20.0, 999.0, 1000.0, 1001.0, 8000.0] {
                assert!((scale.hertz(scale.mel(hertz)) - hertz).abs() < 1e-8);
            }
        }
        assert!((MelScale::Htk.mel(1000.0) - 999.99).abs() < 0.01);
        assert!((MelScale::Slaney.mel(6400.0) - 42.0).abs() < 1e-9);
    }

    #[test]
    fn a_bin_between_two_centers_of_tensorflow_is_shared_out_whole() {
        let bank = FilterBank::tensorflow(40, [20.0, 8000.0], 257, 16_000);
        for bin in 10..200 {
            let mut spectrum = vec![0.0; 257];
            spectrum[bin] = 1.0;
            let mut out = Vec::new();
            bank.apply(&spectrum, &mut out);
            assert!((out.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{bin}");
        }
    }
}
