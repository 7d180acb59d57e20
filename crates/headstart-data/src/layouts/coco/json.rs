//! The JSON of a COCO file: its three lists, each record with its line.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The three lists, records unread.
#[derive(Debug, Deserialize)]
pub(super) struct Lists<'a> {
    #[serde(borrow, default)]
    pub(super) images: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    pub(super) annotations: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    pub(super) categories: Option<Vec<&'a RawValue>>,
}

/// A picture.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct ImageRecord {
    #[serde(default)]
    pub(super) id: Value,
    pub(super) file_name: String,
    #[serde(default)]
    pub(super) width: Option<f64>,
    #[serde(default)]
    pub(super) height: Option<f64>,
}

/// An object.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct AnnotationRecord {
    #[serde(default)]
    pub(super) id: Value,
    #[serde(default)]
    pub(super) image_id: Value,
    #[serde(default)]
    pub(super) category_id: Value,
    /// Left, top, width, height; numbers that JSON cannot say are null.
    #[serde(default)]
    pub(super) bbox: Option<Vec<Option<f64>>>,
    #[serde(default)]
    pub(super) area: Option<f64>,
    #[serde(default)]
    pub(super) iscrowd: Value,
}

/// A class.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct CategoryRecord {
    #[serde(default)]
    pub(super) id: Value,
    pub(super) name: String,
}

/// An id as text, whether it is written as a number or as a string; nothing for what is neither.
pub(super) fn id(value: &Value) -> Option<String> {
    match value {
        // 7 and 7.0 are one number.
        Value::Number(number) => match number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e15) {
            Some(whole) => Some(format!("{whole:.0}")),
            None => Some(number.to_string()),
        },
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// Lines of a text's parts, counted on from the last one.
pub(super) struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    /// From the beginning.
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// The line from 1 in which a part of the text begins.
    pub(super) fn line(&mut self, part: &str) -> usize {
        // A record is a slice of the text that it was read from.
        let at = (part.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        if at > self.text.len() {
            return self.line;
        }
        if at < self.at {
            (self.at, self.line) = (0, 1);
        }
        self.line += self.text.as_bytes()[self.at..at].iter().filter(|byte| **byte == b'\n').count();
        self.at = at;
        self.line
    }
}

/// Puts `null` where Python wrote NaN or an infinity, which are no JSON; the lines stay what they are. Nothing if there are
/// none.
pub(super) fn without_nan(text: &str) -> Option<String> {
    const WORDS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    if !WORDS.iter().any(|word| text.contains(word)) {
        return None;
    }
    let mut plain = String::with_capacity(text.len() + 64);
    let (mut rest, mut changed) = (text, false);
    while let Some(at) = rest.find(['"', 'N', 'I', '-']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = if rest.starts_with('"') {
            string_length(rest)
        } else if let Some(word) = WORDS.iter().find(|word| rest.starts_with(**word)) {
            plain.push_str("null");
            rest = &rest[word.len()..];
            changed = true;
            continue;
        } else {
            1
        };
        plain.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    plain.push_str(rest);
    changed.then_some(plain)
}

/// Bytes of the string that a text begins with, quotes included.
fn string_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_becomes_null_outside_of_strings_alone() {
        let text = "{\"NaN\": [NaN, -Infinity, Infinity, -1],\n \"a\\\"NaN\": \"Infinity\", \"b\": NaN}";
        let plain = without_nan(text).unwrap();
        assert_eq!(plain, "{\"NaN\": [null, null, null, -1],\n \"a\\\"NaN\": \"Infinity\", \"b\": null}");
        assert!(serde_json::from_str::<Value>(&plain).is_ok());
        assert_eq!(without_nan("{\"NaN\": 1}"), None);
        assert_eq!(without_nan("\"NaN\\"), None);
        assert_eq!(without_nan("\"é NaN"), None);
    }

    #[test]
    fn records_know_their_lines() {
        let text = "{\"images\": [\n{\"a\": 1},\n\n{\"b\":\n2}]}";
        let lists: Lists<'_> = serde_json::from_str(text).unwrap();
        let mut lines = Lines::of(text);
        let found: Vec<usize> = lists.images.unwrap().iter().map(|record| lines.line(record.get())).collect();
        assert_eq!(found, [2, 4]);
        assert_eq!(lines.line(&text[..1]), 1);
    }
}
