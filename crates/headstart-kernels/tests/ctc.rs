//! CTC against PyTorch, finite differences and the sum over all paths.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::collections::BTreeMap;
use std::path::Path;

use headstart_kernels::KernelError;
use headstart_kernels::ctc::{BeamOptions, BeamSearch, CtcBatch, Language, gradients, greedy, losses, words};
use proptest::prelude::*;
use serde_json::Value;

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn counts(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as usize).collect()
}

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/ctc/losses.json");
    let fixture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for case in fixture["cases"].as_array().unwrap() {
        let count = |name: &str| case[name].as_u64().unwrap() as usize;
        let rows: Vec<Vec<usize>> = case["labels"].as_array().unwrap().iter().map(counts).collect();
        let (logits, lengths) = (floats(&case["logits"]), counts(&case["lengths"]));
        let (labels, label_lengths) = (rows.concat(), rows.iter().map(Vec::len).collect::<Vec<_>>());
        let mut batch = CtcBatch {
            logits: &logits,
            frames: count("frames"),
            classes: count("classes"),
            lengths: &lengths,
            labels: &labels,
            label_lengths: &label_lengths,
            blank: count("blank"),
            zero_infinity: false,
        };
        let expected = case["losses"].as_array().unwrap();
        for (loss, expected) in losses(&batch).unwrap().iter().zip(expected) {
            match expected.as_f64() {
                Some(expected) => {
                    assert!((f64::from(*loss) - expected).abs() <= 1e-5 * expected.max(1.0), "{loss} {expected}")
                }
                None => assert_eq!(*loss, f32::INFINITY),
            }
        }
        batch.zero_infinity = true;
        let mut gradient = vec![f32::NAN; logits.len()];
        let zeroed = gradients(&batch, &mut gradient).unwrap();
        assert!(zeroed.iter().zip(expected).all(|(loss, expected)| !expected.is_null() || *loss == 0.0));
        for (found, expected) in gradient.iter().zip(floats(&case["gradient"])) {
            assert!((found - expected).abs() <= 1e-5, "{found} {expected}");
        }
    }
}

#[test]
fn a_gradient_points_nowhere_where_the_loss_is_infinite() {
    let logits = [0.5f32; 6];
    let batch = CtcBatch {
        logits: &logits,
        frames: 2,
        classes: 3,
        lengths: &[2],
        labels: &[1, 1],
        label_lengths: &[2],
        blank: 2,
        zero_infinity: false,
    };
    let mut gradient = [7.0f32; 6];
    assert_eq!(gradients(&batch, &mut gradient).unwrap(), [f32::INFINITY]);
    assert_eq!(gradient, [0.0; 6]);
    // A probability of zero on the only way is as good as no way.
    let closed = [f32::NEG_INFINITY, 0.0, 0.0];
    let batch = CtcBatch { logits: &closed, frames: 1, lengths: &[1], labels: &[0], label_lengths: &[1], ..batch };
    assert_eq!(gradients(&batch, &mut gradient[..3]).unwrap(), [f32::INFINITY]);
}

#[test]
fn lengths_and_labels_that_do_not_fit_are_refused() {
    let logits = [0.0f32; 24];
    let good = CtcBatch {
        logits: &logits,
        frames: 4,
        classes: 3,
        lengths: &[4, 2],
        labels: &[0, 1, 0],
        label_lengths: &[2, 1],
        blank: 2,
        zero_infinity: false,
    };
    assert!(losses(&good).is_ok());
    for bad in [
        CtcBatch { logits: &logits[1..], ..good },
        CtcBatch { frames: usize::MAX, ..good },
        CtcBatch { classes: 0, ..good },
        CtcBatch { blank: 3, ..good },
        CtcBatch { lengths: &[5, 2], ..good },
        CtcBatch { lengths: &[4], ..good },
        CtcBatch { labels: &[0, 2, 0], ..good },
        CtcBatch { labels: &[0, 3, 0], ..good },
        CtcBatch { labels: &[0, 1], ..good },
        CtcBatch { label_lengths: &[2], ..good },
        CtcBatch { label_lengths: &[2, usize::MAX], ..good },
    ] {
        assert!(matches!(losses(&bad), Err(KernelError::Length { .. } | KernelError::Invalid(_))), "{bad:?}");
    }
    assert!(gradients(&good, &mut [0.0; 3]).is_err());
    let none = CtcBatch { logits: &[], frames: 0, lengths: &[], labels: &[], label_lengths: &[], ..good };
    assert_eq!(gradients(&none, &mut []), Ok(Vec::new()));
}

/// Probabilities of every text that `[T, C]` logits can mean, by going through every path.
fn all_texts(logits: &[f32], classes: usize, blank: usize) -> BTreeMap<Vec<usize>, f64> {
    let mut texts: BTreeMap<Vec<usize>, f64> = BTreeMap::new();
    let mut paths: Vec<(Vec<usize>, f64)> = vec![(Vec::new(), 1.0)];
    for row in logits.chunks_exact(classes) {
        let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
        let extended = paths.iter().flat_map(|(path, probability)| {
            row.iter().enumerate().map(move |(class, logit)| {
                let mut path = path.clone();
                path.push(class);
                (path, probability * f64::from(*logit).exp() / sum)
            })
        });
        paths = extended.collect();
    }
    for (mut path, probability) in paths {
        path.dedup();
        path.retain(|class| *class != blank);
        *texts.entry(path).or_default() += probability;
    }
    texts
}

/// Logits of 1 to 5 frames over 2 to 4 classes, and a blank among them.
fn small() -> impl Strategy<Value = (Vec<f32>, usize, usize)> {
    (1usize..6, 2usize..5).prop_flat_map(|(frames, classes)| {
        (prop::collection::vec(-3.0f32..3.0, frames * classes), Just(classes), 0..classes)
    })
}

/// A language of its own: a word is as probable as its letters say, less after the same word.
struct Toy;

impl Language for Toy {
    fn begin(&self) -> Vec<u32> {
        vec![0]
    }

    fn word(&self, context: &[u32], word: &[usize]) -> (f64, Vec<u32>) {
        let code = word.iter().fold(1u32, |code, label| code * 5 + *label as u32);
        let repeated = if context == [code] { 1.5 } else { 0.0 };
        (-0.3 - f64::from(code % 7) * 0.4 - repeated, vec![code])
    }
}

fn toy_score(text: &[usize], space: usize, alpha: f64, beta: f64) -> f64 {
    let (mut context, mut score) = (Toy.begin(), 0.0);
    for word in text.split(|label| *label == space).filter(|word| !word.is_empty()) {
        let (probability, next) = Toy.word(&context, word);
        score += alpha * probability + beta;
        context = next;
    }
    score
}

/// Nothing is cut off.
const WIDE: BeamOptions = BeamOptions {
    width: 10_000,
    most_classes: 100,
    class_probability: 1.0,
    score_range: f64::MAX,
    alpha: 0.7,
    beta: 0.4,
};

proptest! {
    #[test]
    fn the_loss_is_the_sum_over_all_paths((logits, classes, blank) in small()) {
        let frames = logits.len() / classes;
        for (text, probability) in all_texts(&logits, classes, blank) {
            let batch = CtcBatch {
                logits: &logits, frames, classes, lengths: &[frames], labels: &text, label_lengths: &[text.len()], blank,
                zero_infinity: false,
            };
            let loss = f64::from(losses(&batch).unwrap()[0]);
            prop_assert!((loss + probability.ln()).abs() < 1e-4, "{text:?}: {loss} instead of {}", -probability.ln());
        }
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences(
        (logits, classes, blank) in small(),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let frames = logits.len() / classes;
        let labels: Vec<usize> = picks.iter().map(|pick| pick.index(classes)).filter(|label| *label != blank).collect();
        let needed = labels.len() + labels.windows(2).filter(|pair| pair[0] == pair[1]).count();
        prop_assume!(needed <= frames);
        let loss = |logits: &[f32]| {
            // The loss itself is rounded to f32, which differences would show: all paths instead.
            -all_texts(logits, classes, blank)[&labels].ln()
        };
        let batch = CtcBatch {
            logits: &logits, frames, classes, lengths: &[frames], labels: &labels, label_lengths: &[labels.len()], blank,
            zero_infinity: false,
        };
        let mut gradient = vec![0.0; logits.len()];
        gradients(&batch, &mut gradient).unwrap();
        for place in 0..logits.len() {
            let shifted = |by: f32| {
                let mut logits = logits.clone();
                logits[place] += by;
                (loss(&logits), f64::from(logits[place]))
            };
            let ((above, at), (below, before)) = (shifted(1e-3), shifted(-1e-3));
            let expected = (above - below) / (at - before);
            // Third derivatives are at most about 1, so the difference is off by 1e-6.
            prop_assert!((f64::from(gradient[place]) - expected).abs() < 1e-5, "{} {expected}", gradient[place]);
        }
    }

    #[test]
    fn padding_and_threads_do_not_show_in_the_bytes(
        rows in prop::collection::vec((1usize..9, prop::collection::vec(0usize..3, 0..4)), 1..7),
        seed: u32,
    ) {
        let (frames, classes, blank) = (9, 4, 3);
        let value = |n: usize| ((n as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / 4e6 - 2.0;
        let logits: Vec<f32> = (0..rows.len() * frames * classes).map(value).collect();
        let (lengths, texts): (Vec<usize>, Vec<Vec<usize>>) = rows.into_iter().unzip();
        let (labels, label_lengths) = (texts.concat(), texts.iter().map(Vec::len).collect::<Vec<_>>());
        let run = |threads: usize, logits: &[f32]| {
            let batch = CtcBatch {
                logits, frames, classes, lengths: &lengths, labels: &labels, label_lengths: &label_lengths, blank,
                zero_infinity: true,
            };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut gradient = vec![0.0; logits.len()];
            let losses = pool.install(|| gradients(&batch, &mut gradient)).unwrap();
            (losses, gradient)
        };
        let one = run(1, &logits);
        prop_assert_eq!(&one, &run(3, &logits));
        let mut other = logits.clone();
        for (utterance, length) in lengths.iter().enumerate() {
            let start = utterance * frames * classes;
            prop_assert!(one.1[start + length * classes..start + frames * classes].iter().all(|value| *value == 0.0));
            other[start + length * classes..start + frames * classes].fill(f32::NAN);
        }
        prop_assert_eq!(&one, &run(2, &other));
    }

    #[test]
    fn a_wide_beam_finds_what_all_paths_say((logits, classes, blank) in small()) {
        let mut search = BeamSearch::new(classes, blank, None, WIDE, None).unwrap();
        search.push(&logits).unwrap();
        let texts = all_texts(&logits, classes, blank);
        let found = search.best(usize::MAX);
        prop_assert_eq!(found.len(), texts.len());
        for one in &found {
            let labels: Vec<usize> = one.emissions.iter().map(|emission| emission.label).collect();
            prop_assert!((one.acoustic - texts[&labels].ln()).abs() < 1e-6, "{labels:?}");
            prop_assert_eq!(one.acoustic, one.score);
            prop_assert!(one.emissions.windows(2).all(|pair| pair[0].frames.end <= pair[1].frames.start));
        }
        prop_assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
    }

    #[test]
    fn words_are_weighed_as_the_language_says((logits, classes, blank) in small()) {
        // Some class that is not the blank.
        let space = (blank + 1) % classes;
        let mut search = BeamSearch::new(classes, blank, Some(space), WIDE, Some(&Toy)).unwrap();
        search.push(&logits).unwrap();
        let texts = all_texts(&logits, classes, blank);
        let found = search.best(usize::MAX);
        prop_assert_eq!(found.len(), texts.len());
        let mut best = f64::NEG_INFINITY;
        for one in &found {
            let labels: Vec<usize> = one.emissions.iter().map(|emission| emission.label).collect();
            let expected = texts[&labels].ln() + toy_score(&labels, space, WIDE.alpha, WIDE.beta);
            prop_assert!((one.score - expected).abs() < 1e-6, "{labels:?}: {} {expected}", one.score);
            best = best.max(expected);
        }
        prop_assert!((found[0].score - best).abs() < 1e-6);
    }

    #[test]
    fn frames_may_come_in_any_blocks_and_a_narrow_beam_never_panics(
        logits in prop::collection::vec(-4.0f32..4.0, 20 * 5),
        cut in 0usize..21,
        width in 1usize..6,
        most_classes in 1usize..6,
        class_probability in 0.1f64..1.0,
    ) {
        let options = BeamOptions { width, most_classes, class_probability, score_range: 5.0, ..WIDE };
        let run = |blocks: &[&[f32]]| {
            let mut search = BeamSearch::new(5, 4, Some(0), options, Some(&Toy)).unwrap();
            blocks.iter().for_each(|block| search.push(block).unwrap());
            search.best(3)
        };
        let whole = run(&[&logits]);
        prop_assert!(!whole.is_empty() && whole.len() <= width);
        prop_assert_eq!(whole, run(&[&logits[..cut * 5], &logits[cut * 5..]]));
    }
}

/// Logits that say a path of classes clearly.
fn clear(path: &[usize], classes: usize) -> Vec<f32> {
    let mut logits = vec![0.0; path.len() * classes];
    path.iter().enumerate().for_each(|(frame, class)| logits[frame * classes + class] = 9.0);
    logits
}

#[test]
fn words_have_their_times() {
    // "ab", a space, "b" twice with a blank between: classes are a, b, space, blank.
    let path = [3, 0, 0, 1, 3, 2, 3, 1, 1, 3, 1, 3];
    let logits = clear(&path, 4);
    let mut search = BeamSearch::new(4, 3, Some(2), BeamOptions::default(), None).unwrap();
    search.push(&logits).unwrap();
    let found = &search.best(1)[0].emissions;
    let labels: Vec<usize> = found.iter().map(|emission| emission.label).collect();
    assert_eq!(labels, [0, 1, 2, 1, 1]);
    let times: Vec<_> = words(found, Some(2)).into_iter().map(|word| (word.labels, word.frames)).collect();
    assert_eq!(times, [(vec![0, 1], 1..4), (vec![1, 1], 7..11)]);
    let plain = greedy(&logits, 4, 3).unwrap();
    let times: Vec<_> = words(&plain, Some(2)).into_iter().map(|word| word.frames).collect();
    assert_eq!(times, [1..4, 7..11]);
}

#[test]
fn a_long_recording_is_searched_in_little_memory_to_the_same_end() {
    let path: Vec<usize> = (0..30_000).map(|frame| if frame % 3 == 2 { 4 } else { frame / 3 % 4 }).collect();
    let logits: Vec<f32> =
        clear(&path, 5).iter().enumerate().map(|(n, logit)| logit + ((n * 7_919) % 101) as f32 / 40.0).collect();
    let mut search = BeamSearch::new(5, 4, Some(3), BeamOptions { width: 8, ..BeamOptions::default() }, None).unwrap();
    logits.chunks(500).for_each(|block| search.push(block).unwrap());
    let found = &search.best(1)[0].emissions;
    let expected: Vec<usize> = (0..10_000).map(|n| n % 4).collect();
    assert_eq!(found.iter().map(|emission| emission.label).collect::<Vec<_>>(), expected);
    assert!(found.iter().enumerate().all(|(n, emission)| emission.frames.start / 3 == n));
}

#[test]
fn options_and_numbers_that_are_none_are_refused_or_silent() {
    let search = |classes, blank, options| BeamSearch::new(classes, blank, None, options, None);
    let plain = BeamOptions::default();
    assert!(search(3, 3, plain).is_err() && search(0, 0, plain).is_err());
    for wrong in [
        BeamOptions { width: 0, ..plain },
        BeamOptions { most_classes: 0, ..plain },
        BeamOptions { class_probability: 0.0, ..plain },
        BeamOptions { class_probability: f64::NAN, ..plain },
        BeamOptions { score_range: 0.0, ..plain },
        BeamOptions { alpha: f64::NAN, ..plain },
        BeamOptions { beta: f64::INFINITY, ..plain },
    ] {
        assert!(search(3, 2, wrong).is_err(), "{wrong:?}");
    }
    let mut search = search(3, 2, plain).unwrap();
    assert!(search.push(&[0.0; 4]).is_err());
    assert_eq!(search.best(5).len(), 1);
    search.push(&[f32::NAN, 1.0, 2.0, f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY]).unwrap();
    search.push(&[9.0, f32::NEG_INFINITY, f32::NEG_INFINITY]).unwrap();
    assert_eq!(search.best(1)[0].emissions.len(), 1);
}
