//! What tasks on recordings share: a data set read, scanned, split and told of; features of a recording.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use headstart_data::audio::features::extract;
use headstart_data::audio::findings::Limits;
use headstart_data::audio::recording;
use headstart_data::augmentation::view_seed;
use headstart_data::layouts::{self, Split};
use headstart_data::speech::scan::{ScannedRecording, SpeechScan, scan};
use headstart_data::speech::split::split;
use headstart_data::speech::{SpeechSet, SpeechTarget};

use super::watched::watched;
use super::{View, beside_validation};
use crate::error::{Error, Result};
use crate::labels;
use crate::nn::DeepSpeechShape;
use crate::recipe::{Recipe, SpeechRecipe, Validation};
use crate::run::RunOptions;
use crate::train::observer::{Event, Observer, Work};

/// Recordings that can be learned from, with the part of each.
#[derive(Debug)]
pub(crate) struct SplitRecordings {
    pub(crate) layout: &'static str,
    /// Names of the classes; empty where recordings have transcripts.
    pub(crate) classes: Vec<String>,
    pub(crate) recordings: Vec<ScannedRecording>,
    pub(crate) splits: Vec<Split>,
    /// Rows and files that were left out.
    pub(crate) skipped: usize,
}

impl SplitRecordings {
    /// Reads, scans and splits the data set of a recipe; tells the observer what was left out or looks wrong. `check` refuses
    /// what the task cannot learn.
    ///
    /// # Errors
    /// [`Error::Data`] when there is nothing to learn from; of `check`; when validation data have other classes.
    pub(crate) fn open(
        recipe: &Recipe,
        check: &dyn Fn(&SpeechSet) -> Result<()>,
        options: &RunOptions,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let mut set = layouts::open_speech(&recipe.data)?;
        check(&set)?;
        if let Validation::Folder(path) = &recipe.validation {
            let validation = layouts::open_speech(path)?;
            check(&validation)?;
            add_validation(&mut set, validation)?;
        }
        let scanned = watched_scan(&set, options, observer)?;
        let rule = recipe.split_rule();
        let assignment = split(&scanned, &rule, recipe.speech.speakers);
        for message in set.notes.iter().chain(&assignment.notes) {
            observer.event(&Event::Note { message: message.clone() });
        }
        for (path, finding) in &scanned.doubtful {
            observer.event(&Event::Note { message: format!("{}: {finding}", path.display()) });
        }
        for problem in &set.problems {
            let path = PathBuf::from(format!("{}:{}", problem.file.display(), problem.line));
            observer.event(&Event::Skipped { path, reason: problem.what.clone() });
        }
        for skipped in &scanned.skipped {
            observer.event(&Event::Skipped { path: skipped.path.clone(), reason: skipped.reason.clone() });
        }
        let skipped = set.problems.len() + scanned.skipped.len();
        let SpeechScan { recordings, .. } = scanned;
        if !assignment.splits.contains(&Split::Train) {
            return Err(Error::Recipe {
                reason: format!("`{}` has no recording to learn from", recipe.data.display()),
                help: "the lines above say why recordings were left out; they may last from 0.1 to 30 seconds"
                    .to_owned(),
            });
        }
        Ok(Self { layout: set.layout, classes: set.classes, recordings, splits: assignment.splits, skipped })
    }

    /// Says what the data set is; `classes` are what is told apart.
    pub(crate) fn tell(&self, classes: &[String], observer: &mut dyn Observer) {
        let count = |wanted| self.splits.iter().filter(|split| **split == wanted).count();
        observer.event(&Event::Data {
            layout: self.layout.to_owned(),
            classes: classes.to_vec(),
            train: count(Split::Train),
            validation: count(Split::Validation),
            test: count(Split::Test),
            skipped: self.skipped,
        });
    }
}

fn watched_scan(set: &SpeechSet, options: &RunOptions, observer: &mut dyn Observer) -> Result<SpeechScan> {
    let (threads, stop) = (options.threads, options.stop.as_ref());
    Ok(watched(Work::Scan, set.utterances.len(), observer, |done| {
        scan(set, &Limits::default(), threads, stop, &|count, _| done.store(count, Ordering::Relaxed))
    })?)
}

/// Adds another data set's recordings as validation; its classes must be among the training ones.
fn add_validation(set: &mut SpeechSet, validation: SpeechSet) -> Result<()> {
    let label_of = labels::positions(&validation.classes, &set.classes, "training class")?;
    for utterance in &mut set.utterances {
        utterance.split = beside_validation(utterance.split);
    }
    let before = set.files.len();
    set.files.extend(validation.files);
    set.utterances.extend(validation.utterances.into_iter().map(|mut utterance| {
        if let SpeechTarget::Class(label) = &mut utterance.target {
            *label = label_of[*label];
        }
        utterance.origin.file += before;
        utterance.split = Some(Split::Validation);
        utterance
    }));
    set.problems.extend(validation.problems);
    Ok(())
}

/// A recording that a task holds.
#[derive(Debug, Clone)]
pub(crate) struct Recording {
    pub(crate) path: PathBuf,
    pub(crate) digest: [u8; 32],
}

impl Recording {
    /// What the network hears of it: cepstra `[frames, cepstra]` of the view.
    ///
    /// # Errors
    /// [`Error::Data`] when the file changed or vanished since it was scanned.
    pub(crate) fn frames(&self, shape: &DeepSpeechShape, speech: &SpeechRecipe, view: View<'_>) -> Result<Vec<f32>> {
        let recording = recording::read(&self.path, &Limits::default())?;
        if view.number == 0 {
            return Ok(extract(&shape.features(), &recording.samples)?);
        }
        let seed = view_seed(view.seed, &self.digest, view.number);
        let samples = speech.augmentation.samples(&recording.samples, seed);
        let mut frames = extract(&shape.features(), &samples)?;
        speech.augmentation.hide(&mut frames, shape.cepstra, seed);
        Ok(frames)
    }
}
