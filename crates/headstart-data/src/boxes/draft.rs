//! A set of pictures with boxes in the making: what layouts find goes in, and comes out checked.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{BoundingBox, DetectionSet, Object, Picture};
use crate::error::DataError;
use crate::image;
use crate::layouts::Split;
use crate::text::{Outcome, Problem};

/// A box may leave its picture by this many pixels without a word: that is rounding.
const ROUNDING: f64 = 0.5;

/// Where something stands: a file, and a line from 1.
pub(crate) type Place<'a> = (&'a Path, usize);

/// What a layout says of a picture before it was looked at.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Where it should be.
    pub(crate) path: PathBuf,
    /// Path within the data set, with `/`.
    pub(crate) relative: String,
    /// Width and height as annotated, if they are.
    pub(crate) size: Option<(u32, u32)>,
    pub(crate) split: Option<Split>,
    /// The file and the line that name it.
    pub(crate) named: (PathBuf, usize),
}

/// The set so far.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) classes: Vec<String>,
    pub(crate) notes: Vec<String>,
    problems: Vec<Problem>,
    pictures: Vec<Picture>,
    /// Boxes that were left out, and that were clipped.
    boxes: (usize, usize),
    left_out: usize,
    /// Picture, class, whether a crowd, and sides of every box.
    seen: HashSet<(usize, usize, bool, [u64; 4])>,
}

impl Draft {
    /// Notes a problem with something else than a box or a picture.
    pub(crate) fn problem(&mut self, (file, line): Place<'_>, what: impl Into<String>, outcome: Outcome) {
        self.problems.push(Problem { file: file.to_owned(), line, what: what.into(), outcome });
    }

    /// Leaves a picture out.
    pub(crate) fn skip_picture(&mut self, place: Place<'_>, what: impl Into<String>) {
        self.left_out += 1;
        self.problem(place, what, Outcome::Skipped);
    }

    /// Leaves a box out.
    pub(crate) fn skip_box(&mut self, place: Place<'_>, what: impl Into<String>) {
        self.boxes.0 += 1;
        self.problem(place, what, Outcome::Skipped);
    }

    /// The number of a class, which is added if it is new.
    pub(crate) fn class(&mut self, name: &str) -> usize {
        match self.classes.iter().position(|class| class == name) {
            Some(index) => index,
            None => {
                self.classes.push(name.to_owned());
                self.classes.len() - 1
            }
        }
    }

    /// Measures pictures and adds those that can be used; for each, its number or nothing.
    ///
    /// A picture that is missing, that cannot be read or that has another size than its annotation says is left out: its
    /// boxes would lie elsewhere.
    pub(crate) fn pictures(&mut self, wanted: Vec<Wanted>) -> Vec<Option<usize>> {
        let sizes: Vec<Result<(u32, u32), DataError>> =
            wanted.par_iter().map(|wanted| image::dimensions(&wanted.path)).collect();
        let mut numbers = Vec::with_capacity(wanted.len());
        for (wanted, size) in wanted.into_iter().zip(sizes) {
            let place = (wanted.named.0.as_path(), wanted.named.1);
            let shown = wanted.relative.escape_debug();
            let (width, height) = match size {
                Ok(size) => size,
                Err(DataError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    self.skip_picture(place, format!("picture `{shown}` is not there"));
                    numbers.push(None);
                    continue;
                }
                Err(DataError::Unreadable { reason, .. }) => {
                    self.skip_picture(place, format!("picture `{shown}`: {reason}"));
                    numbers.push(None);
                    continue;
                }
                Err(other) => {
                    self.skip_picture(place, format!("picture `{shown}`: {other}"));
                    numbers.push(None);
                    continue;
                }
            };
            if let Some((w, h)) = wanted.size
                && (w, h) != (width, height)
            {
                let turned = if (h, w) == (width, height) { ", so it was annotated on its side" } else { "" };
                let what = format!(
                    "picture `{shown}` is {width} × {height}, its annotation is for {w} × {h}{turned}: its boxes would lie elsewhere"
                );
                self.skip_picture(place, what);
                numbers.push(None);
                continue;
            }
            numbers.push(Some(self.pictures.len()));
            let Wanted { path, relative, split, .. } = wanted;
            self.pictures.push(Picture { path, relative, width, height, objects: Vec::new(), split });
        }
        numbers
    }

    /// Width and height of a picture.
    pub(crate) fn size(&self, picture: usize) -> (u32, u32) {
        (self.pictures[picture].width, self.pictures[picture].height)
    }

    /// Adds an object, clipped to its picture, if there is something of it and it is not there already.
    pub(crate) fn object(&mut self, picture: usize, place: Place<'_>, object: Object) {
        let Picture { width, height, .. } = self.pictures[picture];
        let checked = match check(&object.place, width, height) {
            Ok(checked) => checked,
            Err(what) => return self.skip_box(place, what),
        };
        let key = (picture, object.class, object.is_crowd, checked.place.sides().map(f64::to_bits));
        if !self.seen.insert(key) {
            return self.skip_box(place, "the same box of the same class stands there twice");
        }
        if checked.leaves {
            self.boxes.1 += 1;
            let what = format!("{} leaves the picture of {width} × {height}: clipped", shown(&object.place));
            self.problem(place, what, Outcome::Repaired);
        }
        self.pictures[picture].objects.push(Object { place: checked.place, ..object });
    }

    /// Puts the pictures in order and says how much was left out.
    ///
    /// # Errors
    /// [`DataError::Layout`] where no picture, no class or no box is left, with the first thing that went wrong.
    pub(crate) fn finish(mut self, layout: &'static str, root: &Path) -> Result<DetectionSet, DataError> {
        let boxes: usize = self.pictures.iter().map(|picture| picture.objects.len()).sum();
        if self.pictures.is_empty() || boxes == 0 {
            let first = self.problems.first().map_or_else(String::new, |problem| format!("; first: {problem}"));
            let what = if self.pictures.is_empty() { "picture" } else { "box" };
            return Err(DataError::Layout {
                path: root.to_owned(),
                reason: format!("no {what} of it can be used, {} problems were found{first}", self.problems.len()),
                help: "look at the first problem: most often the folder of the pictures is another one".to_owned(),
            });
        }
        self.pictures.sort_by(|a, b| a.relative.as_bytes().cmp(b.relative.as_bytes()));
        let mut tell = |count: usize, what: &str| {
            if count > 0 {
                self.notes.push(format!("{count} {what}"));
            }
        };
        tell(self.left_out, "pictures were left out");
        tell(self.boxes.0, "boxes were left out");
        tell(self.boxes.1, "boxes left their picture and were clipped");
        tell(self.pictures.iter().filter(|picture| picture.objects.is_empty()).count(), "pictures have no box");
        let objects = self.pictures.iter().flat_map(|picture| &picture.objects);
        let used: BTreeSet<usize> = objects.map(|object| object.class).collect();
        for (_, class) in self.classes.iter().enumerate().filter(|(index, _)| !used.contains(index)) {
            self.notes.push(format!("class `{}` has no box", class.escape_debug()));
        }
        let Self { classes, notes, problems, pictures, .. } = self;
        Ok(DetectionSet { layout, root: root.to_owned(), classes, pictures, notes, problems })
    }

    /// Puts the classes in the order of their names.
    pub(crate) fn sort_classes(&mut self) {
        let mut order: Vec<usize> = (0..self.classes.len()).collect();
        order.sort_by(|a, b| self.classes[*a].as_bytes().cmp(self.classes[*b].as_bytes()));
        let mut new = vec![0; order.len()];
        for (index, old) in order.iter().enumerate() {
            new[*old] = index;
        }
        self.classes = order.iter().map(|old| self.classes[*old].clone()).collect();
        for object in self.pictures.iter_mut().flat_map(|picture| &mut picture.objects) {
            object.class = new[object.class];
        }
    }
}

/// A box within its picture.
struct Checked {
    place: BoundingBox,
    /// Whether more than rounding was cut off.
    leaves: bool,
}

/// The part of a box that lies in its picture, or why there is none.
fn check(place: &BoundingBox, width: u32, height: u32) -> Result<Checked, String> {
    if !place.is_finite() {
        return Err("a side of the box is no finite number".to_owned());
    }
    if !place.has_area() {
        return Err(format!("{} has no area", shown(place)));
    }
    let whole = BoundingBox::of_picture(width, height);
    let clipped = place.intersection(&whole);
    if !clipped.has_area() {
        return Err(format!("{} lies outside of the picture of {width} × {height}", shown(place)));
    }
    let leaves = place.sides().iter().zip(clipped.sides()).any(|(side, cut)| (side - cut).abs() > ROUNDING);
    Ok(Checked { place: clipped, leaves })
}

/// A box for people.
fn shown(place: &BoundingBox) -> String {
    let [left, top, right, bottom] = place.sides();
    // Numbers of hundreds of digits would hide the message.
    let short = |side: f64| if side.abs() < 1e7 { format!("{side:.1}") } else { format!("{side:e}") };
    format!("the box {}, {} to {}, {}", short(left), short(top), short(right), short(bottom))
}
