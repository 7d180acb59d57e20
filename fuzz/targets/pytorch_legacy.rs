//! A file as torch wrote them before 1.6.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    headstart_fuzz::hold_to_limits("pytorch (legacy)", "model.pth", &[("model.pth", input)]);
});
