//! The lines of a label file.

use std::path::{Path, PathBuf};

use crate::boxes::BoundingBox;

/// A line that is a box: the number of its class, and its middle and size in parts of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Row {
    pub(super) class: usize,
    place: [f64; 4],
}

impl Row {
    /// The box in pixels of its picture.
    pub(super) fn place(&self, (width, height): (u32, u32)) -> BoundingBox {
        let [x, y, w, h] = self.place;
        BoundingBox::about(x, y, w, h).scaled(f64::from(width), f64::from(height))
    }
}

/// Reads a line.
///
/// # Errors
/// What is wrong with it.
pub(super) fn row(line: &str) -> Result<Row, String> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let &[class, x, y, w, h] = columns.as_slice() else {
        let hint = match columns.len() {
            6 => ": a prediction with its score?",
            count if count > 6 && count % 2 == 1 => ": an outline?",
            _ => "",
        };
        return Err(format!("{} columns; `class x y width height` were expected{hint}", columns.len()));
    };
    let shown = |text: &str| text.chars().take(40).collect::<String>().escape_debug().to_string();
    let class = class.parse().map_err(|_| format!("class `{}` is no number from 0", shown(class)))?;
    let mut place = [0.0_f64; 4];
    for (side, text) in place.iter_mut().zip([x, y, w, h]) {
        *side = text.parse().map_err(|_| format!("`{}` is no number", shown(text)))?;
    }
    // Middles far outside of the picture are pixels, which would be clipped away one by one.
    if place.iter().all(|side| side.is_finite()) && place.iter().any(|side| side.abs() > 2.0) {
        return Err("numbers above 1: parts of the picture were expected, not pixels".to_owned());
    }
    Ok(Row { class, place })
}

/// Whether a file begins with a line that looks like a box.
pub(super) fn looks_like(head: &str) -> bool {
    let first = head.lines().map(str::trim).find(|line| !line.is_empty());
    first.is_some_and(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns.len() >= 5
            && columns[0].parse::<u32>().is_ok()
            && columns[1..].iter().all(|text| text.parse::<f64>().is_ok())
    })
}

/// Where the labels of a picture are: in `labels` beside `images`, else beside the picture.
pub(super) fn of_picture(picture: &Path) -> Vec<PathBuf> {
    let beside = picture.with_extension("txt");
    let parts: Vec<_> = beside.iter().collect();
    let images = parts.iter().rposition(|part| part.eq_ignore_ascii_case("images"));
    let moved = images.map(|at| {
        let renamed = parts.iter().enumerate().map(|(index, part)| if index == at { "labels".as_ref() } else { *part });
        renamed.collect::<PathBuf>()
    });
    moved.into_iter().chain([beside]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_no_boxes_say_why() {
        let wrong = |line: &str| row(line).unwrap_err();
        assert!(wrong("0 0.1 0.1 0.1").starts_with("4 columns"));
        assert!(wrong("0 0.1 0.1 0.1 0.1 0.9").contains("score"));
        assert!(wrong("0 0.1 0.1 0.2 0.1 0.2 0.3").contains("outline"));
        assert!(wrong("-1 0.1 0.1 0.1 0.1").contains("class `-1`"));
        assert!(wrong("1.0 0.1 0.1 0.1 0.1").contains("class `1.0`"));
        assert!(wrong("0 0.1 0,1 0.1 0.1").contains("`0,1` is no number"));
        assert!(wrong("0 120 80 20 10").contains("pixels"));
        assert!(!row("0 nan 0.5 0.1 0.1").unwrap().place((10, 10)).is_finite());
        assert_eq!(row(" 2\t0.5 0.5 0.5 1 ").unwrap().place((8, 4)), BoundingBox::new(2.0, 0.0, 6.0, 4.0));
    }

    #[test]
    fn labels_lie_beside_the_last_folder_of_images() {
        let found = of_picture(Path::new("images/x/images/train/a.b.jpg"));
        assert_eq!(found, [Path::new("images/x/labels/train/a.b.txt"), Path::new("images/x/images/train/a.b.txt")]);
        assert_eq!(of_picture(Path::new("a.jpg")), [Path::new("a.txt")]);
    }
}
