//! A whole model as the operations that every format has: what exports are written from and read back to.
//!
//! Maps are channels-last, `[H, W, C]` for one picture. Batch normalization is folded into the convolution before it, in
//! f64: the exported model only predicts, there is no statistic left to go wrong in another library's training mode, and
//! every format has a convolution with a bias while their normalizations differ.

use headstart_kernels::{Padding as Edges, Shape};

/// Nodes in an order in which each comes behind its inputs; the first is the picture, the last the result.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Unique in the graph; letters, digits and underscores.
    pub(crate) name: String,
    pub(crate) op: Op,
    /// Places of its inputs in the graph.
    pub(crate) inputs: Vec<usize>,
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    /// The picture: RGB from 0 to 255 in the size of the input.
    Picture(Shape),
    /// Zeros around a map.
    Pad(Edges),
    Conv(Conv),
    Pool(Pool),
    /// Side by side along the channels.
    Concat,
    /// The sum of two.
    Add,
    Activation(Activation),
    /// A map to the average of each channel.
    AveragePool,
    /// A map to a vector, rows first, channels innermost.
    Flatten,
    Dense(Dense),
}

/// Weights `[rows, columns, in, out]`, or `[rows, columns, channels]` of a depthwise convolution; bias `[out]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conv {
    pub(crate) is_depthwise: bool,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) edges: Edges,
    pub(crate) weights: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) activation: Activation,
}

/// The largest or the average value of windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pool {
    pub(crate) is_max: bool,
    pub(crate) side: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) edges: Edges,
    /// Whether an average counts the padding as zeros. The largest value never does.
    pub(crate) counts_padding: bool,
}

/// Weights `[in, out]`, bias `[out]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dense {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) weights: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) activation: Activation,
}

/// What happens to each value; softmax to all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    Identity,
    Relu,
    Relu6,
    Softmax,
    Sigmoid,
}

/// Shape of a result for one picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Map(Shape),
    Vector(usize),
}

/// More values than this in one result are no model that we made.
const MOST_VALUES: usize = 1 << 30;

impl Graph {
    /// Adds an operation; its place is the answer. A name that is taken gets a number.
    pub(crate) fn add(&mut self, name: &str, op: Op, inputs: Vec<usize>) -> usize {
        let is_taken = |name: &str| self.nodes.iter().any(|node| node.name == name);
        let numbered = (1..).map(|number| format!("{name}_{number}"));
        let name = std::iter::once(name.to_owned()).chain(numbered).find(|name| !is_taken(name));
        self.nodes.push(Node { name: name.unwrap_or_default(), op, inputs });
        self.nodes.len() - 1
    }

    /// Shape of every result; an error says in words what does not fit.
    pub(crate) fn extents(&self) -> Result<Vec<Extent>, String> {
        let mut extents: Vec<Extent> = Vec::with_capacity(self.nodes.len());
        for (place, node) in self.nodes.iter().enumerate() {
            let inputs: Option<Vec<Extent>> = node.inputs.iter().map(|input| extents.get(*input).copied()).collect();
            let is_first = place == 0;
            let extent = inputs
                .filter(|inputs| inputs.is_empty() == is_first && matches!(node.op, Op::Picture(_)) == is_first)
                .and_then(|inputs| node.op.extent(&inputs))
                .filter(|extent| (1..=MOST_VALUES).contains(&extent.value_count()));
            extents.push(extent.ok_or_else(|| format!("operation `{}` does not fit its inputs", node.name))?);
        }
        match extents.last() {
            Some(Extent::Vector(_)) => Ok(extents),
            _ => Err("its last operation gives no row of numbers".to_owned()),
        }
    }
}

impl Extent {
    pub(crate) fn value_count(self) -> usize {
        match self {
            Self::Map(shape) => shape.len(),
            Self::Vector(width) => width,
        }
    }

    pub(crate) fn map(self) -> Option<Shape> {
        match self {
            Self::Map(shape) => Some(shape),
            Self::Vector(_) => None,
        }
    }

    /// Lengths of the axes, channels last, without the batch.
    pub(crate) fn axes(self) -> Vec<usize> {
        match self {
            Self::Map(Shape { height, width, channels }) => vec![height, width, channels],
            Self::Vector(width) => vec![width],
        }
    }
}

impl Op {
    /// The map that comes of maps, if they fit.
    pub(crate) fn map_of(&self, inputs: &[Shape]) -> Option<Shape> {
        let inputs: Vec<Extent> = inputs.iter().map(|map| Extent::Map(*map)).collect();
        self.extent(&inputs)?.map()
    }

    /// Shape of the result, if the inputs fit.
    fn extent(&self, inputs: &[Extent]) -> Option<Extent> {
        match (self, inputs) {
            (Self::Picture(shape), []) => Some(Extent::Map(*shape)),
            (Self::Pad(edges), [Extent::Map(map)]) => Some(Extent::Map(padded(*map, *edges)?)),
            (Self::Conv(conv), [Extent::Map(map)]) => {
                let depth = if conv.is_depthwise { 1 } else { conv.outputs };
                let count = [conv.kernel[0], conv.kernel[1], conv.inputs, depth];
                let count = count.iter().try_fold(1usize, |count, side| count.checked_mul(*side))?;
                let fits = conv.inputs == map.channels
                    && conv.weights.len() == count
                    && conv.bias.len() == conv.outputs
                    && (!conv.is_depthwise || conv.inputs == conv.outputs);
                let Shape { height, width, .. } = windows(*map, conv.kernel, conv.stride, conv.edges)?;
                fits.then_some(Extent::Map(Shape { height, width, channels: conv.outputs }))
            }
            (Self::Pool(pool), [Extent::Map(map)]) => {
                let Edges { top, bottom, left, right } = pool.edges;
                // A window must see something of the map.
                let sees = top.max(bottom) < pool.side[0] && left.max(right) < pool.side[1];
                Some(Extent::Map(windows(*map, pool.side, pool.stride, pool.edges).filter(|_| sees)?))
            }
            (Self::Concat, [Extent::Map(first), others @ ..]) => {
                let mut channels = first.channels;
                for other in others {
                    let other = other.map().filter(|map| (map.height, map.width) == (first.height, first.width))?;
                    channels = channels.checked_add(other.channels)?;
                }
                Some(Extent::Map(Shape { channels, ..*first }))
            }
            (Self::Add, [first, second]) => (first == second).then_some(*first),
            (Self::Activation(_), [input]) => Some(*input),
            (Self::AveragePool, [Extent::Map(map)]) => Some(Extent::Vector(map.channels)),
            (Self::Flatten, [Extent::Map(map)]) => Some(Extent::Vector(map.len())),
            (Self::Dense(dense), [Extent::Vector(width)]) => {
                let fits = dense.inputs == *width
                    && Some(dense.weights.len()) == dense.inputs.checked_mul(dense.outputs)
                    && dense.bias.len() == dense.outputs;
                fits.then_some(Extent::Vector(dense.outputs))
            }
            _ => None,
        }
    }
}

fn padded(map: Shape, edges: Edges) -> Option<Shape> {
    let side = |side: usize, before: usize, after: usize| side.checked_add(before)?.checked_add(after);
    Some(Shape {
        height: side(map.height, edges.top, edges.bottom)?,
        width: side(map.width, edges.left, edges.right)?,
        channels: map.channels,
    })
}

/// The map with a value for each window.
fn windows(map: Shape, side: [usize; 2], stride: [usize; 2], edges: Edges) -> Option<Shape> {
    let map = padded(map, edges)?;
    if side.contains(&0) || stride.contains(&0) {
        return None;
    }
    let count = |length: usize, axis: usize| Some(length.checked_sub(side[axis])? / stride[axis] + 1);
    Some(Shape { height: count(map.height, 0)?, width: count(map.width, 1)?, channels: map.channels })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(side: usize) -> Graph {
        let mut graph = Graph::default();
        graph.add("picture", Op::Picture(Shape { height: side, width: side, channels: 3 }), vec![]);
        graph
    }

    #[test]
    fn operations_that_do_not_fit_are_named_and_not_computed() {
        let pool =
            Pool { is_max: true, side: [3; 2], stride: [2; 2], edges: Edges::symmetric(1), counts_padding: false };
        let dense =
            Dense { inputs: 4, outputs: 1, weights: vec![0.0; 4], bias: vec![0.0], activation: Activation::Sigmoid };
        for (op, inputs) in [
            (Op::Dense(dense), vec![0]),
            (Op::Pool(Pool { side: [0; 2], ..pool }), vec![0]),
            (Op::Pool(Pool { edges: Edges::symmetric(3), ..pool }), vec![0]),
            (Op::Pool(Pool { stride: [0; 2], ..pool }), vec![0]),
            (Op::Add, vec![0]),
            (Op::Add, vec![0, 7]),
            (Op::Pad(Edges::symmetric(usize::MAX)), vec![0]),
            (Op::Pad(Edges::symmetric(1 << 20)), vec![0]),
        ] {
            let mut graph = picture(8);
            graph.add("wrong", op, inputs);
            assert!(graph.extents().unwrap_err().contains("`wrong`"));
        }
        assert!(picture(8).extents().is_err());
        assert!(Graph::default().extents().is_err());
    }

    #[test]
    fn names_are_used_once() {
        let mut graph = picture(8);
        for _ in 0..2 {
            graph.add("relu", Op::Activation(Activation::Relu), vec![0]);
        }
        let names: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["picture", "relu", "relu_1"]);
    }
}
