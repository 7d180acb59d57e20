//! A layer of a transformer as one step, frozen or learning: attention, two dense layers, two normalizations.
//!
//! Tokens are rows of `[tokens, width]`, sequence after sequence without padding ([`Sequences`]). What the way back needs is
//! kept once and unnormalized; everything that one pass over a row can make again is made again. Products are split over
//! threads by rows and columns, other sums are made in a fixed number of shards, so the bytes do not depend on the number of
//! threads.

mod attention;
mod dropout;
pub(crate) mod rows;
mod sequences;

pub use dropout::{Dropout, LayerDropout};
pub use rows::{Bend, NormWeights};
pub use sequences::Sequences;

use crate::error::KernelError;
use crate::matrix::{Before, Matrix, MatrixMut, Threads};
use crate::training::BufferPool;
use attention::Attention;

/// Where a layer normalizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlace {
    /// Behind each residual sum (Vaswani et al. 2017; BERT).
    After,
    /// Before attention and before the dense layers (GPT-2).
    Before,
}

/// Shape of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TransformerSpec {
    /// Values of a token.
    pub width: usize,
    /// Heads of attention; they share the width.
    pub heads: usize,
    /// Values between the two dense layers.
    pub hidden: usize,
    /// Activation between them.
    pub bend: Bend,
    /// Where it normalizes.
    pub norm: NormPlace,
    /// Whether a token sees only those before it and itself.
    pub causal: bool,
    /// Added to the variance.
    pub epsilon: f32,
}

/// `x · weight + bias`.
#[derive(Debug, Clone, Copy)]
pub struct DenseWeights<'a> {
    /// `[in, out]`
    pub weight: &'a [f32],
    /// `[out]`
    pub bias: &'a [f32],
}

/// The arrays of a layer.
#[derive(Debug, Clone, Copy)]
pub struct LayerWeights<'a> {
    /// `[width, width]`
    pub query: DenseWeights<'a>,
    /// `[width, width]`
    pub key: DenseWeights<'a>,
    /// `[width, width]`
    pub value: DenseWeights<'a>,
    /// `[width, width]`, on what the heads have found.
    pub attended: DenseWeights<'a>,
    /// Of attention.
    pub attention_norm: NormWeights<'a>,
    /// `[width, hidden]`
    pub expand: DenseWeights<'a>,
    /// `[hidden, width]`
    pub contract: DenseWeights<'a>,
    /// Of the dense layers.
    pub dense_norm: NormWeights<'a>,
}

/// Number of arrays in [`LayerWeights`].
pub const ARRAYS: usize = 16;

/// Gradients of the arrays that were asked for, in the order of [`LayerWeights`]: weight and bias of each dense layer,
/// gamma and beta of each normalization.
pub type LayerGradients = [Option<Vec<f32>>; ARRAYS];

impl LayerWeights<'_> {
    /// Values of each array, in their order.
    fn lengths(&self) -> [usize; ARRAYS] {
        let dense = |dense: DenseWeights<'_>| [dense.weight.len(), dense.bias.len()];
        let norm = |norm: NormWeights<'_>| [norm.gamma.len(), norm.beta.len()];
        let all = [
            dense(self.query),
            dense(self.key),
            dense(self.value),
            dense(self.attended),
            norm(self.attention_norm),
            dense(self.expand),
            dense(self.contract),
            norm(self.dense_norm),
        ];
        std::array::from_fn(|index| all[index / 2][index % 2])
    }
}

/// What the way back needs of the way forward, beside the input.
#[derive(Debug, Clone, Default)]
pub struct Saved {
    /// `[tokens, 3 · width]`: queries, keys and values.
    joint: Vec<f32>,
    /// `[tokens, width]`: what the heads have found.
    context: Vec<f32>,
    /// `[tokens, width]`: input plus attention.
    attended: Vec<f32>,
    /// `[tokens, hidden]`: before the activation.
    expanded: Vec<f32>,
    /// `[tokens, width]`: before the last normalization; empty where there is none.
    contracted: Vec<f32>,
}

impl Saved {
    /// Gives the buffers back.
    pub fn recycle(self, pool: &BufferPool) {
        for buffer in [self.joint, self.context, self.attended, self.expanded, self.contracted] {
            pool.give(buffer);
        }
    }
}

/// A layer of one shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TransformerLayer {
    spec: TransformerSpec,
}

impl TransformerLayer {
    /// Checks a shape.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] when the heads do not share the width evenly, or something is zero or not a number.
    pub fn new(spec: TransformerSpec) -> Result<Self, KernelError> {
        if spec.heads == 0 || spec.width == 0 || spec.hidden == 0 || !spec.width.is_multiple_of(spec.heads) {
            return Err(KernelError::Invalid("the heads of a transformer share its width evenly"));
        }
        if !(spec.epsilon > 0.0 && spec.epsilon.is_finite()) {
            return Err(KernelError::Invalid("what is added to a variance is above 0"));
        }
        Ok(Self { spec })
    }

    /// The shape.
    pub fn spec(&self) -> TransformerSpec {
        self.spec
    }

    /// `[tokens, width]` → `[tokens, width]`; nothing is kept.
    ///
    /// # Errors
    /// [`KernelError::Length`] when a slice does not have its shape.
    pub fn forward(
        &self,
        pool: &BufferPool,
        sequences: &Sequences,
        input: &[f32],
        weights: &LayerWeights<'_>,
    ) -> Result<Vec<f32>, KernelError> {
        let (output, saved) = self.forward_saving(pool, sequences, input, weights, None)?;
        saved.recycle(pool);
        Ok(output)
    }

    /// [`TransformerLayer::forward`] with dropout, and what [`TransformerLayer::backward`] needs.
    ///
    /// # Errors
    /// As there; [`KernelError::Invalid`] for a rate outside of [0, 1).
    pub fn forward_saving(
        &self,
        pool: &BufferPool,
        sequences: &Sequences,
        input: &[f32],
        weights: &LayerWeights<'_>,
        dropout: Option<LayerDropout>,
    ) -> Result<(Vec<f32>, Saved), KernelError> {
        self.check(sequences, input, weights, dropout)?;
        let TransformerSpec { width, hidden, epsilon, .. } = self.spec;
        let tokens = sequences.token_count();
        if tokens == 0 {
            return Ok((Vec::new(), Saved::default()));
        }
        let take = |width: usize| pool.take(tokens * width);

        let normed = self.normed_input(pool, input, weights);
        let before_attention = normed.as_deref().unwrap_or(input);
        let mut joint = take(3 * width);
        self.project(tokens, before_attention, weights, &mut joint);
        let mut context = take(width);
        self.attention().forward(sequences, &joint, dropout, &mut context);
        let mut attended = take(width);
        dense(&context, weights.attended, tokens, [width, width], &mut attended);
        rows::add_residual(&mut attended, weights.attended.bias, input, dropout.and_then(LayerDropout::attended));
        recycle(pool, normed);

        let mut normed = take(width);
        self.normed_attended(&attended, weights, &mut normed);
        let (mut expanded, mut bent) = (take(hidden), take(hidden));
        dense(&normed, weights.expand, tokens, [width, hidden], &mut expanded);
        rows::activate(self.spec.bend, &mut expanded, weights.expand.bias, &mut bent);
        let mut contracted = take(width);
        dense(&bent, weights.contract, tokens, [hidden, width], &mut contracted);
        pool.give(bent);
        let residual = match self.spec.norm {
            NormPlace::After => &normed,
            NormPlace::Before => &attended,
        };
        rows::add_residual(
            &mut contracted,
            weights.contract.bias,
            residual,
            dropout.and_then(LayerDropout::contracted),
        );
        if self.spec.norm == NormPlace::Before {
            pool.give(normed);
            return Ok((contracted, Saved { joint, context, attended, expanded, contracted: Vec::new() }));
        }
        let mut output = normed; // its values are not needed any more
        rows::layer_norm(weights.dense_norm, epsilon, &contracted, &mut output);
        Ok((output, Saved { joint, context, attended, expanded, contracted }))
    }

    /// Gradients of the input, if it is wanted, and of the arrays that `wanted` says, from that of the output.
    ///
    /// # Errors
    /// [`KernelError::Length`] when a slice does not have its shape.
    #[expect(clippy::too_many_arguments, reason = "a step back takes what the step forward took, kept and gave")]
    pub fn backward(
        &self,
        pool: &BufferPool,
        sequences: &Sequences,
        input: &[f32],
        weights: &LayerWeights<'_>,
        dropout: Option<LayerDropout>,
        saved: &Saved,
        gradient: &[f32],
        wanted: [bool; ARRAYS],
        wants_input: bool,
    ) -> Result<(Option<Vec<f32>>, LayerGradients), KernelError> {
        self.check(sequences, input, weights, dropout)?;
        let TransformerSpec { width, hidden, epsilon, norm, .. } = self.spec;
        let tokens = sequences.token_count();
        expect_length("the gradient", gradient.len(), tokens * width)?;
        let take = |width: usize| pool.take(tokens * width);
        if tokens == 0 {
            let zeros = std::array::from_fn(|index| wanted[index].then(|| vec![0.0; weights.lengths()[index]]));
            return Ok((wants_input.then(Vec::new), zeros));
        }
        let mut found: LayerGradients = Default::default();
        let mut keep = |index: usize, make: &mut dyn FnMut() -> Vec<f32>| {
            if wanted[index] {
                found[index] = Some(make());
            }
        };

        // The last residual sum: `to_sum` is its gradient.
        let mut to_sum = take(width);
        match norm {
            NormPlace::Before => to_sum.copy_from_slice(gradient),
            NormPlace::After => {
                let (gamma, beta) =
                    rows::layer_norm_back(weights.dense_norm, epsilon, &saved.contracted, gradient, &mut to_sum);
                keep(14, &mut || gamma.clone());
                keep(15, &mut || beta.clone());
            }
        }
        let mut to_contracted = take(width);
        rows::drop_into(&to_sum, &mut to_contracted, dropout.and_then(LayerDropout::contracted));
        let (mut to_expanded, mut bent) = (take(hidden), take(hidden));
        dense_back(&to_contracted, weights.contract, tokens, [hidden, width], &mut to_expanded, Before::Forgotten);
        rows::activate_back(self.spec.bend, &saved.expanded, &mut to_expanded, &mut bent);
        keep(12, &mut || weight_gradient(&bent, &to_contracted, tokens, [hidden, width]));
        keep(13, &mut || rows::column_sums(&to_contracted, width));
        pool.give(bent);

        let mut normed = to_contracted; // its values are not needed any more
        self.normed_attended(&saved.attended, weights, &mut normed);
        keep(10, &mut || weight_gradient(&normed, &to_expanded, tokens, [width, hidden]));
        keep(11, &mut || rows::column_sums(&to_expanded, hidden));
        let mut to_normed = normed;
        // Behind an outer normalization the sum's shortcut starts from the normalized values, else from those before it.
        let shortcut = if norm == NormPlace::After { Before::Kept } else { Before::Forgotten };
        if norm == NormPlace::After {
            to_normed.copy_from_slice(&to_sum);
        }
        dense_back(&to_expanded, weights.expand, tokens, [width, hidden], &mut to_normed, shortcut);
        pool.give(to_expanded);
        let inner_norm = match norm {
            NormPlace::After => weights.attention_norm,
            NormPlace::Before => weights.dense_norm,
        };
        let mut to_attended = take(width);
        let (gamma, beta) = rows::layer_norm_back(inner_norm, epsilon, &saved.attended, &to_normed, &mut to_attended);
        let index = if norm == NormPlace::After { 8 } else { 14 };
        keep(index, &mut || gamma.clone());
        keep(index + 1, &mut || beta.clone());
        if norm == NormPlace::Before {
            rows::add(&mut to_attended, &to_sum);
        }

        let mut to_heads = to_normed;
        rows::drop_into(&to_attended, &mut to_heads, dropout.and_then(LayerDropout::attended));
        keep(6, &mut || weight_gradient(&saved.context, &to_heads, tokens, [width, width]));
        keep(7, &mut || rows::column_sums(&to_heads, width));
        let mut to_context = to_sum;
        dense_back(&to_heads, weights.attended, tokens, [width, width], &mut to_context, Before::Forgotten);
        let wants_below =
            wants_input || wanted[..6].contains(&true) || (norm == NormPlace::Before && (wanted[8] || wanted[9]));
        if !wants_below {
            [to_heads, to_context, to_attended].into_iter().for_each(|buffer| pool.give(buffer));
            return Ok((None, found));
        }
        let mut to_joint = take(3 * width);
        self.attention().backward(sequences, &saved.joint, dropout, &to_context, &mut to_joint);
        pool.give(to_context);
        let normed = self.normed_input(pool, input, weights);
        let before_attention = normed.as_deref().unwrap_or(input);
        let part = |index: usize| Matrix::strided(&to_joint[index * width..], tokens, width, 3 * width);
        for index in 0..3 {
            keep(2 * index, &mut || {
                let mut sum = vec![0.0; width * width];
                let left = Matrix::new(before_attention, tokens, width).transposed();
                MatrixMut::new(&mut sum, width, width).product(left, part(index), 1.0, Before::Forgotten, Threads::All);
                sum
            });
        }
        if wanted[1] || wanted[3] || wanted[5] {
            let sums = rows::column_sums(&to_joint, 3 * width);
            for index in 0..3 {
                keep(2 * index + 1, &mut || sums[index * width..(index + 1) * width].to_vec());
            }
        }
        // Through queries, keys and values to what they were made from.
        let mut to_input = to_heads;
        if norm == NormPlace::After {
            to_input.copy_from_slice(&to_attended);
        }
        for (index, dense) in [weights.query, weights.key, weights.value].into_iter().enumerate() {
            let before = if norm == NormPlace::After || index > 0 { Before::Kept } else { Before::Forgotten };
            let right = Matrix::new(dense.weight, width, width).transposed();
            MatrixMut::new(&mut to_input, tokens, width).product(part(index), right, 1.0, before, Threads::All);
        }
        pool.give(to_joint);
        if norm == NormPlace::Before {
            let to_normed = to_input;
            to_input = take(width);
            let (gamma, beta) =
                rows::layer_norm_back(weights.attention_norm, epsilon, input, &to_normed, &mut to_input);
            keep(8, &mut || gamma.clone());
            keep(9, &mut || beta.clone());
            rows::add(&mut to_input, &to_attended);
            pool.give(to_normed);
        }
        recycle(pool, normed);
        pool.give(to_attended);
        Ok((wants_input.then_some(to_input), found))
    }

    fn attention(&self) -> Attention {
        Attention { width: self.spec.width, heads: self.spec.heads, causal: self.spec.causal }
    }

    /// What attention looks at, where it is not the input itself.
    fn normed_input(&self, pool: &BufferPool, input: &[f32], weights: &LayerWeights<'_>) -> Option<Vec<f32>> {
        (self.spec.norm == NormPlace::Before).then(|| {
            let mut normed = pool.take(input.len());
            rows::layer_norm(weights.attention_norm, self.spec.epsilon, input, &mut normed);
            normed
        })
    }

    /// What the dense layers look at.
    fn normed_attended(&self, attended: &[f32], weights: &LayerWeights<'_>, normed: &mut [f32]) {
        let norm = match self.spec.norm {
            NormPlace::After => weights.attention_norm,
            NormPlace::Before => weights.dense_norm,
        };
        rows::layer_norm(norm, self.spec.epsilon, attended, normed);
    }

    /// Queries, keys and values side by side.
    fn project(&self, tokens: usize, input: &[f32], weights: &LayerWeights<'_>, joint: &mut [f32]) {
        let width = self.spec.width;
        let parts = [weights.query, weights.key, weights.value];
        rows::fill(joint, &parts.map(|part| part.bias).concat());
        for (index, part) in parts.into_iter().enumerate() {
            MatrixMut::strided(&mut joint[index * width..], tokens, width, 3 * width).product(
                Matrix::new(input, tokens, width),
                Matrix::new(part.weight, width, width),
                1.0,
                Before::Kept,
                Threads::All,
            );
        }
    }

    fn check(
        &self,
        sequences: &Sequences,
        input: &[f32],
        weights: &LayerWeights<'_>,
        dropout: Option<LayerDropout>,
    ) -> Result<(), KernelError> {
        let TransformerSpec { width, hidden, .. } = self.spec;
        expect_length("the input", input.len(), sequences.token_count() * width)?;
        let square = [weights.query, weights.key, weights.value, weights.attended];
        let dense = square.into_iter().map(|dense| (dense, width, width));
        for (dense, inputs, outputs) in
            dense.chain([(weights.expand, width, hidden), (weights.contract, hidden, width)])
        {
            expect_length("a weight", dense.weight.len(), inputs * outputs)?;
            expect_length("a bias", dense.bias.len(), outputs)?;
        }
        for norm in [weights.attention_norm, weights.dense_norm] {
            expect_length("gamma", norm.gamma.len(), width)?;
            expect_length("beta", norm.beta.len(), width)?;
        }
        match dropout {
            Some(dropout) if !dropout.is_valid() => Err(KernelError::Invalid("a rate of dropout is in [0, 1)")),
            _ => Ok(()),
        }
    }
}

/// Layer normalization (Ba et al. 2016) of rows `[tokens, width]` with scale and shift.
///
/// # Errors
/// [`KernelError::Length`] when gamma and beta differ, or the input is not whole rows.
pub fn layer_norm(norm: NormWeights<'_>, epsilon: f32, input: &[f32]) -> Result<Vec<f32>, KernelError> {
    check_norm(norm, input)?;
    let mut output = vec![0.0; input.len()];
    rows::layer_norm(norm, epsilon, input, &mut output);
    Ok(output)
}

/// Gradients of the input, of gamma and of beta of [`layer_norm`].
///
/// # Errors
/// As there.
pub fn layer_norm_back(
    norm: NormWeights<'_>,
    epsilon: f32,
    input: &[f32],
    gradient: &[f32],
) -> Result<[Vec<f32>; 3], KernelError> {
    check_norm(norm, input)?;
    expect_length("the gradient", gradient.len(), input.len())?;
    let mut to_input = vec![0.0; input.len()];
    let (gamma, beta) = rows::layer_norm_back(norm, epsilon, input, gradient, &mut to_input);
    Ok([to_input, gamma, beta])
}

fn check_norm(norm: NormWeights<'_>, input: &[f32]) -> Result<(), KernelError> {
    expect_length("beta", norm.beta.len(), norm.gamma.len())?;
    match norm.gamma.len() {
        0 => Err(KernelError::Invalid("a row has at least one value")),
        width => expect_length("the input", input.len() % width, 0),
    }
}

fn expect_length(what: &'static str, found: usize, expected: usize) -> Result<(), KernelError> {
    if found == expected { Ok(()) } else { Err(KernelError::Length { what, expected, found }) }
}

/// output ← input · weight, without the bias.
fn dense(input: &[f32], dense: DenseWeights<'_>, tokens: usize, [from, to]: [usize; 2], output: &mut [f32]) {
    MatrixMut::new(output, tokens, to).product(
        Matrix::new(input, tokens, from),
        Matrix::new(dense.weight, from, to),
        1.0,
        Before::Forgotten,
        Threads::All,
    );
}

/// The gradient of a dense layer's input, written or added.
fn dense_back(
    gradient: &[f32],
    dense: DenseWeights<'_>,
    tokens: usize,
    [from, to]: [usize; 2],
    output: &mut [f32],
    before: Before,
) {
    MatrixMut::new(output, tokens, from).product(
        Matrix::new(gradient, tokens, to),
        Matrix::new(dense.weight, from, to).transposed(),
        1.0,
        before,
        Threads::All,
    );
}

/// inputs transposed · gradients
fn weight_gradient(input: &[f32], gradient: &[f32], tokens: usize, [from, to]: [usize; 2]) -> Vec<f32> {
    let mut sum = vec![0.0; from * to];
    MatrixMut::new(&mut sum, from, to).product(
        Matrix::new(input, tokens, from).transposed(),
        Matrix::new(gradient, tokens, to),
        1.0,
        Before::Forgotten,
        Threads::All,
    );
    sum
}

fn recycle(pool: &BufferPool, buffer: Option<Vec<f32>>) {
    if let Some(buffer) = buffer {
        pool.give(buffer);
    }
}
