//! What hostile files can make the readers allocate, measured against `headstart_weights::limits`. One test alone, since the
//! allocator counts for the whole process.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::io::{Cursor, Write};
use std::path::Path;

use headstart_weights::{WeightsError, limits, open};
use peak_alloc::PeakAlloc;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Opens a file and reads all of it, within the limits.
fn opened_and_read(what: &str, path: &Path) -> Result<(), WeightsError> {
    let length = std::fs::metadata(path).unwrap().len();
    let begin = || {
        MEMORY.reset_peak_usage();
        MEMORY.current_usage()
    };
    let before = begin();
    let opened = open(path);
    let taken = (MEMORY.peak_usage() - before) as u64;
    assert!(taken <= limits::opening(length), "opening {what} of {length} bytes took {taken}");
    let checkpoint = opened?;
    for info in checkpoint.arrays() {
        let before = begin();
        let array = checkpoint.read(&info.name);
        let taken = (MEMORY.peak_usage() - before) as u64;
        let bytes = info.byte_len() as u64;
        assert!(taken <= limits::reading(bytes), "reading {bytes} bytes of {what} took {taken}");
        array?;
    }
    Ok(())
}

/// A zip with these members, deflated.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in members {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A zip of one member, whose directory lists it under `count` names.
fn shared_member(count: usize, size: usize) -> Vec<u8> {
    let single = archive(&[("m000000", &vec![0; size])]);
    let directory = single.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
    let end = single.windows(4).rposition(|bytes| bytes == b"PK\x05\x06").unwrap();
    let mut whole = single[..directory].to_vec();
    for number in 0..count {
        let name = format!("m{number:06}");
        let entry = &single[directory..end];
        let at = entry.windows(7).position(|bytes| bytes == b"m000000").unwrap();
        whole.extend(&entry[..at]);
        whole.extend(name.as_bytes());
        whole.extend(&entry[at + 7..]);
    }
    let length = (whole.len() - directory) as u32;
    whole.extend(&single[end..end + 8]);
    whole.extend((count as u16).to_le_bytes());
    whole.extend((count as u16).to_le_bytes());
    whole.extend(length.to_le_bytes());
    whole.extend((directory as u32).to_le_bytes());
    whole.extend([0, 0]);
    whole
}

/// The shared member's zip with a manifest that lists every name of it as a shard.
fn shared_shards(count: usize, size: usize) -> Vec<u8> {
    let paths = (0..count).map(|number| format!("\"m{number:06}\"")).collect::<Vec<_>>().join(",");
    let elements = count * size / 4;
    let manifest =
        format!(r#"[{{"paths":[{paths}],"weights":[{{"name":"a","shape":[{elements}],"dtype":"float32"}}]}}]"#);
    // The manifest's member is put before, so every offset moves by its length.
    let with = archive(&[("weights_manifest.json", manifest.as_bytes())]);
    let directory = with.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
    let end = with.windows(4).rposition(|bytes| bytes == b"PK\x05\x06").unwrap();
    let shared = shared_member(count, size);
    let shared_directory = shared.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    let shared_end = shared.windows(4).rposition(|bytes| bytes == b"PK\x05\x06").unwrap();
    let mut whole = [&with[..directory], &shared[..shared_directory]].concat();
    let start = whole.len() as u32;
    whole.extend(&with[directory..end]);
    let entry = (shared_end - shared_directory) / count;
    for number in 0..count {
        let mut entry = shared[shared_directory + number * entry..][..entry].to_vec();
        entry[42..46].copy_from_slice(&(directory as u32).to_le_bytes());
        whole.extend(entry);
    }
    let length = whole.len() as u32 - start;
    whole.extend(&with[end..end + 8]);
    whole.extend((count as u16 + 1).to_le_bytes());
    whole.extend((count as u16 + 1).to_le_bytes());
    whole.extend(length.to_le_bytes());
    whole.extend(start.to_le_bytes());
    whole.extend([0, 0]);
    whole
}

/// A pickle in a zip.
fn pickle(program: &[&[u8]]) -> Vec<u8> {
    archive(&[("archive/data.pkl", &program.concat())])
}

#[test]
fn nothing_that_is_made_to_be_large_takes_more_than_the_limits() {
    let many = |bytes: &[u8]| bytes.repeat(20 << 20);
    // A list of a hundred lists of a hundred lists, fifteen levels deep, all of them the same ones.
    let mut webs = b"\x80\x02]q\x00".to_vec();
    for level in 0u8..14 {
        webs.extend([b']', b'q', level + 1, b'(']);
        webs.extend([b'h', level].repeat(100));
        webs.push(b'e');
    }
    webs.push(b'.');
    let dense = format!("{{\"a\":[{}0]}}", "{\"\":0},".repeat(2 << 20));
    let flat = format!("[{}0]", "0,".repeat(7 << 20));
    let paths = format!("[{{\"weights\":[],\"paths\":[{}\"\"]}}]", "\"\",".repeat(8 << 20));
    let mut claims = b"PK\x03\x04".to_vec();
    claims.resize(4 << 20, 0);
    let at = claims.len() as u64;
    claims.extend(b"PK\x06\x06");
    claims.extend(44u64.to_le_bytes());
    claims.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Millions of members, as many as there are bytes before.
    claims.extend((4u64 << 20).to_le_bytes().repeat(2));
    claims.extend(0u64.to_le_bytes());
    claims.extend((4u64 << 20).to_le_bytes());
    claims.extend(b"PK\x06\x07\x00\x00\x00\x00");
    claims.extend(at.to_le_bytes());
    claims.extend([1, 0, 0, 0]);
    claims.extend(b"PK\x05\x06\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00");
    let json = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let floats = |axes: usize| {
        let shape = vec!["1"; axes].join(",");
        json(&format!(r#"{{"a":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,0]}}}}"#))
    };
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("empty lists", "pth", pickle(&[b"\x80\x02", &many(b"]"), b"."])),
        ("marks", "pth", pickle(&[b"\x80\x02", &many(b"("), b"."])),
        ("copies of the top", "pth", pickle(&[b"\x80\x02N", &many(b"2"), b"."])),
        ("memos", "pth", pickle(&[b"\x80\x02N", &many(b"\x94"), b"."])),
        ("a list of itself", "pth", pickle(&[b"\x80\x02]q\x00", &many(b"h\x00a"), b"."])),
        ("long text", "pth", pickle(&[b"\x80\x02X\x00\x00\x00\x03", &vec![0xFF; 3 << 24], b"."])),
        ("webs of lists", "pth", archive(&[("a/data.pkl", &webs)])),
        ("dense objects", "keras", archive(&[("config.json", dense.as_bytes()), ("model.weights.h5", b"")])),
        ("dense numbers", "keras", archive(&[("config.json", flat.as_bytes()), ("model.weights.h5", b"")])),
        ("dense paths", "zip", archive(&[("weights_manifest.json", paths.as_bytes())])),
        ("zeros", "keras", archive(&[("model.weights.h5", &vec![0; 200 << 20])])),
        ("shards that share their bytes", "zip", shared_shards(400, 900_000)),
        ("a claim of members", "pth", claims),
        ("a header of objects", "safetensors", json(&format!("{{{}\"\":{{}}}}", "\"\":{},".repeat(1 << 20)))),
        ("many axes", "safetensors", floats(100_000)),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (what, extension, bytes) in cases {
        let path = folder.path().join(format!("model.{extension}"));
        std::fs::write(&path, &bytes).unwrap();
        drop(bytes);
        let error = opened_and_read(what, &path).expect_err(what);
        let is_named = matches!(error, WeightsError::TooLarge { .. } | WeightsError::Malformed { .. });
        assert!(is_named, "{what}: {error}");
    }
    // What is large and honest opens: a zip of a hundred times less than it holds, and the fixtures.
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/formats");
    for name in ["zip.pth", "wrapped_legacy.pt", "tfjs/layers.zip", "expected.safetensors"] {
        opened_and_read(name, &fixtures.join(name)).unwrap();
    }
}
