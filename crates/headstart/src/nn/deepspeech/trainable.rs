//! The trainable form: layers as modules whose paths are the names of the architecture.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use headstart_data::audio::features::with_context;
use headstart_kernels::transformer::{Dropout, Sequences};

use super::shape::{DeepSpeechShape, LSTM};
use crate::error::Result;
use crate::features::Features;
use crate::nn::cpu_lstm;
use crate::nn::named::{read, values};
use crate::nn::transformer::drop;
use crate::nn::{Dense, lstm_steps};
use crate::parameters::Parameters;
use crate::random::Stream;

/// An LSTM of TensorFlow's layout.
#[derive(Module, Debug)]
pub(super) struct Lstm {
    /// `[2 · hidden, 4 · hidden]`
    pub(super) kernel: Param<Tensor<2>>,
    /// `[4 · hidden]`
    pub(super) bias: Param<Tensor<1>>,
}

/// A DeepSpeech network of any width.
#[derive(Module, Debug)]
pub struct DeepSpeech {
    pub(super) layer_1: Dense,
    pub(super) layer_2: Dense,
    pub(super) layer_3: Dense,
    pub(super) lstm: Lstm,
    pub(super) layer_5: Dense,
    #[module(skip)]
    shape: DeepSpeechShape,
}

impl DeepSpeech {
    /// The network from its arrays.
    ///
    /// # Errors
    /// [`crate::Error::UnknownName`] when an array is missing.
    pub fn load(shape: DeepSpeechShape, parameters: &Parameters, device: &Device) -> Result<Self> {
        let dense = |name: &str| Dense::load(parameters, name, device);
        Ok(Self {
            layer_1: dense("layer_1")?,
            layer_2: dense("layer_2")?,
            layer_3: dense("layer_3")?,
            lstm: Lstm {
                kernel: Param::from_tensor(read(parameters, "lstm.kernel", device)?),
                bias: Param::from_tensor(read(parameters, "lstm.bias", device)?),
            },
            layer_5: dense("layer_5")?,
            shape,
        })
    }

    /// States `[frames, hidden]` after all stages, from cepstra (`stage` 0) or from the states after `stage` stages. `noise`
    /// draws dropout while it learns.
    pub(crate) fn resume_from(&self, stage: usize, features: Features, mut noise: Option<&mut Stream>) -> Features {
        let Features::Sequence(states, sequences) = features else {
            unreachable!("a network of recordings reads frames, or states of them")
        };
        let mut states = if stage == 0 { self.in_context(&states, &sequences) } else { states };
        let dense = [&self.layer_1, &self.layer_2, &self.layer_3];
        for layer in dense.into_iter().skip(stage) {
            states = self.dense(layer, states, noise.as_deref_mut());
        }
        if stage <= LSTM {
            let (kernel, bias) = (self.lstm.kernel.val(), self.lstm.bias.val());
            states = match cpu_lstm::forward(&sequences, &states, &kernel, &bias) {
                Some(states) => states,
                None => lstm_steps::forward(&sequences, states, kernel, bias),
            };
        }
        if stage <= LSTM + 1 {
            states = self.dense(&self.layer_5, states, noise);
        }
        Features::Sequence(states, sequences)
    }

    /// Each frame with its neighbours; nothing below learns, so no gradient goes through.
    fn in_context(&self, frames: &Tensor<2>, sequences: &Arc<Sequences>) -> Tensor<2> {
        let DeepSpeechShape { cepstra, context, .. } = self.shape;
        let values = values(frames.clone());
        let joined: Vec<f32> = sequences
            .ranges()
            .flat_map(|rows| with_context(&values[rows.start * cepstra..rows.end * cepstra], cepstra, context))
            .collect();
        let data = TensorData::new(joined, [sequences.token_count(), self.shape.window()]);
        Tensor::from_data(data, &frames.device())
    }

    fn dense(&self, layer: &Dense, input: Tensor<2>, noise: Option<&mut Stream>) -> Tensor<2> {
        let cut = layer.forward(input).clamp(0.0, self.shape.clip);
        let rate = self.shape.dropout;
        drop(cut, noise.filter(|_| rate > 0.0).map(|noise| Dropout { rate, seed: noise.bits() }))
    }
}
