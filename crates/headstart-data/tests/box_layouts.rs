//! Data sets of boxes as people really have them.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests may panic, and say what they skip")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use headstart_data::boxes::scenes::{SceneRule, scenes, split_by_scene};
use headstart_data::boxes::{BoundingBox, DetectionSet, Picture};
use headstart_data::error::DataError;
use headstart_data::layouts::{self, LAYOUTS, Split};
use headstart_data::scan::scan;
use headstart_data::split::SplitRule;
use image::RgbImage;

/// Writes files; those that end as pictures are pictures of 40 × 30, whatever their text.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if name.ends_with(".png") {
            RgbImage::from_pixel(40, 30, image::Rgb([90, 90, 90])).save(path).unwrap();
        } else {
            fs::write(path, text).unwrap();
        }
    }
    root
}

fn open(root: &Path) -> DetectionSet {
    layouts::open_boxes(root).unwrap_or_else(|error| panic!("{error}\n{:?}", error.help()))
}

fn problems(set: &DetectionSet) -> Vec<String> {
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    set.problems.iter().map(|problem| format!("{}:{}: {}", name(&problem.file), problem.line, problem.what)).collect()
}

fn picture<'a>(set: &'a DetectionSet, name: &str) -> &'a Picture {
    set.pictures.iter().find(|picture| picture.relative.ends_with(name)).unwrap()
}

fn xml(objects: &[(&str, [&str; 4])]) -> String {
    let object = |(name, [a, b, c, d]): &(&str, [&str; 4])| {
        format!(
            "<object>\n<name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>\n"
        )
    };
    let objects: String = objects.iter().map(object).collect();
    format!(
        "<annotation>\n<filename>x.png</filename>\n<size><width>40</width><height>30</height></size>\n{objects}</annotation>"
    )
}

const COCO: &str = r#"{"info": {}, "images": [
{"id": 10, "file_name": "a.png", "width": 40, "height": 30},
{"id": 11, "file_name": "gone.png", "width": 40, "height": 30},
{"id": 10, "file_name": "b.png", "width": 40, "height": 30},
{"id": 12, "file_name": "b.png", "width": 30, "height": 40},
{"id": 13, "file_name": "C:\\data\\c.png"},
{"id": 14, "file_name": "../../etc/d.png"}],
"annotations": [
{"id": 1, "image_id": 10, "category_id": 7, "bbox": [1, 2, 3, 4], "area": 6.5, "iscrowd": 0, "segmentation": []},
{"id": 2, "image_id": 10, "category_id": 3, "bbox": [30.5, 20, 20, 20], "iscrowd": 1},
{"id": 2, "image_id": 13, "category_id": 3, "bbox": [0, 0, 40, 30]},
{"id": 3, "image_id": 11, "category_id": 3, "bbox": [0, 0, 4, 3]},
{"id": 4, "image_id": 99, "category_id": 3, "bbox": [0, 0, 4, 3]},
{"id": 5, "image_id": 10, "category_id": 5, "bbox": [0, 0, 4, 3]},
{"id": 6, "image_id": 10, "category_id": 3, "bbox": [0, 0, 0, 3]},
{"id": 7, "image_id": 10, "category_id": 3, "bbox": [50, 0, 4, 3]},
{"id": 8, "image_id": 10, "category_id": 3, "bbox": [NaN, 0, 4, 3]},
{"id": 9, "image_id": 10, "category_id": 3, "bbox": [0, 0, 4]},
{"id": 10, "image_id": 10, "category_id": 7, "bbox": [1, 2, 3, 4]},
"seven"],
"categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 90, "name": "owl"}, {"id": 3, "name": "elk"}]}"#;

#[test]
fn everything_that_can_be_wrong_with_coco_is_named_and_the_rest_is_used() {
    let root = folder(&[("labels.json", COCO), ("images/a.png", ""), ("images/b.png", ""), ("c.png", "")]);
    let set = open(root.path());
    assert_eq!((set.layout, &set.classes[..]), ("coco", &["cat", "dog", "owl"].map(str::to_owned)[..]));
    assert_eq!(set.pictures.len(), 2);
    let a = picture(&set, "images/a.png");
    assert_eq!((a.width, a.height, a.objects.len()), (40, 30, 2));
    assert_eq!(a.objects[0].place, BoundingBox::new(1.0, 2.0, 4.0, 6.0));
    assert_eq!((a.objects[0].class, a.objects[0].area, a.objects[0].is_crowd), (1, Some(6.5), false));
    assert_eq!((a.objects[1].place, a.objects[1].is_crowd), (BoundingBox::new(30.5, 20.0, 40.0, 30.0), true));
    assert_eq!(picture(&set, "c.png").objects.len(), 1);
    let expected = [
        "labels.json:21: class 3 stands there twice: `elk` was left out",
        "labels.json:4: picture 10 stands there twice: `b.png` was left out",
        "labels.json:7: picture `../../etc/d.png` does not lie in the data set",
        "labels.json:3: picture `gone.png` is not there",
        "labels.json:5: picture `images/b.png` is 40 × 30, its annotation is for 30 × 40, so it was annotated on its side: its boxes would lie elsewhere",
        "labels.json:10: the box 30.5, 20.0 to 50.5, 40.0 leaves the picture of 40 × 30: clipped",
        "labels.json:11: annotation 2 stands there twice: both are used",
        "labels.json:12: annotation 3 is of a picture that was left out",
        "labels.json:13: annotation 4 is of picture 99, which is not listed",
        "labels.json:14: annotation 5 has class 5, which is not listed",
        "labels.json:15: the box 0.0, 0.0 to 0.0, 3.0 has no area",
        "labels.json:16: the box 50.0, 0.0 to 54.0, 3.0 lies outside of the picture of 40 × 30",
        "labels.json:17: annotation 8 has no box of four numbers",
        "labels.json:18: annotation 9 has no box of four numbers",
        "labels.json:19: the same box of the same class stands there twice",
    ];
    let found = problems(&set);
    for problem in expected {
        assert!(found.iter().any(|found| found == problem), "{problem} is not in {found:#?}");
    }
    assert_eq!(found.len(), expected.len() + 1, "{found:#?}");
    assert!(found.last().unwrap().starts_with("labels.json:20: an annotation cannot be read"));
    for note in
        ["4 pictures were left out", "9 boxes were left out", "1 boxes left their picture", "class `owl` has no box"]
    {
        assert!(set.notes.iter().any(|found| found.contains(note)), "{note} is not in {:?}", set.notes);
    }
}

fn coco(name: &str, boxes: usize) -> String {
    let annotations: Vec<String> = (0..boxes)
        .map(|number| format!(r#"{{"id": {number}, "image_id": "x", "category_id": 1, "bbox": [{number}, 0, 5, 5]}}"#))
        .collect();
    let annotations = annotations.join(",");
    format!(
        r#"{{"categories": [{{"id": 1, "name": "cat"}}], "annotations": [{annotations}], "images": [{{"id": "x", "file_name": "{name}"}}]}}"#
    )
}

#[test]
fn coco_is_found_in_all_its_forms() {
    let splits = |set: &DetectionSet| -> Vec<(String, Option<Split>, usize)> {
        set.pictures.iter().map(|picture| (picture.relative.clone(), picture.split, picture.objects.len())).collect()
    };
    let (train, val) = (coco("a.png", 2), coco("b.png", 1));
    // As COCO is published; captions lie beside it.
    let captions = r#"{"images": [], "annotations": [{"caption": "a cat"}]}"#;
    let root = folder(&[
        ("annotations/instances_train2017.json", &train),
        ("annotations/instances_val2017.json", &val),
        ("annotations/captions_train2017.json", captions),
        ("train2017/a.png", ""),
        ("val2017/b.png", ""),
        ("val2017/a.png", ""),
    ]);
    let set = open(root.path());
    let expected = [("train2017/a.png", Split::Train, 2), ("val2017/b.png", Split::Validation, 1)];
    assert_eq!(splits(&set), expected.map(|(path, split, count)| (path.to_owned(), Some(split), count)));
    assert!(set.notes[0].contains("captions_train2017.json"));
    // One of its files.
    let set = open(&root.path().join("annotations/instances_val2017.json"));
    assert_eq!(splits(&set), [("val2017/b.png".to_owned(), None, 1)]);
    // A file in each folder of pictures.
    let root = folder(&[
        ("train/_annotations.coco.json", &train),
        ("valid/_annotations.coco.json", &val),
        ("train/a.png", ""),
        ("valid/b.png", ""),
    ]);
    let expected = [("train/a.png", Split::Train, 2), ("valid/b.png", Split::Validation, 1)];
    assert_eq!(splits(&open(root.path())), expected.map(|(path, split, count)| (path.to_owned(), Some(split), count)));
    // Beside the pictures, on one line.
    let root = folder(&[("anything.json", &train), ("a.png", "")]);
    assert_eq!(splits(&open(root.path())), [("a.png".to_owned(), None, 2)]);
}

#[test]
fn everything_that_can_be_wrong_with_voc_is_named_and_the_rest_is_used() {
    let good = xml(&[
        ("dog", ["1", "1", "40", "30"]),
        ("cat", ["0", "3.5", "12", "9"]),
        ("cat", ["30", "2", "60", "9"]),
        ("cat", ["12", "5", "3", "9"]),
        ("cat", ["a", "5", "13", "9"]),
        ("cat", ["nan", "5", "13", "9"]),
        ("dog", ["1", "1", "40", "30"]),
        ("", ["1", "1", "4", "3"]),
    ]);
    let two = xml(&[("dog", ["2", "2", "3", "3"])]);
    let wrong_size = two.replace("<width>40", "<width>80");
    let root = folder(&[
        ("Annotations/a.xml", &good),
        ("Annotations/b c.xml", &two),
        ("Annotations/gone.xml", &two),
        ("Annotations/large.xml", &wrong_size),
        ("Annotations/cut.xml", &good[..200]),
        ("Annotations/extra.xml", &two),
        ("Annotations/other.xml", "<svg/>"),
        ("JPEGImages/a.png", ""),
        ("JPEGImages/b c.png", ""),
        ("JPEGImages/large.png", ""),
        ("JPEGImages/extra.png", ""),
        ("ImageSets/Main/train.txt", "a\nlarge\ncut\n\nother\nnowhere\nb c\n"),
        ("ImageSets/Main/test.txt", "b c\ngone  1\n"),
        ("ImageSets/Main/trainval.txt", "a\nb c\n"),
        ("ImageSets/Main/dog_train.txt", "extra 1\n"),
    ]);
    let set = open(root.path());
    assert_eq!((set.layout, &set.classes[..]), ("voc", &["cat", "dog"].map(str::to_owned)[..]));
    let a = picture(&set, "a.png");
    let places: Vec<BoundingBox> = a.objects.iter().map(|object| object.place).collect();
    let expected = [[0.0, 0.0, 40.0, 30.0], [0.0, 2.5, 12.0, 9.0], [29.0, 1.0, 40.0, 9.0]];
    assert_eq!(places, expected.map(|[a, b, c, d]| BoundingBox::new(a, b, c, d)));
    assert_eq!((a.split, picture(&set, "b c.png").split), (Some(Split::Train), Some(Split::Test)));
    assert_eq!(set.pictures.len(), 2);
    let found = problems(&set);
    for problem in [
        "train.txt:7: `b c` is in test.txt too, where it stays",
        "trainval.txt:2: `b c` is in test.txt too, where it stays",
        "other.xml:1: its element is <svg>; <annotation> was expected",
        "train.txt:6: `nowhere` has no XML file",
        "gone.xml:1: picture `JPEGImages/x.png` is not there",
        "a.xml:8: the box 29.0, 1.0 to 60.0, 9.0 leaves the picture of 40 × 30: clipped",
        "a.xml:10: the box 11.0, 4.0 to 3.0, 9.0 has no area",
        "a.xml:12: <xmin> of `cat` is `a`, no number",
        "a.xml:14: a side of the box is no finite number",
        "a.xml:16: the same box of the same class stands there twice",
        "a.xml:18: an object has no name",
    ] {
        assert!(found.iter().any(|found| found == problem), "{problem} is not in {found:#?}");
    }
    assert!(found.iter().any(|found| found.starts_with("cut.xml:") && found.contains("no XML")), "{found:#?}");
    assert!(found.iter().any(|found| found.contains("its annotation is for 80 × 30")), "{found:#?}");
    assert_eq!(found.len(), 13, "{found:#?}");
    assert!(set.notes.iter().any(|note| note.contains("1 XML files are in no list")), "{:?}", set.notes);
}

#[test]
fn voc_beside_its_pictures_has_the_parts_of_its_folders() {
    let one = xml(&[("dog", ["2", "2", "3", "3"])]);
    let files = [("train/a.xml", one.as_str()), ("train/a.png", ""), ("valid/b.xml", &one), ("valid/b.png", "")];
    let set = open(folder(&files).path());
    let found: Vec<Option<Split>> = set.pictures.iter().map(|picture| picture.split).collect();
    assert_eq!(found, [Some(Split::Train), Some(Split::Validation)]);
    assert!(set.problems.is_empty(), "{:?}", set.problems);
    let set = open(folder(&[("a.xml", one.as_str()), ("a.png", "")]).path());
    assert_eq!((set.pictures.len(), set.pictures[0].split), (1, None));
}

#[test]
fn everything_that_can_be_wrong_with_yolo_is_named_and_the_rest_is_used() {
    let labels = "0 0.5 0.5 0.5 0.5\n1 0.5 0.5 0.1\n\n7 0.5 0.5 0.1 0.1\n1 1.0 0.5 0.5 0.5\n1 1.5 0.5 0.1 0.1\n1 nan 0.5 0.1 0.1\n\
                  1 0.5 0.5 0 0.1\n0 0.50 0.5 0.5 0.5\n1 20 15 4 4\ncar 0.5 0.5 0.1 0.1\n";
    let root = folder(&[
        (
            "data.yaml",
            "train: ../train/images\nval: /home/me/set/valid/images\ntest: nowhere\nnc: 3\nnames: ['dog', 'cat']\n",
        ),
        ("train/images/a.png", ""),
        ("train/images/bare.png", ""),
        ("train/images/broken.jpg", "text"),
        ("train/labels/a.txt", labels),
        ("train/labels/gone.txt", "0 0.5 0.5 0.5 0.5\n"),
        ("train/labels/classes.txt", "dog\ncat\n"),
        ("valid/images/b.png", ""),
        ("valid/labels/b.txt", ""),
    ]);
    let set = open(root.path());
    assert_eq!((set.layout, &set.classes[..]), ("yolo", &["dog", "cat"].map(str::to_owned)[..]));
    let a = picture(&set, "a.png");
    let places: Vec<BoundingBox> = a.objects.iter().map(|object| object.place).collect();
    assert_eq!(places, [BoundingBox::new(10.0, 7.5, 30.0, 22.5), BoundingBox::new(30.0, 7.5, 40.0, 22.5)]);
    assert_eq!((a.split, picture(&set, "b.png").split), (Some(Split::Train), Some(Split::Validation)));
    let found = problems(&set);
    for problem in [
        "data.yaml:3: `nowhere` for `test` is not in the data set",
        "gone.txt:1: its picture is not there",
        "a.txt:2: 4 columns; `class x y width height` were expected",
        "a.txt:10: numbers above 1: parts of the picture were expected, not pixels",
        "a.txt:11: class `car` is no number from 0",
        "data.yaml:1: picture `train/images/broken.jpg`: a text file, not a picture",
        "a.txt:4: class 7 is not named: there are 2",
        "a.txt:5: the box 30.0, 7.5 to 50.0, 22.5 leaves the picture of 40 × 30: clipped",
        "a.txt:6: the box 58.0, 13.5 to 62.0, 16.5 lies outside of the picture of 40 × 30",
        "a.txt:7: a side of the box is no finite number",
        "a.txt:8: the box 20.0, 13.5 to 20.0, 16.5 has no area",
        "a.txt:9: the same box of the same class stands there twice",
    ] {
        assert!(found.iter().any(|found| found == problem), "{problem} is not in {found:#?}");
    }
    assert_eq!(found.len(), 12, "{found:#?}");
    for note in ["2 pictures have no label file", "it speaks of 3 classes and names 2"] {
        assert!(set.notes.iter().any(|found| found.contains(note)), "{note} is not in {:?}", set.notes);
    }
}

#[test]
fn yolo_is_found_in_all_its_forms() {
    let line = "0 0.5 0.5 0.5 0.5\n";
    let splits = |files: &[(&str, &str)]| -> Vec<Option<Split>> {
        let root = folder(files);
        let set = open(root.path());
        assert!(set.problems.is_empty(), "{:?}", set.problems);
        assert_eq!(set.layout, "yolo");
        set.pictures.iter().map(|picture| picture.split).collect()
    };
    let (train, validation) = (Some(Split::Train), Some(Split::Validation));
    // Folders within images and labels.
    let files = [
        ("images/train/a.png", ""),
        ("labels/train/a.txt", line),
        ("images/val/b.png", ""),
        ("labels/val/b.txt", line),
        ("labels/classes.txt", "dog\n"),
    ];
    assert_eq!(splits(&files), [train, validation]);
    // Beside the pictures, with a list of what is validated on.
    let files = [
        ("x/a.png", ""),
        ("x/a.txt", line),
        ("b.png", ""),
        ("b.txt", line),
        ("set.names", "dog\n"),
        ("split_val.txt", "x/a.png\n"),
    ];
    assert_eq!(splits(&files), [train, validation]);
    // Darknet's own description, with another machine's paths.
    let files = [
        (
            "obj.data",
            "classes = 1\ntrain = data/train.txt\nvalid = data/test.txt\nnames = data/obj.names\nbackup = backup/\n",
        ),
        ("obj.names", "dog\n"),
        ("train.txt", "data/obj/a.png\n"),
        ("test.txt", "data/obj/b.png\n"),
        ("obj/a.png", ""),
        ("obj/a.txt", line),
        ("obj/b.png", ""),
        ("obj/b.txt", line),
    ];
    assert_eq!(splits(&files), [train, validation]);
    // Nothing but pictures and labels.
    assert_eq!(splits(&[("a.png", ""), ("a.txt", "3 0.5 0.5 0.5 0.5\n"), ("b.png", "")]), [None, None]);
    // Validation on what is learned is none.
    let files = [
        ("coco.yaml", "path: ../datasets/x\ntrain: images\nval: images\nnames:\n  0: dog\n"),
        ("images/a.png", ""),
        ("labels/a.txt", line),
    ];
    assert_eq!(splits(&files), [train]);
}

#[test]
fn no_other_layout_claims_a_set_of_boxes_and_sets_without_a_box_are_refused() {
    let one = xml(&[("dog", ["2", "2", "3", "3"])]);
    let sets = [
        ("coco", folder(&[("x.json", &coco("a.png", 1)), ("a.png", "")])),
        ("voc", folder(&[("Annotations/a.xml", &one), ("JPEGImages/a.png", "")])),
        ("yolo", folder(&[("images/a.png", ""), ("labels/a.txt", "0 0.5 0.5 0.5 0.5\n")])),
    ];
    for (name, root) in &sets {
        let claims: Vec<&str> =
            LAYOUTS.iter().filter(|row| (row.recognizes)(root.path())).map(|row| row.name).collect();
        assert_eq!(claims, [*name]);
        assert!(matches!(layouts::open(root.path()), Err(DataError::Layout { .. })));
    }
    let empty = [
        folder(&[("x.json", &coco("a.png", 0)), ("a.png", "")]),
        folder(&[("Annotations/a.xml", &xml(&[])), ("JPEGImages/a.png", "")]),
        folder(&[("images/a.png", ""), ("labels/a.txt", "x\n"), ("data.names", "dog")]),
        folder(&[("cat/a.png", ""), ("dog/b.png", "")]),
        folder(&[("a.csv", "text,label\ngood,1\nbad,0\n")]),
    ];
    for root in &empty {
        let error = layouts::open_boxes(root.path()).unwrap_err();
        assert!(matches!(error, DataError::Layout { .. }) && error.help().is_some(), "{error}");
    }
    assert!(matches!(layouts::open_boxes(Path::new("no/such/folder")), Err(DataError::Io { .. })));
}

fn shared(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("HEADSTART_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let path = shared.join("data").join(name);
    if !path.exists() {
        println!("skipped: {} not found", path.display());
    }
    path.exists().then_some(path)
}

#[test]
fn blood_cells_open_with_their_official_parts() {
    let Some(root) = shared("bccd") else { return };
    let set = open(&root);
    assert_eq!((set.layout, &set.classes[..]), ("voc", &["Platelets", "RBC", "WBC"].map(str::to_owned)[..]));
    let count = |split| set.pictures.iter().filter(|picture| picture.split == Some(split)).count();
    assert_eq!((count(Split::Train), count(Split::Validation), count(Split::Test)), (205, 87, 72));
    assert!(set.pictures.iter().all(|picture| (picture.width, picture.height) == (640, 480)));
    println!("{:?} {:#?} {:#?}", set.counts(), set.notes, problems(&set));
}

#[test]
fn cars_from_above_open_and_their_scenes_stay_whole() {
    let Some(root) = shared("aerial_cars") else { return };
    let set = open(&root);
    assert_eq!((set.layout, set.classes.len(), set.pictures.len()), ("yolo", 5, 122));
    let count = |split| set.pictures.iter().filter(|picture| picture.split == Some(split)).count();
    assert_eq!((count(Split::Train), count(Split::Validation)), (97, 25));
    println!("{:?} {:#?} {:#?}", set.counts(), set.notes, problems(&set));
    let scanned = scan(&set.listing(), 2, None, &AtomicBool::new(false), &|_, _| {}).unwrap();
    let rule = SplitRule { validation: 0.2, test: 0.2, seed: 7 };
    let scene_rule = SceneRule::RunningNumber { gap: None };
    let assignment = split_by_scene(&scanned, &rule, scene_rule);
    let paths: Vec<&str> = scanned.examples.iter().map(|scanned| scanned.example.relative.as_str()).collect();
    let sides: BTreeSet<(usize, Split)> =
        scenes(&paths, scene_rule).into_iter().zip(assignment.splits.clone()).collect();
    let scene_count = sides.iter().map(|(scene, _)| scene).collect::<BTreeSet<_>>().len();
    assert_eq!(sides.len(), scene_count, "a scene is on two sides");
    let part = |split| assignment.splits.iter().filter(|found| **found == split).count();
    println!("{:?} {} {} {}", assignment.notes, part(Split::Train), part(Split::Validation), part(Split::Test));
    assert!(part(Split::Train) > 40 && part(Split::Validation) > 0 && part(Split::Test) > 0);
    assert_eq!(split_by_scene(&scanned, &rule, scene_rule), assignment);
}
