//! Whole runs through the library: learning by heart, callbacks, failures, and real photos where they are at hand.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a helper of a test may panic, and says what it skips")]

use std::path::{Path, PathBuf};

use headstart::cache::CacheFolder;
use headstart::data::synthetic::leaves::{Species, leaf};
use headstart::recipe::{Optimizer, Validation};
use headstart::train::observer::Epoch;
use headstart::{Bundle, Control, Error, Event, Freeze, HeadRecipe, Observer, Phase, Recipe, RunOptions, Silent, run};
use tempfile::TempDir;

/// Four willows and four maples, and one more of each for validation.
fn eight_leaves() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for species in [Species::Willow, Species::Maple] {
        for (part, seeds) in [("train", 0..4), ("val", 4..5)] {
            let class = folder.path().join(part).join(species.name());
            std::fs::create_dir_all(&class).unwrap();
            for seed in seeds {
                leaf(species, 500 + seed, 64).save(class.join(format!("{seed}.png"))).unwrap();
            }
        }
    }
    folder
}

fn options(folder: &TempDir) -> RunOptions {
    RunOptions {
        cache: CacheFolder::at(folder.path().join("cache")),
        threads: 2,
        ..RunOptions::new(folder.path().join("leaves.headstart"))
    }
}

fn recipe(folder: &TempDir) -> Recipe {
    Recipe { data: folder.path().to_owned(), batch: 4, ..Recipe::default() }
}

/// Remembers every epoch; stops after `limit` of them.
struct Epochs {
    seen: Vec<Epoch>,
    limit: usize,
}

impl Epochs {
    fn all() -> Self {
        Self { seen: Vec::new(), limit: usize::MAX }
    }
}

impl Observer for Epochs {
    fn event(&mut self, event: &Event) -> Control {
        if let Event::Epoch(epoch) = event {
            self.seen.push(epoch.clone());
        }
        if self.seen.len() < self.limit { Control::Continue } else { Control::Stop }
    }
}

#[test]
fn eight_examples_are_learned_by_heart_frozen_and_open() {
    let folder = eight_leaves();
    for freeze in [Freeze::Backbone, Freeze::UpTo("stage5".to_owned()), Freeze::Nothing] {
        let learning_rate = if freeze == Freeze::Backbone { 1e-3 } else { 3e-4 };
        let recipe = Recipe {
            head: HeadRecipe { dropout: 0.0, ..HeadRecipe::default() },
            phases: vec![Phase { epochs: 25, freeze: freeze.clone(), learning_rate, ..Phase::default() }],
            ..recipe(&folder)
        };
        let mut epochs = Epochs::all();
        run(&recipe, &options(&folder), &mut epochs).unwrap();
        let last = epochs.seen.last().unwrap();
        assert_eq!(last.accuracy, 1.0, "{freeze:?}");
        assert!(last.loss < 0.05, "{freeze:?}: loss {}", last.loss);
    }
}

#[test]
fn an_observer_can_end_training_and_the_bundle_is_written() {
    let folder = eight_leaves();
    let recipe = Recipe { phases: vec![Phase { epochs: 50, ..Phase::default() }], ..recipe(&folder) };
    let mut epochs = Epochs { seen: Vec::new(), limit: 3 };
    let report = run(&recipe, &options(&folder), &mut epochs).unwrap();
    assert_eq!(epochs.seen.len(), 3);
    let bundle = Bundle::open(&report.bundle).unwrap();
    assert_eq!(report.labels, ["maple", "willow"]);
    let prediction = bundle.predict(folder.path().join("val/maple/4.png")).unwrap();
    let sum: f32 = prediction.top.iter().map(|candidate| candidate.probability).sum();
    assert!((sum - 1.0).abs() < 1e-5);
    assert_eq!(prediction.label, prediction.top[0].label);
}

#[test]
fn a_closure_is_an_observer() {
    let folder = eight_leaves();
    let mut losses = Vec::new();
    run(&recipe(&folder), &options(&folder), &mut |event: &Event| {
        if let Event::Epoch(epoch) = event {
            losses.push(epoch.loss);
        }
        Control::Continue
    })
    .unwrap();
    assert_eq!(losses.len(), 10);
}

#[test]
fn numbers_that_run_away_are_an_error_with_the_place() {
    let folder = eight_leaves();
    let recipe = Recipe {
        optimizer: Optimizer::Sgd { momentum: 0.9, weight_decay: 0.0 },
        phases: vec![Phase { learning_rate: 1e30, epochs: 20, ..Phase::default() }],
        ..recipe(&folder)
    };
    match run(&recipe, &options(&folder), &mut Silent) {
        Err(Error::Diverged { phase: 1, epoch, learning_rate, .. }) => {
            assert!(epoch <= 20);
            assert_eq!(learning_rate, 1e30);
        }
        other => panic!("{other:?}"),
    }
    assert!(!folder.path().join("leaves.headstart").exists());
}

#[test]
fn a_folder_of_its_own_can_hold_the_validation_photos() {
    let folder = eight_leaves();
    let recipe = Recipe {
        data: folder.path().join("train"),
        validation: Validation::Folder(folder.path().join("val")),
        ..recipe(&folder)
    };
    let report = run(&recipe, &options(&folder), &mut Silent).unwrap();
    assert_eq!((report.examples.train, report.examples.validation), (8, 2));
}

/// Published weights and real photos, if they are on this machine; says loudly when they are not.
fn shared(relative: &str) -> Option<PathBuf> {
    let root = std::env::var_os("HEADSTART_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let path = root.join(relative);
    if !path.exists() {
        eprintln!("skipped: {} not found", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn the_published_network_tells_ants_from_bees() {
    let (Some(data), Some(weights)) =
        (shared("data/ants_bees"), shared("weights/mobilenet_v2_1.0_safetensors/model.safetensors"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let recipe = Recipe { data, weights: Some(weights.display().to_string()), ..Recipe::default() };
    let report = run(&recipe, &options(&folder), &mut Silent).unwrap();
    let accuracy = report.metrics.unwrap().headline();
    assert!(accuracy >= 0.95, "{accuracy}");
}
