//! The frozen form: recordings whole, or as they come.

use headstart_data::audio::features::with_context;
use headstart_kernels::lstm::{LstmSpec, LstmState, LstmWeights, PackedLstm};
use headstart_kernels::transformer::Sequences;
use headstart_kernels::{Activation, dense_rows};

use super::shape::{DeepSpeechShape, LSTM, STAGES};
use crate::error::Result;
use crate::parameters::Parameters;

/// A whole DeepSpeech that does not learn.
#[derive(Debug)]
pub struct FrozenDeepSpeech {
    shape: DeepSpeechShape,
    /// All but the recurrent one's, which is packed.
    parameters: Parameters,
    lstm: PackedLstm,
}

impl FrozenDeepSpeech {
    /// Takes the arrays of a network.
    ///
    /// # Errors
    /// [`crate::Error::UnknownName`] when an array is missing; [`crate::Error::Kernel`] when one has another shape.
    pub fn new(shape: DeepSpeechShape, mut parameters: Parameters) -> Result<Self> {
        for spec in shape.parameters() {
            parameters.find(&spec.name)?;
        }
        let spec = LstmSpec { inputs: shape.hidden, hidden: shape.hidden };
        let array = |name: &str| Ok::<_, crate::Error>(parameters.find(name)?.values.as_slice());
        let weights = LstmWeights { kernel: array("lstm.kernel")?, bias: array("lstm.bias")? };
        let lstm = PackedLstm::new(spec, weights)?;
        parameters.retain(|name| !name.starts_with("lstm."));
        Ok(Self { shape, parameters, lstm })
    }

    /// The shape.
    pub fn shape(&self) -> &DeepSpeechShape {
        &self.shape
    }

    /// Cepstra of some recordings, `[frames, cepstra]`, through the first `depth` stages: `[frames, hidden]`. The result of a
    /// recording does not depend on those beside it.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`] when `frames` is not as long as the sequences say.
    pub fn forward(&self, frames: &[f32], sequences: &Sequences, depth: usize) -> Result<Vec<f32>> {
        if depth == 0 {
            return Ok(frames.to_vec());
        }
        let DeepSpeechShape { cepstra, context, .. } = self.shape;
        let joined: Vec<f32> = sequences
            .ranges()
            .flat_map(|rows| with_context(&frames[rows.start * cepstra..rows.end * cepstra], cepstra, context))
            .collect();
        self.run(&joined, sequences, depth, None)
    }

    /// Frames in their context through the first `depth` stages.
    fn run(
        &self,
        joined: &[f32],
        sequences: &Sequences,
        depth: usize,
        mut states: Option<&mut [LstmState]>,
    ) -> Result<Vec<f32>> {
        let mut values: Option<Vec<f32>> = None;
        for (stage, name) in STAGES.iter().enumerate().take(depth) {
            let input = values.as_deref().unwrap_or(joined);
            values = Some(if stage == LSTM {
                self.lstm.forward(sequences, input, states.take())?
            } else {
                let array =
                    |array: &str| Ok::<_, crate::Error>(&self.parameters.find(&format!("{name}.{array}"))?.values);
                dense_rows(input, array("weight")?, array("bias")?, Activation::ClippedRelu(self.shape.clip))?
            });
        }
        Ok(values.unwrap_or_else(|| joined.to_vec()))
    }

    /// A recording that comes in pieces.
    pub fn stream(&self) -> DeepSpeechStream<'_> {
        DeepSpeechStream {
            network: self,
            frames: vec![0.0; self.shape.context * self.shape.cepstra],
            states: vec![LstmState::zero(self.shape.hidden)],
        }
    }
}

/// The network in the middle of a recording: what it remembers, and the frames whose context is not there yet.
#[derive(Debug)]
pub struct DeepSpeechStream<'a> {
    network: &'a FrozenDeepSpeech,
    /// From `context` frames before the next one on.
    frames: Vec<f32>,
    states: Vec<LstmState>,
}

impl DeepSpeechStream<'_> {
    /// Adds cepstra `[frames, cepstra]` and gives the states `[frames, hidden]` of those that have all their neighbours now.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`] never happens for whole frames.
    pub fn push(&mut self, frames: &[f32]) -> Result<Vec<f32>> {
        let DeepSpeechShape { cepstra, context, .. } = self.network.shape;
        self.frames.extend_from_slice(frames);
        let ready = (self.frames.len() / cepstra).saturating_sub(2 * context);
        if ready == 0 {
            return Ok(Vec::new());
        }
        // Frames and their neighbours lie beside each other.
        let joined: Vec<f32> = (0..ready)
            .flat_map(|frame| &self.frames[frame * cepstra..][..self.network.shape.window()])
            .copied()
            .collect();
        self.frames.drain(..ready * cepstra);
        let sequences = Sequences::of_lengths(&[ready]);
        self.network.run(&joined, &sequences, STAGES.len(), Some(&mut self.states))
    }

    /// The states of the last frames, beyond which there is silence. The stream is then as new.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(&mut self) -> Result<Vec<f32>> {
        let DeepSpeechShape { cepstra, context, hidden, .. } = self.network.shape;
        let last = self.push(&vec![0.0; context * cepstra])?;
        self.frames.clear();
        self.frames.resize(context * cepstra, 0.0);
        self.states = vec![LstmState::zero(hidden)];
        Ok(last)
    }
}
