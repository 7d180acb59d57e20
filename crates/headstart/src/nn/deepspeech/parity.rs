//! The trainable form: states of the frozen form from every cut, and TensorFlow's loss and gradients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use headstart_kernels::transformer::Sequences;
use serde_json::Value;

use super::{DeepSpeech, FrozenDeepSpeech};
use crate::features::Features;
use crate::load::{PretrainedSpeech, load_speech};
use crate::nn::Dense;
use crate::nn::named::{collect, values};
use crate::parameters::Parameters;
use crate::tasks::speech_recognition::loss::{Labels, mean_loss};

const CELL: &str = "cudnn_lstm/rnn/multi_rnn_cell/cell_0/cudnn_compatible_lstm_cell";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/deepspeech")
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

struct Case {
    pretrained: PretrainedSpeech,
    expected: Value,
    cepstra: Vec<f32>,
    sequences: Arc<Sequences>,
}

fn case() -> Case {
    let pretrained = load_speech(&fixtures().join("graph.pb"), None).unwrap();
    let text = std::fs::read_to_string(fixtures().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let recordings: Vec<Vec<f32>> = expected["cepstra"].as_array().unwrap().iter().map(numbers).collect();
    let lengths: Vec<usize> = recordings.iter().map(|frames| frames.len() / 26).collect();
    let sequences = Arc::new(Sequences::of_lengths(&lengths));
    Case { pretrained, expected, cepstra: recordings.concat(), sequences }
}

impl Case {
    fn features(&self, states: Vec<f32>, device: &Device) -> Features {
        let frames = self.sequences.token_count();
        let shape = [frames, states.len() / frames];
        Features::Sequence(Tensor::from_data(TensorData::new(states, shape), device), self.sequences.clone())
    }
}

#[test]
fn both_forms_agree_from_every_cut() {
    let case = case();
    let (shape, parameters) = (case.pretrained.shape, &case.pretrained.parameters);
    let frozen = FrozenDeepSpeech::new(shape, parameters.clone()).unwrap();
    let whole = frozen.forward(&case.cepstra, &case.sequences, 5).unwrap();
    for device in [Device::default(), Device::default().autodiff()] {
        let network = DeepSpeech::load(shape, parameters, &device).unwrap();
        for depth in 0..=5 {
            let below = frozen.forward(&case.cepstra, &case.sequences, depth).unwrap();
            let Features::Sequence(states, _) = network.resume_from(depth, case.features(below, &device), None) else {
                panic!("states of frames")
            };
            for (a, b) in values(states).iter().zip(&whole) {
                assert!((a - b).abs() < 1e-5, "cut {depth}: {a} {b}");
            }
        }
    }
}

#[test]
fn loss_and_gradients_are_those_of_tensorflow() {
    let case = case();
    let device = Device::default().autodiff();
    let network = DeepSpeech::load(case.pretrained.shape, &case.pretrained.parameters, &device).unwrap();
    let head = Dense::load(&case.pretrained.writer.as_ref().unwrap().parameters, "output", &device).unwrap();
    let features = case.features(case.cepstra.clone(), &device);
    let Features::Sequence(states, _) = network.resume_from(0, features, None) else { panic!("states of frames") };
    let transcripts: Vec<Vec<usize>> = case.expected["transcripts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|labels| numbers(labels).into_iter().map(|label| label as usize).collect())
        .collect();
    let rows: Vec<usize> = case.sequences.ranges().map(|rows| rows.len()).collect();
    let labels = Labels::new(transcripts.iter().map(Vec::as_slice));
    let loss = mean_loss(head.forward(states), &rows, &labels);
    let expected = case.expected["loss"].as_f64().unwrap();
    assert!((f64::from(loss.clone().into_scalar::<f32>()) - expected).abs() < 1e-4, "{expected}");

    let gradients = loss.backward();
    let mut found = Parameters::default();
    let mut add = |name: &str, tensor: Vec<f32>| {
        let shape = vec![tensor.len()];
        found.insert(name, crate::parameters::Parameter { shape, values: tensor });
    };
    let dense = [("layer_1", &network.layer_1), ("layer_2", &network.layer_2), ("layer_3", &network.layer_3)];
    for (name, layer) in dense.into_iter().chain([("layer_5", &network.layer_5), ("layer_6", &head)]) {
        let (weight, bias) = layer.tensors();
        add(&format!("{name}/weights"), values(weight.grad(&gradients).unwrap()));
        add(&format!("{name}/bias"), values(bias.grad(&gradients).unwrap()));
    }
    add(&format!("{CELL}/kernel"), values(network.lstm.kernel.val().grad(&gradients).unwrap()));
    add(&format!("{CELL}/bias"), values(network.lstm.bias.val().grad(&gradients).unwrap()));
    assert_eq!(found.len(), collect(&network).len() + 2);
    for (name, gradient) in found.iter() {
        let expected = numbers(&case.expected["gradients"][name.as_str()]);
        let every_seventh: Vec<f32> = gradient.values.iter().copied().step_by(7).collect();
        assert_eq!(every_seventh.len(), expected.len(), "{name}");
        for (a, b) in every_seventh.iter().zip(&expected) {
            assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{name}: {a} {b}");
        }
    }
}
