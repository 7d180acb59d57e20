//! Where the pictures of a data set are, in which parts, and which files of labels have none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::labels;
use super::names::NAMES;
use super::yaml::{self, Values};
use crate::boxes::draft::Draft;
use crate::error::DataError;
use crate::image::has_image_extension;
use crate::layouts::class_folders::sorted;
use crate::layouts::evidence::{part_of_folder, split_of};
use crate::layouts::{Split, relative_to};
use crate::text::{Outcome, charset};

/// Folders deeper than this are a loop or a mistake.
const DEEPEST: usize = 16;

/// Files that are looked at before a folder counts as something else.
const MOST_LOOKED_AT: usize = 2_000;

/// A picture of the set, with the file and line that name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) split: Option<Split>,
    pub(super) named: (PathBuf, usize),
}

/// Whether a path is a data set of this kind: described by a file, or with a text file of boxes for a picture.
pub(in crate::layouts) fn looks_like(path: &Path) -> bool {
    if path.is_file() {
        return is_yaml(path) && describes(path) || has_ending(path, "data") && darknet_lists(path).is_some();
    }
    if description(path).is_some() {
        return true;
    }
    let files = Files::below(path, MOST_LOOKED_AT);
    let has_names = files.others.iter().any(|file| file.parent() == Some(path) && has_ending(file, "names"));
    files.pictures.iter().any(|picture| {
        labels::of_picture(picture).iter().any(|label| {
            let is_apart = label.parent() != picture.parent();
            files.texts.contains(label) && (has_names || is_apart || labels::looks_like(&head(label)))
        })
    })
}

/// The file that describes a folder: `data.yaml` and its like, or Darknet's `.data`.
pub(super) fn description(root: &Path) -> Option<PathBuf> {
    let files: Vec<PathBuf> = sorted(root).unwrap_or_default().into_iter().filter(|path| path.is_file()).collect();
    let yaml = files.iter().find(|path| is_yaml(path) && describes(path));
    yaml.or_else(|| files.iter().find(|path| has_ending(path, "data") && darknet_lists(path).is_some())).cloned()
}

pub(super) fn is_yaml(path: &Path) -> bool {
    has_ending(path, "yaml") || has_ending(path, "yml")
}

pub(super) fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(ending))
}

/// Whether a YAML file speaks of names and of a part.
fn describes(path: &Path) -> bool {
    yaml::read(path)
        .is_ok_and(|values| values.contains_key("names") && PARTS.iter().any(|(key, _)| values.contains_key(*key)))
}

/// Darknet's `key = value` lines, if they name a list to train on.
pub(super) fn darknet_lists(path: &Path) -> Option<Values> {
    let head = head(path);
    let pairs = head.lines().enumerate().filter_map(|(index, line)| {
        let (key, value) = line.split_once('=')?;
        Some((key.trim().to_owned(), yaml::Value::Text(value.trim().to_owned(), index + 1)))
    });
    let values: Values = pairs.collect();
    (values.contains_key("train") && values.contains_key("names")).then_some(values)
}

/// Keys of the parts; what is tested on is not learned from, so it comes first.
const PARTS: [(&str, Split); 5] = [
    ("test", Split::Test),
    ("val", Split::Validation),
    ("valid", Split::Validation),
    ("validation", Split::Validation),
    ("train", Split::Train),
];

/// The beginning of a text file.
fn head(path: &Path) -> String {
    let mut head = Vec::new();
    let _ = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head));
    String::from_utf8_lossy(&head).into_owned()
}

/// The files below a folder, each kind in the order of paths. Links to folders are not followed.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) pictures: Vec<PathBuf>,
    pub(super) texts: BTreeSet<PathBuf>,
    pub(super) others: Vec<PathBuf>,
}

impl Files {
    /// At most `most` of them.
    pub(super) fn below(root: &Path, most: usize) -> Self {
        let mut files = Self::default();
        files.walk(root, 0, &mut most.clone());
        files
    }

    fn walk(&mut self, folder: &Path, level: usize, left: &mut usize) {
        for path in sorted(folder).unwrap_or_default() {
            if *left == 0 {
                return;
            }
            if path.is_dir() {
                if level < DEEPEST && !path.is_symlink() {
                    self.walk(&path, level + 1, left);
                }
                continue;
            }
            *left -= 1;
            if has_image_extension(&path) {
                self.pictures.push(path);
            } else if has_ending(&path, "txt") {
                self.texts.insert(path);
            } else {
                self.others.push(path);
            }
        }
    }
}

/// The pictures of a data set whose folder is `home`.
///
/// # Errors
/// [`DataError::Io`] for a list that cannot be read.
pub(super) fn pictures(
    draft: &mut Draft,
    home: &Path,
    described: Option<(&Path, &Values)>,
    files: &Files,
) -> Result<Vec<Found>, DataError> {
    let mut parts: Vec<(Split, Vec<Found>)> = Vec::new();
    if let Some((file, values)) = described {
        let mut learned: Vec<PathBuf> = Vec::new();
        if let Some(train) = values.get("train") {
            learned = train.texts().iter().filter_map(|(entry, _)| resolve(home, entry)).collect();
        }
        for (key, split) in PARTS {
            let Some(value) = values.get(key) else { continue };
            for (entry, line) in value.texts().into_iter().filter(|(entry, _)| !entry.is_empty()) {
                let Some(place) = resolve(home, entry) else {
                    let what = format!("`{}` for `{key}` is not in the data set", entry.escape_debug());
                    draft.problem((file, line), what, Outcome::Skipped);
                    continue;
                };
                if split != Split::Train && learned.contains(&place) {
                    draft.notes.push(format!("`{key}` is the same as `train`: it was left out"));
                    continue;
                }
                parts.push((split, entries_of(draft, home, &place, split, (file, line), files)?));
            }
        }
    } else {
        // Lists of pictures at the root, called after their part.
        for list in files.texts.iter().filter(|path| path.parent() == Some(home)) {
            if let Some(split) = split_of(list).filter(|_| is_list(list)) {
                parts.push((split, entries_of(draft, home, list, split, (list, 1), files)?));
            }
        }
        parts.sort_by_key(|(split, _)| std::cmp::Reverse(*split));
    }
    let mut found: BTreeMap<PathBuf, Found> = BTreeMap::new();
    for picture in parts.into_iter().flat_map(|(_, pictures)| pictures) {
        match found.get(&picture.path) {
            None => drop(found.insert(picture.path.clone(), picture)),
            Some(first) if first.split == picture.split => {}
            Some(first) => {
                let name = relative_to(home, &picture.path);
                let other = first.named.0.file_name().unwrap_or_default().to_string_lossy();
                let what = format!(
                    "`{}` is in another part too, by {other}:{}, where it stays",
                    name.escape_debug(),
                    first.named.1
                );
                draft.problem((&picture.named.0, picture.named.1), what, Outcome::Repaired);
            }
        }
    }
    let has_training = found.values().any(|picture| picture.split == Some(Split::Train));
    if !has_training {
        // Lists of what is tested on leave the rest for learning; without lists, folders may say it.
        let has_lists = !found.is_empty();
        for path in &files.pictures {
            let split = if has_lists { Some(Split::Train) } else { split_of_folders(home, path) };
            found.entry(path.clone()).or_insert_with(|| Found { path: path.clone(), split, named: (path.clone(), 1) });
        }
    }
    Ok(found.into_values().collect())
}

/// The pictures that an entry stands for: of a folder, or of a list.
fn entries_of(
    draft: &mut Draft,
    home: &Path,
    place: &Path,
    split: Split,
    (file, line): (&Path, usize),
    files: &Files,
) -> Result<Vec<Found>, DataError> {
    let split = Some(split);
    if place.is_dir() {
        let below = files.pictures.iter().filter(|path| path.starts_with(place));
        return Ok(below.map(|path| Found { path: path.clone(), split, named: (file.to_owned(), line) }).collect());
    }
    if has_image_extension(place) {
        return Ok(vec![Found { path: place.to_owned(), split, named: (file.to_owned(), line) }]);
    }
    let read = charset::read(place)?;
    let mut found = Vec::new();
    for (index, written) in String::from_utf8_lossy(&read.bytes).lines().enumerate() {
        let entry = written.trim();
        if entry.is_empty() {
            continue;
        }
        let line = index + 1;
        match resolve(home, entry) {
            Some(path) => found.push(Found { path, split, named: (place.to_owned(), line) }),
            None => draft.skip_picture((place, line), format!("picture `{}` is not there", entry.escape_debug())),
        }
    }
    Ok(found)
}

/// What a path of another machine means here: its longest ending that exists in the data set.
pub(super) fn resolve(home: &Path, entry: &str) -> Option<PathBuf> {
    let plain = entry.replace('\\', "/");
    if plain.contains('\0') {
        return None;
    }
    let parts: Vec<_> = Path::new(&plain)
        .components()
        .filter_map(|part| if let Component::Normal(name) = part { Some(name) } else { None })
        .collect();
    if parts.is_empty() {
        return matches!(plain.as_str(), "." | "./").then(|| home.to_owned());
    }
    let endings = (0..parts.len()).map(|start| parts[start..].iter().collect::<PathBuf>());
    endings.map(|ending| home.join(ending)).find(|path| path.exists())
}

/// Whether a text file lists pictures.
fn is_list(path: &Path) -> bool {
    let head = head(path);
    let first = head.lines().map(str::trim).find(|line| !line.is_empty());
    first.is_some_and(|line| has_image_extension(Path::new(line)))
}

/// The part that a folder on the way to a picture speaks of.
fn split_of_folders(home: &Path, picture: &Path) -> Option<Split> {
    let folders = picture.strip_prefix(home).unwrap_or(picture).parent()?;
    folders.iter().find_map(part_of_folder)
}

/// Label files without a picture.
pub(super) fn orphans(home: &Path, files: &Files) -> Vec<PathBuf> {
    let of_pictures: BTreeSet<PathBuf> =
        files.pictures.iter().flat_map(|picture| labels::of_picture(picture)).collect();
    let is_label = |path: &&PathBuf| {
        let in_labels = path.strip_prefix(home).unwrap_or(path).iter().any(|part| part.eq_ignore_ascii_case("labels"));
        let is_names = path.file_name().is_some_and(|name| NAMES.iter().any(|known| name.eq_ignore_ascii_case(known)));
        !of_pictures.contains(*path) && !is_names && !is_list(path) && (in_labels || labels::looks_like(&head(path)))
    };
    files.texts.iter().filter(is_label).cloned().collect()
}
