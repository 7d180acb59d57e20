//! From any rate to any other by a windowed sinc, block by block.
//!
//! The band is kept up to 0.88 of the lower of the two half rates and gone (−90 dB) at that half rate: 7 kHz and 8 kHz where
//! the result is 16 kHz speech. Positions are whole numbers, so nothing drifts however long the recording is, and blocks of
//! any size give the same samples. Output n lies at the time n / `to` of the input: no delay.

use std::f64::consts::PI;

/// Zero crossings of the sinc on each side.
const CROSSINGS: f64 = 48.0;

/// Where the sinc cuts, as a share of the lower half rate.
const CUT: f64 = 0.94;

/// Of the Kaiser window: −90 dB beyond the transition.
const BETA: f64 = 8.96;

/// Most phases that have coefficients of their own; between them two are mixed.
const MOST_PHASES: u64 = 1024;

/// Resamples one channel.
#[derive(Debug, Clone)]
pub struct Resampler {
    /// Input samples an output step goes, as `step / per`.
    step: u64,
    per: u64,
    /// Taps on each side of an output's position.
    half: usize,
    phases: u64,
    /// `[phases + 1, 2 · half]`; the last phase is the first, one sample on.
    table: Vec<f32>,
    /// Input from `first` on that is still needed.
    kept: Vec<f32>,
    /// Index of `kept[0]` in the input, plus `half`.
    first: u64,
    /// Position of the next output: whole samples and `phase / per` of one.
    position: u64,
    phase: u64,
    taken: u64,
    given: u64,
}

impl Resampler {
    /// From `from` to `to` samples a second, both above 0.
    ///
    /// # Panics
    /// Where a rate is 0.
    pub fn new(from: u32, to: u32) -> Self {
        assert!(from > 0 && to > 0, "rates are above 0");
        let shared = greatest_common_divisor(from, to);
        let (step, per) = (u64::from(from / shared), u64::from(to / shared));
        // As a share of the input's half rate; the lower of the two rates decides.
        let cut = CUT * (f64::from(to) / f64::from(from)).min(1.0);
        let half = (CROSSINGS / cut).ceil() as usize;
        let phases = per.min(MOST_PHASES);
        let table = if step == per { Vec::new() } else { table(cut, half, phases as usize) };
        Self {
            step,
            per,
            half,
            phases,
            table,
            kept: vec![0.0; half],
            first: 0,
            position: 0,
            phase: 0,
            taken: 0,
            given: 0,
        }
    }

    /// Adds input and appends the output that it completes.
    pub fn push(&mut self, input: &[f32], output: &mut Vec<f32>) {
        self.taken += input.len() as u64;
        if self.step == self.per {
            output.extend_from_slice(input);
            return;
        }
        self.kept.extend_from_slice(input);
        while self.position + ((2 * self.half) as u64) < self.first + self.kept.len() as u64 {
            self.give(output);
        }
        self.forget();
    }

    /// Appends the rest of the output: ⌈samples · to / from⌉ altogether. The resampler is then as new.
    pub fn finish(&mut self, output: &mut Vec<f32>) {
        if self.step != self.per {
            let all = (u128::from(self.taken) * u128::from(self.per)).div_ceil(u128::from(self.step)) as u64;
            // Silence lies behind the last sample, as before the first.
            self.kept.resize(self.kept.len() + 2 * self.half, 0.0);
            while self.given < all {
                self.give(output);
            }
        }
        self.kept.clear();
        self.kept.resize(self.half, 0.0);
        (self.first, self.position, self.phase, self.taken, self.given) = (0, 0, 0, 0, 0);
    }

    fn give(&mut self, output: &mut Vec<f32>) {
        let taps = 2 * self.half;
        // Taps begin half − 1 samples before the position; `kept` begins `half` samples early.
        let start = (self.position + 1 - self.first) as usize;
        let input = &self.kept[start..start + taps];
        let scaled = self.phase * self.phases;
        let (index, rest) = ((scaled / self.per) as usize, scaled % self.per);
        let row = |index: usize| &self.table[index * taps..(index + 1) * taps];
        let mut sample = dot(row(index), input);
        if rest > 0 {
            let share = rest as f32 / self.per as f32;
            sample += (dot(row(index + 1), input) - sample) * share;
        }
        output.push(sample);
        self.given += 1;
        self.phase += self.step;
        self.position += self.phase / self.per;
        self.phase %= self.per;
    }

    /// Drops input that no later output needs.
    fn forget(&mut self) {
        let done = (self.position - self.first).min(self.kept.len() as u64) as usize;
        if done > 4096 {
            self.kept.drain(..done);
            self.first += done as u64;
        }
    }
}

/// All of a recording at once.
pub fn resample(samples: &[f32], from: u32, to: u32) -> Vec<f32> {
    let mut resampler = Resampler::new(from, to);
    let mut output = Vec::with_capacity((samples.len() as u64 * u64::from(to) / u64::from(from)) as usize + 1);
    resampler.push(samples, &mut output);
    resampler.finish(&mut output);
    output
}

/// `[phases + 1, 2 · half]`: for the position `phase / phases`, the weights of the samples from −(half − 1) to half. Each row
/// sums to 1, so a constant stays one.
fn table(cut: f64, half: usize, phases: usize) -> Vec<f32> {
    let taps = 2 * half;
    let mut table = Vec::with_capacity((phases + 1) * taps);
    for phase in 0..=phases {
        let offset = phase as f64 / phases as f64;
        let row: Vec<f64> = (0..taps)
            .map(|tap| {
                let at = tap as f64 - (half as f64 - 1.0) - offset;
                let within = at / half as f64;
                if within.abs() >= 1.0 {
                    return 0.0;
                }
                sinc(cut * at) * bessel(BETA * (1.0 - within * within).sqrt())
            })
            .collect();
        let sum: f64 = row.iter().sum();
        table.extend(row.into_iter().map(|weight| (weight / sum) as f32));
    }
    table
}

/// A sum in eight interleaved parts: vectors, and the same order everywhere.
fn dot(weights: &[f32], input: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let (left, right) = (weights.chunks_exact(8), input.chunks_exact(8));
    let rest: f32 = left.remainder().iter().zip(right.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in left.zip(right) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// Modified Bessel function of the first kind of order 0, by its power series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 1..64 {
        term *= (x / (2.0 * f64::from(n))).powi(2);
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATES: [u32; 12] =
        [8_000, 11_025, 16_000, 16_001, 22_050, 24_000, 32_000, 44_100, 47_999, 48_000, 96_000, 192_000];

    fn sine(rate: u32, hertz: f64, samples: usize) -> Vec<f32> {
        (0..samples).map(|n| (2.0 * PI * hertz * n as f64 / f64::from(rate)).sin() as f32 * 0.8).collect()
    }

    /// The middle of the result against the same sine at the new rate.
    fn worst(from: u32, to: u32, hertz: f64, expected: f64) -> f64 {
        let found = resample(&sine(from, hertz, from as usize / 2), from, to);
        let wanted = sine(to, hertz, found.len());
        let edge = found.len() / 5;
        (edge..found.len() - edge)
            .map(|n| (f64::from(found[n]) - f64::from(wanted[n]) * expected).abs())
            .fold(0.0, f64::max)
    }

    #[test]
    fn what_can_be_heard_stays_at_its_time_and_its_size() {
        for from in RATES {
            for to in [16_000, 8_000, 44_100] {
                let band = f64::from(from.min(to)) / 2.0 * 0.87;
                for hertz in [50.0, 440.0, band / 2.0, band] {
                    let error = worst(from, to, hertz, 1.0);
                    assert!(error < 1e-4, "{from} to {to}, {hertz} Hz: {error}");
                }
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone_instead_of_folded_back() {
        for from in [22_050, 44_100, 47_999, 48_000, 96_000] {
            for hertz in [8_010.0, 9_000.0, 10_500.0] {
                let error = worst(from, 16_000, hertz, 0.0);
                assert!(error < 5e-5, "{from} Hz, {hertz} Hz: {error}");
            }
        }
    }

    #[test]
    fn a_constant_stays_one_and_lengths_are_exact() {
        for from in RATES {
            for samples in [0, 1, 2, 100, 4_321] {
                let found = resample(&vec![0.5; samples], from, 16_000);
                assert_eq!(found.len(), (samples as u64 * 16_000).div_ceil(u64::from(from)) as usize, "{from}");
            }
            let found = resample(&vec![0.5; from as usize], from, 16_000);
            let middle = &found[found.len() / 3..found.len() / 2];
            assert!(middle.iter().all(|sample| (sample - 0.5).abs() < 1e-5), "{from}");
        }
    }

    proptest! {
        #[test]
        fn blocks_of_any_size_give_the_same_bytes(
            rate in prop::sample::select(RATES.to_vec()),
            blocks in prop::collection::vec(0usize..3_000, 1..12),
        ) {
            let input: Vec<f32> = (0..blocks.iter().sum()).map(|n: usize| ((n * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
            let whole = resample(&input, rate, 16_000);
            let mut resampler = Resampler::new(rate, 16_000);
            // Twice: a finished resampler is as new.
            for _ in 0..2 {
                let (mut found, mut start) = (Vec::new(), 0);
                for block in &blocks {
                    resampler.push(&input[start..start + block], &mut found);
                    start += block;
                }
                resampler.finish(&mut found);
                prop_assert_eq!(&found, &whole);
            }
        }
    }
}
