//! Text data sets as people really have them.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests may panic, and say what they skip")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use headstart_data::error::DataError;
use headstart_data::layouts::{self, LAYOUTS, Opener, Split};
use headstart_data::split::SplitRule;
use headstart_data::text::copies::split;
use headstart_data::text::{Outcome, Target, TargetKind, TextOptions, TextSet};

const FIFTH: SplitRule = SplitRule { validation: 0.2, test: 0.0, seed: 0 };

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn open(path: &Path) -> TextSet {
    layouts::open_text(path, &TextOptions::default()).unwrap()
}

/// One file's set.
fn read(name: &str, text: &str) -> TextSet {
    let root = folder(&[(name, text)]);
    open(&root.path().join(name))
}

fn refusal(name: &str, text: &str) -> String {
    let root = folder(&[(name, text)]);
    let error = layouts::open_text(&root.path().join(name), &TextOptions::default()).unwrap_err();
    assert!(error.help().is_some(), "{error}");
    error.to_string()
}

fn shared(relative: &str) -> Option<PathBuf> {
    let root =
        std::env::var("HEADSTART_SHARED").unwrap_or_else(|_| format!("{}/../../../shared", env!("CARGO_MANIFEST_DIR")));
    let path = Path::new(&root).join(relative);
    if !path.exists() {
        println!("skipped: {} not found", path.display());
        return None;
    }
    Some(path)
}

/// Label names of every example.
fn named(set: &TextSet) -> Vec<Vec<&str>> {
    let name = |label: &usize| set.labels[*label].as_str();
    let names = |target: &Target| match target {
        Target::Class(class) => vec![name(class)],
        Target::Labels(labels) => labels.iter().map(name).collect(),
        Target::Spans(spans) => spans.iter().map(|span| name(&span.label)).collect(),
        Target::Unlabeled => Vec::new(),
    };
    set.examples.iter().map(|example| names(&example.target)).collect()
}

fn lines(set: &TextSet) -> Vec<usize> {
    set.problems.iter().map(|problem| problem.line).collect()
}

/// A small data set of every text layout, with the layout's name.
fn samples() -> Vec<(&'static str, tempfile::TempDir, PathBuf)> {
    let files: [(&str, &str, &str); 6] = [
        ("text_table", "reviews.csv", "text,label\ngood film,pos\nbad film,neg\n"),
        ("text_table", "plain.txt", "good film\t1\nbad film\t0\n"),
        (
            "jsonl",
            "reviews.jsonl",
            "{\"text\":\"good film\",\"label\":\"pos\"}\n{\"text\":\"bad film\",\"label\":\"neg\"}\n",
        ),
        (
            "json_spans",
            "spans.jsonl",
            "{\"text\":\"Ann left\",\"spans\":[{\"start\":0,\"end\":3,\"label\":\"PER\"}]}\n",
        ),
        ("conll", "words.tsv", "Ann\tB-PER\nleft\tO\n\nBonn\tB-LOC\n"),
        ("conll", "words.conll", "Ann NNP B-PER\nleft VBD O\n"),
    ];
    let mut samples: Vec<_> = files
        .into_iter()
        .map(|(layout, name, text)| {
            let root = folder(&[(name, text)]);
            let path = root.path().join(name);
            (layout, root, path)
        })
        .collect();
    let root = folder(&[("pos/1.txt", "good film"), ("pos/2.txt", "fine"), ("neg/1.txt", "bad film")]);
    let path = root.path().to_owned();
    samples.push(("text_folder", root, path));
    let root = folder(&[
        ("train.csv", "text,label\ngood,1\nbad,0\n"),
        ("test.csv", "text,label\nfine,1\n"),
        ("README.md", "text\n"),
    ]);
    let path = root.path().to_owned();
    samples.push(("text_table", root, path));
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("train-00000-of-00001.parquet");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/formats/parquet/lists.parquet"), &path)
        .unwrap();
    samples.push(("parquet", root, path));
    samples
}

#[test]
fn every_path_is_recognized_by_one_layout_alone_which_reads_it() {
    // Those of boxes have their samples in `box_layouts.rs`.
    let mut met = BTreeSet::from(["image_folder", "coco", "voc", "yolo"]);
    for (layout, _root, path) in samples() {
        let claims: Vec<&str> = LAYOUTS.iter().filter(|row| (row.recognizes)(&path)).map(|row| row.name).collect();
        assert_eq!(claims, [layout], "{}", path.display());
        let set = open(&path);
        assert_eq!(set.layout, layout);
        assert!(!set.examples.is_empty() && set.problems.is_empty(), "{:?}", set.problems);
        assert!(matches!(layouts::open(&path), Err(DataError::Layout { .. })));
        met.insert(layout);
    }
    let of_texts = LAYOUTS.iter().filter(|row| !matches!(row.open, Opener::Speech(_) | Opener::Sounds(_)));
    assert_eq!(met, of_texts.map(|row| row.name).collect(), "a layout has no sample");
    let photos =
        folder(&[("cat/1.jpg", "x"), ("cat/notes.txt", "x"), ("dog/2.jpg", "x"), ("labels.csv", "text,label\n")]);
    let claims: Vec<&str> = LAYOUTS.iter().filter(|row| (row.recognizes)(photos.path())).map(|row| row.name).collect();
    assert_eq!(claims, ["image_folder"]);
    assert!(
        layouts::open_text(photos.path(), &TextOptions::default()).unwrap_err().to_string().contains("image_folder")
    );
}

#[test]
fn ten_thousand_rows_with_one_in_a_hundred_broken_list_exactly_those() {
    let mut text = "id,review,sentiment\r\n".to_owned();
    let (mut line, mut broken) = (2, Vec::new());
    for row in 0..10_000 {
        let label = ["pos", "neg"][row % 2];
        if row % 100 == 37 {
            broken.push(line);
            text += &match row / 100 % 6 {
                0 => format!("{row},too few\r\n"),
                1 => format!("{row},too,many,{label}\r\n"),
                2 => format!("{row},\"never closed,{label}\r\n"),
                3 => format!("{row},,{label}\r\n"),
                4 => format!("{row},no label,\r\n"),
                _ => format!("{row},\"closed\" too early,{label}\r\n"),
            };
            line += 1;
        } else if row % 50 == 3 {
            text += &format!("{row},\"row {row}, with a \"\"quote\"\"\r\nand a second line\",{label}\r\n");
            line += 2;
        } else {
            text += &format!("{row},review number {row} is ünlike others 🎬,{label}\r\n");
            line += 1;
        }
    }
    let set = read("reviews.csv", &text);
    assert_eq!(lines(&set), broken);
    assert_eq!(set.examples.len(), 9_900);
    assert!(set.problems.iter().all(|problem| problem.outcome == Outcome::Skipped));
    assert_eq!(set.labels, ["neg", "pos"]);
    assert!(
        set.notes.iter().any(|note| note.contains("`review`"))
            && set.notes.iter().any(|note| note.contains("100 broken"))
    );
    let parts = split(&set, &FIFTH);
    assert_eq!(parts.splits.iter().filter(|part| **part == Split::Validation).count(), 1_980);

    // The same rows without the broken ones are split alike.
    let clean: String = text
        .split_inclusive("\r\n")
        .enumerate()
        .filter(|(index, _)| !broken.contains(&(index + 1)))
        .map(|(_, line)| line)
        .collect();
    let clean = read("other.csv", &clean);
    assert_eq!(split(&clean, &FIFTH).splits, parts.splits);
    assert!(clean.examples.iter().zip(&set.examples).all(|(a, b)| a.digest == b.digest));
}

#[test]
fn columns_are_guessed_and_told_or_asked_for() {
    let pairs = read(
        "nli.tsv",
        "id\tpremise\thypothesis\tgold_label\n1\ta man sleeps\ta man is awake\tno\n2\ta dog\tan animal\tyes\n",
    );
    assert_eq!(pairs.examples[0].pair.as_deref(), Some("a man is awake"));
    assert_eq!(pairs.labels, ["no", "yes"]);
    let toxic =
        read("toxic.csv", "id,comment_text,toxic,obscene\na1,some words,0,1\na2,more words,0,0\na3,other words,1,1\n");
    assert_eq!(toxic.target, TargetKind::Labels);
    assert_eq!(named(&toxic), [vec!["obscene"], vec![], vec!["obscene", "toxic"]]);
}

#[test]
fn labels_are_ordered_by_value_and_several_are_told_from_one() {
    let numbers = read("x.csv", "text,label\na b,10\nc d,9\ne f,-1\ng h,10\n");
    assert_eq!(numbers.labels, ["-1", "9", "10"]);
    let tags = read(
        "x.jsonl",
        "{\"text\":\"a\",\"tags\":[\"x\",\"y\"]}\n{\"text\":\"b\",\"tags\":[]}\n{\"text\":\"c\",\"tags\":[\"y\"]}\n",
    );
    assert_eq!(tags.target, TargetKind::Labels);
    assert_eq!(named(&tags), [vec!["x", "y"], vec![], vec!["y"]]);
    let bars = read("x.csv", "text,genres\nsome film,war|drama\nother film,drama\nlast film,\n");
    assert_eq!(named(&bars), [vec!["drama", "war"], vec!["drama"], vec![]]);
}

#[test]
fn what_cannot_be_learned_from_is_refused_with_what_was_found() {
    assert!(refusal("x.csv", "text,label\n").contains("no example"));
    assert!(refusal("x.csv", "").contains("no delimiter"));
    assert!(refusal("x.csv", "text,label\na b,pos\nc d,pos\n").contains("only one class, `pos`"));
    assert!(
        refusal("x.csv", "when,where\n1 2 3,4 5 6\n7 8 9,3 2 1\n1 1 1,2 2 2\n4 4 4,3 3 3\n5 5,6 6\n")
            .contains("not clear")
    );
    assert!(refusal("x.jsonl", "{\"text\":\"a b\"}\n{\"text\":\"c d\"}\n").contains("label"));
    assert!(refusal("x.conll", "no tags here\nnone at all\n").contains("no line"));
    assert!(refusal("x.bin", "nothing\n").contains("no layout"));
    let fractions: String = (0..40).map(|n| format!("some text,{n}.5\n")).collect();
    assert!(refusal("x.csv", &format!("text,score\n{fractions}")).contains("fractions"));
    let missing = TextOptions { text_column: Some("body".to_owned()), ..TextOptions::default() };
    let root = folder(&[("x.csv", "text,label\na b,1\nc d,0\n")]);
    let error = layouts::open_text(&root.path().join("x.csv"), &missing).unwrap_err().to_string();
    assert!(error.contains("no column `body`") && error.contains("text, label"), "{error}");
    assert!(matches!(layouts::open_text(&root.path().join("nowhere"), &missing), Err(DataError::Io { .. })));
}

#[test]
fn options_decide_before_any_guess() {
    let root = folder(&[("x.csv", "a;b;c\none two;x;y z\nthree four;x;w\nfive six;v;y z\n")]);
    let options = TextOptions {
        text_column: Some("3".to_owned()),
        label_columns: vec!["b".to_owned()],
        ..TextOptions::default()
    };
    let set = layouts::open_text(&root.path().join("x.csv"), &options).unwrap();
    assert_eq!(set.labels, ["v", "x"]);
    assert_eq!(set.examples[0].text, "y z");
    let unlabeled = TextOptions { target: Some(TargetKind::Unlabeled), header: Some(true), ..TextOptions::default() };
    let set = layouts::open_text(&root.path().join("x.csv"), &unlabeled).unwrap();
    assert_eq!((set.target, set.labels.len(), set.examples.len()), (TargetKind::Unlabeled, 0, 3));
}

#[test]
fn parts_are_found_by_file_names_and_copies_across_them_are_told() {
    let root = folder(&[
        ("my_train.tsv", "good film\t1\nbad film\t0\n"),
        ("my-dev.tsv", "Good  film\t1\nother\t0\nunseen class\t7\n"),
        ("mytest.tsv", "last\t1\n"),
        ("notes.tsv", "x\ty\n"),
    ]);
    let set = open(root.path());
    let parts: Vec<Split> = set.examples.iter().map(|example| example.split.unwrap()).collect();
    assert_eq!(parts, [Split::Train, Split::Train, Split::Validation, Split::Validation, Split::Test]);
    assert_eq!(lines(&set), [3]);
    assert!(set.problems[0].what.contains("class `7` has no training example"));
    assert!(set.notes.iter().any(|note| note.contains("notes.tsv")));
    let assignment = split(&set, &FIFTH);
    assert_eq!(assignment.splits, parts);
    assert_eq!(assignment.leaks, [(0, 2)]);
    assert!(assignment.notes.iter().any(|note| note.contains("my_train.tsv:1 and") && note.contains("my-dev.tsv:1")));
}

#[test]
fn copies_stay_on_one_side_of_a_drawn_split_and_conflicts_are_told() {
    let mut text = "text,label\n".to_owned();
    for row in 0..60 {
        text += &format!("text number {},{}\n", row / 2, (row / 2) % 2);
    }
    text += "Text Number 0,1\n";
    let set = read("x.csv", &text);
    for seed in 0..10 {
        let assignment = split(&set, &SplitRule { seed, ..FIFTH });
        assert!(assignment.leaks.is_empty());
        assert!((0..30).all(|pair| assignment.splits[2 * pair] == assignment.splits[2 * pair + 1]));
        assert!(assignment.splits.contains(&Split::Validation));
        assert_eq!(assignment.conflicts, [(0, 60)]);
    }
}

#[test]
fn a_folder_a_class_is_read_and_what_is_no_text_is_named() {
    let root = folder(&[
        ("train/pos/1.txt", "good"),
        ("train/neg/1.txt", "bad"),
        ("test/pos/2.txt", "fine"),
        ("train/pos/empty.txt", " \n"),
    ]);
    fs::write(root.path().join("train/neg/binary.txt"), [0u8, 1, 2, 3].repeat(40)).unwrap();
    fs::write(root.path().join("train/neg/latin.txt"), b"Stra\xdfe").unwrap();
    let set = open(root.path());
    let texts: Vec<&str> = set.examples.iter().map(|example| example.text.as_str()).collect();
    assert_eq!(texts, ["fine", "bad", "Straße", "good"]);
    let names: Vec<String> =
        set.problems.iter().map(|problem| problem.file.file_name().unwrap().to_string_lossy().into()).collect();
    assert_eq!(names, ["binary.txt", "empty.txt"]);
}

#[test]
fn tagged_words_become_spans_of_bytes_and_characters_in_every_scheme() {
    let iob2 = "-DOCSTART- -X- O\r\n\r\n# a comment line\r\nJürg NNP B-PER\r\nMüller NNP I-PER\r\nin IN O\r\nKöln NNP B-LOC\r\n\r\n#tag NN O\r\n";
    let bioes = iob2.replace("Müller NNP I-PER", "Müller NNP E-PER").replace("Köln NNP B-LOC", "Köln NNP S-LOC");
    let iob1 = iob2.replace("B-", "I-");
    for text in [iob2, bioes.as_str(), iob1.as_str()] {
        let set = read("x.conll", text);
        assert!(set.problems.is_empty(), "{:?}", set.problems);
        assert_eq!(set.labels, ["LOC", "PER"]);
        assert_eq!(set.examples.len(), 2);
        let example = &set.examples[0];
        assert_eq!(example.text, "Jürg Müller in Köln");
        assert_eq!(example.origin.line, 4);
        let Target::Spans(spans) = &example.target else { panic!() };
        let shown: Vec<(&str, std::ops::Range<usize>)> =
            spans.iter().map(|span| (&example.text[span.bytes.clone()], span.chars.clone())).collect();
        assert_eq!(shown, [("Jürg Müller", 0..11), ("Köln", 15..19)]);
        let words: Vec<&str> = example.words.iter().map(|word| &example.text[word.clone()]).collect();
        assert_eq!(words, ["Jürg", "Müller", "in", "Köln"]);
        assert_eq!(set.examples[1].text, "#tag");
    }
}

#[test]
fn broken_lines_of_tagged_words_are_named_and_transitions_repaired() {
    let text = "a B-X\nb I-X\nc I-Y\n\nd O\ne O extra\n\nf B-X\ng WRONG\n\nh O\ni B-Y\n";
    let set = read("x.conll", text);
    let shown: Vec<(usize, Outcome)> = set.problems.iter().map(|problem| (problem.line, problem.outcome)).collect();
    assert_eq!(shown, [(3, Outcome::Repaired), (6, Outcome::Skipped), (9, Outcome::Skipped)]);
    assert_eq!(named(&set), [vec!["X", "Y"], vec!["Y"]]);
}

#[test]
fn spans_that_cannot_be_are_named_by_line() {
    let lines_of = [
        r#"{"text": "Zoë met Bob", "entities": [[0, 3, "PER"], [8, 11, "PER"]]}"#,
        r#"{"text": "short", "spans": [{"start": 2, "end": 9, "label": "X"}]}"#,
        r#"{"text": "short", "spans": [{"start": 3, "end": 3, "label": "X"}]}"#,
        r#"{"text": "New York City", "spans": [{"start": 0, "end": 8, "label": "LOC"}, {"start": 0, "end": 13, "label": "LOC"}]}"#,
        r#"{"text": "broken", "spans": ["#,
        r#"{"tokens": ["Ann", "left"], "tags": ["B-PER", "O"]}"#,
        r#"{"tokens": ["Ann", "left"], "tags": ["B-PER"]}"#,
        r#"{"text": "nobody", "spans": []}"#,
    ];
    let set = read("x.jsonl", &lines_of.join("\n"));
    let shown: Vec<(usize, Outcome)> = set.problems.iter().map(|problem| (problem.line, problem.outcome)).collect();
    let skipped = Outcome::Skipped;
    assert_eq!(shown, [(2, skipped), (3, skipped), (4, Outcome::Repaired), (5, skipped), (7, skipped)]);
    let texts: Vec<&str> = set.examples.iter().map(|example| example.text.as_str()).collect();
    assert_eq!(texts, ["Zoë met Bob", "New York City", "Ann left", "nobody"]);
    let Target::Spans(spans) = &set.examples[0].target else { panic!() };
    assert_eq!((spans[1].chars.clone(), spans[1].bytes.clone()), (8..11, 9..12));
    assert_eq!(named(&set)[1], ["LOC"]);
}

#[test]
fn sst2_is_read_as_three_parts_without_a_word_said_of_columns() {
    let Some(root) = shared("data/sst2") else { return };
    let set = open(&root);
    let count = |part| set.examples.iter().filter(|example| example.split == Some(part)).count();
    assert_eq!((count(Split::Train), count(Split::Validation), count(Split::Test)), (6920, 872, 1821));
    assert_eq!((set.layout, set.labels.len(), set.problems.len()), ("text_table", 2, 0));
}

#[test]
fn wnut17_is_read_as_three_parts_with_its_six_kinds() {
    let Some(root) = shared("data/wnut17") else { return };
    let set = open(&root);
    let count = |part| set.examples.iter().filter(|example| example.split == Some(part)).count();
    assert_eq!(
        (count(Split::Train), count(Split::Validation), count(Split::Test)),
        (3394, 1009, 1287),
        "{:?}",
        set.problems
    );
    assert_eq!(set.labels, ["corporation", "creative-work", "group", "location", "person", "product"]);
    let entities: Vec<usize> = [Split::Train, Split::Validation, Split::Test]
        .map(|part| {
            named(&set)
                .iter()
                .zip(&set.examples)
                .filter(|(_, e)| e.split == Some(part))
                .map(|(names, _)| names.len())
                .sum()
        })
        .to_vec();
    assert_eq!(entities, [1975, 836, 1079], "{:?}", set.problems);
}

#[test]
fn parquet_tables_give_the_names_of_their_classes_whatever_compresses_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/formats/parquet");
    for name in ["reviews", "zstd", "lz4", "gzip", "brotli", "none"] {
        let set = open(&folder.join(format!("{name}.parquet")));
        assert_eq!(set.labels, ["neg", "pos"], "{name}");
        let texts: Vec<&str> = set.examples.iter().map(|example| example.text.as_str()).collect();
        assert_eq!(texts, ["a fine film", "dull, and long", "été 🙂 très bon", "never again"], "{name}");
        assert_eq!(named(&set), [["pos"], ["neg"], ["pos"], ["neg"]]);
        // The row without a text, and the one whose label is unknown.
        assert_eq!(lines(&set), [4, 5], "{name}: {:?}", set.problems);
    }
    let set = open(&folder.join("lists.parquet"));
    assert_eq!((set.target, set.labels.as_slice()), (TargetKind::Labels, &["drama".to_owned(), "war".to_owned()][..]));
}

#[test]
fn a_damaged_parquet_file_is_an_error_at_any_place_and_never_a_panic() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/formats/parquet/reviews.parquet");
    let whole = std::fs::read(fixture).unwrap();
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("reviews.parquet");
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let error = layouts::open_text(&path, &TextOptions::default()).unwrap_err();
        assert!(error.to_string().contains("reviews.parquet"), "{cut}: {error}");
    }
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x41;
        std::fs::write(&path, &damaged).unwrap();
        // Some bytes are texts, and some are never looked at.
        if let Ok(set) = layouts::open_text(&path, &TextOptions::default()) {
            assert!(set.examples.len() <= 6, "{place}");
        }
    }
}
