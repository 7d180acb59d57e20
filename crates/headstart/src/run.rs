//! ★ The straight line: recipe → data → weights → phases (extract → fit) → evaluate → bundle. The only file that sees
//! every room.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::bundle::manifest::{BundledBackbone, CLASSIFIER, Examples, FORMAT, Manifest, Scores};
use crate::bundle::write::write;
use crate::cache::extract::{self, Times};
use crate::cache::{CacheFolder, key::examples_digest};
use crate::embedded;
use crate::error::{Error, Result};
use crate::labels;
use crate::load::{self, Pretrained};
use crate::model::{FrozenBackbone, Model, frozen_depth, trainable};
use crate::name_map::{Classifier, no_classifier};
use crate::parameters::Parameters;
use crate::recipe::{Freeze, Phase, Recipe};
use crate::sources::Sources;
use crate::tasks::image_classification::metrics::ClassificationMetrics;
use crate::tasks::{self, Part, Task};
use crate::train::checkpoint::{Position, TrainingState};
use crate::train::evaluate::evaluate;
use crate::train::fit::{Objective, PhaseContext};
use crate::train::observer::{Event, Observer};

/// How a run is carried out; none of it changes the result.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The bundle to write.
    pub out: PathBuf,
    /// Worker threads.
    pub threads: usize,
    /// Where features are kept.
    pub cache: CacheFolder,
    /// Go on from the state that an interrupted run of the same recipe left beside the bundle.
    pub resume: bool,
    /// Set it to stop at the next safe point.
    pub stop: Arc<AtomicBool>,
}

impl RunOptions {
    /// All cores, the user's cache folder, no resuming.
    pub fn new(out: impl Into<PathBuf>) -> Self {
        Self {
            out: out.into(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            cache: CacheFolder::from_environment(),
            resume: false,
            stop: Arc::new(AtomicBool::new(false)),
        }
    }
}

/// What a run gives back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Task.
    pub task: String,
    /// Architecture and size.
    pub backbone: String,
    /// Scores on the validation examples.
    pub metrics: Option<ClassificationMetrics>,
    /// Scores on the test examples.
    pub test_metrics: Option<ClassificationMetrics>,
    /// Where the time went.
    pub seconds: Seconds,
    /// Numbers of examples.
    pub examples: Examples,
    /// Class names in the order of the outputs.
    pub labels: Vec<String>,
    /// The file that was written.
    pub bundle: PathBuf,
}

/// Wall-clock seconds; decoding and extracting share theirs in proportion to the work of all threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// The whole run.
    pub total: f64,
    /// Reading and checking every file once.
    pub scan: f64,
    /// Decoding and preprocessing for the frozen stages.
    pub decode: f64,
    /// The frozen stages.
    pub extract: f64,
    /// Epochs.
    pub fit: f64,
}

/// What `extract` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extracted {
    /// Shards of this part.
    pub shards: usize,
    /// Those that were there already.
    pub finished_before: usize,
    /// Shards of all parts.
    pub total: usize,
}

/// Runs a recipe: finds the task, trains, evaluates, writes the bundle.
///
/// # Errors
/// Anything from [`Error`]; [`Error::Interrupted`] when `options.stop` was set.
pub fn run(recipe: &Recipe, options: &RunOptions, observer: &mut dyn Observer) -> Result<Report> {
    let task = tasks::find(recipe.task.as_deref(), &recipe.data)?;
    (task.run)(recipe, options, observer)
}

/// Computes part `index` of `count` of the features that the first frozen phase of a recipe needs.
///
/// # Errors
/// As [`run`].
pub fn extract(
    recipe: &Recipe,
    options: &RunOptions,
    index: usize,
    count: usize,
    observer: &mut dyn Observer,
) -> Result<Extracted> {
    let task = tasks::find(recipe.task.as_deref(), &recipe.data)?;
    (task.extract)(recipe, options, index, count, observer)
}

pub(crate) fn run_task<T: Task>(recipe: &Recipe, options: &RunOptions, observer: &mut dyn Observer) -> Result<Report> {
    recipe.check()?;
    thread_pool(options.threads)?.install(|| straight_line::<T>(recipe, options, observer))
}

fn straight_line<T: Task>(recipe: &Recipe, options: &RunOptions, observer: &mut dyn Observer) -> Result<Report> {
    let started = Instant::now();
    let mut seconds = Seconds::default();
    let mut pretrained = open_weights(recipe, observer)?;
    let (recipe, original) = with_classifier(recipe, &mut pretrained)?;
    let recipe = &recipe;
    for phase in &recipe.phases {
        frozen_depth(&pretrained, &phase.freeze)?; // a misspelt stage is told before any work
    }
    let task = open_task::<T>(recipe, original.as_ref(), options, observer)?;
    seconds.scan = started.elapsed().as_secs_f64();

    let data_digest = data_digest(&task);
    let weights_digest = weights_digest(&pretrained, original.as_ref());
    let run = RunFolder::new(&options.out, recipe, &weights_digest, &data_digest);
    let mut state = match options.resume.then(|| run.read()).transpose()?.flatten() {
        Some(state) => state,
        None => TrainingState::new(first_head(&task, recipe, &pretrained, original)?.with_prefix("head.")),
    };
    for (index, phase) in recipe.phases.iter().enumerate().skip(state.position.phase) {
        run_phase(&task, recipe, options, &pretrained, index, phase, &run, &mut state, &mut seconds, observer)?;
    }

    let trained = if recipe.keep_best && state.best_score.is_some() { &state.best } else { &state.model };
    let mut backbone = pretrained.parameters.clone();
    backbone.extend(trained.strip_prefix("backbone."));
    let head = trained.strip_prefix("head.");
    let scores = Scores {
        validation: score(&task, recipe, options, &pretrained, &backbone, &head, Part::Validation)?,
        test: score(&task, recipe, options, &pretrained, &backbone, &head, Part::Test)?,
    };
    let count = |part| task.digests(part).len();
    let examples = Examples {
        train: count(Part::Train),
        validation: count(Part::Validation),
        test: count(Part::Test),
        skipped: task.skipped_count(),
    };
    let manifest = Manifest {
        format: FORMAT,
        written_by: concat!("headstart ", env!("CARGO_PKG_VERSION")).to_owned(),
        task: recipe.task.clone().unwrap_or_else(|| T::NAME.to_owned()),
        labels: task.labels().to_vec(),
        backbone: BundledBackbone {
            name: pretrained.spec.name.to_owned(),
            variant: pretrained.variant.name.to_owned(),
            conventions: pretrained.conventions.clone(),
            source: pretrained.source.clone(),
            pretrained_digest: weights_digest,
            licence: pretrained.licence.clone(),
            classifier: pretrained.classifier.as_ref().map(|classifier| classifier.pool),
        },
        recipe: recipe.clone(),
        data_digest,
        examples,
        scores: scores.clone(),
        history: state.history.clone(),
    };
    if let Some(classifier) = &pretrained.classifier {
        backbone.extend(classifier.parameters.with_prefix(CLASSIFIER));
    }
    write(&options.out, &manifest, &backbone, &head)?;
    run.remove();

    seconds.total = started.elapsed().as_secs_f64();
    let report = Report {
        task: manifest.task,
        backbone: format!("{}:{}", pretrained.spec.name, pretrained.variant.name),
        metrics: scores.validation,
        test_metrics: scores.test,
        seconds,
        examples,
        labels: manifest.labels,
        bundle: options.out.clone(),
    };
    observer.event(&Event::Report(Box::new(report.clone())));
    Ok(report)
}

/// One phase: extract what is frozen, fit what is not, go on from the best.
#[expect(clippy::too_many_arguments, reason = "one statement of the straight line, every room takes part")]
fn run_phase<T: Task>(
    task: &T,
    recipe: &Recipe,
    options: &RunOptions,
    pretrained: &Pretrained,
    index: usize,
    phase: &Phase,
    run: &RunFolder,
    state: &mut TrainingState,
    seconds: &mut Seconds,
    observer: &mut dyn Observer,
) -> Result<()> {
    let depth = frozen_depth(pretrained, &phase.freeze)?;
    let stages = pretrained.spec.stages.len();
    let mut backbone = pretrained.parameters.clone();
    backbone.extend(state.model.strip_prefix("backbone."));

    let frozen = FrozenBackbone::with_arithmetic(pretrained, &backbone, recipe.arithmetic)?;
    let sources =
        Sources { task, recipe, pretrained, backbone: &backbone, frozen: &frozen, depth, cache: &options.cache };
    let device = Device::default().autodiff();
    let model = Model {
        backbone: if depth < stages { Some(trainable(pretrained, &backbone, &device)?) } else { None },
        head: task.load_head(&recipe.head, &state.model.strip_prefix("head."), &device)?,
    };
    let is_open = |name: &str| is_open(pretrained, name, depth);
    observer.event(&Event::Phase {
        phase: index + 1,
        phases: recipe.phases.len(),
        freeze: phase.freeze.clone().into(),
        epochs: phase.epochs,
        learning: sources.learning(&model, &is_open),
        cached: sources.finished_examples(),
    });

    let clock = Instant::now();
    let (train, validation, times) = sources.open(&options.stop, observer)?;
    let (decode, extract) = shares(clock.elapsed(), times);
    seconds.decode += decode;
    seconds.extract += extract;

    let clock = Instant::now();
    let context = PhaseContext {
        recipe,
        index,
        phase,
        depth,
        relative_rate: &|name| relative_rate(pretrained, phase, name),
        is_open: &is_open,
        train: train.as_ref(),
        validation: validation.as_deref(),
        objective: Objective {
            loss: &|outputs, examples| task.loss(recipe, outputs, examples),
            train_score: &|examples, outputs| task.score(recipe, Part::Train, examples, outputs),
            validation_score: &|examples, outputs| task.score(recipe, Part::Validation, examples, outputs),
        },
        stop: &options.stop,
        save: &|state| run.write(state),
    };
    let fitted = context.fit(model, state, observer);
    seconds.fit += clock.elapsed().as_secs_f64();
    match fitted {
        Err(Error::Interrupted { .. }) => return Err(Error::Interrupted { checkpoint: Some(run.folder.clone()) }),
        other => context.remember(&other?, state),
    }
    if recipe.keep_best && state.best_score.is_some() {
        state.model = state.best.clone();
    }
    state.position = Position { phase: index + 1, epoch: 0, step: 0 };
    (state.optimizer, state.optimizer_steps, state.since_best) = (Parameters::default(), 0, 0);
    Ok(())
}

pub(crate) fn extract_task<T: Task>(
    recipe: &Recipe,
    options: &RunOptions,
    index: usize,
    count: usize,
    observer: &mut dyn Observer,
) -> Result<Extracted> {
    if count == 0 || index >= count {
        return Err(Error::Recipe {
            reason: format!("there is no shard {index} of {count}"),
            help: "shards are numbered from 0: --shard 0 --of 4 is the first of four".to_owned(),
        });
    }
    thread_pool(options.threads)?.install(|| {
        let mut pretrained = open_weights(recipe, observer)?;
        let (recipe, original) = with_classifier(recipe, &mut pretrained)?;
        let recipe = &recipe;
        let task = open_task::<T>(recipe, original.as_ref(), options, observer)?;
        let freeze = recipe.phases.first().map_or(Freeze::Backbone, |phase| phase.freeze.clone());
        let depth = frozen_depth(&pretrained, &freeze)?;
        let backbone = &pretrained.parameters;
        let frozen = FrozenBackbone::with_arithmetic(&pretrained, backbone, recipe.arithmetic)?;
        let sources = Sources {
            task: &task,
            recipe,
            pretrained: &pretrained,
            backbone,
            frozen: &frozen,
            depth,
            cache: &options.cache,
        };
        let sets = sources.all_sets();
        let all = extract::all_shards(&sets);
        let mine: Vec<(usize, usize)> = all.iter().copied().skip(index).step_by(count).collect();
        let finished_before = mine.iter().filter(|&&(set, shard)| sets[set].is_finished(shard)).count();
        extract::extract(&sets, &mine, &options.stop, observer)?;
        Ok(Extracted { shards: mine.len(), finished_before, total: all.len() })
    })
}

/// The weights that a recipe asks for, at the input size that it asks for.
fn open_weights(recipe: &Recipe, observer: &mut dyn Observer) -> Result<Pretrained> {
    let backbone = recipe.backbone.as_deref();
    let mut pretrained = match recipe.weights.as_deref() {
        Some("random") => {
            let (spec, variant) = crate::backbones::find(backbone.unwrap_or("mobilenet_v2:0.35"))?;
            Pretrained::random(spec, variant.unwrap_or(&spec.variants[0]), recipe.seed)
        }
        None | Some(embedded::NAME) => {
            let pretrained = embedded::load()?;
            check_embedded(&pretrained, backbone)?;
            pretrained
        }
        Some(path) => load::load(Path::new(path), backbone)?,
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
    Ok(pretrained)
}

/// The published classifier, where the recipe asks for it: as the head to begin with, which decides the head's pooling and
/// hidden layers, or as a part of the frozen network.
fn with_classifier(recipe: &Recipe, pretrained: &mut Pretrained) -> Result<(Recipe, Option<Classifier>)> {
    let mut recipe = recipe.clone();
    if !recipe.head.needs_classifier() {
        return Ok((recipe, None));
    }
    let classifier = match recipe.weights.as_deref() {
        None | Some(embedded::NAME | "random") => {
            let reason = "it was made without one; name a weight file with --weights FILE".to_owned();
            return Err(no_classifier(Path::new(&pretrained.source), reason));
        }
        Some(path) => load::load_classifier(Path::new(path), recipe.backbone.as_deref())?,
    };
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

/// A backbone asked for by name without weights must be the embedded one.
fn check_embedded(pretrained: &Pretrained, backbone: Option<&str>) -> Result<()> {
    let Some(name) = backbone else { return Ok(()) };
    let (spec, variant) = crate::backbones::find(name)?;
    if spec.name == pretrained.spec.name && variant.is_none_or(|variant| variant == pretrained.variant) {
        return Ok(());
    }
    Err(Error::Recipe {
        reason: format!(
            "no weights were given for `{name}`; the embedded ones are {}:{}",
            pretrained.spec.name, pretrained.variant.name
        ),
        help: "give a weight file with --weights FILE, or --weights random to train from scratch".to_owned(),
    })
}

/// The head before any training: the published one, or random values.
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

/// Metrics of the deployed form on a part; `None` when it has no example.
fn score<T: Task>(
    task: &T,
    recipe: &Recipe,
    options: &RunOptions,
    pretrained: &Pretrained,
    backbone: &Parameters,
    head: &Parameters,
    part: Part,
) -> Result<Option<ClassificationMetrics>> {
    if task.digests(part).is_empty() {
        return Ok(None);
    }
    let frozen = FrozenBackbone::new(pretrained, backbone)?;
    let depth = frozen.stage_count();
    let sources = Sources { task, recipe, pretrained, backbone, frozen: &frozen, depth, cache: &options.cache };
    let source = sources.for_scoring(part, *backbone == pretrained.parameters, &options.stop)?;
    let model = Model { backbone: None, head: task.load_head(&recipe.head, head, &Device::default())? };
    Ok(Some(task.metrics(recipe, part, &evaluate(&model, source.as_ref(), depth, 64)?)))
}

fn is_open(pretrained: &Pretrained, name: &str, depth: usize) -> bool {
    match name.strip_prefix("backbone.") {
        Some(name) => pretrained.spec.stage_of(name).is_some_and(|stage| stage >= depth),
        None => true,
    }
}

/// Rate of a parameter relative to the head's: each stage learns slower than the one after it.
fn relative_rate(pretrained: &Pretrained, phase: &Phase, name: &str) -> f64 {
    let stage = name.strip_prefix("backbone.").and_then(|name| pretrained.spec.stage_of(name));
    let distance = stage.map_or(0, |stage| pretrained.spec.stages.len() - stage);
    phase.stage_decay.powi(distance as i32)
}

fn shares(wall: Duration, times: Times) -> (f64, f64) {
    let work = (times.decode + times.extract).as_secs_f64().max(f64::MIN_POSITIVE);
    let wall = wall.as_secs_f64();
    let decode = wall * times.decode.as_secs_f64() / work;
    if times == Times::default() { (0.0, 0.0) } else { (decode, wall - decode) }
}

fn data_digest<T: Task>(task: &T) -> String {
    let parts: Vec<[u8; 32]> = Part::ALL
        .iter()
        .flat_map(|&part| {
            let marker = *blake3::hash(format!("{part:?} {:?}", task.labels()).as_bytes()).as_bytes();
            std::iter::once(marker).chain(task.digests(part))
        })
        .collect();
    examples_digest(&parts)
}

pub(crate) fn thread_pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build().map_err(|error| Error::Recipe {
        reason: format!("{threads} threads could not be started: {error}"),
        help: "set --threads to a smaller number".to_owned(),
    })
}

/// Where the state of an unfinished run lies: a folder beside the bundle.
struct RunFolder {
    folder: PathBuf,
    run: String,
}

impl RunFolder {
    fn new(out: &Path, recipe: &Recipe, weights: &str, data: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        for text in [recipe.to_toml().as_str(), weights, data, env!("CARGO_PKG_VERSION")] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        let mut folder = out.as_os_str().to_owned();
        folder.push(".run");
        Self { folder: folder.into(), run: hasher.finalize().to_hex().to_string() }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("state.safetensors")
    }

    fn read(&self) -> Result<Option<TrainingState>> {
        TrainingState::read(&self.file(), &self.run)
    }

    fn write(&self, state: &TrainingState) -> Result<()> {
        state.write(&self.file(), &self.run)
    }

    /// The bundle is there; a state that cannot be removed does no harm.
    fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
