//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::detection_arguments::{ConvertData, DetectArguments, DetectionOptions};

/// A pretrained model and a little data in, one small trustworthy model out.
#[derive(Debug, Parser)]
#[command(name = "headstart", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Learn from photos in a folder a class, pictures with boxes, labelled texts, or texts with tagged words
    Train(Box<Train>),
    /// Learn a language from plain text: a small BERT or GPT-2 to start from
    Pretrain(Box<Pretrain>),
    /// Say what is on new photos or in new texts
    Predict(Predict),
    /// Score a bundle on labelled photos or texts
    Evaluate(Evaluate),
    /// Write pictures with boxes in another layout: COCO, Pascal VOC or YOLO
    ConvertData(ConvertData),
    /// Write a bundle's model for Keras, TensorFlow.js, ONNX Runtime, or as plain weights
    Export(Export),
    /// Compute one part of the frozen features, for a job array
    Extract(Box<Extract>),
    /// Find a learning rate: try ever higher ones and show what the loss does
    LrFind(Box<LrFind>),
    /// Show what a weight file or a bundle holds
    Inspect(Inspect),
    /// List backbones, tasks, weight formats, data set layouts or export formats
    List(List),
    /// Show or clear cached features
    Cache(Cache),
    /// Make a small set of leaf pictures, learn them and predict a few
    Demo(Demo),
    /// Write completions for a shell
    Completions(Completions),
    /// Write the manual page
    Man,
}

/// What is shown of a run.
#[derive(Debug, Args, Clone, Copy)]
pub(crate) struct Output {
    /// Print one JSON event a line on standard output, the last one the report
    #[arg(long)]
    pub(crate) json: bool,
    /// Print nothing but the result
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) quiet: bool,
}

/// What decides the result of a run; everything has a sensible default.
#[derive(Debug, Args, Clone)]
pub(crate) struct RecipeOptions {
    /// A folder with a folder of photos for each class, or with train/ and val/ folders of such; pictures with boxes as
    /// COCO, Pascal VOC or YOLO lays them out; a table, JSON lines or
    /// folder of labelled texts; words with tags (CoNLL) or texts with spans. --head original needs none
    #[arg(value_name = "DATA", required_unless_present_any = ["recipe", "head"])]
    pub(crate) data: Option<PathBuf>,
    /// Start from this recipe; the other options change it
    #[arg(long, value_name = "FILE")]
    pub(crate) recipe: Option<PathBuf>,
    /// Task; found from the data when left out
    #[arg(long, value_name = "NAME")]
    pub(crate) task: Option<String>,
    /// Architecture, such as mobilenet_v2 or mobilenet_v2:0.5; found from the weights when given,
    /// fetched from its default repository when not
    #[arg(long, value_name = "NAME")]
    pub(crate) backbone: Option<String>,
    /// A weight file, a bundle, `hf:ORGANIZATION/NAME[@REVISION][:FILE]`, `embedded` (default) or `random`;
    /// for texts the folder or repository of a BERT or GPT-2, or random:FOLDER; for boxes Darknet's .cfg and .weights,
    /// or random:FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<String>,
    /// Side of the input in pixels; that of the weights when left out
    #[arg(long, value_name = "PIXELS")]
    pub(crate) size: Option<u32>,
    /// linear, mlp:256, mlp:512,128, or one of these after flatten+ or original+, for texts after first+ or last+;
    /// original is the published classifier
    #[arg(long)]
    pub(crate) head: Option<String>,
    /// With --head original: names of its outputs, a line each (default: those of ImageNet)
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Column of the texts in a table: its name, or its number from 1 (default: found)
    #[arg(long, value_name = "COLUMN")]
    pub(crate) text_column: Option<String>,
    /// Column of the classes in a table (default: found)
    #[arg(long, value_name = "COLUMN")]
    pub(crate) label_column: Option<String>,
    /// Most tokens of a text; the rest is cut off, and told (default: 256, or what the network has)
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<usize>,
    /// Of recordings: the letters that are written, one a line as in DeepSpeech's alphabet.txt (default: those of the
    /// training transcripts)
    #[arg(long, value_name = "FILE")]
    pub(crate) alphabet: Option<PathBuf>,
    /// Of recordings: layers of the pretrained network that begin anew, from the one that writes letters down: 1 to 6
    #[arg(long, value_name = "N")]
    pub(crate) drop_source_layers: Option<usize>,
    /// Of recordings: learn transcripts as they are written, with capitals and punctuation
    #[arg(long)]
    pub(crate) as_written: bool,
    /// Of recordings: whether a speaker may be on both sides of the split (default: apart if there are many)
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) speakers: Option<SpeakersChoice>,
    /// Dropout in the head
    #[arg(long, value_name = "RATE")]
    pub(crate) dropout: Option<f32>,
    /// Last activation; sigmoid is one unit for two classes
    #[arg(long, value_enum)]
    pub(crate) output: Option<Activation>,
    /// What does not learn: all, none, all-but-2 stages, everything up to a stage, or what suits the photos
    #[arg(long, value_name = "all|all-but-N|STAGE|none|auto")]
    pub(crate) freeze: Option<String>,
    /// Epochs of the head
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<usize>,
    /// Then this many epochs with the last stages open (or those above --freeze)
    #[arg(long, value_name = "N")]
    pub(crate) fine_tune: Option<usize>,
    /// With --freeze auto: about how long choosing and training may take; not reproducible on another machine
    #[arg(long, value_name = "90s|10m|1h")]
    pub(crate) budget: Option<String>,
    /// Texts, with --fine-tune: open the last 1, 2, … K layers for an epoch each before everything learns
    #[arg(long, value_name = "K", requires = "fine_tune")]
    pub(crate) gradual: Option<usize>,
    /// Texts: instead of the layers, small adapters on their attention learn (LoRA), of this rank; needs --fine-tune
    #[arg(long, value_name = "RANK[:ALPHA]", requires = "fine_tune")]
    pub(crate) lora: Option<String>,
    /// How the bundle holds adapters: apart from the published weights, merged into them, or without them
    #[arg(long, value_enum, requires = "lora")]
    pub(crate) lora_store: Option<LoraStored>,
    /// Examples a step
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<usize>,
    /// Most examples computed at once, to save memory; a step still learns from the whole batch
    #[arg(long, value_name = "N")]
    pub(crate) micro_batch: Option<usize>,
    /// Steps that count as an epoch; the data goes round (default: all of it once)
    #[arg(long, value_name = "N")]
    pub(crate) steps_per_epoch: Option<usize>,
    /// Learning rate
    #[arg(long, value_name = "RATE")]
    pub(crate) lr: Option<f64>,
    /// How the learning rate changes
    #[arg(long, value_enum)]
    pub(crate) schedule: Option<Schedule>,
    /// How gradients become steps
    #[arg(long, value_enum)]
    pub(crate) optimizer: Option<OptimizerName>,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Views of each training photo: the plain one and augmented ones
    #[arg(long, value_name = "K")]
    pub(crate) views: Option<u32>,
    /// Validation photos: another folder, or a fraction of the training photos
    #[arg(long, value_name = "DIR|FRACTION")]
    pub(crate) val: Option<String>,
    /// Fraction of the photos kept aside as a test set
    #[arg(long, value_name = "FRACTION")]
    pub(crate) test: Option<f32>,
    /// Make rare classes count as much as common ones
    #[arg(long)]
    pub(crate) balanced: bool,
    /// Soften the targets by this much
    #[arg(long, value_name = "S")]
    pub(crate) label_smoothing: Option<f32>,
    /// End a phase after this many epochs without a better validation score
    #[arg(long, value_name = "EPOCHS")]
    pub(crate) patience: Option<usize>,
    /// Keep the weights of the last epoch instead of the best
    #[arg(long)]
    pub(crate) keep_last: bool,
    /// Store cached features in half precision
    #[arg(long)]
    pub(crate) f16_features: bool,
    /// Extract features in bf16: faster, for processors with AVX-512 BF16; the bundle stays f32
    #[arg(long)]
    pub(crate) bf16: bool,
    #[command(flatten)]
    pub(crate) detection: DetectionOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Train {
    #[command(flatten)]
    pub(crate) recipe: RecipeOptions,
    /// The bundle to write (default: the folder's name with .headstart)
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Go on from where an interrupted run of the same recipe stopped
    #[arg(long)]
    pub(crate) resume: bool,
    /// Worker threads (default: all cores)
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Print the recipe as TOML instead of running it
    #[arg(long)]
    pub(crate) print_recipe: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Pretrain {
    /// Text files with a sentence or a paragraph a line, folders of .txt, tables or other labelled texts
    #[arg(value_name = "CORPUS", required = true)]
    pub(crate) corpus: Vec<PathBuf>,
    /// What is learned to be said: hidden words (makes a BERT) or the next one (a GPT-2)
    #[arg(long, value_enum)]
    pub(crate) task: PretrainTask,
    /// The folder to write (default: the corpus's name with -bert or -gpt2)
    #[arg(long = "output", visible_alias = "out", short = 'o', value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// Go on from the network in this folder (or `embedded`), with its tokenizer, instead of a new one
    #[arg(long, value_name = "FOLDER",
        conflicts_with_all = ["width", "layers", "heads", "hidden", "vocabulary", "cased"])]
    pub(crate) weights: Option<PathBuf>,
    /// Column of the texts in a table: its name, or its number from 1 (default: found)
    #[arg(long, value_name = "COLUMN")]
    pub(crate) text_column: Option<String>,
    /// Values of a token (default: 128)
    #[arg(long, value_name = "N")]
    pub(crate) width: Option<usize>,
    /// Layers (default: 4)
    #[arg(long, value_name = "N")]
    pub(crate) layers: Option<usize>,
    /// Heads of attention (default: 4)
    #[arg(long, value_name = "N")]
    pub(crate) heads: Option<usize>,
    /// Values between the dense layers (default: four times the width)
    #[arg(long, value_name = "N")]
    pub(crate) hidden: Option<usize>,
    /// Tokens of the vocabulary (default: what the texts give, 8000 at most)
    #[arg(long, value_name = "N")]
    pub(crate) vocabulary: Option<usize>,
    /// Keep case and accents (a GPT-2 always does)
    #[arg(long)]
    pub(crate) cased: bool,
    /// Most tokens of a sequence; longer lines become several (default: 128)
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<usize>,
    /// Tokens a step, about (default: 2048)
    #[arg(long, value_name = "TOKENS")]
    pub(crate) batch: Option<usize>,
    /// Rounds through the texts (default: 10)
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<usize>,
    /// Steps instead of rounds
    #[arg(long, value_name = "N", conflicts_with = "epochs")]
    pub(crate) steps: Option<usize>,
    /// Highest learning rate, after a tenth of the steps (default: 1e-3, with --weights 1e-4)
    #[arg(long, value_name = "RATE")]
    pub(crate) lr: Option<f64>,
    /// Weight decay (default: 0.01)
    #[arg(long, value_name = "RATE")]
    pub(crate) weight_decay: Option<f64>,
    /// Dropout while it learns (default: 0.1, or that of --weights)
    #[arg(long, value_name = "RATE")]
    pub(crate) dropout: Option<f32>,
    /// Part of the texts that is scored on and not learned from (default: 0.05)
    #[arg(long, value_name = "FRACTION")]
    pub(crate) held_out: Option<f32>,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Store the weights in half precision
    #[arg(long)]
    pub(crate) f16: bool,
    /// Go on from where an interrupted run with the same options stopped
    #[arg(long)]
    pub(crate) resume: bool,
    /// Worker threads (default: all cores)
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Predict {
    /// A bundle that `headstart train` wrote
    pub(crate) bundle: PathBuf,
    /// Photos or recordings, folders of them, or - for a list of paths on standard input; for a bundle of texts
    /// a text, a file with one a line, or - for lines on standard input
    #[arg(required = true, value_name = "PHOTO|RECORDING|TEXT")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Show the K most probable classes
    #[arg(long, short = 'k', default_value_t = 1, value_name = "K")]
    pub(crate) top: usize,
    /// For a bundle of adapters alone: the published weights that they stand on
    #[arg(long, value_name = "FOLDER")]
    pub(crate) weights: Option<PathBuf>,
    /// Worker threads (default: all cores)
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Do not check that the bundle gives its recorded outputs here
    #[arg(long)]
    pub(crate) no_self_test: bool,
    #[command(flatten)]
    pub(crate) writing: WritingOptions,
    /// Print one JSON object a photo, recording or text
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) detect: DetectArguments,
}

/// How transcripts are chosen.
#[derive(Debug, Args)]
pub(crate) struct WritingOptions {
    /// Of recordings: a model of words in ARPA's format, which weighs transcripts
    #[arg(long, value_name = "FILE")]
    pub(crate) language_model: Option<PathBuf>,
    /// Of recordings: search among this many transcripts instead of taking the likeliest letter of each frame
    /// (default with a language model: 100)
    #[arg(long, value_name = "WIDTH")]
    pub(crate) beam: Option<usize>,
    /// Weight of the language model (default: 0.93)
    #[arg(long, value_name = "WEIGHT", requires = "language_model")]
    pub(crate) alpha: Option<f64>,
    /// Added for each word (default: 1.18)
    #[arg(long, value_name = "NATS", requires = "language_model")]
    pub(crate) beta: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct Evaluate {
    /// A bundle that `headstart train` wrote
    pub(crate) bundle: PathBuf,
    /// Labelled photos, recordings or texts; of train, validation and test parts the last is scored
    pub(crate) data: PathBuf,
    /// For a bundle of adapters alone: the published weights that they stand on
    #[arg(long, value_name = "FOLDER")]
    pub(crate) weights: Option<PathBuf>,
    /// Worker threads (default: all cores)
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Do not check that the bundle gives its recorded outputs here
    #[arg(long)]
    pub(crate) no_self_test: bool,
    #[command(flatten)]
    pub(crate) writing: WritingOptions,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// A bundle that `headstart train` wrote
    pub(crate) bundle: PathBuf,
    /// safetensors, keras, tfjs or onnx; `headstart list exports` says more
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: String,
    /// The file or folder to write (default: the bundle's name with the format's ending)
    #[arg(long, short, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,
    /// Do not check that the bundle gives its recorded outputs here
    #[arg(long)]
    pub(crate) no_self_test: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Extract {
    #[command(flatten)]
    pub(crate) recipe: RecipeOptions,
    /// Which part, from 0
    #[arg(long, default_value_t = 0, value_name = "I")]
    pub(crate) shard: usize,
    /// Of how many parts
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) of: usize,
    /// Worker threads (default: all cores)
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct LrFind {
    #[command(flatten)]
    pub(crate) recipe: RecipeOptions,
    /// First rate
    #[arg(long, value_name = "RATE", default_value_t = 1e-6)]
    pub(crate) from: f64,
    /// Last rate, if the loss lets it come so far
    #[arg(long, value_name = "RATE", default_value_t = 1.0)]
    pub(crate) to: f64,
    /// Steps from the first to the last rate
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) steps: usize,
    /// Draw the curve into this picture
    #[arg(long, value_name = "FILE")]
    pub(crate) png: Option<PathBuf>,
    /// Worker threads (default: all cores)
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A weight file or a bundle
    pub(crate) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// What to list
    #[arg(value_enum)]
    pub(crate) what: Listed,
    /// With backbones: the stages that --freeze can name
    #[arg(long)]
    pub(crate) stages: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cache {
    /// What to do
    #[arg(value_enum)]
    pub(crate) action: CacheAction,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Folder for the pictures and the bundle (default: headstart-demo)
    #[arg(long, value_name = "DIR", default_value = "headstart-demo")]
    pub(crate) folder: PathBuf,
    /// Pictures of each species
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(crate) per_class: usize,
    /// Worker threads (default: all cores)
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum PretrainTask {
    MaskedLm,
    CausalLm,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Activation {
    Softmax,
    Sigmoid,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SpeakersChoice {
    Apart,
    Mixed,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LoraStored {
    Apart,
    Merged,
    Alone,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Schedule {
    Constant,
    Cosine,
    Linear,
    OneCycle,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum OptimizerName {
    Adam,
    Adamw,
    Sgd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listed {
    Backbones,
    Tasks,
    Formats,
    Layouts,
    Exports,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum CacheAction {
    /// List feature sets
    Ls,
    /// Remove all of them
    Clear,
}
