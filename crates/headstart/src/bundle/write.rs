//! Manifest, arrays and self-test → one file.

use std::path::Path;

use super::arrays::{Asset, encode};
use super::manifest::{KEY, Manifest, TOKENIZER};
use super::predict::Predictor;
use super::self_test::{self, OUTPUTS, PICTURES, SENTENCES, SOUND, TEXTS};
use crate::error::Result;
use crate::parameters::{Parameter, Parameters};
use crate::publish::publish;

/// The arrays of a model.
pub(crate) struct Arrays<'a> {
    /// The backbone that predicts.
    pub(crate) backbone: &'a Parameters,
    /// What is written of it: the same, or with its adapters apart.
    pub(crate) stored: &'a Parameters,
    pub(crate) head: &'a Parameters,
}

/// Writes a bundle atomically; the self-test is run to record its outputs. `tokenizer` belongs to a network of texts.
pub(crate) fn write(path: &Path, manifest: &Manifest, model: &Arrays<'_>, tokenizer: Option<&[u8]>) -> Result<()> {
    let predictor = Predictor::new(manifest, model.backbone, model.head, tokenizer)?;
    let bytes =
        |name: &str, bytes: &[u8]| Asset { name: name.to_owned(), shape: vec![bytes.len()], bytes: bytes.to_vec() };
    let (outputs, assets) = match tokenizer {
        None if predictor.hears() => {
            let sound = self_test::sound();
            let outputs = predictor.sound_outputs(&sound)?;
            let shape = vec![sound.len() / 2, 2];
            (outputs, vec![Asset { name: SOUND.to_owned(), shape, bytes: sound }])
        }
        None => {
            let pictures = self_test::pictures();
            let outputs = predictor.outputs(&pictures, 1)?;
            let shape = vec![pictures.len(), pictures[0].height() as usize, pictures[0].width() as usize, 3];
            let bytes = pictures.iter().flat_map(|picture| picture.as_raw().iter().copied()).collect();
            (outputs, vec![Asset { name: PICTURES.to_owned(), shape, bytes }])
        }
        Some(tokenizer) => {
            let outputs = predictor.self_test_outputs(SENTENCES.lines())?;
            let assets = vec![bytes(TEXTS, SENTENCES.as_bytes()), bytes(TOKENIZER, tokenizer)];
            (outputs, assets)
        }
    };
    let mut arrays = model.stored.with_prefix("backbone.");
    arrays.extend(model.head.with_prefix("head."));
    let width = predictor.output_count();
    arrays.insert(OUTPUTS, Parameter { shape: vec![outputs.len() / width, width], values: outputs });
    let manifest = serde_json::to_string(manifest).expect("a manifest is plain data");
    publish(path, &encode(&arrays, &assets, &[(KEY, manifest)]))
}
