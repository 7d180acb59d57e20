//! `headstart demo`: a small set of leaf pictures, learned from the embedded backbone.

use headstart::cache::CacheFolder;
use headstart::data::synthetic::leaves;
use headstart::{Bundle, Error, Recipe, RunOptions};

use super::{threads, train};
use crate::arguments::Demo;
use crate::progress::{Display, Style};
use crate::report::Result;
use crate::{interrupt, terminal};

/// Side of the pictures in pixels.
const SIZE: u32 = 160;

/// Seed of the pictures that are learned from.
const SEED: u64 = 1;

/// Seed of the pictures that are predicted at the end.
const NEW: u64 = 1_000_000;

pub(crate) fn run(options: &Demo) -> Result {
    let pictures = options.folder.join("leaves");
    let failed = |source| Error::Io { action: "write the pictures in", path: options.folder.clone(), source };
    if options.per_class < 2 {
        return Err(Error::Recipe {
            reason: format!("{} pictures of a species cannot be split", options.per_class),
            help: "set --per-class 40".to_owned(),
        }
        .into());
    }
    // A smaller earlier demo must not stay among the pictures.
    if pictures.exists() {
        std::fs::remove_dir_all(&pictures).map_err(failed)?;
    }
    let written = leaves::write_data_set(&pictures, options.per_class, SIZE, SEED).map_err(Error::from)?;
    let style = train::style(options.output);
    if style == Style::Human {
        terminal::error_line(&format!("wrote    {} leaf pictures to {}", written.len(), pictures.display()));
    }
    let mut recipe = Recipe { data: pictures, views: 4, early_stopping: Some(10), ..Recipe::default() };
    recipe.phases[0].epochs = 40;
    let bundle = options.folder.join("leaves.headstart");
    let run_options = RunOptions {
        out: bundle.clone(),
        threads: threads(options.threads),
        cache: CacheFolder::from_environment(),
        resume: false,
        stop: interrupt::flag(),
    };
    headstart::run(&recipe, &run_options, &mut Display::new(style))?;
    if style == Style::Json {
        return Ok(());
    }

    let bundle = Bundle::open(&bundle)?;
    let mut right = 0;
    terminal::line("\nsix new leaves:");
    for species in leaves::Species::ALL {
        let picture = leaves::leaf(species, NEW, SIZE);
        let path = options.folder.join(format!("new_{}.png", species.name()));
        picture.save(&path).map_err(|error| failed(std::io::Error::other(error)))?;
        let prediction = bundle.predict(&path)?;
        right += usize::from(prediction.label == species.name());
        let probability = prediction.probability * 100.0;
        terminal::line(&format!("  {:32} {} {probability:.0} %", path.display().to_string(), prediction.label));
    }
    terminal::line(&format!("{right} of {} right", leaves::Species::ALL.len()));
    terminal::line(&format!(
        "\nnow with photos of your own:\n  headstart train PHOTOS/\n  headstart predict {} a_leaf.jpg",
        bundle.path().display()
    ));
    Ok(())
}
