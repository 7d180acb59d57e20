//! Pictures with boxes: what every layout of object detection gives.

use std::path::PathBuf;

use super::BoundingBox;
use crate::layouts::{Example, Listing, Skipped, Split};
use crate::text::{Outcome, Problem};

/// The pictures of a data set with their boxes. Pictures are measured and not decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectionSet {
    /// Name of the layout.
    pub layout: &'static str,
    /// The file or folder.
    pub root: PathBuf,
    /// Names of classes; an object's class is an index into them. The order is the data set's own, or that of the names.
    pub classes: Vec<String>,
    /// Pictures in the order of their relative paths.
    pub pictures: Vec<Picture>,
    /// What a user should be told.
    pub notes: Vec<String>,
    /// Everything that is wrong with single pictures and boxes, in the order in which it was met.
    pub problems: Vec<Problem>,
}

/// A picture with what is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Where it is.
    pub path: PathBuf,
    /// Path within the data set, with `/`.
    pub relative: String,
    /// Columns, as it is shown upright.
    pub width: u32,
    /// Rows, as it is shown upright.
    pub height: u32,
    /// What is in it, in the order of the annotations; possibly nothing.
    pub objects: Vec<Object>,
    /// Its part, if the data set says so.
    pub split: Option<Split>,
}

/// An object in a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Object {
    /// Index of its class.
    pub class: usize,
    /// Where it is, in pixels of the picture; it has an area and lies within the picture.
    pub place: BoundingBox,
    /// Area in square pixels where the annotation says one, as of an outline; else that of the box counts.
    pub area: Option<f64>,
    /// Whether it is a crowd of such objects (COCO): nothing is learned from it, and finding it is neither right nor wrong.
    pub is_crowd: bool,
    /// Whether it is hard to see (Pascal VOC): it is learned from, and finding it is neither right nor wrong.
    pub is_difficult: bool,
    /// Whether the picture shows a part of it (Pascal VOC).
    pub is_truncated: bool,
}

impl Object {
    /// An object of which nothing else is said.
    pub fn new(class: usize, place: BoundingBox) -> Self {
        Self { class, place, area: None, is_crowd: false, is_difficult: false, is_truncated: false }
    }
}

impl DetectionSet {
    /// The pictures as examples without classes, for [`scan`](crate::scan::scan), which reads them whole.
    pub fn listing(&self) -> Listing {
        let example = |picture: &Picture| Example {
            path: picture.path.clone(),
            relative: picture.relative.clone(),
            label: 0,
            split: picture.split,
        };
        let skipped = self.problems.iter().filter(|problem| problem.outcome == Outcome::Skipped);
        Listing {
            layout: self.layout,
            root: self.root.clone(),
            classes: self.classes.clone(),
            examples: self.pictures.iter().map(example).collect(),
            notes: self.notes.clone(),
            skipped: skipped
                .map(|problem| Skipped {
                    path: problem.file.clone(),
                    reason: format!("line {}: {}", problem.line, problem.what),
                })
                .collect(),
        }
    }

    /// How many objects each class has.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for object in self.pictures.iter().flat_map(|picture| &picture.objects) {
            counts[object.class] += 1;
        }
        counts
    }
}
