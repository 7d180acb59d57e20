//! A class of a recording: keywords, digits, sounds. A folder for each class, or names that say it.

use burn::tensor::{Device, Tensor};
use headstart_data::layouts;
use headstart_data::speech::{SpeechSet, SpeechTarget};

use super::classes::{Truth, check_output};
use super::image_classification::{ClassificationHead, loss};
use super::metrics::Metrics;
use super::recordings::{Recording, SplitRecordings};
use super::{Asked, Part, Reads, Score, Task, TaskSpec, View};
use crate::error::{Error, Result};
use crate::features::FeatureLayout;
use crate::labels;
use crate::network::Network;
use crate::nn::DeepSpeechShape;
use crate::parameters::{ParameterSpec, Parameters};
use crate::rate_finder::find_rates_task;
use crate::recipe::{HeadRecipe, Pool, Recipe, SpeechRecipe};
use crate::run::{self, RunOptions};
use crate::train::observer::Observer;

/// The registry row.
pub(crate) static SPEC: TaskSpec = TaskSpec {
    name: AudioClassification::NAME,
    summary: "a folder of recordings for each class (keywords, digits, sounds) → the class of a new one",
    reads: Reads::Speech,
    recognizes: layouts::holds_sounds,
    run: run::run_task::<AudioClassification>,
    extract: run::extract_task::<AudioClassification>,
    find_rates: find_rates_task::<AudioClassification>,
};

/// Recordings with a class each.
#[derive(Debug)]
pub struct AudioClassification {
    classes: Vec<String>,
    parts: [PartSounds; 3],
    skipped: usize,
    class_weights: Vec<f32>,
    recipe: SpeechRecipe,
    shape: DeepSpeechShape,
}

#[derive(Debug, Default)]
struct PartSounds {
    recordings: Vec<Recording>,
    labels: Vec<usize>,
}

/// Refuses a data set of transcripts.
fn check(set: &SpeechSet) -> Result<()> {
    if !set.classes.is_empty() {
        return Ok(());
    }
    Err(Error::Recipe {
        reason: format!("`{}` has a transcript for each recording, and no classes", set.root.display()),
        help: "leave --task out: the task is found from the data".to_owned(),
    })
}

impl AudioClassification {
    fn truth<'a>(&'a self, recipe: &'a Recipe, part: Part) -> Truth<'a> {
        Truth { recipe, labels: &self.parts[part.index()].labels, classes: self.classes.len() }
    }
}

impl Task for AudioClassification {
    const NAME: &'static str = "audio_classification";
    const READS: Reads = Reads::Speech;

    type Head = ClassificationHead;

    fn open(recipe: &Recipe, network: &Network, options: &RunOptions, observer: &mut dyn Observer) -> Result<Self> {
        let shape = network.speech()?.shape;
        let split = SplitRecordings::open(recipe, &check, options, observer)?;
        let mut parts: [PartSounds; 3] = Default::default();
        for (scanned, part) in split.recordings.iter().zip(&split.splits) {
            let SpeechTarget::Class(label) = scanned.utterance.target else { continue };
            let part = &mut parts[Part::from(*part).index()];
            part.recordings.push(Recording { path: scanned.utterance.path.clone(), digest: scanned.digest });
            part.labels.push(label);
        }
        let learned = &parts[Part::Train.index()].labels;
        let missing = labels::without_example(&split.classes, learned);
        if !missing.is_empty() {
            return Err(Error::Recipe {
                reason: format!(
                    "`{}` has no usable training recording of {}",
                    recipe.data.display(),
                    missing.join(", ")
                ),
                help: "add recordings to the class or remove it".to_owned(),
            });
        }
        split.tell(&split.classes, observer);
        let class_weights = loss::class_weights(recipe.class_weights, learned, split.classes.len());
        let SplitRecordings { classes, skipped, .. } = split;
        Ok(Self { classes, parts, skipped, class_weights, recipe: recipe.speech.clone(), shape })
    }

    fn head_recipe(&self, asked: &HeadRecipe) -> Result<HeadRecipe> {
        if asked.original || matches!(asked.pool, Pool::Flatten | Pool::Logits | Pool::Tokens) {
            return Err(Error::Recipe {
                reason: "a head of recordings takes the average, the first or the last frame".to_owned(),
                help: "write --head linear or last+mlp:256".to_owned(),
            });
        }
        check_output(asked, self.classes.len())?;
        Ok(asked.clone())
    }

    fn labels(&self) -> &[String] {
        &self.classes
    }

    fn digests(&self, part: Part) -> Vec<[u8; 32]> {
        let part = &self.parts[part.index()];
        let digest = |(recording, label): (&Recording, &usize)| {
            *blake3::keyed_hash(&recording.digest, &(*label as u64).to_le_bytes()).as_bytes()
        };
        part.recordings.iter().zip(&part.labels).map(digest).collect()
    }

    fn classes(&self, part: Part) -> Option<Vec<usize>> {
        Some(self.parts[part.index()].labels.clone())
    }

    fn skipped_count(&self) -> usize {
        self.skipped
    }

    fn input(&self, part: Part, index: usize, _network: &Network, view: View<'_>) -> Result<Vec<f32>> {
        self.parts[part.index()].recordings[index].frames(&self.shape, &self.recipe, view)
    }

    fn head_parameters(&self, recipe: &HeadRecipe, layout: FeatureLayout) -> Vec<ParameterSpec> {
        ClassificationHead::parameters(recipe, layout, self.classes.len())
    }

    fn load_head(&self, recipe: &HeadRecipe, parameters: &Parameters, device: &Device) -> Result<ClassificationHead> {
        ClassificationHead::load(recipe, parameters, device)
    }

    fn loss(&self, recipe: &Recipe, outputs: Tensor<2>, asked: Asked<'_>) -> Tensor<1> {
        self.truth(recipe, Part::Train).loss(outputs, asked.examples, &self.class_weights)
    }

    fn score(&self, recipe: &Recipe, part: Part, asked: Asked<'_>, outputs: &[f32]) -> Score {
        self.truth(recipe, part).score(asked.examples, outputs)
    }

    fn metrics(&self, recipe: &Recipe, part: Part, outputs: &[f32], _rows: &[usize]) -> Metrics {
        Metrics::Classes(self.truth(recipe, part).metrics(outputs))
    }
}
