//! Outputs of a model on a whole part of the data, nothing recorded for a backward pass.

use burn::module::Module;
use burn::tensor::Device;

use super::Source;
use crate::error::Result;
use crate::model::{Head, Model};
use crate::nn::NormStatistics;
use crate::nn::named::values;

/// Outputs `[examples, N]` of every example of a source, in order.
pub(crate) fn evaluate<H: Head>(model: &Model<H>, source: &dyn Source, depth: usize, batch: usize) -> Result<Vec<f32>> {
    let model = model.valid();
    let device = Device::default();
    let all: Vec<usize> = (0..source.len()).collect();
    let mut outputs = Vec::new();
    for examples in all.chunks(batch) {
        let features = source.layout().tensor(source.read(examples, 0)?, &device);
        outputs.extend(values(model.forward(depth, features, NormStatistics::Fixed, None)));
    }
    Ok(outputs)
}
