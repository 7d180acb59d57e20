//! A section of a `.cfg` → a layer with its shapes.
//!
//! Source: `parser.c`, `convolutional_layer.c`, `maxpool_layer.c`, `route_layer.c`, `yolo_layer.c` and `region_layer.c` of
//! Darknet, the first (pjreddie) and its successor (AlexeyAB), whose defaults are repeated here.

use std::path::Path;

use super::malformed;
use super::network::{
    Activation, Convolution, LONGEST_SIDE, Layer, LayerKind, MOST_CHANNELS, MapShape, Network, Region, Yolo,
};
use super::sections::Section;
use crate::error::WeightsError;

/// Largest side of a window, and longest step.
const WIDEST: usize = 1024;
const MOST_CLASSES: usize = 100_000;

/// Reads the section that follows the layers of `before`.
pub(super) fn read_layer(path: &Path, section: &mut Section, before: &Network) -> Result<Layer, WeightsError> {
    let input = before.shape_before();
    section.take("layer").for_each(drop);
    let (kind, output) = match section.name.as_str() {
        "convolutional" | "conv" => convolution(section, input)?,
        "maxpool" | "max" => max_pool(section, input)?,
        "upsample" => upsample(section, input)?,
        "reorg" | "reorg3d" => reorg(section, input)?,
        "route" => route(section, before)?,
        "shortcut" => shortcut(section, before)?,
        "dropout" => (LayerKind::Dropout { probability: section.number("probability", 0.5)? }, input),
        "yolo" => (LayerKind::Yolo(yolo(section, input)?), input),
        "region" => (LayerKind::Region(region(section, input)?), input),
        other => {
            let what = format!("line {}: section [{}]", section.line, other.escape_debug());
            return Err(WeightsError::Unsupported { format: super::NAME, path: path.to_owned(), what });
        }
    };
    let within = output.channels <= MOST_CHANNELS && output.height.max(output.width) <= LONGEST_SIDE;
    if !within || output.channels == 0 || output.height == 0 || output.width == 0 {
        let MapShape { channels, height, width } = output;
        let reason = format!("[{}] would give {channels} × {height} × {width}", section.name);
        return Err(malformed(path, format!("line {}: {reason}", section.line)));
    }
    Ok(Layer { line: section.line, kind, input, output })
}

/// How often a window of `size` fits when it moves by `stride`.
fn steps(length: usize, padding: usize, size: usize, stride: usize) -> usize {
    (length + padding).checked_sub(size).map_or(0, |rest| rest / stride + 1)
}

fn convolution(section: &mut Section, input: MapShape) -> Result<(LayerKind, MapShape), WeightsError> {
    let filters = section.count("filters", 1, 1, MOST_CHANNELS)?;
    let size = section.count("size", 1, 1, WIDEST)?;
    let stride = stride(section, 1)?;
    let given = section.count("padding", 0, 0, WIDEST)?;
    let padding = if section.is_on("pad")? { size / 2 } else { given };
    let groups = section.count("groups", 1, 1, MOST_CHANNELS)?;
    if !input.channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
        let what = format!("{groups} divides not both {} channels and {filters} filters", input.channels);
        return Err(section.wrong("groups", &what));
    }
    // Each would compute something else, or lay the weights out in another way.
    for (key, only) in [
        ("antialiasing", "0"),
        ("assisted_excitation", "0"),
        ("binary", "0"),
        ("bin_output", "0"),
        ("cbn", "0"),
        ("coordconv", "0"),
        ("deform", "0"),
        ("dilation", "1"),
        ("dontload", "0"),
        ("dontloadscales", "0"),
        ("flipped", "0"),
        ("reverse", "0"),
        ("rotate", "0"),
        ("stretch", "0"),
        ("stretch_sway", "0"),
        ("sway", "0"),
        ("xnor", "0"),
    ] {
        section.must_be(key, only)?;
    }
    if let Some((value, _)) = section.text("share_index").map(|(value, line)| (value.to_owned(), line)) {
        return Err(section.unsupported("share_index", &value));
    }
    let is_normalized = section.is_on("batch_normalize")?;
    let activation = activation(section, Activation::Logistic)?;
    let output = MapShape {
        channels: filters,
        height: steps(input.height, 2 * padding, size, stride),
        width: steps(input.width, 2 * padding, size, stride),
    };
    let convolution = Convolution { filters, size, stride, padding, groups, is_normalized, activation };
    Ok((LayerKind::Convolution(convolution), output))
}

/// The step, which must be the same in both directions.
fn stride(section: &mut Section, otherwise: usize) -> Result<usize, WeightsError> {
    let stride = section.count("stride", otherwise, 1, WIDEST)?;
    for key in ["stride_x", "stride_y"] {
        section.must_be(key, &stride.to_string())?;
    }
    Ok(stride)
}

fn activation(section: &mut Section, otherwise: Activation) -> Result<Activation, WeightsError> {
    let Some((name, _)) = section.text("activation") else { return Ok(otherwise) };
    Ok(match name {
        "linear" => Activation::Linear,
        "leaky" => Activation::Leaky,
        "mish" => Activation::Mish,
        "swish" => Activation::Swish,
        "relu6" => Activation::Relu6,
        "relu" => Activation::Relu,
        "logistic" => Activation::Logistic,
        other => {
            let other = other.escape_debug().to_string();
            return Err(section.unsupported("activation", &other));
        }
    })
}

fn max_pool(section: &mut Section, input: MapShape) -> Result<(LayerKind, MapShape), WeightsError> {
    let stride = stride(section, 1)?;
    let size = section.count("size", stride, 1, WIDEST)?;
    let padding = section.count("padding", size - 1, 0, WIDEST)?;
    section.must_be("maxpool_depth", "0")?;
    section.must_be("antialiasing", "0")?;
    let output = MapShape {
        height: steps(input.height, padding, size, stride),
        width: steps(input.width, padding, size, stride),
        ..input
    };
    Ok((LayerKind::MaxPool { size, stride, padding }, output))
}

fn upsample(section: &mut Section, input: MapShape) -> Result<(LayerKind, MapShape), WeightsError> {
    let stride = section.count("stride", 2, 1, WIDEST)?;
    let scale = section.number("scale", 1.0)?;
    let output = MapShape { height: input.height * stride, width: input.width * stride, ..input };
    Ok((LayerKind::Upsample { stride, scale }, output))
}

fn reorg(section: &mut Section, input: MapShape) -> Result<(LayerKind, MapShape), WeightsError> {
    let stride = section.count("stride", 1, 1, WIDEST)?;
    for (key, only) in [("reverse", "0"), ("flatten", "0"), ("extra", "0")] {
        section.must_be(key, only)?;
    }
    if !input.height.is_multiple_of(stride) || !input.width.is_multiple_of(stride) {
        let what = format!("{stride} does not divide {} × {} pixels", input.height, input.width);
        return Err(section.wrong("stride", &what));
    }
    // The first form takes channels apart by the square, though its output is as large.
    let is_first_form = section.name == "reorg";
    if is_first_form && !input.channels.is_multiple_of(stride * stride) {
        let what = format!("the square of {stride} does not divide {} channels", input.channels);
        return Err(section.wrong("stride", &what));
    }
    let channels = input.channels * stride * stride;
    let output = MapShape { channels, height: input.height / stride, width: input.width / stride };
    Ok((LayerKind::Reorg { stride, is_first_form }, output))
}

/// The layers that a list names: below 0 counted back from the layer that speaks, else from the first.
fn sources(section: &mut Section, key: &str, before: &Network) -> Result<Vec<usize>, WeightsError> {
    let named = section.wholes(key)?.ok_or_else(|| section.wrong(key, "it is missing"))?;
    let count = before.layers.len();
    let find = |number: &i64| {
        let from = if *number < 0 { i64::try_from(count).ok()? } else { 0 };
        usize::try_from(from.checked_add(*number)?).ok().filter(|index| *index < count)
    };
    let resolve = |number: &i64| {
        find(number).ok_or_else(|| section.wrong(key, &format!("layer {number} does not lie before layer {count}")))
    };
    named.iter().map(resolve).collect()
}

fn route(section: &mut Section, before: &Network) -> Result<(LayerKind, MapShape), WeightsError> {
    let sources = sources(section, "layers", before)?;
    let groups = section.count("groups", 1, 1, MOST_CHANNELS)?;
    let group = section.count("group_id", 0, 0, groups - 1)?;
    section.must_be("stream", "0")?;
    let first = before.layers[sources[0]].output;
    let mut channels = 0usize;
    for &source in &sources {
        let shape = before.layers[source].output;
        if (shape.height, shape.width) != (first.height, first.width) {
            let sizes = format!("{} × {} and {} × {}", first.height, first.width, shape.height, shape.width);
            return Err(section.wrong("layers", &format!("maps of {sizes} pixels do not join")));
        }
        if !shape.channels.is_multiple_of(groups) {
            return Err(section.wrong("groups", &format!("{groups} does not divide {} channels", shape.channels)));
        }
        // At most as many terms as there are bytes in the line, each bounded.
        channels += shape.channels / groups;
    }
    Ok((LayerKind::Route { sources, groups, group }, MapShape { channels, ..first }))
}

fn shortcut(section: &mut Section, before: &Network) -> Result<(LayerKind, MapShape), WeightsError> {
    let input = before.shape_before();
    let sources = sources(section, "from", before)?;
    let activation = activation(section, Activation::Linear)?;
    section.must_be("weights_type", "none")?;
    section.must_be("weights_normalization", "none")?;
    section.must_be("alpha", "1")?;
    section.must_be("beta", "1")?;
    for &source in &sources {
        let MapShape { channels, height, width } = before.layers[source].output;
        if before.layers[source].output != input {
            let here = format!("{} × {} × {}", input.channels, input.height, input.width);
            let what = format!("layer {source} is {channels} × {height} × {width}, the layer before is {here}");
            return Err(section.wrong("from", &what));
        }
    }
    Ok((LayerKind::Shortcut { sources, activation }, input))
}

/// Pairs of width and height.
fn anchors(section: &mut Section, count: usize) -> Result<Vec<[f32; 2]>, WeightsError> {
    let numbers = section.numbers("anchors")?.ok_or_else(|| section.wrong("anchors", "it is missing"))?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    if pairs.len() < count || !rest.is_empty() {
        let what = format!("it has {} numbers; {count} pairs were expected", numbers.len());
        return Err(section.wrong("anchors", &what));
    }
    if pairs.iter().flatten().any(|side| *side <= 0.0) {
        return Err(section.wrong("anchors", "a side is not above 0"));
    }
    Ok(pairs[..count].to_vec())
}

fn yolo(section: &mut Section, input: MapShape) -> Result<Yolo, WeightsError> {
    let classes = section.count("classes", 20, 1, MOST_CLASSES)?;
    let all = section.count("num", 1, 1, 1024)?;
    let all_anchors = anchors(section, all)?;
    let numbers = section.wholes("mask")?.unwrap_or_else(|| (0..all as i64).collect());
    let mask = numbers.iter().map(|number| usize::try_from(*number).ok().filter(|index| *index < all));
    let mask: Vec<usize> =
        mask.collect::<Option<_>>().ok_or_else(|| section.wrong("mask", &format!("there are {all} anchors")))?;
    let expected = mask.len() * (classes + 5);
    if input.channels != expected {
        let (here, of) = (input.channels, mask.len());
        let what = format!("the layer before has {here} filters; {expected} were expected for {of} anchors");
        return Err(section.wrong("classes", &what));
    }
    section.must_be("embedding_layer", "-1")?;
    section.take("yolo").for_each(drop);
    let word = |section: &mut Section, key: &str, otherwise: &str| {
        section.text(key).map_or_else(|| otherwise.to_owned(), |(value, _)| value.to_owned())
    };
    Ok(Yolo {
        anchors: mask.iter().map(|index| all_anchors[*index]).collect(),
        mask,
        all_anchors,
        classes,
        scale_x_y: section.number("scale_x_y", 1.0)?,
        has_new_coordinates: section.is_on("new_coords")?,
        ignore_threshold: section.number("ignore_thresh", 0.5)?,
        truth_threshold: section.number("truth_thresh", 1.0)?,
        iou_threshold: section.number("iou_thresh", 1.0)?,
        loss_weights: [
            section.number("iou_normalizer", 0.75)?,
            section.number("obj_normalizer", 1.0)?,
            section.number("cls_normalizer", 1.0)?,
        ],
        box_loss: word(section, "iou_loss", "mse"),
        suppression: (word(section, "nms_kind", "default"), section.number("beta_nms", 0.6)?),
        jitter: jitter(section)?,
        is_multi_scale: section.number("random", 0.0)? != 0.0,
        label_smoothing: section.number("label_smooth_eps", 0.0)?,
    })
}

fn jitter(section: &mut Section) -> Result<f32, WeightsError> {
    section.number("jitter", 0.2)
}

fn region(section: &mut Section, input: MapShape) -> Result<Region, WeightsError> {
    let classes = section.count("classes", 20, 1, MOST_CLASSES)?;
    let count = section.count("num", 1, 1, 1024)?;
    section.must_be("coords", "4")?;
    section.must_be("background", "0")?;
    for key in ["tree", "map"] {
        if let Some((value, _)) = section.text(key) {
            let value = value.escape_debug().to_string();
            return Err(section.unsupported(key, &value));
        }
    }
    let expected = count * (classes + 5);
    if input.channels != expected {
        let what = format!("the layer before has {} filters; {expected} were expected", input.channels);
        return Err(section.wrong("classes", &what));
    }
    section.take("region").for_each(drop);
    Ok(Region {
        anchors: anchors(section, count)?,
        classes,
        is_softmax: section.is_on("softmax")?,
        threshold: section.number("thresh", 0.5)?,
        loss_weights: [
            section.number("coord_scale", 1.0)?,
            section.number("object_scale", 1.0)?,
            section.number("noobject_scale", 1.0)?,
            section.number("class_scale", 1.0)?,
        ],
        is_rescored: section.is_on("rescore")?,
        is_matched_by_anchor: section.is_on("bias_match")?,
        jitter: jitter(section)?,
        is_multi_scale: section.number("random", 0.0)? != 0.0,
    })
}
