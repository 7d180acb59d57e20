//! The trainable form: what the nodes do with the engine's tensors, convolutions on our kernels where they lie on the CPU.

use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor, activation, module as functional};

use super::{Function, MapGraph, MapOp};
use crate::error::Result;
use crate::features::Features;
use crate::nn::conv_norm::{ConvNorm, NormStatistics, activate};
use crate::parameters::Parameters;

impl MapGraph {
    /// The convolutions in the order of the nodes.
    pub(in crate::nn) fn load(&self, parameters: &Parameters, device: &Device) -> Result<Vec<(String, ConvNorm)>> {
        let load = |(name, conv): (&str, super::MapConvolution)| {
            Ok((name.to_owned(), ConvNorm::load(conv.spec(), self.family(), parameters, name, device)?))
        };
        self.convolutions().map(load).collect()
    }

    /// Stages from number `stage` on: pixels, or what the stages before left → what the head takes.
    pub(in crate::nn) fn resume_from(
        &self,
        convolutions: &[(String, ConvNorm)],
        stage: usize,
        features: Features,
        statistics: NormStatistics,
    ) -> Features {
        let begin = self.end(stage);
        let maps = match features {
            Features::Maps(maps) => maps,
            Features::Map(pixels) => vec![pixels.permute([0, 2, 3, 1])], // [B, H, W, 3]
            _ => unreachable!("a network of pictures reads pixels, or maps"),
        };
        let mut values: Vec<Option<Tensor<4>>> = vec![None; self.nodes.len() + 1];
        self.live(begin).into_iter().zip(maps).for_each(|(value, map)| values[value] = Some(map));
        let uses = self.uses();
        let mut layers = {
            let before = self.nodes[..begin].iter().filter(|node| matches!(node.op, MapOp::Convolution { .. })).count();
            convolutions[before..].iter().map(|(_, layer)| layer)
        };
        let mut at = begin;
        for stage in &self.stages[stage..] {
            while at < stage.end {
                let taken: Vec<Tensor<4>> =
                    self.nodes[at].inputs.iter().filter_map(|value| values[*value].clone()).collect();
                let fused = self.block(at, stage.end, &uses).filter(|_| statistics == NormStatistics::Fixed);
                if let Some(block) = fused {
                    let chain: Vec<&ConvNorm> = layers.by_ref().take(block.convolutions).collect();
                    let input = taken[0].clone();
                    let result = ConvNorm::forward_chain(&chain, block.is_residual, &input).unwrap_or_else(|| {
                        let last = chain.iter().fold(input.clone(), |map, layer| layer.forward(map, statistics));
                        if block.is_residual { last + input } else { last }
                    });
                    at += block.len();
                    values[at] = Some(result);
                    continue;
                }
                let result = match &self.nodes[at].op {
                    MapOp::Convolution { .. } => match layers.next() {
                        Some(layer) => layer.forward(taken[0].clone(), statistics),
                        None => unreachable!("as many convolutions were loaded as there are"),
                    },
                    op => apply(op, taken),
                };
                at += 1;
                values[at] = Some(result);
            }
        }
        Features::Maps(self.outputs.iter().filter_map(|value| values[*value].clone()).collect())
    }
}

/// What a node without weights does with maps `[B, H, W, C]`.
fn apply(op: &MapOp, mut inputs: Vec<Tensor<4>>) -> Tensor<4> {
    match op {
        MapOp::Convolution { .. } => unreachable!("it has weights"),
        MapOp::MaxPool { size, stride, padding: [before, after] } => {
            let options = MaxPoolOptions {
                kernel_size: [*size; 2],
                stride: [*stride; 2],
                padding: [(*before, *after); 2],
                dilation: [1; 2],
                ceil_mode: false,
            };
            functional::max_pool2d(inputs.swap_remove(0).permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1])
        }
        MapOp::Upsample { factor, scale } => {
            let input = inputs.swap_remove(0);
            let [batch, height, width, channels] = input.dims();
            // Each pixel as a square: nearest neighbours.
            let map = input
                .reshape([batch, height, 1, width, 1, channels])
                .expand([batch, height, *factor, width, *factor, channels])
                .reshape([batch, height * factor, width * factor, channels]);
            if *scale == 1.0 { map } else { map.mul_scalar(*scale) }
        }
        MapOp::Join { parts, part } => {
            let pieces: Vec<Tensor<4>> = inputs
                .into_iter()
                .map(|input| {
                    let taken = input.dims()[3] / parts;
                    if *parts == 1 { input } else { input.narrow(3, part * taken, taken) }
                })
                .collect();
            Tensor::cat(pieces, 3)
        }
        MapOp::Sum { activation } => {
            let first = inputs.remove(0);
            bend(inputs.into_iter().fold(first, |sum, map| sum + map), *activation)
        }
        MapOp::Bend { function } => bend(inputs.swap_remove(0), *function),
    }
}

fn bend(map: Tensor<4>, function: Function) -> Tensor<4> {
    match (function, function.fused()) {
        (_, Some(fused)) => activate(map, fused),
        (Function::Mish, None) => activation::mish(map),
        (_, None) => activation::sigmoid(map),
    }
}
