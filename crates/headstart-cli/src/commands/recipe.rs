//! What was typed → what it means: options laid over a recipe.

use headstart::data::speech::split::Speakers;
use headstart::data::speech::style::TranscriptStyle;
use headstart::nn::{LoraRecipe, LoraStore, NormStatistics};
use headstart::recipe::{Arithmetic, ClassWeights, Optimizer, Output, Phase, Precision, Schedule};
use headstart::tasks::{self, Reads};
use headstart::{Freeze, HeadRecipe, Recipe};

use super::detection_recipe;
use crate::arguments::{
    Activation, LoraStored, OptimizerName, RecipeOptions, Schedule as ScheduleName, SpeakersChoice,
};
use crate::report::Result;

/// Rate of stages that were pretrained: a tenth of the head's keeps what they know.
const FINE_TUNE_RATE: f64 = 1e-4;
/// Highest rate, decay a stage and most epochs of what `--freeze auto` opens: deep cuts need a gentle slope to the input.
const AUTO: (f64, f64, usize) = (3e-4, 0.9, 16);
/// Rate of a transformer that learns as a whole (Devlin et al. 2018), and part of it that the layer before has.
const FINE_TUNE_TEXT: (f64, f64) = (5e-5, 0.9);
/// Rate of adapters, which start from nothing and stand at every layer alike.
const ADAPTERS: (f64, f64) = (1e-3, 1.0);
/// Rate of a network of recordings, whatever of it learns.
const FINE_TUNE_SPEECH: f64 = 1e-3;
/// Recordings a step: there are few, and each has hundreds of frames.
const SPEECH_BATCH: usize = 8;
/// Stages that learn when nobody says where to cut.
const OPEN_STAGES: usize = 2;

/// The recipe that the options mean.
pub(crate) fn from_options(options: &RecipeOptions) -> Result<Recipe> {
    let reads = reads(options);
    let mut recipe = match &options.recipe {
        Some(path) => Recipe::read(path)?,
        None if finds_objects(options) => detection_recipe::preset(options),
        None => preset(options, reads),
    };
    if let Some(data) = &options.data {
        recipe.data.clone_from(data);
    }
    let set = |target: &mut Option<String>, value: &Option<String>| {
        if value.is_some() {
            target.clone_from(value);
        }
    };
    set(&mut recipe.task, &options.task);
    set(&mut recipe.backbone, &options.backbone);
    set(&mut recipe.weights, &options.weights);
    if options.labels.is_some() {
        recipe.labels.clone_from(&options.labels);
    }
    recipe.input_size = options.size.or(recipe.input_size);
    recipe.max_tokens = options.max_tokens.or(recipe.max_tokens);
    set(&mut recipe.text_column, &options.text_column);
    set(&mut recipe.label_column, &options.label_column);
    if let Some(text) = &options.head {
        let head: HeadRecipe = text.parse()?;
        recipe.head = HeadRecipe { dropout: recipe.head.dropout, output: recipe.head.output, ..head };
    }
    recipe.head.dropout = options.dropout.unwrap_or(recipe.head.dropout);
    match options.output {
        Some(Activation::Softmax) => recipe.head.output = Output::Softmax,
        Some(Activation::Sigmoid) => recipe.head.output = Output::Sigmoid,
        None => {}
    }
    recipe.batch = options.batch.unwrap_or(recipe.batch);
    if options.alphabet.is_some() {
        recipe.speech.alphabet.clone_from(&options.alphabet);
    }
    recipe.speech.drop_source_layers = options.drop_source_layers.unwrap_or(recipe.speech.drop_source_layers);
    if options.as_written {
        recipe.speech.style = TranscriptStyle::default();
    }
    match options.speakers {
        Some(SpeakersChoice::Apart) => recipe.speech.speakers = Speakers::Apart,
        Some(SpeakersChoice::Mixed) => recipe.speech.speakers = Speakers::Mixed,
        None => {}
    }
    recipe.micro_batch = options.micro_batch.or(recipe.micro_batch);
    if let Some(text) = &options.lora {
        let store = match options.lora_store {
            None | Some(LoraStored::Apart) => LoraStore::Apart,
            Some(LoraStored::Merged) => LoraStore::Merged,
            Some(LoraStored::Alone) => LoraStore::Alone,
        };
        recipe.lora = Some(LoraRecipe { store, ..text.parse()? });
    }
    recipe.steps_per_epoch = options.steps_per_epoch.or(recipe.steps_per_epoch);
    recipe.seed = options.seed.unwrap_or(recipe.seed);
    recipe.views = options.views.unwrap_or(recipe.views);
    recipe.test = options.test.unwrap_or(recipe.test);
    recipe.label_smoothing = options.label_smoothing.unwrap_or(recipe.label_smoothing);
    recipe.early_stopping = options.patience.or(recipe.early_stopping);
    recipe.keep_best &= !options.keep_last;
    if let Some(text) = &options.val {
        recipe.validation = text.parse()?;
    }
    if options.balanced {
        recipe.class_weights = ClassWeights::Balanced;
    }
    if options.f16_features {
        recipe.feature_precision = Precision::F16;
    }
    if options.bf16 {
        recipe.arithmetic = Arithmetic::Bf16;
    }
    match options.optimizer {
        Some(OptimizerName::Adam) => recipe.optimizer = Optimizer::Adam {},
        Some(OptimizerName::Adamw) => recipe.optimizer = Optimizer::AdamW { weight_decay: 0.01 },
        Some(OptimizerName::Sgd) => recipe.optimizer = Optimizer::Sgd { momentum: 0.9, weight_decay: 1e-4 },
        None => {}
    }
    recipe.budget = options.budget.as_deref().map(str::parse).transpose()?.or(recipe.budget);
    if finds_objects(options) {
        detection_recipe::lay_over(&mut recipe, options);
    }
    set_phases(&mut recipe, options, reads);
    // The published classifier is kept as it is, unless it is asked to learn.
    if recipe.head.original && options.recipe.is_none() && options.epochs.is_none() && options.fine_tune.is_none() {
        recipe.phases.clear();
    }
    Ok(recipe)
}

/// What `headstart train DIR` does when nothing else is said.
fn preset(options: &RecipeOptions, reads: Reads) -> Recipe {
    let mut recipe = Recipe::default();
    let is_text = reads == Reads::Text;
    if reads == Reads::Speech {
        recipe.head.hidden.clear();
        recipe.batch = SPEECH_BATCH;
    }
    // Asking for a number of epochs is asking for exactly that; otherwise train until it stops helping.
    if options.epochs.is_none() && options.fine_tune.is_none() && options.freeze.is_none() {
        // Another view of a text would be another text.
        recipe.views = if is_text { 1 } else { 4 };
        recipe.early_stopping = Some(10);
        recipe.phases[0].epochs = 40;
    }
    if is_text && options.fine_tune.is_some() {
        recipe.optimizer = Optimizer::AdamW { weight_decay: 0.01 };
        recipe.gradient_clip = Some(1.0);
    }
    // Open stages learn a few hundred photos by heart; other views of them and softened targets are what holds against it.
    if is_auto(options) {
        recipe.views = 8;
        recipe.label_smoothing = 0.1;
        recipe.phases[0].epochs = 40;
    }
    recipe
}

fn reads(options: &RecipeOptions) -> Reads {
    let data = options.data.as_deref().unwrap_or(std::path::Path::new(""));
    // A task that is not known, and data that no task knows, are refused when the recipe is run.
    tasks::find(options.task.as_deref(), data).map_or(Reads::Pictures, |task| task.reads)
}

fn finds_objects(options: &RecipeOptions) -> bool {
    let data = options.data.as_deref().unwrap_or(std::path::Path::new(""));
    tasks::find(options.task.as_deref(), data).is_ok_and(|task| task.reads == Reads::Objects)
}

fn is_auto(options: &RecipeOptions) -> bool {
    options.freeze.as_deref() == Some("auto")
}

fn set_phases(recipe: &mut Recipe, options: &RecipeOptions, reads: Reads) {
    let from_scratch = match recipe.weights.as_deref() {
        Some(weights) => weights == "random" || weights.starts_with("random:"),
        // No network of recordings travels in the program.
        None => reads == Reads::Speech,
    };
    if finds_objects(options) {
        if options.recipe.is_none() {
            recipe.phases = detection_recipe::phases(options, from_scratch);
        }
        if let (Some(rate), Some(phase)) = (options.lr, recipe.phases.last_mut()) {
            phase.learning_rate = rate;
        }
        return;
    }
    let typed_freeze = options.freeze.as_ref().map(|text| Freeze::from(text.clone()));
    if is_auto(options) {
        let head = Phase {
            freeze: Freeze::Backbone,
            epochs: options.epochs.unwrap_or(recipe.phases[0].epochs),
            ..recipe.phases[0].clone()
        };
        let (learning_rate, stage_decay, epochs) = AUTO;
        let open = Phase {
            freeze: Freeze::Auto,
            epochs: options.fine_tune.unwrap_or(epochs),
            learning_rate,
            schedule: Schedule::Cosine,
            stage_decay,
            norm: NormStatistics::Fixed,
        };
        recipe.phases = vec![head, open];
    } else if let Some(epochs) = options.fine_tune {
        let head = Phase { epochs: options.epochs.unwrap_or(recipe.phases[0].epochs), ..recipe.phases[0].clone() };
        let norm = NormStatistics::Fixed;
        let open = match reads {
            Reads::Speech => Phase {
                freeze: typed_freeze.unwrap_or(Freeze::Nothing),
                epochs,
                learning_rate: FINE_TUNE_SPEECH,
                schedule: Schedule::Cosine,
                stage_decay: 1.0,
                norm,
            },
            Reads::Text => {
                let (learning_rate, stage_decay) = if options.lora.is_some() { ADAPTERS } else { FINE_TUNE_TEXT };
                let freeze = typed_freeze.unwrap_or(Freeze::Nothing);
                Phase { freeze, epochs, learning_rate, schedule: Schedule::Linear, stage_decay, norm }
            }
            _ => Phase {
                freeze: typed_freeze.unwrap_or(Freeze::AllBut(OPEN_STAGES)),
                epochs,
                learning_rate: FINE_TUNE_RATE,
                schedule: Schedule::Cosine,
                stage_decay: 0.8,
                norm,
            },
        };
        let gradual = (1..=options.gradual.unwrap_or(0)).map(|count| Phase {
            freeze: Freeze::AllBut(count),
            epochs: 1,
            schedule: Schedule::Constant,
            ..open.clone()
        });
        recipe.phases = std::iter::once(head).chain(gradual).collect();
        recipe.phases.push(open);
    } else {
        let phase = &mut recipe.phases[0];
        phase.epochs = options.epochs.unwrap_or(phase.epochs);
        if let Some(freeze) = typed_freeze {
            if reads == Reads::Speech {
                phase.learning_rate = FINE_TUNE_SPEECH;
            } else if freeze != Freeze::Backbone && !from_scratch && options.recipe.is_none() {
                phase.learning_rate = FINE_TUNE_RATE;
            }
            phase.freeze = freeze;
        } else if (from_scratch || reads == Reads::Speech) && options.recipe.is_none() {
            // What an acoustic model heard in one language is a start for another, and no more.
            phase.freeze = Freeze::Nothing;
        }
    }
    for phase in &mut recipe.phases {
        if from_scratch && options.recipe.is_none() {
            phase.norm = NormStatistics::Batch;
        }
        match options.schedule {
            Some(ScheduleName::Constant) => phase.schedule = Schedule::Constant,
            Some(ScheduleName::Cosine) => phase.schedule = Schedule::Cosine,
            Some(ScheduleName::Linear) => phase.schedule = Schedule::Linear,
            Some(ScheduleName::OneCycle) => phase.schedule = Schedule::OneCycle,
            None => {}
        }
    }
    // With --fine-tune the head has proven its rate; --lr is for what is fine-tuned.
    if let (Some(rate), Some(phase)) = (options.lr, recipe.phases.last_mut()) {
        phase.learning_rate = rate;
    }
}
