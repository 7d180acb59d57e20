//! [`Graph`] ↔ the layers of Keras, which Keras 3 and TensorFlow.js share but for how they wrap them.
//!
//! Source: the `get_config` of each layer in Keras 3.15 and TensorFlow.js 4.22. Only options are written that differ from
//! the defaults of one of the two, or that a reader wants to see.

use std::collections::BTreeMap;

use headstart_kernels::{Padding as Edges, Shape};
use serde_json::{Map, Value, json};

use super::graph::{Activation, Conv, Dense, Extent, Graph, Op, Pool};

/// One layer.
#[derive(Debug, Clone)]
pub(super) struct Layer<'a> {
    pub(super) class: &'static str,
    pub(super) name: String,
    /// Options beside the name.
    pub(super) config: Map<String, Value>,
    /// Name and shape of each input.
    pub(super) inputs: Vec<(String, Extent)>,
    /// Name, shape and values of each variable.
    pub(super) variables: Vec<(&'static str, Vec<usize>, &'a [f32])>,
}

/// The layers of a graph in the order in which Keras numbers them.
pub(super) fn layers(graph: &Graph) -> Result<Vec<Layer<'_>>, String> {
    let extents = graph.extents()?;
    let mut layers = Vec::with_capacity(graph.nodes.len());
    for (place, node) in graph.nodes.iter().enumerate() {
        let mut inputs: Vec<(String, Extent)> =
            node.inputs.iter().map(|input| (graph.nodes[*input].name.clone(), extents[*input])).collect();
        let (padding, apart) = padding_of(&node.op, &inputs)?;
        // What the layer's own option cannot say is a layer of zeros before it.
        if let (Some(edges), [(from, extent)]) = (apart, inputs.as_mut_slice()) {
            let name = format!("{}_pad", node.name);
            let padded = Op::Pad(edges).map_of(&extent.map().into_iter().collect::<Vec<_>>());
            let padded = padded.map(Extent::Map).ok_or_else(|| format!("`{name}` does not fit"))?;
            layers.push(zeros(name.clone(), edges, vec![(from.clone(), *extent)]));
            (*from, *extent) = (name, padded);
        }
        if let Op::Pad(edges) = node.op {
            layers.push(zeros(node.name.clone(), edges, inputs));
            continue;
        }
        let (class, config, variables) = options(&node.op, padding, extents[place]);
        let Value::Object(config) = config else { return Err("options are no object".to_owned()) };
        layers.push(Layer { class, name: node.name.clone(), config, inputs, variables });
    }
    Ok(in_order(layers))
}

fn zeros(name: String, edges: Edges, inputs: Vec<(String, Extent)>) -> Layer<'static> {
    let Edges { top, bottom, left, right } = edges;
    let config = Map::from_iter([
        ("padding".to_owned(), json!([[top, bottom], [left, right]])),
        ("data_format".to_owned(), json!("channels_last")),
    ]);
    Layer { class: "ZeroPadding2D", name, config, inputs, variables: Vec::new() }
}

/// The option `padding`, and what must be padded apart.
///
/// "same" is used only at stride 1, where all libraries mean the same by it whatever the size of the input.
fn padding_of(op: &Op, inputs: &[(String, Extent)]) -> Result<(&'static str, Option<Edges>), String> {
    let (edges, side, stride) = match op {
        Op::Conv(conv) => (conv.edges, conv.kernel, conv.stride),
        Op::Pool(pool) => (pool.edges, pool.side, pool.stride),
        _ => return Ok(("valid", None)),
    };
    if edges == Edges::default() {
        return Ok(("valid", None));
    }
    let is_same = stride == [1, 1] && edges == Edges::tensorflow_same([64; 2], side, stride, [1; 2]);
    match op {
        Op::Pool(pool) if !pool.is_max && pool.counts_padding => Ok(("valid", Some(edges))),
        Op::Pool(pool) if !pool.is_max && !is_same => {
            Err("an average over windows that leave out their padding is no layer of Keras".to_owned())
        }
        _ if is_same => Ok(("same", None)),
        // A zero is never larger than what came out of a ReLU; the check after writing would find another case.
        Op::Pool(_) | Op::Conv(_) if !inputs.is_empty() => Ok(("valid", Some(edges))),
        _ => Ok(("valid", None)),
    }
}

/// Class, options and variables.
type Described<'a> = (&'static str, Value, Vec<(&'static str, Vec<usize>, &'a [f32])>);

fn options<'a>(op: &'a Op, padding: &str, extent: Extent) -> Described<'a> {
    match op {
        Op::Picture(_) => {
            let shape: Vec<Value> =
                std::iter::once(Value::Null).chain(extent.axes().into_iter().map(Value::from)).collect();
            ("InputLayer", json!({ "batch_shape": shape, "sparse": false }), Vec::new())
        }
        Op::Conv(conv) => {
            let [rows, columns] = conv.kernel;
            let mut config = json!({
                "kernel_size": conv.kernel,
                "strides": conv.stride,
                "padding": padding,
                "data_format": "channels_last",
                "dilation_rate": [1, 1],
                "activation": name_of(conv.activation),
                "use_bias": true,
            });
            let bias = ("bias", vec![conv.outputs], conv.bias.as_slice());
            if conv.is_depthwise {
                config["depth_multiplier"] = json!(1);
                let kernel = ("depthwise_kernel", vec![rows, columns, conv.inputs, 1], conv.weights.as_slice());
                ("DepthwiseConv2D", config, vec![kernel, bias])
            } else {
                config["filters"] = json!(conv.outputs);
                let kernel = ("kernel", vec![rows, columns, conv.inputs, conv.outputs], conv.weights.as_slice());
                ("Conv2D", config, vec![kernel, bias])
            }
        }
        Op::Pool(pool) => {
            let class = if pool.is_max { "MaxPooling2D" } else { "AveragePooling2D" };
            let config = json!({
                "pool_size": pool.side,
                "strides": pool.stride,
                "padding": padding,
                "data_format": "channels_last",
            });
            (class, config, Vec::new())
        }
        Op::Concat => ("Concatenate", json!({ "axis": -1 }), Vec::new()),
        Op::Add => ("Add", json!({}), Vec::new()),
        Op::Activation(activation) => ("Activation", json!({ "activation": name_of(*activation) }), Vec::new()),
        Op::AveragePool => ("GlobalAveragePooling2D", json!({ "data_format": "channels_last" }), Vec::new()),
        // A layer of zeros is written before this is asked.
        Op::Flatten | Op::Pad(_) => ("Flatten", json!({ "data_format": "channels_last" }), Vec::new()),
        Op::Dense(dense) => {
            let config = json!({
                "units": dense.outputs,
                "activation": name_of(dense.activation),
                "use_bias": true,
            });
            let kernel = ("kernel", vec![dense.inputs, dense.outputs], dense.weights.as_slice());
            ("Dense", config, vec![kernel, ("bias", vec![dense.outputs], dense.bias.as_slice())])
        }
    }
}

const ACTIVATIONS: [(Activation, &str); 5] = [
    (Activation::Identity, "linear"),
    (Activation::Relu, "relu"),
    (Activation::Relu6, "relu6"),
    (Activation::Softmax, "softmax"),
    (Activation::Sigmoid, "sigmoid"),
];

fn name_of(activation: Activation) -> &'static str {
    ACTIVATIONS.iter().find(|(known, _)| *known == activation).map_or("linear", |(_, name)| name)
}

/// Sorted as Keras sorts a model that it reads (`map_graph` in `ops/function.py`): the farther from the result, the earlier;
/// of equally far ones, in the order in which a walk from the result upwards meets them. Keras calls the groups of a
/// weight file by class and number in this order.
fn in_order(layers: Vec<Layer<'_>>) -> Vec<Layer<'_>> {
    let places: BTreeMap<String, usize> =
        layers.iter().enumerate().map(|(place, layer)| (layer.name.clone(), place)).collect();
    let inputs: Vec<Vec<usize>> = layers
        .iter()
        .map(|layer| layer.inputs.iter().filter_map(|(name, _)| places.get(name).copied()).collect())
        .collect();
    let mut depths = vec![0usize; layers.len()];
    for place in (0..layers.len()).rev() {
        for input in &inputs[place] {
            depths[*input] = depths[*input].max(depths[place] + 1);
        }
    }
    let mut met = vec![usize::MAX; layers.len()];
    let mut open: Vec<usize> = layers.len().checked_sub(1).into_iter().collect();
    let mut count = 0;
    while let Some(place) = open.pop() {
        if met[place] == usize::MAX {
            met[place] = count;
            count += 1;
            open.extend(inputs[place].iter().rev());
        }
    }
    let mut ordered: Vec<(usize, Layer<'_>)> = layers.into_iter().enumerate().collect();
    ordered.sort_by_key(|(place, _)| (std::cmp::Reverse(depths[*place]), met[*place]));
    ordered.into_iter().map(|(_, layer)| layer).collect()
}

/// A layer as read: class, name, options, names of its inputs.
#[derive(Debug)]
pub(super) struct ReadLayer<'a> {
    pub(super) class: &'a str,
    pub(super) name: &'a str,
    pub(super) config: &'a Value,
    pub(super) inputs: Vec<&'a str>,
}

/// Shape and values of a variable by `layer/variable`.
pub(super) type FindArray<'a> = dyn Fn(&str) -> Result<(Vec<usize>, Vec<f32>), String> + 'a;

/// The graph of layers as they were read, in any order that puts inputs first.
pub(super) fn graph(layers: &[ReadLayer<'_>], array: &FindArray<'_>) -> Result<Graph, String> {
    let mut graph = Graph::default();
    let mut places = BTreeMap::new();
    for layer in layers {
        let inputs = layer.inputs.iter().map(|name| places.get(name).copied());
        let inputs: Option<Vec<usize>> = inputs.collect();
        let inputs = inputs.ok_or_else(|| format!("layer `{}` comes before its inputs", layer.name))?;
        let op = operation(layer, array).map_err(|what| format!("layer `{}`: {what}", layer.name))?;
        places.insert(layer.name, graph.add(layer.name, op, inputs));
    }
    Ok(graph)
}

fn operation(layer: &ReadLayer<'_>, array: &FindArray<'_>) -> Result<Op, String> {
    let config = layer.config;
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
    let pair = |key: &str| pair(config.get(key)).ok_or_else(|| format!("`{key}` is not two numbers"));
    let activation = || {
        let found = ACTIVATIONS.iter().find(|(_, name)| *name == text("activation"));
        found.map(|(activation, _)| *activation).ok_or_else(|| format!("activation `{}`", text("activation")))
    };
    let variable = |name: &str| array(&format!("{}/{name}", layer.name));
    // At stride 1, for which alone it is written.
    let same = |side: [usize; 2], stride: [usize; 2]| match (text("padding"), stride) {
        ("valid", _) => Ok(Edges::default()),
        ("same", [1, 1]) => {
            let [rows, columns] = side.map(|side| side.saturating_sub(1));
            Ok(Edges { top: rows / 2, bottom: rows - rows / 2, left: columns / 2, right: columns - columns / 2 })
        }
        (other, _) => Err(format!("padding `{other}` at strides {stride:?}")),
    };
    match layer.class {
        "InputLayer" => {
            let shape = config.get("batch_shape").or_else(|| config.get("batch_input_shape"));
            let sides: Option<Vec<usize>> = shape
                .and_then(Value::as_array)
                .and_then(|shape| shape.get(1..))
                .and_then(|sides| sides.iter().map(|side| Some(side.as_u64()? as usize)).collect());
            match sides.as_deref() {
                Some(&[height, width, channels]) => Ok(Op::Picture(Shape { height, width, channels })),
                _ => Err("the input has no fixed size".to_owned()),
            }
        }
        "ZeroPadding2D" => {
            let sides = config.get("padding").and_then(Value::as_array);
            match sides.map(|sides| [sides.first(), sides.get(1)].map(self::pair)) {
                Some([Some([top, bottom]), Some([left, right])]) => Ok(Op::Pad(Edges { top, bottom, left, right })),
                _ => Err("`padding` is not two pairs".to_owned()),
            }
        }
        "Conv2D" | "DepthwiseConv2D" => {
            let is_depthwise = layer.class == "DepthwiseConv2D";
            let (shape, weights) = variable(if is_depthwise { "depthwise_kernel" } else { "kernel" })?;
            let (_, bias) = variable("bias")?;
            let [rows, columns, inputs, outputs] = shape[..] else { return Err("a kernel of other axes".to_owned()) };
            let (kernel, stride) = (pair("kernel_size")?, pair("strides")?);
            let outputs = if is_depthwise { inputs * outputs } else { outputs };
            if kernel != [rows, columns] || pair("dilation_rate")? != [1, 1] {
                return Err("kernel and options disagree".to_owned());
            }
            let edges = same(kernel, stride)?;
            let activation = activation()?;
            Ok(Op::Conv(Conv { is_depthwise, inputs, outputs, kernel, stride, edges, weights, bias, activation }))
        }
        "MaxPooling2D" | "AveragePooling2D" => {
            let (side, stride) = (pair("pool_size")?, pair("strides")?);
            let is_max = layer.class == "MaxPooling2D";
            Ok(Op::Pool(Pool { is_max, side, stride, edges: same(side, stride)?, counts_padding: false }))
        }
        "Concatenate" if config.get("axis") == Some(&json!(-1)) => Ok(Op::Concat),
        "Add" => Ok(Op::Add),
        "Activation" => Ok(Op::Activation(activation()?)),
        "GlobalAveragePooling2D" => Ok(Op::AveragePool),
        "Flatten" => Ok(Op::Flatten),
        "Dense" => {
            let (shape, weights) = variable("kernel")?;
            let (_, bias) = variable("bias")?;
            let [inputs, outputs] = shape[..] else { return Err("a kernel of other axes".to_owned()) };
            Ok(Op::Dense(Dense { inputs, outputs, weights, bias, activation: activation()? }))
        }
        other => Err(format!("class `{other}` is none that we write")),
    }
}

fn pair(value: Option<&Value>) -> Option<[usize; 2]> {
    let numbers: Option<Vec<usize>> = value?.as_array()?.iter().map(|number| Some(number.as_u64()? as usize)).collect();
    numbers?.try_into().ok()
}

/// The option that says how a kernel begins.
pub(super) fn initializer(variable: &str) -> &'static str {
    if variable == "depthwise_kernel" { "depthwise_initializer" } else { "kernel_initializer" }
}

/// Whether a layer is called on a list, however short.
pub(super) fn takes_a_list(class: &str) -> bool {
    matches!(class, "Add" | "Concatenate")
}
