//! Scoring a bundle on labelled data that it has not seen.

use std::path::Path;

use headstart_data::boxes::Object;
use headstart_data::layouts::{self, Skipped, Split};
use headstart_data::speech::{SpeechTarget, Utterance};
use headstart_data::text::{Outcome, Problem, Target, TextExample};
use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
use crate::bundle::predict::{Unreadable, each};
use crate::error::{Error, Result};
use crate::labels;
use crate::recipe::Output;
use crate::tasks::image_classification::metrics::ClassificationMetrics;
use crate::tasks::object_detection::metrics::DetectionMetrics;
use crate::tasks::speech_recognition::decode::Decoding;
use crate::tasks::speech_recognition::metrics::SpeechMetrics;
use crate::tasks::text_classification::metrics::LabelMetrics;
use crate::tasks::texts::{columns, renumber};
use crate::tasks::token_classification::data::{WordTokens, tags_of_spans};
use crate::tasks::token_classification::decode;
use crate::tasks::token_classification::metrics::EntityMetrics;
use crate::tasks::{Metrics, Reads};

/// What a name is that the bundle does not know.
const KIND: &str = "class of the bundle";

/// Scores of a bundle on a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// All metrics.
    pub metrics: Metrics,
    /// Class names in the order of the bundle's outputs.
    pub labels: Vec<String>,
    /// Photos or texts that were scored.
    pub examples: usize,
    /// Files that were left out.
    pub skipped: Vec<Unreadable>,
}

/// Scores a bundle on a data set of its kind: on its test part if it has one, else on the validation part, else on all of it.
///
/// # Errors
/// [`Error::UnknownName`] when the data has a class that the bundle does not know; [`Error::Data`].
pub fn evaluate(
    bundle: &Bundle,
    data: &Path,
    threads: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Evaluation> {
    evaluate_as(bundle, data, &Decoding::Greedy, threads, progress)
}

/// [`evaluate`], with transcripts chosen by `decoding`.
///
/// # Errors
/// As there.
pub fn evaluate_as(
    bundle: &Bundle,
    data: &Path,
    decoding: &Decoding<'_>,
    threads: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Evaluation> {
    match bundle.reads() {
        Reads::Pictures => evaluate_photos(bundle, data, threads, progress),
        Reads::Text => evaluate_texts(bundle, data, threads, progress),
        Reads::Speech => evaluate_recordings(bundle, data, decoding, threads, progress),
        Reads::Objects => evaluate_boxes(bundle, data, threads, progress),
    }
}

fn evaluate_photos(
    bundle: &Bundle,
    data: &Path,
    threads: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Evaluation> {
    let listing = layouts::open(data)?;
    let labels = &bundle.manifest().labels;
    let is_original = bundle.manifest().recipe.head.original;
    let label_of = match is_original {
        true => listing.classes.iter().map(|class| labels::find(labels, class)).collect::<Result<Vec<usize>>>()?,
        false => labels::positions(&listing.classes, labels, KIND)?,
    };
    let held_out = held_out(listing.examples.iter().map(|example| example.split));
    let examples: Vec<_> =
        listing.examples.iter().filter(|example| held_out.is_none() || example.split == held_out).collect();

    let mut skipped = unreadable(listing.skipped.clone());
    let read = readable(&examples, threads, progress, &mut skipped, &|example| &example.path, &|example| {
        bundle.probabilities_of(&example.path)
    })?;
    let truth: Vec<usize> = read.iter().map(|(example, _)| label_of[example.label]).collect();
    let probabilities: Vec<f32> = read.into_iter().flat_map(|(_, row)| row).collect();
    if truth.is_empty() {
        return Err(Error::Recipe {
            reason: format!("`{}` has no readable photo to score", data.display()),
            help: "give a folder with a folder of photos for each class".to_owned(),
        });
    }
    let metrics = ClassificationMetrics::from_probabilities(&probabilities, &truth, labels.len())
        .expect("softmax of finite outputs, one row a label");
    let metrics = Metrics::Classes(if is_original { metrics.of_seen_classes() } else { metrics });
    Ok(Evaluation { metrics, labels: labels.clone(), examples: truth.len(), skipped })
}

fn evaluate_boxes(
    bundle: &Bundle,
    data: &Path,
    threads: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Evaluation> {
    let set = layouts::open_boxes(data)?;
    let labels = &bundle.manifest().labels;
    let label_of = labels::positions(&set.classes, labels, KIND)?;
    let held_out = held_out(set.pictures.iter().map(|picture| picture.split));
    let pictures: Vec<_> =
        set.pictures.iter().filter(|picture| held_out.is_none() || picture.split == held_out).collect();
    let mut skipped = unreadable(set.listing().skipped);
    let read = readable(&pictures, threads, progress, &mut skipped, &|picture| &picture.path, &|picture| {
        bundle.scored_detections(&picture.path)
    })?;
    let (mut truths, mut found) = (Vec::new(), Vec::new());
    for (picture, detections) in read {
        let objects = picture.objects.iter().map(|object| Object { class: label_of[object.class], ..*object });
        truths.push(objects.collect::<Vec<_>>());
        found.push(detections);
    }
    if truths.is_empty() {
        return Err(Error::Recipe {
            reason: format!("`{}` has no readable picture to score", data.display()),
            help: "give pictures with boxes in COCO's, Pascal VOC's or YOLO's layout".to_owned(),
        });
    }
    let borrowed: Vec<&[Object]> = truths.iter().map(Vec::as_slice).collect();
    let metrics = Metrics::Detections(Box::new(DetectionMetrics::new(&borrowed, &found, labels)));
    Ok(Evaluation { metrics, labels: labels.clone(), examples: truths.len(), skipped })
}

/// What `work` makes of each item, in order; those whose file cannot be read are added to `skipped`.
fn readable<'i, I: Sync, R: Send>(
    items: &[&'i I],
    threads: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
    skipped: &mut Vec<Unreadable>,
    path: &dyn Fn(&I) -> &Path,
    work: &(dyn Fn(&I) -> Result<R> + Sync),
) -> Result<Vec<(&'i I, R)>> {
    let results = each(items, threads, &|done| progress(done, items.len()), &|item| work(item))?;
    let mut read = Vec::with_capacity(items.len());
    for (item, result) in items.iter().zip(results) {
        match result {
            Ok(result) => read.push((*item, result)),
            Err(error) => skipped.push(Unreadable { path: path(item).to_owned(), reason: error.to_string() }),
        }
    }
    Ok(read)
}

/// What a layout left out.
fn unreadable(skipped: Vec<Skipped>) -> Vec<Unreadable> {
    skipped.into_iter().map(|skipped| Unreadable { path: skipped.path, reason: skipped.reason }).collect()
}

fn of_problem(problem: &Problem) -> Unreadable {
    Unreadable { path: problem.file.clone(), reason: problem.to_string() }
}

/// The part that is scored; all of the data where it has none of these.
fn held_out(splits: impl Iterator<Item = Option<Split>> + Clone) -> Option<Split> {
    [Split::Test, Split::Validation].into_iter().find(|&part| splits.clone().any(|split| split == Some(part)))
}

fn evaluate_texts(
    bundle: &Bundle,
    data: &Path,
    threads: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Evaluation> {
    let set = layouts::open_text(data, &columns(&bundle.manifest().recipe))?;
    let labels = &bundle.manifest().labels;
    let kinds = match bundle.tags_words() {
        // Every kind has the tag that begins it.
        true => labels.iter().filter_map(|tag| tag.strip_prefix("B-").map(str::to_owned)).collect(),
        false => labels.clone(),
    };
    let label_of = labels::positions(&set.labels, &kinds, KIND)?;
    let held_out = held_out(set.examples.iter().map(|example| example.split));
    let examples: Vec<TextExample> = set
        .examples
        .into_iter()
        .filter(|example| held_out.is_none() || example.split == held_out)
        .map(|mut example| {
            renumber(&mut example.target, &label_of);
            example
        })
        .filter(|example| match &example.target {
            Target::Class(_) => !bundle.tags_words() && bundle.predictor.output() != Output::Sigmoids,
            Target::Labels(_) => bundle.predictor.output() == Output::Sigmoids,
            Target::Spans(_) => bundle.tags_words(),
            Target::Unlabeled => false,
        })
        .collect();
    if examples.is_empty() {
        return Err(Error::Recipe {
            reason: format!("`{}` has no text that is labelled as this bundle's were", data.display()),
            help: "give data of the kind that the bundle was trained on; `headstart inspect BUNDLE` says which"
                .to_owned(),
        });
    }
    let progress = |done| progress(done, examples.len());
    let metrics = match bundle.tags_words() {
        true => entity_metrics(bundle, &examples, threads, &progress)?,
        false => text_metrics(bundle, &examples, threads, &progress)?,
    };
    let skipped = set.problems.iter().filter(|problem| problem.outcome == Outcome::Skipped);
    let skipped = skipped.map(of_problem).collect();
    Ok(Evaluation { metrics, labels: labels.clone(), examples: examples.len(), skipped })
}

fn evaluate_recordings(
    bundle: &Bundle,
    data: &Path,
    decoding: &Decoding<'_>,
    threads: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Evaluation> {
    let set = layouts::open_speech(data)?;
    let labels = &bundle.manifest().labels;
    let label_of = match bundle.writing() {
        Some(_) => Vec::new(),
        None => labels::positions(&set.classes, labels, KIND)?,
    };
    let held_out = held_out(set.utterances.iter().map(|utterance| utterance.split));
    let asked: Vec<_> =
        set.utterances.iter().filter(|utterance| held_out.is_none() || utterance.split == held_out).collect();
    let mut skipped: Vec<Unreadable> = set.problems.iter().map(of_problem).collect();
    let hear = |utterance: &Utterance| match bundle.writing() {
        Some(_) => bundle.transcribe(&utterance.path, decoding, &|_| {}).map(|found| Heard::Text(found.text)),
        None => bundle.sound_probabilities(&utterance.path).map(Heard::Class),
    };
    let heard = readable(&asked, threads, progress, &mut skipped, &|utterance| &utterance.path, &hear)?;
    let (mut pairs, mut probabilities, mut truth) = (Vec::new(), Vec::new(), Vec::new());
    for (utterance, heard) in heard {
        match (heard, &utterance.target, bundle.writing()) {
            (Heard::Text(text), SpeechTarget::Transcript(reference), Some(writing)) => {
                pairs.push((writing.style.apply(reference), text));
            }
            (Heard::Class(row), SpeechTarget::Class(class), _) => {
                probabilities.extend(row);
                truth.push(label_of[*class]);
            }
            _ => {}
        }
    }
    let examples = pairs.len() + truth.len();
    if examples == 0 {
        return Err(Error::Recipe {
            reason: format!("`{}` has no recording that is labelled as this bundle's were", data.display()),
            help: "give data of the kind that the bundle was trained on; `headstart inspect BUNDLE` says which"
                .to_owned(),
        });
    }
    let metrics = match bundle.writing() {
        Some(_) => {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            Metrics::Speech(SpeechMetrics::new(&pairs, None))
        }
        None => Metrics::Classes(
            ClassificationMetrics::from_probabilities(&probabilities, &truth, labels.len())
                .expect("softmax of finite outputs, one row a label"),
        ),
    };
    Ok(Evaluation { metrics, labels: labels.clone(), examples, skipped })
}

/// What a bundle makes of a recording.
enum Heard {
    Text(String),
    Class(Vec<f32>),
}

fn text_metrics(
    bundle: &Bundle,
    examples: &[TextExample],
    threads: usize,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Metrics> {
    let count = bundle.manifest().labels.len();
    let rows = each(examples, threads, progress, &|example| {
        Ok(bundle.predictor.text_probabilities(&example.text, example.pair.as_deref())?.0)
    })?;
    let rows: Vec<Vec<f32>> = rows.into_iter().collect::<Result<_>>()?;
    let (mut classes, mut several) = (Vec::new(), Vec::new());
    for example in examples {
        match &example.target {
            Target::Class(class) => classes.push(*class),
            Target::Labels(labels) => several.push(labels.clone()),
            Target::Spans(_) | Target::Unlabeled => {}
        }
    }
    Ok(match several.is_empty() {
        true => Metrics::Classes(
            ClassificationMetrics::from_probabilities(&rows.concat(), &classes, count)
                .expect("softmax of finite outputs, one row a label"),
        ),
        false => Metrics::Labels(LabelMetrics::new(&rows.concat(), &several, count)),
    })
}

fn entity_metrics(
    bundle: &Bundle,
    examples: &[TextExample],
    threads: usize,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Metrics> {
    let tags = &bundle.manifest().labels;
    let tagged = each(examples, threads, progress, &|example| {
        let Target::Spans(spans) = &example.target else { return Ok((Vec::new(), Vec::new(), 0.0, 0)) };
        let words = WordTokens::of_example(bundle.predictor.reader()?, example, spans)?;
        let truth = tags_of_spans(&words.words, spans);
        let outputs = bundle.predictor.outputs_of_tokens(&words.tokens)?;
        let found = decode::tags_of(&words, &outputs, tags.len()).into_iter().map(|(tag, _)| tag).collect();
        let (loss_sum, asked) = decode::loss_of(&words, &truth, &outputs, tags.len());
        Ok((truth, found, loss_sum, asked))
    })?;
    let tagged: Vec<(Vec<usize>, Vec<usize>, f64, usize)> = tagged.into_iter().collect::<Result<_>>()?;
    let named = |found: &[usize]| -> Vec<&str> { found.iter().map(|tag| tags[*tag].as_str()).collect() };
    let truth: Vec<Vec<&str>> = tagged.iter().map(|(truth, ..)| named(truth)).collect();
    let predicted: Vec<Vec<&str>> = tagged.iter().map(|(_, found, ..)| named(found)).collect();
    let (loss_sum, asked) = tagged.iter().fold((0.0, 0), |sum, (_, _, loss, asked)| (sum.0 + loss, sum.1 + asked));
    Ok(Metrics::Entities(EntityMetrics::new(&truth, &predicted, loss_sum / asked.max(1) as f64)))
}
