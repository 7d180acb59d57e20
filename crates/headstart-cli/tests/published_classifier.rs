//! `--head original`: a published network with the classifier that it was published with.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a helper of a test may panic, and says what it skips")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use headstart::data::synthetic::leaves::write_data_set;
use serde_json::Value;
use tempfile::TempDir;

const LABELS: &str = "oak leaf, oak\nMaple\nwillow\nginkgo\nbirch\nholly\nghost\nstone, rock\nwater\nwater, sea\n";

/// A folder with pictures of leaves in `leaves/`, labels for ten outputs in `labels.txt` and the parity fixtures' files.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        write_data_set(&desk.path("leaves"), 4, 48, 3).unwrap();
        std::fs::write(desk.path("labels.txt"), LABELS).unwrap();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity");
        for backbone in ["mobilenet_v1", "vgg16"] {
            let packed = std::fs::File::open(fixtures.join(backbone).join("files.zip")).unwrap();
            zip::ZipArchive::new(packed).unwrap().extract(desk.folder.path()).unwrap();
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_headstart"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HEADSTART_CACHE", self.path("cache"))
            .env("NO_COLOR", "1")
            .env("COLUMNS", "200")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn fail(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr)
            .split_whitespace()
            .filter(|word| *word != "│")
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn report(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(self.succeed(arguments).lines().last().unwrap()).unwrap()
    }
}

const MOBILENET: [&str; 6] = ["--weights", "keras_mobilenet.h5", "--head", "original", "--size", "64"];

#[test]
fn without_data_the_network_becomes_a_bundle_as_it_is() {
    let desk = Desk::new();
    desk.succeed(&[&["train", "-q", "--labels", "labels.txt"], &MOBILENET[..]].concat());
    let line = desk.succeed(&["predict", "keras_mobilenet.headstart", "leaves/oak/oak_0001.jpg", "--json", "-k", "10"]);
    let prediction: Value = serde_json::from_str(&line).unwrap();
    let mut labels: Vec<&str> =
        prediction["top"].as_array().unwrap().iter().map(|candidate| candidate["label"].as_str().unwrap()).collect();
    labels.sort_unstable();
    let mut expected: Vec<&str> = LABELS.lines().collect();
    expected.sort_unstable();
    assert_eq!(labels, expected);
    let text = desk.succeed(&["inspect", "keras_mobilenet.headstart"]);
    assert!(text.contains("published classifier kept as the head") && text.contains("self-test passed"), "{text}");
    assert!(desk.succeed(&["inspect", "keras_mobilenet.h5"]).contains("holds its published classifier of 10 classes"));
}

#[test]
fn classes_of_the_data_are_found_among_the_labels_and_scored_as_published() {
    let desk = Desk::new();
    let data = ["train", "leaves", "--json", "--labels", "labels.txt"];
    let report = desk.report(&[&data[..], &MOBILENET[..]].concat());
    assert_eq!(report["labels"].as_array().unwrap().len(), 10);
    assert_eq!(report["examples"]["validation"], 6);
    let scored = desk.report(&["evaluate", "leaves.headstart", "leaves", "--json"]);
    let metrics = &scored["evaluation"]["metrics"];
    assert_eq!(metrics["examples"], 24);
    // Six species are there; others only where they were predicted.
    let classes = metrics["classes"].as_array().unwrap().len();
    assert!((6..=10).contains(&classes));
    assert_eq!(metrics["confusion"].as_array().unwrap().len(), classes);
    let support: u64 =
        metrics["per_class"].as_array().unwrap().iter().map(|class| class["support"].as_u64().unwrap()).sum();
    assert_eq!(support, 24);

    // The same network under TensorFlow.js's names says the same of every picture.
    let other = ["train", "leaves", "-q", "--labels", "labels.txt", "--weights", "tfjs_layers/model.json"];
    desk.succeed(&[&other[..], &["--head", "original", "--size", "64", "--out", "other"]].concat());
    let predictions = |bundle: &str| desk.succeed(&["predict", bundle, "leaves", "-k", "10"]);
    assert_eq!(predictions("leaves.headstart"), predictions("other"));
}

#[test]
fn the_published_classifier_can_learn_and_resumes_nothing_but_its_own_run() {
    let desk = Desk::new();
    let data = ["train", "leaves", "--json", "--labels", "labels.txt", "--batch", "8"];
    let before = desk.report(&[&data[..], &MOBILENET[..], &["--out", "before"]].concat());
    let learned = [&data[..], &MOBILENET[..], &["--epochs", "12", "--fine-tune", "2", "--val", "leaves"]].concat();
    let after = desk.report(&[&learned[..], &["--out", "a", "--threads", "1"]].concat());
    let accuracy = |report: &Value| report["metrics"]["accuracy"].as_f64().unwrap();
    assert!(accuracy(&after) > accuracy(&before), "{} after {}", accuracy(&after), accuracy(&before));
    desk.succeed(&[&learned[..], &["--out", "b", "--threads", "2"]].concat());
    assert!(std::fs::read(desk.path("a")).unwrap() == std::fs::read(desk.path("b")).unwrap());
}

#[test]
fn a_flattened_classifier_is_kept_from_both_orders_of_axes_and_takes_its_own_size_alone() {
    let desk = Desk::new();
    for file in ["torchvision_vgg16.pth", "timm_vgg16_bn.safetensors", "keras_vgg16.h5"] {
        let options = ["train", "-q", "--weights", file, "--head", "original", "--labels", "labels.txt"];
        desk.succeed(&[&options[..], &["--out", "net"]].concat());
        desk.succeed(&["predict", "net", "leaves/oak/oak_0001.jpg"]);
        let told = desk.fail(&[&options[..], &["--size", "96"]].concat());
        assert!(told.contains("49 positions") && told.contains("3 × 3") && told.contains("224 pixels"), "{told}");
    }
}

#[test]
fn a_new_head_learns_on_the_outputs_of_the_published_classifier() {
    let desk = Desk::new();
    let data = ["train", "leaves", "--json", "--weights", "keras_mobilenet.h5", "--size", "64", "--epochs", "3"];
    let report = desk.report(&[&data[..], &["--head", "original+mlp:16"]].concat());
    assert_eq!(report["labels"].as_array().unwrap().len(), 6);
    let text = desk.succeed(&["inspect", "leaves.headstart"]);
    assert!(text.contains("published classifier kept below the head") && text.contains("self-test passed"), "{text}");
    assert!(text.contains("head.hidden.0.weight") && text.contains("[10, 16]"), "{text}");
    desk.succeed(&["predict", "leaves.headstart", "leaves/oak/oak_0001.jpg"]);
    // The outputs are cached: another head extracts nothing, and average features are other features.
    let again = desk.report(&[&data[..], &["--head", "original+linear"]].concat());
    assert_eq!(again["seconds"]["extract"], 0.0);
    let average = desk.report(&[&data[..], &["--head", "linear"]].concat());
    assert!(average["seconds"]["extract"].as_f64().unwrap() > 0.0);
    let vgg = ["train", "leaves", "-q", "--weights", "torchvision_vgg16.pth", "--epochs", "1"];
    desk.succeed(&[&vgg[..], &["--head", "original+linear", "--out", "vgg"]].concat());
    desk.succeed(&["predict", "vgg", "leaves/oak/oak_0001.jpg"]);
    let told = desk.fail(&[&data[..], &["--head", "original+linear", "--fine-tune", "1"]].concat());
    assert!(told.contains("whole network frozen"), "{told}");
}

#[test]
fn the_head_of_a_bundle_is_a_classifier_with_labels() {
    let desk = Desk::new();
    desk.succeed(&["train", "leaves", "-q", "--epochs", "6", "--out", "first"]);
    let scores = |bundle: &str| {
        let scored = desk.report(&["evaluate", bundle, "leaves", "--json"]);
        scored["evaluation"]["metrics"]["cross_entropy"].as_f64().unwrap()
    };
    desk.succeed(&["train", "-q", "--weights", "first", "--head", "original", "--out", "second"]);
    assert_eq!(scores("first"), scores("second"));
}

#[test]
fn what_cannot_be_kept_or_found_is_told() {
    let desk = Desk::new();
    let told = desk.fail(&["train", "--head", "original"]);
    assert!(told.contains("`embedded` holds no published classifier") && told.contains("--weights FILE"), "{told}");
    let told = desk.fail(&["train", "--head", "original", "--weights", "keras_vgg16_notop.weights.h5"]);
    assert!(told.contains("no `fc1/kernel`") && told.contains("saved without its top"), "{told}");
    assert!(desk.succeed(&["inspect", "keras_vgg16_notop.weights.h5"]).contains("holds no published classifier"));
    let told = desk.fail(&[&["train"], &MOBILENET[..]].concat());
    assert!(told.contains("has 10 outputs") && told.contains("--labels FILE"), "{told}");
    assert!(desk.fail(&["train", "--head", "linear"]).contains("no data set"));
    assert!(desk.fail(&["train", "leaves", "--labels", "labels.txt"]).contains("only for --head original"));
    assert!(desk.fail(&[&["train", "--epochs", "3"], &MOBILENET[..]].concat()).contains("no data set to train on"));

    let labels = |names: &str| std::fs::write(desk.path("labels.txt"), names).unwrap();
    let train = [&["train", "leaves", "--labels", "labels.txt"], &MOBILENET[..]].concat();
    labels(&LABELS.replace("holly", "hollies"));
    let told = desk.fail(&train);
    assert!(told.contains("`holly` is none of the network's 10 labels") && told.contains("`hollies`"), "{told}");
    labels(&LABELS.replace("ghost", "holly, tree"));
    // The whole label goes before a synonym.
    desk.succeed(&train);
    labels(&LABELS.replace("ghost", "holly, tree").replace("holly\n", "shrub, holly\n"));
    let told = desk.fail(&train);
    assert!(told.contains("`holly` is 2 of the network's 10 labels") && told.contains("`shrub, holly`"), "{told}");
}

#[test]
fn a_published_imagenet_network_is_evaluated_as_published() {
    let root = std::env::var_os("HEADSTART_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let weights = root.join("weights/mobilenet_v2_1.0_safetensors/model.safetensors");
    let photos = root.join("data/ants_bees/val");
    for path in [&weights, &photos] {
        if !path.exists() {
            eprintln!("skipped: {} not found", path.display());
            return;
        }
    }
    let desk = Desk::new();
    for (theirs, ours) in [("ants", "ant"), ("bees", "n02206856")] {
        let folder = desk.path("insects").join(ours);
        std::fs::create_dir_all(&folder).unwrap();
        for photo in std::fs::read_dir(photos.join(theirs)).unwrap().flatten() {
            std::fs::copy(photo.path(), folder.join(photo.file_name())).unwrap();
        }
    }
    let weights = weights.to_str().unwrap();
    desk.succeed(&["train", "-q", "--head", "original", "--weights", weights, "--out", "net"]);
    let scored = desk.report(&["evaluate", "net", "insects", "--json"]);
    let evaluation = &scored["evaluation"];
    assert_eq!(
        (&evaluation["labels"][0], &evaluation["labels"][1]),
        (&"background".into(), &"tench, Tinca tinca".into())
    );
    // 81.7 % and 95.4 % of 153 photos of two classes among a thousand, when this was written.
    assert!(evaluation["metrics"]["accuracy"].as_f64().unwrap() > 0.78, "{}", evaluation["metrics"]["accuracy"]);
    assert!(evaluation["metrics"]["top5_accuracy"].as_f64().unwrap() > 0.92);
    let told = desk.fail(&["evaluate", "net", photos.to_str().unwrap()]);
    assert!(told.contains("`ants` is none of the network's 1001 labels") && told.contains("`ant`"), "{told}");
}
