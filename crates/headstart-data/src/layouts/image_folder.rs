//! A folder of photos for each class, or `train/`, `val/` and `test/` folders of such.

use super::class_folders::{self, Contents};
use super::evidence::{Evidence, evidence};
use super::{Layout, Opener};
use crate::image::has_image_extension;

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: PHOTOS.layout,
    describes: "DATA/<class>/**/*.jpg, or DATA/train/<class>/…, DATA/val/<class>/…, DATA/test/<class>/…",
    recognizes: |path| evidence(path) == Some(Evidence::Photos),
    open: Opener::Images(|root| class_folders::open(root, &PHOTOS)),
};

const PHOTOS: Contents = Contents {
    layout: "image_folder",
    one: "photo",
    many: "photos",
    is: has_image_extension,
    is_not: "not a picture by its name",
    expected: "make one folder for each class and put its photos there, such as photos/cat/1.jpg, photos/dog/2.jpg",
};
