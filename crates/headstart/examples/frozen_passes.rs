//! Prints how long a frozen network takes, as one JSON object: the Headstart side of `bench/frozen_features`.
//!
//!     cargo run --release -p headstart --example frozen_passes -- [BACKBONE:VARIANT] [BATCH] [PASSES] [THREADS] [bf16]
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use headstart::backbones;
use headstart::measure::frozen_passes;
use headstart::recipe::Arithmetic;

fn main() -> headstart::Result<()> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "mobilenet_v2:1.0".to_owned());
    let numbers: Vec<usize> = std::env::args().skip(2).filter_map(|text| text.parse().ok()).collect();
    let number = |index: usize, otherwise: usize| numbers.get(index).copied().unwrap_or(otherwise);
    let (backbone, variant) = backbones::find(&name)?;
    let variant = variant.unwrap_or(&backbone.variants[0]);
    let is_bf16 = std::env::args().any(|text| text == "bf16");
    let arithmetic = if is_bf16 { Arithmetic::Bf16 } else { Arithmetic::F32 };
    let batch = number(0, 32);
    let mut times = frozen_passes(backbone, variant, arithmetic, batch, number(2, 2), number(1, 20))?;
    let warm_up = times.len() / 4;
    times.drain(..warm_up);
    times.sort();
    let seconds = times[times.len() / 2].as_secs_f64();
    println!("{{\"seconds\":{seconds},\"examples\":{}}}", batch as f64 / seconds);
    Ok(())
}
