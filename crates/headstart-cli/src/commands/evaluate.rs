//! `headstart evaluate`

use std::sync::Mutex;

use headstart::train::observer::Work;

use super::{predict, threads};
use crate::arguments::Evaluate;
use crate::progress::{Display, Style};
use crate::report::Result;
use crate::{tables, terminal};

pub(crate) fn run(options: &Evaluate) -> Result {
    let bundle = predict::open(&options.bundle, options.weights.as_deref(), options.no_self_test)?;
    let display = Mutex::new(Display::new(if options.json { Style::Quiet } else { Style::Human }));
    let evaluation = headstart::evaluate(&bundle, &options.data, threads(options.threads), &|done, total| {
        if let Ok(mut display) = display.try_lock() {
            display.progress(Work::Predict, done, total);
        }
    })?;
    drop(display);
    if options.json {
        let line = serde_json::json!({ "event": "evaluation", "evaluation": evaluation });
        terminal::line(&line.to_string());
        return Ok(());
    }
    for skipped in &evaluation.skipped {
        terminal::error_line(&format!("skipped  {}", skipped.reason));
    }
    let name = format!("{} {}", evaluation.examples, if bundle.reads_text() { "texts" } else { "photos" });
    terminal::line(tables::scores(&name, &evaluation.metrics, &evaluation.labels).trim_end());
    Ok(())
}
