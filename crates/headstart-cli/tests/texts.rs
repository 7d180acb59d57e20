//! Whole commands on texts, with a tiny BERT that Hugging Face transformers wrote.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod desk;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use desk::{BAD, Desk, FILLING, GOOD, of};

/// Sentence `number`, no two alike, and whether it praises.
fn sentence(number: usize) -> (String, bool) {
    let is_good = number % 2 == 1;
    let praise = if is_good { GOOD } else { BAD }[number / 2 % 5];
    let word = |place: usize| FILLING[number / 10 / 12usize.pow(place as u32) % 12];
    (format!("{} {} {praise}, {} {}!", word(0), word(1), word(2), word(3)), is_good)
}

fn table(rows: usize) -> String {
    let mut text = "text,label\n".to_owned();
    for number in 0..rows {
        let (sentence, is_good) = sentence(number);
        writeln!(text, "\"{sentence}\",{}", if is_good { "praise" } else { "blame" }).unwrap();
    }
    text
}

#[test]
fn a_table_with_broken_rows_is_learned_from_and_every_broken_line_is_named() {
    let desk = Desk::with_transformer("bert");
    let mut lines: Vec<String> = table(10_000).lines().map(str::to_owned).collect();
    let mut broken = BTreeSet::new();
    for (kind, line) in (50..lines.len()).step_by(100).enumerate() {
        lines[line] = match kind % 4 {
            0 => "\"three, columns\",praise,more".to_owned(),
            1 => "only one column".to_owned(),
            2 => ",praise".to_owned(),
            _ => "\"a film was fine\",".to_owned(),
        };
        broken.insert(line + 1);
    }
    assert_eq!(broken.len(), 100);
    std::fs::write(desk.path("reviews.csv"), lines.join("\n")).unwrap();
    let events = desk.events(&[
        "train",
        "reviews.csv",
        "--weights",
        "bert",
        "--epochs",
        "1",
        "--fine-tune",
        "2",
        "--lr",
        "0.002",
        "--json",
    ]);
    let found: BTreeSet<usize> = of(&events, "skipped")
        .iter()
        .map(|event| {
            let (file, line) = event["path"].as_str().unwrap().rsplit_once(':').unwrap();
            assert!(file.ends_with("reviews.csv"));
            line.parse().unwrap()
        })
        .collect();
    assert_eq!(found, broken);
    let data = of(&events, "data")[0];
    assert_eq!(data["skipped"], 100);
    let report = &of(&events, "report")[0];
    assert_eq!(report["task"], "text_classification");
    assert!(report["metrics"]["accuracy"].as_f64().unwrap() > 0.95, "{}", report["metrics"]["accuracy"]);

    let line = desk.succeed(&["predict", "reviews.csv.headstart", "the film lovely, a plot!"]);
    assert!(line.starts_with("praise") && line.contains("the film lovely, a plot!"), "{line}");
    let mut child = desk
        .command(&["predict", "reviews.csv.headstart", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all("the film awful, a plot!\n\nun été 🙂\n".as_bytes()).unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let found: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["label"], "blame");
    assert_eq!(found[1]["text"], "un été 🙂");
    let evaluation = desk.succeed(&["evaluate", "reviews.csv.headstart", "reviews.csv", "--json"]);
    let evaluation: Value = serde_json::from_str(&evaluation).unwrap();
    assert_eq!(evaluation["evaluation"]["examples"], 9900);
    assert_eq!(evaluation["evaluation"]["skipped"].as_array().unwrap().len(), 100);
}

#[test]
fn any_cut_gives_the_same_bytes_with_any_number_of_threads_and_learns() {
    let desk = Desk::with_transformer("bert");
    std::fs::write(desk.path("reviews.csv"), table(300)).unwrap();
    for freeze in ["none", "embeddings", "layer1"] {
        let train = |out: &str, threads: &str| {
            desk.events(&[
                "train",
                "reviews.csv",
                "--weights",
                "bert",
                "--epochs",
                "2",
                "--fine-tune",
                "4",
                "--freeze",
                freeze,
                "--lr",
                "0.003",
                "--head",
                "first+linear",
                "--out",
                out,
                "--threads",
                threads,
                "--json",
            ])
        };
        let events = train("one.headstart", "1");
        train("two.headstart", "2");
        assert_eq!(
            std::fs::read(desk.path("one.headstart")).unwrap(),
            std::fs::read(desk.path("two.headstart")).unwrap()
        );
        let epochs = of(&events, "epoch");
        assert_eq!(epochs.len(), 6);
        let losses: Vec<f64> = epochs.iter().map(|epoch| epoch["loss"].as_f64().unwrap()).collect();
        assert!(losses[5] < 0.8 * losses[0], "{freeze}: {losses:?}");
        assert_eq!(of(&events, "phase")[1]["freeze"], freeze);
    }
    // A bundle is the start of another run, and an untrained network its control.
    let again = ["train", "reviews.csv", "--weights", "one.headstart", "--epochs", "1", "--out", "again.headstart"];
    desk.succeed(&again);
    let control = ["train", "reviews.csv", "--weights", "random:bert", "--epochs", "1", "--out", "random.headstart"];
    assert!(desk.succeed(&[&control[..], &["--json"]].concat()).contains("\"source\":\"random\""));
}

#[test]
fn texts_that_are_cut_and_files_of_the_other_kind_are_told() {
    let desk = Desk::with_transformer("bert");
    std::fs::write(desk.path("reviews.csv"), table(60)).unwrap();
    let train = ["train", "reviews.csv", "--weights", "bert", "--epochs", "1"];
    let output = desk.run(&[&train[..], &["--max-tokens", "5"]].concat());
    assert!(output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("60 of 60 texts are longer than 5 tokens"), "{told}");

    let refused = |arguments: &[&str], part: &str| {
        let message = desk.fail(arguments);
        let flat = message.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert!(flat.contains(part), "{arguments:?}: {flat}");
    };
    refused(&[&train[..], &["--max-tokens", "17"]].concat(), "16 positions");
    refused(&[&train[..], &["--freeze", "auto"]].concat(), "for pictures only");
    refused(&[&train[..], &["--views", "4"]].concat(), "views are of pictures");
    refused(&[&train[..], &["--head", "flatten+linear"]].concat(), "the first or the last token");
    refused(&[&train[..], &["--freeze", "layer9"]].concat(), "no stage called `layer9`");
    refused(&["export", "reviews.csv.headstart", "--format", "onnx"], "not exported yet");
    std::fs::write(desk.path("one.csv"), "text,label\na film,x\na song,x\nthe plot,x\n").unwrap();
    refused(&["train", "one.csv", "--weights", "bert"], "class");
    std::fs::remove_file(desk.path("bert/vocab.txt")).unwrap();
    refused(&train, "no tokenizer");
}

#[test]
fn a_gpt2_learns_from_its_last_token() {
    let desk = Desk::with_transformer("gpt2");
    std::fs::write(desk.path("reviews.csv"), table(300)).unwrap();
    let events = desk.events(&[
        "train",
        "reviews.csv",
        "--weights",
        "gpt2",
        "--head",
        "last+linear",
        "--epochs",
        "2",
        "--fine-tune",
        "12",
        "--lr",
        "0.01",
        "--json",
    ]);
    let report = of(&events, "report")[0];
    assert_eq!(report["backbone"].as_str().unwrap().split(':').next(), Some("gpt2"));
    assert!(report["metrics"]["accuracy"].as_f64().unwrap() > 0.8, "{}", report["metrics"]["accuracy"]);
    let line = desk.succeed(&["predict", "reviews.csv.headstart", "the film awful, a plot!", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["label"], "blame");
}

#[test]
fn any_number_of_labels_a_text_is_learned_and_said() {
    let desk = Desk::with_transformer("bert");
    let mut table = "text\tlabels\n".to_owned();
    for number in 0..400 {
        let (praise, blame) = (GOOD[number / 4 % 5], BAD[number / 20 % 5]);
        let (a, b) = (FILLING[number % 12], FILLING[number / 12 % 12]);
        let (words, labels) = match number % 4 {
            0 => (format!("{a} {b}"), ""),
            1 => (format!("{a} {praise} {b}"), "praise"),
            2 => (format!("{blame} {a} {b}"), "blame"),
            _ => (format!("{praise} {a} {b} {blame}"), "blame|praise"),
        };
        writeln!(table, "{words} {number}\t{labels}").unwrap();
    }
    std::fs::write(desk.path("reviews.tsv"), table).unwrap();
    let train = [
        "train",
        "reviews.tsv",
        "--weights",
        "bert",
        "--epochs",
        "1",
        "--fine-tune",
        "40",
        "--lr",
        "0.01",
        "--batch",
        "8",
    ];
    let events = desk.events(&[&train[..], &["--head", "linear", "--json"]].concat());
    let report = of(&events, "report")[0];
    assert_eq!(report["labels"], serde_json::json!(["blame", "praise"]));
    let metrics = &report["metrics"];
    assert!(metrics["micro_average"]["f1"].as_f64().unwrap() > 0.9, "{metrics}");
    assert!(metrics["exact_match"].as_f64().unwrap() > 0.8, "{metrics}");
    assert!(of(&events, "epoch").iter().all(|epoch| epoch["validation_f1"].is_f64()));

    let said = |text: &str| {
        let line = desk.succeed(&["predict", "reviews.tsv.headstart", text, "--json"]);
        let labels = serde_json::from_str::<Value>(&line).unwrap()["labels"].clone();
        let mut names: Vec<String> =
            labels.as_array().unwrap().iter().map(|label| label["label"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(said("fine the film awful 7"), ["blame", "praise"]);
    assert_eq!(said("the film 7"), [""; 0]);
    assert!(desk.succeed(&["predict", "reviews.tsv.headstart", "the film 7"]).starts_with("no label  the film"));
    let evaluation = desk.succeed(&["evaluate", "reviews.tsv.headstart", "reviews.tsv", "--json"]);
    let evaluation: Value = serde_json::from_str(&evaluation).unwrap();
    assert!(evaluation["evaluation"]["metrics"]["micro_average"]["f1"].as_f64().unwrap() > 0.9);
    assert!(desk.succeed(&["evaluate", "reviews.tsv.headstart", "reviews.tsv"]).contains("over all labels"));
    let message = desk.fail(&[&train[..], &["--output", "sigmoid"]].concat());
    assert!(message.contains("several labels"), "{message}");
}

#[test]
fn a_batch_in_parts_learns_what_the_whole_batch_does() {
    let desk = Desk::with_transformer("bert");
    std::fs::write(desk.path("reviews.csv"), table(120)).unwrap();
    // Without dropout both do the same but for rounding.
    let config = std::fs::read_to_string(desk.path("bert/config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    for name in ["hidden_dropout_prob", "attention_probs_dropout_prob"] {
        config[name] = 0.0.into();
    }
    std::fs::write(desk.path("bert/config.json"), config.to_string()).unwrap();
    let train = ["train", "reviews.csv", "--weights", "bert", "--epochs", "1", "--fine-tune", "2", "--head", "linear"];
    let losses = |more: &[&str]| -> Vec<f64> {
        let events = desk.events(&[&train[..], more, &["--gradual", "1", "--json"]].concat());
        assert_eq!(
            of(&events, "phase").iter().map(|phase| phase["freeze"].as_str().unwrap()).collect::<Vec<_>>(),
            ["all", "layer1", "none"]
        );
        of(&events, "epoch").iter().map(|epoch| epoch["validation_loss"].as_f64().unwrap()).collect()
    };
    let (whole, parts) = (losses(&[]), losses(&["--micro-batch", "7"]));
    assert_eq!(whole.len(), 4);
    assert!(whole.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-4), "{whole:?} {parts:?}");
}

#[test]
fn without_weights_the_network_inside_the_program_serves_and_one_line_says_so() {
    let desk = Desk::empty();
    std::fs::write(desk.path("reviews.csv"), table(200)).unwrap();
    let output = desk.run(&["train", "reviews.csv", "--epochs", "20"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let lines: Vec<&str> = told.lines().filter(|line| line.contains("embedded")).collect();
    assert!(matches!(lines[..], [line] if line.starts_with("backbone bert:2x128")), "{told}");
    let line = desk.succeed(&["predict", "reviews.csv.headstart", "a lovely film, and nice", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["label"], "praise");
    let control =
        ["train", "reviews.csv", "--weights", "random", "--epochs", "1", "--out", "random.headstart", "--json"];
    assert!(desk.succeed(&control).contains("\"source\":\"random\""));
}
