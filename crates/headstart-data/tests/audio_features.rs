//! Features against TensorFlow and torchaudio, on made sound and on real recordings.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests may panic, and say what they skip")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use headstart_data::audio::features::{FeatureSpec, Filters, Framing, Log, extract};
use headstart_data::audio::findings::Limits;
use headstart_data::audio::mel::MelScale;
use headstart_data::audio::recording::read;
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    voice: BTreeMap<String, Case>,
    recordings: BTreeMap<String, BTreeMap<String, Case>>,
}

/// Every so-many-th frame.
#[derive(Deserialize)]
struct Case {
    shape: [usize; 2],
    every: usize,
    values: Vec<f32>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/audio")
}

fn expected() -> Expected {
    serde_json::from_slice(&std::fs::read(folder().join("expected.json")).unwrap()).unwrap()
}

fn spec(name: &str) -> FeatureSpec {
    let slaney = Filters::Triangles { count: 80, lower: 20.0, upper: 7_600.0, scale: MelScale::Slaney, area: true };
    match name {
        "deepspeech" => FeatureSpec::deepspeech(),
        "tensorflow_defaults" => FeatureSpec::tensorflow(400, 160, 13, 4_000.0),
        "log_mel_htk" => FeatureSpec::log_mel(400, 160, 40),
        "log_mel_slaney" => FeatureSpec { window: 400, filters: slaney, ..FeatureSpec::log_mel(512, 160, 80) },
        "log_mel_not_centered" => FeatureSpec { framing: Framing::Middle, ..FeatureSpec::log_mel(400, 160, 40) },
        "mfcc_decibel" => FeatureSpec::torchaudio_mfcc(400, 160, 23, 13),
        "mfcc_log" => FeatureSpec { log: Log::Offset(1e-6), ..FeatureSpec::torchaudio_mfcc(400, 160, 40, 20) },
        other => panic!("{other}"),
    }
}

/// Tolerance 1e-3 relative: ‖ours − theirs‖₂ / ‖theirs‖₂ over all frames, and no value further off than that of the
/// largest. The libraries transform in `f32` (torchaudio) and `f64` (TensorFlow); we in `f64`.
fn assert_agrees(samples: &[f32], name: &str, case: &Case, what: &str) {
    let spec = spec(name);
    let frames = extract(&spec, samples).unwrap();
    assert_eq!([frames.len() / spec.width(), spec.width()], case.shape, "{what} {name}");
    let found: Vec<f32> = frames.chunks(spec.width()).step_by(case.every).flatten().copied().collect();
    assert_eq!(found.len(), case.values.len(), "{what} {name}");
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(&case.values).map(|(a, b)| a - b));
    let relative = difference / norm(&mut case.values.iter().copied());
    let worst = found.iter().zip(&case.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let largest = case.values.iter().map(|value| value.abs()).fold(0.0, f32::max);
    println!("{what} {name}: {relative:.1e} relative, {:.1e} of the largest value at worst", worst / largest);
    assert!(relative < 1e-3 && worst < 1e-3 * largest, "{what} {name}: {relative} {worst} of {largest}");
}

#[test]
fn features_of_made_sound_are_those_of_the_libraries() {
    let recording = read(&folder().join("voice.wav"), &Limits::default()).unwrap();
    let expected = expected();
    assert_eq!(expected.voice.len(), 7);
    for (name, case) in &expected.voice {
        assert_agrees(&recording.samples, name, case, "voice");
    }
}

#[test]
fn features_of_recordings_are_those_of_the_libraries() {
    let root =
        std::env::var("HEADSTART_SHARED").unwrap_or_else(|_| format!("{}/../../../shared", env!("CARGO_MANIFEST_DIR")));
    for (name, cases) in &expected().recordings {
        let path = Path::new(&root).join("data").join(name);
        if !path.exists() {
            println!("skipped: {} not found", path.display());
            continue;
        }
        let recording = read(&path, &Limits::default()).unwrap();
        for (kind, case) in cases {
            assert_agrees(&recording.samples, kind, case, name);
        }
    }
}
