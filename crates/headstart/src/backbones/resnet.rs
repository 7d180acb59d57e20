//! ResNet-18 and ResNet-50: residual networks (He et al. 2015, arXiv:1512.03385).
//!
//! Shapes and names follow torchvision 0.29 `resnet.py` (the stride of a bottleneck is on its 3×3 convolution, "v1.5") and
//! timm 1.0 `resnet.py`, which agree.

use headstart_data::preprocess::Preprocess;
use headstart_kernels::Activation;

use super::{Backbone, BackboneSpec, Stage, Variant};
use crate::name_map::{ClassifierNames, DenseOrder, Entry, NameMap};
use crate::nn::Padding;
use crate::nn::conv_norm::{ConvNormSpec, NormPadding};
use crate::nn::graph::{Node, PoolSpec, Stages};
use crate::recipe::Pool;

/// The registry entry.
pub(crate) static SPEC: BackboneSpec = BackboneSpec {
    name: "resnet",
    paper: "He et al. 2015, arXiv:1512.03385",
    licence: "BSD-3-Clause (torchvision), Apache-2.0 (timm)",
    variants: &[
        Variant { name: "18", width: 1.0 },
        Variant { name: "50", width: 1.0 },
        Variant { name: "tiny_50", width: 0.125 },
        Variant { name: "tiny", width: 0.125 },
    ],
    stages: &[
        Stage { name: "stem", summary: "7×7 convolution and pooling, 1/4" },
        Stage { name: "layer1", summary: "residual blocks, 1/4" },
        Stage { name: "layer2", summary: "residual blocks, 1/8" },
        Stage { name: "layer3", summary: "residual blocks, 1/16" },
        Stage { name: "layer4", summary: "residual blocks, 1/32" },
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
        Ok(Backbone::ResNet(stages(variant).trainable(parameters, family, device)?))
    },
};

const FAMILIES: &[NameMap] = &[NameMap {
    family: "torchvision",
    origin: "torchvision.models.resnet18 and resnet50; timm resnet18 and resnet50",
    applies: |_| true,
    canonical: NameMap::as_they_are,
    entries,
    ignore: &["fc.", "num_batches_tracked"],
    classifiers: &[ClassifierNames {
        pool: Pool::Average,
        layers: &[("fc.weight", "fc.bias")],
        order: DenseOrder::OutputsFirst,
    }],
    padding: Padding::Symmetric,
    batch_norm_epsilon: 1e-5,
    preprocess: Preprocess::torchvision,
}];

fn is_bottleneck(variant: &Variant) -> bool {
    variant.name.ends_with("50")
}

/// Residual blocks of layers 1 to 4.
fn blocks(variant: &Variant) -> [usize; 4] {
    match variant.name {
        "18" => [2, 2, 2, 2],
        "50" => [3, 4, 6, 3],
        _ => [1, 2, 1, 1],
    }
}

fn stages(variant: &Variant) -> Stages {
    let scaled = |channels: usize| (channels as f64 * variant.width) as usize;
    let linear = |spec| ConvNormSpec { activation: Activation::Identity, ..spec };
    let mut channels = scaled(64);
    let mut stages = vec![vec![
        Node::Conv("stem".to_owned(), ConvNormSpec::square(3, channels, 7, 2)),
        Node::Pool(PoolSpec { is_max: true, side: 3, stride: 2, padding: 1 }),
    ]];
    for (layer, count) in blocks(variant).into_iter().enumerate() {
        let (inner, first_stride) = (scaled(64 << layer), if layer == 0 { 1 } else { 2 });
        let outputs = if is_bottleneck(variant) { 4 * inner } else { inner };
        let nodes = (0..count).map(|index| {
            let (inputs, stride) = (channels, if index == 0 { first_stride } else { 1 });
            channels = outputs;
            let conv = |number: usize, spec| Node::Conv(format!("layer{}.{index}.conv{number}", layer + 1), spec);
            let body = if is_bottleneck(variant) {
                vec![
                    conv(1, ConvNormSpec::square(inputs, inner, 1, 1)),
                    conv(2, ConvNormSpec::square(inner, inner, 3, stride)),
                    conv(3, linear(ConvNormSpec::square(inner, outputs, 1, 1))),
                ]
            } else {
                vec![
                    conv(1, ConvNormSpec::square(inputs, inner, 3, stride)),
                    conv(2, linear(ConvNormSpec::square(inner, outputs, 3, 1))),
                ]
            };
            let name = format!("layer{}.{index}.downsample", layer + 1);
            let project = Node::Conv(name, linear(ConvNormSpec::square(inputs, outputs, 1, stride)));
            let shortcut = if stride == 1 && inputs == outputs { vec![] } else { vec![project] };
            Node::Residual { body, shortcut, activation: Activation::Relu }
        });
        stages.push(nodes.collect());
    }
    Stages(stages)
}

fn entries(variant: &Variant) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (ours, _) in stages(variant).convolutions() {
        let (conv, norm) = if ours == "stem" {
            ("conv1".to_owned(), "bn1".to_owned())
        } else if ours.ends_with("downsample") {
            (format!("{ours}.0"), format!("{ours}.1"))
        } else {
            (ours.to_owned(), ours.replace("conv", "bn"))
        };
        entries.extend(Entry::pytorch_conv_norm(&conv, &norm, ours));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_networks_have_the_published_number_of_weights() {
        // 11 689 512 and 25 557 032 in torchvision, less the classifiers, plus the running statistics.
        let count = |name: &str| -> usize {
            let parameters = stages(SPEC.find_variant(name).unwrap()).parameters();
            let statistics = |name: &str| name.ends_with(".mean") || name.ends_with(".variance");
            let learned = parameters.iter().filter(|spec| !statistics(&spec.name));
            learned.map(|spec| spec.shape.iter().product::<usize>()).sum()
        };
        assert_eq!(count("18"), 11_689_512 - 513_000);
        assert_eq!(count("50"), 25_557_032 - 2_049_000);
    }
}
