//! What can be wrong with a network or its input.

/// Why a layer or a network cannot be built or run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A slice has another length than its shape.
    #[error("{what} has {found} values, expected {expected}")]
    Length {
        /// Which slice.
        what: &'static str,
        /// Values that its shape needs.
        expected: usize,
        /// Values that it has.
        found: usize,
    },
    /// A layer takes another number of channels than the layer before it gives.
    #[error("layer {layer} takes {expected} channels, the layer before it gives {found}")]
    Channels {
        /// Index of the layer.
        layer: usize,
        /// Channels that it takes.
        expected: usize,
        /// Channels that it would get.
        found: usize,
    },
    /// A kernel is larger than its padded input.
    #[error("layer {layer}: a picture of {height} × {width} pixels is too small for its kernel")]
    TooSmall {
        /// Index of the layer.
        layer: usize,
        /// Rows of its input.
        height: usize,
        /// Columns of its input.
        width: usize,
    },
    /// A layer needs more memory than can be addressed.
    #[error("layer {layer}: a picture of {height} × {width} pixels is too large")]
    TooLarge {
        /// Index of the layer.
        layer: usize,
        /// Rows of its input.
        height: usize,
        /// Columns of its input.
        width: usize,
    },
    /// There is no memory for what a thread works in.
    #[error("no memory for {bytes} bytes of scratch")]
    Memory {
        /// Bytes that were asked for.
        bytes: usize,
    },
    /// A number is out of range, or parts of a fused layer do not fit together.
    #[error("{0}")]
    Invalid(&'static str),
    /// The instructions for bf16 are missing, or a lower instruction set was asked for.
    #[error("bf16 needs the instructions AVX-512 BF16, which are not part of what is used here ({found})")]
    Unavailable {
        /// Name of the instruction set in use.
        found: &'static str,
    },
    /// A range of layers that does not exist.
    #[error("there are no layers {start}..{end} in a network of {layers}")]
    Range {
        /// First layer asked for.
        start: usize,
        /// Layer after the last one asked for.
        end: usize,
        /// Layers that there are.
        layers: usize,
    },
}
