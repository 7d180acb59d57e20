//! `headstart predict` of a bundle that writes down what is said.

use std::io::IsTerminal;

use headstart::bundle::transcribe::Transcript;
use headstart::data::audio::has_audio_extension;
use headstart::kernels::ctc::BeamOptions;
use headstart::tasks::speech_recognition::decode::{Decoding, WordModel};
use headstart::{Bundle, Error};

use super::predict::{files, progress, tell, width_of};
use super::threads;
use crate::arguments::{Predict, WritingOptions};
use crate::report::Result;

pub(crate) fn run(bundle: &Bundle, options: &Predict) -> Result {
    let words = word_model(bundle, &options.writing)?;
    let decoding = decoding(&options.writing, words.as_ref());
    let paths = files(&options.inputs, "recording", &has_audio_extension)?;
    let progress = progress(options, paths.len());
    let transcripts = bundle.transcribe_all(&paths, &decoding, threads(options.threads), &progress)?;
    drop(progress);
    let width = width_of(&paths);
    // One recording in a pipe is its text alone.
    let bare = paths.len() == 1 && !std::io::stdout().is_terminal();
    tell(&transcripts, options.json, |transcript| line(transcript, width, bare))
}

fn line(transcript: &Transcript, width: usize, bare: bool) -> String {
    let findings: String = transcript.findings.iter().map(|finding| format!("  ({finding})")).collect();
    match bare {
        true => transcript.text.clone(),
        false => format!("{:width$}  {}{findings}", transcript.path.display().to_string(), transcript.text),
    }
}

/// Refuses options of transcripts where none is written.
pub(super) fn check(bundle: &Bundle, options: &WritingOptions) -> Result {
    if bundle.writing().is_some() || (options.beam.is_none() && options.language_model.is_none()) {
        return Ok(());
    }
    Err(Error::Recipe {
        reason: "this bundle does not write what is said".to_owned(),
        help: "leave --beam and --language-model out".to_owned(),
    }
    .into())
}

/// The model of words that was named, where the bundle writes.
pub(super) fn word_model(bundle: &Bundle, options: &WritingOptions) -> Result<Option<WordModel>> {
    check(bundle, options)?;
    Ok(options.language_model.as_deref().map(|path| bundle.word_model(path)).transpose()?)
}

/// How transcripts are chosen.
pub(super) fn decoding<'a>(options: &WritingOptions, language: Option<&'a WordModel>) -> Decoding<'a> {
    if options.beam.is_none() && language.is_none() {
        return Decoding::Greedy;
    }
    let usual = BeamOptions::default();
    let options = BeamOptions {
        width: options.beam.unwrap_or(usual.width),
        alpha: options.alpha.unwrap_or(usual.alpha),
        beta: options.beta.unwrap_or(usual.beta),
        ..usual
    };
    Decoding::Beam { options, language }
}
