//! Widths of a DeepSpeech network, and what follows from them.

use serde::{Deserialize, Serialize};

use crate::nn::Dense;
use crate::parameters::{Initial, ParameterSpec};

/// What tells one DeepSpeech from another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeepSpeechShape {
    /// Cepstra of a frame (0.9: 26).
    pub cepstra: usize,
    /// Frames on each side that the first layer sees with a frame (0.9: 9).
    pub context: usize,
    /// Units of every layer (0.9 as published: 2048).
    pub hidden: usize,
    /// Where the dense layers are cut from above (0.9: 20).
    pub clip: f32,
    /// Part of the values behind each dense layer that is dropped while it learns (`--dropout_rate`, 0.05).
    pub dropout: f32,
}

/// Its layers from the input on, which are its stages. The sixth, which writes letters, is the head.
pub(crate) const STAGES: [&str; 5] = ["layer_1", "layer_2", "layer_3", "lstm", "layer_5"];
/// Index of the one that remembers.
pub(crate) const LSTM: usize = 3;

impl DeepSpeechShape {
    /// DeepSpeech 0.9 of this width.
    pub fn of_width(hidden: usize) -> Self {
        Self { cepstra: 26, context: 9, hidden, clip: 20.0, dropout: 0.05 }
    }

    /// Values of a frame with its context.
    pub fn window(&self) -> usize {
        self.cepstra * (2 * self.context + 1)
    }

    /// Names of the stages.
    pub fn stages(&self) -> Vec<String> {
        STAGES.map(str::to_owned).to_vec()
    }

    /// Index of the stage that owns the parameter called `name`.
    pub fn stage_of(&self, name: &str) -> Option<usize> {
        let first = name.split('.').next()?;
        STAGES.iter().position(|stage| *stage == first)
    }

    /// Values of a frame behind `depth` stages.
    pub fn width_after(&self, depth: usize) -> usize {
        if depth == 0 { self.cepstra } else { self.hidden }
    }

    /// Arrays of all stages with DeepSpeech's initial values (Glorot uniform, zero bias).
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        let hidden = self.hidden;
        let mut parameters = Vec::new();
        for (stage, name) in STAGES.iter().enumerate() {
            if stage == LSTM {
                let shape = vec![2 * hidden, 4 * hidden];
                let initial = Initial::GlorotUniform { fan_in: 2 * hidden, fan_out: 4 * hidden };
                parameters.push(ParameterSpec { name: format!("{name}.kernel"), shape, initial });
                let shape = vec![4 * hidden];
                parameters.push(ParameterSpec { name: format!("{name}.bias"), shape, initial: Initial::Zeros });
            } else {
                parameters.extend(Dense::parameters(name, if stage == 0 { self.window() } else { hidden }, hidden));
            }
        }
        parameters
    }
}
