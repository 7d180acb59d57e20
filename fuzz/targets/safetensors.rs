//! A safetensors file.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    headstart_fuzz::hold_to_limits("safetensors", "model.safetensors", &[("model.safetensors", input)]);
});
