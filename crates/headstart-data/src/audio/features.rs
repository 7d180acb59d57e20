//! What a network hears: log-mel energies and cepstra (MFCC), as TensorFlow and torchaudio compute them.

use serde::{Deserialize, Serialize};

use super::SAMPLE_RATE;
use super::frames::{Placement, Spectra};
use super::mel::{CosineScale, FilterBank, MelScale, cosines};
use crate::error::DataError;

/// Features as data: it travels with a network, whose weights mean nothing without it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSpec {
    /// Samples of a (periodic Hann) window.
    pub window: usize,
    /// Samples from one window to the next.
    pub step: usize,
    /// Samples of the transform, at least the window.
    pub fft: usize,
    /// What lies under a window.
    pub framing: Framing,
    /// Filters of the mel scale.
    pub filters: Filters,
    /// How energies are compressed.
    pub log: Log,
    /// The cosine transform, for cepstra.
    pub cepstrum: Option<Cepstrum>,
}

/// What lies under the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Whole windows alone, at the start of their transform (TensorFlow).
    Within,
    /// Whole windows alone, in the middle of their transform (`center=False`).
    Middle,
    /// Windows centred on every step-th sample, both ends reflected (`center=True`).
    Centered,
}

/// Filters of the mel scale, from `lower` to `upper` Hz.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Filters {
    /// Over magnitudes, as TensorFlow's `mfcc`.
    Tensorflow {
        /// How many.
        count: usize,
        /// Lower end in Hz.
        lower: f64,
        /// Upper end in Hz.
        upper: f64,
    },
    /// Over powers, as torchaudio's `MelSpectrogram`.
    Triangles {
        /// How many.
        count: usize,
        /// Lower end in Hz.
        lower: f64,
        /// Upper end in Hz.
        upper: f64,
        /// What is evenly spaced.
        scale: MelScale,
        /// Whether each filter has the same area instead of the same height (`norm="slaney"`).
        area: bool,
    },
}

/// How energies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Log {
    /// ln max(x, floor).
    Floor(f64),
    /// ln (x + offset).
    Offset(f64),
    /// 10 · log₁₀ max(x, 1e-10), and nothing further below the loudest of the recording than `top`.
    Decibel {
        /// In dB.
        top: Option<f64>,
    },
}

/// A cosine transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cepstrum {
    /// Coefficients that are kept, from the first.
    pub count: usize,
    /// Its constants.
    pub scale: CosineScale,
}

impl FeatureSpec {
    /// DeepSpeech 0.9: 26 cepstra of windows of 32 ms every 20 ms.
    pub fn deepspeech() -> Self {
        Self::tensorflow(512, 320, 26, 8_000.0)
    }

    /// TensorFlow's `audio_spectrogram` (squared magnitudes) and `mfcc` with 40 filters from 20 Hz on.
    pub fn tensorflow(window: usize, step: usize, cepstra: usize, upper: f64) -> Self {
        Self {
            window,
            step,
            fft: window.max(1).next_power_of_two(),
            framing: Framing::Within,
            filters: Filters::Tensorflow { count: 40, lower: 20.0, upper },
            log: Log::Floor(1e-12),
            cepstrum: Some(Cepstrum { count: cepstra, scale: CosineScale::Plain }),
        }
    }

    /// ln(torchaudio's `MelSpectrogram` + 1e-6) with its defaults, at 16 kHz.
    pub fn log_mel(fft: usize, step: usize, mels: usize) -> Self {
        let filters = Filters::Triangles { count: mels, lower: 0.0, upper: 8_000.0, scale: MelScale::Htk, area: false };
        let (framing, log) = (Framing::Centered, Log::Offset(1e-6));
        Self { window: fft, step, fft, framing, filters, log, cepstrum: None }
    }

    /// torchaudio's `MFCC` with its defaults, at 16 kHz. It cannot be streamed: its floor hangs on the loudest sound.
    pub fn torchaudio_mfcc(fft: usize, step: usize, mels: usize, cepstra: usize) -> Self {
        Self {
            log: Log::Decibel { top: Some(80.0) },
            cepstrum: Some(Cepstrum { count: cepstra, scale: CosineScale::Orthonormal }),
            ..Self::log_mel(fft, step, mels)
        }
    }

    /// Values of a frame.
    pub fn width(&self) -> usize {
        self.cepstrum.map_or(self.filter_count(), |cepstrum| cepstrum.count)
    }

    fn filter_count(&self) -> usize {
        match self.filters {
            Filters::Tensorflow { count, .. } | Filters::Triangles { count, .. } => count,
        }
    }

    /// Frames of so many samples at 16 kHz.
    pub fn frames(&self, samples: usize) -> usize {
        let padding = if self.framing == Framing::Centered { self.fft / 2 } else { 0 };
        let span = if self.framing == Framing::Within { self.window } else { self.fft };
        if samples <= padding {
            return 0;
        }
        (samples + 2 * padding).checked_sub(span).map_or(0, |rest| rest / self.step + 1)
    }

    /// Seconds from one frame to the next.
    pub fn seconds_a_frame(&self) -> f64 {
        self.step as f64 / f64::from(SAMPLE_RATE)
    }

    /// Whether it can be computed while a recording is still going on.
    pub fn can_stream(&self) -> bool {
        !matches!(self.log, Log::Decibel { top: Some(_) })
    }

    /// Numbers may come from a file that somebody made.
    fn check(&self) -> Result<(), DataError> {
        const LONGEST: usize = 1 << 16;
        const MOST: usize = 1 << 10;
        let refuse = |reason: String| Err(DataError::Features { reason });
        let Self { window, step, fft, .. } = *self;
        let (lower, upper) = match self.filters {
            Filters::Tensorflow { lower, upper, .. } | Filters::Triangles { lower, upper, .. } => (lower, upper),
        };
        let count = self.filter_count();
        if !(2..=LONGEST).contains(&fft) || !(1..=fft).contains(&window) || !(1..=LONGEST).contains(&step) {
            refuse(format!("windows of {window} samples every {step} do not go with a transform over {fft}"))
        } else if !(1..=MOST).contains(&count) {
            refuse(format!("{count} filters, expected 1 to {MOST}"))
        } else if !(lower >= 0.0 && lower < upper && upper <= f64::from(SAMPLE_RATE) / 2.0) {
            refuse(format!("filters from {lower} to {upper} Hz do not lie within 0 to {} Hz", SAMPLE_RATE / 2))
        } else if self.cepstrum.is_some_and(|cepstrum| !(1..=count).contains(&cepstrum.count)) {
            refuse(format!("{} coefficients of {count} filters", self.width()))
        } else {
            match self.log {
                Log::Floor(least) | Log::Offset(least) if !(least > 0.0 && least.is_finite()) => {
                    refuse(format!("the logarithm begins at {least}, expected a number above 0"))
                }
                Log::Decibel { top: Some(top) } if !(top > 0.0 && top.is_finite()) => {
                    refuse(format!("a range of {top} dB, expected a number above 0"))
                }
                _ => Ok(()),
            }
        }
    }
}

/// Computes features, block by block where they can be streamed.
#[derive(Debug)]
pub struct Extractor {
    spec: FeatureSpec,
    spectra: Spectra,
    bank: FilterBank,
    /// `[cepstra, filters]`; empty without a cepstrum.
    cosines: Vec<f64>,
}

impl Extractor {
    /// For recordings that come in blocks.
    ///
    /// # Errors
    /// [`DataError::Features`]: numbers that do not go together, or features that cannot be streamed.
    pub fn new(spec: FeatureSpec) -> Result<Self, DataError> {
        if !spec.can_stream() {
            let reason = "a floor below the loudest sound is not known before the end of a recording".to_owned();
            return Err(DataError::Features { reason });
        }
        Self::build(spec)
    }

    fn build(spec: FeatureSpec) -> Result<Self, DataError> {
        spec.check()?;
        let bins = spec.fft / 2 + 1;
        let bank = match spec.filters {
            Filters::Tensorflow { count, lower, upper } => {
                FilterBank::tensorflow(count, [lower, upper], bins, SAMPLE_RATE)
            }
            Filters::Triangles { count, lower, upper, scale, area } => {
                FilterBank::triangles(count, [lower, upper], scale, area, bins, SAMPLE_RATE)
            }
        };
        let placement = match spec.framing {
            Framing::Within => Placement::Start,
            Framing::Middle => Placement::Middle { reflected: false },
            Framing::Centered => Placement::Middle { reflected: true },
        };
        let cosines = spec
            .cepstrum
            .map_or_else(Vec::new, |cepstrum| cosines(cepstrum.count, spec.filter_count(), cepstrum.scale));
        Ok(Self { spec, spectra: Spectra::new(spec.window, spec.step, spec.fft, placement), bank, cosines })
    }

    /// Values of a frame.
    pub fn width(&self) -> usize {
        self.spec.width()
    }

    /// Adds samples at 16 kHz and appends the frames that they complete: `[frames, width]`.
    pub fn push(&mut self, samples: &[f32], frames: &mut Vec<f32>) {
        self.run(Some(samples), frames);
    }

    /// Appends the frames that reach over the end. The extractor is then as new.
    pub fn finish(&mut self, frames: &mut Vec<f32>) {
        self.run(None, frames);
    }

    fn run(&mut self, samples: Option<&[f32]>, frames: &mut Vec<f32>) {
        let mut logs = Vec::new();
        self.logs(samples, &mut logs);
        self.compress(&logs, frames);
    }

    /// Logarithms of energies: `[frames, filters]`.
    fn logs(&mut self, samples: Option<&[f32]>, logs: &mut Vec<f64>) {
        let Self { spec, spectra, bank, .. } = self;
        let mut magnitudes = Vec::new();
        let each = &mut |power: &[f64]| {
            let start = logs.len();
            match spec.filters {
                Filters::Tensorflow { .. } => {
                    magnitudes.clear();
                    magnitudes.extend(power.iter().map(|power| power.sqrt()));
                    bank.apply(&magnitudes, logs);
                }
                Filters::Triangles { .. } => bank.apply(power, logs),
            }
            for value in &mut logs[start..] {
                *value = match spec.log {
                    Log::Floor(floor) => value.max(floor).ln(),
                    Log::Offset(offset) => (*value + offset).ln(),
                    Log::Decibel { .. } => 10.0 * value.max(1e-10).log10(),
                };
            }
        };
        match samples {
            Some(samples) => spectra.push(samples, each),
            None => spectra.finish(each),
        }
    }

    /// Cepstra of logarithms, or the logarithms themselves.
    fn compress(&self, logs: &[f64], frames: &mut Vec<f32>) {
        if self.cosines.is_empty() {
            frames.extend(logs.iter().map(|value| *value as f32));
            return;
        }
        let filters = self.spec.filter_count();
        for logs in logs.chunks_exact(filters) {
            for row in self.cosines.chunks_exact(filters) {
                frames.push(row.iter().zip(logs).map(|(a, b)| a * b).sum::<f64>() as f32);
            }
        }
    }
}

/// The features of a whole recording at 16 kHz: `[frames, width]`.
///
/// A recording that is too short for a window has no frame.
///
/// # Errors
/// [`DataError::Features`] where the numbers do not go together.
pub fn extract(spec: &FeatureSpec, samples: &[f32]) -> Result<Vec<f32>, DataError> {
    let mut extractor = Extractor::build(*spec)?;
    let mut logs = Vec::new();
    extractor.logs(Some(samples), &mut logs);
    extractor.logs(None, &mut logs);
    if let Log::Decibel { top: Some(top) } = spec.log {
        let floor = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max) - top;
        logs.iter_mut().for_each(|value| *value = value.max(floor));
    }
    let mut frames = Vec::with_capacity(logs.len());
    extractor.compress(&logs, &mut frames);
    Ok(frames)
}

/// Each frame with `context` frames on both sides, zeros beyond the ends: `[frames, width]` → `[frames, (2 · context + 1) ·
/// width]`, oldest first (DeepSpeech: 9 on each side of 26 cepstra, 494 values).
pub fn with_context(frames: &[f32], width: usize, context: usize) -> Vec<f32> {
    let count = frames.len().checked_div(width).unwrap_or(0);
    let mut joined = Vec::with_capacity(frames.len() * (2 * context + 1));
    for frame in 0..count {
        for place in frame..=frame + 2 * context {
            match place.checked_sub(context).filter(|index| *index < count) {
                Some(index) => joined.extend_from_slice(&frames[index * width..(index + 1) * width]),
                None => joined.resize(joined.len() + width, 0.0),
            }
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn specs() -> Vec<FeatureSpec> {
        let middle = FeatureSpec { framing: Framing::Middle, window: 300, ..FeatureSpec::log_mel(400, 160, 20) };
        vec![FeatureSpec::deepspeech(), FeatureSpec::log_mel(400, 160, 40), middle, FeatureSpec::log_mel(33, 50, 4)]
    }

    proptest! {
        #[test]
        fn blocks_of_any_size_give_the_same_frames(blocks in prop::collection::vec(0usize..6_000, 0..6)) {
            let samples: Vec<f32> = (0..blocks.iter().sum()).map(|n: usize| ((n * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
            for spec in specs() {
                let whole = extract(&spec, &samples).unwrap();
                prop_assert_eq!(whole.len(), spec.frames(samples.len()) * spec.width());
                prop_assert!(whole.iter().all(|value| value.is_finite()));
                let mut extractor = Extractor::new(spec).unwrap();
                for _ in 0..2 {
                    let (mut found, mut start) = (Vec::new(), 0);
                    for block in &blocks {
                        extractor.push(&samples[start..start + block], &mut found);
                        start += block;
                    }
                    extractor.finish(&mut found);
                    prop_assert_eq!(&found, &whole);
                }
            }
        }
    }

    #[test]
    fn numbers_that_do_not_go_together_are_refused() {
        let plain = FeatureSpec::deepspeech();
        let upper = |upper| FeatureSpec { filters: Filters::Tensorflow { count: 40, lower: 20.0, upper }, ..plain };
        for spec in [
            FeatureSpec { window: 0, ..plain },
            FeatureSpec { window: 513, ..plain },
            FeatureSpec { step: 0, ..plain },
            FeatureSpec { fft: usize::MAX, ..plain },
            FeatureSpec { cepstrum: Some(Cepstrum { count: 41, scale: CosineScale::Plain }), ..plain },
            FeatureSpec { log: Log::Floor(0.0), ..plain },
            FeatureSpec { log: Log::Floor(f64::NAN), ..plain },
            upper(8_001.0),
            upper(20.0),
            upper(f64::NAN),
        ] {
            assert!(matches!(extract(&spec, &[0.0; 1000]), Err(DataError::Features { .. })), "{spec:?}");
        }
        let decibel = FeatureSpec::torchaudio_mfcc(400, 160, 40, 13);
        assert!(Extractor::new(decibel).is_err() && extract(&decibel, &[0.0; 1000]).is_ok());
    }

    #[test]
    fn context_is_the_neighbours_and_zeros_beyond_the_ends() {
        let joined = with_context(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 1);
        assert_eq!(
            joined,
            [
                0.0, 0.0, 1.0, 2.0, 3.0, 4.0, //
                1.0, 2.0, 3.0, 4.0, 5.0, 6.0, //
                3.0, 4.0, 5.0, 6.0, 0.0, 0.0,
            ]
        );
        assert!(with_context(&[], 26, 9).is_empty());
    }
}
