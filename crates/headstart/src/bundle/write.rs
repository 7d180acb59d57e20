//! Manifest, arrays and self-test → one file.

use std::path::Path;

use super::arrays::{Asset, encode};
use super::manifest::{KEY, Manifest};
use super::predict::Predictor;
use super::self_test::{self, OUTPUTS, PICTURES};
use crate::error::Result;
use crate::parameters::{Parameter, Parameters};
use crate::publish::publish;

/// Writes a bundle atomically; the self-test is run to record its outputs.
pub(crate) fn write(path: &Path, manifest: &Manifest, backbone: &Parameters, head: &Parameters) -> Result<()> {
    let predictor = Predictor::new(manifest, backbone, head)?;
    let pictures = self_test::pictures();
    let outputs = predictor.outputs(&pictures, 1)?;
    let shape = vec![pictures.len(), pictures[0].height() as usize, pictures[0].width() as usize, 3];
    let bytes = pictures.iter().flat_map(|picture| picture.as_raw().iter().copied()).collect();
    let mut arrays = backbone.with_prefix("backbone.");
    arrays.extend(head.with_prefix("head."));
    let width = outputs.len() / pictures.len();
    arrays.insert(OUTPUTS, Parameter { shape: vec![pictures.len(), width], values: outputs });
    let assets = [Asset { name: PICTURES.to_owned(), shape, bytes }];
    let manifest = serde_json::to_string(manifest).expect("a manifest is plain data");
    publish(path, &encode(&arrays, &assets, &[(KEY, manifest)]))
}
