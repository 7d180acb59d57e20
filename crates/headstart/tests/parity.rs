//! Every backbone through the real files of every family against the reference libraries: see `fixtures/parity`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test may panic, a long one says how far it is"
)]

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use headstart::HeadRecipe;
use headstart::backbones::BACKBONES;
use headstart::features::Features;
use headstart::load::{self, Pretrained};
use headstart::model::{FrozenBackbone, Head};
use headstart::name_map::Classifier;
use headstart::nn::{NormStatistics, Padding};
use headstart::recipe::Pool;
use headstart::tasks::image_classification::ClassificationHead;
use serde_json::Value;
use tempfile::TempDir;

/// ‖ours − theirs‖ / ‖theirs‖, and the difference of means relative to the deviation.
const TOLERANCE: f64 = 1e-4;

/// One backbone's fixtures: files as the libraries wrote them, and what the libraries made of them.
struct Fixture {
    backbone: &'static str,
    folder: PathBuf,
    unpacked: TempDir,
    expected: Value,
}

impl Fixture {
    fn open(backbone: &'static str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity").join(backbone);
        let unpacked = tempfile::tempdir().unwrap();
        let packed = std::fs::read(folder.join("files.zip")).unwrap();
        zip::ZipArchive::new(Cursor::new(packed)).unwrap().extract(unpacked.path()).unwrap();
        let expected = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
        Self { backbone, folder, unpacked, expected }
    }

    /// Full-size networks that `fixtures/parity/full/make.py` wrote: their files lie as they are.
    fn full(root: &Path) -> Vec<Self> {
        let open = |spec: &&'static headstart::backbones::BackboneSpec| {
            let folder = root.join(spec.name);
            let expected = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).ok()?).unwrap();
            Some(Self { backbone: spec.name, folder, unpacked: tempfile::tempdir().unwrap(), expected })
        };
        BACKBONES.iter().filter_map(open).collect()
    }

    fn all() -> impl Iterator<Item = Self> {
        BACKBONES.iter().map(|spec| Self::open(spec.name))
    }

    fn cases(&self) -> &[Value] {
        self.expected["cases"].as_array().unwrap()
    }

    fn file(&self, case: &Value) -> PathBuf {
        let name = case["file"].as_str().unwrap();
        let packed = self.unpacked.path().join(name);
        if packed.exists() { packed } else { self.folder.join(name) }
    }

    fn load(&self, case: &Value, height: usize, width: usize) -> Pretrained {
        let mut pretrained = load::load(&self.file(case), None).unwrap();
        let found = (pretrained.spec.name, pretrained.variant.name, pretrained.conventions.family.as_str());
        let [variant, family] = ["variant", "family"].map(|name| case[name].as_str().unwrap());
        assert_eq!(found, (self.backbone, variant, family), "{}", case["name"]);
        assert!(pretrained.unused.is_empty(), "{} {}: {:?}", self.backbone, case["name"], pretrained.unused);
        // Weights of one convention under the names of another: what metadata of the file would say.
        match case["padding"].as_str() {
            Some("symmetric") => pretrained.conventions.padding = Padding::Symmetric,
            Some(_) => pretrained.conventions.padding = Padding::Tensorflow,
            None => {}
        }
        if let Some(epsilon) = case["batch_norm_epsilon"].as_f64() {
            pretrained.conventions.batch_norm_epsilon = epsilon;
        }
        pretrained.conventions.preprocess.height = height as u32;
        pretrained.conventions.preprocess.width = width as u32;
        pretrained
    }
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

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// ‖ours − theirs‖ / ‖theirs‖, or / `least` where ‖theirs‖ is less; where both are nothing, ‖ours‖.
fn difference(ours: &[f32], theirs: &[f64], least: f64) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let gap = length(ours.iter().zip(theirs).map(|(a, b)| f64::from(*a) - b));
    let size = length(theirs.iter().copied()).max(least);
    if size == 0.0 { gap } else { gap / size }
}

/// [B, C, H, W] → [B, H, W, C], or back.
fn turned(values: &[f32], [batch, channels, height, width]: [usize; 4], to_channels_last: bool) -> Vec<f32> {
    let mut moved = vec![0.0; values.len()];
    for b in 0..batch {
        for c in 0..channels {
            for pixel in 0..height * width {
                let first = (b * channels + c) * height * width + pixel;
                let last = (b * height * width + pixel) * channels + c;
                let (from, to) = if to_channels_last { (first, last) } else { (last, first) };
                moved[to] = values[from];
            }
        }
    }
    moved
}

/// Every `features_step`-th value, as recorded.
fn thinned(features: &[f32], output: &Value) -> Vec<f32> {
    features.iter().copied().step_by(output["features_step"].as_u64().unwrap() as usize).collect()
}

#[track_caller]
fn assert_close(found: &[f32], theirs: &Value, what: &str) {
    assert_close_at(found, theirs, 0.0, what);
}

/// As [`assert_close`], relative to `least` where the length of theirs is less.
#[track_caller]
fn assert_close_at(found: &[f32], theirs: &Value, least: f64, what: &str) {
    let gap = difference(found, &floats(theirs), least);
    assert!(gap < TOLERANCE, "{what} differs by {gap}");
}

#[test]
fn the_frozen_form_agrees_with_the_references_after_every_stage_and_in_its_logits() {
    Fixture::all().for_each(|fixture| compare_frozen(&fixture, 0.0));
}

#[test]
#[ignore = "full-size networks, which a script writes: see fixtures/parity/full"]
fn full_size_networks_agree_with_the_references_after_every_stage_and_in_their_logits() {
    let root = std::env::var_os("HEADSTART_PARITY").expect("HEADSTART_PARITY names the folder of full/make.py");
    let fixtures = Fixture::full(Path::new(&root));
    assert!(!fixtures.is_empty(), "{root:?} holds no expected.json");
    for fixture in &fixtures {
        // Of a thousand values behind a ReLU eight may all but vanish: they are held to the size of what the stage gives.
        compare_frozen(fixture, 1.0);
        compare_trainable(fixture);
        println!("{}: {} networks agree", fixture.backbone, fixture.cases().len());
    }
}

/// `leniency` 0 holds the recorded values of a stage to their own size, 1 to that of all values of the stage.
fn compare_frozen(fixture: &Fixture, leniency: f64) {
    for case in fixture.cases() {
        for output in case["outputs"].as_array().unwrap() {
            let dims: [usize; 4] = shape(&output["input"]).try_into().unwrap();
            let mut pretrained = fixture.load(case, dims[2], dims[3]);
            let what = |part: &str| format!("{} {} {part}", fixture.backbone, case["name"]);
            let frozen = FrozenBackbone::new(&pretrained, &pretrained.parameters).unwrap();
            let pixels = turned(&input(&dims), dims, true);
            for (index, stage) in pretrained.spec.stages.iter().enumerate() {
                let expected = &output["stages"][stage.name];
                let features = frozen.forward(&pixels, dims[0], index + 1, Pool::Flatten, 2).unwrap();
                let features = turned(&features, shape(&expected["shape"]).try_into().unwrap(), false);
                let mean = features.iter().map(|value| f64::from(*value)).sum::<f64>() / features.len() as f64;
                let square = |value: &f32| (f64::from(*value) - mean).powi(2);
                let deviation = (features.iter().map(square).sum::<f64>() / features.len() as f64).sqrt();
                let (theirs, scale) = (expected["mean"].as_f64().unwrap(), expected["std"].as_f64().unwrap());
                let least = leniency * (theirs * theirs + scale * scale).sqrt() * 8f64.sqrt();
                for (name, found) in [("first", &features[..8]), ("last", &features[features.len() - 8..])] {
                    assert_close_at(found, &expected[name], least, &what(&format!("{} {name}", stage.name)));
                }
                assert!((mean - theirs).abs() < TOLERANCE * scale, "{}", what(stage.name));
                assert!((deviation - scale).abs() < TOLERANCE * scale, "{}", what(stage.name));
            }
            let pooled = frozen.forward(&pixels, dims[0], frozen.stage_count(), Pool::Average, 1).unwrap();
            assert_close(&thinned(&pooled, output), &output["features"], &what("features"));
            if output.get("logits").is_some() {
                pretrained.classifier = Some(load::load_classifier(&fixture.file(case), None).unwrap());
                let frozen = FrozenBackbone::new(&pretrained, &pretrained.parameters).unwrap();
                let logits = frozen.forward(&pixels, dims[0], frozen.stage_count(), Pool::Logits, 2).unwrap();
                assert_close(&logits, &output["logits"], &what("logits"));
            }
        }
    }
}

/// The trainable form with the published classifier as its head.
struct Trainable {
    module: headstart::backbones::Backbone,
    pooled: Tensor<2>,
    logits: Option<Tensor<2>>,
}

impl Trainable {
    fn run(pretrained: &Pretrained, classifier: Option<&Classifier>, dims: [usize; 4], device: &Device) -> Self {
        let build = pretrained.spec.trainable;
        let module = build(pretrained.variant, &pretrained.parameters, &pretrained.conventions, device).unwrap();
        let pixels = Tensor::<4>::from_data(TensorData::new(input(&dims), dims), device);
        let Features::Map(map) = module.resume_from(0, Features::Map(pixels), NormStatistics::Fixed) else {
            panic!("a map");
        };
        let [batch, channels, height, width] = map.dims();
        let pooled = map.clone().reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels]);
        let logits = classifier.map(|classifier| {
            let recipe =
                HeadRecipe { pool: classifier.pool, hidden: classifier.hidden.clone(), ..HeadRecipe::default() };
            let head = ClassificationHead::load(&recipe, &classifier.parameters, device).unwrap();
            head.forward(Features::Map(map), None)
        });
        Self { module, pooled, logits }
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().unwrap()
}

#[test]
fn the_trainable_form_agrees_with_the_references() {
    Fixture::all().for_each(|fixture| compare_trainable(&fixture));
}

fn compare_trainable(fixture: &Fixture) {
    for case in fixture.cases() {
        for output in case["outputs"].as_array().unwrap() {
            let dims: [usize; 4] = shape(&output["input"]).try_into().unwrap();
            let pretrained = fixture.load(case, dims[2], dims[3]);
            let has_logits = output.get("logits").is_some();
            let classifier = has_logits.then(|| load::load_classifier(&fixture.file(case), None).unwrap());
            let trainable = Trainable::run(&pretrained, classifier.as_ref(), dims, &Device::default());
            let what = |part: &str| format!("{} {} {part}", fixture.backbone, case["name"]);
            assert_close(&thinned(&values(trainable.pooled), output), &output["features"], &what("features"));
            if let Some(logits) = trainable.logits {
                assert_close(&values(logits), &output["logits"], &what("logits"));
            }
        }
    }
}

struct GradientsByName<'a> {
    gradients: &'a Gradients,
    path: Vec<String>,
    found: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl ModuleVisitor for GradientsByName<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        // The variant of the registry's enum is no part of a name.
        self.path.push(if container.starts_with("Enum:") { String::new() } else { name.to_owned() });
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        if let Some(gradient) = tensor.grad(self.gradients) {
            let path: Vec<&str> = self.path.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
            self.found.insert(path.join("."), (tensor.dims().to_vec(), values(gradient)));
        }
    }
}

#[test]
fn gradients_agree_with_pytorch() {
    let mut compared = 0;
    for fixture in Fixture::all() {
        for case in fixture.cases().iter().filter(|case| case.get("gradients").is_some()) {
            let expected = &case["gradients"];
            let dims: [usize; 4] = shape(&expected["input"]).try_into().unwrap();
            let pretrained = fixture.load(case, dims[2], dims[3]);
            let classifier = load::load_classifier(&fixture.file(case), None).unwrap();
            let trainable = Trainable::run(&pretrained, Some(&classifier), dims, &Device::default().autodiff());
            let loss = trainable.logits.unwrap().powi_scalar(2).mean();
            let (value, theirs) = (f64::from(loss.clone().into_scalar::<f32>()), expected["loss"].as_f64().unwrap());
            assert!((value - theirs).abs() < TOLERANCE * theirs, "{}: {value}, {theirs}", fixture.backbone);
            let gradients = loss.backward();
            let mut visitor = GradientsByName { gradients: &gradients, path: Vec::new(), found: BTreeMap::new() };
            trainable.module.visit(&mut visitor);
            for (name, expected) in expected["parameters"].as_object().unwrap() {
                let what = format!("{} {} {name}", fixture.backbone, case["name"]);
                let (dims, gradient) = visitor.found.get(name).unwrap_or_else(|| panic!("{what} has no gradient"));
                assert_eq!(*dims, shape(&expected["shape"]), "{what}");
                let norm = expected["norm"].as_f64().unwrap();
                let ours = gradient.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
                assert!((ours - norm).abs() < TOLERANCE * norm, "{what}: norm {ours}, expected {norm}");
                for (part, found) in [("first", &gradient[..8]), ("last", &gradient[gradient.len() - 8..])] {
                    // Eight values of many may be small beside the whole, whose rounding they share.
                    let typical = norm * (8.0 / gradient.len() as f64).sqrt();
                    let theirs = floats(&expected[part]);
                    let gap = found.iter().zip(&theirs).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>().sqrt();
                    assert!(gap < TOLERANCE * typical.max(1e-12), "{what} {part}: {gap} of {typical}");
                }
                compared += 1;
            }
        }
    }
    assert!(compared >= 17, "only {compared} gradients were compared");
}

#[test]
fn a_checkpoint_without_its_top_loads_and_says_that_it_has_no_classifier() {
    let fixture = Fixture::open("vgg16");
    let case = fixture.cases().iter().find(|case| case["name"] == "keras_notop").unwrap();
    let error = load::load_classifier(&fixture.file(case), None).unwrap_err();
    assert!(
        error.to_string().contains("no published classifier") && error.to_string().contains("fc1/kernel"),
        "{error}"
    );
    assert!(error.help().unwrap().contains("--head linear"));
}
