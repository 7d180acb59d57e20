//! Scores of entities against seqeval.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::collections::BTreeMap;
use std::path::Path;

use headstart_data::text::entities::Scheme;
use headstart_data::text::entity_scores::{EntityScores, EntityScoresError, Mode, Score, score};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    scheme: String,
    truth: Vec<Vec<String>>,
    predicted: Vec<Vec<String>>,
    strict: Expected,
    lenient: Option<Expected>,
}

/// Rows are precision, recall, F1 and support.
#[derive(Deserialize)]
struct Expected {
    kinds: BTreeMap<String, [f64; 4]>,
    micro: [f64; 4],
    #[serde(rename = "macro")]
    macro_average: [f64; 4],
    weighted: [f64; 4],
    tag_accuracy: f64,
}

/// Seqeval sums in another order: 1e-12 apart at most.
fn assert_equal(found: &EntityScores, expected: &Expected, what: &str) {
    let row = |score: &Score, expected: &[f64; 4], what: &str| {
        let found = [score.precision, score.recall, score.f1, score.support as f64];
        let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-12);
        assert!(near, "{what}: {found:?} instead of {expected:?}");
    };
    let kinds: Vec<&String> = found.kinds.keys().collect();
    assert_eq!(kinds, expected.kinds.keys().collect::<Vec<_>>(), "{what}");
    for (kind, score) in &found.kinds {
        row(score, &expected.kinds[kind], &format!("{what}, {kind}"));
    }
    row(&found.micro, &expected.micro, &format!("{what}, micro"));
    row(&found.macro_average, &expected.macro_average, &format!("{what}, macro"));
    row(&found.weighted_average, &expected.weighted, &format!("{what}, weighted"));
    assert!((found.tag_accuracy - expected.tag_accuracy).abs() <= 1e-12, "{what}");
}

#[test]
fn scores_are_those_of_seqeval_lenient_and_strict() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/metrics/seqeval.json");
    let fixture: Fixture = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(fixture.cases.len() >= 15);
    let all = [Scheme::Iob1, Scheme::Iob2, Scheme::Bioes, Scheme::Bilou];
    for (index, case) in fixture.cases.iter().enumerate() {
        let what = format!("case {index}, {}", case.scheme);
        let scheme = all.into_iter().find(|scheme| scheme.name() == case.scheme).unwrap();
        let strict = score(&case.truth, &case.predicted, Mode::Strict(scheme)).unwrap();
        assert_equal(&strict, &case.strict, &format!("{what}, strict"));
        if let Some(expected) = &case.lenient {
            let lenient = score(&case.truth, &case.predicted, Mode::Lenient).unwrap();
            assert_equal(&lenient, expected, &format!("{what}, lenient"));
        }
    }
}

#[test]
fn nothing_scores_nothing_and_lists_of_other_lengths_are_refused() {
    let none: [Vec<&str>; 0] = [];
    let scores = score(&none, &none, Mode::Lenient).unwrap();
    assert_eq!((scores.micro, scores.tag_accuracy), (Score::default(), 0.0));
    let error = score(&[vec!["O", "O"]], &[vec!["O"]], Mode::Lenient).unwrap_err();
    assert_eq!(error, EntityScoresError::Shape { sentence: 0, expected: 2, found: 1 });
    assert!(score(&[vec!["O"]], &none, Mode::Lenient).is_err());
}
