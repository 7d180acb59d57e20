//! A dense layer on rows: one product, then bias and activation.

use rayon::prelude::*;

use crate::error::KernelError;
use crate::matrix::{Before, Matrix, MatrixMut, Threads};
use crate::shape::Activation;

/// Rows that a thread bends at a time.
const ROWS: usize = 16;

/// `input` `[rows, inputs]` times `weight` `[inputs, outputs]` plus `bias` `[outputs]`, cut as `activation` cuts:
/// `[rows, outputs]`.
///
/// # Errors
/// [`KernelError::Length`] where the slices do not go together; [`KernelError::Invalid`] for an activation that is a curve.
pub fn dense_rows(
    input: &[f32],
    weight: &[f32],
    bias: &[f32],
    activation: Activation,
) -> Result<Vec<f32>, KernelError> {
    let outputs = bias.len();
    let inputs = weight.len().checked_div(outputs).unwrap_or(0);
    if inputs * outputs != weight.len() || outputs == 0 {
        return Err(KernelError::Length {
            what: "the weight of a dense layer",
            expected: inputs * outputs,
            found: weight.len(),
        });
    }
    let rows = input.len().checked_div(inputs).unwrap_or(0);
    if rows * inputs != input.len() {
        return Err(KernelError::Length {
            what: "the input of a dense layer",
            expected: rows * inputs,
            found: input.len(),
        });
    }
    if activation.curve().is_some() {
        return Err(KernelError::Invalid("a dense layer on rows cuts its sums and does not bend them"));
    }
    let mut output = vec![0.0; rows * outputs];
    if rows == 0 {
        return Ok(output);
    }
    MatrixMut::new(&mut output, rows, outputs).product(
        Matrix::new(input, rows, inputs),
        Matrix::new(weight, inputs, outputs),
        1.0,
        Before::Forgotten,
        Threads::All,
    );
    let (low, high) = activation.bounds();
    output.par_chunks_mut(ROWS * outputs).for_each(|rows| {
        for row in rows.chunks_exact_mut(outputs) {
            // Compared this way round, a NaN stays one.
            row.iter_mut().zip(bias).for_each(|(value, bias)| {
                let sum = *value + bias;
                *value = if sum < low {
                    low
                } else if sum > high {
                    high
                } else {
                    sum
                };
            });
        }
    });
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_multiplied_shifted_and_cut() {
        let weight = [1.0, 0.0, 2.0, 1.0, -1.0, 3.0]; // [2, 3]
        let input = [1.0, 2.0, -1.0, 0.5];
        let found = dense_rows(&input, &weight, &[0.5, 0.0, 0.0], Activation::ClippedRelu(5.0)).unwrap();
        assert_eq!(found, [3.5, 0.0, 5.0, 0.0, 0.0, 0.0]);
        assert!(dense_rows(&[f32::NAN, 0.0], &weight, &[0.0; 3], Activation::Relu).unwrap()[0].is_nan());
        assert!(dense_rows(&input[1..], &weight, &[0.0; 3], Activation::Relu).is_err());
        assert!(dense_rows(&input, &weight[1..], &[0.0; 3], Activation::Relu).is_err());
        assert!(dense_rows(&input, &weight, &[0.0; 3], Activation::Silu).is_err());
        assert!(dense_rows(&[], &weight, &[0.0; 3], Activation::Relu).unwrap().is_empty());
    }
}
