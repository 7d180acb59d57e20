//! Prints how long passes or training steps of BERT-base take, as one JSON object: the Headstart side of `bench/text`.
//!
//!     cargo run --release -p headstart --example transformer_steps -- [pass|step] [BATCH] [LENGTH] [COUNT] [THREADS]
//!
//! LENGTH is that of every sequence, or `mixed` for lengths between 8 and 128.
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use headstart::measure::{TokenBatch, transformer_passes, transformer_steps};
use headstart::nn::{DenseActivation, TransformerShape};

const BERT_BASE: TransformerShape = TransformerShape {
    vocabulary: 30_522,
    positions: 512,
    kinds: 2,
    width: 768,
    layers: 12,
    heads: 12,
    hidden: 3072,
    activation: DenseActivation::Gelu,
    norm_first: false,
    causal: false,
    epsilon: 1e-12,
    dropout: 0.1,
    attention_dropout: 0.1,
};

fn main() -> headstart::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |index: usize, otherwise: &str| arguments.get(index).map_or(otherwise.to_owned(), Clone::clone);
    let number = |index: usize, otherwise: usize| text(index, "").parse().unwrap_or(otherwise);
    let (count, length) = (number(1, 8), text(2, "128"));
    let lengths = match length.parse() {
        Ok(length) => vec![length; count],
        Err(_) => (0..count).map(|index| 8 + (index * 7919) % 121).collect(),
    };
    let batch = TokenBatch { lengths, threads: number(4, 2) };
    let measure = if text(0, "step") == "pass" { transformer_passes } else { transformer_steps };
    let mut times = measure(BERT_BASE, &batch, number(3, 8))?;
    times.drain(..1.min(times.len().saturating_sub(1)));
    times.sort();
    let median = times[times.len() / 2].as_secs_f64();
    println!("{{\"seconds\":{median},\"sequences\":{}}}", count as f64 / median);
    Ok(())
}
