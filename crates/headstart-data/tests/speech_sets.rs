//! Data sets of recordings as people really have them.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests may panic, and say what they skip")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use headstart_data::audio::findings::{Finding, Limits};
use headstart_data::error::DataError;
use headstart_data::layouts::{self, LAYOUTS, Opener, Split};
use headstart_data::speech::alphabet::Alphabet;
use headstart_data::speech::error_rate::{Edits, of_all};
use headstart_data::speech::scan::scan;
use headstart_data::speech::split::{Speakers, split};
use headstart_data::speech::style::TranscriptStyle;
use headstart_data::speech::{SpeechSet, SpeechTarget};
use headstart_data::split::SplitRule;
use headstart_data::text::TextOptions;

/// A folder with these texts, and these names as small files that look like recordings by their names alone.
fn folder(texts: &[(&str, &str)], recordings: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let empty = recordings.iter().map(|name| (*name, ""));
    for (name, text) in texts.iter().copied().chain(empty) {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn shared(relative: &str) -> Option<PathBuf> {
    let root =
        std::env::var("HEADSTART_SHARED").unwrap_or_else(|_| format!("{}/../../../shared", env!("CARGO_MANIFEST_DIR")));
    let path = Path::new(&root).join("data").join(relative);
    if !path.exists() {
        println!("skipped: {} not found", path.display());
        return None;
    }
    Some(path)
}

/// File name and label of every recording.
fn labels(set: &SpeechSet) -> Vec<(String, String)> {
    let label = |target: &SpeechTarget| match target {
        SpeechTarget::Transcript(text) => text.clone(),
        SpeechTarget::Class(class) => set.classes[*class].clone(),
    };
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    set.utterances.iter().map(|utterance| (name(&utterance.path), label(&utterance.target))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn lines(set: &SpeechSet) -> Vec<usize> {
    set.problems.iter().map(|problem| problem.line).collect()
}

/// A small data set of every layout of recordings: its name, the folder, what is opened in it, and how many it holds.
fn samples() -> Vec<(&'static str, tempfile::TempDir, &'static str, usize)> {
    let two = ["wav/a.wav", "wav/b.wav"];
    let deepspeech = "wav_filename,wav_filesize,transcript\nwav/a.wav,0,one\nwav/b.wav,0,two\n";
    let voice = "client_id\tpath\tsentence\tup_votes\nx\ta.mp3\tOne \"two.\t2\ny\tb.mp3\tThree.\t2\n";
    vec![
        ("deepspeech_csv", folder(&[("train.csv", deepspeech)], &two), "train.csv", 2),
        (
            "deepspeech_csv",
            folder(
                &[("train.csv", deepspeech), ("dev.csv", "wav_filename,wav_filesize,transcript\nwav/c.wav,0,x\n")],
                &["wav/a.wav", "wav/b.wav", "wav/c.wav"],
            ),
            "",
            3,
        ),
        (
            "common_voice",
            folder(
                &[("train.tsv", voice), ("validated.tsv", voice), ("reported.tsv", "sentence\treason\n")],
                &["clips/a.mp3", "clips/b.mp3"],
            ),
            "",
            2,
        ),
        (
            "common_voice",
            folder(&[("validated.tsv", voice), ("invalidated.tsv", voice)], &["clips/a.mp3", "clips/b.mp3"]),
            "",
            2,
        ),
        (
            "transcripts",
            folder(&[("transcripts.tsv", "file\tseconds\ttext\nwav/a.wav\t1\tone\nwav/b.wav\t1\ttwo, three\n")], &two),
            "",
            2,
        ),
        (
            "transcripts",
            folder(&[("transcripts.csv", "text,path\n\"one, two\",\"wav/a.wav\"\nthree,wav/b.wav\n")], &two),
            "transcripts.csv",
            2,
        ),
        (
            "ljspeech",
            folder(&[("metadata.csv", "a|\"One 2|\"One two\nb|Three|\n")], &["wavs/a.wav", "wavs/b.wav"]),
            "",
            2,
        ),
        ("recording_texts", folder(&[("a.txt", "text, label one\n"), ("b.txt", "two")], &["a.wav", "b.flac"]), "", 2),
        ("recording_folder", folder(&[("yes/README.txt", "x")], &["yes/1.wav", "yes/2.ogg", "no/1.WAV"]), "", 3),
        (
            "recording_names",
            folder(
                &[("README.md", "x")],
                &[
                    "recordings/0_ann_0.wav",
                    "recordings/0_ann_1.wav",
                    "recordings/1_bob_0.wav",
                    "recordings/1_bob_1.wav",
                ],
            ),
            "",
            4,
        ),
    ]
}

#[test]
fn every_path_is_recognized_by_one_layout_alone_which_reads_it() {
    let mut met = BTreeSet::new();
    for (layout, root, inner, count) in samples() {
        let path = root.path().join(inner);
        let claims: Vec<&str> = LAYOUTS.iter().filter(|row| (row.recognizes)(&path)).map(|row| row.name).collect();
        assert_eq!(claims, [layout], "{layout} {inner}");
        assert!(layouts::holds_transcripts(&path) != layouts::holds_sounds(&path));
        let set = layouts::open_speech(&path).unwrap();
        assert_eq!((set.layout, set.utterances.len()), (layout, count), "{:?}", set.problems);
        assert!(matches!(layouts::open(&path), Err(DataError::Layout { .. })));
        let error = layouts::open_text(&path, &TextOptions::default()).unwrap_err();
        assert!(error.to_string().contains("recordings"), "{error}");
        met.insert(layout);
    }
    let of_speech = LAYOUTS.iter().filter(|row| matches!(row.open, Opener::Speech(_) | Opener::Sounds(_)));
    assert_eq!(met, of_speech.map(|row| row.name).collect(), "a layout has no sample");
}

#[test]
fn a_text_or_picture_data_set_is_not_taken_for_recordings() {
    let texts = folder(&[("pos/1.txt", "good"), ("pos/2.txt", "x"), ("neg/1.txt", "bad")], &["neg/noise.wav"]);
    assert_eq!(layouts::find(texts.path()).unwrap().name, "text_folder");
    let table = folder(&[("train.csv", "path,text,label\na.html,good,1\nb.html,bad,0\n")], &[]);
    assert_eq!(layouts::find(table.path()).unwrap().name, "text_table");
    let table = folder(&[("train.tsv", "path\tsentence\tlabel\na.html\tgood\t1\nb.html\tbad\t0\n")], &[]);
    assert_eq!(layouts::find(table.path()).unwrap().name, "text_table");
    let photos = folder(&[("cat/1.jpg", "x"), ("dog/2.jpg", "x")], &["dog/bark.wav"]);
    assert_eq!(layouts::find(photos.path()).unwrap().name, "image_folder");
    assert!(layouts::open_speech(photos.path()).unwrap_err().to_string().contains("pictures"));
    assert!(matches!(layouts::open_speech(Path::new("not/there")), Err(DataError::Io { .. })));
}

#[test]
fn broken_rows_are_left_out_and_listed_by_their_line() {
    let text = "wav_filename,wav_filesize,transcript\na.wav,1,one\nmissing.wav,1,two\nb.wav,1,\n,1,three\na.wav,1,again\nb.wav,1\nb.wav,1,\"open\nb.wav,1,last\n";
    let root = folder(&[("train.csv", text)], &["a.wav", "b.wav"]);
    let set = layouts::open_speech(root.path()).unwrap();
    assert_eq!(labels(&set), pairs(&[("a.wav", "one"), ("b.wav", "last")]));
    assert_eq!(lines(&set), [3, 4, 5, 6, 7, 8]);
    let all: String = set.problems.iter().map(ToString::to_string).collect();
    for what in
        ["there is no recording", "transcript is empty", "names no recording", "came before", "columns", "quote"]
    {
        assert!(all.contains(what), "{what} in {all}");
    }
    assert!(set.notes.iter().any(|note| note.starts_with("6 rows")), "{:?}", set.notes);
    assert!(set.place(1).ends_with("train.csv:9"));

    let none = folder(&[("train.csv", "wav_filename,wav_filesize,transcript\nx.wav,1,one\n")], &[]);
    let error = layouts::open_speech(none.path()).unwrap_err();
    assert!(error.to_string().contains("train.csv:2") && error.help().is_some(), "{error}");
}

#[test]
fn ljspeech_takes_the_text_in_words_and_plain_quotes() {
    let text = "a|In 1455, \"he said|In fourteen fifty-five, \"he said\nb|No quote|\nbroken\n|no name|x\na2|\"Whole\" line|\"Whole\" line\n";
    let root = folder(&[("metadata.csv", text)], &["wavs/a.wav", "wavs/b.wav", "wavs/a2.wav"]);
    let set = layouts::open_speech(root.path()).unwrap();
    let expected =
        [("a.wav", "In fourteen fifty-five, \"he said"), ("b.wav", "No quote"), ("a2.wav", "\"Whole\" line")];
    assert_eq!(labels(&set), pairs(&expected));
    assert_eq!(lines(&set), [3, 4]);
}

#[test]
fn common_voice_has_speakers_and_its_own_parts() {
    let row = |speaker: &str, name: &str| format!("client_id\tpath\tsentence\n{speaker}\t{name}.mp3\tSome words.\n");
    let (train, dev, test) = (row("ann", "a"), row("bob", "b"), row("cyd", "c"));
    let texts = [
        ("train.tsv", &*train),
        ("dev.tsv", &*dev),
        ("test.tsv", &*test),
        ("validated.tsv", &*train),
        ("other.tsv", &*dev),
    ];
    let root = folder(&texts, &["clips/a.mp3", "clips/b.mp3", "clips/c.mp3"]);
    let set = layouts::open_speech(root.path()).unwrap();
    let found: Vec<_> = set.utterances.iter().map(|one| (one.speaker.as_deref().unwrap(), one.split)).collect();
    let expected = [("ann", Some(Split::Train)), ("bob", Some(Split::Validation)), ("cyd", Some(Split::Test))];
    assert_eq!(found, expected);
    assert!(set.problems.is_empty());
}

#[test]
fn classes_come_from_folders_or_from_names() {
    let set = layouts::open_speech(
        folder(&[], &["train/yes/1_nohash_0.wav", "train/no/2_nohash_0.wav", "test/no/2_nohash_1.wav"]).path(),
    )
    .unwrap();
    assert_eq!(set.classes, ["no", "yes"]);
    let found: Vec<_> =
        set.utterances.iter().map(|one| (one.speaker.as_deref().unwrap(), one.split.unwrap())).collect();
    assert_eq!(found, [("2", Split::Test), ("2", Split::Train), ("1", Split::Train)]);
    let names = ["r/10_a_0.wav", "r/10_a_1.wav", "r/9_a_0.wav", "r/9_b_0.wav"];
    let set = layouts::open_speech(folder(&[], &names).path()).unwrap();
    assert_eq!(set.classes, ["9", "10"]);
    let single = layouts::open_speech(folder(&[], &["yes/1.wav"]).path()).unwrap_err();
    assert!(single.to_string().contains("only one class"), "{single}");
}

/// 16-bit mono at 16 kHz.
fn wav(samples: &[i16]) -> Vec<u8> {
    let size = samples.len() as u32 * 2;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((size + 36).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data");
    bytes.extend(size.to_le_bytes());
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

#[test]
fn a_scan_lists_what_cannot_be_learned_from_and_the_split_does_not_see_it() {
    let tone = |pitch: f64| -> Vec<i16> { (0..8_000).map(|n| ((f64::from(n) * pitch).sin() * 8e3) as i16).collect() };
    let rows: Vec<String> = (0..40).map(|n| format!("{n}.wav,0,this is sentence {n}\n")).collect();
    let write = |bad: &[usize]| {
        let kept: String =
            rows.iter().enumerate().filter(|(n, _)| !bad.contains(n)).map(|(_, row)| row.as_str()).collect();
        let root = folder(&[("train.csv", &format!("wav_filename,wav_filesize,transcript\n{kept}"))], &[]);
        for n in 0..40 {
            fs::write(root.path().join(format!("{n}.wav")), wav(&tone(0.1 + n as f64 / 500.0))).unwrap();
        }
        root
    };
    let root = write(&[]);
    let put = |n: usize, bytes: &[u8]| fs::write(root.path().join(format!("{n}.wav")), bytes).unwrap();
    put(3, b"");
    put(7, b"no sound");
    put(11, &wav(&[0; 8_000]));
    put(12, &wav(&[]));
    put(13, &wav(&tone(0.2)[..500]));
    put(17, &wav(&tone(0.2))[..9_000]);
    put(20, &wav(&tone(0.2).iter().map(|sample| sample.saturating_mul(9)).collect::<Vec<_>>()));
    let run = |root: &Path, threads| {
        let set = layouts::open_speech(root).unwrap();
        scan(&set, &Limits::default(), threads, &AtomicBool::new(false), &|_, _| {}).unwrap()
    };
    let found = run(root.path(), 2);
    assert_eq!(found, run(root.path(), 1));
    let reasons: Vec<&str> = found.skipped.iter().map(|skipped| skipped.reason.as_str()).collect();
    let expected = ["zero bytes", "a text file", "silent", "no sound", "too short", "cut off"];
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for (reason, expected) in reasons.iter().zip(expected) {
        assert!(reason.contains(expected), "{reasons:?}");
    }
    assert!(matches!(found.doubtful.as_slice(), [(_, Finding::Clipped { .. })]), "{:?}", found.doubtful);

    let bad = [3, 7, 11, 12, 13, 17];
    let clean = write(&bad);
    fs::write(clean.path().join("20.wav"), fs::read(root.path().join("20.wav")).unwrap()).unwrap();
    let rule = SplitRule { validation: 0.2, test: 0.0, seed: 1 };
    let parts = |root: &Path| split(&run(root, 2), &rule, Speakers::default()).splits;
    assert_eq!(parts(root.path()), parts(clean.path()));
    assert_eq!(parts(root.path()).iter().filter(|part| **part == Split::Validation).count(), 7);
    let stopped =
        scan(&layouts::open_speech(root.path()).unwrap(), &Limits::default(), 1, &AtomicBool::new(true), &|_, _| {});
    assert!(matches!(stopped, Err(DataError::Interrupted)));
}

#[test]
fn the_shared_sentences_are_read_whole() {
    for (name, count, seconds) in [("english_sentences", 70, 503.0), ("spanish_sentences", 130, 645.0)] {
        let Some(path) = shared(name) else { continue };
        let set = layouts::open_speech(&path).unwrap();
        assert_eq!((set.layout, set.utterances.len(), set.problems.len()), ("transcripts", count, 0));
        let found = scan(&set, &Limits::default(), 2, &AtomicBool::new(false), &|_, _| {}).unwrap();
        assert_eq!(found.skipped, []);
        let all: f64 = found.recordings.iter().map(|recording| recording.seconds).sum();
        assert!((all - seconds).abs() < 1.0, "{all}");
        let style = TranscriptStyle::plain();
        let written: Vec<String> = set.transcripts().map(|text| style.apply(text)).collect();
        let alphabet = Alphabet::of(written.iter().map(String::as_str));
        println!(
            "{name}: {} symbols `{}`, {} findings",
            alphabet.len(),
            alphabet.write().replace('\n', ""),
            found.doubtful.len()
        );
        assert!((27..45).contains(&alphabet.len()));
        assert_eq!(alphabet.outside(written.iter().map(String::as_str)), BTreeMap::new());
    }
}

#[test]
fn the_shared_digits_have_their_classes_and_speakers_in_their_names() {
    let Some(path) = shared("fsdd") else { return };
    for path in [path.clone(), path.join("recordings")] {
        let set = layouts::open_speech(&path).unwrap();
        assert_eq!((set.layout, set.utterances.len()), ("recording_names", 900));
        assert_eq!(set.classes, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        let speakers: BTreeSet<_> = set.utterances.iter().filter_map(|utterance| utterance.speaker.clone()).collect();
        assert_eq!(speakers.len(), 6);
    }
}

#[derive(serde::Deserialize)]
struct Case {
    pairs: Vec<(String, String)>,
    words: [usize; 4],
    characters: [usize; 4],
    word_rate: f64,
    character_rate: f64,
}

#[test]
fn error_rates_are_those_of_jiwer() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/metrics/error_rates.json");
    let fixture: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let cases: Vec<Case> = serde_json::from_value(fixture["cases"].clone()).unwrap();
    assert!(cases.len() > 200);
    for case in cases {
        let (words, characters) = of_all(case.pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())));
        let counts = |edits: Edits| [edits.hits, edits.substitutions, edits.deletions, edits.insertions];
        assert_eq!(counts(words), case.words, "{:?}", case.pairs);
        assert_eq!(counts(characters), case.characters, "{:?}", case.pairs);
        assert_eq!((words.rate(), characters.rate()), (case.word_rate, case.character_rate), "{:?}", case.pairs);
    }
}
