//! Adapters (LoRA) through whole commands: what learns, what a bundle holds, what it needs.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod desk;

use std::fmt::Write as _;

use serde_json::Value;

use desk::{BAD, Desk, FILLING, GOOD, of};

fn table() -> String {
    let mut text = "text,label\n".to_owned();
    for number in 0..300 {
        let is_good = number % 2 == 1;
        let praise = if is_good { GOOD } else { BAD }[number / 2 % 5];
        let (a, b) = (FILLING[number / 10 % 12], FILLING[number / 120 % 12]);
        writeln!(text, "{a} {praise} {b} {number},{}", if is_good { "praise" } else { "blame" }).unwrap();
    }
    text
}

fn desk() -> Desk {
    let desk = Desk::with_transformer("bert");
    std::fs::write(desk.path("reviews.csv"), table()).unwrap();
    desk
}

const TRAIN: [&str; 13] = [
    "train",
    "reviews.csv",
    "--weights",
    "bert",
    "--head",
    "linear",
    "--epochs",
    "1",
    "--fine-tune",
    "8",
    "--lr",
    "0.02",
    "--json",
];

#[test]
fn adapters_learn_alone_and_every_way_to_store_them_predicts_the_same() {
    let desk = desk();
    let train = |out: &str, more: &[&str]| desk.events(&[&TRAIN[..], &["--lora", "4:8", "--out", out], more].concat());
    let events = train("apart.headstart", &["--threads", "1"]);
    // Queries and values of two layers, down and up, and the linear head.
    let bert: Value = serde_json::from_slice(&desk.bytes("bert/config.json")).unwrap();
    let (width, layers) = (bert["hidden_size"].as_u64().unwrap(), bert["num_hidden_layers"].as_u64().unwrap());
    assert_eq!(of(&events, "phase")[1]["learning"], layers * 2 * 2 * 4 * width + 2 * width + 2);
    let epochs = of(&events, "epoch");
    let loss = |epoch: usize| epochs[epoch]["loss"].as_f64().unwrap();
    assert!(loss(8) < 0.8 * loss(0), "{} {}", loss(0), loss(8));
    train("two.headstart", &["--threads", "2"]);
    assert_eq!(desk.bytes("apart.headstart"), desk.bytes("two.headstart"));

    train("merged.headstart", &["--lora-store", "merged"]);
    train("alone.headstart", &["--lora-store", "alone"]);
    let said = |bundle: &str, more: &[&str]| {
        desk.succeed(&[&["predict", bundle, "a lovely film", "the plot is sad", "--json"][..], more].concat())
    };
    let expected = said("apart.headstart", &[]);
    assert_eq!(said("merged.headstart", &[]), expected);
    assert_eq!(said("alone.headstart", &[]), expected);
    let size = |bundle: &str| desk.bytes(bundle).len();
    assert!(size("apart.headstart") > size("merged.headstart") && size("merged.headstart") > size("alone.headstart"));

    // Adapters alone need the weights that they were made on, wherever those are now, and take no others.
    std::fs::rename(desk.path("bert"), desk.path("elsewhere")).unwrap();
    assert_eq!(said("apart.headstart", &[]), expected);
    assert_eq!(said("alone.headstart", &["--weights", "elsewhere"]), expected);
    let message = desk.fail(&["predict", "alone.headstart", "a lovely film"]);
    assert!(message.contains("--weights"), "{message}");
    let message = desk.fail(&["predict", "alone.headstart", "a lovely film", "--weights", "apart.headstart"]);
    assert!(message.contains("other weights"), "{message}");
    // A bundle with adapters is the start of another run like any other.
    desk.succeed(&[
        "train",
        "reviews.csv",
        "--weights",
        "apart.headstart",
        "--epochs",
        "1",
        "--out",
        "again.headstart",
    ]);
}

#[test]
fn a_printed_recipe_with_adapters_gives_the_same_bytes() {
    let desk = desk();
    let train = ["--lora", "2", "--keep-last"];
    desk.succeed(&[&TRAIN[..], &train, &["--out", "whole.headstart"]].concat());
    let recipe = desk.succeed(&[&TRAIN[..12], &train, &["--print-recipe"]].concat());
    assert!(recipe.contains("[lora]") && recipe.contains("rank = 2"), "{recipe}");
    std::fs::write(desk.path("recipe.toml"), recipe).unwrap();
    desk.succeed(&["train", "--recipe", "recipe.toml", "--out", "again.headstart"]);
    assert_eq!(desk.bytes("whole.headstart"), desk.bytes("again.headstart"));
}

#[test]
fn adapters_that_cannot_be_are_refused() {
    let desk = desk();
    for (arguments, part) in [
        (&["--lora", "0"][..], "rank of 1"),
        (&["--lora", "four"], "--lora 8"),
        (&["--lora", "8:-1"], "alpha"),
        (&["--micro-batch", "0"], "micro_batch"),
    ] {
        let message = desk.fail(&[&TRAIN[..], arguments].concat());
        assert!(message.contains(part), "{arguments:?}: {message}");
    }
    let desk = Desk::with_leaves(4);
    let message = desk.fail(&["train", "leaves", "--fine-tune", "1", "--epochs", "1", "--lora", "8"]);
    assert!(message.contains("attention of a transformer"), "{message}");
}
