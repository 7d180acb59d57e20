//! VGG16: thirteen 3×3 convolutions (Simonyan and Zisserman 2014, arXiv:1409.1556), with and without batch normalization.
//!
//! Shapes and names follow torchvision 0.29 `vgg.py`, configuration D, and Keras 3 `vgg16.py`. The fully connected layers are
//! a classifier and not part of the backbone.

use super::{Backbone, BackboneSpec, Stage, Variant};
use crate::name_map::{ClassifierNames, DenseOrder, Entry, Layout, NameMap};
use crate::nn::Padding;
use crate::nn::conv_norm::{ConvNormSpec, Norm, NormPadding};
use crate::nn::graph::{Node, PoolSpec, Stages};
use crate::recipe::Pool;
use headstart_data::preprocess::Preprocess;

/// The registry entry.
pub(crate) static SPEC: BackboneSpec = BackboneSpec {
    name: "vgg16",
    paper: "Simonyan and Zisserman 2014, arXiv:1409.1556",
    licence: "CC-BY-4.0 (the authors, Keras), BSD-3-Clause (torchvision)",
    variants: &[
        Variant { name: "plain", width: 1.0 },
        Variant { name: "bn", width: 1.0 },
        Variant { name: "tiny_bn", width: 0.0625 },
        Variant { name: "tiny", width: 0.0625 },
    ],
    stages: &[
        Stage { name: "block1", summary: "2 convolutions, 1/2" },
        Stage { name: "block2", summary: "2 convolutions, 1/4" },
        Stage { name: "block3", summary: "3 convolutions, 1/8" },
        Stage { name: "block4", summary: "3 convolutions, 1/16" },
        Stage { name: "block5", summary: "3 convolutions, 1/32" },
    ],
    input_size: 224,
    smallest_input: 32,
    families: FAMILIES,
    graph: stages,
    parameters: |variant| stages(variant).parameters(),
    channels: |variant| stages(variant).channels(),
    frozen: |variant, parameters, conventions| stages(variant).frozen(parameters, NormPadding::from(conventions)),
    trainable: |variant, parameters, conventions, device| {
        let family = NormPadding::from(conventions);
        Ok(Backbone::Vgg16(stages(variant).trainable(parameters, family, device)?))
    },
};

const FAMILIES: &[NameMap] = &[
    NameMap {
        family: "torchvision",
        origin: "torchvision.models.vgg16 and vgg16_bn; timm vgg16 and vgg16_bn",
        applies: |_| true,
        canonical: NameMap::as_they_are,
        entries: torchvision_entries,
        ignore: &["classifier.", "pre_logits.", "head.", "num_batches_tracked"],
        classifiers: &[
            ClassifierNames {
                pool: Pool::Flatten,
                layers: &[
                    ("classifier.0.weight", "classifier.0.bias"),
                    ("classifier.3.weight", "classifier.3.bias"),
                    ("classifier.6.weight", "classifier.6.bias"),
                ],
                order: DenseOrder::OutputsFirst,
            },
            // timm's two convolutions are dense layers: the first sees the whole map.
            ClassifierNames {
                pool: Pool::Flatten,
                layers: &[
                    ("pre_logits.fc1.weight", "pre_logits.fc1.bias"),
                    ("pre_logits.fc2.weight", "pre_logits.fc2.bias"),
                    ("head.fc.weight", "head.fc.bias"),
                ],
                order: DenseOrder::OutputsFirst,
            },
        ],
        padding: Padding::Symmetric,
        batch_norm_epsilon: 1e-5,
        preprocess: Preprocess::torchvision,
    },
    NameMap {
        family: "keras",
        origin: "keras.applications.VGG16 (.h5, .keras, TensorFlow.js)",
        applies: |_| true,
        canonical: NameMap::keras,
        entries: keras_entries,
        ignore: &["fc1/", "fc2/", "predictions/"],
        classifiers: &[ClassifierNames {
            pool: Pool::Flatten,
            layers: &[
                ("fc1/kernel", "fc1/bias"),
                ("fc2/kernel", "fc2/bias"),
                ("predictions/kernel", "predictions/bias"),
            ],
            order: DenseOrder::InputsFirst,
        }],
        padding: Padding::Symmetric,
        batch_norm_epsilon: 1e-3,
        preprocess: Preprocess::caffe,
    },
];

/// (convolutions, channels) of each block.
const BLOCKS: [(usize, usize); 5] = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)];

fn is_normalized(variant: &Variant) -> bool {
    variant.name.ends_with("bn")
}

fn stages(variant: &Variant) -> Stages {
    let norm = if is_normalized(variant) { Norm::Batch } else { Norm::Bias };
    let mut inputs = 3;
    let block = |(index, (count, channels)): (usize, &(usize, usize))| {
        let outputs = (*channels as f64 * variant.width) as usize;
        let mut nodes: Vec<Node> = (1..=*count)
            .map(|number| {
                let spec = ConvNormSpec { norm, ..ConvNormSpec::square(inputs, outputs, 3, 1) };
                inputs = outputs;
                Node::Conv(format!("block{}.conv{number}", index + 1), spec)
            })
            .collect();
        nodes.push(Node::Pool(PoolSpec { is_max: true, side: 2, stride: 2, padding: 0 }));
        nodes
    };
    Stages(BLOCKS.iter().enumerate().map(block).collect())
}

fn torchvision_entries(variant: &Variant) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut position = 0;
    for node in stages(variant).0.iter().flatten() {
        let Node::Conv(ours, _) = node else {
            position += 1;
            continue;
        };
        let conv = format!("features.{position}");
        if is_normalized(variant) {
            let norm = format!("features.{}", position + 1);
            for mut entry in Entry::pytorch_conv_norm(&conv, &norm, ours) {
                // The convolution's own bias goes into the mean that is subtracted right behind it.
                if entry.ours.ends_with(".mean") {
                    entry.layout = Layout::Minus(format!("{conv}.bias"));
                }
                entries.push(entry);
            }
            position += 3;
        } else {
            entries.push(Entry::new(format!("{conv}.weight"), format!("{ours}.weight")));
            entries.push(Entry::new(format!("{conv}.bias"), format!("{ours}.bias")));
            position += 2;
        }
    }
    entries
}

/// Keras publishes no variant with batch normalization.
fn keras_entries(variant: &Variant) -> Vec<Entry> {
    if is_normalized(variant) {
        return Vec::new();
    }
    let mut entries = Vec::new();
    for (ours, _) in stages(variant).convolutions() {
        let theirs = ours.replace('.', "_");
        entries.push(Entry::with_layout(format!("{theirs}/kernel"), format!("{ours}.weight"), Layout::KerasConv));
        entries.push(Entry::new(format!("{theirs}/bias"), format!("{ours}.bias")));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_networks_have_the_published_number_of_weights() {
        // 138 357 544 and 138 365 992 in torchvision, less the classifiers (123 642 856). With batch normalization, the
        // biases (4 224) are folded and the running statistics (2 × 4 224) counted.
        let count = |name: &str| -> usize {
            let parameters = stages(SPEC.find_variant(name).unwrap()).parameters();
            parameters.iter().map(|spec| spec.shape.iter().product::<usize>()).sum()
        };
        assert_eq!(count("plain"), 138_357_544 - 123_642_856);
        assert_eq!(count("bn"), 138_365_992 - 123_642_856 - 4_224 + 2 * 4_224);
    }
}
