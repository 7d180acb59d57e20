//! How the values of a published array lie, and how they become ours.

use crate::error::Result;
use crate::parameters::Parameter;

/// From their values to ours.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Layout {
    /// The same.
    AsItIs,
    /// Keras's convolution `[rows, columns, in, out]` to `[out, in, rows, columns]`.
    KerasConv,
    /// Keras's depthwise convolution `[rows, columns, channels, 1]` to `[channels, 1, rows, columns]`.
    KerasDepthwise,
    /// A dense layer `[out, in]` to `[in, out]`.
    Transposed,
    /// The same values behind an axis of 1, as a convolution of width 1 has them.
    Framed,
    /// Part `index` of `of` equal parts along the last axis.
    Columns {
        /// Which, from 0.
        index: usize,
        /// How many there are.
        of: usize,
        /// Whether an axis of 1 stands before theirs.
        framed: bool,
    },
    /// Less the array of this name.
    Minus(String),
    /// This everywhere: the family has no such array.
    Constant(f32),
}

impl Layout {
    /// Whether an array is read at all.
    pub fn is_read(&self) -> bool {
        !matches!(self, Self::Constant(_))
    }

    /// The arrays that are read, with their shapes, for an array of ours of `shape`.
    pub fn sources(&self, theirs: &str, shape: &[usize]) -> Vec<(String, Vec<usize>)> {
        let theirs = theirs.to_owned();
        match (self, shape) {
            (Self::Constant(_), _) => Vec::new(),
            (Self::KerasConv, &[out, inputs, rows, columns]) => vec![(theirs, vec![rows, columns, inputs, out])],
            (Self::KerasDepthwise, &[channels, one, rows, columns]) => {
                vec![(theirs, vec![rows, columns, channels, one])]
            }
            (Self::Transposed, &[inputs, outputs]) => vec![(theirs, vec![outputs, inputs])],
            (Self::Framed, _) => vec![(theirs, framed(shape))],
            (Self::Columns { of, framed: is_framed, .. }, [rows @ .., columns]) => {
                let whole: Vec<usize> = rows.iter().copied().chain([columns * of]).collect();
                vec![(theirs, if *is_framed { framed(&whole) } else { whole })]
            }
            (Self::Minus(other), _) => vec![(theirs, shape.to_vec()), (other.clone(), shape.to_vec())],
            _ => vec![(theirs, shape.to_vec())],
        }
    }

    /// Our values; `read` gives those of an array of theirs.
    pub(crate) fn read(
        &self,
        theirs: &str,
        shape: &[usize],
        read: impl Fn(&str) -> Result<Vec<f32>>,
    ) -> Result<Vec<f32>> {
        match (self, shape) {
            (Self::Constant(value), _) => Ok(vec![*value; shape.iter().product()]),
            (Self::Minus(other), _) => Ok(read(theirs)?.iter().zip(read(other)?).map(|(a, b)| a - b).collect()),
            // [out, in] is a convolution of one tap read the other way round.
            (Self::Transposed, &[inputs, outputs]) => Ok(channels_first(&read(theirs)?, 1, outputs, inputs)),
            (Self::Columns { index, of, .. }, [.., columns]) => {
                let rows = read(theirs)?;
                let parts = rows.chunks_exact(columns * of);
                Ok(parts.flat_map(|row| &row[index * columns..(index + 1) * columns]).copied().collect())
            }
            (Self::KerasConv, &[out, inputs, rows, columns]) => {
                Ok(channels_first(&read(theirs)?, rows * columns, inputs, out))
            }
            // Their last axis is 1, so it does not matter that it stands behind the channels.
            (Self::KerasDepthwise, &[channels, _, rows, columns]) => {
                Ok(channels_first(&read(theirs)?, rows * columns, 1, channels))
            }
            _ => read(theirs),
        }
    }

    /// Arrays of theirs that [`Self::read`] turns into this one of ours. An array that is left out is lost: it must hold the
    /// constant, or be a part of a joint one, which cannot be written alone.
    pub(crate) fn write(&self, theirs: &str, ours: &Parameter) -> Vec<(String, Parameter)> {
        let moved = match (self, &ours.shape[..]) {
            (Self::Columns { .. }, _) => return Vec::new(),
            (Self::Transposed, &[inputs, outputs]) => channels_first(&ours.values, 1, inputs, outputs),
            (Self::KerasConv, &[out, inputs, rows, columns]) => {
                channels_last(&ours.values, rows * columns, inputs, out)
            }
            (Self::KerasDepthwise, &[channels, _, rows, columns]) => {
                channels_last(&ours.values, rows * columns, 1, channels)
            }
            _ => ours.values.clone(),
        };
        let mut sources = self.sources(theirs, &ours.shape).into_iter();
        let mut arrays: Vec<(String, Parameter)> =
            sources.next().map(|(name, shape)| (name, Parameter { shape, values: moved })).into_iter().collect();
        // What would be subtracted is nothing.
        arrays.extend(sources.map(|(name, shape)| {
            let values = vec![0.0; ours.values.len()];
            (name, Parameter { shape, values })
        }));
        arrays
    }
}

/// A shape behind an axis of 1.
fn framed(shape: &[usize]) -> Vec<usize> {
    [1].iter().chain(shape).copied().collect()
}

/// `[taps, in, out]` → `[out, in, taps]`.
fn channels_first(values: &[f32], taps: usize, inputs: usize, outputs: usize) -> Vec<f32> {
    let mut moved = Vec::with_capacity(values.len());
    for out in 0..outputs {
        for input in 0..inputs {
            moved.extend((0..taps).map(|tap| values[(tap * inputs + input) * outputs + out]));
        }
    }
    moved
}

/// `[out, in, taps]` → `[taps, in, out]`.
fn channels_last(values: &[f32], taps: usize, inputs: usize, outputs: usize) -> Vec<f32> {
    let mut moved = Vec::with_capacity(values.len());
    for tap in 0..taps {
        for input in 0..inputs {
            moved.extend((0..outputs).map(|out| values[(out * inputs + input) * taps + tap]));
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_turned_from_keras_order_to_ours() {
        let read = |_: &str| Ok((0..12).map(|value| value as f32).collect());
        // Theirs [1, 2, 3, 2]: value = (column · 3 + input) · 2 + out.
        let ours = Layout::KerasConv.read("k", &[2, 3, 1, 2], read).unwrap();
        assert_eq!(ours, [0., 6., 2., 8., 4., 10., 1., 7., 3., 9., 5., 11.]);
        // Theirs [2, 2, 3, 1]: value = tap · 3 + channel.
        let ours = Layout::KerasDepthwise.read("k", &[3, 1, 2, 2], read).unwrap();
        assert_eq!(ours, [0., 3., 6., 9., 1., 4., 7., 10., 2., 5., 8., 11.]);
    }

    #[test]
    fn dense_layers_are_turned_and_parts_of_joint_ones_cut_out() {
        let read = |_: &str| Ok((0..12).map(|value| value as f32).collect());
        // Theirs [4 out, 3 in].
        let ours = Layout::Transposed.read("w", &[3, 4], read).unwrap();
        assert_eq!(ours, [0., 3., 6., 9., 1., 4., 7., 10., 2., 5., 8., 11.]);
        // Theirs [2, 6], the second of three parts.
        let part = Layout::Columns { index: 1, of: 3, framed: false };
        assert_eq!(part.read("w", &[2, 2], read).unwrap(), [2., 3., 8., 9.]);
        assert_eq!(part.sources("w", &[2, 2]), [("w".to_owned(), vec![2, 6])]);
        assert_eq!(part.sources("b", &[2]), [("b".to_owned(), vec![6])]);
    }

    #[test]
    fn a_bias_is_taken_from_the_mean_and_an_absent_scale_is_one() {
        let read = |name: &str| Ok(if name == "mean" { vec![3.0, 4.0] } else { vec![1.0, -1.0] });
        assert_eq!(Layout::Minus("bias".into()).read("mean", &[2], read).unwrap(), [2.0, 5.0]);
        assert_eq!(Layout::Constant(1.0).read("", &[2], read).unwrap(), [1.0, 1.0]);
        assert!(Layout::Constant(1.0).sources("", &[2]).is_empty());
    }

    #[test]
    fn what_is_written_in_their_layout_is_read_as_ours() {
        let ours = |shape: &[usize]| {
            let values = (0..shape.iter().product::<usize>()).map(|value| value as f32 + 0.5).collect();
            Parameter { shape: shape.to_vec(), values }
        };
        for (layout, array) in [
            (Layout::AsItIs, ours(&[2, 3])),
            (Layout::KerasConv, ours(&[2, 3, 1, 2])),
            (Layout::KerasDepthwise, ours(&[3, 1, 2, 2])),
            (Layout::Minus("bias".into()), ours(&[4])),
        ] {
            let written = layout.write("theirs", &array);
            let shapes: Vec<_> = written.iter().map(|(name, array)| (name.clone(), array.shape.clone())).collect();
            assert_eq!(shapes, layout.sources("theirs", &array.shape));
            let read = |name: &str| Ok(written.iter().find(|(found, _)| found == name).unwrap().1.values.clone());
            assert_eq!(layout.read("theirs", &array.shape, read).unwrap(), array.values);
        }
        assert!(Layout::Constant(1.0).write("theirs", &ours(&[2])).is_empty());
    }
}
