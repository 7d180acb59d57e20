//! A 1×1 convolution on each map (YOLO), or two towers that all maps share (RetinaNet).

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use headstart_kernels::Activation;

use super::retinanet::{CELL_ANCHORS, CODE_VALUES};
use crate::error::Result;
use crate::features::{FeatureLayout, Features};
use crate::load::PretrainedDetector;
use crate::load::detector::HeadPlan;
use crate::model::Head;
use crate::nn::Padding;
use crate::nn::conv_norm::{ConvNorm, ConvNormSpec, Norm, NormPadding, NormStatistics};
use crate::parameters::{Initial, ParameterSpec, Parameters};
use crate::random::Stream;

/// Values of a prediction before those of the classes: x, y, width, height, objectness.
pub(crate) const BOX_VALUES: usize = 5;

/// Convolutions of each tower before the last.
const TOWER: usize = 4;

/// Objectness of an untrained head: about how many predictions find something.
const PRIOR: f32 = 0.01;

/// Maps → outputs `[B, N]`: map after map, row after row, cell after cell, anchor after anchor, the values of a prediction.
///
/// Of YOLO these are x, y, width, height, objectness and the classes; of RetinaNet the code of the box and the classes.
#[derive(Module, Debug)]
pub struct DetectionHead {
    /// One a map; none of a RetinaNet.
    levels: Vec<ConvNorm>,
    /// Of a RetinaNet: convolutions up to the classes of each anchor, and up to the codes of its box.
    classes: Vec<ConvNorm>,
    boxes: Vec<ConvNorm>,
}

/// A layer of a tower.
fn tower_spec(inputs: usize, outputs: usize, is_last: bool) -> ConvNormSpec {
    let activation = if is_last { Activation::Identity } else { Activation::Relu };
    ConvNormSpec { norm: Norm::Bias, activation, ..ConvNormSpec::square(inputs, outputs, 3, 1) }
}

fn spec(inputs: usize, outputs: usize) -> ConvNormSpec {
    ConvNormSpec { norm: Norm::Bias, activation: Activation::Identity, ..ConvNormSpec::square(inputs, outputs, 1, 1) }
}

fn outputs_of(plan: &HeadPlan, classes: usize) -> Vec<usize> {
    match plan {
        HeadPlan::Yolo { levels } => levels.iter().map(|level| level.anchors.len() * (BOX_VALUES + classes)).collect(),
        HeadPlan::RetinaNet { .. } => Vec::new(),
    }
}

impl DetectionHead {
    /// `levels.0.weight` `[anchors · (5 + classes), channels, 1, 1]`, `levels.0.bias`, … of YOLO; `classes.0.weight`, …,
    /// `boxes.4.bias` of RetinaNet.
    pub(crate) fn parameters(plan: &HeadPlan, layout: FeatureLayout, classes: usize) -> Vec<ParameterSpec> {
        let FeatureLayout::Maps(maps) = layout else { return Vec::new() };
        let levels = maps.shapes().iter().zip(outputs_of(plan, classes)).enumerate();
        let mut all = Vec::new();
        if let (HeadPlan::RetinaNet { .. }, Some(&[_, _, width])) = (plan, maps.shapes().first()) {
            for (tower, values) in [("classes", classes), ("boxes", CODE_VALUES)] {
                for layer in 0..=TOWER {
                    let outputs = if layer == TOWER { CELL_ANCHORS * values } else { width };
                    let spec = tower_spec(width, outputs, layer == TOWER);
                    let mut parameters = spec.parameters(&format!("{tower}.{layer}"));
                    parameters[0].initial = Initial::Normal { deviation: 0.01 };
                    all.extend(parameters);
                }
            }
        }
        for (level, (&[_, _, channels], outputs)) in levels {
            let mut parameters = spec(channels, outputs).parameters(&format!("levels.{level}"));
            parameters[0].initial = Initial::Normal { deviation: 0.01 };
            all.extend(parameters);
        }
        all
    }

    /// The head from its arrays.
    ///
    /// # Errors
    /// [`crate::Error::UnknownName`] when one is missing.
    pub(crate) fn load(plan: &HeadPlan, parameters: &Parameters, device: &Device) -> Result<Self> {
        let load = |name: String, spec: &dyn Fn(usize, usize) -> ConvNormSpec| {
            let shape = &parameters.find(&format!("{name}.weight"))?.shape;
            let spec = spec(shape.get(1).copied().unwrap_or(1), shape.first().copied().unwrap_or(1));
            let family = NormPadding { padding: Padding::Symmetric, epsilon: 0.0 };
            ConvNorm::load(spec, family, parameters, &name, device)
        };
        let tower = |name: &str| -> Result<Vec<ConvNorm>> {
            let layer = |index: usize| {
                load(format!("{name}.{index}"), &|inputs, outputs| tower_spec(inputs, outputs, index == TOWER))
            };
            (0..=TOWER).map(layer).collect()
        };
        Ok(match plan {
            HeadPlan::Yolo { levels } => {
                let levels = (0..levels.len()).map(|level| load(format!("levels.{level}"), &spec));
                Self { levels: levels.collect::<Result<_>>()?, classes: Vec::new(), boxes: Vec::new() }
            }
            HeadPlan::RetinaNet { .. } => {
                Self { levels: Vec::new(), classes: tower("classes")?, boxes: tower("boxes")? }
            }
        })
    }
}

impl Head for DetectionHead {
    fn forward(&self, features: Features, _noise: Option<&mut Stream>) -> Tensor<2> {
        let Features::Maps(maps) = features else { unreachable!("a detector's network gives maps") };
        if self.levels.is_empty() {
            let through = |tower: &[ConvNorm], map: Tensor<4>| {
                let outputs = tower.iter().fold(map, |map, layer| layer.forward(map, NormStatistics::Fixed));
                let [batch, height, width, values] = outputs.dims();
                outputs.reshape([batch, height * width * CELL_ANCHORS, values / CELL_ANCHORS]) // [B, anchors, values]
            };
            let level = |map: Tensor<4>| {
                let both = vec![through(&self.boxes, map.clone()), through(&self.classes, map)];
                let outputs: Tensor<3> = Tensor::cat(both, 2);
                let [batch, anchors, values] = outputs.dims();
                outputs.reshape([batch, anchors * values])
            };
            return Tensor::cat(maps.into_iter().map(level).collect(), 1);
        }
        let level = |(layer, map): (&ConvNorm, Tensor<4>)| {
            let outputs = layer.forward(map, NormStatistics::Fixed); // [B, H, W, A · (5 + C)]
            let [batch, height, width, values] = outputs.dims();
            outputs.reshape([batch, height * width * values])
        };
        Tensor::cat(self.levels.iter().zip(maps).map(level).collect(), 1)
    }
}

/// The head to begin with: boxes, objectness and the classes of shared names from the published head where there is one; new
/// classes small, objectness rare.
pub(super) fn begin(detector: &PretrainedDetector, labels: &[String], mut fresh: Parameters) -> Parameters {
    let names = detector.labels_or_numbers().unwrap_or_default();
    let theirs_of: Vec<Option<usize>> =
        labels.iter().map(|label| names.iter().position(|name| name.eq_ignore_ascii_case(label))).collect();
    let HeadPlan::Yolo { levels } = &detector.plan.head else {
        return begin_towers(detector, &theirs_of, fresh);
    };
    let width = BOX_VALUES + labels.len();
    for (level, plan) in levels.iter().enumerate() {
        for (field, is_bias) in [("weight", false), ("bias", true)] {
            let name = format!("levels.{level}.{field}");
            let Ok(mut ours) = fresh.find(&name).cloned() else { continue };
            let length = ours.values.len() / (plan.anchors.len() * width).max(1);
            if is_bias {
                for anchor in 0..plan.anchors.len() {
                    ours.values[anchor * width + 4..][..1 + labels.len()].fill(-(1.0 / PRIOR - 1.0).ln());
                    ours.values[anchor * width + 5..][..labels.len()].fill(0.0);
                }
            }
            let published = detector.head.as_ref().and_then(|head| head.find(&name).ok());
            if let Some(published) = published {
                let rows = published.values.len() / length.max(1);
                let their_width = rows / plan.anchors.len().max(1);
                for anchor in 0..plan.anchors.len() {
                    let mut take = |row: usize, from: usize| {
                        let (to, from) = ((anchor * width + row) * length, (anchor * their_width + from) * length);
                        if let Some(values) = published.values.get(from..from + length) {
                            ours.values[to..to + length].copy_from_slice(values);
                        }
                    };
                    (0..BOX_VALUES).for_each(|row| take(row, row));
                    for (class, theirs) in theirs_of.iter().enumerate() {
                        if let Some(theirs) = theirs {
                            take(BOX_VALUES + class, BOX_VALUES + theirs);
                        }
                    }
                }
            }
            fresh.insert(name, ours);
        }
    }
    fresh
}

/// The towers and codes of boxes of a published RetinaNet, and of its classes those of shared names; else classes are rare.
fn begin_towers(detector: &PretrainedDetector, theirs_of: &[Option<usize>], mut fresh: Parameters) -> Parameters {
    let last = format!("classes.{TOWER}");
    if let Ok(mut bias) = fresh.find(&format!("{last}.bias")).cloned() {
        bias.values.fill(-(1.0 / PRIOR - 1.0).ln());
        fresh.insert(format!("{last}.bias"), bias);
    }
    let Some(published) = &detector.head else { return fresh };
    for (name, theirs) in published.iter() {
        let Ok(mut ours) = fresh.find(name).cloned() else { continue };
        if !name.starts_with(&last) {
            fresh.insert(name.clone(), theirs.clone());
            continue;
        }
        let (width, their_width) = (ours.shape[0] / CELL_ANCHORS, theirs.shape[0] / CELL_ANCHORS);
        let length = ours.values.len() / ours.shape[0].max(1);
        for anchor in 0..CELL_ANCHORS {
            for (class, source) in theirs_of.iter().enumerate() {
                let Some(source) = source else { continue };
                let (to, from) = ((anchor * width + class) * length, (anchor * their_width + source) * length);
                if let Some(values) = theirs.values.get(from..from + length) {
                    ours.values[to..to + length].copy_from_slice(values);
                }
            }
        }
        fresh.insert(name.clone(), ours);
    }
    fresh
}
