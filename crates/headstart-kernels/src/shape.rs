//! Shapes, padding, activations.

/// One picture or feature map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels, the innermost axis.
    pub channels: usize,
}

impl Shape {
    /// Number of values, or `usize::MAX` when there are more.
    pub fn len(&self) -> usize {
        volume(&[self.height, self.width, self.channels])
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Product of sides, or `usize::MAX` when it is greater.
pub(crate) fn volume(sides: &[usize]) -> usize {
    if sides.contains(&0) { 0 } else { sides.iter().fold(1, |product: usize, side| product.saturating_mul(*side)) }
}

/// Zeros around a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns before.
    pub left: usize,
    /// Columns after.
    pub right: usize,
}

impl Padding {
    /// The same on every side.
    pub fn symmetric(pixels: usize) -> Self {
        Self { top: pixels, bottom: pixels, left: pixels, right: pixels }
    }

    /// What [`PaddingRule::TensorFlowSame`] gives for `[rows, columns]` of input, kernel, stride and dilation.
    ///
    /// Along an axis: (⌈size / stride⌉ − 1) · stride + (kernel − 1) · dilation + 1 − size, but not less than 0; the
    /// smaller half comes first. A side or step of 0 counts as 1.
    pub fn tensorflow_same(input: [usize; 2], kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2]) -> Self {
        let [rows, columns] = [0, 1].map(|axis| {
            let stride = stride[axis].max(1);
            let span = kernel[axis].saturating_sub(1).saturating_mul(dilation[axis]).saturating_add(1);
            let steps = input[axis].div_ceil(stride).max(1) - 1;
            (steps * stride).saturating_add(span).saturating_sub(input[axis])
        });
        Self { top: rows / 2, bottom: rows - rows / 2, left: columns / 2, right: columns - columns / 2 }
    }
}

/// How a convolution pads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaddingRule {
    /// Always this much.
    Explicit(Padding),
    /// TensorFlow's "same": ⌈size / stride⌉ results, the odd pixel of padding at the right and the bottom.
    TensorFlowSame,
}

/// Kernel, stride and dilation of a convolution along (rows, columns), and its padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    pub(crate) padding: PaddingRule,
}

impl Window {
    /// Whether every number is in range: sums and products of a few of them cannot overflow.
    pub(crate) fn is_usable(&self) -> bool {
        const MOST: usize = 1 << 15;
        let padding = match self.padding {
            PaddingRule::Explicit(Padding { top, bottom, left, right }) => [top, bottom, left, right],
            PaddingRule::TensorFlowSame => [0; 4],
        };
        let mut sides = self.kernel.iter().chain(&self.stride).chain(&self.dilation);
        sides.all(|number| (1..=MOST).contains(number)) && padding.iter().all(|pixels| *pixels <= MOST)
    }

    /// Pixels that the kernel spans along an axis.
    pub(crate) fn span(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }

    pub(crate) fn padding(&self, height: usize, width: usize) -> Padding {
        match self.padding {
            PaddingRule::Explicit(padding) => padding,
            PaddingRule::TensorFlowSame => {
                Padding::tensorflow_same([height, width], self.kernel, self.stride, self.dilation)
            }
        }
    }

    /// Whether the result of any input is as high and wide as the input.
    pub(crate) fn keeps_size(&self) -> bool {
        let fills = match self.padding {
            PaddingRule::TensorFlowSame => true,
            PaddingRule::Explicit(padding) => {
                padding.top + padding.bottom + 1 == self.span(0) && padding.left + padding.right + 1 == self.span(1)
            }
        };
        self.stride == [1, 1] && fills
    }

    /// Rows and columns of the result; `None` when the kernel does not fit into the padded input.
    pub(crate) fn output(&self, height: usize, width: usize) -> Option<(usize, usize)> {
        let padding = self.padding(height, width);
        let side = |axis: usize, padded: usize| Some(padded.checked_sub(self.span(axis))? / self.stride[axis] + 1);
        Some((side(0, height + padding.top + padding.bottom)?, side(1, width + padding.left + padding.right)?))
    }
}

/// What happens to a sum before it is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// Nothing.
    Identity,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// min(max(x, 0), limit).
    ClippedRelu(f32),
    /// x where it is positive, else x times the slope.
    LeakyRelu(f32),
    /// x / (1 + e⁻ˣ), also called swish.
    Silu,
}

impl Activation {
    /// Whether the upper bound is not below the lower one.
    pub(crate) fn is_usable(self) -> bool {
        let (low, high) = self.bounds();
        low <= high && !matches!(self, Self::LeakyRelu(slope) if !slope.is_finite())
    }

    /// What values below zero are multiplied by, after the bounds.
    pub(crate) fn leak(self) -> f32 {
        if let Self::LeakyRelu(slope) = self { slope } else { 1.0 }
    }

    /// Lower and upper bound, before what [`Self::curve`] does.
    pub(crate) fn bounds(self) -> (f32, f32) {
        match self {
            Self::Identity | Self::LeakyRelu(_) | Self::Silu => (f32::NEG_INFINITY, f32::INFINITY),
            Self::Relu => (0.0, f32::INFINITY),
            Self::Relu6 => (0.0, 6.0),
            Self::ClippedRelu(limit) => (0.0, limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensorflow_pads_the_odd_pixel_at_the_end() {
        let window = Window { kernel: [3; 2], stride: [2; 2], dilation: [1; 2], padding: PaddingRule::TensorFlowSame };
        assert_eq!(window.padding(224, 225), Padding { top: 0, bottom: 1, left: 1, right: 1 });
        assert_eq!(window.output(224, 225), Some((112, 113)));
        let one = Window { stride: [1; 2], ..window };
        assert_eq!(one.padding(7, 7), Padding::symmetric(1));
    }

    #[test]
    fn a_kernel_larger_than_its_input_has_no_result() {
        let padding = PaddingRule::Explicit(Padding::default());
        let window = Window { kernel: [5; 2], stride: [1; 2], dilation: [1; 2], padding };
        assert_eq!(window.output(4, 9), None);
        assert_eq!(window.output(5, 9), Some((1, 5)));
    }

    #[test]
    fn only_padding_as_wide_as_the_kernel_keeps_the_size() {
        let window = |padding, stride| Window { kernel: [3; 2], stride: [stride; 2], dilation: [2; 2], padding };
        assert!(window(PaddingRule::Explicit(Padding::symmetric(2)), 1).keeps_size());
        assert!(!window(PaddingRule::Explicit(Padding::symmetric(1)), 1).keeps_size());
        assert!(window(PaddingRule::TensorFlowSame, 1).keeps_size());
        assert!(!window(PaddingRule::TensorFlowSame, 2).keeps_size());
    }

    #[test]
    fn a_volume_that_cannot_be_counted_is_the_greatest() {
        assert_eq!(volume(&[usize::MAX / 2, 3]), usize::MAX);
        assert_eq!(volume(&[usize::MAX, usize::MAX, 0]), 0);
        assert_eq!(volume(&[2, 3, 4]), 24);
    }
}
