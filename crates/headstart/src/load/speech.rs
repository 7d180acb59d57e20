//! A published DeepSpeech: its arrays, and the letters that its last layer writes, from the alphabet beside it.

use std::path::{Path, PathBuf};

use headstart_data::audio::SAMPLE_RATE;
use headstart_data::audio::features::FeatureSpec;
use headstart_data::speech::alphabet::Alphabet;
use headstart_data::speech::style::TranscriptStyle;
use headstart_weights::{self as weights, ArrayInfo, Checkpoint};
use serde::{Deserialize, Serialize};

use super::file_name;
use crate::backbones::{SPEECH, SpeechBackbone, SpeechNames};
use crate::error::{Error, Result};
use crate::name_map::{Matching, shapes_of};
use crate::nn::DeepSpeechShape;
use crate::parameters::{Parameter, Parameters};

/// Width of a network that is begun from nothing.
const UNTRAINED_WIDTH: usize = 256;

/// A pretrained network of recordings.
#[derive(Debug, Clone)]
pub struct PretrainedSpeech {
    /// The architecture.
    pub spec: &'static SpeechBackbone,
    /// Whose names the file has.
    pub family: &'static str,
    /// Its size.
    pub shape: DeepSpeechShape,
    /// Arrays under our names.
    pub parameters: Parameters,
    /// The layer that writes letters, if the file has it and it is known which letters.
    pub writer: Option<Writer>,
    /// Name of the file, or `random`.
    pub source: String,
    /// Licence that the weights state.
    pub licence: Option<String>,
    /// Arrays of the file that were not needed.
    pub unused: Vec<String>,
    /// What a user should be told.
    pub notes: Vec<String>,
}

/// Which letters a network writes, and how transcripts are written in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writing {
    /// Letters in the order of the outputs; the blank is behind them.
    pub alphabet: Alphabet,
    /// How transcripts are written.
    pub style: TranscriptStyle,
}

/// A layer that writes letters.
#[derive(Debug, Clone)]
pub struct Writer {
    /// Which letters.
    pub writing: Writing,
    /// `output.weight` `[hidden, letters + 1]` and `output.bias`.
    pub parameters: Parameters,
}

impl PretrainedSpeech {
    /// A network before any training: `deepspeech`, or `deepspeech:512` with 512 units.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::Recipe`] for a width that is none.
    pub fn random(backbone: Option<&str>, seed: u64) -> Result<Self> {
        let (name, width) = match backbone.map(|name| name.split_once(':').unwrap_or((name, ""))) {
            Some((name, "")) => (name, UNTRAINED_WIDTH),
            Some((name, width)) => match width.parse() {
                Ok(width) if (1..=1 << 14).contains(&width) => (name, width),
                _ => {
                    return Err(Error::Recipe {
                        reason: format!("`{name}:{width}` names no number of units"),
                        help: "write deepspeech:512 for a DeepSpeech with layers of 512 units".to_owned(),
                    });
                }
            },
            None => (SPEECH[0].name, UNTRAINED_WIDTH),
        };
        let spec = SPEECH.iter().find(|spec| spec.name == name).ok_or_else(|| Error::UnknownName {
            kind: "backbone of recordings",
            name: name.to_owned(),
            known: SPEECH.iter().map(|spec| spec.name.to_owned()).collect(),
        })?;
        let shape = DeepSpeechShape::of_width(width);
        Ok(Self {
            spec,
            family: "random",
            shape,
            parameters: Parameters::initialize(&shape.parameters(), seed),
            writer: None,
            source: "random".to_owned(),
            licence: None,
            unused: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// BLAKE3 of the arrays, those of the layer that writes letters included.
    pub fn digest(&self) -> String {
        let mut all = self.parameters.clone();
        if let Some(writer) = &self.writer {
            all.extend(writer.parameters.with_prefix("writer."));
        }
        all.digest()
    }

    /// The same network with its last `count` layers as before any training, counted as DeepSpeech counts
    /// `--drop_source_layers`: 1 is the layer that writes letters, 2 that and the fifth, 5 all behind the second.
    ///
    /// # Errors
    /// [`Error::Recipe`] for more than 6 layers.
    pub fn without_last(mut self, count: usize, seed: u64) -> Result<Self> {
        let stages = self.shape.stages();
        if count > stages.len() + 1 {
            return Err(Error::Recipe {
                reason: format!("there are no {count} layers to drop"),
                help: format!(
                    "a DeepSpeech has {}: set --drop-source-layers 1 to begin the letters anew",
                    stages.len() + 1
                ),
            });
        }
        if count > 0 {
            self.writer = None;
        }
        let kept = stages.len() + 1 - count.max(1);
        for spec in self.shape.parameters() {
            if self.shape.stage_of(&spec.name).is_some_and(|stage| stage >= kept) {
                self.parameters.insert(spec.name.clone(), spec.initialize(seed));
            }
        }
        Ok(self)
    }

    /// The same network untrained, the control of every claim about transfer.
    pub fn untrained(mut self, seed: u64) -> Self {
        self.parameters = Parameters::initialize(&self.shape.parameters(), seed);
        self.writer = None;
        self.source = "random".to_owned();
        self
    }
}

impl DeepSpeechShape {
    /// The features that a network of this shape hears.
    pub fn features(&self) -> FeatureSpec {
        let published = FeatureSpec::deepspeech();
        FeatureSpec::tensorflow(published.window, published.step, self.cepstra, f64::from(SAMPLE_RATE) / 2.0)
    }
}

/// Loads a checkpoint or a frozen graph of DeepSpeech. Letters are those of `alphabet` or of the `alphabet.txt` beside it.
///
/// # Errors
/// Of the readers; [`Error::Misfit`] with the nearest miss; [`Error::Recipe`] for an alphabet that the network does not write.
pub fn load_speech(path: &Path, alphabet: Option<&Path>) -> Result<PretrainedSpeech> {
    let checkpoint = weights::open(path)?;
    let spec = SPEECH[0];
    let arrays = checkpoint.arrays();
    let misfit = |detail: String| Error::Misfit { path: path.into(), backbone: spec.name.to_owned(), detail };
    let family = spec.families.iter().find_map(|family| Some((family, find(arrays, family.first)?)));
    let Some((family, first)) = family else {
        let names: Vec<&str> = spec.families.iter().map(|family| family.first).collect();
        return Err(misfit(format!("it has none of the arrays {}", names.join(", "))));
    };
    let shape = (spec.read_shape)(first).map_err(misfit)?;
    let shapes = shapes_of(shape.parameters());
    let names: Vec<String> = arrays.iter().map(|array| array.name.clone()).collect();
    let entries = (family.entries)();
    let ignore: Vec<&str> = spec.ignore.iter().copied().chain(family.output).collect();
    let matching = Matching::of(arrays, &names, &entries, &shapes, &ignore);
    if !matching.is_complete() {
        return Err(misfit(matching.first_error(&format!("{} ({} names)", spec.name, family.family))));
    }
    let mut parameters = matching.read(checkpoint.as_ref(), entries, &shapes)?;
    add_forget_bias(&mut parameters, family.forget_bias, shape.hidden)?;
    let mut notes = Vec::new();
    let writer = writer(checkpoint.as_ref(), family, &shape, alphabet, path, &mut notes)?;
    Ok(PretrainedSpeech {
        spec,
        family: family.family,
        shape,
        parameters,
        writer,
        source: file_name(path),
        licence: None,
        // A frozen graph also holds the constants of its other operations.
        unused: matching.unused.into_iter().filter(|name| is_weight(name)).collect(),
        notes,
    })
}

/// Whether a name is one that layers give to their arrays.
fn is_weight(name: &str) -> bool {
    ["weights", "bias", "kernel"].contains(&name.rsplit('/').next().unwrap_or(name))
}

fn find<'a>(arrays: &'a [ArrayInfo], name: &str) -> Option<&'a ArrayInfo> {
    arrays.iter().find(|array| array.name == name)
}

/// What the cell adds beside its bias becomes a part of it.
fn add_forget_bias(parameters: &mut Parameters, forget_bias: f32, hidden: usize) -> Result<()> {
    if forget_bias != 0.0 {
        let mut bias = parameters.find("lstm.bias")?.clone();
        bias.values[2 * hidden..3 * hidden].iter_mut().for_each(|value| *value += forget_bias);
        parameters.insert("lstm.bias", bias);
    }
    Ok(())
}

/// The last layer of a file with its letters; `None`, and a note, where it is not known which they are.
fn writer(
    checkpoint: &dyn Checkpoint,
    family: &SpeechNames,
    shape: &DeepSpeechShape,
    alphabet: Option<&Path>,
    path: &Path,
    notes: &mut Vec<String>,
) -> Result<Option<Writer>> {
    let [weight, bias] = family.output.map(|name| find(checkpoint.arrays(), name));
    let (Some(weight), Some(bias)) = (weight, bias) else { return Ok(None) };
    let outputs = bias.shape.first().copied().unwrap_or(0);
    if weight.shape != [shape.hidden, outputs] || bias.shape.len() != 1 {
        return Err(Error::Misfit {
            path: path.into(),
            backbone: "deepspeech".to_owned(),
            detail: format!("`{}` is {:?}, expected [{}, {outputs}]", weight.name, weight.shape, shape.hidden),
        });
    }
    let beside = beside(path);
    let alphabet = match alphabet.or(beside.as_deref()) {
        Some(file) => {
            let alphabet = Alphabet::read(file)?;
            if alphabet.len() + 1 != outputs {
                return Err(Error::Recipe {
                    reason: format!(
                        "`{}` has {} letters, and `{}` writes {} and a blank",
                        file.display(),
                        alphabet.len(),
                        path.display(),
                        outputs.saturating_sub(1)
                    ),
                    help: "take the alphabet.txt that was published with these weights".to_owned(),
                });
            }
            alphabet
        }
        // DeepSpeech's UTF-8 mode has no file.
        None if outputs == Alphabet::Bytes.len() + 1 => Alphabet::Bytes,
        None => {
            notes.push(format!(
                "which {} letters `{}` writes is not known: put its alphabet.txt beside it to begin from them",
                outputs.saturating_sub(1),
                file_name(path)
            ));
            return Ok(None);
        }
    };
    let mut parameters = Parameters::default();
    for (array, name) in [(weight, "output.weight"), (bias, "output.bias")] {
        let values = checkpoint.read(&array.name)?.to_f32()?;
        parameters.insert(name, Parameter { shape: array.shape.clone(), values });
    }
    Ok(Some(Writer { writing: Writing { alphabet, style: TranscriptStyle::plain() }, parameters }))
}

/// `alphabet.txt` in the folder of a weight file, or in the folder itself.
fn beside(path: &Path) -> Option<PathBuf> {
    let folder = if path.is_dir() { path } else { path.parent()? };
    Some(folder.join("alphabet.txt")).filter(|file| file.is_file())
}

/// The layer that writes the letters of `new`, from the one that wrote others: a letter begins as the same letter, or as the
/// one without its marks. The rest is `fresh`, as before any training. How many began from a letter comes with it.
///
/// # Errors
/// [`Error::UnknownName`] when an array is missing.
pub(crate) fn carried(old: &Writer, new: &Alphabet, fresh: &Parameters) -> Result<(Parameters, usize)> {
    let origins = new.origins(&old.writing.alphabet);
    let mut carried = fresh.clone();
    for name in ["output.weight", "output.bias"] {
        let (from, mut to) = (old.parameters.find(name)?, fresh.find(name)?.clone());
        let (old_outputs, outputs) = (old.writing.alphabet.len() + 1, new.len() + 1);
        for (from, to) in from.values.chunks_exact(old_outputs).zip(to.values.chunks_exact_mut(outputs)) {
            for (value, origin) in to.iter_mut().zip(&origins) {
                if let Some(origin) = origin {
                    *value = from[*origin];
                }
            }
        }
        carried.insert(name, to);
    }
    // The blank always is.
    Ok((carried, origins.iter().flatten().count() - 1))
}
