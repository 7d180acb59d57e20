//! Scoring a bundle on labelled data that it has not seen.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use headstart_data::layouts::{self, Split};
use headstart_data::text::{Outcome, Target};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
use crate::bundle::predict::Unreadable;
use crate::error::{Error, Result};
use crate::labels;
use crate::tasks::image_classification::metrics::ClassificationMetrics;
use crate::tasks::text_classification::columns;

/// What a name is that the bundle does not know.
const KIND: &str = "class of the bundle";

/// Scores of a bundle on a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// All metrics.
    pub metrics: ClassificationMetrics,
    /// Class names in the order of the bundle's outputs.
    pub labels: Vec<String>,
    /// Photos or texts that were scored.
    pub examples: usize,
    /// Files that were left out.
    pub skipped: Vec<Unreadable>,
}

/// Scores a bundle on a data set of its kind: on its test part if it has one, else on the validation part, else on all of it.
///
/// # Errors
/// [`Error::UnknownName`] when the data has a class that the bundle does not know; [`Error::Data`].
pub fn evaluate(
    bundle: &Bundle,
    data: &Path,
    threads: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Evaluation> {
    if bundle.reads_text() {
        return evaluate_texts(bundle, data, threads, progress);
    }
    let listing = layouts::open(data)?;
    let labels = &bundle.manifest().labels;
    let is_original = bundle.manifest().recipe.head.original;
    let label_of = match bundle.manifest().recipe.head.original {
        true => listing.classes.iter().map(|class| labels::find(labels, class)).collect::<Result<Vec<usize>>>()?,
        false => labels::positions(&listing.classes, labels, KIND)?,
    };
    let held_out = held_out(listing.examples.iter().map(|example| example.split));
    let examples: Vec<_> =
        listing.examples.iter().filter(|example| held_out.is_none() || example.split == held_out).collect();

    let done = AtomicUsize::new(0);
    let results: Vec<Result<Vec<f32>>> = crate::run::thread_pool(threads)?.install(|| {
        examples
            .par_iter()
            .map(|example| {
                let probabilities = bundle.probabilities_of(&example.path);
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, examples.len());
                probabilities
            })
            .collect()
    });
    let mut skipped: Vec<Unreadable> = listing
        .skipped
        .iter()
        .map(|skipped| Unreadable { path: skipped.path.clone(), reason: skipped.reason.clone() })
        .collect();
    let (mut probabilities, mut truth) = (Vec::new(), Vec::new());
    for (example, result) in examples.iter().zip(results) {
        match result {
            Ok(row) => {
                probabilities.extend(row);
                truth.push(label_of[example.label]);
            }
            Err(error) => skipped.push(Unreadable { path: example.path.clone(), reason: error.to_string() }),
        }
    }
    if truth.is_empty() {
        return Err(Error::Recipe {
            reason: format!("`{}` has no readable photo to score", data.display()),
            help: "give a folder with a folder of photos for each class".to_owned(),
        });
    }
    let metrics = ClassificationMetrics::from_probabilities(&probabilities, &truth, labels.len())
        .expect("softmax of finite outputs, one row a label");
    let metrics = if is_original { metrics.of_seen_classes() } else { metrics };
    Ok(Evaluation { metrics, labels: labels.clone(), examples: truth.len(), skipped })
}

/// The part that is scored; all of the data where it has none of these.
fn held_out(splits: impl Iterator<Item = Option<Split>> + Clone) -> Option<Split> {
    [Split::Test, Split::Validation].into_iter().find(|&part| splits.clone().any(|split| split == Some(part)))
}

fn evaluate_texts(
    bundle: &Bundle,
    data: &Path,
    threads: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Evaluation> {
    let set = layouts::open_text(data, &columns(&bundle.manifest().recipe))?;
    let labels = &bundle.manifest().labels;
    let label_of = labels::positions(&set.labels, labels, KIND)?;
    let held_out = held_out(set.examples.iter().map(|example| example.split));
    let examples: Vec<(&str, usize)> = set
        .examples
        .iter()
        .filter(|example| held_out.is_none() || example.split == held_out)
        .filter_map(|example| match example.target {
            Target::Class(label) => Some((example.text.as_str(), label_of[label])),
            _ => None,
        })
        .collect();
    if examples.is_empty() {
        return Err(Error::Recipe {
            reason: format!("`{}` has no text with a class to score", data.display()),
            help: "give a table with a column of texts and one of classes".to_owned(),
        });
    }
    let done = AtomicUsize::new(0);
    let rows: Vec<Vec<f32>> = crate::run::thread_pool(threads)?.install(|| {
        examples
            .par_iter()
            .map(|(text, _)| {
                let probabilities = bundle.predictor.text_probabilities(text);
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, examples.len());
                Ok(probabilities?.0)
            })
            .collect::<Result<_>>()
    })?;
    let truth: Vec<usize> = examples.iter().map(|(_, label)| *label).collect();
    let metrics = ClassificationMetrics::from_probabilities(&rows.concat(), &truth, labels.len())
        .expect("softmax of finite outputs, one row a label");
    let skipped = set.problems.iter().filter(|problem| problem.outcome == Outcome::Skipped);
    let skipped =
        skipped.map(|problem| Unreadable { path: problem.file.clone(), reason: problem.to_string() }).collect();
    Ok(Evaluation { metrics, labels: labels.clone(), examples: truth.len(), skipped })
}
