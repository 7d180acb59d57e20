//! The files that tokenizers come in, each as the one JSON form, and what must hold of that form.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::error::DataError;

/// The largest published tokenizer files are below 40 MB.
const MOST_BYTES: u64 = 256 << 20;

/// Numbers of tokens beyond this are a slip or an attack: the embedding would have as many rows.
const MOST_TOKENS: u64 = 1 << 24;

fn refuse<T>(path: &Path, reason: impl Into<String>, help: &str) -> Result<T, DataError> {
    Err(DataError::Tokenizer { path: path.to_owned(), reason: reason.into(), help: help.to_owned() })
}

const EXPECTED: &str = "give a tokenizer.json, a vocab.txt (WordPiece), or a vocab.json with merges.txt beside it (BPE), or OpenAI's encoder.json with vocab.bpe";

/// Reads whatever tokenizer lies at `path`; also what to tell of it.
pub(crate) fn read(path: &Path) -> Result<(Value, Vec<String>), DataError> {
    let metadata = fs::metadata(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let file = if metadata.is_dir() {
        let names = ["tokenizer.json", "vocab.txt", "vocab.json", "encoder.json"];
        match names.iter().map(|name| path.join(name)).find(|file| file.is_file()) {
            Some(file) => file,
            None => return refuse(path, "there is no tokenizer in it", EXPECTED),
        }
    } else {
        path.to_owned()
    };
    let bytes = bytes(&file)?;
    let beside = |name: &str| file.parent().unwrap_or(Path::new("")).join(name);
    let config = config(&beside("tokenizer_config.json"))?;
    let extension = file.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    match (extension.as_str(), name.contains("merges")) {
        ("txt", false) => word_piece(&file, &bytes, &config),
        ("json", _) | ("txt", true) => {
            let (vocabulary, merges) = match name.contains("merges") {
                true => (beside("vocab.json"), file.clone()),
                false => (file.clone(), merges_beside(&file)),
            };
            let value = if name.contains("merges") {
                parse(&vocabulary, &self::bytes(&vocabulary)?)?
            } else {
                parse(&file, &bytes)?
            };
            // A vocabulary has no model inside, unless that is a token, and then it is a number.
            match value {
                Value::Object(fields) if !fields.get("model").is_some_and(Value::is_object) => {
                    if !merges.is_file() {
                        return refuse(&file, "it is a vocabulary without a merges.txt beside it", EXPECTED);
                    }
                    byte_pairs(&vocabulary, fields, &merges, &self::bytes(&merges)?, &config)
                }
                value => Ok((value, Vec::new())),
            }
        }
        _ => refuse(&file, "its name is none of a tokenizer", EXPECTED),
    }
}

/// `merges.txt` for `vocab.json`, `x-merges.txt` for `x-vocab.json`; `vocab.bpe` for OpenAI's `encoder.json`.
fn merges_beside(vocabulary: &Path) -> PathBuf {
    if vocabulary.file_name().is_some_and(|name| name == "encoder.json") {
        return vocabulary.with_file_name("vocab.bpe");
    }
    let name = vocabulary.file_stem().unwrap_or_default().to_string_lossy().replace("vocab", "merges");
    vocabulary.with_file_name(format!("{name}.txt"))
}

fn bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(io)?.len();
    if length > MOST_BYTES {
        return refuse(path, format!("{length} bytes are too many for a tokenizer"), EXPECTED);
    }
    fs::read(path).map_err(io)
}

/// JSON, or an error of this file.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Value, DataError> {
    serde_json::from_slice(bytes).or_else(|error| refuse(path, format!("it is no JSON: {error}"), EXPECTED))
}

fn config(path: &Path) -> Result<Map<String, Value>, DataError> {
    if !path.is_file() {
        return Ok(Map::new());
    }
    match parse(path, &bytes(path)?)? {
        Value::Object(fields) => Ok(fields),
        _ => refuse(path, "it is no JSON object", "remove it, or export it again"),
    }
}

fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, DataError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).or_else(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        refuse(path, format!("line {line} is no UTF-8"), "save it as UTF-8")
    })
}

/// A `vocab.txt` with a token a line, the line's number (from 0) being the token's: BERT's tokenizer (Devlin et al. 2018).
fn word_piece(path: &Path, bytes: &[u8], config: &Map<String, Value>) -> Result<(Value, Vec<String>), DataError> {
    let text = text(path, bytes)?;
    let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
    // Line ends of Windows, unless a carriage return is a token.
    let is_windows = lines.iter().all(|line| line.ends_with('\r'));
    let tokens: Vec<&str> =
        lines.into_iter().map(|line| if is_windows { &line[..line.len() - 1] } else { line }).collect();
    let mut vocabulary = Map::new();
    for (id, token) in tokens.iter().enumerate() {
        // Of a token that stands there twice the last number counts, as with the reference.
        vocabulary.insert((*token).to_owned(), json!(id));
    }
    if !vocabulary.contains_key("[UNK]") {
        return refuse(path, "it has no token `[UNK]`, so it is no WordPiece vocabulary", EXPECTED);
    }
    let flag = |name: &str| config.get(name).and_then(Value::as_bool);
    let mut notes = Vec::new();
    let lowercase = flag("do_lower_case").unwrap_or_else(|| {
        let is_cased = tokens.iter().any(|token| !token.starts_with('[') && token.chars().any(char::is_uppercase));
        let found = if is_cased { "cased" } else { "uncased" };
        notes.push(format!("guessed from its tokens: `{}` is {found}", path.display()));
        !is_cased
    });
    let special = |name: &str| vocabulary.get(name).map(|id| (name.to_owned(), id.clone()));
    let added: Vec<Value> =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].into_iter().filter_map(special).map(added).collect();
    let template = match (vocabulary.get("[CLS]"), vocabulary.get("[SEP]")) {
        (Some(start), Some(separator)) => {
            let token = |name: &str, kind: u8| json!({"SpecialToken": {"id": name, "type_id": kind}});
            let sequence = |name: &str, kind: u8| json!({"Sequence": {"id": name, "type_id": kind}});
            let (cls, sep) = ("[CLS]", "[SEP]");
            json!({
                "type": "TemplateProcessing",
                "single": [token(cls, 0), sequence("A", 0), token(sep, 0)],
                "pair": [token(cls, 0), sequence("A", 0), token(sep, 0), sequence("B", 1), token(sep, 1)],
                "special_tokens": {
                    cls: {"id": cls, "ids": [start], "tokens": [cls]},
                    sep: {"id": sep, "ids": [separator], "tokens": [sep]},
                },
            })
        }
        _ => {
            notes.push(format!("`{}` has no `[CLS]` and `[SEP]`: texts are not enclosed", path.display()));
            Value::Null
        }
    };
    let value = json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": flag("tokenize_chinese_chars").unwrap_or(true),
            "strip_accents": flag("strip_accents"),
            "lowercase": lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": template,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    });
    Ok((value, notes))
}

/// A vocabulary that was trained here.
pub(crate) fn word_pieces(tokens: &[String], lowercase: bool) -> Result<(Value, Vec<String>), DataError> {
    let config = Map::from_iter([("do_lower_case".to_owned(), json!(lowercase))]);
    word_piece(Path::new("vocabulary"), tokens.join("\n").as_bytes(), &config)
}

/// A vocabulary of byte pairs that was trained here.
pub(crate) fn trained_byte_pairs(
    vocabulary: Map<String, Value>,
    merges: &str,
) -> Result<(Value, Vec<String>), DataError> {
    let path = Path::new("vocabulary");
    byte_pairs(path, vocabulary, path, merges.as_bytes(), &Map::new())
}

/// A `vocab.json` and a `merges.txt`: GPT-2's tokenizer on bytes (Radford et al. 2019).
fn byte_pairs(
    path: &Path,
    vocabulary: Map<String, Value>,
    merges_path: &Path,
    merges: &[u8],
    config: &Map<String, Value>,
) -> Result<(Value, Vec<String>), DataError> {
    if vocabulary.contains_key("<s>") && vocabulary.contains_key("<mask>") {
        return refuse(path, "it is RoBERTa's vocabulary, whose files do not say all", "give its tokenizer.json");
    }
    let mut pairs = Vec::new();
    for (index, line) in text(merges_path, merges)?.lines().enumerate() {
        if line.is_empty() || (index == 0 && line.starts_with("#version")) {
            continue;
        }
        let known = |token: &str| vocabulary.contains_key(token);
        match line.split_once(' ') {
            Some((first, second)) if known(first) && known(second) && known(&format!("{first}{second}")) => {
                pairs.push(json!([first, second]));
            }
            Some((_, second)) if !second.contains(' ') => {
                let reason = format!("line {} merges what is not in the vocabulary", index + 1);
                return refuse(merges_path, reason, "give the vocab.json and merges.txt of one model");
            }
            _ => return refuse(merges_path, format!("line {} is no pair of tokens", index + 1), EXPECTED),
        }
    }
    let added: Vec<Value> = vocabulary
        .get_key_value("<|endoftext|>")
        .map(|(name, id)| added((name.clone(), id.clone())))
        .into_iter()
        .collect();
    let prefix = config.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(false);
    let level = |prefix: bool, trim: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": true});
    let value = json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": level(prefix, true),
        "post_processor": level(true, false),
        "decoder": level(true, true),
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocabulary,
            "merges": pairs,
        },
    });
    Ok((value, Vec::new()))
}

/// An entry of `added_tokens`.
fn added((content, id): (String, Value)) -> Value {
    json!({
        "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": true,
    })
}

/// Checks the JSON form before it is handed over, and takes out of it what we do ourselves or never want; the notes say so.
pub(crate) fn check(path: &Path, value: &mut Value) -> Result<Vec<String>, DataError> {
    let mut notes = Vec::new();
    let help = "export it again, with the library that it was made with";
    let Value::Object(fields) = value else { return refuse(path, "it is no JSON object", EXPECTED) };
    // Lengths of 0 in these make the crate panic; how long texts may be is the task's matter anyway.
    for name in ["truncation", "padding"] {
        if fields.insert(name.to_owned(), Value::Null).is_some_and(|value| !value.is_null()) {
            notes.push(format!("the {name} that `{}` asks for is not used", path.display()));
        }
    }
    fields.entry("version").or_insert_with(|| json!("1.0"));
    fields.entry("added_tokens").or_insert_with(|| json!([]));
    let too_high = |id: &Value| id.as_u64().is_none_or(|id| id >= MOST_TOKENS);
    if let Some(added) = fields.get("added_tokens") {
        let Some(added) = added.as_array() else { return refuse(path, "`added_tokens` is no list", help) };
        for token in added {
            let content = token.get("content").and_then(Value::as_str).unwrap_or_default();
            if content.is_empty() {
                return refuse(path, "an added token is empty", help);
            }
            if token.get("id").is_none_or(too_high) {
                return refuse(path, format!("added token `{content}` has no number that can be"), help);
            }
        }
    }
    let Some(Value::Object(model)) = fields.get_mut("model") else {
        return refuse(path, "it has no `model`", EXPECTED);
    };
    if model.get("dropout").is_some_and(|dropout| !dropout.is_null()) {
        model.insert("dropout".to_owned(), Value::Null);
        notes.push(format!(
            "the dropout that `{}` asks for is not used: a text always gives the same tokens",
            path.display()
        ));
    }
    match model.get("vocab") {
        Some(Value::Object(vocabulary)) => {
            let mut ids = BTreeSet::new();
            for (token, id) in vocabulary {
                if too_high(id) {
                    return refuse(path, format!("token `{token}` has the number {id}, which cannot be"), help);
                }
                if !ids.insert(id.as_u64()) {
                    return refuse(path, format!("the number {id} is of two tokens, `{token}` among them"), help);
                }
            }
            if ids.is_empty() {
                return refuse(path, "its vocabulary is empty", help);
            }
        }
        Some(Value::Array(pieces)) if !pieces.is_empty() => {}
        _ => return refuse(path, "its model has no vocabulary", help),
    }
    Ok(notes)
}
