//! What is written in one layout is read as the same data set, and what a layout cannot say is told.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use headstart_data::boxes::{BoundingBox, DetectionSet, Object, Picture};
use headstart_data::error::DataError;
use headstart_data::layouts::{Split, Written, coco, open_boxes, voc, yolo};
use image::RgbImage;
use proptest::prelude::*;

const SIZES: [(u32, u32); 3] = [(40, 30), (31, 57), (1, 3)];

/// Pictures of three sizes.
static PICTURES: LazyLock<(tempfile::TempDir, Vec<PathBuf>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let save = |(width, height): (u32, u32)| {
        let path = folder.path().join(format!("{width}.png"));
        RgbImage::new(width, height).save(&path).unwrap();
        path
    };
    let paths = SIZES.map(save).to_vec();
    (folder, paths)
});

type Writer = fn(&DetectionSet, &Path) -> Result<Written, DataError>;

const WRITERS: [(&str, Writer); 3] = [("coco", coco::write), ("voc", voc::write), ("yolo", yolo::write)];

/// Sets as they may come: names that are not plain, pictures without objects, parts or none.
fn sets() -> impl Strategy<Value = DetectionSet> {
    let side = 0.0f64..1.0;
    let object = (0usize..3, side.clone(), side.clone(), 0.01f64..1.0, 0.01f64..1.0, any::<[bool; 2]>(), any::<bool>());
    let picture = (0usize..3, prop::collection::vec(object, 0..5), 0usize..3, "([a-zé&<>'\"_-][a-zé &<>'\"_.-]{0,5})?");
    (prop::collection::vec(picture, 1..6), any::<bool>()).prop_map(|(pictures, has_parts)| {
        let classes = vec!["a cat".to_owned(), "b <&> \"dog\": yes".to_owned(), "ü # 1".to_owned()];
        let mut made: Vec<Picture> = pictures
            .into_iter()
            .enumerate()
            .map(|(number, (size, objects, part, name))| {
                let (width, height) = SIZES[size];
                let mut places = Vec::new();
                for (class, x, y, w, h, [is_difficult, is_truncated], is_whole) in objects {
                    let (wide, high) = (f64::from(width), f64::from(height));
                    let place = match is_whole {
                        true => BoundingBox::of_picture(width, height),
                        false => BoundingBox::new(x * wide, y * high, (x + w).min(1.0) * wide, (y + h).min(1.0) * high),
                    };
                    let twice = places.iter().any(|other: &Object| other.class == class && other.place == place);
                    if place.width() > 1e-3 && place.height() > 1e-3 && !twice {
                        places.push(Object { is_difficult, is_truncated, ..Object::new(class, place) });
                    }
                }
                // Each name once, whatever the letters.
                let relative = format!("part/{name}{number}.png");
                let split = [Split::Train, Split::Validation, Split::Test][part];
                let (path, split) = (PICTURES.1[size].clone(), has_parts.then_some(split));
                Picture { path, relative, width, height, objects: places, split }
            })
            .collect();
        // Something to learn from.
        made[0].split = has_parts.then_some(Split::Train);
        made[0].objects.push(Object::new(1, BoundingBox::new(0.0, 0.0, 0.5, 1.25)));
        DetectionSet { layout: "test", root: PathBuf::new(), classes, pictures: made, notes: vec![], problems: vec![] }
    })
}

/// A picture without what layouts write differently: size, part, and objects with the names of their classes.
type Plain = ((u32, u32), Option<Split>, Vec<(String, Object)>);

/// Pictures by name.
fn plain(set: &DetectionSet) -> BTreeMap<String, Plain> {
    let name = |picture: &Picture| picture.relative.rsplit('/').next().unwrap().trim().to_owned();
    let object = |object: &Object| (set.classes[object.class].clone(), *object);
    set.pictures
        .iter()
        .map(|picture| {
            let objects = picture.objects.iter().map(object).collect();
            (name(picture), ((picture.width, picture.height), picture.split, objects))
        })
        .collect()
}

fn assert_same(found: &DetectionSet, expected: &DetectionSet, layout: &str) {
    assert!(found.problems.is_empty(), "{layout}: {:?}", found.problems);
    let (found, expected) = (plain(found), plain(expected));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{layout}");
    for (name, (size, split, objects)) in &found {
        let (expected_size, expected_split, expected_objects) = &expected[name];
        assert_eq!((size, split), (expected_size, expected_split), "{layout} {name}");
        assert_eq!(objects.len(), expected_objects.len(), "{layout} {name}");
        for ((class, object), (expected_class, expected)) in objects.iter().zip(expected_objects) {
            assert_eq!(class, expected_class, "{layout} {name}");
            let near = object.place.sides().iter().zip(expected.place.sides()).all(|(a, b)| (a - b).abs() < 1e-9);
            assert!(near, "{layout} {name}: {:?} instead of {:?}", object.place, expected.place);
            if layout == "voc" {
                assert_eq!((object.is_difficult, object.is_truncated), (expected.is_difficult, expected.is_truncated));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(20) })]

    #[test]
    fn every_layout_gives_back_what_was_written(set in sets()) {
        let folder = tempfile::tempdir().unwrap();
        for (layout, write) in WRITERS {
            let out = folder.path().join(layout);
            let written = write(&set, &out).unwrap();
            prop_assert_eq!(written.pictures, set.pictures.len());
            prop_assert_eq!(written.boxes, set.counts().iter().sum::<usize>());
            let read = open_boxes(&out).unwrap();
            prop_assert_eq!(read.layout, layout);
            assert_same(&read, &set, layout);
            if layout != "voc" {
                prop_assert_eq!(&read.classes, &set.classes);
            }
        }
        // From one to the next and back.
        let mut set = open_boxes(&folder.path().join("coco")).unwrap();
        for (step, which) in [1usize, 2, 0].into_iter().enumerate() {
            let out = folder.path().join(format!("step {step}"));
            WRITERS[which].1(&set, &out).unwrap();
            let read = open_boxes(&out).unwrap();
            // Pascal VOC loses nothing that COCO and YOLO hold.
            assert_same(&read, &set, "chain");
            set = read;
        }
    }
}

#[test]
fn what_a_layout_cannot_say_is_told() {
    let place = BoundingBox::new(1.0, 2.0, 10.5, 9.0);
    let object = Object { area: Some(7.5), ..Object::new(0, place) };
    let objects = vec![
        object,
        Object { is_crowd: true, ..Object::new(0, place) },
        Object { is_difficult: true, ..Object::new(1, place) },
    ];
    let picture = |name: &str, split| Picture {
        path: PICTURES.1[0].clone(),
        relative: name.to_owned(),
        width: 40,
        height: 30,
        objects: objects.clone(),
        split,
    };
    let pictures = vec![
        picture("a/x.png", Some(Split::Test)),
        picture("b/x.png", None),
        picture("c/X.jpg", None),
        picture("c/.d.png", None),
    ];
    let classes = vec!["cat".to_owned(), "dog".to_owned()];
    let set = DetectionSet { layout: "test", root: PathBuf::new(), classes, pictures, notes: vec![], problems: vec![] };
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let told =
        |written: &Written, what: &str| assert!(written.notes.iter().any(|note| note.contains(what)), "{written:?}");

    let written = coco::write(&set, &out("coco")).unwrap();
    told(&written, "4 boxes are marked as difficult");
    told(&written, "3 pictures without a part were put into training");
    let read = open_boxes(&out("coco")).unwrap();
    assert_eq!(
        read.pictures.iter().map(|picture| picture.relative.as_str()).collect::<Vec<_>>(),
        ["images/_d.png", "images/b_x.png", "images/c_X.jpg", "images/x.png",]
    );
    assert_eq!((read.pictures[0].objects[0].area, read.pictures[0].objects[1].is_crowd), (Some(7.5), true));

    let written = voc::write(&set, &out("voc")).unwrap();
    told(&written, "4 crowds");
    // A crowd and a plain box of one place are one box twice where crowds are not told apart.
    let read = open_boxes(&out("voc")).unwrap();
    assert_eq!(read.problems.len(), 4);

    let written = yolo::write(&set, &out("yolo")).unwrap();
    told(&written, "4 crowds");
    assert_eq!(written.boxes, 8);
    assert!(fs::read_to_string(out("yolo/labels/train/b_x.txt")).unwrap().starts_with("0 0.14375 "));
}

#[test]
fn nothing_is_written_over_and_a_failure_leaves_nothing() {
    let missing = Picture {
        path: PathBuf::from("no/such/picture.png"),
        relative: "a.png".to_owned(),
        width: 4,
        height: 3,
        objects: vec![Object::new(0, BoundingBox::new(0.0, 0.0, 1.0, 1.0))],
        split: None,
    };
    let set = DetectionSet {
        layout: "test",
        root: PathBuf::new(),
        classes: vec!["cat".to_owned()],
        pictures: vec![missing],
        notes: vec![],
        problems: vec![],
    };
    let folder = tempfile::tempdir().unwrap();
    for (name, write) in WRITERS {
        assert!(matches!(write(&set, &folder.path().join(name)), Err(DataError::Io { .. })));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    fs::write(folder.path().join("file"), "x").unwrap();
    for (_, write) in WRITERS {
        for taken in [folder.path().to_owned(), folder.path().join("file")] {
            assert!(matches!(write(&set, &taken), Err(DataError::Layout { .. })));
        }
    }
    assert_eq!(fs::read_to_string(folder.path().join("file")).unwrap(), "x");
}
