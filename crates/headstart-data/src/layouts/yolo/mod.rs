//! YOLO: a text file a picture, a line a box: `class x y width height`, the middle and size in parts of the picture.
//!
//! Source: Darknet's `data.c` and the `data.yaml` of its successors. As people have it: `images/train/…` with
//! `labels/train/…`, `train/images/…` with `train/labels/…`, or each text file beside its picture; class names in
//! `data.yaml`, `*.names` or `classes.txt`; parts by folders, or by lists of pictures such as `train.txt` and `valid.txt`.

mod find;
mod labels;
mod names;
mod read;
mod write;
mod yaml;

use super::evidence::{Evidence, evidence};
use super::{Layout, Opener};

pub(super) use find::looks_like;
pub use write::write;

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: "yolo",
    describes: "boxes in text, `class x y width height` a line: DATA/images/train/…, DATA/labels/train/…, DATA/data.yaml, or each .txt beside its picture with a .names file",
    recognizes: |path| evidence(path) == Some(Evidence::Yolo),
    open: Opener::Boxes(read::open),
};
