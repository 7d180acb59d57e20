//! How long training steps and frozen passes take on this machine: what `bench/fine_tuning` and `bench/frozen_features`
//! report.

mod frames;
mod objects;
mod tokens;

pub use frames::{speech_passes, speech_steps};
pub use objects::{detector_passes, detector_steps};
pub use tokens::{TokenBatch, transformer_passes, transformer_steps};

use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor};

use crate::backbones::{BackboneSpec, Variant};
use crate::error::Result;
use crate::features::{FeatureLayout, Rows};
use crate::load::Pretrained;
use crate::model::{FrozenBackbone, Model, frozen_depth, trainable};
use crate::nn::NormStatistics;
use crate::parameters::Parameters;
use crate::random::Stream;
use crate::recipe::{Arithmetic, Freeze, HeadRecipe, Optimizer, Output, Pool};
use crate::tasks::image_classification::{ClassificationHead, binary_cross_entropy};
use crate::train::optimizer::Stepper;

/// What is timed.
#[derive(Debug, Clone)]
pub struct StepSpec {
    /// Architecture.
    pub backbone: &'static BackboneSpec,
    /// Its size.
    pub variant: &'static Variant,
    /// What does not learn; the stages below the cut are not run, as with cached features.
    pub freeze: Freeze,
    /// Examples a step.
    pub batch: usize,
    /// Worker threads.
    pub threads: usize,
}

/// Times `count` steps of Adam on random features and labels, with a head of 256 units and one sigmoid output.
///
/// # Errors
/// [`crate::Error::UnknownName`] for a stage that the backbone does not have.
pub fn training_steps(spec: &StepSpec, count: usize) -> Result<Vec<Duration>> {
    crate::run::thread_pool(spec.threads)?.install(|| timed(spec, count))
}

/// Times `count` passes of `batch` pictures through a whole frozen backbone with average pooling.
///
/// # Errors
/// [`crate::Error::Kernel`] for an architecture that does not take its published input size.
pub fn frozen_passes(
    backbone: &'static BackboneSpec,
    variant: &'static Variant,
    arithmetic: Arithmetic,
    batch: usize,
    threads: usize,
    count: usize,
) -> Result<Vec<Duration>> {
    let pretrained = Pretrained::random(backbone, variant, 0);
    let frozen = FrozenBackbone::with_arithmetic(&pretrained, &pretrained.parameters, arithmetic)?;
    let mut draw = Stream::new(0, "measure", &[]);
    let pixels: Vec<f32> = (0..batch * frozen.input().len()).map(|_| draw.uniform(-1.0, 1.0)).collect();
    (0..count)
        .map(|_| {
            let start = Instant::now();
            frozen.forward(&pixels, batch, frozen.stage_count(), Pool::Average, threads)?;
            Ok(start.elapsed())
        })
        .collect()
}

fn timed(spec: &StepSpec, count: usize) -> Result<Vec<Duration>> {
    let device = Device::default().autodiff();
    let pretrained = Pretrained::random(spec.backbone, spec.variant, 0);
    let depth = frozen_depth(&pretrained, &spec.freeze)?;
    let recipe = HeadRecipe { output: Output::Sigmoid, ..HeadRecipe::default() };
    let frozen = FrozenBackbone::new(&pretrained, &pretrained.parameters)?;
    let input = frozen.input();
    let layout = match depth {
        0 => FeatureLayout::Map { channels: input.channels, height: input.height, width: input.width },
        depth => frozen.layout(depth, recipe.pool),
    };
    let whole = frozen.layout(frozen.stage_count(), recipe.pool);
    let head = Parameters::initialize(&ClassificationHead::parameters(&recipe, whole, 2), 0);
    let open = depth < frozen.stage_count();
    let mut model = Model {
        backbone: open.then(|| trainable(&pretrained, &pretrained.parameters, &device)).transpose()?,
        head: ClassificationHead::load(&recipe, &head, &device)?,
    };
    drop(frozen);
    let mut stepper = Stepper::new(Optimizer::Adam {}, None);
    let mut draw = Stream::new(0, "measure", &[]);
    let features: Vec<f32> = (0..spec.batch * layout.value_count()).map(|_| draw.uniform(-1.0, 1.0)).collect();
    let labels: Vec<usize> = (0..spec.batch).map(|example| example % 2).collect();
    let mut times = Vec::with_capacity(count);
    for step in 0..count {
        let start = Instant::now();
        let features = layout.tensor(Rows::even(features.clone(), spec.batch), &device);
        let mut noise = Stream::new(0, "dropout", &[step as u64]);
        let outputs: Tensor<2> = model.forward(depth, features, NormStatistics::Fixed, Some(&mut noise));
        let loss = binary_cross_entropy(outputs, &labels, &[1.0; 2], 0.0);
        let gradients = loss.backward();
        model = stepper.step(model, &gradients, &|_| 1e-4);
        times.push(start.elapsed());
    }
    Ok(times)
}
