//! Scaled dot-product attention within each sequence (Vaswani et al. 2017), forward and back.
//!
//! Threads take whole sequences. The way back makes the probabilities again from queries and keys, which costs a hundredth
//! of the layer and saves a square of the length for every head.

use rayon::prelude::*;

use super::dropout::{Dropout, LayerDropout};
use super::rows::{drop_here, softmax, softmax_back};
use super::sequences::Sequences;
use crate::matrix::{Before, Matrix, MatrixMut, Threads};

/// Shape of the attention of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attention {
    /// Values of a token, of all heads together.
    pub(super) width: usize,
    pub(super) heads: usize,
    /// Whether a token sees only those before it and itself.
    pub(super) causal: bool,
}

/// One head's queries, keys or values in the rows of one sequence of `[tokens, 3 · width]`.
#[derive(Clone, Copy)]
enum Part {
    Query,
    Key,
    Value,
}

impl Attention {
    fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// 1 / √(width of a head)
    fn scale(&self) -> f32 {
        1.0 / (self.head_width() as f32).sqrt()
    }

    fn matrix<'a>(&self, joint: &'a [f32], length: usize, part: Part, head: usize) -> Matrix<'a> {
        let first = part as usize * self.width + head * self.head_width();
        Matrix::strided(&joint[first..], length, self.head_width(), 3 * self.width)
    }

    fn matrix_mut<'a>(&self, joint: &'a mut [f32], length: usize, part: Part, head: usize) -> MatrixMut<'a> {
        let first = part as usize * self.width + head * self.head_width();
        MatrixMut::strided(&mut joint[first..], length, self.head_width(), 3 * self.width)
    }

    /// The probabilities of one head, `[length, length]`.
    fn probabilities(&self, joint: &[f32], length: usize, head: usize, scores: &mut [f32]) {
        let (query, key) = (self.matrix(joint, length, Part::Query, head), self.matrix(joint, length, Part::Key, head));
        MatrixMut::new(scores, length, length).product(
            query,
            key.transposed(),
            self.scale(),
            Before::Forgotten,
            Threads::One,
        );
        softmax(scores, length, self.causal);
    }

    fn mask(&self, dropout: Option<LayerDropout>, sequence: usize, head: usize) -> Option<Dropout> {
        dropout?.probabilities(sequence, head, self.heads)
    }

    /// `joint` `[tokens, 3 · width]` of queries, keys and values → `context` `[tokens, width]`.
    pub(super) fn forward(
        &self,
        sequences: &Sequences,
        joint: &[f32],
        dropout: Option<LayerDropout>,
        context: &mut [f32],
    ) {
        let work: Vec<_> = sequences.ranges().zip(sequences.rows_of(context, self.width)).enumerate().collect();
        work.into_par_iter().for_each(|(sequence, (rows, context))| {
            let length = rows.len();
            if length == 0 {
                return;
            }
            let joint = &joint[rows.start * 3 * self.width..rows.end * 3 * self.width];
            let mut scores = vec![0.0; length * length];
            for head in 0..self.heads {
                self.probabilities(joint, length, head, &mut scores);
                if let Some(mask) = self.mask(dropout, sequence, head) {
                    drop_here(&mut scores, mask);
                }
                let target = &mut context[head * self.head_width()..];
                MatrixMut::strided(target, length, self.head_width(), self.width).product(
                    Matrix::new(&scores, length, length),
                    self.matrix(joint, length, Part::Value, head),
                    1.0,
                    Before::Forgotten,
                    Threads::One,
                );
            }
        });
    }

    /// The gradient of `joint` into `to_joint`, from that of the context.
    pub(super) fn backward(
        &self,
        sequences: &Sequences,
        joint: &[f32],
        dropout: Option<LayerDropout>,
        gradient: &[f32],
        to_joint: &mut [f32],
    ) {
        let work: Vec<_> = sequences.ranges().zip(sequences.rows_of(to_joint, 3 * self.width)).enumerate().collect();
        work.into_par_iter().for_each(|(sequence, (rows, to_joint))| {
            let length = rows.len();
            if length == 0 {
                return;
            }
            let joint = &joint[rows.start * 3 * self.width..rows.end * 3 * self.width];
            let gradient = &gradient[rows.start * self.width..rows.end * self.width];
            let mut probabilities = vec![0.0; length * length];
            let mut dropped = vec![0.0; if dropout.is_some() { length * length } else { 0 }];
            let mut to_scores = vec![0.0; length * length];
            for head in 0..self.heads {
                let of = |part| self.matrix(joint, length, part, head);
                let to_context =
                    Matrix::strided(&gradient[head * self.head_width()..], length, self.head_width(), self.width);
                self.probabilities(joint, length, head, &mut probabilities);
                let mask = self.mask(dropout, sequence, head);
                let used = match mask {
                    Some(mask) => {
                        dropped.copy_from_slice(&probabilities);
                        drop_here(&mut dropped, mask);
                        &dropped
                    }
                    None => &probabilities,
                };
                self.matrix_mut(to_joint, length, Part::Value, head).product(
                    Matrix::new(used, length, length).transposed(),
                    to_context,
                    1.0,
                    Before::Forgotten,
                    Threads::One,
                );
                MatrixMut::new(&mut to_scores, length, length).product(
                    to_context,
                    of(Part::Value).transposed(),
                    1.0,
                    Before::Forgotten,
                    Threads::One,
                );
                if let Some(mask) = mask {
                    drop_here(&mut to_scores, mask);
                }
                softmax_back(&probabilities, &mut to_scores, length);
                let scores = Matrix::new(&to_scores, length, length);
                for (part, left, right) in
                    [(Part::Query, scores, of(Part::Key)), (Part::Key, scores.transposed(), of(Part::Query))]
                {
                    self.matrix_mut(to_joint, length, part, head).product(
                        left,
                        right,
                        self.scale(),
                        Before::Forgotten,
                        Threads::One,
                    );
                }
            }
        });
    }
}
