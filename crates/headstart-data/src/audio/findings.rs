//! What is wrong with a recording as a recording: silence, clipping, length, damage.

use std::fmt;

/// What samples are like, counted while they pass.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Level {
    /// Largest absolute value.
    pub peak: f32,
    /// Sum of squares, over all channels.
    pub sum_of_squares: f64,
    /// Samples over all channels.
    pub samples: u64,
    /// Samples of flat tops: near full scale and equal to the one before.
    pub clipped: u64,
    /// Samples that were no number, or no amplitude.
    pub not_finite: u64,
}

/// A sample below this is on no flat top, whatever the sample format: 8 bits end at 127/128.
const NEAR_FULL_SCALE: f32 = 0.99;

impl Level {
    /// Adds a block of interleaved samples. Flat tops that begin in an earlier block are counted from this block on.
    pub fn add(&mut self, interleaved: &[f32], channels: usize) {
        for (index, &sample) in interleaved.iter().enumerate() {
            let size = sample.abs();
            self.peak = self.peak.max(size);
            self.sum_of_squares += f64::from(sample) * f64::from(sample);
            if size >= NEAR_FULL_SCALE && index >= channels && interleaved[index - channels] == sample {
                self.clipped += 1;
            }
        }
        self.samples += interleaved.len() as u64;
    }

    /// Root mean square.
    pub fn rms(&self) -> f32 {
        if self.samples == 0 { 0.0 } else { (self.sum_of_squares / self.samples as f64).sqrt() as f32 }
    }

    /// Share of samples that are clipped, in [0, 1].
    pub fn clipped_share(&self) -> f32 {
        if self.samples == 0 { 0.0 } else { (self.clipped as f64 / self.samples as f64) as f32 }
    }
}

/// Where findings begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Shorter recordings are left out, in seconds.
    pub shortest: f64,
    /// Longer recordings are left out, in seconds.
    pub longest: f64,
    /// A peak below this is silence.
    pub silent_peak: f32,
    /// A share of clipped samples above this is told.
    pub clipped_share: f32,
}

impl Default for Limits {
    /// A tenth of a second to half a minute, −60 dB, one sample in a thousand.
    fn default() -> Self {
        Self { shortest: 0.1, longest: 30.0, silent_peak: 1e-3, clipped_share: 1e-3 }
    }
}

/// Something wrong with a recording; [`Self::spoils`] says whether it can be learned from all the same.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// It holds no sample.
    Empty,
    /// Nothing can be heard.
    Silent {
        /// Largest absolute value.
        peak: f32,
    },
    /// It was recorded too loud.
    Clipped {
        /// Share of its samples, in [0, 1].
        share: f32,
    },
    /// Shorter than the limit.
    TooShort {
        /// Its length.
        seconds: f64,
    },
    /// Longer than the limit.
    TooLong {
        /// Its length, or what was read of it.
        seconds: f64,
    },
    /// Less is there than its header says.
    Truncated {
        /// What is there.
        seconds: f64,
        /// What the header says.
        expected: f64,
    },
    /// Parts of it could not be decoded and are missing.
    Damaged {
        /// How many.
        packets: usize,
    },
    /// Some samples were no numbers, or no amplitudes.
    NotFinite {
        /// How many.
        samples: u64,
    },
}

impl Finding {
    /// Whether the recording should be left out, since it does not hold what a transcript says of it.
    pub fn spoils(&self) -> bool {
        !matches!(self, Self::Clipped { .. } | Self::NotFinite { .. })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(out, "it holds no sound"),
            Self::Silent { peak } if *peak == 0.0 => write!(out, "it is silent"),
            Self::Silent { peak } => write!(out, "it is silent: its peak is {:.0} dB", 20.0 * peak.log10()),
            Self::Clipped { share } => {
                write!(out, "it was recorded too loud: {:.1} % of its samples are clipped", share * 100.0)
            }
            Self::TooShort { seconds } => write!(out, "it is too short: {seconds:.2} seconds"),
            Self::TooLong { seconds } => write!(out, "it is too long: {seconds:.1} seconds"),
            Self::Truncated { seconds, expected } => {
                write!(out, "it is cut off: {seconds:.2} of {expected:.2} seconds are there")
            }
            Self::Damaged { packets } => write!(out, "it is damaged: {packets} parts cannot be decoded"),
            Self::NotFinite { samples } => write!(out, "{samples} of its samples are no amplitudes and were silenced"),
        }
    }
}

/// What is wrong by length and level; damage is the decoder's to tell.
pub fn find(level: &Level, seconds: f64, limits: &Limits) -> Vec<Finding> {
    let mut findings = Vec::new();
    if level.samples == 0 {
        return vec![Finding::Empty];
    }
    if seconds < limits.shortest {
        findings.push(Finding::TooShort { seconds });
    }
    if seconds > limits.longest {
        findings.push(Finding::TooLong { seconds });
    }
    if level.peak < limits.silent_peak {
        findings.push(Finding::Silent { peak: level.peak });
    }
    if level.clipped_share() > limits.clipped_share {
        findings.push(Finding::Clipped { share: level.clipped_share() });
    }
    if level.not_finite > 0 {
        findings.push(Finding::NotFinite { samples: level.not_finite });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(samples: &[f32]) -> Level {
        let mut level = Level::default();
        level.add(samples, 1);
        level
    }

    #[test]
    fn each_finding_has_its_cause() {
        let limits = Limits::default();
        let sine: Vec<f32> = (0..16_000).map(|n| (n as f32 * 0.1).sin() * 0.5).collect();
        assert_eq!(find(&level(&sine), 1.0, &limits), []);
        assert_eq!(find(&level(&[]), 0.0, &limits), [Finding::Empty]);
        assert_eq!(find(&level(&[0.0; 100]), 1.0, &limits), [Finding::Silent { peak: 0.0 }]);
        assert_eq!(find(&level(&sine), 0.05, &limits), [Finding::TooShort { seconds: 0.05 }]);
        assert_eq!(find(&level(&sine), 31.0, &limits), [Finding::TooLong { seconds: 31.0 }]);
        let loud: Vec<f32> = sine.iter().map(|sample| (sample * 8.0).clamp(-1.0, 1.0)).collect();
        let found = find(&level(&loud), 1.0, &limits);
        assert!(matches!(found.as_slice(), [Finding::Clipped { share }] if *share > 0.5), "{found:?}");
        assert!(!found[0].spoils());
    }

    #[test]
    fn a_full_scale_sine_is_not_clipped() {
        let sine: Vec<f32> = (0..16_000).map(|n| (n as f32 * 0.3).sin()).collect();
        assert_eq!(find(&level(&sine), 1.0, &Limits::default()), []);
    }
}
