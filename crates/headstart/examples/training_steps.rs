//! Prints how long training steps take, as one JSON object: the Headstart side of `bench/fine_tuning`.
//!
//!     cargo run --release -p headstart --example training_steps -- [all|STAGE|none] [BATCH] [STEPS] [THREADS]
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use std::time::Duration;

use headstart::measure::{StepSpec, training_steps};
use headstart::{Freeze, backbones};

fn main() -> headstart::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |index: usize, otherwise: &str| arguments.get(index).map_or(otherwise.to_owned(), Clone::clone);
    let number = |index: usize, otherwise: usize| text(index, "").parse().unwrap_or(otherwise);
    let (backbone, variant) = backbones::find("mobilenet_v2:1.0")?;
    let spec = StepSpec {
        backbone,
        variant: variant.expect("the name has a variant"),
        freeze: Freeze::from(text(0, "none")),
        batch: number(1, 16),
        threads: number(3, 2),
    };
    let mut times = training_steps(&spec, number(2, 12))?;
    let warm_up = times.len() / 4;
    times.drain(..warm_up);
    times.sort();
    let median: Duration = times[times.len() / 2];
    let examples = spec.batch as f64 / median.as_secs_f64();
    println!(
        "{{\"seconds\":{},\"steps\":{},\"examples\":{examples}}}",
        median.as_secs_f64(),
        1.0 / median.as_secs_f64()
    );
    Ok(())
}
