//! What a bundle hears in a recording: its words with their times, or its class.

use std::path::{Path, PathBuf};

use headstart_data::audio::SAMPLE_RATE;
use headstart_data::audio::features::{Extractor, FeatureSpec, extract};
use headstart_data::audio::findings::{Finding, Limits};
use headstart_data::audio::recording::{self, Reader};
use serde::{Deserialize, Serialize};

use super::predict::{Prediction, Predictor, Unreadable, each};
use super::read::Bundle;
use crate::error::{Error, Result};
use crate::features::Rows;
use crate::load::Writing;
use crate::recipe::Pool;
use crate::tasks::image_classification::decode as classes;
use crate::tasks::speech_recognition::decode::{Decoder, Decoding, TimedWord, WordModel};

/// How a recording becomes an input, and which letters come out.
#[derive(Debug)]
pub(crate) struct Hearing {
    pub(crate) features: FeatureSpec,
    /// Of a bundle that writes.
    pub(crate) writing: Option<Writing>,
}

/// What is said in a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// The file.
    pub path: PathBuf,
    /// The words, parted by spaces.
    pub text: String,
    /// The words with their times.
    pub words: Vec<TimedWord>,
    /// Length of the recording.
    pub seconds: f64,
    /// What is wrong with the recording.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
}

/// Samples that go through the network together: enough frames for a product, few enough for constant memory.
const BLOCK: usize = 4 * SAMPLE_RATE as usize;

/// The longest recording whose class is asked, in seconds: it is heard as a whole.
const LONGEST_SOUND: f64 = 120.0;

impl Predictor {
    /// Outputs of the head for the samples of a self-test, i16 little-endian.
    pub(crate) fn sound_outputs(&self, bytes: &[u8]) -> Result<Vec<f32>> {
        let samples: Vec<f32> =
            bytes.chunks_exact(2).map(|bytes| f32::from(i16::from_le_bytes([bytes[0], bytes[1]])) / 32_768.0).collect();
        let frames = extract(&self.hearing()?.0.shape().features(), &samples)?;
        self.outputs_of_tokens(&frames)
    }

    /// Writes down a recording block by block.
    fn transcribe(
        &self,
        reader: &mut Reader,
        decoding: &Decoding<'_>,
        progress: &dyn Fn(f64),
    ) -> Result<Vec<TimedWord>> {
        let (network, hearing) = self.hearing()?;
        let writing = hearing.writing.as_ref().ok_or_else(|| Error::Recipe {
            reason: "this bundle tells classes of recordings and writes nothing down".to_owned(),
            help: "`headstart predict` without options of transcripts gives the class".to_owned(),
        })?;
        let mut extractor = Extractor::new(hearing.features)?;
        let mut stream = network.stream();
        let mut decoder = Decoder::new(&writing.alphabet, hearing.features.seconds_a_frame(), decoding)?;
        let (mut samples, mut frames, mut goes_on) = (Vec::new(), Vec::new(), true);
        while goes_on {
            goes_on = reader.read(&mut samples)?;
            if samples.len() < BLOCK && goes_on {
                continue;
            }
            extractor.push(&samples, &mut frames);
            samples.clear();
            if !goes_on {
                extractor.finish(&mut frames);
            }
            let mut states = stream.push(&frames)?;
            frames.clear();
            if !goes_on {
                states.extend(stream.finish()?);
            }
            if !states.is_empty() {
                let mut rows = Rows::default();
                rows.push(states);
                decoder.push(&self.head_outputs(rows))?;
            }
            progress(reader.seconds());
        }
        Ok(decoder.words())
    }
}

impl Bundle {
    /// Whether the bundle hears recordings.
    pub fn hears(&self) -> bool {
        self.predictor.hears()
    }

    /// Which letters the bundle writes and how, if it writes what is said.
    pub fn writing(&self) -> Option<&Writing> {
        self.predictor.hearing().ok()?.1.writing.as_ref()
    }

    /// A model of words for what this bundle writes, from ARPA's text format.
    ///
    /// # Errors
    /// [`Error::Data`] naming the line that cannot be read; [`Error::Recipe`] when the bundle does not write.
    pub fn word_model(&self, path: &Path) -> Result<WordModel> {
        let writing = self.writing().ok_or_else(|| Error::Recipe {
            reason: "this bundle does not write what is said".to_owned(),
            help: "leave --language-model out".to_owned(),
        })?;
        WordModel::read(path, writing)
    }

    /// Writes down one recording of any length, in constant memory; `progress` is called with the seconds heard so far.
    ///
    /// # Errors
    /// [`Error::Data`] when it is no recording; [`Error::Recipe`] when the bundle does not write.
    pub fn transcribe(
        &self,
        path: impl AsRef<Path>,
        decoding: &Decoding<'_>,
        progress: &dyn Fn(f64),
    ) -> Result<Transcript> {
        let path = path.as_ref();
        let mut reader = Reader::open(path)?;
        let words = self.predictor.transcribe(&mut reader, decoding, progress)?;
        let text = words.iter().map(|word| word.word.as_str()).collect::<Vec<_>>().join(" ");
        let limits = Limits { longest: f64::INFINITY, ..Limits::default() };
        let findings = reader.findings(&limits);
        if findings.contains(&Finding::Empty) {
            return Err(Error::Recipe {
                reason: format!("`{}` holds no sound", path.display()),
                help: "it may have been cut off while it was written".to_owned(),
            });
        }
        let findings = findings.iter().map(Finding::to_string).collect();
        Ok(Transcript { path: path.to_owned(), text, words, seconds: reader.seconds(), findings })
    }

    /// Writes down many recordings in parallel, in order; those that are none come back with the reason.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn transcribe_all(
        &self,
        paths: &[PathBuf],
        decoding: &Decoding<'_>,
        threads: usize,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Result<Transcript, Unreadable>>> {
        each(paths, threads, progress, &|path| {
            self.transcribe(path, decoding, &|_| {})
                .map_err(|error| Unreadable { path: path.clone(), reason: error.to_string() })
        })
    }

    /// Class probabilities of one recording.
    pub(crate) fn sound_probabilities(&self, path: &Path) -> Result<Vec<f32>> {
        let (_, hearing) = self.predictor.hearing()?;
        let limits = Limits { longest: LONGEST_SOUND, ..Limits::default() };
        let recording = recording::read(path, &limits)?;
        if let Some(finding) = recording.findings.iter().find(|finding| finding.spoils()) {
            return Err(Error::Recipe {
                reason: format!("`{}`: {finding}", path.display()),
                help: "give recordings of a tenth of a second to two minutes".to_owned(),
            });
        }
        let frames = extract(&hearing.features, &recording.samples)?;
        Ok(classes::probabilities(&self.predictor.outputs_of_tokens(&frames)?, self.predictor.output()))
    }

    /// Classes of many recordings in parallel, in order; those that cannot be heard come back with the reason.
    ///
    /// # Errors
    /// [`Error::Recipe`] when the bundle tells no classes of recordings.
    pub fn classify_sounds(
        &self,
        paths: &[PathBuf],
        top: usize,
        threads: usize,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Result<Prediction, Unreadable>>> {
        if !self.hears() || self.writing().is_some() || self.manifest().recipe.head.pool == Pool::Tokens {
            return Err(Error::Recipe {
                reason: "this bundle tells no classes of recordings".to_owned(),
                help: "`headstart inspect BUNDLE` says what a bundle is for".to_owned(),
            });
        }
        each(paths, threads, progress, &|path| {
            let failed = |error: Error| Unreadable { path: path.clone(), reason: error.to_string() };
            let probabilities = self.sound_probabilities(path).map_err(failed)?;
            Ok(Prediction::new(path, &probabilities, &self.manifest().labels, top))
        })
    }
}
