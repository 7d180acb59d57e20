//! Whole commands that make a source model of plain text and learn from it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests may panic, and say what they skip")]

mod desk;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use desk::{Desk, of};

const PEOPLE: [&str; 6] = ["anna", "bert", "carl", "dora", "emil", "frieda"];
const VERBS: [&str; 5] = ["reads", "writes", "paints", "sings", "bakes"];
const THINGS: [[&str; 3]; 5] = [
    ["a book", "the paper", "a letter"],
    ["a story", "the poem", "a novel"],
    ["a house", "the wall", "a portrait"],
    ["a song", "the ballad", "a hymn"],
    ["a cake", "the bread", "a pie"],
];
const TIMES: [&str; 4] = ["today", "every morning", "in the garden", "with a friend"];

/// `count` sentences of a small language in which the verb tells the thing.
fn sentences(count: usize) -> Vec<String> {
    let sentence = |number: usize| {
        let verb = number % 5;
        let (person, thing) = (PEOPLE[number / 5 % 6], THINGS[verb][number / 30 % 3]);
        format!("{person} {} {thing} {}, number {number}.", VERBS[verb], TIMES[number / 90 % 4])
    };
    (0..count).map(sentence).collect()
}

/// A desk with `corpus.txt`, and `reviews.csv` in which the verb decides the class.
fn desk() -> Desk {
    let desk = Desk::empty();
    std::fs::write(desk.path("corpus.txt"), sentences(400).join("\n")).unwrap();
    let mut table = "text,label\n".to_owned();
    for (number, sentence) in sentences(120).iter().enumerate() {
        writeln!(table, "\"{sentence}\",{}", if number % 5 < 2 { "words" } else { "works" }).unwrap();
    }
    std::fs::write(desk.path("reviews.csv"), table).unwrap();
    desk
}

/// A small network with which a command takes seconds.
fn small<'a>(task: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let shape = ["--width", "16", "--layers", "2", "--heads", "2", "--max-tokens", "16", "--batch", "128"];
    let rates = ["--lr", "0.01", "--output", out];
    [&["pretrain", "--task", task, "corpus.txt"][..], &shape, &rates, more].concat()
}

const FILES: [&str; 5] =
    ["config.json", "model.safetensors", "pretraining.json", "tokenizer.json", "tokenizer_config.json"];

fn assert_same(desk: &Desk, one: &str, other: &str) {
    for name in FILES {
        let bytes = |folder: &str| desk.bytes(&format!("{folder}/{name}"));
        assert_eq!(bytes(one), bytes(other), "{name} of {one} and {other}");
    }
}

#[test]
fn both_tasks_learn_the_language_and_what_they_learned_is_of_use() {
    let desk = desk();
    for (task, out, vocabulary, head) in
        [("masked-lm", "bert", "120", "linear"), ("causal-lm", "gpt2", "320", "last+linear")]
    {
        let events = desk.events(&small(task, out, &["--vocabulary", vocabulary, "--epochs", "20", "--json"]));
        let corpus = of(&events, "corpus")[0];
        assert_eq!((corpus["texts"].as_u64(), corpus["held_out"].as_u64()), (Some(380), Some(20)));
        let epochs = of(&events, "pretrain_epoch");
        assert_eq!(epochs.len(), 20);
        assert!(epochs.iter().all(|epoch| epoch["held_out_perplexity"].as_f64().unwrap() > 1.0));
        let report = of(&events, "pretrained")[0];
        let (before, after) = (report["before"].as_f64().unwrap(), report["after"].as_f64().unwrap());
        assert!((before - vocabulary.parse::<f64>().unwrap().ln()).abs() < 0.3, "{task} begins at {before}");
        assert!(after < 0.6 * before, "{task}: {before} → {after}");

        let train = |weights: &str, out: &str| {
            let tuned = ["--epochs", "10", "--fine-tune", "15", "--lr", "0.01", "--json"];
            let arguments = ["train", "reviews.csv", "--weights", weights, "--head", head, "--out", out];
            let events = desk.events(&[&arguments[..], &tuned].concat());
            of(&events, "report")[0]["metrics"]["accuracy"].as_f64().unwrap()
        };
        let learned = train(out, "learned.headstart");
        assert!(learned > 0.8, "{task}: {learned}");
        let line = desk.succeed(&["predict", "learned.headstart", "anna writes the poem today", "--json"]);
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["label"], "words");
    }
}

/// Enough that a stop asked for after the first falls before the last, on any machine.
const EPOCHS: usize = 24;

#[test]
fn the_same_bytes_with_one_thread_and_two_and_after_a_stop() {
    let desk = desk();
    for task in ["masked-lm", "causal-lm"] {
        let epochs = EPOCHS.to_string();
        let more = |more: &[&'static str]| [&["--epochs", &epochs, "--dropout", "0.2"], more].concat();
        desk.succeed(&small(task, "whole", &more(&["--threads", "1"])));
        desk.succeed(&small(task, "two", &more(&["--threads", "2"])));
        assert_same(&desk, "whole", "two");
        // Each attempt is stopped when it tells of its first round, and the next goes on from there.
        let mut stops = 0;
        for attempt in 0..EPOCHS {
            let mut arguments = small(task, "stopped", &more(&["--threads", "2", "--json"]));
            if attempt > 0 {
                arguments.push("--resume");
            }
            let mut child = desk.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let mut asked = false;
            for line in BufReader::new(child.stdout.take().unwrap()).lines() {
                if line.unwrap().contains("\"pretrain_epoch\"") && !asked {
                    asked = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success();
                }
            }
            let status = child.wait().unwrap();
            if status.success() {
                break;
            }
            assert_eq!(status.code(), Some(130), "{task}, attempt {attempt}");
            assert!(desk.path("stopped.run/state.safetensors").exists());
            stops += 1;
        }
        assert!(stops > 0, "{task} was never stopped with a state");
        assert_same(&desk, "whole", "stopped");
        assert!(!desk.path("stopped.run").exists());
        for folder in ["whole", "two", "stopped"] {
            std::fs::remove_dir_all(desk.path(folder)).unwrap();
        }
    }
}

#[test]
fn a_network_goes_on_with_its_own_tokenizer() {
    let desk = desk();
    desk.succeed(&small("masked-lm", "first", &["--epochs", "10"]));
    std::fs::write(desk.path("domain.txt"), sentences(700)[400..].join("\n")).unwrap();
    let go_on =
        ["pretrain", "--task", "masked-lm", "domain.txt", "--weights", "first", "--epochs", "6", "--lr", "0.003"];
    let events = desk.events(&[&go_on[..], &["--output", "second", "--json"]].concat());
    assert_eq!(desk.bytes("first/tokenizer.json"), desk.bytes("second/tokenizer.json"));
    let report = of(&events, "pretrained")[0];
    let (before, after) = (report["before"].as_f64().unwrap(), report["after"].as_f64().unwrap());
    // Its output was published with it, so it does not begin at chance.
    assert!(before < 3.0 && after < before, "{before} → {after}");
    let origin: Value = serde_json::from_slice(&desk.bytes("second/pretraining.json")).unwrap();
    assert!(origin["weights_digest"].is_string());
    assert!(!String::from_utf8(desk.bytes("second/pretraining.json")).unwrap().contains("domain.txt"));

    let refused = |arguments: &[&str], part: &str| {
        let message = desk.fail(arguments);
        let flat = message.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert!(flat.contains(part), "{arguments:?}: {flat}");
    };
    refused(&["pretrain", "--task", "causal-lm", "domain.txt", "--weights", "first"], "causal-lm trains a gpt2");
    refused(&[&go_on[..], &["--output", "first"]].concat(), "would be replaced");
    refused(&[&go_on[..], &["--max-tokens", "17"]].concat(), "the 16 positions");
    // Half precision is half the file, and is read again.
    desk.succeed(&[&go_on[..], &["--output", "half", "--f16"]].concat());
    let size = |name: &str| std::fs::metadata(desk.path(name).join("model.safetensors")).unwrap().len();
    assert!(size("half") < size("second") * 6 / 10);
    desk.succeed(&["train", "reviews.csv", "--weights", "half", "--epochs", "1"]);
    assert!(desk.succeed(&["inspect", "half/model.safetensors"]).contains("fits backbone bert"));
}

#[test]
fn tables_give_their_texts_and_broken_lines_are_counted() {
    let desk = desk();
    let mut bytes = sentences(60).join("\n").into_bytes();
    bytes.extend(b"\nbroken \xff line\n".repeat(3));
    // With whole characters beyond ASCII it is UTF-8 that is damaged, and not another encoding.
    bytes.extend("é ü ö ß\n".repeat(2).into_bytes());
    std::fs::write(desk.path("corpus.txt"), bytes).unwrap();
    let events = desk.events(&small("masked-lm", "bert", &["reviews.csv", "--epochs", "1", "--json"]));
    assert_eq!(of(&events, "skipped").len(), 3);
    let corpus = of(&events, "corpus")[0];
    assert_eq!(corpus["skipped"], 3);
    assert_eq!(corpus["texts"].as_u64().unwrap() + corpus["held_out"].as_u64().unwrap(), 60 + 2 + 120);
    let named = ["pretrain", "--task", "masked-lm", "reviews.csv", "--text-column", "text", "--steps", "3"];
    let events = desk.events(&[&named[..], &["--width", "8", "--layers", "1", "--heads", "1", "--json"]].concat());
    assert_eq!(of(&events, "pretrained")[0]["steps"], 3);
    assert!(desk.path("reviews-bert/model.safetensors").is_file());
}

#[test]
fn what_cannot_be_learned_from_is_refused_and_harms_nothing() {
    let desk = desk();
    let refused = |arguments: &[&str], part: &str| {
        let message = desk.fail(arguments);
        let flat = message.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert!(flat.contains(part), "{arguments:?}: {flat}");
    };
    let on = |corpus: &'static str, more: &[&'static str]| {
        [&["pretrain", "--task", "masked-lm", corpus, "--output", "out"], more].concat()
    };
    std::fs::write(desk.path("empty.txt"), "\n \n").unwrap();
    refused(&on("empty.txt", &[]), "there is no text in it");
    std::fs::write(desk.path("few.txt"), sentences(5).join("\n")).unwrap();
    refused(&on("few.txt", &[]), "5 texts are too few");
    std::fs::write(desk.path("one.txt"), "again and again\n".repeat(50)).unwrap();
    refused(&on("one.txt", &[]), "copies of one");
    refused(&on("none.txt", &[]), "none.txt");
    refused(&on("corpus.txt", &["--vocabulary", "5000"]), "tokens, 5000 were asked for");
    refused(&on("corpus.txt", &["--vocabulary", "10"]), "10 tokens have no room");
    refused(&on("corpus.txt", &["--heads", "3"]), "multiple of 3 heads");
    refused(&on("corpus.txt", &["--batch", "8"]), "does not hold one sequence");
    refused(&on("corpus.txt", &["--lr", "1e9", "--epochs", "3"]), "diverged");
    assert!(!desk.path("out").exists());
    std::fs::create_dir(desk.path("out")).unwrap();
    std::fs::write(desk.path("out/thesis.txt"), "years of work").unwrap();
    refused(&on("corpus.txt", &[]), "holds files that no pretraining wrote");
    assert_eq!(desk.bytes("out/thesis.txt"), b"years of work");
    let other = small("masked-lm", "made", &["--steps", "2"]);
    desk.succeed(&other);
    desk.succeed(&other);
}

#[test]
fn hugging_face_transformers_reads_what_was_made() {
    let Some(python) = std::env::var_os("HEADSTART_PEERS_PYTHON") else {
        println!("skipped: HEADSTART_PEERS_PYTHON is not set");
        return;
    };
    let can = Command::new(&python).args(["-c", "import torch, transformers"]).output().unwrap();
    if !can.status.success() {
        println!("skipped: transformers is not installed");
        return;
    }
    let desk = desk();
    desk.succeed(&small("masked-lm", "bert", &["--epochs", "6", "--held-out", "0.2"]));
    desk.succeed(&small("causal-lm", "gpt2", &["--epochs", "6", "--held-out", "0.2"]));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/consumers/read_language_models.py");
    let output = Command::new(&python).arg(script).arg("bert").arg("gpt2").current_dir(desk.folder.path()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    // It predicts the next token of every sentence about as well as our own score of what is held out says.
    let ours: Value = serde_json::from_slice(&desk.bytes("gpt2/pretraining.json")).unwrap();
    let ours = ours["history"].as_array().unwrap().last().unwrap()["held_out_loss"].as_f64().unwrap();
    let theirs = found["next_token_loss"].as_f64().unwrap();
    assert!((theirs - ours).abs() < 0.3, "{theirs} {ours}");
    assert!(found["hidden_word_loss"].as_f64().unwrap() < 4.0, "{found}");
}
