//! Writing YOLO: `images/train/…` with `labels/train/…` and a `data.yaml`; without parts `images/`, `labels/` and
//! `obj.names`.

use std::fmt::Write as _;
use std::path::Path;

use crate::boxes::{DetectionSet, Object, Picture};
use crate::error::DataError;
use crate::layouts::Split;
use crate::layouts::written_folder::{Written, copy_picture, file_names, part_name, parts, publish, write_file};

/// Writes a data set into a new folder. Crowds are left out, since they would be learned as single objects.
///
/// # Errors
/// [`DataError::Layout`] where something is there already; [`DataError::Io`]; [`DataError::Write`].
pub fn write(set: &DetectionSet, folder: &Path) -> Result<Written, DataError> {
    publish(folder, |folder| {
        let mut notes = Vec::new();
        let (names, parts) = (file_names(set), parts(set, &mut notes));
        let count = |is: fn(&Object) -> bool| {
            set.pictures.iter().flat_map(|picture| &picture.objects).filter(|object| is(object)).count()
        };
        let (crowds, difficult) = (count(|object| object.is_crowd), count(|object| object.is_difficult));
        if crowds > 0 {
            notes.push(format!("{crowds} crowds, which YOLO cannot say, were left out"));
        }
        if difficult > 0 {
            notes.push(format!(
                "{difficult} boxes are marked as difficult, which YOLO cannot say: they are plain boxes"
            ));
        }
        for ((picture, name), part) in set.pictures.iter().zip(&names).zip(&parts) {
            let part = part.map_or("", part_name);
            let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
            copy_picture(&picture.path, &folder.join("images").join(part).join(name))?;
            write_file(&folder.join("labels").join(part).join(format!("{stem}.txt")), &labels(picture))?;
        }
        if parts.iter().all(Option::is_none) {
            let text: String = set.classes.iter().map(|name| format!("{}\n", one_line(name))).collect();
            write_file(&folder.join("obj.names"), &text)?;
        } else {
            write_file(&folder.join("data.yaml"), &description(set, &parts))?;
        }
        let boxes = set.counts().iter().sum::<usize>() - crowds;
        Ok(Written { pictures: set.pictures.len(), boxes, notes })
    })
}

/// The boxes of a picture. Numbers are written in full, so that they are read as the same boxes.
fn labels(picture: &Picture) -> String {
    let (width, height) = (f64::from(picture.width), f64::from(picture.height));
    let mut text = String::new();
    for object in picture.objects.iter().filter(|object| !object.is_crowd) {
        let (place, (x, y)) = (object.place, object.place.middle());
        let [x, y, w, h] = [x / width, y / height, place.width() / width, place.height() / height];
        let _ = writeln!(text, "{} {x} {y} {w} {h}", object.class);
    }
    text
}

/// Paths are from the file's own folder.
fn description(set: &DetectionSet, parts: &[Option<Split>]) -> String {
    let mut text = String::new();
    for part in [Split::Train, Split::Validation, Split::Test] {
        if parts.contains(&Some(part)) {
            let name = part_name(part);
            let _ = writeln!(text, "{name}: images/{name}");
        }
    }
    let _ = writeln!(text, "nc: {}\nnames:", set.classes.len());
    for (index, name) in set.classes.iter().enumerate() {
        // A JSON string is a YAML string.
        let _ = writeln!(text, "  {index}: {}", serde_json::Value::from(one_line(name)));
    }
    text
}

fn one_line(name: &str) -> String {
    name.chars().map(|letter| if letter.is_control() { '_' } else { letter }).collect()
}
