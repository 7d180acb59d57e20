//! Whole commands on small pictures, as a user runs them.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod desk;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use headstart::data::synthetic::leaves::{Species, leaf};
use serde_json::Value;

use desk::Desk;

fn of<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

#[test]
fn a_folder_becomes_a_bundle_that_predicts_evaluates_and_explains_itself() {
    let desk = Desk::with_leaves(12);
    let events = desk.events(&["train", "leaves", "--epochs", "12", "--json"]);
    let report = events.last().unwrap();
    assert_eq!(report["event"], "report");
    assert_eq!(report["task"], "image_classification");
    assert_eq!(report["backbone"], "mobilenet_v2:0.35");
    assert_eq!(report["examples"], serde_json::json!({"train": 60, "validation": 12, "test": 0, "skipped": 0}));
    for part in ["total", "decode", "extract", "fit"] {
        assert!(report["seconds"][part].as_f64().unwrap() > 0.0, "{part}");
    }
    let accuracy = report["metrics"]["accuracy"].as_f64().unwrap();
    assert!(accuracy >= 0.5, "chance is 0.17, got {accuracy}");
    assert_eq!(of(&events, "epoch").len(), 12);
    assert_eq!(report["bundle"], "leaves.headstart");

    let picture = desk.path("new leaf 🍁.png");
    leaf(Species::Willow, 4711, 80).save(&picture).unwrap();
    let line = desk.succeed(&["predict", "leaves.headstart", "new leaf 🍁.png", "--json", "-k", "6"]);
    let prediction: Value = serde_json::from_str(&line).unwrap();
    let top = prediction["top"].as_array().unwrap();
    let sum: f64 = top.iter().map(|candidate| candidate["probability"].as_f64().unwrap()).sum();
    assert!(top.len() == 6 && (sum - 1.0).abs() < 1e-5);
    assert_eq!(prediction["label"], top[0]["label"]);

    let scored: Value =
        serde_json::from_str(&desk.succeed(&["evaluate", "leaves.headstart", "leaves", "--json"])).unwrap();
    assert_eq!(scored["evaluation"]["examples"], 72);
    assert!(scored["evaluation"]["metrics"]["accuracy"].as_f64().unwrap() >= accuracy - 0.2);

    let text = desk.succeed(&["inspect", "leaves.headstart"]);
    for part in ["head.output.weight", "backbone.stem.weight", "self-test passed", "image_classification", "Apache-2.0"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn the_same_recipe_gives_the_same_bytes_with_any_number_of_threads_and_a_second_run_extracts_nothing() {
    let desk = Desk::with_leaves(8);
    let common = ["--epochs", "2", "--views", "2", "--fine-tune", "1", "--seed", "5"];
    let train = |out: &str, threads: &str| {
        desk.events(&[&["train", "leaves", "--json", "--out", out, "--threads", threads], &common[..]].concat())
    };
    let first = train("a", "1");
    let second = train("b", "2");
    assert_eq!(of(&first, "phase")[0]["cached"], 0);
    assert_eq!(of(&second, "phase")[0]["cached"], 36);
    assert_eq!(second.last().unwrap()["seconds"]["extract"], 0.0);
    desk.clear_cache();
    train("c", "4");
    assert!(desk.bytes("a") == desk.bytes("b") && desk.bytes("a") == desk.bytes("c"));
    desk.clear_cache();
    let other = [&["train", "leaves", "--json", "--out", "d"], &common[..6], &["--seed", "6"]].concat();
    desk.events(&other);
    assert!(desk.bytes("a") != desk.bytes("d"));
}

#[test]
fn a_recipe_that_was_printed_gives_the_bytes_of_the_options_it_came_from() {
    let desk = Desk::with_leaves(6);
    let options = [
        "leaves",
        "--epochs",
        "3",
        "--head",
        "mlp:32,16",
        "--balanced",
        "--optimizer",
        "adamw",
        "--schedule",
        "cosine",
    ];
    let recipe = desk.succeed(&[&["train", "--print-recipe"], &options[..]].concat());
    std::fs::write(desk.path("recipe.toml"), recipe).unwrap();
    desk.succeed(&[&["train", "-q", "--out", "a"], &options[..]].concat());
    desk.succeed(&["train", "-q", "--out", "b", "--recipe", "recipe.toml"]);
    assert!(desk.bytes("a") == desk.bytes("b"));
}

#[test]
fn a_killed_run_resumes_to_the_bytes_of_an_uninterrupted_one() {
    let desk = Desk::with_leaves(10);
    let options = [
        "train",
        "leaves",
        "-q",
        "--epochs",
        "4",
        "--views",
        "2",
        "--fine-tune",
        "3",
        "--batch",
        "16",
        "--resume",
        "--out",
    ];
    let with_out = |out: &'static str| [&options[..], &[out]].concat();
    let start = Instant::now();
    desk.succeed(&with_out("whole"));
    let whole = start.elapsed();
    let mut resumed_from_state = 0;
    for moment in 1..=8u32 {
        desk.clear_cache();
        let mut child = desk.command(&with_out("killed")).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * moment / 9);
        let _ = child.kill();
        let _ = child.wait();
        resumed_from_state += u32::from(desk.path("killed.run/state.safetensors").exists());
        desk.succeed(&with_out("killed"));
        assert!(desk.bytes("killed") == desk.bytes("whole"), "killed after {moment}/9");
        assert!(!desk.path("killed.run").exists());
        std::fs::remove_file(desk.path("killed")).unwrap();
    }
    assert!(resumed_from_state > 0, "no kill fell into training; the data set is too small for this machine");
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_the_state_says_how_to_go_on_and_resuming_gives_the_same_bytes() {
    let desk = Desk::with_leaves(10);
    let options = ["train", "leaves", "--epochs", "2000", "--batch", "4", "--keep-last", "--head", "linear", "--out"];
    let mut child = desk.command(&[&options[..], &["stopped"]].concat()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !desk.path("stopped.run/state.safetensors").exists() && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "no state after a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("--resume"), "{told}");
    desk.succeed(&[&options[..], &["stopped", "--resume", "-q"]].concat());
    desk.succeed(&[&options[..], &["whole", "-q"]].concat());
    assert!(desk.bytes("stopped") == desk.bytes("whole"));
}

#[test]
fn resuming_another_run_is_refused() {
    let desk = Desk::with_leaves(8);
    let mut child = desk
        .command(&["train", "leaves", "--epochs", "5000", "--keep-last", "--out", "a"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !desk.path("a.run/state.safetensors").exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    let told = desk.fail(&["train", "leaves", "--epochs", "3", "--resume", "--out", "a"]);
    assert!(told.contains("belongs to another run") && told.contains("without --resume"), "{told}");
}

#[test]
fn fine_tuning_ends_no_lower_than_the_frozen_result() {
    let desk = Desk::with_leaves(10);
    let accuracy = |events: Vec<Value>| events.last().unwrap()["metrics"]["accuracy"].as_f64().unwrap();
    let frozen = accuracy(desk.events(&["train", "leaves", "--epochs", "6", "--json"]));
    let events = desk.events(&["train", "leaves", "--epochs", "6", "--fine-tune", "3", "--json"]);
    let phases = of(&events, "phase");
    assert_eq!((phases[0]["freeze"].as_str(), phases[1]["freeze"].as_str()), (Some("all"), Some("stage6")));
    assert!(phases[1]["learning"].as_u64() > phases[0]["learning"].as_u64());
    assert!(accuracy(events) >= frozen);
}

#[test]
fn shards_of_a_job_array_leave_nothing_to_extract() {
    let desk = Desk::with_leaves(30);
    let options = ["leaves", "--epochs", "2", "--views", "2"];
    let part = |index: &str| {
        let events = desk.events(&[&["extract", "--json", "--shard", index, "--of", "3"], &options[..]].concat());
        events.last().unwrap().clone()
    };
    let parts: Vec<Value> = ["0", "1", "2"].map(part).to_vec();
    let shards: u64 = parts.iter().map(|part| part["shards"].as_u64().unwrap()).sum();
    assert_eq!(Some(shards), parts[0]["total"].as_u64());
    assert_eq!(part("1")["finished_before"], parts[1]["shards"]);
    let events = desk.events(&[&["train", "--json"], &options[..]].concat());
    assert_eq!(events.last().unwrap()["seconds"]["extract"], 0.0);
    assert!(desk.fail(&["extract", "leaves", "--shard", "3", "--of", "3"]).contains("no shard 3 of 3"));
    assert!(desk.succeed(&["cache", "ls"]).contains("3 sets"));
    desk.succeed(&["cache", "clear"]);
    assert!(desk.succeed(&["cache", "ls"]).contains("0 sets"));
}

#[test]
fn broken_files_are_listed_with_their_reasons_and_the_rest_is_learned() {
    let desk = Desk::with_leaves(10);
    let oak = desk.path("leaves/oak");
    let whole = std::fs::read(oak.join("oak_0001.jpg")).unwrap();
    std::fs::write(oak.join("cut.jpg"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(oak.join("zero.jpg"), []).unwrap();
    std::fs::write(oak.join("text.jpg"), "no photo").unwrap();
    std::fs::write(oak.join("notes.txt"), "a note").unwrap();
    let events = desk.events(&["train", "leaves", "--epochs", "1", "--json"]);
    assert_eq!(events.last().unwrap()["examples"]["skipped"], 4);
    let reasons: String = of(&events, "skipped").iter().map(|event| event["reason"].as_str().unwrap()).collect();
    for reason in ["truncated JPEG", "zero bytes", "text file", "not a picture"] {
        assert!(reasons.contains(reason), "{reasons}");
    }
    let output =
        desk.run(&["predict", "leaves.headstart", "leaves/oak/oak_0001.jpg", "leaves/oak/cut.jpg", "missing.png"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("oak_0001.jpg"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("truncated JPEG") && told.contains("missing.png") && told.contains("2 of 3"), "{told}");
}

#[test]
fn predict_takes_folders_and_lists_on_standard_input() {
    let desk = Desk::with_leaves(4);
    desk.succeed(&["train", "leaves", "-q", "--epochs", "1"]);
    assert_eq!(desk.succeed(&["predict", "leaves.headstart", "leaves"]).lines().count(), 24);
    let list = std::fs::File::create(desk.path("list.txt")).unwrap();
    std::fs::write(desk.path("list.txt"), "leaves/oak/oak_0001.jpg\n\nleaves/holly/holly_0002.jpg\n").unwrap();
    drop(list);
    let output = desk
        .command(&["predict", "leaves.headstart", "-"])
        .stdin(std::fs::File::open(desk.path("list.txt")).unwrap())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2);
}

#[test]
fn a_damaged_bundle_does_not_predict() {
    let desk = Desk::with_leaves(4);
    desk.succeed(&["train", "leaves", "-q", "--epochs", "1"]);
    let whole = desk.bytes("leaves.headstart");
    let picture = "leaves/oak/oak_0001.jpg";
    std::fs::write(desk.path("cut"), &whole[..whole.len() - 1000]).unwrap();
    assert!(desk.fail(&["predict", "cut", picture]).contains("damaged"));
    // Other weights of the right shape: only the self-test can tell.
    let mut changed = whole.clone();
    let middle = whole.len() / 2;
    changed[middle..middle + 4000].fill(0x3f);
    std::fs::write(desk.path("changed"), &changed).unwrap();
    let told = desk.fail(&["predict", "changed", picture]);
    assert!(told.contains("self-test") && told.contains("--no-self-test"), "{told}");
    desk.succeed(&["predict", "changed", picture, "--no-self-test"]);
    std::fs::write(desk.path("text"), "not a bundle").unwrap();
    assert!(desk.fail(&["predict", "text", picture]).contains("not a weight file that we read"));
}

#[test]
fn a_bundle_can_be_the_start_of_another_run() {
    let desk = Desk::with_leaves(4);
    desk.succeed(&["train", "leaves", "-q", "--epochs", "1", "--out", "first"]);
    let events = desk.events(&["train", "leaves", "--epochs", "1", "--weights", "first", "--json", "--out", "second"]);
    assert_eq!(of(&events, "backbone")[0]["source"], "first");
    desk.succeed(&["predict", "second", "leaves/oak/oak_0001.jpg"]);
}

#[test]
fn training_from_scratch_learns_something_and_two_classes_can_have_one_unit() {
    let desk = Desk::with_leaves(1);
    for species in [Species::Willow, Species::Maple] {
        let folder = desk.path("two").join(species.name());
        std::fs::create_dir_all(&folder).unwrap();
        for seed in 0..16 {
            leaf(species, 7000 + seed, 40).save(folder.join(format!("{seed}.png"))).unwrap();
        }
    }
    let scratch =
        ["--weights", "random", "--backbone", "mobilenet_v2:tiny", "--size", "64", "--batch", "8", "--dropout", "0"];
    let two = ["train", "two", "--json", "--output", "sigmoid", "--epochs", "24", "--patience", "24"];
    let events = desk.events(&[&two[..], &scratch[..]].concat());
    let epochs = of(&events, "epoch");
    let losses: Vec<f64> = epochs.iter().map(|epoch| epoch["loss"].as_f64().unwrap()).collect();
    // Small batches are noisy, so a few epochs are taken together.
    let mean = |some: &[f64]| some.iter().sum::<f64>() / some.len() as f64;
    assert!(mean(&losses[20..]) < 0.7 * mean(&losses[..4]), "the loss did not fall: {losses:?}");
    assert_eq!(of(&events, "phase")[0]["freeze"], "none");
    desk.succeed(&["predict", "two.headstart", "two/maple/0.png"]);
    let told = desk.fail(&[&["train", "leaves", "--output", "sigmoid"], &scratch[..]].concat());
    assert!(told.contains("two classes"), "{told}");
}

#[test]
fn a_rate_that_destroys_the_weights_ends_with_what_to_do() {
    let desk = Desk::with_leaves(6);
    let told =
        desk.fail(&["train", "leaves", "--epochs", "20", "--lr", "1e30", "--optimizer", "sgd", "--head", "mlp:32"]);
    assert!(told.contains("diverged") && told.contains("--lr"), "{told}");
    assert!(!desk.path("leaves.headstart").exists());
}

#[test]
fn mistakes_in_what_was_typed_are_answered_with_what_exists() {
    let desk = Desk::with_leaves(2);
    assert!(desk.fail(&["train", "leaves", "--freeze", "stage9"]).contains("stage7"));
    assert!(desk.fail(&["train", "leaves", "--backbone", "mobilnet_v2"]).contains("did you mean `mobilenet_v2`"));
    assert!(desk.fail(&["train", "leaves", "--backbone", "mobilenet_v2:0.75"]).contains("--weights FILE"));
    assert!(desk.fail(&["train", "leaves", "--head", "conv"]).contains("mlp:256"));
    assert!(desk.fail(&["train", "leaves", "--val", "1.5"]).contains("between 0 and 1"));
    assert!(desk.fail(&["train", "nowhere"]).contains("nowhere"));
    assert!(desk.fail(&["train", "leaves", "--weights", "nothing.pth"]).contains("nothing.pth"));
    assert!(desk.fail(&["train", "leaves", "--size", "8"]).contains("32"));
}

#[test]
fn lists_name_what_is_registered() {
    let desk = Desk { folder: tempfile::tempdir().unwrap() };
    assert!(desk.succeed(&["list", "backbones"]).contains("torchvision, timm"));
    assert!(desk.succeed(&["list", "backbones", "--stages"]).contains("stage7"));
    assert!(desk.succeed(&["list", "tasks"]).contains("image_classification"));
    assert!(desk.succeed(&["list", "formats"]).contains("safetensors"));
    assert!(desk.succeed(&["list", "layouts"]).contains("image_folder"));
    assert!(desk.succeed(&["completions", "bash"]).contains("_headstart"));
    assert!(desk.succeed(&["man"]).starts_with(".ie"));
}

#[test]
fn inspect_says_which_backbone_a_weight_file_fits() {
    let desk = Desk { folder: tempfile::tempdir().unwrap() };
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let of = |file: &str| desk.succeed(&["inspect", fixtures.join(file).to_str().unwrap()]);
    assert!(of("parity/mobilenet_v2/torchvision.pth").contains("fits backbone mobilenet_v2:tiny, family torchvision"));
    assert!(of("parity/mobilenet_v2/timm.safetensors").contains("fits backbone mobilenet_v2:tiny, family timm"));
    let other = of("formats/zip.pth");
    assert!(other.contains("fits no backbone") && other.contains("bf16"), "{other}");
}
