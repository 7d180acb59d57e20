//! Files that torch wrote (`fixtures/formats/make.py`), files as they are published, and files that mean harm.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::io::Write;
use std::path::{Path, PathBuf};

use headstart_weights::{Checkpoint, DType, WeightsError, open};
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/formats").join(name)
}

fn assert_values(checkpoint: &dyn Checkpoint, prefix: &str) {
    let expected = open(&fixture("expected.safetensors")).unwrap();
    for info in expected.arrays() {
        let name = format!("{prefix}{}", info.name);
        let found = checkpoint.read(&name).unwrap();
        assert_eq!(found.info.shape, info.shape, "{name}");
        let (found, expected) = (found.to_f32().unwrap(), expected.read(&info.name).unwrap().to_f32().unwrap());
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn every_kind_of_tensor_is_read_as_torch_reads_it_from_both_forms() {
    for (file, format) in [("zip.pth", "pytorch"), ("legacy.pth", "pytorch (legacy)")] {
        let checkpoint = open(&fixture(file)).unwrap();
        assert_eq!(checkpoint.format(), format);
        assert_eq!(checkpoint.arrays().len(), 14);
        assert_values(checkpoint.as_ref(), "");
    }
}

#[test]
fn dictionaries_around_the_weights_become_dotted_names_and_metadata() {
    for file in ["wrapped.pt", "wrapped_legacy.pt"] {
        let checkpoint = open(&fixture(file)).unwrap();
        assert_values(checkpoint.as_ref(), "state_dict.module.");
        assert_eq!(checkpoint.metadata()["epoch"], "12");
        assert_eq!(checkpoint.metadata()["arch"], "tiny");
        assert!(checkpoint.arrays().iter().any(|array| array.name == "optimizer.state.0.step"));
    }
}

#[test]
fn types_are_kept_until_values_are_asked_for() {
    let checkpoint = open(&fixture("zip.pth")).unwrap();
    let dtype = |name: &str| checkpoint.read(name).unwrap().info.dtype;
    let found = ["half", "brain", "double", "long", "byte"].map(dtype);
    assert_eq!(found, [DType::F16, DType::BF16, DType::F64, DType::I64, DType::U8]);
}

#[test]
fn a_whole_module_is_refused_because_it_would_run_code() {
    let error = open(&fixture("whole_module.pt")).map(|_| ()).unwrap_err();
    assert!(matches!(&error, WeightsError::Forbidden { global, .. } if global.contains("Sequential")), "{error}");
    assert!(error.help().unwrap().contains("state_dict"));
}

fn opened_and_read(bytes: &[u8]) -> Result<usize, WeightsError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let checkpoint = open(file.path())?;
    checkpoint.arrays().iter().try_fold(0, |sum, array| Ok(sum + checkpoint.read(&array.name)?.bytes.len()))
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for name in ["zip.pth", "legacy.pth"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        assert!(opened_and_read(&whole).is_ok());
        for part in 0..40 {
            assert!(opened_and_read(&whole[..whole.len() * part / 40]).is_err(), "{name} {part}/40");
        }
    }
}

#[test]
fn files_of_other_kinds_are_named() {
    let found = |bytes: &[u8]| opened_and_read(bytes).unwrap_err().to_string();
    assert!(found(b"").contains("empty file"));
    assert!(found(b"\x89HDF\r\n\x1a\n________").contains("superblock"));
    assert!(found(b"{\"a\": 1}").contains("a JSON file"));
    assert!(found(b"version https://git-lfs.github.com/spec/v1").contains("LFS pointer"));
    assert!(found(b"<!DOCTYPE html>").contains("web page"));
    let error = open(Path::new(env!("CARGO_MANIFEST_DIR"))).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("a folder"), "{error}");
    assert!(matches!(open(Path::new("no/such/file.pth")).map(|_| ()), Err(WeightsError::Io { .. })));
}

/// A zip with one pickle and one storage, deflated.
fn zip_of(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in [("archive/data.pkl", pickle), ("archive/data/0", storage)] {
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// `{"a": _rebuild_tensor_v2(FloatStorage of `elements`, offset, (length,), (stride,))}` in pickle opcodes.
fn one_tensor(elements: i32, offset: i32, length: i32, stride: i32) -> Vec<u8> {
    let int = |number: i32| [b"J".as_slice(), &number.to_le_bytes()].concat();
    let text = |text: &str| [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    [
        b"\x80\x02}".to_vec(),
        text("a"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        int(elements),
        b"tQ".to_vec(),
        int(offset),
        int(length),
        b"\x85".to_vec(),
        int(stride),
        b"\x85\x89}tRs.".to_vec(),
    ]
    .concat()
}

#[test]
fn views_that_leave_their_storage_are_refused() {
    let storage = [0u8; 40];
    assert_eq!(opened_and_read(&zip_of(&one_tensor(10, 0, 10, 1), &storage)).unwrap(), 40);
    assert_eq!(opened_and_read(&zip_of(&one_tensor(10, 1, 3, 4), &storage)).unwrap(), 12);
    for (elements, offset, length, stride) in [
        (10, 1, 10, 1),
        (10, 0, 3, 5),
        (10, -1, 1, 1),
        (10, 0, -1, 1),
        (10, 0, 2, -1),
        (11, 0, 11, 1),
        (i32::MAX, 0, i32::MAX, 1),
    ] {
        let result = opened_and_read(&zip_of(&one_tensor(elements, offset, length, stride), &storage));
        assert!(result.is_err(), "{elements} {offset} {length} {stride}");
    }
}

#[test]
fn a_tensor_expanded_beyond_reason_is_refused_before_it_is_made() {
    let error = opened_and_read(&zip_of(&one_tensor(1, 0, i32::MAX, 0), &[0; 4])).unwrap_err();
    assert!(matches!(error, WeightsError::TooLarge { .. }), "{error}");
}

#[test]
fn a_zip_bomb_is_refused_by_its_claim() {
    let bomb = zip_of(&one_tensor(25_000_000, 0, 4, 1), &vec![0; 100_000_000]);
    assert!(bomb.len() < 200_000);
    let error = opened_and_read(&bomb).unwrap_err();
    assert!(matches!(error, WeightsError::TooLarge { .. }), "{error}");
}

#[test]
fn published_files_open_and_read() {
    let shared = std::env::var_os("HEADSTART_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    for (file, arrays, name, first) in [
        ("resnet_cifar10_pytorch/resnet20-12fca82f.th", 97, "state_dict.module.conv1.weight", 3 * 16 * 9),
        ("fastestdet_pytorch/fastestdet_coco.pth", 420, "", 0),
        ("mobilenet_v2_1.0_safetensors/model.safetensors", 262, "features.0.0.weight", 32 * 27),
        ("silero_vad_16k/silero_vad_16k.safetensors", 15, "", 0),
    ] {
        let path = shared.join("weights").join(file);
        if !path.exists() {
            println!("skipped: {} not found", path.display());
            continue;
        }
        let checkpoint = open(&path).unwrap();
        assert_eq!(checkpoint.arrays().len(), arrays, "{file}");
        for array in checkpoint.arrays() {
            let values = checkpoint.read(&array.name).unwrap().to_f32().unwrap();
            assert!(values.iter().all(|value| value.is_finite()), "{file} {}", array.name);
        }
        if !name.is_empty() {
            assert_eq!(checkpoint.read(name).unwrap().to_f32().unwrap().len(), first);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_mutation_of_a_file_panics(legacy: bool, at: prop::sample::Index, byte: u8, second: prop::sample::Index, other: u8) {
        let mut bytes = std::fs::read(fixture(if legacy { "legacy.pth" } else { "zip.pth" })).unwrap();
        let (at, second) = (at.index(bytes.len()), second.index(bytes.len()));
        bytes[at] = byte;
        bytes[second] = other;
        // Whatever was read can be no larger than the largest expansion of each tensor.
        if let Ok(read) = opened_and_read(&bytes) {
            prop_assert!(read < 14 * (256 << 20));
        }
    }
}
