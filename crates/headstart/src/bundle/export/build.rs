//! Backbone and head → [`Graph`].

use headstart_data::preprocess::{ChannelOrder, Preprocess};
use headstart_kernels::{self as kernels, Padding as Edges, PaddingRule, Shape};

use super::graph::{Activation, Conv, Dense, Graph, Op, Pool};
use crate::backbones::{BackboneSpec, Conventions, Variant};
use crate::error::{Error, Result};
use crate::nn::conv_norm::{ConvNormSpec, NormPadding, Padding};
use crate::nn::graph::{Node, PoolSpec};
use crate::parameters::Parameters;
use crate::recipe::{self, HeadRecipe, Output};

/// A model as it lies in a bundle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) spec: &'static BackboneSpec,
    pub(crate) variant: &'static Variant,
    pub(crate) conventions: &'a Conventions,
    pub(crate) recipe: &'a HeadRecipe,
    pub(crate) backbone: &'a Parameters,
    pub(crate) head: &'a Parameters,
}

/// The whole model, from the picture to the probabilities.
pub(crate) fn build(source: Source<'_>) -> Result<Graph> {
    let family = NormPadding::from(source.conventions);
    let preprocess = &source.conventions.preprocess;
    let mut builder = Builder { graph: Graph::default(), maps: Vec::new(), parameters: source.backbone, family };
    let input = Shape { height: preprocess.height as usize, width: preprocess.width as usize, channels: 3 };
    let mut at = builder.add("picture", Op::Picture(input), vec![])?;
    at = builder.add("preprocess", Op::Conv(normalization(preprocess)), vec![at])?;
    let stages = (source.spec.graph)(source.variant);
    for (stage, nodes) in source.spec.stages.iter().zip(&stages.0) {
        at = builder.chain(stage.name, nodes, at)?;
    }
    let vector = match source.recipe.pool {
        recipe::Pool::Average => builder.graph.add("average_pool", Op::AveragePool, vec![at]),
        recipe::Pool::Flatten => builder.graph.add("flatten", Op::Flatten, vec![at]),
        recipe::Pool::Logits | recipe::Pool::First | recipe::Pool::Last | recipe::Pool::Tokens => {
            return Err(inconsistent("the head stands on no map of the backbone".to_owned()));
        }
    };
    let mut graph = builder.graph;
    let mut at = vector;
    for index in 0..source.recipe.hidden.len() {
        let dense = dense(source.head, &format!("hidden.{index}"), Activation::Relu)?;
        at = graph.add(&format!("hidden_{index}"), Op::Dense(dense), vec![at]);
    }
    let last = match source.recipe.output {
        Output::Softmax => Activation::Softmax,
        Output::Sigmoid | Output::Sigmoids => Activation::Sigmoid,
    };
    graph.add("probabilities", Op::Dense(dense(source.head, "output", last)?), vec![at]);
    graph.extents().map_err(inconsistent)?;
    Ok(graph)
}

/// Channel order, divisor, mean and deviation as a 1×1 convolution: exact in every format, and nobody has to repeat it.
fn normalization(preprocess: &Preprocess) -> Conv {
    let order = match preprocess.channels {
        ChannelOrder::Rgb => [0, 1, 2],
        ChannelOrder::Bgr => [2, 1, 0],
    };
    let mut weights = vec![0.0; 9];
    let mut bias = vec![0.0; 3];
    for (out, input) in order.into_iter().enumerate() {
        let deviation = f64::from(preprocess.deviation[out]);
        weights[input * 3 + out] = (1.0 / (f64::from(preprocess.divisor) * deviation)) as f32;
        bias[out] = (-f64::from(preprocess.mean[out]) / deviation) as f32;
    }
    Conv {
        is_depthwise: false,
        inputs: 3,
        outputs: 3,
        kernel: [1; 2],
        stride: [1; 2],
        edges: Edges::default(),
        weights,
        bias,
        activation: Activation::Identity,
    }
}

fn dense(head: &Parameters, prefix: &str, activation: Activation) -> Result<Dense> {
    let weight = head.find(&format!("{prefix}.weight"))?;
    let bias = head.find(&format!("{prefix}.bias"))?.values.clone();
    let [inputs, outputs] = weight.shape[..] else {
        return Err(inconsistent(format!("`{prefix}.weight` has {} axes", weight.shape.len())));
    };
    Ok(Dense { inputs, outputs, weights: weight.values.clone(), bias, activation })
}

fn inconsistent(reason: String) -> Error {
    Error::Recipe { reason, help: "the weights belong to another architecture or head".to_owned() }
}

struct Builder<'a> {
    graph: Graph,
    /// Shape of every result so far.
    maps: Vec<Shape>,
    parameters: &'a Parameters,
    family: NormPadding,
}

impl Builder<'_> {
    /// Adds an operation that gives a map.
    fn add(&mut self, name: &str, op: Op, inputs: Vec<usize>) -> Result<usize> {
        let maps = inputs.iter().map(|input| self.maps[*input]);
        let map = op.map_of(&maps.collect::<Vec<_>>());
        self.maps.push(map.ok_or_else(|| inconsistent(format!("`{name}` does not fit what comes before it")))?);
        Ok(self.graph.add(name, op, inputs))
    }

    fn chain(&mut self, stage: &str, nodes: &[Node], input: usize) -> Result<usize> {
        nodes.iter().try_fold(input, |at, node| self.node(stage, node, at))
    }

    fn node(&mut self, stage: &str, node: &Node, input: usize) -> Result<usize> {
        match node {
            Node::Conv(name, spec) => self.conv(name, spec, input),
            Node::Separable(layers) => layers.iter().try_fold(input, |at, (name, spec)| self.conv(name, spec, at)),
            Node::Pool(spec) => {
                let name = format!("{stage}_{}_pool", if spec.is_max { "max" } else { "average" });
                self.add(&name, Op::Pool(pool(spec, self.family.padding)), vec![input])
            }
            Node::Branches(branches) => {
                let ends = branches.iter().map(|nodes| self.chain(stage, nodes, input)).collect::<Result<_>>()?;
                self.add(&format!("{stage}_concat"), Op::Concat, ends)
            }
            Node::Residual { body, shortcut, activation } => {
                let body = self.chain(stage, body, input)?;
                let shortcut = self.chain(stage, shortcut, input)?;
                let sum = self.add(&format!("{stage}_add"), Op::Add, vec![body, shortcut])?;
                match activation_of(*activation, stage)? {
                    Activation::Identity => Ok(sum),
                    activation => self.add(&format!("{stage}_out"), Op::Activation(activation), vec![sum]),
                }
            }
        }
    }

    fn conv(&mut self, name: &str, spec: &ConvNormSpec, input: usize) -> Result<usize> {
        let map = self.maps[input];
        let (weights, bias) = spec.fold(self.parameters, name, self.family.epsilon)?;
        let stride = [spec.stride; 2];
        let edges = match spec.kernel_padding(self.family.padding) {
            PaddingRule::Explicit(edges) => edges,
            PaddingRule::TensorFlowSame => Edges::tensorflow_same([map.height, map.width], spec.kernel, stride, [1; 2]),
        };
        let conv = Conv {
            is_depthwise: spec.depthwise,
            inputs: spec.inputs,
            outputs: spec.outputs,
            kernel: spec.kernel,
            stride,
            edges,
            weights,
            bias,
            activation: activation_of(spec.activation, name)?,
        };
        self.add(&name.replace('.', "_"), Op::Conv(conv), vec![input])
    }
}

fn pool(spec: &PoolSpec, padding: Padding) -> Pool {
    Pool {
        is_max: spec.is_max,
        side: [spec.side; 2],
        stride: [spec.stride; 2],
        edges: Edges::symmetric(spec.padding),
        counts_padding: !spec.is_max && padding == Padding::Symmetric,
    }
}

fn activation_of(activation: kernels::Activation, name: &str) -> Result<Activation> {
    match activation {
        kernels::Activation::Identity => Ok(Activation::Identity),
        kernels::Activation::Relu => Ok(Activation::Relu),
        kernels::Activation::Relu6 => Ok(Activation::Relu6),
        other => Err(Error::Recipe {
            reason: format!("`{name}` ends in {other:?}, which no export writes yet"),
            help: "the bundle itself predicts as before".to_owned(),
        }),
    }
}
