//! Recordings in every format, whole and broken in every way.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

use headstart_data::audio::decode::AudioStream;
use headstart_data::audio::findings::{Finding, Limits};
use headstart_data::audio::recording::{Reader, inspect, read, read_bytes};
use headstart_data::error::DataError;
use proptest::prelude::*;

const RATE: u32 = 22_050;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/audio").join(name)
}

/// The average of the two tones of `make.py`.
fn tones(frames: usize) -> Vec<f32> {
    let n = |n: usize| n as f64 / f64::from(RATE);
    let value = |i: usize| (0.6 * (TAU * 441.0 * n(i)).sin() + 0.3 * (TAU * 882.0 * n(i) + 1.0).sin()) / 2.0;
    (0..frames).map(|i| value(i) as f32).collect()
}

/// All samples at the file's own rate.
fn decoded(bytes: Vec<u8>) -> Result<(Vec<f32>, AudioStream), DataError> {
    let mut stream = AudioStream::from_bytes(Path::new("recording"), bytes)?;
    let mut samples = Vec::new();
    while stream.read(&mut samples)? {}
    Ok((samples, stream))
}

fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_sample_format_is_decoded_within_its_own_rounding() {
    let (short, long) = (tones(900), tones(8_000));
    for (name, format, expected, rounding) in [
        ("u8.wav", "WAV", &short, 1.0 / 128.0),
        ("i16.wav", "WAV", &short, 1.0 / 32_768.0),
        ("i24.wav", "WAV", &short, 1.0 / 8_388_608.0),
        ("i24_extensible.wav", "WAV", &short, 1.0 / 8_388_608.0),
        ("i32.wav", "WAV", &short, 1e-7),
        ("f32.wav", "WAV", &short, 1e-7),
        ("f64.wav", "WAV", &short, 1e-7),
        ("i16.flac", "FLAC", &long, 1.0 / 32_768.0),
        ("i24.flac", "FLAC", &short, 1.0 / 8_388_608.0),
    ] {
        let (samples, stream) = decoded(std::fs::read(fixture(name)).unwrap()).unwrap();
        let header = stream.header();
        assert_eq!((header.format, header.rate, header.channels), (format, RATE, 2), "{name}");
        assert_eq!(header.frames, Some(expected.len() as u64), "{name}");
        let error = worst(&samples, expected);
        assert!(error <= rounding + 1e-7, "{name}: {error}");
    }
}

#[test]
fn lossy_formats_are_decoded_as_by_libsndfile() {
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap();
    for (name, tolerance) in [("alaw.wav", 1e-5), ("mulaw.wav", 1e-5), ("vorbis.ogg", 1e-4), ("layer3.mp3", 1e-4)] {
        let (samples, _) = decoded(std::fs::read(fixture(name)).unwrap()).unwrap();
        let expected = &expected["formats"][name];
        let mono: Vec<f32> = serde_json::from_value(expected["mono"].clone()).unwrap();
        let every = expected["every"].as_u64().unwrap() as usize;
        assert_eq!(samples.len(), expected["frames"].as_u64().unwrap() as usize, "{name}");
        let found: Vec<f32> = samples.iter().step_by(every).copied().collect();
        let error = worst(&found, &mono);
        assert!(error < tolerance, "{name}: {error}");
    }
}

#[test]
fn any_rate_and_any_number_of_channels_become_mono_at_16_khz() {
    let recording = read(&fixture("i16.flac"), &Limits::default()).unwrap();
    assert_eq!(recording.samples.len(), (8_000 * 16_000usize).div_ceil(RATE as usize));
    assert_eq!(recording.findings, []);
    // The same tones at the new rate, away from the ends.
    let value = |i: usize| {
        let t = i as f64 / 16_000.0;
        ((0.6 * (TAU * 441.0 * t).sin() + 0.3 * (TAU * 882.0 * t + 1.0).sin()) / 2.0) as f32
    };
    for i in 500..recording.samples.len() - 500 {
        assert!((recording.samples[i] - value(i)).abs() < 1e-4, "{i}");
    }
}

#[test]
fn opus_and_other_codings_are_refused_by_name() {
    let error = AudioStream::open(&fixture("opus.ogg")).unwrap_err();
    assert!(matches!(error, DataError::UnreadableAudio { .. }), "{error}");
    assert!(error.help().unwrap().contains("FLAC"));
}

/// A WAV file of these bytes of samples, with every header field as given.
fn wav(format: u16, channels: u16, rate: u32, bits: u16, data: &[u8], claimed: u32) -> Vec<u8> {
    let align = channels.wrapping_mul(bits / 8);
    let mut bytes = b"RIFF".to_vec();
    bytes.extend(claimed.saturating_add(36).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0");
    bytes.extend(format.to_le_bytes());
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate.to_le_bytes());
    bytes.extend(rate.wrapping_mul(u32::from(align)).to_le_bytes());
    bytes.extend(align.to_le_bytes());
    bytes.extend(bits.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend(claimed.to_le_bytes());
    bytes.extend(data);
    bytes
}

/// 16-bit mono at 16 kHz.
fn speech(samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    wav(1, 1, 16_000, 16, &data, data.len() as u32)
}

fn findings(bytes: Vec<u8>) -> Vec<Finding> {
    read_bytes(Path::new("x.wav"), bytes, &Limits::default()).unwrap().findings
}

#[test]
fn what_is_wrong_with_a_recording_is_found() {
    let tone: Vec<i16> = (0..16_000).map(|n| ((f64::from(n) * 0.2).sin() * 8_000.0) as i16).collect();
    assert_eq!(findings(speech(&tone)), []);
    assert_eq!(findings(speech(&[])), [Finding::Empty]);
    assert_eq!(findings(speech(&[0; 16_000])), [Finding::Silent { peak: 0.0 }]);
    assert_eq!(findings(speech(&tone[..160])), [Finding::TooShort { seconds: 0.01 }]);
    let loud: Vec<i16> = tone.iter().map(|sample| sample.saturating_mul(20)).collect();
    assert!(matches!(findings(speech(&loud)).as_slice(), [Finding::Clipped { share }] if *share > 0.3));
    let mut cut = speech(&tone);
    cut.truncate(44 + 16_000);
    assert_eq!(findings(cut), [Finding::Truncated { seconds: 0.5, expected: 1.0 }]);
    let long = read_bytes(Path::new("x.wav"), speech(&tone), &Limits { longest: 0.5, ..Limits::default() }).unwrap();
    assert!(matches!(long.findings.as_slice(), [Finding::TooLong { .. }]));
    assert!(long.samples.len() < 16_000);
}

#[test]
fn what_is_no_number_becomes_silence_and_is_told() {
    let mut samples: Vec<f32> = (0..16_000).map(|n| (n as f32 * 0.2).sin() * 0.3).collect();
    (samples[7], samples[8], samples[9], samples[10]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX);
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let bytes = wav(3, 1, 16_000, 32, &data, data.len() as u32);
    let recording = read_bytes(Path::new("x.wav"), bytes, &Limits::default()).unwrap();
    assert_eq!(recording.findings, [Finding::NotFinite { samples: 4 }]);
    assert_eq!(recording.samples[7..11], [0.0; 4]);
    assert_eq!(recording.samples[6], samples[6]);
}

#[test]
fn a_file_that_was_written_to_a_pipe_is_whole() {
    let tone: Vec<u8> = (0..16_000).flat_map(|n| (((f64::from(n) * 0.2).sin() * 8e3) as i16).to_le_bytes()).collect();
    for claimed in [u32::MAX, 0x7fff_f000] {
        let found = read_bytes(Path::new("x.wav"), wav(1, 1, 16_000, 16, &tone, claimed), &Limits::default()).unwrap();
        assert_eq!((found.samples.len(), found.findings.as_slice()), (16_000, [].as_slice()), "{claimed}");
    }
}

#[test]
fn headers_that_lie_are_refused_in_words() {
    let data = [1u8; 4_000];
    for (what, bytes) in [
        ("no channel", wav(1, 0, 16_000, 16, &data, 4_000)),
        ("too many channels", wav(1, 60_000, 16_000, 16, &data, 4_000)),
        ("no rate", wav(1, 1, 0, 16, &data, 4_000)),
        ("an absurd rate", wav(1, 1, u32::MAX, 16, &data, 4_000)),
        ("no bits", wav(1, 1, 16_000, 0, &data, 4_000)),
        ("odd bits", wav(1, 1, 16_000, 13, &data, 4_000)),
        ("an unknown coding", wav(0x1234, 1, 16_000, 16, &data, 4_000)),
    ] {
        let error = read_bytes(Path::new("x.wav"), bytes, &Limits::default()).unwrap_err();
        assert!(matches!(error, DataError::UnreadableAudio { .. }), "{what}: {error}");
        assert!(error.to_string().contains("x.wav") && error.help().is_some(), "{what}: {error}");
    }
    // A title of four gigabytes, which must not be allocated.
    let mut titled = wav(1, 1, 16_000, 16, &data, 4_000)[..36].to_vec();
    titled.extend(b"LIST\xf0\xff\xff\xffINFOINAM\xe0\xff\xff\xffshort");
    let error = read_bytes(Path::new("x.wav"), titled, &Limits::default()).unwrap_err();
    assert!(matches!(error, DataError::UnreadableAudio { .. }), "{error}");
    let error = inspect(Path::new("not/there.wav"), &Limits::default()).unwrap_err();
    assert!(matches!(error, DataError::Io { .. }), "{error}");
}

#[test]
fn a_long_recording_is_streamed_in_blocks() {
    // Half an hour of 8-bit sound, decoded in blocks of which none is large.
    let data: Vec<u8> = (0..8_000 * 1_800u32).map(|n| (n / 7 % 200) as u8 + 20).collect();
    let bytes = wav(1, 1, 8_000, 8, &data, data.len() as u32);
    let mut reader = Reader::from_bytes(Path::new("x.wav"), bytes).unwrap();
    let (mut block, mut all, mut largest) = (Vec::new(), 0, 0);
    while reader.read(&mut block).unwrap() {
        all += block.len();
        largest = largest.max(block.len());
        block.clear();
    }
    assert_eq!(all, 16_000 * 1_800);
    assert!(largest < 100_000, "{largest}");
    let limits = Limits { longest: 3_600.0, ..Limits::default() };
    assert_eq!(reader.findings(&limits), []);
}

/// Small files of every format.
fn small() -> Vec<Vec<u8>> {
    let names = ["i16.wav", "i24_extensible.wav", "f32.wav", "alaw.wav", "i24.flac", "vorbis.ogg", "layer3.mp3"];
    names.iter().map(|name| std::fs::read(fixture(name)).unwrap()).collect()
}

#[test]
fn every_beginning_of_a_file_is_an_error_or_a_finding_but_no_panic() {
    for bytes in small() {
        for length in (0..bytes.len()).step_by(if bytes.len() > 3_000 { 61 } else { 13 }).chain(0..100.min(bytes.len()))
        {
            let _ = read_bytes(Path::new("x"), bytes[..length].to_vec(), &Limits::default());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn bytes_that_were_flipped_are_an_error_or_a_finding_but_no_panic(
        file in 0usize..7,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        in_header: bool,
    ) {
        let mut bytes = small().swap_remove(file);
        let reach = if in_header { bytes.len().min(100) } else { bytes.len() };
        for (place, value) in flips {
            bytes[place.index(reach)] = value;
        }
        if let Ok(recording) = read_bytes(Path::new("x"), bytes, &Limits::default()) {
            prop_assert!(recording.samples.iter().all(|sample| sample.is_finite()));
        }
    }
}
