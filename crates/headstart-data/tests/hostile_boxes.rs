//! No annotation makes a reader of boxes panic, and what is broken is named with its line and left out.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::fs;
use std::path::Path;

use headstart_data::boxes::DetectionSet;
use headstart_data::layouts;
use headstart_data::text::Outcome;
use image::RgbImage;
use proptest::prelude::*;

const COCO: &str = r#"{"images": [
{"id": 1, "file_name": "a.png", "width": 40, "height": 30},
{"id": 2, "file_name": "b.png", "width": 40, "height": 30}],
"annotations": [
{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 20], "area": 600, "iscrowd": 0},
{"id": 2, "image_id": 2, "category_id": 4, "bbox": [5.5, 5, 10, 10]}],
"categories": [{"id": 1, "name": "dog"}, {"id": 4, "name": "cat"}]}"#;

const VOC: &str = "<annotation>\n<filename>a.png</filename>\n<size><width>40</width><height>30</height></size>\n\
    <object><name>dog</name><difficult>0</difficult><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>30</xmax><ymax>20</ymax></bndbox></object>\n\
    <object><name>cat</name><bndbox><xmin>5</xmin><ymin>3.5</ymin><xmax>12</xmax><ymax>9</ymax></bndbox></object>\n</annotation>\n";

const YOLO: &str = "0 0.5 0.5 0.25 0.25\n1 0.25 0.5 0.125 0.5\n";

const YAML: &str = "train: images\nnames:\n  0: dog\n  1: cat\n";

/// A folder of one layout, in which the annotation is written anew for each case.
struct Desk {
    root: tempfile::TempDir,
    annotation: &'static str,
}

impl Desk {
    fn of(layout: usize) -> Self {
        let root = tempfile::tempdir().unwrap();
        let picture = |name: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            RgbImage::new(40, 30).save(path).unwrap();
        };
        let annotation = match layout {
            0 => {
                picture("a.png");
                picture("b.png");
                "set.json"
            }
            1 => {
                picture("JPEGImages/a.png");
                fs::create_dir_all(root.path().join("ImageSets/Main")).unwrap();
                fs::create_dir_all(root.path().join("Annotations")).unwrap();
                // So that the folder stays one of this kind whatever the other file holds.
                picture("JPEGImages/z.png");
                fs::write(root.path().join("Annotations/z.xml"), "<annotation/>").unwrap();
                "Annotations/a.xml"
            }
            _ => {
                picture("images/a.png");
                fs::create_dir_all(root.path().join("labels")).unwrap();
                fs::write(root.path().join("data.yaml"), YAML).unwrap();
                "labels/a.txt"
            }
        };
        Self { root, annotation }
    }

    fn open(&self, annotation: &[u8]) -> Option<DetectionSet> {
        fs::write(self.root.path().join(self.annotation), annotation).unwrap();
        self.reopen(annotation)
    }

    fn reopen(&self, annotation: &[u8]) -> Option<DetectionSet> {
        match layouts::open_boxes(self.root.path()) {
            Ok(set) => {
                assert_sound(&set, annotation);
                Some(set)
            }
            Err(error) => {
                assert!(error.help().is_some() && !error.to_string().is_empty(), "{error}");
                None
            }
        }
    }
}

/// What must hold of any set that is read.
fn assert_sound(set: &DetectionSet, annotation: &[u8]) {
    let lines = annotation.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 8;
    for problem in &set.problems {
        assert!((1..=lines).contains(&problem.line) && !problem.what.is_empty(), "{problem}");
    }
    for picture in &set.pictures {
        for object in &picture.objects {
            let [left, top, right, bottom] = object.place.sides();
            assert!(object.place.is_finite() && object.place.has_area() && object.class < set.classes.len());
            assert!(
                left >= 0.0 && top >= 0.0 && right <= f64::from(picture.width) && bottom <= f64::from(picture.height)
            );
        }
    }
}

/// Changes bytes.
fn changed(text: &str, changes: &[(u16, u8, u8)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (at, byte, change) in changes {
        let at = usize::from(*at) % bytes.len().max(1);
        match change {
            0 if at < bytes.len() => bytes[at] = *byte,
            1 => bytes.insert(at.min(bytes.len()), *byte),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 if at < bytes.len() => bytes[at] = b"0123456789.-e\"<>&{}[],: \n"[usize::from(*byte) % 25],
            _ => bytes.truncate(at + 1),
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(u16, u8, u8)>> {
    prop::collection::vec((any::<u16>(), any::<u8>(), 0u8..5), 1..6)
}

#[test]
fn the_files_that_are_broken_below_are_sound_themselves() {
    for (layout, text, boxes) in [(0, COCO, 2), (1, VOC, 2), (2, YOLO, 2)] {
        let set = Desk::of(layout).open(text.as_bytes()).unwrap();
        assert_eq!(set.counts().iter().sum::<usize>(), boxes);
        assert!(set.problems.is_empty(), "{:?}", set.problems);
    }
}

/// 200 runs of a property for one layout, in one folder.
fn check<S: Strategy>(strategy: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    });
    runner.run(strategy, test).unwrap();
}

#[test]
fn changed_and_random_files_do_no_harm() {
    for (layout, text) in [(0, COCO), (1, VOC), (2, YOLO)] {
        let desk = Desk::of(layout);
        check(&changes(), |changes| {
            desk.open(&changed(text, &changes));
            Ok(())
        });
        check(&prop::collection::vec(any::<u8>(), 0..300), |bytes| {
            desk.open(&bytes);
            Ok(())
        });
    }
    let desk = Desk::of(2);
    fs::write(desk.root.path().join("labels/a.txt"), YOLO).unwrap();
    check(&changes(), |changes| {
        fs::write(desk.root.path().join("data.yaml"), changed(YAML, &changes)).unwrap();
        desk.reopen(YOLO.as_bytes());
        Ok(())
    });
    let desk = Desk::of(1);
    fs::write(desk.root.path().join("Annotations/a.xml"), VOC).unwrap();
    check(&changes(), |changes| {
        fs::write(desk.root.path().join("ImageSets/Main/train.txt"), changed("a\nz 1\n", &changes)).unwrap();
        desk.reopen(VOC.as_bytes());
        Ok(())
    });
}

/// Something that stands between two good boxes, and the word by which it is told.
fn broken_yolo() -> impl Strategy<Value = (String, &'static str)> {
    let small = 0.01f64..0.4;
    prop_oneof![
        (2usize..99, small.clone()).prop_map(|(class, x)| (format!("{class} {x} {x} {x} {x}"), "is not named")),
        small.clone().prop_map(|x| (format!("-1 {x} {x} {x} {x}"), "no number from 0")),
        prop::collection::vec(small.clone(), 0..9)
            .prop_filter("five columns are right", |columns| columns.len() != 4)
            .prop_map(|columns| {
                let columns: String = columns.iter().map(|column| format!(" {column}")).collect();
                (format!("0{columns}"), "columns")
            }),
        (prop::sample::select(vec!["nan", "inf", "-inf", "NaN"]), 0usize..4).prop_map(|(word, at)| {
            let mut columns = ["0.5"; 4];
            columns[at] = word;
            (format!("0 {}", columns.join(" ")), "no finite number")
        }),
        (small.clone(), 0usize..2).prop_map(|(x, at)| {
            let mut sides = [x, x];
            sides[at] = 0.0;
            (format!("0 0.5 0.5 {} {}", sides[0], sides[1]), "has no area")
        }),
        small.clone().prop_map(|x| (format!("1 {} 0.5 {x} {x}", 1.01 + x), "outside")),
        small.clone().prop_map(|x| (format!("1 1 0.5 {} 0.2", 0.1 + x), "clipped")),
        Just(("0 0.5 0.5 0.25 0.25".to_owned(), "twice")),
        (3u32..40).prop_map(|x| (format!("0 {x} {x} {x} {x}"), "pixels")),
        "[a-z]{1,8} 0\\.1 0\\.1 0\\.1 0\\.1".prop_map(|line| (line, "no number from 0")),
    ]
}

#[test]
fn broken_lines_of_yolo_are_named_and_their_neighbours_are_used() {
    let desk = Desk::of(2);
    check(&broken_yolo(), |(line, word)| {
        let text = format!("0 0.5 0.5 0.25 0.25\n{line}\n1 0.25 0.5 0.125 0.5\n");
        let set = desk.open(text.as_bytes()).unwrap();
        named_once(&set, "a.txt", 2, word)
    });
}

/// One problem of this file and line with this word, and the two good boxes.
fn named_once(set: &DetectionSet, file: &str, line: usize, word: &str) -> Result<(), TestCaseError> {
    prop_assert_eq!(set.problems.len(), 1, "{:?}", set.problems);
    let problem = &set.problems[0];
    prop_assert!(
        problem.file.ends_with(file) && problem.line == line && problem.what.contains(word),
        "{}: {}",
        word,
        problem
    );
    let repaired = usize::from(problem.outcome == Outcome::Repaired);
    prop_assert_eq!(set.counts().iter().sum::<usize>(), 2 + repaired);
    let left_out =
        set.notes.iter().filter(|note| note.contains("boxes were left out") || note.contains("were clipped"));
    prop_assert_eq!(left_out.count(), 1, "{:?}", set.notes);
    Ok(())
}

#[test]
fn broken_objects_of_voc_are_named_and_their_neighbours_are_used() {
    let object = |name: &str, sides: [&str; 4]| {
        let [a, b, c, d] = sides;
        format!(
            "<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        )
    };
    let at = move |place: usize, word: &str| {
        let mut sides = ["3", "3", "9", "9"];
        sides[place] = word;
        object("dog", sides)
    };
    let broken = prop_oneof![
        (0usize..4, prop::sample::select(vec!["nan", "inf", "-inf"]))
            .prop_map(move |(place, word)| (at(place, word), "no finite number")),
        (0usize..4, "[a-z]{2}x|").prop_map(move |(place, word)| (at(place, &word), "no number")),
        (10u32..40).prop_map(move |x| (at(0, &x.to_string()), "has no area")),
        (50u32..90).prop_map(move |x| (object("dog", [&x.to_string(), "3", "99", "9"]), "outside")),
        (42u32..900).prop_map(move |x| (object("dog", ["3", "3", &x.to_string(), "9"]), "clipped")),
        Just((object("dog", ["2", "3", "30", "20"]), "twice")),
        Just((object("  ", ["2", "3", "30", "20"]), "no name")),
        prop::sample::select(vec!["xmin", "ymax"]).prop_map(move |side| (
            at(0, "3").replace(&format!("<{side}>"), "<x>").replace(&format!("</{side}>"), "</x>"),
            "has no <"
        )),
        Just(("<object><name>dog</name></object>".to_owned(), "no <bndbox>")),
    ];
    let desk = Desk::of(1);
    check(&broken, |(object, word)| {
        let text = VOC.replacen("\n<object><name>cat", &format!("\n{object}\n<object><name>cat"), 1);
        named_once(&desk.open(text.as_bytes()).unwrap(), "a.xml", 5, word)
    });
}

#[test]
fn broken_records_of_coco_are_named_and_their_neighbours_are_used() {
    let record = |image: &str, class: &str, bounds: &str| {
        format!(r#"{{"id": 9, "image_id": {image}, "category_id": {class}, "bbox": {bounds}}}"#)
    };
    let broken = prop_oneof![
        prop::sample::select(vec!["7", "-1", "null", "\"x\"", "1.5", "true"])
            .prop_map(move |id| (record(id, "1", "[1, 1, 5, 5]"), "not listed")),
        prop::sample::select(vec!["7", "-1", "null", "\"x\"", "1.5", "[1]"])
            .prop_map(move |id| (record("1", id, "[1, 1, 5, 5]"), "not listed")),
        prop::sample::select(vec![
            "[]",
            "[1, 2, 3]",
            "[1, 2, 3, 4, 5]",
            "null",
            "[NaN, 1, 1, 1]",
            "[1, 1, Infinity, 1]",
            "[1, null, 1, 1]"
        ])
        .prop_map(move |bounds| (record("1", "1", bounds), "no box of four numbers")),
        prop::sample::select(vec!["\"1\"", "{}", "[\"1\", 1, 1, 1]", "[1e999, 1, 1, 1]", "7"])
            .prop_map(move |bounds| (record("1", "1", bounds), "")),
        (0u32..30).prop_map(move |x| (record("1", "1", &format!("[{x}, 1, 0, 5]")), "has no area")),
        (1u32..30).prop_map(move |x| (record("1", "1", &format!("[{x}, 1, -{x}, 5]")), "has no area")),
        (41u32..99).prop_map(move |x| (record("1", "1", &format!("[{x}, 1, 5, 5]")), "outside")),
        (2u32..99).prop_map(move |x| (record("1", "1", &format!("[39, 1, {x}, 5]")), "clipped")),
        Just((record("1", "1", "[1, 2, 30, 20]"), "twice")),
        prop::sample::select(vec!["7", "null", "[]", "\"x\"", "{\"bbox\": 3}"]).prop_map(|text| (text.to_owned(), "")),
    ];
    let desk = Desk::of(0);
    check(&broken, |(record, word)| {
        let text =
            COCO.replacen(",\n{\"id\": 2, \"image_id\": 2", &format!(",\n{record},\n{{\"id\": 2, \"image_id\": 2"), 1);
        match desk.open(text.as_bytes()) {
            Some(set) => named_once(&set, "set.json", 6, word),
            // A number that no f64 holds is no JSON at all.
            None => {
                prop_assert!(text.contains("1e999"), "{}", text);
                Ok(())
            }
        }
    });
}

#[test]
fn files_that_are_made_to_be_large_or_deep_do_no_harm() {
    let deep = |open: &str, count: usize| open.repeat(count);
    for text in [
        format!("{{\"images\": {}", deep("[", 200_000)),
        format!("{{\"images\": [], \"annotations\": [{}]}}", "0,".repeat(100_000)),
        format!("{{\"images\": [{}", deep("{\"a\":", 100_000)),
    ] {
        assert!(Desk::of(0).open(text.as_bytes()).is_none());
    }
    let desk = Desk::of(1);
    desk.open(format!("<annotation>{}", deep("<object>", 200_000)).as_bytes());
    desk.open(b"<!DOCTYPE x [<!ENTITY a SYSTEM \"/etc/hostname\">]><annotation>&a;</annotation>");
    let many = "0 0.5 0.5 0.25 0.25\n".repeat(50_000);
    let set = Desk::of(2).open(many.as_bytes()).unwrap();
    assert_eq!((set.problems.len(), set.pictures[0].objects.len()), (49_999, 1));
}

#[test]
fn paths_out_of_the_data_set_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    RgbImage::new(40, 30).save(outside.path().join("secret.png")).unwrap();
    let name = format!("../{}/secret.png", outside.path().file_name().unwrap().to_string_lossy());
    let absolute = outside.path().join("secret.png");
    let desk = Desk::of(0);
    for path in [name.as_str(), &absolute.to_string_lossy()] {
        let text = COCO.replacen("b.png", path, 1);
        let set = desk.open(text.as_bytes()).unwrap();
        assert!(set.pictures.iter().all(|picture| !picture.path.starts_with(Path::new(outside.path()))));
        assert!(set.problems.iter().any(|problem| problem.line == 3), "{:?}", set.problems);
    }
}
