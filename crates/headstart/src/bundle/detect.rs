//! The objects in pictures: what a bundle of a detector says.

use std::path::{Path, PathBuf};

use headstart_data::boxes::suppression::Detection;
use headstart_data::boxes::tiles::TileGrid;
use headstart_data::image::{self, RgbImage};
use serde::{Deserialize, Serialize};

use super::predict::{Unreadable, each};
use super::read::Bundle;
use crate::error::{Error, Result};
pub use crate::tasks::object_detection::decode::{DecodeRule, FoundObject};
use crate::tasks::object_detection::decode::{Detected, decode, named};

/// What is looked for, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetectOptions {
    /// Which outputs are detections.
    pub rule: DecodeRule,
    /// Side of the tiles in which a larger picture is read, in its pixels; the whole picture at once when absent.
    pub tile: Option<u32>,
}

impl Default for DetectOptions {
    fn default() -> Self {
        Self { rule: DecodeRule::showing(), tile: None }
    }
}

/// The objects in one picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectPrediction {
    /// The file.
    pub path: PathBuf,
    /// Columns of the picture.
    pub width: u32,
    /// Rows of it.
    pub height: u32,
    /// Best first.
    pub objects: Vec<FoundObject>,
}

/// Tiles overlap by this part of their side: objects smaller than that are seen whole by one.
const OVERLAP: u32 = 4;

/// Detections end at the side of a tile if they are this near to it, in pixels.
const EDGE: f64 = 2.0;

impl Bundle {
    /// Whether the bundle finds objects in pictures.
    pub fn finds_objects(&self) -> bool {
        self.predictor.detector().is_some()
    }

    /// The objects of one decoded picture, best first.
    ///
    /// # Errors
    /// [`Error::Recipe`] when the bundle finds none.
    pub fn detect_in(&self, picture: &RgbImage, options: &DetectOptions) -> Result<Vec<FoundObject>> {
        Ok(named(&self.detected(picture, options, 1)?, self.predictor.labels()))
    }

    /// The objects of one file, best first.
    ///
    /// # Errors
    /// As [`Bundle::detect_in`]; [`Error::Data`] when it is no picture.
    pub fn detect(&self, path: impl AsRef<Path>, options: &DetectOptions) -> Result<ObjectPrediction> {
        self.detect_on(path.as_ref(), options, 1)
    }

    /// The objects of many files in parallel, in order; those that are no pictures come back with the reason.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn detect_all(
        &self,
        paths: &[PathBuf],
        options: &DetectOptions,
        threads: usize,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Result<ObjectPrediction, Unreadable>>> {
        // With fewer files than threads, several work on one.
        let threads_each = (threads / paths.len().max(1)).max(1);
        each(paths, threads, progress, &|path| {
            self.detect_on(path, options, threads_each)
                .map_err(|error| Unreadable { path: path.clone(), reason: error.to_string() })
        })
    }

    /// All that counts for average precision.
    pub(crate) fn scored_detections(&self, path: &Path) -> Result<Vec<Detected>> {
        let options = DetectOptions { rule: DecodeRule::scoring(), tile: None };
        self.detected(&image::decode(path)?, &options, 1)
    }

    fn detect_on(&self, path: &Path, options: &DetectOptions, threads: usize) -> Result<ObjectPrediction> {
        let picture = image::decode(path)?;
        let objects = named(&self.detected(&picture, options, threads)?, self.predictor.labels());
        let (width, height) = picture.dimensions();
        Ok(ObjectPrediction { path: path.to_owned(), width, height, objects })
    }

    fn detected(&self, picture: &RgbImage, options: &DetectOptions, threads: usize) -> Result<Vec<Detected>> {
        let plan = self.predictor.detector().ok_or_else(|| Error::Recipe {
            reason: "this bundle finds no objects".to_owned(),
            help: "train one on pictures with boxes, or ask for the class of the picture".to_owned(),
        })?;
        let classes = self.predictor.labels().len();
        let whole = |picture: &RgbImage| -> Result<Vec<Detected>> {
            let outputs = self.predictor.outputs(std::slice::from_ref(picture), threads)?;
            Ok(decode(plan, classes, &outputs, picture.dimensions(), &options.rule))
        };
        let (width, height) = picture.dimensions();
        let Some(side) = options.tile.filter(|side| width.max(height) > *side) else { return whole(picture) };
        let grid = TileGrid::new(width, height, side, side / OVERLAP);
        let mut of_tiles: Vec<Vec<Detection<f64>>> = Vec::with_capacity(grid.count());
        for tile in grid.tiles() {
            let [left, top, right, bottom] = tile.sides().map(|side| side as u32);
            let part = ::image::imageops::crop_imm(picture, left, top, right - left, bottom - top).to_image();
            of_tiles.push(whole(&part)?);
        }
        let mut merged = grid.merge(&of_tiles, options.rule.overlap, EDGE);
        merged.truncate(options.rule.most);
        Ok(merged)
    }
}
