//! What the program says of itself, kept as it is on purpose.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::process::Command;

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_headstart"))
        .args(arguments)
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_help_of_every_command_is_as_recorded() {
    insta::assert_snapshot!("headstart", help(&["--help"]));
    for command in ["train", "predict", "evaluate", "export", "extract", "inspect", "list", "cache", "demo", "pretrain"]
    {
        insta::assert_snapshot!(command, help(&[command, "--help"]));
    }
}

#[test]
fn errors_look_as_recorded() {
    insta::assert_snapshot!("error_unknown_data", help(&["train", "no/such/folder"]));
    insta::assert_snapshot!("error_unknown_head", help(&["train", ".", "--head", "conv"]));
    insta::assert_snapshot!("error_unknown_export", help(&["export", "photos.headstart", "--format", "onx"]));
    insta::assert_snapshot!("error_unknown_backbone", help(&["train", ".", "--backbone", "mobilnet_v2"]));
}
