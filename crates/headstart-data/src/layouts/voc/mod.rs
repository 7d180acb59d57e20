//! Pascal VOC: an XML file a picture.
//!
//! Source: the development kit of the VOC challenge 2012. As people have it: `Annotations/`, `JPEGImages/` and
//! `ImageSets/Main/` with `train.txt`, `val.txt`, `trainval.txt` and `test.txt`; or each XML file beside its picture, in one
//! folder or in `train/`, `valid/` and `test/`.
//!
//! Pascal counts pixels from 1 and both ends belong to a box: `xmin` 1 and `xmax` 3 are three pixels, here from 0 to 3. A
//! side of 0, which other tools write, is taken for 1.

mod read;
mod sets;
mod write;
mod xml;

use std::path::{Path, PathBuf};

use super::evidence::{Evidence, evidence, part_of_folder};
use super::{Layout, Opener, Split};
use crate::layouts::class_folders::sorted;

pub use write::write;

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: "voc",
    describes: "boxes in XML: DATA/Annotations/*.xml, DATA/JPEGImages/…, DATA/ImageSets/Main/train.txt, or XML beside each picture",
    recognizes: |path| evidence(path) == Some(Evidence::Voc),
    open: Opener::Boxes(read::open),
};

/// A folder of XML files.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Annotated {
    /// The folder that pictures and lists are looked for in.
    home: PathBuf,
    /// The folder of the XML files.
    folder: PathBuf,
    /// Its part, if the name of a folder says it.
    split: Option<Split>,
}

/// XML files that are looked at before a folder counts as one without annotations.
const MOST_LOOKED_AT: usize = 16;

/// Whether a path is a folder with annotations of this kind.
pub(super) fn looks_like(path: &Path) -> bool {
    path.is_dir() && !annotated(path).is_empty()
}

/// The folders of XML files in a data set.
fn annotated(root: &Path) -> Vec<Annotated> {
    let one = |home: &Path, split| {
        let folder = named(home, "annotations").filter(|folder| holds_annotations(folder));
        let folder = folder.or_else(|| holds_annotations(home).then(|| home.to_owned()))?;
        Some(Annotated { home: home.to_owned(), folder, split })
    };
    if let Some(whole) = one(root, None) {
        return vec![whole];
    }
    let folders = entries(root).into_iter().filter(|path| path.is_dir());
    let mut parts: Vec<Annotated> =
        folders.filter_map(|folder| one(&folder, Some(folder.file_name().and_then(part_of_folder)?))).collect();
    parts.sort_by(|a, b| (a.split, &a.folder).cmp(&(b.split, &b.folder)));
    parts
}

/// The folder of this name, in any case.
fn named(folder: &Path, name: &str) -> Option<PathBuf> {
    let is = |path: &PathBuf| path.file_name().is_some_and(|found| found.eq_ignore_ascii_case(name)) && path.is_dir();
    entries(folder).into_iter().find(is)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    sorted(folder).unwrap_or_default()
}

fn is_xml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("xml")) && path.is_file()
}

/// Whether a folder has an XML file of this kind among its first.
fn holds_annotations(folder: &Path) -> bool {
    entries(folder).iter().filter(|path| is_xml(path)).take(MOST_LOOKED_AT).any(|path| xml::looks_like(path))
}
