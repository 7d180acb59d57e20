//! Whole commands on pictures with boxes, with a small random Darknet.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod desk;

use std::path::Path;

use headstart::data::boxes::{BoundingBox, DetectionSet, Object, Picture};
use headstart::data::image::RgbImage;
use headstart::data::layouts::{Split, yolo};
use serde_json::Value;

use desk::{Desk, of};

const TRAIN: [&str; 15] = [
    "train",
    "shapes",
    "--weights",
    "net/all_layers.cfg",
    "--epochs",
    "1",
    "--fine-tune",
    "80",
    "--batch",
    "6",
    "--mosaic",
    "0",
    "--fit-anchors",
    "--lr",
    "0.01",
];

/// Light squares and dark discs on grey, on 96 × 48 pixels, in YOLO's layout in `shapes/`; the network in `net/`.
fn desk(pictures: usize) -> Desk {
    let desk = Desk::empty();
    std::fs::create_dir(desk.path("net")).unwrap();
    std::fs::create_dir(desk.path("plain")).unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/darknet");
    for name in ["all_layers.cfg", "all_layers.weights"] {
        std::fs::copy(fixtures.join(name), desk.path("net").join(name)).unwrap();
    }
    let mut set = DetectionSet {
        layout: "made",
        root: desk.path("plain"),
        classes: vec!["square".to_owned(), "disc".to_owned()],
        pictures: Vec::new(),
        notes: Vec::new(),
        problems: Vec::new(),
    };
    for number in 0..pictures {
        let mut state = number as u32 * 2_654_435_761 + 12_345;
        let mut below = |bound: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % bound
        };
        let mut picture = RgbImage::from_fn(96, 48, |x, y| image::Rgb([100 + ((x * 7 + y * 5) % 20) as u8; 3]));
        let mut objects = Vec::new();
        // One in the left half, one in the right, so that they do not touch.
        for half in 0..2 {
            let (class, side) = (below(2) as usize, 16 + below(8));
            let (left, top) = (half * 48 + below(48 - side), below(48 - side));
            let radius = side as f32 / 2.0;
            for y in 0..side {
                for x in 0..side {
                    let (dx, dy) = (x as f32 + 0.5 - radius, y as f32 + 0.5 - radius);
                    if class == 0 || dx * dx + dy * dy < radius * radius {
                        let color = if class == 0 { [230, 220, 90] } else { [40, 30, 120] };
                        picture.put_pixel(left + x, top + y, image::Rgb(color));
                    }
                }
            }
            let [left, top, side] = [left, top, side].map(f64::from);
            objects.push(Object::new(class, BoundingBox::new(left, top, left + side, top + side)));
        }
        let path = desk.path("plain").join(format!("{number:02}.png"));
        picture.save(&path).unwrap();
        let split = Some(if number % 4 == 3 { Split::Validation } else { Split::Train });
        let relative = format!("{number:02}.png");
        set.pictures.push(Picture { path, relative, width: 96, height: 48, objects, split });
    }
    yolo::write(&set, &desk.path("shapes")).unwrap();
    desk
}

fn train(desk: &Desk, more: &[&str]) -> Vec<Value> {
    desk.events(&[&TRAIN[..], more].concat())
}

#[test]
fn objects_are_learned_found_drawn_scored_and_converted() {
    let desk = desk(24);
    let events = train(&desk, &["--json", "--out", "shapes.headstart"]);
    let report = &of(&events, "report")[0];
    let map = report["metrics"]["voc_map"].as_f64().unwrap();
    assert_eq!((report["task"].as_str(), report["labels"][1].as_str()), (Some("object_detection"), Some("disc")));
    assert!(map > 0.8, "{map}");

    let line = desk.succeed(&["evaluate", "shapes.headstart", "shapes", "--json"]);
    let evaluation: Value = serde_json::from_str(&line).unwrap();
    let again = evaluation["evaluation"]["metrics"]["voc_map"].as_f64().unwrap();
    assert!((again - map).abs() < 1e-9, "{again} {map}");

    let found =
        desk.succeed(&["predict", "shapes.headstart", "plain/00.png", "plain/01.png", "--json", "--out", "drawn"]);
    let first: Value = serde_json::from_str(found.lines().next().unwrap()).unwrap();
    assert_eq!((first["width"].as_u64(), first["height"].as_u64()), (Some(96), Some(48)));
    assert!(!first["objects"].as_array().unwrap().is_empty(), "{first}");
    let results: Value = serde_json::from_slice(&desk.bytes("drawn/detections.json")).unwrap();
    let result = &results[0];
    assert_eq!((result["image_id"].as_u64(), result["bbox"].as_array().map(Vec::len)), (Some(1), Some(4)));
    assert!(result["category_id"].as_u64().unwrap() >= 1 && result["score"].as_f64().unwrap() > 0.0);
    for name in ["0001_00.png", "0002_01.png", "contact_sheet.png"] {
        assert!(image::open(desk.path("drawn").join(name)).is_ok(), "{name}");
    }

    // Two pictures side by side are a large one, in which tiles find what each shows.
    let [left, right] =
        ["00", "01"].map(|name| image::open(desk.path(&format!("plain/{name}.png"))).unwrap().to_rgb8());
    let mut wide = RgbImage::new(192, 48);
    image::imageops::replace(&mut wide, &left, 0, 0);
    image::imageops::replace(&mut wide, &right, 96, 0);
    wide.save(desk.path("wide.png")).unwrap();
    let tiled = desk.succeed(&["predict", "shapes.headstart", "wide.png", "--json", "--tile", "96"]);
    let tiled: Value = serde_json::from_str(&tiled).unwrap();
    assert!(tiled["objects"].as_array().unwrap().iter().any(|object| object["bbox"][0].as_f64().unwrap() > 90.0));

    for (layout, from) in [("coco", "shapes"), ("voc", "coco"), ("yolo", "voc")] {
        let told = desk.succeed(&["convert-data", from, "--to", layout, "--out", layout]);
        assert!(told.contains("24 pictures with 48 boxes of 2 classes"), "{told}");
    }
    let line = desk.succeed(&["evaluate", "shapes.headstart", "yolo", "--json"]);
    let evaluation: Value = serde_json::from_str(&line).unwrap();
    let converted = evaluation["evaluation"]["metrics"]["voc_map"].as_f64().unwrap();
    assert!((converted - map).abs() < 1e-6, "{converted} {map}");
    assert!(
        desk.fail(&["convert-data", "shapes", "--to", "voc", "--out", "voc"]).contains("something is there already")
    );
}

#[test]
fn the_bytes_do_not_depend_on_threads_or_on_an_interruption() {
    let desk = desk(12);
    let short = |out: &'static str, threads: &'static str| {
        ["--fine-tune", "4", "--views", "2", "-q", "--threads", threads, "--out", out]
    };
    let start = &["train", "shapes", "--weights", "net/all_layers.cfg", "--epochs", "2", "--batch", "5"][..];
    desk.succeed(&[start, &short("one", "1")].concat());
    desk.succeed(&[start, &short("two", "2")].concat());
    assert!(desk.bytes("one") == desk.bytes("two"));
    // A cut in the middle and features of its two views from the cache, then everything.
    let cut = ["--freeze", "stage2", "--fine-tune", "400", "--views", "2", "-q", "--out"];
    let mut child = desk.command(&[start, &cut, &["killed", "--resume"]].concat()).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !desk.path("killed.run/state.safetensors").exists() && child.try_wait().unwrap().is_none() {
        assert!(std::time::Instant::now() < deadline, "no state after a minute");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    desk.succeed(&[start, &cut, &["killed", "--resume"]].concat());
    desk.succeed(&[start, &cut, &["whole"]].concat());
    assert!(desk.bytes("killed") == desk.bytes("whole"));
}

#[test]
fn the_published_head_is_kept_or_its_rows_are_used_again_and_the_same_network_starts_untrained() {
    let desk = desk(8);
    std::fs::write(desk.path("net/all.names"), "disc\nsquare\n").unwrap();
    desk.succeed(&[
        "train",
        "--task",
        "object_detection",
        "--head",
        "original",
        "--weights",
        "net",
        "-q",
        "--out",
        "as_is",
    ]);
    let line = desk.succeed(&["inspect", "as_is"]);
    assert!(line.contains("disc, square"), "{line}");
    desk.succeed(&["predict", "as_is", "plain/00.png", "--threshold", "0.01", "--soft"]);
    // Published labels are in another order than the data's.
    desk.succeed(&[
        "train",
        "shapes",
        "--weights",
        "as_is",
        "--head",
        "original",
        "--epochs",
        "1",
        "-q",
        "--out",
        "kept",
    ]);
    assert!(desk.succeed(&["inspect", "kept"]).contains("disc, square"));
    let scratch =
        ["train", "shapes", "--weights", "random:net", "--epochs", "1", "--fit-anchors", "-q", "--out", "new"];
    desk.succeed(&scratch);
    assert!(desk.succeed(&["inspect", "new"]).contains("random"));
}

#[test]
fn what_cannot_be_is_said() {
    let desk = desk(8);
    let told = desk.fail(&["train", "shapes", "--weights", "net", "--head", "mlp:64"]);
    assert!(told.contains("a detector has a head of its own"), "{told}");
    let told = desk.fail(&["train", "shapes", "--weights", "net", "--size", "50"]);
    assert!(told.contains("no multiple of 32"), "{told}");
    let told = desk.fail(&["convert-data", "plain", "--to", "coco", "--out", "x"]);
    assert!(told.contains("boxes"), "{told}");
}
