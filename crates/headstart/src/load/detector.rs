//! A network that finds objects: the graph, what its head is made of, and the published head with its labels.

use std::path::{Path, PathBuf};

use headstart_data::boxes::views::Placement;
use headstart_data::image::RgbImage;
use headstart_data::image::{Region, resize_region};
use headstart_data::preprocess::ChannelOrder;
use headstart_kernels::Shape;
use headstart_weights::{self as weights, darknet};
use serde::{Deserialize, Serialize};

use crate::backbones::{darknet as darknet_backbone, retinanet};
use crate::error::{Error, Result};
use crate::load::Pretrained;
use crate::nn::MapGraph;
use crate::parameters::Parameters;

/// A pretrained detector.
#[derive(Debug, Clone)]
pub struct PretrainedDetector {
    /// What it is.
    pub plan: DetectorPlan,
    /// Arrays of the graph under our names.
    pub parameters: Parameters,
    /// The published head: `levels.0.weight`, … ; absent where there is none.
    pub head: Option<Parameters>,
    /// What the outputs of the published head are called; absent where nobody says.
    pub labels: Option<Vec<String>>,
    /// Where the weights come from.
    pub source: String,
    /// Licence that the file states.
    pub licence: Option<String>,
}

/// All of a detector but its weights; a bundle holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectorPlan {
    /// Architecture: `darknet` or `retinanet`.
    pub name: String,
    /// Which of it, as its file is called.
    pub variant: String,
    /// Rows and columns of the input in pixels.
    pub input: [u32; 2],
    /// How pixels become values.
    pub pixels: PixelRule,
    /// The network up to the head.
    pub graph: MapGraph,
    /// The head.
    pub head: HeadPlan,
}

/// 8-bit values → values of the input, red first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PixelRule {
    /// Divided by first.
    pub divisor: f32,
    /// Then subtracted, a channel each.
    pub mean: [f32; 3],
    /// Then divided by.
    pub deviation: [f32; 3],
    /// What lies round a picture of another shape than the input: red, green, blue.
    pub fill: [u8; 3],
}

/// What stands on the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HeadPlan {
    /// A 1×1 convolution a map (YOLO v2 to v4).
    Yolo {
        /// In the order of the graph's outputs.
        levels: Vec<YoloLevel>,
    },
    /// Two towers of convolutions that all maps share, on nine anchors a cell (RetinaNet).
    RetinaNet {
        /// Classes of the published head.
        classes: usize,
    },
}

/// The detector of one map. A cell predicts, anchor after anchor, x, y, width, height, objectness and each class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct YoloLevel {
    /// Width and height of each anchor used here, in pixels of the input.
    pub anchors: Vec<[f32; 2]>,
    /// Their numbers among all.
    pub mask: Vec<usize>,
    /// The anchors of all maps, which the assignment of targets compares.
    pub all_anchors: Vec<[f32; 2]>,
    /// Classes of the published head.
    pub classes: usize,
    /// What the sigmoids of x and y are stretched by about their middle.
    pub scale_x_y: f32,
    /// Whether values are taken as they are, without sigmoid and exponential.
    pub has_new_coordinates: bool,
    /// Whether the classes of the published head exclude each other.
    pub is_softmax: bool,
    /// Predictions that overlap with an object by more are not taught that there is none.
    pub ignore_threshold: f32,
    /// Anchors that overlap with an object by more are taught it too; 1 for the best alone.
    pub iou_threshold: f32,
}

impl HeadPlan {
    /// Classes of the published head.
    pub(crate) fn published_classes(&self) -> usize {
        match self {
            Self::Yolo { levels } => levels.first().map_or(0, |level| level.classes),
            Self::RetinaNet { classes } => *classes,
        }
    }
}

impl DetectorPlan {
    /// Shape of the input.
    pub(crate) fn shape(&self) -> Shape {
        Shape { height: self.input[0] as usize, width: self.input[1] as usize, channels: 3 }
    }

    /// Where a picture of this width and height lies in the input.
    pub(crate) fn placement(&self, size: (u32, u32)) -> Placement {
        Placement::letterbox(size, (self.input[1], self.input[0]))
    }

    /// The picture in the size of the input, its shape kept.
    pub(crate) fn letterboxed(&self, picture: &RgbImage) -> RgbImage {
        let placement = self.placement(picture.dimensions());
        let (width, height) = picture.dimensions();
        let [across, down] = placement.scale;
        let inner = ((f64::from(width) * across).round() as u32, (f64::from(height) * down).round() as u32);
        let whole = Region { left: 0.0, top: 0.0, right: f64::from(width), bottom: f64::from(height) };
        let resized = resize_region(picture, whole, inner.0.max(1), inner.1.max(1));
        let mut view = RgbImage::from_pixel(self.input[1], self.input[0], image::Rgb(self.pixels.fill));
        image::imageops::replace(&mut view, &resized, placement.offset[0] as i64, placement.offset[1] as i64);
        view
    }

    /// The values `[H, W, 3]` of a picture of the input's size.
    pub(crate) fn values(&self, view: &RgbImage) -> Vec<f32> {
        let PixelRule { divisor, mean, deviation, .. } = self.pixels;
        let value = |(index, byte): (usize, &u8)| {
            let channel = index % 3;
            (f32::from(*byte) / divisor - mean[channel]) / deviation[channel]
        };
        view.as_raw().iter().enumerate().map(value).collect()
    }

    /// Sets the input to `size` × `size` pixels.
    ///
    /// # Errors
    /// [`Error::Recipe`] for a size that the strides do not divide.
    pub(crate) fn resize_input(&mut self, size: u32) -> Result<()> {
        if !(32..=2048).contains(&size) || !size.is_multiple_of(32) {
            return Err(Error::Recipe {
                reason: format!("input size {size} is no multiple of 32 from 32 to 2048"),
                help: format!("the network was published for {} × {} pixels", self.input[1], self.input[0]),
            });
        }
        self.input = [size, size];
        Ok(())
    }
}

impl PretrainedDetector {
    /// The same network before any training.
    pub fn untrained(self, seed: u64) -> Self {
        let parameters = Parameters::initialize(&self.plan.graph.parameters(), seed);
        Self { parameters, head: None, labels: None, source: "random".to_owned(), licence: None, ..self }
    }

    /// Labels of the published head, numbers where nobody says them.
    ///
    /// # Errors
    /// [`Error::Recipe`] where there is no published head.
    pub(crate) fn labels_or_numbers(&self) -> Result<Vec<String>> {
        let classes = self.plan.head.published_classes();
        if self.head.is_none() {
            return Err(Error::Recipe {
                reason: format!("`{}` has no published head", self.source),
                help: "leave out --head original".to_owned(),
            });
        }
        let numbers = || (0..classes).map(|class| format!("class {class}")).collect();
        Ok(self.labels.clone().unwrap_or_else(numbers))
    }

    /// BLAKE3 of graph and published head.
    pub fn digest(&self) -> String {
        let mut all = self.parameters.clone();
        if let Some(head) = &self.head {
            all.extend(head.with_prefix("head."));
        }
        all.digest()
    }
}

/// Loads a detector: Darknet's `.cfg` and `.weights`, either of them or the folder of both, or a bundle that finds objects.
///
/// # Errors
/// Of the readers; [`Error::Recipe`] for what is no detector that we can build.
pub fn load_detector(path: &Path) -> Result<PretrainedDetector> {
    if let Some(detector) = crate::bundle::read::pretrained_detector(path)? {
        return Ok(detector);
    }
    let checkpoint = weights::open(path)?;
    if checkpoint.format() != "darknet" {
        let source = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let pretrained = super::load_checkpoint(checkpoint.as_ref(), None, source)?;
        return match retinanet::is_published(checkpoint.as_ref()) {
            true => {
                let (pyramid, head) = retinanet::read(checkpoint.as_ref())?;
                retinanet_on(&pretrained, retinanet::WIDTHS.0, Some((pyramid, head)), 0)
            }
            false => retinanet_on(&pretrained, retinanet::WIDTHS.1, None, 0),
        };
    }
    let network = darknet::Network::open(path)?;
    let described = darknet_backbone::describe(path, &network)?;
    let (parameters, head) = described.read(checkpoint.as_ref())?;
    let classes = described.head.published_classes();
    Ok(PretrainedDetector {
        plan: DetectorPlan {
            name: darknet_backbone::NAME.to_owned(),
            variant: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            input: [network.input.height as u32, network.input.width as u32],
            pixels: PixelRule { divisor: 255.0, mean: [0.0; 3], deviation: [1.0; 3], fill: [128; 3] },
            graph: described.graph,
            head: described.head,
        },
        parameters,
        head: Some(head),
        labels: names_beside(path, classes),
        source: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        licence: None,
    })
}

/// Side of the input of a RetinaNet in pixels, where nobody asks for another.
const RETINANET_SIDE: u32 = 512;

/// A RetinaNet on a backbone of pictures, of a pyramid of `width` channels: published pyramid and head, or random ones.
///
/// # Errors
/// [`Error::Recipe`] for a backbone on which none is built.
pub(crate) fn retinanet_on(
    pretrained: &Pretrained,
    width: usize,
    published: Option<(Parameters, Parameters)>,
    seed: u64,
) -> Result<PretrainedDetector> {
    let graph = retinanet::graph(pretrained.spec, pretrained.variant, &pretrained.conventions, width)?;
    let preprocess = &pretrained.conventions.preprocess;
    if preprocess.channels != ChannelOrder::Rgb {
        return Err(Error::Recipe {
            reason: format!("`{}` reads blue before red, which detectors here do not", pretrained.source),
            help: "take weights of mobilenet_v2 or resnet".to_owned(),
        });
    }
    let mut parameters = Parameters::initialize(&graph.parameters(), seed);
    parameters.extend(pretrained.parameters.clone());
    let (pyramid, head) = published.unzip();
    parameters.extend(pyramid.unwrap_or_default());
    let rows = head.as_ref().and_then(|head| head.find("classes.4.bias").ok()).map_or(0, |bias| bias.values.len());
    Ok(PretrainedDetector {
        plan: DetectorPlan {
            name: retinanet::NAME.to_owned(),
            variant: format!("{}:{}", pretrained.spec.name, pretrained.variant.name),
            input: [RETINANET_SIDE; 2],
            pixels: PixelRule {
                divisor: preprocess.divisor,
                mean: preprocess.mean,
                deviation: preprocess.deviation,
                fill: [114; 3],
            },
            graph,
            head: HeadPlan::RetinaNet { classes: rows / 9 },
        },
        parameters,
        head,
        labels: None,
        source: pretrained.source.clone(),
        licence: pretrained.licence.clone(),
    })
}

/// The list of names beside a weight file, if there is one of as many lines as there are classes.
fn names_beside(path: &Path, classes: usize) -> Option<Vec<String>> {
    let folder = if path.is_dir() { path } else { path.parent().filter(|parent| !parent.as_os_str().is_empty())? };
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "names"));
    files.sort();
    files.iter().find_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        let names: Vec<String> =
            text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
        (names.len() == classes).then_some(names)
    })
}
