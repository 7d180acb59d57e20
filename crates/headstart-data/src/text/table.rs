//! Rows with named columns, whatever file they came from, and the examples that they are.

use std::path::{Path, PathBuf};

use super::assemble::{Draft, DraftExample, DraftTarget};
use super::columns::{self, Columns, LabelColumns};
use super::labels::Reading;
use super::{Origin, Outcome, Problem, TargetKind, TextOptions, TextSet};
use crate::error::DataError;
use crate::layouts::Split;

/// One file as a table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) path: PathBuf,
    pub(crate) split: Option<Split>,
    /// Names of the columns; their numbers from 1 where the file names none.
    pub(crate) columns: Vec<String>,
    /// Every row has a cell for every column.
    pub(crate) rows: Vec<Row>,
    /// Lines that are no rows.
    pub(crate) problems: Vec<Problem>,
}

/// One row.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) line: usize,
    pub(crate) cells: Vec<Cell>,
}

/// What a cell holds; numbers are kept as they are written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Missing,
    Text(String),
    List(Vec<String>),
}

impl Cell {
    /// The text of a cell that is not a list.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Missing | Self::List(_) => None,
        }
    }
}

impl Table {
    /// Index of a column by its name, or by its number from 1.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        let exact = self.columns.iter().position(|column| column == name);
        let loose = || self.columns.iter().position(|column| column.trim().eq_ignore_ascii_case(name.trim()));
        let number = || name.parse::<usize>().ok()?.checked_sub(1).filter(|index| *index < self.columns.len());
        exact.or_else(loose).or_else(number)
    }
}

/// Makes a [`TextSet`] of tables: columns are chosen on the training files and found by name in all.
///
/// # Errors
/// [`DataError::Layout`]: no column could be chosen, a named one is missing, nothing could be used.
pub(crate) fn text_set(
    layout: &'static str,
    root: &Path,
    tables: Vec<Table>,
    options: &TextOptions,
    notes: Vec<String>,
) -> Result<TextSet, DataError> {
    let mut draft = Draft { notes, ..Draft::default() };
    let learned = |table: &&Table| matches!(table.split, None | Some(Split::Train)) && !table.rows.is_empty();
    let Some(first) = tables.iter().find(learned) else {
        draft.problems = tables.into_iter().flat_map(|table| table.problems).collect();
        return draft.finish(layout, root, TargetKind::Unlabeled);
    };
    let chosen = columns::choose(first, options)?;
    draft.notes.extend(chosen.notes.iter().cloned());
    let reading = match &chosen.labels {
        LabelColumns::One(name) => {
            let cells = tables.iter().filter(learned).filter_map(|table| Some((table, table.column(name)?)));
            let cells: Vec<&Cell> =
                cells.flat_map(|(table, index)| table.rows.iter().map(move |row| &row.cells[index])).collect();
            let found = Reading::find(&first.path, name, &cells, options)?;
            draft.notes.extend(found.note);
            found.reading
        }
        LabelColumns::Many(_) => Reading::Flags,
        LabelColumns::None => Reading::Nothing,
    };
    for table in tables {
        add(&mut draft, table, &chosen, &reading)?;
    }
    draft.finish(layout, root, reading.target())
}

/// Adds the rows of one table.
fn add(draft: &mut Draft, table: Table, chosen: &Columns, reading: &Reading) -> Result<(), DataError> {
    let missing = |name: &str| DataError::Layout {
        path: table.path.clone(),
        reason: format!("it has no column `{name}`, which the training file has"),
        help: "give all files the same columns".to_owned(),
    };
    let text = table.column(&chosen.text).ok_or_else(|| missing(&chosen.text))?;
    let pair = match &chosen.pair {
        Some(name) => Some(table.column(name).ok_or_else(|| missing(name))?),
        None => None,
    };
    let names: &[String] = match &chosen.labels {
        LabelColumns::One(name) => std::slice::from_ref(name),
        LabelColumns::Many(names) => names,
        LabelColumns::None => &[],
    };
    let mut labels = Vec::with_capacity(names.len());
    for name in names {
        match table.column(name) {
            Some(index) => labels.push((index, name.as_str())),
            None if matches!(table.split, Some(Split::Train) | None) => return Err(missing(name)),
            None => {
                let shown = table.path.display();
                draft.notes.push(format!("`{shown}` has no column `{name}`, so it is not labelled: it was left out"));
                return Ok(());
            }
        }
    }
    let file = draft.files.len();
    draft.files.push(table.path.clone());
    draft.problems.extend(table.problems);
    for Row { line, mut cells } in table.rows {
        let target = match reading.read(&cells, &labels) {
            Ok(target) => target,
            Err(what) => {
                draft.problem(&table.path, line, what, Outcome::Skipped);
                continue;
            }
        };
        let mut take = |index: usize| match std::mem::replace(&mut cells[index], Cell::Missing) {
            Cell::Text(text) => Ok(text),
            Cell::Missing => Ok(String::new()),
            Cell::List(_) => Err("the text is a list".to_owned()),
        };
        match (take(text), pair.map(take).transpose()) {
            (Ok(text), Ok(pair)) => {
                let origin = Origin { file, line };
                let words = Vec::new();
                draft.examples.push(DraftExample { text, pair, words, target, origin, split: table.split });
            }
            (Err(what), _) | (_, Err(what)) => draft.problem(&table.path, line, what, Outcome::Skipped),
        }
    }
    Ok(())
}

impl Reading {
    fn target(&self) -> TargetKind {
        match self {
            Self::Class => TargetKind::Class,
            Self::Lists | Self::Separated(_) | Self::Flags => TargetKind::Labels,
            Self::Nothing => TargetKind::Unlabeled,
        }
    }

    fn read(&self, cells: &[Cell], labels: &[(usize, &str)]) -> Result<DraftTarget, String> {
        if let Self::Flags = self {
            return Self::flags(labels.iter().map(|(index, name)| (&cells[*index], *name))).map(DraftTarget::Labels);
        }
        let Some((index, _)) = labels.first() else { return Ok(DraftTarget::Unlabeled) };
        match self {
            Self::Class => Self::class(&cells[*index]).map(DraftTarget::Class),
            _ => self.labels(&cells[*index]).map(DraftTarget::Labels),
        }
    }
}
