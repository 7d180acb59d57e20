//! What tells a data set of recordings: the columns of its tables, the names of its files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::evidence::Evidence;
use crate::audio::has_audio_extension;
use crate::speech::assemble;

/// Files that are looked at before a folder counts as none of recordings.
const MOST_LOOKED_AT: usize = 20_000;

/// Folders deeper than this are not looked into.
const DEEPEST: usize = 4;

/// Columns of recordings, by letters and digits alone.
const RECORDINGS: &[&str] = &[
    "file",
    "filename",
    "path",
    "audio",
    "wav",
    "audiofile",
    "audiofilename",
    "audiopath",
    "wavfile",
    "wavpath",
    "clip",
    "recording",
];

/// Columns of transcripts.
const TRANSCRIPTS: &[&str] =
    &["transcript", "transcription", "sentence", "text", "normalizedtext", "utterance", "words"];

/// Columns of speakers.
const SPEAKERS: &[&str] = &["speaker", "speakerid", "clientid", "spk", "voice"];

/// Which columns hold what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpeechColumns {
    pub(super) recording: usize,
    pub(super) transcript: usize,
    pub(super) speaker: Option<usize>,
}

/// The columns of a table of recordings, by their names.
pub(super) fn columns(names: &[&str]) -> Option<SpeechColumns> {
    let plain: Vec<String> = names.iter().map(|name| plain(name)).collect();
    let find = |known: &[&str]| known.iter().find_map(|name| plain.iter().position(|column| column == name));
    Some(SpeechColumns { recording: find(RECORDINGS)?, transcript: find(TRANSCRIPTS)?, speaker: find(SPEAKERS) })
}

fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether the head of a table is one of recordings.
pub(super) fn kind_of_table(path: &Path, head: &str) -> Option<Evidence> {
    let first = head.lines().find(|line| !line.trim().is_empty())?;
    if let Some((name, _)) = first.split_once('|') {
        let folder = path.parent().unwrap_or(Path::new(""));
        let is_recording = !name.trim().is_empty() && assemble::find(folder, name).is_file();
        return is_recording.then_some(Evidence::LjSpeech);
    }
    let delimiter = if first.contains('\t') { b'\t' } else { b',' };
    // In tab-separated files a quote is a plain character more often than not.
    let mut table = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .quoting(delimiter == b',')
        .trim(csv::Trim::All)
        .from_reader(head.as_bytes());
    let mut rows = table.records().filter_map(Result::ok);
    let names = rows.next()?;
    let names: Vec<&str> = names.iter().map(|name| name.trim_matches('"')).collect();
    let has = |name: &str| names.iter().any(|column| column.eq_ignore_ascii_case(name));
    if has("wav_filename") && has("transcript") {
        return Some(Evidence::DeepspeechCsv);
    }
    let found = columns(&names)?;
    let is_voice = delimiter == b'\t' && has("path") && has("sentence");
    if is_voice && has("client_id") {
        return Some(Evidence::CommonVoice);
    }
    let row = rows.next()?;
    let is_recording =
        row.get(found.recording).is_some_and(|cell| has_audio_extension(Path::new(cell.trim_matches('"'))));
    is_recording.then_some(if is_voice { Evidence::CommonVoice } else { Evidence::Transcripts })
}

/// Recordings below a folder, by their paths.
pub(super) fn recordings(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), usize::MAX);
    walk(folder, 0, &mut left, &mut |path| found.extend(has_audio_extension(&path).then_some(path)));
    found
}

fn walk(folder: &Path, level: usize, left: &mut usize, each: &mut dyn FnMut(PathBuf)) {
    for path in super::class_folders::sorted(folder).unwrap_or_default() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        if !path.is_dir() {
            each(path);
        } else if level < DEEPEST && !path.is_symlink() {
            walk(&path, level + 1, left, each);
        }
    }
}

/// What recordings without a table are: with a text file each, in folders of their classes, or with their class as name.
pub(super) fn kind_of_folder(root: &Path) -> Option<Evidence> {
    let (mut found, mut texts, mut left) = (Vec::new(), 0, MOST_LOOKED_AT);
    walk(root, 0, &mut left, &mut |path| {
        texts += usize::from(super::text_folder::is_text(&path));
        found.extend(has_audio_extension(&path).then_some(path));
    });
    let with_text = found.iter().filter(|path| path.with_extension("txt").is_file()).count();
    if with_text * 2 > found.len() {
        return Some(Evidence::RecordingTexts);
    }
    if found.is_empty() || texts > found.len() {
        return None;
    }
    let parents: BTreeSet<&Path> = found.iter().filter_map(|path| path.parent()).collect();
    if parents.len() == 1 && names_tell_classes(&found) {
        return Some(Evidence::RecordingNames);
    }
    Some(Evidence::RecordingFolders)
}

/// Whether the first parts of names are classes: several, each more than once, and hardly any other name.
fn names_tell_classes(paths: &[PathBuf]) -> bool {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (class, _) in paths.iter().filter_map(|path| parts_of_name(path)) {
        *counts.entry(class).or_default() += 1;
    }
    let repeated: usize = counts.values().filter(|count| **count > 1).sum();
    counts.values().filter(|count| **count > 1).count() > 1 && repeated * 10 >= paths.len() * 9
}

/// Class and speaker of a name such as `7_jackson_12.wav`; the speaker only where there are three parts.
pub(super) fn parts_of_name(path: &Path) -> Option<(String, Option<String>)> {
    let stem = path.file_stem()?.to_str()?;
    let parts: Vec<&str> = stem.split('_').collect();
    match parts.as_slice() {
        [class, rest @ ..] if !class.is_empty() && !rest.is_empty() => {
            let speaker = if let [speaker, _] = rest { Some((*speaker).to_owned()) } else { None };
            Some(((*class).to_owned(), speaker))
        }
        _ => None,
    }
}
