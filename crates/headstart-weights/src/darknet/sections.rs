//! The text of a `.cfg`: sections in brackets, and what they set, a `key=value` a line.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::malformed;
use crate::error::WeightsError;

/// Section and key of what says something of training alone.
static TRAINING_KEYS: LazyLock<HashSet<(&str, &str)>> =
    LazyLock::new(|| include_str!("training_keys.txt").lines().filter_map(|line| line.split_once(' ')).collect());

/// Numbers of one list; the longest in use has 18.
const LONGEST_LIST: usize = 4096;

/// A section with what it sets, of which every value is asked for by its key.
#[derive(Debug)]
pub(super) struct Section {
    /// The file, for messages.
    path: PathBuf,
    /// Name without brackets, in lower case.
    pub(super) name: String,
    /// Line of the name, from 1.
    pub(super) line: usize,
    options: Vec<Setting>,
}

#[derive(Debug)]
struct Setting {
    key: String,
    value: String,
    line: usize,
    is_used: bool,
}

/// Cuts the text into sections.
///
/// Lines that begin with `#` or `;` are comments, and so is what follows such a mark. Spaces mean nothing.
///
/// # Errors
/// [`WeightsError::Malformed`] with the line: a setting before any section, or a line that is neither.
pub(super) fn sections(path: &Path, text: &str) -> Result<Vec<Section>, WeightsError> {
    let wrong = |line: usize, reason: &str| malformed(path, format!("line {line}: {reason}"));
    let mut sections: Vec<Section> = Vec::new();
    for (index, written) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = index + 1;
        let meant: String =
            written.split(['#', ';']).next().unwrap_or_default().chars().filter(|letter| !is_blank(*letter)).collect();
        if meant.is_empty() {
            continue;
        }
        if let Some(rest) = meant.strip_prefix('[') {
            let name = rest.strip_suffix(']').filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| wrong(line, "the name of a section has no end: `[name]` was expected"))?;
            let name = name.to_lowercase();
            sections.push(Section { path: path.to_owned(), name, line, options: Vec::new() });
            continue;
        }
        let Some((key, value)) = meant.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(wrong(line, "it is neither `[section]` nor `key=value`"));
        };
        let Some(section) = sections.last_mut() else {
            return Err(wrong(line, "a setting stands before any section: `[net]` comes first"));
        };
        section.options.push(Setting { key: key.to_owned(), value: value.to_owned(), line, is_used: false });
    }
    Ok(sections)
}

/// What Darknet takes out of a line; text cut from a C string may end in zeros.
fn is_blank(letter: char) -> bool {
    letter.is_whitespace() || letter == '\0'
}

impl Section {
    /// The first value of a key, as Darknet takes it, and its line.
    pub(super) fn text(&mut self, key: &str) -> Option<(&str, usize)> {
        let found = self.options.iter_mut().find(|option| option.key == key)?;
        found.is_used = true;
        Some((&found.value, found.line))
    }

    /// A whole number, or what Darknet takes when it is not said.
    pub(super) fn whole(&mut self, key: &str, otherwise: i64) -> Result<i64, WeightsError> {
        match self.value(key, |text| text.parse().ok(), "a whole number")? {
            Some(number) => Ok(number),
            None => Ok(otherwise),
        }
    }

    /// A whole number of at least `least` and at most `most`.
    pub(super) fn count(
        &mut self,
        key: &str,
        otherwise: usize,
        least: usize,
        most: usize,
    ) -> Result<usize, WeightsError> {
        let number = self.whole(key, i64::try_from(otherwise).unwrap_or(i64::MAX))?;
        let count = usize::try_from(number).ok().filter(|count| (least..=most).contains(count));
        count.ok_or_else(|| self.wrong(key, &format!("it is {number}; {least} to {most} was expected")))
    }

    /// A finite number.
    pub(super) fn number(&mut self, key: &str, otherwise: f32) -> Result<f32, WeightsError> {
        Ok(self.value(key, finite, "a number")?.unwrap_or(otherwise))
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&mut self, key: &str) -> Result<bool, WeightsError> {
        Ok(self.whole(key, 0)? != 0)
    }

    /// Finite numbers with commas between them; a comma at the end is passed over, as Darknet does.
    pub(super) fn numbers(&mut self, key: &str) -> Result<Option<Vec<f32>>, WeightsError> {
        self.value(key, |text| list(text, finite), "numbers with commas between them")
    }

    /// Whole numbers with commas between them.
    pub(super) fn wholes(&mut self, key: &str) -> Result<Option<Vec<i64>>, WeightsError> {
        self.value(key, |text| list(text, |part| part.parse().ok()), "whole numbers with commas between them")
    }

    fn value<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>, WeightsError> {
        let Some((text, _)) = self.text(key) else { return Ok(None) };
        let (value, shown) = (parse(text), text.chars().take(40).collect::<String>());
        match value {
            Some(value) => Ok(Some(value)),
            None => Err(self.wrong(key, &format!("it is `{}`; {expected} was expected", shown.escape_debug()))),
        }
    }

    /// Something is wrong with what a key says.
    pub(super) fn wrong(&self, key: &str, what: &str) -> WeightsError {
        let line = self.options.iter().find(|option| option.key == key).map_or(self.line, |option| option.line);
        malformed(&self.path, format!("line {line}: `{key}` of [{}]: {what}", self.name))
    }

    /// A setting that would change the result in a way that we do not compute.
    pub(super) fn unsupported(&self, key: &str, value: &str) -> WeightsError {
        let line = self.options.iter().find(|option| option.key == key).map_or(self.line, |option| option.line);
        let what = format!("line {line}: `{key}={value}` of [{}]", self.name);
        WeightsError::Unsupported { format: super::NAME, path: self.path.clone(), what }
    }

    /// Refuses a switch that is not as it must be for us to compute what Darknet does.
    pub(super) fn must_be(&mut self, key: &str, only: &str) -> Result<(), WeightsError> {
        let Some((value, _)) = self.text(key) else { return Ok(()) };
        let value = value.to_owned();
        if value == only { Ok(()) } else { Err(self.unsupported(key, &value)) }
    }

    /// Every setting that is of training alone, as it is written; `group` says for which section.
    pub(super) fn take<'a>(&'a mut self, group: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.options.iter_mut().filter(move |option| TRAINING_KEYS.contains(&(group, option.key.as_str()))).map(
            |option| {
                option.is_used = true;
                (option.key.as_str(), option.value.as_str())
            },
        )
    }

    /// What is left: keys that nobody asked for, and keys that stand twice.
    pub(super) fn leftovers(&self, notes: &mut Vec<String>) {
        let mut seen = HashSet::new();
        for option in &self.options {
            let (key, line, name) = (&option.key, option.line, &self.name);
            if !seen.insert(key) {
                notes.push(format!("line {line}: `{key}` stands twice in [{name}]: the first counts"));
            } else if !option.is_used {
                notes.push(format!("line {line}: `{key}` of [{name}] is not known: it was passed over"));
            }
        }
    }
}

fn finite(text: &str) -> Option<f32> {
    text.parse().ok().filter(|number: &f32| number.is_finite())
}

fn list<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let text = text.strip_suffix(',').unwrap_or(text);
    let parts = text.split(',').take(LONGEST_LIST + 1).map(parse).collect::<Option<Vec<T>>>()?;
    (parts.len() <= LONGEST_LIST).then_some(parts)
}
