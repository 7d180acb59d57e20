//! Fitting a model phase by phase. Knows a model, batches and phases; no concrete task, no printing.

pub(crate) mod checkpoint;
mod cpu_adam;
pub(crate) mod evaluate;
pub(crate) mod fit;
mod given_gradient;
pub(crate) mod hold_out;
pub mod observer;
pub(crate) mod optimizer;
pub mod rate_finder;

pub(crate) use given_gradient::given_gradient;

use crate::error::Result;
use crate::features::{FeatureLayout, Rows};

/// Where the features of a part of the data come from: the cache, or the decoder when nothing is frozen.
pub(crate) trait Source: Sync {
    /// Layout of one example.
    fn layout(&self) -> FeatureLayout;

    /// Number of examples.
    fn len(&self) -> usize;

    /// Channels-last values of some examples in the view that belongs to `epoch`, one after the other.
    fn read(&self, examples: &[usize], epoch: usize) -> Result<Rows>;
}
