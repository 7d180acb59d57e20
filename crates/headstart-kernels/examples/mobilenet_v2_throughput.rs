//! Pictures a second of a MobileNetV2 with made-up weights: `cargo run --release --example mobilenet_v2_throughput
//! [width] [side] [threads] [bf16]`.
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use std::time::Instant;

use headstart_kernels::{
    Activation, Conv2d, Conv2dSpec, DepthwiseConv2d, DepthwiseConv2dSpec, InvertedResidual, KernelError, Layer,
    Network, PaddingRule, Precision, Shape, instruction_set,
};

fn conv(from: usize, to: usize, kernel: usize, stride: usize, activation: Activation) -> Result<Conv2d, KernelError> {
    let spec = Conv2dSpec {
        in_channels: from,
        out_channels: to,
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        padding: PaddingRule::TensorFlowSame,
        activation,
    };
    Conv2d::new(spec, &vec![0.01; kernel * kernel * from * to], &vec![0.1; to])
}

fn rounded(channels: f64) -> usize {
    ((channels + 4.0) / 8.0) as usize * 8
}

fn main() -> Result<(), KernelError> {
    let argument =
        |index: usize, default: f64| std::env::args().nth(index).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (width, side, threads) = (argument(1, 1.0), argument(2, 224.0) as usize, argument(3, 2.0) as usize);
    let mut channels = rounded(32.0 * width).max(16);
    let mut layers: Vec<Layer> = vec![conv(3, channels, 3, 2, Activation::Relu6)?.into()];
    let table =
        [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
    for (expansion, full, blocks, first) in table {
        let outputs = rounded(f64::from(full) * width).max(8);
        for index in 0..blocks {
            let stride = if index == 0 { first } else { 1 };
            let hidden = channels * expansion;
            let spec = DepthwiseConv2dSpec {
                channels: hidden,
                kernel: [3; 2],
                stride: [stride; 2],
                dilation: [1; 2],
                padding: PaddingRule::TensorFlowSame,
                activation: Activation::Relu6,
            };
            let depthwise = DepthwiseConv2d::new(spec, &vec![0.01; 9 * hidden], &vec![0.1; hidden])?;
            let expand = if expansion > 1 { Some(conv(channels, hidden, 1, 1, Activation::Relu6)?) } else { None };
            let project = conv(hidden, outputs, 1, 1, Activation::Identity)?;
            layers.push(InvertedResidual::new(expand, depthwise, project, stride == 1 && channels == outputs)?.into());
            channels = outputs;
        }
    }
    layers.push(conv(channels, 1280, 1, 1, Activation::Relu6)?.into());
    layers.push(Layer::GlobalAveragePool);
    let precision = if std::env::args().any(|text| text == "bf16") { Precision::Bf16 } else { Precision::F32 };
    let network = Network::with_precision(Shape { height: side, width: side, channels: 3 }, layers, precision)?;
    let count = network.layer_count();
    for batch in [1, 32] {
        let input = vec![0.5; batch * network.shape_after(0).len()];
        let mut output = vec![0.0; batch * 1280];
        let mut seconds: Vec<f64> = (0..15)
            .map(|_| {
                let start = Instant::now();
                network.forward(0..count, &input, batch, &mut output, threads).map(|()| start.elapsed().as_secs_f64())
            })
            .collect::<Result<_, _>>()?;
        seconds.sort_by(f64::total_cmp);
        println!(
            "{} width {width} side {side} batch {batch} threads {threads}: median {:.2} ms, {:.1} pictures/s, scratch {} kB",
            instruction_set(),
            seconds[7] * 1e3,
            batch as f64 / seconds[7],
            network.peak_scratch_bytes(threads) / 1000
        );
    }
    Ok(())
}
