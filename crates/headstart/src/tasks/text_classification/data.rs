//! Labelled texts, read, split and made tokens.

use std::path::Path;

use headstart_data::text::{Target, TargetKind, TextExample};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::labels;
use crate::load::PretrainedText;
use crate::recipe::Recipe;
use crate::tasks::Part;
use crate::tasks::texts::{SplitTexts, check_target};
use crate::train::observer::Observer;

/// The examples of a text data set by part, broken lines left out.
#[derive(Debug)]
pub struct TextExamples {
    names: Vec<String>,
    parts: [PartExamples; 3],
    skipped: usize,
    several: bool,
}

#[derive(Debug, Default)]
struct PartExamples {
    /// Number and kind of each token, as a network reads them.
    tokens: Vec<Vec<f32>>,
    digests: Vec<[u8; 32]>,
    /// Class of each, where each has one.
    classes: Vec<usize>,
    /// Labels of each, where each has any number.
    labels: Vec<Vec<usize>>,
}

impl TextExamples {
    /// Reads, splits and tokenizes the data set of a recipe; tells the observer what was left out, cut or looks wrong.
    ///
    /// # Errors
    /// [`Error::Data`] when there is nothing to learn from; [`Error::Recipe`] when texts have no class and no labels.
    pub(super) fn open(
        recipe: &Recipe,
        text: &PretrainedText,
        name: &str,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let wanted = [TargetKind::Class, TargetKind::Labels];
        let split = SplitTexts::open(recipe, &|set| check_target(set, &wanted, name), observer)?;
        let read = |example: &TextExample| text.reader.read(&example.text, example.pair.as_deref());
        let encoded: Vec<(Vec<f32>, usize)> = split.set.examples.par_iter().map(read).collect::<Result<_>>()?;
        split.tell_cut(encoded.iter().filter(|(_, cut)| *cut > 0).count(), text.reader.longest, observer);
        let mut parts: [PartExamples; 3] = Default::default();
        for ((example, (tokens, _)), part) in split.set.examples.iter().zip(encoded).zip(&split.splits) {
            let part = &mut parts[Part::from(*part).index()];
            match &example.target {
                Target::Class(class) => {
                    part.digests.push(digest(&tokens, &[*class]));
                    part.classes.push(*class);
                }
                Target::Labels(labels) => {
                    part.digests.push(digest(&tokens, labels));
                    part.labels.push(labels.clone());
                }
                Target::Spans(_) | Target::Unlabeled => continue,
            }
            part.tokens.push(tokens);
        }
        let several = split.set.target == TargetKind::Labels;
        let examples = Self { names: split.set.labels.clone(), parts, skipped: split.skipped, several };
        examples.check(&recipe.data)?;
        split.tell(&examples.names, observer);
        Ok(examples)
    }

    /// Names of the classes or labels.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether an example has any number of labels, instead of one class.
    pub(super) fn has_several(&self) -> bool {
        self.several
    }

    pub(super) fn classes(&self, part: Part) -> &[usize] {
        &self.part(part).classes
    }

    pub(super) fn labels(&self, part: Part) -> &[Vec<usize>] {
        &self.part(part).labels
    }

    pub(super) fn digests(&self, part: Part) -> Vec<[u8; 32]> {
        self.part(part).digests.clone()
    }

    pub(super) fn tokens(&self, part: Part, index: usize) -> &[f32] {
        &self.part(part).tokens[index]
    }

    pub(super) fn skipped_count(&self) -> usize {
        self.skipped
    }

    fn part(&self, part: Part) -> &PartExamples {
        &self.parts[part.index()]
    }

    /// After broken lines are gone there must still be something to learn: two classes, or a label.
    fn check(&self, data: &Path) -> Result<()> {
        let train = self.part(Part::Train);
        let learned = if self.several { train.labels.concat() } else { train.classes.clone() };
        let missing = labels::without_example(&self.names, &learned);
        if (self.several || self.names.len() >= 2) && missing.is_empty() {
            return Ok(());
        }
        let reason = match missing.is_empty() {
            true => format!("`{}` has texts of {} class alone", data.display(), self.names.len()),
            false => format!("`{}` has no training text of {}", data.display(), missing.join(", ")),
        };
        let help = match self.several {
            true => "give examples of every label, some of each to learn from",
            false => "give examples of at least two classes, some of each to learn from",
        };
        Err(Error::Recipe { reason, help: help.to_owned() })
    }
}

/// What an example is to a network: its tokens and its labels.
fn digest(tokens: &[f32], labels: &[usize]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for label in labels {
        hasher.update(&(*label as u64).to_le_bytes());
    }
    tokens.iter().for_each(|value| {
        hasher.update(&value.to_le_bytes());
    });
    *hasher.finalize().as_bytes()
}
