//! The frozen form: chains of layers on our kernels, and plain loops for what joins them.

use headstart_kernels::{self as kernels, InvertedResidual, Layer, Pool2d, PoolKind, Shape};

use super::{Function, MapConvolution, MapGraph, MapOp, pool_padding};
use crate::error::Result;
use crate::features::MapShapes;
use crate::parameters::Parameters;

/// A graph compiled for one size of pictures.
#[derive(Debug)]
pub(crate) struct FrozenMaps {
    graph: MapGraph,
    shapes: Vec<Shape>,
    steps: Vec<Step>,
    /// Number of steps up to the end of each stage.
    ends: Vec<usize>,
    /// The last step that takes each value; values beyond the last stage are kept.
    last_use: Vec<usize>,
}

#[derive(Debug)]
struct Step {
    inputs: Vec<usize>,
    output: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Chain(Box<kernels::Network>),
    Upsample { factor: usize, scale: f32 },
    Join { parts: usize, part: usize },
    Sum { activation: Function },
    Bend { function: Function },
}

/// Layers that follow each other.
struct Chain {
    input: usize,
    output: usize,
    layers: Vec<Layer>,
}

impl FrozenMaps {
    /// Folds, packs and fuses all stages for pictures of `input`.
    ///
    /// # Errors
    /// [`crate::Error::Recipe`] for a size that does not fit; [`crate::Error::UnknownName`] for a missing array.
    pub(crate) fn new(graph: &MapGraph, parameters: &Parameters, input: Shape) -> Result<Self> {
        let shapes = graph.shapes(input)?;
        let uses = graph.uses();
        let mut frozen =
            Self { graph: graph.clone(), shapes, steps: Vec::new(), ends: Vec::new(), last_use: Vec::new() };
        let mut begin = 0;
        for stage in &graph.stages {
            frozen.add_stage(begin..stage.end, parameters, &uses)?;
            frozen.ends.push(frozen.steps.len());
            begin = stage.end;
        }
        frozen.last_use = vec![0; graph.nodes.len() + 1];
        for (index, step) in frozen.steps.iter().enumerate() {
            step.inputs.iter().for_each(|value| frozen.last_use[*value] = index);
        }
        Ok(frozen)
    }

    fn add_stage(&mut self, nodes: std::ops::Range<usize>, parameters: &Parameters, uses: &[usize]) -> Result<()> {
        let graph = self.graph.clone();
        let (mut at, mut chain) = (nodes.start, None::<Chain>);
        while at < nodes.end {
            let node = &graph.nodes[at];
            let (layer, count) = match graph.block(at, nodes.end, uses) {
                Some(block) => {
                    let last = block.convolutions - 1;
                    let conv = |index: usize| match &graph.nodes[at + index].op {
                        MapOp::Convolution { name, conv } => (name.as_str(), *conv),
                        _ => unreachable!("a block is of convolutions"),
                    };
                    let dense = |index: usize| {
                        let (name, conv) = conv(index);
                        conv.spec().frozen_conv(parameters, name, graph.family())
                    };
                    let expand = (block.convolutions == 3).then(|| dense(0)).transpose()?;
                    let (name, depthwise) = conv(last - 1);
                    let depthwise = depthwise.spec().frozen_depthwise(parameters, name, graph.family())?;
                    let layer = InvertedResidual::new(expand, depthwise, dense(last)?, block.is_residual)?;
                    (Some(layer.into()), block.len())
                }
                None => (single(&graph, at, parameters)?, 1),
            };
            match layer {
                Some(layer) => {
                    let input = node.inputs[0];
                    match &mut chain {
                        Some(chain) if chain.output == input && uses[input] == 1 => {
                            chain.layers.push(layer);
                            chain.output = at + count;
                        }
                        _ => {
                            self.finish(chain.take())?;
                            chain = Some(Chain { input, output: at + count, layers: vec![layer] });
                        }
                    }
                }
                None => {
                    self.finish(chain.take())?;
                    let kind = match &node.op {
                        MapOp::Upsample { factor, scale } => Kind::Upsample { factor: *factor, scale: *scale },
                        MapOp::Join { parts, part } => Kind::Join { parts: *parts, part: *part },
                        MapOp::Sum { activation } => Kind::Sum { activation: *activation },
                        MapOp::Bend { function } => Kind::Bend { function: *function },
                        MapOp::Convolution { .. } | MapOp::MaxPool { .. } => unreachable!("these are layers"),
                    };
                    self.steps.push(Step { inputs: node.inputs.clone(), output: at + 1, kind });
                }
            }
            at += count;
        }
        self.finish(chain)
    }

    fn finish(&mut self, chain: Option<Chain>) -> Result<()> {
        let Some(Chain { input, output, layers }) = chain else { return Ok(()) };
        let network = kernels::Network::new(self.shapes[input], layers)?;
        self.steps.push(Step { inputs: vec![input], output, kind: Kind::Chain(Box::new(network)) });
        Ok(())
    }

    pub(crate) fn stage_count(&self) -> usize {
        self.ends.len()
    }

    /// Shape of a picture.
    pub(crate) fn input(&self) -> Shape {
        self.shapes[0]
    }

    /// What the first `depth` stages leave.
    pub(crate) fn layout(&self, depth: usize) -> MapShapes {
        self.graph.live_shapes(&self.shapes, depth)
    }

    /// One picture `[H, W, 3]` through the first `depth` stages: the maps of [`Self::layout`], one after the other.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`] when `input` has another length.
    pub(crate) fn forward(&self, input: &[f32], depth: usize, threads: usize) -> Result<Vec<f32>> {
        let live = self.graph.live(self.graph.end(depth));
        let mut values: Vec<Option<Vec<f32>>> = vec![None; self.graph.nodes.len() + 1];
        values[0] = Some(input.to_vec());
        let steps = depth.checked_sub(1).map_or(0, |last| self.ends[last]);
        for (index, step) in self.steps[..steps].iter().enumerate() {
            let taken: Vec<&[f32]> = step.inputs.iter().map(|value| values[*value].as_deref().unwrap_or(&[])).collect();
            let output = self.run(step, &taken, threads)?;
            values[step.output] = Some(output);
            for value in &step.inputs {
                if self.last_use[*value] == index && !live.contains(value) {
                    values[*value] = None;
                }
            }
        }
        Ok(live.into_iter().flat_map(|value| values[value].clone().unwrap_or_default()).collect())
    }

    fn run(&self, step: &Step, inputs: &[&[f32]], threads: usize) -> Result<Vec<f32>> {
        let (from, to) = (self.shapes[step.inputs[0]], self.shapes[step.output]);
        let mut output = vec![0.0; to.len()];
        match &step.kind {
            Kind::Chain(network) => {
                network.forward(0..network.layer_count(), inputs[0], 1, &mut output, threads)?;
            }
            Kind::Upsample { factor, scale } => {
                for (row, line) in output.chunks_exact_mut(to.width * to.channels).enumerate() {
                    let above = &inputs[0][row / factor * from.width * from.channels..][..from.width * from.channels];
                    for (column, pixel) in line.chunks_exact_mut(to.channels).enumerate() {
                        let source = &above[column / factor * from.channels..][..from.channels];
                        pixel.iter_mut().zip(source).for_each(|(to, from)| *to = from * scale);
                    }
                }
            }
            Kind::Join { parts, part } => {
                let mut offset = 0;
                for (value, input) in step.inputs.iter().zip(inputs) {
                    let all = self.shapes[*value].channels;
                    let taken = all / parts;
                    for (pixel, source) in output.chunks_exact_mut(to.channels).zip(input.chunks_exact(all)) {
                        pixel[offset..offset + taken].copy_from_slice(&source[part * taken..][..taken]);
                    }
                    offset += taken;
                }
            }
            Kind::Sum { activation } => {
                for input in inputs {
                    output.iter_mut().zip(*input).for_each(|(sum, value)| *sum += value);
                }
                if *activation != Function::Linear {
                    output.iter_mut().for_each(|value| *value = activation.of(*value));
                }
            }
            Kind::Bend { function } => {
                output.iter_mut().zip(inputs[0]).for_each(|(to, value)| *to = function.of(*value));
            }
        }
        Ok(output)
    }
}

/// One node as a layer of our kernels, if it is one.
fn single(graph: &MapGraph, at: usize, parameters: &Parameters) -> Result<Option<Layer>> {
    Ok(Some(match &graph.nodes[at].op {
        MapOp::Convolution { name, conv: conv @ MapConvolution { depthwise: true, .. } } => {
            conv.spec().frozen_depthwise(parameters, name, graph.family())?.into()
        }
        MapOp::Convolution { name, conv } => conv.spec().frozen_conv(parameters, name, graph.family())?.into(),
        MapOp::MaxPool { size, stride, padding } => {
            Pool2d::new(PoolKind::Max, [*size; 2], [*stride; 2], pool_padding(*padding))?.into()
        }
        _ => return Ok(None),
    }))
}
