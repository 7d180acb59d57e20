//! Resizing and preprocessing against torchvision: see `fixtures/parity/resize`.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::path::Path;

use headstart_data::image::{RgbImage, resize_bilinear};
use headstart_data::preprocess::{Preprocess, ResizeRule};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    step: usize,
    resized: Vec<Resized>,
    preprocessed: Vec<Preprocessed>,
}

#[derive(Deserialize)]
struct Resized {
    from: (u32, u32),
    to: (u32, u32),
    values: Vec<u8>,
}

#[derive(Deserialize)]
struct Preprocessed {
    from: (u32, u32),
    short_side: u32,
    crop: u32,
    values: Vec<f32>,
}

fn expected() -> Expected {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/resize/expected.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The same formula as `drawn` in make.py.
fn drawn(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y, last) = (u64::from(x), u64::from(y), u64::from(width - 1).max(1));
        let red = (x * 255 / last + 40 * ((x / 5 + y / 9) % 2)) % 256;
        let green = (y * 3 + x * x / 64) % 256;
        let blue = (((x * 7919 + y * 104_729) % 97) * 2 + 60 * ((x + y) % 2)) % 256;
        image::Rgb([red as u8, green as u8, blue as u8])
    })
}

#[test]
fn resizing_gives_the_bytes_of_torchvision_and_pillow() {
    let expected = expected();
    for case in &expected.resized {
        let picture = resize_bilinear(&drawn(case.from.0, case.from.1), case.to.0, case.to.1);
        let found: Vec<u8> = picture.as_raw().iter().copied().step_by(expected.step).collect();
        assert!(found == case.values, "{:?} → {:?}", case.from, case.to);
    }
}

/// We resample the crop alone and at its exact place, torchvision cuts it out of a resized whole: the two differ by the
/// rounding of sizes to whole pixels. The mean difference stays within 2/255 of the range of a pixel.
#[test]
fn preprocessing_agrees_with_torchvision_within_two_steps_of_255() {
    let expected = expected();
    for case in &expected.preprocessed {
        let fraction = case.crop as f32 / case.short_side as f32;
        let rule = ResizeRule::CenterCrop { fraction };
        let preprocess = Preprocess { resize: rule, ..Preprocess::torchvision(case.crop) };
        let input = preprocess.apply(&drawn(case.from.0, case.from.1));
        let kept = input.iter().enumerate().step_by(expected.step);
        let differences: Vec<f32> = kept
            .zip(&case.values)
            .map(|((at, ours), theirs)| (ours - theirs).abs() * [0.229, 0.224, 0.225][at % 3] * 255.0)
            .collect();
        assert_eq!(differences.len(), case.values.len());
        let mean = differences.iter().sum::<f32>() / differences.len() as f32;
        eprintln!("{:?} → {}: mean difference {mean:.4} of 255", case.from, case.crop);
        assert!(mean <= 2.0, "{:?}: mean difference {mean} of 255", case.from);
    }
}
