//! `headstart evaluate`

use std::sync::Mutex;

use headstart::Bundle;
use headstart::tasks::Reads;
use headstart::train::observer::Work;

use super::{predict, threads, transcribe};
use crate::arguments::Evaluate;
use crate::progress::{Display, Style};
use crate::report::Result;
use crate::{tables, terminal};

pub(crate) fn run(options: &Evaluate) -> Result {
    let bundle = predict::open(&options.bundle, options.weights.as_deref(), options.no_self_test)?;
    let display = Mutex::new(Display::new(if options.json { Style::Quiet } else { Style::Human }));
    let words = transcribe::word_model(&bundle, &options.writing)?;
    let decoding = transcribe::decoding(&options.writing, words.as_ref());
    let progress = |done, total| {
        if let Ok(mut display) = display.try_lock() {
            display.progress(Work::Predict, done, total);
        }
    };
    let evaluation = headstart::evaluate_as(&bundle, &options.data, &decoding, threads(options.threads), &progress)?;
    drop(display);
    if options.json {
        let line = serde_json::json!({ "event": "evaluation", "evaluation": evaluation });
        terminal::line(&line.to_string());
        return Ok(());
    }
    for skipped in &evaluation.skipped {
        terminal::error_line(&format!("skipped  {}", skipped.reason));
    }
    let name = format!("{} {}", evaluation.examples, things(&bundle));
    terminal::line(tables::scores(&name, &evaluation.metrics, &evaluation.labels).trim_end());
    Ok(())
}

/// What a bundle is given.
fn things(bundle: &Bundle) -> &'static str {
    match bundle.reads() {
        Reads::Text => "texts",
        Reads::Speech => "recordings",
        _ => "photos",
    }
}
