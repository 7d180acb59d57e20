//! Reading a data set of label files; a line that is broken is named and left out.

use std::path::{Path, PathBuf};

use super::find::{self, Files, Found};
use super::labels::{self, Row};
use super::names::{self, MOST_CLASSES, NAMES, Names, Numbers};
use super::{LAYOUT, yaml};
use crate::boxes::draft::{Draft, Wanted};
use crate::boxes::{DetectionSet, Object};
use crate::error::DataError;
use crate::layouts::class_folders::sorted;
use crate::layouts::relative_to;
use crate::text::charset;

/// Files of a data set that are read.
const MOST_FILES: usize = 10_000_000;

/// Opens a folder, or the file that describes one.
pub(super) fn open(root: &Path) -> Result<DetectionSet, DataError> {
    let metadata = std::fs::metadata(root).map_err(|source| DataError::Io { path: root.to_owned(), source })?;
    let (home, description) = if metadata.is_dir() {
        (root.to_owned(), find::description(root))
    } else {
        let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        (parent.to_owned(), Some(root.to_owned()))
    };
    let mut draft = Draft::default();
    let values = match &description {
        Some(file) if find::is_yaml(file) => Some(yaml::read(file).map_err(|reason| DataError::Layout {
            path: file.clone(),
            reason,
            help: "it should say `train:`, `val:` and `names:`".to_owned(),
        })?),
        Some(file) => find::darknet_lists(file),
        None => None,
    };
    let described = description.as_deref().zip(values.as_ref());
    let files = Files::below(&home, MOST_FILES);
    let names = class_names(&home, described, &files)?;
    let found = find::pictures(&mut draft, &home, described, &files)?;
    for label in find::orphans(&home, &files) {
        draft.skip_picture((&label, 1), "its picture is not there");
    }
    let (rows, highest) = read_labels(&mut draft, &found)?;
    let numbers = match names {
        Some(names) => names::add(&mut draft, names),
        None => {
            draft.notes.push("no file names the classes: they are called by their numbers".to_owned());
            let count = highest.map_or(0, |highest| highest + 1);
            let all: Names = (0..count).map(|number| (number.to_string(), home.clone(), 1)).collect();
            names::add(&mut draft, all)
        }
    };
    if let Some((_, values)) = described
        && let Some(count) =
            values.get("nc").or_else(|| values.get("classes")).and_then(|value| value.texts().first().copied())
        && count.0.parse() != Ok(numbers.0.len())
    {
        draft.notes.push(format!("it speaks of {} classes and names {}: the names count", count.0, numbers.0.len()));
    }
    add_objects(&mut draft, &home, found, &rows, &numbers);
    draft.finish(LAYOUT.name, root)
}

/// The names of the classes, if any file gives them.
fn class_names(
    home: &Path,
    described: Option<(&Path, &yaml::Values)>,
    files: &Files,
) -> Result<Option<Names>, DataError> {
    if let Some((file, values)) = described
        && let Some(value) = values.get("names")
    {
        return match value {
            yaml::Value::Text(path, line) => match find::resolve(home, path).filter(|path| path.is_file()) {
                Some(path) => Ok(Some(names::of_file(&path)?)),
                None => Err(DataError::Layout {
                    path: file.to_owned(),
                    reason: format!("line {line}: the file of names `{}` is not in the data set", path.escape_debug()),
                    help: "put it beside the pictures, or write the names into the file".to_owned(),
                }),
            },
            value => Ok(Some(names::of_value(file, value)?)),
        };
    }
    let at_root = files.others.iter().find(|path| path.parent() == Some(home) && find::has_ending(path, "names"));
    let by_name = || {
        let is = |path: &PathBuf| {
            path.file_name().is_some_and(|name| NAMES.iter().any(|known| name.eq_ignore_ascii_case(known)))
        };
        let beside = home.join("labels");
        let places = [home.to_owned(), beside];
        places.iter().find_map(|folder| sorted(folder).unwrap_or_default().into_iter().find(is))
    };
    match at_root.cloned().or_else(by_name) {
        Some(file) => Ok(Some(names::of_file(&file)?)),
        None => Ok(None),
    }
}

/// The boxes of a picture: the file, and each row with its line.
type Rows = Option<(PathBuf, Vec<(usize, Row)>)>;

/// Reads the label file of every picture; with it the highest number of a class.
fn read_labels(draft: &mut Draft, found: &[Found]) -> Result<(Vec<Rows>, Option<usize>), DataError> {
    let (mut rows, mut highest, mut without) = (Vec::with_capacity(found.len()), None, 0);
    for picture in found {
        let Some(label) = labels::of_picture(&picture.path).into_iter().find(|label| label.is_file()) else {
            without += usize::from(picture.path.is_file());
            rows.push(None);
            continue;
        };
        let read = match charset::read(&label) {
            Ok(read) => read,
            Err(error) => {
                let what = match error {
                    DataError::Layout { reason, .. } => reason,
                    other => other.to_string(),
                };
                draft.skip_box((&label, 1), what);
                rows.push(None);
                continue;
            }
        };
        let mut of_picture = Vec::new();
        for (index, line) in String::from_utf8_lossy(&read.bytes).lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            match labels::row(line) {
                Ok(row) => {
                    if row.class < MOST_CLASSES {
                        highest = highest.max(Some(row.class));
                    }
                    of_picture.push((index + 1, row));
                }
                Err(what) => draft.skip_box((&label, index + 1), what),
            }
        }
        rows.push(Some((label, of_picture)));
    }
    if without > 0 {
        draft
            .notes
            .push(format!("{without} pictures have no label file: they are taken for pictures without an object"));
    }
    Ok((rows, highest))
}

/// Measures the pictures and adds their boxes.
fn add_objects(draft: &mut Draft, home: &Path, found: Vec<Found>, rows: &[Rows], numbers: &Numbers) {
    let wanted = found.into_iter().map(|Found { path, split, named }| {
        let relative = relative_to(home, &path);
        Wanted { path, relative, size: None, split, named }
    });
    let pictures = draft.pictures(wanted.collect());
    for (picture, rows) in pictures.into_iter().zip(rows) {
        let (Some(picture), Some((label, rows))) = (picture, rows) else { continue };
        for (line, row) in rows {
            match numbers.0.get(row.class) {
                Some(class) => {
                    let place = row.place(draft.size(picture));
                    draft.object(picture, (label, *line), Object::new(*class, place));
                }
                None => {
                    let what = format!("class {} is not named: there are {}", row.class, numbers.0.len());
                    draft.skip_box((label, *line), what);
                }
            }
        }
    }
}
