//! Pictures with boxes, scanned and split, and the views of them that a detector learns from.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use headstart_data::augmentation::view_seed;
use headstart_data::boxes::scenes::{SceneRule, split_by_scene};
use headstart_data::boxes::views::Sample;
use headstart_data::boxes::{DetectionSet, Object};
use headstart_data::image::{self, RgbImage};
use headstart_data::layouts::{self, Split};
use headstart_data::split::split;

use super::DetectionRecipe;
use crate::error::{Error, Result};
use crate::labels;
use crate::load::detector::DetectorPlan;
use crate::random::Stream;
use crate::recipe::{Recipe, Validation};
use crate::run::RunOptions;
use crate::tasks::image_classification::data::watched_scan;
use crate::tasks::{Part, beside_validation};
use crate::train::observer::{Event, Observer};

/// Decoded pictures are kept where all of them take no more bytes than this.
const KEPT_BYTES: u64 = 1 << 30;

/// The pictures of a data set by part, those that cannot be read left out.
#[derive(Debug)]
pub(crate) struct DetectionExamples {
    classes: Vec<String>,
    parts: [PartExamples; 3],
    skipped: usize,
    keeps_pictures: bool,
}

#[derive(Debug, Default)]
struct PartExamples {
    pictures: Vec<PictureExample>,
}

#[derive(Debug)]
struct PictureExample {
    path: PathBuf,
    size: (u32, u32),
    objects: Vec<Object>,
    digest: [u8; 32],
    decoded: OnceLock<Arc<RgbImage>>,
}

impl DetectionExamples {
    /// Opens, scans and splits the data set of a recipe; `kept` are the labels of a published head that is kept.
    ///
    /// # Errors
    /// [`Error::Data`]; [`Error::UnknownName`] for a class that is not among the kept ones; [`Error::Recipe`] when there is
    /// nothing to learn from.
    pub(super) fn open(
        recipe: &Recipe,
        detection: &DetectionRecipe,
        kept: Option<Vec<String>>,
        options: &RunOptions,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        if let (true, Some(classes)) = (recipe.data.as_os_str().is_empty(), &kept) {
            let (parts, skipped, keeps_pictures) = (Default::default(), 0, false);
            return Ok(Self { classes: classes.clone(), parts, skipped, keeps_pictures });
        }
        let mut set = layouts::open_boxes(&recipe.data)?;
        if let Validation::Folder(folder) = &recipe.validation {
            add_validation(&mut set, folder)?;
        }
        let listing = set.listing();
        let scanned = watched_scan(&listing, options, observer)?;
        let rule = recipe.split_rule();
        let assignment = match detection.splits_by_scene {
            true => split_by_scene(&scanned, &rule, SceneRule::RunningNumber { gap: None }),
            // There is one "class" of pictures: boxes decide nothing here.
            false => split(&scanned, &["".to_owned()], &rule),
        };
        for message in listing.notes.iter().chain(&assignment.notes) {
            observer.event(&Event::Note { message: message.clone() });
        }
        for skipped in listing.skipped.iter().chain(&scanned.skipped) {
            observer.event(&Event::Skipped { path: skipped.path.clone(), reason: skipped.reason.clone() });
        }
        let classes = kept.unwrap_or_else(|| set.classes.clone());
        let class_of = labels::positions(&set.classes, &classes, "class of the published head")?;
        let mut parts: [PartExamples; 3] = Default::default();
        let mut pictures = set.pictures.iter().peekable();
        for (scanned, split) in scanned.examples.iter().zip(&assignment.splits) {
            // Both are in the order of the set; the scan left some out.
            let Some(picture) = pictures.find(|picture| picture.path == scanned.example.path) else { continue };
            let objects = picture.objects.iter().map(|object| Object { class: class_of[object.class], ..*object });
            parts[Part::from(*split).index()].pictures.push(PictureExample {
                path: picture.path.clone(),
                size: (picture.width, picture.height),
                objects: objects.collect(),
                digest: scanned.digest,
                decoded: OnceLock::new(),
            });
        }
        if let Some(most) = detection.most_pictures {
            let train = &mut parts[Part::Train.index()].pictures;
            let mut order: Vec<usize> = Stream::new(recipe.seed, "most pictures", &[])
                .permutation(train.len())
                .into_iter()
                .take(most)
                .collect();
            order.sort_unstable();
            let mut index = 0;
            train.retain(|_| {
                index += 1;
                order.binary_search(&(index - 1)).is_ok()
            });
        }
        let bytes = |part: &PartExamples| -> u64 {
            part.pictures.iter().map(|picture| 3 * u64::from(picture.size.0) * u64::from(picture.size.1)).sum()
        };
        let keeps_pictures = parts.iter().map(bytes).sum::<u64>() <= KEPT_BYTES;
        let skipped = listing.skipped.len() + scanned.skipped.len();
        let examples = Self { classes, parts, skipped, keeps_pictures };
        examples.check(recipe)?;
        observer.event(&Event::Data {
            layout: listing.layout.to_owned(),
            classes: examples.classes.clone(),
            train: examples.count(Part::Train),
            validation: examples.count(Part::Validation),
            test: examples.count(Part::Test),
            skipped,
        });
        Ok(examples)
    }

    fn check(&self, recipe: &Recipe) -> Result<()> {
        let learns = recipe.phases.iter().any(|phase| phase.epochs > 0);
        let train = &self.parts[Part::Train.index()].pictures;
        if learns && train.iter().all(|picture| picture.objects.is_empty()) {
            return Err(Error::Recipe {
                reason: format!("`{}` has no training picture with a box", recipe.data.display()),
                help: "give pictures with boxes in COCO's, Pascal VOC's or YOLO's layout".to_owned(),
            });
        }
        Ok(())
    }

    pub(super) fn classes(&self) -> &[String] {
        &self.classes
    }

    pub(super) fn count(&self, part: Part) -> usize {
        self.parts[part.index()].pictures.len()
    }

    pub(super) fn skipped_count(&self) -> usize {
        self.skipped
    }

    /// Width and height of a picture.
    pub(super) fn size(&self, part: Part, index: usize) -> (u32, u32) {
        self.parts[part.index()].pictures[index].size
    }

    /// The objects of a picture, in its pixels.
    pub(super) fn objects(&self, part: Part, index: usize) -> &[Object] {
        &self.parts[part.index()].pictures[index].objects
    }

    /// The objects of the plain picture, in pixels of the input.
    pub(super) fn placed_objects(&self, part: Part, index: usize, plan: &DetectorPlan) -> Vec<Object> {
        let picture = &self.parts[part.index()].pictures[index];
        let placement = plan.placement(picture.size);
        picture.objects.iter().map(|object| Object { place: placement.forward(&object.place), ..*object }).collect()
    }

    /// Widths and heights of the training boxes, in pixels of the input.
    pub(super) fn training_sizes(&self, plan: &DetectorPlan) -> Vec<[f64; 2]> {
        let all = (0..self.count(Part::Train)).flat_map(|index| self.placed_objects(Part::Train, index, plan));
        all.filter(|object| !object.is_crowd).map(|object| [object.place.width(), object.place.height()]).collect()
    }

    /// What each picture is, its boxes included.
    pub(super) fn digests(&self, part: Part) -> Vec<[u8; 32]> {
        let digest = |picture: &PictureExample| {
            let mut hasher = blake3::Hasher::new_keyed(&picture.digest);
            for object in &picture.objects {
                hasher.update(&(object.class as u64).to_le_bytes());
                object.place.sides().iter().for_each(|side| {
                    hasher.update(&side.to_le_bytes());
                });
                hasher.update(&[u8::from(object.is_crowd), u8::from(object.is_difficult)]);
            }
            *hasher.finalize().as_bytes()
        };
        self.parts[part.index()].pictures.iter().map(digest).collect()
    }

    fn sample(&self, part: Part, index: usize) -> Result<(Arc<RgbImage>, &[Object])> {
        let picture = &self.parts[part.index()].pictures[index];
        let decoded = match picture.decoded.get() {
            Some(decoded) => decoded.clone(),
            None => {
                let decoded = Arc::new(image::decode(&picture.path)?);
                if self.keeps_pictures {
                    let _ = picture.decoded.set(decoded.clone());
                }
                decoded
            }
        };
        Ok((decoded, &picture.objects))
    }

    /// A picture as the network sees it, its objects in pixels of the input: the plain one for `number` 0, else a view that is a
    /// function of picture, seed and number, perhaps with three neighbours.
    ///
    /// # Errors
    /// When the file changed or vanished since it was scanned.
    pub(super) fn view(
        &self,
        part: Part,
        index: usize,
        plan: &DetectorPlan,
        recipe: &DetectionRecipe,
        seed: u64,
        number: u32,
    ) -> Result<Sample> {
        let (picture, objects) = self.sample(part, index)?;
        if number == 0 {
            return Ok(Sample { picture: plan.letterboxed(&picture), objects: self.placed_objects(part, index, plan) });
        }
        let (width, height) = (plan.input[1], plan.input[0]);
        let view = view_seed(seed, &self.parts[part.index()].pictures[index].digest, number);
        let mut draws = Stream::new(view, "mosaic", &[]);
        let whole = |(picture, objects): (Arc<RgbImage>, &[Object])| Sample {
            picture: (*picture).clone(),
            objects: objects.to_vec(),
        };
        let first = whole((picture, objects));
        if draws.unit() >= recipe.mosaic {
            return Ok(recipe.augmentation.view(&first, width, height, view));
        }
        let mut others = Vec::with_capacity(3);
        for _ in 0..3 {
            others.push(whole(self.sample(part, draws.below(self.count(part)))?));
        }
        let four = [&first, &others[0], &others[1], &others[2]];
        Ok(recipe.augmentation.mosaic_view(four, width, height, view))
    }
}

/// Adds another data set's pictures as validation; its classes must be among the training ones.
fn add_validation(set: &mut DetectionSet, folder: &std::path::Path) -> Result<()> {
    let validation = layouts::open_boxes(folder)?;
    let class_of = labels::positions(&validation.classes, &set.classes, "training class")?;
    for picture in &mut set.pictures {
        picture.split = beside_validation(picture.split);
    }
    set.pictures.extend(validation.pictures.into_iter().map(|mut picture| {
        picture.objects.iter_mut().for_each(|object| object.class = class_of[object.class]);
        picture.split = Some(Split::Validation);
        picture
    }));
    set.problems.extend(validation.problems);
    Ok(())
}
