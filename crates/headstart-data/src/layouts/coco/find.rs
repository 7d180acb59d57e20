//! Where the JSON files of a data set are, and where its pictures may be.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::image::has_image_extension;
use crate::layouts::class_folders::sorted;
use crate::layouts::evidence::{part_of_folder, split_of};
use crate::layouts::{Split, goes_down, relative_to};

/// Bytes of a file that its kind is found from.
const HEAD: usize = 1 << 16;

/// JSON files that are looked at in one folder: more are one a picture, and no COCO.
const MOST_LOOKED_AT: usize = 64;

/// Folders that pictures are looked for in.
const MOST_FOLDERS: usize = 256;

/// A file of annotations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Annotations {
    pub(super) path: PathBuf,
    pub(super) split: Option<Split>,
}

/// Whether a path is a COCO file, or a folder with one.
pub(in crate::layouts) fn looks_like(path: &Path) -> bool {
    if path.is_file() { is_coco(path) } else { !candidates(path).is_empty() }
}

/// The files of a data set with their parts, and what to say of those that are left out.
pub(super) fn annotations(root: &Path) -> (Vec<Annotations>, Vec<String>) {
    if root.is_file() {
        return (vec![Annotations { path: root.to_owned(), split: None }], Vec::new());
    }
    let mut found = candidates(root);
    let mut notes = Vec::new();
    // COCO's own folder holds captions and key points of the same pictures.
    let is_instances =
        |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("instances"));
    if found.iter().any(|path| is_instances(path)) {
        found.retain(|path| {
            let keep = is_instances(path);
            if !keep {
                notes.push(format!("`{}` is beside files of instances: it was left out", path.display()));
            }
            keep
        });
    }
    let with_split = |path: PathBuf| {
        let folder = path.parent().filter(|folder| *folder != root);
        let split = split_of(&path).or_else(|| folder.and_then(part_of));
        Annotations { path, split }
    };
    let mut files: Vec<Annotations> = found.into_iter().map(with_split).collect();
    let has = |files: &[Annotations], split| files.iter().any(|file| file.split == split);
    if has(&files, None) && !has(&files, Some(Split::Train)) && files.len() > 1 {
        for file in files.iter_mut().filter(|file| file.split.is_none()) {
            notes.push(format!("`{}` is taken for training", file.path.display()));
            file.split = Some(Split::Train);
        }
    }
    files.sort_by(|a, b| (a.split, &a.path).cmp(&(b.split, &b.path)));
    (files, notes)
}

/// COCO files of a folder: in it, in its `annotations`, and in its folders of parts.
fn candidates(root: &Path) -> Vec<PathBuf> {
    let folders = entries(root).into_iter().filter(|path| path.is_dir());
    let searched = folders.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        ["annotations", "annotation", "labels"].contains(&name.as_str()) || part_of(path).is_some()
    });
    let mut found = Vec::new();
    for folder in std::iter::once(root.to_owned()).chain(searched) {
        let is_json = |path: &PathBuf| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let files = entries(&folder).into_iter().filter(is_json).take(MOST_LOOKED_AT);
        found.extend(files.filter(|path| is_coco(path)));
    }
    found
}

/// The part that a folder is for.
fn part_of(folder: &Path) -> Option<Split> {
    folder.file_name().and_then(part_of_folder)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    sorted(folder).unwrap_or_default()
}

/// Whether a file begins as a JSON object with COCO's lists.
fn is_coco(path: &Path) -> bool {
    let mut head = Vec::new();
    let Ok(file) = File::open(path) else { return false };
    if has_image_extension(path) || file.take(HEAD as u64).read_to_end(&mut head).is_err() {
        return false;
    }
    let is_cut = head.len() == HEAD;
    let lists = lists_of(&head);
    let of_coco = lists.iter().filter(|list| ["images", "annotations", "categories"].contains(&list.as_str())).count();
    // Of a long file the beginning shows one list alone.
    of_coco >= 2 || is_cut && of_coco == 1
}

/// Names of the lists directly in a JSON object, as far as it goes.
fn lists_of(head: &[u8]) -> Vec<String> {
    let (mut lists, mut depth, mut at) = (Vec::new(), 0usize, 0);
    let mut last = None;
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    if !head.trim_ascii_start().starts_with(b"{") {
        return lists;
    }
    while at < head.len() {
        match head[at] {
            b'"' => {
                let start = at + 1;
                at = start;
                while at < head.len() && head[at] != b'"' {
                    at += 1 + usize::from(head[at] == b'\\');
                }
                last = head.get(start..at).filter(|_| depth == 1);
            }
            open @ (b'{' | b'[') => {
                depth += 1;
                if let Some(name) = last.take()
                    && open == b'['
                {
                    lists.push(String::from_utf8_lossy(name).into_owned());
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    break;
                }
            }
            b',' => last = None,
            _ => {}
        }
        at += 1;
    }
    lists
}

/// Finds the pictures that a file names.
pub(super) struct Finder {
    /// The data set's folder, from which paths are told.
    home: PathBuf,
    folders: Vec<PathBuf>,
    /// Where the last one was.
    last: usize,
}

impl Finder {
    /// For one file of a data set.
    pub(super) fn new(root: &Path, file: &Path) -> Self {
        let of = |path: &Path| match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let beside = of(file);
        let named = |path: &Path, name: &str| path.file_name().is_some_and(|found| found.eq_ignore_ascii_case(name));
        let home = if root.is_dir() {
            root.to_owned()
        } else if named(&beside, "annotations") {
            of(&beside)
        } else {
            beside.clone()
        };
        let mut folders = vec![beside.clone(), beside.join("images")];
        let mut others: Vec<PathBuf> = Vec::new();
        for folder in entries(&home).into_iter().filter(|path| path.is_dir()) {
            others.extend(entries(&folder).into_iter().filter(|path| path.is_dir()));
            others.push(folder);
        }
        // A folder whose name ends the file's name, then one of the same part, then any.
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
        let split = split_of(file).or_else(|| part_of(&beside));
        let rank = |folder: &PathBuf| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            (!stem.ends_with(&name), split.is_none() || part_of(folder) != split)
        };
        others.sort_by_key(|folder| (rank(folder), folder.clone()));
        folders.push(home.clone());
        folders.extend(others);
        folders.truncate(MOST_FOLDERS);
        Self { home, folders, last: 0 }
    }

    /// Path of a picture and what it is called within the data set; where it is not found, where it was looked for first.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub(super) fn find(&mut self, name: &str) -> Result<(PathBuf, String), String> {
        let plain = name.replace('\\', "/");
        // Another machine's path says no more than its last part.
        let local = if Path::new(&plain).is_absolute() || plain.contains(':') {
            plain.rsplit('/').next().unwrap_or_default()
        } else {
            &plain
        };
        if !goes_down(local) {
            return Err(format!("picture `{}` does not lie in the data set", name.escape_debug()));
        }
        let order = std::iter::once(self.last).chain(0..self.folders.len());
        let found =
            order.into_iter().find(|index| self.folders.get(*index).is_some_and(|folder| folder.join(local).is_file()));
        if let Some(found) = found {
            self.last = found;
        }
        let path = self.folders[found.unwrap_or(0)].join(local);
        let relative = relative_to(&self.home, &path);
        Ok((path, relative))
    }
}
