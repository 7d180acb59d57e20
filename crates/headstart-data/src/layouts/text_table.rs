//! Delimited tables: CSV, TSV and their like.
//!
//! Fields and quotes are read by the `csv` crate. Before that a stricter eye finds where each record ends: that crate
//! takes what follows an unclosed quote for one long field, and hundreds of rows are gone without a word.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::evidence::{self, Evidence, evidence};
use super::{Layout, Opener};
use crate::error::DataError;
use crate::text::columns::is_known;
use crate::text::table::{Cell, Row, Table, text_set};
use crate::text::{Outcome, Problem, TextOptions, TextSet, charset};

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: "text_table",
    describes: "reviews.csv or .tsv with columns of text and label, or a folder with train.csv, dev.csv, test.csv",
    recognizes: |path| evidence(path) == Some(Evidence::Table),
    open: Opener::Text(open),
};

const DELIMITERS: [u8; 4] = [b'\t', b',', b';', b'|'];

/// A quoted field that is not closed within so many lines was never meant to go on.
const MOST_LINES_OF_A_FIELD: usize = 10_000;

/// Records that guesses look at.
const LOOKED_AT: usize = 200;

fn open(root: &Path, options: &TextOptions) -> Result<TextSet, DataError> {
    let (files, mut notes) = evidence::files(root, Evidence::Table)?;
    let mut tables = Vec::with_capacity(files.len());
    for file in files {
        let read = charset::read(&file.path)?;
        notes.extend(read.note);
        let mut table = read_table(&file.path, read.bytes, options, &mut notes)?;
        table.split = file.split;
        tables.push(table);
    }
    text_set(LAYOUT.name, root, tables, options, notes)
}

/// Whether every line has as many tabs as the first, or commas, if the first line names known columns.
pub(super) fn looks_like(head: &str) -> bool {
    let mut lines = head.lines().filter(|line| !line.is_empty()).take(LOOKED_AT);
    let Some(first) = lines.next() else { return false };
    let tabs = first.matches('\t').count();
    let is_tabbed = tabs > 0 && lines.all(|line| line.matches('\t').count() == tabs);
    let names = DELIMITERS.iter().filter_map(|delimiter| {
        let cells: Vec<&str> = first.split(char::from(*delimiter)).map(|cell| cell.trim_matches('"')).collect();
        (cells.len() > 1).then(|| cells.into_iter().any(is_known))
    });
    is_tabbed || names.into_iter().any(|known| known)
}

/// Reads one file.
///
/// # Errors
/// [`DataError::Layout`] where it has a single column or no record.
pub(super) fn read_table(
    path: &Path,
    mut bytes: Vec<u8>,
    options: &TextOptions,
    notes: &mut Vec<String>,
) -> Result<Table, DataError> {
    let refuse = |reason: &str, help: &str| DataError::Layout {
        path: path.to_owned(),
        reason: reason.to_owned(),
        help: help.to_owned(),
    };
    if !bytes.contains(&b'\n') {
        // Line ends of old Macs.
        bytes.iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
    }
    let asked = match options.delimiter {
        Some(delimiter) => match u8::try_from(delimiter) {
            Ok(byte) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Some(byte),
            _ => return Err(refuse("columns can be separated by one ASCII character alone", "give another delimiter")),
        },
        None => None,
    };
    let Some(dialect) = Dialect::find(path, &bytes, asked) else {
        return Err(refuse(
            "no delimiter makes two columns of it",
            "give the delimiter, or a file with a text and a label column",
        ));
    };
    let (good, records, mut problems) = dialect.good_records(path, &bytes);
    let mut rows = dialect.rows(path, &good, &records, &mut problems)?;
    drop(good);
    let Some(width) = modal_width(&rows, options.header) else {
        return Err(refuse("it holds no record", "a data set needs some labelled lines"));
    };
    rows.retain(|Row { line, cells }| {
        let fits = cells.len() == width;
        if !fits {
            let what = format!("{} columns, expected {width}", cells.len());
            problems.push(Problem { file: path.to_owned(), line: *line, what, outcome: Outcome::Skipped });
        }
        fits
    });
    problems.sort_by_key(|problem| problem.line);
    let named = options.header.unwrap_or_else(|| names_a_column(&rows, options) || has_header(&rows));
    let columns = if named && !rows.is_empty() {
        rows.remove(0).cells.iter().map(|cell| cell.text().unwrap_or_default().trim().to_owned()).collect()
    } else {
        notes.push(format!("`{}` has no header; its columns are called by number", path.display()));
        (1..=width).map(|number| number.to_string()).collect()
    };
    if dialect.told {
        notes.push(format!("`{}` has quotes that are plain characters", path.display()));
    }
    Ok(Table { path: path.to_owned(), split: None, columns, rows, problems })
}

/// How a file separates and quotes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Dialect {
    delimiter: u8,
    /// Whether `"` encloses fields; tab-separated files often have lone quotes as plain characters.
    quotes: bool,
    /// Whether that was found from the file and should be told.
    told: bool,
}

/// Place of a record.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Record {
    /// A record ends here (after its line end), over so many lines.
    Good { end: usize, lines: usize },
    /// The line is broken; it ends here.
    Broken { end: usize, what: &'static str },
}

impl Dialect {
    /// The delimiter that gives most records the same number of columns, above one; more columns among equals.
    fn find(path: &Path, bytes: &[u8], asked: Option<u8>) -> Option<Self> {
        let is_tabbed = path
            .extension()
            .is_some_and(|extension| ["tsv", "tab"].iter().any(|tabbed| extension.eq_ignore_ascii_case(tabbed)));
        let candidates: Vec<u8> = asked.map_or_else(|| DELIMITERS.to_vec(), |delimiter| vec![delimiter]);
        let fit = |delimiter: u8| {
            let dialect = Self { delimiter, quotes: true, told: false };
            let mut widths: BTreeMap<usize, usize> = BTreeMap::new();
            let (mut start, mut records) = (0, 0);
            while start < bytes.len() && records < LOOKED_AT {
                match dialect.record(bytes, start) {
                    Record::Good { end, .. } => {
                        *widths.entry(dialect.width(&bytes[start..end])).or_default() += 1;
                        start = end;
                    }
                    Record::Broken { end, .. } => start = end,
                }
                records += 1;
            }
            let (width, count) = widths.into_iter().max_by_key(|(width, count)| (*count, *width))?;
            let first = usize::from(is_tabbed && delimiter == b'\t');
            (width > 1).then_some(((first, count * 100 / records.max(1), width), delimiter))
        };
        let found = candidates.iter().filter_map(|delimiter| fit(*delimiter)).max();
        let delimiter = match (found, asked) {
            (Some((_, delimiter)), _) | (None, Some(delimiter)) => delimiter,
            (None, None) => return None,
        };
        let quoted = Self { delimiter, quotes: true, told: false };
        if delimiter != b'\t' {
            return Some(quoted);
        }
        // In tab-separated files a quote is often a plain character: it encloses only if all of them do.
        let mut start = 0;
        while start < bytes.len() {
            match quoted.record(bytes, start) {
                Record::Good { end, .. } => start = end,
                Record::Broken { .. } => return Some(Self { quotes: false, told: true, ..quoted }),
            }
        }
        Some(quoted)
    }

    /// Where the record that starts at `start` ends.
    fn record(&self, bytes: &[u8], start: usize) -> Record {
        let line_end =
            |from: usize| bytes[from..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| from + at + 1);
        let broken = |what| Record::Broken { end: line_end(start), what };
        if !self.quotes {
            return Record::Good { end: line_end(start), lines: 1 };
        }
        let (mut at, mut lines) = (start, 1);
        loop {
            // At the start of a field.
            if bytes.get(at) == Some(&b'"') {
                at += 1;
                loop {
                    match (bytes.get(at), bytes.get(at + 1)) {
                        (None, _) => return broken("a quote is opened and not closed"),
                        (Some(b'"'), Some(b'"')) => at += 2,
                        (Some(b'"'), _) => break,
                        (Some(b'\n'), _) if lines == MOST_LINES_OF_A_FIELD => {
                            return broken("a quote is opened and not closed");
                        }
                        (Some(byte), _) => {
                            lines += usize::from(*byte == b'\n');
                            at += 1;
                        }
                    }
                }
                at += 1;
                match (bytes.get(at), bytes.get(at + 1)) {
                    (Some(byte), _) if *byte == self.delimiter => {}
                    (None | Some(b'\n'), _) | (Some(b'\r'), None | Some(b'\n')) => {}
                    _ => return broken("a quote is opened and not closed before the next one"),
                }
            }
            while bytes.get(at).is_some_and(|byte| *byte != self.delimiter && *byte != b'\n') {
                at += 1;
            }
            match bytes.get(at) {
                None => return Record::Good { end: at, lines },
                Some(b'\n') => return Record::Good { end: at + 1, lines },
                Some(_) => at += 1,
            }
        }
    }

    /// Columns of one record.
    fn width(&self, record: &[u8]) -> usize {
        let (mut width, mut quoted) = (1, false);
        for byte in record {
            match byte {
                b'"' if self.quotes => quoted = !quoted,
                byte if *byte == self.delimiter && !quoted => width += 1,
                _ => {}
            }
        }
        width
    }

    /// The bytes of whole records alone, the first line of each, and the lines that are none.
    fn good_records<'a>(&self, path: &Path, bytes: &'a [u8]) -> (Cow<'a, [u8]>, Vec<usize>, Vec<Problem>) {
        let (mut start, mut line) = (0, 1);
        let (mut lines_of_records, mut problems, mut good): (_, _, Vec<Range<usize>>) =
            (Vec::new(), Vec::new(), Vec::new());
        while start < bytes.len() {
            match self.record(bytes, start) {
                Record::Good { end, lines } => {
                    let is_blank = bytes[start..end].iter().all(|byte| matches!(byte, b'\n' | b'\r'));
                    if !is_blank {
                        lines_of_records.push(line);
                        good.push(start..end);
                    }
                    (start, line) = (end, line + lines);
                }
                Record::Broken { end, what } => {
                    let problem =
                        Problem { file: path.to_owned(), line, what: what.to_owned(), outcome: Outcome::Skipped };
                    problems.push(problem);
                    (start, line) = (end, line + 1);
                }
            }
        }
        let whole: usize = good.iter().map(|range| range.len()).sum();
        let kept = if whole == bytes.len() {
            bytes.into()
        } else {
            let mut kept = Vec::with_capacity(whole);
            good.into_iter().for_each(|range| kept.extend_from_slice(&bytes[range]));
            kept.into()
        };
        (kept, lines_of_records, problems)
    }

    /// Reads records that are known to be whole.
    fn rows(
        &self,
        path: &Path,
        bytes: &[u8],
        lines: &[usize],
        problems: &mut Vec<Problem>,
    ) -> Result<Vec<Row>, DataError> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(self.delimiter)
            .quoting(self.quotes)
            .terminator(csv::Terminator::Any(b'\n'))
            .from_reader(bytes);
        let mut rows = Vec::with_capacity(lines.len());
        let mut record = csv::ByteRecord::new();
        let mut lines = lines.iter();
        loop {
            let read = reader.read_byte_record(&mut record);
            let more =
                read.map_err(|error| DataError::Io { path: path.to_owned(), source: std::io::Error::other(error) })?;
            match (more, lines.next()) {
                (true, Some(line)) => {
                    let last = record.len().saturating_sub(1);
                    let cell = |(index, field): (usize, &[u8])| {
                        // A carriage return before the line end is part of the line end.
                        let field = if index == last { field.strip_suffix(b"\r").unwrap_or(field) } else { field };
                        std::str::from_utf8(field).map(|text| Cell::Text(text.to_owned()))
                    };
                    match record.iter().enumerate().map(cell).collect() {
                        Ok(cells) => rows.push(Row { line: *line, cells }),
                        Err(_) => {
                            let what = "bytes that are no UTF-8".to_owned();
                            let file = path.to_owned();
                            problems.push(Problem { file, line: *line, what, outcome: Outcome::Skipped });
                        }
                    }
                }
                (false, None) => return Ok(rows),
                _ => {
                    let reason = "its records cannot be told apart".to_owned();
                    let help = "save it again with quotes around fields that hold line ends".to_owned();
                    return Err(DataError::Layout { path: path.to_owned(), reason, help });
                }
            }
        }
    }
}

/// The number of columns: the header's, else that of most records.
fn modal_width(rows: &[Row], header: Option<bool>) -> Option<usize> {
    let mut widths: BTreeMap<usize, usize> = BTreeMap::new();
    rows.iter().for_each(|row| *widths.entry(row.cells.len()).or_default() += 1);
    let modal = widths.into_iter().max_by_key(|(_, count)| *count).map(|(width, _)| width)?;
    match (header, rows.first()) {
        (Some(true), Some(first)) => Some(first.cells.len()),
        _ => Some(modal),
    }
}

/// Whether the first record holds the name of a column that was asked for.
fn names_a_column(rows: &[Row], options: &TextOptions) -> bool {
    let asked = options.text_column.iter().chain(&options.pair_column).chain(&options.label_columns);
    let mut asked = asked.filter(|name| name.parse::<usize>().is_err());
    let first = rows.first().map(|row| row.cells.as_slice()).unwrap_or_default();
    asked.any(|name| {
        first.iter().any(|cell| cell.text().is_some_and(|cell| cell.trim().eq_ignore_ascii_case(name.trim())))
    })
}

/// Whether the first record names columns: all its cells are filled and different, none is a number, and one is a known
/// name or stands in a column of few values that it is not among.
fn has_header(rows: &[Row]) -> bool {
    let Some((first, rest)) = rows.split_first() else { return false };
    let names: Vec<&str> = first.cells.iter().map(|cell| cell.text().unwrap_or_default().trim()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    let is_name = |name: &&str| name.len() <= 60 && name.parse::<f64>().is_err();
    // Exports of data frames leave the name of the index empty.
    let filled = names.iter().skip(1).all(|name| !name.is_empty());
    if sorted.len() != names.len() || !names.iter().all(is_name) || !filled {
        return false;
    }
    if names.iter().any(|name| is_known(name)) {
        return true;
    }
    let rest = &rest[..rest.len().min(LOOKED_AT)];
    (0..names.len()).any(|column| {
        let mut values: BTreeMap<&str, usize> = BTreeMap::new();
        for text in rest.iter().filter_map(|row| row.cells[column].text()) {
            *values.entry(text.trim()).or_default() += 1;
        }
        !values.contains_key(names[column]) && values.len() > 1 && values.values().all(|count| *count > 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Table {
        read_table(Path::new(name), text.as_bytes().to_vec(), &TextOptions::default(), &mut Vec::new()).unwrap()
    }

    fn cells(table: &Table) -> Vec<(usize, Vec<&str>)> {
        table.rows.iter().map(|row| (row.line, row.cells.iter().map(|cell| cell.text().unwrap()).collect())).collect()
    }

    #[test]
    fn lines_are_numbered_as_an_editor_does_whatever_fields_hold() {
        let text = "text,label\r\n\r\n\"two\nlines, \"\"quoted\"\"\",a\r\nplain,b\r\n\n\"\",a\n";
        let table = read("x.csv", text);
        assert_eq!(table.columns, ["text", "label"]);
        let expected = vec![(3, vec!["two\nlines, \"quoted\"", "a"]), (5, vec!["plain", "b"]), (7, vec!["", "a"])];
        assert_eq!(cells(&table), expected);
        assert!(table.problems.is_empty());
    }

    #[test]
    fn an_unclosed_quote_costs_its_own_line_alone() {
        let text = "text,label\nfine,a\n\"never closed,a\nfine too,b\n\"closed\",b\nthree,columns,here\n\"to the end,a\nlast,b\n";
        let table = read("x.csv", text);
        let lines: Vec<usize> = table.rows.iter().map(|row| row.line).collect();
        assert_eq!(lines, [2, 4, 5, 8]);
        let problems: Vec<usize> = table.problems.iter().map(|problem| problem.line).collect();
        assert_eq!(problems, [3, 6, 7]);
    }

    #[test]
    fn delimiters_and_headers_are_found() {
        for (delimiter, name) in [(",", "x.csv"), (";", "x.csv"), ("\t", "x.tsv"), ("|", "x.psv")] {
            let text = ["text", "label"].join(delimiter)
                + "\n"
                + &["some, words; here", "good"].map(|cell| cell.replace(delimiter, " ")).join(delimiter)
                + "\n";
            assert_eq!(read(name, &text).columns, ["text", "label"], "{delimiter}");
        }
        assert_eq!(read("x.tsv", "a film\t1\nno film\t0\n").columns, ["1", "2"]);
        assert_eq!(
            read("x.csv", "Meinung,Stimmung\nsehr gut,plus\nganz gut,plus\nschlecht,minus\nübel,minus\n").columns,
            ["Meinung", "Stimmung"]
        );
    }

    #[test]
    fn quotes_of_a_tab_separated_file_may_be_plain_characters() {
        let table = read("x.tsv", "sentence\tlabel\n\" he said\t1\nfine\" she said\t0\n");
        assert_eq!(cells(&table), [(2, vec!["\" he said", "1"]), (3, vec!["fine\" she said", "0"])]);
    }
}
