//! DeepSpeech 0.9: a recurrent network from cepstra to letters (Hannun et al. 2014, arXiv:1412.5567, simplified).
//!
//! Layers, sizes and names follow Mozilla DeepSpeech 0.9 `training/deepspeech_training/train.py` and, for the names of
//! variables before 0.6, its 0.5 `DeepSpeech.py`. Gates lie in the order i, c, f, o. Up to 0.5 the cell added 1 to the forget
//! gate beside its bias; here that is part of the bias. Layer 6, which writes letters, is the head.

use headstart_weights::ArrayInfo;

use super::{SpeechBackbone, SpeechNames};
use crate::name_map::Entry;
use crate::nn::DeepSpeechShape;

/// The registry entry.
pub(crate) static SPEC: SpeechBackbone = SpeechBackbone {
    name: "deepspeech",
    paper: "Hannun et al. 2014, arXiv:1412.5567; Mozilla DeepSpeech 0.9",
    licence: "MPL-2.0 (Mozilla)",
    stages: &[
        ("layer_1", "a dense layer on a frame with nine on each side"),
        ("layer_2", "a dense layer"),
        ("layer_3", "a dense layer"),
        ("lstm", "the recurrent layer, from the first frame to the last"),
        ("layer_5", "a dense layer"),
    ],
    read_shape,
    families: &[
        SpeechNames {
            family: "deepspeech",
            origin: "Mozilla DeepSpeech 0.6 to 0.9",
            first: "layer_1/weights",
            entries: entries_of_0_9,
            output: ["layer_6/weights", "layer_6/bias"],
            forget_bias: 0.0,
        },
        SpeechNames {
            family: "deepspeech_0.5",
            origin: "Mozilla DeepSpeech up to 0.5",
            first: "h1",
            entries: entries_of_0_5,
            output: ["h6", "b6"],
            forget_bias: 1.0,
        },
    ],
    ignore: &[
        "/Adam",
        "beta1_power",
        "beta2_power",
        "global_step",
        "learning_rate",
        "best_dev_loss",
        "cudnn_lstm/opaque",
        "previous_state",
        "metadata_",
        "loss_scale",
    ],
};

/// The shape that the first layer has, as far as it tells: 26 cepstra with 9 frames on each side are 494 values.
fn read_shape(first: &ArrayInfo) -> Result<DeepSpeechShape, String> {
    let [window, hidden] = first.shape[..] else {
        return Err(format!("`{}` has {} axes, expected 2", first.name, first.shape.len()));
    };
    let shape = DeepSpeechShape::of_width(hidden);
    match window == shape.window() {
        true if (1..=1 << 14).contains(&hidden) => Ok(shape),
        true => Err(format!("`{}` has {hidden} units", first.name)),
        false => Err(format!(
            "`{}` reads {window} values of a frame, expected {}: {} cepstra with {} frames on each side",
            first.name,
            shape.window(),
            shape.cepstra,
            shape.context
        )),
    }
}

fn entries_of_0_9() -> Vec<Entry> {
    let cell = "cudnn_lstm/rnn/multi_rnn_cell/cell_0/cudnn_compatible_lstm_cell";
    let dense = |layer: u32| {
        [
            Entry::new(format!("layer_{layer}/weights"), format!("layer_{layer}.weight")),
            Entry::new(format!("layer_{layer}/bias"), format!("layer_{layer}.bias")),
        ]
    };
    let lstm = ["kernel", "bias"].map(|array| Entry::new(format!("{cell}/{array}"), format!("lstm.{array}")));
    [1, 2, 3, 5].into_iter().flat_map(dense).chain(lstm).collect()
}

fn entries_of_0_5() -> Vec<Entry> {
    let dense = |layer: u32| {
        [
            Entry::new(format!("h{layer}"), format!("layer_{layer}.weight")),
            Entry::new(format!("b{layer}"), format!("layer_{layer}.bias")),
        ]
    };
    let lstm = ["kernel", "bias"].map(|array| Entry::new(format!("lstm_fused_cell/{array}"), format!("lstm.{array}")));
    [1, 2, 3, 5].into_iter().flat_map(dense).chain(lstm).collect()
}
