//! `headstart predict` with a bundle that finds objects.

use std::path::{Path, PathBuf};

use headstart::bundle::detect::{DecodeRule, DetectOptions, ObjectPrediction};
use headstart::{Bundle, Error};
use image::RgbImage;
use serde_json::json;

use super::predict::{end, tell_unreadable};
use super::threads;
use crate::arguments::Predict;
use crate::report::Result;
use crate::{annotate, terminal};

pub(super) fn run(bundle: &Bundle, paths: &[PathBuf], options: &Predict, progress: &(dyn Fn(usize) + Sync)) -> Result {
    let typed = &options.detect;
    let rule = DecodeRule::showing();
    let rule = DecodeRule {
        least_score: typed.threshold.unwrap_or(rule.least_score),
        overlap: typed.overlap.unwrap_or(rule.overlap),
        is_soft: typed.soft,
        ..rule
    };
    let tile = match typed.tile {
        Some(side) if side < 32 => {
            return Err(Error::Recipe {
                reason: format!("tiles of {side} pixels show no objects"),
                help: "write --tile 512".to_owned(),
            }
            .into());
        }
        tile => tile,
    };
    let found = bundle.detect_all(paths, &DetectOptions { rule, tile }, threads(options.threads), progress)?;
    let (mut results, mut thumbnails, mut failed) = (Vec::new(), Vec::new(), 0);
    for (index, prediction) in found.iter().enumerate() {
        match prediction {
            Ok(prediction) => {
                terminal::line(&if options.json { json_line(prediction) } else { line(prediction) });
                if let Some(folder) = &typed.out {
                    results.extend(coco_results(index + 1, prediction));
                    let drawn = annotate::draw(
                        headstart::data::image::decode(&prediction.path).map_err(Error::from)?,
                        &prediction.objects,
                    );
                    write_png(&folder.join(name_of(index, &prediction.path)), &drawn)?;
                    if thumbnails.len() < annotate::MOST_ON_SHEET {
                        thumbnails.push(annotate::thumbnail(&drawn));
                    }
                }
            }
            Err(unreadable) => {
                failed += 1;
                tell_unreadable(unreadable, options.json);
            }
        }
    }
    if let Some(folder) = &typed.out {
        let text = serde_json::Value::Array(results).to_string();
        headstart::publish_file(&folder.join("detections.json"), text.as_bytes())?;
        write_png(&folder.join("contact_sheet.png"), &annotate::contact_sheet(&thumbnails))?;
        terminal::error_line(&format!("wrote    {}", folder.display()));
    }
    end(failed, found.len())
}

/// `photo.jpg  2 cells, 1 platelet`.
fn line(prediction: &ObjectPrediction) -> String {
    let mut counts: Vec<(&str, usize, f32)> = Vec::new();
    for object in &prediction.objects {
        match counts.iter_mut().find(|(label, ..)| *label == object.label) {
            Some((_, count, _)) => *count += 1,
            None => counts.push((&object.label, 1, object.score)),
        }
    }
    let shown: Vec<String> =
        counts.iter().map(|(label, count, best)| format!("{count} × {label} (best {:.0} %)", best * 100.0)).collect();
    let said = if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") };
    format!("{}  {said}", prediction.path.display())
}

fn json_line(prediction: &ObjectPrediction) -> String {
    let ObjectPrediction { path, width, height, objects } = prediction;
    json!({ "path": path.to_string_lossy(), "width": width, "height": height, "objects": objects }).to_string()
}

/// COCO's results: pictures are numbered from 1 in the order in which they were given, classes from 1 in that of the bundle.
fn coco_results(image: usize, prediction: &ObjectPrediction) -> impl Iterator<Item = serde_json::Value> + '_ {
    let name = prediction.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    prediction.objects.iter().map(move |object| {
        json!({ "image_id": image, "category_id": object.class + 1, "bbox": object.place, "score": object.score,
            "category": object.label, "file_name": name })
    })
}

/// Two pictures of one name in two folders are two files.
fn name_of(index: usize, path: &Path) -> String {
    format!("{:04}_{}.png", index + 1, path.file_stem().unwrap_or_default().to_string_lossy())
}

fn write_png(path: &Path, picture: &RgbImage) -> Result {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let failed = |error| Error::Io { action: "write", path: path.to_owned(), source: std::io::Error::other(error) };
    picture.write_to(&mut bytes, image::ImageFormat::Png).map_err(failed)?;
    Ok(headstart::publish_file(path, &bytes.into_inner())?)
}
