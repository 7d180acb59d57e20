//! A JSON object a line, with a text and its label.

use std::path::Path;

use serde_json::{Map, Value};

use super::evidence::{self, Evidence, TextFile, evidence};
use super::{Layout, Opener};
use crate::error::DataError;
use crate::text::labels::scalar;
use crate::text::table::{Cell, Row, Table, text_set};
use crate::text::{Outcome, Problem, TextOptions, TextSet, charset};

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: "jsonl",
    describes: r#"{"text": "…", "label": "…"} a line: reviews.jsonl, or a folder with train.jsonl, dev.jsonl, test.jsonl"#,
    recognizes: |path| evidence(path) == Some(Evidence::JsonLines),
    open: Opener::Text(open),
};

fn open(root: &Path, options: &TextOptions) -> Result<TextSet, DataError> {
    let (files, mut notes) = evidence::files(root, Evidence::JsonLines)?;
    let mut tables = Vec::with_capacity(files.len());
    for file in files {
        let read = charset::read(&file.path)?;
        notes.extend(read.note);
        tables.push(table(file, &read.bytes));
    }
    text_set(LAYOUT.name, root, tables, options, notes)
}

/// The object of each line, or why there is none; empty lines are passed over.
pub(super) fn objects(bytes: &[u8]) -> impl Iterator<Item = (usize, Result<Map<String, Value>, String>)> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate().map(|(index, line)| (index + 1, line));
    lines.filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace)).map(|(number, line)| {
        let object = match std::str::from_utf8(line).map(serde_json::from_str::<Value>) {
            Err(_) => Err("bytes that are no UTF-8".to_owned()),
            Ok(Err(error)) => Err(format!("no JSON at column {}: {}", error.column(), plain(&error))),
            Ok(Ok(Value::Object(fields))) => Ok(fields),
            Ok(Ok(_)) => Err("no JSON object".to_owned()),
        };
        (number, object)
    })
}

/// A parser's message without the place, which is said already.
fn plain(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split(" at line ").next().unwrap_or_default().to_owned()
}

/// Columns are the fields in the order in which they are first met.
fn table(file: TextFile, bytes: &[u8]) -> Table {
    let TextFile { path, split } = file;
    let mut table = Table { path, split, columns: Vec::new(), rows: Vec::new(), problems: Vec::new() };
    let mut numbers = std::collections::HashMap::new();
    for (line, object) in objects(bytes) {
        let fields = match object {
            Ok(fields) => fields,
            Err(what) => {
                let file = table.path.clone();
                table.problems.push(Problem { file, line, what, outcome: Outcome::Skipped });
                continue;
            }
        };
        let mut cells = vec![Cell::Missing; table.columns.len()];
        for (name, value) in fields {
            let Some(cell) = cell(value) else { continue };
            let number = match numbers.get(&name) {
                Some(number) => *number,
                None if table.columns.len() == MOST_COLUMNS => continue,
                None => {
                    table.columns.push(name.clone());
                    numbers.insert(name, table.columns.len() - 1);
                    cells.push(Cell::Missing);
                    table.columns.len() - 1
                }
            };
            cells[number] = cell;
        }
        table.rows.push(Row { line, cells });
    }
    let width = table.columns.len();
    table.rows.iter_mut().for_each(|row| row.cells.resize(width, Cell::Missing));
    table
}

/// Fields beyond these are keys of some other structure.
const MOST_COLUMNS: usize = 256;

/// What can be a text or a label; other structures are passed over.
fn cell(value: Value) -> Option<Cell> {
    match value {
        Value::Null => Some(Cell::Missing),
        Value::Array(values) => values.iter().map(scalar).collect::<Option<_>>().map(Cell::List),
        Value::Object(_) => None,
        value => scalar(&value).map(Cell::Text),
    }
}
