//! Outputs of a model on a whole part of the data, nothing recorded for a backward pass.

use burn::module::Module;
use burn::tensor::Device;

use super::Source;
use crate::error::Result;
use crate::model::{Head, Model};
use crate::nn::NormStatistics;
use crate::nn::named::values;

/// Outputs `[examples, N]` of every example of a source, in order, and how many rows each has.
pub(crate) fn evaluate<H: Head>(
    model: &Model<H>,
    source: &dyn Source,
    depth: usize,
    batch: usize,
) -> Result<(Vec<f32>, Vec<usize>)> {
    let model = model.valid();
    let device = Device::default();
    let all: Vec<usize> = (0..source.len()).collect();
    let (mut outputs, mut rows) = (Vec::new(), Vec::new());
    for examples in all.chunks(batch) {
        let read = source.read(examples, 0)?;
        rows.extend(source.layout().rows(&read));
        let features = source.layout().tensor(read, &device);
        outputs.extend(values(model.forward(depth, features, NormStatistics::Fixed, None)));
    }
    Ok((outputs, rows))
}
