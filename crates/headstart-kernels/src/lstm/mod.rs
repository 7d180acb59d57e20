//! A long short-term memory layer (Hochreiter and Schmidhuber 1997) on sequences of any length, forward and back.
//!
//! Source of the equations: TensorFlow's `LSTMBlockCell` without peepholes; gates lie in its order i, c, f, o. With x the input
//! and h the output of the frame before:
//!
//! ```text
//! i, g, f, o = σ, tanh, σ, σ of [x, h] · kernel + bias
//! c = f · c + i · g;  h = o · tanh c
//! ```
//!
//! Sequences lie one after the other without padding. The product with x is one for all frames; that with h is one a frame,
//! of as few rows as there are sequences, and its cost is reading the matrix. So the matrix is packed once into panels that
//! hold the four gates of eight units, and a panel goes all the way to the new state while it is in the cache.

mod backward;
mod packed;

use rayon::prelude::*;

pub use backward::{LstmGradients, Wanted};
pub use packed::PackedLstm;

use crate::error::KernelError;
use crate::matrix::{Before, Matrix, MatrixMut, Threads};
use crate::transformer::Sequences;
use packed::{GATES, UNITS};

/// The arrays of a layer.
#[derive(Debug, Clone, Copy)]
pub struct LstmWeights<'a> {
    /// `[inputs + hidden, 4 · hidden]`
    pub kernel: &'a [f32],
    /// `[4 · hidden]`
    pub bias: &'a [f32],
}

/// Width of a layer's input and of its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LstmSpec {
    /// Values of a frame of the input.
    pub inputs: usize,
    /// Units.
    pub hidden: usize,
}

/// What a sequence has left behind at its last frame.
#[derive(Debug, Clone, PartialEq)]
pub struct LstmState {
    /// `[hidden]`: the last output.
    pub output: Vec<f32>,
    /// `[hidden]`: the memory.
    pub cell: Vec<f32>,
}

impl LstmState {
    /// Before the first frame.
    pub fn zero(hidden: usize) -> Self {
        Self { output: vec![0.0; hidden], cell: vec![0.0; hidden] }
    }
}

/// What the way back needs of the way forward, beside the input.
#[derive(Debug, Clone, Default)]
pub struct LstmSaved {
    /// `[frames, 4 · hidden]`: the gates, bent.
    gates: Vec<f32>,
    /// `[frames, hidden]`: the memory.
    cells: Vec<f32>,
    /// `[frames, hidden]`: what was given.
    output: Vec<f32>,
}

impl LstmSpec {
    /// # Errors
    /// [`KernelError::Length`] naming the slice that does not have its shape.
    fn check(&self, weights: &LstmWeights<'_>) -> Result<(), KernelError> {
        expect("the kernel of an LSTM", weights.kernel.len(), (self.inputs + self.hidden) * GATES * self.hidden)?;
        expect("the bias of an LSTM", weights.bias.len(), GATES * self.hidden)
    }
}

fn expect(what: &'static str, found: usize, expected: usize) -> Result<(), KernelError> {
    if found == expected { Ok(()) } else { Err(KernelError::Length { what, expected, found }) }
}

/// Sequences, the longest first, and how many there are at each frame.
struct Schedule {
    /// First row of each sequence, in the order of their length.
    starts: Vec<usize>,
    /// Which sequence each is.
    order: Vec<usize>,
    lengths: Vec<usize>,
}

impl Schedule {
    fn of(sequences: &Sequences) -> Self {
        let mut rows: Vec<(usize, std::ops::Range<usize>)> = sequences.ranges().enumerate().collect();
        rows.sort_by_key(|(index, rows)| (std::cmp::Reverse(rows.len()), *index));
        Self {
            starts: rows.iter().map(|(_, rows)| rows.start).collect(),
            order: rows.iter().map(|(index, _)| *index).collect(),
            lengths: rows.iter().map(|(_, rows)| rows.len()).collect(),
        }
    }

    fn frames(&self) -> usize {
        self.lengths.first().copied().unwrap_or(0)
    }

    /// How many sequences have a frame of this number.
    fn active(&self, frame: usize) -> usize {
        self.lengths.partition_point(|length| *length > frame)
    }
}

impl PackedLstm {
    /// Output `[frames, hidden]` for `input` `[frames, inputs]`. `states` are those before the first frames, one a sequence,
    /// and become those behind the last; without them every sequence begins at zero.
    ///
    /// # Errors
    /// [`KernelError::Length`] when a slice does not have its shape.
    pub fn forward(
        &self,
        sequences: &Sequences,
        input: &[f32],
        states: Option<&mut [LstmState]>,
    ) -> Result<Vec<f32>, KernelError> {
        Ok(self.run(sequences, input, states, false)?.output)
    }

    /// [`Self::forward`] from zero, and what [`Self::backward`] needs.
    ///
    /// # Errors
    /// As there.
    pub fn forward_saving(&self, sequences: &Sequences, input: &[f32]) -> Result<(Vec<f32>, LstmSaved), KernelError> {
        let saved = self.run(sequences, input, None, true)?;
        Ok((saved.output.clone(), saved))
    }

    fn run(
        &self,
        sequences: &Sequences,
        input: &[f32],
        mut states: Option<&mut [LstmState]>,
        saving: bool,
    ) -> Result<LstmSaved, KernelError> {
        let LstmSpec { inputs, hidden } = self.spec;
        let frames = sequences.token_count();
        expect("the input of an LSTM", input.len(), frames * inputs)?;
        if let Some(states) = &states {
            expect("the states of an LSTM", states.len(), sequences.len())?;
            for state in states.iter() {
                expect("a state of an LSTM", state.output.len().min(state.cell.len()), hidden)?;
            }
        }
        let schedule = Schedule::of(sequences);
        let mut projected = vec![0.0; frames * GATES * hidden];
        if frames > 0 {
            MatrixMut::new(&mut projected, frames, GATES * hidden).product(
                Matrix::new(input, frames, inputs),
                Matrix::new(&self.kernel_of_input, inputs, GATES * hidden),
                1.0,
                Before::Forgotten,
                Threads::All,
            );
        }
        let count = sequences.len();
        let (mut before, mut cells) = (vec![0.0; count * hidden], vec![0.0; count * hidden]);
        if let Some(states) = &states {
            for (place, index) in schedule.order.iter().enumerate() {
                before[place * hidden..][..hidden].copy_from_slice(&states[*index].output);
                cells[place * hidden..][..hidden].copy_from_slice(&states[*index].cell);
            }
        }
        let begins_at_zero = states.is_none();
        let mut saved = LstmSaved {
            gates: vec![0.0; if saving { frames * GATES * hidden } else { 0 }],
            cells: vec![0.0; if saving { frames * hidden } else { 0 }],
            output: vec![0.0; frames * hidden],
        };
        let mut parts = vec![0.0; self.panels() * count * (GATES + 2) * UNITS];
        for frame in 0..schedule.frames() {
            let active = schedule.active(frame);
            let rows = |sequence: usize| schedule.starts[sequence] + frame;
            let part = active * (GATES + 2) * UNITS;
            let operand = if frame == 0 && begins_at_zero { None } else { Some(&before[..active * hidden]) };
            let step = |(panel, part): (usize, &mut [f32])| {
                let projections = |sequence: usize| &projected[rows(sequence) * GATES * hidden..][..GATES * hidden];
                let memory = |sequence: usize| &cells[sequence * hidden..][..hidden];
                self.step(panel, active, operand, &projections, &memory, part);
            };
            let parts = &mut parts[..self.panels() * part];
            if self.is_large() {
                parts.par_chunks_exact_mut(part).enumerate().for_each(step);
            } else {
                parts.chunks_exact_mut(part).enumerate().for_each(step);
            }
            // From the panels back to rows.
            for (panel, part) in parts.chunks_exact(part).enumerate() {
                let first = panel * UNITS;
                let units = UNITS.min(hidden - first);
                for (sequence, values) in part.chunks_exact((GATES + 2) * UNITS).enumerate() {
                    let (cell, output) = values[GATES * UNITS..].split_at(UNITS);
                    cells[sequence * hidden + first..][..units].copy_from_slice(&cell[..units]);
                    before[sequence * hidden + first..][..units].copy_from_slice(&output[..units]);
                    if saving {
                        let to = &mut saved.gates[rows(sequence) * GATES * hidden..][..GATES * hidden];
                        for gate in 0..GATES {
                            to[gate * hidden + first..][..units].copy_from_slice(&values[gate * UNITS..][..units]);
                        }
                    }
                }
            }
            for sequence in 0..active {
                let (from, to) = (sequence * hidden, rows(sequence) * hidden);
                saved.output[to..to + hidden].copy_from_slice(&before[from..from + hidden]);
                if saving {
                    saved.cells[to..to + hidden].copy_from_slice(&cells[from..from + hidden]);
                }
            }
        }
        if let Some(states) = &mut states {
            for (place, index) in schedule.order.iter().enumerate() {
                states[*index].output.copy_from_slice(&before[place * hidden..][..hidden]);
                states[*index].cell.copy_from_slice(&cells[place * hidden..][..hidden]);
            }
        }
        Ok(saved)
    }
}
