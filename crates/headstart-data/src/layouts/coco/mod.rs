//! COCO: JSON files that list pictures, their boxes and their classes.
//!
//! Source: cocodataset.org/#format-data. As people have it: `annotations/instances_train2017.json` beside `train2017/`, a
//! `_annotations.coco.json` in each of `train/`, `valid/` and `test/`, or one file with the pictures beside it or in
//! `images/`.

mod find;
mod json;
mod read;
mod write;

use super::evidence::{Evidence, evidence};
use super::{Layout, Opener};

pub(super) use find::looks_like;
pub use write::write;

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: "coco",
    describes: "boxes in JSON: DATA/annotations/instances_train.json with DATA/train/…, or DATA/train/_annotations.coco.json",
    recognizes: |path| evidence(path) == Some(Evidence::Coco),
    open: Opener::Boxes(read::open),
};
