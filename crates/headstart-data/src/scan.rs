//! Reading every file once: is it whole, what is it, does it look like another?

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;

use crate::error::DataError;
use crate::image::decode_bytes;
use crate::layouts::{Example, Listing, Skipped};
use crate::perceptual_hash::PerceptualHash;

/// The examples that can be read, and why the others cannot.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    /// In the order of the listing.
    pub examples: Vec<ScannedExample>,
    /// Left out.
    pub skipped: Vec<Skipped>,
}

/// An example that was read whole.
#[derive(Debug, Clone, PartialEq)]
pub struct ScannedExample {
    /// The file and its label.
    pub example: Example,
    /// BLAKE3 of the file's bytes.
    pub digest: [u8; 32],
    /// What it looks like.
    pub hash: PerceptualHash,
}

/// Reads, decodes and hashes every example on `threads` threads; at most one picture a thread is in memory.
///
/// Files that have not changed since a scan that `memo` remembers are not decoded again. `progress` gets the number done
/// and the number of all.
///
/// # Errors
/// [`DataError::Interrupted`] when `stop` is set; bad files are no error, they are listed as skipped.
pub fn scan(
    listing: &Listing,
    threads: usize,
    memo: Option<&ScanMemo>,
    stop: &AtomicBool,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Scan, DataError> {
    let done = AtomicUsize::new(0);
    let total = listing.examples.len();
    let read = |example: &Example| -> Result<Result<Seen, Skipped>, DataError> {
        if stop.load(Ordering::Relaxed) {
            return Err(DataError::Interrupted);
        }
        let seen = look(&example.path, memo);
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
        Ok(seen.map_err(|error| Skipped { path: example.path.clone(), reason: reason(&error) }))
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.max(1))
        .build()
        .map_err(|error| DataError::Io { path: listing.root.clone(), source: std::io::Error::other(error) })?;
    let results: Vec<Result<Seen, Skipped>> =
        pool.install(|| listing.examples.par_iter().map(read).collect::<Result<_, _>>())?;
    let mut scan = Scan { examples: Vec::with_capacity(total), skipped: Vec::new() };
    for (example, result) in listing.examples.iter().zip(results) {
        match result {
            Ok(Seen { digest, hash }) => scan.examples.push(ScannedExample { example: example.clone(), digest, hash }),
            Err(skipped) => scan.skipped.push(skipped),
        }
    }
    if let Some(memo) = memo {
        memo.save();
    }
    Ok(scan)
}

/// The reason alone: the list of skipped files names the path already.
fn reason(error: &DataError) -> String {
    match error {
        DataError::Unreadable { reason, .. } => reason.clone(),
        DataError::Io { source, .. } => format!("cannot be read: {source}"),
        DataError::TooLarge { width, height, .. } => format!("{width} × {height} pixels is too large"),
        other => other.to_string(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    digest: [u8; 32],
    hash: PerceptualHash,
}

fn look(path: &Path, memo: Option<&ScanMemo>) -> Result<Seen, DataError> {
    let identity = memo.and_then(|_| Identity::of(path));
    if let (Some(memo), Some(identity)) = (memo, &identity)
        && let Some(seen) = memo.find(identity)
    {
        return Ok(seen);
    }
    let bytes = std::fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let picture = decode_bytes(path, &bytes)?;
    let seen = Seen { digest: *blake3::hash(&bytes).as_bytes(), hash: PerceptualHash::of(&picture) };
    if let (Some(memo), Some(identity)) = (memo, identity) {
        memo.remember(identity, seen);
    }
    Ok(seen)
}

/// A file as it was: path, length and time of its last change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Identity([u8; 32]);

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(path.canonicalize().ok()?.as_os_str().as_encoded_bytes());
        hasher.update(&metadata.len().to_le_bytes());
        hasher.update(&changed.as_nanos().to_le_bytes());
        Some(Self(*hasher.finalize().as_bytes()))
    }
}

/// What earlier scans saw, in one file; a memo that cannot be read or written is only slower, never wrong.
#[derive(Debug)]
pub struct ScanMemo {
    path: PathBuf,
    state: Mutex<MemoState>,
}

#[derive(Debug, Default)]
struct MemoState {
    seen: HashMap<Identity, Seen>,
    changed: bool,
}

const MAGIC: &[u8; 8] = b"HSSCAN01";

/// Identity, digest and hash of one file.
const RECORD: usize = 32 + 32 + 80;

/// Records beyond this are forgotten altogether: a memo is not an archive.
const MOST_RECORDS: usize = 500_000;

impl ScanMemo {
    /// Opens the memo at `path`; a missing or damaged one is empty.
    pub fn open(path: PathBuf) -> Self {
        let seen = std::fs::read(&path).ok().and_then(|bytes| parse(&bytes)).unwrap_or_default();
        Self { path, state: Mutex::new(MemoState { seen, changed: false }) }
    }

    fn find(&self, identity: &Identity) -> Option<Seen> {
        self.state.lock().ok()?.seen.get(identity).copied()
    }

    fn remember(&self, identity: Identity, seen: Seen) {
        if let Ok(mut state) = self.state.lock() {
            state.seen.insert(identity, seen);
            state.changed = true;
        }
    }

    /// Writes the memo atomically, if it changed.
    fn save(&self) {
        let Ok(mut state) = self.state.lock() else { return };
        if !state.changed || state.seen.len() > MOST_RECORDS {
            return;
        }
        state.changed = false;
        let mut body = Vec::with_capacity(state.seen.len() * RECORD);
        for (identity, seen) in &state.seen {
            body.extend(identity.0);
            body.extend(seen.digest);
            body.extend(seen.hash.to_bytes());
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend(blake3::hash(&body).as_bytes());
        bytes.extend(body);
        let temporary = self.path.with_extension(format!("{}.tmp", std::process::id()));
        let written = self
            .path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&temporary, bytes))
            .and_then(|()| std::fs::rename(&temporary, &self.path));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
    }
}

fn parse(bytes: &[u8]) -> Option<HashMap<Identity, Seen>> {
    let body = bytes.strip_prefix(MAGIC)?;
    let (digest, body) = body.split_at_checked(32)?;
    if blake3::hash(body).as_bytes() != digest || body.len() % RECORD != 0 {
        return None;
    }
    let record = |record: &[u8]| {
        let identity = Identity(record[..32].try_into().ok()?);
        let hash: &[u8; 80] = record[64..].try_into().ok()?;
        Some((identity, Seen { digest: record[32..64].try_into().ok()?, hash: PerceptualHash::from_bytes(hash) }))
    };
    body.chunks_exact(RECORD).map(record).collect()
}
