//! Gradients, from the last frame to the first.

use rayon::prelude::*;

use super::packed::{GATES, PackedLstm};
use super::{LstmSaved, LstmSpec, LstmWeights, Schedule, expect};
use crate::bf16::Precision;
use crate::dispatch::chosen;
use crate::error::KernelError;
use crate::matrix::{Before, Matrix, MatrixMut, Threads};
use crate::product::{Operand, Panel, Target, multiply};
use crate::shape::Activation;
use crate::tile::{PANEL, Taps};
use crate::transformer::Sequences;
use crate::transformer::rows::column_sums;

/// Gradients of a layer's input and arrays; those of the arrays only where they were wanted.
#[derive(Debug, Clone, Default)]
pub struct LstmGradients {
    /// `[frames, inputs]`
    pub input: Option<Vec<f32>>,
    /// `[inputs + hidden, 4 · hidden]`
    pub kernel: Option<Vec<f32>>,
    /// `[4 · hidden]`
    pub bias: Option<Vec<f32>>,
}

/// What is asked of the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The gradient of the input.
    pub input: bool,
    /// Those of the arrays.
    pub arrays: bool,
}

impl PackedLstm {
    /// Gradients from that of the output, `[frames, hidden]`, after [`Self::forward_saving`] of the same input.
    ///
    /// # Errors
    /// [`KernelError::Length`] when a slice does not have its shape.
    pub fn backward(
        &self,
        sequences: &Sequences,
        input: &[f32],
        weights: LstmWeights<'_>,
        saved: &LstmSaved,
        gradient: &[f32],
        wanted: Wanted,
    ) -> Result<LstmGradients, KernelError> {
        let LstmSpec { inputs, hidden } = self.spec;
        let (frames, width) = (sequences.token_count(), GATES * hidden);
        self.spec.check(&weights)?;
        expect("the input of an LSTM", input.len(), frames * inputs)?;
        expect("the gradient of an LSTM", gradient.len(), frames * hidden)?;
        expect("what an LSTM has saved", saved.gates.len(), frames * width)?;
        let to_gates = self.gate_gradients(sequences, weights, saved, gradient);
        let mut found = LstmGradients::default();
        if wanted.input {
            let mut to_input = vec![0.0; frames * inputs];
            if frames > 0 {
                MatrixMut::new(&mut to_input, frames, inputs).product(
                    Matrix::new(&to_gates, frames, width),
                    Matrix::new(weights.kernel, inputs, width).transposed(),
                    1.0,
                    Before::Forgotten,
                    Threads::All,
                );
            }
            found.input = Some(to_input);
        }
        if wanted.arrays {
            let mut kernel = vec![0.0; (inputs + hidden) * width];
            if frames > 0 {
                let (of_input, of_output) = kernel.split_at_mut(inputs * width);
                let outputs_before = shifted(sequences, &saved.output, hidden);
                for (to, from, rows) in [(of_input, input, inputs), (of_output, outputs_before.as_slice(), hidden)] {
                    MatrixMut::new(to, rows, width).product(
                        Matrix::new(from, frames, rows).transposed(),
                        Matrix::new(&to_gates, frames, width),
                        1.0,
                        Before::Forgotten,
                        Threads::All,
                    );
                }
            }
            found.kernel = Some(kernel);
            found.bias = Some(if frames > 0 { column_sums(&to_gates, width) } else { vec![0.0; width] });
        }
        Ok(found)
    }

    /// `[frames, 4 · hidden]`: by the sums before the gates.
    fn gate_gradients(
        &self,
        sequences: &Sequences,
        weights: LstmWeights<'_>,
        saved: &LstmSaved,
        gradient: &[f32],
    ) -> Vec<f32> {
        let LstmSpec { inputs, hidden } = self.spec;
        let width = GATES * hidden;
        let schedule = Schedule::of(sequences);
        let back = pack_transposed(&weights.kernel[inputs * width..], hidden, width);
        let nothing = [0.0; PANEL];
        let count = sequences.len();
        let mut to_gates = vec![0.0; sequences.token_count() * width];
        // By the output and the memory, from the frame behind.
        let (mut to_output, mut to_cell) = (vec![0.0f32; count * hidden], vec![0.0f32; count * hidden]);
        let mut operand = vec![0.0f32; count * width];
        let panels = hidden.div_ceil(PANEL);
        let mut parts = vec![0.0f32; panels * count * PANEL];
        for frame in (0..schedule.frames()).rev() {
            let active = schedule.active(frame);
            let each = |sequence: usize, to_output: &[f32], to_cell: &mut [f32], sums: &mut [f32]| {
                let row = schedule.starts[sequence] + frame;
                let gates = &saved.gates[row * width..][..width];
                let cells = &saved.cells[row * hidden..][..hidden];
                let before = (frame > 0).then(|| &saved.cells[(row - 1) * hidden..][..hidden]);
                let gradient = &gradient[row * hidden..][..hidden];
                for unit in 0..hidden {
                    let [i, g, f, o] = std::array::from_fn(|gate| gates[gate * hidden + unit]);
                    let by_output = gradient[unit] + to_output[unit];
                    let bent = cells[unit].tanh();
                    let by_cell = to_cell[unit] + by_output * o * (1.0 - bent * bent);
                    let memory = before.map_or(0.0, |before| before[unit]);
                    sums[unit] = by_cell * g * i * (1.0 - i);
                    sums[hidden + unit] = by_cell * i * (1.0 - g * g);
                    sums[2 * hidden + unit] = by_cell * memory * f * (1.0 - f);
                    sums[3 * hidden + unit] = by_output * bent * o * (1.0 - o);
                    to_cell[unit] = by_cell * f;
                }
            };
            to_output[..active * hidden]
                .par_chunks_exact(hidden)
                .zip(to_cell.par_chunks_exact_mut(hidden))
                .zip(operand.par_chunks_exact_mut(width))
                .enumerate()
                .for_each(|(sequence, ((to_output, to_cell), sums))| each(sequence, to_output, to_cell, sums));
            for sequence in 0..active {
                let row = schedule.starts[sequence] + frame;
                to_gates[row * width..][..width].copy_from_slice(&operand[sequence * width..][..width]);
            }
            if frame == 0 {
                break;
            }
            let operand = &operand[..active * width];
            let step = |(panel, part): (usize, &mut [f32])| {
                multiply(
                    chosen(),
                    Panel {
                        weights: &back[panel * width * PANEL..][..width * PANEL],
                        precision: Precision::F32,
                        bias: &nothing,
                        columns: PANEL,
                        activation: Activation::Identity,
                    },
                    Operand { values: operand, row_stride: width, taps: Taps::single(width) },
                    active,
                    Target { values: part, stride: PANEL },
                    None,
                );
            };
            let parts = &mut parts[..panels * active * PANEL];
            if self.is_large() {
                parts.par_chunks_exact_mut(active * PANEL).enumerate().for_each(step);
            } else {
                parts.chunks_exact_mut(active * PANEL).enumerate().for_each(step);
            }
            for (panel, part) in parts.chunks_exact(active * PANEL).enumerate() {
                let units = PANEL.min(hidden - panel * PANEL);
                for (sequence, values) in part.chunks_exact(PANEL).enumerate() {
                    to_output[sequence * hidden + panel * PANEL..][..units].copy_from_slice(&values[..units]);
                }
            }
        }
        to_gates
    }
}

/// `[rows, columns]` → panels `[⌈rows / PANEL⌉][columns][PANEL]` of its transpose, zero-filled.
fn pack_transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut packed = vec![0.0; rows.div_ceil(PANEL) * columns * PANEL];
    packed.par_chunks_mut((columns * PANEL).max(1)).enumerate().for_each(|(panel, packed)| {
        for lane in 0..PANEL.min(rows - panel * PANEL) {
            let row = &values[(panel * PANEL + lane) * columns..][..columns];
            for (value, to) in row.iter().zip(packed[lane..].iter_mut().step_by(PANEL)) {
                *to = *value;
            }
        }
    });
    packed
}

/// The row before each, zero before the first of a sequence.
fn shifted(sequences: &Sequences, values: &[f32], width: usize) -> Vec<f32> {
    let mut before = vec![0.0; values.len()];
    for rows in sequences.ranges().filter(|rows| rows.len() > 1) {
        let (start, end) = (rows.start * width, (rows.end - 1) * width);
        before[start + width..end + width].copy_from_slice(&values[start..end]);
    }
    before
}
