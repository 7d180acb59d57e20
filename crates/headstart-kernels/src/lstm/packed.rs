//! The arrays of a layer, laid out for its steps.

use super::{LstmSpec, LstmWeights};
use crate::bf16::Precision;
use crate::buffer::Buffer;
use crate::dispatch::chosen;
use crate::error::KernelError;
use crate::product::{Operand, Panel, Target, multiply};
use crate::shape::Activation;
use crate::tile::{PANEL, Taps};

/// Gates of a unit.
pub(super) const GATES: usize = 4;
/// Units whose gates make a panel.
pub(super) const UNITS: usize = PANEL / GATES;

/// A layer whose arrays are laid out for its steps.
#[derive(Debug)]
pub struct PackedLstm {
    pub(super) spec: LstmSpec,
    /// `[inputs, 4 · hidden]`
    pub(super) kernel_of_input: Vec<f32>,
    /// `[4 · hidden]`
    bias: Vec<f32>,
    /// `[panels][hidden][4 gates][8 units]`
    recurrent: Buffer,
    /// What a panel adds by itself: the bias comes with the projections.
    nothing: [f32; PANEL],
}

impl PackedLstm {
    /// Lays out the arrays of a layer.
    ///
    /// # Errors
    /// [`KernelError::Length`] naming the array that does not have its shape.
    pub fn new(spec: LstmSpec, weights: LstmWeights<'_>) -> Result<Self, KernelError> {
        spec.check(&weights)?;
        let LstmSpec { inputs, hidden } = spec;
        let (of_input, of_output) = weights.kernel.split_at(inputs * GATES * hidden);
        let panels = hidden.div_ceil(UNITS);
        let mut recurrent = Buffer::zeroed(panels * hidden * PANEL);
        for (input, row) in of_output.chunks_exact((GATES * hidden).max(1)).enumerate() {
            for (gate, row) in row.chunks_exact(hidden).enumerate() {
                for (panel, units) in row.chunks(UNITS).enumerate() {
                    let at = (panel * hidden + input) * PANEL + gate * UNITS;
                    recurrent[at..at + units.len()].copy_from_slice(units);
                }
            }
        }
        Ok(Self {
            spec,
            kernel_of_input: of_input.to_vec(),
            bias: weights.bias.to_vec(),
            recurrent,
            nothing: [0.0; PANEL],
        })
    }

    /// Width of input and output.
    pub fn spec(&self) -> LstmSpec {
        self.spec
    }

    pub(super) fn panels(&self) -> usize {
        self.spec.hidden.div_ceil(UNITS)
    }

    /// Whether a step is worth sharing out among threads.
    pub(super) fn is_large(&self) -> bool {
        self.spec.hidden >= 256
    }

    /// One frame of the units of a panel. `part` is `[active][4 gates, memory, output][8 units]`.
    pub(super) fn step<'v>(
        &self,
        panel: usize,
        active: usize,
        before: Option<&[f32]>,
        projections: &dyn Fn(usize) -> &'v [f32],
        memory: &dyn Fn(usize) -> &'v [f32],
        part: &mut [f32],
    ) {
        let hidden = self.spec.hidden;
        let stride = (GATES + 2) * UNITS;
        match before {
            Some(values) => multiply(
                chosen(),
                Panel {
                    weights: &self.recurrent[panel * hidden * PANEL..][..hidden * PANEL],
                    precision: Precision::F32,
                    bias: &self.nothing,
                    columns: PANEL,
                    activation: Activation::Identity,
                },
                Operand { values, row_stride: hidden, taps: Taps::single(hidden) },
                active,
                Target { values: part, stride },
                None,
            ),
            None => part.fill(0.0),
        }
        let first = panel * UNITS;
        let units = UNITS.min(hidden - first);
        for (sequence, values) in part.chunks_exact_mut(stride).enumerate() {
            let (projected, memory) = (projections(sequence), memory(sequence));
            for unit in 0..units {
                let sum = |gate: usize| {
                    let column = gate * hidden + first + unit;
                    values[gate * UNITS + unit] + projected[column] + self.bias[column]
                };
                let [i, g, f, o] = [sigmoid(sum(0)), sum(1).tanh(), sigmoid(sum(2)), sigmoid(sum(3))];
                let cell = f * memory[first + unit] + i * g;
                for (slot, value) in [i, g, f, o, cell, o * cell.tanh()].into_iter().enumerate() {
                    values[slot * UNITS + unit] = value;
                }
            }
        }
    }
}

fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + (-value).exp())
}
