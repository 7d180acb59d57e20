//! A JSON object a line, with a text and its spans in characters, or with words and their tags.

use std::path::Path;

use serde_json::{Map, Value};

use super::conll::{Tagged, add_tagged};
use super::evidence::{self, Evidence, evidence};
use super::{Layout, Opener, jsonl};
use crate::error::DataError;
use crate::text::assemble::{Draft, DraftExample, DraftTarget, NamedBytes};
use crate::text::entities::Tag;
use crate::text::labels::short;
use crate::text::{Origin, Outcome, TargetKind, TextOptions, TextSet, charset};

/// The registry row.
pub(super) const LAYOUT: Layout = Layout {
    name: "json_spans",
    describes: r#"{"text": "…", "spans": [{"start": 0, "end": 4, "label": "PER"}]} a line, offsets in characters; or {"tokens": […], "tags": […]}"#,
    recognizes: |path| evidence(path) == Some(Evidence::JsonSpans),
    open: Opener::Entities(open),
};

/// Fields that hold spans: those of Prodigy, spaCy, doccano.
const SPANS: &[&str] = &["spans", "entities", "ents", "annotations", "label", "labels"];

/// Fields that hold words.
const WORDS: &[&str] = &["tokens", "words"];

/// Fields that hold one tag a word.
const TAGS: &[&str] = &["ner_tags", "tags", "labels", "ner"];

/// Fields that hold a text.
const TEXTS: &[&str] = &["text", "content", "sentence", "data"];

/// Whether an object marks entities, rather than naming its class.
pub(super) fn has_spans(fields: &Map<String, Value>) -> bool {
    tagged_words(fields).is_some()
        || (text_of(fields).is_some() && spans_of(fields).is_some_and(|(certain, _)| certain))
}

fn open(root: &Path, options: &TextOptions) -> Result<TextSet, DataError> {
    if options.target.is_some_and(|target| target != TargetKind::Spans) {
        let reason = "it marks entities".to_owned();
        let help = "leave the task open, or give texts and labels in a table".to_owned();
        return Err(DataError::Layout { path: root.to_owned(), reason, help });
    }
    let (files, notes) = evidence::files(root, Evidence::JsonSpans)?;
    let mut draft = Draft { notes, ..Draft::default() };
    let mut sentences = Vec::new();
    for file in files {
        let read = charset::read(&file.path)?;
        draft.notes.extend(read.note);
        let number = draft.files.len();
        draft.files.push(file.path.clone());
        for (line, object) in jsonl::objects(&read.bytes) {
            let added = object.and_then(|fields| match tagged_words(&fields) {
                Some((words, tags)) => {
                    let (words, tags) = checked_words(words, tags, line)?;
                    sentences.push(Tagged { words, tags, file: number, split: file.split });
                    Ok(())
                }
                None => {
                    let (text, spans) = checked_spans(&fields)?;
                    draft.examples.push(DraftExample {
                        text,
                        pair: None,
                        words: Vec::new(),
                        target: DraftTarget::Spans(spans),
                        origin: Origin { file: number, line },
                        split: file.split,
                    });
                    Ok(())
                }
            });
            if let Err(what) = added {
                draft.problem(&file.path, line, what, Outcome::Skipped);
            }
        }
    }
    if !sentences.is_empty() {
        add_tagged(&mut draft, sentences);
        draft.examples.sort_by_key(|example| example.origin);
    }
    draft.finish(LAYOUT.name, root, TargetKind::Spans)
}

fn text_of(fields: &Map<String, Value>) -> Option<&str> {
    TEXTS.iter().find_map(|name| fields.get(*name)?.as_str())
}

/// The list of spans, and whether it is certainly one: an empty list could also be one of labels.
fn spans_of(fields: &Map<String, Value>) -> Option<(bool, &Vec<Value>)> {
    let lists = SPANS.iter().filter_map(|name| Some((*name, fields.get(*name)?.as_array()?)));
    let found = lists.filter_map(|(name, list)| match list.first() {
        None => Some((matches!(name, "spans" | "entities" | "ents"), list)),
        Some(first) => {
            (first.is_object() || first.as_array().is_some_and(|span| span.len() == 3)).then_some((true, list))
        }
    });
    found.max_by_key(|(certain, list)| (*certain, list.len()))
}

fn tagged_words(fields: &Map<String, Value>) -> Option<(&Vec<Value>, &Vec<Value>)> {
    let words = WORDS.iter().find_map(|name| fields.get(*name)?.as_array())?;
    let is_word = |value: &Value| value.is_string();
    let is_tag = |value: &Value| value.is_string() || value.is_i64();
    let tags = TAGS.iter().find_map(|name| fields.get(*name)?.as_array().filter(|tags| tags.iter().all(is_tag)))?;
    words.iter().all(is_word).then_some((words, tags))
}

/// Words with the line they stand on, and their tags.
type TaggedWords = (Vec<(String, usize)>, Vec<String>);

fn checked_words(words: &[Value], tags: &[Value], line: usize) -> Result<TaggedWords, String> {
    if words.len() != tags.len() {
        return Err(format!("{} words and {} tags", words.len(), tags.len()));
    }
    if words.is_empty() {
        return Err("there is no word".to_owned());
    }
    let mut checked = (Vec::with_capacity(words.len()), Vec::with_capacity(words.len()));
    for (word, tag) in words.iter().zip(tags) {
        let word = word.as_str().map(str::trim).filter(|word| !word.is_empty()).ok_or("one of the words is empty")?;
        let tag = tag.as_str().ok_or("tags are numbers, whose names are not known: write them as B-PER, I-PER, O")?;
        if Tag::well_formed(tag).is_none() {
            return Err(format!("`{}` is no tag", short(tag)));
        }
        checked.0.push((word.to_owned(), line));
        checked.1.push(tag.to_owned());
    }
    Ok(checked)
}

/// The text, and its spans as bytes.
fn checked_spans(fields: &Map<String, Value>) -> Result<(String, Vec<NamedBytes>), String> {
    let text = text_of(fields).ok_or("there is no text")?;
    // An object without the field has no entity, as exports of unmarked texts are.
    let spans = spans_of(fields).map_or(&[][..], |(_, spans)| spans);
    // Byte of every character, and the end.
    let starts: Vec<usize> = text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect();
    let characters = starts.len() - 1;
    let mut checked = Vec::with_capacity(spans.len());
    for span in spans {
        let (start, end, label) = parts(span).ok_or_else(|| format!("`{}` is no span", short(&span.to_string())))?;
        let out_of_range =
            || format!("span {start} to {end} of `{}` is not within the {characters} characters", short(label));
        let at = |offset: i64| usize::try_from(offset).ok().and_then(|offset| starts.get(offset).copied());
        let (Some(first), Some(last)) = (at(start), at(end)) else { return Err(out_of_range()) };
        if first >= last {
            return Err(format!("span {start} to {end} of `{}` is empty", short(label)));
        }
        if label.trim().is_empty() {
            return Err(format!("span {start} to {end} has no label"));
        }
        checked.push((first..last, label.trim().to_owned()));
    }
    Ok((text.to_owned(), checked))
}

/// Start, end and label of `{"start", "end", "label"}` or `[start, end, label]`.
fn parts(span: &Value) -> Option<(i64, i64, &str)> {
    match span {
        Value::Array(parts) => match parts.as_slice() {
            [start, end, label] => Some((start.as_i64()?, end.as_i64()?, label.as_str()?)),
            _ => None,
        },
        Value::Object(fields) => {
            let find = |names: &[&str]| names.iter().find_map(|name| fields.get(*name));
            let start = find(&["start", "start_offset", "begin"])?.as_i64()?;
            let end = find(&["end", "end_offset"])?.as_i64()?;
            Some((start, end, find(&["label", "type", "entity", "tag", "entity_group"])?.as_str()?))
        }
        _ => None,
    }
}
