//! Whole commands on recordings, in a language of three tones.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod desk;

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use desk::{Desk, of};

/// Samples of letters as tones, a space as silence.
fn samples_at(rate: usize, text: &str, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let mut samples = vec![0.0; rate / 10];
    for letter in text.chars() {
        let frequency = match letter {
            'a' | 'á' => 500.0,
            'b' => 1_200.0,
            'c' => 2_600.0,
            _ => 0.0,
        };
        samples.extend(
            (0..rate * 15 / 100).map(|n| (n as f32 * frequency * std::f32::consts::TAU / rate as f32).sin() * 0.4),
        );
        samples.resize(samples.len() + rate * 3 / 100, 0.0);
    }
    samples.resize(samples.len() + rate / 10, 0.0);
    samples.iter_mut().for_each(|sample| *sample += noise() * 0.02);
    samples
}

fn samples(text: &str, seed: u64) -> Vec<f32> {
    samples_at(16_000, text, seed)
}

/// A WAV file of so many bits a sample, the same in every channel.
fn write_wav(path: &Path, samples: &[f32], rate: u32, channels: u16, bits: u16) {
    let data: Vec<u8> = samples
        .iter()
        .flat_map(|sample| {
            let one = match bits {
                8 => vec![(sample * 127.0 + 128.0) as u8],
                _ => ((sample * 32_767.0) as i16).to_le_bytes().to_vec(),
            };
            one.repeat(usize::from(channels))
        })
        .collect();
    let block = channels * bits / 8;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * u32::from(block)).to_le_bytes());
    bytes.extend(block.to_le_bytes());
    bytes.extend(bits.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    std::fs::write(path, bytes).unwrap();
}

fn word(number: usize) -> String {
    (0..2 + number % 3).map(|place| ['a', 'b', 'c'][(number / 3usize.pow(place as u32) + place) % 3]).collect()
}

/// `count` recordings of two words in `folder/`, with transcripts.
fn write_speech(desk: &Desk, folder: &str, count: usize) {
    std::fs::create_dir_all(desk.path(folder).join("wav")).unwrap();
    let mut table = String::from("file\ttext\n");
    for number in 0..count {
        let text = format!("{} {}", word(number), word(number * 7 + 5));
        write_wav(&desk.path(folder).join(format!("wav/{number}.wav")), &samples(&text, number as u64), 16_000, 1, 16);
        writeln!(table, "wav/{number}.wav\t{}.", text.to_uppercase()).unwrap();
    }
    std::fs::write(desk.path(folder).join("transcripts.tsv"), table).unwrap();
}

const TRAIN: [&str; 10] =
    ["--backbone", "deepspeech:48", "--epochs", "40", "--lr", "0.002", "--batch", "4", "--json", "--out"];

fn train(desk: &Desk, data: &str, out: &str, more: &[&str]) -> Vec<Value> {
    desk.events(&[&["train", data][..], &TRAIN, &[out], more].concat())
}

#[test]
fn transcripts_are_learned_and_recordings_of_every_kind_written_down() {
    let desk = Desk::empty();
    write_speech(&desk, "talk", 48);
    let events = train(&desk, "talk", "talk.headstart", &["--threads", "1"]);
    let report = of(&events, "report")[0];
    assert_eq!(report["task"], "speech_recognition");
    assert_eq!(report["labels"], json!([" ", "a", "b", "c", "<blank>"]));
    let rate = report["metrics"]["character_error_rate"].as_f64().unwrap();
    assert!(rate < 0.1, "{rate}");

    // Another number of threads gives the same file.
    train(&desk, "talk", "again.headstart", &["--threads", "2"]);
    assert!(desk.bytes("talk.headstart") == desk.bytes("again.headstart"));

    // A folder of what people have: any rate, channels and bits; broken, silent and empty files are listed.
    let folder = desk.path("inbox 🎤");
    std::fs::create_dir(&folder).unwrap();
    let said = samples("abc cab", 900);
    write_wav(&folder.join("plain.wav"), &said, 16_000, 1, 16);
    write_wav(&folder.join("eight bits.wav"), &said, 16_000, 1, 8);
    write_wav(&folder.join("stereo.wav"), &samples_at(44_100, "abc cab", 900), 44_100, 2, 16);
    write_wav(&folder.join("silent.wav"), &[0.0; 16_000], 16_000, 1, 16);
    write_wav(&folder.join("nothing.wav"), &[], 16_000, 1, 16);
    std::fs::write(folder.join("broken.wav"), b"RIFF, but nothing else").unwrap();
    let output = desk.run(&["predict", "talk.headstart", "inbox 🎤", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = |name: &str| {
        lines.iter().find(|line| line["path"].as_str().unwrap().ends_with(name)).unwrap_or_else(|| panic!("{name}"))
    };
    for name in ["plain.wav", "eight bits.wav", "stereo.wav"] {
        assert_eq!(line(name)["text"], "abc cab", "{name}");
        let words = line(name)["words"].as_array().unwrap();
        let (start, end) = (words[1]["start"].as_f64().unwrap(), words[1]["end"].as_f64().unwrap());
        // Silence of 0.1 s, then 0.18 s a letter.
        assert!((0.7..1.0).contains(&start) && (1.1..1.5).contains(&end), "{start} {end}");
    }
    assert_eq!(line("silent.wav")["findings"], json!(["it is silent"]));
    for name in ["nothing.wav", "broken.wav"] {
        assert!(line(name)["error"].as_str().unwrap().contains(name), "{}", line(name));
    }
    assert!(String::from_utf8(output.stderr).unwrap().contains("2 of 6 files could not be read"));

    // A model of words decides where one ends, and a search without one changes nothing here.
    assert_eq!(desk.succeed(&["predict", "talk.headstart", "inbox 🎤/plain.wav", "--beam", "16"]).trim(), "abc cab");
    for (words, expected) in [(&["abc", "cab"][..], "abc cab"), (&["abccab", "b"], "abccab")] {
        let listed: String = words.iter().map(|word| format!("-1 {word}\n")).collect();
        let arpa = format!("\\data\\\nngram 1=4\n\n\\1-grams:\n-1 <s>\n-1 </s>\n{listed}\n\\end\\\n");
        std::fs::write(desk.path("words.arpa"), arpa).unwrap();
        let options = ["--language-model", "words.arpa", "--alpha", "8", "--beta", "0"];
        let found = desk.succeed(&[&["predict", "talk.headstart", "inbox 🎤/plain.wav"][..], &options].concat());
        assert_eq!(found.trim(), expected);
    }

    let scores = desk.succeed(&["evaluate", "talk.headstart", "talk"]);
    assert!(scores.contains("48 recordings: character error rate"), "{scores}");
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_file_and_layers_below_a_cut_are_computed_once() {
    let desk = Desk::empty();
    write_speech(&desk, "talk", 24);
    train(&desk, "talk", "first.headstart", &[]);
    let arguments = [
        "train",
        "talk",
        "--weights",
        "first.headstart",
        "--freeze",
        "layer_3",
        "--epochs",
        "12",
        "--views",
        "3",
        "--json",
    ];
    let whole = desk.events(&[&arguments[..], &["--out", "whole.headstart"]].concat());
    assert_eq!(of(&whole, "phase")[0]["freeze"], "layer_3");
    let notes = of(&whole, "note");
    assert!(
        notes.iter().any(|note| note["message"].as_str().unwrap().starts_with("4 of 4 letters begin")),
        "{notes:?}"
    );

    // Stopped after an epoch, by whoever reads the lines.
    let mut child = desk
        .command(&[&arguments[..], &["--out", "parts.headstart"]].concat())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    for line in std::io::BufRead::lines(stdout) {
        if line.unwrap().contains("\"event\":\"epoch\"") {
            std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    let resumed = desk.events(&[&arguments[..], &["--out", "parts.headstart", "--resume"]].concat());
    assert!(of(&resumed, "phase").iter().all(|phase| phase["cached"].as_u64().unwrap() > 0));
    assert!(desk.bytes("whole.headstart") == desk.bytes("parts.headstart"));
}

#[test]
fn what_was_learned_is_carried_to_another_alphabet_and_what_is_wrong_is_said() {
    let desk = Desk::empty();
    write_speech(&desk, "talk", 44);
    train(&desk, "talk", "talk.headstart", &[]);
    let text = std::fs::read_to_string(desk.path("talk/transcripts.tsv")).unwrap();
    std::fs::create_dir(desk.path("other")).unwrap();
    std::fs::rename(desk.path("talk/wav"), desk.path("other/wav")).unwrap();
    std::fs::write(desk.path("other/transcripts.tsv"), text.replace('A', "Á")).unwrap();
    let train = |more: &[&str]| {
        let arguments =
            ["train", "other", "--weights", "talk.headstart", "--epochs", "1", "--json", "--out", "o.headstart"];
        desk.events(&[&arguments[..], more].concat())
    };
    let carried = |events: &[Value]| {
        of(events, "note").iter().any(|note| note["message"].as_str().unwrap().contains("4 of 4 letters begin"))
    };
    // `á` begins as `a`, so one epoch is enough to be nearly as good as before.
    let events = train(&[]);
    assert!(carried(&events));
    let rate = |events: &[Value]| of(events, "report")[0]["metrics"]["character_error_rate"].as_f64().unwrap();
    let dropped = train(&["--drop-source-layers", "1"]);
    assert!(!carried(&dropped) && rate(&events) < rate(&dropped), "{} {}", rate(&events), rate(&dropped));

    let fail = |arguments: &[&str]| desk.fail(arguments).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        fail(&["train", "other", "--weights", "talk.headstart", "--drop-source-layers", "7"]).contains("no 7 layers")
    );
    assert!(fail(&["train", "other", "--freeze", "auto"]).contains("for pictures only"));
    assert!(fail(&["train", "other", "--freeze", "layer_4"]).contains("layer_5"));
    std::fs::create_dir(desk.path("empty")).unwrap();
    assert!(fail(&["predict", "talk.headstart", "empty"]).contains("holds no recording"));
    assert!(fail(&["predict", "talk.headstart", "nowhere.wav"]).contains("nowhere.wav"));
    std::fs::write(desk.path("letters.txt"), "a\na\n").unwrap();
    assert!(fail(&["train", "other", "--alphabet", "letters.txt"]).contains("again"));
}

#[test]
fn sounds_are_told_apart_by_folder() {
    let desk = Desk::empty();
    for (class, letter) in [("low", "a"), ("middle", "b"), ("high", "c")] {
        std::fs::create_dir_all(desk.path("sounds").join(class)).unwrap();
        for number in 0..10 {
            let path = desk.path("sounds").join(format!("{class}/{number}.wav"));
            write_wav(&path, &samples(&letter.repeat(2 + number % 2), number as u64 + 3), 8_000, 1, 16);
        }
    }
    let events = train(&desk, "sounds", "sounds.headstart", &[]);
    let report = of(&events, "report")[0];
    assert_eq!(
        (&report["task"], &report["labels"]),
        (&json!("audio_classification"), &json!(["high", "low", "middle"]))
    );
    assert_eq!(report["metrics"]["accuracy"], 1.0);
    let line = desk.succeed(&["predict", "sounds.headstart", "sounds/middle/3.wav"]);
    assert!(line.contains("middle"), "{line}");
    let scores = desk.succeed(&["evaluate", "sounds.headstart", "sounds"]);
    assert!(scores.contains("30 recordings: accuracy 100.0 %"), "{scores}");
    let refused = desk.fail(&["predict", "sounds.headstart", "sounds", "--language-model", "none.arpa"]);
    assert!(refused.contains("does not write what is said"), "{refused}");
}
