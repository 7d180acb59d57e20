//! A [`Graph`] computed by plain loops: slow, short, and sharing nothing with our kernels or the engine.

use headstart_kernels::{Padding as Edges, Shape};
use rayon::prelude::*;

use super::graph::{Activation, Conv, Dense, Extent, Graph, Op, Pool};

/// The result for one picture `[H, W, 3]`, RGB from 0 to 255; an error says in words what does not fit.
pub(crate) fn evaluate(graph: &Graph, picture: &[f32]) -> Result<Vec<f32>, String> {
    let extents = graph.extents()?;
    let mut last_use = vec![0; graph.nodes.len()];
    for (place, node) in graph.nodes.iter().enumerate() {
        node.inputs.iter().for_each(|input| last_use[*input] = place);
    }
    let mut results: Vec<Vec<f32>> = Vec::with_capacity(graph.nodes.len());
    for (place, node) in graph.nodes.iter().enumerate() {
        let inputs: Vec<(&[f32], Extent)> =
            node.inputs.iter().map(|input| (results[*input].as_slice(), extents[*input])).collect();
        let result = match (&node.op, inputs.as_slice()) {
            (Op::Picture(shape), _) if shape.len() == picture.len() => picture.to_vec(),
            (Op::Picture(_), _) => return Err(format!("the picture has {} values", picture.len())),
            (op, inputs) => compute(op, inputs, extents[place]),
        };
        results.push(result);
        for input in &node.inputs {
            if last_use[*input] == place {
                results[*input] = Vec::new();
            }
        }
    }
    Ok(results.pop().unwrap_or_default())
}

/// One operation on inputs that fit.
fn compute(op: &Op, inputs: &[(&[f32], Extent)], output: Extent) -> Vec<f32> {
    let (first, extent) = inputs[0];
    match (op, extent, output) {
        (Op::Conv(conv), Extent::Map(input), Extent::Map(output)) => convolution(conv, first, input, output),
        (Op::Pool(pool), Extent::Map(input), Extent::Map(output)) => pooling(pool, first, input, output),
        (Op::Pad(edges), Extent::Map(input), Extent::Map(output)) => padding(*edges, first, input, output),
        (Op::AveragePool, Extent::Map(input), _) => average(first, input),
        (Op::Dense(dense), ..) => fully_connected(dense, first),
        (Op::Activation(activation), ..) => activate(*activation, first.to_vec()),
        (Op::Add, ..) => first.iter().zip(inputs[1].0).map(|(a, b)| a + b).collect(),
        (Op::Concat, ..) => {
            let positions = extent.map().map_or(1, |map| map.height * map.width);
            let widths: Vec<usize> = inputs.iter().map(|(values, _)| values.len() / positions).collect();
            (0..positions)
                .flat_map(|at| {
                    inputs.iter().zip(&widths).flat_map(move |((values, _), width)| &values[at * width..][..*width])
                })
                .copied()
                .collect()
        }
        // Flatten: values of a map already lie rows first, channels innermost. `extents` has refused all else.
        _ => first.to_vec(),
    }
}

/// Input row or column of a tap, if it lies in the map.
fn position(out: usize, tap: usize, stride: usize, before: usize, length: usize) -> Option<usize> {
    (out * stride + tap).checked_sub(before).filter(|at| *at < length)
}

fn convolution(conv: &Conv, input: &[f32], from: Shape, to: Shape) -> Vec<f32> {
    let [rows, columns] = conv.kernel;
    let mut output = vec![0.0; to.len()];
    output.par_chunks_mut(to.width * to.channels).enumerate().for_each(|(y, line)| {
        for (x, sums) in line.chunks_mut(to.channels).enumerate() {
            sums.copy_from_slice(&conv.bias);
            for tap in 0..rows * columns {
                let row = position(y, tap / columns, conv.stride[0], conv.edges.top, from.height);
                let column = position(x, tap % columns, conv.stride[1], conv.edges.left, from.width);
                let (Some(row), Some(column)) = (row, column) else { continue };
                let pixel = &input[(row * from.width + column) * from.channels..][..from.channels];
                if conv.is_depthwise {
                    let weights = &conv.weights[tap * from.channels..];
                    sums.iter_mut().zip(pixel).zip(weights).for_each(|((sum, value), weight)| *sum += value * weight);
                    continue;
                }
                for (channel, value) in pixel.iter().enumerate() {
                    let weights = &conv.weights[(tap * from.channels + channel) * to.channels..];
                    sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += value * weight);
                }
            }
        }
    });
    activate(conv.activation, output)
}

fn pooling(pool: &Pool, input: &[f32], from: Shape, to: Shape) -> Vec<f32> {
    let [rows, columns] = pool.side;
    let mut output = Vec::with_capacity(to.len());
    for (y, x, channel) in positions(to) {
        let seen: Vec<f32> = (0..rows * columns)
            .filter_map(|tap| {
                let row = position(y, tap / columns, pool.stride[0], pool.edges.top, from.height)?;
                let column = position(x, tap % columns, pool.stride[1], pool.edges.left, from.width)?;
                Some(input[(row * from.width + column) * from.channels + channel])
            })
            .collect();
        output.push(if pool.is_max {
            seen.iter().copied().fold(f32::NEG_INFINITY, f32::max)
        } else {
            let count = if pool.counts_padding { rows * columns } else { seen.len() };
            seen.iter().sum::<f32>() / count as f32
        });
    }
    output
}

fn padding(edges: Edges, input: &[f32], from: Shape, to: Shape) -> Vec<f32> {
    let value = |(y, x, channel)| {
        let row = position(y, 0, 1, edges.top, from.height)?;
        let column = position(x, 0, 1, edges.left, from.width)?;
        Some(input[(row * from.width + column) * from.channels + channel])
    };
    positions(to).map(|place| value(place).unwrap_or(0.0)).collect()
}

fn positions(map: Shape) -> impl Iterator<Item = (usize, usize, usize)> {
    let row = move |y| (0..map.width).flat_map(move |x| (0..map.channels).map(move |channel| (y, x, channel)));
    (0..map.height).flat_map(row)
}

fn average(input: &[f32], from: Shape) -> Vec<f32> {
    let mut sums = vec![0f64; from.channels];
    for pixel in input.chunks(from.channels) {
        sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sums.iter().map(|sum| (sum / (from.height * from.width) as f64) as f32).collect()
}

fn fully_connected(dense: &Dense, input: &[f32]) -> Vec<f32> {
    let mut sums = dense.bias.clone();
    for (value, weights) in input.iter().zip(dense.weights.chunks(dense.outputs)) {
        sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += value * weight);
    }
    activate(dense.activation, sums)
}

fn activate(activation: Activation, mut values: Vec<f32>) -> Vec<f32> {
    // `max` would turn a NaN into 0 and hide it.
    let clip = |value: f32, limit: f32| {
        if value < 0.0 {
            0.0
        } else if value > limit {
            limit
        } else {
            value
        }
    };
    match activation {
        Activation::Identity => {}
        Activation::Relu => values.iter_mut().for_each(|value| *value = clip(*value, f32::INFINITY)),
        Activation::Relu6 => values.iter_mut().for_each(|value| *value = clip(*value, 6.0)),
        Activation::Sigmoid => values.iter_mut().for_each(|value| *value = 1.0 / (1.0 + (-*value).exp())),
        Activation::Softmax => {
            let highest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            values.iter_mut().for_each(|value| *value = (*value - highest).exp());
            let sum: f32 = values.iter().sum();
            values.iter_mut().for_each(|value| *value /= sum);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(op: Op, width: usize, channels: usize, picture: &[f32]) -> Vec<f32> {
        let mut graph = Graph::default();
        let shape = Shape { height: picture.len() / width / channels, width, channels };
        graph.add("picture", Op::Picture(shape), vec![]);
        graph.add("op", op, vec![0]);
        graph.add("flatten", Op::Flatten, vec![1]);
        evaluate(&graph, picture).unwrap()
    }

    #[test]
    fn a_convolution_slides_its_kernel_over_zeros_around_the_map() {
        let conv = |is_depthwise, inputs, outputs, weights: &[f32]| Conv {
            is_depthwise,
            inputs,
            outputs,
            kernel: [1, 2],
            stride: [1, 1],
            edges: Edges { right: 1, ..Edges::default() },
            weights: weights.to_vec(),
            bias: vec![0.5; outputs],
            activation: Activation::Relu,
        };
        // Two pixels of one channel to two channels: left · (1, 0) + right · (10, −1).
        let found = of(Op::Conv(conv(false, 1, 2, &[1.0, 0.0, 10.0, -1.0])), 2, 1, &[2.0, 3.0]);
        assert_eq!(found, [32.5, 0.0, 3.5, 0.5]);
        let found = of(Op::Conv(conv(true, 2, 2, &[1.0, 2.0, 10.0, 20.0])), 2, 2, &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(found, [31.5, 84.5, 3.5, 8.5]);
    }

    #[test]
    fn pooling_counts_the_padding_only_where_it_says_so() {
        let pool = |is_max, counts_padding| {
            let edges = Edges { left: 1, ..Edges::default() };
            Op::Pool(Pool { is_max, side: [1, 2], stride: [1, 1], edges, counts_padding })
        };
        assert_eq!(of(pool(true, false), 2, 1, &[-4.0, -2.0]), [-4.0, -2.0]);
        assert_eq!(of(pool(false, false), 2, 1, &[-4.0, -2.0]), [-4.0, -3.0]);
        assert_eq!(of(pool(false, true), 2, 1, &[-4.0, -2.0]), [-2.0, -3.0]);
    }

    #[test]
    fn a_nan_is_not_hidden_by_an_activation() {
        for activation in [Activation::Relu, Activation::Relu6, Activation::Sigmoid, Activation::Softmax] {
            assert!(activate(activation, vec![f32::NAN, 1.0])[0].is_nan());
        }
        assert_eq!(activate(Activation::Relu6, vec![-1.0, 3.0, 9.0]), [0.0, 3.0, 6.0]);
    }

    #[test]
    fn maps_are_joined_pixel_by_pixel() {
        let mut graph = Graph::default();
        graph.add("picture", Op::Picture(Shape { height: 1, width: 2, channels: 1 }), vec![]);
        graph.add("padded", Op::Pad(Edges { left: 1, ..Edges::default() }), vec![0]);
        graph.add("joined", Op::Concat, vec![1, 1]);
        graph.add("flatten", Op::Flatten, vec![2]);
        assert_eq!(evaluate(&graph, &[7.0, 8.0]).unwrap(), [0.0, 0.0, 7.0, 7.0, 8.0, 8.0]);
        assert!(evaluate(&graph, &[7.0]).is_err());
    }
}
