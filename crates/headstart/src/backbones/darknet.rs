//! Darknet: any network that a `.cfg` describes, as YOLO v3, v4 and Yolo-Fastest, up to where its detectors attach (Redmon and
//! Farhadi 2018, arXiv:1804.02767; Bochkovskiy et al. 2020, arXiv:2004.10934).
//!
//! What stands before a `[yolo]` or `[region]` section is the head's: a 1×1 convolution without activation. Normalization adds
//! 1e-6 to the variance, as OpenCV reads such files.

use std::path::Path;

use headstart_kernels::Shape;
use headstart_weights::Checkpoint;
use headstart_weights::darknet::{Activation, Convolution, LayerKind, MapShape, Network};

use crate::error::{Error, Result};
use crate::load::detector::{HeadPlan, YoloLevel};
use crate::nn::MapGraph;
use crate::nn::map_graph::{Function, MapConvolution, MapNode, MapOp, MapStage};
use crate::parameters::{Parameter, Parameters};

/// Name of this architecture.
pub const NAME: &str = "darknet";

const EPSILON: f64 = 1e-6;

/// A description as a network of ours, and which of its layers become which arrays.
#[derive(Debug, Clone)]
pub struct Described {
    /// Up to the detectors.
    pub graph: MapGraph,
    /// The detectors.
    pub head: HeadPlan,
    /// Layers that are convolutions of the graph: number, name, and which part of how many of its filters.
    convolutions: Vec<(usize, String, usize, usize)>,
    /// The layer before each detector.
    detectors: Vec<usize>,
}

/// The graph and the detectors of a description; `path` is for messages.
///
/// # Errors
/// [`Error::Recipe`] for what we cannot build.
pub fn describe(path: &Path, network: &Network) -> Result<Described> {
    let mut builder = Builder { path, nodes: Vec::new(), values: Vec::new(), convolutions: Vec::new() };
    let (mut levels, mut outputs, mut detectors) = (Vec::new(), Vec::new(), Vec::new());
    for (number, layer) in network.layers.iter().enumerate() {
        let level = match &layer.kind {
            LayerKind::Yolo(yolo) => YoloLevel {
                anchors: yolo.anchors.clone(),
                mask: yolo.mask.clone(),
                all_anchors: yolo.all_anchors.clone(),
                classes: yolo.classes,
                scale_x_y: yolo.scale_x_y,
                has_new_coordinates: yolo.has_new_coordinates,
                is_softmax: false,
                ignore_threshold: yolo.ignore_threshold,
                iou_threshold: yolo.iou_threshold,
            },
            LayerKind::Region(region) => {
                let [stride_x, stride_y] = [
                    network.input.width as f32 / layer.input.width as f32,
                    network.input.height as f32 / layer.input.height as f32,
                ];
                let anchors: Vec<[f32; 2]> = region.anchors.iter().map(|[w, h]| [w * stride_x, h * stride_y]).collect();
                YoloLevel {
                    mask: (0..anchors.len()).collect(),
                    all_anchors: anchors.clone(),
                    anchors,
                    classes: region.classes,
                    scale_x_y: 1.0,
                    has_new_coordinates: false,
                    is_softmax: region.is_softmax,
                    ignore_threshold: region.threshold,
                    iou_threshold: 1.0,
                }
            }
            kind => {
                let is_detector = matches!(
                    network.layers.get(number + 1).map(|next| &next.kind),
                    Some(LayerKind::Yolo(_) | LayerKind::Region(_))
                );
                match kind {
                    LayerKind::Convolution(conv) if is_detector && is_head(conv) => {
                        outputs.push(builder.before(number, layer.line)?);
                        detectors.push(number);
                        builder.values.push(None);
                    }
                    _ if is_detector => {
                        return Err(
                            builder.unsupported(layer.line, "a detector behind anything but a plain 1×1 convolution")
                        );
                    }
                    kind => {
                        let value = builder.layer(number, layer.line, kind, layer.input)?;
                        builder.values.push(Some(value));
                    }
                }
                continue;
            }
        };
        levels.push(level);
        builder.values.push(None);
    }
    if levels.is_empty() {
        return Err(builder.unsupported(0, "a network without [yolo] or [region]"));
    }
    let Builder { nodes, convolutions, .. } = builder;
    let mut graph =
        MapGraph { nodes, stages: Vec::new(), outputs, epsilon: EPSILON, padding: crate::nn::Padding::Symmetric };
    let input = Shape { height: network.input.height, width: network.input.width, channels: network.input.channels };
    set_stages(&mut graph, input)?;
    let names: Vec<String> = graph.convolutions().map(|(name, _)| name.to_owned()).collect();
    let convolutions =
        convolutions.into_iter().zip(names).map(|((number, part, parts), name)| (number, name, part, parts)).collect();
    graph.check()?;
    Ok(Described { graph, head: HeadPlan::Yolo { levels }, convolutions, detectors })
}

fn is_head(conv: &Convolution) -> bool {
    conv.size == 1
        && conv.stride == 1
        && conv.groups == 1
        && !conv.is_normalized
        && conv.activation == Activation::Linear
}

struct Builder<'a> {
    path: &'a Path,
    nodes: Vec<MapNode>,
    /// Value of each layer; detectors and what belongs to them have none.
    values: Vec<Option<usize>>,
    /// Number of its layer, part and number of parts of every convolution.
    convolutions: Vec<(usize, usize, usize)>,
}

impl Builder<'_> {
    fn unsupported(&self, line: usize, what: &str) -> Error {
        Error::Recipe {
            reason: format!("`{}`, line {line}: {what} cannot be built", self.path.display()),
            help: "YOLO v3, v4, tiny and Yolo-Fastest can; leave out what is rare".to_owned(),
        }
    }

    /// The value of a layer.
    fn value(&self, layer: usize, line: usize) -> Result<usize> {
        self.values[layer].ok_or_else(|| self.unsupported(line, "what takes the output of a detector"))
    }

    /// What a layer takes when it names nothing.
    fn before(&self, number: usize, line: usize) -> Result<usize> {
        number.checked_sub(1).map_or(Ok(0), |before| self.value(before, line))
    }

    fn push(&mut self, inputs: Vec<usize>, op: MapOp) -> usize {
        self.nodes.push(MapNode { inputs, op });
        self.nodes.len()
    }

    fn layer(&mut self, number: usize, line: usize, kind: &LayerKind, input: MapShape) -> Result<usize> {
        let values = |builder: &Self, sources: &[usize]| -> Result<Vec<usize>> {
            sources.iter().map(|source| builder.value(*source, line)).collect()
        };
        Ok(match kind {
            LayerKind::Convolution(conv) => {
                let before = self.before(number, line)?;
                self.convolution(number, line, conv, input.channels, before)?
            }
            LayerKind::MaxPool { size, stride, padding } => {
                let before = self.before(number, line)?;
                let padding = [padding / 2, padding - padding / 2];
                self.push(vec![before], MapOp::MaxPool { size: *size, stride: *stride, padding })
            }
            LayerKind::Upsample { stride, scale } => {
                let before = self.before(number, line)?;
                self.push(vec![before], MapOp::Upsample { factor: *stride, scale: *scale })
            }
            LayerKind::Route { sources, groups, group } => {
                let sources = values(self, sources)?;
                match (sources.as_slice(), groups) {
                    ([only], 1) => *only,
                    _ => self.push(sources, MapOp::Join { parts: *groups, part: *group }),
                }
            }
            LayerKind::Shortcut { sources, activation } => {
                let mut all = vec![self.before(number, line)?];
                all.extend(values(self, sources)?);
                self.push(all, MapOp::Sum { activation: self.function(line, *activation)? })
            }
            LayerKind::Dropout { .. } => self.before(number, line)?,
            _ => return Err(self.unsupported(line, "this section")),
        })
    }

    fn function(&self, line: usize, activation: Activation) -> Result<Function> {
        Ok(match activation {
            Activation::Linear => Function::Linear,
            Activation::Leaky => Function::Leaky,
            Activation::Mish => Function::Mish,
            Activation::Swish => Function::Swish,
            Activation::Relu6 => Function::Relu6,
            Activation::Relu => Function::Relu,
            Activation::Logistic => Function::Logistic,
            _ => return Err(self.unsupported(line, "this activation")),
        })
    }

    fn convolution(
        &mut self,
        number: usize,
        line: usize,
        conv: &Convolution,
        channels: usize,
        before: usize,
    ) -> Result<usize> {
        if conv.padding != 0 && conv.padding * 2 + 1 != conv.size {
            return Err(self.unsupported(line, "a padding of other than half the kernel"));
        }
        let function = self.function(line, conv.activation)?;
        let depthwise = conv.groups == channels && conv.filters == channels && channels > 1;
        // Groups in between are convolutions side by side.
        let parts = if depthwise { 1 } else { conv.groups };
        let shape = MapConvolution {
            inputs: channels / parts,
            outputs: conv.filters / parts,
            side: conv.size,
            stride: conv.stride,
            pads: conv.padding > 0 || conv.size == 1,
            depthwise,
            is_normalized: conv.is_normalized,
            activation: if function.fused().is_some() { function } else { Function::Linear },
        };
        let mut pieces = Vec::with_capacity(parts);
        for part in 0..parts {
            let input = if parts == 1 { before } else { self.push(vec![before], MapOp::Join { parts, part }) };
            let name = if parts == 1 { format!("layer{number}") } else { format!("layer{number}_{part}") };
            self.convolutions.push((number, part, parts));
            pieces.push(self.push(vec![input], MapOp::Convolution { name, conv: shape }));
        }
        let joined = if parts == 1 { pieces[0] } else { self.push(pieces, MapOp::Join { parts: 1, part: 0 }) };
        Ok(match function.fused() {
            Some(_) => joined,
            None => self.push(vec![joined], MapOp::Bend { function }),
        })
    }
}

/// Cuts the graph where its maps get smaller, at the near place where the least is carried over, and before its neck; names
/// convolutions after their stages.
fn set_stages(graph: &mut MapGraph, input: Shape) -> Result<()> {
    let shapes = graph.shapes(input)?;
    let carried = |at: usize| -> usize { graph.live(at).into_iter().map(|value| shapes[value].len()).sum() };
    let mut cuts: Vec<usize> = Vec::new();
    let mut last_halving = 0;
    for (at, node) in graph.nodes.iter().enumerate().skip(1) {
        if shapes[at + 1].height < shapes[node.inputs[0]].height {
            last_halving = at;
            let least = (at.saturating_sub(3).max(1)..=at).min_by_key(|at| (carried(*at), usize::MAX - at));
            cuts.extend(least);
        }
    }
    let last_sum = graph.nodes.iter().rposition(|node| matches!(node.op, MapOp::Sum { .. })).unwrap_or(0);
    let joins = |node: &MapNode| match node.op {
        MapOp::Join { .. } => node.inputs.len() > 1,
        MapOp::MaxPool { stride, .. } => stride == 1,
        MapOp::Upsample { .. } => true,
        _ => false,
    };
    let from = last_sum.max(last_halving) + 1;
    let neck = (from..graph.nodes.len()).find(|at| joins(&graph.nodes[*at]));
    cuts.dedup();
    let mut stages: Vec<MapStage> = cuts
        .iter()
        .copied()
        .chain([neck.unwrap_or(graph.nodes.len())])
        .enumerate()
        .map(|(index, end)| MapStage { name: format!("stage{}", index + 1), end })
        .collect();
    if neck.is_some() {
        stages.push(MapStage { name: "neck".to_owned(), end: graph.nodes.len() });
    }
    for (at, node) in graph.nodes.iter_mut().enumerate() {
        if let (MapOp::Convolution { name, .. }, Some(stage)) =
            (&mut node.op, stages.iter().find(|stage| at < stage.end))
        {
            *name = format!("{}.{name}", stage.name);
        }
    }
    graph.stages = stages;
    Ok(())
}

impl Described {
    /// The values of a weight file under our names: those of the graph, and those of the head.
    ///
    /// # Errors
    /// Of the reader.
    pub fn read(&self, checkpoint: &dyn Checkpoint) -> Result<(Parameters, Parameters)> {
        let array = |number: usize, field: &str| -> Result<Parameter> {
            let array = checkpoint.read(&format!("layers.{number}.{field}"))?;
            Ok(Parameter { shape: array.info.shape.clone(), values: array.to_f32()? })
        };
        let (mut backbone, mut head) = (Parameters::default(), Parameters::default());
        for ((number, name, part, parts), (_, conv)) in self.convolutions.iter().zip(self.graph.convolutions()) {
            let mut fields = vec![("weights", "weight")];
            fields.extend(match conv.is_normalized {
                true => &[
                    ("scales", "norm.gamma"),
                    ("biases", "norm.beta"),
                    ("rolling_mean", "norm.mean"),
                    ("rolling_variance", "norm.variance"),
                ][..],
                false => &[("biases", "bias")][..],
            });
            for (theirs, ours) in fields {
                let Parameter { mut shape, values } = array(*number, theirs)?;
                let length = values.len() / parts;
                shape[0] /= parts;
                let values = values[part * length..(part + 1) * length].to_vec();
                backbone.insert(format!("{name}.{ours}"), Parameter { shape, values });
            }
        }
        for (level, number) in self.detectors.iter().enumerate() {
            head.insert(format!("levels.{level}.weight"), array(*number, "weights")?);
            head.insert(format!("levels.{level}.bias"), array(*number, "biases")?);
        }
        Ok((backbone, head))
    }
}
