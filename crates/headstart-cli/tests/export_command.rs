//! `headstart export`, as a user runs it.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod desk;

use serde_json::Value;

use desk::Desk;

/// A desk with a trained bundle.
fn trained() -> Desk {
    let desk = Desk::with_leaves(4);
    desk.succeed(&["train", "leaves", "--epochs", "2", "-q"]);
    desk
}

fn names(desk: &Desk) -> Vec<String> {
    let entries = std::fs::read_dir(desk.folder.path()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_bundle_is_exported_beside_itself_and_an_earlier_export_is_replaced() {
    let desk = trained();
    for format in ["safetensors", "keras", "tfjs", "onnx"] {
        for _ in 0..2 {
            let text = desk.succeed(&["export", "leaves.headstart", "--format", format]);
            assert!(text.starts_with(&format!("leaves.{format}")) && text.contains("2 pictures agree"), "{text}");
        }
    }
    let exports = ["leaves.keras", "leaves.onnx", "leaves.safetensors", "leaves.tfjs"];
    assert_eq!(names(&desk), [&["cache", "leaves", "leaves.headstart"], &exports[..]].concat());

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
    let desk = trained();
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
    let desk = trained();
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
    assert_eq!(names(&desk), ["cache", "leaves", "leaves.headstart"]);
}
