//! What the classes of a data set are called: in `data.yaml`, `*.names`, `classes.txt`.

use std::path::{Path, PathBuf};

use super::yaml::Value;
use crate::boxes::draft::Draft;
use crate::error::DataError;
use crate::text::{Outcome, charset};

/// What files of class names are called beside `*.names`.
pub(super) const NAMES: [&str; 3] = ["classes.txt", "labels.txt", "obj.names"];

/// Most classes: the largest list in use has 9,418.
pub(super) const MOST_CLASSES: usize = 10_000;

/// Numbers in label files → classes of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbers(pub(super) Vec<usize>);

/// Names in the order of their numbers, with the file and line of each.
pub(super) type Names = Vec<(String, PathBuf, usize)>;

/// The names that `data.yaml` gives: a list, or numbers with names.
///
/// # Errors
/// [`DataError::Layout`] for a number that is none.
pub(super) fn of_value(file: &Path, value: &Value) -> Result<Names, DataError> {
    let named = |text: &str, line: usize| (text.trim().to_owned(), file.to_owned(), line);
    let Value::Map(items) = value else {
        return Ok(value.texts().into_iter().map(|(text, line)| named(text, line)).collect());
    };
    let mut names: Names = Vec::new();
    for (key, text, line) in items {
        let Some(number) = key.parse::<usize>().ok().filter(|number| *number < MOST_CLASSES) else {
            return Err(DataError::Layout {
                path: file.to_owned(),
                reason: format!("line {line}: class `{}` has no number below {MOST_CLASSES}", key.escape_debug()),
                help: "write the names as a list, or as numbers from 0 with their names".to_owned(),
            });
        };
        while names.len() <= number {
            names.push((String::new(), file.to_owned(), *line));
        }
        names[number] = named(text, *line);
    }
    Ok(names)
}

/// The names of a file, one a line.
///
/// # Errors
/// [`DataError::Io`]; [`DataError::Layout`] where it is no text.
pub(super) fn of_file(path: &Path) -> Result<Names, DataError> {
    let read = charset::read(path)?;
    let text = String::from_utf8_lossy(&read.bytes);
    let lines = text.lines().enumerate().take(MOST_CLASSES);
    let mut names: Names = lines.map(|(index, line)| (line.trim().to_owned(), path.to_owned(), index + 1)).collect();
    while names.last().is_some_and(|(name, ..)| name.is_empty()) {
        names.pop();
    }
    Ok(names)
}

/// Adds the classes to the set. One without a name is called by its number; two of one name are one class.
pub(super) fn add(draft: &mut Draft, names: Names) -> Numbers {
    let mut numbers = Vec::with_capacity(names.len());
    for (number, (name, file, line)) in names.into_iter().enumerate() {
        let name = if name.is_empty() { number.to_string() } else { name };
        if draft.classes.contains(&name) {
            let what = format!("`{}` is the name of two classes: they are one", name.escape_debug());
            draft.problem((&file, line), what, Outcome::Repaired);
        }
        numbers.push(draft.class(&name));
    }
    Numbers(numbers)
}
