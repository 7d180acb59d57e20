//! `headstart predict`

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use headstart::bundle::predict::Unreadable;
use headstart::data::audio::has_audio_extension;
use headstart::data::image::has_image_extension;
use headstart::tasks::image_classification::decode::Candidate;
use headstart::train::observer::Work;
use headstart::{Bundle, Error};

use super::{detect, threads, transcribe};
use crate::arguments::Predict;
use crate::progress::{Display, Style};
use crate::report::{Failure, Result};
use crate::{marked_text, terminal};

/// Fewer photos than this are done before a bar could be read.
const BAR_FROM: usize = 32;

pub(crate) fn run(options: &Predict) -> Result {
    let bundle = open(&options.bundle, options.weights.as_deref(), options.no_self_test)?;
    transcribe::check(&bundle, &options.writing)?;
    if bundle.reads_text() {
        return run_texts(&bundle, options);
    }
    if bundle.writing().is_some() {
        return transcribe::run(&bundle, options);
    }
    let hears = bundle.hears();
    let paths = match hears {
        true => files(&options.inputs, "recording", &has_audio_extension)?,
        false => files(&options.inputs, "photo", &has_image_extension)?,
    };
    if bundle.finds_objects() {
        return detect::run(&bundle, &paths, options, &progress(options, paths.len()));
    }
    let progress = progress(options, paths.len());
    let threads = threads(options.threads);
    let predictions = match hears {
        true => bundle.classify_sounds(&paths, options.top, threads, &progress)?,
        false => bundle.predict_all(&paths, options.top, threads, &progress)?,
    };
    drop(progress);

    let width = width_of(&paths);
    tell(&predictions, options.json, |prediction| {
        let path = prediction.path.display().to_string();
        format!("{path:width$}  {}", classes(&prediction.top))
    })
}

/// Columns of the longest path, within reason.
pub(super) fn width_of(paths: &[PathBuf]) -> usize {
    paths.iter().map(|path| path.display().to_string().chars().count()).max().unwrap_or(0).min(60)
}

/// A line for each prediction, as JSON or as `line` writes it, and those that could not be read, listed and counted.
pub(super) fn tell<P: serde::Serialize>(
    predictions: &[std::result::Result<P, Unreadable>],
    as_json: bool,
    line: impl Fn(&P) -> String,
) -> Result {
    let mut failed = 0;
    for prediction in predictions {
        match prediction {
            Ok(prediction) if as_json => terminal::line(&json(prediction)),
            Ok(prediction) => terminal::line(&line(prediction)),
            Err(unreadable) => {
                failed += 1;
                tell_unreadable(unreadable, as_json);
            }
        }
    }
    end(failed, predictions.len())
}

/// A file that could not be read.
pub(super) fn tell_unreadable(unreadable: &Unreadable, as_json: bool) {
    if as_json {
        let line = serde_json::json!({ "path": unreadable.path, "error": unreadable.reason });
        terminal::line(&line.to_string());
    }
    terminal::error_line(&format!("skipped  {}", unreadable.reason));
}

/// How a prediction of `all` files ends, of which so many could not be read.
pub(super) fn end(failed: usize, all: usize) -> Result {
    if failed > 0 {
        terminal::error_line(&format!("{failed} of {all} files could not be read"));
        return Err(Failure::Told(1));
    }
    Ok(())
}

/// A bar where there is much to predict and a person to see it.
pub(super) fn progress(options: &Predict, count: usize) -> impl Fn(usize) + Sync {
    let is_shown = count >= BAR_FROM && !options.json;
    let display = Mutex::new(Display::new(if options.json { Style::Json } else { Style::Human }));
    move |done| {
        if let (Ok(mut display), true) = (display.try_lock(), is_shown) {
            display.progress(Work::Predict, done, count);
        }
    }
}

/// Candidates in one line.
fn classes(top: &[Candidate]) -> String {
    let shown: Vec<String> =
        top.iter().map(|candidate| format!("{} {:5.1} %", candidate.label, candidate.probability * 100.0)).collect();
    shown.join("  ")
}

fn run_texts(bundle: &Bundle, options: &Predict) -> Result {
    let texts = texts(&options.inputs)?;
    let progress = progress(options, texts.len());
    if bundle.tags_words() {
        let predictions = bundle.predict_entities(&texts, threads(options.threads), &progress)?;
        drop(progress);
        let kinds = bundle.manifest().labels.iter().filter_map(|tag| tag.strip_prefix("B-")).collect::<Vec<_>>();
        for prediction in &predictions {
            match options.json {
                true => terminal::line(&serde_json::to_string(prediction).expect("plain text and numbers")),
                false => terminal::line(&marked_text::line(prediction, &kinds, terminal::output_has_colors())),
            }
        }
        return Ok(());
    }
    let predictions = bundle.predict_texts(&texts, options.top, threads(options.threads), &progress)?;
    drop(progress);
    for prediction in &predictions {
        if options.json {
            terminal::line(&serde_json::to_string(prediction).expect("plain text and numbers"));
            continue;
        }
        let cut = if prediction.cut_tokens > 0 { marked_text::CUT } else { "" };
        let said = match &prediction.labels {
            Some(labels) if labels.is_empty() => "no label".to_owned(),
            Some(labels) => classes(labels),
            None => classes(&prediction.top),
        };
        terminal::line(&format!("{said}  {}{cut}", prediction.text));
    }
    Ok(())
}

/// Lines of files that were named and of standard input for `-`; whatever is no file is a text itself.
fn texts(inputs: &[PathBuf]) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    let mut add = |lines: &str| texts.extend(lines.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
    for input in inputs {
        if input.as_os_str() == "-" {
            let mut bytes = Vec::new();
            let failed = |source| Error::Io { action: "read", path: "standard input".into(), source };
            std::io::stdin().lock().read_to_end(&mut bytes).map_err(failed)?;
            add(&String::from_utf8_lossy(&bytes));
        } else if input.is_file() {
            let bytes = std::fs::read(input);
            let bytes = bytes.map_err(|source| Error::Io { action: "read", path: input.clone(), source })?;
            add(&String::from_utf8_lossy(&bytes));
        } else {
            add(&input.to_string_lossy());
        }
    }
    Ok(texts)
}

/// Opens a bundle; `base` is what adapters stand on.
pub(super) fn open(path: &Path, base: Option<&Path>, untested: bool) -> Result<Bundle> {
    Ok(match base {
        Some(base) => Bundle::open_on(path, base, !untested)?,
        None if untested => Bundle::open_untested(path)?,
        None => Bundle::open(path)?,
    })
}

/// A path that is not UTF-8 is the one thing that cannot be written.
fn json<P: serde::Serialize>(prediction: &P) -> String {
    serde_json::to_string(prediction)
        .unwrap_or_else(|error| serde_json::json!({ "error": error.to_string() }).to_string())
}

/// Files that were named, those of the kind in folders that were named, those on standard input for `-`.
pub(super) fn files(inputs: &[PathBuf], kind: &str, is_one: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for input in inputs {
        if input.as_os_str() == "-" {
            let lines = std::io::stdin().lock().lines().map_while(std::io::Result::ok);
            files.extend(lines.filter(|line| !line.trim().is_empty()).map(PathBuf::from));
        } else if input.is_dir() {
            let before = files.len();
            add_folder(input, is_one, &mut files)?;
            if files.len() == before {
                return Err(Error::Recipe {
                    reason: format!("the folder `{}` holds no {kind}", input.display()),
                    help: format!("name {kind}s, or folders with {kind}s in them"),
                }
                .into());
            }
        } else {
            files.push(input.clone());
        }
    }
    Ok(files)
}

fn add_folder(folder: &Path, is_one: &dyn Fn(&Path) -> bool, files: &mut Vec<PathBuf>) -> Result {
    let failed = |source| Error::Io { action: "list", path: folder.to_owned(), source };
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(failed)?;
    entries.sort();
    for path in entries {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !path.is_symlink() && !hidden {
            add_folder(&path, is_one, files)?;
        } else if is_one(&path) && !hidden {
            files.push(path);
        }
    }
    Ok(())
}
