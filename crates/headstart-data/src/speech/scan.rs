//! Decoding every recording once: is it whole, how long is it, can it be heard?

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;

use super::{SpeechSet, Utterance};
use crate::audio::findings::{Finding, Limits};
use crate::audio::recording::inspect;
use crate::error::DataError;
use crate::layouts::Skipped;

/// The recordings that can be learned from, and why the others cannot.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeechScan {
    /// In the order of the set.
    pub recordings: Vec<ScannedRecording>,
    /// Left out.
    pub skipped: Vec<Skipped>,
    /// Used, but not as they should be; each with what was found.
    pub doubtful: Vec<(PathBuf, Finding)>,
}

/// A recording that was decoded to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct ScannedRecording {
    /// The recording and its label.
    pub utterance: Utterance,
    /// BLAKE3 of the file's bytes.
    pub digest: [u8; 32],
    /// Its length.
    pub seconds: f64,
}

/// Decodes every recording on `threads` threads, in constant memory. `progress` gets the number done and the number of all.
///
/// # Errors
/// [`DataError::Interrupted`] when `stop` is set; bad files are no error, they are listed as skipped.
pub fn scan(
    set: &SpeechSet,
    limits: &Limits,
    threads: usize,
    stop: &AtomicBool,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<SpeechScan, DataError> {
    let (done, total) = (AtomicUsize::new(0), set.utterances.len());
    let look = |utterance: &Utterance| {
        if stop.load(Ordering::Relaxed) {
            return Err(DataError::Interrupted);
        }
        let seen = inspect(&utterance.path, limits);
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
        Ok(seen)
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.max(1))
        .build()
        .map_err(|error| DataError::Io { path: set.root.clone(), source: std::io::Error::other(error) })?;
    let seen: Vec<Result<_, DataError>> =
        pool.install(|| set.utterances.par_iter().map(look).collect::<Result<_, _>>())?;
    let mut scan = SpeechScan { recordings: Vec::with_capacity(total), skipped: Vec::new(), doubtful: Vec::new() };
    for (utterance, seen) in set.utterances.iter().zip(seen) {
        let path = utterance.path.clone();
        match seen {
            Err(error) => scan.skipped.push(Skipped { path, reason: reason(&error) }),
            Ok(seen) => match seen.findings.iter().find(|finding| finding.spoils()) {
                Some(finding) => scan.skipped.push(Skipped { path, reason: finding.to_string() }),
                None => {
                    scan.doubtful.extend(seen.findings.into_iter().map(|finding| (path.clone(), finding)));
                    let (utterance, digest, seconds) = (utterance.clone(), seen.digest, seen.seconds);
                    scan.recordings.push(ScannedRecording { utterance, digest, seconds });
                }
            },
        }
    }
    Ok(scan)
}

/// The reason alone: the list of skipped files names the path already.
fn reason(error: &DataError) -> String {
    match error {
        DataError::UnreadableAudio { reason, .. } => reason.clone(),
        DataError::Io { source, .. } => format!("cannot be read: {source}"),
        other => other.to_string(),
    }
}
