//! What happens to one row of values after another: normalization, activation, softmax, and the ways back.
//!
//! The loops are plain and each is compiled once for every instruction set. Sums over a row are made in sixteen lanes of a
//! fixed order, so that every number of threads gives the same bits.

use rayon::prelude::*;

use super::dropout::Dropout;
use crate::dispatch::{InstructionSet, chosen};

/// Rows that a thread takes at a time.
const ROWS: usize = 32;
/// Parts into which rows are cut for sums over them, whatever the number of threads.
const SHARDS: usize = 8;
/// Lanes of a sum over a row.
const LANES: usize = 16;

/// The activation between the two dense layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bend {
    /// x · Φ(x) by the error function (BERT).
    Gelu,
    /// Its approximation by a hyperbolic tangent (GPT-2).
    GeluTanh,
    /// The greater of x and 0.
    Relu,
}

/// Scale and shift after normalization, `[width]` each.
#[derive(Debug, Clone, Copy)]
pub struct NormWeights<'a> {
    /// Scale.
    pub gamma: &'a [f32],
    /// Shift.
    pub beta: &'a [f32],
}

macro_rules! for_every_instruction_set {
    ($(#[doc = $doc:literal])* $name:ident = $plain:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?) => {
        $(#[doc = $doc])*
        fn $name($($argument: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
                fn avx512($($argument: $type),*) $(-> $result)? {
                    $plain($($argument),*)
                }
                #[target_feature(enable = "avx2")]
                fn avx2($($argument: $type),*) $(-> $result)? {
                    $plain($($argument),*)
                }
                match chosen() {
                    // SAFETY: plain code; the machine has what is asked for first.
                    InstructionSet::Avx512 if has_avx512_integers() => return unsafe { avx512($($argument),*) },
                    // SAFETY: `chosen` is an instruction set of this machine, and AVX-512 comes with AVX2.
                    InstructionSet::Avx2 | InstructionSet::Avx512 => return unsafe { avx2($($argument),*) },
                    InstructionSet::Portable => {}
                }
            }
            $plain($($argument),*)
        }
    };
}

/// The parts of AVX-512 that masks of dropout are made with.
#[cfg(target_arch = "x86_64")]
fn has_avx512_integers() -> bool {
    is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl")
}

/// Σ of terms over a row, in lanes.
#[inline(always)]
fn lane_sum(count: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = count / LANES * LANES;
    let mut at = 0;
    while at < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(at + lane);
        }
        at += LANES;
    }
    for (lane, sum) in lanes.iter_mut().enumerate().take(count - whole) {
        *sum += term(whole + lane);
    }
    lanes.iter().sum()
}

/// Mean and 1 / √(variance + ε) of a row.
#[inline(always)]
fn moments(row: &[f32], epsilon: f32) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = lane_sum(row.len(), |at| row[at]) / count;
    let variance = lane_sum(row.len(), |at| (row[at] - mean) * (row[at] - mean)) / count;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

#[inline(always)]
fn norm_plain(norm: NormWeights<'_>, epsilon: f32, input: &[f32], output: &mut [f32]) {
    let width = norm.gamma.len();
    for (input, output) in input.chunks_exact(width).zip(output.chunks_exact_mut(width)) {
        let (mean, inverse) = moments(input, epsilon);
        let (gamma, beta) = (&norm.gamma[..width], &norm.beta[..width]);
        for at in 0..width {
            output[at] = (input[at] - mean) * inverse * gamma[at] + beta[at];
        }
    }
}
for_every_instruction_set!(norm_rows = norm_plain(norm: NormWeights<'_>, epsilon: f32, input: &[f32], output: &mut [f32]));

/// Layer normalization (Ba et al. 2016) of rows `[tokens, width]`.
pub(super) fn layer_norm(norm: NormWeights<'_>, epsilon: f32, input: &[f32], output: &mut [f32]) {
    let chunk = ROWS * norm.gamma.len();
    output
        .par_chunks_mut(chunk)
        .zip(input.par_chunks(chunk))
        .for_each(|(output, input)| norm_rows(norm, epsilon, input, output));
}

#[inline(always)]
fn norm_back_plain(
    norm: NormWeights<'_>,
    epsilon: f32,
    input: &[f32],
    gradient: &[f32],
    output: &mut [f32],
    sums: &mut [f32],
) {
    let width = norm.gamma.len();
    let (to_gamma, to_beta) = sums.split_at_mut(width);
    let rows = input.chunks_exact(width).zip(gradient.chunks_exact(width)).zip(output.chunks_exact_mut(width));
    for ((input, gradient), output) in rows {
        let (mean, inverse) = moments(input, epsilon);
        let gamma = &norm.gamma[..width];
        let plain = lane_sum(width, |at| gradient[at] * gamma[at]) / width as f32;
        let weighted = lane_sum(width, |at| gradient[at] * gamma[at] * ((input[at] - mean) * inverse)) / width as f32;
        let (to_gamma, to_beta) = (&mut to_gamma[..width], &mut to_beta[..width]);
        for at in 0..width {
            let normal = (input[at] - mean) * inverse;
            output[at] = inverse * (gradient[at] * gamma[at] - plain - normal * weighted);
            to_gamma[at] += gradient[at] * normal;
            to_beta[at] += gradient[at];
        }
    }
}
for_every_instruction_set!(norm_back_rows = norm_back_plain(norm: NormWeights<'_>, epsilon: f32, input: &[f32], gradient: &[f32], output: &mut [f32], sums: &mut [f32]));

/// The way back of [`layer_norm`]: the gradient of its input into `output`; gives those of gamma and beta.
pub(super) fn layer_norm_back(
    norm: NormWeights<'_>,
    epsilon: f32,
    input: &[f32],
    gradient: &[f32],
    output: &mut [f32],
) -> (Vec<f32>, Vec<f32>) {
    let width = norm.gamma.len();
    let chunk = shard_rows(input.len() / width) * width;
    let parts: Vec<Vec<f32>> = output
        .par_chunks_mut(chunk)
        .zip(input.par_chunks(chunk).zip(gradient.par_chunks(chunk)))
        .map(|(output, (input, gradient))| {
            let mut sums = vec![0.0; 2 * width];
            norm_back_rows(norm, epsilon, input, gradient, output, &mut sums);
            sums
        })
        .collect();
    let mut total = in_order(parts, 2 * width);
    let to_beta = total.split_off(width);
    (total, to_beta)
}

#[inline(always)]
fn column_sum_plain(values: &[f32], sums: &mut [f32]) {
    for row in values.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}
for_every_instruction_set!(column_sum_rows = column_sum_plain(values: &[f32], sums: &mut [f32]));

/// The sum of each column of `[tokens, width]`: the gradient of a bias.
pub(crate) fn column_sums(values: &[f32], width: usize) -> Vec<f32> {
    let chunk = shard_rows(values.len() / width) * width;
    let parts = values.par_chunks(chunk).map(|values| {
        let mut sums = vec![0.0; width];
        column_sum_rows(values, &mut sums);
        sums
    });
    in_order(parts.collect(), width)
}

/// Writes the same row everywhere.
pub(super) fn fill(values: &mut [f32], row: &[f32]) {
    values.par_chunks_mut(ROWS * row.len()).for_each(|values| {
        for to in values.chunks_exact_mut(row.len()) {
            to.copy_from_slice(row);
        }
    });
}

#[inline(always)]
fn add_plain(values: &mut [f32], bias: &[f32], residual: &[f32], dropout: Option<Dropout>, first: usize) {
    let width = bias.len();
    for (row, (values, residual)) in values.chunks_exact_mut(width).zip(residual.chunks_exact(width)).enumerate() {
        let bias = &bias[..width];
        match dropout {
            None => {
                for at in 0..width {
                    values[at] = values[at] + bias[at] + residual[at];
                }
            }
            Some(dropout) => {
                let start = first + row * width;
                for at in 0..width {
                    values[at] = (values[at] + bias[at]) * dropout.factor(start + at) + residual[at];
                }
            }
        }
    }
}
for_every_instruction_set!(add_rows = add_plain(values: &mut [f32], bias: &[f32], residual: &[f32], dropout: Option<Dropout>, first: usize));

/// values ← dropout(values + bias) + residual, rows of `[tokens, width]`.
pub(super) fn add_residual(values: &mut [f32], bias: &[f32], residual: &[f32], dropout: Option<Dropout>) {
    let chunk = ROWS * bias.len();
    values
        .par_chunks_mut(chunk)
        .zip(residual.par_chunks(chunk))
        .enumerate()
        .for_each(|(index, (values, residual))| add_rows(values, bias, residual, dropout, index * chunk));
}

#[inline(always)]
fn sum_plain(values: &mut [f32], other: &[f32]) {
    values.iter_mut().zip(other).for_each(|(value, other)| *value += other);
}
for_every_instruction_set!(sum_rows = sum_plain(values: &mut [f32], other: &[f32]));

/// values ← values + other
pub(super) fn add(values: &mut [f32], other: &[f32]) {
    const CHUNK: usize = 1 << 14;
    values.par_chunks_mut(CHUNK).zip(other.par_chunks(CHUNK)).for_each(|(values, other)| sum_rows(values, other));
}

#[inline(always)]
fn drop_plain(values: &[f32], output: &mut [f32], dropout: Dropout, first: usize) {
    for (at, (output, value)) in output.iter_mut().zip(values).enumerate() {
        *output = value * dropout.factor(first + at);
    }
}
for_every_instruction_set!(drop_rows = drop_plain(values: &[f32], output: &mut [f32], dropout: Dropout, first: usize));

/// The same mask on a gradient; a copy where nothing is dropped.
pub(super) fn drop_into(values: &[f32], output: &mut [f32], dropout: Option<Dropout>) {
    const CHUNK: usize = 1 << 14;
    output.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).enumerate().for_each(|(index, (output, values))| {
        match dropout {
            Some(dropout) => drop_rows(values, output, dropout, index * CHUNK),
            None => output.copy_from_slice(values),
        }
    });
}

/// eˣ to about 2 units of the last place for x in [−87, 88], the ends beyond it; see `curve.rs` for the polynomial.
#[inline(always)]
fn exponential(x: f32) -> f32 {
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    const ROUNDING: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUNDING;
    let n = shifted - ROUNDING;
    let r = x - n * LN_2.0 - n * LN_2.1;
    let mut sum = 1.0 / 5040.0;
    for term in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * r + term;
    }
    // The low bits of the shifted number are n.
    sum * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

/// The error function as a ratio of polynomials on [−4, 4], beyond which a float cannot tell it from ±1. Coefficients: the
/// single-precision approximation that Eigen and XLA use.
#[inline(always)]
fn erf(x: f32) -> f32 {
    const TOP: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const BOTTOM: [f32; 5] = [-1.456_607_2e-5, -2.133_740_5e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];
    let x = if x < -4.0 { -4.0 } else { x };
    let x = if x > 4.0 { 4.0 } else { x };
    let square = x * x;
    let (mut top, mut bottom) = (TOP[0], BOTTOM[0]);
    for term in &TOP[1..] {
        top = top * square + term;
    }
    for term in &BOTTOM[1..] {
        bottom = bottom * square + term;
    }
    x * top / bottom
}

/// √(2 / π) and the cubic term of the approximation by tanh (Hendrycks and Gimpel 2016).
const TANH: (f32, f32) = (0.797_884_6, 0.044_715);

#[inline(always)]
fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exponential(2.0 * x) + 1.0)
}

#[inline(always)]
fn bent(bend: Bend, x: f32) -> f32 {
    match bend {
        Bend::Gelu => 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)),
        Bend::GeluTanh => 0.5 * x * (1.0 + tanh(TANH.0 * (x + TANH.1 * x * x * x))),
        Bend::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
    }
}

#[inline(always)]
fn slope(bend: Bend, x: f32) -> f32 {
    match bend {
        Bend::Gelu => {
            let density = 0.398_942_3 * exponential(-0.5 * x * x);
            0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)) + x * density
        }
        Bend::GeluTanh => {
            let tanh = tanh(TANH.0 * (x + TANH.1 * x * x * x));
            0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * TANH.0 * (1.0 + 3.0 * TANH.1 * x * x)
        }
        Bend::Relu => {
            if x > 0.0 {
                1.0
            } else {
                0.0
            }
        }
    }
}

#[inline(always)]
fn bend_plain(bend: Bend, before: &mut [f32], bias: &[f32], after: &mut [f32]) {
    let width = bias.len();
    for (before, after) in before.chunks_exact_mut(width).zip(after.chunks_exact_mut(width)) {
        let bias = &bias[..width];
        match bend {
            Bend::Gelu => {
                for at in 0..width {
                    before[at] += bias[at];
                    after[at] = bent(Bend::Gelu, before[at]);
                }
            }
            _ => {
                for at in 0..width {
                    before[at] += bias[at];
                    after[at] = bent(bend, before[at]);
                }
            }
        }
    }
}
for_every_instruction_set!(bend_rows = bend_plain(bend: Bend, before: &mut [f32], bias: &[f32], after: &mut [f32]));

/// before ← before + bias; after ← activation(before).
pub(super) fn activate(bend: Bend, before: &mut [f32], bias: &[f32], after: &mut [f32]) {
    let chunk = ROWS * bias.len();
    before
        .par_chunks_mut(chunk)
        .zip(after.par_chunks_mut(chunk))
        .for_each(|(before, after)| bend_rows(bend, before, bias, after));
}

#[inline(always)]
fn bend_back_plain(bend: Bend, before: &[f32], gradient: &mut [f32], after: &mut [f32]) {
    for ((before, gradient), after) in before.iter().zip(gradient).zip(after) {
        *after = bent(bend, *before);
        *gradient *= slope(bend, *before);
    }
}
for_every_instruction_set!(bend_back_rows = bend_back_plain(bend: Bend, before: &[f32], gradient: &mut [f32], after: &mut [f32]));

/// gradient ← gradient · activation′(before); after ← activation(before), made again.
pub(super) fn activate_back(bend: Bend, before: &[f32], gradient: &mut [f32], after: &mut [f32]) {
    const CHUNK: usize = 1 << 14;
    after
        .par_chunks_mut(CHUNK)
        .zip(before.par_chunks(CHUNK).zip(gradient.par_chunks_mut(CHUNK)))
        .for_each(|(after, (before, gradient))| bend_back_rows(bend, before, gradient, after));
}

#[inline(always)]
fn softmax_plain(row: &mut [f32]) {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let whole = row.len() / LANES * LANES;
    for chunk in row[..whole].chunks_exact(LANES) {
        for (most, value) in lanes.iter_mut().zip(chunk) {
            *most = if *value > *most { *value } else { *most };
        }
    }
    let mut most = f32::NEG_INFINITY;
    for value in lanes.iter().chain(&row[whole..]) {
        most = if *value > most { *value } else { most };
    }
    for value in row.iter_mut() {
        *value = exponential(*value - most);
    }
    let scale = 1.0 / lane_sum(row.len(), |at| row[at]);
    row.iter_mut().for_each(|value| *value *= scale);
}
for_every_instruction_set!(softmax_row = softmax_plain(row: &mut [f32]));

/// Softmax of each row of `[length, length]`; with `causal` of the first i + 1 of row i, zeros behind them.
pub(super) fn softmax(scores: &mut [f32], length: usize, causal: bool) {
    for (index, row) in scores.chunks_exact_mut(length.max(1)).enumerate() {
        let seen = if causal { index + 1 } else { length };
        softmax_row(&mut row[..seen]);
        row[seen..].fill(0.0);
    }
}

#[inline(always)]
fn softmax_back_plain(probabilities: &[f32], gradient: &mut [f32], length: usize) {
    for (row, gradient) in probabilities.chunks_exact(length).zip(gradient.chunks_exact_mut(length)) {
        let row = &row[..length];
        let sum = lane_sum(length, |at| row[at] * gradient[at]);
        for at in 0..length {
            gradient[at] = row[at] * (gradient[at] - sum);
        }
    }
}
for_every_instruction_set!(
    /// The way back of [`softmax`], in place.
    softmax_back_rows = softmax_back_plain(probabilities: &[f32], gradient: &mut [f32], length: usize)
);

/// gradient ← that of the scores, from that of the probabilities.
pub(super) fn softmax_back(probabilities: &[f32], gradient: &mut [f32], length: usize) {
    softmax_back_rows(probabilities, gradient, length);
}

/// The mask on `values` in place; the caller is one of many threads.
pub(super) fn drop_here(values: &mut [f32], dropout: Dropout) {
    drop_here_rows(values, dropout);
}

#[inline(always)]
fn drop_here_plain(values: &mut [f32], dropout: Dropout) {
    for (at, value) in values.iter_mut().enumerate() {
        *value *= dropout.factor(at);
    }
}
for_every_instruction_set!(drop_here_rows = drop_here_plain(values: &mut [f32], dropout: Dropout));

/// Rows of one shard of `rows`.
fn shard_rows(rows: usize) -> usize {
    rows.div_ceil(SHARDS).max(1)
}

/// The sum of parts, first to last.
fn in_order(parts: Vec<Vec<f32>>, width: usize) -> Vec<f32> {
    parts.into_iter().fold(vec![0.0; width], |mut sum, part| {
        sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error function by its series, in f64.
    fn exact_erf(x: f64) -> f64 {
        if x.abs() > 5.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn gelu_and_its_slope_follow_their_definitions() {
        for index in -800..800 {
            let x = index as f32 * 0.01;
            let wide = f64::from(x);
            let exact = 0.5 * wide * (1.0 + exact_erf(wide / 2f64.sqrt()));
            assert!((f64::from(bent(Bend::Gelu, x)) - exact).abs() <= 4e-7 * wide.abs().max(1.0), "{x}");
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044715 * wide.powi(3));
            let exact = 0.5 * wide * (1.0 + inner.tanh());
            assert!((f64::from(bent(Bend::GeluTanh, x)) - exact).abs() <= 4e-7 * wide.abs().max(1.0), "{x}");
            for bend in [Bend::Gelu, Bend::GeluTanh] {
                let step = 1e-2f32;
                let difference = (bent(bend, x + step) - bent(bend, x - step)) / (2.0 * step);
                assert!((slope(bend, x) - difference).abs() < 2e-4, "{bend:?} {x}");
            }
        }
    }

    #[test]
    fn softmax_sums_to_one_and_sees_no_future() {
        let mut scores: Vec<f32> = (0..49).map(|index| (index * 37 % 23) as f32 - 11.0).collect();
        softmax(&mut scores, 7, true);
        for (index, row) in scores.chunks_exact(7).enumerate() {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            assert!(row[index + 1..].iter().all(|value| *value == 0.0));
        }
        let mut large = vec![1e30, -1e30, 0.0];
        softmax(&mut large, 3, false);
        assert!(large.iter().all(|value| value.is_finite()));
    }
}
