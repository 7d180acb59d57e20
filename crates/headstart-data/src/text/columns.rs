//! Which column is the text and which the label, guessed where it is obvious and told.

use std::collections::BTreeSet;

use super::labels::flag;
use super::table::{Cell, Table};
use super::{TargetKind, TextOptions};
use crate::error::DataError;

/// The chosen columns by name.
#[derive(Debug, PartialEq)]
pub(crate) struct Columns {
    pub(crate) text: String,
    pub(crate) pair: Option<String>,
    pub(crate) labels: LabelColumns,
    /// Every guess, in words.
    pub(crate) notes: Vec<String>,
}

/// Where the labels stand.
#[derive(Debug, PartialEq)]
pub(crate) enum LabelColumns {
    /// In one column.
    One(String),
    /// One 0/1 column a label.
    Many(Vec<String>),
    /// Nowhere.
    None,
}

/// Names of text columns, the likelier first; letters and digits alone are compared.
const TEXTS: &[&str] = &[
    "text",
    "sentence",
    "review",
    "reviewtext",
    "content",
    "comment",
    "commenttext",
    "message",
    "tweet",
    "document",
    "body",
    "article",
    "post",
    "utterance",
    "question",
    "query",
    "description",
    "abstract",
    "headline",
    "title",
    "phrase",
    "email",
    "sms",
    "input",
    "string",
    "v2",
];

/// Names of label columns, the likelier first.
const LABELS: &[&str] = &[
    "label",
    "labels",
    "class",
    "classes",
    "category",
    "categories",
    "sentiment",
    "target",
    "tag",
    "tags",
    "topic",
    "topics",
    "genre",
    "genres",
    "intent",
    "emotion",
    "polarity",
    "airlinesentiment",
    "rating",
    "stars",
    "score",
    "goldlabel",
    "classlabel",
    "classindex",
    "labelname",
    "ispositive",
    "isduplicate",
    "spam",
    "v1",
    "y",
];

/// Names of the two texts of a pair.
const PAIRS: &[(&str, &str)] = &[
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("texta", "textb"),
    ("question", "answer"),
    ("question", "sentence"),
    ("question", "passage"),
    ("query", "passage"),
    ("title", "body"),
    ("title", "content"),
    ("title", "text"),
    ("title", "review"),
    ("title", "description"),
    ("title", "abstract"),
];

/// Rows that a guess looks at.
const LOOKED_AT: usize = 2_000;

/// Chooses the columns; `options` decide, what they leave open is guessed.
///
/// # Errors
/// [`DataError::Layout`]: a named column is not there, or nothing is obvious.
pub(crate) fn choose(table: &Table, options: &TextOptions) -> Result<Columns, DataError> {
    let chooser = Chooser { table, plain: table.columns.iter().map(|name| plain(name)).collect() };
    let mut notes = Vec::new();
    let named = |name: &String| table.column(name).ok_or_else(|| chooser.missing(name));
    let mut labels = options.label_columns.iter().map(named).collect::<Result<Vec<usize>, _>>()?;
    let mut pair = options.pair_column.as_ref().map(named).transpose()?;
    let text = match &options.text_column {
        Some(name) => named(name)?,
        None => {
            let (first, second) = chooser.text(&labels).ok_or_else(|| chooser.unclear("text", "--text-column"))?;
            notes.push(format!("guessed: the text is column `{}`", table.columns[first]));
            if let (Some(second), None) = (second, pair) {
                notes.push(format!("guessed: the second text is column `{}`", table.columns[second]));
                pair = Some(second);
            }
            first
        }
    };
    let taken: Vec<usize> = [Some(text), pair].into_iter().flatten().collect();
    if labels.is_empty() && options.target != Some(TargetKind::Unlabeled) {
        labels = chooser.labels(&taken).ok_or_else(|| chooser.unclear("label", "--label-column"))?;
        let shown: Vec<&str> = labels.iter().map(|index| table.columns[*index].as_str()).collect();
        notes.push(match shown.as_slice() {
            [only] => format!("guessed: the label is column `{only}`"),
            _ => format!("guessed: the labels are the 0/1 columns {}", shown.join(", ")),
        });
    }
    if let Some(both) = labels.iter().find(|label| taken.contains(label)) {
        let reason = format!("column `{}` is named as text and as label", table.columns[*both]);
        return Err(chooser.refuse(reason, "name two columns"));
    }
    let name = |index: usize| table.columns[index].clone();
    let labels = match labels.as_slice() {
        [] => LabelColumns::None,
        [only] if options.target != Some(TargetKind::Labels) || !chooser.is_flag(*only) => {
            LabelColumns::One(name(*only))
        }
        several => LabelColumns::Many(several.iter().map(|index| name(*index)).collect()),
    };
    Ok(Columns { text: name(text), pair: pair.map(name), labels, notes })
}

struct Chooser<'a> {
    table: &'a Table,
    /// Names of the columns, letters and digits alone.
    plain: Vec<String>,
}

impl Chooser<'_> {
    /// The text and, by their names, the second text; else the column with the longest texts.
    fn text(&self, labels: &[usize]) -> Option<(usize, Option<usize>)> {
        let free = |name: &str| self.named(name).filter(|index| !labels.contains(index));
        for (first, second) in PAIRS {
            if let (Some(first), Some(second)) = (free(first), free(second)) {
                return Some((first, Some(second)));
            }
        }
        let is_written = |index: &usize| self.distinct(*index).len() > 1 || self.table.rows.len() < 2;
        if let Some(index) = TEXTS.iter().filter_map(|name| free(name)).find(is_written) {
            return Some((index, None));
        }
        let lengths = (0..self.table.columns.len()).filter(|index| !labels.contains(index)).map(|index| {
            let texts: Vec<&str> = self.cells(index).filter_map(Cell::text).collect();
            let letters: usize = texts.iter().map(|text| text.len()).sum();
            let words: usize = texts.iter().map(|text| text.split_whitespace().count()).sum();
            (letters, words > texts.len(), index)
        });
        // One word a row is a name or a number, unless there is no other column it could be.
        let (letters, is_text, index) =
            lengths.max_by_key(|(letters, _, index)| (*letters, std::cmp::Reverse(*index)))?;
        (letters > 0 && (is_text || self.table.columns.len() <= 2)).then_some((index, None))
    }

    /// The label column by its name; several 0/1 columns; else the only column with few values.
    fn labels(&self, taken: &[usize]) -> Option<Vec<usize>> {
        let free: Vec<usize> = (0..self.table.columns.len()).filter(|index| !taken.contains(index)).collect();
        let by_name = LABELS.iter().filter_map(|name| self.named(name)).find(|index| free.contains(index));
        let flags: Vec<usize> = free.iter().copied().filter(|index| self.is_flag(*index)).collect();
        match by_name {
            Some(index) => return Some(vec![index]),
            None if flags.len() > 1 => return Some(flags),
            None => {}
        }
        let rows = self.table.rows.len().min(LOOKED_AT);
        let few: Vec<usize> = free
            .into_iter()
            .filter(|index| {
                let distinct = self.distinct(*index).len();
                distinct > 1 && distinct * 2 <= rows.max(4)
            })
            .collect();
        match few.as_slice() {
            [only] => Some(vec![*only]),
            _ => None,
        }
    }

    fn named(&self, name: &str) -> Option<usize> {
        self.plain.iter().position(|column| column == name)
    }

    fn cells(&self, index: usize) -> impl Iterator<Item = &Cell> {
        self.table.rows.iter().take(LOOKED_AT).map(move |row| &row.cells[index])
    }

    fn distinct(&self, index: usize) -> BTreeSet<&str> {
        self.cells(index).filter_map(Cell::text).map(str::trim).filter(|text| !text.is_empty()).collect()
    }

    fn is_flag(&self, index: usize) -> bool {
        let mut cells = self.cells(index).peekable();
        cells.peek().is_some() && cells.all(|cell| flag(cell).is_some())
    }

    fn refuse(&self, reason: String, help: &str) -> DataError {
        DataError::Layout { path: self.table.path.clone(), reason, help: help.to_owned() }
    }

    fn missing(&self, name: &str) -> DataError {
        let reason = format!("there is no column `{name}`; {}", self.shown());
        self.refuse(reason, "name a column as the first line has it, or by its number from 1")
    }

    fn unclear(&self, what: &str, option: &str) -> DataError {
        let reason = format!("it is not clear which column is the {what}; {}", self.shown());
        self.refuse(reason, &format!("name it with {option}"))
    }

    fn shown(&self) -> String {
        const SHOWN: usize = 30;
        let names: Vec<String> = self.table.columns.iter().take(SHOWN).map(|name| super::labels::short(name)).collect();
        match self.table.columns.len().saturating_sub(SHOWN) {
            0 => format!("the columns are {}", names.join(", ")),
            more => format!("the columns are {} and {more} more", names.join(", ")),
        }
    }
}

/// A name without what spellings differ in.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether a name is one of those that text and label columns have.
pub(crate) fn is_known(name: &str) -> bool {
    let name = plain(name);
    TEXTS.contains(&name.as_str())
        || LABELS.contains(&name.as_str())
        || PAIRS.iter().any(|(first, second)| name == *first || name == *second)
}
