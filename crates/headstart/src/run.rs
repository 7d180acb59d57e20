//! ★ The straight line: recipe → data → weights → phases (extract → fit) → evaluate → bundle. The only file that sees
//! every room.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::bundle::manifest::{BundledBackbone, CLASSIFIER, Examples, FORMAT, Manifest, Scores};
use crate::bundle::write::{Arrays, write};
use crate::cache::extract;
use crate::cache::{CacheFolder, key::examples_digest};
use crate::depth;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::Network;
use crate::opening::Opened;
use crate::parameters::Parameters;
use crate::phase_runner::PhaseRunner;
use crate::recipe::{Arithmetic, Freeze, Recipe};
use crate::run_folder::RunFolder;
use crate::sources::Sources;
use crate::tasks::{self, Metrics, Part, Task};
use crate::train::checkpoint::TrainingState;
use crate::train::evaluate::evaluate;
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
    pub metrics: Option<Metrics>,
    /// Scores on the test examples.
    pub test_metrics: Option<Metrics>,
    /// Where the time went.
    pub seconds: Seconds,
    /// Numbers of examples.
    pub examples: Examples,
    /// Class names in the order of the outputs.
    pub labels: Vec<String>,
    /// How `freeze = "auto"` was decided, if the recipe says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<depth::Choice>,
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
    let Opened { recipe, network, task, weights_digest, untrained } = Opened::<T>::open(recipe, options, observer)?;
    let (recipe, network, task) = (&recipe, &network, &task);
    seconds.scan = started.elapsed().as_secs_f64();

    let data_digest = data_digest(task);
    let run = RunFolder::new(&options.out, &[&recipe.to_toml(), &weights_digest, &data_digest]);
    let line = PhaseRunner { task, recipe, options, network, run: &run, untrained: &untrained };
    let mut state = match options.resume.then(|| run.read()).transpose()?.flatten() {
        Some(state) => state,
        None => TrainingState::new(untrained.clone()),
    };
    for index in state.position.phase..recipe.phases.len() {
        let Some(phase) = depth::resolve(&line, index, &mut state, &mut seconds, observer)? else { continue };
        line.run(index, &phase, &mut state, &mut seconds, observer)?;
    }
    let choice = depth::settle(&state);

    let trained = if recipe.keep_best && state.best_score.is_some() { &state.best } else { &state.model };
    let mut learned = network.parameters().clone();
    learned.extend(trained.strip_prefix("backbone."));
    // Adapters that are not to be merged for good.
    let stored = recipe.lora.as_ref().and_then(|lora| lora.stored_apart(&learned));
    let mut backbone = match &recipe.lora {
        Some(lora) => lora.merged(&learned)?,
        None => learned,
    };
    let head = trained.strip_prefix("head.");
    let scores = Scores {
        validation: score(task, recipe, options, network, &backbone, &head, Part::Validation)?,
        test: score(task, recipe, options, network, &backbone, &head, Part::Test)?,
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
        backbone: BundledBackbone::of(network, weights_digest, task.writing()),
        recipe: depth::resolved(recipe, choice.as_ref()),
        choice: choice.as_ref().map(depth::Choice::without_times),
        data_digest,
        examples,
        scores: scores.clone(),
        history: state.history.clone(),
    };
    let mut tokenizer = None;
    match network {
        Network::Pictures(pretrained) => {
            if let Some(classifier) = &pretrained.classifier {
                backbone.extend(classifier.parameters.with_prefix(CLASSIFIER));
            }
        }
        Network::Text(text) => tokenizer = Some(text.reader.tokenizer.to_bytes()?),
        Network::Speech(_) | Network::Detector(_) => {}
    }
    let arrays = Arrays { backbone: &backbone, stored: stored.as_ref().unwrap_or(&backbone), head: &head };
    write(&options.out, &manifest, &arrays, tokenizer.as_deref())?;
    run.remove();

    seconds.total = started.elapsed().as_secs_f64();
    let report = Report {
        task: manifest.task,
        backbone: format!("{}:{}", network.name(), network.variant()),
        metrics: scores.validation,
        test_metrics: scores.test,
        seconds,
        examples,
        labels: manifest.labels,
        choice,
        bundle: options.out.clone(),
    };
    observer.event(&Event::Report(Box::new(report.clone())));
    Ok(report)
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
        let Opened { recipe, network, task, .. } = Opened::<T>::open(recipe, options, observer)?;
        let freeze = recipe.phases.first().map_or(Freeze::Backbone, |phase| phase.freeze.clone());
        let depth = network.frozen_depth(&freeze)?;
        let backbone = network.parameters();
        let frozen = network.frozen(backbone, recipe.arithmetic)?;
        let sources = Sources {
            task: &task,
            recipe: &recipe,
            network: &network,
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

/// Metrics of the deployed form on a part; `None` when it has no example.
fn score<T: Task>(
    task: &T,
    recipe: &Recipe,
    options: &RunOptions,
    network: &Network,
    backbone: &Parameters,
    head: &Parameters,
    part: Part,
) -> Result<Option<Metrics>> {
    if task.digests(part).is_empty() {
        return Ok(None);
    }
    let frozen = network.frozen(backbone, Arithmetic::F32)?;
    let depth = frozen.stage_count();
    let sources = Sources { task, recipe, network, backbone, frozen: &frozen, depth, cache: &options.cache };
    let source = sources.for_scoring(part, backbone == network.parameters(), &options.stop)?;
    let model = Model { backbone: None, head: task.load_head(&recipe.head, head, &Device::default())? };
    let (outputs, rows) = evaluate(&model, source.as_ref(), depth, 64)?;
    Ok(Some(task.metrics(recipe, part, &outputs, &rows)))
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
