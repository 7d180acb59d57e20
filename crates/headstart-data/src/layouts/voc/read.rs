//! Reading a data set of XML files; one that is broken is named and left out with its picture.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::sets::Sets;
use super::xml::Annotation;
use super::{Annotated, LAYOUT, annotated, entries, is_xml, named, sets, xml};
use crate::boxes::draft::{Draft, Wanted};
use crate::boxes::{BoundingBox, DetectionSet, Object};
use crate::error::DataError;
use crate::image::{EXTENSIONS, has_image_extension};
use crate::layouts::{Split, goes_down, relative_to};

/// Folders of pictures, as people call them.
const PICTURES: [&str; 3] = ["jpegimages", "images", "imgs"];

/// Opens a folder.
pub(super) fn open(root: &Path) -> Result<DetectionSet, DataError> {
    std::fs::metadata(root).map_err(|source| DataError::Io { path: root.to_owned(), source })?;
    let parts = annotated(root);
    if parts.is_empty() {
        return Err(DataError::Layout {
            path: root.to_owned(),
            reason: "no XML file in it is an annotation of Pascal VOC".to_owned(),
            help: "put the XML files into Annotations and the pictures into JPEGImages".to_owned(),
        });
    }
    let mut draft = Draft::default();
    for part in &parts {
        add(&mut draft, root, part)?;
    }
    draft.sort_classes();
    draft.finish(LAYOUT.name, root)
}

/// Adds one folder of XML files.
fn add(draft: &mut Draft, root: &Path, part: &Annotated) -> Result<(), DataError> {
    let lists = sets::read(draft, &part.home)?;
    let files: Vec<PathBuf> = entries(&part.folder).into_iter().filter(|path| is_xml(path)).collect();
    let stem_of = |file: &PathBuf| file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let stems: HashSet<String> = files.iter().map(stem_of).collect();
    let by_stem = lists.as_ref().map(|sets| keys_by_stem(sets, &stems));
    let mut seen = BTreeSet::new();
    let (mut wanted, mut contents, mut unlisted) = (Vec::new(), Vec::new(), 0);
    let places = Places::of(part);
    for file in files {
        let stem = stem_of(&file);
        let split = match lists.as_ref().zip(by_stem.as_ref()) {
            None => part.split,
            Some((sets, by_stem)) => {
                let keys = by_stem.get(stem.as_str()).map_or(&[][..], Vec::as_slice);
                let Some(listed) = keys.first().and_then(|key| sets.get(*key)) else {
                    unlisted += 1;
                    continue;
                };
                seen.extend(keys.iter().copied());
                Some(listed.split)
            }
        };
        match xml::read(&file) {
            Ok(annotation) => {
                wanted.push(places.wanted(root, &file, &stem, &annotation, split));
                contents.push((file, annotation));
            }
            Err((line, what)) => draft.skip_picture((&file, line), what),
        }
    }
    for (name, listed) in lists.iter().flatten().filter(|(name, _)| !seen.contains(name.as_str())) {
        draft.skip_picture((&listed.list, listed.line), format!("`{}` has no XML file", name.escape_debug()));
    }
    if unlisted > 0 {
        draft.notes.push(format!("{unlisted} XML files are in no list of ImageSets: they were left out"));
    }
    let numbers = draft.pictures(wanted);
    for ((file, annotation), number) in contents.iter().zip(numbers) {
        let Some(picture) = number else { continue };
        for (line, object) in &annotation.objects {
            match object {
                Err(what) => draft.skip_box((file, *line), what.clone()),
                Ok(object) => {
                    let class = draft.class(&object.class);
                    // Pixels from 1, ends included; see the head of the layout.
                    let [left, top, right, bottom] = object.sides;
                    let first = |side: f64| if (0.0..1.0).contains(&side) { 0.0 } else { side - 1.0 };
                    let place = BoundingBox::new(first(left), first(top), right, bottom);
                    let (is_difficult, is_truncated) = (object.is_difficult, object.is_truncated);
                    let object = Object { is_difficult, is_truncated, ..Object::new(class, place) };
                    draft.object(picture, (file, *line), object);
                }
            }
        }
    }
    Ok(())
}

/// The lines of lists by the XML files that they mean. Some give a mark behind the name, or the name with its ending; a line
/// that is a name as a whole is no name with a mark.
fn keys_by_stem<'a>(sets: &'a Sets, stems: &HashSet<String>) -> HashMap<&'a str, Vec<&'a str>> {
    let mut keys: HashMap<&str, Vec<&str>> = HashMap::new();
    for line in sets.keys() {
        let without_ending = |word: &'a str| {
            let (stem, ending) = word.rsplit_once('.')?;
            EXTENSIONS.contains(&ending.to_lowercase().as_str()).then_some(stem)
        };
        let first = line.split_whitespace().next().unwrap_or_default();
        let readings = [Some(line.as_str()), without_ending(line), Some(first), without_ending(first)];
        if let Some(stem) = readings.into_iter().flatten().find(|stem| stems.contains(*stem)) {
            keys.entry(stem).or_default().push(line);
        }
    }
    keys
}

/// Where the pictures of a folder of XML files may be.
struct Places {
    /// Pictures by stem, in the folders in their order.
    found: Vec<(PathBuf, BTreeSet<String>)>,
}

impl Places {
    fn of(part: &Annotated) -> Self {
        let folders = PICTURES.iter().filter_map(|name| named(&part.home, name));
        let all = folders.chain([part.folder.clone(), part.home.clone()]);
        let pictures = |folder: PathBuf| {
            let is_picture = |path: &PathBuf| has_image_extension(path) && path.is_file();
            let name = |path: PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let names = entries(&folder).into_iter().filter(is_picture).map(name).collect();
            (folder, names)
        };
        Self { found: all.map(pictures).collect() }
    }

    /// The picture of an XML file: of the same name, or else of the name that it says.
    fn wanted(&self, root: &Path, file: &Path, stem: &str, annotation: &Annotation, split: Option<Split>) -> Wanted {
        let said = annotation.filename.as_deref().map(|name| name.rsplit(['/', '\\']).next().unwrap_or(name));
        let said = said.filter(|name| goes_down(name));
        let same = |names: &BTreeSet<String>| {
            let said = said.filter(|name| Path::new(name).file_stem().is_some_and(|other| *other == *stem));
            let exact = said.filter(|name| names.contains(*name)).map(str::to_owned);
            let ending =
                || names.iter().find(|name| Path::new(name).file_stem().is_some_and(|other| *other == *stem)).cloned();
            exact.or_else(ending)
        };
        let by_stem = self.found.iter().find_map(|(folder, names)| Some(folder.join(same(names)?)));
        let by_name = || {
            let name = said?;
            self.found.iter().find(|(_, names)| names.contains(name)).map(|(folder, _)| folder.join(name))
        };
        let missing = || {
            let folder = self.found.first().map_or_else(|| root.to_owned(), |(folder, _)| folder.clone());
            folder.join(said.map_or_else(|| format!("{stem}.jpg"), str::to_owned))
        };
        let path = by_stem.or_else(by_name).unwrap_or_else(missing);
        let relative = relative_to(root, &path);
        Wanted { path, relative, size: annotation.size, split, named: (file.to_owned(), 1) }
    }
}
