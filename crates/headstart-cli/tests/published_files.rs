//! Weight files as they are published: those of our backbones are known for what they are, all others are refused.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a helper of a test may panic, and says what it skips")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file below the shared weights, if it is on this machine; says loudly when it is not.
fn published(relative: &str) -> Option<PathBuf> {
    let root = std::env::var_os("HEADSTART_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let path = root.join("weights").join(relative);
    if !path.exists() {
        eprintln!("skipped: {} not found", path.display());
        return None;
    }
    Some(path)
}

fn headstart(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_headstart")).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // Messages are wrapped to the terminal's width.
    (output.status.success(), text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" "))
}

#[test]
fn files_of_our_backbones_are_known_for_what_they_are() {
    for (file, expected) in [
        ("mobilenet_v2_1.0_safetensors/model.safetensors", "fits backbone mobilenet_v2:1.0, family tensorflow"),
        ("mobilenet_v2_0.35_tfjs_teachable_machine/model.json", "fits backbone mobilenet_v2:0.35, family keras"),
        ("mobilenet_v1_0.25_tfjs_frozen", "fits backbone mobilenet_v1:0.25, family slim"),
    ] {
        let Some(path) = published(file) else { continue };
        let (success, text) = headstart(&["inspect", path.to_str().unwrap()]);
        assert!(success && text.contains(expected), "{file}: {text}");
    }
}

#[test]
fn files_of_other_architectures_are_listed_and_never_loaded() {
    for (file, says) in [
        ("squeezenet_1.1_keras_h5/squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5", "50 arrays"),
        ("resnet_cifar10_pytorch/resnet20-12fca82f.th", "97 arrays"),
        ("resnet_cifar10_pytorch/resnet56-4bfd9763.th", "277 arrays"),
        ("darknet_tiny_tfjs", "77 arrays"),
        ("fastestdet_pytorch/shufflenetv2_imagenet_backbone.pth", "330 arrays"),
        ("silero_vad_16k/silero_vad_16k.safetensors", "15 arrays"),
    ] {
        let Some(path) = published(file) else { continue };
        let path = path.to_str().unwrap();
        let (success, text) = headstart(&["inspect", path]);
        assert!(success && text.contains(says) && text.contains("fits no backbone that we have"), "{file}: {text}");
        for backbone in [None, Some("vgg16"), Some("resnet"), Some("mobilenet_v2")] {
            let mut arguments = vec!["train", env!("CARGO_MANIFEST_DIR"), "--task", "image_classification"];
            arguments.extend(["--weights", path]);
            arguments.extend(backbone.iter().flat_map(|name| ["--backbone", name]));
            let (success, text) = headstart(&arguments);
            let refused = text.contains("fits no backbone that we have") || text.contains("does not fit backbone");
            assert!(!success && refused, "{file} as {backbone:?}: {text}");
        }
    }
}

#[test]
fn files_of_formats_that_we_do_not_read_are_called_what_they_are() {
    for (file, kind) in [
        ("mobilenet_v1_tflite/mobilenet_v1_0.25_128_quant.tflite", "a TensorFlow Lite model"),
        ("yolox_nano_onnx/yolox_nano.onnx", "an ONNX model"),
        ("mobilenet_v1_tflite/LICENSE", "not a weight file that we read"),
    ] {
        let Some(path) = published(file) else { continue };
        let (success, text) = headstart(&["inspect", path.to_str().unwrap()]);
        assert!(!success && text.contains(kind), "{file}: {text}");
    }
}
