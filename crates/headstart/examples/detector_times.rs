//! Prints how long a detector takes, as one JSON object: the Headstart side of `bench/detection`.
//!
//!     cargo run --release -p headstart --example detector_times -- WEIGHTS infer|train [SIZE] [BATCH] [COUNT] [THREADS]
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use std::path::Path;
use std::time::Duration;

use headstart::measure::{detector_passes, detector_steps};

fn main() -> headstart::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |index: usize| arguments.get(index).map_or("", String::as_str);
    let number = |index: usize, otherwise: usize| text(index).parse().unwrap_or(otherwise);
    let size = text(2).parse::<u32>().ok();
    let (batch, count, threads) = (number(3, 16), number(4, 12), number(5, 2));
    let (mut times, batch) = match text(1) {
        "train" => (detector_steps(Path::new(text(0)), size, batch, threads, count)?, batch),
        _ => (detector_passes(Path::new(text(0)), size, threads, count)?, 1),
    };
    times.drain(..count / 4);
    times.sort();
    let median: Duration = times[times.len() / 2];
    println!("{{\"seconds\":{},\"pictures\":{}}}", median.as_secs_f64(), batch as f64 / median.as_secs_f64());
    Ok(())
}
