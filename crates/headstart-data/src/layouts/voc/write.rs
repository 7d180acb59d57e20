//! Writing Pascal VOC: `Annotations/`, `JPEGImages/` and, where the set has parts, `ImageSets/Main/`.

use std::fmt::Write as _;
use std::path::Path;

use crate::boxes::{DetectionSet, Object, Picture};
use crate::error::DataError;
use crate::layouts::Split;
use crate::layouts::written_folder::{Written, copy_picture, file_names, part_name, parts, publish, write_file};

/// Writes a data set into a new folder. Sides that lie between pixels are written with their fractions.
///
/// # Errors
/// [`DataError::Layout`] where something is there already; [`DataError::Io`]; [`DataError::Write`].
pub fn write(set: &DetectionSet, folder: &Path) -> Result<Written, DataError> {
    publish(folder, |folder| {
        let mut notes = Vec::new();
        let (names, parts) = (file_names(set), parts(set, &mut notes));
        let crowds = set.pictures.iter().flat_map(|picture| &picture.objects).filter(|object| object.is_crowd).count();
        if crowds > 0 {
            notes.push(format!("{crowds} crowds, which Pascal VOC cannot say, are written as difficult boxes"));
        }
        let mut boxes = 0;
        for (picture, name) in set.pictures.iter().zip(&names) {
            boxes += picture.objects.len();
            copy_picture(&picture.path, &folder.join("JPEGImages").join(name))?;
            let file = folder.join("Annotations").join(format!("{}.xml", stem(name)));
            write_file(&file, &annotation(set, picture, name))?;
        }
        for part in [Split::Train, Split::Validation, Split::Test] {
            let listed = names.iter().zip(&parts).filter(|(_, split)| **split == Some(part));
            let lines: String = listed.map(|(name, _)| format!("{}\n", stem(name))).collect();
            if parts.iter().any(Option::is_some) {
                let list = format!("{}.txt", part_name(part));
                write_file(&folder.join("ImageSets/Main").join(list), &lines)?;
            }
        }
        Ok(Written { pictures: set.pictures.len(), boxes, notes })
    })
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

fn annotation(set: &DetectionSet, picture: &Picture, name: &str) -> String {
    let (width, height) = (picture.width, picture.height);
    let mut text = format!(
        "<annotation>\n\t<folder>JPEGImages</folder>\n\t<filename>{}</filename>\n\t<size>\n\t\t<width>{width}</width>\n\t\t\
         <height>{height}</height>\n\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>\n",
        escaped(name)
    );
    for object in &picture.objects {
        let Object { place, is_crowd, is_difficult, is_truncated, .. } = object;
        // Pixels from 1, ends included.
        let sides =
            [("xmin", place.left + 1.0), ("ymin", place.top + 1.0), ("xmax", place.right), ("ymax", place.bottom)];
        let sides: String = sides.iter().map(|(name, side)| format!("\t\t\t<{name}>{side}</{name}>\n")).collect();
        let _ = write!(
            text,
            "\t<object>\n\t\t<name>{}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>{}</truncated>\n\t\t\
             <difficult>{}</difficult>\n\t\t<bndbox>\n{sides}\t\t</bndbox>\n\t</object>\n",
            escaped(&set.classes[object.class]),
            u8::from(*is_truncated),
            u8::from(*is_difficult || *is_crowd),
        );
    }
    text.push_str("</annotation>\n");
    text
}

/// Text as XML may hold it; of control characters, it may hold none.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => safe.push('_'),
            letter => safe.push(letter),
        }
    }
    safe
}
