//! A recording as mono at 16 kHz: whole, or block by block, and what is wrong with it.

use std::fs::File;
use std::path::Path;

use super::SAMPLE_RATE;
use super::decode::{AudioStream, Header};
use super::findings::{self, Finding, Level, Limits};
use super::resample::Resampler;
use crate::error::DataError;

/// A recording that is read block by block, in constant memory.
#[derive(Debug)]
pub struct Reader {
    stream: AudioStream,
    resampler: Resampler,
    block: Vec<f32>,
    ended: bool,
}

impl Reader {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// As [`AudioStream::open`].
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Ok(Self::over(AudioStream::open(path)?))
    }

    /// [`Self::open`] for bytes in memory; `path` is for messages.
    ///
    /// # Errors
    /// As [`AudioStream::open`].
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, DataError> {
        Ok(Self::over(AudioStream::from_bytes(path, bytes)?))
    }

    fn over(stream: AudioStream) -> Self {
        let resampler = Resampler::new(stream.header().rate, SAMPLE_RATE);
        Self { stream, resampler, block: Vec::new(), ended: false }
    }

    /// What the file says of itself.
    pub fn header(&self) -> &Header {
        self.stream.header()
    }

    /// Appends the next samples at 16 kHz, perhaps none; `false` when all were read.
    ///
    /// # Errors
    /// As [`AudioStream::read`].
    pub fn read(&mut self, samples: &mut Vec<f32>) -> Result<bool, DataError> {
        if self.ended {
            return Ok(false);
        }
        self.block.clear();
        if self.stream.read(&mut self.block)? {
            self.resampler.push(&self.block, samples);
        } else {
            self.resampler.finish(samples);
            self.ended = true;
        }
        Ok(true)
    }

    /// Seconds so far.
    pub fn seconds(&self) -> f64 {
        self.stream.decoded() as f64 / f64::from(self.header().rate)
    }

    /// What is wrong with what was read so far; after the end, also what is missing.
    pub fn findings(&self, limits: &Limits) -> Vec<Finding> {
        let mut found = findings::find(self.stream.level(), self.seconds(), limits);
        if self.ended {
            let rate = f64::from(self.header().rate);
            // A hundredth of a second: some programs count a last part of a block.
            let missing =
                self.header().frames.filter(|frames| (*frames as f64 - self.stream.decoded() as f64) > rate / 100.0);
            if let Some(frames) = missing {
                found.push(Finding::Truncated { seconds: self.seconds(), expected: frames as f64 / rate });
            }
        }
        if self.stream.bad_packets() > 0 {
            found.push(Finding::Damaged { packets: self.stream.bad_packets() });
        }
        found
    }
}

/// A recording in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// Mono at 16 kHz.
    pub samples: Vec<f32>,
    /// What the file says of itself.
    pub header: Header,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

/// Reads a whole recording; of one above `limits.longest` no more than that, which is then a finding.
///
/// # Errors
/// As [`AudioStream::open`] and [`AudioStream::read`].
pub fn read(path: &Path, limits: &Limits) -> Result<Recording, DataError> {
    whole(Reader::open(path)?, limits)
}

/// [`read`] for bytes in memory; `path` is for messages.
///
/// # Errors
/// See [`read`].
pub fn read_bytes(path: &Path, bytes: Vec<u8>, limits: &Limits) -> Result<Recording, DataError> {
    whole(Reader::from_bytes(path, bytes)?, limits)
}

fn whole(mut reader: Reader, limits: &Limits) -> Result<Recording, DataError> {
    let mut samples = Vec::new();
    while reader.seconds() <= limits.longest && reader.read(&mut samples)? {}
    let findings = reader.findings(limits);
    Ok(Recording { samples, header: reader.header().clone(), findings })
}

/// What a recording is like, without its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// What the file says of itself.
    pub header: Header,
    /// Its length, or what was read of it where it is above the limit.
    pub seconds: f64,
    /// How loud it is.
    pub level: Level,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// BLAKE3 of the file's bytes.
    pub digest: [u8; 32],
}

/// Decodes a recording once and keeps nothing of it.
///
/// # Errors
/// As [`read`].
pub fn inspect(path: &Path, limits: &Limits) -> Result<Inspection, DataError> {
    let mut reader = Reader::open(path)?;
    let mut samples = Vec::new();
    while reader.seconds() <= limits.longest && reader.read(&mut samples)? {
        samples.clear();
    }
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).map_err(io)?).map_err(io)?;
    Ok(Inspection {
        header: reader.header().clone(),
        seconds: reader.seconds(),
        level: *reader.stream.level(),
        findings: reader.findings(limits),
        digest: *hasher.finalize().as_bytes(),
    })
}
