//! Models in the form of TensorFlow.js (`fixtures/formats/tfjs/make.py`), published ones, and files that mean harm.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::path::{Path, PathBuf};

use headstart_weights::{Checkpoint, DType, WeightsError, digest, open};
use proptest::prelude::*;
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/formats/tfjs").join(name)
}

fn assert_same(checkpoint: &dyn Checkpoint, expected: &str) {
    let expected = open(&fixture(expected)).unwrap();
    assert_eq!(checkpoint.arrays().len(), expected.arrays().len());
    for info in expected.arrays() {
        let found = checkpoint.read(&info.name).unwrap();
        assert_eq!(found.info, *info);
        assert_eq!(found.bytes, expected.read(&info.name).unwrap().bytes, "{}", info.name);
    }
}

#[test]
fn a_layers_model_opens_from_its_manifest_its_folder_and_a_zip_of_it() {
    for name in ["layers", "layers/model.json", "layers.zip"] {
        let checkpoint = open(&fixture(name)).unwrap();
        assert_eq!(checkpoint.format(), "tensorflow.js");
        assert_eq!(checkpoint.metadata()["format"], "layers-model");
        assert_eq!(checkpoint.metadata()["generatedBy"], "keras v2.15.0");
        let names: Vec<&str> = checkpoint.arrays().iter().map(|array| array.name.as_str()).collect();
        assert_eq!(names, ["conv/kernel", "conv/bias", "dense/kernel", "dense/bias", "half/kernel", "scalar"]);
        assert_same(checkpoint.as_ref(), "layers.safetensors");
    }
}

#[test]
fn a_graph_model_with_a_bare_manifest_leaves_out_what_is_no_number() {
    for name in ["graph", "graph/weights_manifest.json"] {
        let checkpoint = open(&fixture(name)).unwrap();
        assert_same(checkpoint.as_ref(), "graph.safetensors");
        assert_eq!(checkpoint.metadata()["skipped"], "labels (string), spectrum (complex64)");
        let dtypes: Vec<DType> = checkpoint.arrays().iter().map(|array| array.dtype).collect();
        assert_eq!(dtypes, [DType::I32, DType::Bool, DType::I32, DType::F32, DType::F32]);
    }
}

/// A folder with a manifest and shards.
fn model(manifest: &str, shards: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.json"), manifest).unwrap();
    for (name, bytes) in shards {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// A manifest of one group.
fn manifest(paths: &str, weights: &str) -> String {
    format!(r#"{{"weightsManifest": [{{"paths": [{paths}], "weights": [{weights}]}}]}}"#)
}

fn opened_and_read(path: &Path) -> Result<usize, WeightsError> {
    let checkpoint = open(path)?;
    checkpoint.arrays().iter().try_fold(0, |sum, array| Ok(sum + checkpoint.read(&array.name)?.bytes.len()))
}

const ONE: &str = r#"{"name": "a", "shape": [2], "dtype": "float32"}"#;

#[test]
fn the_digest_covers_the_manifest_and_every_shard() {
    let folder = model(&manifest(r#""x", "y""#, ONE), &[("x", &[0; 5]), ("y", &[0; 3])]);
    let whole = digest(folder.path()).unwrap();
    assert_eq!(digest(&folder.path().join("model.json")).unwrap(), whole);
    std::fs::write(folder.path().join("unrelated"), "x").unwrap();
    assert_eq!(digest(folder.path()).unwrap(), whole);
    std::fs::write(folder.path().join("y"), [0, 0, 1]).unwrap();
    assert_ne!(digest(folder.path()).unwrap(), whole);
    // The same bytes, cut elsewhere.
    std::fs::write(folder.path().join("x"), [0; 3]).unwrap();
    std::fs::write(folder.path().join("y"), [0; 5]).unwrap();
    assert_ne!(digest(folder.path()).unwrap(), whole);
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(digest(empty.path()), Err(WeightsError::NotRecognized { .. })));
}

#[test]
fn shards_outside_of_the_folder_are_refused() {
    let secret = tempfile::tempdir().unwrap();
    std::fs::write(secret.path().join("secret"), [7; 8]).unwrap();
    let absolute = secret.path().join("secret");
    for name in ["../secret", "sub/../../secret", "/etc/passwd", "..", "", absolute.to_str().unwrap(), "..\\\\x", "C:x"]
    {
        let folder = model(&manifest(&format!("\"{name}\""), ONE), &[]);
        let error = opened_and_read(folder.path()).unwrap_err();
        assert!(matches!(error, WeightsError::Outside { .. }), "{name}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_are_refused_and_links_in_it_are_not() {
    let secret = tempfile::tempdir().unwrap();
    std::fs::write(secret.path().join("secret"), [7; 8]).unwrap();
    let folder = model(&manifest("\"shard\"", ONE), &[("real", &[0; 8])]);
    let link = folder.path().join("shard");
    std::os::unix::fs::symlink(secret.path().join("secret"), &link).unwrap();
    assert!(matches!(opened_and_read(folder.path()), Err(WeightsError::Outside { .. })));
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("real", &link).unwrap();
    assert_eq!(opened_and_read(folder.path()).unwrap(), 8);
}

#[cfg(unix)]
#[test]
fn a_model_of_links_into_a_cache_is_read_where_manifest_and_shards_lie_together() {
    let cache = model(&manifest("\"shard\"", ONE), &[("blob", &[0; 8])]);
    let snapshot = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(cache.path().join("model.json"), snapshot.path().join("model.json")).unwrap();
    std::os::unix::fs::symlink(cache.path().join("blob"), snapshot.path().join("shard")).unwrap();
    assert_eq!(opened_and_read(&snapshot.path().join("model.json")).unwrap(), 8);
}

#[test]
fn shards_may_lie_in_a_folder_beside_the_manifest() {
    let folder = model(&manifest("\"./deep/shard\"", ONE), &[]);
    std::fs::create_dir(folder.path().join("deep")).unwrap();
    std::fs::write(folder.path().join("deep/shard"), [0; 8]).unwrap();
    assert_eq!(opened_and_read(folder.path()).unwrap(), 8);
}

#[test]
fn contradictions_are_named() {
    let refused = |weights: &str, bytes: usize| {
        let folder = model(&manifest("\"x\"", weights), &[("x", &vec![0; bytes])]);
        opened_and_read(folder.path()).unwrap_err().to_string()
    };
    assert!(refused(ONE, 7).contains("end before weight `a`"));
    assert!(refused(ONE, 9).contains("have 9 bytes, their weights need 8"));
    assert!(refused(&format!("{ONE}, {ONE}"), 16).contains("two weights are called `a`"));
    assert!(refused(r#"{"name": "a", "shape": [-1], "dtype": "float32"}"#, 4).contains("cannot be read"));
    let huge = r#"{"name": "a", "shape": [4294967296, 4294967296], "dtype": "float32"}"#;
    assert!(refused(huge, 4).contains("no memory holds"));
    let large = r#"{"name": "a", "shape": [1000000000], "dtype": "float32"}"#;
    assert!(refused(large, 4).contains("end before"));
    assert!(refused(r#"{"name": "a", "shape": [1], "dtype": "int64"}"#, 8).contains("int64"));
    let quantized = |quantization: &str| {
        let weight = r#"{"name": "a", "shape": [1], "dtype": "float32", "quantization": "#;
        refused(&format!("{weight}{quantization}}}"), 1)
    };
    assert!(quantized(r#"{"dtype": "uint8"}"#).contains("without scale and min"));
    assert!(quantized(r#"{"dtype": "uint4", "scale": 1, "min": 0}"#).contains("quantized to uint4"));
    let texts = r#"{"name": "t", "shape": [2], "dtype": "string"}"#;
    assert!(refused(texts, 6).contains("end before weight `t`"));
    assert!(refused(r#"{"name": "t", "shape": [1000000000], "dtype": "string"}"#, 6).contains("the limit is"));
    let twice = model(&manifest(r#""x", "./x""#, ONE), &[("x", &[0; 4])]);
    assert!(opened_and_read(twice.path()).unwrap_err().to_string().contains("listed twice"));
    let other = model(r#"{"a": 1}"#, &[]);
    assert!(opened_and_read(other.path()).unwrap_err().to_string().contains("no `weightsManifest`"));
    let missing = model(&manifest("\"x\"", ONE), &[]);
    assert!(matches!(opened_and_read(missing.path()), Err(WeightsError::Io { .. })));
    let deep = model(&"[".repeat(100_000), &[]);
    assert!(matches!(opened_and_read(deep.path()), Err(WeightsError::Malformed { .. })));
}

#[test]
fn published_models_open_and_read() {
    let shared = std::env::var_os("HEADSTART_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    for (folder, arrays, name, shape) in [
        ("mobilenet_v2_0.35_tfjs_teachable_machine", 263, "Conv1/kernel", [3, 3, 3, 16]),
        ("mobilenet_v1_0.25_tfjs_frozen", 140, "module/MobilenetV1/Conv2d_0/weights", [3, 3, 3, 8]),
        ("darknet_tiny_tfjs", 77, "conv2d_1/kernel", [3, 3, 3, 16]),
    ] {
        let path = shared.join("weights").join(folder);
        if !path.exists() {
            println!("skipped: {} not found", path.display());
            continue;
        }
        let checkpoint = open(&path).unwrap();
        assert_eq!(checkpoint.arrays().len(), arrays, "{folder}");
        for array in checkpoint.arrays() {
            let values = checkpoint.read(&array.name).unwrap().to_f32().unwrap();
            assert!(values.iter().all(|value| value.is_finite()), "{folder} {}", array.name);
        }
        assert_eq!(checkpoint.read(name).unwrap().info.shape, shape);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_mutation_of_a_manifest_or_zip_panics(
        zip: bool,
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = std::fs::read(fixture(if zip { "layers.zip" } else { "layers/model.json" })).unwrap();
        for (at, byte) in places {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(fixture("layers")).unwrap().flatten() {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        let path = folder.path().join(if zip { "model.zip" } else { "model.json" });
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(read) = opened_and_read(&path) {
            prop_assert!(read < 4096);
        }
    }
}
