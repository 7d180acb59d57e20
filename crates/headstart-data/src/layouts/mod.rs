//! How files encode examples: one file a dataset layout, and this registry.

mod class_folders;
pub mod coco;
pub mod common_voice;
pub mod conll;
pub mod deepspeech_csv;
mod evidence;
pub mod image_folder;
pub mod json_spans;
pub mod jsonl;
pub mod ljspeech;
pub mod parquet;
pub mod recording_folder;
pub mod recording_names;
pub mod recording_texts;
mod speech_evidence;
pub mod text_folder;
pub mod text_table;
pub mod transcript_table;
pub mod voc;
mod written_folder;
pub mod yolo;

use std::path::{Component, Path, PathBuf};

use crate::boxes::DetectionSet;
use crate::error::DataError;
use crate::speech::SpeechSet;
use crate::text::{TextOptions, TextSet};
pub use written_folder::Written;

/// A row of the registry.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Short name.
    pub name: &'static str,
    /// What it looks like.
    pub describes: &'static str,
    /// Whether a path looks like it; no path looks like two.
    pub recognizes: fn(&Path) -> bool,
    /// Reads it.
    pub open: Opener,
}

/// How a layout is read, by what its examples are.
#[derive(Debug, Clone, Copy)]
pub enum Opener {
    /// Lists pictures, unread.
    Images(fn(&Path) -> Result<Listing, DataError>),
    /// Reads texts whole.
    Text(fn(&Path, &TextOptions) -> Result<TextSet, DataError>),
    /// Reads texts whole, of which stretches are named.
    Entities(fn(&Path, &TextOptions) -> Result<TextSet, DataError>),
    /// Lists recordings, unread, with their transcripts.
    Speech(fn(&Path) -> Result<SpeechSet, DataError>),
    /// Lists recordings, unread, with their classes.
    Sounds(fn(&Path) -> Result<SpeechSet, DataError>),
    /// Reads the boxes of pictures, which are measured and not decoded.
    Boxes(fn(&Path) -> Result<DetectionSet, DataError>),
}

impl Opener {
    /// What its examples are, in a word.
    fn holds(&self) -> &'static str {
        match self {
            Self::Images(_) => "pictures",
            Self::Text(_) | Self::Entities(_) => "texts",
            Self::Speech(_) | Self::Sounds(_) => "recordings",
            Self::Boxes(_) => "pictures with boxes",
        }
    }
}

/// Every layout that we read.
pub const LAYOUTS: &[Layout] = &[
    image_folder::LAYOUT,
    text_table::LAYOUT,
    jsonl::LAYOUT,
    parquet::LAYOUT,
    json_spans::LAYOUT,
    conll::LAYOUT,
    text_folder::LAYOUT,
    deepspeech_csv::LAYOUT,
    common_voice::LAYOUT,
    transcript_table::LAYOUT,
    ljspeech::LAYOUT,
    recording_texts::LAYOUT,
    recording_folder::LAYOUT,
    recording_names::LAYOUT,
    coco::LAYOUT,
    voc::LAYOUT,
    yolo::LAYOUT,
];

/// The layout that recognizes a path.
pub fn find(path: &Path) -> Option<&'static Layout> {
    LAYOUTS.iter().find(|layout| (layout.recognizes)(path))
}

/// Whether a path looks like a data set of pictures.
pub fn holds_images(path: &Path) -> bool {
    find(path).is_some_and(|layout| matches!(layout.open, Opener::Images(_)))
}

/// Whether a path looks like a data set of texts with a class or labels each.
pub fn holds_texts(path: &Path) -> bool {
    find(path).is_some_and(|layout| matches!(layout.open, Opener::Text(_)))
}

/// Whether a path looks like a data set of texts with named stretches.
pub fn holds_entities(path: &Path) -> bool {
    find(path).is_some_and(|layout| matches!(layout.open, Opener::Entities(_)))
}

/// Whether a path looks like a data set of recordings with transcripts.
pub fn holds_transcripts(path: &Path) -> bool {
    find(path).is_some_and(|layout| matches!(layout.open, Opener::Speech(_)))
}

/// Whether a path looks like a data set of recordings with a class each.
pub fn holds_sounds(path: &Path) -> bool {
    find(path).is_some_and(|layout| matches!(layout.open, Opener::Sounds(_)))
}

/// Whether a path looks like a data set of pictures with boxes.
pub fn holds_boxes(path: &Path) -> bool {
    find(path).is_some_and(|layout| matches!(layout.open, Opener::Boxes(_)))
}

/// Opens a data set of pictures.
///
/// # Errors
/// [`DataError::Layout`] with what was found and what is expected.
pub fn open(path: &Path) -> Result<Listing, DataError> {
    let layout = match find(path) {
        // Where nothing is recognized, its messages say best what is missing.
        None => &image_folder::LAYOUT,
        Some(layout) => layout,
    };
    match layout.open {
        Opener::Images(open) => open(path),
        other => Err(DataError::Layout {
            path: path.to_owned(),
            reason: format!("it looks like `{}`, which holds {}; pictures were expected", layout.name, other.holds()),
            help: "give a folder of photos for each class".to_owned(),
        }),
    }
}

/// Opens a data set of pictures with boxes.
///
/// # Errors
/// [`DataError::Io`]; [`DataError::Layout`] with what was found and what is expected.
pub fn open_boxes(path: &Path) -> Result<DetectionSet, DataError> {
    std::fs::metadata(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let reason = match find(path) {
        Some(Layout { open: Opener::Boxes(open), .. }) => return open(path),
        Some(layout) => format!("it looks like `{}`, which holds no boxes", layout.name),
        None => "it looks like no layout of boxes".to_owned(),
    };
    let rows = LAYOUTS.iter().filter(|layout| matches!(layout.open, Opener::Boxes(_)));
    let names: Vec<String> = rows.map(|layout| format!("{} ({})", layout.name, layout.describes)).collect();
    let help = format!("boxes are read as {}", names.join("; "));
    Err(DataError::Layout { path: path.to_owned(), reason, help })
}

/// Opens a data set of texts.
///
/// # Errors
/// [`DataError::Io`]; [`DataError::Layout`] with what was found and what is expected.
pub fn open_text(path: &Path, options: &TextOptions) -> Result<TextSet, DataError> {
    std::fs::metadata(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    match find(path) {
        Some(Layout { open: Opener::Text(open) | Opener::Entities(open), .. }) => open(path, options),
        found => Err(unexpected(path, found, "texts", |open| matches!(open, Opener::Text(_) | Opener::Entities(_)))),
    }
}

/// Opens a data set of recordings.
///
/// # Errors
/// [`DataError::Io`]; [`DataError::Layout`] with what was found and what is expected.
pub fn open_speech(path: &Path) -> Result<SpeechSet, DataError> {
    std::fs::metadata(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    match find(path) {
        Some(Layout { open: Opener::Speech(open) | Opener::Sounds(open), .. }) => open(path),
        found => {
            Err(unexpected(path, found, "recordings", |open| matches!(open, Opener::Speech(_) | Opener::Sounds(_))))
        }
    }
}

/// What a path is instead of a layout of `wanted`, and which there are.
fn unexpected(path: &Path, found: Option<&Layout>, wanted: &str, is: fn(&Opener) -> bool) -> DataError {
    let rows = LAYOUTS.iter().filter(|layout| is(&layout.open));
    let names: Vec<String> = rows.map(|layout| format!("{} ({})", layout.name, layout.describes)).collect();
    let reason = match found {
        Some(layout) => {
            format!("it looks like `{}`, which holds {}; {wanted} were expected", layout.name, layout.open.holds())
        }
        None => format!("it looks like no layout of {wanted}"),
    };
    DataError::Layout { path: path.to_owned(), reason, help: format!("{wanted} are read as {}", names.join("; ")) }
}

/// Whether a name that a file gives leads nowhere but down from its folder.
fn goes_down(name: &str) -> bool {
    let down = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    !name.is_empty() && !name.contains(['\\', '\0']) && Path::new(name).components().all(down)
}

/// A path within a data set, with `/`.
fn relative_to(home: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(home).unwrap_or(path);
    let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
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
