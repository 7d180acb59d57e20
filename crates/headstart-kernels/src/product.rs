//! Rows of a picture times a packed panel of weights: the checked door to the tile.

use crate::bf16::{Precision, run_word_tile};
use crate::dispatch::{InstructionSet, run_tile};
use crate::shape::Activation;
use crate::tile::{PANEL, Taps, Tile};

/// What the rows of a product are read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) values: &'a [f32],
    /// Slots from one row to the next.
    pub(crate) row_stride: usize,
    pub(crate) taps: Taps,
}

/// Rows of results that are `stride` floats apart.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) stride: usize,
}

/// One packed panel of weights with its bias.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel<'a> {
    /// [inputs][PANEL], of floats or of words.
    pub(crate) weights: &'a [f32],
    /// What weights and operand hold.
    pub(crate) precision: Precision,
    /// [PANEL]
    pub(crate) bias: &'a [f32],
    /// Columns that are there.
    pub(crate) columns: usize,
    pub(crate) activation: Activation,
}

/// `rows` rows of `operand` times `panel`; `residual`, whose rows are as far apart as its second part says, is added
/// before the activation.
///
/// # Panics
/// When something is read or written outside its slice.
pub(crate) fn multiply(
    set: InstructionSet,
    panel: Panel<'_>,
    operand: Operand<'_>,
    rows: usize,
    target: Target<'_>,
    residual: Option<(&[f32], usize)>,
) {
    let (inputs, columns) = (operand.taps.inputs(), panel.columns);
    let Some(last) = rows.checked_sub(1) else { return };
    assert!(operand.taps.groups * operand.taps.members * operand.taps.depth * operand.taps.last_depth > 0);
    assert!(operand.values.len() >= last * operand.row_stride + operand.taps.reach());
    assert!(target.values.len() >= last * target.stride + columns);
    assert!(residual.is_none_or(|(residual, stride)| residual.len() >= last * stride + columns));
    assert!(panel.weights.len() >= inputs * PANEL && panel.bias.len() >= PANEL && columns <= PANEL);
    let (low, high) = panel.activation.bounds();
    let tile = Tile {
        a: operand.values.as_ptr(),
        lda: operand.row_stride,
        taps: operand.taps,
        b: panel.weights.as_ptr(),
        bias: panel.bias.as_ptr(),
        c: target.values.as_mut_ptr(),
        ldc: target.stride,
        residual: residual.map_or(std::ptr::null(), |(residual, _)| residual.as_ptr()),
        ldr: residual.map_or(0, |(_, stride)| stride),
        low,
        high,
        curve: panel.activation.curve(),
    };
    // SAFETY: the asserts above keep every row of operand, results and residual in its slice, and weights and bias are
    // whole panels; a network only takes a `set` and a precision that this machine has.
    unsafe {
        match panel.precision {
            Precision::F32 => run_tile(set, &tile, rows, columns),
            Precision::Bf16 => run_word_tile(&tile, rows, columns),
        }
    }
}
