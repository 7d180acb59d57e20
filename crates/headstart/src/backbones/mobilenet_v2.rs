//! MobileNetV2: inverted residuals and linear bottlenecks (Sandler et al. 2018, arXiv:1801.04381).
//!
//! Shapes follow torchvision 0.29 `mobilenetv2.py` and timm 1.0 `efficientnet.py`, which agree: channels are rounded to
//! multiples of 8, and the last layer keeps 1280 channels for widths below 1.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use headstart_data::preprocess::Preprocess;
use headstart_kernels as kernels;
use headstart_kernels::Layer;

use super::{Backbone, BackboneSpec, Conventions, Stage, Variant, expect_map};
use crate::error::Result;
use crate::features::Features;
use crate::name_map::{ClassifierNames, DenseOrder, Entry, NameMap};
use crate::nn::conv_norm::{ConvNorm, ConvNormSpec, NormPadding, NormStatistics, Padding};
use crate::nn::graph::{Node, Stages};
use crate::parameters::{ParameterSpec, Parameters};
use crate::recipe::Pool;

/// The registry entry.
pub(crate) static SPEC: BackboneSpec = BackboneSpec {
    name: "mobilenet_v2",
    paper: "Sandler et al. 2018, arXiv:1801.04381",
    licence: "Apache-2.0 (TensorFlow), BSD-3-Clause (torchvision), Apache-2.0 (timm)",
    variants: &[
        Variant { name: "0.35", width: 0.35 },
        Variant { name: "0.5", width: 0.5 },
        Variant { name: "0.75", width: 0.75 },
        Variant { name: "1.0", width: 1.0 },
        Variant { name: "1.3", width: 1.3 },
        Variant { name: "1.4", width: 1.4 },
        Variant { name: "tiny", width: 0.1 },
    ],
    stages: &[
        Stage { name: "stem", summary: "3×3 convolution, 1/2" },
        Stage { name: "stage1", summary: "1 block, 1/2" },
        Stage { name: "stage2", summary: "2 blocks, 1/4" },
        Stage { name: "stage3", summary: "3 blocks, 1/8" },
        Stage { name: "stage4", summary: "4 blocks, 1/16" },
        Stage { name: "stage5", summary: "3 blocks, 1/16" },
        Stage { name: "stage6", summary: "3 blocks, 1/32" },
        Stage { name: "stage7", summary: "1 block, 1/32" },
        Stage { name: "last", summary: "1×1 convolution to 1280 channels, 1/32" },
    ],
    input_size: 224,
    smallest_input: 32,
    families: FAMILIES,
    graph: stages,
    parameters,
    channels: |variant| Plan::new(variant).last.outputs,
    frozen,
    trainable: |variant, parameters, conventions, device| {
        Ok(Backbone::MobileNetV2(MobileNetV2::load(variant, parameters, conventions, device)?))
    },
};

const FAMILIES: &[NameMap] = &[
    // Before `torchvision`: the same names, told apart by TensorFlow's 1001 classes (0 is "background").
    NameMap {
        family: "tensorflow",
        origin: "TensorFlow weights under torchvision names; 1001 classes",
        applies: |arrays| {
            arrays.iter().any(|array| array.name.ends_with("classifier.1.weight") && array.shape[0] == 1001)
        },
        canonical: NameMap::as_they_are,
        entries: torchvision_entries,
        ignore: &["classifier.", "num_batches_tracked"],
        classifiers: &[ClassifierNames {
            pool: Pool::Average,
            layers: &[("classifier.1.weight", "classifier.1.bias")],
            order: DenseOrder::OutputsFirst,
        }],
        padding: Padding::Tensorflow,
        batch_norm_epsilon: 1e-5,
        preprocess: Preprocess::tensorflow,
    },
    NameMap {
        family: "torchvision",
        origin: "torchvision.models.mobilenet_v2",
        applies: |_| true,
        canonical: NameMap::as_they_are,
        entries: torchvision_entries,
        ignore: &["classifier.", "num_batches_tracked"],
        classifiers: &[ClassifierNames {
            pool: Pool::Average,
            layers: &[("classifier.1.weight", "classifier.1.bias")],
            order: DenseOrder::OutputsFirst,
        }],
        padding: Padding::Symmetric,
        batch_norm_epsilon: 1e-5,
        preprocess: Preprocess::torchvision,
    },
    NameMap {
        family: "timm",
        origin: "timm mobilenetv2_*",
        applies: |_| true,
        canonical: NameMap::as_they_are,
        entries: timm_entries,
        ignore: &["classifier.", "num_batches_tracked"],
        classifiers: &[ClassifierNames {
            pool: Pool::Average,
            layers: &[("classifier.weight", "classifier.bias")],
            order: DenseOrder::OutputsFirst,
        }],
        padding: Padding::Symmetric,
        batch_norm_epsilon: 1e-5,
        preprocess: Preprocess::torchvision,
    },
    NameMap {
        family: "keras",
        origin: "keras.applications.MobileNetV2 (.h5, .keras, TensorFlow.js)",
        applies: |_| true,
        canonical: NameMap::keras,
        entries: keras_entries,
        ignore: &["predictions/", "Logits/", "dense_"],
        // Keras 2 called it `Logits`.
        classifiers: &[
            ClassifierNames {
                pool: Pool::Average,
                layers: &[("predictions/kernel", "predictions/bias")],
                order: DenseOrder::InputsFirst,
            },
            ClassifierNames {
                pool: Pool::Average,
                layers: &[("Logits/kernel", "Logits/bias")],
                order: DenseOrder::InputsFirst,
            },
        ],
        padding: Padding::Tensorflow,
        batch_norm_epsilon: 1e-3,
        preprocess: Preprocess::tensorflow,
    },
];

/// (expansion, channels at width 1, blocks, stride) of stages 1 to 7: table 2 of the paper.
const STAGES: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];

/// Blocks a stage in the variant for tests, which keeps every kind of layer.
const TINY_BLOCKS: [usize; 7] = [1, 2, 2, 1, 1, 1, 1];

/// Channels rounded to a multiple of 8, never more than 10 % down.
fn rounded(channels: f64) -> usize {
    let nearest = (((channels + 4.0) / 8.0) as usize * 8).max(8);
    if (nearest as f64) < 0.9 * channels { nearest + 8 } else { nearest }
}

/// Shapes of one inverted residual.
#[derive(Debug, Clone, Copy)]
struct Block {
    expand: Option<ConvNormSpec>,
    depthwise: ConvNormSpec,
    project: ConvNormSpec,
    residual: bool,
}

/// Shapes of the whole network.
struct Plan {
    stem: ConvNormSpec,
    stages: [Vec<Block>; 7],
    last: ConvNormSpec,
}

impl Plan {
    fn new(variant: &Variant) -> Self {
        let (relu6, linear) = (kernels::Activation::Relu6, kernels::Activation::Identity);
        let dense = |inputs, outputs, side, stride, activation| ConvNormSpec {
            activation,
            ..ConvNormSpec::square(inputs, outputs, side, stride)
        };
        let mut channels = rounded(32.0 * variant.width);
        let stem = dense(3, channels, 3, 2, relu6);
        let stages = std::array::from_fn(|stage| {
            let (expansion, full, blocks, first_stride) = STAGES[stage];
            let blocks = if variant.name == "tiny" { TINY_BLOCKS[stage] } else { blocks };
            let outputs = rounded(full as f64 * variant.width);
            (0..blocks)
                .map(|index| {
                    let stride = if index == 0 { first_stride } else { 1 };
                    let (inputs, hidden) = (channels, channels * expansion);
                    channels = outputs;
                    Block {
                        expand: (expansion > 1).then(|| dense(inputs, hidden, 1, 1, relu6)),
                        depthwise: ConvNormSpec { activation: relu6, ..ConvNormSpec::depthwise(hidden, 3, stride) },
                        project: dense(hidden, outputs, 1, 1, linear),
                        residual: stride == 1 && inputs == outputs,
                    }
                })
                .collect()
        });
        let last = dense(channels, rounded(1280.0 * variant.width.max(1.0)), 1, 1, relu6);
        Self { stem, stages, last }
    }

    /// Every convolution with its name, from the input on.
    fn layers(&self) -> Vec<(String, ConvNormSpec)> {
        let mut layers = vec![("stem".to_owned(), self.stem)];
        for (stage, blocks) in self.stages.iter().enumerate() {
            for (index, block) in blocks.iter().enumerate() {
                let prefix = format!("stage{}.{index}", stage + 1);
                layers.extend(block.expand.map(|expand| (format!("{prefix}.expand"), expand)));
                layers.push((format!("{prefix}.depthwise"), block.depthwise));
                layers.push((format!("{prefix}.project"), block.project));
            }
        }
        layers.push(("last".to_owned(), self.last));
        layers
    }
}

/// The network as data. The two forms below have layers of their own, since a block runs and learns as one step.
fn stages(variant: &Variant) -> Stages {
    let plan = Plan::new(variant);
    let mut stages = vec![vec![Node::Conv("stem".to_owned(), plan.stem)]];
    for (stage, blocks) in plan.stages.iter().enumerate() {
        let mut nodes = Vec::new();
        for (index, block) in blocks.iter().enumerate() {
            let prefix = format!("stage{}.{index}", stage + 1);
            let conv = |part: &str, spec| Node::Conv(format!("{prefix}.{part}"), spec);
            let mut body: Vec<Node> = block.expand.map(|expand| conv("expand", expand)).into_iter().collect();
            body.extend([conv("depthwise", block.depthwise), conv("project", block.project)]);
            if block.residual {
                body = vec![Node::Residual { body, shortcut: vec![], activation: kernels::Activation::Identity }];
            }
            nodes.extend(body);
        }
        stages.push(nodes);
    }
    stages.push(vec![Node::Conv("last".to_owned(), plan.last)]);
    Stages(stages)
}

fn parameters(variant: &Variant) -> Vec<ParameterSpec> {
    Plan::new(variant).layers().iter().flat_map(|(name, layer)| layer.parameters(name)).collect()
}

fn frozen(variant: &Variant, parameters: &Parameters, conventions: &Conventions) -> Result<Vec<Vec<Layer>>> {
    let family = NormPadding::from(conventions);
    let plan = Plan::new(variant);
    let mut stages: Vec<Vec<Layer>> = vec![vec![plan.stem.frozen_conv(parameters, "stem", family)?.into()]];
    for (stage, blocks) in plan.stages.iter().enumerate() {
        let mut layers = Vec::with_capacity(blocks.len());
        for (index, block) in blocks.iter().enumerate() {
            let prefix = format!("stage{}.{index}", stage + 1);
            let expand = match block.expand {
                Some(expand) => Some(expand.frozen_conv(parameters, &format!("{prefix}.expand"), family)?),
                None => None,
            };
            let depthwise = block.depthwise.frozen_depthwise(parameters, &format!("{prefix}.depthwise"), family)?;
            let project = block.project.frozen_conv(parameters, &format!("{prefix}.project"), family)?;
            layers.push(kernels::InvertedResidual::new(expand, depthwise, project, block.residual)?.into());
        }
        stages.push(layers);
    }
    stages.push(vec![plan.last.frozen_conv(parameters, "last", family)?.into()]);
    Ok(stages)
}

/// Trainable form.
#[derive(Module, Debug)]
pub struct MobileNetV2 {
    stem: ConvNorm,
    stage1: Vec<InvertedResidual>,
    stage2: Vec<InvertedResidual>,
    stage3: Vec<InvertedResidual>,
    stage4: Vec<InvertedResidual>,
    stage5: Vec<InvertedResidual>,
    stage6: Vec<InvertedResidual>,
    stage7: Vec<InvertedResidual>,
    last: ConvNorm,
}

/// Expand → depthwise → project, added to its input where the shapes agree.
#[derive(Module, Debug)]
pub struct InvertedResidual {
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    project: ConvNorm,
    residual: bool,
}

impl MobileNetV2 {
    fn load(variant: &Variant, parameters: &Parameters, conventions: &Conventions, device: &Device) -> Result<Self> {
        let family = NormPadding::from(conventions);
        let plan = Plan::new(variant);
        let conv = |spec, name: &str| ConvNorm::load(spec, family, parameters, name, device);
        let stage = |number: usize| -> Result<Vec<InvertedResidual>> {
            let load_block = |(index, block): (usize, &Block)| {
                let prefix = format!("stage{number}.{index}");
                Ok(InvertedResidual {
                    expand: match block.expand {
                        Some(expand) => Some(conv(expand, &format!("{prefix}.expand"))?),
                        None => None,
                    },
                    depthwise: conv(block.depthwise, &format!("{prefix}.depthwise"))?,
                    project: conv(block.project, &format!("{prefix}.project"))?,
                    residual: block.residual,
                })
            };
            plan.stages[number - 1].iter().enumerate().map(load_block).collect()
        };
        Ok(Self {
            stem: conv(plan.stem, "stem")?,
            stage1: stage(1)?,
            stage2: stage(2)?,
            stage3: stage(3)?,
            stage4: stage(4)?,
            stage5: stage(5)?,
            stage6: stage(6)?,
            stage7: stage(7)?,
            last: conv(plan.last, "last")?,
        })
    }

    /// Stages from number `stage` on: 0 is the stem, 1 to 7 the inverted residuals, 8 the last convolution.
    pub(crate) fn resume_from(&self, stage: usize, features: Features, statistics: NormStatistics) -> Features {
        let stages = [&self.stage1, &self.stage2, &self.stage3, &self.stage4, &self.stage5, &self.stage6, &self.stage7];
        let mut map = expect_map(features).permute([0, 2, 3, 1]); // [B, H, W, C]
        if stage == 0 {
            map = self.stem.forward(map, statistics); // [B, H/2, W/2, 32] at width 1
        }
        for blocks in &stages[stage.saturating_sub(1).min(7)..] {
            for block in blocks.iter() {
                map = block.forward(map, statistics);
            }
        }
        if stage <= 8 {
            map = self.last.forward(map, statistics); // [B, H/32, W/32, 1280]
        }
        Features::Map(map.permute([0, 3, 1, 2]))
    }
}

impl InvertedResidual {
    /// `[B, H, W, C]` → `[B, H', W', C']`.
    fn forward(&self, input: Tensor<4>, statistics: NormStatistics) -> Tensor<4> {
        if statistics == NormStatistics::Fixed {
            let layers: Vec<&ConvNorm> = self.expand.iter().chain([&self.depthwise, &self.project]).collect();
            if let Some(output) = ConvNorm::forward_chain(&layers, self.residual, &input) {
                return output;
            }
        }
        let expanded = match &self.expand {
            Some(expand) => expand.forward(input.clone(), statistics),
            None => input.clone(),
        };
        let output = self.project.forward(self.depthwise.forward(expanded, statistics), statistics);
        if self.residual { output.add(input) } else { output }
    }
}

fn torchvision_entries(variant: &Variant) -> Vec<Entry> {
    let mut entries = Entry::pytorch_conv_norm("features.0.0", "features.0.1", "stem");
    let mut feature = 1;
    for (stage, blocks) in Plan::new(variant).stages.iter().enumerate() {
        for (index, block) in blocks.iter().enumerate() {
            let (theirs, ours) = (format!("features.{feature}.conv"), format!("stage{}.{index}", stage + 1));
            // The expansion is the first of the list where there is one.
            let mut position = 0;
            for part in block.expand.map(|_| "expand").into_iter().chain(["depthwise"]) {
                let conv = format!("{theirs}.{position}");
                entries.extend(Entry::pytorch_conv_norm(
                    &format!("{conv}.0"),
                    &format!("{conv}.1"),
                    &format!("{ours}.{part}"),
                ));
                position += 1;
            }
            let (conv, norm) = (format!("{theirs}.{position}"), format!("{theirs}.{}", position + 1));
            entries.extend(Entry::pytorch_conv_norm(&conv, &norm, &format!("{ours}.project")));
            feature += 1;
        }
    }
    let last = format!("features.{feature}");
    entries.extend(Entry::pytorch_conv_norm(&format!("{last}.0"), &format!("{last}.1"), "last"));
    entries
}

fn timm_entries(variant: &Variant) -> Vec<Entry> {
    let mut entries = Entry::pytorch_conv_norm("conv_stem", "bn1", "stem");
    for (stage, blocks) in Plan::new(variant).stages.iter().enumerate() {
        for (index, block) in blocks.iter().enumerate() {
            let (theirs, ours) = (format!("blocks.{stage}.{index}"), format!("stage{}.{index}", stage + 1));
            let parts: &[(&str, &str)] = match block.expand {
                Some(_) => &[("conv_pw", "expand"), ("conv_dw", "depthwise"), ("conv_pwl", "project")],
                None => &[("conv_dw", "depthwise"), ("conv_pw", "project")],
            };
            for (position, (conv, part)) in parts.iter().enumerate() {
                let norm = format!("{theirs}.bn{}", position + 1);
                entries.extend(Entry::pytorch_conv_norm(&format!("{theirs}.{conv}"), &norm, &format!("{ours}.{part}")));
            }
        }
    }
    entries.extend(Entry::pytorch_conv_norm("conv_head", "bn2", "last"));
    entries
}

fn keras_entries(variant: &Variant) -> Vec<Entry> {
    let mut entries = Entry::keras_conv_norm("Conv1", "bn_Conv1", "stem", false);
    let blocks = Plan::new(variant).stages;
    let numbered =
        blocks.iter().enumerate().flat_map(|(stage, blocks)| (0..blocks.len()).map(move |index| (stage, index)));
    for (number, (stage, index)) in numbered.enumerate() {
        let ours = format!("stage{}.{index}", stage + 1);
        // The first block, without expansion, has a name of its own.
        let theirs = if number == 0 { "expanded_conv".to_owned() } else { format!("block_{number}") };
        for part in ["expand", "depthwise", "project"] {
            if part == "expand" && blocks[stage][index].expand.is_none() {
                continue;
            }
            let (conv, norm) = (format!("{theirs}_{part}"), format!("{theirs}_{part}_BN"));
            entries.extend(Entry::keras_conv_norm(&conv, &norm, &format!("{ours}.{part}"), part == "depthwise"));
        }
    }
    entries.extend(Entry::keras_conv_norm("Conv_1", "Conv_1_bn", "last", false));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_rounded_as_in_torchvision() {
        // make_divisible(32·w), make_divisible(24·w), make_divisible(1280·max(1, w)) of torchvision 0.29.
        let shapes = |name: &str| {
            let variant = SPEC.find_variant(name).unwrap();
            let plan = Plan::new(variant);
            (plan.stem.outputs, plan.stages[1][0].project.outputs, plan.last.outputs)
        };
        assert_eq!(shapes("1.0"), (32, 24, 1280));
        assert_eq!(shapes("0.35"), (16, 8, 1280));
        assert_eq!(shapes("0.5"), (16, 16, 1280));
        assert_eq!(shapes("1.4"), (48, 32, 1792));
        assert_eq!(shapes("tiny"), (8, 8, 1280));
    }

    #[test]
    fn the_published_network_has_the_published_number_of_weights() {
        // 3 504 872 in torchvision, less the classifier (1 281 000), plus the running statistics (2 × 17 056).
        let count: usize =
            parameters(SPEC.find_variant("1.0").unwrap()).iter().map(|spec| spec.shape.iter().product::<usize>()).sum();
        assert_eq!(count, 3_504_872 - 1_281_000 + 2 * 17_056);
    }
}
