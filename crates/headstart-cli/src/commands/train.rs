//! `headstart train`

use std::path::{Path, PathBuf};

use headstart::RunOptions;
use headstart::cache::CacheFolder;

use super::{recipe, threads};
use crate::arguments::{Output, Train};
use crate::progress::{Display, Style};
use crate::report::Result;
use crate::{interrupt, terminal};

pub(crate) fn run(options: &Train) -> Result {
    let recipe = recipe::from_options(&options.recipe)?;
    if options.print_recipe {
        terminal::line(recipe.to_toml().trim_end());
        return Ok(());
    }
    let run_options = RunOptions {
        out: options.out.clone().unwrap_or_else(|| default_bundle(named_after(&recipe))),
        threads: threads(options.threads),
        cache: CacheFolder::from_environment(),
        resume: options.resume,
        stop: interrupt::flag(),
    };
    headstart::run(&recipe, &run_options, &mut Display::new(style(options.output)))?;
    Ok(())
}

pub(super) fn style(output: Output) -> Style {
    match output {
        Output { json: true, .. } => Style::Json,
        Output { quiet: true, .. } => Style::Quiet,
        _ => Style::Human,
    }
}

/// The bundle is called after its data, or after its weights where it learned nothing.
fn named_after(recipe: &headstart::Recipe) -> &Path {
    match &recipe.weights {
        Some(weights) if recipe.data.as_os_str().is_empty() => {
            Path::new(Path::new(weights).file_stem().unwrap_or_default())
        }
        _ => &recipe.data,
    }
}

/// `photos/` → `photos.headstart` in the current folder.
fn default_bundle(data: &Path) -> PathBuf {
    let named = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let mut name = named.file_name().unwrap_or("model".as_ref()).to_owned();
    name.push(".headstart");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_named_after_its_folder() {
        assert_eq!(default_bundle(Path::new("some/where/photos/")), PathBuf::from("photos.headstart"));
        assert_eq!(default_bundle(Path::new("köche 👩‍🍳")), PathBuf::from("köche 👩‍🍳.headstart"));
    }
}
