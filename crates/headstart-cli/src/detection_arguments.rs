//! What can be typed about objects and boxes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How objects are learned.
#[derive(Debug, Args, Clone)]
#[command(next_help_heading = "Pictures with boxes")]
pub(crate) struct DetectionOptions {
    /// Part of the views that are made of four pictures (default: 0.5)
    #[arg(long, value_name = "FRACTION")]
    pub(crate) mosaic: Option<f32>,
    /// Views are also mirrored top to bottom: for pictures from above
    #[arg(long)]
    pub(crate) vertical_flip: bool,
    /// Fit the anchors to the boxes instead of taking the published ones
    #[arg(long)]
    pub(crate) fit_anchors: bool,
    /// Pictures whose names differ in a running number stay on one side of the split, whatever the data set says
    #[arg(long)]
    pub(crate) by_scene: bool,
    /// Learn from this many of the training pictures, a seeded draw
    #[arg(long, value_name = "N")]
    pub(crate) most_pictures: Option<usize>,
}

/// How objects are looked for and shown.
#[derive(Debug, Args, Clone)]
#[command(next_help_heading = "Bundles that find objects")]
pub(crate) struct DetectArguments {
    /// Folder for the pictures with their boxes, detections.json in COCO's result format and a contact sheet
    #[arg(long, short, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Least score of an object that is shown (default: 0.3)
    #[arg(long, value_name = "SCORE")]
    pub(crate) threshold: Option<f32>,
    /// Detections of a class that overlap by more are one (default: 0.45)
    #[arg(long, value_name = "IOU")]
    pub(crate) overlap: Option<f64>,
    /// Lower the scores of overlapping detections instead of dropping them
    #[arg(long)]
    pub(crate) soft: bool,
    /// Read larger pictures in tiles of this side, and join what they show
    #[arg(long, value_name = "PIXELS")]
    pub(crate) tile: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertData {
    /// A data set of pictures with boxes: COCO, Pascal VOC or YOLO
    pub(crate) data: PathBuf,
    /// The layout to write
    #[arg(long, value_enum)]
    pub(crate) to: BoxLayout,
    /// The folder to write, which is not there yet
    #[arg(long, short, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum BoxLayout {
    Coco,
    Voc,
    Yolo,
}
