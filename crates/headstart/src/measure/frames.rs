//! How long a DeepSpeech takes to learn from a batch and to hear a recording: what `bench/speech` reports.

use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use headstart_data::audio::SAMPLE_RATE;
use headstart_data::audio::features::Extractor;

use crate::error::Result;
use crate::features::{Features, Sequences};
use crate::nn::{DeepSpeech, DeepSpeechShape, Dense, FrozenDeepSpeech};
use crate::parameters::Parameters;
use crate::random::Stream;
use crate::recipe::Optimizer;
use crate::tasks::speech_recognition::loss::{Labels, mean_loss};
use crate::train::optimizer::Stepper;

/// Letters of the English alphabet of DeepSpeech, and the blank.
const CLASSES: usize = 29;
/// Letters that are said in a second.
const LETTERS_A_SECOND: usize = 14;

/// A network with the layer that writes letters.
#[derive(Module, Debug)]
struct Recognizer {
    network: DeepSpeech,
    output: Dense,
}

fn noise(count: usize) -> Vec<f32> {
    let mut draw = Stream::new(0, "measure", &[]);
    (0..count).map(|_| draw.normal()).collect()
}

/// Times `count` steps of Adam in which everything learns by CTC, dropout included, from recordings of so many `seconds` each.
///
/// # Errors
/// When the threads cannot be started.
pub fn speech_steps(shape: DeepSpeechShape, seconds: &[f64], threads: usize, count: usize) -> Result<Vec<Duration>> {
    let features = shape.features();
    let samples = |seconds: &f64| (seconds * f64::from(SAMPLE_RATE)) as usize;
    let lengths: Vec<usize> = seconds.iter().map(|seconds| features.frames(samples(seconds))).collect();
    let mut draw = Stream::new(1, "measure", &[]);
    let letters: Vec<Vec<usize>> = seconds
        .iter()
        .map(|seconds| (0..(*seconds as usize) * LETTERS_A_SECOND).map(|_| draw.below(CLASSES - 1)).collect())
        .collect();
    let labels = Labels::new(letters.iter().map(Vec::as_slice));
    let frames = noise(lengths.iter().sum::<usize>() * shape.cepstra);
    let sequences = Arc::new(Sequences::of_lengths(&lengths));
    crate::run::thread_pool(threads)?.install(|| {
        let device = Device::default().autodiff();
        let output = Parameters::initialize(&Dense::parameters("output", shape.hidden, CLASSES), 0);
        let mut model = Recognizer {
            network: DeepSpeech::load(shape, &Parameters::initialize(&shape.parameters(), 0), &device)?,
            output: Dense::load(&output, "output", &device)?,
        };
        let mut stepper = Stepper::new(Optimizer::Adam {}, None);
        let mut times = Vec::with_capacity(count);
        for step in 0..count {
            let start = Instant::now();
            let data = TensorData::new(frames.clone(), [sequences.token_count(), shape.cepstra]);
            let input = Features::Sequence(Tensor::from_data(data, &device), sequences.clone());
            let mut noise = Stream::new(0, "dropout", &[step as u64]);
            let Features::Sequence(states, _) = model.network.resume_from(0, input, Some(&mut noise)) else {
                unreachable!("a network of recordings gives states of frames")
            };
            let gradients = mean_loss(model.output.forward(states), &lengths, &labels).backward();
            model = stepper.step(model, &gradients, &|_| 1e-4);
            times.push(start.elapsed());
        }
        Ok(times)
    })
}

/// Times hearing a recording of noise of so many `seconds` as it is heard by `headstart predict`, block by block, from samples
/// to the states behind the last layer: `count` times.
///
/// # Errors
/// When the threads cannot be started.
pub fn speech_passes(shape: DeepSpeechShape, seconds: f64, threads: usize, count: usize) -> Result<Vec<Duration>> {
    let frozen = FrozenDeepSpeech::new(shape, Parameters::initialize(&shape.parameters(), 0))?;
    let samples = noise((seconds * f64::from(SAMPLE_RATE)) as usize);
    crate::run::thread_pool(threads)?.install(|| {
        (0..count)
            .map(|_| {
                let start = Instant::now();
                let (mut extractor, mut stream, mut frames) =
                    (Extractor::new(shape.features())?, frozen.stream(), Vec::new());
                for block in samples.chunks(4 * SAMPLE_RATE as usize) {
                    extractor.push(block, &mut frames);
                    stream.push(&frames)?;
                    frames.clear();
                }
                stream.finish()?;
                Ok(start.elapsed())
            })
            .collect()
    })
}
