//! What is said in a recording, letter by letter. Letters and recordings need not be aligned: that is what CTC is for.

pub mod decode;
pub mod metrics;

pub(crate) mod data;
pub(crate) mod loss;

use burn::tensor::{Device, Tensor};
use headstart_data::layouts;
use headstart_data::speech::error_rate;

pub use data::Transcribed;
use loss::Labels;
use metrics::SpeechMetrics;

use super::image_classification::ClassificationHead;
use super::metrics::Metrics;
use super::{Asked, Part, Reads, Score, Task, TaskSpec, View};
use crate::error::{Error, Result};
use crate::features::FeatureLayout;
use crate::load::{Writing, carried};
use crate::network::Network;
use crate::nn::DeepSpeechShape;
use crate::parameters::{ParameterSpec, Parameters};
use crate::rate_finder::find_rates_task;
use crate::recipe::{HeadRecipe, Output, Pool, Recipe, SpeechRecipe};
use crate::run::{self, RunOptions};
use crate::train::observer::{Event, Observer};

/// The registry row.
pub(crate) static SPEC: TaskSpec = TaskSpec {
    name: SpeechRecognition::NAME,
    summary: "recordings with transcripts (DeepSpeech CSV, Common Voice, LJSpeech, name.wav + name.txt) → a transcript of a new one",
    reads: Reads::Speech,
    recognizes: layouts::holds_transcripts,
    run: run::run_task::<SpeechRecognition>,
    extract: run::extract_task::<SpeechRecognition>,
    find_rates: find_rates_task::<SpeechRecognition>,
};

/// Recordings with transcripts opened for recognition.
#[derive(Debug)]
pub struct SpeechRecognition {
    speech: Transcribed,
    recipe: SpeechRecipe,
    shape: DeepSpeechShape,
}

impl SpeechRecognition {
    fn letters(&self, part: Part, examples: &[usize]) -> Labels {
        let letters = &self.speech.part(part).letters;
        Labels::new(examples.iter().map(|&example| letters[example].as_slice()))
    }

    /// Characters that need no correction, and all of them.
    fn right(&self, part: Part, asked: Asked<'_>, outputs: &[f32]) -> (usize, usize) {
        let transcripts = &self.speech.part(part).transcripts;
        let written = self.written(outputs, asked.rows);
        let each = written.iter().zip(asked.examples).map(|(written, &example)| {
            let edits = error_rate::characters(&transcripts[example], written);
            let count = edits.hits + edits.substitutions + edits.deletions;
            (count.saturating_sub(edits.errors()), count)
        });
        each.fold((0, 0), |sum, (right, count)| (sum.0 + right, sum.1 + count))
    }

    /// Most probable transcripts without a language model, from outputs `[frames of all, letters + 1]`.
    fn written(&self, outputs: &[f32], rows: &[usize]) -> Vec<String> {
        let classes = self.labels().len();
        let mut rest = outputs;
        let transcript = |&frames: &usize| {
            let (outputs, after) = rest.split_at(frames * classes);
            rest = after;
            decode::greedy_text(outputs, &self.speech.writing.alphabet)
        };
        rows.iter().map(transcript).collect()
    }
}

impl Task for SpeechRecognition {
    const NAME: &'static str = "speech_recognition";
    const READS: Reads = Reads::Speech;

    type Head = ClassificationHead;

    fn open(recipe: &Recipe, network: &Network, options: &RunOptions, observer: &mut dyn Observer) -> Result<Self> {
        let shape = network.speech()?.shape;
        let speech = Transcribed::open(recipe, &shape, options, observer)?;
        Ok(Self { speech, recipe: recipe.speech.clone(), shape })
    }

    /// Every frame has an output, whatever pooling was left at its default.
    fn head_recipe(&self, asked: &HeadRecipe) -> Result<HeadRecipe> {
        let fail = |reason: &str, help: &str| Err(Error::Recipe { reason: reason.to_owned(), help: help.to_owned() });
        if asked.original || !matches!(asked.pool, Pool::Average | Pool::Tokens) {
            return fail("a head that writes letters reads every frame", "write --head linear or mlp:256");
        }
        if asked.output != Output::Softmax {
            return fail("a frame says one letter of many, or none", "leave --output out");
        }
        Ok(HeadRecipe { pool: Pool::Tokens, ..asked.clone() })
    }

    fn labels(&self) -> &[String] {
        self.speech.labels()
    }

    /// A recording, and what is to be written of it.
    fn digests(&self, part: Part) -> Vec<[u8; 32]> {
        let part = self.speech.part(part);
        let digest = |(recording, transcript): (&super::recordings::Recording, &String)| {
            *blake3::keyed_hash(&recording.digest, transcript.as_bytes()).as_bytes()
        };
        part.recordings.iter().zip(&part.transcripts).map(digest).collect()
    }

    fn skipped_count(&self) -> usize {
        self.speech.skipped_count()
    }

    fn input(&self, part: Part, index: usize, _network: &Network, view: View<'_>) -> Result<Vec<f32>> {
        self.speech.part(part).recordings[index].frames(&self.shape, &self.recipe, view)
    }

    fn head_parameters(&self, recipe: &HeadRecipe, layout: FeatureLayout) -> Vec<ParameterSpec> {
        ClassificationHead::parameters(recipe, layout, self.labels().len())
    }

    /// Letters of the pretrained network go on where they are; `ä` begins as `a` where there was none.
    fn begin_head(&self, network: &Network, random: Parameters, observer: &mut dyn Observer) -> Result<Parameters> {
        let shape = [network.speech()?.shape.hidden, self.labels().len()];
        let Some(writer) = &network.speech()?.writer else { return Ok(random) };
        if random.find("output.weight")?.shape != shape {
            return Ok(random); // behind hidden layers
        }
        let (head, from) = carried(writer, &self.speech.writing.alphabet, &random)?;
        let letters = self.speech.writing.alphabet.len();
        let message = format!("{from} of {letters} letters begin as the pretrained network writes them or a relative");
        observer.event(&Event::Note { message });
        Ok(head)
    }

    fn writing(&self) -> Option<Writing> {
        Some(self.speech.writing.clone())
    }

    fn load_head(&self, recipe: &HeadRecipe, parameters: &Parameters, device: &Device) -> Result<ClassificationHead> {
        ClassificationHead::load(recipe, parameters, device)
    }

    /// `outputs` is `[frames of all, letters + 1]`.
    fn loss(&self, _recipe: &Recipe, outputs: Tensor<2>, asked: Asked<'_>) -> Tensor<1> {
        loss::mean_loss(outputs, asked.rows, &self.letters(Part::Train, asked.examples))
    }

    fn training_score(&self, _recipe: &Recipe, asked: Asked<'_>, outputs: &[f32], loss: f32) -> Score {
        let (correct, count) = self.right(Part::Train, asked, outputs);
        Score { correct, count, ..Score::of_mean_loss(loss, asked.examples.len()) }
    }

    fn score(&self, _recipe: &Recipe, part: Part, asked: Asked<'_>, outputs: &[f32]) -> Score {
        let labels = self.letters(part, asked.examples);
        let losses = loss::losses_of(outputs, asked.rows, self.labels().len(), &labels);
        let (correct, count) = self.right(part, asked, outputs);
        let loss_sum = losses.iter().map(|loss| f64::from(*loss)).sum();
        Score { loss_sum, losses: losses.len(), correct, count, found: None }
    }

    fn metrics(&self, _recipe: &Recipe, part: Part, outputs: &[f32], rows: &[usize]) -> Metrics {
        let all: Vec<usize> = (0..rows.len()).collect();
        let losses = loss::losses_of(outputs, rows, self.labels().len(), &self.letters(part, &all));
        let counted = losses.iter().filter(|loss| **loss > 0.0).count().max(1);
        let loss = losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / counted as f64;
        let written = self.written(outputs, rows);
        let transcripts = self.speech.part(part).transcripts.iter().map(String::as_str);
        let pairs: Vec<(&str, &str)> = transcripts.zip(written.iter().map(String::as_str)).collect();
        Metrics::Speech(SpeechMetrics::new(&pairs, Some(loss)))
    }
}
