//! What a path looks like, found once for all layouts, so that no two claim it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Split, conll, text_table};
use crate::error::DataError;
use crate::image::has_image_extension;
use crate::text::charset;

/// What a path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Evidence {
    /// Folders, of photos as far as can be seen.
    Photos,
    /// Folders of text files.
    Texts,
    /// A delimited table.
    Table,
    /// A JSON object a line.
    JsonLines,
    /// A JSON object a line, with marked spans or tagged words.
    JsonSpans,
    /// A Parquet table.
    Parquet,
    /// A tagged word a line.
    Conll,
    /// A table of recordings as DeepSpeech has it.
    DeepspeechCsv,
    /// A table of recordings as Common Voice has it.
    CommonVoice,
    /// Another table of recordings.
    Transcripts,
    /// Lines of `name|text` with recordings of these names.
    LjSpeech,
    /// Recordings with a text file each.
    RecordingTexts,
    /// Folders of recordings.
    RecordingFolders,
    /// Recordings in one folder with their class as name.
    RecordingNames,
    /// Boxes in COCO's JSON.
    Coco,
    /// Boxes in Pascal VOC's XML.
    Voc,
    /// Boxes in YOLO's text files.
    Yolo,
}

impl Evidence {
    fn is_table_of_recordings(self) -> bool {
        matches!(self, Self::DeepspeechCsv | Self::CommonVoice | Self::Transcripts | Self::LjSpeech)
    }
}

/// A file of a text data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextFile {
    pub(super) path: PathBuf,
    pub(super) split: Option<Split>,
}

const SPLITS: &[(&str, Split)] = &[
    ("train", Split::Train),
    ("training", Split::Train),
    ("dev", Split::Validation),
    ("development", Split::Validation),
    ("val", Split::Validation),
    ("valid", Split::Validation),
    ("validation", Split::Validation),
    ("eval", Split::Validation),
    ("testa", Split::Validation),
    ("test", Split::Test),
    ("testb", Split::Test),
    ("testing", Split::Test),
];

/// Bytes of a file that its kind is found from.
const HEAD: usize = 1 << 16;

/// Entries of class folders that are looked at before a folder counts as one of photos.
const MOST_LOOKED_AT: usize = 2_000;

/// What lies at `path`; the contents of files decide where names do not.
pub(super) fn evidence(path: &Path) -> Option<Evidence> {
    if let Some(found) = evidence_of_boxes(path) {
        return Some(found);
    }
    if path.is_file() {
        return kind_of_file(path, true);
    }
    let entries = entries(path);
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.into_iter().partition(|path| path.is_dir());
    let mut left = MOST_LOOKED_AT;
    let found = look_into(&folders, 0, &mut left);
    if found == Some(Evidence::Photos) {
        return found;
    }
    let text_files: Vec<(Evidence, TextFile)> = text_files(&files);
    let kind = |is: &dyn Fn(Evidence) -> bool| {
        let fitting = || text_files.iter().filter(|(kind, _)| is(*kind));
        let learned = fitting().find(|(_, file)| file.split == Some(Split::Train)).or_else(|| fitting().next());
        learned.map(|(kind, _)| *kind)
    };
    kind(&|kind| kind.is_table_of_recordings())
        .or_else(|| super::speech_evidence::kind_of_folder(path))
        .or_else(|| kind(&|_| true))
        .or(found)
        .or_else(|| (!folders.is_empty()).then_some(Evidence::Photos))
}

/// Boxes come first: their files lie among photos and texts, and say more.
fn evidence_of_boxes(path: &Path) -> Option<Evidence> {
    if super::coco::looks_like(path) {
        Some(Evidence::Coco)
    } else if super::voc::looks_like(path) {
        Some(Evidence::Voc)
    } else {
        super::yolo::looks_like(path).then_some(Evidence::Yolo)
    }
}

/// The files of a text data set of one kind with their parts, and what to say of those that are left out.
///
/// Parts are known by file names: `train.csv`, `dev.tsv`, `wnut.test.conll`, `train-00000-of-00002.parquet`.
///
/// # Errors
/// [`DataError::Io`]; [`DataError::Layout`] where no file is of this kind, or none is to learn from.
pub(super) fn files(root: &Path, kind: Evidence) -> Result<(Vec<TextFile>, Vec<String>), DataError> {
    let metadata = fs::metadata(root).map_err(|source| DataError::Io { path: root.to_owned(), source })?;
    if metadata.is_file() {
        return Ok((vec![TextFile { path: root.to_owned(), split: None }], Vec::new()));
    }
    let found: Vec<PathBuf> = entries(root).into_iter().filter(|path| path.is_file()).collect();
    let mut notes = Vec::new();
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for (found, file) in text_files(&found) {
        if found == kind { files.push(file) } else { others.push(file.path) }
    }
    if files.is_empty() {
        let reason = "no file in it is of this kind".to_owned();
        let help = "name the files train.csv, validation.csv and test.csv, or give one file".to_owned();
        return Err(DataError::Layout { path: root.to_owned(), reason, help });
    }
    let is = |file: &TextFile, split| file.split == Some(split);
    if files.iter().any(|file| is(file, Split::Train)) {
        // Beside a training file, one without a part is something else.
        files.retain(|file| {
            let keep = file.split.is_some();
            if !keep {
                others.push(file.path.clone());
            }
            keep
        });
    } else if files.iter().any(|file| file.split.is_none()) {
        let has_parts = files.iter().any(|file| file.split.is_some());
        for file in files.iter_mut().filter(|file| file.split.is_none()) {
            if has_parts {
                notes.push(format!("`{}` is taken for training", file.path.display()));
                file.split = Some(Split::Train);
            }
        }
    } else {
        let reason = "it holds validation or test files, but none to learn from".to_owned();
        let help = "name the file to learn from `train`, such as train.csv".to_owned();
        return Err(DataError::Layout { path: root.to_owned(), reason, help });
    }
    for path in others {
        notes.push(format!("`{}` is neither train, validation nor test: it was left out", path.display()));
    }
    files.sort_by(|a, b| (a.split, &a.path).cmp(&(b.split, &b.path)));
    Ok((files, notes))
}

/// The files that are of some text kind, in the order of their names.
fn text_files(files: &[PathBuf]) -> Vec<(Evidence, TextFile)> {
    let file = |path: &PathBuf| {
        let kind = kind_of_file(path, false)?;
        Some((kind, TextFile { path: path.clone(), split: split_of(path) }))
    };
    files.iter().filter_map(file).collect()
}

/// The part that the name of a folder is: `train`, `Valid`, `test2017`.
pub(super) fn part_of_folder(name: &OsStr) -> Option<Split> {
    let name = name.to_string_lossy().to_lowercase();
    let name = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    SPLITS.iter().find(|(spelled, _)| *spelled == name).map(|(_, split)| *split)
}

/// The part that a file name speaks of.
pub(super) fn split_of(path: &Path) -> Option<Split> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let words: Vec<&str> = name.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty()).collect();
    let exact = words.iter().find_map(|word| SPLITS.iter().find(|(spelled, _)| spelled == word));
    let within = || {
        let ends = |word: &&str, part: &str| word.starts_with(part) || word.ends_with(part);
        ["train", "test", "valid"]
            .iter()
            .find(|part| words.iter().any(|word| ends(word, part)))
            .and_then(|part| SPLITS.iter().find(|(spelled, _)| spelled == part))
    };
    exact.or_else(within).map(|(_, split)| *split)
}

/// Kind of one file. `alone` files, which a user named, may have any extension.
fn kind_of_file(path: &Path, alone: bool) -> Option<Evidence> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default();
    if has_image_extension(path) || ["md", "rst", "py", "sh", "html", "pdf", "zip", "gz"].contains(&extension.as_str())
    {
        return None;
    }
    let head = head(path)?;
    if extension == "parquet" || head.starts_with(b"PAR1") {
        return Some(Evidence::Parquet);
    }
    let head = charset::to_utf8(path, head).ok()?.bytes;
    let head = String::from_utf8_lossy(&head);
    if ["csv", "tsv", "tab", "psv", "txt"].contains(&extension.as_str())
        && let Some(kind) = super::speech_evidence::kind_of_table(path, &head)
    {
        return Some(kind);
    }
    match extension.as_str() {
        "jsonl" | "ndjson" | "jsonlines" | "json" => Some(kind_of_json(&head)?),
        "conll" | "conll2003" | "bio" | "iob" | "iob2" | "bioes" | "ner" => Some(Evidence::Conll),
        _ if conll::looks_like(&head) => Some(Evidence::Conll),
        "csv" | "tsv" | "tab" | "psv" => Some(Evidence::Table),
        "txt" | "data" | "" if text_table::looks_like(&head) => Some(Evidence::Table),
        _ if alone && text_table::looks_like(&head) => Some(Evidence::Table),
        _ => None,
    }
}

/// Which JSON lines these are, by the fields of the first objects.
fn kind_of_json(head: &str) -> Option<Evidence> {
    const LOOKED_AT: usize = 20;
    let mut kind = None;
    for line in head.lines().filter(|line| !line.trim().is_empty()).take(LOOKED_AT) {
        let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(line) else { continue };
        if super::json_spans::has_spans(&fields) {
            return Some(Evidence::JsonSpans);
        }
        kind = Some(Evidence::JsonLines);
    }
    kind
}

fn head(path: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(HEAD as u64).read_to_end(&mut head).ok()?;
    if head.len() == HEAD {
        // Not through the middle of a line.
        let end = head.iter().rposition(|byte| *byte == b'\n').map_or(HEAD, |end| end + 1);
        head.truncate(end);
    }
    Some(head)
}

/// Photos as soon as there is one, else text files if there is one.
fn look_into(folders: &[PathBuf], level: usize, left: &mut usize) -> Option<Evidence> {
    const DEEPEST: usize = 4;
    let mut found = None;
    for folder in folders {
        let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries(folder)
            .into_iter()
            .filter(|path| !path.is_symlink() || path.is_file())
            .partition(|path| path.is_dir());
        for file in files {
            if *left == 0 {
                return found;
            }
            *left -= 1;
            if has_image_extension(&file) {
                return Some(Evidence::Photos);
            }
            if super::text_folder::is_text(&file) {
                found = Some(Evidence::Texts);
            }
        }
        if level < DEEPEST {
            match look_into(&folders, level + 1, left) {
                Some(Evidence::Photos) => return Some(Evidence::Photos),
                deeper => found = found.or(deeper),
            }
        }
    }
    found
}

/// Entries of a folder by name, without hidden ones; none where it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    super::class_folders::sorted(folder).unwrap_or_default()
}
