//! `headstart lr-find`

use std::path::PathBuf;

use headstart::RunOptions;
use headstart::cache::CacheFolder;
use headstart::rate_finder::{RangeTest, RateCurve, find_rates};
use serde_json::json;

use super::{recipe, threads, train};
use crate::arguments::LrFind;
use crate::progress::{Display, Style};
use crate::report::Result;
use crate::{curve, interrupt, plot, terminal};

pub(crate) fn run(options: &LrFind) -> Result {
    let recipe = recipe::from_options(&options.recipe)?;
    let run_options = RunOptions {
        out: PathBuf::new(),
        threads: threads(options.threads),
        cache: CacheFolder::from_environment(),
        resume: false,
        stop: interrupt::flag(),
    };
    let test = RangeTest { low: options.from, high: options.to, steps: options.steps };
    let style = train::style(options.output);
    let curves = find_rates(&recipe, &run_options, &test, &mut Display::new(style))?;
    if let Some(path) = &options.png {
        plot::write(&curves, path)?;
    }
    for curve in &curves {
        terminal::line(&match style {
            Style::Json => json!({ "event": "rates", "curve": curve, "suggestion": curve.suggestion() }).to_string(),
            Style::Quiet => curve.suggestion().map_or_else(|| "none".to_owned(), |rate| format!("{rate:.1e}")),
            Style::Human => {
                format!("\n{}{}", curve::text(curve, terminal::writes_unicode()), verdict(curve, curves.len()))
            }
        });
    }
    if let (Some(path), Style::Human) = (&options.png, style) {
        terminal::line(&format!("picture  {}", path.display()));
    }
    Ok(())
}

/// Both rules, and what to do.
fn verdict(curve: &RateCurve, phases: usize) -> String {
    let told = |rate: Option<f64>| rate.map_or_else(|| "nowhere".to_owned(), |rate| format!("at {rate:.1e}"));
    let place = if phases > 1 { format!("phase {}: ", curve.phase) } else { String::new() };
    let end = match curve.diverged {
        Some(rate) => format!("diverged at {rate:.1e}"),
        None => "did not diverge".to_owned(),
    };
    let advice = match curve.suggestion() {
        Some(rate) => format!("try --lr {rate:.1e} (the recipe has {:.1e})", curve.recipe_rate),
        None => "the loss never fell: more --steps, or a lower --from".to_owned(),
    };
    format!(
        "rates    {place}steepest {} · middle of the valley's flank {} · {end}\nsuggests {advice}",
        told(curve.steepest),
        told(curve.valley)
    )
}
