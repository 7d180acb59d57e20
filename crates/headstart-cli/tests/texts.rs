//! Whole commands on texts, with a tiny BERT that Hugging Face transformers wrote.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod desk;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use desk::Desk;

const GOOD: [&str; 5] = ["good", "fine", "great", "lovely", "nice"];
const BAD: [&str; 5] = ["bad", "poor", "dull", "awful", "sad"];
const FILLING: [&str; 12] = ["the", "a", "film", "was", "is", "it", "very", "and", "plot", "cast", "song", "story"];

/// A desk with a published transformer of `architecture` in the folder of that name.
fn desk_with(architecture: &str) -> Desk {
    let desk = Desk::empty();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/transformers").join(architecture);
    std::fs::create_dir(desk.path(architecture)).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture.join(name), desk.path(architecture).join(name)).unwrap();
    }
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", ".", "!", "##s"];
    let vocabulary: Vec<&str> = special.into_iter().chain(GOOD).chain(BAD).chain(FILLING).collect();
    std::fs::write(desk.path(architecture).join("vocab.txt"), vocabulary.join("\n") + "\n").unwrap();
    desk
}

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

fn of<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

#[test]
fn a_table_with_broken_rows_is_learned_from_and_every_broken_line_is_named() {
    let desk = desk_with("bert");
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
    let desk = desk_with("bert");
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
    let desk = desk_with("bert");
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
    refused(&["train", "reviews.csv"], "need a pretrained transformer");
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
    let desk = desk_with("gpt2");
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
