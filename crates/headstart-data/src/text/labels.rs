//! What stands in a label cell: a class, several labels with a separator, a list, or a 0/1 flag.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::table::Cell;
use super::{TargetKind, TextOptions};
use crate::error::DataError;

/// How label cells are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// One class a cell.
    Class,
    /// A list a cell, JSON or as Python writes it.
    Lists,
    /// Labels with this between them.
    Separated(char),
    /// A column a label, with 0 or 1.
    Flags,
    /// There are no labels.
    Nothing,
}

/// A reading, and what to say of it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) reading: Reading,
    pub(crate) note: Option<String>,
}

/// Separators that are guessed.
const SEPARATORS: [char; 2] = ['|', ';'];

/// Columns whose very name says that there may be several labels.
const PLURALS: [&str; 6] = ["labels", "tags", "categories", "genres", "topics", "classes"];

impl Reading {
    /// Finds how the cells of the column `name` are to be read; `options` decide first.
    ///
    /// # Errors
    /// [`DataError::Layout`] where the cells are fractions, or every row has a label of its own.
    pub(crate) fn find(path: &Path, name: &str, cells: &[&Cell], options: &TextOptions) -> Result<Found, DataError> {
        let told = |reading| Ok(Found { reading, note: None });
        if let Some(separator) = options.label_separator {
            return told(Self::Separated(separator));
        }
        let texts: BTreeMap<&str, usize> =
            cells.iter().filter_map(|cell| cell.text()).map(str::trim).fold(BTreeMap::new(), |mut counts, text| {
                *counts.entry(text).or_default() += 1;
                counts
            });
        let has_lists = cells.iter().any(|cell| matches!(cell, Cell::List(_)));
        let filled = || texts.keys().filter(|text| !text.is_empty());
        let written_lists = filled().count() > 0 && filled().all(|text| list(text).is_some());
        let found = if options.target == Some(TargetKind::Class) {
            Self::Class
        } else if has_lists || written_lists {
            Self::Lists
        } else if let Some(separator) = separator(name, &texts, options.target == Some(TargetKind::Labels)) {
            let note = format!("column `{name}` holds several labels with `{separator}` between them");
            return Ok(Found { reading: Self::Separated(separator), note: Some(note) });
        } else if options.target == Some(TargetKind::Labels) {
            // One label each so far, and nothing that could stand between two.
            Self::Separated('|')
        } else {
            Self::Class
        };
        match found {
            Self::Class => refuse_values(path, name, &texts)?,
            Self::Lists => {
                return Ok(Found { reading: found, note: Some(format!("column `{name}` holds lists of labels")) });
            }
            _ => {}
        }
        told(found)
    }

    /// The class in a cell.
    pub(crate) fn class(cell: &Cell) -> Result<String, String> {
        match cell {
            Cell::Text(text) if text.trim().is_empty() => Err("the label is empty".to_owned()),
            Cell::Missing => Err("there is no label".to_owned()),
            Cell::Text(text) => Ok(text.trim().to_owned()),
            Cell::List(labels) => match labels.as_slice() {
                [only] => Ok(only.trim().to_owned()),
                _ => Err(format!("there are {} labels, one class was expected", labels.len())),
            },
        }
    }

    /// The labels in a cell; none is no error.
    pub(crate) fn labels(self, cell: &Cell) -> Result<Vec<String>, String> {
        let text = match cell {
            Cell::Missing => return Ok(Vec::new()),
            Cell::List(labels) => return clean(labels.iter().map(String::as_str)),
            Cell::Text(text) => text.trim(),
        };
        match self {
            _ if text.is_empty() => Ok(Vec::new()),
            Self::Lists => match list(text) {
                Some(labels) => clean(labels.iter().map(String::as_str)),
                None => Err(format!("`{}` is no list of labels", short(text))),
            },
            Self::Separated(separator) => clean(text.split(separator)),
            Self::Class | Self::Flags | Self::Nothing => clean(std::iter::once(text)),
        }
    }

    /// The names of the columns whose cell says yes.
    pub(crate) fn flags<'a>(cells: impl Iterator<Item = (&'a Cell, &'a str)>) -> Result<Vec<String>, String> {
        let mut labels = Vec::new();
        for (cell, name) in cells {
            match flag(cell) {
                Some(true) => labels.push(name.to_owned()),
                Some(false) => {}
                None => return Err(format!("column `{name}` holds `{}`, 0 or 1 was expected", shown(cell))),
            }
        }
        Ok(labels)
    }
}

/// Yes or no, as 0/1 columns write it.
pub(crate) fn flag(cell: &Cell) -> Option<bool> {
    match cell.text()?.trim() {
        "1" | "1.0" | "true" | "True" | "TRUE" => Some(true),
        "0" | "0.0" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Labels without the space around them; an empty one is a slip.
fn clean<'a>(labels: impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
    let labels: Vec<String> = labels.map(|label| label.trim().to_owned()).collect();
    if labels.iter().any(String::is_empty) { Err("one of the labels is empty".to_owned()) } else { Ok(labels) }
}

/// `["a", "b"]`, or `['a', 'b']` as Python writes it.
fn list(text: &str) -> Option<Vec<String>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    if let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) {
        return values.iter().map(scalar).collect();
    }
    let (mut labels, mut rest) = (Vec::new(), inner.trim());
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|quote| matches!(quote, '\'' | '"'));
        let (label, after) = match quote {
            Some(quote) => rest[1..].split_once(quote)?,
            None => rest.split_at(rest.find(',').unwrap_or(rest.len())),
        };
        labels.push(label.trim().to_owned());
        rest = after.trim_start();
        if let Some(next) = rest.strip_prefix(',') {
            rest = next.trim_start();
        } else if !rest.is_empty() {
            return None;
        }
    }
    Some(labels)
}

/// A JSON value that can stand for a label or a text.
pub(crate) fn scalar(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(yes) => Some(yes.to_string()),
        _ => None,
    }
}

/// The separator of cells with several labels: cells have it, no part is empty, and either the column's name is a
/// plural or the parts are met again in other cells, so that there are fewer parts than cells.
fn separator(name: &str, texts: &BTreeMap<&str, usize>, wanted: bool) -> Option<char> {
    let plural = wanted || PLURALS.contains(&name.trim().to_lowercase().as_str());
    let candidates = if plural { [SEPARATORS.as_slice(), &[',']].concat() } else { SEPARATORS.to_vec() };
    candidates.into_iter().find(|separator| {
        let filled: Vec<&str> = texts.keys().copied().filter(|text| !text.is_empty()).collect();
        let parts: BTreeSet<&str> = filled.iter().flat_map(|text| text.split(*separator)).map(str::trim).collect();
        let any = filled.iter().any(|text| text.contains(*separator));
        any && !parts.contains("") && (plural || parts.len() < filled.len())
    })
}

/// Classes are met again and again; measurements and free text are not.
fn refuse_values(path: &Path, name: &str, texts: &BTreeMap<&str, usize>) -> Result<(), DataError> {
    const FEW: usize = 20;
    let refuse = |reason: String| {
        let help = "name the column of the labels with --label-column".to_owned();
        Err(DataError::Layout { path: path.to_owned(), reason, help })
    };
    let rows: usize = texts.values().sum();
    let number = |text: &&&str| text.parse::<f64>().is_ok_and(|value| value.fract() != 0.0);
    if texts.len() > FEW && texts.keys().filter(number).count() * 2 > texts.len() {
        return refuse(format!("column `{name}` holds numbers with fractions, which are no classes"));
    }
    if texts.len() > FEW && texts.len() == rows {
        return refuse(format!("column `{name}` holds {rows} different values in {rows} rows, which are no classes"));
    }
    Ok(())
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Missing => "nothing".to_owned(),
        Cell::Text(text) => short(text),
        Cell::List(_) => "a list".to_owned(),
    }
}

/// Enough of a text to find it again.
pub(crate) fn short(text: &str) -> String {
    const SHOWN: usize = 40;
    let plain: String = text.chars().take(SHOWN).map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if text.chars().nth(SHOWN).is_some() { format!("{plain}…") } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, cells: &[&str]) -> Reading {
        let cells: Vec<Cell> = cells.iter().map(|text| Cell::Text((*text).to_owned())).collect();
        let cells: Vec<&Cell> = cells.iter().collect();
        Reading::find(Path::new("x"), name, &cells, &TextOptions::default()).unwrap().reading
    }

    #[test]
    fn lists_are_read_in_both_spellings() {
        let ab = Some(vec!["a".to_owned(), "b, c".to_owned()]);
        assert_eq!(list(r#"["a", "b, c"]"#), ab);
        assert_eq!(list("['a', 'b, c']"), ab);
        assert_eq!(list("[1, 2]"), Some(vec!["1".to_owned(), "2".to_owned()]));
        assert_eq!(list("[]"), Some(Vec::new()));
        for broken in ["[", "]", "['a'", "['a' 'b']", "[[1]]", "a", "['"] {
            assert_eq!(list(broken), None, "{broken}");
        }
    }

    #[test]
    fn several_labels_are_told_from_classes_with_a_bar_in_their_name() {
        assert_eq!(found("label", &["a|b", "a", "b", "a|b", "b|a"]), Reading::Separated('|'));
        assert_eq!(found("genres", &["drama; war", "drama"]), Reading::Separated(';'));
        assert_eq!(found("label", &["and|or", "not", "and|or", "not"]), Reading::Class);
        assert_eq!(found("label", &["[]", "['a']", "['a', 'b']"]), Reading::Lists);
    }

    #[test]
    fn an_empty_class_is_a_slip_and_an_empty_list_is_none() {
        assert!(Reading::class(&Cell::Text("  ".to_owned())).is_err());
        assert_eq!(Reading::Separated('|').labels(&Cell::Text(String::new())).unwrap(), Vec::<String>::new());
        assert!(Reading::Separated('|').labels(&Cell::Text("a||b".to_owned())).is_err());
    }
}
