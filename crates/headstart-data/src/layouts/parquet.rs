//! Parquet tables, as data sets of Hugging Face are kept: columns of texts and labels.
//!
//! Labels that are numbers get the names that the `datasets` library writes beside them. Files are read by the `parquet`
//! crate; whatever panics in it is an error of the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value;

use super::evidence::{self, Evidence, TextFile, evidence};
use super::{Layout, Opener};
use crate::error::DataError;
use crate::text::table::{Cell, Row, Table, text_set};
use crate::text::{TextOptions, TextSet};

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: "parquet",
    describes: "reviews.parquet with columns of text and label, or a folder with train-00000-of-00001.parquet and its like",
    recognizes: |path| evidence(path) == Some(Evidence::Parquet),
    open: Opener::Text(open),
};

/// Rows of a file; more would not fit the memory that other layouts need.
const MOST_ROWS: i64 = 50_000_000;

/// Key under which the `datasets` library keeps the kinds of columns.
const FEATURES: &str = "huggingface";

fn open(root: &Path, options: &TextOptions) -> Result<TextSet, DataError> {
    let (files, notes) = evidence::files(root, Evidence::Parquet)?;
    let tables = files.into_iter().map(table).collect::<Result<_, _>>()?;
    text_set(LAYOUT.name, root, tables, options, notes)
}

fn refuse(path: &Path, reason: String) -> DataError {
    let help = "write it again, for instance with pandas: `frame.to_parquet(path)`".to_owned();
    DataError::Layout { path: path.to_owned(), reason, help }
}

/// Names of the numbers in each column that has any.
type Names = BTreeMap<String, Vec<String>>;

fn table(file: TextFile) -> Result<Table, DataError> {
    let TextFile { path, split } = file;
    let opened = File::open(&path).map_err(|source| DataError::Io { path: path.clone(), source })?;
    let read = AssertUnwindSafe(|| rows(opened));
    let (columns, rows) = match catch_unwind(read) {
        Ok(Ok(found)) => found,
        Ok(Err(reason)) => return Err(refuse(&path, format!("it is no Parquet file that can be read: {reason}"))),
        Err(_) => return Err(refuse(&path, "it is no Parquet file that can be read".to_owned())),
    };
    Ok(Table { path, split, columns, rows, problems: Vec::new() })
}

/// Names of the columns that can hold texts and labels, and all rows of them.
fn rows(file: File) -> Result<(Vec<String>, Vec<Row>), String> {
    let reader = SerializedFileReader::new(file).map_err(|error| error.to_string())?;
    let metadata = reader.metadata().file_metadata();
    let count = metadata.num_rows();
    if !(0..=MOST_ROWS).contains(&count) {
        return Err(format!("{count} rows are not between 0 and {MOST_ROWS}"));
    }
    let entries = metadata.key_value_metadata().into_iter().flatten();
    let features = entries.filter(|entry| entry.key == FEATURES).find_map(|entry| entry.value.as_deref());
    let names = features.map(class_names).unwrap_or_default();
    let fields = metadata.schema_descr().root_schema().get_fields();
    let all: Vec<String> = fields.iter().map(|field| field.name().to_owned()).collect();
    let mut readable = vec![true; all.len()];
    let mut rows = Vec::new();
    for (index, row) in reader.get_row_iter(None).map_err(|error| error.to_string())?.enumerate() {
        let row = row.map_err(|error| format!("row {}: {error}", index + 1))?;
        let mut cells = Vec::with_capacity(all.len());
        for (column, (name, field)) in row.get_column_iter().enumerate() {
            let cell = cell(field, names.get(name).map(Vec::as_slice));
            readable[column] &= cell.is_some();
            cells.push(cell.unwrap_or(Cell::Missing));
        }
        rows.push(Row { line: index + 1, cells });
    }
    let kept = |index: &usize| readable[*index];
    let columns = (0..all.len()).filter(kept).map(|index| all[index].clone()).collect();
    for row in &mut rows {
        let cells = std::mem::take(&mut row.cells).into_iter().enumerate();
        row.cells = cells.filter(|(index, _)| readable[*index]).map(|(_, cell)| cell).collect();
    }
    Ok((columns, rows))
}

/// Names of classes from what `datasets` writes: `{"info": {"features": {"label": {"names": [...], "_type": "ClassLabel"}}}}`,
/// within lists too.
fn class_names(text: &str) -> Names {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return Names::new() };
    let Some(features) = value["info"]["features"].as_object() else { return Names::new() };
    let names = |feature: &Value| -> Option<Vec<String>> {
        let inner = ["feature", "_type"].iter().find_map(|key| feature.get(key).filter(|inner| inner.is_object()));
        let names = inner.unwrap_or(feature).get("names")?.as_array()?;
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
    };
    features.iter().filter_map(|(column, feature)| Some((column.clone(), names(feature)?))).collect()
}

/// What can be a text or a label; `None` for structures, bytes and dates.
fn cell(field: &Field, names: Option<&[String]>) -> Option<Cell> {
    match field {
        Field::Null => Some(Cell::Missing),
        Field::ListInternal(list) => {
            list.elements().iter().map(|field| scalar(field, names)).collect::<Option<_>>().map(Cell::List)
        }
        field => scalar(field, names).map(Cell::Text),
    }
}

fn scalar(field: &Field, names: Option<&[String]>) -> Option<String> {
    let whole = |number: i64| {
        let name = usize::try_from(number).ok().and_then(|index| names?.get(index).cloned());
        // Minus one is how `datasets` writes that there is no label.
        if number == -1 && names.is_some() { String::new() } else { name.unwrap_or_else(|| number.to_string()) }
    };
    Some(match field {
        Field::Str(text) => text.clone(),
        Field::Bool(yes) => u8::from(*yes).to_string(),
        Field::Byte(number) => whole(i64::from(*number)),
        Field::Short(number) => whole(i64::from(*number)),
        Field::Int(number) => whole(i64::from(*number)),
        Field::Long(number) => whole(*number),
        Field::UByte(number) => whole(i64::from(*number)),
        Field::UShort(number) => whole(i64::from(*number)),
        Field::UInt(number) => whole(i64::from(*number)),
        Field::ULong(number) => number.to_string(),
        Field::Float(number) => number.to_string(),
        Field::Double(number) => number.to_string(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_classes_are_found_in_both_spellings() {
        let text = r#"{"info": {"features": {
            "label": {"names": ["neg", "pos"], "_type": "ClassLabel"}, "text": {"dtype": "string", "_type": "Value"},
            "tags": {"feature": {"names": ["O", "B-PER"], "_type": "ClassLabel"}, "_type": "Sequence"}}}}"#;
        let names = class_names(text);
        assert_eq!(names["label"], ["neg", "pos"]);
        assert_eq!(names["tags"], ["O", "B-PER"]);
        assert!(!names.contains_key("text") && class_names("{").is_empty() && class_names("{}").is_empty());
        assert_eq!(scalar(&Field::Long(1), Some(&names["label"])), Some("pos".to_owned()));
        assert_eq!(scalar(&Field::Long(-1), Some(&names["label"])), Some(String::new()));
        assert_eq!(scalar(&Field::Long(7), None), Some("7".to_owned()));
    }
}
