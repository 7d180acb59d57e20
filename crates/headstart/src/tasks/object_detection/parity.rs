//! RetinaNet-ResNet50-FPN through a real `.pth` against torchvision: outputs, losses, gradients, detections.
//!
//! The weights of the published shape are too large to be kept, so `fixtures/parity/retinanet/make.py` makes them where
//! `HEADSTART_PEERS_PYTHON` names a Python with torchvision.

use std::path::Path;
use std::process::Command;

use burn::tensor::{Device, Tensor, TensorData};
use headstart_data::boxes::{BoundingBox, Object};
use serde_json::Value;

use super::decode::{DecodeRule, decode};
use super::{DetectionHead, loss, retinanet};
use crate::features::{FeatureLayout, Rows};
use crate::load::load_detector;
use crate::model::{Head, Model};
use crate::network::Network;
use crate::nn::NormStatistics;
use crate::nn::named::values;
use crate::recipe::{Arithmetic, Pool};

const CLASSES: usize = 5;
const SIDES: [u32; 2] = [96, 128];

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn pixels(count: usize) -> Vec<f32> {
    (0..count as u64).map(|at| (((at * 2_654_435_761) % (1 << 32)) >> 24) as f32 / 256.0).collect()
}

/// Outputs `[anchors, 4 + classes]` of torchvision.
fn joined(boxes: &[f32], classes: &[f32]) -> Vec<f32> {
    boxes
        .chunks_exact(4)
        .zip(classes.chunks_exact(CLASSES))
        .flat_map(|(code, classes)| [code, classes].concat())
        .collect()
}

#[test]
fn retinanet_gives_what_torchvision_computes() {
    let Ok(python) = std::env::var("HEADSTART_PEERS_PYTHON") else {
        eprintln!("skipped: HEADSTART_PEERS_PYTHON with torchvision not found");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/retinanet/make.py");
    let made = Command::new(&python).arg(script).arg(folder.path()).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: torchvision of {python} not found");
        return;
    }
    let expected: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("torchvision.json")).unwrap()).unwrap();
    let mut detector = load_detector(&folder.path().join("retinanet.pth")).unwrap();
    detector.plan.input = SIDES;
    let (plan, head) = (detector.plan.clone(), detector.head.clone().unwrap());
    assert_eq!((plan.name.as_str(), plan.variant.as_str()), ("retinanet", "resnet:50"));
    let network = Network::Detector(Box::new(detector));
    let theirs = joined(&floats(&expected["boxes"]), &floats(&expected["classes"]));

    // The frozen form.
    let input = pixels(plan.shape().len());
    let frozen = network.frozen(network.parameters(), Arithmetic::F32).unwrap();
    let stages = frozen.stage_count();
    let maps = frozen.forward(&input, stages, Pool::Average, 2).unwrap();
    let plain = Device::default();
    let features = frozen.layout(stages, Pool::Average).tensor(Rows::even(maps, 1), &plain);
    let ours = values(DetectionHead::load(&plan.head, &head, &plain).unwrap().forward(features, None));
    let worst =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f32::max);
    assert_eq!(ours.len(), theirs.len());
    assert!(worst(&ours, &theirs) <= 1e-4, "{}", worst(&ours, &theirs));

    // Detections: the same in the same order.
    let rule = DecodeRule { least_score: 0.05, overlap: 0.5, is_soft: false, most: 300 };
    let found = decode(&plan, CLASSES, &ours, (SIDES[1], SIDES[0]), &rule);
    let (scores, labels) = (floats(&expected["found"]["scores"]), floats(&expected["found"]["labels"]));
    let places: Vec<Vec<f32>> = expected["found"]["boxes"].as_array().unwrap().iter().map(floats).collect();
    // A box that lies beyond the picture is none here; there it is cut to nothing and stays.
    let all: Vec<usize> = (0..scores.len())
        .filter(|&index| places[index][2] > places[index][0] && places[index][3] > places[index][1])
        .collect();
    assert!(scores.len() < 300 && all.len() > 20 && found.len() == all.len(), "{} {}", found.len(), all.len());
    for (one, index) in found.iter().zip(all) {
        assert!((one.score as f32 - scores[index]).abs() <= 1e-4, "{index}");
        assert_eq!(one.class as f32, labels[index], "{index}");
        assert!(worst(&one.place.sides().map(|side| side as f32), &places[index]) <= 1e-3, "{index}");
    }

    // One step: losses and gradients.
    let truth = [([10.0, 12.0, 70.0, 60.0], 3), ([60.0, 30.0, 120.0, 90.0], 1)];
    let truths = vec![truth.map(|([l, t, r, b], class)| Object::new(class, BoundingBox::new(l, t, r, b))).to_vec()];
    let part = |weights: [f32; 3]| loss::batch(&plan, CLASSES, &weights, &truths, &theirs).0;
    for (weights, name) in [([1.0, 0.0, 0.0], "bbox_regression"), ([0.0, 0.0, 1.0], "classification")] {
        let theirs = expected["losses"][name].as_f64().unwrap();
        assert!((part(weights) - theirs).abs() <= 1e-3 * theirs, "{name}: {} {theirs}", part(weights));
    }
    let device = Device::default().autodiff();
    let model = Model {
        backbone: Some(network.trainable(network.parameters(), None, &device).unwrap()),
        head: DetectionHead::load(&plan.head, &head, &device).unwrap(),
    };
    let layout = FeatureLayout::Map { channels: 3, height: SIDES[0] as usize, width: SIDES[1] as usize };
    let outputs = model.forward(0, layout.tensor(Rows::even(input, 1), &device), NormStatistics::Fixed, None);
    let (_, gradient) = loss::batch(&plan, CLASSES, &[1.0; 3], &truths, &values(outputs.clone()));
    let gradient = Tensor::<2>::from_data(TensorData::new(gradient, outputs.dims()), &device);
    let gradients = outputs.mul(gradient).sum().backward();
    let found = crate::train::optimizer::norms(&model, &gradients);
    let mut compared = 0;
    for (theirs, norm) in expected["gradients"].as_object().unwrap() {
        let ours = ours_of(theirs);
        let norm = norm.as_f64().unwrap();
        let found = found.iter().find(|(name, _)| *name == ours).unwrap_or_else(|| panic!("{ours}")).1;
        assert!((found - norm).abs() <= 1e-3 * norm.max(1e-3), "{ours}: {found} {norm}");
        compared += 1;
    }
    assert!(compared > 70, "{compared}");
    assert_eq!(retinanet::anchors(&plan).concat().len() * (4 + CLASSES), ours.len());
}

/// The name of an array of torchvision among ours.
fn ours_of(theirs: &str) -> String {
    let (stem, field) = theirs.rsplit_once('.').unwrap();
    let renamed = if let Some(rest) = stem.strip_prefix("head.") {
        let rest = rest.replace("classification_head", "classes").replace("regression_head", "boxes");
        let rest = rest.replace("cls_logits", "4").replace("bbox_reg", "4").replace("conv.", "");
        format!("head.{}", rest.strip_suffix(".0").filter(|_| theirs.contains(".conv.")).unwrap_or(&rest))
    } else if let Some(rest) = stem.strip_prefix("backbone.fpn.") {
        let is_block = rest.starts_with("inner") || rest.starts_with("layer");
        format!("backbone.fpn.{}", rest.strip_suffix(".0").filter(|_| is_block).unwrap_or(rest))
    } else {
        let rest = stem.strip_prefix("backbone.body.").unwrap();
        let is_norm = rest.contains("bn") || rest.ends_with("downsample.1");
        let layer = match rest.rsplit_once('.') {
            None => "stem".to_owned(),
            Some((block, "0" | "1")) => block.to_owned(),
            Some((block, layer)) => format!("{block}.{}", layer.replace("bn", "conv")),
        };
        if is_norm {
            let field = if field == "weight" { "gamma" } else { "beta" };
            return format!("backbone.{layer}.norm.{field}");
        }
        format!("backbone.{layer}")
    };
    format!("{renamed}.{field}")
}
