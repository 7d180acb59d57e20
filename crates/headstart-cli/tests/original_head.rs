//! `--head original`: a published classifier that is kept, as whole commands.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::path::{Path, PathBuf};
use std::process::Command;

use headstart::data::synthetic::leaves::{Species, leaf};
use serde_json::Value;
use tempfile::TempDir;

/// A network of ten classes that torchvision wrote, with its classifier.
fn weights() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/mobilenet_v2/torchvision.pth");
    path.to_str().unwrap().to_owned()
}

struct Desk(TempDir);

impl Desk {
    /// `leaves/` with folders of these names and `names.txt` with ten labels, maple and willow among them.
    fn new(folders: [&str; 2]) -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        for (species, name) in [Species::Willow, Species::Maple].into_iter().zip(folders) {
            let folder = desk.path("leaves").join(name);
            std::fs::create_dir_all(&folder).unwrap();
            for seed in 0..8 {
                leaf(species, seed, 48).save(folder.join(format!("{seed}.png"))).unwrap();
            }
        }
        let labels = "ash\nbirch\nmaple, acer\nelm\nwillow\nhazel\nholly\noak\npine\nyew\n";
        std::fs::write(desk.path("names.txt"), labels).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_headstart"))
            .args(arguments)
            .current_dir(self.0.path())
            .env("HEADSTART_CACHE", self.path("cache"))
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.success(), text)
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let (success, text) = self.run(arguments);
        assert!(success, "{arguments:?}: {text}");
        text
    }

    fn fail(&self, arguments: &[&str]) -> String {
        let (success, text) = self.run(arguments);
        assert!(!success, "{arguments:?}: {text}");
        text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
    }

    fn events(&self, arguments: &[&str]) -> Vec<Value> {
        let text = self.succeed(&[arguments, &["--json"]].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// What was right of the training photos in the last epoch.
fn learned(events: &[Value]) -> f64 {
    let epochs: Vec<&Value> = events.iter().filter(|event| event["event"] == "epoch").collect();
    epochs.last().unwrap()["accuracy"].as_f64().unwrap()
}

#[test]
fn a_network_becomes_a_bundle_without_any_photo_and_predicts_its_own_labels() {
    let desk = Desk::new(["willow", "acer"]);
    let weights = weights();
    let original = ["--head", "original", "--weights", &weights, "--size", "64"];
    desk.succeed(&[&["train"], &original[..], &["--labels", "names.txt", "-o", "net.headstart"]].concat());
    let text = desk.succeed(&["predict", "net.headstart", "leaves/willow/0.png", "--top", "10", "--json"]);
    let prediction: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let top = prediction["top"].as_array().unwrap();
    assert_eq!(top.len(), 10);
    assert!(top.iter().any(|candidate| candidate["label"] == "maple, acer"));
    let sum: f64 = top.iter().map(|candidate| candidate["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-4);
    // Folders are found among the labels by any of their synonyms.
    assert!(desk.succeed(&["evaluate", "net.headstart", "leaves"]).contains("accuracy"));
    // Ten outputs are not ImageNet's.
    let message = desk.fail(&[&["train"], &original[..], &["-o", "other.headstart"]].concat());
    assert!(message.contains("10 outputs") && message.contains("--labels"), "{message}");
}

#[test]
fn the_published_classifier_is_evaluated_as_it_is_or_learns_on() {
    let desk = Desk::new(["willow", "maple"]);
    let weights = weights();
    let original = ["train", "leaves", "--head", "original", "--weights", &weights, "--size", "64", "--val", "0.5"];
    let labelled = [&original[..], &["--labels", "names.txt"]].concat();
    let as_it_is = desk.events(&labelled);
    assert!(!as_it_is.iter().any(|event| event["event"] == "epoch"), "nothing learns unless it is asked to");
    let report = as_it_is.last().unwrap();
    assert_eq!(report["labels"].as_array().unwrap().len(), 10);
    assert_eq!(report["examples"]["validation"], 8);
    let events = desk.events(&[&labelled[..], &["--epochs", "60", "--lr", "0.02", "--dropout", "0"]].concat());
    assert!(learned(&events) >= 0.9, "eight photos are learned by heart: {}", learned(&events));
}

#[test]
fn outputs_of_the_published_classifier_are_features_for_a_new_head() {
    let desk = Desk::new(["willow", "maple"]);
    let weights = weights();
    let options =
        ["--weights", &weights, "--size", "64", "--val", "0.5", "--epochs", "60", "--lr", "0.02", "--dropout", "0"];
    let events = desk.events(&[&["train", "leaves", "--head", "original+mlp:16"], &options[..]].concat());
    assert_eq!(events.last().unwrap()["labels"], serde_json::json!(["maple", "willow"]));
    assert!(learned(&events) >= 0.9, "eight photos are learned by heart: {}", learned(&events));
    assert!(desk.succeed(&["predict", "leaves.headstart", "leaves/maple/1.png"]).contains('%'));
    // What others would read is one head on the backbone.
    assert!(desk.succeed(&["export", "leaves.headstart", "--format", "onnx"]).contains("onnx"));
}

#[test]
fn what_the_labels_do_not_hold_and_what_has_no_classifier_is_named() {
    let desk = Desk::new(["willow", "mapple"]);
    let weights = weights();
    let original = ["train", "leaves", "--head", "original", "--size", "64"];
    let labelled = [&original[..], &["--weights", &weights, "--labels", "names.txt"]].concat();
    let message = desk.fail(&labelled);
    assert!(message.contains("`mapple`") && message.contains("maple"), "{message}");
    let message = desk.fail(&original);
    assert!(message.contains("classifier") && message.contains("--weights FILE"), "{message}");
}
