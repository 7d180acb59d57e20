//! `headstart extract`: one part of the frozen features, so that any job array can share the work.

use std::path::PathBuf;

use headstart::RunOptions;
use headstart::cache::CacheFolder;
use serde_json::json;

use super::{recipe, threads, train};
use crate::arguments::Extract;
use crate::progress::{Display, Style};
use crate::report::Result;
use crate::{interrupt, terminal};

pub(crate) fn run(options: &Extract) -> Result {
    let recipe = recipe::from_options(&options.recipe)?;
    let run_options = RunOptions {
        out: PathBuf::new(),
        threads: threads(options.threads),
        cache: CacheFolder::from_environment(),
        resume: false,
        stop: interrupt::flag(),
    };
    let style = train::style(options.output);
    let done = headstart::run::extract(&recipe, &run_options, options.shard, options.of, &mut Display::new(style))?;
    terminal::line(&match style {
        Style::Json => json!({
            "event": "extracted",
            "shards": done.shards,
            "finished_before": done.finished_before,
            "total": done.total,
            "cache": run_options.cache.path,
        })
        .to_string(),
        _ => format!(
            "part {} of {}: {} of {} shards, {} were finished before · {}",
            options.shard,
            options.of,
            done.shards,
            done.total,
            done.finished_before,
            run_options.cache.path.display()
        ),
    });
    Ok(())
}
