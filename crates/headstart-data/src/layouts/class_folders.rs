//! A folder for each class, or `train/`, `val/` and `test/` folders of such; what the files are is the caller's matter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use super::{Example, Listing, Skipped, Split};
use crate::error::DataError;

/// What the class folders hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contents {
    /// Name of the layout.
    pub(super) layout: &'static str,
    /// One example, in words.
    pub(super) one: &'static str,
    /// Several of them.
    pub(super) many: &'static str,
    /// Whether a file is one.
    pub(super) is: fn(&Path) -> bool,
    /// What a file is that is none.
    pub(super) is_not: &'static str,
    /// How it should look.
    pub(super) expected: &'static str,
}

const SPLITS: &[(&str, Split)] = &[
    ("train", Split::Train),
    ("training", Split::Train),
    ("val", Split::Validation),
    ("valid", Split::Validation),
    ("validation", Split::Validation),
    ("test", Split::Test),
    ("testing", Split::Test),
];

/// Folders deeper than this are a loop or a mistake.
const MOST_LEVELS: usize = 32;

/// What operating systems leave behind: not worth a word.
fn is_ignored(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.starts_with('.')
        || ["__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"].iter().any(|ignored| name.eq_ignore_ascii_case(ignored))
}

fn layout_error(root: &Path, reason: impl Into<String>, help: &str) -> DataError {
    DataError::Layout { path: root.to_owned(), reason: reason.into(), help: help.to_owned() }
}

/// Lists the examples of class folders.
///
/// The class is the first folder level; folders below it are searched too. Hidden files and the leftovers of operating
/// systems are passed over; other files inside a class are listed as skipped.
///
/// # Errors
/// [`DataError::Layout`]: nothing there, files without class folders, a single class, two spellings of one class, a class
/// that only validation has.
pub(super) fn open(root: &Path, contents: &Contents) -> Result<Listing, DataError> {
    let Contents { many, expected, .. } = *contents;
    let metadata = fs::metadata(root).map_err(|source| DataError::Io { path: root.to_owned(), source })?;
    if !metadata.is_dir() {
        return Err(layout_error(root, "it is a file, not a folder", expected));
    }
    let entries = sorted(root)?;
    if entries.is_empty() {
        return Err(layout_error(root, "the folder is empty", expected));
    }
    let folders: Vec<&PathBuf> = entries.iter().filter(|path| path.is_dir()).collect();
    let has_splits = folders.iter().any(|path| split_of(path) == Some(Split::Train));
    let loose = entries.iter().filter(|path| path.is_file() && (contents.is)(path)).count();
    if folders.is_empty() {
        let reason = match loose {
            0 => format!("it holds neither {many} nor class folders"),
            loose => format!("it holds {loose} {many} but no class folders, so their classes are not known"),
        };
        return Err(layout_error(root, reason, expected));
    }

    let mut walk = Walk::of(contents);
    if has_splits {
        for folder in &folders {
            match split_of(folder) {
                Some(split) => walk.classes_in(folder, root, Some(split))?,
                None => {
                    walk.notes.push(format!("`{}` is neither train, val nor test: it was left out", folder.display()))
                }
            }
        }
    } else {
        walk.classes_in(root, root, None)?;
    }
    if loose > 0 {
        walk.notes.push(format!(
            "{loose} {many} lie directly in `{}`, in no class folder: they were left out",
            root.display()
        ));
    }
    walk.finish(root)
}

/// The part that a folder's name speaks of.
pub(super) fn split_of(folder: &Path) -> Option<Split> {
    let name = folder.file_name()?.to_string_lossy().to_lowercase();
    SPLITS.iter().find(|(spelled, _)| *spelled == name).map(|(_, split)| *split)
}

/// What the walk through the folders found.
struct Walk<'a> {
    contents: &'a Contents,
    /// Class folder name → examples without their labels.
    found: BTreeMap<String, Vec<Example>>,
    /// Classes by part, empty ones too.
    folders: BTreeMap<String, BTreeSet<Option<Split>>>,
    skipped: Vec<Skipped>,
    notes: Vec<String>,
}

impl<'a> Walk<'a> {
    fn of(contents: &'a Contents) -> Self {
        let (found, folders) = (BTreeMap::new(), BTreeMap::new());
        Self { contents, found, folders, skipped: Vec::new(), notes: Vec::new() }
    }

    /// Adds every class folder of `folder`.
    fn classes_in(&mut self, folder: &Path, root: &Path, split: Option<Split>) -> Result<(), DataError> {
        for path in sorted(folder)?.into_iter().filter(|path| path.is_dir()) {
            let class = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.folders.entry(class.clone()).or_default().insert(split);
            self.files_in(&path, root, &class, split, 0)?;
        }
        Ok(())
    }

    fn files_in(
        &mut self,
        folder: &Path,
        root: &Path,
        class: &str,
        split: Option<Split>,
        level: usize,
    ) -> Result<(), DataError> {
        for path in sorted(folder)? {
            if path.is_dir() {
                // A link to a folder may lead back up.
                if path.is_symlink() || level == MOST_LEVELS {
                    self.skip(path, "a link to a folder, which is not followed");
                } else {
                    self.files_in(&path, root, class, split, level + 1)?;
                }
            } else if !path.exists() {
                self.skip(path, "a link to a file that is not there");
            } else if (self.contents.is)(&path) {
                let relative = path.strip_prefix(root).unwrap_or(&path);
                let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
                let relative = parts.join("/");
                self.found.entry(class.to_owned()).or_default().push(Example { path, relative, label: 0, split });
            } else {
                self.skip(path, self.contents.is_not);
            }
        }
        Ok(())
    }

    fn skip(&mut self, path: PathBuf, reason: &str) {
        self.skipped.push(Skipped { path, reason: reason.to_owned() });
    }

    /// Checks the classes and numbers them.
    fn finish(mut self, root: &Path) -> Result<Listing, DataError> {
        let Contents { layout, one, many, expected, .. } = *self.contents;
        self.check_spellings(root)?;
        for class in self.folders.keys().filter(|class| !self.found.contains_key(*class)) {
            self.notes.push(format!("class `{class}` has no {one}: it was left out"));
        }
        let classes: Vec<String> = self.found.keys().cloned().collect();
        match classes.as_slice() {
            [] => return Err(layout_error(root, format!("there is no {one} in any class folder"), expected)),
            [only] => {
                let reason = format!("there is only one class, `{only}`: nothing can be told apart");
                return Err(layout_error(root, reason, expected));
            }
            _ => {}
        }
        for (class, examples) in &self.found {
            let splits: BTreeSet<Option<Split>> = examples.iter().map(|example| example.split).collect();
            if !splits.contains(&None) && !splits.contains(&Some(Split::Train)) {
                let reason = format!("class `{class}` has validation or test {many} but no training {one}");
                let help = format!("add training {many} of it, or remove its folder");
                return Err(layout_error(root, reason, &help));
            }
            if examples.len() == 1 {
                let note = format!(
                    "class `{class}` has one {one}: it can be learned from, but nothing is left to check it by"
                );
                self.notes.push(note);
            }
        }
        let mut examples: Vec<Example> = self
            .found
            .into_values()
            .enumerate()
            .flat_map(|(label, examples)| examples.into_iter().map(move |example| Example { label, ..example }))
            .collect();
        examples.sort_by(|a, b| a.relative.as_bytes().cmp(b.relative.as_bytes()));
        Ok(Listing { layout, root: root.to_owned(), classes, examples, notes: self.notes, skipped: self.skipped })
    }

    /// `Cat`, `cat ` and `c_at`-like twins are one class spelled twice far more often than two classes.
    fn check_spellings(&self, root: &Path) -> Result<(), DataError> {
        let mut seen: BTreeMap<String, &String> = BTreeMap::new();
        for class in self.folders.keys() {
            let plain: String = class
                .nfkc()
                .flat_map(char::to_lowercase)
                .filter(|letter| !letter.is_whitespace() && !matches!(letter, '_' | '-' | '.'))
                .collect();
            if let Some(other) = seen.insert(plain, class) {
                let reason = format!("`{other}` and `{class}` look like two spellings of one class");
                let help = format!("move the {} of one folder into the other, or rename one", self.contents.many);
                return Err(layout_error(root, reason, &help));
            }
        }
        Ok(())
    }
}

/// Entries of a folder in the order of their names, whatever order the system has.
pub(super) fn sorted(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |source| DataError::Io { path: folder.to_owned(), source };
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(|source| DataError::Io { path: folder.to_owned(), source })?;
    paths.retain(|path| !is_ignored(path));
    paths.sort();
    Ok(paths)
}
