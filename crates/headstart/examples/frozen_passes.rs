//! Prints how long a frozen MobileNetV2 1.0 takes, as one JSON object: the Headstart side of `bench/frozen_features`.
//!
//!     cargo run --release -p headstart --example frozen_passes -- [BATCH] [PASSES] [THREADS]
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use headstart::backbones;
use headstart::measure::frozen_passes;

fn main() -> headstart::Result<()> {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let number = |index: usize, otherwise: usize| numbers.get(index).copied().unwrap_or(otherwise);
    let (backbone, variant) = backbones::find("mobilenet_v2:1.0")?;
    let variant = variant.expect("the name has a variant");
    let batch = number(0, 32);
    let mut times = frozen_passes(backbone, variant, batch, number(2, 2), number(1, 20))?;
    let warm_up = times.len() / 4;
    times.drain(..warm_up);
    times.sort();
    let seconds = times[times.len() / 2].as_secs_f64();
    println!("{{\"seconds\":{seconds},\"examples\":{}}}", batch as f64 / seconds);
    Ok(())
}
