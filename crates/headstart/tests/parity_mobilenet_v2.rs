//! MobileNetV2 through real files against torchvision and timm: see `fixtures/parity/mobilenet_v2`.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use headstart::features::Features;
use headstart::load::{self, Pretrained};
use headstart::model::FrozenBackbone;
use headstart::nn::{NormStatistics, Padding};
use headstart::recipe::Pool;
use headstart::weights;
use serde_json::Value;

const TOLERANCE: f64 = 1e-4;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/mobilenet_v2")
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(folder().join("expected.json")).unwrap()).unwrap()
}

/// The stated input, [B, C, H, W].
fn input(shape: &[usize]) -> Vec<f32> {
    (0..shape.iter().product::<usize>() as u64)
        .map(|i| ((i * 2_654_435_761 % (1 << 32)) as f64 / f64::from(1u32 << 31) - 1.0) as f32)
        .collect()
}

fn shape(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|length| length.as_u64().unwrap() as usize).collect()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// ‖ours − theirs‖ / ‖theirs‖.
fn difference(ours: &[f32], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let gap = squares(&mut ours.iter().zip(theirs).map(|(a, b)| f64::from(*a) - b));
    gap / squares(&mut theirs.iter().copied())
}

fn open(case: &Value, height: usize, width: usize) -> Pretrained {
    let mut pretrained = load::load(&folder().join(case["file"].as_str().unwrap()), None).unwrap();
    assert_eq!((pretrained.spec.name, pretrained.variant.name), ("mobilenet_v2", "tiny"));
    pretrained.conventions.padding = match case["padding"].as_str().unwrap() {
        "symmetric" => Padding::Symmetric,
        _ => Padding::Tensorflow,
    };
    pretrained.conventions.batch_norm_epsilon = case["batch_norm_epsilon"].as_f64().unwrap();
    pretrained.conventions.preprocess.height = height as u32;
    pretrained.conventions.preprocess.width = width as u32;
    pretrained
}

fn to_channels_last(values: &[f32], [batch, channels, height, width]: [usize; 4]) -> Vec<f32> {
    let mut moved = vec![0.0; values.len()];
    for b in 0..batch {
        for c in 0..channels {
            for pixel in 0..height * width {
                moved[(b * height * width + pixel) * channels + c] =
                    values[(b * channels + c) * height * width + pixel];
            }
        }
    }
    moved
}

fn to_channels_first(values: &[f32], [batch, channels, height, width]: [usize; 4]) -> Vec<f32> {
    let mut moved = vec![0.0; values.len()];
    for b in 0..batch {
        for c in 0..channels {
            for pixel in 0..height * width {
                moved[(b * channels + c) * height * width + pixel] =
                    values[(b * height * width + pixel) * channels + c];
            }
        }
    }
    moved
}

#[test]
fn the_frozen_form_agrees_with_the_references_after_every_stage() {
    for case in expected()["cases"].as_array().unwrap() {
        for output in case["outputs"].as_array().unwrap() {
            let [batch, channels, height, width] = shape(&output["input"])[..] else { panic!("four axes") };
            let pretrained = open(case, height, width);
            let frozen = FrozenBackbone::new(&pretrained, &pretrained.parameters).unwrap();
            let pixels = to_channels_last(&input(&[batch, channels, height, width]), [batch, channels, height, width]);
            for (index, stage) in pretrained.spec.stages.iter().enumerate() {
                let expected = &output["stages"][stage.name];
                let features = frozen.forward(&pixels, batch, index + 1, Pool::Flatten, 2).unwrap();
                let dims: [usize; 4] = shape(&expected["shape"]).try_into().unwrap();
                let features = to_channels_first(&features, dims);
                for (name, found) in [("first", &features[..8]), ("last", &features[features.len() - 8..])] {
                    let theirs = floats(&expected[name]);
                    if theirs.iter().any(|value| *value != 0.0) {
                        let gap = difference(found, &theirs);
                        assert!(gap < TOLERANCE, "{} {} {name}: {gap}", case["name"], stage.name);
                    }
                }
                let mean = features.iter().map(|value| f64::from(*value)).sum::<f64>() / features.len() as f64;
                let (theirs, deviation) = (expected["mean"].as_f64().unwrap(), expected["std"].as_f64().unwrap());
                assert!((mean - theirs).abs() < TOLERANCE * deviation, "{} {}", case["name"], stage.name);
            }
            let pooled = frozen.forward(&pixels, batch, frozen.stage_count(), Pool::Average, 1).unwrap();
            let gap = difference(&pooled, &floats(&output["features"]));
            assert!(gap < TOLERANCE, "{}: pooled features differ by {gap}", case["name"]);
        }
    }
}

/// Logits of the trainable form with the file's own classifier, and its module for the gradients.
fn logits(
    pretrained: &Pretrained,
    file: &Path,
    dims: [usize; 4],
    device: &Device,
) -> (headstart::backbones::Backbone, Tensor<2>, Tensor<2>) {
    let module =
        (pretrained.spec.trainable)(pretrained.variant, &pretrained.parameters, &pretrained.conventions, device)
            .unwrap();
    let pixels = Tensor::<4>::from_data(TensorData::new(input(&dims), dims), device);
    let Features::Map(map) = module.resume_from(0, Features::Map(pixels), NormStatistics::Fixed) else {
        panic!("a map");
    };
    let [batch, channels, height, width] = map.dims();
    let pooled = map.reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels]);
    let checkpoint = weights::open(file).unwrap();
    let prefix = if checkpoint.arrays().iter().any(|array| array.name == "classifier.weight") {
        "classifier"
    } else {
        "classifier.1"
    };
    let read = |name: &str| checkpoint.read(&format!("{prefix}.{name}")).unwrap().to_f32().unwrap();
    let weight = Tensor::<2>::from_data(TensorData::new(read("weight"), [10, channels]), device);
    let bias = Tensor::<2>::from_data(TensorData::new(read("bias"), [1, 10]), device);
    let logits = pooled.clone().matmul(weight.transpose()).add(bias);
    (module, pooled, logits)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().unwrap()
}

#[test]
fn the_trainable_form_agrees_with_the_references() {
    for case in expected()["cases"].as_array().unwrap() {
        for output in case["outputs"].as_array().unwrap() {
            let dims: [usize; 4] = shape(&output["input"]).try_into().unwrap();
            let pretrained = open(case, dims[2], dims[3]);
            let file = folder().join(case["file"].as_str().unwrap());
            let (_, pooled, logits) = logits(&pretrained, &file, dims, &Device::default());
            for (name, found) in [("features", values(pooled)), ("logits", values(logits))] {
                let gap = difference(&found, &floats(&output[name]));
                assert!(gap < TOLERANCE, "{}: {name} differ by {gap}", case["name"]);
            }
        }
    }
}

struct GradientsByShape<'a> {
    gradients: &'a Gradients,
    found: Vec<(Vec<usize>, Vec<f32>)>,
}

impl ModuleVisitor for GradientsByShape<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        if let Some(gradient) = tensor.grad(self.gradients) {
            self.found.push((tensor.dims().to_vec(), values(gradient)));
        }
    }
}

#[test]
fn gradients_agree_with_pytorch() {
    let expected = expected();
    let case = &expected["cases"][0];
    let gradients = &expected["gradients"];
    let dims: [usize; 4] = shape(&gradients["input"]).try_into().unwrap();
    let pretrained = open(case, dims[2], dims[3]);
    let file = folder().join(case["file"].as_str().unwrap());
    let (module, _, logits) = logits(&pretrained, &file, dims, &Device::default().autodiff());
    let loss = logits.powi_scalar(2).mean();
    let value = f64::from(loss.clone().into_scalar::<f32>());
    let theirs = gradients["loss"].as_f64().unwrap();
    assert!((value - theirs).abs() < TOLERANCE * theirs, "loss {value}, expected {theirs}");
    let computed = loss.backward();
    let mut visitor = GradientsByShape { gradients: &computed, found: Vec::new() };
    module.visit(&mut visitor);
    for (name, expected) in gradients["parameters"].as_object().unwrap() {
        let (dims, theirs) = (shape(&expected["shape"]), floats(&expected["first"]));
        let norm = expected["norm"].as_f64().unwrap();
        let best = visitor
            .found
            .iter()
            .filter(|(found, _)| *found == dims)
            .map(|(_, gradient)| {
                let length = gradient.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
                (length - norm).abs() / norm + difference(&gradient[..8], &theirs)
            })
            .fold(f64::INFINITY, f64::min);
        assert!(best < 10.0 * TOLERANCE, "{name}: {best}");
    }
}
