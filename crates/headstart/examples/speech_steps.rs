//! Prints how long a DeepSpeech takes for a step or to hear a recording, as one JSON object: the Headstart side of
//! `bench/speech`.
//!
//!     cargo run --release -p headstart --example speech_steps -- [pass|step] [HIDDEN] [BATCH] [SECONDS] [COUNT] [THREADS]
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use headstart::measure::{speech_passes, speech_steps};
use headstart::nn::DeepSpeechShape;

fn main() -> headstart::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, otherwise: f64| {
        arguments.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(otherwise)
    };
    let is_pass = arguments.first().is_some_and(|what| what == "pass");
    let shape = DeepSpeechShape::of_width(number(1, 2048.0) as usize);
    let (batch, seconds) = (number(2, 8.0) as usize, number(3, 5.0));
    let (count, threads) = (number(4, 4.0) as usize, number(5, 2.0) as usize);
    let mut times = match is_pass {
        true => speech_passes(shape, seconds, threads, count)?,
        false => speech_steps(shape, &vec![seconds; batch], threads, count)?,
    };
    times.drain(..1.min(times.len().saturating_sub(1)));
    times.sort();
    let median = times[times.len() / 2].as_secs_f64();
    let heard = if is_pass { seconds } else { seconds * batch as f64 };
    println!("{{\"seconds\":{median},\"audio_seconds\":{},\"real_time_factor\":{}}}", heard / median, median / heard);
    Ok(())
}
