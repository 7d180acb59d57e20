//! Anchors, matches, codes, overlaps and suppression against torchvision.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::path::Path;

use headstart_data::boxes::overlap::{ciou, diou, giou, iou};
use headstart_data::boxes::suppression::{Detection, suppress};
use headstart_data::boxes::targets::anchor_grid::{CellAnchors, RETINANET_RATIOS, retinanet_sizes};
use headstart_data::boxes::targets::box_coding::{decode, encode};
use headstart_data::boxes::targets::matching::{MatchRule, RETINANET, Taught, teach};
use headstart_data::boxes::{BoundingBox, Coordinate};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    anchors: Anchors,
    matches: Vec<Match>,
    codes: Codes,
    overlaps: Overlaps,
    suppressed: Vec<Suppressed>,
}

#[derive(Deserialize)]
struct Anchors {
    picture: (usize, usize),
    grids: Vec<(usize, usize)>,
    count: usize,
    step: usize,
    anchors: Vec<[f32; 4]>,
    odd: Odd,
}

#[derive(Deserialize)]
struct Odd {
    sizes: Vec<f32>,
    ratios: Vec<f32>,
    picture: (usize, usize),
    grid: (usize, usize),
    anchors: Vec<[f32; 4]>,
}

#[derive(Deserialize)]
struct Match {
    objects: Vec<[f32; 4]>,
    anchors: Vec<[f32; 4]>,
    kept: Vec<i64>,
    plain: Vec<i64>,
}

#[derive(Deserialize)]
struct Codes {
    boxes: Vec<[f32; 4]>,
    anchors: Vec<[f32; 4]>,
    codes: Vec<[f32; 4]>,
    encoded: Vec<[f32; 4]>,
    decoded: Vec<[f32; 4]>,
}

#[derive(Deserialize)]
struct Overlaps {
    a: Vec<[f32; 4]>,
    b: Vec<[f32; 4]>,
    iou: Vec<f64>,
    giou: Vec<f64>,
    diou: Vec<f64>,
    ciou: Vec<f64>,
}

#[derive(Deserialize)]
struct Suppressed {
    boxes: Vec<[f32; 4]>,
    scores: Vec<f32>,
    classes: Vec<usize>,
    threshold: f64,
    kept: Vec<usize>,
}

fn fixture() -> Fixture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/detection_targets/torchvision.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn boxes<T: Coordinate>(sides: &[[f32; 4]]) -> Vec<BoundingBox<T>> {
    sides.iter().map(|[left, top, right, bottom]| BoundingBox::new(*left, *top, *right, *bottom).cast()).collect()
}

#[test]
fn anchors_are_those_of_torchvision() {
    let Anchors { picture, grids, count, step, anchors, odd } = fixture().anchors;
    let maps = grids.iter().zip(retinanet_sizes());
    let found: Vec<BoundingBox<f32>> =
        maps.flat_map(|(grid, sizes)| CellAnchors::new(&sizes, &RETINANET_RATIOS).over(picture, *grid)).collect();
    assert_eq!(found.len(), count);
    assert_eq!(found.into_iter().step_by(step).collect::<Vec<_>>(), boxes(&anchors));
    let found = CellAnchors::new(&odd.sizes, &odd.ratios).over(odd.picture, odd.grid);
    assert_eq!(found, boxes(&odd.anchors));
}

#[test]
fn matches_are_those_of_torchvision() {
    for case in fixture().matches {
        let number = |taught: Taught| match taught {
            Taught::Object(index) => index as i64,
            Taught::Background => -1,
            Taught::Nothing => -2,
        };
        for (expected, keeps_best) in [(case.kept, true), (case.plain, false)] {
            let rule = MatchRule { keeps_best, ..RETINANET };
            let found = teach(&boxes::<f32>(&case.anchors), &boxes(&case.objects), &rule);
            assert_eq!(found.into_iter().map(number).collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn codes_are_those_of_torchvision() {
    let codes = fixture().codes;
    let anchors = boxes(&codes.anchors);
    for (index, place) in boxes(&codes.boxes).iter().enumerate() {
        // ln and exp differ in the last bit from one library to another.
        let near = |found: [f32; 4], expected: [f32; 4]| {
            found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 2e-6 * b.abs().max(1.0))
        };
        let encoded = encode(place, &anchors[index]);
        assert!(near(encoded, codes.encoded[index]), "{encoded:?} {:?}", codes.encoded[index]);
        let decoded = decode(codes.codes[index], &anchors[index]).sides();
        assert!(near(decoded, codes.decoded[index]), "{decoded:?} {:?}", codes.decoded[index]);
    }
}

#[test]
fn overlaps_are_those_of_torchvision() {
    let overlaps = fixture().overlaps;
    for (index, (a, b)) in boxes::<f64>(&overlaps.a).iter().zip(boxes(&overlaps.b)).enumerate() {
        let found = [iou(a, &b), giou(a, &b), diou(a, &b), ciou(a, &b)];
        let expected = [&overlaps.iou, &overlaps.giou, &overlaps.diou, &overlaps.ciou].map(|each| each[index]);
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-6), "{found:?} {expected:?}");
    }
}

#[test]
fn what_stays_is_what_stays_in_torchvision() {
    for case in fixture().suppressed {
        let places = boxes::<f32>(&case.boxes);
        let detections: Vec<Detection<f32>> = places
            .into_iter()
            .zip(case.classes.iter().zip(&case.scores))
            .map(|(place, (class, score))| Detection { place, class: *class, score: *score })
            .collect();
        assert_eq!(suppress(&detections, case.threshold), case.kept);
    }
}
