//! Both forms through the files of `fixtures/parity/transformers`, against Hugging Face transformers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use serde_json::Value;

use super::{FrozenTransformer, Transformer};
use crate::features::{Sequences, Tokens};
use crate::load::{PretrainedTransformer, load_transformer};
use crate::nn::named::values;

const TOLERANCE: f64 = 1e-4;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/transformers")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn whole(value: &Value) -> Vec<u32> {
    floats(value).into_iter().map(|number| number as u32).collect()
}

/// ‖ours − theirs‖ / ‖theirs‖.
fn difference(ours: &[f32], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    norm(&mut ours.iter().zip(theirs).map(|(a, b)| f64::from(*a) - b)) / norm(&mut theirs.iter().copied())
}

fn tokens(case: &Value, indices: &[usize]) -> Tokens {
    let of = |key: &str| indices.iter().map(|&index| whole(&case[key][index])).collect::<Vec<_>>();
    let (ids, kinds) = (of("sequences"), of("kinds"));
    let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
    Tokens { ids: ids.concat(), kinds: kinds.concat(), sequences: Arc::new(Sequences::of_lengths(&lengths)) }
}

/// Each network as its files give it.
fn cases() -> Vec<(&'static str, PretrainedTransformer)> {
    let load = |name: &str| load_transformer(&folder().join(name)).unwrap();
    let (bert, old) = (load("bert"), load("bert_old"));
    assert!(old.shape == bert.shape && old.parameters == bert.parameters, "the old names hold the same network");
    assert!(bert.unused.is_empty() && old.unused.is_empty());
    let gpt2 = load("gpt2");
    for (name, family, same) in [("bert_google", "google", &bert), ("gpt2_openai", "openai", &gpt2)] {
        let first = load(name);
        assert!(first.shape == same.shape && first.parameters == same.parameters, "{name} holds the same network");
        assert_eq!((first.family.family, first.unused), (family, Vec::new()), "{name}");
    }
    vec![("bert", bert), ("gpt2", gpt2)]
}

#[test]
fn every_layer_agrees_with_the_reference_alone_and_beside_other_sequences() {
    let expected = json(&folder().join("expected.json"));
    for (name, PretrainedTransformer { spec, shape, parameters, .. }) in cases() {
        assert_eq!(spec.name, name);
        let case = &expected[name];
        let frozen = FrozenTransformer::new(shape, parameters).unwrap();
        let together = tokens(case, &[0, 1, 2]);
        let mut all = frozen.embed(&together).unwrap();
        for depth in 0..=shape.layers {
            if depth > 0 {
                all = frozen.run_layers(depth - 1..depth, all, &together.sequences).unwrap();
            }
            for (sequence, rows) in together.sequences.ranges().enumerate() {
                let theirs = floats(&case["alone"][sequence][depth]);
                let ours = &all[rows.start * shape.width..rows.end * shape.width];
                let gap = difference(ours, &theirs);
                assert!(gap < TOLERANCE, "{name}, depth {depth}, sequence {sequence}: {gap}");
                let alone = tokens(case, &[sequence]);
                let ours = frozen.run_layers(0..depth, frozen.embed(&alone).unwrap(), &alone.sequences).unwrap();
                assert!(difference(&ours, &theirs) < TOLERANCE);
                if depth == shape.layers {
                    assert!(difference(&ours, &floats(&case["padded_last"][sequence])) < TOLERANCE);
                }
            }
        }
    }
}

#[test]
fn the_trainable_form_and_its_gradients_agree_with_the_reference() {
    let expected = json(&folder().join("expected.json"));
    for (name, PretrainedTransformer { family, shape, parameters, .. }) in cases() {
        let case = &expected[name];
        let device = Device::default().autodiff();
        let network = Transformer::load(shape, &parameters, None, &device).unwrap();
        let first = tokens(case, &[0]);
        let states = network.run_layers(0, network.embed(&first, None), &first.sequences, None);
        let gap = difference(&values(states.clone()), &floats(&case["alone"][0][shape.layers]));
        assert!(gap < TOLERANCE, "{name}: {gap}");
        let gradients = states.square().sum().backward();
        let found = gradients_of(&network, &gradients);
        for (theirs, expected) in case["gradients"].as_object().unwrap() {
            let expected = floats(expected);
            // Ours may be a part of theirs, or theirs turned round: read their gradient as the map reads their weight.
            for entry in (family.entries)(&shape).into_iter().filter(|entry| entry.theirs == *theirs) {
                let (dims, ours) = &found[&entry.ours];
                let flat: Vec<f32> = expected.iter().map(|value| *value as f32).collect();
                let theirs = entry.layout.read(theirs, dims, |_| Ok(flat.clone())).unwrap();
                let theirs: Vec<f64> = theirs.into_iter().map(f64::from).collect();
                let gap = difference(ours, &theirs);
                assert!(gap < 1e-3, "{name}, {}: {gap}", entry.ours);
            }
        }
    }
}

type Found = std::collections::BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn gradients_of(network: &Transformer, gradients: &burn::tensor::Gradients) -> Found {
    struct Visitor<'a>(&'a burn::tensor::Gradients, crate::nn::named::Path, Found);
    impl burn::module::ModuleVisitor for Visitor<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.1.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.1.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            if let Some(gradient) = param.val().grad(self.0) {
                self.2.insert(self.1.name(), (param.val().dims().to_vec(), values(gradient)));
            }
        }
    }
    let mut visitor = Visitor(gradients, Default::default(), Found::new());
    burn::module::Module::visit(network, &mut visitor);
    visitor.2
}

#[test]
fn paths_of_the_module_are_the_names_of_the_parameters() {
    for (_, PretrainedTransformer { shape, parameters, .. }) in cases() {
        let network = Transformer::load(shape, &parameters, None, &Device::default()).unwrap();
        assert_eq!(crate::nn::named::collect(&network), parameters);
    }
}
