//! A listing of arrays against the names and shapes that a network needs.

use std::collections::{BTreeMap, BTreeSet};

use headstart_weights::{ArrayInfo, Checkpoint};

use super::Entry;
use crate::error::{Result, nearest};
use crate::parameters::{Parameter, ParameterSpec, Parameters};

/// What of a network a checkpoint holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matching {
    /// Common prefix of the checkpoint's names (`module.`, `state_dict.`…).
    pub prefix: String,
    /// Names of the family's entries → names in the file.
    names: BTreeMap<String, String>,
    /// Arrays that the backbone needs and the checkpoint lacks: their name, and the nearest that is there.
    pub missing: Vec<(String, Option<String>)>,
    /// Arrays of another shape: name, expected, found.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Arrays of the checkpoint that nothing asked for.
    pub unused: Vec<String>,
}

/// Shapes by name.
pub(crate) fn shapes_of(parameters: Vec<ParameterSpec>) -> BTreeMap<String, Vec<usize>> {
    parameters.into_iter().map(|parameter| (parameter.name, parameter.shape)).collect()
}

impl Matching {
    /// Compares a listing, whose names are `canonical` as the entries write them, with what a network needs. Arrays whose
    /// names hold a part in `ignore` are not missed when nothing asks for them.
    pub(crate) fn of(
        arrays: &[ArrayInfo],
        canonical: &[String],
        entries: &[Entry],
        shapes: &BTreeMap<String, Vec<usize>>,
        ignore: &[&str],
    ) -> Self {
        let found: BTreeMap<&str, &ArrayInfo> = canonical.iter().map(String::as_str).zip(arrays).collect();
        let first = entries.iter().find(|entry| entry.layout.is_read()).map_or("", |entry| entry.theirs.as_str());
        let mut matching = Self { prefix: common_prefix(&found, first), ..Self::default() };
        let mut used = BTreeSet::new();
        for entry in entries {
            for (bare, expected) in entry.layout.sources(&entry.theirs, &shapes[&entry.ours]) {
                let name = format!("{}{bare}", matching.prefix);
                match found.get(name.as_str()) {
                    None => matching.missing.push((name, None)),
                    Some(array) => {
                        if array.shape != expected {
                            matching.misshapen.push((array.name.clone(), expected, array.shape.clone()));
                        }
                        used.insert(array.name.as_str());
                        matching.names.insert(bare, array.name.clone());
                    }
                }
            }
        }
        // Only the first miss is shown, and edit distances over all names are dear.
        if let Some((name, near)) = matching.missing.first_mut() {
            let names: Vec<String> =
                found.keys().filter_map(|name| name.strip_prefix(&matching.prefix)).map(str::to_owned).collect();
            let bare = name.strip_prefix(&matching.prefix).unwrap_or(name);
            *near = nearest(bare, &names).map(str::to_owned);
        }
        matching.unused = arrays
            .iter()
            .filter(|array| !used.contains(array.name.as_str()))
            .filter(|array| !ignore.iter().any(|part| array.name.contains(part)))
            .map(|array| array.name.clone())
            .collect();
        matching
    }

    /// Whether every array that the network needs is there in its shape.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.misshapen.is_empty()
    }

    /// Thousandths of what the network needs that do not fit: networks differ in size, so counts alone say little.
    pub(crate) fn misses_in_a_thousand(&self) -> usize {
        let needed = self.names.len() + self.missing.len();
        ((self.missing.len() + self.misshapen.len()) * 1000).div_ceil(needed.max(1))
    }

    /// The first thing that does not fit `candidate`, in words.
    pub(crate) fn first_error(&self, candidate: &str) -> String {
        if self.names.is_empty() && !self.missing.is_empty() {
            return "none; no array has a name that a known family uses".to_owned();
        }
        if let Some((name, expected, found)) = self.misshapen.first() {
            return format!("`{name}` has shape {found:?}, {candidate} expects {expected:?}");
        }
        match self.missing.first() {
            Some((name, Some(near))) => format!("{candidate} needs `{name}`; the nearest array is `{near}`"),
            Some((name, None)) => format!("{candidate} needs `{name}`, which is not there"),
            None => format!("{candidate} fits"),
        }
    }

    /// Reads the arrays under our names. Only call it on a complete matching.
    ///
    /// # Errors
    /// Of the reader.
    pub(crate) fn read(
        &self,
        checkpoint: &dyn Checkpoint,
        entries: Vec<Entry>,
        shapes: &BTreeMap<String, Vec<usize>>,
    ) -> Result<Parameters> {
        let read_one = |bare: &str| -> Result<Vec<f32>> {
            let name = self.names.get(bare).map_or(bare, String::as_str);
            Ok(checkpoint.read(name)?.to_f32()?)
        };
        entries
            .into_iter()
            .map(|entry| {
                let shape = shapes[&entry.ours].clone();
                let values = entry.layout.read(&entry.theirs, &shape, read_one)?;
                Ok((entry.ours, Parameter { shape, values }))
            })
            .collect()
    }
}

/// What stands before the first needed name in the checkpoint, if it is there at all.
fn common_prefix(found: &BTreeMap<&str, &ArrayInfo>, first: &str) -> String {
    if first.is_empty() || found.contains_key(first) {
        return String::new();
    }
    found
        .keys()
        .filter_map(|name| name.strip_suffix(first))
        .find(|prefix| prefix.ends_with(['.', '/']))
        .unwrap_or_default()
        .to_owned()
}
