//! Image folders as people really have them.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use headstart_data::error::DataError;
use headstart_data::layouts::{self, Listing, Split};
use headstart_data::scan::{Scan, ScanMemo, scan};
use headstart_data::split::{Assignment, SplitRule, split};
use headstart_data::synthetic::leaves::{Species, leaf};
use image::RgbImage;
use image::imageops::{flip_horizontal, resize};
use proptest::prelude::*;

/// A picture unlike any other number's.
fn picture(number: u64) -> RgbImage {
    leaf(Species::ALL[(number % 6) as usize], 900 + number, 40)
}

fn write(root: &Path, relative: &str, number: u64) {
    let path = root.join(relative);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let format = image::ImageFormat::from_path(&path).unwrap_or(image::ImageFormat::Png);
    picture(number).save_with_format(path, format).unwrap();
}

fn scanned(listing: &Listing) -> Scan {
    scan(listing, 2, None, &AtomicBool::new(false), &|_, _| {}).unwrap()
}

fn assigned(root: &Path, rule: SplitRule) -> (Listing, Scan, Assignment) {
    let listing = layouts::open(root).unwrap();
    let scan = scanned(&listing);
    let assignment = split(&scan, &listing.classes, &rule);
    (listing, scan, assignment)
}

fn refusal(root: &Path) -> String {
    let error = layouts::open(root).unwrap_err();
    assert!(error.help().is_some() || matches!(error, DataError::Io { .. }), "{error}");
    error.to_string()
}

const FIFTH: SplitRule = SplitRule { validation: 0.2, test: 0.0, seed: 0 };

#[test]
fn classes_are_the_first_folders_whatever_lies_deeper_and_however_it_is_spelled() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "cat/a.JPG", 1);
    write(root.path(), "cat/2024/summer/b.jpeg", 2);
    write(root.path(), "Köche 👩‍🍳/c d.PNG", 3);
    write(root.path(), "Köche 👩‍🍳/e.png", 4);
    fs::write(root.path().join("cat/.DS_Store"), "x").unwrap();
    fs::create_dir_all(root.path().join("__MACOSX/cat")).unwrap();
    fs::write(root.path().join("README.md"), "about").unwrap();
    fs::write(root.path().join("cat/notes.txt"), "about").unwrap();
    let listing = layouts::open(root.path()).unwrap();
    assert_eq!(listing.classes, ["Köche 👩‍🍳", "cat"]);
    let relative: Vec<&str> = listing.examples.iter().map(|example| example.relative.as_str()).collect();
    assert_eq!(relative, ["Köche 👩‍🍳/c d.PNG", "Köche 👩‍🍳/e.png", "cat/2024/summer/b.jpeg", "cat/a.JPG"]);
    assert_eq!(listing.skipped.len(), 1);
    assert!(listing.skipped[0].path.ends_with("cat/notes.txt"));
}

#[test]
fn given_parts_are_kept_and_an_unknown_one_is_told() {
    let root = tempfile::tempdir().unwrap();
    for (index, part) in ["train", "Validation", "test", "extra"].iter().enumerate() {
        write(root.path(), &format!("{part}/a/x.png"), index as u64 * 2);
        write(root.path(), &format!("{part}/b/y.png"), index as u64 * 2 + 1);
    }
    let (listing, _, assignment) = assigned(root.path(), FIFTH);
    assert!(listing.notes.iter().any(|note| note.contains("extra")));
    let count = |split| assignment.splits.iter().filter(|found| **found == split).count();
    assert_eq!((count(Split::Train), count(Split::Validation), count(Split::Test)), (2, 2, 2));
}

#[test]
fn what_cannot_be_learned_from_is_refused_with_what_was_found() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    assert!(refusal(&at("nowhere")).contains("nowhere"));
    fs::create_dir(at("empty")).unwrap();
    assert!(refusal(&at("empty")).contains("empty"));
    write(root.path(), "flat/a.png", 1);
    assert!(refusal(&at("flat")).contains("1 photos but no class folders"));
    write(root.path(), "single/only/a.png", 1);
    assert!(refusal(&at("single")).contains("only one class, `only`"));
    fs::create_dir_all(at("hollow/a")).unwrap();
    fs::create_dir_all(at("hollow/b")).unwrap();
    assert!(refusal(&at("hollow")).contains("no photo in any class folder"));
    write(root.path(), "twice/Cat/a.png", 1);
    write(root.path(), "twice/cat /b.png", 2);
    let message = refusal(&at("twice"));
    assert!(message.contains("`Cat`") && message.contains("`cat `"), "{message}");
    for (class, part) in [("a", "train"), ("b", "train"), ("c", "val")] {
        write(root.path(), &format!("odd/{part}/{class}/x.png"), 1);
    }
    assert!(refusal(&at("odd")).contains("class `c`"));
    fs::write(at("file"), "x").unwrap();
    assert!(refusal(&at("file")).contains("a file, not a folder"));
}

#[test]
fn an_empty_class_and_a_class_of_one_photo_are_told() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "a/1.png", 1);
    write(root.path(), "b/1.png", 2);
    write(root.path(), "b/2.png", 3);
    fs::create_dir(root.path().join("c")).unwrap();
    let (listing, _, assignment) = assigned(root.path(), FIFTH);
    assert_eq!(listing.classes, ["a", "b"]);
    assert!(listing.notes.iter().any(|note| note.contains("`c` has no photo")));
    assert!(listing.notes.iter().any(|note| note.contains("`a` has one photo")));
    // The one photo is learned from.
    assert_eq!(assignment.splits[0], Split::Train);
}

/// 36 good photos and one bad file of every kind.
fn messy(root: &Path) -> usize {
    for number in 0..36 {
        write(root, &format!("{}/{number:02}.jpg", ["ash", "elm"][number as usize % 2]), number);
    }
    let whole = fs::read(root.join("ash/00.jpg")).unwrap();
    fs::write(root.join("ash/truncated.jpg"), &whole[..whole.len() / 2]).unwrap();
    fs::write(root.join("ash/zero.png"), []).unwrap();
    fs::write(root.join("elm/text.jpg"), "this is no photo").unwrap();
    fs::write(root.join("elm/noise.webp"), [7u8, 0, 255, 3].repeat(50)).unwrap();
    fs::write(root.join("elm/bomb.png"), bomb()).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("gone.jpg", root.join("elm/link.jpg")).unwrap();
    5 + usize::from(cfg!(unix))
}

/// A PNG that claims 60 000 × 60 000 pixels.
fn bomb() -> Vec<u8> {
    let mut bytes = Vec::new();
    picture(0).write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
    bytes[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    bytes[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    let checksum = !bytes[12..29].iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    });
    bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

#[test]
fn bad_files_are_skipped_counted_and_listed_with_their_reasons() {
    let root = tempfile::tempdir().unwrap();
    let bad = messy(root.path());
    let listing = layouts::open(root.path()).unwrap();
    let scan = scanned(&listing);
    assert_eq!(scan.examples.len(), 36);
    assert_eq!(listing.skipped.len() + scan.skipped.len(), bad);
    let reason = |name: &str| {
        let all = listing.skipped.iter().chain(&scan.skipped);
        all.filter(|skipped| skipped.path.ends_with(name)).map(|skipped| skipped.reason.clone()).next().unwrap()
    };
    assert!(reason("truncated.jpg").contains("truncated JPEG"));
    assert!(reason("zero.png").contains("zero bytes"));
    assert!(reason("text.jpg").contains("text file"));
    assert!(reason("noise.webp").contains("not a picture format"));
    assert!(reason("bomb.png").contains("60000 × 60000"), "{}", reason("bomb.png"));
    #[cfg(unix)]
    assert!(reason("link.jpg").contains("not there"));
}

#[test]
fn the_split_is_as_if_bad_files_had_never_been_there() {
    let root = tempfile::tempdir().unwrap();
    messy(root.path());
    let (_, scan, assignment) = assigned(root.path(), FIFTH);
    let elsewhere = tempfile::tempdir().unwrap();
    for number in 0..36 {
        write(elsewhere.path(), &format!("{}/{number:02}.jpg", ["ash", "elm"][number as usize % 2]), number);
    }
    let (_, clean_scan, clean) = assigned(elsewhere.path(), FIFTH);
    assert_eq!(assignment.splits, clean.splits);
    assert!(scan.examples.iter().zip(&clean_scan.examples).all(|(a, b)| a.digest == b.digest));
}

#[test]
fn copies_of_a_photo_stay_on_one_side_and_given_leaks_are_told() {
    let root = tempfile::tempdir().unwrap();
    for number in 0..30 {
        write(root.path(), &format!("{}/{number:02}.png", ["ash", "elm"][number as usize % 2]), number);
    }
    let original = leaf(Species::Oak, 5, 160);
    let save = |picture: &RgbImage, name: &str| picture.save(root.path().join("ash").join(name)).unwrap();
    save(&original, "copy a.png");
    save(&resize(&original, 90, 90, image::imageops::FilterType::Triangle), "copy b.jpg");
    save(&flip_horizontal(&original), "copy c.png");
    for seed in 0..10 {
        let (_, scan, assignment) = assigned(root.path(), SplitRule { seed, ..FIFTH });
        let sides: BTreeSet<Split> = scan
            .examples
            .iter()
            .zip(&assignment.splits)
            .filter(|(scanned, _)| scanned.example.relative.contains("copy"))
            .map(|(_, split)| *split)
            .collect();
        assert_eq!(sides.len(), 1, "seed {seed}");
    }
    let given = tempfile::tempdir().unwrap();
    for (path, number) in [("train/a/1.png", 1), ("train/b/2.png", 2), ("val/a/1.png", 1), ("val/b/3.png", 3)] {
        write(given.path(), path, number);
    }
    let (_, _, assignment) = assigned(given.path(), FIFTH);
    assert_eq!(assignment.leaks.len(), 1);
    assert!(
        assignment.notes.iter().any(|note| note.contains("train/a/1.png and val/a/1.png")),
        "{:?}",
        assignment.notes
    );
}

#[test]
fn a_memo_saves_decoding_and_forgets_changed_files() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "a/1.png", 1);
    write(root.path(), "b/2.png", 2);
    let memo_path = root.path().join("memo");
    let listing = layouts::open(root.path()).unwrap();
    let run = || {
        let memo = ScanMemo::open(memo_path.clone());
        scan(&listing, 1, Some(&memo), &AtomicBool::new(false), &|_, _| {}).unwrap()
    };
    let first = run();
    assert_eq!(run(), first);
    write(root.path(), "a/1.png", 9);
    let changed = run();
    assert_ne!(changed.examples[0].digest, first.examples[0].digest);
    assert_eq!(changed.examples[1], first.examples[1]);
    fs::write(&memo_path, "damaged").unwrap();
    assert_eq!(run(), changed);
}

#[test]
fn a_scan_that_is_told_to_stop_stops() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "a/1.png", 1);
    write(root.path(), "b/2.png", 2);
    let listing = layouts::open(root.path()).unwrap();
    let result = scan(&listing, 1, None, &AtomicBool::new(true), &|_, _| {});
    assert!(matches!(result, Err(DataError::Interrupted)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_split_is_stratified_and_leaves_something_to_learn(
        counts in proptest::collection::vec(1usize..14, 2..5), validation in 0.05f32..0.6, test in 0.0f32..0.3, seed: u64,
    ) {
        let root = tempfile::tempdir().unwrap();
        let mut number = 0;
        for (class, count) in counts.iter().enumerate() {
            for _ in 0..*count {
                write(root.path(), &format!("class {class}/{number}.png"), number);
                number += 1;
            }
        }
        let rule = SplitRule { validation, test, seed };
        let (_, scan, assignment) = assigned(root.path(), rule);
        prop_assert_eq!(assignment.splits.len(), scan.examples.len());
        prop_assert_eq!(&split(&scan, &layouts::open(root.path()).unwrap().classes, &rule), &assignment);
        for (class, count) in counts.iter().enumerate() {
            let of = |split: Split| {
                scan.examples.iter().zip(&assignment.splits).filter(|(s, found)| s.example.label == class && **found == split).count()
            };
            prop_assert!(of(Split::Train) >= 1);
            if *count >= 4 {
                let wanted = (*count as f32 * validation).round().max(1.0) as usize;
                prop_assert!(of(Split::Validation) >= 1 && of(Split::Validation) <= wanted + 1);
            }
        }
    }
}
