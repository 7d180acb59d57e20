//! What tasks on texts share: a data set read, split and told of.

use std::path::{Path, PathBuf};

use headstart_data::layouts::{self, Split};
use headstart_data::text::{Outcome, Target, TargetKind, TextOptions, TextSet, copies};

use crate::error::{Error, Result};
use crate::labels;
use crate::recipe::{Recipe, Validation};
use crate::tasks::beside_validation;
use crate::train::observer::{Event, Observer};

/// A data set of texts with the part of each example.
#[derive(Debug)]
pub(crate) struct SplitTexts {
    pub(crate) set: TextSet,
    pub(crate) splits: Vec<Split>,
    /// Broken places that were left out.
    pub(crate) skipped: usize,
}

/// What a recipe says of the columns of a table.
pub(crate) fn columns(recipe: &Recipe) -> TextOptions {
    TextOptions {
        text_column: recipe.text_column.clone(),
        label_columns: recipe.label_column.iter().cloned().collect(),
        ..TextOptions::default()
    }
}

impl SplitTexts {
    /// Reads and splits the data set of a recipe; tells the observer what was left out or looks wrong. `check` refuses what the
    /// task cannot learn.
    ///
    /// # Errors
    /// [`Error::Data`] when there is nothing to learn from; of `check`; when validation data have other labels.
    pub(crate) fn open(
        recipe: &Recipe,
        check: &dyn Fn(&TextSet) -> Result<()>,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let mut set = layouts::open_text(&recipe.data, &columns(recipe))?;
        check(&set)?;
        if let Validation::Folder(path) = &recipe.validation {
            add_validation(&mut set, path, recipe, check)?;
        }
        let rule = recipe.split_rule();
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
        Ok(Self { set, splits: assignment.splits, skipped })
    }

    /// Says how many texts were cut.
    pub(crate) fn tell_cut(&self, cut: usize, longest: usize, observer: &mut dyn Observer) {
        if cut > 0 {
            let all = self.set.examples.len();
            let message =
                format!("{cut} of {all} texts are longer than {longest} tokens and are cut: see --max-tokens");
            observer.event(&Event::Note { message });
        }
    }

    /// Says what the data set is; `classes` are what is told apart.
    pub(crate) fn tell(&self, classes: &[String], observer: &mut dyn Observer) {
        let count = |wanted| self.splits.iter().filter(|split| **split == wanted).count();
        observer.event(&Event::Data {
            layout: self.set.layout.to_owned(),
            classes: classes.to_vec(),
            train: count(Split::Train),
            validation: count(Split::Validation),
            test: count(Split::Test),
            skipped: self.skipped,
        });
    }
}

/// Refuses a data set whose examples are labelled otherwise than the task `name` learns.
pub(crate) fn check_target(set: &TextSet, wanted: &[TargetKind], name: &str) -> Result<()> {
    if wanted.contains(&set.target) {
        return Ok(());
    }
    let what = match set.target {
        TargetKind::Class => "one class a text",
        TargetKind::Labels => "several labels a text",
        TargetKind::Spans => "named stretches of text",
        TargetKind::Unlabeled => "no labels",
    };
    let help = match set.target {
        TargetKind::Unlabeled => "name the column of the labels with --label-column".to_owned(),
        _ => "leave --task out: the task is found from the data".to_owned(),
    };
    Err(Error::Recipe { reason: format!("`{}` has {what}, which {name} does not learn", set.root.display()), help })
}

/// Adds another data set's examples as validation; its labels must be among the training ones.
fn add_validation(
    set: &mut TextSet,
    path: &Path,
    recipe: &Recipe,
    check: &dyn Fn(&TextSet) -> Result<()>,
) -> Result<()> {
    let validation = layouts::open_text(path, &columns(recipe))?;
    check(&validation)?;
    let label_of = labels::positions(&validation.labels, &set.labels, "training class")?;
    for example in &mut set.examples {
        example.split = beside_validation(example.split);
    }
    let before = set.files.len();
    set.files.extend(validation.files);
    set.examples.extend(validation.examples.into_iter().map(|mut example| {
        renumber(&mut example.target, &label_of);
        example.origin.file += before;
        example.split = Some(Split::Validation);
        example
    }));
    set.problems.extend(validation.problems);
    Ok(())
}

/// Numbers of another list of labels.
pub(crate) fn renumber(target: &mut Target, label_of: &[usize]) {
    match target {
        Target::Class(label) => *label = label_of[*label],
        Target::Labels(labels) => {
            labels.iter_mut().for_each(|label| *label = label_of[*label]);
            labels.sort_unstable();
        }
        Target::Spans(spans) => spans.iter_mut().for_each(|span| span.label = label_of[span.label]),
        Target::Unlabeled => {}
    }
}
