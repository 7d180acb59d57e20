//! How long passes and training steps of a transformer take: what `bench/text` reports.

use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::error::Result;
use crate::features::{Sequences, Tokens};
use crate::nn::{Dense, FrozenTransformer, Transformer, TransformerShape};
use crate::parameters::Parameters;
use crate::random::Stream;
use crate::recipe::Optimizer;
use crate::tasks::image_classification::binary_cross_entropy;
use crate::train::optimizer::Stepper;

/// A batch of random tokens.
#[derive(Debug, Clone)]
pub struct TokenBatch {
    /// Length of each sequence.
    pub lengths: Vec<usize>,
    /// Worker threads.
    pub threads: usize,
}

impl TokenBatch {
    fn tokens(&self, shape: &TransformerShape) -> Tokens {
        let mut draw = Stream::new(0, "measure", &[]);
        let count: usize = self.lengths.iter().sum();
        Tokens {
            ids: (0..count).map(|_| draw.below(shape.vocabulary) as u32).collect(),
            kinds: vec![0; count],
            sequences: Arc::new(Sequences::of_lengths(&self.lengths)),
        }
    }
}

/// Times `count` passes through a whole frozen network with random weights.
///
/// # Errors
/// [`crate::Error::Kernel`] when a sequence is longer than the network has positions.
pub fn transformer_passes(shape: TransformerShape, batch: &TokenBatch, count: usize) -> Result<Vec<Duration>> {
    let frozen = FrozenTransformer::new(shape, Parameters::initialize(&shape.parameters(), 0))?;
    let tokens = batch.tokens(&shape);
    crate::run::thread_pool(batch.threads)?.install(|| {
        (0..count)
            .map(|_| {
                let start = Instant::now();
                frozen.run_layers(0..shape.layers, frozen.embed(&tokens)?, &tokens.sequences)?;
                Ok(start.elapsed())
            })
            .collect()
    })
}

/// A network with one output on the first token of a sequence.
#[derive(Module, Debug)]
struct Classifier {
    network: Transformer,
    output: Dense,
}

/// Times `count` steps of AdamW in which everything learns, dropout included, with one output on the first token.
///
/// # Errors
/// As [`transformer_passes`].
pub fn transformer_steps(shape: TransformerShape, batch: &TokenBatch, count: usize) -> Result<Vec<Duration>> {
    let tokens = batch.tokens(&shape);
    tokens.check(&shape)?;
    crate::run::thread_pool(batch.threads)?.install(|| {
        let device = Device::default().autodiff();
        let output = Parameters::initialize(&Dense::parameters("output", shape.width, 1), 0);
        let mut model = Classifier {
            network: Transformer::load(shape, &Parameters::initialize(&shape.parameters(), 0), None, &device)?,
            output: Dense::load(&output, "output", &device)?,
        };
        let mut stepper = Stepper::new(Optimizer::AdamW { weight_decay: 0.01 }, None);
        let labels: Vec<usize> = (0..batch.lengths.len()).map(|example| example % 2).collect();
        let mut times = Vec::with_capacity(count);
        for step in 0..count {
            let start = Instant::now();
            let mut noise = Stream::new(0, "dropout", &[step as u64]);
            let states = model.network.embed(&tokens, Some(&mut noise));
            let states = model.network.run_layers(0, states, &tokens.sequences, Some(&mut noise));
            let first = tokens.sequences.ranges().map(|rows| states.clone().narrow(0, rows.start, 1));
            let outputs = model.output.forward(Tensor::cat(first.collect(), 0));
            let gradients = binary_cross_entropy(outputs, &labels, &[1.0; 2], 0.0).backward();
            model = stepper.step(model, &gradients, &|_| 1e-5);
            times.push(start.elapsed());
        }
        Ok(times)
    })
}
