//! The programs and recipes in `examples/`: they say the same, and they run from end to end.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a helper of a test may panic, and says what it skips")]

#[path = "../../../examples/keras_mobilenet_v2/main.rs"]
#[allow(dead_code, reason = "its main is not called")]
mod keras_mobilenet_v2;
#[path = "../../../examples/tfjs_mobilenet_v1/main.rs"]
#[allow(dead_code, reason = "its main is not called")]
mod tfjs_mobilenet_v1;

use std::path::{Path, PathBuf};

use headstart::cache::CacheFolder;
use headstart::data::synthetic::leaves::{Species, leaf};
use headstart::{Bundle, Recipe, Report, Result, RunOptions};
use tempfile::TempDir;

type Fit = fn(&Recipe, &RunOptions) -> Result<Report>;

/// Folder, the recipe of its program for the data and weights that its `recipe.toml` names, and the program.
fn examples() -> [(&'static str, Recipe, Fit); 2] {
    [
        (
            "tfjs_mobilenet_v1",
            tfjs_mobilenet_v1::recipe("ants_bees", "mobilenet_v1_0.25"),
            tfjs_mobilenet_v1::fit as Fit,
        ),
        (
            "keras_mobilenet_v2",
            keras_mobilenet_v2::recipe("ants_bees", "mobilenet_v2.h5"),
            keras_mobilenet_v2::fit as Fit,
        ),
    ]
}

fn recipe_file(example: &str) -> Recipe {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    Recipe::read(&root.join(example).join("recipe.toml")).unwrap()
}

fn options(folder: &TempDir) -> RunOptions {
    RunOptions {
        cache: CacheFolder::at(folder.path().join("cache")),
        threads: 2,
        ..RunOptions::new(folder.path().join("example.headstart"))
    }
}

#[test]
fn a_program_and_its_recipe_say_the_same() {
    for (example, recipe, _) in examples() {
        assert_eq!(recipe_file(example), recipe, "{example}");
    }
}

#[test]
fn every_recipe_runs_on_pictures_that_need_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for species in [Species::Willow, Species::Maple] {
        for (part, seeds) in [("train", 0..6), ("val", 6..8)] {
            let class = folder.path().join("leaves").join(part).join(species.name());
            std::fs::create_dir_all(&class).unwrap();
            for seed in seeds {
                leaf(species, 700 + seed, 64).save(class.join(format!("{seed}.png"))).unwrap();
            }
        }
    }
    for (example, _, fit) in examples() {
        let mut recipe = recipe_file(example);
        // Without the published weights; what is frozen and what learns stays as it is.
        recipe.weights = Some("random".to_owned());
        recipe.data = folder.path().join("leaves");
        recipe.input_size = Some(64);
        let report = fit(&recipe, &options(&folder)).unwrap();
        assert_eq!((report.examples.train, report.examples.validation), (12, 4), "{example}");
        let bundle = Bundle::open(&report.bundle).unwrap();
        assert_eq!(bundle.manifest().history.len(), 10, "{example}");
        assert_eq!(bundle.manifest().recipe, recipe);
        let first = &bundle.manifest().history[0];
        let last = &bundle.manifest().history[9];
        assert!(last.loss < first.loss, "{example}: {} to {}", first.loss, last.loss);
    }
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
fn ants_are_told_from_bees_as_the_readmes_say() {
    // Well below what their READMEs say of seeds 0 to 2, well above the 54 % of always saying bee.
    let weights = ["weights/mobilenet_v1_0.25_tfjs_frozen", "weights/mobilenet_v2_1.0_safetensors/model.safetensors"];
    for ((example, _, fit), (weights, least)) in examples().into_iter().zip(weights.into_iter().zip([0.82, 0.94])) {
        let (Some(data), Some(weights)) = (shared("data/ants_bees"), shared(weights)) else { continue };
        let folder = tempfile::tempdir().unwrap();
        let recipe = Recipe { data, weights: Some(weights.display().to_string()), ..recipe_file(example) };
        let accuracy = fit(&recipe, &options(&folder)).unwrap().metrics.unwrap().headline();
        assert!(accuracy >= least, "{example}: {accuracy}");
    }
}
