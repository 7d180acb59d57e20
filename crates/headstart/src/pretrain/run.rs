//! The straight line of a pretraining: texts → tokenizer → sequences → steps → a published folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use headstart_data::text::{Outcome, TextOptions, TextSet, plain_text};
use serde::{Deserialize, Serialize};

use super::beginning::Beginning;
use super::fitting::Fitting;
use super::model_folder::{ModelFolder, check_place};
use super::objective::Objective;
use super::recipe::PretrainRecipe;
use super::sequences::{Parts, TokenSequences};
use super::state::PretrainState;
use crate::error::{Error, Result};
use crate::publish::sweep;
use crate::run::thread_pool;
use crate::run_folder::RunFolder;
use crate::train::observer::{Event, Observer};

/// Fewer texts are a slip: nothing could be learned from them, and nothing be held out.
const FEWEST_TEXTS: usize = 20;

/// How a pretraining is carried out; none of it changes the result.
#[derive(Debug, Clone)]
pub struct PretrainOptions {
    /// The folder to write.
    pub out: PathBuf,
    /// Worker threads.
    pub threads: usize,
    /// Go on from the state that an interrupted run of the same recipe left beside the folder.
    pub resume: bool,
    /// Set it to stop at the next safe point.
    pub stop: Arc<AtomicBool>,
}

impl PretrainOptions {
    /// All cores, no resuming.
    pub fn new(out: impl Into<PathBuf>) -> Self {
        Self {
            out: out.into(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            resume: false,
            stop: Arc::new(AtomicBool::new(false)),
        }
    }
}

/// Numbers of one round through the texts. Losses are in nats a predicted token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PretrainEpoch {
    /// Round, from 1.
    pub epoch: usize,
    /// All rounds; the last may be a part of one.
    pub epochs: usize,
    /// Steps taken so far.
    pub step: usize,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Mean loss of the round, dropout on.
    pub loss: f64,
    /// Mean loss on what is held out.
    pub held_out_loss: Option<f64>,
    /// Its exponential: among how many tokens the network is as unsure as if it drew lots. Of hidden tokens it is not
    /// comparable with that of next ones, nor across vocabularies.
    pub held_out_perplexity: Option<f64>,
}

/// What a pretraining gives back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PretrainReport {
    /// What was predicted.
    pub objective: Objective,
    /// Architecture, layers and width.
    pub backbone: String,
    /// Values of the backbone.
    pub parameters: usize,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Texts learned from.
    pub texts: usize,
    /// Tokens of a round.
    pub tokens: usize,
    /// Texts held out.
    pub held_out: usize,
    /// Lines that were left out.
    pub skipped: usize,
    /// Steps taken.
    pub steps: usize,
    /// Loss on what is held out before the first step, in nats a predicted token.
    pub before: Option<f64>,
    /// The same after the last one.
    pub after: Option<f64>,
    /// Wall-clock seconds of this process.
    pub seconds: f64,
    /// The folder that was written.
    pub folder: PathBuf,
}

/// How a folder came to be, without anything of this machine.
#[derive(Debug, Serialize)]
struct Origin<'a> {
    written_by: &'static str,
    recipe: &'a PretrainRecipe,
    /// BLAKE3 of the arrays that were gone on from.
    weights_digest: Option<&'a str>,
    /// BLAKE3 of the sequences.
    corpus_digest: &'a str,
    texts: usize,
    held_out: usize,
    tokens: usize,
    before: Option<f64>,
    history: &'a [PretrainEpoch],
}

/// Trains a language model on plain text and writes it as a folder that `--weights` and Hugging Face transformers read.
///
/// # Errors
/// [`Error::Recipe`] and [`Error::Data`] for what cannot be learned from; [`Error::Interrupted`] when `options.stop` was
/// set, after the state was saved; [`Error::Diverged`]; [`Error::ResumeMismatch`].
pub fn pretrain(
    recipe: &PretrainRecipe,
    options: &PretrainOptions,
    observer: &mut dyn Observer,
) -> Result<PretrainReport> {
    recipe.check()?;
    check_place(&options.out, recipe.weights.as_deref())?;
    thread_pool(options.threads)?.install(|| straight_line(recipe, options, observer))
}

fn straight_line(
    recipe: &PretrainRecipe,
    options: &PretrainOptions,
    observer: &mut dyn Observer,
) -> Result<PretrainReport> {
    let started = Instant::now();
    sweep(options.out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(".".as_ref()));
    let columns = TextOptions { text_column: recipe.text_column.clone(), ..TextOptions::default() };
    let set = plain_text::open(&recipe.corpus, &columns)?;
    let parts = open_parts(&set, recipe, observer)?;

    let beginning = Beginning::open(recipe, &parts.learned)?;
    let Beginning { spec, tokenizer, shape, .. } = &beginning;
    let special = beginning.special(recipe.objective)?;
    let sequences = |texts: &[&str]| TokenSequences::of(texts, tokenizer, recipe.objective, beginning.longest);
    let (learned, held_out) = (sequences(&parts.learned)?, sequences(&parts.held_out)?);
    tell(&beginning, &parts, &learned, observer);
    if learned.is_empty() {
        return Err(Error::Recipe {
            reason: "the texts hold no token to learn".to_owned(),
            help: "give texts with words".to_owned(),
        });
    }

    let corpus_digest = digest(&learned, &held_out);
    let weights_digest = recipe.weights.as_ref().map(|_| beginning.parameters.digest());
    let identity = serde_json::to_string(&(recipe, shape, beginning.longest)).expect("plain numbers and strings");
    let folder =
        RunFolder::new(&options.out, &[&identity, &corpus_digest, weights_digest.as_deref().unwrap_or_default()]);
    let mut state = match options.resume.then(|| folder.read()).transpose()?.flatten() {
        Some(state) => state,
        None => PretrainState::new(beginning.parameters.clone()),
    };
    let fitting = Fitting {
        recipe,
        shape: *shape,
        special: &special,
        learned: &learned,
        held_out: &held_out,
        stop: &options.stop,
        save: &|state| folder.write(state),
    };
    fitting.fit(&mut state, observer).map_err(|error| match error {
        Error::Interrupted { .. } => Error::Interrupted { checkpoint: Some(folder.folder.clone()) },
        other => other,
    })?;

    let origin = Origin {
        written_by: concat!("headstart ", env!("CARGO_PKG_VERSION")),
        recipe,
        weights_digest: weights_digest.as_deref(),
        corpus_digest: &corpus_digest,
        texts: parts.learned.len(),
        held_out: parts.held_out.len(),
        tokens: learned.token_count(),
        before: state.progress.before,
        history: &state.progress.history,
    };
    let half_precision = recipe.half_precision;
    ModelFolder { spec, shape, parameters: &state.model, tokenizer, half_precision, origin: &origin }
        .publish(&options.out)?;
    folder.remove();

    let report = PretrainReport {
        objective: recipe.objective,
        backbone: format!("{}:{}x{}", spec.name, shape.layers, shape.width),
        parameters: state.model.strip_prefix("backbone.").value_count(),
        vocabulary: shape.vocabulary,
        texts: parts.learned.len(),
        tokens: learned.token_count(),
        held_out: parts.held_out.len(),
        skipped: parts.skipped,
        steps: state.progress.step,
        before: state.progress.before,
        after: state.progress.history.last().and_then(|epoch| epoch.held_out_loss),
        seconds: started.elapsed().as_secs_f64(),
        folder: options.out.clone(),
    };
    observer.event(&Event::Pretrained(Box::new(report.clone())));
    Ok(report)
}

/// Tells what was left out, and draws what is held out.
fn open_parts<'a>(set: &'a TextSet, recipe: &PretrainRecipe, observer: &mut dyn Observer) -> Result<Parts<'a>> {
    let parts = Parts::draw(set, recipe.held_out, recipe.seed);
    for message in &parts.notes {
        observer.event(&Event::Note { message: message.clone() });
    }
    for problem in set.problems.iter().filter(|problem| problem.outcome == Outcome::Skipped) {
        let path = PathBuf::from(format!("{}:{}", problem.file.display(), problem.line));
        observer.event(&Event::Skipped { path, reason: problem.what.clone() });
    }
    let count = set.examples.len();
    if count < FEWEST_TEXTS {
        return Err(Error::Recipe {
            reason: format!("{count} texts are too few to learn a language from; {FEWEST_TEXTS} are the least"),
            help: "give more text, a sentence or a paragraph a line; a useful network takes ten thousands of lines"
                .to_owned(),
        });
    }
    if recipe.held_out > 0.0 && parts.held_out.is_empty() {
        return Err(Error::Recipe {
            reason: "all texts are copies of one, so none can be held out".to_owned(),
            help: "give more text".to_owned(),
        });
    }
    Ok(parts)
}

/// What is trained, and on what.
fn tell(beginning: &Beginning, parts: &Parts<'_>, learned: &TokenSequences, observer: &mut dyn Observer) {
    for message in &beginning.notes {
        observer.event(&Event::Note { message: message.clone() });
    }
    let Beginning { spec, shape, longest, source, .. } = beginning;
    observer.event(&Event::Corpus {
        texts: parts.learned.len(),
        held_out: parts.held_out.len(),
        skipped: parts.skipped,
        tokens: learned.token_count(),
        vocabulary: beginning.tokenizer.vocabulary_size(),
    });
    observer.event(&Event::Backbone {
        name: spec.name.to_owned(),
        variant: format!("{}x{}", shape.layers, shape.width),
        family: spec.families[0].family.to_owned(),
        source: source.clone(),
        parameters: beginning.parameters.strip_prefix("backbone.").value_count(),
        input_size: None,
        max_tokens: Some(*longest),
    });
}

/// BLAKE3 over both parts.
fn digest(learned: &TokenSequences, held_out: &TokenSequences) -> String {
    let mut hasher = blake3::Hasher::new();
    learned.add_to(&mut hasher);
    held_out.add_to(&mut hasher);
    hasher.finalize().to_hex().to_string()
}
