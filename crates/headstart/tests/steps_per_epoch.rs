//! Epochs of a number of steps instead of a round through the data.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use headstart::cache::CacheFolder;
use headstart::data::synthetic::leaves::{Species, leaf};
use headstart::train::observer::Epoch;
use headstart::{Control, Error, Event, HeadRecipe, Phase, Recipe, RunOptions, run};
use tempfile::TempDir;

/// Five willows and five maples, and one more of each for validation.
fn leaves() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for species in [Species::Willow, Species::Maple] {
        for (part, seeds) in [("train", 0..5), ("val", 5..6)] {
            let class = folder.path().join(part).join(species.name());
            std::fs::create_dir_all(&class).unwrap();
            for seed in seeds {
                leaf(species, 900 + seed, 64).save(class.join(format!("{seed}.png"))).unwrap();
            }
        }
    }
    folder
}

fn options(folder: &TempDir, name: &str) -> RunOptions {
    RunOptions {
        cache: CacheFolder::at(folder.path().join("cache")),
        threads: 2,
        ..RunOptions::new(folder.path().join(name))
    }
}

/// Ten examples in batches of four: three steps a round, the last one of two examples.
fn recipe(folder: &TempDir, steps_per_epoch: Option<usize>, epochs: usize) -> Recipe {
    Recipe {
        data: folder.path().to_owned(),
        batch: 4,
        steps_per_epoch,
        keep_best: false,
        head: HeadRecipe { dropout: 0.0, ..HeadRecipe::default() },
        phases: vec![Phase { epochs, ..Phase::default() }],
        ..Recipe::default()
    }
}

fn epochs(folder: &TempDir, recipe: &Recipe) -> Vec<Epoch> {
    let mut seen = Vec::new();
    run(recipe, &options(folder, "leaves.headstart"), &mut |event: &Event| {
        if let Event::Epoch(epoch) = event {
            seen.push(epoch.clone());
        }
        Control::Continue
    })
    .unwrap();
    seen
}

#[test]
fn as_many_steps_as_the_data_has_batches_are_the_epochs_that_one_knows() {
    let folder = leaves();
    assert_eq!(epochs(&folder, &recipe(&folder, Some(3), 4)), epochs(&folder, &recipe(&folder, None, 4)));
}

#[test]
fn the_data_goes_round_from_where_the_last_epoch_ended() {
    let folder = leaves();
    let whole = epochs(&folder, &recipe(&folder, None, 4));
    // Twelve steps each: the same batches in the same order, only seen at other moments.
    for (steps, count) in [(1, 12), (2, 6), (4, 3), (6, 2), (12, 1)] {
        let parts = epochs(&folder, &recipe(&folder, Some(steps), count));
        assert_eq!(parts.len(), count);
        assert_eq!(parts.last().unwrap().validation_loss, whole[3].validation_loss, "{steps} steps");
    }
    assert_ne!(whole[2].validation_loss, whole[3].validation_loss);
}

#[test]
fn a_run_that_stops_within_an_epoch_goes_on_to_the_same_bytes() {
    let folder = leaves();
    let recipe = Recipe { head: HeadRecipe::default(), views: 2, ..recipe(&folder, Some(5), 4) };
    let bytes = |path: PathBuf| std::fs::read(path).unwrap();
    run(&recipe, &options(&folder, "straight"), &mut headstart::Silent).unwrap();
    let mut resumed = RunOptions { stop: Arc::new(AtomicBool::new(false)), ..options(&folder, "resumed") };
    let stop = Arc::clone(&resumed.stop);
    let stopped = run(&recipe, &resumed, &mut |event: &Event| {
        if matches!(event, Event::Epoch(epoch) if epoch.epoch == 2) {
            stop.store(true, Ordering::Relaxed);
        }
        Control::Continue
    });
    assert!(matches!(stopped, Err(Error::Interrupted { checkpoint: Some(_) })), "{stopped:?}");
    (resumed.resume, resumed.stop) = (true, Arc::new(AtomicBool::new(false)));
    let mut seen = Vec::new();
    run(&recipe, &resumed, &mut |event: &Event| {
        if let Event::Epoch(epoch) = event {
            seen.push(epoch.epoch);
        }
        Control::Continue
    })
    .unwrap();
    assert_eq!(seen, [3, 4]);
    assert!(bytes(folder.path().join("straight")) == bytes(folder.path().join("resumed")));
}

#[test]
fn no_steps_are_refused_before_any_work() {
    let folder = leaves();
    let error = recipe(&folder, Some(0), 1).check().unwrap_err();
    assert!(error.to_string().contains("0 steps per epoch"), "{error}");
}
