//! Text that nobody labelled: plain files with a sentence or a paragraph a line, folders of such, and the texts of labelled
//! data sets without their labels, all as one set.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::assemble::{Draft, DraftExample, DraftTarget};
use super::{Origin, Outcome, TargetKind, TextOptions, TextSet, charset};
use crate::error::DataError;
use crate::layouts::{self, Split};

/// Name of the layout.
const LAYOUT: &str = "plain_text";

/// Endings of plain files; one without an ending is taken for plain too.
const ENDINGS: [&str; 3] = ["txt", "text", "md"];

/// Folders deeper than this are a loop or a mistake.
const MOST_LEVELS: usize = 32;

/// Opens a corpus: each path is a plain file, a folder that holds `.txt` files at any depth, or a labelled data set (see
/// [`layouts`]) whose texts alone are used.
///
/// A labelled data set's own validation and test parts are left out and told: what is scored on them later must not have
/// been learned from. With `text_column`, plain endings do not hide a table. Lines that are no UTF-8 are problems.
///
/// # Errors
/// [`DataError::Io`]; [`DataError::Layout`] where a path holds no text, or nothing could be used.
pub fn open(paths: &[PathBuf], options: &TextOptions) -> Result<TextSet, DataError> {
    let mut draft = Draft::default();
    let mut has_table = false;
    for path in paths {
        match kind(path, options)? {
            Kind::Files(files) => files.iter().try_for_each(|file| add_lines(&mut draft, file))?,
            Kind::Labelled => {
                has_table = true;
                add_labelled(&mut draft, path, options)?;
            }
        }
    }
    let root = paths.first().map_or(Path::new(""), PathBuf::as_path);
    if let Some(name) = options.text_column.as_ref().filter(|_| !has_table) {
        return Err(DataError::Layout {
            path: root.to_owned(),
            reason: format!("`{name}` is the column of a table, and there is none"),
            help: "leave --text-column out: of a plain file every line is read".to_owned(),
        });
    }
    if draft.examples.is_empty() && draft.problems.is_empty() {
        return Err(DataError::Layout {
            path: root.to_owned(),
            reason: "there is no text in it".to_owned(),
            help: "give files with a sentence or a paragraph a line".to_owned(),
        });
    }
    draft.finish(LAYOUT, root, TargetKind::Unlabeled)
}

enum Kind {
    /// Plain files, in the order of their names.
    Files(Vec<PathBuf>),
    /// A data set that a layout of texts recognizes.
    Labelled,
}

fn kind(path: &Path, options: &TextOptions) -> Result<Kind, DataError> {
    let metadata = std::fs::metadata(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    if metadata.is_dir() {
        // Class folders of texts are texts like any other here.
        let mut files = BTreeSet::new();
        plain_files(path, 0, &mut files)?;
        return Ok(if files.is_empty() || options.text_column.is_some() && is_data_set(path) {
            Kind::Labelled
        } else {
            Kind::Files(files.into_iter().collect())
        });
    }
    let is_plain = match path.extension() {
        None => true,
        Some(ending) => ENDINGS.iter().any(|plain| ending.eq_ignore_ascii_case(plain)),
    };
    let is_labelled = is_data_set(path) && (!is_plain || options.text_column.is_some());
    Ok(if is_labelled { Kind::Labelled } else { Kind::Files(vec![path.to_owned()]) })
}

/// Whether a layout of labelled texts or of named stretches recognizes a path.
fn is_data_set(path: &Path) -> bool {
    layouts::holds_texts(path) || layouts::holds_entities(path)
}

/// The `.txt` files below a folder; hidden ones are passed over.
fn plain_files(folder: &Path, level: usize, found: &mut BTreeSet<PathBuf>) -> Result<(), DataError> {
    let io = |source| DataError::Io { path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            if level < MOST_LEVELS && !path.is_symlink() {
                plain_files(&path, level + 1, found)?;
            }
        } else if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("txt")) {
            found.insert(path);
        }
    }
    Ok(())
}

/// Every line of a plain file that is not empty.
fn add_lines(draft: &mut Draft, path: &Path) -> Result<(), DataError> {
    let read = charset::read(path)?;
    draft.notes.extend(read.note);
    let file = draft.files.len();
    draft.files.push(path.to_owned());
    for (index, line) in read.bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let line_number = index + 1;
        match std::str::from_utf8(line) {
            Ok(text) => draft.examples.push(unlabeled(text.trim().to_owned(), Origin { file, line: line_number })),
            Err(_) => draft.problem(path, line_number, "bytes that are no UTF-8", Outcome::Skipped),
        }
    }
    Ok(())
}

/// The texts of a labelled data set, both of a pair.
fn add_labelled(draft: &mut Draft, path: &Path, options: &TextOptions) -> Result<(), DataError> {
    // Entities have no columns to choose among, and their layouts refuse to be told that they are unlabelled.
    let unlabeled_options = TextOptions { target: Some(TargetKind::Unlabeled), ..options.clone() };
    let set = match layouts::open_text(path, &unlabeled_options) {
        Ok(set) => set,
        Err(error @ DataError::Io { .. }) => return Err(error),
        Err(first) => layouts::open_text(path, options).map_err(|_| first)?,
    };
    let before = draft.files.len();
    draft.files.extend(set.files);
    draft.problems.extend(set.problems);
    draft.notes.extend(set.notes);
    let mut aside = 0;
    for example in set.examples {
        if matches!(example.split, Some(Split::Validation | Split::Test)) {
            aside += 1;
            continue;
        }
        let origin = Origin { file: before + example.origin.file, ..example.origin };
        draft.examples.push(unlabeled(example.text, origin));
        draft.examples.extend(example.pair.map(|pair| unlabeled(pair, origin)));
    }
    if aside > 0 {
        draft
            .notes
            .push(format!("{aside} texts of the validation and test parts of `{}` are not used", path.display()));
    }
    Ok(())
}

fn unlabeled(text: String, origin: Origin) -> DraftExample {
    DraftExample { text, pair: None, words: Vec::new(), target: DraftTarget::Unlabeled, origin, split: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        root
    }

    fn texts(set: &TextSet) -> Vec<&str> {
        set.examples.iter().map(|example| example.text.as_str()).collect()
    }

    #[test]
    fn lines_of_files_and_folders_are_read_in_the_order_of_names() {
        let root = folder(&[
            ("b.txt", b"third\r\n\n  fourth\n"),
            ("a.txt", b"first, with\ta tab\nsecond"),
            ("deep/er/c.TXT", b"fifth\n"),
            ("note.rst", b"not read\n"),
            (".hidden.txt", b"not read\n"),
        ]);
        let set = open(&[root.path().to_owned()], &TextOptions::default()).unwrap();
        assert_eq!(texts(&set), ["first, with\ta tab", "second", "third", "fourth", "fifth"]);
        assert_eq!(set.place(3), format!("{}:3", root.path().join("b.txt").display()));
        let twice = [root.path().join("b.txt"), root.path().join("a.txt")];
        assert_eq!(texts(&open(&twice, &TextOptions::default()).unwrap())[..2], ["third", "fourth"]);
    }

    #[test]
    fn lines_that_are_no_utf8_are_named_and_left_out() {
        let long = "a plain line with an é\n".repeat(4);
        let bytes = [long.as_bytes(), b"broken \xff line\nlast\n"].concat();
        let root = folder(&[("a.txt", &bytes)]);
        let set = open(&[root.path().join("a.txt")], &TextOptions::default()).unwrap();
        assert_eq!(set.examples.len(), 5);
        assert_eq!(set.problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn labelled_data_give_their_texts_and_keep_what_is_scored_on_out() {
        let root = folder(&[
            ("set/train.csv", b"text,label\na film,x\na song,y\n"),
            ("set/test.csv", b"text,label\nthe secret,x\n"),
            ("words.conll", b"Anna\tB-PER\nsings\tO\n\nRome\tB-LOC\nsleeps\tO\n"),
            ("mails/spam/1.txt", b"buy\nnow\n"),
            ("mails/ham/2.txt", b"hello\n"),
        ]);
        let paths = ["set", "words.conll", "mails"].map(|name| root.path().join(name));
        let set = open(&paths, &TextOptions::default()).unwrap();
        assert_eq!(texts(&set), ["a film", "a song", "Anna sings", "Rome sleeps", "hello", "buy", "now"]);
        assert!(set.notes.iter().any(|note| note.starts_with("1 texts of the validation and test parts")));
        let options = TextOptions { text_column: Some("body".into()), ..TextOptions::default() };
        let root = folder(&[("a.txt", b"id\tbody\n1\tone text\n2\tanother text\n")]);
        assert_eq!(texts(&open(&[root.path().join("a.txt")], &options).unwrap()), ["one text", "another text"]);
    }

    #[test]
    fn what_holds_no_text_is_refused_with_its_name() {
        let root = folder(&[("empty.txt", b" \n\n"), ("some.txt", b"a line\n"), ("photos/x/1.png", b"\x89PNG")]);
        let message = |name: &str, options: &TextOptions| {
            let error = open(&[root.path().join(name)], options).unwrap_err();
            format!("{error} {}", error.help().unwrap_or_default())
        };
        assert!(message("empty.txt", &TextOptions::default()).contains("there is no text in it"));
        assert!(message("photos", &TextOptions::default()).contains("pictures"));
        assert!(message("none.txt", &TextOptions::default()).contains("none.txt"));
        let options = TextOptions { text_column: Some("body".into()), ..TextOptions::default() };
        assert!(message("some.txt", &options).contains("column of a table"));
    }
}
