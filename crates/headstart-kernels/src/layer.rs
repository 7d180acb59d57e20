//! The layers of a frozen network.

use crate::convolution::Conv2d;
use crate::depthwise::DepthwiseConv2d;
use crate::inverted_residual::InvertedResidual;
use crate::pool2d::Pool2d;

/// One layer of a frozen network.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "a network has tens of layers, and their weights are elsewhere")]
pub enum Layer {
    /// Convolution.
    Conv2d(Conv2d),
    /// Depthwise convolution.
    Depthwise(DepthwiseConv2d),
    /// Expand, depthwise, project.
    InvertedResidual(InvertedResidual),
    /// Maximum or average over windows.
    Pool2d(Pool2d),
    /// The mean of each channel, as a map of one pixel.
    GlobalAveragePool,
    /// Several chains on the same input, their results side by side along the channels. Each writes straight to its place.
    /// An empty chain passes the input on.
    Branches(Vec<Vec<Layer>>),
    /// activation(body(x) + shortcut(x)).
    Residual {
        /// Its last layer must be a convolution; the activation of that is taken after the sum.
        body: Vec<Layer>,
        /// Empty for the input itself.
        shortcut: Vec<Layer>,
    },
}

impl From<Conv2d> for Layer {
    fn from(layer: Conv2d) -> Self {
        Self::Conv2d(layer)
    }
}

impl From<DepthwiseConv2d> for Layer {
    fn from(layer: DepthwiseConv2d) -> Self {
        Self::Depthwise(layer)
    }
}

impl From<InvertedResidual> for Layer {
    fn from(layer: InvertedResidual) -> Self {
        Self::InvertedResidual(layer)
    }
}

impl From<Pool2d> for Layer {
    fn from(layer: Pool2d) -> Self {
        Self::Pool2d(layer)
    }
}
