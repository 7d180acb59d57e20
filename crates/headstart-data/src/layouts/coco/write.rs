//! Writing COCO: `annotations/instances_train.json` and its like, pictures in `images/`.

use std::path::Path;

use serde_json::json;

use crate::boxes::DetectionSet;
use crate::error::DataError;
use crate::layouts::Split;
use crate::layouts::written_folder::{Written, copy_picture, file_names, part_name, parts, publish, write_file};

/// Writes a data set into a new folder, a record a line. Classes are numbered from 1 in their order.
///
/// # Errors
/// [`DataError::Layout`] where something is there already; [`DataError::Io`]; [`DataError::Write`].
pub fn write(set: &DetectionSet, folder: &Path) -> Result<Written, DataError> {
    publish(folder, |folder| {
        let mut notes = Vec::new();
        let (names, parts) = (file_names(set), parts(set, &mut notes));
        let difficult = set.pictures.iter().flat_map(|picture| &picture.objects).filter(|object| object.is_difficult);
        let difficult = difficult.count();
        if difficult > 0 {
            notes.push(format!(
                "{difficult} boxes are marked as difficult, which COCO cannot say: they are plain boxes"
            ));
        }
        let mut boxes = 0;
        for part in [None, Some(Split::Train), Some(Split::Validation), Some(Split::Test)] {
            let (mut images, mut annotations) = (Vec::new(), Vec::new());
            for (index, picture) in set.pictures.iter().enumerate().filter(|(index, _)| parts[*index] == part) {
                let image = index + 1;
                let (name, width, height) = (&names[index], picture.width, picture.height);
                images.push(json!({"id": image, "file_name": name, "width": width, "height": height}).to_string());
                copy_picture(&picture.path, &folder.join("images").join(name))?;
                for object in &picture.objects {
                    boxes += 1;
                    let place = object.place;
                    let record = json!({
                        "id": boxes,
                        "image_id": image,
                        "category_id": object.class + 1,
                        "bbox": [place.left, place.top, place.width(), place.height()],
                        "area": object.area.unwrap_or_else(|| place.area()),
                        "iscrowd": u8::from(object.is_crowd),
                    });
                    annotations.push(record.to_string());
                }
            }
            if images.is_empty() {
                continue;
            }
            let category = |(index, name): (usize, &String)| json!({"id": index + 1, "name": name}).to_string();
            let categories: Vec<String> = set.classes.iter().enumerate().map(category).collect();
            let list = |records: &[String]| format!("[\n{}\n]", records.join(",\n"));
            let text = format!(
                "{{\"images\": {},\n\"annotations\": {},\n\"categories\": {}}}\n",
                list(&images),
                list(&annotations),
                list(&categories)
            );
            let file =
                part.map_or_else(|| "instances.json".to_owned(), |part| format!("instances_{}.json", part_name(part)));
            write_file(&folder.join("annotations").join(file), &text)?;
        }
        Ok(Written { pictures: set.pictures.len(), boxes, notes })
    })
}
