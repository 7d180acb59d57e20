//! An image folder, scanned and split.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use headstart_data::augmentation::view_seed;
use headstart_data::image;
use headstart_data::layouts::{self, Listing, Split};
use headstart_data::preprocess::Preprocess;
use headstart_data::scan::{Scan, ScanMemo, scan};
use headstart_data::split::split;

use crate::error::{Error, Result};
use crate::labels;
use crate::recipe::{Recipe, Validation};
use crate::run::RunOptions;
use crate::tasks::watched::watched;
use crate::tasks::{Part, View, beside_validation};
use crate::train::observer::{Event, Observer, Work};

/// The examples of an image folder by part, those that cannot be read left out.
#[derive(Debug)]
pub struct ImageExamples {
    classes: Vec<String>,
    parts: [PartExamples; 3],
    skipped: usize,
}

#[derive(Debug, Default)]
struct PartExamples {
    paths: Vec<PathBuf>,
    digests: Vec<[u8; 32]>,
    labels: Vec<usize>,
}

impl ImageExamples {
    /// Opens, scans and splits the data set of a recipe; tells the observer what was left out and what looks wrong.
    ///
    /// # Errors
    /// [`Error::Data`] when there is nothing to learn from.
    pub(crate) fn open(recipe: &Recipe, options: &RunOptions, observer: &mut dyn Observer) -> Result<Self> {
        if recipe.data.as_os_str().is_empty() {
            // A published classifier that is kept as it is.
            return Ok(Self { classes: Vec::new(), parts: Default::default(), skipped: 0 });
        }
        let mut listing = layouts::open(&recipe.data)?;
        if let Validation::Folder(folder) = &recipe.validation {
            add_validation_folder(&mut listing, folder)?;
        }
        let scanned = watched_scan(&listing, options, observer)?;
        let rule = recipe.split_rule();
        let assignment = split(&scanned, &listing.classes, &rule);

        for message in listing.notes.iter().chain(&assignment.notes) {
            observer.event(&Event::Note { message: message.to_string() });
        }
        for skipped in listing.skipped.iter().chain(&scanned.skipped) {
            observer.event(&Event::Skipped { path: skipped.path.clone(), reason: skipped.reason.clone() });
        }
        let mut parts: [PartExamples; 3] = Default::default();
        for (scanned, split) in scanned.examples.iter().zip(&assignment.splits) {
            let part = &mut parts[Part::from(*split).index()];
            part.paths.push(scanned.example.path.clone());
            part.digests.push(scanned.digest);
            part.labels.push(scanned.example.label);
        }
        let examples = Self { classes: listing.classes, parts, skipped: listing.skipped.len() + scanned.skipped.len() };
        if !recipe.head.original {
            examples.check(&recipe.data)?;
        }
        observer.event(&Event::Data {
            layout: listing.layout.to_owned(),
            classes: examples.classes.clone(),
            train: examples.labels(Part::Train).len(),
            validation: examples.labels(Part::Validation).len(),
            test: examples.labels(Part::Test).len(),
            skipped: examples.skipped,
        });
        Ok(examples)
    }

    /// Renumbers the examples by the labels of a published classifier.
    pub(crate) fn adopt_labels(&mut self, labels: Vec<String>) -> Result<()> {
        let indices = self.classes.iter().map(|class| labels::find(&labels, class)).collect::<Result<Vec<usize>>>()?;
        for part in &mut self.parts {
            part.labels.iter_mut().for_each(|label| *label = indices[*label]);
        }
        self.classes = labels;
        Ok(())
    }

    pub(crate) fn classes(&self) -> &[String] {
        &self.classes
    }

    pub(crate) fn labels(&self, part: Part) -> &[usize] {
        &self.part(part).labels
    }

    pub(crate) fn digests(&self, part: Part) -> Vec<[u8; 32]> {
        // The label belongs to what an example is: a photo moved to another class is another example.
        let part = self.part(part);
        part.digests
            .iter()
            .zip(&part.labels)
            .map(|(digest, label)| *blake3::keyed_hash(digest, &(*label as u64).to_le_bytes()).as_bytes())
            .collect()
    }

    pub(crate) fn skipped_count(&self) -> usize {
        self.skipped
    }

    pub(crate) fn input(&self, part: Part, index: usize, preprocess: &Preprocess, view: View<'_>) -> Result<Vec<f32>> {
        let part = self.part(part);
        let picture = image::decode(&part.paths[index])?;
        Ok(match view.number {
            0 => preprocess.apply(&picture),
            number => {
                let seed = view_seed(view.seed, &part.digests[index], number);
                preprocess.apply_view(&picture, view.augmentation, seed)
            }
        })
    }

    fn part(&self, part: Part) -> &PartExamples {
        &self.parts[part.index()]
    }

    /// After bad files are gone there must still be two classes to learn.
    fn check(&self, data: &std::path::Path) -> Result<()> {
        let missing = labels::without_example(&self.classes, self.labels(Part::Train));
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::Recipe {
            reason: format!("`{}` has no readable training photo of {}", data.display(), missing.join(", ")),
            help: "add photos to the class or remove its folder".to_owned(),
        })
    }
}

/// Scans on other threads while this one tells the observer how far it is.
pub(crate) fn watched_scan(listing: &Listing, options: &RunOptions, observer: &mut dyn Observer) -> Result<Scan> {
    let memo = ScanMemo::open(options.cache.scan_memo());
    let (threads, stop) = (options.threads, options.stop.as_ref());
    let work = |done: &AtomicUsize| {
        scan(listing, threads, Some(&memo), stop, &|count, _| done.store(count, Ordering::Relaxed))
    };
    Ok(watched(Work::Scan, listing.examples.len(), observer, work)?)
}

/// Adds another folder's examples as validation; its classes must be among the training ones.
fn add_validation_folder(listing: &mut Listing, folder: &std::path::Path) -> Result<()> {
    let validation = layouts::open(folder)?;
    let label_of = labels::positions(&validation.classes, &listing.classes, "training class")?;
    for example in &mut listing.examples {
        example.split = beside_validation(example.split);
    }
    listing.examples.extend(validation.examples.into_iter().map(|mut example| {
        example.label = label_of[example.label];
        example.split = Some(Split::Validation);
        example
    }));
    listing.skipped.extend(validation.skipped);
    Ok(())
}
