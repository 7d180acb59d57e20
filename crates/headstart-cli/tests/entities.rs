//! Whole commands on texts with named stretches, with a tiny BERT.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod desk;

use std::fmt::Write as _;

use serde_json::{Value, json};

use desk::{BAD, Desk, FILLING, GOOD, of};

/// Words with their tags: praise is a person, blame a place, and two places in a row are one.
fn tagged(sentences: usize) -> String {
    let mut text = String::new();
    for number in 0..sentences {
        let (praise, blame) = (GOOD[number % 5], BAD[number / 5 % 5]);
        let filling = |place: usize| FILLING[(number / 3 + place * 5) % 12];
        let words: Vec<(&str, &str)> = match number % 3 {
            0 => vec![(filling(0), "O"), (praise, "B-PER"), (filling(1), "O"), (filling(2), "O")],
            1 => vec![(blame, "B-LOC"), (BAD[number / 25 % 5], "I-LOC"), (filling(0), "O"), (praise, "B-PER")],
            _ => vec![(filling(0), "O"), (filling(1), "O"), (".", "O")],
        };
        for (word, tag) in words {
            writeln!(text, "{word}\t{tag}").unwrap();
        }
        text.push('\n');
    }
    text
}

const TRAIN: [&str; 14] = [
    "--weights",
    "bert",
    "--head",
    "linear",
    "--epochs",
    "1",
    "--fine-tune",
    "40",
    "--lr",
    "0.01",
    "--batch",
    "8",
    "--json",
    "--out",
];

#[test]
fn entities_are_learned_from_tagged_words_and_found_in_running_text() {
    let desk = Desk::with_transformer("bert");
    std::fs::write(desk.path("names.conll"), tagged(300)).unwrap();
    let train = |out: &str, threads: &str| {
        desk.events(&[&["train", "names.conll"][..], &TRAIN, &[out, "--threads", threads]].concat())
    };
    let events = train("names.headstart", "1");
    let report = of(&events, "report")[0];
    assert_eq!(report["task"], "token_classification");
    assert_eq!(report["labels"], json!(["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]));
    assert_eq!(of(&events, "data")[0]["classes"], json!(["LOC", "PER"]));
    let f1 = report["metrics"]["entities"]["micro"]["f1"].as_f64().unwrap();
    assert!(f1 > 0.95, "{}", report["metrics"]);
    let best = of(&events, "epoch").iter().map(|epoch| epoch["validation_f1"].as_f64().unwrap()).fold(0.0, f64::max);
    assert!((f1 - best).abs() < 1e-9, "the best epoch is kept: {f1} {best}");
    train("two.headstart", "2");
    assert_eq!(desk.bytes("names.headstart"), desk.bytes("two.headstart"));

    let line = desk.succeed(&["predict", "names.headstart", "The  great it song", "--json"]);
    let found: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(found["text"], "The  great it song");
    let entity = &found["entities"][0];
    assert_eq!(
        (&entity["label"], &entity["start"], &entity["end"], &entity["text"]),
        (&json!("PER"), &json!(5), &json!(10), &json!("great"))
    );
    assert!(entity["probability"].as_f64().unwrap() > 0.5);
    let line = desk.succeed(&["predict", "names.headstart", "sad dull film great"]);
    assert_eq!(line.trim(), "[sad dull LOC] film [great PER]");

    let evaluation = desk.succeed(&["evaluate", "names.headstart", "names.conll", "--json"]);
    let evaluation: Value = serde_json::from_str(&evaluation).unwrap();
    assert!(evaluation["evaluation"]["metrics"]["strict"]["micro"]["f1"].as_f64().unwrap() > 0.9);
    let shown = desk.succeed(&["evaluate", "names.headstart", "names.conll"]);
    assert!(shown.contains("entity F1") && shown.contains("LOC"), "{shown}");
    assert!(desk.succeed(&["inspect", "names.headstart"]).contains("entity F1"));
}

#[test]
fn spans_of_running_text_are_learned_by_the_words_that_they_cover() {
    let desk = Desk::with_transformer("bert");
    let mut lines = String::new();
    for number in 0..240 {
        let (praise, blame) = (GOOD[number % 5], BAD[number / 5 % 5]);
        let filling = FILLING[number % 12];
        // The mark ends within what white space alone would call a word.
        let (text, marked, label) = match number % 2 {
            0 => (format!("é {filling} {praise}, {filling}!"), praise, "PER"),
            _ => (format!("{filling} ({blame}) {filling}."), blame, "LOC"),
        };
        let start = text[..text.find(marked).unwrap()].chars().count();
        let span = json!({"start": start, "end": start + marked.len(), "label": label});
        writeln!(lines, "{}", json!({"text": text, "spans": [span]})).unwrap();
    }
    lines.push_str("{\"text\": \"a film\", \"spans\": [{\"start\": 3, \"end\": 90, \"label\": \"PER\"}]}\n");
    std::fs::write(desk.path("names.jsonl"), lines).unwrap();
    let events = desk.events(&[&["train", "names.jsonl"][..], &TRAIN, &["names.headstart"]].concat());
    assert!(of(&events, "skipped")[0]["path"].as_str().unwrap().ends_with("names.jsonl:241"));
    let metrics = &of(&events, "report")[0]["metrics"];
    assert!(metrics["entities"]["micro"]["f1"].as_f64().unwrap() > 0.95, "{metrics}");
    let line = desk.succeed(&["predict", "names.headstart", "was (awful) was.", "é plot  lovely, plot!"]);
    assert_eq!(line.trim(), "was ([awful LOC]) was.\né plot  [lovely PER], plot!");
    let line = desk.succeed(&["predict", "names.headstart", "é plot  lovely, plot!", "--json"]);
    let entity = &serde_json::from_str::<Value>(&line).unwrap()["entities"][0];
    assert_eq!((&entity["start"], &entity["end"]), (&json!(8), &json!(14)), "characters, not bytes");
}

#[test]
fn the_frozen_states_of_every_token_are_cached_and_heads_that_do_not_fit_are_refused() {
    let desk = Desk::with_transformer("bert");
    std::fs::write(desk.path("names.conll"), tagged(90)).unwrap();
    let frozen = ["train", "names.conll", "--weights", "bert", "--epochs", "3"];
    let events = desk.events(&[&frozen[..], &["--json"]].concat());
    assert_eq!(of(&events, "phase")[0]["cached"], 0);
    let again = desk.events(&[&frozen[..], &["--json", "--out", "again.headstart"]].concat());
    assert_eq!(of(&again, "phase")[0]["cached"], of(&events, "data")[0]["train"]);
    assert_eq!(desk.bytes("names.conll.headstart"), desk.bytes("again.headstart"));

    let refused = |arguments: &[&str], part: &str| {
        let message = desk.fail(arguments);
        let flat = message.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert!(flat.contains(part), "{arguments:?}: {flat}");
    };
    refused(&[&frozen[..], &["--head", "first+linear"]].concat(), "reads every token");
    refused(&[&frozen[..], &["--output", "sigmoid"]].concat(), "one tag of many");
    refused(&[&frozen[..], &["--task", "text_classification"]].concat(), "named stretches of text");
    std::fs::write(desk.path("reviews.csv"), "text,label\na film,x\na song,y\n").unwrap();
    refused(&["evaluate", "names.conll.headstart", "reviews.csv"], "class of the bundle");
    refused(&["export", "names.conll.headstart", "--format", "onnx"], "not exported yet");
}
