//! How long a detector takes: what `bench/detection` reports.

use std::path::Path;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor, TensorData};
use headstart_data::boxes::{BoundingBox, Object};

use crate::error::Result;
use crate::features::{FeatureLayout, Rows};
use crate::load::detector::HeadPlan;
use crate::load::{PretrainedDetector, load_detector};
use crate::model::{Head, Model};
use crate::network::{FrozenNetwork, Network};
use crate::nn::NormStatistics;
use crate::nn::named::values;
use crate::parameters::Parameters;
use crate::random::Stream;
use crate::recipe::{Arithmetic, Optimizer, Pool};
use crate::tasks::object_detection::{DetectionHead, loss};
use crate::train::optimizer::Stepper;

/// Classes of the head that is timed, and objects of a picture.
const CLASSES: usize = 3;
const OBJECTS: usize = 12;

/// What is timed: random pixels through the network of a weight file with a new head.
struct Timed {
    network: Network,
    head: Parameters,
    frozen: FrozenNetwork,
}

fn opened(weights: &Path, size: Option<u32>) -> Result<Timed> {
    let mut detector: PretrainedDetector = load_detector(weights)?;
    if let Some(size) = size {
        detector.plan.resize_input(size)?;
    }
    let plan = detector.plan.head.clone();
    let network = Network::Detector(Box::new(detector));
    let frozen = network.frozen(network.parameters(), Arithmetic::F32)?;
    let layout = frozen.layout(frozen.stage_count(), Pool::Average);
    let head = Parameters::initialize(&DetectionHead::parameters(&plan, layout, CLASSES), 0);
    Ok(Timed { network, head, frozen })
}

/// Times `count` passes of one picture through the frozen network and a head of three classes.
///
/// # Errors
/// Of loading.
pub fn detector_passes(weights: &Path, size: Option<u32>, threads: usize, count: usize) -> Result<Vec<Duration>> {
    let Timed { network, head, frozen } = opened(weights, size)?;
    let plan = &network.detector()?.plan;
    let head = DetectionHead::load(&plan.head, &head, &Device::default())?;
    let mut draw = Stream::new(0, "measure", &[]);
    let pixels: Vec<f32> = (0..plan.shape().len()).map(|_| draw.unit()).collect();
    let pass = |_| {
        let start = Instant::now();
        let maps = frozen.forward(&pixels, frozen.stage_count(), Pool::Average, threads)?;
        let layout = frozen.layout(frozen.stage_count(), Pool::Average);
        let outputs = values(head.forward(layout.tensor(Rows::even(maps, 1), &Device::default()), None));
        std::hint::black_box(outputs);
        Ok(start.elapsed())
    };
    crate::run::thread_pool(threads)?.install(|| (0..count).map(pass).collect())
}

/// Times `count` steps of AdamW on everything, with statistics of the batch for YOLO and fixed ones for RetinaNet.
///
/// # Errors
/// Of loading.
pub fn detector_steps(
    weights: &Path,
    size: Option<u32>,
    batch: usize,
    threads: usize,
    count: usize,
) -> Result<Vec<Duration>> {
    crate::run::thread_pool(threads)?.install(|| {
        let Timed { network, head, .. } = opened(weights, size)?;
        let plan = network.detector()?.plan.clone();
        let device = Device::default().autodiff();
        let mut model = Model {
            backbone: Some(network.trainable(network.parameters(), None, &device)?),
            head: DetectionHead::load(&plan.head, &head, &device)?,
        };
        let shape = plan.shape();
        let statistics = match plan.head {
            HeadPlan::Yolo { .. } => NormStatistics::Batch,
            HeadPlan::RetinaNet { .. } => NormStatistics::Fixed,
        };
        let mut draw = Stream::new(0, "measure", &[]);
        let mut stepper = Stepper::new(Optimizer::AdamW { weight_decay: 5e-4 }, Some(10.0));
        let layout = FeatureLayout::Map { channels: 3, height: shape.height, width: shape.width };
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let pixels: Vec<f32> = (0..batch * shape.len()).map(|_| draw.unit()).collect();
            let truths: Vec<Vec<Object>> = (0..batch).map(|_| objects(&mut draw, shape.width, shape.height)).collect();
            let start = Instant::now();
            let features = layout.tensor(Rows::even(pixels, batch), &device);
            let outputs = model.forward(0, features, statistics, None);
            let weights = [2.0, 1.0, 1.0];
            let (_, gradient) = loss::batch(&plan, CLASSES, &weights, &truths, &values(outputs.clone()));
            let gradient = Tensor::<2>::from_data(TensorData::new(gradient, outputs.dims()), &device);
            let gradients = outputs.mul(gradient).sum().backward();
            model = stepper.step(model, &gradients, &|_| 1e-4);
            times.push(start.elapsed());
        }
        Ok(times)
    })
}

fn objects(draw: &mut Stream, width: usize, height: usize) -> Vec<Object> {
    (0..OBJECTS)
        .map(|index| {
            let side = f64::from(draw.uniform(20.0, 90.0));
            let (x, y) = (draw.unit() * width as f32, draw.unit() * height as f32);
            Object::new(index % CLASSES, BoundingBox::about(f64::from(x), f64::from(y), side, side))
        })
        .collect()
}
