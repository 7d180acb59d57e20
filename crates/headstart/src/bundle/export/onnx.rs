//! ONNX: one file, operator set 17, for ONNX Runtime and whatever else reads it.
//!
//! Source: `docs/Operators.md` of ONNX 1.23. The picture goes in channels-last; inside, maps are channels-first, as the
//! operators have them. The batch is any number.

use std::collections::BTreeMap;
use std::path::Path;

use headstart_kernels::{Padding as Edges, Shape};
use prost::Message;

use super::graph::{Activation, Conv, Dense, Extent, Graph, Op, Pool};
use super::onnx_messages::{self as messages, FLOAT, INT, INTS};
use super::{ExportFormat, Exported, Failure};
use crate::parameters::little_endian;

/// The registry row.
pub(super) const FORMAT: ExportFormat = ExportFormat {
    name: "onnx",
    summary: "one .onnx file for ONNX Runtime and other engines",
    ending: "onnx",
    is_folder: false,
    needs_ending: false,
    write,
    read,
};

const OPERATOR_SET: i64 = 17;

/// Version of the file format that belongs to the operator set.
const IR_VERSION: i64 = 8;

/// A protobuf message cannot be longer.
const LONGEST: usize = i32::MAX as usize;

const INPUT: &str = "picture";
const OUTPUT: &str = "probabilities";

fn write(exported: &Exported<'_>, path: &Path) -> Result<(), Failure> {
    let extents = exported.graph.extents()?;
    let mut writer = Writer { nodes: Vec::new(), initializers: Vec::new() };
    let mut outputs: Vec<String> = Vec::with_capacity(exported.graph.nodes.len());
    let last = exported.graph.nodes.len() - 1;
    for (place, node) in exported.graph.nodes.iter().enumerate() {
        let inputs: Vec<&str> = node.inputs.iter().map(|input| outputs[*input].as_str()).collect();
        let output = if place == last { OUTPUT } else { node.name.as_str() };
        outputs.push(writer.operation(&node.name, &node.op, &inputs, output)?);
    }
    let about = &exported.about;
    let entry = |key: &str, value: String| messages::Entry { key: Some(key.to_owned()), value: Some(value) };
    let ends = |extent: Option<&Extent>| extent.map(|extent| extent.axes()).unwrap_or_default();
    let model = messages::Model {
        ir_version: Some(IR_VERSION),
        producer_name: Some("headstart".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        doc_string: Some(about.readme(&usage(exported))),
        graph: Some(messages::Graph {
            node: writer.nodes,
            name: Some(exported.name.clone()),
            initializer: writer.initializers,
            input: vec![value_info(INPUT, ends(extents.first()))],
            output: vec![value_info(OUTPUT, ends(extents.last()))],
        }),
        opset_import: vec![messages::OperatorSet { domain: Some(String::new()), version: Some(OPERATOR_SET) }],
        metadata_props: vec![
            entry("labels", serde_json::to_string(&about.labels)?),
            entry("preprocess", serde_json::to_string(&about.input)?),
            entry("about", about.json()),
        ],
    };
    if model.encoded_len() > LONGEST {
        return Err("the model is larger than the 2 GiB that such a file can hold".into());
    }
    Ok(std::fs::write(path, model.encode_to_vec())?)
}

fn usage(exported: &Exported<'_>) -> String {
    format!(
        "import numpy as np, onnxruntime\nfrom PIL import Image, ImageOps\nsession = onnxruntime.InferenceSession(\"model.onnx\")\n{}\nprint(session.run(None, {{\"{INPUT}\": x}})[0][0])\n",
        exported.about.python_input()
    )
}

fn value_info(name: &str, axes: Vec<usize>) -> messages::ValueInfo {
    let batch = messages::Dimension { dim_value: None, dim_param: Some("batch".to_owned()) };
    let fixed = axes.into_iter().map(|axis| messages::Dimension { dim_value: Some(axis as i64), dim_param: None });
    let shape = messages::TensorShape { dim: std::iter::once(batch).chain(fixed).collect() };
    let tensor = messages::TensorType { elem_type: Some(FLOAT), shape: Some(shape) };
    messages::ValueInfo { name: Some(name.to_owned()), kind: Some(messages::Type { tensor: Some(tensor) }) }
}

struct Writer {
    nodes: Vec<messages::Node>,
    initializers: Vec<messages::Tensor>,
}

impl Writer {
    /// Writes an operation with its activation; the answer is the name of its result.
    fn operation(&mut self, name: &str, op: &Op, inputs: &[&str], output: &str) -> Result<String, Failure> {
        Ok(match op {
            Op::Picture(_) => {
                let to_channels_first = [ints("perm", &[0, 3, 1, 2])];
                self.node("Transpose", "channels_first", &[INPUT], "channels_first", &to_channels_first)
            }
            Op::Conv(conv) => {
                let shape =
                    [conv.outputs, if conv.is_depthwise { 1 } else { conv.inputs }, conv.kernel[0], conv.kernel[1]];
                let weight = self.array(&format!("{name}.weight"), &shape, &channels_first(conv));
                let bias = self.array(&format!("{name}.bias"), &[conv.outputs], &conv.bias);
                let attributes = [
                    whole("group", if conv.is_depthwise { conv.inputs } else { 1 }),
                    ints("kernel_shape", &conv.kernel),
                    ints("strides", &conv.stride),
                    pads(conv.edges),
                ];
                self.activated("Conv", name, &[inputs[0], &weight, &bias], output, &attributes, conv.activation)
            }
            Op::Dense(dense) => {
                let shape = [dense.inputs, dense.outputs];
                let weight = self.array(&format!("{name}.weight"), &shape, &dense.weights);
                let bias = self.array(&format!("{name}.bias"), &[dense.outputs], &dense.bias);
                self.activated("Gemm", name, &[inputs[0], &weight, &bias], output, &[], dense.activation)
            }
            Op::Pool(pool) => {
                let mut attributes =
                    vec![ints("kernel_shape", &pool.side), ints("strides", &pool.stride), pads(pool.edges)];
                if !pool.is_max {
                    attributes.push(whole("count_include_pad", usize::from(pool.counts_padding)));
                }
                self.node(if pool.is_max { "MaxPool" } else { "AveragePool" }, name, inputs, output, &attributes)
            }
            // Convolutions and poolings pad themselves here; only readers of other formats meet it apart.
            Op::Pad(_) => return Err(format!("`{name}` pads apart from what it pads for").into()),
            Op::Concat => self.node("Concat", name, inputs, output, &[whole("axis", 1)]),
            Op::Add => self.node("Add", name, inputs, output, &[]),
            Op::Activation(activation) => self.activation(*activation, name, inputs[0], output),
            Op::AveragePool => {
                let pooled = self.node("GlobalAveragePool", name, inputs, &format!("{name}.map"), &[]);
                self.node("Flatten", &format!("{name}.flatten"), &[&pooled], output, &[whole("axis", 1)])
            }
            Op::Flatten => {
                let perm = [ints("perm", &[0, 2, 3, 1])];
                let moved =
                    self.node("Transpose", &format!("{name}.channels_last"), inputs, &format!("{name}.map"), &perm);
                self.node("Flatten", name, &[&moved], output, &[whole("axis", 1)])
            }
        })
    }

    fn activated(
        &mut self,
        kind: &str,
        name: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[messages::Attribute],
        activation: Activation,
    ) -> String {
        if activation == Activation::Identity {
            return self.node(kind, name, inputs, output, attributes);
        }
        let sums = self.node(kind, name, inputs, &format!("{name}.sums"), attributes);
        self.activation(activation, &format!("{name}.activation"), &sums, output)
    }

    fn activation(&mut self, activation: Activation, name: &str, input: &str, output: &str) -> String {
        match activation {
            Activation::Identity => self.node("Identity", name, &[input], output, &[]),
            Activation::Relu => self.node("Relu", name, &[input], output, &[]),
            Activation::Sigmoid => self.node("Sigmoid", name, &[input], output, &[]),
            // The axis is the only one beside the batch, counted from the front as older engines want it.
            Activation::Softmax => self.node("Softmax", name, &[input], output, &[whole("axis", 1)]),
            Activation::Relu6 => {
                for (limit, value) in [(ZERO, 0.0), (SIX, 6.0)] {
                    if !self.initializers.iter().any(|tensor| tensor.name.as_deref() == Some(limit)) {
                        self.array(limit, &[], &[value]);
                    }
                }
                self.node("Clip", name, &[input, ZERO, SIX], output, &[])
            }
        }
    }

    fn node(
        &mut self,
        kind: &str,
        name: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[messages::Attribute],
    ) -> String {
        self.nodes.push(messages::Node {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.to_owned()],
            name: Some(name.to_owned()),
            op_type: Some(kind.to_owned()),
            attribute: attributes.to_vec(),
        });
        output.to_owned()
    }

    fn array(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        self.initializers.push(messages::Tensor {
            dims: shape.iter().map(|axis| *axis as i64).collect(),
            data_type: Some(FLOAT),
            name: Some(name.to_owned()),
            raw_data: Some(little_endian(values)),
        });
        name.to_owned()
    }
}

const ZERO: &str = "zero";
const SIX: &str = "six";

fn whole(name: &str, value: usize) -> messages::Attribute {
    messages::Attribute { name: Some(name.to_owned()), i: Some(value as i64), ints: Vec::new(), kind: Some(INT) }
}

fn ints(name: &str, values: &[usize]) -> messages::Attribute {
    let ints = values.iter().map(|value| *value as i64).collect();
    messages::Attribute { name: Some(name.to_owned()), i: None, ints, kind: Some(INTS) }
}

fn pads(edges: Edges) -> messages::Attribute {
    ints("pads", &[edges.top, edges.left, edges.bottom, edges.right])
}

/// `[taps, in, out]` → `[out, in, taps]`.
fn channels_first(conv: &Conv) -> Vec<f32> {
    let inputs = if conv.is_depthwise { 1 } else { conv.inputs };
    let taps = conv.kernel[0] * conv.kernel[1];
    let mut moved = Vec::with_capacity(conv.weights.len());
    for out in 0..conv.outputs {
        for input in 0..inputs {
            moved.extend((0..taps).map(|tap| conv.weights[(tap * inputs + input) * conv.outputs + out]));
        }
    }
    moved
}

fn read(path: &Path) -> Result<Graph, Failure> {
    let bytes = std::fs::read(path)?;
    let model = messages::Model::decode(bytes.as_slice())?;
    let graph = model.graph.ok_or("it has no graph")?;
    let mut reader = Reader { graph: Graph::default(), places: BTreeMap::new(), arrays: BTreeMap::new() };
    for tensor in &graph.initializer {
        reader.arrays.insert(tensor.name.as_deref().unwrap_or_default(), tensor);
    }
    for node in &graph.node {
        let name = node.name.as_deref().unwrap_or_default();
        reader.node(node, &graph.input).map_err(|what| format!("operation `{name}`: {what}"))?;
    }
    match graph.output.first().and_then(|output| reader.places.get(output.name.as_deref()?)) {
        Some(place) if place + 1 == reader.graph.nodes.len() => Ok(reader.graph),
        _ => Err("its output is not what its last operation gives".into()),
    }
}

struct Reader<'a> {
    graph: Graph,
    /// Results by name.
    places: BTreeMap<&'a str, usize>,
    arrays: BTreeMap<&'a str, &'a messages::Tensor>,
}

impl<'a> Reader<'a> {
    fn node(&mut self, node: &'a messages::Node, inputs: &[messages::ValueInfo]) -> Result<(), String> {
        let kind = node.op_type.as_deref().unwrap_or_default();
        let attribute = |name: &str| node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name));
        let list = |name: &str| -> Vec<usize> {
            attribute(name).map(|found| found.ints.iter().map(|int| *int as usize).collect()).unwrap_or_default()
        };
        let flag = |name: &str| attribute(name).and_then(|found| found.i).unwrap_or_default();
        let pair = |name: &str| <[usize; 2]>::try_from(list(name)).unwrap_or([1; 2]);
        let edges = || match list("pads")[..] {
            [top, left, bottom, right] => Edges { top, left, bottom, right },
            _ => Edges::default(),
        };
        let first = node.input.first().map(String::as_str).unwrap_or_default();
        let output = node.output.first().map(String::as_str).ok_or("it gives nothing")?;
        let is_picture = inputs.first().and_then(|input| input.name.as_deref()) == Some(first);
        if is_picture && kind == "Transpose" && list("perm") == [0, 3, 1, 2] && self.graph.nodes.is_empty() {
            let place =
                self.graph.add(first, Op::Picture(picture(&inputs[0]).ok_or("no size of the picture")?), vec![]);
            self.places.insert(output, place);
            return Ok(());
        }
        let op = match kind {
            "Conv" => {
                let (shape, values) = self.array(node, 1)?;
                let [outputs, depth, rows, columns] = shape[..] else {
                    return Err("a kernel of other axes".to_owned());
                };
                let is_depthwise = flag("group") > 1;
                if pair("kernel_shape") != [rows, columns] || is_depthwise && flag("group") as usize != outputs {
                    return Err("kernel and attributes disagree".to_owned());
                }
                Op::Conv(Conv {
                    is_depthwise,
                    inputs: if is_depthwise { outputs } else { depth },
                    outputs,
                    kernel: [rows, columns],
                    stride: pair("strides"),
                    edges: edges(),
                    weights: channels_last(&values, rows * columns, depth, outputs),
                    bias: self.array(node, 2)?.1,
                    activation: Activation::Identity,
                })
            }
            "Gemm" => {
                let (shape, weights) = self.array(node, 1)?;
                let [inputs, outputs] = shape[..] else { return Err("a matrix of other axes".to_owned()) };
                let bias = self.array(node, 2)?.1;
                Op::Dense(Dense { inputs, outputs, weights, bias, activation: Activation::Identity })
            }
            "MaxPool" | "AveragePool" => Op::Pool(Pool {
                is_max: kind == "MaxPool",
                side: pair("kernel_shape"),
                stride: pair("strides"),
                edges: edges(),
                counts_padding: flag("count_include_pad") == 1,
            }),
            "Concat" if flag("axis") == 1 => Op::Concat,
            "Add" => Op::Add,
            "Relu" => Op::Activation(Activation::Relu),
            "Sigmoid" => Op::Activation(Activation::Sigmoid),
            "Softmax" if flag("axis") == 1 => Op::Activation(Activation::Softmax),
            "Clip" if self.array(node, 1)?.1 == [0.0] && self.array(node, 2)?.1 == [6.0] => {
                Op::Activation(Activation::Relu6)
            }
            "GlobalAveragePool" => Op::AveragePool,
            // Our maps are channels-last already; what follows is the flattening of one.
            "Transpose" if list("perm") == [0, 2, 3, 1] => Op::Flatten,
            "Identity" | "Flatten" if flag("axis") <= 1 => {
                let is_vector = self.places.get(first).is_some_and(|place| {
                    matches!(self.graph.nodes[*place].op, Op::AveragePool | Op::Flatten) || kind == "Identity"
                });
                if !is_vector {
                    return Err("it flattens what is channels-first".to_owned());
                }
                let place = self.places[first];
                self.places.insert(output, place);
                return Ok(());
            }
            other => return Err(format!("`{other}` is none that we write")),
        };
        let count = if matches!(op, Op::Concat | Op::Add) { node.input.len() } else { 1 };
        let inputs: Option<Vec<usize>> =
            node.input.iter().take(count).map(|input| self.places.get(input.as_str()).copied()).collect();
        let inputs = inputs.ok_or("it comes before its inputs")?;
        let place = self.graph.add(output, op, inputs);
        self.places.insert(output, place);
        Ok(())
    }

    /// Shape and values of an input that is an array.
    fn array(&self, node: &messages::Node, input: usize) -> Result<(Vec<usize>, Vec<f32>), String> {
        let tensor = node.input.get(input).and_then(|name| self.arrays.get(name.as_str()));
        let tensor = tensor.ok_or_else(|| format!("input {input} is not there"))?;
        let bytes = tensor.raw_data.as_deref().unwrap_or_default();
        let shape: Vec<usize> = tensor.dims.iter().map(|axis| *axis as usize).collect();
        let count = shape.iter().try_fold(4usize, |count, axis| count.checked_mul(*axis));
        if count != Some(bytes.len()) || tensor.data_type != Some(FLOAT) {
            return Err(format!("input {input} has another number of bytes than its shape"));
        }
        Ok((shape, bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
    }
}

/// `[out, in, taps]` → `[taps, in, out]`.
fn channels_last(values: &[f32], taps: usize, inputs: usize, outputs: usize) -> Vec<f32> {
    let mut moved = Vec::with_capacity(values.len());
    for tap in 0..taps {
        for input in 0..inputs {
            moved.extend((0..outputs).map(|out| values[(out * inputs + input) * taps + tap]));
        }
    }
    moved
}

fn picture(input: &messages::ValueInfo) -> Option<Shape> {
    let sides = &input.kind.as_ref()?.tensor.as_ref()?.shape.as_ref()?.dim;
    let side = |place: usize| usize::try_from(sides.get(place)?.dim_value?).ok();
    Some(Shape { height: side(1)?, width: side(2)?, channels: side(3)? })
}
