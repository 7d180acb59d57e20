//! A graph of TensorFlow: a message, or a package to be mapped into memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    headstart_fuzz::hold_to_limits("tensorflow graph", "model.pb", &[("model.pb", input)]);
});
