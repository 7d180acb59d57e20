//! Recordings with transcripts: the alphabet, and what is written of each.

use headstart_data::layouts::Split;
use headstart_data::speech::alphabet::Alphabet;
use headstart_data::speech::{SpeechSet, SpeechTarget};

use crate::error::{Error, Result};
use crate::load::Writing;
use crate::nn::DeepSpeechShape;
use crate::recipe::Recipe;
use crate::run::RunOptions;
use crate::tasks::Part;
use crate::tasks::recordings::{Recording, SplitRecordings};
use crate::train::observer::{Event, Observer};

/// The recordings of a data set by part.
#[derive(Debug)]
pub struct Transcribed {
    pub(super) writing: Writing,
    labels: Vec<String>,
    parts: [PartTranscribed; 3],
    skipped: usize,
}

#[derive(Debug, Default)]
pub(super) struct PartTranscribed {
    pub(super) recordings: Vec<Recording>,
    /// In the style that is learned.
    pub(super) transcripts: Vec<String>,
    /// Outputs of each transcript; letters that the alphabet lacks are left out.
    pub(super) letters: Vec<Vec<usize>>,
}

/// Refuses a data set of classes.
pub(super) fn check(set: &SpeechSet) -> Result<()> {
    if set.classes.is_empty() {
        return Ok(());
    }
    Err(Error::Recipe {
        reason: format!("`{}` has a class for each recording, and no transcripts", set.root.display()),
        help: "leave --task out: the task is found from the data".to_owned(),
    })
}

impl Transcribed {
    /// Reads, scans and splits the data set of a recipe for a network of this shape.
    ///
    /// # Errors
    /// As [`SplitRecordings::open`]; [`Error::Data`] for an alphabet that cannot be read; [`Error::Recipe`] when no training
    /// transcript is left.
    pub(super) fn open(
        recipe: &Recipe,
        shape: &DeepSpeechShape,
        options: &RunOptions,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let mut split = SplitRecordings::open(recipe, &check, options, observer)?;
        let style = recipe.speech.style;
        let transcript = |target: &SpeechTarget| match target {
            SpeechTarget::Transcript(text) => style.apply(text),
            SpeechTarget::Class(_) => String::new(),
        };
        let transcripts: Vec<String> =
            split.recordings.iter().map(|recording| transcript(&recording.utterance.target)).collect();
        let of_training = transcripts.iter().zip(&split.splits).filter(|(_, split)| **split == Split::Train);
        let alphabet = match &recipe.speech.alphabet {
            Some(path) => Alphabet::read(path)?,
            None => Alphabet::of(of_training.map(|(text, _)| text.as_str())),
        };
        tell_outside(&alphabet, &transcripts, observer);

        let mut parts: [PartTranscribed; 3] = Default::default();
        let mut kept = Vec::with_capacity(split.splits.len());
        for ((scanned, transcript), part) in split.recordings.iter().zip(transcripts).zip(&split.splits) {
            let letters = letters(&alphabet, &transcript);
            let samples = (scanned.seconds * f64::from(headstart_data::audio::SAMPLE_RATE)) as usize;
            let frames = shape.features().frames(samples);
            let needed = letters.len() + letters.windows(2).filter(|pair| pair[0] == pair[1]).count();
            let unusable = match *part {
                _ if transcript.is_empty() => {
                    Some("nothing of its transcript is left in the style that is learned".to_owned())
                }
                Split::Train if needed > frames => Some(format!(
                    "it has {frames} frames, and its transcript of {} letters needs {needed}: it is cut off, or not its transcript",
                    letters.len()
                )),
                Split::Train if letters.is_empty() => Some("none of its letters is in the alphabet".to_owned()),
                _ => None,
            };
            if let Some(reason) = unusable {
                split.skipped += 1;
                observer.event(&Event::Skipped { path: scanned.utterance.path.clone(), reason });
                continue;
            }
            kept.push(*part);
            let part = &mut parts[Part::from(*part).index()];
            part.recordings.push(Recording { path: scanned.utterance.path.clone(), digest: scanned.digest });
            part.transcripts.push(transcript);
            part.letters.push(letters);
        }
        split.splits = kept;
        if parts[Part::Train.index()].recordings.is_empty() {
            return Err(Error::Recipe {
                reason: format!("`{}` has no transcript to learn from", recipe.data.display()),
                help: "transcripts are letters; with an --alphabet they must be written in it".to_owned(),
            });
        }
        let symbol = |number: usize| match &alphabet {
            Alphabet::Symbols(symbols) => symbols[number].clone(),
            Alphabet::Bytes => format!("<{:02x}>", number + 1),
        };
        let labels: Vec<String> = (0..alphabet.len()).map(symbol).chain(["<blank>".to_owned()]).collect();
        split.tell(&labels[..labels.len() - 1], observer);
        Ok(Self { writing: Writing { alphabet, style }, labels, parts, skipped: split.skipped })
    }

    /// The letters, and the blank.
    pub(super) fn labels(&self) -> &[String] {
        &self.labels
    }

    pub(super) fn part(&self, part: Part) -> &PartTranscribed {
        &self.parts[part.index()]
    }

    pub(super) fn skipped_count(&self) -> usize {
        self.skipped
    }
}

/// Outputs of a transcript; letters that the alphabet lacks are left out.
pub(crate) fn letters(alphabet: &Alphabet, transcript: &str) -> Vec<usize> {
    alphabet.encode(transcript).unwrap_or_else(|unknown| {
        let known: String = transcript.chars().filter(|letter| !unknown.contains(letter)).collect();
        alphabet.encode(&known).unwrap_or_default()
    })
}

fn tell_outside(alphabet: &Alphabet, transcripts: &[String], observer: &mut dyn Observer) {
    let outside = alphabet.outside(transcripts.iter().map(String::as_str));
    if outside.is_empty() {
        return;
    }
    let shown: Vec<String> =
        outside.iter().take(12).map(|(letter, count)| format!("`{letter}` {count} times")).collect();
    let more = if outside.len() > 12 { format!(" and {} more letters", outside.len() - 12) } else { String::new() };
    let message =
        format!("the alphabet does not have {}{more}: they count as errors where they are said", shown.join(", "));
    observer.event(&Event::Note { message });
}
