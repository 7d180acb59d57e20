//! What all fuzzers of readers share: a model's files on a memory disk, and the limits that opening and reading must keep.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use headstart_weights::{FORMATS, limits};
use peak_alloc::PeakAlloc;

mod zip;

pub use zip::stored;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// An input that asks for more than this in all its arrays is read up to here: the rest would say nothing new.
const ENOUGH: u64 = 512 << 20;

/// Where the files of this process lie.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory_disk = Path::new("/dev/shm");
    let parent = if memory_disk.is_dir() { memory_disk.to_owned() } else { std::env::temp_dir() };
    let folder = parent.join(format!("headstart-fuzz-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder for the files of the model");
    folder
});

/// Opens the model whose files these are as `format`, reads all of its arrays, and holds both to the stated limits.
///
/// # Panics
/// Where more memory was taken than [`limits`] allows, or an array is not what was listed.
pub fn hold_to_limits(format: &str, opened: &str, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        std::fs::write(FOLDER.join(name), bytes).expect("a file of the model");
    }
    let path = FOLDER.join(opened);
    let length: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let row = FORMATS.iter().find(|row| row.name == format).expect("a format of the registry");

    // What a user calls decides by itself which format it is; most inputs go straight to the reader.
    if length % 16 == 0 {
        let _ = headstart_weights::digest(&path);
        let _ = headstart_weights::open(&path);
    }
    let before = begin();
    let Ok(checkpoint) = (row.open)(&path) else {
        assert!(taken(before) <= limits::opening(length), "refusing {length} bytes took {}", taken(before));
        return;
    };
    assert!(taken(before) <= limits::opening(length), "opening {length} bytes took {}", taken(before));
    let mut read = 0;
    for info in checkpoint.arrays() {
        let expected = info.byte_len() as u64;
        let before = begin();
        let array = checkpoint.read(&info.name);
        assert!(taken(before) <= limits::reading(expected), "reading {expected} bytes took {}", taken(before));
        if let Ok(array) = array {
            assert_eq!(&array.info, info);
            assert_eq!(array.bytes.len() as u64, expected);
        }
        read += expected;
        if read > ENOUGH {
            break;
        }
    }
}

fn begin() -> u64 {
    MEMORY.reset_peak_usage();
    MEMORY.current_usage() as u64
}

fn taken(before: u64) -> u64 {
    (MEMORY.peak_usage() as u64).saturating_sub(before)
}

/// Cuts an input in `N` parts: each but the last has its length in four bytes before it.
pub fn parts<const N: usize>(mut input: &[u8]) -> [&[u8]; N] {
    let mut parts = [&[][..]; N];
    for part in &mut parts[..N - 1] {
        let Some((length, rest)) = input.split_first_chunk::<4>() else { return parts };
        (*part, input) = rest.split_at((u32::from_le_bytes(*length) as usize).min(rest.len()));
    }
    parts[N - 1] = input;
    parts
}
