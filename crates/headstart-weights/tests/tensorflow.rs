//! Checkpoints and graphs that TensorFlow wrote (`fixtures/formats/tf_checkpoint` and `tf_graph`), published ones, and files
//! that mean harm.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use headstart_weights::{Checkpoint, DType, WeightsError, digest, open};
use proptest::prelude::*;
use tempfile::TempDir;

/// The fixtures, unpacked.
static FILES: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tf_checkpoint", "tf_graph"] {
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/formats").join(name).join("files.zip");
        zip::ZipArchive::new(std::fs::File::open(archive).unwrap()).unwrap().extract(folder.path().join(name)).unwrap();
    }
    folder
});

fn checkpoint(name: &str) -> PathBuf {
    FILES.path().join("tf_checkpoint").join(name)
}

fn graph(name: &str) -> PathBuf {
    FILES.path().join("tf_graph").join(name)
}

/// Every array of `expected`, and no other.
fn assert_same(found: &dyn Checkpoint, expected: &Path) {
    let expected = open(expected).unwrap();
    assert_eq!(found.arrays().len(), expected.arrays().len(), "{}", found.path().display());
    for info in expected.arrays() {
        let array = found.read(&info.name).unwrap();
        assert_eq!(array.info, *info);
        assert_eq!(array.bytes, expected.read(&info.name).unwrap().bytes, "{}", info.name);
    }
}

fn opened_and_read(path: &Path) -> Result<usize, WeightsError> {
    let checkpoint = open(path)?;
    checkpoint.arrays().iter().try_fold(0, |sum, array| Ok(sum + checkpoint.read(&array.name)?.bytes.len()))
}

#[test]
fn a_checkpoint_opens_from_its_prefix_its_index_its_pointer_and_its_folder() {
    for (folder, prefix) in [("saver", "model.ckpt"), ("sharded", "model.ckpt"), ("object", "ckpt-1")] {
        let prefix = format!("{folder}/{prefix}");
        for name in [&prefix, &format!("{prefix}.index"), &format!("{folder}/checkpoint"), folder] {
            let found = open(&checkpoint(name)).unwrap();
            assert_eq!(found.format(), "tensorflow checkpoint");
            assert_same(found.as_ref(), &checkpoint(&format!("{folder}/expected.safetensors")));
        }
    }
    for name in ["saved", "saved/variables", "saved/variables/variables"] {
        assert_same(open(&checkpoint(name)).unwrap().as_ref(), &checkpoint("saved/expected.safetensors"));
    }
}

#[test]
fn slices_are_put_together_and_types_are_kept() {
    let found = open(&checkpoint("sharded")).unwrap();
    assert_eq!(found.read("block/kernel").unwrap().info.shape, [10, 3]);
    assert_eq!(found.read("block/columns/Adam_1").unwrap().info.shape, [2, 5, 2]);
    let dtypes = ["half", "types/float16", "types/double", "types/truth", "types/byte", "types/short", "global_step"]
        .map(|name| found.read(name).unwrap().info.dtype);
    let expected = [DType::BF16, DType::F16, DType::F64, DType::Bool, DType::U8, DType::I16, DType::I64];
    assert_eq!(dtypes, expected);
}

#[test]
fn what_holds_no_numbers_is_left_out_by_name() {
    assert_eq!(open(&checkpoint("saver")).unwrap().metadata()["skipped"], "names (string)");
    let objects = open(&checkpoint("object")).unwrap();
    assert!(objects.metadata()["skipped"].contains("_CHECKPOINTABLE_OBJECT_GRAPH (string)"));
    let metadata = open(&graph("constants.pb")).unwrap().metadata().clone();
    assert_eq!(metadata["skipped"], "labels (string), spectrum (complex64)");
    assert!(metadata["nodes"].parse::<usize>().unwrap() > 25);
}

#[test]
fn the_digest_covers_the_index_and_every_shard() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["model.ckpt.index", "model.ckpt.data-00000-of-00002", "model.ckpt.data-00001-of-00002"] {
        std::fs::copy(checkpoint(&format!("sharded/{name}")), folder.path().join(name)).unwrap();
    }
    let whole = digest(folder.path()).unwrap();
    for name in ["model.ckpt", "model.ckpt.index"] {
        assert_eq!(digest(&folder.path().join(name)).unwrap(), whole);
    }
    let shard = folder.path().join("model.ckpt.data-00001-of-00002");
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&shard, &bytes).unwrap();
    assert_ne!(digest(folder.path()).unwrap(), whole);
    let error = opened_and_read(folder.path()).unwrap_err();
    assert!(error.to_string().contains("the checksum of `"), "{error}");
    std::fs::write(&shard, &bytes[..bytes.len() - 1]).unwrap();
    assert!(opened_and_read(folder.path()).unwrap_err().to_string().contains("shard 1 has 91 bytes and ends before"));
    std::fs::remove_file(&shard).unwrap();
    let error = opened_and_read(folder.path()).unwrap_err();
    assert!(matches!(&error, WeightsError::Io { path, .. } if path.ends_with(shard.file_name().unwrap())), "{error}");
    assert!(digest(folder.path()).is_err());
}

/// An index with these entries, in one block.
fn index(entries: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
    let block = |entries: &[(&[u8], Vec<u8>)]| {
        let mut block = Vec::new();
        for (key, value) in entries {
            block.push(0);
            block.extend(varint(key.len() as u64));
            block.extend(varint(value.len() as u64));
            block.extend(*key);
            block.extend(value);
        }
        block.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        block
    };
    let mut file = Vec::new();
    let mut write = |mut content: Vec<u8>| {
        let place = [varint(file.len() as u64), varint(content.len() as u64)].concat();
        content.push(0);
        let sum = crc32c::crc32c(&content).rotate_right(15).wrapping_add(0xa282_ead8);
        file.extend(content);
        file.extend(sum.to_le_bytes());
        place
    };
    let place = write(block(entries));
    let place = write(block(&[(b"\xff", place)]));
    let mut footer = [&[0, 0], &place[..]].concat();
    footer.resize(40, 0);
    footer.extend(0xdb47_7524_8b80_fb57_u64.to_le_bytes());
    file.extend(footer);
    file
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7F {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn number(tag: u8, value: i64) -> Vec<u8> {
    [vec![tag << 3], varint(value as u64)].concat()
}

fn message(tag: u8, content: &[u8]) -> Vec<u8> {
    [vec![tag << 3 | 2], varint(content.len() as u64), content.to_vec()].concat()
}

/// An entry of floats: axes, shard, offset, size, then what follows.
fn entry(axes: &[i64], shard: i64, offset: i64, size: i64, more: &[u8]) -> Vec<u8> {
    let axes: Vec<u8> = axes.iter().flat_map(|axis| message(2, &number(1, *axis))).collect();
    [number(1, 1), message(2, &axes), number(3, shard), number(4, offset), number(5, size), more.to_vec()].concat()
}

/// What is said of a checkpoint with this header and these entries and a shard of 64 zeros.
fn refused(header: &[u8], entries: &[(&[u8], Vec<u8>)]) -> WeightsError {
    let folder = tempfile::tempdir().unwrap();
    let mut all = vec![(&b""[..], header.to_vec())];
    all.extend(entries.iter().cloned());
    std::fs::write(folder.path().join("m.index"), index(&all)).unwrap();
    std::fs::write(folder.path().join("m.data-00000-of-00001"), [0; 64]).unwrap();
    opened_and_read(folder.path()).unwrap_err()
}

#[test]
fn contradictions_of_an_index_are_named() {
    let one = number(1, 1);
    let said = |entry: Vec<u8>| refused(&number(1, 1), &[(b"a", entry)]).to_string();
    // Everything right but the checksum of the values, which is that of nothing.
    assert!(said(entry(&[4], 0, 0, 16, &[])).contains("the checksum of `a` is wrong"));
    assert!(said(entry(&[5], 0, 0, 16, &[])).contains("has 16 bytes, its shape needs 20"));
    assert!(said(entry(&[4], 1, 0, 16, &[])).contains("shard 1 of 1"));
    assert!(said(entry(&[4], -1, 0, 16, &[])).contains("shard -1 of 1"));
    assert!(said(entry(&[4], 0, 60, 16, &[])).contains("ends before `a` does"));
    assert!(said(entry(&[4], 0, i64::MAX, 16, &[])).contains("ends before `a` does"));
    assert!(said(entry(&[4], 0, -1, 16, &[])).contains("no usable place"));
    assert!(said(entry(&[4], 0, 0, -16, &[])).contains("no usable size"));
    assert!(said(entry(&[-4], 0, 0, 16, &[])).contains("no usable shape"));
    assert!(said(entry(&[1 << 40, 1 << 40], 0, 0, 16, &[])).contains("no usable shape"));
    assert!(said(entry(&[1; 33], 0, 0, 4, &[])).contains("no usable shape"));
    assert!(said(vec![0x0F]).contains("entry `a` cannot be read"));
    let many = refused(&number(1, i64::from(i32::MAX)), &[(b"a", entry(&[4], 3, 0, 16, &[]))]);
    assert!(matches!(many, WeightsError::Io { .. }), "{many}");
    let big = refused(&[one.clone(), number(2, 1)].concat(), &[]);
    assert!(matches!(&big, WeightsError::Unsupported { what, .. } if what.contains("big-endian")), "{big}");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("m.index"), index(&[(b"a", entry(&[4], 0, 0, 16, &[]))])).unwrap();
    assert!(opened_and_read(folder.path()).unwrap_err().to_string().contains("no header"));
}

#[test]
fn slices_that_do_not_make_a_whole_are_refused() {
    let range = |start: i64, length: i64| message(1, &[number(1, start), number(2, length)].concat());
    let sliced = |length: i64, slices: &[(i64, i64)]| {
        let slices: Vec<u8> = slices.iter().flat_map(|(start, length)| message(7, &range(*start, *length))).collect();
        entry(&[length], 0, 0, 0, &slices)
    };
    // Keys of slices of `a` that begin at 0 and at 2, of two values each.
    let (first, second) = (b"\0a\0\x01\x01\x01\x80\x82", b"\0a\0\x01\x01\x01\x82\x82");
    let part = || entry(&[2], 0, 0, 8, &[]);
    let said = |whole: Vec<u8>, parts: &[&[u8]]| {
        let mut entries: Vec<(&[u8], Vec<u8>)> = parts.iter().map(|key| (*key, part())).collect();
        entries.push((b"a", whole));
        refused(&number(1, 1), &entries).to_string()
    };
    let whole = sliced(4, &[(0, 2), (2, 2)]);
    assert!(said(whole.clone(), &[first, second]).contains("checksum"));
    assert!(said(whole, &[first]).contains("lacks a slice"));
    assert!(said(sliced(4, &[(0, 2)]), &[first]).contains("slices for 2 of 4 values"));
    assert!(said(sliced(4, &[(0, 2), (0, 2)]), &[first]).contains("overlap"));
    assert!(said(sliced(3, &[(0, 2), (2, 2)]), &[first, second]).contains("lies outside"));
    assert!(said(sliced(2, &[(0, 2)]), &[first, second]).contains("1 slices belong to no tensor"));
    let other = refused(&number(1, 1), &[(first, entry(&[1], 0, 0, 4, &[])), (b"a", sliced(2, &[(0, 2)]))]);
    assert!(other.to_string().contains("another shape or type"), "{other}");
}

#[cfg(unix)]
#[test]
fn shards_and_pointers_out_of_the_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let name = "model.ckpt.data-00000-of-00001";
    std::fs::copy(checkpoint("saver/model.ckpt.index"), folder.path().join("model.ckpt.index")).unwrap();
    std::os::unix::fs::symlink(checkpoint(&format!("saver/{name}")), folder.path().join(name)).unwrap();
    assert!(matches!(opened_and_read(folder.path()), Err(WeightsError::Outside { .. })));
    std::fs::write(folder.path().join("checkpoint"), "model_checkpoint_path: \"../saver/model.ckpt\"\n").unwrap();
    assert!(matches!(opened_and_read(folder.path()), Err(WeightsError::Outside { .. })));
    std::fs::write(folder.path().join("checkpoint"), "model_checkpoint_path: nowhere\n").unwrap();
    assert!(opened_and_read(folder.path()).unwrap_err().to_string().contains("names no checkpoint"));
    std::fs::remove_file(folder.path().join("checkpoint")).unwrap();
    std::fs::write(folder.path().join("other.index"), "").unwrap();
    assert!(opened_and_read(folder.path()).unwrap_err().to_string().contains("holds several"));
}

#[test]
fn parts_of_a_model_that_are_named_alone_are_told_what_they_are() {
    let said = |path: PathBuf| open(&path).map(|_| ()).unwrap_err().to_string();
    assert!(said(checkpoint("saver/model.ckpt.data-00000-of-00001")).contains("name its index"));
    assert!(said(checkpoint("saved/saved_model.pb")).contains("name its folder"));
}

#[test]
fn a_graph_gives_its_constants_from_either_form() {
    for (name, expected) in [
        ("frozen.pb", "frozen"),
        ("constants.pb", "constants"),
        ("package.pbmm", "constants"),
        ("package_old.pbmm", "constants"),
    ] {
        let found = open(&graph(name)).unwrap();
        assert_eq!(found.format(), "tensorflow graph");
        assert_same(found.as_ref(), &graph(&format!("{expected}.safetensors")));
    }
    let path = graph("frozen.pb");
    assert_eq!(digest(&path).unwrap(), blake3::hash(&std::fs::read(&path).unwrap()).to_hex().to_string());
}

/// A constant of floats with this shape and these bytes of content or numbers.
fn constant(name: &str, axes: &[i64], values: &[u8]) -> Vec<u8> {
    let axes: Vec<u8> = axes.iter().flat_map(|axis| message(2, &number(1, *axis))).collect();
    let tensor = [number(1, 1), message(2, &axes), values.to_vec()].concat();
    let attribute = [message(1, b"value"), message(2, &message(8, &tensor))].concat();
    message(1, &[message(1, name.as_bytes()), message(2, b"Const"), message(5, &attribute)].concat())
}

fn written(bytes: &[u8], extension: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("graph.{extension}"));
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[test]
fn contradictions_of_a_graph_are_named() {
    let said = |bytes: &[u8]| opened_and_read(&written(bytes, "pb").1).unwrap_err().to_string();
    let content = |length: usize| message(4, &vec![0; length]);
    assert_eq!(opened_and_read(&written(&constant("a", &[2], &content(8)), "pb").1).unwrap(), 8);
    assert!(said(&constant("a", &[3], &content(8))).contains("has 8 bytes, its shape needs 12"));
    assert!(said(&constant("a", &[1], &message(5, &[0; 8]))).contains("has 8 bytes of numbers, its shape needs 4"));
    assert!(said(&constant("a", &[1 << 40], &message(5, &[0; 4]))).contains("claims 4398046511104 bytes"));
    assert!(said(&constant("a", &[1 << 40, 1 << 40], &content(8))).contains("no usable shape"));
    assert!(said(&constant("a", &[-1], &content(8))).contains("no usable shape"));
    assert!(said(&[constant("a", &[2], &content(8)), constant("a", &[2], &content(8))].concat()).contains("two nodes"));
    let lacks = message(1, &[message(1, b"a"), message(2, b"Const")].concat());
    assert!(said(&lacks).contains("no attribute `value`"));
    let alone = [
        message(1, b"a"),
        message(2, b"ImmutableConst"),
        message(5, &[message(1, b"dtype"), message(2, &number(6, 1))].concat()),
        message(5, &[message(1, b"shape"), message(2, &message(7, &[]))].concat()),
        message(5, &[message(1, b"memory_region_name"), message(2, &message(2, b"/etc/passwd"))].concat()),
    ];
    assert!(said(&message(1, &alone.concat())).contains("lies in a file of its own"));
    let cut = [constant("a", &[2], &content(8)), vec![0x0A, 100]].concat();
    assert!(said(&cut).contains("cut short"));
}

#[test]
fn a_package_whose_directory_lies_is_refused() {
    let package = |regions: &[(u64, &str, u64)], body: &[u8]| {
        let directory: Vec<u8> = regions
            .iter()
            .flat_map(|(at, name, length)| {
                let fields = [number(1, *at as i64), message(2, name.as_bytes()), number(3, *length as i64)];
                message(1, &fields.concat())
            })
            .collect();
        let bytes = [body, &directory, &(body.len() as u64).to_le_bytes()].concat();
        opened_and_read(&written(&bytes, "pbmm").1).unwrap_err().to_string()
    };
    let root = "memmapped_package://.";
    assert!(package(&[(0, "memmapped_package://x", 4)], &[0; 8]).contains("no region `memmapped_package://.`"));
    assert!(package(&[(0, root, 9)], &[0; 8]).contains("ends in what follows it"));
    assert!(package(&[(9, root, 1)], &[0; 8]).contains("lies outside"));
    assert!(package(&[(u64::MAX, root, 1)], &[0; 8]).contains("lies outside"));
    assert!(package(&[(0, root, 4), (4, root, 4)], &[0; 8]).contains("two regions"));
    assert!(package(&[(0, "a", 8), (4, root, 4)], &[0; 8]).contains("ends in what follows it"));
    let beyond = [&[0; 8][..], &1000u64.to_le_bytes()].concat();
    assert!(opened_and_read(&written(&beyond, "pbmm").1).is_err());
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for name in ["frozen.pb", "package.pbmm", "package_old.pbmm"] {
        let whole = std::fs::read(graph(name)).unwrap();
        let listed = open(&graph(name)).unwrap().arrays().len();
        for length in (0..whole.len()).step_by(7) {
            let (_folder, path) = written(&whole[..length], name.rsplit('.').next().unwrap());
            // A message may be cut between two fields of it, and then has fewer constants.
            let fewer = open(&path).map(|found| found.arrays().len() <= listed);
            assert!(fewer.is_err() || name == "frozen.pb" && fewer.unwrap(), "{name} {length}");
        }
    }
    let whole = std::fs::read(checkpoint("saver/model.ckpt.index")).unwrap();
    for length in 0..whole.len() {
        assert!(opened_and_read(&written(&whole[..length], "index").1).is_err(), "{length}");
    }
}

#[test]
fn published_graphs_open_and_read() {
    let shared = std::env::var_os("HEADSTART_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let path = shared.join("weights/ds_cnn_speech_commands_pb/DS_CNN_S.pb");
    if !path.exists() {
        println!("skipped: {} not found", path.display());
        return;
    }
    let found = open(&path).unwrap();
    assert_eq!(found.arrays().len(), DS_CNN_ARRAYS);
    for array in found.arrays().iter().filter(|array| array.dtype == DType::F32) {
        let values = found.read(&array.name).unwrap().to_f32().unwrap();
        assert!(values.iter().all(|value| value.is_finite()), "{}", array.name);
    }
    // Shapes, sums and first values by TensorFlow 2.21.
    for (name, shape, sum, first) in DS_CNN {
        let array = found.read(name).unwrap();
        assert_eq!(array.info.shape, *shape, "{name}");
        let values = array.to_f32().unwrap();
        assert_eq!(values[0], *first, "{name}");
        let found: f64 = values.iter().map(|value| f64::from(*value)).sum();
        assert!((found - sum).abs() < 1e-6 * sum.abs().max(1.0), "{name}: {found} and {sum}");
    }
    // A graph that lost its values to a manifest is no weight file.
    let path = shared.join("weights/mobilenet_v1_0.25_tfjs_frozen/tensorflowjs_model.pb");
    let error = open(&path).map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, WeightsError::Unsupported { what, .. } if what.contains("weights_manifest.json")),
        "{error}"
    );
    assert_eq!(open(path.parent().unwrap()).unwrap().format(), "tensorflow.js");
}

const DS_CNN_ARRAYS: usize = 58;

const DS_CNN: &[(&str, &[usize], f64, f32)] = &[
    ("MobileNet/conv_ds_1/pointwise_conv/weights", &[1, 1, 64, 64], -30.673556844849372, 0.05594638),
    ("MobileNet/conv_1/weights", &[10, 4, 1, 64], 2.017570548054209, 0.00792728),
    ("MobileNet/conv_1/batch_norm/beta", &[64], 6.442953104851767, 0.16047397),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_mutation_of_a_file_panics(
        which in 0usize..4,
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (source, name) = [
            (checkpoint("sharded/model.ckpt.index"), "model.ckpt.index"),
            (graph("constants.pb"), "graph.pb"),
            (graph("package.pbmm"), "graph.pbmm"),
            (checkpoint("sharded/model.ckpt.data-00000-of-00002"), "model.ckpt.data-00000-of-00002"),
        ][which].clone();
        let folder = tempfile::tempdir().unwrap();
        for name in ["model.ckpt.index", "model.ckpt.data-00000-of-00002", "model.ckpt.data-00001-of-00002"] {
            std::fs::copy(checkpoint(&format!("sharded/{name}")), folder.path().join(name)).unwrap();
        }
        let mut bytes = std::fs::read(source).unwrap();
        for (at, byte) in places {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        let path = if which == 3 { folder.path().join("model.ckpt") } else { path };
        if let Ok(read) = opened_and_read(&path) {
            prop_assert!(read < 40 * (64 << 20));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), package: bool) {
        let mut whole = if package { Vec::new() } else { b"\x0a\x40\x0a\x01a\x12\x05Const".to_vec() };
        whole.extend(&bytes);
        if package {
            whole.extend((bytes.len() as u64 / 2).to_le_bytes());
        }
        let (_folder, path) = written(&whole, if package { "pbmm" } else { "pb" });
        let _ = opened_and_read(&path);
    }
}
