//! Every kind of picture file against what Pillow sees in it: see `fixtures/images`.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use headstart_data::image::{RgbImage, decode};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    width: u32,
    height: u32,
    grid: Vec<f32>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/images")
}

/// Mean colour of each cell of an 8 × 6 grid.
fn grid(picture: &RgbImage) -> Vec<f32> {
    let (columns, rows) = (picture.width() / 8, picture.height() / 6);
    let mut means = Vec::new();
    for cell in 0..48 {
        let (left, top) = (cell % 8 * columns, cell / 8 * rows);
        for channel in 0..3 {
            let values = (0..rows * columns)
                .map(|at| f32::from(picture.get_pixel(left + at % columns, top + at / columns).0[channel]));
            means.push(values.sum::<f32>() / (rows * columns) as f32);
        }
    }
    means
}

#[test]
fn every_kind_of_file_is_seen_as_pillow_sees_it() {
    let text = std::fs::read_to_string(fixtures().join("expected.json")).unwrap();
    let expected: BTreeMap<String, Expected> = serde_json::from_str(&text).unwrap();
    assert!(expected.len() >= 20);
    for (name, expected) in expected {
        let picture = decode(&fixtures().join(&name)).unwrap();
        assert_eq!(picture.dimensions(), (expected.width, expected.height), "{name}");
        let most = grid(&picture).iter().zip(&expected.grid).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
        // Lossy formats are rounded differently by different decoders, most of all where colour is stored coarsely.
        let lossy = name.ends_with("jpg") || name == "plain.webp";
        let tolerance = if lossy { 6.0 } else { 1.0 };
        assert!(most <= tolerance, "{name}: differs by {most} of 255");
    }
}
