//! What a recipe names, opened: the weights, their published classifier where it is asked for, and the data set.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use crate::backbones::retinanet;
use crate::embedded;
use crate::error::{Error, Result};
use crate::hub;
use crate::labels;
use crate::load::{self, Pretrained, PretrainedDetector, PretrainedSpeech, PretrainedText};
use crate::name_map::{Classifier, no_classifier};
use crate::network::Network;
use crate::parameters::Parameters;
use crate::recipe::{Arithmetic, Freeze, Recipe};
use crate::run::RunOptions;
use crate::tasks::{Reads, Task};
use crate::train::observer::{Event, Observer};

/// Everything that a run, an extraction or a range test begins with.
pub(crate) struct Opened<T> {
    /// The recipe with the head that a published classifier decides.
    pub(crate) recipe: Recipe,
    pub(crate) network: Network,
    pub(crate) task: T,
    /// BLAKE3 of the weights, those of a classifier that learns on included.
    pub(crate) weights_digest: String,
    /// The head before any training, under `head.`: the published one, or random values. Adapters, if there are to be any,
    /// under `backbone.`.
    pub(crate) untrained: Parameters,
}

impl<T: Task> Opened<T> {
    /// Opens weights and data; what is misspelt is told before any work.
    ///
    /// # Errors
    /// Of loading, of the data set, of a stage or classifier that is not there.
    pub(crate) fn open(recipe: &Recipe, options: &RunOptions, observer: &mut dyn Observer) -> Result<Self> {
        let (mut network, recipe, original) = match T::READS {
            Reads::Pictures => {
                if recipe.lora.is_some() {
                    return Err(wrong("adapters stand on the attention of a transformer", "leave --lora out"));
                }
                let (mut pretrained, file) = open_weights(recipe, &options.stop, observer)?;
                let (recipe, original) = with_classifier(recipe, &mut pretrained, file.as_deref())?;
                (Network::Pictures(Box::new(pretrained)), recipe, original)
            }
            Reads::Speech => {
                let speech = open_speech(recipe)?;
                (Network::Speech(Box::new(speech)), recipe.clone(), None)
            }
            Reads::Objects => (Network::Detector(Box::new(open_detector(recipe)?)), recipe.clone(), None),
            Reads::Text => (Network::Text(Box::new(open_text(recipe, &options.stop, observer)?)), recipe.clone(), None),
        };
        tell(&network, observer);
        for phase in &recipe.phases {
            network.frozen_depth(&phase.freeze)?;
        }
        let task = open_task::<T>(&recipe, &network, original.as_ref(), options, observer)?;
        task.adapt_network(&mut network);
        let recipe = Recipe { head: task.head_recipe(&recipe.head)?, ..recipe };
        let weights_digest = weights_digest(&network, original.as_ref());
        let mut untrained = first_head(&task, &recipe, &network, original, observer)?.with_prefix("head.");
        if let (Some(lora), Network::Text(text)) = (&recipe.lora, &network) {
            let adapters = Parameters::initialize(&lora.parameters(&text.transformer.shape), recipe.seed);
            untrained.extend(adapters.with_prefix("backbone."));
        }
        Ok(Self { recipe, network, task, weights_digest, untrained })
    }
}

fn wrong(reason: &str, help: &str) -> Error {
    Error::Recipe { reason: reason.to_owned(), help: help.to_owned() }
}

/// The transformer that a recipe asks for.
fn open_text(recipe: &Recipe, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<PretrainedText> {
    if recipe.head.needs_classifier() {
        return Err(wrong("a transformer has no published classifier here", "write --head linear or first+mlp:256"));
    }
    if recipe.input_size.is_some() {
        return Err(wrong(
            "an input size is of pictures, and the data are texts",
            "leave --size out; --max-tokens is for texts",
        ));
    }
    if recipe.phases.iter().any(|phase| phase.freeze == Freeze::Auto) {
        return Err(wrong(
            "the depth is chosen by itself for pictures only",
            "write --fine-tune 3, or --freeze with a layer of `headstart list backbones --stages`",
        ));
    }
    if recipe.views > 1 {
        return Err(wrong("views are of pictures, and the data are texts", "leave --views out"));
    }
    match recipe.weights.as_deref() {
        None | Some(embedded::NAME) => embedded::load_text(recipe.max_tokens),
        Some("random") => Ok(embedded::load_text(recipe.max_tokens)?.untrained(recipe.seed)),
        Some(reference) if reference.starts_with(hub::PREFIX) => {
            hub::open_text(reference, recipe.max_tokens, stop, observer)
        }
        Some(reference) => match reference.strip_prefix("random:") {
            Some(folder) => Ok(load::load_text(Path::new(folder), recipe.max_tokens)?.untrained(recipe.seed)),
            None => match crate::bundle::read::pretrained_text(Path::new(reference), recipe.max_tokens)? {
                Some(text) => Ok(text),
                None => load::load_text(Path::new(reference), recipe.max_tokens),
            },
        },
    }
}

/// The network of recordings that a recipe asks for.
fn open_speech(recipe: &Recipe) -> Result<PretrainedSpeech> {
    if recipe.lora.is_some() {
        return Err(wrong("adapters stand on the attention of a transformer", "leave --lora out"));
    }
    if recipe.head.needs_classifier() {
        return Err(wrong(
            "the layer that writes letters is kept by itself",
            "write --head linear: letters that the network knows begin as they are",
        ));
    }
    if recipe.input_size.is_some() || recipe.max_tokens.is_some() {
        return Err(wrong(
            "sizes of pictures and texts say nothing of recordings",
            "leave --size and --max-tokens out",
        ));
    }
    if recipe.phases.iter().any(|phase| phase.freeze == Freeze::Auto) {
        return Err(wrong(
            "the depth is chosen by itself for pictures only",
            "write --fine-tune 10, or --freeze with a layer: layer_1, layer_2, layer_3, lstm, layer_5",
        ));
    }
    let backbone = recipe.backbone.as_deref();
    let load = |path: &str| -> Result<PretrainedSpeech> {
        match crate::bundle::read::pretrained_speech(Path::new(path))? {
            Some(speech) => Ok(speech),
            None => load::load_speech(Path::new(path), None),
        }
    };
    let speech = match recipe.weights.as_deref() {
        None | Some("random") => return PretrainedSpeech::random(backbone, recipe.seed),
        Some(reference) if reference.starts_with(hub::PREFIX) || reference == embedded::NAME => {
            return Err(wrong(
                "no network of recordings is found by that name",
                "give a DeepSpeech checkpoint, a frozen graph (.pb, .pbmm) or a bundle with --weights FILE",
            ));
        }
        Some(reference) => match reference.strip_prefix("random:") {
            Some(path) => return Ok(load(path)?.untrained(recipe.seed)),
            None => load(reference)?,
        },
    };
    speech.without_last(recipe.speech.drop_source_layers, recipe.seed)
}

/// The detector that a recipe asks for, at the input size that it asks for.
fn open_detector(recipe: &Recipe) -> Result<PretrainedDetector> {
    if recipe.lora.is_some() {
        return Err(wrong("adapters stand on the attention of a transformer", "leave --lora out"));
    }
    if recipe.phases.iter().any(|phase| phase.freeze == Freeze::Auto) {
        return Err(wrong(
            "the depth is chosen by itself for classes of pictures only",
            "write --freeze all, none, or a stage of the network",
        ));
    }
    // What is no detector carries a RetinaNet.
    let on_embedded = || load::detector::retinanet_on(&embedded::load()?, retinanet::WIDTHS.1, None, recipe.seed);
    let mut detector = match recipe.weights.as_deref() {
        None | Some(embedded::NAME) => on_embedded()?,
        Some("random") => on_embedded()?.untrained(recipe.seed),
        Some(weights) => match weights.strip_prefix("random:") {
            Some(path) => load::load_detector(Path::new(path))?.untrained(recipe.seed),
            None => load::load_detector(Path::new(weights))?,
        },
    };
    if let Some(size) = recipe.input_size {
        detector.plan.resize_input(size)?;
    }
    Ok(detector)
}

/// What was loaded.
fn tell(network: &Network, observer: &mut dyn Observer) {
    for name in network.unused().iter().take(3) {
        observer
            .event(&Event::Note { message: format!("`{}` also holds `{name}`, which is not used", network.source()) });
    }
    if let Network::Speech(speech) = network {
        for message in &speech.notes {
            observer.event(&Event::Note { message: message.clone() });
        }
    }
    let (family, input_size, max_tokens) = match network {
        Network::Pictures(pretrained) => {
            (pretrained.conventions.family.clone(), Some(pretrained.conventions.preprocess.width), None)
        }
        Network::Text(text) => (text.transformer.family.family.to_owned(), None, Some(text.reader.longest)),
        Network::Speech(speech) => (speech.family.to_owned(), None, None),
        Network::Detector(detector) => (detector.plan.name.clone(), Some(detector.plan.input[1]), None),
    };
    observer.event(&Event::Backbone {
        name: network.name().to_owned(),
        variant: network.variant(),
        family,
        source: network.source().to_owned(),
        parameters: network.parameters().value_count(),
        input_size,
        max_tokens,
    });
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
    network: &Network,
    original: Option<&Classifier>,
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<T> {
    let Some(original) = original else { return T::open(recipe, network, options, observer) };
    let labels = match (&original.labels, &recipe.labels) {
        (Some(labels), None) => labels.clone(),
        (_, file) => labels::of_outputs(original.classes, file.as_deref())?,
    };
    let mut task = T::open(recipe, network, options, observer)?;
    task.adopt_labels(labels)?;
    Ok(task)
}

fn weights_digest(network: &Network, original: Option<&Classifier>) -> String {
    match original {
        None => network.digest(),
        Some(original) => {
            let both = network.digest() + &original.parameters.digest();
            blake3::hash(both.as_bytes()).to_hex().to_string()
        }
    }
}

fn first_head<T: Task>(
    task: &T,
    recipe: &Recipe,
    network: &Network,
    original: Option<Classifier>,
    observer: &mut dyn Observer,
) -> Result<Parameters> {
    let frozen = network.frozen(network.parameters(), Arithmetic::F32)?;
    if let Some(original) = original {
        frozen.pictures()?.check_classifier(&original, network.pictures()?.spec.input_size)?;
        return Ok(original.parameters);
    }
    let layout = frozen.layout(frozen.stage_count(), recipe.head.pool);
    let random = Parameters::initialize(&task.head_parameters(&recipe.head, layout), recipe.seed);
    task.begin_head(network, random, observer)
}
