//! A network of pictures in which a layer takes any earlier results: detectors with their pyramids. It is data, from which
//! parameters, frozen form and trainable form follow; a bundle holds it whole.

mod frozen;
#[cfg(test)]
mod parity;
mod trainable;

use headstart_kernels::{self as kernels, Padding, PaddingRule, Shape};
use serde::{Deserialize, Serialize};

pub(crate) use frozen::FrozenMaps;

use crate::error::{Error, Result};
use crate::features::MapShapes;
use crate::nn::conv_norm::{ConvNormSpec, Norm, NormPadding};
use crate::parameters::ParameterSpec;

/// Nodes in the order in which they run. Value 0 is the picture, value i + 1 what node i gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapGraph {
    /// The layers.
    pub nodes: Vec<MapNode>,
    /// Units of freezing, from the picture on; the last ends with the last node.
    pub stages: Vec<MapStage>,
    /// Values that the head takes, in its order.
    pub outputs: Vec<usize>,
    /// Added to the variance in batch normalization.
    pub epsilon: f64,
    /// How convolutions pad.
    pub padding: crate::nn::Padding,
}

/// A unit of freezing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapStage {
    /// Its parameters begin with it.
    pub name: String,
    /// Number of nodes up to its end.
    pub end: usize,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapNode {
    /// Values that it takes.
    pub inputs: Vec<usize>,
    /// What it does with them.
    pub op: MapOp,
}

/// What a layer computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MapOp {
    /// A convolution; its parameters begin with the name.
    Convolution {
        /// Under the name of its stage.
        name: String,
        /// Its shape.
        conv: MapConvolution,
    },
    /// The largest value of a square window.
    MaxPool {
        /// Side of the window.
        size: usize,
        /// Step.
        stride: usize,
        /// Rows and columns of padding before and after.
        padding: [usize; 2],
    },
    /// Every value as a square, times `scale`.
    Upsample {
        /// Side of the square.
        factor: usize,
        /// Factor on the values.
        scale: f32,
    },
    /// Inputs side by side along the channels; of each, part number `part` of `parts` equal ones.
    Join {
        /// In how many parts the channels are cut.
        parts: usize,
        /// Which is taken, from 0.
        part: usize,
    },
    /// The sum of maps of one shape, and an activation.
    Sum {
        /// After the sum.
        activation: Function,
    },
    /// An activation alone.
    Bend {
        /// Which.
        function: Function,
    },
}

/// A convolution with normalization or a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapConvolution {
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the result.
    pub outputs: usize,
    /// Side of the kernel, which is odd where it pads: by (side − 1) / 2.
    pub side: usize,
    /// Step.
    pub stride: usize,
    /// Whether it pads.
    pub pads: bool,
    /// Whether each channel is convolved alone.
    pub depthwise: bool,
    /// Normalization, or a bias.
    pub is_normalized: bool,
    /// Last of all; one that `Function::fused` has.
    pub activation: Function,
}

/// An activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// x.
    Linear,
    /// x, or 0.1 · x below 0.
    Leaky,
    /// x above 0.
    Relu,
    /// x between 0 and 6.
    Relu6,
    /// x · sigmoid(x).
    Swish,
    /// x · tanh(ln(1 + eˣ)).
    Mish,
    /// 1 / (1 + e⁻ˣ).
    Logistic,
}

impl Function {
    /// The form that convolutions of our kernels end in; none for those that need a pass of their own.
    pub(crate) fn fused(self) -> Option<kernels::Activation> {
        Some(match self {
            Self::Linear => kernels::Activation::Identity,
            Self::Leaky => kernels::Activation::LeakyRelu(0.1),
            Self::Relu => kernels::Activation::Relu,
            Self::Relu6 => kernels::Activation::Relu6,
            Self::Swish => kernels::Activation::Silu,
            Self::Mish | Self::Logistic => return None,
        })
    }

    /// Of one value.
    pub(crate) fn of(self, x: f32) -> f32 {
        match self {
            Self::Linear => x,
            Self::Leaky if x < 0.0 => 0.1 * x,
            Self::Leaky => x,
            Self::Relu => x.max(0.0),
            Self::Relu6 => x.clamp(0.0, 6.0),
            Self::Swish => x / (1.0 + (-x).exp()),
            // Above 20 the tangent is 1 in f32.
            Self::Mish if x > 20.0 => x,
            Self::Mish => x * x.exp().ln_1p().tanh(),
            Self::Logistic => 1.0 / (1.0 + (-x).exp()),
        }
    }
}

impl MapConvolution {
    pub(crate) fn spec(&self) -> ConvNormSpec {
        ConvNormSpec {
            inputs: self.inputs,
            outputs: self.outputs,
            kernel: [self.side; 2],
            stride: self.stride,
            depthwise: self.depthwise,
            pads: self.pads,
            norm: if self.is_normalized { Norm::Batch } else { Norm::Bias },
            activation: self.activation.fused().unwrap_or(kernels::Activation::Identity),
        }
    }

    fn is_pointwise(&self) -> bool {
        self.side == 1 && self.stride == 1 && !self.depthwise
    }
}

/// Neighbouring nodes that are computed as one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    /// Convolutions: expansion if there are three, depthwise, projection.
    pub(crate) convolutions: usize,
    /// Whether the sum with the block's input follows.
    pub(crate) is_residual: bool,
}

impl Block {
    /// Number of nodes.
    pub(crate) fn len(self) -> usize {
        self.convolutions + usize::from(self.is_residual)
    }
}

impl MapGraph {
    /// Padding and epsilon of every convolution.
    pub(crate) fn family(&self) -> NormPadding {
        NormPadding { padding: self.padding, epsilon: self.epsilon }
    }

    /// Every convolution with its name, from the picture on.
    pub(crate) fn convolutions(&self) -> impl Iterator<Item = (&str, MapConvolution)> {
        self.nodes.iter().filter_map(|node| match &node.op {
            MapOp::Convolution { name, conv } => Some((name.as_str(), *conv)),
            _ => None,
        })
    }

    /// Every array.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        self.convolutions().flat_map(|(name, conv)| conv.spec().parameters(name)).collect()
    }

    /// Index of the stage that owns the parameter called `name`.
    pub fn stage_of(&self, name: &str) -> Option<usize> {
        let first = name.split('.').next()?;
        self.stages.iter().position(|stage| stage.name == first)
    }

    /// Number of nodes in the first `depth` stages.
    pub(crate) fn end(&self, depth: usize) -> usize {
        depth.checked_sub(1).map_or(0, |last| self.stages[last].end)
    }

    /// What the nodes from `end` on, and the head, still take of the values before: the outputs in their order behind the
    /// last node, else in the order of the values.
    pub(crate) fn live(&self, end: usize) -> Vec<usize> {
        if end == self.nodes.len() {
            return self.outputs.clone();
        }
        let taken = self.nodes[end..].iter().flat_map(|node| &node.inputs).chain(&self.outputs);
        let mut live: Vec<usize> = taken.copied().filter(|value| *value <= end).collect();
        live.sort_unstable();
        live.dedup();
        live
    }

    /// How often each value is taken.
    fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len() + 1];
        self.nodes.iter().flat_map(|node| &node.inputs).chain(&self.outputs).for_each(|value| uses[*value] += 1);
        uses
    }

    /// The depthwise-separable block or inverted residual that begins at node `at` and ends before node `end`, if one does.
    fn block(&self, at: usize, end: usize, uses: &[usize]) -> Option<Block> {
        let conv = |index: usize| match self.nodes.get(index).filter(|_| index < end).map(|node| &node.op) {
            Some(MapOp::Convolution { conv, .. }) => Some(*conv),
            _ => None,
        };
        let follows = |index: usize| self.nodes[index].inputs == [index] && uses[index] == 1;
        let separable = |index: usize| {
            let (depthwise, project) = (conv(index)?, conv(index + 1)?);
            (depthwise.depthwise && project.is_pointwise() && follows(index + 1)).then_some(())
        };
        let first = conv(at)?;
        if first.depthwise {
            separable(at)?;
            return Some(Block { convolutions: 2, is_residual: false });
        }
        if !first.is_pointwise() || at + 1 >= end || !follows(at + 1) {
            return None;
        }
        separable(at + 1)?;
        let (input, result) = (self.nodes[at].inputs[0], at + 3);
        let projected = conv(at + 2)?;
        let keeps = projected.outputs == first.inputs && conv(at + 1)?.stride == 1 && conv(at + 1)?.pads;
        let is_residual = keeps
            && at + 3 < end
            && uses[result] == 1
            && projected.activation == Function::Linear
            && matches!(self.nodes[at + 3].op, MapOp::Sum { activation: Function::Linear })
            && (self.nodes[at + 3].inputs == [result, input] || self.nodes[at + 3].inputs == [input, result]);
        Some(Block { convolutions: 3, is_residual })
    }

    /// The shape of every value for a picture of `input`.
    ///
    /// # Errors
    /// [`Error::Recipe`] where maps that belong together get different sizes, as of a side that the strides do not divide.
    pub(crate) fn shapes(&self, input: Shape) -> Result<Vec<Shape>> {
        let mut shapes = vec![input];
        for (index, node) in self.nodes.iter().enumerate() {
            let first = shapes[node.inputs[0]];
            let wrong = || Error::Recipe {
                reason: format!(
                    "an input of {} × {} pixels does not fit the network: its layer {index} gets maps of other sizes",
                    input.width, input.height
                ),
                help: "give a size that 32 divides, such as 320 or 416".to_owned(),
            };
            let same_size =
                |other: &usize| (shapes[*other].height, shapes[*other].width) == (first.height, first.width);
            let windows = |length: usize, padding: usize, side: usize, stride: usize| {
                (length + padding).checked_sub(side).map(|rest| rest / stride + 1).ok_or_else(wrong)
            };
            let shape = match &node.op {
                MapOp::Convolution { conv, .. } => {
                    let side = |length: usize| match (conv.pads, self.padding) {
                        (true, crate::nn::Padding::Tensorflow | crate::nn::Padding::BottomRight) => {
                            Ok(length.div_ceil(conv.stride))
                        }
                        (pads, _) => {
                            let padding = if pads { 2 * ((conv.side - 1) / 2) } else { 0 };
                            windows(length, padding, conv.side, conv.stride)
                        }
                    };
                    Shape { height: side(first.height)?, width: side(first.width)?, channels: conv.outputs }
                }
                MapOp::MaxPool { size, stride, padding } => {
                    let side = |length| windows(length, padding[0] + padding[1], *size, *stride);
                    Shape { height: side(first.height)?, width: side(first.width)?, channels: first.channels }
                }
                MapOp::Upsample { factor, .. } => {
                    Shape { height: first.height * factor, width: first.width * factor, channels: first.channels }
                }
                MapOp::Join { parts, .. } => {
                    if !node.inputs.iter().all(same_size) {
                        return Err(wrong());
                    }
                    let channels = node.inputs.iter().map(|value| shapes[*value].channels / parts).sum();
                    Shape { channels, ..first }
                }
                MapOp::Sum { .. } => {
                    if !node.inputs.iter().all(|value| shapes[*value] == first) {
                        return Err(wrong());
                    }
                    first
                }
                MapOp::Bend { .. } => first,
            };
            shapes.push(shape);
        }
        Ok(shapes)
    }

    /// Shapes of what the first `depth` stages leave.
    pub(crate) fn live_shapes(&self, shapes: &[Shape], depth: usize) -> MapShapes {
        MapShapes::new(self.live(self.end(depth)).into_iter().map(|value| shapes[value]))
    }

    /// Whether the graph is one: values are taken after they are made, stages follow each other, not too much is carried over a
    /// cut. A bundle may come from anywhere.
    ///
    /// # Errors
    /// [`Error::Recipe`].
    pub(crate) fn check(&self) -> Result<()> {
        let wrong =
            |reason: String| Error::Recipe { reason, help: "the description of the network is damaged".to_owned() };
        for (index, node) in self.nodes.iter().enumerate() {
            if node.inputs.is_empty() || node.inputs.iter().any(|value| *value > index) {
                return Err(wrong(format!("layer {index} of the network takes what is not there yet")));
            }
            if let MapOp::Convolution { conv, .. } = &node.op
                && [conv.side, conv.stride, conv.inputs, conv.outputs]
                    .iter()
                    .any(|number| !(1..=65_536).contains(number))
            {
                return Err(wrong(format!("layer {index} of the network is a convolution of nothing")));
            }
        }
        let ends: Vec<usize> = self.stages.iter().map(|stage| stage.end).collect();
        if ends.is_empty() || !ends.is_sorted() || ends.last() != Some(&self.nodes.len()) || self.outputs.is_empty() {
            return Err(wrong("the stages of the network do not end with its layers".to_owned()));
        }
        if self.outputs.iter().any(|value| *value > self.nodes.len()) {
            return Err(wrong("an output of the network is none of its layers".to_owned()));
        }
        match (1..=self.stages.len()).find(|depth| self.live(self.end(*depth)).len() > MapShapes::MOST) {
            None => Ok(()),
            Some(depth) => Err(wrong(format!("stage {depth} leaves more than {} maps", MapShapes::MOST))),
        }
    }
}

/// The rule of a pooling window for our kernels.
fn pool_padding([before, after]: [usize; 2]) -> PaddingRule {
    PaddingRule::Explicit(Padding { top: before, bottom: after, left: before, right: after })
}
