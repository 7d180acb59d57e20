//! `freeze = "auto"`: what it may never do, and what it must always do.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use headstart::cache::CacheFolder;
use headstart::data::synthetic::leaves::{Species, leaf, write_data_set};
use headstart::rate_finder::{RangeTest, find_rates};
use headstart::recipe::Schedule;
use headstart::{Control, Error, Event, Freeze, Phase, Recipe, Report, RunOptions, Silent, run};
use tempfile::TempDir;

fn leaves(per_class: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_data_set(&folder.path().join("leaves"), per_class, 48, 3).unwrap();
    folder
}

fn options(folder: &TempDir, out: &str) -> RunOptions {
    RunOptions {
        cache: CacheFolder::at(folder.path().join("cache")),
        threads: 2,
        ..RunOptions::new(folder.path().join(out))
    }
}

fn recipe(folder: &TempDir, seed: u64) -> Recipe {
    Recipe {
        data: folder.path().join("leaves"),
        input_size: Some(64),
        seed,
        batch: 16,
        views: 2,
        phases: vec![
            Phase { epochs: 5, ..Phase::default() },
            Phase {
                freeze: Freeze::Auto,
                epochs: 2,
                learning_rate: 3e-4,
                schedule: Schedule::Cosine,
                stage_decay: 0.9,
                ..Phase::default()
            },
        ],
        ..Recipe::default()
    }
}

/// Every array of a bundle, as bits.
fn arrays(bundle: &Path) -> Vec<(String, Vec<u32>)> {
    let checkpoint = headstart::weights::open(bundle).unwrap();
    let names: Vec<String> = checkpoint.arrays().iter().map(|array| array.name.clone()).collect();
    let bits = |name: &str| {
        checkpoint.read(name).unwrap().to_f32().unwrap().iter().map(|value| value.to_bits()).collect::<Vec<u32>>()
    };
    names
        .iter()
        .filter(|name| name.starts_with("head.") || name.starts_with("backbone."))
        .map(|name| (name.clone(), bits(name)))
        .collect()
}

fn accuracy(report: &Report) -> f64 {
    report.metrics.as_ref().unwrap().headline()
}

#[test]
fn the_result_is_never_below_the_frozen_head_whatever_the_seed() {
    let folder = leaves(8);
    let mut opened = 0;
    for seed in 0..4 {
        let auto = recipe(&folder, seed);
        let report = run(&auto, &options(&folder, "auto"), &mut Silent).unwrap();
        let frozen = Recipe { phases: auto.phases[..1].to_vec(), ..auto.clone() };
        let frozen = run(&frozen, &options(&folder, "frozen"), &mut Silent).unwrap();
        let choice = report.choice.as_ref().unwrap();
        assert!(accuracy(&report) >= accuracy(&frozen), "seed {seed}: {choice:?}");
        assert_eq!(choice.frozen_accuracy, Some(accuracy(&frozen)));
        assert!(choice.trials.len() >= 3 && choice.trials[0].freeze == Freeze::Backbone);
        assert_eq!(choice.probes.len(), 9);
        assert!(choice.trials.iter().all(|trial| trial.seconds.is_some()));
        opened += u32::from(choice.kept);
        if !choice.kept {
            assert_eq!(arrays(&folder.path().join("auto")), arrays(&folder.path().join("frozen")));
        }
    }
    assert!(opened > 0, "no seed of four opened a stage: the property above was not put to the test");
}

#[test]
fn the_bundle_remembers_a_recipe_that_gives_the_same_weights_without_choosing() {
    let folder = leaves(8);
    let report = run(&recipe(&folder, 1), &options(&folder, "auto"), &mut Silent).unwrap();
    let manifest = headstart::Bundle::open(&report.bundle).unwrap().manifest().clone();
    assert!(manifest.recipe.phases.iter().all(|phase| phase.freeze != Freeze::Auto));
    let remembered = manifest.choice.unwrap();
    assert!(remembered.trials.iter().all(|trial| trial.seconds.is_none()), "a bundle holds no durations");
    assert_eq!(remembered.reason, report.choice.unwrap().reason);
    let plain = run(&manifest.recipe, &options(&folder, "plain"), &mut Silent).unwrap();
    assert!(plain.choice.is_none());
    assert_eq!(arrays(&report.bundle), arrays(&plain.bundle));
}

#[test]
fn a_choice_that_is_stopped_again_and_again_ends_in_the_bytes_of_one_that_was_not() {
    let folder = leaves(8);
    let recipe = recipe(&folder, 1);
    let one = RunOptions { threads: 1, ..options(&folder, "whole") };
    run(&recipe, &one, &mut Silent).unwrap();
    std::fs::remove_dir_all(folder.path().join("cache")).unwrap();
    let (mut stops, mut trials) = (0, 0);
    loop {
        // Stopped at the first trial that ends in this attempt, or a little later in those without one.
        let options = RunOptions { resume: true, threads: 3, ..options(&folder, "stopped") };
        let stop = options.stop.clone();
        let mut epochs = 0;
        let mut watch = |event: &Event| {
            trials += usize::from(matches!(event, Event::Trial(_)));
            epochs += usize::from(matches!(event, Event::Epoch(_)));
            if matches!(event, Event::Trial(_)) || epochs == 2 {
                stop.store(true, Ordering::Relaxed);
            }
            Control::Continue
        };
        match run(&recipe, &options, &mut watch) {
            Err(Error::Interrupted { .. }) => stops += 1,
            finished => {
                let told = finished.unwrap().choice.unwrap();
                assert_eq!(trials, told.trials.len(), "no trial is made twice");
                break;
            }
        }
        assert!(stops < 100);
    }
    assert!(stops >= 4, "stopped {stops} times");
    let bytes = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(bytes("whole") == bytes("stopped"));
    assert!(!folder.path().join("stopped.run").exists());
}

#[test]
fn untrained_networks_few_photos_and_a_time_budget_are_no_obstacle() {
    let folder = leaves(5);
    let random = Recipe {
        weights: Some("random".to_owned()),
        backbone: Some("mobilenet_v2:tiny".to_owned()),
        budget: Some("2s".parse().unwrap()),
        ..recipe(&folder, 0)
    };
    let report = run(&random, &options(&folder, "random"), &mut Silent).unwrap();
    let choice = report.choice.clone().unwrap();
    assert!(accuracy(&report) >= choice.frozen_accuracy.unwrap());
    assert!(choice.passes > 0.0 && !choice.reason.is_empty());
    let manifest = headstart::Bundle::open(&report.bundle).unwrap().manifest().clone();
    assert_eq!(manifest.recipe.budget, None);

    let four = tempfile::tempdir().unwrap();
    for (part, count) in [("train", 2), ("val", 1)] {
        for species in [Species::Willow, Species::Maple] {
            let class = four.path().join("leaves").join(part).join(species.name());
            std::fs::create_dir_all(&class).unwrap();
            for seed in 0..count {
                leaf(species, 10 + seed, 48).save(class.join(format!("{part}{seed}.png"))).unwrap();
            }
        }
    }
    let report = run(&recipe(&four, 0), &options(&four, "few"), &mut Silent).unwrap();
    let choice = report.choice.unwrap();
    assert!(choice.reason.contains("too few") && choice.trials.is_empty() && !choice.kept, "{}", choice.reason);
}

#[test]
fn recipes_that_leave_no_frozen_head_to_compare_with_are_refused_with_what_to_write() {
    let folder = leaves(1);
    let good = recipe(&folder, 0);
    let auto = good.phases[1].clone();
    let told = |recipe: Recipe| match run(&recipe, &options(&folder, "no"), &mut Silent) {
        Err(Error::Recipe { reason, help }) => format!("{reason} {help}"),
        other => panic!("{other:?}"),
    };
    assert!(told(Recipe { phases: vec![auto.clone()], ..good.clone() }).contains("freeze = \"all\""));
    assert!(told(Recipe { phases: vec![auto.clone(), auto.clone()], ..good.clone() }).contains("freeze = \"all\""));
    assert!(told(Recipe { keep_best: false, ..good.clone() }).contains("--keep-last"));
    let budget = Some("1m".parse().unwrap());
    assert!(told(Recipe { budget, phases: good.phases[..1].to_vec(), ..good.clone() }).contains("--freeze auto"));
    match find_rates(&good, &options(&folder, "no"), &RangeTest::default(), &mut Silent) {
        Err(Error::Recipe { help, .. }) => assert!(help.contains("--freeze")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_range_test_is_a_function_of_the_recipe_and_leaves_nothing_behind() {
    let folder = leaves(4);
    let recipe = Recipe {
        phases: vec![
            Phase { epochs: 2, ..Phase::default() },
            Phase { freeze: Freeze::AllBut(2), epochs: 1, ..Phase::default() },
        ],
        ..recipe(&folder, 0)
    };
    let test = RangeTest { low: 1e-5, high: 10.0, steps: 40 };
    let with = |threads, seed| {
        let options = RunOptions { threads, out: PathBuf::new(), ..options(&folder, "") };
        find_rates(&Recipe { seed, ..recipe.clone() }, &options, &test, &mut Silent).unwrap()
    };
    let curves = with(1, 0);
    assert_eq!(curves, with(3, 0));
    assert_ne!(curves, with(1, 1));
    assert_eq!(curves.iter().map(|curve| curve.phase).collect::<Vec<_>>(), [1, 2]);
    for curve in &curves {
        assert!(curve.points.windows(2).all(|pair| pair[1].rate > pair[0].rate));
        assert!(curve.diverged.is_some(), "a rate of 10 is survived by nothing");
        let suggestion = curve.suggestion().unwrap();
        assert!(suggestion < curve.diverged.unwrap() && suggestion >= 1e-5);
    }
    let mut left: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    left.sort();
    assert_eq!(left, ["cache", "leaves"]);
}
