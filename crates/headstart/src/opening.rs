//! What a recipe names, opened: the weights, their published classifier where it is asked for, and the data set.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use crate::embedded;
use crate::error::Result;
use crate::hub;
use crate::labels;
use crate::load::{self, Pretrained};
use crate::model::{FrozenBackbone, frozen_depth};
use crate::name_map::{Classifier, no_classifier};
use crate::parameters::Parameters;
use crate::recipe::Recipe;
use crate::run::RunOptions;
use crate::tasks::Task;
use crate::train::observer::{Event, Observer};

/// Everything that a run, an extraction or a range test begins with.
pub(crate) struct Opened<T> {
    /// The recipe with the head that a published classifier decides.
    pub(crate) recipe: Recipe,
    pub(crate) pretrained: Pretrained,
    pub(crate) task: T,
    /// BLAKE3 of the weights, those of a classifier that learns on included.
    pub(crate) weights_digest: String,
    /// The head before any training, under `head.`: the published one, or random values.
    pub(crate) untrained: Parameters,
}

impl<T: Task> Opened<T> {
    /// Opens weights and data; what is misspelt is told before any work.
    ///
    /// # Errors
    /// Of loading, of the data set, of a stage or classifier that is not there.
    pub(crate) fn open(recipe: &Recipe, options: &RunOptions, observer: &mut dyn Observer) -> Result<Self> {
        let (mut pretrained, file) = open_weights(recipe, &options.stop, observer)?;
        let (recipe, original) = with_classifier(recipe, &mut pretrained, file.as_deref())?;
        for phase in &recipe.phases {
            frozen_depth(&pretrained, &phase.freeze)?;
        }
        let task = open_task::<T>(&recipe, original.as_ref(), options, observer)?;
        let weights_digest = weights_digest(&pretrained, original.as_ref());
        let untrained = first_head(&task, &recipe, &pretrained, original)?.with_prefix("head.");
        Ok(Self { recipe, pretrained, task, weights_digest, untrained })
    }
}

/// The weights that a recipe asks for, at the input size that it asks for, and the file that they lie in, if they do.
fn open_weights(
    recipe: &Recipe,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<(Pretrained, Option<PathBuf>)> {
    let backbone = recipe.backbone.as_deref();
    let (mut pretrained, file) = match recipe.weights.as_deref() {
        Some("random") => {
            let (spec, variant) = crate::backbones::find(backbone.unwrap_or("mobilenet_v2:0.35"))?;
            (Pretrained::random(spec, variant.unwrap_or(&spec.variants[0]), recipe.seed), None)
        }
        Some(reference) if reference.starts_with(hub::PREFIX) => {
            let (pretrained, file) = hub::open(reference, backbone, stop, observer)?;
            (pretrained, Some(file))
        }
        None if let Some(name) = backbone => hub::open_by_name(name, stop, observer)?,
        None | Some(embedded::NAME) => {
            let pretrained = embedded::load()?;
            if let Some((spec, variant)) = backbone.map(crate::backbones::find).transpose()? {
                hub::check_embedded(&pretrained, spec, variant)?;
            }
            (pretrained, None)
        }
        Some(path) => (load::load(Path::new(path), backbone)?, Some(path.into())),
    };
    if let Some(size) = recipe.input_size {
        pretrained.resize_input(size)?;
    }
    for name in pretrained.unused.iter().take(3) {
        observer
            .event(&Event::Note { message: format!("`{}` also holds `{name}`, which is not used", pretrained.source) });
    }
    observer.event(&Event::Backbone {
        name: pretrained.spec.name.to_owned(),
        variant: pretrained.variant.name.to_owned(),
        family: pretrained.conventions.family.clone(),
        source: pretrained.source.clone(),
        parameters: pretrained.parameters.value_count(),
        input_size: pretrained.conventions.preprocess.width,
    });
    Ok((pretrained, file))
}

/// The published classifier, where the recipe asks for it: as the head to begin with, which decides the head's pooling and
/// hidden layers, or as a part of the frozen network.
fn with_classifier(
    recipe: &Recipe,
    pretrained: &mut Pretrained,
    file: Option<&Path>,
) -> Result<(Recipe, Option<Classifier>)> {
    let mut recipe = recipe.clone();
    if !recipe.head.needs_classifier() {
        return Ok((recipe, None));
    }
    let Some(file) = file else {
        let reason = "it was made without one; name a weight file with --weights FILE".to_owned();
        return Err(no_classifier(Path::new(&pretrained.source), reason));
    };
    let classifier = load::load_classifier(file, recipe.backbone.as_deref())?;
    if recipe.head.original {
        recipe.head.pool = classifier.pool;
        recipe.head.hidden.clone_from(&classifier.hidden);
        return Ok((recipe, Some(classifier)));
    }
    pretrained.classifier = Some(classifier);
    Ok((recipe, None))
}

/// The data set; under a published classifier its folders are called like the classifier's labels.
fn open_task<T: Task>(
    recipe: &Recipe,
    original: Option<&Classifier>,
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<T> {
    let Some(original) = original else { return T::open(recipe, options, observer) };
    let labels = match (&original.labels, &recipe.labels) {
        (Some(labels), None) => labels.clone(),
        (_, file) => labels::of_outputs(original.classes, file.as_deref())?,
    };
    let mut task = T::open(recipe, options, observer)?;
    task.adopt_labels(labels)?;
    Ok(task)
}

fn weights_digest(pretrained: &Pretrained, original: Option<&Classifier>) -> String {
    match original {
        None => pretrained.digest(),
        Some(original) => {
            let both = pretrained.digest() + &original.parameters.digest();
            blake3::hash(both.as_bytes()).to_hex().to_string()
        }
    }
}

fn first_head<T: Task>(
    task: &T,
    recipe: &Recipe,
    pretrained: &Pretrained,
    original: Option<Classifier>,
) -> Result<Parameters> {
    let frozen = FrozenBackbone::new(pretrained, &pretrained.parameters)?;
    if let Some(original) = original {
        frozen.check_classifier(&original, pretrained.spec.input_size)?;
        return Ok(original.parameters);
    }
    let layout = frozen.layout(frozen.stage_count(), recipe.head.pool);
    Ok(Parameters::initialize(&task.head_parameters(&recipe.head, layout), recipe.seed))
}
