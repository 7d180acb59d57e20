//! `data.yaml`: where the pictures of each part are, and what the classes are called.

use std::collections::BTreeMap;
use std::path::Path;

use yaml_rust2::parser::{Event, Parser};

/// Longest file in bytes; a thousand class names have 20 KiB.
const LONGEST: u64 = 1 << 20;

/// A value directly in the file, with its line. What lies deeper is passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String, usize),
    List(Vec<(String, usize)>),
    Map(Vec<(String, String, usize)>),
}

/// The values of a file by their key.
pub(super) type Values = BTreeMap<String, Value>;

/// Reads a file.
///
/// # Errors
/// What is wrong, with its line.
pub(super) fn read(path: &Path) -> Result<Values, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > LONGEST {
        return Err(format!("it has {length} bytes; {LONGEST} are the most that are read"));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    parse(&String::from_utf8_lossy(&bytes))
}

/// What is being put together.
enum Open {
    List(Vec<(String, usize)>),
    Map(Vec<(String, String, usize)>, Option<String>),
}

/// Follows the events of the parser, which knows no recursion; references to other parts of the file are passed over, so
/// nothing grows.
fn parse(text: &str) -> Result<Values, String> {
    let mut parser = Parser::new_from_str(text.trim_start_matches('\u{feff}'));
    let mut values = Values::new();
    let (mut depth, mut key, mut open): (usize, Option<String>, Option<Open>) = (0, None, None);
    loop {
        let (event, mark) = parser.next_token().map_err(|error| format!("line {}: {error}", error.marker().line()))?;
        let line = mark.line();
        match event {
            Event::StreamEnd => return Ok(values),
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                if depth == 0 && matches!(event, Event::SequenceStart(..)) {
                    return Err(format!("line {line}: it is a list; names with values were expected"));
                }
                if depth == 1 && key.is_some() {
                    open = Some(match event {
                        Event::SequenceStart(..) => Open::List(Vec::new()),
                        _ => Open::Map(Vec::new(), None),
                    });
                } else if let (2, Some(Open::Map(_, inner))) = (depth, &mut open) {
                    *inner = None;
                }
                depth += 1;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                depth = depth.saturating_sub(1);
                if depth == 1 {
                    let value = match open.take() {
                        Some(Open::List(items)) => Some(Value::List(items)),
                        Some(Open::Map(items, _)) => Some(Value::Map(items)),
                        None => None,
                    };
                    if let (Some(key), Some(value)) = (key.take(), value) {
                        values.entry(key).or_insert(value);
                    }
                }
            }
            Event::Scalar(..) | Event::Alias(_) => {
                let text = if let Event::Scalar(text, ..) = event { text } else { String::new() };
                match (depth, &mut open) {
                    (0, _) => return Err(format!("line {line}: it is plain text; names with values were expected")),
                    (1, _) => match key.take() {
                        None => key = Some(text),
                        Some(name) => {
                            values.entry(name).or_insert(Value::Text(text, line));
                        }
                    },
                    (2, Some(Open::List(items))) => items.push((text, line)),
                    (2, Some(Open::Map(items, inner))) => match inner.take() {
                        None => *inner = Some(text),
                        Some(name) => items.push((name, text, line)),
                    },
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

impl Value {
    /// Every text of the value with its line.
    pub(super) fn texts(&self) -> Vec<(&str, usize)> {
        match self {
            Self::Text(text, line) => vec![(text, *line)],
            Self::List(items) => items.iter().map(|(text, line)| (text.as_str(), *line)).collect(),
            Self::Map(items) => items.iter().map(|(_, text, line)| (text.as_str(), *line)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_maps_and_texts_are_read_and_deeper_things_passed_over() {
        let text = "# about\npath: ../data\ntrain: [a, 'b']\nnames:\n  0: cat\n  1: \"hot: dog\"\n\
                    download: |\n  names: x\n  nc: 7\nroboflow:\n  deep: {x: [1]}\n  url: y\nnc: 2\n";
        let values = parse(text).unwrap();
        assert_eq!(values["path"], Value::Text("../data".to_owned(), 2));
        assert_eq!(values["train"].texts(), [("a", 3), ("b", 3)]);
        let names = vec![("0".to_owned(), "cat".to_owned(), 5), ("1".to_owned(), "hot: dog".to_owned(), 6)];
        assert_eq!(values["names"], Value::Map(names));
        assert_eq!(values["nc"].texts(), [("2", 13)]);
        assert_eq!(values["roboflow"].texts(), [("y", 12)]);
    }

    #[test]
    fn what_is_no_map_is_refused_and_depth_does_no_harm() {
        for text in ["- a\n- b\n", "hello", "a: [1", "a: 'b"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert_eq!(parse(""), Ok(Values::new()));
        let _ = parse(&format!("a: {}", "[".repeat(100_000)));
        let _ = parse(&"- ".repeat(100_000));
        let mut web = "a: &a [x, x]\n".to_owned();
        for letter in 'b'..'z' {
            let before = char::from(letter as u8 - 1);
            web.push_str(&format!("{letter}: &{letter} [{}]\n", vec![format!("*{before}"); 50].join(", ")));
        }
        assert_eq!(parse(&web).unwrap().len(), 25);
    }
}
