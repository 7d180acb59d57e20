//! Files that Keras and h5py wrote (`fixtures/formats/keras/make.py`), published ones, and files that mean harm.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::collections::BTreeSet;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use headstart_weights::{Checkpoint, DType, WeightsError, digest, open};
use proptest::prelude::*;

/// The fixtures, unpacked.
static FILES: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/formats/keras/files.zip");
    let folder = tempfile::tempdir().unwrap();
    zip::ZipArchive::new(std::fs::File::open(archive).unwrap()).unwrap().extract(folder.path()).unwrap();
    folder
});

fn fixture(name: &str) -> PathBuf {
    FILES.path().join(name)
}

fn failure(name: &str) -> WeightsError {
    match open(&fixture(name)) {
        Err(error) => error,
        Ok(checkpoint) => {
            let read = checkpoint.arrays().iter().try_for_each(|array| checkpoint.read(&array.name).map(|_| ()));
            read.map(|()| format!("{name} opened")).unwrap_err()
        }
    }
}

fn names(checkpoint: &dyn Checkpoint) -> BTreeSet<String> {
    checkpoint.arrays().iter().map(|array| array.name.clone()).collect()
}

/// Every array of `expected`, and no other.
fn assert_same(checkpoint: &dyn Checkpoint, expected: &str) {
    let expected = open(&fixture(expected)).unwrap();
    assert_eq!(names(checkpoint), names(expected.as_ref()), "{}", checkpoint.path().display());
    for info in expected.arrays() {
        let found = checkpoint.read(&info.name).unwrap();
        let expected = expected.read(&info.name).unwrap();
        assert_eq!(found.info.shape, info.shape, "{}", info.name);
        if info.dtype == found.info.dtype {
            assert_eq!(found.bytes, expected.bytes, "{} of {}", info.name, checkpoint.path().display());
        } else {
            assert_eq!(found.to_f32().unwrap(), expected.to_f32().unwrap(), "{}", info.name);
        }
    }
}

#[test]
fn one_model_has_the_same_names_and_values_in_every_form() {
    for (name, format) in [
        ("weights_only.h5", "keras h5"),
        ("full.h5", "keras h5"),
        ("chunked_names.h5", "keras h5"),
        ("model.keras", "keras v3"),
        ("unnamed.keras", "keras v3"),
    ] {
        let checkpoint = open(&fixture(name)).unwrap();
        assert_eq!(checkpoint.format(), format);
        assert_same(checkpoint.as_ref(), "expected.safetensors");
    }
}

#[test]
fn weights_alone_say_what_layers_are_called_but_not_their_options() {
    let checkpoint = open(&fixture("model.weights.h5")).unwrap();
    let expected = open(&fixture("expected.safetensors")).unwrap();
    // Three variables of a normalization may lack scale or center; only the configuration would tell.
    for (name, in_model) in [
        ("depthwise_bn/0", "depthwise_bn/beta"),
        ("depthwise_bn/2", "depthwise_bn/moving_variance"),
        ("stem_bn/gamma", "stem_bn/gamma"),
        ("nested/inner/kernel", "nested/inner/kernel"),
        ("project/bias", "project/bias"),
    ] {
        assert_eq!(checkpoint.read(name).unwrap().bytes, expected.read(in_model).unwrap().bytes, "{name}");
    }
    assert_eq!(checkpoint.arrays().len(), expected.arrays().len());
}

#[test]
fn layers_keep_the_order_of_the_model() {
    let checkpoint = open(&fixture("full.h5")).unwrap();
    let names: Vec<&str> = checkpoint.arrays().iter().map(|array| array.name.as_str()).collect();
    assert_eq!(names[..2], ["stem/kernel", "stem_bn/gamma"]);
    assert_eq!(names[names.len() - 2..], ["logits/kernel", "logits/bias"]);
}

#[test]
fn without_names_and_configuration_the_groups_and_positions_remain() {
    let checkpoint = open(&fixture("unnamed.weights.h5")).unwrap();
    let names = names(checkpoint.as_ref());
    for name in ["conv2d/kernel", "batch_normalization/gamma", "sequential/dense/bias", "depthwise_conv2d/kernel"] {
        assert!(names.contains(name), "{name} of {names:?}");
    }
    for name in ["batch_normalization_1/0", "batch_normalization_1/2", "conv2d_1/bias"] {
        assert!(names.contains(name), "{name} of {names:?}");
    }
    assert_eq!(names.len(), 16);
}

#[test]
fn what_keras_says_beside_the_weights_becomes_metadata() {
    for name in ["full.h5", "model.keras"] {
        let checkpoint = open(&fixture(name)).unwrap();
        let metadata = checkpoint.metadata();
        assert!(metadata["keras_version"].starts_with("3."), "{name}");
        assert!(metadata["model_config"].contains("DepthwiseConv2D"), "{name}");
    }
    assert_eq!(open(&fixture("full.h5")).unwrap().metadata()["backend"], "tensorflow");
    assert_eq!(open(&fixture("chunked_names.h5")).unwrap().metadata()["keras_version"], "2.2.4");
}

#[test]
fn every_layout_and_type_that_h5py_writes_is_read() {
    let checkpoint = open(&fixture("layouts.h5")).unwrap();
    assert_same(checkpoint.as_ref(), "layouts.safetensors");
    let dtype = |name: &str| checkpoint.read(name).unwrap().info.dtype;
    let found = ["big/long", "types/half", "types/unsigned", "types/truth", "types/double"].map(dtype);
    assert_eq!(found, [DType::I64, DType::F16, DType::U32, DType::Bool, DType::F64]);
    assert_eq!(checkpoint.read("types/scalar").unwrap().info.shape, Vec::<usize>::new());
}

#[test]
fn newest_structures_are_read_with_attributes_and_links_in_heaps() {
    let checkpoint = open(&fixture("layouts_latest.h5")).unwrap();
    let expected = open(&fixture("layouts.safetensors")).unwrap();
    assert_eq!(checkpoint.arrays().len(), expected.arrays().len() - 3);
    for array in checkpoint.arrays() {
        assert_eq!(checkpoint.read(&array.name).unwrap().bytes, expected.read(&array.name).unwrap().bytes);
    }
}

#[test]
fn bfloat16_is_kept() {
    for name in ["bfloat16.keras", "bfloat16.h5"] {
        let checkpoint = open(&fixture(name)).unwrap();
        assert!(checkpoint.arrays().iter().all(|array| array.dtype == DType::BF16));
        assert_same(checkpoint.as_ref(), "bfloat16.safetensors");
    }
}

#[test]
fn a_digest_is_that_of_the_file() {
    let path = fixture("model.keras");
    let expected = blake3::hash(&std::fs::read(&path).unwrap()).to_hex().to_string();
    assert_eq!(digest(&path).unwrap(), expected);
}

#[test]
fn what_points_outside_of_the_file_is_refused() {
    for (name, part) in
        [("external_link", "another file"), ("external_values", "another file"), ("virtual", "other places")]
    {
        let error = failure(&format!("hostile/{name}.h5"));
        assert!(matches!(&error, WeightsError::Outside { what, .. } if what.contains(part)), "{name}: {error}");
    }
    let error = failure("hostile/soft_link.h5");
    assert!(matches!(&error, WeightsError::Unsupported { what, .. } if what.contains("soft link")), "{error}");
}

#[test]
fn claims_beyond_the_file_are_refused_before_memory_is_taken() {
    for name in ["bomb", "unwritten_chunks"] {
        let error = failure(&format!("hostile/{name}.h5"));
        let is_refused = matches!(error, WeightsError::TooLarge { .. } | WeightsError::Malformed { .. });
        assert!(is_refused, "{name}: {error}");
    }
}

#[test]
fn other_faults_are_named() {
    assert!(failure("hostile/circle.h5").to_string().contains("circle"));
    assert!(failure("hostile/missing.h5").to_string().contains("`a/a/kernel` is listed and has no values"));
    let error = failure("hostile/text.h5");
    assert!(matches!(&error, WeightsError::Type { dtype, .. } if dtype == "text"), "{error}");
    assert!(failure("hostile/checksums.h5").to_string().contains("fletcher32"));
}

fn opened_and_read(bytes: &[u8]) -> Result<usize, WeightsError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let checkpoint = open(file.path())?;
    checkpoint.arrays().iter().try_fold(0, |sum, array| Ok(sum + checkpoint.read(&array.name)?.bytes.len()))
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for name in
        ["weights_only.h5", "model.keras", "model.weights.h5", "layouts.h5", "layouts_latest.h5", "unnamed.keras"]
    {
        let whole = std::fs::read(fixture(name)).unwrap();
        assert!(opened_and_read(&whole).is_ok());
        for part in 0..100 {
            assert!(opened_and_read(&whole[..whole.len() * part / 100]).is_err(), "{name} {part}/100");
        }
    }
}

/// A `.keras` file with these members.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in members {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn archives_that_lack_or_exaggerate_a_member_are_refused() {
    let error = opened_and_read(&archive(&[("config.json", b"{}"), ("metadata.json", b"{}")])).unwrap_err();
    assert!(error.to_string().contains("model.weights.h5"), "{error}");
    let error = opened_and_read(&archive(&[("model.weights.h5", &vec![0; 50_000_000])])).unwrap_err();
    assert!(matches!(error, WeightsError::TooLarge { .. }), "{error}");
    let mut weights = Vec::new();
    let mut whole = zip::ZipArchive::new(std::fs::File::open(fixture("model.keras")).unwrap()).unwrap();
    whole.by_name("model.weights.h5").unwrap().read_to_end(&mut weights).unwrap();
    let error = opened_and_read(&archive(&[("config.json", b"[1,"), ("model.weights.h5", &weights)])).unwrap_err();
    assert!(error.to_string().contains("`config.json` is no usable JSON"), "{error}");
    // A configuration of another shape is no reason to refuse weights.
    assert!(opened_and_read(&archive(&[("config.json", b"[1]"), ("model.weights.h5", &weights)])).is_ok());
}

#[test]
fn a_published_squeezenet_is_read_as_h5py_reads_it() {
    let shared = std::env::var_os("HEADSTART_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let path = shared.join("weights/squeezenet_1.1_keras_h5/squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5");
    if !path.exists() {
        println!("skipped: {} not found", path.display());
        return;
    }
    let checkpoint = open(&path).unwrap();
    assert_eq!(checkpoint.arrays().len(), 50);
    // Sum and first value by h5py 3.14.
    for (name, shape, sum, first) in SQUEEZENET {
        let array = checkpoint.read(name).unwrap();
        assert_eq!(array.info.shape, *shape, "{name}");
        let values = array.to_f32().unwrap();
        assert_eq!(values[0], *first, "{name}");
        let found: f64 = values.iter().map(|value| f64::from(*value)).sum();
        assert!((found - sum).abs() < 1e-6 * sum.abs().max(1.0), "{name}: {found} and {sum}");
    }
}

const SQUEEZENET: &[(&str, &[usize], f64, f32)] = &[
    ("conv1/uniform1", &[3, 3, 3, 64], -2.9973132426930533, 0.25723463),
    ("conv1/conv1_b", &[64], 2.0016083255177364, -0.014374157),
    ("fire2/squeeze1x1/uniform2", &[1, 1, 64, 16], 32.73699160356773, 0.029954111),
    ("fire2/squeeze1x1/squeeze1x1_b", &[16], 0.7720943166132201, -0.07078791),
    ("fire5/expand3x3/uniform13", &[3, 3, 32, 128], -174.01838231254715, 0.11965937),
    ("fire9/expand3x3/expand3x3_b", &[256], 1.9432935516488214, 0.0044647898),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_mutation_of_a_file_panics(
        which in 0usize..7,
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let names = ["weights_only.h5", "full.h5", "model.keras", "unnamed.keras", "layouts.h5", "layouts_latest.h5",
            "chunked_names.h5"];
        let mut bytes = std::fs::read(fixture(names[which])).unwrap();
        for (at, byte) in places {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(read) = opened_and_read(&bytes) {
            prop_assert!(read < bytes.len() * 1100);
        }
    }

    #[test]
    fn no_bytes_behind_a_signature_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), zip: bool) {
        let mut whole = if zip { b"PK\x03\x04".to_vec() } else { b"\x89HDF\r\n\x1a\n".to_vec() };
        whole.extend(bytes);
        prop_assert!(opened_and_read(&whole).is_err());
    }
}
