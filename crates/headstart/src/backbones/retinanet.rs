//! RetinaNet: a pyramid of maps on any backbone of pictures (Lin et al. 2017, arXiv:1708.02002; the pyramid: arXiv:1612.03144).
//!
//! Shapes and names follow torchvision 0.29 `retinanet.py`, `backbone_utils.py` and `feature_pyramid_network.py`: P3 to P5 from the
//! maps of 1/8, 1/16 and 1/32, P6 and P7 by further halving.

use headstart_kernels::{Activation, Shape};
use headstart_weights::Checkpoint;

use super::{BackboneSpec, Conventions, Variant};
use crate::error::{Error, Result};
use crate::nn::MapGraph;
use crate::nn::conv_norm::{ConvNormSpec, Norm};
use crate::nn::graph::{Node, Stages};
use crate::nn::map_graph::{Function, MapConvolution, MapNode, MapOp, MapStage};
use crate::parameters::{Parameter, Parameters};

/// Name of this architecture.
pub const NAME: &str = "retinanet";

/// Name of the stage behind the backbone's.
const PYRAMID: &str = "fpn";

/// Channels of torchvision's pyramid, and those that suit a small backbone on a CPU.
pub const WIDTHS: (usize, usize) = (256, 64);

/// Convolutions of each tower of the head before the last.
pub const TOWER: usize = 4;

/// An array that only a published RetinaNet has.
const TELLING: &str = "head.classification_head.cls_logits.weight";

/// Strides of the maps of the backbone.
const STRIDES: [usize; 3] = [8, 16, 32];

/// The network up to the head, on a backbone.
///
/// # Errors
/// [`Error::Recipe`] for a backbone without maps of the three sizes, or with layers that are not built here.
pub fn graph(spec: &BackboneSpec, variant: &Variant, conventions: &Conventions, width: usize) -> Result<MapGraph> {
    let mut builder = Builder { nodes: Vec::new(), name: spec.name };
    let Stages(stages) = (spec.graph)(variant);
    let (mut value, mut ends, mut cuts) = (0, Vec::new(), Vec::new());
    for (nodes, stage) in stages.iter().zip(spec.stages) {
        for node in nodes {
            value = builder.add(node, value)?;
        }
        ends.push(value);
        cuts.push(MapStage { name: stage.name.to_owned(), end: builder.nodes.len() });
    }
    let mut graph = MapGraph {
        nodes: builder.nodes,
        stages: cuts,
        outputs: ends.clone(),
        epsilon: conventions.batch_norm_epsilon,
        padding: conventions.padding,
    };
    let side = 256;
    let shapes = graph.shapes(Shape { height: side, width: side, channels: 3 })?;
    // The last map of each size.
    let maps = STRIDES.map(|stride| ends.iter().rev().copied().find(|end| shapes[*end].height == side / stride));
    let [Some(c3), Some(c4), Some(c5)] = maps else {
        return Err(Error::Recipe {
            reason: format!("`{}` has no maps of 1/8, 1/16 and 1/32", spec.name),
            help: "take mobilenet_v2 or resnet".to_owned(),
        });
    };
    let mut push = |inputs: Vec<usize>, op: MapOp| {
        graph.nodes.push(MapNode { inputs, op });
        graph.nodes.len()
    };
    let conv = |name: String, inputs: usize, side: usize, stride: usize| MapOp::Convolution {
        name: format!("{PYRAMID}.{name}"),
        conv: MapConvolution {
            inputs,
            outputs: width,
            side,
            stride,
            pads: true,
            depthwise: false,
            is_normalized: false,
            activation: Function::Linear,
        },
    };
    let mut above: Option<usize> = None;
    let mut outputs = Vec::new();
    for (index, map) in [c3, c4, c5].into_iter().enumerate().rev() {
        let mut inner = push(vec![map], conv(format!("inner_blocks.{index}"), shapes[map].channels, 1, 1));
        if let Some(above) = above {
            let grown = push(vec![above], MapOp::Upsample { factor: 2, scale: 1.0 });
            inner = push(vec![inner, grown], MapOp::Sum { activation: Function::Linear });
        }
        above = Some(inner);
        outputs.insert(0, push(vec![inner], conv(format!("layer_blocks.{index}"), width, 3, 1)));
    }
    let p6 = push(vec![outputs[2]], conv("extra_blocks.p6".to_owned(), width, 3, 2));
    let positive = push(vec![p6], MapOp::Bend { function: Function::Relu });
    let p7 = push(vec![positive], conv("extra_blocks.p7".to_owned(), width, 3, 2));
    outputs.extend([p6, p7]);
    graph.outputs = outputs;
    graph.stages.push(MapStage { name: PYRAMID.to_owned(), end: graph.nodes.len() });
    graph.check()?;
    Ok(graph)
}

struct Builder {
    nodes: Vec<MapNode>,
    name: &'static str,
}

impl Builder {
    fn push(&mut self, inputs: Vec<usize>, op: MapOp) -> usize {
        self.nodes.push(MapNode { inputs, op });
        self.nodes.len()
    }

    fn unsupported(&self, what: &str) -> Error {
        Error::Recipe {
            reason: format!("`{}` has {what}, on which no pyramid is built", self.name),
            help: "take mobilenet_v2 or resnet".to_owned(),
        }
    }

    fn function(&self, activation: Activation) -> Result<Function> {
        Ok(match activation {
            Activation::Identity => Function::Linear,
            Activation::Relu => Function::Relu,
            Activation::Relu6 => Function::Relu6,
            Activation::Silu => Function::Swish,
            _ => return Err(self.unsupported("an activation")),
        })
    }

    fn convolution(&mut self, name: &str, spec: &ConvNormSpec, input: usize) -> Result<usize> {
        if spec.kernel[0] != spec.kernel[1] {
            return Err(self.unsupported("kernels that are not square"));
        }
        let conv = MapConvolution {
            inputs: spec.inputs,
            outputs: spec.outputs,
            side: spec.kernel[0],
            stride: spec.stride,
            pads: spec.pads,
            depthwise: spec.depthwise,
            is_normalized: spec.norm == Norm::Batch,
            activation: self.function(spec.activation)?,
        };
        Ok(self.push(vec![input], MapOp::Convolution { name: name.to_owned(), conv }))
    }

    fn add(&mut self, node: &Node, input: usize) -> Result<usize> {
        match node {
            Node::Conv(name, spec) => self.convolution(name, spec, input),
            Node::Separable([(name, spec), (second, second_spec)]) => {
                let between = self.convolution(name, spec, input)?;
                self.convolution(second, second_spec, between)
            }
            Node::Pool(pool) if pool.is_max => {
                let op = MapOp::MaxPool { size: pool.side, stride: pool.stride, padding: [pool.padding; 2] };
                Ok(self.push(vec![input], op))
            }
            Node::Residual { body, shortcut, activation } => {
                let sum = body.iter().try_fold(input, |value, node| self.add(node, value))?;
                let kept = shortcut.iter().try_fold(input, |value, node| self.add(node, value))?;
                let activation = self.function(*activation)?;
                Ok(self.push(vec![sum, kept], MapOp::Sum { activation }))
            }
            Node::Pool(_) | Node::Branches(_) => Err(self.unsupported("branches")),
        }
    }
}

/// Whether a checkpoint is a RetinaNet as torchvision publishes it.
pub fn is_published(checkpoint: &dyn Checkpoint) -> bool {
    checkpoint.arrays().iter().any(|array| array.name == TELLING)
}

/// Pyramid and head of a checkpoint of torchvision under our names.
///
/// # Errors
/// Of the reader, for an array that is missing.
pub fn read(checkpoint: &dyn Checkpoint) -> Result<(Parameters, Parameters)> {
    let array = |name: String| -> Result<Parameter> {
        let array = checkpoint.read(&name)?;
        Ok(Parameter { shape: array.info.shape.clone(), values: array.to_f32()? })
    };
    let (mut pyramid, mut head) = (Parameters::default(), Parameters::default());
    for field in ["weight", "bias"] {
        for block in ["inner_blocks", "layer_blocks"] {
            for index in 0..STRIDES.len() {
                let name = format!("{PYRAMID}.{block}.{index}.{field}");
                pyramid.insert(name, array(format!("backbone.fpn.{block}.{index}.0.{field}"))?);
            }
        }
        for block in ["p6", "p7"] {
            let name = format!("{PYRAMID}.extra_blocks.{block}.{field}");
            pyramid.insert(name, array(format!("backbone.fpn.extra_blocks.{block}.{field}"))?);
        }
        for (ours, theirs, last) in
            [("classes", "classification_head", "cls_logits"), ("boxes", "regression_head", "bbox_reg")]
        {
            for index in 0..TOWER {
                let name = format!("{ours}.{index}.{field}");
                head.insert(name, array(format!("head.{theirs}.conv.{index}.0.{field}"))?);
            }
            head.insert(format!("{ours}.{TOWER}.{field}"), array(format!("head.{theirs}.{last}.{field}"))?);
        }
    }
    Ok((pyramid, head))
}
