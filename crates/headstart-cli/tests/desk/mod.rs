//! Where whole commands are run: a folder with a cache of its own and room for data and bundles.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use headstart::data::synthetic::leaves::write_data_set;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const GOOD: [&str; 5] = ["good", "fine", "great", "lovely", "nice"];
pub(crate) const BAD: [&str; 5] = ["bad", "poor", "dull", "awful", "sad"];
pub(crate) const FILLING: [&str; 12] =
    ["the", "a", "film", "was", "is", "it", "very", "and", "plot", "cast", "song", "story"];

/// The events called `name`.
pub(crate) fn of<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

pub(crate) struct Desk {
    pub(crate) folder: TempDir,
}

impl Desk {
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// `per_class` pictures of each of six species in `leaves/`.
    pub(crate) fn with_leaves(per_class: usize) -> Self {
        let desk = Self::empty();
        write_data_set(&desk.path("leaves"), per_class, 48, 3).unwrap();
        desk
    }

    /// A tiny transformer of `architecture`, as Hugging Face transformers wrote it, in the folder of that name; its
    /// vocabulary is the words above.
    pub(crate) fn with_transformer(architecture: &str) -> Self {
        let desk = Self::empty();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/transformers");
        std::fs::create_dir(desk.path(architecture)).unwrap();
        for name in ["config.json", "model.safetensors"] {
            let from = fixtures.join(architecture).join(name);
            std::fs::copy(from, desk.path(architecture).join(name)).unwrap();
        }
        let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", ".", "!", "##s"];
        let vocabulary: Vec<&str> = special.into_iter().chain(GOOD).chain(BAD).chain(FILLING).collect();
        std::fs::write(desk.path(architecture).join("vocab.txt"), vocabulary.join("\n") + "\n").unwrap();
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headstart"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HEADSTART_CACHE", self.path("cache"))
            .env("HF_HOME", self.path("hugging_face"))
            .env("HF_HUB_OFFLINE", "1")
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn fail(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn events(&self, arguments: &[&str]) -> Vec<Value> {
        self.succeed(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn clear_cache(&self) {
        let _ = std::fs::remove_dir_all(self.path("cache"));
    }
}
