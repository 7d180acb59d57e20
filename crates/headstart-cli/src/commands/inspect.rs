//! `headstart inspect`

use comfy_table::{CellAlignment, Table, presets};
use headstart::load;
use headstart::weights::{self, Checkpoint};
use headstart::{Bundle, Error};
use serde_json::{Value, json};

use crate::arguments::Inspect;
use crate::report::Result;
use crate::{tables, terminal};

pub(crate) fn run(options: &Inspect) -> Result {
    let checkpoint = weights::open(&options.file).map_err(Error::from)?;
    let is_bundle = checkpoint.metadata().contains_key("headstart");
    if options.json {
        terminal::line(&as_json(checkpoint.as_ref(), is_bundle).to_string());
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["array", "shape", "type", "size"]);
    for array in checkpoint.arrays() {
        table.add_row([
            array.name.clone(),
            format!("{:?}", array.shape),
            array.dtype.to_string(),
            tables::bytes(array.byte_len() as u64),
        ]);
    }
    if let Some(column) = table.column_mut(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let values: usize = checkpoint.arrays().iter().map(weights::ArrayInfo::element_count).sum();
    let bytes: u64 = checkpoint.arrays().iter().map(|array| array.byte_len() as u64).sum();
    let mut text = format!(
        "{table}\n\n{}: {}, {} arrays, {} values, {}\n",
        options.file.display(),
        checkpoint.format(),
        checkpoint.arrays().len(),
        tables::count(values),
        tables::bytes(bytes)
    );
    for (key, value) in checkpoint.metadata().iter().filter(|(key, _)| key.as_str() != "headstart") {
        text.push_str(&format!("{key}: {value}\n"));
    }
    if is_bundle {
        text.push_str(&bundle_text(&Bundle::open(&options.file)?));
    } else {
        text.push_str(&fit_text(checkpoint.as_ref()));
    }
    terminal::line(text.trim_end());
    Ok(())
}

fn fit_text(checkpoint: &dyn Checkpoint) -> String {
    let fits = load::fits(checkpoint.arrays());
    match fits.first() {
        Some(fit) if fit.is_complete() => {
            let mut text = format!(
                "fits backbone {}:{}, family {} ({})\n",
                fit.spec.name, fit.variant.name, fit.family.family, fit.family.origin
            );
            text.push_str(&match &fit.classifier {
                Some(found) => format!("holds its published classifier of {} classes\n", found.classes()),
                None => "holds no published classifier\n".to_owned(),
            });
            if !fit.matching.unused.is_empty() {
                text.push_str(&format!(
                    "{} arrays would not be used: {}\n",
                    fit.matching.unused.len(),
                    tables::shortened(&fit.matching.unused, 4)
                ));
            }
            text
        }
        _ if checkpoint.format() == "darknet" => detector_text(checkpoint.path()),
        _ if let Some(text) = transformer_text(checkpoint.path()) => text,
        _ if let Some(text) = speech_text(checkpoint.path()) => text,
        Some(fit) => format!("fits no backbone that we have; nearest: {}\n", fit.first_error()),
        None => "fits no backbone that we have\n".to_owned(),
    }
}

/// What a transformer with a configuration beside it is.
fn transformer_text(path: &std::path::Path) -> Option<String> {
    let pretrained = load::load_transformer(path).ok()?;
    let shape = pretrained.shape;
    Some(format!(
        "fits backbone {}, family {} ({}): {} layers of width {}, {} heads, {} tokens, {} positions\n",
        pretrained.spec.name,
        pretrained.family.family,
        pretrained.family.origin,
        shape.layers,
        shape.width,
        shape.heads,
        tables::count(shape.vocabulary),
        shape.positions
    ))
}

/// What a network of Darknet is.
fn detector_text(path: &std::path::Path) -> String {
    let detector = match load::load_detector(path) {
        Ok(detector) => detector,
        Err(error) => return format!("is no detector that we can build: {error}\n"),
    };
    let [height, width] = detector.plan.input;
    let classes = match &detector.labels {
        Some(labels) => tables::shortened(labels, 6),
        None => "what its classes are called is not said".to_owned(),
    };
    format!("finds objects (darknet, {width} × {height} pixels): {classes}\n")
}

/// What a DeepSpeech is.
fn speech_text(path: &std::path::Path) -> Option<String> {
    let pretrained = load::load_speech(path, None).ok()?;
    let letters = match &pretrained.writer {
        Some(writer) => format!("it writes {} letters", writer.writing.alphabet.len()),
        None => "which letters it writes is not known".to_owned(),
    };
    Some(format!(
        "fits backbone {}, family {}: {} units a layer; {letters}\n",
        pretrained.spec.name, pretrained.family, pretrained.shape.hidden
    ))
}

fn bundle_text(bundle: &Bundle) -> String {
    let manifest = bundle.manifest();
    let examples = manifest.examples;
    let head = match (manifest.recipe.head.original, manifest.backbone.classifier) {
        (true, _) => " · the published classifier kept as the head",
        (_, Some(_)) => " · its published classifier kept below the head",
        _ => "",
    };
    let mut text = format!(
        "bundle of {} · {} · {}\nbackbone {}:{} from {} · licence: {}{head}\nlearned from {} examples, {} validation, {} test, {} skipped; self-test passed\n",
        manifest.task,
        tables::shortened(&manifest.labels, 8),
        manifest.written_by,
        manifest.backbone.name,
        manifest.backbone.variant,
        manifest.backbone.source,
        manifest.backbone.licence.as_deref().unwrap_or("not stated"),
        examples.train,
        examples.validation,
        examples.test,
        examples.skipped,
    );
    let parts = [("validation", &manifest.scores.validation), ("test", &manifest.scores.test)];
    for (name, metrics) in parts.into_iter().filter_map(|(name, metrics)| Some((name, metrics.as_ref()?))) {
        text.push_str(&tables::summary(name, metrics));
    }
    text
}

fn as_json(checkpoint: &dyn Checkpoint, is_bundle: bool) -> Value {
    let arrays: Vec<Value> = checkpoint
        .arrays()
        .iter()
        .map(|array| json!({ "name": array.name, "shape": array.shape, "dtype": array.dtype.to_string(), "bytes": array.byte_len() }))
        .collect();
    let fits = load::fits(checkpoint.arrays());
    let fit = fits.first().filter(|fit| fit.is_complete()).map(|fit| {
        json!({ "backbone": fit.spec.name, "variant": fit.variant.name, "family": fit.family.family, "unused": fit.matching.unused,
            "classifier": fit.classifier.as_ref().map(|found| found.classes()) })
    });
    let manifest = checkpoint
        .metadata()
        .get("headstart")
        .filter(|_| is_bundle)
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    json!({ "format": checkpoint.format(), "arrays": arrays, "fit": fit, "bundle": manifest })
}
