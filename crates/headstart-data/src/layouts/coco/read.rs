//! Reading COCO files, record by record: a broken record is named and left out, the others are used.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::LAYOUT;
use super::find::{Annotations, Finder, annotations};
use super::json::{AnnotationRecord, CategoryRecord, ImageRecord, Lines, Lists, id, without_nan};
use crate::boxes::draft::{Draft, Wanted};
use crate::boxes::{BoundingBox, DetectionSet, Object};
use crate::error::DataError;
use crate::text::{Outcome, charset};

const EXPECTED: &str = "a COCO file is one JSON object with the lists `images`, `annotations` and `categories`";

/// Opens a file, or a folder of files.
pub(super) fn open(root: &Path) -> Result<DetectionSet, DataError> {
    std::fs::metadata(root).map_err(|source| DataError::Io { path: root.to_owned(), source })?;
    let (files, notes) = annotations(root);
    if files.is_empty() {
        let (reason, help) = ("no file in it is one of COCO".to_owned(), EXPECTED.to_owned());
        return Err(DataError::Layout { path: root.to_owned(), reason, help });
    }
    let mut draft = Draft::default();
    draft.notes.extend(notes);
    let mut listed = HashMap::new();
    for file in &files {
        let read = charset::read(&file.path)?;
        draft.notes.extend(read.note);
        let text = String::from_utf8_lossy(&read.bytes);
        add_file(&mut draft, root, file, &text, &mut listed)?;
    }
    draft.finish(LAYOUT.name, root)
}

/// Adds what one file says; `listed` knows the pictures of those before.
fn add_file(
    draft: &mut Draft,
    root: &Path,
    file: &Annotations,
    text: &str,
    listed: &mut HashMap<String, Option<usize>>,
) -> Result<(), DataError> {
    let path = file.path.as_path();
    let replaced = without_nan(text);
    let text = replaced.as_deref().unwrap_or(text);
    let lists: Lists<'_> = serde_json::from_str(text).map_err(|error| DataError::Layout {
        path: path.to_owned(),
        reason: format!("it cannot be read: {error}"),
        help: EXPECTED.to_owned(),
    })?;
    let Some(records) = lists.annotations else {
        draft.notes.push(format!("`{}` has no annotations: it was left out", path.display()));
        return Ok(());
    };
    let mut lines = Lines::of(text);
    let classes = classes(draft, path, lists.categories.unwrap_or_default(), &mut lines);
    let pictures = pictures(draft, root, file, lists.images.unwrap_or_default(), &mut lines, listed);
    let mut ids = HashSet::new();
    for record in records {
        let place = (path, lines.line(record.get()));
        let record: AnnotationRecord = match serde_json::from_str(record.get()) {
            Ok(record) => record,
            Err(error) => {
                draft.skip_box(place, format!("an annotation cannot be read: {}", reason(&error)));
                continue;
            }
        };
        let called = id(&record.id).map_or_else(|| "an annotation".to_owned(), |id| format!("annotation {id}"));
        let picture = match id(&record.image_id).and_then(|id| pictures.get(&id)) {
            Some(Some(picture)) => *picture,
            Some(None) => {
                draft.skip_box(place, format!("{called} is of a picture that was left out"));
                continue;
            }
            None => {
                draft.skip_box(place, format!("{called} is of picture {}, which is not listed", record.image_id));
                continue;
            }
        };
        let Some(&class) = id(&record.category_id).and_then(|id| classes.get(&id)) else {
            draft.skip_box(place, format!("{called} has class {}, which is not listed", record.category_id));
            continue;
        };
        let sides: Option<Vec<f64>> = record.bbox.as_ref().and_then(|sides| sides.iter().copied().collect());
        let Some(&[left, top, width, height]) = sides.as_deref() else {
            draft.skip_box(place, format!("{called} has no box of four numbers"));
            continue;
        };
        if let Some(id) = id(&record.id)
            && !ids.insert(id)
        {
            draft.problem(place, format!("{called} stands there twice: both are used"), Outcome::Repaired);
        }
        let is_crowd = match &record.iscrowd {
            serde_json::Value::Bool(is_crowd) => *is_crowd,
            other => other.as_f64().is_some_and(|number| number != 0.0),
        };
        let area = record.area.filter(|area| area.is_finite() && *area >= 0.0);
        let bounds = BoundingBox::new(left, top, left + width, top + height);
        draft.object(picture, place, Object { area, is_crowd, ..Object::new(class, bounds) });
    }
    Ok(())
}

/// The classes by their id.
fn classes(
    draft: &mut Draft,
    path: &Path,
    records: Vec<&serde_json::value::RawValue>,
    lines: &mut Lines<'_>,
) -> HashMap<String, usize> {
    let mut found: Vec<(String, String, usize)> = Vec::new();
    for record in records {
        let line = lines.line(record.get());
        match serde_json::from_str::<CategoryRecord>(record.get()) {
            Ok(record) if !record.name.trim().is_empty() && id(&record.id).is_some() => {
                found.push((id(&record.id).unwrap_or_default(), record.name.trim().to_owned(), line));
            }
            Ok(_) => draft.problem((path, line), "a class has no id or no name", Outcome::Skipped),
            Err(error) => {
                draft.problem((path, line), format!("a class cannot be read: {}", reason(&error)), Outcome::Skipped)
            }
        }
    }
    // The order of numbers, and gaps closed.
    found.sort_by_key(|(id, _, line)| (id.parse::<i64>().unwrap_or(i64::MAX), id.clone(), *line));
    let (mut classes, mut names) = (HashMap::new(), HashSet::new());
    for (id, name, line) in found {
        if classes.contains_key(&id) {
            let what = format!("class {id} stands there twice: `{}` was left out", name.escape_debug());
            draft.problem((path, line), what, Outcome::Skipped);
            continue;
        }
        if !names.insert(name.clone()) {
            let what = format!("class `{}` has two ids: they are one class", name.escape_debug());
            draft.problem((path, line), what, Outcome::Repaired);
        }
        let class = draft.class(&name);
        classes.insert(id, class);
    }
    classes
}

/// The pictures by their id; nothing for those that cannot be used.
fn pictures(
    draft: &mut Draft,
    root: &Path,
    file: &Annotations,
    records: Vec<&serde_json::value::RawValue>,
    lines: &mut Lines<'_>,
    listed: &mut HashMap<String, Option<usize>>,
) -> HashMap<String, Option<usize>> {
    let path = file.path.as_path();
    let mut finder = Finder::new(root, path);
    let (mut wanted, mut names) = (Vec::new(), Vec::new());
    let mut by_id: HashMap<String, Option<usize>> = HashMap::new();
    let mut of_this_file: HashMap<String, usize> = HashMap::new();
    for record in records {
        let place = (path, lines.line(record.get()));
        let record: ImageRecord = match serde_json::from_str(record.get()) {
            Ok(record) => record,
            Err(error) => {
                draft.skip_picture(place, format!("a picture's record cannot be read: {}", reason(&error)));
                continue;
            }
        };
        let Some(id) = id(&record.id) else {
            draft.skip_picture(place, format!("picture `{}` has no id", record.file_name.escape_debug()));
            continue;
        };
        if by_id.contains_key(&id) {
            let what = format!("picture {id} stands there twice: `{}` was left out", record.file_name.escape_debug());
            draft.skip_picture(place, what);
            continue;
        }
        let (picture, relative) = match finder.find(&record.file_name) {
            Ok(found) => found,
            Err(what) => {
                draft.skip_picture(place, what);
                by_id.insert(id, None);
                continue;
            }
        };
        if listed.contains_key(&relative) {
            draft.skip_picture(place, format!("picture `{relative}` is in another file too, which came first"));
            by_id.insert(id, None);
            continue;
        }
        if let Some(first) = of_this_file.get(&relative) {
            let what = format!("picture `{}` has two ids: their boxes are joined", relative.escape_debug());
            draft.problem(place, what, Outcome::Repaired);
            by_id.insert(id, Some(*first));
            continue;
        }
        of_this_file.insert(relative.clone(), wanted.len());
        by_id.insert(id, Some(wanted.len()));
        names.push(relative.clone());
        let size = whole(record.width).zip(whole(record.height));
        let named = (path.to_owned(), place.1);
        wanted.push(Wanted { path: picture, relative, size, split: file.split, named });
    }
    let numbers = draft.pictures(wanted);
    listed.extend(names.into_iter().zip(&numbers).map(|(name, number)| (name, *number)));
    by_id.into_iter().map(|(id, index)| (id, index.and_then(|index| numbers[index]))).collect()
}

/// A size, if one is said: some tools write 0.
fn whole(size: Option<f64>) -> Option<u32> {
    size.filter(|size| (1.0..=1e9).contains(size)).map(|size| size.round() as u32)
}

/// Why a record cannot be read; the place within the record would be taken for one in the file.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}
