//! A run as data: what `recipe.toml` holds, what a bundle remembers.

use std::borrow::Cow;
use std::path::PathBuf;
use std::str::FromStr;

use headstart_data::audio::augment::SpeechAugmentation;
use headstart_data::augmentation::Augmentation;
use headstart_data::speech::split::Speakers;
use headstart_data::speech::style::TranscriptStyle;
use headstart_data::split::SplitRule;
use serde::{Deserialize, Serialize};

use crate::depth::Budget;
use crate::error::{Error, Result};
use crate::nn::{LoraRecipe, NormStatistics};
use crate::parameters::Parameters;
use crate::tasks::object_detection::DetectionRecipe;

/// Everything that decides the result of a run, so that the same recipe gives the same bundle.
///
/// The number of threads, the place of the cache and the name of the bundle are not here: they decide nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Data set: a folder.
    pub data: PathBuf,
    /// Task; found from the data when absent.
    pub task: Option<String>,
    /// Architecture, `name` or `name:variant`; found from the weights when absent.
    pub backbone: Option<String>,
    /// A weight file, a bundle, a Hugging Face file `hf:ORGANIZATION/NAME[@REVISION][:FILE]`, `embedded` or `random`. When
    /// absent, the default repository of `backbone`, and the embedded backbone when that is absent too.
    pub weights: Option<String>,
    /// Side of the input in pixels; that of the weights when absent.
    pub input_size: Option<u32>,
    /// Most tokens of a text, the rest is cut off; 256 or what the network has when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Column of the text in a table: its name, or its number from 1; found when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_column: Option<String>,
    /// Column of the label in a table; found when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// Where validation examples come from when the data set does not say.
    pub validation: Validation,
    /// Fraction of the examples kept aside as a test set when the data set has none.
    pub test: f32,
    /// Names of the published network's outputs, a line each; those of ImageNet when absent. Only for its own classifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// Seed of the split, the initial head, the order, dropout and augmentation.
    pub seed: u64,
    /// Examples a step.
    pub batch: usize,
    /// Most examples that are computed at once, for memory: a step sums the gradients of its parts. All of the batch when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Low-rank adapters on the attention of a transformer: of its open stages they alone learn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraRecipe>,
    /// How objects are learned; what suits photographs when absent. Of object detection alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection: Option<DetectionRecipe>,
    /// Steps that count as an epoch; the data goes round in an order drawn anew for each round. All data once when absent.
    pub steps_per_epoch: Option<usize>,
    /// What is put on the backbone.
    pub head: HeadRecipe,
    /// Softened targets: this much probability is spread over all classes.
    pub label_smoothing: f32,
    /// Weight of each class in the loss.
    pub class_weights: ClassWeights,
    /// How gradients become steps.
    pub optimizer: Optimizer,
    /// Largest norm of all gradients together.
    pub gradient_clip: Option<f32>,
    /// Views of each training photo, the plain one first.
    pub views: u32,
    /// What the views beside the plain one look like.
    pub augmentation: Augmentation,
    /// What is said of recordings.
    #[serde(skip_serializing_if = "SpeechRecipe::is_default")]
    pub speech: SpeechRecipe,
    /// Epochs without a better validation score after which a phase ends.
    pub early_stopping: Option<usize>,
    /// Keep the weights of the best epoch instead of the last.
    pub keep_best: bool,
    /// How cached features are stored.
    pub feature_precision: Precision,
    /// What the frozen stages multiply while features are extracted; scores and the bundle are always of f32.
    pub arithmetic: Arithmetic,
    /// How long an automatic phase may take; what follows from the data when absent, which is the only way to have the same
    /// bytes on every machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What is trained, one after the other.
    pub phases: Vec<Phase>,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            data: PathBuf::new(),
            task: None,
            backbone: None,
            weights: None,
            input_size: None,
            max_tokens: None,
            text_column: None,
            label_column: None,
            validation: Validation::default(),
            test: 0.0,
            labels: None,
            seed: 0,
            batch: 32,
            micro_batch: None,
            lora: None,
            detection: None,
            steps_per_epoch: None,
            head: HeadRecipe::default(),
            label_smoothing: 0.0,
            class_weights: ClassWeights::None,
            optimizer: Optimizer::default(),
            gradient_clip: None,
            views: 1,
            augmentation: Augmentation::photos(),
            speech: SpeechRecipe::default(),
            early_stopping: None,
            keep_best: true,
            feature_precision: Precision::F32,
            arithmetic: Arithmetic::F32,
            budget: None,
            phases: vec![Phase::default()],
        }
    }
}

/// How recordings and what is said in them are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpeechRecipe {
    /// `alphabet.txt`: the letters that are written. Those of the training transcripts when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alphabet: Option<PathBuf>,
    /// How transcripts are written before they are learned.
    pub style: TranscriptStyle,
    /// Layers of a pretrained network that begin anew, counted from the one that writes letters, which is the first.
    pub drop_source_layers: usize,
    /// Whether the recordings of a speaker may lie on both sides of a split.
    pub speakers: Speakers,
    /// What the views beside the plain one sound like.
    pub augmentation: SpeechAugmentation,
}

impl Default for SpeechRecipe {
    fn default() -> Self {
        Self {
            alphabet: None,
            style: TranscriptStyle::plain(),
            drop_source_layers: 0,
            speakers: Speakers::default(),
            augmentation: SpeechAugmentation::speech(),
        }
    }
}

impl SpeechRecipe {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where validation examples come from when the data set has no folder for them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Validation {
    /// This fraction of the examples, drawn class by class.
    Fraction(f32),
    /// Another folder of the same layout.
    Folder(PathBuf),
}

impl Default for Validation {
    fn default() -> Self {
        Self::Fraction(0.2)
    }
}

impl FromStr for Validation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.parse::<f32>() {
            Ok(fraction) if fraction > 0.0 && fraction < 1.0 => Ok(Self::Fraction(fraction)),
            Ok(fraction) => Err(Error::Recipe {
                reason: format!("validation fraction {fraction} is not between 0 and 1"),
                help: "write --val 0.2 for a fifth of the examples, or --val DIR".to_owned(),
            }),
            Err(_) => Ok(Self::Folder(text.into())),
        }
    }
}

/// The head: pooling, hidden layers, dropout, output.
///
/// With `original` it begins as the published classifier, whose pooling and hidden layers take the place of those written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadRecipe {
    /// Keep the published classifier instead of a new head.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub original: bool,
    /// How a feature map becomes a vector.
    pub pool: Pool,
    /// Widths of the hidden layers; none is a linear head.
    pub hidden: Vec<usize>,
    /// Probability of dropping a hidden unit while training.
    pub dropout: f32,
    /// Last activation and with it the loss.
    pub output: Output,
}

impl Default for HeadRecipe {
    fn default() -> Self {
        Self { original: false, pool: Pool::Average, hidden: vec![256], dropout: 0.5, output: Output::Softmax }
    }
}

impl FromStr for HeadRecipe {
    type Err = Error;

    /// `linear`, `mlp:256`, `mlp:512,128`; before either, `flatten+` keeps the map instead of its average, `original+` takes
    /// the outputs of the published classifier, `first+` and `last+` take one token of a text instead of the average of all.
    /// `original` alone is the published classifier.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::Recipe {
            reason: format!("head `{text}` is not known"),
            help: "write linear, mlp:256, mlp:512,128, flatten+mlp:256, first+linear, original or original+linear"
                .to_owned(),
        };
        if text == "original" {
            return Ok(Self { original: true, hidden: Vec::new(), ..Self::default() });
        }
        let (pool, layers) = match text.split_once('+') {
            Some(("flatten", rest)) => (Pool::Flatten, rest),
            Some(("original", rest)) => (Pool::Logits, rest),
            Some(("first", rest)) => (Pool::First, rest),
            Some(("last", rest)) => (Pool::Last, rest),
            Some(("tokens", rest)) => (Pool::Tokens, rest),
            _ => (Pool::Average, text),
        };
        let hidden = match layers.split_once(':') {
            None if layers == "linear" => Vec::new(),
            None if layers == "mlp" => vec![256],
            Some(("mlp", widths)) => widths
                .split(',')
                .map(|width| match width.trim().parse() {
                    Ok(width) if (1..=65_536).contains(&width) => Ok(width),
                    _ => Err(wrong()),
                })
                .collect::<Result<_>>()?,
            _ => return Err(wrong()),
        };
        Ok(Self { pool, hidden, ..Self::default() })
    }
}

impl std::fmt::Display for HeadRecipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.original {
            return f.write_str("original");
        }
        match self.pool {
            Pool::Average => {}
            Pool::Flatten => f.write_str("flatten+")?,
            Pool::Logits => f.write_str("original+")?,
            Pool::First => f.write_str("first+")?,
            Pool::Last => f.write_str("last+")?,
            Pool::Tokens => f.write_str("tokens+")?,
        }
        if self.hidden.is_empty() {
            return f.write_str("linear");
        }
        let widths: Vec<String> = self.hidden.iter().map(usize::to_string).collect();
        write!(f, "mlp:{}", widths.join(","))
    }
}

/// How a feature map becomes a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The average over all positions: C values.
    Average,
    /// Every value, in the order rows, columns, channels: H · W · C values.
    Flatten,
    /// The outputs of the published classifier, before its softmax: a value a class.
    Logits,
    /// The state of the first token, BERT's `[CLS]`; of texts only.
    First,
    /// The state of the last token, which in GPT-2 alone has seen all others; of texts only.
    Last,
    /// The state of every token, none condensed, for heads that say something of each.
    Tokens,
}

/// Last activation, and the loss that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// One unit a class, cross-entropy.
    Softmax,
    /// One unit for two classes, binary cross-entropy.
    Sigmoid,
    /// One unit a label, binary cross-entropy of each: any number of labels an example.
    Sigmoids,
}

/// Weight of each class in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// All the same.
    None,
    /// Inverse to the number of training examples, with mean 1 over the examples.
    Balanced,
}

/// How cached features are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 4 bytes a value, exact.
    F32,
    /// 2 bytes a value, about three decimal digits.
    F16,
}

/// What the frozen stages multiply while features are extracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arithmetic {
    /// Weights and values as they are.
    F32,
    /// Weights and inputs of 1×1 convolutions rounded to bf16, sums in f32; needs a processor with AVX-512 BF16.
    Bf16,
}

/// How gradients become steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Optimizer {
    /// Adam (Kingma and Ba 2015), with Keras's epsilon of 1e-7.
    Adam {},
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    AdamW {
        /// Decay of weight matrices and kernels; biases and normalizations have none.
        weight_decay: f64,
    },
    /// Gradient descent with Nesterov-free momentum.
    Sgd {
        /// Part of the last step that is kept.
        momentum: f64,
        /// Decay of weight matrices and kernels.
        weight_decay: f64,
    },
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Adam {}
    }
}

/// One stretch of training: what is frozen, for how long, at which rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Phase {
    /// What does not learn.
    pub freeze: Freeze,
    /// Passes over the training examples.
    pub epochs: usize,
    /// Highest learning rate of the head.
    pub learning_rate: f64,
    /// How the rate changes within the phase.
    pub schedule: Schedule,
    /// Each stage learns this much slower than the one after it.
    pub stage_decay: f64,
    /// Statistics of the batch normalizations in stages that learn.
    pub norm: NormStatistics,
}

impl Default for Phase {
    fn default() -> Self {
        Self {
            freeze: Freeze::Backbone,
            epochs: 10,
            learning_rate: 1e-3,
            schedule: Schedule::Constant,
            stage_decay: 1.0,
            norm: NormStatistics::Fixed,
        }
    }
}

/// What does not learn. Written `all`, `none`, `auto`, or the name of the last frozen stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Freeze {
    /// The whole backbone.
    Backbone,
    /// Every stage up to and including this one.
    UpTo(String),
    /// Every stage but this many at the end: `all-but-2`.
    AllBut(usize),
    /// Nothing.
    Nothing,
    /// What suits the data, found by trying (see [`crate::depth`]); only in the last phase, after frozen ones.
    Auto,
}

impl From<String> for Freeze {
    fn from(text: String) -> Self {
        match text.as_str() {
            "all" => Self::Backbone,
            "none" => Self::Nothing,
            "auto" => Self::Auto,
            _ => match text.strip_prefix("all-but-").and_then(|count| count.parse().ok()) {
                Some(count) => Self::AllBut(count),
                None => Self::UpTo(text),
            },
        }
    }
}

impl From<Freeze> for String {
    fn from(freeze: Freeze) -> Self {
        match freeze {
            Freeze::Backbone => "all".to_owned(),
            Freeze::Nothing => "none".to_owned(),
            Freeze::Auto => "auto".to_owned(),
            Freeze::UpTo(stage) => stage,
            Freeze::AllBut(count) => format!("all-but-{count}"),
        }
    }
}

/// How the learning rate changes within a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Always the same.
    Constant,
    /// Up in a straight line over the first twentieth, then down along a half cosine to zero.
    Cosine,
    /// From a 25th up over 30 % of the steps, then down to nearly nothing (Smith 2018).
    OneCycle,
    /// Up in a straight line over the first tenth, then down in one to zero: how BERT was fine-tuned (Devlin et al. 2018).
    Linear,
}

impl Schedule {
    /// Factor on the rate at `step` of `steps` (from 0).
    pub fn factor(self, step: usize, steps: usize) -> f64 {
        let half_cosine =
            |from: f64, to: f64, part: f64| to + (from - to) * 0.5 * (1.0 + (std::f64::consts::PI * part).cos());
        let (step, steps) = (step as f64, steps.max(1) as f64);
        match self {
            Self::Constant => 1.0,
            Self::Cosine => {
                let warm_up = (steps / 20.0).ceil();
                if step < warm_up {
                    (step + 1.0) / warm_up
                } else {
                    half_cosine(1.0, 0.0, (step - warm_up) / (steps - warm_up).max(1.0))
                }
            }
            Self::Linear => {
                let warm_up = (steps / 10.0).ceil();
                if step < warm_up { (step + 1.0) / warm_up } else { (steps - step) / (steps - warm_up).max(1.0) }
            }
            Self::OneCycle => {
                let rise = (0.3 * steps).max(1.0);
                if step < rise {
                    half_cosine(0.04, 1.0, step / rise)
                } else {
                    half_cosine(1.0, 4e-6, (step - rise) / (steps - rise).max(1.0))
                }
            }
        }
    }
}

impl Recipe {
    /// Reads `recipe.toml`.
    ///
    /// # Errors
    /// [`Error::Recipe`] with the line and what was expected.
    pub fn read(path: &std::path::Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        toml::from_str(&text).map_err(|error| Error::Recipe {
            reason: format!("`{}`: {error}", path.display()),
            help: "`headstart train DATA --print-recipe` writes a complete recipe to start from".to_owned(),
        })
    }

    /// The recipe as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a recipe holds only numbers, strings and tables")
    }

    /// Checks the numbers before any work is done.
    ///
    /// # Errors
    /// [`Error::Recipe`] naming the first value that cannot be used.
    pub fn check(&self) -> Result<()> {
        let fail = |reason: String, help: &str| Err(Error::Recipe { reason, help: help.to_owned() });
        self.check_original()?;
        if !self.head.original && (self.phases.is_empty() || self.phases.iter().all(|phase| phase.epochs == 0)) {
            return fail("there is nothing to train: no phase has an epoch".to_owned(), "set --epochs 10");
        }
        if self.batch == 0 {
            return fail("batch is 0".to_owned(), "set --batch 32");
        }
        if self.micro_batch == Some(0) {
            return fail("micro_batch is 0".to_owned(), "set --micro-batch 8, or leave it out");
        }
        if let Some(lora) = &self.lora {
            lora.check()?;
        }
        self.speech.augmentation.check()?;
        if let Some(steps) = self.steps_per_epoch.filter(|steps| !(1..=1_000_000_000).contains(steps)) {
            let reason = format!("{steps} steps per epoch are not between 1 and 1000000000");
            return fail(reason, "set --steps-per-epoch 10, or leave it out for all the data");
        }
        if self.views == 0 || self.views > 64 {
            return fail(format!("{} views are not between 1 and 64", self.views), "set views = 4");
        }
        if !(0.0..1.0).contains(&self.head.dropout) {
            return fail(format!("dropout {} is not in [0, 1)", self.head.dropout), "set --dropout 0.5");
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return fail(format!("label smoothing {} is not in [0, 1)", self.label_smoothing), "set it to 0.1 or 0");
        }
        if !(0.0..0.9).contains(&self.test) {
            return fail(format!("test fraction {} is not in [0, 0.9)", self.test), "set test = 0.1 or leave it out");
        }
        if self.gradient_clip.is_some_and(|limit| !(limit > 0.0 && limit.is_finite())) {
            return fail("gradient_clip is not above 0".to_owned(), "set it to 1.0 or leave it out");
        }
        if let Some(position) = self.phases.iter().position(|phase| phase.freeze == Freeze::Auto) {
            let before = &self.phases[..position];
            let frozen = before.iter().all(|phase| phase.freeze == Freeze::Backbone);
            if position + 1 != self.phases.len() || !frozen || before.iter().all(|phase| phase.epochs == 0) {
                return fail(
                    "a phase with freeze = \"auto\" is not the last one after frozen ones".to_owned(),
                    "put a phase with freeze = \"all\" and at least one epoch before it, and none behind it",
                );
            }
            if !self.keep_best {
                return fail(
                    "freeze = \"auto\" keeps the best epoch, so that the result is never below the frozen head"
                        .to_owned(),
                    "leave out --keep-last (keep_best = true)",
                );
            }
        } else if self.budget.is_some() {
            return fail("a budget is only for freeze = \"auto\"".to_owned(), "add --freeze auto, or set --epochs");
        }
        for phase in &self.phases {
            if !(phase.learning_rate > 0.0 && phase.learning_rate.is_finite()) {
                return fail(format!("learning rate {} is not above 0", phase.learning_rate), "set --lr 0.001");
            }
            if !(phase.stage_decay > 0.0 && phase.stage_decay <= 1.0) {
                return fail(format!("stage decay {} is not in (0, 1]", phase.stage_decay), "set stage_decay = 0.8");
            }
        }
        Ok(())
    }
}

impl Recipe {
    /// How much of the data goes where, of what the data set does not say itself.
    pub(crate) fn split_rule(&self) -> SplitRule {
        let validation = match self.validation {
            Validation::Fraction(fraction) => fraction,
            Validation::Folder(_) => 0.0,
        };
        SplitRule { validation, test: self.test, seed: self.seed }
    }

    /// A backbone with the products of its adapters in its matrices, if the recipe has adapters.
    pub(crate) fn without_adapters<'p>(&self, backbone: &'p Parameters) -> Result<Cow<'p, Parameters>> {
        Ok(match &self.lora {
            Some(lora) => Cow::Owned(lora.merged(backbone)?),
            None => Cow::Borrowed(backbone),
        })
    }
}

impl HeadRecipe {
    /// Whether the published classifier is a part of the network.
    pub(crate) fn needs_classifier(&self) -> bool {
        self.original || self.pool == Pool::Logits
    }
}

impl Recipe {
    /// What cannot go together with the published classifier.
    fn check_original(&self) -> Result<()> {
        let fail = |reason: &str, help: &str| Err(Error::Recipe { reason: reason.to_owned(), help: help.to_owned() });
        if self.data.as_os_str().is_empty() && !self.head.original {
            return fail(
                "there is no data set",
                "name a folder with a folder of photos for each class; only --head original needs none",
            );
        }
        if self.labels.is_some() && !self.head.original {
            return fail(
                "labels are only for --head original",
                "a new head is called after the folders: leave --labels out",
            );
        }
        if self.head.original && self.head.output != Output::Softmax {
            return fail("the published classifier ends in softmax", "leave out --output");
        }
        let learns = self.phases.iter().any(|phase| phase.epochs > 0);
        if self.data.as_os_str().is_empty() && learns {
            return fail("there is no data set to train on", "name a folder of photos, or leave out --epochs");
        }
        if self.head.pool == Pool::Logits && self.phases.iter().any(|phase| phase.freeze != Freeze::Backbone) {
            return fail(
                "a head on the outputs of the published classifier needs the whole network frozen",
                "leave out --freeze and --fine-tune, or take --head original to fine-tune the classifier itself",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_survives_toml() {
        let recipe = Recipe {
            data: "photos".into(),
            gradient_clip: Some(1.0),
            optimizer: Optimizer::Sgd { momentum: 0.9, weight_decay: 1e-4 },
            phases: vec![
                Phase::default(),
                Phase { freeze: Freeze::UpTo("stage6".into()), schedule: Schedule::Cosine, ..Phase::default() },
            ],
            ..Recipe::default()
        };
        assert_eq!(toml::from_str::<Recipe>(&recipe.to_toml()).unwrap(), recipe);
    }

    #[test]
    fn a_misspelt_key_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        std::fs::write(&path, "data = \"photos\"\nbacth = 8\n").unwrap();
        let message = Recipe::read(&path).unwrap_err().to_string();
        assert!(message.contains("bacth") && message.contains("line 2"), "{message}");
    }

    #[test]
    fn heads_are_read_as_they_are_written() {
        for text in [
            "linear",
            "mlp:256",
            "mlp:512,128",
            "flatten+mlp:256",
            "original",
            "original+linear",
            "first+linear",
            "last+mlp:8",
            "tokens+linear",
        ] {
            assert_eq!(text.parse::<HeadRecipe>().unwrap().to_string(), text);
        }
        for text in ["mlp:0", "mlp:", "conv", "linear:3", "mlp:-1", "original+", "original:3", "linear+original"] {
            assert!(text.parse::<HeadRecipe>().is_err(), "{text}");
        }
    }

    #[test]
    fn schedules_begin_and_end_where_they_say() {
        assert_eq!(Schedule::Constant.factor(3, 10), 1.0);
        assert!((Schedule::Cosine.factor(4, 100) - 1.0).abs() < 1e-9);
        assert!(Schedule::Cosine.factor(99, 100) < 1e-3);
        assert!((Schedule::OneCycle.factor(0, 100) - 0.04).abs() < 1e-9);
        assert!((Schedule::OneCycle.factor(30, 100) - 1.0).abs() < 1e-9);
        assert!(Schedule::OneCycle.factor(99, 100) < 1e-3);
        assert!((Schedule::Linear.factor(0, 100) - 0.1).abs() < 1e-9);
        assert!((Schedule::Linear.factor(10, 100) - 1.0).abs() < 1e-9);
        assert!((Schedule::Linear.factor(99, 100) - 1.0 / 90.0).abs() < 1e-9);
    }

    #[test]
    fn impossible_numbers_are_named_before_any_work() {
        assert!(Recipe::default().check().unwrap_err().to_string().contains("no data set"));
        let wrong = Recipe { data: "photos".into(), batch: 0, ..Recipe::default() };
        assert!(wrong.check().unwrap_err().to_string().contains("batch is 0"));
        let wrong = Recipe { phases: vec![Phase { learning_rate: f64::NAN, ..Phase::default() }], ..Recipe::default() };
        assert!(wrong.check().is_err());
        let usable = Recipe { data: "photos".into(), ..Recipe::default() };
        assert!(usable.check().is_ok());
        let original = HeadRecipe { original: true, ..HeadRecipe::default() };
        assert!(Recipe { head: original, phases: vec![], ..Recipe::default() }.check().is_ok());
        let logits = HeadRecipe { pool: Pool::Logits, ..HeadRecipe::default() };
        let open = Phase { freeze: Freeze::AllBut(1), ..Phase::default() };
        assert!(Recipe { head: logits, phases: vec![open], ..usable }.check().is_err());
    }
}
