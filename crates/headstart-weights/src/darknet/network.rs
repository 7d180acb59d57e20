//! A network as a `.cfg` describes it: plain data, with the shape of every map.

use std::collections::BTreeMap;
use std::path::Path;

use super::layers::read_layer;
use super::sections::sections;
use super::{locate, malformed, too_large};
use crate::error::WeightsError;

/// Most layers; the largest of YOLO v4 has 162.
const MOST_LAYERS: usize = 4096;

/// Longest side of the input, most channels of it and of a map.
pub(super) const LONGEST_SIDE: usize = 65_536;
pub(super) const MOST_CHANNELS: usize = 1 << 20;

/// A network: what it takes, and its layers in the order in which they run and in which their weights lie in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Shape of the picture that the file asks for; other sizes that the strides divide do as well.
    pub input: MapShape,
    /// The layers, numbered from 0 as Darknet numbers them.
    pub layers: Vec<Layer>,
    /// What `[net]` says of training alone, as it is written: learning rate, its schedule, augmentation.
    pub training: BTreeMap<String, String>,
    /// Settings that were passed over, with their lines.
    pub notes: Vec<String>,
}

/// Shape of a map: `[channels, height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapShape {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// One layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Line of its section, from 1.
    pub line: usize,
    /// What it computes.
    pub kind: LayerKind,
    /// Shape of its first input.
    pub input: MapShape,
    /// Shape of its output.
    pub output: MapShape,
}

/// What a layer computes. Layers that others refer to are given by their number in [`Network::layers`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum LayerKind {
    /// A convolution, its normalization and activation.
    Convolution(Convolution),
    /// The largest value of a window.
    MaxPool {
        /// Side of the window.
        size: usize,
        /// Step.
        stride: usize,
        /// Rows and columns of padding in all; the half of it, rounded down, lies before the first.
        padding: usize,
    },
    /// Every value as a square of `stride × stride`.
    Upsample {
        /// Side of the square.
        stride: usize,
        /// What values are multiplied by.
        scale: f32,
    },
    /// Squares of `stride × stride` pixels as channels (YOLO v2's passthrough).
    Reorg {
        /// Side of the square.
        stride: usize,
        /// Whether it is the form that Darknet began with, in which channels mix (`[reorg]`); else `[reorg3d]`.
        is_first_form: bool,
    },
    /// Outputs of earlier layers, one after another along the channels, or a part of that.
    Route {
        /// The layers.
        sources: Vec<usize>,
        /// In how many parts the channels are cut.
        groups: usize,
        /// Which part is taken, from 0.
        group: usize,
    },
    /// The sum of the layer before and earlier ones, then the activation.
    Shortcut {
        /// The earlier layers.
        sources: Vec<usize>,
        /// After the sum.
        activation: Activation,
    },
    /// Nothing, outside of training.
    Dropout {
        /// Part of the values that training sets to zero.
        probability: f32,
    },
    /// A detector of YOLO v3 and v4.
    Yolo(Yolo),
    /// The detector of YOLO v2.
    Region(Region),
}

/// A convolution. Kernels lie as `[filters, channels / groups, size, size]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// Channels of the output.
    pub filters: usize,
    /// Side of the kernel.
    pub size: usize,
    /// Step.
    pub stride: usize,
    /// Rows and columns of zeros on each side.
    pub padding: usize,
    /// In how many parts input and output are cut.
    pub groups: usize,
    /// Whether a normalization with the running statistics follows (ε = 1e-6 beside the deviation, as `σ + ε`; 1e-5 beside
    /// the variance in newer versions).
    pub is_normalized: bool,
    /// Last of all.
    pub activation: Activation,
}

/// An activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// x.
    Linear,
    /// x, or 0.1 · x below 0.
    Leaky,
    /// x · tanh(ln(1 + eˣ)).
    Mish,
    /// x · sigmoid(x).
    Swish,
    /// x between 0 and 6.
    Relu6,
    /// x above 0.
    Relu,
    /// 1 / (1 + e⁻ˣ).
    Logistic,
}

/// A detector of YOLO v3 and v4: a cell predicts, anchor after anchor, x, y, width, height, whether there is an object, and
/// each class.
#[derive(Debug, Clone, PartialEq)]
pub struct Yolo {
    /// Width and height in pixels of the network's input of each anchor used here, by `mask`.
    pub anchors: Vec<[f32; 2]>,
    /// Their numbers in the file's list.
    pub mask: Vec<usize>,
    /// The whole list, which the assignment of targets compares.
    pub all_anchors: Vec<[f32; 2]>,
    /// Number of classes.
    pub classes: usize,
    /// What the sigmoids of x and y are stretched by about their middle.
    pub scale_x_y: f32,
    /// Whether values are taken as they are, without sigmoid and exponential (YOLO v4-csp).
    pub has_new_coordinates: bool,
    /// Predictions that overlap with an object by more are not taught that there is none.
    pub ignore_threshold: f32,
    /// Those that overlap with an object by more are taught it.
    pub truth_threshold: f32,
    /// Anchors that overlap with an object by more are taught it too; 1 for the best alone.
    pub iou_threshold: f32,
    /// Weights of the parts of the loss: boxes, objectness, classes.
    pub loss_weights: [f32; 3],
    /// Loss of the boxes: `mse`, `iou`, `giou`, `diou` or `ciou`.
    pub box_loss: String,
    /// How overlapping detections are suppressed (`default`, `greedynms`, `diounms`, `cornersnms`), and its β.
    pub suppression: (String, f32),
    /// Part of the picture by which training cuts off or adds at each side.
    pub jitter: f32,
    /// Whether training changes the size of the input.
    pub is_multi_scale: bool,
    /// Part of the truth that is spread over all classes.
    pub label_smoothing: f32,
}

/// The detector of YOLO v2.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// Width and height in cells.
    pub anchors: Vec<[f32; 2]>,
    /// Number of classes.
    pub classes: usize,
    /// Whether the classes exclude each other.
    pub is_softmax: bool,
    /// Predictions that overlap with an object by more are not taught that there is none.
    pub threshold: f32,
    /// Weights of the parts of the loss: boxes, an object, none, classes.
    pub loss_weights: [f32; 4],
    /// Whether what is taught of an object is its overlap instead of 1.
    pub is_rescored: bool,
    /// Whether anchors give the size alone when they are compared with objects.
    pub is_matched_by_anchor: bool,
    /// Part of the picture by which training cuts off or adds at each side.
    pub jitter: f32,
    /// Whether training changes the size of the input.
    pub is_multi_scale: bool,
}

impl Network {
    /// Reads the description beside a weight file; a `.cfg` itself and the folder of both do as well.
    ///
    /// # Errors
    /// [`WeightsError::Io`]; as for [`Network::parse`].
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let description = locate::description(path)?;
        Self::parse(&description, &locate::text(&description)?)
    }

    /// Reads a description; `path` is for messages.
    ///
    /// # Errors
    /// [`WeightsError::Malformed`] with the line for what contradicts itself; [`WeightsError::Unsupported`] for sections and
    /// settings that change what is computed and that we do not know; [`WeightsError::TooLarge`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, WeightsError> {
        let mut rest = sections(path, text)?.into_iter();
        let mut net = match rest.next() {
            Some(section) if section.name == "net" || section.name == "network" => section,
            Some(section) => {
                let reason =
                    format!("line {}: the first section is [{}]; [net] was expected", section.line, section.name);
                return Err(malformed(path, reason));
            }
            None => return Err(malformed(path, "it has no section; [net] was expected")),
        };
        let input = MapShape {
            channels: net.count("channels", 3, 1, MOST_CHANNELS)?,
            height: net.count("height", 416, 1, LONGEST_SIDE)?,
            width: net.count("width", 416, 1, LONGEST_SIDE)?,
        };
        let mut training = BTreeMap::new();
        for (key, value) in net.take("net") {
            training.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
        let mut network = Self { input, layers: Vec::new(), training, notes: Vec::new() };
        net.leftovers(&mut network.notes);
        for mut section in rest {
            if network.layers.len() == MOST_LAYERS {
                return Err(too_large(path, "the description", (MOST_LAYERS + 1) as u64, MOST_LAYERS as u64));
            }
            let layer = read_layer(path, &mut section, &network)?;
            section.leftovers(&mut network.notes);
            network.layers.push(layer);
        }
        Ok(network)
    }

    /// Shape of what a layer of this number would take from the one before.
    pub(super) fn shape_before(&self) -> MapShape {
        self.layers.last().map_or(self.input, |layer| layer.output)
    }
}
