//! `headstart export`, as a user runs it.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use headstart::data::synthetic::leaves::write_data_set;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a data set, a bundle and room for exports.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        write_data_set(&desk.path("leaves"), 4, 48, 3).unwrap();
        desk.succeed(&["train", "leaves", "--epochs", "2", "-q"]);
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
        assert_eq!(output.status.code(), Some(1), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_bundle_is_exported_beside_itself_and_an_earlier_export_is_replaced() {
    let desk = Desk::new();
    for format in ["safetensors", "keras", "tfjs", "onnx"] {
        for _ in 0..2 {
            let text = desk.succeed(&["export", "leaves.headstart", "--format", format]);
            assert!(text.starts_with(&format!("leaves.{format}")) && text.contains("2 pictures agree"), "{text}");
        }
    }
    let exports = ["leaves.keras", "leaves.onnx", "leaves.safetensors", "leaves.tfjs"];
    assert_eq!(desk.names(), [&["cache", "leaves", "leaves.headstart"], &exports[..]].concat());

    let line = desk.succeed(&["export", "leaves.headstart", "--format", "onnx", "-o", "a/b.onnx", "--json"]);
    let report: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(report["event"], "export");
    assert_eq!(report["export"]["bytes"], desk.path("a/b.onnx").metadata().unwrap().len());
    assert!(report["export"]["largest_difference"].as_f64().unwrap() < 1e-5);

    let labels = std::fs::read_to_string(desk.path("leaves.tfjs/metadata.json")).unwrap();
    let labels: Value = serde_json::from_str(&labels).unwrap();
    assert_eq!((labels["labels"].as_array().unwrap().len(), &labels["imageSize"]), (6, &Value::from(128)));
    assert!(std::fs::read_to_string(desk.path("leaves.tfjs/README.txt")).unwrap().contains("tf.loadLayersModel"));
}

#[test]
fn exported_weights_are_the_start_of_another_run() {
    let desk = Desk::new();
    desk.succeed(&["export", "leaves.headstart", "--format", "safetensors"]);
    let text = desk.succeed(&["inspect", "leaves.safetensors"]);
    assert!(text.contains("fits backbone mobilenet_v2:0.35") && text.contains("license: "), "{text}");
    let train = |weights: &str, out: &str| {
        let options = ["train", "leaves", "--epochs", "1", "--json", "--weights", weights, "--out", out];
        let text = desk.succeed(&options);
        serde_json::from_str::<Value>(text.lines().last().unwrap()).unwrap()["metrics"].clone()
    };
    // The same weights under other names, with the same conventions, learn the same.
    assert_eq!(train("leaves.safetensors", "a"), train("leaves.headstart", "b"));
}

#[test]
fn what_cannot_be_exported_is_refused_and_nothing_is_touched() {
    let desk = Desk::new();
    let bundle = std::fs::read(desk.path("leaves.headstart")).unwrap();
    let refused = |arguments: &[&str], part: &str| {
        let text = desk.fail(&[&["export"], arguments].concat()).replace("\n", " ");
        assert!(text.contains(part), "{part}\n{text}");
    };
    refused(&["leaves.headstart", "--format", "onx"], "did you mean `onnx`?");
    refused(&["leaves.headstart", "--format", "onnx", "-o", "./leaves.headstart"], "overwrite the bundle");
    refused(&["leaves.headstart", "--format", "keras", "-o", "leaves.h5"], "without the ending");
    refused(&["leaves.headstart", "--format", "tfjs", "-o", "leaves"], "no part of an export");
    refused(&["leaves.headstart", "--format", "onnx", "-o", "leaves"], "cannot write");
    refused(&["absent.headstart", "--format", "onnx"], "absent.headstart");
    assert!(std::fs::read(desk.path("leaves.headstart")).unwrap() == bundle);
    assert_eq!(desk.names(), ["cache", "leaves", "leaves.headstart"]);
}
