//! Labelled texts, read, split and made tokens.

use std::path::{Path, PathBuf};

use headstart_data::layouts::{self, Split};
use headstart_data::split::SplitRule;
use headstart_data::text::{Outcome, Target, TargetKind, TextExample, TextOptions, TextSet, copies};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::labels;
use crate::load::PretrainedText;
use crate::recipe::{Recipe, Validation};
use crate::tasks::Part;
use crate::train::observer::{Event, Observer};

/// The examples of a text data set by part, broken lines left out.
#[derive(Debug)]
pub struct TextExamples {
    classes: Vec<String>,
    parts: [PartExamples; 3],
    skipped: usize,
}

#[derive(Debug, Default)]
struct PartExamples {
    /// Number and kind of each token, as a network reads them.
    tokens: Vec<Vec<f32>>,
    digests: Vec<[u8; 32]>,
    labels: Vec<usize>,
}

/// What a recipe says of the columns of a table.
pub(crate) fn columns(recipe: &Recipe) -> TextOptions {
    TextOptions {
        text_column: recipe.text_column.clone(),
        label_columns: recipe.label_column.iter().cloned().collect(),
        ..TextOptions::default()
    }
}

impl TextExamples {
    /// Reads, splits and tokenizes the data set of a recipe; tells the observer what was left out, cut or looks wrong.
    ///
    /// # Errors
    /// [`Error::Data`] when there is nothing to learn from; [`Error::Recipe`] when texts have no single class.
    pub(crate) fn open(recipe: &Recipe, text: &PretrainedText, observer: &mut dyn Observer) -> Result<Self> {
        let mut set = layouts::open_text(&recipe.data, &columns(recipe))?;
        check_target(&set)?;
        if let Validation::Folder(path) = &recipe.validation {
            add_validation(&mut set, path, recipe)?;
        }
        let fraction = match recipe.validation {
            Validation::Fraction(fraction) => fraction,
            Validation::Folder(_) => 0.0,
        };
        let rule = SplitRule { validation: fraction, test: recipe.test, seed: recipe.seed };
        let assignment = copies::split(&set, &rule);
        for message in set.notes.iter().chain(&assignment.notes) {
            observer.event(&Event::Note { message: message.clone() });
        }
        let mut skipped = 0;
        for problem in &set.problems {
            match problem.outcome {
                Outcome::Skipped => {
                    skipped += 1;
                    let path = PathBuf::from(format!("{}:{}", problem.file.display(), problem.line));
                    observer.event(&Event::Skipped { path, reason: problem.what.clone() })
                }
                Outcome::Repaired => observer.event(&Event::Note { message: problem.to_string() }),
            };
        }
        let read = |example: &TextExample| text.reader.read(&example.text, example.pair.as_deref());
        let encoded: Vec<(Vec<f32>, usize)> = set.examples.par_iter().map(read).collect::<Result<_>>()?;
        let cut = encoded.iter().filter(|(_, cut)| *cut > 0).count();
        if cut > 0 {
            let (all, longest) = (set.examples.len(), text.reader.longest);
            let message =
                format!("{cut} of {all} texts are longer than {longest} tokens and are cut: see --max-tokens");
            observer.event(&Event::Note { message });
        }
        let mut parts: [PartExamples; 3] = Default::default();
        for ((example, (tokens, _)), split) in set.examples.iter().zip(encoded).zip(&assignment.splits) {
            let Target::Class(label) = example.target else { continue };
            let part = &mut parts[Part::from(*split).index()];
            part.digests.push(digest(&tokens, label));
            part.tokens.push(tokens);
            part.labels.push(label);
        }
        let examples = Self { classes: set.labels, parts, skipped };
        examples.check(&recipe.data)?;
        observer.event(&Event::Data {
            layout: set.layout.to_owned(),
            classes: examples.classes.clone(),
            train: examples.labels(Part::Train).len(),
            validation: examples.labels(Part::Validation).len(),
            test: examples.labels(Part::Test).len(),
            skipped,
        });
        Ok(examples)
    }

    pub(crate) fn classes(&self) -> &[String] {
        &self.classes
    }

    pub(crate) fn labels(&self, part: Part) -> &[usize] {
        &self.part(part).labels
    }

    pub(crate) fn digests(&self, part: Part) -> Vec<[u8; 32]> {
        self.part(part).digests.clone()
    }

    pub(crate) fn tokens(&self, part: Part, index: usize) -> &[f32] {
        &self.part(part).tokens[index]
    }

    pub(crate) fn skipped_count(&self) -> usize {
        self.skipped
    }

    fn part(&self, part: Part) -> &PartExamples {
        &self.parts[part.index()]
    }

    /// After broken lines are gone there must still be two classes to learn.
    fn check(&self, data: &Path) -> Result<()> {
        let missing = labels::without_example(&self.classes, self.labels(Part::Train));
        if self.classes.len() >= 2 && missing.is_empty() {
            return Ok(());
        }
        let reason = match missing.is_empty() {
            true => format!("`{}` has texts of {} class alone", data.display(), self.classes.len()),
            false => format!("`{}` has no training text of {}", data.display(), missing.join(", ")),
        };
        Err(Error::Recipe {
            reason,
            help: "give examples of at least two classes, some of each to learn from".to_owned(),
        })
    }
}

/// What an example is to a network: its tokens and its class.
fn digest(tokens: &[f32], label: usize) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(label as u64).to_le_bytes());
    tokens.iter().for_each(|value| {
        hasher.update(&value.to_le_bytes());
    });
    *hasher.finalize().as_bytes()
}

fn check_target(set: &TextSet) -> Result<()> {
    let what = match set.target {
        TargetKind::Class => return Ok(()),
        TargetKind::Labels => "several labels a text",
        TargetKind::Spans => "named stretches of text",
        TargetKind::Unlabeled => "no labels",
    };
    Err(Error::Recipe {
        reason: format!("`{}` has {what}; text_classification learns one class a text", set.root.display()),
        help: "give a table with a column of classes, and name it with --label-column where it is not found".to_owned(),
    })
}

/// Adds another data set's examples as validation; its classes must be among the training ones.
fn add_validation(set: &mut TextSet, path: &Path, recipe: &Recipe) -> Result<()> {
    let validation = layouts::open_text(path, &columns(recipe))?;
    check_target(&validation)?;
    let label_of = labels::positions(&validation.labels, &set.labels, "training class")?;
    for example in &mut set.examples {
        // What the data set itself calls validation is only that where no other was asked for.
        example.split = Some(match example.split {
            Some(Split::Test) => Split::Test,
            _ => Split::Train,
        });
    }
    let before = set.files.len();
    set.files.extend(validation.files);
    set.examples.extend(validation.examples.into_iter().map(|mut example| {
        if let Target::Class(label) = &mut example.target {
            *label = label_of[*label];
        }
        example.origin.file += before;
        example.split = Some(Split::Validation);
        example
    }));
    set.problems.extend(validation.problems);
    Ok(())
}
