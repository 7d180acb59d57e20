//! The laws of ARCHITECTURE.md that the compiler does not see.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every Rust file below a folder, with its text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "{}", folder.display());
    found
}

/// Lines of code, without comments and without the tests at the foot.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn assert_silent(folder: &str, words: &[&str]) {
    for (path, text) in sources(&root().join(folder)) {
        for word in words {
            assert!(!code(&text).contains(word), "{} speaks of `{word}`", path.display());
        }
    }
}

#[test]
fn rooms_do_not_know_what_they_must_not_know() {
    assert_silent("crates/headstart-kernels/src", &["burn", "mobilenet", "std::fs"]);
    assert_silent("crates/headstart-weights/src", &["burn", "mobilenet", "headstart_data"]);
    assert_silent("crates/headstart-data/src", &["burn", "mobilenet", "headstart_weights", "backbone"]);
    assert_silent("crates/headstart-hub/src", &["burn", "mobilenet", "headstart_weights", "headstart_data"]);
    assert_silent("crates/headstart/src/backbones", &["tasks::"]);
    assert_silent("crates/headstart/src/tasks", &["mobilenet", "backbones::"]);
    assert_silent("crates/headstart/src/train", &["image_classification", "println!", "headstart_data"]);
    assert_silent("crates/headstart/src/cache", &["label", "tasks::"]);
    assert_silent("crates/headstart-cli/src", &["burn", "Tensor"]);
}

#[test]
fn no_file_is_a_drawer_and_none_is_longer_than_the_wall() {
    let drawers = ["base", "common", "utils", "helpers", "misc", "types", "core", "manager", "handler"];
    for (path, text) in sources(&root().join("crates")) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(!drawers.contains(&name.as_str()), "{}", path.display());
        assert!(text.lines().count() <= 800, "{} is longer than 800 lines", path.display());
    }
}

#[test]
fn the_map_names_every_folder_of_the_library() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for entry in fs::read_dir(root().join("crates/headstart/src")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let shown = if entry.path().is_dir() { format!("`{name}/`") } else { format!("`{name}`") };
        assert!(["lib.rs", "error.rs"].contains(&name.as_str()) || map.contains(&shown), "{shown} is not on the map");
    }
    for entry in fs::read_dir(root().join("crates")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(map.contains(&format!("`crates/{name}`")), "{name} is not on the map");
    }
}

#[test]
fn unsafe_code_is_only_where_the_map_says() {
    for (path, text) in sources(&root().join("crates")) {
        let shown = path.to_string_lossy().replace('\\', "/");
        let allowed =
            shown.contains("headstart-kernels/") || shown.ends_with("cache/store.rs") || shown.ends_with("tidy.rs");
        assert!(allowed || !code(&text).contains("unsafe "), "{shown}");
    }
}
