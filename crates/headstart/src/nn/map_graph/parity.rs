//! Both forms through `fixtures/parity/darknet`, against OpenCV's reader of Darknet, and one against the other from every cut.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::Value;

use super::FrozenMaps;
use crate::features::{FeatureLayout, Features, Rows};
use crate::load::{PretrainedDetector, load_detector};
use crate::model::Head;
use crate::nn::named::values;
use crate::nn::{Graph, NormStatistics};
use crate::tasks::object_detection::DetectionHead;

const TOLERANCE: f32 = 1e-4;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/darknet")
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(fixtures().join("opencv.json")).unwrap()).unwrap()
}

/// The pixels that the script makes.
fn pixels(count: usize) -> Vec<f32> {
    (0..count as u64).map(|at| (((at * 2_654_435_761) % (1 << 32)) >> 24) as f32 / 256.0).collect()
}

/// Raw outputs, map after map.
fn outputs(detector: &PretrainedDetector) -> Vec<f32> {
    let plan = &detector.plan;
    let frozen = FrozenMaps::new(&plan.graph, &detector.parameters, plan.shape()).unwrap();
    let maps = frozen.forward(&pixels(plan.shape().len()), frozen.stage_count(), 1).unwrap();
    let device = Device::default();
    let features = FeatureLayout::Maps(frozen.layout(frozen.stage_count())).tensor(Rows::even(maps, 1), &device);
    let head = DetectionHead::load(&plan.head, detector.head.as_ref().unwrap(), &device).unwrap();
    values(head.forward(features, None))
}

#[test]
fn every_kind_of_layer_gives_what_opencv_computes() {
    let found = outputs(&load_detector(&fixtures().join("all_layers.cfg")).unwrap());
    let expected: Vec<f32> = expected()["all_layers"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|map| map.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32))
        .collect();
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= TOLERANCE, "{worst}");
}

#[test]
fn the_published_yolo_fastest_gives_what_opencv_computes() {
    let shared = std::env::var("HEADSTART_SHARED").map_or_else(|_| PathBuf::from("../shared"), PathBuf::from);
    let file = shared.join("weights/yolo_fastest_1.1_darknet/yolo-fastest-1.1.weights");
    if !file.exists() {
        eprintln!("skipped: {} not found", file.display());
        return;
    }
    let detector = load_detector(&file).unwrap();
    assert_eq!(detector.labels.as_ref().map(Vec::len), Some(80));
    let found = outputs(&detector);
    let mut begin = 0;
    let mut checked = 0;
    for (map, side) in expected()["yolo-fastest-1.1"].as_array().unwrap().iter().zip([10, 20]) {
        for (at, value) in map.as_object().unwrap() {
            let (ours, theirs) = (found[begin + at.parse::<usize>().unwrap()], value.as_f64().unwrap() as f32);
            assert!((ours - theirs).abs() <= TOLERANCE * theirs.abs().max(1.0), "{at}: {ours} {theirs}");
            checked += 1;
        }
        begin += side * side * 255;
    }
    assert!(checked > 100 && begin == found.len(), "{checked}");
}

#[test]
fn the_trainable_form_gives_what_the_frozen_one_gives_from_every_cut() {
    let detector = load_detector(&fixtures().join("all_layers.cfg")).unwrap();
    let graph = &detector.plan.graph;
    assert!(graph.stages.len() >= 3, "{:?}", graph.stages);
    let device = Device::default();
    let frozen = FrozenMaps::new(graph, &detector.parameters, detector.plan.shape()).unwrap();
    let trainable = Graph::of_maps(graph, &detector.parameters, &device).unwrap();
    let input = pixels(detector.plan.shape().len());
    let whole = frozen.forward(&input, graph.stages.len(), 2).unwrap();
    for depth in 0..graph.stages.len() {
        let layout = match depth {
            0 => FeatureLayout::Map { channels: 3, height: 32, width: 64 },
            depth => FeatureLayout::Maps(frozen.layout(depth)),
        };
        let cut = if depth == 0 { input.clone() } else { frozen.forward(&input, depth, 1).unwrap() };
        let features = layout.tensor(Rows::even(cut, 1), &device);
        let Features::Maps(maps) = trainable.resume_from(depth, features, NormStatistics::Fixed) else {
            panic!("maps")
        };
        let found: Vec<f32> = maps.into_iter().flat_map(values).collect();
        let worst = found.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(found.len() == whole.len() && worst <= TOLERANCE, "from stage {depth}: {worst}");
    }
}

#[test]
fn a_damaged_graph_and_a_size_that_does_not_fit_are_refused() {
    let detector = load_detector(&fixtures().join("all_layers.cfg")).unwrap();
    let mut graph = detector.plan.graph.clone();
    graph.nodes[2].inputs = vec![9];
    assert!(graph.check().is_err());
    let odd = headstart_kernels::Shape { height: 36, width: 36, channels: 3 };
    assert!(detector.plan.graph.shapes(odd).is_err());
}
