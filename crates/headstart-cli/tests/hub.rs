//! Weights from a Hugging Face repository, as a user gets them; the hub is one of our own on the loopback.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

#[path = "../../headstart-hub/tests/server/mod.rs"]
#[allow(dead_code, reason = "the hub's own tests use the rest")]
mod server;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use headstart::data::synthetic::leaves::write_data_set;
use serde_json::Value;
use server::{Repository, Server, sha256};
use tempfile::TempDir;

const EMBEDDED: &[u8] = include_bytes!("../../headstart/assets/mobilenet_v2_0.35_128.safetensors");

/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

/// A folder with a data set, caches of its own and room for bundles.
struct Desk {
    folder: TempDir,
    endpoint: String,
}

impl Desk {
    fn at(endpoint: &str) -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap(), endpoint: endpoint.to_owned() };
        write_data_set(&desk.path("leaves"), 4, 48, 3).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headstart"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HEADSTART_CACHE", self.path("cache"))
            .env("HF_HOME", self.path("hugging_face"))
            .env("HF_ENDPOINT", &self.endpoint)
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100")
            .stdin(Stdio::null());
        for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"] {
            command.env_remove(name);
        }
        command
    }

    fn train(&self, out: &str, more: &[&str]) -> Output {
        let common = ["train", "leaves", "--epochs", "1", "--json", "--out", out];
        self.command(&[&common[..], more].concat()).output().unwrap()
    }

    fn events(&self, out: &str, more: &[&str]) -> Vec<Value> {
        let output = self.train(out, more);
        assert!(output.status.success(), "{more:?}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn fail(&self, more: &[&str]) -> String {
        let output = self.train("never", more);
        assert_eq!(output.status.code(), Some(1), "{more:?}");
        assert!(!self.path("never").exists());
        // Words, without the frame and the line breaks of an error report.
        let text = String::from_utf8(output.stderr).unwrap();
        text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }
}

fn of<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

fn hub(repository: Repository) -> Server {
    Server::start(move |request| repository.answer(request))
}

#[test]
fn a_reference_is_fetched_with_progress_recorded_in_the_bundle_and_needs_no_network_again() {
    let server = hub(Repository::new(&[("model.safetensors", EMBEDDED), ("README.md", b"# bees")]));
    let desk = Desk::at(&server.url);
    let events = desk.events("a", &["--weights", "hf:bees/tiny"]);
    let downloads: Vec<_> = of(&events, "progress").into_iter().filter(|event| event["stage"] == "download").collect();
    assert_eq!(downloads.last().unwrap()["done"], EMBEDDED.len());
    assert_eq!(downloads.last().unwrap()["total"], EMBEDDED.len());
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let source = format!("hf:bees/tiny@{commit}:model.safetensors sha256:{}", sha256(EMBEDDED));
    assert_eq!(of(&events, "backbone")[0]["source"], source);
    let inspected = desk.command(&["inspect", "a", "--json"]).output().unwrap();
    let inspected: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(inspected["bundle"]["backbone"]["source"], source);
    assert_eq!(inspected["bundle"]["recipe"]["weights"], "hf:bees/tiny");

    let asked = server.requests().len();
    let again = desk.events("b", &["--weights", "hf:bees/tiny"]);
    assert!(of(&again, "progress").iter().all(|event| event["stage"] != "download"));
    assert_eq!(server.requests().len(), asked);
    assert!(desk.bytes("a") == desk.bytes("b"));
}

#[test]
fn a_backbone_by_name_comes_from_its_default_repository_and_the_embedded_one_serves_where_it_cannot() {
    // A stand-in for the published weights: a bundle around random ones is a weight file too.
    let desk = Desk::at(NOBODY);
    let small = ["--backbone", "mobilenet_v2:0.5", "--size", "64"];
    desk.events("random", &[&small[..], &["--weights", "random", "--freeze", "all"]].concat());
    let repository = Repository {
        name: "timm/mobilenetv2_050.lamb_in1k".to_owned(),
        ..Repository::new(&[("model.safetensors", &desk.bytes("random"))])
    };
    let server = hub(repository);

    // Nobody listens there, and nothing is cached yet.
    let events = desk.events("embedded", &small);
    let notes = of(&events, "note");
    assert_eq!(notes.len(), 1, "{notes:?}");
    let message = notes[0]["message"].as_str().unwrap();
    assert!(message.contains("cannot be reached"), "{message}");
    assert!(message.contains("the embedded mobilenet_v2:0.35 serves") && !message.contains('\n'), "{message}");
    assert_eq!(of(&events, "backbone")[0]["source"], "embedded");

    let desk = Desk { endpoint: server.url.clone(), ..desk };
    let events = desk.events("fetched", &small);
    assert!(of(&events, "note").is_empty());
    let backbone = of(&events, "backbone")[0];
    assert_eq!(backbone["variant"], "0.5");
    assert!(backbone["source"].as_str().unwrap().contains("sha256:"), "{backbone}");
    let text = String::from_utf8(desk.command(&["inspect", "fetched"]).output().unwrap().stdout).unwrap();
    assert!(text.contains("from hf:timm/mobilenetv2_050.lamb_in1k@0123456789abcdef"), "{text}");
    assert!(text.contains("licence: Apache-2.0"), "{text}");

    // Cached: no network, and the same bytes.
    let desk = Desk { endpoint: NOBODY.to_owned(), ..desk };
    assert!(of(&desk.events("cached", &small), "note").is_empty());
    assert!(desk.bytes("fetched") == desk.bytes("cached"));
}

#[test]
fn nothing_said_is_the_embedded_backbone_and_touches_no_network() {
    let server = Server::start(|_| server::Answer::new(500, ""));
    let desk = Desk::at(&server.url);
    let events = desk.events("a", &[]);
    assert_eq!(of(&events, "backbone")[0]["source"], "embedded");
    desk.events("b", &["--backbone", "mobilenet_v2:0.35"]);
    assert!(server.requests().is_empty());
    assert!(!desk.path("hugging_face").exists());
}

#[test]
fn weights_that_were_asked_for_and_cannot_be_had_are_an_error_with_the_way_out() {
    let desk = Desk::at(NOBODY);
    let error = desk.fail(&["--weights", "hf:bees/tiny"]);
    assert!(error.contains("cannot be reached") && error.contains("--weights FILE"), "{error}");

    let server = hub(Repository::new(&[("README.md", b"# bees")]));
    let desk = Desk { endpoint: server.url.clone(), ..desk };
    let error = desk.fail(&["--weights", "hf:bees/none"]);
    assert!(error.contains("has no repository `bees/none`") && error.contains("HF_TOKEN"), "{error}");
    let error = desk.fail(&["--weights", "hf:bees/tiny"]);
    assert!(error.contains("which file of `bees/tiny` holds the weights cannot be told"), "{error}");
    let error = desk.fail(&["--weights", "hf:bees/tiny@../../x"]);
    assert!(error.contains("would lead out of the repository"), "{error}");
    // A default repository that answers, but not with weights, is no reason to take others instead.
    let error = desk.fail(&["--backbone", "resnet:18"]);
    assert!(error.contains("has no repository `timm/resnet18.tv_in1k`"), "{error}");

    let mut offline = desk.command(&["train", "leaves", "--weights", "hf:bees/tiny"]);
    let offline = offline.env("HF_HUB_OFFLINE", "1").output().unwrap();
    let text = String::from_utf8(offline.stderr).unwrap();
    assert!(!offline.status.success() && text.contains("offline mode"), "{text}");
}

#[test]
fn backbones_are_listed_with_repository_and_licence() {
    let desk = Desk::at(NOBODY);
    let text = String::from_utf8(desk.command(&["list", "backbones"]).output().unwrap().stdout).unwrap();
    assert!(text.contains("gpt2") && text.contains("google"), "{text}");
    let line = text.lines().find(|line| line.contains("timm/resnet50.tv_in1k")).unwrap();
    assert!(line.contains("BSD-3-Clause"), "{line}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_download_ends_as_interrupted_and_is_continued() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    let content = Repository::new(&[("model.safetensors", EMBEDDED)]);
    let slow = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&slow);
    let server = Server::start(move |request| {
        let answer = content.answer(request);
        if request.method == "GET" && switch.load(Ordering::Relaxed) && !request.path.contains("/api/") {
            // Never done: each connection brings a little and breaks.
            let sent = answer.body.len().min(5_000);
            std::thread::sleep(Duration::from_millis(50));
            return answer.cut_after(sent);
        }
        answer
    });
    let desk = Desk::at(&server.url);
    let mut child = desk
        .command(&["train", "leaves", "--epochs", "1", "--json", "--weights", "hf:bees/tiny"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    while server.downloads().len() < 2 && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(10));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    slow.store(false, Ordering::Relaxed);
    let before = server.downloads().len();
    desk.events("a", &["--weights", "hf:bees/tiny"]);
    let requests = server.downloads();
    assert_eq!(requests.len(), before + 1);
    assert!(requests.last().unwrap().start().is_some_and(|start| start >= 5_000), "{requests:?}");
}

/// The files of a tiny BERT as a repository holds them.
fn bert() -> [(&'static str, Vec<u8>); 3] {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/transformers/bert");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\nBad\nfilm\n";
    [
        ("config.json", read("config.json")),
        ("model.safetensors", read("model.safetensors")),
        ("vocab.txt", vocabulary.into()),
    ]
}

#[test]
fn a_transformer_is_fetched_with_its_configuration_and_tokenizer_and_needs_no_network_again() {
    let files = bert();
    let cased: (&str, Vec<u8>) = ("tokenizer_config.json", br#"{"do_lower_case": false}"#.to_vec());
    let all: Vec<(&str, &[u8])> = files.iter().chain([&cased]).map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let server = hub(Repository::new(&all));
    let desk = Desk::at(&server.url);
    let rows: String = (0..40).map(|row| format!("a {} film {row},{}\n", ["good", "Bad"][row % 2], row % 2)).collect();
    std::fs::write(desk.path("reviews.csv"), format!("text,label\n{rows}")).unwrap();
    let train = |desk: &Desk, out: &str| {
        let arguments = ["train", "reviews.csv", "--weights", "hf:bees/tiny", "--epochs", "1", "--json", "--out", out];
        desk.command(&arguments).output().unwrap()
    };
    let output = train(&desk, "a");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout).unwrap();
    let source = format!(
        "hf:bees/tiny@0123456789abcdef0123456789abcdef01234567:model.safetensors sha256:{}",
        sha256(&files[1].1)
    );
    assert!(told.contains(&source), "{told}");
    // That capitals count is in the fourth file: `bad` is none of its words.
    let said = |text: &str| {
        let output = desk.command(&["predict", "a", text, "--json"]).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["probability"].as_f64().unwrap()
    };
    assert_ne!(said("a Bad film"), said("a bad film"));
    assert_eq!(said("a bad film"), said("a sad film"));

    let offline = Desk { endpoint: NOBODY.to_owned(), ..desk };
    assert!(train(&offline, "b").status.success());
    assert!(offline.bytes("a") == offline.bytes("b"));
}

#[test]
fn a_repository_without_a_tokenizer_is_refused_by_the_name_of_what_it_lacks() {
    let files = bert();
    let all: Vec<(&str, &[u8])> = files[..2].iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let server = hub(Repository::new(&all));
    let desk = Desk::at(&server.url);
    std::fs::write(desk.path("reviews.csv"), "text,label\na film,x\na song,y\nno,x\nyes,y\n").unwrap();
    let output =
        desk.command(&["train", "reviews.csv", "--weights", "hf:bees/tiny", "--epochs", "1"]).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("tokenizer.json"), "{message}");
}
