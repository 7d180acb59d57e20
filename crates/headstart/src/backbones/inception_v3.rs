//! InceptionV3: convolutions side by side, large ones taken apart (Szegedy et al. 2015, arXiv:1512.00567).
//!
//! Shapes and names follow torchvision 0.29 `inception.py`, timm 1.0 `inception_v3.py` and Keras 3 `inception_v3.py`, whose
//! blocks agree in the order of their branches. The auxiliary classifier is not part of the backbone.

use headstart_data::preprocess::Preprocess;
use headstart_weights::ArrayInfo;

use super::{Backbone, BackboneSpec, Stage, Variant};
use crate::name_map::{ClassifierNames, DenseOrder, Entry, Layout, NameMap};
use crate::nn::Padding;
use crate::nn::conv_norm::{ConvNormSpec, NormPadding};
use crate::nn::graph::{Node, PoolSpec, Stages};
use crate::recipe::Pool;

/// The registry entry.
pub(crate) static SPEC: BackboneSpec = BackboneSpec {
    name: "inception_v3",
    paper: "Szegedy et al. 2015, arXiv:1512.00567",
    licence: "Apache-2.0 (TensorFlow, Keras, timm), BSD-3-Clause (torchvision)",
    variants: &[Variant { name: "1.0", width: 1.0 }, Variant { name: "tiny", width: 0.0625 }],
    stages: &[
        Stage { name: "stem1", summary: "3 convolutions and pooling, 1/4" },
        Stage { name: "stem2", summary: "2 convolutions and pooling, 1/8" },
        Stage { name: "mixed0", summary: "4 branches, 1/8" },
        Stage { name: "mixed1", summary: "4 branches, 1/8" },
        Stage { name: "mixed2", summary: "4 branches, 1/8" },
        Stage { name: "mixed3", summary: "3 branches, 1/16" },
        Stage { name: "mixed4", summary: "4 branches, 1/16" },
        Stage { name: "mixed5", summary: "4 branches, 1/16" },
        Stage { name: "mixed6", summary: "4 branches, 1/16" },
        Stage { name: "mixed7", summary: "4 branches, 1/16" },
        Stage { name: "mixed8", summary: "3 branches, 1/32" },
        Stage { name: "mixed9", summary: "6 branches, 1/32" },
        Stage { name: "mixed10", summary: "6 branches, 1/32" },
    ],
    input_size: 299,
    smallest_input: 75,
    families: FAMILIES,
    graph: stages,
    parameters: |variant| stages(variant).parameters(),
    channels: |variant| stages(variant).channels(),
    frozen: |variant, parameters, conventions| stages(variant).frozen(parameters, NormPadding::from(conventions)),
    trainable: |variant, parameters, conventions, device| {
        let family = NormPadding::from(conventions);
        Ok(Backbone::InceptionV3(stages(variant).trainable(parameters, family, device)?))
    },
};

const FAMILIES: &[NameMap] = &[
    NameMap {
        family: "torchvision",
        origin: "torchvision.models.inception_v3; timm inception_v3",
        applies: |_| true,
        canonical: NameMap::as_they_are,
        entries: torchvision_entries,
        ignore: &["AuxLogits.", "fc.", "num_batches_tracked"],
        classifiers: &[ClassifierNames {
            pool: Pool::Average,
            layers: &[("fc.weight", "fc.bias")],
            order: DenseOrder::OutputsFirst,
        }],
        padding: Padding::Symmetric,
        batch_norm_epsilon: 1e-3,
        // torchvision's pretrained network turns ImageNet's normalization into x / 127.5 − 1 itself (`transform_input`).
        preprocess: Preprocess::tensorflow,
    },
    NameMap {
        family: "keras",
        origin: "keras.applications.InceptionV3 (.h5, .keras, TensorFlow.js)",
        applies: |_| true,
        canonical: keras_names,
        entries: keras_entries,
        ignore: &["predictions/", "dense"],
        classifiers: &[ClassifierNames {
            pool: Pool::Average,
            layers: &[("predictions/kernel", "predictions/bias")],
            order: DenseOrder::InputsFirst,
        }],
        // Here it only says that an average does not count the padding.
        padding: Padding::Tensorflow,
        batch_norm_epsilon: 1e-3,
        preprocess: Preprocess::tensorflow,
    },
];

/// A block under construction: `name` is the stage, `inputs` the channels of its input.
struct Block<'a> {
    variant: &'a Variant,
    name: String,
    inputs: usize,
}

impl Block<'_> {
    /// A chain of convolutions `(name, outputs at full width, kernel, stride)`; a stride of 2 does not pad.
    fn chain(&self, layers: &[(&str, usize, [usize; 2], usize)]) -> Vec<Node> {
        self.chain_from(self.inputs, layers)
    }

    fn chain_from(&self, mut inputs: usize, layers: &[(&str, usize, [usize; 2], usize)]) -> Vec<Node> {
        let mut nodes = Vec::with_capacity(layers.len());
        for (name, full, kernel, stride) in layers {
            let outputs = self.scaled(*full);
            let spec = ConvNormSpec {
                kernel: *kernel,
                pads: *stride == 1,
                ..ConvNormSpec::square(inputs, outputs, 1, *stride)
            };
            nodes.push(Node::Conv(format!("{}.{name}", self.name), spec));
            inputs = outputs;
        }
        nodes
    }

    /// Average pooling that keeps the size, and a 1×1 convolution.
    fn pool(&self, outputs: usize) -> Vec<Node> {
        let mut nodes = vec![Node::Pool(PoolSpec { is_max: false, side: 3, stride: 1, padding: 1 })];
        nodes.extend(self.chain(&[("branch_pool", outputs, [1, 1], 1)]));
        nodes
    }

    fn scaled(&self, channels: usize) -> usize {
        (channels as f64 * self.variant.width) as usize
    }
}

const HALVING: PoolSpec = PoolSpec { is_max: true, side: 3, stride: 2, padding: 0 };

fn stages(variant: &Variant) -> Stages {
    let mut stages = stem(variant);
    let mut channels = Stages(stages.clone()).channels();
    for number in 0..=10 {
        let block = Block { variant, name: format!("mixed{number}"), inputs: channels };
        let branches = match number {
            0 => block_35(&block, 32),
            1 | 2 => block_35(&block, 64),
            3 => reduction_17(&block),
            4 => block_17(&block, 128),
            5 | 6 => block_17(&block, 160),
            7 => block_17(&block, 192),
            8 => reduction_8(&block),
            _ => block_8(&block),
        };
        let node = Node::Branches(branches);
        channels = node.channels(channels);
        stages.push(vec![node]);
    }
    Stages(stages)
}

fn stem(variant: &Variant) -> Vec<Vec<Node>> {
    let first = Block { variant, name: "stem1".to_owned(), inputs: 3 };
    let mut stem1 = first.chain(&[("conv1a", 32, [3, 3], 2), ("conv2a", 32, [3, 3], 1), ("conv2b", 64, [3, 3], 1)]);
    without_padding(&mut stem1[1]);
    stem1.push(Node::Pool(HALVING));
    let second = Block { variant, name: "stem2".to_owned(), inputs: first.scaled(64) };
    let mut stem2 = second.chain(&[("conv3b", 80, [1, 1], 1), ("conv4a", 192, [3, 3], 1)]);
    without_padding(&mut stem2[1]);
    stem2.push(Node::Pool(HALVING));
    vec![stem1, stem2]
}

fn without_padding(node: &mut Node) {
    if let Node::Conv(_, spec) = node {
        spec.pads = false;
    }
}

/// Figure 5 of the paper: the 5×5 beside two 3×3, on 35 × 35.
fn block_35(block: &Block<'_>, pool: usize) -> Vec<Vec<Node>> {
    vec![
        block.chain(&[("branch1x1", 64, [1, 1], 1)]),
        block.chain(&[("branch5x5_1", 48, [1, 1], 1), ("branch5x5_2", 64, [5, 5], 1)]),
        block.chain(&[
            ("branch3x3dbl_1", 64, [1, 1], 1),
            ("branch3x3dbl_2", 96, [3, 3], 1),
            ("branch3x3dbl_3", 96, [3, 3], 1),
        ]),
        block.pool(pool),
    ]
}

fn reduction_17(block: &Block<'_>) -> Vec<Vec<Node>> {
    vec![
        block.chain(&[("branch3x3", 384, [3, 3], 2)]),
        block.chain(&[
            ("branch3x3dbl_1", 64, [1, 1], 1),
            ("branch3x3dbl_2", 96, [3, 3], 1),
            ("branch3x3dbl_3", 96, [3, 3], 2),
        ]),
        vec![Node::Pool(HALVING)],
    ]
}

/// Figure 6 of the paper: 7×7 taken apart, on 17 × 17.
fn block_17(block: &Block<'_>, inner: usize) -> Vec<Vec<Node>> {
    vec![
        block.chain(&[("branch1x1", 192, [1, 1], 1)]),
        block.chain(&[
            ("branch7x7_1", inner, [1, 1], 1),
            ("branch7x7_2", inner, [1, 7], 1),
            ("branch7x7_3", 192, [7, 1], 1),
        ]),
        block.chain(&[
            ("branch7x7dbl_1", inner, [1, 1], 1),
            ("branch7x7dbl_2", inner, [7, 1], 1),
            ("branch7x7dbl_3", inner, [1, 7], 1),
            ("branch7x7dbl_4", inner, [7, 1], 1),
            ("branch7x7dbl_5", 192, [1, 7], 1),
        ]),
        block.pool(192),
    ]
}

fn reduction_8(block: &Block<'_>) -> Vec<Vec<Node>> {
    vec![
        block.chain(&[("branch3x3_1", 192, [1, 1], 1), ("branch3x3_2", 320, [3, 3], 2)]),
        block.chain(&[
            ("branch7x7x3_1", 192, [1, 1], 1),
            ("branch7x7x3_2", 192, [1, 7], 1),
            ("branch7x7x3_3", 192, [7, 1], 1),
            ("branch7x7x3_4", 192, [3, 3], 2),
        ]),
        vec![Node::Pool(HALVING)],
    ]
}

/// Figure 7 of the paper: 3×3 as a row beside a column, on 8 × 8.
fn block_8(block: &Block<'_>) -> Vec<Vec<Node>> {
    let forked = |stem: &[(&str, usize, [usize; 2], usize)], row: &str, column: &str| {
        let mut nodes = block.chain(stem);
        let inputs = block.scaled(384);
        nodes.push(Node::Branches(vec![
            block.chain_from(inputs, &[(row, 384, [1, 3], 1)]),
            block.chain_from(inputs, &[(column, 384, [3, 1], 1)]),
        ]));
        nodes
    };
    vec![
        block.chain(&[("branch1x1", 320, [1, 1], 1)]),
        forked(&[("branch3x3_1", 384, [1, 1], 1)], "branch3x3_2a", "branch3x3_2b"),
        forked(
            &[("branch3x3dbl_1", 448, [1, 1], 1), ("branch3x3dbl_2", 384, [3, 3], 1)],
            "branch3x3dbl_3a",
            "branch3x3dbl_3b",
        ),
        block.pool(192),
    ]
}

/// torchvision's names of the stages, from `mixed0` on.
const MIXED: [&str; 11] = [
    "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7a",
    "Mixed_7b", "Mixed_7c",
];

fn torchvision_entries(variant: &Variant) -> Vec<Entry> {
    let stages = stages(variant);
    let mut entries = Vec::new();
    for (ours, spec) in stages.convolutions() {
        let (stage, layer) = ours.split_once('.').unwrap_or((ours, ""));
        let theirs = match stage.strip_prefix("mixed").and_then(|number| number.parse::<usize>().ok()) {
            Some(number) => format!("{}.{layer}", MIXED[number]),
            // `conv1a` is `Conv2d_1a_3x3`.
            None => format!("Conv2d_{}_{}x{}", layer.trim_start_matches("conv"), spec.kernel[0], spec.kernel[1]),
        };
        entries.extend(Entry::pytorch_conv_norm(&format!("{theirs}.conv"), &format!("{theirs}.bn"), ours));
    }
    entries
}

/// `.weights.h5` numbers the variables of a layer, and does not say which one a normalization lacks: here it is the scale.
fn keras_names(arrays: &[ArrayInfo]) -> Vec<String> {
    let named = |name: String| match name.rsplit_once('/') {
        Some((layer, position)) if layer.starts_with("batch_normalization") => match position {
            "0" => format!("{layer}/beta"),
            "1" => format!("{layer}/moving_mean"),
            "2" => format!("{layer}/moving_variance"),
            _ => name,
        },
        _ => name,
    };
    NameMap::keras(arrays).into_iter().map(named).collect()
}

/// Keras numbers its layers in the order in which they are built, which is that of our convolutions; its normalization has no
/// scale.
fn keras_entries(variant: &Variant) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (number, (ours, _)) in stages(variant).convolutions().into_iter().enumerate() {
        let layer =
            Entry::keras_conv_norm(&format!("conv2d_{number}"), &format!("batch_normalization_{number}"), ours, false);
        entries.extend(layer.into_iter().map(|mut entry| {
            if entry.ours.ends_with(".gamma") {
                entry.layout = Layout::Constant(1.0);
            }
            entry
        }));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_network_has_the_published_number_of_weights() {
        // 21 802 784 in Keras without its classifier, which has no scale (17 216 values); ours has.
        let parameters = stages(SPEC.find_variant("1.0").unwrap()).parameters();
        let count: usize = parameters.iter().map(|spec| spec.shape.iter().product::<usize>()).sum();
        assert_eq!(count, 21_802_784 + 17_216);
        assert_eq!(stages(SPEC.find_variant("1.0").unwrap()).convolutions().len(), 94);
    }
}
