//! How files encode examples: one file a dataset layout, and this registry.

pub mod image_folder;

use std::path::{Path, PathBuf};

use crate::error::DataError;

/// A row of the registry.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Short name.
    pub name: &'static str,
    /// What it looks like.
    pub describes: &'static str,
    /// Whether a path looks like it.
    pub recognizes: fn(&Path) -> bool,
    /// Lists its examples.
    pub open: fn(&Path) -> Result<Listing, DataError>,
}

/// Every layout that we read.
pub const LAYOUTS: &[Layout] = &[image_folder::LAYOUT];

/// Opens a data set in the layout that recognizes it.
///
/// # Errors
/// [`DataError::Layout`] with what was found and what is expected.
pub fn open(path: &Path) -> Result<Listing, DataError> {
    // With one layout, its own messages say best what is missing.
    let layout = LAYOUTS.iter().find(|layout| (layout.recognizes)(path)).unwrap_or(&LAYOUTS[0]);
    (layout.open)(path)
}

/// The examples of a data set, unread.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// Name of the layout.
    pub layout: &'static str,
    /// The data set.
    pub root: PathBuf,
    /// Class names, sorted; a label is an index into them.
    pub classes: Vec<String>,
    /// Examples in the order of their relative paths.
    pub examples: Vec<Example>,
    /// What a user should be told.
    pub notes: Vec<String>,
    /// Files that are no examples, with the reason.
    pub skipped: Vec<Skipped>,
}

/// One labelled file.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Where it is.
    pub path: PathBuf,
    /// Path within the data set, with `/`.
    pub relative: String,
    /// Index of its class.
    pub label: usize,
    /// Its part, if the data set says so.
    pub split: Option<Split>,
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Split {
    /// Learned from.
    Train,
    /// Chooses the best epoch.
    Validation,
    /// Nothing is chosen by it.
    Test,
}

/// A file that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// Why, in plain words.
    pub reason: String,
}
