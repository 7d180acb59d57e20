//! DeepSpeech against TensorFlow: files as its tool writes them, every layer, loss and gradients; and its two forms against
//! each other.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::path::{Path, PathBuf};

use headstart::data::speech::alphabet::Alphabet;
use headstart::kernels::transformer::Sequences;
use headstart::load::{PretrainedSpeech, load_speech};
use headstart::nn::FrozenDeepSpeech;
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/deepspeech")
}

fn expected() -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join("expected.json")).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-4, "{what}: value {index} is {a}, expected {b}");
    }
}

/// Both recordings behind `depth` layers, side by side.
fn states(pretrained: &PretrainedSpeech, depth: usize) -> (Vec<f32>, Sequences) {
    let expected = expected();
    let cepstra: Vec<Vec<f32>> = expected["cepstra"].as_array().unwrap().iter().map(numbers).collect();
    let lengths: Vec<usize> = cepstra.iter().map(|cepstra| cepstra.len() / 26).collect();
    let sequences = Sequences::of_lengths(&lengths);
    let frozen = FrozenDeepSpeech::new(pretrained.shape, pretrained.parameters.clone()).unwrap();
    (frozen.forward(&cepstra.concat(), &sequences, depth).unwrap(), sequences)
}

/// What the last layer writes.
fn logits(pretrained: &PretrainedSpeech) -> Vec<f32> {
    let writer = pretrained.writer.as_ref().unwrap();
    let [weight, bias] = ["output.weight", "output.bias"].map(|name| &writer.parameters.find(name).unwrap().values);
    let (states, _) = states(pretrained, 5);
    let hidden = pretrained.shape.hidden;
    let row = |state: &[f32]| -> Vec<f32> {
        (0..bias.len())
            .map(|out| bias[out] + (0..hidden).map(|unit| state[unit] * weight[unit * bias.len() + out]).sum::<f32>())
            .collect()
    };
    states.chunks_exact(hidden).flat_map(row).collect()
}

#[test]
fn a_checkpoint_and_a_frozen_graph_give_what_tensorflow_computes_behind_every_layer() {
    let expected = expected();
    let of_layer = |name: &str| -> Vec<f32> {
        expected["layers"].as_array().unwrap().iter().flat_map(|layers| numbers(&layers[name])).collect()
    };
    for file in ["checkpoint/best_dev-7.index", "checkpoint", "graph.pb"] {
        let pretrained = load_speech(&fixtures().join(file), None).unwrap();
        assert_eq!((pretrained.family, pretrained.shape.hidden), ("deepspeech", 12), "{file}");
        assert_eq!(pretrained.unused, Vec::<String>::new(), "{file}: slots and counters are no weights");
        assert_eq!(pretrained.writer.as_ref().unwrap().writing.alphabet.len(), 28);
        for (depth, name) in ["layer_1", "layer_2", "layer_3", "lstm", "layer_5"].into_iter().enumerate() {
            assert_close(&states(&pretrained, depth + 1).0, &of_layer(name), &format!("{file}: {name}"));
        }
        assert_close(&logits(&pretrained), &of_layer("layer_6"), file);
    }
}

#[test]
fn a_checkpoint_of_0_5_has_its_forget_bias() {
    let pretrained =
        load_speech(&fixtures().join("old/model.v0.5.index"), Some(&fixtures().join("alphabet.txt"))).unwrap();
    assert_eq!(pretrained.family, "deepspeech_0.5");
    let expected: Vec<f32> = expected()["old_logits"].as_array().unwrap().iter().flat_map(numbers).collect();
    assert_close(&logits(&pretrained), &expected, "0.5");
}

#[test]
fn a_recording_in_pieces_gives_the_states_of_the_whole() {
    let pretrained = load_speech(&fixtures().join("graph.pb"), None).unwrap();
    let cepstra = numbers(&expected()["cepstra"][0]);
    let frozen = FrozenDeepSpeech::new(pretrained.shape, pretrained.parameters.clone()).unwrap();
    let whole = frozen.forward(&cepstra, &Sequences::of_lengths(&[cepstra.len() / 26]), 5).unwrap();
    let mut stream = frozen.stream();
    for size in [1, 3, 8, 30] {
        let mut found = Vec::new();
        for frames in cepstra.chunks(size * 26) {
            found.extend(stream.push(frames).unwrap());
        }
        found.extend(stream.finish().unwrap());
        assert_close(&found, &whole, &format!("{size} frames a piece"));
    }
}

#[test]
fn letters_are_carried_over_to_another_alphabet() {
    let pretrained = load_speech(&fixtures().join("graph.pb"), None).unwrap();
    let english = &pretrained.writer.as_ref().unwrap().writing.alphabet;
    let spanish = Alphabet::of(["añé x"]);
    let origins = spanish.origins(english);
    let letter = |wanted: &str| english.encode(wanted).unwrap()[0];
    assert_eq!(
        origins,
        [Some(letter(" ")), Some(letter("a")), Some(letter("x")), Some(letter("e")), Some(letter("n")), Some(28)]
    );
}

#[test]
fn what_does_not_fit_is_named() {
    let message = |path: &Path, alphabet: Option<&Path>| load_speech(path, alphabet).unwrap_err().to_string();
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("alphabet.txt");
    std::fs::write(&short, "a\nb\n").unwrap();
    let found = message(&fixtures().join("graph.pb"), Some(&short));
    assert!(found.contains("has 2 letters") && found.contains("writes 28"), "{found}");
    let bert = fixtures().join("../transformers/bert/model.safetensors");
    assert!(message(&bert, None).contains("layer_1/weights"));
    // Without its alphabet it is a start all the same; only the letters are not carried over.
    let alone = folder.path().join("deep");
    std::fs::create_dir(&alone).unwrap();
    std::fs::copy(fixtures().join("graph.pb"), alone.join("graph.pb")).unwrap();
    let pretrained = load_speech(&alone.join("graph.pb"), None).unwrap();
    assert!(pretrained.writer.is_none() && pretrained.notes[0].contains("28 letters"));
}
