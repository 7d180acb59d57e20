//! An architecture as data: layers, branches and residuals, from which parameters, frozen form and trainable form follow.

use std::sync::Arc;

use burn::module::{Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, module as functional};
use headstart_kernels as kernels;

use crate::backbones::{StageLayers, expect_map};
use crate::error::Result;
use crate::features::Features;
use crate::nn::MapGraph;
use crate::nn::conv_norm::{ConvNorm, ConvNormSpec, NormPadding, NormStatistics, Padding};
use crate::parameters::{ParameterSpec, Parameters};

/// One layer or block.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// A convolution; its parameters begin with the name.
    Conv(String, ConvNormSpec),
    /// A depthwise convolution and the 1×1 convolution behind it, fused when frozen.
    Separable([(String, ConvNormSpec); 2]),
    /// Pooling over windows.
    Pool(PoolSpec),
    /// Chains on the same input, their results side by side along the channels.
    Branches(Vec<Vec<Node>>),
    /// activation(body + shortcut); the body ends in a convolution without activation, an empty shortcut is the input.
    Residual { body: Vec<Node>, shortcut: Vec<Node>, activation: kernels::Activation },
}

/// Pooling over square windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PoolSpec {
    pub(crate) is_max: bool,
    pub(crate) side: usize,
    pub(crate) stride: usize,
    /// Pixels around the picture. An average counts them where the family pads as PyTorch does.
    pub(crate) padding: usize,
}

/// The stages of an architecture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stages(pub(crate) Vec<Vec<Node>>);

impl Stages {
    /// Every convolution with its name, from the input on.
    pub(crate) fn convolutions(&self) -> Vec<(&str, ConvNormSpec)> {
        let mut found = Vec::new();
        self.0.iter().flatten().for_each(|node| node.convolutions(&mut found));
        found
    }

    /// Every array.
    pub(crate) fn parameters(&self) -> Vec<ParameterSpec> {
        self.convolutions().iter().flat_map(|(name, spec)| spec.parameters(name)).collect()
    }

    /// Channels after the last stage, for an input of three.
    pub(crate) fn channels(&self) -> usize {
        self.0.iter().flatten().fold(3, |channels, node| node.channels(channels))
    }

    /// The frozen form, one list of layers a stage.
    pub(crate) fn frozen(&self, parameters: &Parameters, family: NormPadding) -> Result<Vec<StageLayers>> {
        self.0.iter().map(|nodes| frozen_all(nodes, parameters, family)).collect()
    }

    /// The trainable form.
    pub(crate) fn trainable(self, parameters: &Parameters, family: NormPadding, device: &Device) -> Result<Graph> {
        let load = |(name, spec): (&str, ConvNormSpec)| {
            Ok((name.to_owned(), ConvNorm::load(spec, family, parameters, name, device)?))
        };
        let convolutions = self.convolutions().into_iter().map(load).collect::<Result<Vec<_>>>()?;
        Ok(Graph { convolutions, plan: Arc::new(Plan::Chain(self, family.padding)) })
    }
}

impl Node {
    fn convolutions<'a>(&'a self, found: &mut Vec<(&'a str, ConvNormSpec)>) {
        match self {
            Self::Conv(name, spec) => found.push((name, *spec)),
            Self::Separable(layers) => found.extend(layers.iter().map(|(name, spec)| (name.as_str(), *spec))),
            Self::Pool(_) => {}
            Self::Branches(branches) => branches.iter().flatten().for_each(|node| node.convolutions(found)),
            Self::Residual { body, shortcut, .. } => {
                body.iter().chain(shortcut).for_each(|node| node.convolutions(found));
            }
        }
    }

    /// Channels of its result for `input` channels.
    pub(crate) fn channels(&self, input: usize) -> usize {
        let through = |nodes: &[Self]| nodes.iter().fold(input, |channels, node| node.channels(channels));
        match self {
            Self::Conv(_, spec) | Self::Separable([_, (_, spec)]) => spec.outputs,
            Self::Pool(_) => input,
            Self::Branches(branches) => branches.iter().map(|branch| through(branch)).sum(),
            Self::Residual { body, .. } => through(body),
        }
    }

    fn frozen(&self, parameters: &Parameters, family: NormPadding) -> Result<kernels::Layer> {
        Ok(match self {
            Self::Conv(name, spec) if spec.depthwise => spec.frozen_depthwise(parameters, name, family)?.into(),
            Self::Conv(name, spec) => spec.frozen_conv(parameters, name, family)?.into(),
            Self::Separable([(name, depthwise), (pointwise_name, pointwise)]) => {
                let depthwise = depthwise.frozen_depthwise(parameters, name, family)?;
                let pointwise = pointwise.frozen_conv(parameters, pointwise_name, family)?;
                kernels::InvertedResidual::new(None, depthwise, pointwise, false)?.into()
            }
            Self::Pool(pool) => pool.frozen(family.padding)?.into(),
            Self::Branches(branches) => {
                let branches = branches.iter().map(|nodes| frozen_all(nodes, parameters, family));
                kernels::Layer::Branches(branches.collect::<Result<_>>()?)
            }
            Self::Residual { body, shortcut, activation } => {
                let mut body = body.clone();
                // The kernel adds the shortcut to the sums of the last convolution, before its activation.
                if let Some(Self::Conv(_, last)) = body.last_mut() {
                    last.activation = *activation;
                }
                kernels::Layer::Residual {
                    body: frozen_all(&body, parameters, family)?,
                    shortcut: frozen_all(shortcut, parameters, family)?,
                }
            }
        })
    }
}

fn frozen_all(nodes: &[Node], parameters: &Parameters, family: NormPadding) -> Result<StageLayers> {
    nodes.iter().map(|node| node.frozen(parameters, family)).collect()
}

impl PoolSpec {
    fn frozen(&self, padding: Padding) -> Result<kernels::Pool2d> {
        let kind = match (self.is_max, padding) {
            (true, _) => kernels::PoolKind::Max,
            (false, Padding::Symmetric) => kernels::PoolKind::AverageWithPadding,
            (false, Padding::Tensorflow | Padding::BottomRight) => kernels::PoolKind::Average,
        };
        let rule = kernels::PaddingRule::Explicit(kernels::Padding::symmetric(self.padding));
        Ok(kernels::Pool2d::new(kind, [self.side; 2], [self.stride; 2], rule)?)
    }

    /// `[B, H, W, C]` → `[B, H', W', C]`, by the engine.
    fn forward(&self, input: Tensor<4>, padding: Padding) -> Tensor<4> {
        let input = input.permute([0, 3, 1, 2]);
        let (side, stride, pad) = ([self.side; 2], [self.stride; 2], [(self.padding, self.padding); 2]);
        let output = if self.is_max {
            let options =
                MaxPoolOptions { kernel_size: side, stride, padding: pad, dilation: [1; 2], ceil_mode: false };
            functional::max_pool2d(input, options)
        } else {
            let count_include_pad = padding == Padding::Symmetric;
            let options =
                AvgPoolOptions { kernel_size: side, stride, padding: pad, count_include_pad, ceil_mode: false };
            functional::avg_pool2d(input, options)
        };
        output.permute([0, 2, 3, 1])
    }
}

/// Trainable form of an architecture: its convolutions by name, and what they are parts of.
#[derive(Debug, Clone)]
pub struct Graph {
    /// In the order of the plan.
    convolutions: Vec<(String, ConvNorm)>,
    plan: Arc<Plan>,
}

/// How the convolutions stand together.
#[derive(Debug, Clone)]
enum Plan {
    /// Nodes one after the other, and how their family pads.
    Chain(Stages, Padding),
    /// Nodes that take any earlier result.
    Maps(MapGraph),
}

impl Graph {
    /// The trainable form of a network that gives several maps.
    pub(crate) fn of_maps(graph: &MapGraph, parameters: &Parameters, device: &Device) -> Result<Self> {
        Ok(Self { convolutions: graph.load(parameters, device)?, plan: Arc::new(Plan::Maps(graph.clone())) })
    }

    /// Stages from number `stage` on.
    pub(crate) fn resume_from(&self, stage: usize, features: Features, statistics: NormStatistics) -> Features {
        let stages = match self.plan.as_ref() {
            Plan::Chain(stages, _) => stages,
            Plan::Maps(graph) => return graph.resume_from(&self.convolutions, stage, features, statistics),
        };
        let mut map = expect_map(features).permute([0, 2, 3, 1]); // [B, H, W, C]
        let skipped = Stages(stages.0[..stage].to_vec());
        let mut convolutions = self.convolutions[skipped.convolutions().len()..].iter();
        for node in stages.0[stage..].iter().flatten() {
            map = self.forward(node, map, &mut convolutions, statistics);
        }
        Features::Map(map.permute([0, 3, 1, 2]))
    }

    /// One node; takes its convolutions from the front.
    fn forward(
        &self,
        node: &Node,
        input: Tensor<4>,
        convolutions: &mut dyn Iterator<Item = &(String, ConvNorm)>,
        statistics: NormStatistics,
    ) -> Tensor<4> {
        let mut next = || &convolutions.next().expect("as many as the stages have").1;
        match node {
            Node::Conv(..) => next().forward(input, statistics),
            Node::Separable(_) => {
                let layers = [next(), next()];
                let chained = (statistics == NormStatistics::Fixed)
                    .then(|| ConvNorm::forward_chain(&layers, false, &input))
                    .flatten();
                chained.unwrap_or_else(|| layers.iter().fold(input, |map, layer| layer.forward(map, statistics)))
            }
            Node::Pool(pool) => pool.forward(input, self.padding()),
            Node::Branches(branches) => {
                let results = branches.iter().map(|nodes| self.chain(nodes, input.clone(), convolutions, statistics));
                Tensor::cat(results.collect(), 3)
            }
            Node::Residual { body, shortcut, activation } => {
                let sum = self.chain(body, input.clone(), convolutions, statistics);
                let kept = self.chain(shortcut, input, convolutions, statistics);
                crate::nn::conv_norm::activate(sum + kept, *activation)
            }
        }
    }

    fn padding(&self) -> Padding {
        match self.plan.as_ref() {
            Plan::Chain(_, padding) => *padding,
            Plan::Maps(_) => Padding::Symmetric,
        }
    }

    fn chain(
        &self,
        nodes: &[Node],
        input: Tensor<4>,
        convolutions: &mut dyn Iterator<Item = &(String, ConvNorm)>,
        statistics: NormStatistics,
    ) -> Tensor<4> {
        nodes.iter().fold(input, |map, node| self.forward(node, map, convolutions, statistics))
    }

    fn map_all(self, change: &mut dyn FnMut(&str, ConvNorm) -> ConvNorm) -> Self {
        let changed = self.convolutions.into_iter().map(|(name, layer)| {
            let layer = change(&name, layer);
            (name, layer)
        });
        Self { convolutions: changed.collect(), plan: self.plan }
    }
}

/// The container's name for visitors.
const CONTAINER: &str = "Graph";

// By hand, so that the path of a parameter is the name that the architecture gives it.
impl Module for Graph {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for (name, layer) in &self.convolutions {
            visitor.enter_module(name, CONTAINER);
            layer.visit(visitor);
            visitor.exit_module(name, CONTAINER);
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        self.map_all(&mut |name, layer| {
            mapper.enter_module(name, CONTAINER);
            let layer = layer.map(mapper);
            mapper.exit_module(name, CONTAINER);
            layer
        })
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        self.convolutions.iter().fold(devices, |devices, (_, layer)| layer.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        self.map_all(&mut |_, layer| layer.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.map_all(&mut |_, layer| layer.to_device(device))
    }

    fn train(self) -> Self {
        self.map_all(&mut |_, layer| layer.train())
    }

    fn valid(&self) -> Self {
        self.clone().map_all(&mut |_, layer| layer.valid())
    }

    fn materialize(self) -> Self {
        self.map_all(&mut |_, layer| layer.materialize())
    }
}

impl ModuleDisplayDefault for Graph {
    fn content(&self, content: Content) -> Option<Content> {
        let content = content.set_top_level_type(CONTAINER);
        self.convolutions.iter().fold(content, |content, (name, layer)| content.add(name, layer)).optional()
    }

    fn num_params(&self) -> usize {
        Module::num_params(self)
    }
}

impl ModuleDisplay for Graph {}

impl std::fmt::Display for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.format(Default::default()))
    }
}
