//! Scores of detections against pycocotools, and Pascal VOC's against its rules written out.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::path::Path;

use headstart_data::boxes::average_precision::voc::{Rule, voc};
use headstart_data::boxes::average_precision::{Found, Truth, coco};
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Deserialize)]
struct Case {
    name: String,
    classes: usize,
    /// Image, class, left, top, width, height, area, whether a crowd.
    truths: Vec<[f64; 8]>,
    /// Image, class, left, top, width, height, score.
    detections: Vec<[f64; 7]>,
    expected: Expected,
}

/// What does not exist is −1.
#[derive(Deserialize)]
struct Expected {
    stats: [f64; 12],
    classes: Vec<[f64; 2]>,
    curves: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct VocCase {
    name: String,
    expected: Vec<Option<[f64; 2]>>,
}

fn fixture<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/detection_metrics");
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

impl Case {
    fn truths(&self) -> Vec<Truth> {
        let truth = |&[image, class, x, y, w, h, area, crowd]: &[f64; 8]| Truth {
            image: image as usize,
            class: class as usize,
            place: [x, y, w, h],
            area,
            is_ignored: crowd != 0.0,
        };
        self.truths.iter().map(truth).collect()
    }

    fn found(&self) -> Vec<Found> {
        let found = |&[image, class, x, y, w, h, score]: &[f64; 7]| {
            let (image, class) = (image as usize, class as usize);
            Found { image, class, place: [x, y, w, h], score }
        };
        self.detections.iter().map(found).collect()
    }
}

#[test]
fn scores_are_those_of_pycocotools() {
    let cases: Vec<Case> = fixture("coco.json");
    assert!(cases.len() > 25);
    for case in cases {
        let name = &case.name;
        let scores = coco(&case.truths(), &case.found(), case.classes);
        let near = |found: Option<f64>, expected: f64, what: &str| {
            let found = found.unwrap_or(-1.0);
            assert!((found - expected).abs() <= 1e-6, "{name}, {what}: {found} instead of {expected}");
        };
        let found = [
            scores.ap,
            scores.ap50,
            scores.ap75,
            scores.ap_small,
            scores.ap_medium,
            scores.ap_large,
            scores.ar_1,
            scores.ar_10,
            scores.ar_100,
            scores.ar_small,
            scores.ar_medium,
            scores.ar_large,
        ];
        for (index, (found, expected)) in found.into_iter().zip(case.expected.stats).enumerate() {
            near(found, expected, &format!("number {index}"));
        }
        assert_eq!(scores.classes.len(), case.expected.classes.len());
        for (index, (class, expected)) in scores.classes.iter().zip(&case.expected.classes).enumerate() {
            near(class.ap, expected[0], &format!("class {index}"));
            near(class.ap50, expected[1], &format!("class {index} at 0.5"));
            let curve = &case.expected.curves[index];
            assert_eq!(class.precisions.len(), curve.len(), "{name}, class {index}");
            for (found, expected) in class.precisions.iter().zip(curve) {
                near(Some(*found), *expected, &format!("curve of class {index}"));
            }
        }
    }
}

#[test]
fn scores_are_those_of_pascal_voc_by_both_rules() {
    let cases: Vec<Case> = fixture("coco.json");
    let expected: Vec<VocCase> = fixture("voc.json");
    assert_eq!(cases.len(), expected.len());
    for (case, expected) in cases.iter().zip(expected) {
        assert_eq!(case.name, expected.name);
        for (rule, which) in [(Rule::ElevenPoints, 0), (Rule::AllPoints, 1)] {
            let scores = voc(&case.truths(), &case.found(), case.classes, 0.5, rule);
            let classes = scores.classes.iter().zip(&expected.expected).enumerate();
            for (class, (found, expected)) in classes {
                let (found, expected) = (found.as_ref().map(|class| class.ap), expected.map(|both| both[which]));
                let near = found.zip(expected).is_none_or(|(a, b)| (a - b).abs() <= 1e-9);
                assert!(
                    near && found.is_some() == expected.is_some(),
                    "{}, class {class}, {rule:?}: {found:?} {expected:?}",
                    case.name
                );
            }
        }
    }
}

fn truths() -> impl Strategy<Value = Vec<Truth>> {
    let truth = (0usize..4, 0usize..3, 0u8..40, 0u8..40, 1u8..60, 1u8..60).prop_map(|(image, class, x, y, w, h)| {
        let [x, y, w, h] = [x, y, w, h].map(f64::from);
        Truth { image, class, place: [x, y, w, h], area: w * h, is_ignored: false }
    });
    prop::collection::vec(truth, 0..20)
}

proptest! {
    #[test]
    fn a_perfect_detector_scores_one_and_a_blind_one_nothing(truths in truths()) {
        // Two equal boxes of one class cannot be told apart, but each finds one.
        let found: Vec<Found> = truths
            .iter()
            .enumerate()
            .map(|(index, truth)| Found { image: truth.image, class: truth.class, place: truth.place, score: 1.0 / (1.0 + index as f64) })
            .collect();
        let classes: std::collections::BTreeSet<usize> = truths.iter().map(|truth| truth.class).collect();
        let perfect = coco(&truths, &found, 3);
        for score in [perfect.ap, perfect.ap50, perfect.ar_100].into_iter().flatten() {
            prop_assert!((score - 1.0).abs() < 1e-12, "{}", score);
        }
        prop_assert_eq!(perfect.ap.is_some(), !truths.is_empty());
        let blind = coco(&truths, &[], 3);
        prop_assert_eq!((blind.ap, blind.ar_100), (perfect.ap.map(|_| 0.0), perfect.ap.map(|_| 0.0)));
        for rule in [Rule::ElevenPoints, Rule::AllPoints] {
            let scores = voc(&truths, &found, 3, 0.5, rule);
            prop_assert_eq!(scores.classes.iter().flatten().count(), classes.len());
            // Where two boxes overlap by half or more, the devkit's rule may give one object's detection to the other.
            prop_assert!(scores.map.is_none_or(|map| map > 0.0 && map <= 1.0 + 1e-12));
        }
    }

    #[test]
    fn numbers_that_are_none_do_no_harm(
        truths in truths(), places in prop::collection::vec((0usize..5, 0usize..4, [any::<f64>(), any::<f64>(), any::<f64>(), any::<f64>()], any::<f64>()), 0..12),
    ) {
        let found: Vec<Found> =
            places.into_iter().map(|(image, class, place, score)| Found { image, class, place, score }).collect();
        let scores = coco(&truths, &found, 3);
        prop_assert!(scores.ap.is_none_or(|score| (0.0..=1.0).contains(&score)));
        let _ = voc(&truths, &found, 3, 0.5, Rule::AllPoints);
    }
}
