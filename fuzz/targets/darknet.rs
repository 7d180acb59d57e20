//! A network of Darknet: its description and its values.
#![no_main]

use headstart_fuzz::{hold_to_limits, parts};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [description, values] = parts(input);
    hold_to_limits("darknet", "net.weights", &[("net.cfg", description), ("net.weights", values)]);
});
