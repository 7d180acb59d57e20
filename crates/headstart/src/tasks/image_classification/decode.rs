//! Outputs of the head → probabilities → the class.

use serde::{Deserialize, Serialize};

use crate::recipe::Output;

/// A class and how sure the model is of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Class name.
    pub label: String,
    /// Probability in [0, 1].
    pub probability: f32,
}

/// Probability of each class from one row of outputs: softmax, both sides of one sigmoid, or a sigmoid each.
pub fn probabilities(outputs: &[f32], output: Output) -> Vec<f32> {
    match output {
        Output::Softmax => {
            let highest = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let exponentials: Vec<f64> = outputs.iter().map(|value| f64::from(value - highest).exp()).collect();
            let sum: f64 = exponentials.iter().sum();
            exponentials.iter().map(|value| (value / sum) as f32).collect()
        }
        Output::Sigmoid => {
            let positive = sigmoid(outputs[0]);
            vec![(1.0 - positive) as f32, positive as f32]
        }
        Output::Sigmoids => outputs.iter().map(|output| sigmoid(*output) as f32).collect(),
    }
}

fn sigmoid(output: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(output)).exp())
}

/// Index of the most probable class; the first of equals.
pub fn best(probabilities: &[f32]) -> usize {
    let mut best = 0;
    for (index, probability) in probabilities.iter().enumerate() {
        if *probability > probabilities[best] {
            best = index;
        }
    }
    best
}

/// The `count` most probable classes, best first.
pub fn top(probabilities: &[f32], labels: &[String], count: usize) -> Vec<Candidate> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]).then(a.cmp(b)));
    order
        .into_iter()
        .take(count)
        .map(|index| Candidate { label: labels[index].clone(), probability: probabilities[index] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_of_large_outputs_does_not_overflow() {
        let probabilities = probabilities(&[1000.0, 999.0, -1000.0], Output::Softmax);
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((probabilities[0] - 0.731_058_6).abs() < 1e-6);
    }

    #[test]
    fn one_sigmoid_unit_gives_two_probabilities() {
        assert_eq!(probabilities(&[0.0], Output::Sigmoid), vec![0.5, 0.5]);
        assert!(probabilities(&[50.0], Output::Sigmoid)[1] > 0.999);
    }

    #[test]
    fn candidates_come_best_first_and_ties_by_class_order() {
        let labels: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        let found = top(&[0.2, 0.6, 0.2], &labels, 3);
        let names: Vec<&str> = found.iter().map(|candidate| candidate.label.as_str()).collect();
        assert_eq!(names, ["b", "a", "c"]);
    }
}
