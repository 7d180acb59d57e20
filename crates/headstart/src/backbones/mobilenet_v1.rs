//! MobileNet v1: depthwise separable convolutions (Howard et al. 2017, arXiv:1704.04861).
//!
//! Shapes and names follow Keras 3 `mobilenet.py`, TF-Slim `mobilenet_v1.py`, whose graphs TensorFlow.js publishes, and
//! timm 1.0 `efficientnet.py`.

use headstart_data::preprocess::Preprocess;
use headstart_kernels::Activation;

use super::{Backbone, BackboneSpec, Stage, Variant};
use crate::name_map::{ClassifierNames, DenseOrder, Entry, Layout, NameMap};
use crate::nn::Padding;
use crate::nn::conv_norm::{ConvNormSpec, NormPadding};
use crate::nn::graph::{Node, Stages};
use crate::recipe::Pool;

/// The registry entry.
pub(crate) static SPEC: BackboneSpec = BackboneSpec {
    name: "mobilenet_v1",
    paper: "Howard et al. 2017, arXiv:1704.04861",
    licence: "Apache-2.0 (TensorFlow, Keras, TensorFlow.js)",
    variants: &[
        Variant { name: "0.25", width: 0.25 },
        Variant { name: "0.5", width: 0.5 },
        Variant { name: "0.75", width: 0.75 },
        Variant { name: "1.0", width: 1.0 },
        Variant { name: "tiny", width: 0.125 },
    ],
    stages: &[
        Stage { name: "stem", summary: "3×3 convolution, 1/2" },
        Stage { name: "block1", summary: "separable convolution, 1/2" },
        Stage { name: "block2", summary: "separable convolution, 1/4" },
        Stage { name: "block3", summary: "separable convolution, 1/4" },
        Stage { name: "block4", summary: "separable convolution, 1/8" },
        Stage { name: "block5", summary: "separable convolution, 1/8" },
        Stage { name: "block6", summary: "separable convolution, 1/16" },
        Stage { name: "block7", summary: "separable convolution, 1/16" },
        Stage { name: "block8", summary: "separable convolution, 1/16" },
        Stage { name: "block9", summary: "separable convolution, 1/16" },
        Stage { name: "block10", summary: "separable convolution, 1/16" },
        Stage { name: "block11", summary: "separable convolution, 1/16" },
        Stage { name: "block12", summary: "separable convolution, 1/32" },
        Stage { name: "block13", summary: "separable convolution, 1/32" },
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
        Ok(Backbone::MobileNetV1(stages(variant).trainable(parameters, family, device)?))
    },
};

const FAMILIES: &[NameMap] = &[
    NameMap {
        family: "keras",
        origin: "keras.applications.MobileNet (.h5, .keras, TensorFlow.js layers model)",
        applies: |_| true,
        canonical: NameMap::keras,
        entries: keras_entries,
        ignore: &["conv_preds/", "predictions/", "dense_"],
        classifiers: &[ClassifierNames {
            pool: Pool::Average,
            layers: &[("conv_preds/kernel", "conv_preds/bias")],
            order: DenseOrder::InputsFirst,
        }],
        padding: Padding::BottomRight,
        batch_norm_epsilon: 1e-3,
        preprocess: Preprocess::tensorflow,
    },
    NameMap {
        family: "slim",
        origin: "TF-Slim mobilenet_v1 (TensorFlow Hub, TensorFlow.js graph model)",
        applies: |_| true,
        canonical: NameMap::as_they_are,
        entries: slim_entries,
        ignore: &["Logits/", "hub_input/", "final_retrain_ops/", "global_step"],
        classifiers: &[ClassifierNames {
            pool: Pool::Average,
            layers: &[("MobilenetV1/Logits/Conv2d_1c_1x1/weights", "MobilenetV1/Logits/Conv2d_1c_1x1/biases")],
            order: DenseOrder::InputsFirst,
        }],
        padding: Padding::Tensorflow,
        batch_norm_epsilon: 1e-3,
        preprocess: Preprocess::tensorflow,
    },
    NameMap {
        family: "timm",
        origin: "timm mobilenetv1_100",
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
        preprocess: Preprocess::tensorflow,
    },
];

/// (channels at width 1, stride) of blocks 1 to 13: table 1 of the paper.
const BLOCKS: [(usize, usize); 13] = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
];

fn stages(variant: &Variant) -> Stages {
    let scaled = |channels: usize| ((channels as f64 * variant.width) as usize).max(1);
    let relu6 = |spec| ConvNormSpec { activation: Activation::Relu6, ..spec };
    let mut channels = scaled(32);
    let mut stages = vec![vec![Node::Conv("stem".to_owned(), relu6(ConvNormSpec::square(3, channels, 3, 2)))]];
    for (index, (full, stride)) in BLOCKS.into_iter().enumerate() {
        let (name, inputs) = (format!("block{}", index + 1), channels);
        channels = scaled(full);
        stages.push(vec![Node::Separable([
            (format!("{name}.depthwise"), relu6(ConvNormSpec::depthwise(inputs, 3, stride))),
            (format!("{name}.pointwise"), relu6(ConvNormSpec::square(inputs, channels, 1, 1))),
        ])]);
    }
    Stages(stages)
}

fn keras_entries(_variant: &Variant) -> Vec<Entry> {
    let mut entries = Entry::keras_conv_norm("conv1", "conv1_bn", "stem", false);
    for block in 1..=BLOCKS.len() {
        for (part, theirs) in [("depthwise", "conv_dw"), ("pointwise", "conv_pw")] {
            let conv = format!("{theirs}_{block}");
            let ours = format!("block{block}.{part}");
            entries.extend(Entry::keras_conv_norm(&conv, &format!("{conv}_bn"), &ours, part == "depthwise"));
        }
    }
    entries
}

/// Blocks a stage of timm's, which groups them by stride.
const TIMM_STAGES: [usize; 5] = [1, 2, 2, 6, 2];

fn timm_entries(_variant: &Variant) -> Vec<Entry> {
    let mut entries = Entry::pytorch_conv_norm("conv_stem", "bn1", "stem");
    let places = (0..).zip(TIMM_STAGES).flat_map(|(stage, count)| (0..count).map(move |index| (stage, index)));
    for (block, (stage, index)) in (1..).zip(places) {
        let theirs = format!("blocks.{stage}.{index}");
        for (conv, norm, part) in [("conv_dw", "bn1", "depthwise"), ("conv_pw", "bn2", "pointwise")] {
            let (conv, norm) = (format!("{theirs}.{conv}"), format!("{theirs}.{norm}"));
            entries.extend(Entry::pytorch_conv_norm(&conv, &norm, &format!("block{block}.{part}")));
        }
    }
    entries
}

fn slim_entries(_variant: &Variant) -> Vec<Entry> {
    let layer = |theirs: &str, ours: &str, is_depthwise: bool| {
        let (kernel, layout) = match is_depthwise {
            true => ("depthwise_weights", Layout::KerasDepthwise),
            false => ("weights", Layout::KerasConv),
        };
        let scope = format!("MobilenetV1/{theirs}");
        let mut entries = vec![Entry::with_layout(format!("{scope}/{kernel}"), format!("{ours}.weight"), layout)];
        let names = [("gamma", "gamma"), ("beta", "beta"), ("moving_mean", "mean"), ("moving_variance", "variance")];
        for (theirs, name) in names {
            entries.push(Entry::new(format!("{scope}/BatchNorm/{theirs}"), format!("{ours}.norm.{name}")));
        }
        entries
    };
    let mut entries = layer("Conv2d_0", "stem", false);
    for block in 1..=BLOCKS.len() {
        for part in ["depthwise", "pointwise"] {
            let theirs = format!("Conv2d_{block}_{part}");
            entries.extend(layer(&theirs, &format!("block{block}.{part}"), part == "depthwise"));
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_networks_have_the_published_number_of_weights() {
        // Keras without its classifier: 3 228 864 for α 1.0 and 218 544 for α 0.25.
        let count = |name: &str| -> usize {
            let parameters = stages(SPEC.find_variant(name).unwrap()).parameters();
            parameters.iter().map(|spec| spec.shape.iter().product::<usize>()).sum()
        };
        assert_eq!(count("1.0"), 3_228_864);
        assert_eq!(count("0.25"), 218_544);
    }
}
